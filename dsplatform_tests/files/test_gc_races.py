"""Collection while others work: directed interleavings with two connections, a crowd on one content, and the mutants that they find."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from itertools import count
from threading import Barrier, Event
from typing import Any

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.database import Database, Transaction
from dsplatform.core.errors import Conflict, Unavailable
from dsplatform.core.settings import Settings
from dsplatform.files import gc
from dsplatform.files.gc import Amount, GarbageCollector
from dsplatform.files.model import FileReference, UploadExpired
from dsplatform.files.refuse import Expired, Queue
from dsplatform.files.repository import Staged
from dsplatform.files.upload import StagedUpload
from dsplatform_tests import make
from dsplatform_tests.files.interleaving import DATA, after, collector, due, meanwhile, nearly_orphan, orphan, review

STEPS = ("due", "lock", "bury", "reviewed")


# --- what others do --------------------------------------------------------------------------------------------------------------


def store(platform: Platform, _: FileReference) -> None:
    reference = make.stored(platform, DATA)
    assert make.content(platform, reference.file_id) == DATA


def commit(platform: Platform, _: FileReference) -> None:
    dataset = make.dataset(platform)
    make.commit(platform, dataset, {"a": DATA})
    assert make.held(platform, dataset) == {"a": DATA}


def delete(platform: Platform, reference: FileReference) -> None:
    platform.files.delete_reference(reference)


def expire(platform: Platform, _: FileReference) -> None:
    with platform.db.transaction() as tx:
        tx.execute("UPDATE upload_sessions SET expires_at = now() - interval '1 second'")
    with platform.db.transaction() as tx:
        assert Expired(tx).end_sessions(10) == (1, len(DATA))


def collect(platform: Platform, _: FileReference) -> None:
    review(platform)


def purge(platform: Platform, _: FileReference) -> None:
    platform.gc._purge()


def fold(platform: Platform, _: FileReference) -> None:
    platform.gc.fold()


Work = Callable[[Platform, FileReference], None]
OTHERS: dict[Work, Callable[[Platform], FileReference]] = {
    store: orphan,
    commit: orphan,
    delete: nearly_orphan,
    expire: nearly_orphan,
    collect: orphan,
    purge: orphan,
    fold: orphan,
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("other", OTHERS, ids=lambda work: work.__name__)
def test_whatever_happens_between_the_collectors_statements_nothing_is_lost_or_leaked(
    other: Work, step: str, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = OTHERS[other](platform)
    started: list[Future[object]] = []
    with ThreadPoolExecutor(1) as pool:
        after(monkeypatch, Queue, step, meanwhile(platform, pool, lambda: other(platform, reference), started))
        review(platform)
        started[0].result(make.PATIENCE)
    make.assert_sound(platform)
    make.drained(platform)
    make.assert_sound(platform)
    assert len(make.column(platform.db, "SELECT 1 FROM files")) == (2 if other is commit else 0), "the version's component and overlay"


POINTS: dict[Work, tuple[type, str]] = {
    store: (StagedUpload, "record"),
    commit: (StagedUpload, "record"),
    delete: (Staged, "remove"),
    expire: (Expired, "end_sessions"),
}


@pytest.mark.parametrize("other", POINTS, ids=lambda work: work.__name__)
def test_a_collector_never_waits_for_a_transaction_that_came_first(
    other: Work, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one stands just before its commit while a whole collection runs."""
    reference = OTHERS[other](platform)
    standing, go = Event(), Event()

    def stand() -> None:
        standing.set()
        assert go.wait(make.PATIENCE)

    after(monkeypatch, *POINTS[other], stand)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(other, platform, reference)
        assert standing.wait(make.PATIENCE)
        try:
            assert platform.gc.collect(platform.system()).unreferenced.count == 0
        finally:
            go.set()
        running.result(make.PATIENCE)
    make.assert_sound(platform)
    make.drained(platform)
    make.assert_sound(platform)
    assert len(make.column(platform.db, "SELECT 1 FROM files")) == (2 if other is commit else 0)


