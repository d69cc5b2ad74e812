"""Differences between versions, from the database."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsplatform.bootstrap import Platform
from dsplatform.core.database import Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Gone, Invalid, NotFound
from dsplatform.core.types import PermissionType
from dsplatform.core.values import CommitMode, DatasetRef
from dsplatform.versioning.comparison import ComponentChange, Kind, VersionDiff
from dsplatform_tests import make
from dsplatform_tests.strategies import component_names, small_contents


def told(diff: VersionDiff) -> list[tuple[Kind, str | None, str | None]]:
    return [
        (change.kind, change.before.name if change.before else None, change.after.name if change.after else None) for change in diff.changes
    ]


@pytest.fixture
def sales(platform: Platform) -> DatasetRef:
    dataset = make.dataset(platform)
    make.commit(platform, dataset, {"gone": b"1", "old": b"22", "same": b"3", "was": b"4"})
    make.commit(platform, dataset, {"moved": b"22", "new": b"555", "was": b"4444"}, remove=["gone", "old"])
    return dataset


def test_each_difference_is_told_with_its_sizes(platform: Platform, sales: DatasetRef, system: Actor) -> None:
    diff = platform.branches.diff(system, "sales@1", "sales")
    assert told(diff) == [
        (Kind.REMOVED, "gone", None),
        (Kind.RENAMED, "old", "moved"),
        (Kind.ADDED, None, "new"),
        (Kind.CHANGED, "was", "was"),
    ]
    assert [change.growth for change in diff.changes] == [-1, 0, 3, 3]
    assert (diff.before.number, diff.before.components, diff.before.total_bytes) == (1, 4, 5)
    assert (diff.after.number, diff.after.components, diff.after.total_bytes) == (2, 4, 10)
    changed = diff.changes[3]
    assert changed.before
    assert changed.after
    assert {changed.before.content_hash, changed.after.content_hash} == {
        component.content_hash
        for ref in "12"
        for component in platform.versions.get_version(system, sales, ref)[1]
        if component.name == "was"
    }


def test_a_version_does_not_differ_from_itself(platform: Platform, sales: DatasetRef, system: Actor) -> None:
    assert told(platform.branches.diff(system, "sales@2", "sales@latest")) == []


def test_versions_of_two_datasets_are_compared(platform: Platform, sales: DatasetRef, system: Actor) -> None:
    other = make.dataset(platform, "other")
    make.commit(platform, other, {"same": b"3", "was": b"44"})
    diff = platform.branches.diff(system, "sales@1", "other@latest")
    assert (diff.before.dataset, diff.after.dataset) == ("sales", "other")
    assert told(diff) == [(Kind.REMOVED, "gone", None), (Kind.REMOVED, "old", None), (Kind.CHANGED, "was", "was")]


def test_both_datasets_need_the_right_to_read(platform: Platform, sales: DatasetRef, system: Actor) -> None:
    ben = platform.permissions.create_user("ben")
    mine = make.dataset(platform, "mine", ben)
    make.commit(platform, mine, {"same": b"3"}, actor=ben)
    for pair in (("sales", "mine"), ("mine", "sales")):
        with pytest.raises(NotFound, match="dataset 'sales' does not exist"):
            platform.branches.diff(ben, *pair)
    platform.permissions.grant_permission(system, ben, PermissionType.READ, sales.id)
    assert platform.branches.diff(ben, "sales", "mine").changes


@pytest.mark.parametrize(("wrong", "error"), [("sales@", Invalid), ("@1", Invalid), ("sales@9", NotFound), ("none", NotFound)])
def test_what_names_no_version_is_refused(wrong: str, error: type[Exception], platform: Platform, sales: DatasetRef, system: Actor) -> None:
    for pair in ((wrong, "sales"), ("sales", wrong)):
        with pytest.raises(error):
            platform.branches.diff(system, *pair)


def test_a_deleted_version_cannot_be_compared(platform: Platform, sales: DatasetRef, system: Actor) -> None:
    platform.deletion.delete_version(system, "sales@1")
    for pair in (("sales@1", "sales@2"), ("sales@2", "sales@1")):
        with pytest.raises(Gone, match="version 1 of dataset 'sales' was deleted"):
            platform.branches.diff(system, *pair)


# --- columns -----------------------------------------------------------------------------------------------------------------------


def test_the_columns_of_changed_components_are_compared_where_both_are_captured(platform: Platform, system: Actor) -> None:
    dataset = make.dataset(platform)
    first = make.commit(platform, dataset, {"a.csv": b"id,x\n1,2\n", "b.csv": b"id\n1\n", "same.csv": b"k\n1\n", "p.pdf": b"%PDF-1"})
    second = make.commit(platform, dataset, {"a.csv": b"id,y\nq,2\n", "b.csv": b"id\n2\n", "c.csv": b"n\n1\n", "p.pdf": b"%PDF-2"})
    platform.schemas.capture_version_schema(first.version_id)
    assert platform.branches.diff(system, "sales@1", "sales@2").columns == ()
    platform.schemas.capture_version_schema(second.version_id)
    columns = platform.branches.diff(system, "sales@1", "sales@2").columns
    assert {(c.component, c.table, c.column, c.before, c.after) for c in columns} == {
        ("a.csv", None, "y", None, "int64"),
        ("a.csv", None, "x", "int64", None),
        ("a.csv", None, "id", "int64", "string"),
    }


# --- what it costs -----------------------------------------------------------------------------------------------------------------


def test_only_what_differs_travels(platform: Platform, system: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make.dataset(platform)
    make.commit(platform, dataset, {f"{number:04}": str(number).encode() for number in range(600)})
    make.commit(platform, dataset, {"0001": b"new", "more": b"more"}, remove=["0002"])
    statements: list[int] = []
    real = Transaction._run

    def counted(self: Transaction, sql: str, params: Any) -> Any:
        cursor = real(self, sql, params)
        statements.append(cursor.rowcount)
        return cursor

    monkeypatch.setattr(Transaction, "_run", counted)
    assert len(platform.branches.diff(system, "sales@1", "sales@2").changes) == 3
    assert max(statements) == 3
    assert len(statements) <= 16


# --- against a dictionary ----------------------------------------------------------------------------------------------------------

trees = st.dictionaries(component_names, small_contents, min_size=1, max_size=6)


def _applied(state: dict[str, bytes], changes: Sequence[ComponentChange], contents: dict[str, bytes]) -> dict[str, bytes]:
    result = dict(state)
    for change in changes:
        if change.before:
            del result[change.before.name]
    for change in changes:
        if change.after:
            result[change.after.name] = contents[change.after.content_hash]
    return result


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(one=trees, other=trees)
def test_the_differences_lead_from_one_version_to_the_other(one: dict[str, bytes], other: dict[str, bytes], platform: Platform) -> None:
    system = platform.actor()
    dataset = make.dataset(platform, f"d{uuid4().hex}")
    make.commit(platform, dataset, one)
    make.commit(platform, dataset, other, mode=CommitMode.REPLACE)
    _, components = platform.versions.get_version(system, dataset)
    contents = {str(component.content_hash): other[component.name] for component in components}
    diff = platform.branches.diff(system, f"{dataset.slug}@1", dataset.slug)
    assert _applied(one, diff.changes, contents) == other
    assert sum(change.growth for change in diff.changes) == diff.after.total_bytes - diff.before.total_bytes
