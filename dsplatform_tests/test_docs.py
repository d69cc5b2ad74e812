"""What the documents promise is there."""

import re
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from dsplatform.cli.app import EXIT_CODES, app
from dsplatform.core.settings import documentation

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()


def commands() -> list[str]:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return [name for name, command in group.commands.items() if not command.hidden]


def test_the_first_screen_says_the_two_commands() -> None:
    screen = README[:1500]
    assert "make run" in screen
    assert "make test" in screen


@pytest.mark.parametrize("name", commands())
def test_every_command_is_in_the_readme(name: str) -> None:
    assert re.search(rf"`{name}[ `]", README), name


def test_every_setting_is_in_the_readme_with_its_default_and_meaning() -> None:
    for variable, default, meaning in documentation():
        assert f"| `{variable}` | {f'`{default}`' if default else 'empty'} | {meaning} |" in README


def test_the_readme_names_no_setting_that_does_not_exist() -> None:
    known = {variable for variable, _, _ in documentation()}
    assert set(re.findall(r"\bDSPLATFORM_[A-Z_]+[A-Z]\b", README)) <= known


def test_every_exit_code_is_explained() -> None:
    sentence = README[README.index("Exit codes:") :][:300]
    for code in [*EXIT_CODES.values(), 0, 7]:
        assert re.search(rf"\b{code} ", sentence), code


def test_the_readmes_shell_lines_name_real_commands_and_options() -> None:
    group = typer.main.get_command(app)
    lines = re.findall(r"^dsp (.*)$", README, flags=re.MULTILINE)
    assert len(lines) >= 8
    for line in lines:
        words = line.partition("#")[0].split()
        command = group
        while isinstance(command, TyperGroup):
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts}
        for word in words:
            assert not word.startswith("-") or word in options, (line, word)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:[a-z_]+/)*[a-z_0-9]+\.(?:py|yaml|yml|toml))(?::[^`]*)?`", ARCHITECTURE))))
def test_every_file_that_the_architecture_names_exists(path: str) -> None:
    assert any((base / path).exists() for base in (ROOT, ROOT / "dsplatform")), path


def test_no_source_file_is_longer_than_400_lines() -> None:
    long = {str(path): count for path in (ROOT / "dsplatform").rglob("*.py") if (count := len(path.read_text().splitlines())) > 400}
    assert long == {}
