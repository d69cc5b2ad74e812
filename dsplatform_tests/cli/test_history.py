"""`log`, `diff`, `merge`, `branch` and `tag` as a person types them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from dsplatform.core.errors import Invalid
from dsplatform.versioning.merging import MergeConflict
from dsplatform.versioning.model import HeadMoved, MainStays

Run = Callable[..., Result]


@pytest.fixture
def shop(run: Run, tmp_path: Path) -> Callable[..., None]:
    """`shop(branch, name=text, …)` commits files; version 1 is on main, 2 on main, 3 on `side` that begins at 1."""

    def commit(branch: str, message: str, **files: str) -> None:
        folder = tmp_path / "delivery" / message
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / f"{name}.csv").write_text(text)
        run("ingest", folder, "-d", "shop", "--no-dagster", "--branch", branch, "-m", message)

    commit("main", "first", a="id\n1\n", b="id\n1\n2\n")
    commit("main", "second", a="id,name\n1,x\n")
    run("branch", "create", "shop@1", "side")
    commit("side", "third", c="id\n9\n")
    return commit


def plain(result: Result) -> list[str]:
    """The lines of a drawing without their times."""
    return [line.split(" 20")[0].rstrip() for line in result.stdout.splitlines()]


def test_log_draws_the_history_with_its_names(run: Run, shop: Callable[..., None]) -> None:
    run("merge", "shop@side", "-m", "together")
    run("tag", "create", "shop@side", "v1.0")
    assert plain(run("log", "shop", "--graph")) == [
        "* 4 (main)",
        "|\\",
        "* | 2",
        "| * 3 (side, tag: v1.0)",
        "|/",
        "* 1",
    ]
    assert run("log", "shop", "--graph").stdout.splitlines()[0].endswith("system together")
    assert plain(run("log", "shop@v1.0", "--graph")) == ["* 3 (side, tag: v1.0)", "* 1"]
    assert plain(run("log", "shop", "--graph", "-n", 1)) == ["* 4 (main)", "|\\"]


def test_log_gives_the_picture_as_data(run: Run, shop: Callable[..., None]) -> None:
    run("merge", "shop@side")
    picture = json.loads(run("log", "shop", "--graph", "--json").stdout)
    assert picture["lanes"] == 2
    assert [(node["version"]["number"], node["lane"], node["branches"]) for node in picture["nodes"]] == [
        (4, 0, ["main"]),
        (2, 0, []),
        (3, 1, ["side"]),
        (1, 0, []),
    ]
    assert {"child": 4, "parent": 3, "merge": True, "path": [[0, 0], [1, 1], [2, 1]]} in picture["edges"]
    assert len(picture["edges"]) == 4


def test_log_of_a_reference_is_what_it_stands_on(run: Run, shop: Callable[..., None]) -> None:
    run("merge", "shop@side")

    def numbers(*arguments: object) -> list[int]:
        return [version["number"] for version in json.loads(run("log", *arguments, "--json").stdout)]

    assert numbers("shop") == [4, 3, 2, 1]
    assert numbers("shop@side") == [3, 1]
    assert numbers("shop@main", "--first-parent") == [4, 2, 1]
    assert numbers("shop", "--before", 3) == [2, 1]
    assert "2, 3" in run("log", "shop@main").stdout


@pytest.mark.parametrize(
    "wrong",
    [["shop@side", "--before", 2], ["shop", "--graph", "--before", 2], ["shop", "--first-parent"], ["shop@1", "--graph", "--first-parent"]],
)
def test_log_refuses_what_does_not_go_together(wrong: list[object], run: Run, shop: Callable[..., None]) -> None:
    with pytest.raises(Invalid, match=r"^--(before|first-parent) "):
        run("log", *wrong)


def test_diff_shows_components_and_columns(run: Run, shop: Callable[..., None]) -> None:
    shown = run("diff", "shop@1", "shop@2").stdout
    assert "changed" in shown
    assert "a.csv" in shown
    assert "name" in shown
    assert shown.splitlines()[-1] == "shop@1 to shop@2: 1 changed, +7 B"
    assert run("diff", "shop", "shop@main").stdout == "shop@2 to shop@2: nothing differs, +0 B\n"
    found = json.loads(run("diff", "shop@2", "shop@side", "--json").stdout)
    assert [(change["kind"], (change["after"] or change["before"])["name"]) for change in found["changes"]] == [
        ("changed", "a.csv"),
        ("added", "c.csv"),
    ]
    assert found["columns"] == [{"component": "a.csv", "table": None, "column": "name", "before": "string", "after": None}]


def test_diff_shows_both_names_of_what_was_renamed(run: Run, shop: Callable[..., None], tmp_path: Path) -> None:
    folder = tmp_path / "renamed"
    folder.mkdir()
    (folder / "bee.csv").write_text("id\n1\n2\n")
    (folder / "a.csv").write_text("id\n1\n")
    run("ingest", folder, "-d", "shop", "--no-dagster", "--replace", "--branch", "new")
    shown = run("diff", "shop@1", "shop@new").stdout
    assert "b.csv → bee.csv" in shown
    assert shown.splitlines()[-1].endswith(": 1 renamed, +0 B")


def test_merge_says_what_it_did(run: Run, shop: Callable[..., None]) -> None:
    assert run("merge", "shop@side").stdout == "merged side into main: shop@4, 1 added, 0 updated, 0 removed\n"
    assert run("merge", "shop@side").stdout == "already merged: main at version 4 holds side\n"
    assert run("merge", "shop@main", "--into", "side").stdout == "side was behind main and moved to version 4\n"
    assert json.loads(run("merge", "shop@side", "--json").stdout)["kind"] == "already merged"


def test_a_conflict_is_decided_on_the_command_line(run: Run, shop: Callable[..., None]) -> None:
    shop("side", "fourth", a="id\n7\n", b="id\n7\n")
    shop("main", "fifth", b="id\n8\n")
    with pytest.raises(MergeConflict, match=r"'a\.csv' .*'b\.csv' .*--strategy ours\|theirs, or .*--choose NAME=ours\|theirs\|base"):
        run("merge", "shop@side")
    with pytest.raises(MergeConflict, match=r"changed 1 component\(s\): 'b\.csv'"):
        run("merge", "shop@side", "--choose", "a.csv=theirs")
    done = json.loads(run("merge", "shop@side", "-c", "a.csv=theirs", "--strategy", "ours", "--json").stdout)
    assert (done["kind"], done["updated"], done["added"]) == ("merged", 1, 1)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (["shop"], "'shop' names a dataset: write shop@REF"),
        (["shop@side", "-s", "base"], "'base' is unknown: ours or theirs"),
        (["shop@side", "-c", "a.csv"], "'a.csv' is not NAME=ours"),
        (["shop@side", "-c", "a.csv=mine"], "'a.csv=mine' is not NAME=ours"),
        (["shop@side", "-c", "=ours"], "'=ours' is not NAME=ours"),
    ],
)
def test_merge_refuses_what_it_does_not_understand(wrong: list[str], sentence: str, run: Run) -> None:
    with pytest.raises(Invalid) as caught:
        run("merge", *wrong)
    assert sentence in str(caught.value)


def test_branches_are_made_moved_renamed_and_deleted(run: Run, shop: Callable[..., None]) -> None:
    assert run("branch", "create", "shop", "team/x").stdout == "branch team/x begins at version 2\n"
    assert run("branch", "rename", "shop", "team/x", "y").stdout == "branch y is at version 2\n"
    with pytest.raises(HeadMoved):
        run("branch", "move", "shop", "y", "side", "--from", 1)
    assert run("branch", "move", "shop", "y", "side", "--from", 2).stdout == "branch y is at version 3\n"
    assert [one["name"] for one in json.loads(run("branch", "list", "shop", "--json").stdout)] == ["main", "side", "y"]
    assert "side" in run("branch", "list", "shop").stdout
    assert run("branch", "delete", "shop", "y").stdout == "branch y is deleted; it was at version 3\n"
    with pytest.raises(MainStays):
        run("branch", "delete", "shop", "main")


def test_tags_are_made_and_deleted(run: Run, shop: Callable[..., None]) -> None:
    assert run("tag", "list", "shop").stdout == "no tag\n"
    assert run("tag", "create", "shop@1", "v1").stdout == "tag v1 names version 1\n"
    assert json.loads(run("tag", "list", "shop", "--json").stdout)[0]["version_number"] == 1
    assert json.loads(run("tag", "delete", "shop", "v1", "--json").stdout)["name"] == "v1"


@pytest.mark.parametrize("name", ["log", "diff", "merge", "branch", "tag"])
def test_help_says_what_each_command_does(name: str, run: Run) -> None:
    assert "Usage" in run(name, "--help").stdout
