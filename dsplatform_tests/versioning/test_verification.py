"""Each invariant of versions and pointers is broken on purpose, and `verify` must say so, and nothing else."""

import json
from pathlib import Path

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.types import FileId
from dsplatform_tests import make


@pytest.fixture
def kept(platform: Platform) -> Platform:
    """Two datasets: one with three versions and a branch beside main, one with a single version."""
    dataset = make.dataset(platform)
    make.commit(platform, dataset, {"a": b"1", "b": b"22"})
    make.commit(platform, dataset, {"a": b"333"})
    make.commit(platform, dataset, {"c": b"4444"}, branch="side")
    make.commit(platform, make.dataset(platform, "other"), {"a": b"1"})
    assert make.problems(platform) == []
    return platform


def change(platform: Platform, *statements: str) -> None:
    """Changes rows behind the constraints' and the triggers' backs, as a bad disk or a bad restore does."""
    with make.tampering(platform.db) as tx:
        tx.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            tx.execute(statement)


def found(platform: Platform, *, contents: bool = False) -> set[tuple[str, str, str]]:
    """What is against the invariants of versions: breaking them here also breaks counts, which are another module's."""
    return {(p.invariant, p.subject, p.finding) for p in make.problems(platform, contents=contents) if p.invariant in {"I5", "I7"}}


AT = "(SELECT id FROM dataset_versions v WHERE v.dataset_id = {} AND v.version_number = {})"
OTHER = AT.format(2, 1)
NO_CHECK = "ALTER TABLE dataset_versions DROP CONSTRAINT ck_dataset_versions_parents_are_older"

