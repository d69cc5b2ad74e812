"""docs/migration.md, as a person follows it: each of its commands, in its order."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg import errors as pg
from typer.testing import Result

from dsplatform_tests.legacy.ddl import connected
from dsplatform_tests.legacy.generator import TIMEZONE, build

RUNBOOK = Path(__file__).parents[2] / "docs" / "migration.md"
WRITE = b"UPDATE datasets SET description = 'written there'"


def commands() -> list[str]:
    """The lines of its shell blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", RUNBOOK.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def test_each_command_of_the_runbook_does_what_the_next_one_needs(
    run: Callable[..., Result], legacy_url: str, legacy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(legacy_url, legacy_folder, "G1b", datasets=2, oddities=False)
    monkeypatch.setenv("DSPLATFORM_LEGACY_DATABASE_URL", legacy_url)
    monkeypatch.setenv("DSPLATFORM_LEGACY_ROOTS", str(legacy_folder))
    monkeypatch.setenv("DSPLATFORM_LEGACY_TIMEZONE", TIMEZONE)
    monkeypatch.chdir(tmp_path)
    lines = commands()
    said: dict[str, str] = {}
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "dsp"
        if line == "dsp legacy follow":
            _write(legacy_url)
        said[line] = run(*words).stdout
        if line == "dsp legacy switch":
            with pytest.raises(pg.ReadOnlySqlTransaction):
                _write(legacy_url)
        if line == "dsp legacy rollback":
            _write(legacy_url)
            run("legacy", "follow")
    assert "Migration may start" in said["dsp legacy analyse"]
    assert "CREATE SCHEMA dsplatform_capture" in said["dsp legacy capture --script"]
    assert re.search(r"[1-9]\d* change\(s\) brought over", said["dsp legacy follow"])
    assert "writes come here" in said["dsp legacy switch"]
    assert "writes go to the legacy system" in said["dsp legacy rollback"]
    assert len(said) > 15


def _write(url: str) -> None:
    with connected(url) as connection:
        connection.execute(WRITE)
