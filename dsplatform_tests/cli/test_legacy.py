"""`legacy analyse` as a person types it."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from dsplatform import migration
from dsplatform.cli import app
from dsplatform.core.errors import Unavailable
from dsplatform_tests.legacy.generator import OLD_MOUNT, TIMEZONE, Built, build

Run = Callable[..., Result]
RUNBOOK = Path(__file__).parents[2] / "docs" / "migration.md"


@pytest.fixture
def legacy(legacy_url: str, legacy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Built:
    """A legacy system with all oddities, named by the settings."""
    built = build(legacy_url, legacy_folder, "G1b", datasets=3)
    monkeypatch.setenv("DSPLATFORM_LEGACY_DATABASE_URL", legacy_url)
    monkeypatch.setenv("DSPLATFORM_LEGACY_ROOTS", str(legacy_folder))
    monkeypatch.setenv("DSPLATFORM_LEGACY_BASE", str(legacy_folder))
    monkeypatch.setenv("DSPLATFORM_LEGACY_MOUNTS", f"{OLD_MOUNT}={legacy_folder}")
    monkeypatch.setenv("DSPLATFORM_LEGACY_TIMEZONE", TIMEZONE)
    return built


def test_the_analysis_is_shown_and_exit_code_0_says_that_migration_may_start(run: Run, legacy: Built) -> None:
    result = run("legacy", "analyse")
    assert result.exit_code == 0
    assert "Migration may start." in result.stdout
    assert "D13.missing" in result.stdout
    assert "a sample" in result.stdout


def test_a_program_gets_the_same_as_json(run: Run, legacy: Built) -> None:
    found = json.loads(run("legacy", "analyse", "--json", "--hash").stdout)
    assert (found["format"], found["may_start"], found["generation"]) == (1, True, "G1b")
    assert {oddity["code"]: oddity["count"] for oddity in found["oddities"]}["D9"] == len(legacy.keys("D9"))
    assert found["files"]["read"] == found["files"]["located"]


def test_the_report_can_be_written_to_a_file(run: Run, legacy: Built, tmp_path: Path) -> None:
    assert "written to" in run("legacy", "analyse", "--output", tmp_path / "report.md").stdout
    assert (tmp_path / "report.md").read_text().startswith("# Analysis of the legacy system\n\n**Migration may start.**")
    run("legacy", "analyse", "--json", "--output", tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["may_start"] is True


def test_exit_code_1_says_that_something_blocks(run: Run, legacy: Built, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DSPLATFORM_LEGACY_ROOTS", "")
    result = run("legacy", "analyse", "--output", tmp_path / "report.md")
    assert result.exit_code == 1
    assert "Migration may not start" in (tmp_path / "report.md").read_text()


def test_without_a_legacy_database_the_setting_is_named(run: Run) -> None:
    with pytest.raises(Unavailable, match="DSPLATFORM_LEGACY_DATABASE_URL") as refused:
        run("legacy", "analyse")
    assert app.exit_code(refused.value) == 6


def test_each_command_of_the_runbook_runs(run: Run, legacy: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = re.findall(r"^dsp (legacy analyse.*)$", RUNBOOK.read_text(), re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        assert run(*line.split()).exit_code == 0, line


def test_every_finding_is_explained_in_the_runbook() -> None:
    sources = (
        Path(migration.__file__).parent / f"{name}.py"
        for name in ("odd_files", "odd_history", "odd_names", "odd_values", "disk", "figures")
    )
    codes = {
        code
        for source in sources
        for code in re.findall(r'(?:Question|Oddity)\(\s*"(\w[\w.]*)",|^    "(\w+)": \($', source.read_text(), re.MULTILINE)
    }
    own = {code for pair in codes for code in pair if code and not re.match(r"(D|U)\d", code)}
    assert len(own) >= 15
    text = RUNBOOK.read_text()
    assert [code for code in sorted(own) if f"`{code}`" not in text] == []


def test_help_teaches(run: Run) -> None:
    text = run("legacy", "analyse", "--help").stdout
    for word in ("--hash", "--output", "--json", "changes nothing", "SELECT", "Exit code 1"):
        assert word in text
