"""`legacy validate` as a person types it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from dsplatform_tests.legacy.ddl import connected
from dsplatform_tests.legacy.generator import TIMEZONE, build

Run = Callable[..., Result]


@pytest.fixture
def migrated(run: Run, legacy_url: str, legacy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The legacy system's database, all of which came along."""
    build(legacy_url, legacy_folder, "G1b", datasets=2, oddities=False)
    monkeypatch.setenv("DSPLATFORM_LEGACY_DATABASE_URL", legacy_url)
    monkeypatch.setenv("DSPLATFORM_LEGACY_ROOTS", str(legacy_folder))
    monkeypatch.setenv("DSPLATFORM_LEGACY_TIMEZONE", TIMEZONE)
    assert run("legacy", "migrate").exit_code == 0
    return legacy_url


def test_what_is_the_same_passes_and_what_differs_is_named(run: Run, migrated: str) -> None:
    result = run("legacy", "validate", "--all")
    assert result.exit_code == 0
    assert "V8: nothing was compared" in result.stdout
    assert all(f" {title} " in result.stdout for title in ("counts", "row checksums", "bytes of files", "rights", "accounting"))
    with connected(migrated) as connection:
        connection.execute("UPDATE datasets SET description = 'another' WHERE id = 1")
    result = run("legacy", "validate", "--fast")
    assert result.exit_code == 1
    assert "FAILED" in result.stdout
    assert "'another' there" in " ".join(result.stdout.split())
    assert "bytes of files" not in result.stdout


def test_a_program_gets_json(run: Run, migrated: str) -> None:
    found = json.loads(run("legacy", "validate", "--sample", 3, "--repeat", "--json").stdout)
    assert (found["passed"], found["generation"]) == (True, "G1b")
    checks = {check["code"]: check for check in found["checks"]}
    assert list(checks) == [f"V{number}" for number in range(1, 11)]
    assert [code for code, check in checks.items() if check["passed"] is None] == ["V8"]
    assert checks["V4"]["compared"] == 3
