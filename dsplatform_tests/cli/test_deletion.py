"""`rm`, `restore` and `retention` as a person types them."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dsplatform.cli.app import app
from dsplatform.core.errors import DsplatformError, Gone, Invalid, NotFound
from dsplatform.versioning.deletion import VersionNamed

Run = Callable[..., Result]


@pytest.fixture
def run(database_url: str, empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in a home of its own, where dataset `shop` has three versions. An error of ours is raised, as `main` gets it."""
    monkeypatch.setenv("DSPLATFORM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DSPLATFORM_DATABASE_URL", database_url)
    monkeypatch.setenv("DSPLATFORM_DAGSTER_DATABASE_URL", empty_database_url)

    def invoke(*arguments: object, answer: str | None = None) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=answer)
        if isinstance(result.exception, DsplatformError):
            raise result.exception
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    for number in (1, 2, 3):
        (tmp_path / "orders.csv").write_text("id\n" + "7" * number + "\n")
        invoke("ingest", tmp_path / "orders.csv", "-d", "shop", "--no-dagster", "--no-schema")
    return invoke


def versions(run: Run) -> dict[int, bool]:
    """Number and whether it can be read."""
    return {version["number"]: version["purged_at"] is None for version in json.loads(run("log", "shop", "--json").stdout)}


def test_rm_deletes_a_version_and_says_what_is_freed(run: Run) -> None:
    shown = run("rm", "shop@1", "--yes").stdout
    assert shown == "shop@1: 1 component(s) are deleted; 5 B in 1 file(s) that nothing else names\n"
    assert versions(run) == {1: False, 2: True, 3: True}
    with pytest.raises(Gone):
        run("files", "shop@1")


def test_a_dry_run_deletes_nothing_and_says_the_same(run: Run) -> None:
    looked = json.loads(run("rm", "shop@1", "--dry-run", "--json").stdout)
    assert versions(run) == {1: True, 2: True, 3: True}
    assert json.loads(run("rm", "shop@1", "--yes", "--json").stdout) == looked
    assert looked == {"dataset": "shop", "versions": [1], "components": 1, "freed": {"files": 1, "bytes": 5}}


def test_a_script_must_say_yes(run: Run) -> None:
    for reference in ("shop", "shop@1"):
        with pytest.raises(Invalid, match=r"--dry-run .* --yes"):
            run("rm", reference)
    assert versions(run) == {1: True, 2: True, 3: True}


@pytest.mark.parametrize(("answer", "deleted"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_a_person_is_asked(run: Run, monkeypatch: pytest.MonkeyPatch, answer: str, deleted: bool) -> None:
    monkeypatch.setattr("dsplatform.cli.deletion._at_a_terminal", lambda: True)
    result = run("rm", "shop@1", answer=answer)
    assert "shop@1: 1 component(s) go; 5 B in 1 file(s) that nothing else names. Delete?" in result.output
    assert result.exit_code == (0 if deleted else 1)
    assert versions(run)[1] is not deleted


def test_the_head_is_refused_before_anybody_is_asked(run: Run) -> None:
    for options in ([], ["--dry-run"], ["--yes"]):
        with pytest.raises(VersionNamed, match="branch 'main'"):
            run("rm", "shop@3", *options)


def test_a_dataset_goes_and_comes_back(run: Run) -> None:
    assert "3 version(s) with 3 component(s) would go" in run("rm", "shop", "--dry-run").stdout
    assert "`dsplatform restore shop` brings it back until" in run("rm", "shop", "--yes").stdout
    with pytest.raises(NotFound):
        run("show", "shop")
    assert [entry["slug"] for entry in json.loads(run("restore", "--json").stdout)] == ["shop"]
    assert "shop" in run("restore").stdout
    assert run("restore", "shop", "--as", "store").stdout == "shop is back, as 'store'\n"
    assert "no dataset was deleted" in run("restore").stdout
    assert versions(run) == {1: True, 2: True, 3: True}


def test_json_of_dataset_commands(run: Run) -> None:
    assert json.loads(run("rm", "shop", "--yes", "--json").stdout)["versions"] == 3
    assert json.loads(run("restore", "shop", "--json").stdout)["name"] == "shop"
    assert run("restore", "--json").stdout == "[]\n"


def test_a_rule_is_tried_set_shown_applied_and_dropped(run: Run) -> None:
    tried = run("retention", "shop", "--keep-last", 1, "--dry-run").stdout
    assert tried.splitlines() == [
        "shop keeps what branches and tags name and the last 1",
        "goes now: version(s) 1, 2: 11 B in 2 file(s) that nothing else names",
    ]
    assert "has no retention rule" in run("retention", "shop").stdout
    assert run("retention", "shop", "--keep-last", 1).stdout == tried == run("retention", "shop").stdout
    assert versions(run) == {1: True, 2: True, 3: True}
    assert "2 version(s) would go; 11 B" in run("retention").stdout
    assert "2 version(s) were deleted; 11 B" in run("retention", "--apply").stdout
    assert versions(run) == {1: False, 2: False, 3: True}
    assert "goes now: nothing" in run("retention", "shop").stdout
    assert "has no retention rule" in run("retention", "shop", "--off").stdout
    assert json.loads(run("retention", "shop", "--json").stdout)["rule"] is None


def test_the_nightly_work_also_reaps(run: Run, database_url: str) -> None:
    from dsplatform.core.database import Database

    run("rm", "shop", "--yes")
    with Database(database_url) as db, db.transaction() as tx:
        tx.execute("UPDATE datasets SET deleted_at = now() - interval '30 days'")
    assert json.loads(run("retention", "--json").stdout) == {"removals": [], "freed": {"files": 0, "bytes": 0}, "reaped": []}
    assert "shop, deleted 30 days ago, is gone for good" in run("retention", "--apply").stdout
    assert json.loads(run("retention", "--apply", "--json").stdout)["reaped"] == []


@pytest.mark.parametrize(
    "options",
    [
        ["--keep-last", "3"],
        ["--off"],
        ["shop", "--off", "--keep-last", "3"],
        ["shop", "--apply"],
        ["--apply", "--dry-run"],
        ["shop", "--keep-last", "0"],
        ["shop", "--keep-days", "-1"],
    ],
)
def test_what_makes_no_sense_is_refused(run: Run, options: list[str]) -> None:
    with pytest.raises(Invalid):
        run("retention", *options)


def test_a_terminal_is_asked_of_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    from dsplatform.cli import deletion

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    assert deletion._at_a_terminal()
