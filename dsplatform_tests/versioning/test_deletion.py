"""Deleting versions: what it refuses, what readers see, what it frees, and what a crash or a race leaves."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.database import Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Denied, Gone, Invalid, NotFound
from dsplatform.core.types import DatasetId, PermissionType, PointerName, VersionId
from dsplatform.core.values import Committed, Component, DatasetRef
from dsplatform.datasets.service import DatasetService
from dsplatform.schemas.capturing import SchemaNotCaptured
from dsplatform.versioning import deletion as module
from dsplatform.versioning.deletion import VersionNamed
from dsplatform.versioning.history import Names
from dsplatform.versioning.model import VersionMissing
from dsplatform.versioning.pointers import Pointers
from dsplatform.versioning.removals import Removals
from dsplatform.versioning.repository import Versions
from dsplatform.versioning.retention import Freed, Removal, Rule
from dsplatform_tests import make


@pytest.fixture
def sales(platform: Platform) -> DatasetRef:
    return make.dataset(platform)


@pytest.fixture
def three(platform: Platform, sales: DatasetRef) -> list[Committed]:
    """Versions 1 to 3 on main: `same` never changes, `new` always does."""
    return [make.commit(platform, sales, {"same": b"same", "new": b"x" * number}) for number in (1, 2, 3)]


def sizes(platform: Platform) -> list[int]:
    """Of every object on the storage."""
    return [(Path(platform.settings.storage_url) / "objects" / key).stat().st_size for key in make.objects(platform)]


def readable(platform: Platform, dataset: DatasetRef) -> list[int]:
    """Numbers of the versions that can be read, as reading them shows."""
    numbers = []
    for version in platform.versions.list_versions(platform.actor(), dataset):
        try:
            platform.versions.get_version(platform.actor(), dataset, str(version.number))
        except Gone:
            assert version.purged_at is not None
            continue
        assert version.purged_at is None
        numbers.append(version.number)
    return sorted(numbers)


# --- one version ---------------------------------------------------------------------------------------------------------------


def test_a_deleted_version_frees_what_only_it_names(platform: Platform, system: Actor, three: list[Committed]) -> None:
    removal = platform.deletion.delete_version(system, "sales@1")
    assert removal == Removal("sales", (1,), 2, Freed(1, 1))
    assert make.unnamed(platform) == (1, 1)
    make.assert_sound(platform)
    before = sum(sizes(platform))
    assert make.drained(platform) == removal.freed.files
    assert before - sum(sizes(platform)) == removal.freed.bytes
    make.assert_sound(platform)


def test_the_others_are_untouched(platform: Platform, system: Actor, sales: DatasetRef, three: list[Committed]) -> None:
    platform.deletion.delete_version(system, "sales@2")
    assert make.held(platform, sales, "1") == {"same": b"same", "new": b"x"}
    assert make.held(platform, sales) == {"same": b"same", "new": b"xxx"}


def test_the_history_keeps_the_row_and_says_since_when_it_is_gone(
    platform: Platform, system: Actor, sales: DatasetRef, three: list[Committed]
) -> None:
    platform.deletion.delete_version(system, "sales@2")
    newest, gone, oldest = platform.versions.list_versions(system, sales)
    assert (newest.parent_number, gone.parent_number) == (2, 1)
    assert gone.purged_at is not None
    assert newest.purged_at is oldest.purged_at is None


def test_every_way_to_read_it_says_gone(platform: Platform, system: Actor, sales: DatasetRef, three: list[Committed]) -> None:
    platform.deliver()
    for committed in three:
        platform.schemas.capture_version_schema(committed.version_id)
    gone, kept = three[0].version_id, three[1].version_id
    platform.deletion.delete_version(system, "sales@1")
    reads: list[Callable[[], object]] = [
        lambda: platform.versions.get_version(system, sales, "1"),
        lambda: platform.versions.find(system, "sales@1"),
        lambda: platform.schemas.schema_of(system, sales, gone),
        lambda: platform.schemas.columns(system, sales, gone),
        lambda: platform.schemas.compare(system, sales, gone, kept),
        lambda: platform.schemas.compare(system, sales, kept, gone),
        lambda: platform.schemas.capture_version_schema(gone),
        lambda: platform.deletion.delete_version(system, "sales@1"),
        lambda: platform.deletion.preview_version(system, "sales@1"),
    ]
    for read in reads:
        with pytest.raises(Gone, match=r"version 1 of dataset 'sales' was deleted on \d{4}-\d\d-\d\d: .*`dsplatform log sales`"):
            read()


def test_gone_is_not_found_for_who_does_not_know_the_difference() -> None:
    assert issubclass(Gone, NotFound)
    assert Gone.code == "gone"


def test_readers_see_it_gone_before_the_first_component_goes(
    platform: Platform, system: Actor, sales: DatasetRef, three: list[Committed], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def look(name: str) -> None:
        seen.append(make.column(platform.db, "SELECT count(*) FROM dataset_version_files WHERE version_id = :v", v=three[0].version_id)[0])
        assert readable(platform, sales) == [2, 3]

    monkeypatch.setattr(module, "BATCH", 1)
    monkeypatch.setattr(module, "reach", look)
    platform.deletion.delete_version(system, "sales@1")
    assert seen == [1, 0]


@pytest.mark.parametrize("tag", [True, False])
def test_a_version_that_a_pointer_names_is_refused_and_the_pointer_is_said(
    platform: Platform, system: Actor, sales: DatasetRef, three: list[Committed], tag: bool
) -> None:
    make.point(platform, sales, "kept", three[0].version_id, tag=tag)
    for attempt in (platform.deletion.delete_version, platform.deletion.preview_version):
        with pytest.raises(VersionNamed, match=f"version 1 of dataset 'sales' .* {'tag' if tag else 'branch'} 'kept' points at it"):
            attempt(system, "sales@1")
    assert readable(platform, sales) == [1, 2, 3]


@pytest.mark.parametrize("ref", ["main", "latest", "3"])
def test_the_head_cannot_be_deleted_whatever_it_is_called(platform: Platform, system: Actor, three: list[Committed], ref: str) -> None:
    with pytest.raises(VersionNamed, match="branch 'main'"):
        platform.deletion.delete_version(system, f"sales@{ref}")


def test_latest_is_the_newest_that_can_be_read(platform: Platform, system: Actor, sales: DatasetRef, three: list[Committed]) -> None:
    with platform.db.transaction() as tx:
        Pointers(tx).move(sales.id, PointerName("main"), three[2].version_id, three[1].version_id)
    platform.deletion.delete_version(system, "sales@3")
    assert platform.versions.find(system, "sales@latest")[1].number == 2
    assert platform.versions.newest_of_all() == [(sales, three[1].version_id)]
    summary = platform.datasets.get(system, "sales")
    assert (summary.versions, summary.latest_version) == (2, 2)
    assert make.commit(platform, sales, {"new": b"next"}).version_number == 4


def test_a_reference_without_a_version_or_to_none_is_refused(platform: Platform, system: Actor, three: list[Committed]) -> None:
    with pytest.raises(Invalid, match="DATASET@REF"):
        platform.deletion.delete_version(system, "sales")
    with pytest.raises(VersionMissing):
        platform.deletion.delete_version(system, "sales@9")


def test_only_who_administers_the_dataset_may_delete_or_look_at_what_it_would_free(
    platform: Platform, system: Actor, sales: DatasetRef, three: list[Committed]
) -> None:
    ben = platform.permissions.create_user("ben")
    platform.permissions.grant_permission(system, ben, PermissionType.WRITE, sales.id)
    for attempt in (
        lambda: platform.deletion.delete_version(ben, "sales@1"),
        lambda: platform.deletion.preview_version(ben, "sales@1"),
        lambda: platform.deletion.preview_dataset(ben, "sales"),
        lambda: platform.deletion.retention(ben, "sales"),
        lambda: platform.deletion.set_retention(ben, "sales", Rule(1, None)),
    ):
        with pytest.raises(Denied, match="'admin'"):
            attempt()
    assert readable(platform, sales) == [1, 2, 3]


def test_a_name_that_is_another_datasets_slug_deletes_from_the_right_one(platform: Platform, system: Actor, sales: DatasetRef) -> None:
    platform.datasets.update_dataset(system, "sales", new_name="old")
    other = make.dataset(platform, "sales")
    for dataset in (sales, other):
        make.commit(platform, dataset, {"a": dataset.slug.encode()})
        make.commit(platform, dataset, {"a": b"2"})
    platform.deletion.delete_version(system, "old@1")
    assert (readable(platform, sales), readable(platform, other)) == ([2], [1, 2])


def test_a_pending_capture_of_a_deleted_version_is_pending_no_more(
    platform: Platform, system: Actor, sales: DatasetRef, three: list[Committed]
) -> None:
    platform.deletion.delete_version(system, "sales@1")  # before its event is delivered
    platform.deliver()
    platform.deletion.delete_version(system, "sales@2")  # after
    assert platform.schemas.pending(10) == [three[2].version_id]
    with pytest.raises(Gone):
        platform.schemas.capture_version_schema(three[1].version_id)
    with pytest.raises(SchemaNotCaptured):
        platform.schemas.schema_of(system, sales, three[2].version_id)


# --- crashes -------------------------------------------------------------------------------------------------------------------


def test_what_a_crash_leaves_the_next_run_takes(
    platform: Platform, system: Actor, sales: DatasetRef, three: list[Committed], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = platform.deletion.preview_version(system, "sales@2").freed
    with monkeypatch.context() as patched:
        patched.setattr(module, "BATCH", 1)
        patched.setattr(module, "reach", _die)
        with pytest.raises(KeyboardInterrupt):
            platform.deletion.delete_version(system, "sales@2")
    assert readable(platform, sales) == [1, 3]
    assert make.column(platform.db, "SELECT count(*) FROM dataset_version_files") == [5]
    make.assert_sound(platform)
    assert platform.deletion.resume() == 1
    assert platform.deletion.resume() == 0
    assert Freed(*make.unnamed(platform)) == expected
    make.assert_sound(platform)


def _die(_name: str) -> None:
    raise KeyboardInterrupt


def test_the_rows_of_a_version_that_is_not_marked_are_never_taken(platform: Platform, sales: DatasetRef, three: list[Committed]) -> None:
    with platform.db.transaction() as tx:
        assert Removals(tx).empty([committed.version_id for committed in three], 100) == 0
    assert readable(platform, sales) == [1, 2, 3]


# --- readers -------------------------------------------------------------------------------------------------------------------


def test_a_reader_that_a_deletion_overtakes_is_told_so_and_never_gets_a_part(
    platform: Platform, system: Actor, sales: DatasetRef, three: list[Committed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole deletion happens between the two statements of a reader."""
    ask = Versions.living
    deleted: list[bool] = []

    def overtaken(self: Versions, version_id: VersionId) -> None:
        if not deleted:
            deleted.append(True)
            platform.deletion.delete_version(system, "sales@1")
        ask(self, version_id)

    monkeypatch.setattr(Versions, "living", overtaken)
    with pytest.raises(Gone):
        platform.versions.get_version(system, sales, "1")


