"""The sweep and the guards of everything that deletes (T22, T23, T24): what nothing names goes slowly, and in doubt nothing goes."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.errors import Unavailable
from dsplatform.core.settings import Settings
from dsplatform.core.types import ContentHash
from dsplatform.core.values import DatasetRef
from dsplatform.files import sweep
from dsplatform.files.binding import CollectionRefused
from dsplatform.files.gc import Amount
from dsplatform.files.model import storage_key
from dsplatform.files.stores import StoredObject
from dsplatform_tests import make

DAYS = 24 * 3600


@pytest.fixture(autouse=True)
def sales(platform: Platform) -> DatasetRef:
    """A version, so that the database does not look empty."""
    dataset = make.dataset(platform)
    make.commit(platform, dataset, {"a": b"a"})
    return dataset


def path_of(platform: Platform, key: str) -> Path:
    return Path(platform.settings.storage_url) / "objects" / key


def stray(platform: Platform, *, days: float = 3) -> str:
    """An object that nothing names, as old as said."""
    key = storage_key(ContentHash(uuid4().hex * 2), uuid4())
    platform.gc._storage.put(key, b"stray")
    older(platform, key, days)
    return key


def older(platform: Platform, key: str, days: float) -> None:
    path = path_of(platform, key)
    moment = path.stat().st_mtime - days * DAYS
    os.utime(path, (moment, moment))


def candidates(platform: Platform) -> set[str]:
    return set(make.column(platform.db, "SELECT storage_key FROM sweep_candidates"))


# --- what goes -------------------------------------------------------------------------------------------------------------------


def test_what_two_sweeps_find_is_buried_and_goes_eight_days_later(platform: Platform) -> None:
    key = stray(platform)
    assert platform.gc.collect(platform.system(), sweep=True).strays == Amount()
    assert (candidates(platform), make.buried(platform)) == ({key}, set())
    assert platform.gc.collect(platform.system(), sweep=True).strays == Amount(1, 5)
    assert make.buried(platform) == {key}
    (wait,) = make.column(platform.db, "SELECT purge_after - now() FROM tombstones")
    assert timedelta(days=7, hours=23) < wait <= timedelta(days=8)
    assert platform.gc.collect(platform.system(), sweep=True).strays == Amount()
    assert candidates(platform) == set()
    assert path_of(platform, key).exists()
    make.overdue(platform.db)
    assert platform.gc.collect(platform.system()).purged == Amount(1, 5)
    assert not path_of(platform, key).exists()
    make.assert_sound(platform)


def test_a_plan_counts_strays_and_is_no_sweep(platform: Platform) -> None:
    stray(platform)
    for _ in range(2):
        assert platform.gc.plan(platform.system(), sweep=True).strays == Amount(1, 5)
    assert candidates(platform) == make.buried(platform) == set()


def test_what_only_one_sweep_finds_stays(platform: Platform) -> None:
    """The first sweep finds an object whose row comes later (a restore): the second one takes it from the list."""
    key = stray(platform)
    platform.gc.collect(platform.system(), sweep=True)
    with platform.db.transaction() as tx:
        tx.execute(
            "INSERT INTO files (content_hash, file_size, storage_type, file_path, file_type) VALUES (:hash, 5, 'local', :key, 'text')",
            hash="a" * 64,
            key=key,
        )
    other = stray(platform)
    assert platform.gc.collect(platform.system(), sweep=True).strays == Amount()
    assert candidates(platform) == {other}
    assert make.buried(platform) == set()


def test_young_objects_named_ones_and_foreign_names_are_left_alone(platform: Platform) -> None:
    stray(platform, days=1.9)
    named = make.stored(platform, b"named")
    older(platform, platform.files.get_file(named.file_id).storage_key, 30)
    uploading = stray(platform)
    with platform.db.transaction() as tx:
        tx.execute(
            "INSERT INTO upload_intents (id, backend, storage_keys, expires_at) "
            "VALUES (:id, 'local', ARRAY['x', :key], now() + interval '1 hour')",
            id=uuid4(),
            key=uploading,
        )
    foreign = path_of(platform, "ab/README")
    foreign.write_text("not ours")
    os.utime(foreign, (0, 0))
    for _ in range(3):
        assert platform.gc.collect(platform.system(), sweep=True).strays == Amount()
    assert candidates(platform) == make.buried(platform) == set()


def test_an_upload_that_finishes_after_the_listing_keeps_its_object(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is listed while only the intent names it, and its row comes before the database is asked."""
    key = stray(platform)
    platform.gc.collect(platform.system(), sweep=True)

    def recorded(_name: str) -> None:
        with platform.db.transaction() as tx:
            tx.execute(
                "INSERT INTO files (content_hash, file_size, storage_type, file_path, file_type) "
                "VALUES (:hash, 5, 'local', :key, 'text') ON CONFLICT DO NOTHING",
                hash="a" * 64,
                key=key,
            )

    monkeypatch.setattr(sweep, "reach", recorded)
    assert platform.gc.collect(platform.system(), sweep=True).strays == Amount()
    assert make.buried(platform) == set()


