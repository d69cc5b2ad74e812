"""`legacy migrate`, `status` and `quarantine` as a person types them."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from dsplatform.core.errors import DsplatformError, Invalid, NotFound
from dsplatform.migration import backfill, landing_files
from dsplatform_tests.legacy.generator import OLD_MOUNT, Built, build

Run = Callable[..., Result]


@pytest.fixture
def legacy(legacy_url: str, legacy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Built:
    """A legacy system with all oddities, named by the settings."""
    built = build(legacy_url, legacy_folder, "G1b", datasets=1)
    monkeypatch.setattr(landing_files, "PAUSE", 0.0)
    monkeypatch.setenv("DSPLATFORM_LEGACY_DATABASE_URL", legacy_url)
    monkeypatch.setenv("DSPLATFORM_LEGACY_ROOTS", str(legacy_folder))
    monkeypatch.setenv("DSPLATFORM_LEGACY_BASE", str(legacy_folder))
    monkeypatch.setenv("DSPLATFORM_LEGACY_MOUNTS", f"{OLD_MOUNT}={legacy_folder}")
    return built


def test_a_migration_is_told_and_decided(run: Run, legacy: Built) -> None:
    assert "nothing was migrated yet" in run("legacy", "status").stdout
    result = run("legacy", "migrate", "--pause-ms", "1")
    assert result.exit_code == 0, result.output
    assert "done: " in result.stdout
    assert "bad_password_hash" in result.stdout
    status = json.loads(run("legacy", "status", "--json").stdout)
    assert all(account["holds"] for account in status["accounts"])
    assert {account["entity"]: account["source"] for account in status["accounts"]}["users"] == legacy.counts["users"]
    assert "generation G1b" in run("legacy", "status").stdout

    found = json.loads(run("legacy", "quarantine", "list", "--reason", "bad_password_hash", "--json").stdout)
    assert found
    assert run("legacy", "quarantine", "list", "--limit", "1").stdout.count("--after") == 1
    number = str(found[0]["id"])
    shown = run("legacy", "quarantine", "show", number).stdout
    assert "give the user a new password" in shown
    assert "(left out)" in shown
    assert "1 row(s) decided" in run("legacy", "quarantine", "resolve", "she has one", "--number", number).stdout
    assert "she has one" in run("legacy", "quarantine", "show", number).stdout
    left = json.loads(run("legacy", "quarantine", "retry", "--reason", "bad_password_hash", "--json").stdout)
    assert left == {"tried": len(found) - 1, "waiting": len(found) - 1}
    again = json.loads(run("legacy", "migrate", "--json").stdout)
    assert (again["state"], again["written"]) == ("done", 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_is_asked_to_end_ends_after_the_batch(
    number: signal.Signals, run: Run, legacy: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(backfill, "wait", lambda *_: os.kill(os.getpid(), number))
        result = run("legacy", "migrate")
    assert result.exit_code == 8, result.output
    assert "stopped: " in result.stdout
    assert "goes on where it stopped" in result.stdout
    assert signal.getsignal(number) == before
    assert "not read to the end: roles" in run("legacy", "status").stdout
    assert run("legacy", "migrate").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "kind", "sentence"),
    [
        (["--only", "shoes"], Invalid, "'shoes' is no legacy table"),
        (["--accept", "shoes"], Invalid, "'shoes' is no reason"),
        (["--only", "version_tags"], NotFound, "has no table version_tags"),
    ],
)
def test_what_is_asked_for_wrongly_is_said(
    arguments: list[str], kind: type[DsplatformError], sentence: str, run: Run, legacy: Built
) -> None:
    with pytest.raises(kind, match=sentence):
        run("legacy", "migrate", *arguments)