def test_mutant_a_reader_that_asks_first_gets_a_version_without_components(
    platform: Platform, system: Actor, sales: DatasetRef, three: list[Committed], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, read = Versions.living, Versions.components

    def hasty(self: Versions, version_id: VersionId) -> Sequence[Component]:
        ask(self, version_id)
        platform.deletion.delete_version(system, "sales@1")
        monkeypatch.setattr(Versions, "living", lambda *_: None)
        return read(self, version_id)

    monkeypatch.setattr(Versions, "components", hasty)
    version, components = platform.versions.get_version(system, sales, "1")
    assert (version.components, list(components)) == (2, [])


# --- races ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def without_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: nobody holds the dataset's lock."""

    def nothing(self: DatasetService, tx: Transaction, dataset_id: DatasetId) -> None: ...

    monkeypatch.setattr(DatasetService, "lock", nothing)


Name = Callable[[Platform, DatasetRef, VersionId], object]
"""Makes a branch or a tag `kept` point at version 1, whose id is given."""


def _branch(platform: Platform, sales: DatasetRef, _first: VersionId) -> object:
    return platform.branches.create_branch(platform.actor(), sales, "kept", "1")


def _tag(platform: Platform, sales: DatasetRef, _first: VersionId) -> object:
    return platform.branches.create_tag(platform.actor(), sales, "kept", "1")


def _move(platform: Platform, sales: DatasetRef, _first: VersionId) -> object:
    (head,) = make.column(platform.db, "SELECT version_id FROM dataset_pointers WHERE pointer_name = 'main'")
    return platform.branches.update_branch(platform.actor(), sales, "main", "1", expected_head=head)


NAMING = pytest.mark.parametrize("name", [_branch, _tag, _move])


def naming_first(
    platform: Platform, sales: DatasetRef, first: VersionId, name: Name, monkeypatch: pytest.MonkeyPatch, *, met: bool
) -> None:
    """A deletion begins while version 1 is being named, between the write and its commit. Raises what the deletion raises."""
    done: list[bool] = []
    deletion: list[Future[object]] = []

    def delete() -> object:
        try:
            return platform.deletion.delete_version(platform.actor(), "sales@1")
        finally:
            done.append(True)

    with ThreadPoolExecutor(1) as pool:

        def and_then(write: Callable[..., bool]) -> Callable[..., bool]:
            def written(*args: object, **kwargs: object) -> bool:
                answer = write(*args, **kwargs)
                deletion.append(pool.submit(delete))
                assert make.until_blocked(platform.db, or_done=lambda: bool(done)) is met
                return answer

            return written

        monkeypatch.setattr(Names, "add", and_then(Names.add))
        monkeypatch.setattr(Pointers, "move", and_then(Pointers.move))
        name(platform, sales, first)
        deletion[0].result(make.PATIENCE)


def deletion_first(
    platform: Platform, sales: DatasetRef, first: VersionId, name: Name, monkeypatch: pytest.MonkeyPatch, *, met: bool
) -> None:
    """Version 1 is named while a deletion, which found no pointer, marks it. Raises what the naming raises."""
    done: list[bool] = []
    naming: list[Future[object]] = []
    mark = Removals.mark

    def begin() -> object:
        try:
            return name(platform, sales, first)
        finally:
            done.append(True)

    with ThreadPoolExecutor(1) as pool:

        def slowly(self: Removals, version_ids: list[VersionId]) -> None:
            naming.append(pool.submit(begin))
            assert make.until_blocked(platform.db, or_done=lambda: bool(done)) is met
            mark(self, version_ids)

        monkeypatch.setattr(Removals, "mark", slowly)
        platform.deletion.delete_version(platform.actor(), "sales@1")
        naming[0].result(make.PATIENCE)


def test_of_two_deletions_at_once_one_does_it_and_the_other_is_told(
    platform: Platform, sales: DatasetRef, three: list[Committed], monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(platform: Platform, _sales: DatasetRef, _first: VersionId) -> object:
        return platform.deletion.delete_version(platform.actor(), "sales@1")

    with pytest.raises(Gone):
        deletion_first(platform, sales, three[0].version_id, again, monkeypatch, met=True)
    assert make.unnamed(platform) == (1, 1)
    make.assert_sound(platform)


@NAMING
def test_what_is_being_named_is_not_deleted(
    platform: Platform, sales: DatasetRef, three: list[Committed], name: Name, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(VersionNamed, match=r"version 1 .* '(kept|main)'"):
        naming_first(platform, sales, three[0].version_id, name, monkeypatch, met=True)
    assert make.held(platform, sales, "1") == {"same": b"same", "new": b"x"}


@NAMING
def test_what_is_being_deleted_cannot_be_named(
    platform: Platform, sales: DatasetRef, three: list[Committed], name: Name, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Gone):
        deletion_first(platform, sales, three[0].version_id, name, monkeypatch, met=True)
    assert make.column(platform.db, "SELECT version_id FROM dataset_pointers") == [three[2].version_id]


@NAMING
@pytest.mark.parametrize("order", [naming_first, deletion_first])
def test_mutant_without_the_lock_a_deleted_version_is_named(
    platform: Platform,
    sales: DatasetRef,
    three: list[Committed],
    without_lock: None,
    monkeypatch: pytest.MonkeyPatch,
    name: Name,
    order: Callable[..., None],
) -> None:
    order(platform, sales, three[0].version_id, name, monkeypatch, met=False)
    assert three[0].version_id in make.column(platform.db, "SELECT version_id FROM dataset_pointers")
    with pytest.raises(Gone):
        make.held(platform, sales, "1")


def test_a_tag_that_comes_before_the_lock_is_seen_by_a_rule(
    platform: Platform, sales: DatasetRef, three: list[Committed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Main goes back to 2, a rule would let 3 go; before it marks, somebody tags 3."""
    with platform.db.transaction() as tx:
        Pointers(tx).move(sales.id, PointerName("main"), three[2].version_id, three[1].version_id)
    platform.deletion.set_retention(platform.actor(), "sales", Rule(None, 0))
    lock = DatasetService.lock

    def tagged_before(self: DatasetService, tx: Transaction, dataset_id: DatasetId) -> None:
        make.point(platform, sales, "v3", three[2].version_id)
        lock(self, tx, dataset_id)

    monkeypatch.setattr(DatasetService, "lock", tagged_before)
    report = platform.deletion.apply_retention(platform.system(), dry_run=False)
    assert [removal.versions for removal in report.removals] == [(1,)]
    assert readable(platform, sales) == [2, 3]