# --- guards ----------------------------------------------------------------------------------------------------------------------

Sabotage = Callable[[Platform, pytest.MonkeyPatch], None]


def another_store(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform.gc._storage, "store_id", lambda: "another")


def a_replica(platform: Platform, _: pytest.MonkeyPatch) -> None:
    """As seen by the session: a function of that name before the server's own."""
    with make.tampering(platform.db) as tx:
        tx.execute("CREATE FUNCTION public.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true'")
        tx.execute(f"ALTER DATABASE {tx.scalar('SELECT current_database()')} SET search_path = public, pg_catalog")
    platform.db.close()


def a_restored_database(platform: Platform, _: pytest.MonkeyPatch) -> None:
    platform.gc.restored(platform.system())


def a_store_that_does_not_answer(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise Unavailable("the store does not answer")

    monkeypatch.setattr(platform.gc._storage, "store_id", fail)


def a_wrong_clock(hours: float) -> Sabotage:
    def sabotage(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
        now = platform.gc._storage.now
        monkeypatch.setattr(platform.gc._storage, "now", lambda: now() + timedelta(hours=hours))

    return sabotage


def a_database_without_versions(platform: Platform, _: pytest.MonkeyPatch) -> None:
    with platform.db.transaction() as tx:
        for table in ("inbox", "dataset_schema_versions", "dataset_pointers", "dataset_version_files", "dataset_versions"):
            tx.execute(f"DELETE FROM {table}")


def too_many_findings(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "FEW", 2)
    for _ in range(3):
        stray(platform)


Listing = Callable[[Sequence[StoredObject]], Iterator[Sequence[StoredObject]]]


def a_listing(change: Listing) -> Sabotage:
    """The listing in pages of two, changed."""

    def sabotage(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
        for _ in range(5):
            stray(platform)
        everything = [found for page in platform.gc._storage.list() for found in page]
        monkeypatch.setattr(platform.gc._storage, "list", lambda: change(everything))

    return sabotage


def breaking_off(everything: Sequence[StoredObject]) -> Iterator[Sequence[StoredObject]]:
    yield everything[:2]
    raise Unavailable("the store does not answer")


def repeating_a_page(everything: Sequence[StoredObject]) -> Iterator[Sequence[StoredObject]]:
    yield everything[:2]
    yield everything[:2]


def out_of_order(everything: Sequence[StoredObject]) -> Iterator[Sequence[StoredObject]]:
    yield everything[2:]
    yield everything[:2]


FOR_ALL: dict[str, tuple[Sabotage, str]] = {
    "another store": (another_store, "belongs to store"),
    "a replica": (a_replica, "replica"),
    "a restored database": (a_restored_database, "restored"),
    "a store that does not answer": (a_store_that_does_not_answer, "does not answer"),
}
FOR_SWEEPS: dict[str, tuple[Sabotage, str]] = FOR_ALL | {
    "a clock that is 10 minutes fast": (a_wrong_clock(1 / 6), "clocks"),
    "a clock that is an hour slow": (a_wrong_clock(-1), "clocks"),
    "files without versions": (a_database_without_versions, "not one version"),
    "too many findings": (too_many_findings, "more than can be believed"),
    "a list that breaks off": (a_listing(breaking_off), "does not answer"),
    "a page that comes twice": (a_listing(repeating_a_page), "out of order"),
    "pages out of order": (a_listing(out_of_order), "out of order"),
}


def everything_due(platform: Platform) -> str:
    """Something of each kind that a collection with a sweep would delete or bury; answers with a stray that a sweep has found."""
    key = stray(platform)
    platform.gc.collect(platform.system(), sweep=True)
    for data in (b"first", b"second"):
        platform.files.delete_reference(make.stored(platform, data))
        make.overdue(platform.db)
        platform.gc.collect(platform.system())
    platform.files.delete_reference(make.stored(platform, b"third"))
    make.stored(platform, b"expires")
    make.overdue(platform.db)
    return key


def state(platform: Platform) -> list[list[object]]:
    tables = ("files", "staged_files", "upload_intents", "gc_queue", "tombstones", "sweep_candidates")
    return [sorted(make.objects(platform)), *(make.column(platform.db, f"SELECT t::text FROM {table} t ORDER BY 1") for table in tables)]


@pytest.mark.parametrize("name", FOR_ALL)
@pytest.mark.parametrize("sweeping", [False, True])
def test_in_doubt_nothing_at_all_is_deleted(name: str, sweeping: bool, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage, reason = FOR_ALL[name]
    everything_due(platform)
    sabotage(platform, monkeypatch)
    before = state(platform)
    with pytest.raises((CollectionRefused, Unavailable), match=reason):
        platform.gc.collect(platform.system(), sweep=sweeping)
    assert state(platform) == before
    plan = platform.gc.plan(platform.system(), sweep=sweeping)
    assert reason in (plan.refusal or "")
    assert plan.purged.count > 0, "it would have been deleted"


@pytest.mark.parametrize("name", FOR_SWEEPS)
def test_in_doubt_nothing_is_swept(name: str, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage, reason = FOR_SWEEPS[name]
    everything_due(platform)
    sabotage(platform, monkeypatch)
    before = state(platform)
    for _ in range(2):
        with pytest.raises((CollectionRefused, Unavailable), match=reason):
            platform.gc.collect(platform.system(), sweep=True)
    assert state(platform) == before


def test_without_its_sabotage_the_sweep_above_buries(platform: Platform) -> None:
    key = everything_due(platform)
    assert platform.gc.collect(platform.system(), sweep=True).strays == Amount(1, 5)
    assert key in make.buried(platform)


def test_a_page_that_is_missing_saves_what_is_on_it(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    key = everything_due(platform)
    rest = [found for page in platform.gc._storage.list() for found in page if found.key != key]
    with monkeypatch.context() as patch:
        patch.setattr(platform.gc._storage, "list", lambda: iter([rest]))
        for _ in range(2):
            assert platform.gc.collect(platform.system(), sweep=True).strays == Amount()
    assert key not in make.buried(platform)


def test_a_sweep_keeps_a_bounded_number_of_findings_and_the_next_one_finds_the_rest(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "MOST", 2)
    monkeypatch.setattr(sweep, "BATCH", 1)
    for _ in range(5):
        stray(platform)
    counts: list[int] = []
    while not counts or sum(counts) < 5:
        done = platform.gc.collect(platform.system(), sweep=True).strays
        assert done is not None
        counts.append(done.count)
    assert max(counts) == 2


# --- the binding -------------------------------------------------------------------------------------------------------------------


def test_a_database_is_bound_to_the_first_store_and_to_no_other(
    platform: Platform, settings: Settings, database_url: str, tmp_path: Path
) -> None:
    platform.gc.plan(platform.system())
    assert make.column(platform.db, "SELECT store_id FROM store_binding") == []
    platform.gc.collect(platform.system())
    assert make.column(platform.db, "SELECT store_id FROM store_binding") == [platform.gc._storage.store_id()]
    with (
        bootstrap(replace(settings, storage_url=str(tmp_path / "other")), database_url) as other,
        pytest.raises(CollectionRefused, match="belongs to store"),
    ):
        other.gc.collect(other.system())


def test_a_database_with_files_is_not_bound_to_a_store_that_has_none_of_them(
    platform: Platform, settings: Settings, database_url: str, tmp_path: Path
) -> None:
    """T23: the first collection ever, with the wrong address."""
    with bootstrap(replace(settings, storage_url=str(tmp_path / "other")), database_url) as other:
        assert "has none of the" in (other.gc.plan(other.system()).refusal or "")
        with pytest.raises(CollectionRefused, match="has none of the"):
            other.gc.collect(other.system())
    assert make.column(platform.db, "SELECT store_id FROM store_binding") == []
    platform.gc.collect(platform.system())


def test_after_a_restore_nothing_goes_until_an_operator_says_so(platform: Platform) -> None:
    """A file came back whose object was to be deleted: it is spared. A flag that is set while a purge runs stops that, too."""
    kept = make.stored(platform, b"came back")
    with platform.db.transaction() as tx:
        for key in (platform.files.get_file(kept.file_id).storage_key, stray(platform)):
            tx.execute("INSERT INTO tombstones (storage_key, reason, purge_after) VALUES (:k, 'x', now() - interval '1 s')", k=key)
    platform.gc.restored(platform.system())
    with pytest.raises(CollectionRefused, match="clear-restore-flag"):
        platform.gc.collect(platform.system())
    assert platform.gc._purge() == (Amount(), 0)
    assert platform.gc.clear_restore_flag(platform.system()) == 1
    assert platform.gc.collect(platform.system()).purged.count == 1
    assert make.content(platform, kept.file_id) == b"came back"


def test_what_a_sweep_found_before_a_restore_does_not_count_afterwards(platform: Platform) -> None:
    key = stray(platform)
    platform.gc.collect(platform.system(), sweep=True)
    platform.gc.restored(platform.system())
    platform.gc.clear_restore_flag(platform.system())
    assert platform.gc.collect(platform.system(), sweep=True).strays == Amount()
    assert candidates(platform) == {key}