@pytest.mark.parametrize("point", ["gc.buried", "purge.leased", "purge.deleted"])
@pytest.mark.parametrize("other", [store, commit, collect, purge], ids=lambda work: work.__name__)
def test_whatever_happens_between_the_steps_of_a_purge_nothing_is_lost_or_leaked(
    other: Work, point: str, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = orphan(platform)
    eager = collector(platform, timedelta())
    with platform.db.transaction() as tx:
        assert eager._review(tx) == Amount(1, len(DATA))
    todo = [other]

    def meddle(name: str) -> None:
        if name == point and todo:
            todo.pop()(platform, reference)

    monkeypatch.setattr(gc, "reach", meddle)
    eager._purge()
    assert todo == [], "nobody meddled: the test proves nothing"
    make.assert_sound(platform)
    make.drained(platform)
    make.assert_sound(platform)
    assert len(make.objects(platform)) == (2 if other is commit else 0)


def test_an_upload_that_expires_between_its_barrier_and_its_commit_is_refused_and_leaves_nothing(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def expired() -> None:
        with platform.db.transaction() as tx:
            assert tx.execute("UPDATE upload_intents SET expires_at = now() - interval '1 second'") == 1
        assert platform.gc.collect(platform.system()).uploads.count == 1

    after(monkeypatch, StagedUpload, "seal", expired)
    with pytest.raises(UploadExpired):
        make.stored(platform, DATA)
    assert len(make.buried(platform)) == 1
    make.drained(platform)
    assert make.objects(platform) == set()
    make.assert_sound(platform)


def test_an_upload_whose_time_is_over_while_it_commits_is_passed_by(
    platform: Platform, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector comes from two hours later; the uploader stands just before its commit."""
    with make.tampering(platform.db) as tx:
        tx.execute("CREATE SCHEMA later")
        tx.execute("GRANT USAGE ON SCHEMA later TO PUBLIC")
        tx.execute("CREATE FUNCTION later.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT pg_catalog.now() + interval '2 hours' $$")

    def collect_later() -> None:
        with make.tampering(platform.db) as tx:
            name = tx.scalar("SELECT current_database()")
            assert make.column(platform.db, "SELECT count(*) FROM upload_intents") == [1]
            tx.execute(f"ALTER DATABASE {name} SET search_path = later, public, pg_catalog")
        with Database(database_url) as later:
            assert make.column(later, "SELECT count(*) FROM upload_intents WHERE expires_at < now()") == [1]
            assert (
                GarbageCollector(later, platform.gc._storage, platform.schemas, platform.permissions)
                .collect(platform.system())
                .uploads.count
                == 0
            )

    after(monkeypatch, StagedUpload, "record", collect_later)
    reference = make.stored(platform, DATA)
    assert make.content(platform, reference.file_id) == DATA
    make.assert_sound(platform)


def test_a_held_file_is_reviewed_again(platform: Platform) -> None:
    reference = orphan(platform)
    with platform.db.transaction() as tx:
        tx.execute("SELECT 1 FROM files WHERE id = :id FOR KEY SHARE", id=reference.file_id)
        assert platform.gc.collect(platform.system()).unreferenced.count == 0
    (wait, attempts) = next(
        (row["wait"], row["attempts"]) for row in _rows(platform, "SELECT review_after - now() AS wait, attempts FROM gc_queue")
    )
    assert (timedelta(minutes=9) < wait <= timedelta(minutes=10), attempts) == (True, 1)
    due(platform.db)
    assert platform.gc.collect(platform.system()).unreferenced.count == 1


def _rows(platform: Platform, sql: str) -> list[Any]:
    with platform.db.transaction() as tx:
        return list(tx.rows(sql))


# --- a crowd on one content ----------------------------------------------------------------------------------------------------


def review_at_once(db: Database) -> None:
    with make.tampering(db) as tx:
        definition = tx.scalar("SELECT pg_get_functiondef('file_reference_gone_file_id'::regproc)")
        tx.execute(definition.replace("24 hours", "0 hours"))


def test_many_uploaders_of_one_content_beside_a_collector_without_pause_lose_nothing(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T05, small. Each uploader reads back what it stored while its reference holds it, and then gives it up. Every other round begins
    with an empty store, so that all of them write; the rounds between begin while the collector is at work."""
    uploaders, rounds = 12, 16
    overtaken: list[int] = []
    reconcile = StagedUpload.reconcile

    def counted(self: StagedUpload) -> None:
        overtaken.append(1)
        reconcile(self)

    monkeypatch.setattr(StagedUpload, "reconcile", counted)
    stop = Event()
    with make.crowded(settings, database_url, uploaders + 4) as platform, ThreadPoolExecutor(1) as pool:
        review_at_once(platform.db)
        eager = collector(platform, timedelta())
        number = count()

        def collecting() -> int:
            collected = 0
            while not stop.is_set():
                collected += eager.collect(platform.system()).unreferenced.count
            return collected

        def next_round() -> None:
            if next(number) % 2:
                while make.column(platform.db, "SELECT 1 FROM files") and not collections.done():
                    pass

        meet = Barrier(uploaders, next_round, make.PATIENCE)

        def uploader() -> int:
            stored = 0
            for _ in range(rounds):
                meet.wait()
                with suppress(Conflict, Unavailable):  # it may try again, and nothing was recorded
                    reference = make.stored(platform, DATA)
                    assert make.content(platform, reference.file_id) == DATA
                    platform.files.delete_reference(reference)
                    stored += 1
            return stored

        collections = pool.submit(collecting)
        try:
            stored = make.at_once(*[uploader] * uploaders)
        finally:
            stop.set()
        assert sum(stored) > uploaders * rounds / 2
        assert collections.result(make.PATIENCE) >= rounds / 2 - 1, "hardly anything was collected: the test proves nothing"
        assert overtaken, "nobody ever met another one: the test proves nothing"
        make.assert_sound(platform)
        make.drained(platform)
        assert make.objects(platform) == set()


# --- cost ------------------------------------------------------------------------------------------------------------------------


def test_no_statement_of_a_collection_looks_at_all_files(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among twenty thousand live files, every statement finds its rows by an index."""
    with platform.db.transaction() as tx:
        version = make.commit(platform, make.dataset(platform), {"a": b"a"}).version_id
        tx.execute(
            "INSERT INTO files (content_hash, file_size, storage_type, file_path, file_type) "
            "SELECT encode(sha256(n::text::bytea), 'hex'), 1, 'local', 'live/' || n, 'text' FROM generate_series(1, 20000) n"
        )
        tx.execute(
            "INSERT INTO dataset_version_files (version_id, component_name, component_index, file_id) "
            "SELECT :version, 'live ' || id, id, id FROM files WHERE file_path LIKE 'live/%'",
            version=version,
        )
    for number in range(20):
        platform.files.delete_reference(make.stored(platform, b"%d" % number))
    make.overdue(platform.db)
    with make.tampering(platform.db) as tx:
        tx.execute("ANALYZE")
    seen: list[tuple[str, dict[str, Any]]] = []
    run = Transaction._run

    def noted(self: Transaction, sql: str, params: Mapping[str, object]) -> Any:
        seen.append((sql, dict(params)))
        return run(self, sql, params)

    system = platform.system()
    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "_run", noted)
        assert collector(platform, timedelta()).collect(system).purged.count == 20
    assert any("DELETE FROM files" in sql for sql, _ in seen)
    for sql, params in seen:
        if not sql.startswith("SET"):
            with platform.db.transaction() as tx:
                plan = "\n".join(row["QUERY PLAN"] for row in tx.rows(f"EXPLAIN {sql}", **params))
            assert "Seq Scan on files" not in plan, plan
            assert "Seq Scan on dataset_version_files" not in plan, plan
