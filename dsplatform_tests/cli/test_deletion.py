"""`rm`, `restore` and `retention` as a person types them."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from dsplatform.core.errors import Gone, Invalid, NotFound
from dsplatform.versioning.deletion import VersionNamed

Run = Callable[..., Result]


@pytest.fixture
def shop(run: Run, tmp_path: Path) -> Run:
    """`run`, where dataset `shop` has three versions."""
    for number in (1, 2, 3):
        (tmp_path / "orders.csv").write_text("id\n" + "7" * number + "\n")
        run("ingest", tmp_path / "orders.csv", "-d", "shop", "--no-dagster", "--no-schema")
    return run


def versions(shop: Run) -> dict[int, bool]:
    """Number and whether it can be read."""
    return {version["number"]: version["purged_at"] is None for version in json.loads(shop("log", "shop", "--json").stdout)}


def test_rm_deletes_a_version_and_says_what_is_freed(shop: Run) -> None:
    shown = shop("rm", "shop@1", "--yes").stdout
    assert shown == "shop@1: 1 component(s) are deleted; 5 B in 1 file(s) that nothing else names\n"
    assert versions(shop) == {1: False, 2: True, 3: True}
    with pytest.raises(Gone):
        shop("files", "shop@1")


def test_a_dry_run_deletes_nothing_and_says_the_same(shop: Run) -> None:
    looked = json.loads(shop("rm", "shop@1", "--dry-run", "--json").stdout)
    assert versions(shop) == {1: True, 2: True, 3: True}
    assert json.loads(shop("rm", "shop@1", "--yes", "--json").stdout) == looked
    assert looked == {"dataset": "shop", "versions": [1], "components": 1, "freed": {"files": 1, "bytes": 5}}


def test_a_script_must_say_yes(shop: Run) -> None:
    for reference in ("shop", "shop@1"):
        with pytest.raises(Invalid, match=r"--dry-run .* --yes"):
            shop("rm", reference)
    assert versions(shop) == {1: True, 2: True, 3: True}


@pytest.mark.parametrize(("answer", "deleted"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_a_person_is_asked(shop: Run, monkeypatch: pytest.MonkeyPatch, answer: str, deleted: bool) -> None:
    monkeypatch.setattr("dsplatform.cli.deletion._at_a_terminal", lambda: True)
    result = shop("rm", "shop@1", answer=answer)
    assert "shop@1: 1 component(s) go; 5 B in 1 file(s) that nothing else names. Delete?" in result.output
    assert result.exit_code == (0 if deleted else 1)
    assert versions(shop)[1] is not deleted


def test_the_head_is_refused_before_anybody_is_asked(shop: Run) -> None:
    for options in ([], ["--dry-run"], ["--yes"]):
        with pytest.raises(VersionNamed, match="branch 'main'"):
            shop("rm", "shop@3", *options)


def test_a_dataset_goes_and_comes_back(shop: Run) -> None:
    assert "3 version(s) with 3 component(s) would go" in shop("rm", "shop", "--dry-run").stdout
    assert "`dsplatform restore shop` brings it back until" in shop("rm", "shop", "--yes").stdout
    with pytest.raises(NotFound):
        shop("show", "shop")
    assert [entry["slug"] for entry in json.loads(shop("restore", "--json").stdout)] == ["shop"]
    assert "shop" in shop("restore").stdout
    assert shop("restore", "shop", "--as", "store").stdout == "shop is back, as 'store'\n"
    assert "no dataset was deleted" in shop("restore").stdout
    assert versions(shop) == {1: True, 2: True, 3: True}


def test_json_of_dataset_commands(shop: Run) -> None:
    assert json.loads(shop("rm", "shop", "--yes", "--json").stdout)["versions"] == 3
    assert json.loads(shop("restore", "shop", "--json").stdout)["name"] == "shop"
    assert shop("restore", "--json").stdout == "[]\n"


def test_a_rule_is_tried_set_shown_applied_and_dropped(shop: Run) -> None:
    tried = shop("retention", "shop", "--keep-last", 1, "--dry-run").stdout
    assert tried.splitlines() == [
        "shop keeps what branches and tags name and the last 1",
        "goes now: version(s) 1, 2: 11 B in 2 file(s) that nothing else names",
    ]
    assert "has no retention rule" in shop("retention", "shop").stdout
    assert shop("retention", "shop", "--keep-last", 1).stdout == tried == shop("retention", "shop").stdout
    assert versions(shop) == {1: True, 2: True, 3: True}
    assert "2 version(s) would go; 11 B" in shop("retention").stdout
    assert "2 version(s) were deleted; 11 B" in shop("retention", "--apply").stdout
    assert versions(shop) == {1: False, 2: False, 3: True}
    assert "goes now: nothing" in shop("retention", "shop").stdout
    assert "has no retention rule" in shop("retention", "shop", "--off").stdout
    assert json.loads(shop("retention", "shop", "--json").stdout)["rule"] is None


def test_the_nightly_work_also_reaps(shop: Run, database_url: str) -> None:
    from dsplatform.core.database import Database

    shop("rm", "shop", "--yes")
    with Database(database_url) as db, db.transaction() as tx:
        tx.execute("UPDATE datasets SET deleted_at = now() - interval '30 days'")
    assert json.loads(shop("retention", "--json").stdout) == {"removals": [], "freed": {"files": 0, "bytes": 0}, "reaped": []}
    assert "shop, deleted 30 days ago, is gone for good" in shop("retention", "--apply").stdout
    assert json.loads(shop("retention", "--apply", "--json").stdout)["reaped"] == []


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
def test_what_makes_no_sense_is_refused(shop: Run, options: list[str]) -> None:
    with pytest.raises(Invalid):
        shop("retention", *options)


def test_a_terminal_is_asked_of_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    from dsplatform.cli import deletion

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    assert deletion._at_a_terminal()
