"""Deleting and restoring datasets, and the reaper."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.database import Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Denied, NotFound
from dsplatform.core.types import DatasetId, PermissionType
from dsplatform.core.values import Committed, DatasetRef
from dsplatform.datasets.model import DatasetMissing, DatasetNameTaken, NothingToRestore
from dsplatform.datasets.repository import Datasets
from dsplatform.versioning import deletion
from dsplatform.versioning.retention import Rule
from dsplatform_tests import make

# Every table that has rows of a dataset, and how they are found. The first are those that no other table's rows refer to.
HELD = {
    "staged_files": "session_id IN (SELECT id FROM upload_sessions WHERE dataset_id = :id)",
    "upload_sessions": "dataset_id = :id",
    "dataset_pointers": "dataset_id = :id",
    "dataset_version_files": "version_id IN (SELECT id FROM dataset_versions WHERE dataset_id = :id)",
    "dataset_schema_versions": "version_id IN (SELECT id FROM dataset_versions WHERE dataset_id = :id)",
    "dataset_versions": "dataset_id = :id",
    "retention_rules": "dataset_id = :id",
    "permissions": "resource_type = 'dataset' AND resource_id = :id",
    "datasets": "id = :id",
}


def rows(platform: Platform, dataset: DatasetRef) -> dict[str, int]:
    with platform.db.transaction() as tx:
        return {table: tx.scalar(f"SELECT count(*) FROM {table} WHERE {where}", id=dataset.id) for table, where in HELD.items()}


def age(platform: Platform, dataset: DatasetRef, days: float) -> None:
    """The dataset was deleted so long ago."""
    with platform.db.transaction() as tx:
        sql = "UPDATE datasets SET deleted_at = now() - make_interval(secs => :secs) WHERE id = :id AND deleted_at IS NOT NULL"
        assert tx.execute(sql, id=dataset.id, secs=days * 86400) == 1


def names(platform: Platform) -> list[str]:
    return [summary.slug for summary in platform.datasets.list_datasets(platform.actor())]


@pytest.fixture
def sales(platform: Platform, system: Actor) -> DatasetRef:
    """A dataset that has a row in every table."""
    dataset = make.dataset(platform)
    first = make.commit(platform, dataset, {f"file-{number}": b"%d" % number for number in range(7)})
    for number in range(4):
        make.commit(platform, dataset, {"file-0": b"new %d" % number})
    make.point(platform, dataset, "v1", first.version_id)
    platform.deliver()
    platform.schemas.capture_version_schema(first.version_id)
    platform.deletion.set_retention(system, "sales", Rule(9, None))
    with platform.db.transaction() as tx:
        tx.execute(
            "INSERT INTO upload_sessions (id, dataset_id, owner_id, expires_at) "
            "SELECT gen_random_uuid(), :id, :user, now() + interval '1 hour' FROM generate_series(1, 2)",
            id=dataset.id,
            user=system.user_id,
        )
        tx.execute(
            "INSERT INTO staged_files (session_id, path, file_id) SELECT s.id, 'x', (SELECT min(id) FROM files) FROM upload_sessions s"
        )
    with make.tampering(platform.db) as tx:
        tx.execute("UPDATE dataset_versions SET merge_parent_version_id = :first WHERE version_number = 5", first=first.version_id)
    assert all(rows(platform, dataset).values())
    return dataset


# --- deleting ------------------------------------------------------------------------------------------------------------------


def test_a_deleted_dataset_is_nowhere_to_be_seen(platform: Platform, system: Actor, sales: DatasetRef) -> None:
    deleted = platform.datasets.delete_dataset(system, "sales")
    assert (deleted.slug, deleted.owner, deleted.versions) == ("sales", "system", 5)
    assert (deleted.restorable_until - deleted.deleted_at).days == 30
    assert names(platform) == []
    assert list(platform.datasets.list_datasets(platform.actor(), search="sales")) == []
    assert platform.versions.newest_of_all() == []
    assert platform.schemas.pending(10) == []
    lookups: list[Callable[[], object]] = [
        lambda: platform.datasets.get(system, "sales"),
        lambda: platform.versions.find(system, "sales@1"),
        lambda: platform.datasets.update_dataset(system, "sales", description="x"),
        lambda: platform.datasets.delete_dataset(system, "sales"),
        lambda: platform.deletion.delete_version(system, "sales@1"),
        lambda: platform.deletion.retention(system, "sales"),
        lambda: make.commit(platform, sales, {"a": b"late"}),
    ]
    for look in lookups:
        with pytest.raises(DatasetMissing):
            look()


def test_its_name_is_free_and_its_slug_is_not(platform: Platform, system: Actor, sales: DatasetRef) -> None:
    platform.datasets.delete_dataset(system, "sales")
    assert make.dataset(platform, "sales").slug == "sales~2"


def test_nothing_that_it_holds_goes_while_it_can_be_restored(platform: Platform, system: Actor, sales: DatasetRef) -> None:
    before = rows(platform, sales)
    platform.datasets.delete_dataset(system, "sales")
    age(platform, sales, 29.99)
    assert platform.deletion.reap(platform.system()) == []
    assert rows(platform, sales) == before


def test_deleting_and_restoring_needs_admin(platform: Platform, system: Actor, sales: DatasetRef) -> None:
    ben = platform.permissions.create_user("ben")
    platform.permissions.grant_permission(system, ben, PermissionType.WRITE, sales.id)
    with pytest.raises(Denied, match="'admin'"):
        platform.datasets.delete_dataset(ben, "sales")
    platform.datasets.delete_dataset(system, "sales")
    assert platform.datasets.restorable(ben) == []
    with pytest.raises(Denied, match="'admin'"):
        platform.datasets.restore_dataset(ben, "sales")
    platform.datasets.restore_dataset(system, "sales")
    platform.permissions.grant_permission(system, ben, PermissionType.ADMIN, sales.id)
    platform.datasets.delete_dataset(ben, "sales")
    assert [dataset.slug for dataset in platform.datasets.restorable(ben)] == ["sales"]
    platform.datasets.restore_dataset(ben, "sales")
    assert names(platform) == ["sales"]


# --- restoring -----------------------------------------------------------------------------------------------------------------


def test_a_restored_dataset_is_as_it_was(platform: Platform, system: Actor, sales: DatasetRef) -> None:
    before, held = rows(platform, sales), make.held(platform, sales)
    platform.datasets.delete_dataset(system, "sales")
    age(platform, sales, 29.99)
    assert platform.datasets.restore_dataset(system, "sales") == sales
    assert (rows(platform, sales), make.held(platform, sales)) == (before, held)
    assert make.commit(platform, sales, {"a": b"on"}).version_number == 6
    assert platform.datasets.restorable(system) == []


def test_after_thirty_days_it_cannot_be_restored(platform: Platform, system: Actor, sales: DatasetRef) -> None:
    platform.datasets.delete_dataset(system, "sales")
    age(platform, sales, 30)
    assert platform.datasets.restorable(system) == []
    with pytest.raises(NothingToRestore, match="`dsplatform restore` lists"):
        platform.datasets.restore_dataset(system, "sales")


def test_what_was_never_deleted_cannot_be_restored(platform: Platform, system: Actor, sales: DatasetRef) -> None:
    for name in ("sales", "nothing"):
        with pytest.raises(NothingToRestore):
            platform.datasets.restore_dataset(system, name)


def test_when_its_name_is_taken_the_error_says_the_way_out(platform: Platform, system: Actor, sales: DatasetRef) -> None:
    platform.datasets.delete_dataset(system, "sales")
    make.dataset(platform, "sales")
    with pytest.raises(DatasetNameTaken, match="`dsplatform restore sales --as NAME`"):
        platform.datasets.restore_dataset(system, "sales")
    with pytest.raises(DatasetNameTaken):
        platform.datasets.restore_dataset(system, "sales", new_name="sales")
    back = platform.datasets.restore_dataset(system, "sales", new_name="old sales")
    assert (back.name, back.slug) == ("old sales", "sales")
    assert platform.datasets.get(system, "old sales").versions == 5
    assert names(platform) == ["sales", "sales~2"]


def test_of_several_with_one_name_the_slug_decides_then_the_last_deleted(platform: Platform, system: Actor) -> None:
    for _ in range(3):
        make.dataset(platform, "sales")
        platform.datasets.delete_dataset(system, "sales")
    assert [dataset.slug for dataset in platform.datasets.restorable(system)] == ["sales~3", "sales~2", "sales"]
    assert platform.datasets.restore_dataset(system, "sales~2", new_name="b").slug == "sales~2"
    assert platform.datasets.restore_dataset(system, "sales", new_name="a").slug == "sales"
    assert platform.datasets.restore_dataset(system, "sales").slug == "sales~3"


def test_an_own_one_comes_before_anothers_of_that_slug(platform: Platform, system: Actor) -> None:
    ben = platform.permissions.create_user("ben")
    make.dataset(platform, "sales")
    mine = make.dataset(platform, "sales", ben)
    platform.datasets.delete_dataset(system, "sales")
    platform.datasets.delete_dataset(ben, "sales")
    assert platform.datasets.restore_dataset(ben, "sales") == mine


# --- reaping -------------------------------------------------------------------------------------------------------------------


def test_the_reaper_leaves_nothing_of_it_and_everything_of_others(platform: Platform, system: Actor, sales: DatasetRef) -> None:
    other = make.dataset(platform, "other")
    make.commit(platform, other, {"file-1": b"1"})
    with platform.db.transaction() as tx:
        tx.execute(
            "INSERT INTO inbox (source, path, file_size, mtime_ns, inode, marked, state, decided_at, version_id) "
            "SELECT 'drop', 'sales/x', 1, 1, 1, false, 'accepted', now(), min(id) FROM dataset_versions WHERE dataset_id = :id",
            id=sales.id,
        )
    kept = rows(platform, other)
    platform.datasets.delete_dataset(system, "sales")
    age(platform, sales, 30)
    assert platform.deletion.reap(platform.system()) == [sales]
    assert platform.deletion.reap(platform.system()) == []
    assert not any(rows(platform, sales).values())
    assert rows(platform, other) == kept
    assert make.column(platform.db, "SELECT version_id FROM inbox") == [None]
    make.assert_sound(platform)


@pytest.mark.parametrize("stop", ["first", "middle", "last"])
def test_a_reaper_that_dies_anywhere_is_finished_by_the_next(
    platform: Platform, system: Actor, sales: DatasetRef, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    platform.datasets.delete_dataset(system, "sales")
    age(platform, sales, 30)
    monkeypatch.setattr(deletion, "BATCH", 2)
    total = rows(platform, sales)
    batches = sum(
        -(-total[table] // 2) for table in HELD if table not in {"dataset_schema_versions", "permissions", "retention_rules", "datasets"}
    )
    passage = {"first": 1, "middle": batches // 2, "last": batches}[stop]
    reached: list[str] = []

    def die(name: str) -> None:
        reached.append(name)
        if len(reached) == passage:
            raise KeyboardInterrupt

    monkeypatch.setattr(deletion, "reach", die)
    with pytest.raises(KeyboardInterrupt):
        platform.deletion.reap(platform.system())
    left = rows(platform, sales)
    assert left["datasets"] == 1
    assert sum(left.values()) < sum(total.values())
    with pytest.raises(NothingToRestore):
        platform.datasets.restore_dataset(system, "sales")
    make.assert_sound(platform)
    assert platform.deletion.reap(platform.system()) == [sales]
    assert len(reached) == batches
    assert not any(rows(platform, sales).values())
    make.assert_sound(platform)


def test_who_may_not_see_a_deleted_dataset_is_told_as_if_there_were_none(platform: Platform, system: Actor, sales: DatasetRef) -> None:
    ann, ben = platform.permissions.create_user("ann"), platform.permissions.create_user("ben")
    platform.permissions.grant_permission(system, ben, PermissionType.READ, sales.id)
    platform.datasets.delete_dataset(system, "sales")
    for key in ("sales", f"#{sales.id}", "nothing", "#99"):
        with pytest.raises(NothingToRestore) as unseen:
            platform.datasets.restore_dataset(ann, key)
        assert str(unseen.value).replace(key, "KEY") == str(_nothing(platform, ann)).replace("nothing", "KEY")
    for key in ("sales", f"#{sales.id}"):
        with pytest.raises(Denied, match="'admin'"):
            platform.datasets.restore_dataset(ben, key)
    assert platform.datasets.restore_dataset(system, f"#{sales.id}") == sales


def _nothing(platform: Platform, actor: Actor) -> NothingToRestore:
    with pytest.raises(NothingToRestore) as caught:
        platform.datasets.restore_dataset(actor, "nothing")
    return caught.value


def test_two_reapers_at_once_do_it_once(platform: Platform, system: Actor, sales: DatasetRef, monkeypatch: pytest.MonkeyPatch) -> None:
    platform.datasets.delete_dataset(system, "sales")
    age(platform, sales, 30)
    monkeypatch.setattr(deletion, "BATCH", 1)
    done = make.at_once(*[lambda: platform.deletion.reap(system)] * 2)
    assert [dataset for reaped in done for dataset in reaped] == [sales]
    assert not any(rows(platform, sales).values())
    make.assert_sound(platform)


# --- races ---------------------------------------------------------------------------------------------------------------------


def blocked_by(
    platform: Platform, hold: Callable[[Transaction], object], work: Callable[[], object], *, met: bool = True
) -> Future[object]:
    """Runs `work` while a transaction holds what `hold` takes; answers what became of it after the transaction committed."""
    done: list[bool] = []

    def run() -> object:
        try:
            return work()
        finally:
            done.append(True)

    with ThreadPoolExecutor(1) as pool:
        with platform.db.transaction() as tx:
            hold(tx)
            future = pool.submit(run)
            assert make.until_blocked(platform.db, or_done=lambda: bool(done)) is met
        future.exception(make.PATIENCE)
    return future


def test_a_commit_under_way_is_in_the_dataset_that_is_deleted(platform: Platform, system: Actor, sales: DatasetRef) -> None:
    def commit(tx: Transaction) -> None:
        platform.datasets.lock(tx, sales.id)
        tx.execute("UPDATE datasets SET description = 'committed before' WHERE id = :id", id=sales.id)

    blocked_by(platform, commit, lambda: platform.datasets.delete_dataset(system, "sales")).result()
    assert make.column(platform.db, "SELECT description FROM datasets WHERE deleted_at IS NOT NULL") == ["committed before"]


def test_a_commit_that_comes_during_the_deletion_is_refused(platform: Platform, system: Actor, sales: DatasetRef) -> None:
    before = rows(platform, sales)
    outcome = blocked_by(platform, lambda tx: Datasets(tx).delete(sales.id), lambda: make.commit(platform, sales, {"a": b"late"}))
    assert isinstance(outcome.exception(), DatasetMissing)
    assert rows(platform, sales) == before
    make.assert_sound(platform)


def test_mutant_without_the_lock_a_commit_lands_in_a_deleted_dataset(
    platform: Platform, system: Actor, sales: DatasetRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pretend(self: Datasets, dataset_id: DatasetId) -> bool:
        return False

    monkeypatch.setattr(Datasets, "lock", pretend)

    def delete_blindly(tx: Transaction) -> None:
        tx.execute("UPDATE datasets SET deleted_at = now() WHERE id = :id", id=sales.id)

    outcome = blocked_by(platform, delete_blindly, lambda: make.commit(platform, sales, {"a": b"late"}), met=False)
    assert isinstance(outcome.result(), Committed)
    assert names(platform) == []


def test_a_restore_that_waited_for_the_reaper_comes_too_late(
    platform: Platform, system: Actor, sales: DatasetRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(_late_restore(platform, system, sales), NothingToRestore)
    assert names(platform) == []


def test_mutant_a_restore_that_believes_its_first_look_brings_back_half_a_dataset(
    platform: Platform, system: Actor, sales: DatasetRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    def believing(self: Datasets, dataset_id: DatasetId, name: str) -> bool:
        return (
            self.tx.execute(
                "UPDATE datasets SET deleted_at = NULL, name = :name WHERE id = :id AND deleted_at + interval '30 days' > now()",
                id=dataset_id,
                name=name,
            )
            == 1
        )

    monkeypatch.setattr(Datasets, "restore", believing)
    assert _late_restore(platform, system, sales) is None
    assert names(platform) == ["sales"]
    with pytest.raises(NotFound):
        platform.versions.find(system, "sales")


def _late_restore(platform: Platform, system: Actor, sales: DatasetRef) -> BaseException | None:
    """The dataset's time ends while a restore waits for a reaper that has begun. Answers what the restore raised.

    The restore must begin in time; where this machine is too slow for that, it is tried again with more of it.
    """
    platform.datasets.delete_dataset(system, "sales")
    for seconds in (1, 5, 25):
        age(platform, sales, 30 - seconds / 86400)
        done: list[bool] = []

        def restore(done: list[bool] = done) -> None:
            try:
                platform.datasets.restore_dataset(system, "sales")
            finally:
                done.append(True)

        with ThreadPoolExecutor(1) as pool:
            with platform.db.transaction() as tx:
                tx.row("SELECT 1 FROM datasets WHERE id = :id FOR UPDATE", id=sales.id)
                future = pool.submit(restore)
                met = make.until_blocked(platform.db, or_done=lambda done=done: bool(done))  # type: ignore[misc]
                if met:
                    tx.execute("DELETE FROM dataset_pointers WHERE dataset_id = :id", id=sales.id)
                    over = "SELECT pg_sleep(extract(epoch FROM deleted_at + interval '30 days' - clock_timestamp()) + 0.01) FROM datasets"
                    tx.row(f"{over} WHERE id = :id", id=sales.id)
            problem = future.exception(make.PATIENCE)
        if met:
            return problem
    raise AssertionError("the restore never began in time")


def test_slugs_that_no_dataset_has_any_more_are_gone(platform: Platform, system: Actor) -> None:
    make.dataset(platform, "here")
    make.dataset(platform, "deleted")
    platform.datasets.delete_dataset(system, "deleted")
    assert set(platform.datasets.gone(["here", "deleted", "never", "it's"])) == {"never", "it's"}
    assert platform.datasets.gone([]) == []
