"""What docs/accounts.md says is what the code does."""

import re
from pathlib import Path

import typer.main
from typer.core import TyperGroup

from dsplatform.cli.app import app
from dsplatform.cli.session import CREDENTIALS
from dsplatform.permissions import access_tokens, attempts, passwords, session_rows, tokens

TEXT = (Path(__file__).parents[2] / "docs" / "accounts.md").read_text()
PROSE = " ".join(TEXT.split())


def test_the_commands_are_real() -> None:
    lines = [part for line in re.findall(r"^dsp (.*)$", TEXT, flags=re.MULTILINE) for part in line.partition("#")[0].split(" && dsp ")]
    assert len(lines) >= 10
    for line in lines:
        words = line.split()
        command = typer.main.get_command(app)
        while isinstance(command, TyperGroup):
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options, line


def test_the_figures_are_those_of_the_code() -> None:
    memory, passes, lanes = (passwords.PARAMETERS[name] for name in ("memory_cost", "time_cost", "parallelism"))
    assert f"argon2id ({memory // 1024} MiB, {passes} passes, {lanes} lanes)" in PROSE
    assert f"{passwords.SHORTEST} to {passwords.LONGEST:,} characters of any kind" in PROSE
    assert (passwords.AT_ONCE, passwords.WAITING, passwords.PATIENCE) == (2, 4, 5)
    assert "Two are computed at a time in a process and four more may wait, five seconds at most" in PROSE
    assert f"an access token for {access_tokens.SECONDS // 60} minutes" in PROSE
    assert f"for {session_rows.LIFETIME.days} days from the login" in PROSE
    assert f"in {session_rows.REMEMBERED.days} days, all together" in PROSE
    secret = tokens.new(tokens.API)
    assert f"`{secret[:4]}`, {len(secret) - 4 - 6} characters, and a checksum" in PROSE
    assert f"`HOME/{CREDENTIALS}`" in PROSE


def test_the_limits_of_attempts_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (?:at|from) .* \| (\d+) \| one (?:a (minute)|in (ten) seconds) \|$", TEXT, flags=re.MULTILINE)
    seconds = [60 if minute else 10 for _, minute, _ in rows]
    said = [(int(row[0]), each) for row, each in zip(rows, seconds, strict=True)]
    assert said == [attempts.OF_ACCOUNT, attempts.OF_KNOWN, attempts.OF_ADDRESS]