BROKEN: dict[str, tuple[list[str], set[tuple[str, str, str]]]] = {
    "a branch that names another dataset's version": (
        [f"UPDATE dataset_pointers SET version_id = {OTHER} WHERE pointer_name = 'side'"],
        {("I5", "sales side", "it names no version of its dataset")},
    ),
    "a branch that names nothing": (
        ["UPDATE dataset_pointers SET version_id = 999 WHERE pointer_name = 'side'"],
        {("I5", "sales side", "it names no version of its dataset")},
    ),
    "a branch on a deleted version": (
        [f"UPDATE dataset_versions SET purged_at = now() WHERE id = {AT.format(1, 3)}"],
        {("I5", "sales side", "it names version 3, which was deleted")},
    ),
    "no main": (
        ["DELETE FROM dataset_pointers WHERE dataset_id = 1 AND pointer_name = 'main'"],
        {("I5", "sales", "it has versions, and no branch main")},
    ),
    "a tag called main": (
        ["UPDATE dataset_pointers SET is_tag = true WHERE dataset_id = 1 AND pointer_name = 'main'"],
        {("I5", "sales", "it has versions, and no branch main")},
    ),
    "a component that is gone": (
        [f"DELETE FROM dataset_version_files WHERE version_id = {AT.format(1, 2)} AND component_name = 'b'"],
        {("I5", "sales@2", "it has 1 component(s) with 3 bytes, not 2 with 5")},
    ),
    "all components gone": (
        [f"DELETE FROM dataset_version_files WHERE version_id = {OTHER}"],
        {("I5", "other@1", "it has 0 component(s) with 0 bytes, not 1 with 1")},
    ),
    "a component that is another": (
        [
            (
                f"UPDATE dataset_version_files SET file_id = (SELECT file_id FROM dataset_version_files WHERE component_name = 'c') "
                f"WHERE version_id = {AT.format(1, 2)} AND component_name = 'b'"
            )
        ],
        {("I5", "sales@2", "it has 2 component(s) with 7 bytes, not 2 with 5")},
    ),
    "a number that is missing": (
        [f"UPDATE dataset_versions SET version_number = 5 WHERE id = {AT.format(1, 3)}"],
        {("I7", "sales", "it has 3 version(s), numbered 1 to 5")},
    ),
    "a number that is missing above the imported ones": (
        [
            f"UPDATE dataset_versions SET version_number = 9, imported = true WHERE id = {AT.format(1, 2)}",
            f"UPDATE dataset_versions SET version_number = 11 WHERE id = {AT.format(1, 3)}",
        ],
        {("I7", "sales", "it has 1 version(s) above the imported ones, numbered 11 to 11")},
    ),
    "a parent in another dataset": (
        [NO_CHECK, f"UPDATE dataset_versions SET parent_version_id = {OTHER} WHERE id = {AT.format(1, 3)}"],
        {("I7", "sales@3", "its parent (id 4) belongs to another dataset")},
    ),
    "a parent that does not exist": (
        [NO_CHECK, f"UPDATE dataset_versions SET merge_parent_version_id = 999 WHERE id = {AT.format(1, 3)}"],
        {("I7", "sales@3", "its parent (id 999) does not exist")},
    ),
    "a cycle": (
        [NO_CHECK, f"UPDATE dataset_versions SET parent_version_id = {AT.format(1, 3)} WHERE id = {AT.format(1, 2)}"],
        {("I7", "sales@2", "its parent 3 is no older one")},
    ),
    "a version that is its own parent": (
        [NO_CHECK, f"UPDATE dataset_versions SET merge_parent_version_id = id WHERE id = {AT.format(1, 2)}"],
        {("I7", "sales@2", "its parent 2 is no older one")},
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_found(case: str, kept: Platform) -> None:
    statements, expected = BROKEN[case]
    change(kept, *statements)
    assert found(kept) == expected


def test_imported_versions_may_have_gaps_and_what_is_made_after_them_has_none(kept: Platform) -> None:
    change(
        kept,
        f"UPDATE dataset_versions SET version_number = 4, imported = true WHERE id = {AT.format(1, 2)}",
        f"UPDATE dataset_versions SET version_number = 5 WHERE id = {AT.format(1, 3)}",
    )
    assert found(kept) == set()


def test_a_dataset_whose_imported_versions_were_all_deleted_needs_no_main(kept: Platform) -> None:
    gone = f"WHERE id = {AT.format(2, 1)}"
    change(
        kept, "DELETE FROM dataset_pointers WHERE dataset_id = 2", f"UPDATE dataset_versions SET purged_at = now(), imported = true {gone}"
    )
    assert found(kept) == set()
    change(kept, f"UPDATE dataset_versions SET imported = false {gone}")
    assert found(kept) == {("I5", "other", "it has versions, and no branch main")}


def test_a_deleted_version_and_a_deleted_dataset_are_as_they_shall_be(kept: Platform) -> None:
    change(
        kept,
        f"UPDATE dataset_versions SET purged_at = now() WHERE id = {AT.format(1, 1)}",
        f"DELETE FROM dataset_version_files WHERE version_id = {AT.format(1, 1)} AND component_name = 'a'",
        "UPDATE datasets SET deleted_at = now() WHERE id = 2",
        "DELETE FROM dataset_pointers WHERE dataset_id = 2",
        "DELETE FROM dataset_version_files WHERE version_id = " + OTHER,
    )
    assert found(kept, contents=True) == set()


def test_an_overlay_that_does_not_follow_its_parent_is_found_by_reading(kept: Platform) -> None:
    change(kept, f"UPDATE dataset_versions SET parent_version_id = {AT.format(1, 1)} WHERE id = {AT.format(1, 3)}")
    assert found(kept) == set()  # an older version of the same dataset: only the overlay knows better
    ((invariant, subject, finding),) = found(kept, contents=True)
    assert (invariant, subject) == ("I7", "sales@3")
    assert finding.startswith('its overlay says parent {"number": 2')


def test_a_parent_whose_overlay_was_exchanged_is_found_by_reading(kept: Platform) -> None:
    change(kept, f"UPDATE dataset_versions SET overlay_file_id = (SELECT overlay_file_id FROM dataset_versions WHERE id = {OTHER}) "
                 f"WHERE id = {AT.format(1, 2)}")  # fmt: skip
    findings = {(subject, finding.split(" {")[0].split(' "')[0]) for _, subject, finding in found(kept, contents=True)}
    assert findings == {("sales@2", "its overlay says dataset"), ("sales@3", "its overlay says parent")}


@pytest.mark.parametrize(
    ("written", "finding"),
    [
        (b"\xff\xfe no text", "its overlay is no JSON document"),
        (b"[1]", "its overlay is no document of a version"),
        (json.dumps({"dataset": "sales", "parent": None}).encode(), "its overlay says parent null, not {"),
        (None, "its overlay cannot be read: "),
    ],
)
def test_an_overlay_that_says_nothing_is_found_by_reading(written: bytes | None, finding: str, kept: Platform) -> None:
    (overlay,) = make.column(kept.db, "SELECT overlay_file_id FROM dataset_versions WHERE id = " + AT.format(1, 2))
    path: Path = make.object_path(kept, FileId(overlay))
    path.chmod(0o600)
    if written is None:
        path.unlink()
    else:
        path.write_bytes(written)
    ((_, subject, said),) = found(kept, contents=True)
    assert (subject, said[: len(finding)]) == ("sales@2", finding)
