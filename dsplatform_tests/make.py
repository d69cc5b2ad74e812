"""Builders that tests share, and the audit of the store's invariants that ends each fault test."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.database import Database, Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.settings import Settings
from dsplatform.core.types import FileId, VersionId
from dsplatform.core.values import CommitMode, Committed, DatasetRef
from dsplatform.core.verification import Problem
from dsplatform.files.model import FileReference
from dsplatform.versioning.pointers import Pointers

T = TypeVar("T")

PATIENCE = 30
"""Seconds after which a test that waits for another thread gives up. Never waited for when the product is right."""


# --- things --------------------------------------------------------------------------------------------------------------------


@contextmanager
def crowded(settings: Settings, database_url: str, connections: int) -> Iterator[Platform]:
    """A platform with as many connections as the test has threads."""
    with bootstrap(replace(settings, pool_size=connections), database_url) as platform:
        yield platform


def dataset(platform: Platform, name: str = "sales", actor: Actor | None = None) -> DatasetRef:
    return platform.datasets.create_dataset(actor or platform.actor(), name)


def commit(
    platform: Platform,
    to: DatasetRef,
    components: Mapping[str, bytes],
    *,
    actor: Actor | None = None,
    remove: Sequence[str] = (),
    branch: str = "main",
    message: str = "",
    mode: CommitMode = CommitMode.PATCH,
    expected_head: VersionId | None = None,
    idempotency_key: str | None = None,
) -> Committed:
    """A version of components that are given as bytes."""
    return platform.versions.create_version(
        actor or platform.actor(),
        to,
        {name: BytesIO(data) for name, data in components.items()},
        remove=remove,
        branch=branch,
        message=message,
        mode=mode,
        expected_head=expected_head,
        idempotency_key=idempotency_key,
    )


def parquet(columns: Mapping[str, Any]) -> bytes:
    """The columns as a Parquet file."""
    import pyarrow as pa  # slow to import, and few tests need it
    import pyarrow.parquet as pq

    target = BytesIO()
    pq.write_table(pa.table(columns), target)
    return target.getvalue()


def stored(platform: Platform, data: bytes) -> FileReference:
    return platform.files.store_file(platform.actor(), BytesIO(data))


def content(platform: Platform, file_id: FileId) -> bytes:
    """The bytes of a file, read through the store."""
    with platform.files.verified_chunks(file_id) as chunks:
        return b"".join(chunks)


def of(platform: Platform, version_id: VersionId) -> tuple[Actor, DatasetRef, VersionId]:
    """What a question about a version begins with."""
    return platform.system(), platform.versions.label(version_id)[0], version_id


def held(platform: Platform, of: DatasetRef, ref: str | None = None) -> dict[str, bytes]:
    """The components of a version, as names and bytes."""
    _, components = platform.versions.get_version(platform.actor(), of, ref)
    return {component.name: content(platform, component.file_id) for component in components}


def object_path(platform: Platform, file_id: FileId) -> Path:
    """Where the bytes of a file lie."""
    return _objects(platform) / platform.files.get_file(file_id).storage_key


def point(platform: Platform, of: DatasetRef, name: str, version_id: VersionId, *, tag: bool = True) -> None:
    """A tag, or a branch, as a row."""
    with platform.db.transaction() as tx:
        tx.execute(
            "INSERT INTO dataset_pointers (dataset_id, pointer_name, version_id, is_tag) VALUES (:dataset, :name, :version, :tag)",
            dataset=of.id,
            name=name,
            version=version_id,
            tag=tag,
        )


def moved_blindly(pointers: Pointers, dataset_id: int, branch: str, _seen: int, to: int, *_: object) -> bool:
    """A mutant of `Pointers.move`: it does not compare with what was seen."""
    sql = "UPDATE dataset_pointers SET version_id = :to WHERE dataset_id = :dataset AND pointer_name = :name"
    return pointers._tx.execute(sql, to=to, dataset=dataset_id, name=branch) == 1


def unnamed(platform: Platform) -> tuple[int, int]:
    """(number, bytes) of the contents that nothing names: what the collector will take."""
    with platform.db.transaction() as tx:
        ((files, size),) = tx.tuples(
            "SELECT count(*), coalesce(sum(f.file_size), 0) FROM files f "
            "WHERE NOT EXISTS (SELECT 1 FROM dataset_version_files c WHERE c.file_id = f.id) "
            "AND NOT EXISTS (SELECT 1 FROM dataset_versions v WHERE v.overlay_file_id = f.id) "
            "AND NOT EXISTS (SELECT 1 FROM staged_files s WHERE s.file_id = f.id)"
        )
    return files, int(size)


@contextmanager
def tampering(db: Database) -> Iterator[Transaction]:
    """A transaction of the database's owner, who may do what the services may not: change tables, switch triggers off, empty tables."""
    url = db._engine.url.set(username="postgres").render_as_string(hide_password=False)
    with Database(url, as_login=True) as owner, owner.transaction() as tx:
        yield tx


# --- time ----------------------------------------------------------------------------------------------------------------------


def overdue(db: Database) -> None:
    """Lets every wait be over: expiry of sessions and uploads, review, purge, and the age of what a sweep has found."""
    with db.transaction() as tx:
        for table, column in (
            ("upload_sessions", "expires_at"),
            ("upload_intents", "expires_at"),
            ("gc_queue", "review_after"),
            ("tombstones", "purge_after"),
        ):
            tx.execute(f"UPDATE {table} SET {column} = now() - interval '1 second'")


def drained(platform: Platform) -> int:
    """Collects until nothing is left to collect; answers how many objects were deleted."""
    purged = 0
    while True:
        overdue(platform.db)
        done = platform.gc.collect(platform.system())
        purged += done.purged.count
        if not (done.sessions.count or done.uploads.count or done.unreferenced.count or done.purged.count):
            return purged


# --- the invariants ------------------------------------------------------------------------------------------------------------


def _objects(platform: Platform) -> Path:
    return Path(platform.settings.storage_url) / "objects"


def objects(platform: Platform) -> set[str]:
    """The keys of everything that lies on the storage."""
    root = _objects(platform)
    return {os.path.relpath(os.path.join(folder, name), root) for folder, _, names in os.walk(root) for name in names}


def spooled(platform: Platform) -> list[str]:
    """Temporary files that are left."""
    settings = platform.settings
    folder = settings.home / "spool" if settings.storage_url.startswith("s3://") else Path(settings.storage_url) / "tmp"
    return sorted(path.name for path in folder.glob("*"))


def column(db: Database, sql: str, **params: object) -> list[Any]:
    """The first column of all rows."""
    with db.transaction() as tx:
        return [next(iter(row.values())) for row in tx.rows(sql, **params)]


def digest(table: str, row: str) -> str:
    """A question for the table's name, and a digest of its rows in any order; `row` writes one as text, whose table is `t`."""
    return f"SELECT '{table}', count(*) || ' ' || coalesce(sum(hashtextextended({row}, 0)), 0) FROM {table} t"


def buried(platform: Platform) -> set[str]:
    """The keys that are left to the collector."""
    return set(column(platform.db, "SELECT storage_key FROM tombstones"))


def problems(platform: Platform, *, contents: bool = True) -> list[Problem]:
    """What the product's own verification finds, with objects of any age judged."""
    return platform.verify(platform.system(), contents=contents, minimum_age=timedelta()).problems


def unaccounted_objects(platform: Platform) -> set[str]:
    """I3: objects that nothing names, and live objects that would be deleted."""
    return {problem.subject for problem in problems(platform, contents=False) if problem.invariant == "I3"}


def miscounted_files(platform: Platform) -> set[str]:
    """I6: files of which another number of references is shown than there is."""
    return {problem.subject for problem in problems(platform, contents=False) if problem.invariant == "I6"}


def assert_sound(platform: Platform) -> None:
    """Every invariant holds, every byte is right, and no temporary file is left."""
    assert problems(platform) == []
    assert spooled(platform) == []


# --- threads -------------------------------------------------------------------------------------------------------------------


def at_once(*works: Callable[[], T]) -> list[T]:
    """Runs each work in a thread of its own, all let go together; their answers in order, or the first failure."""
    line = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T:
        line.wait(PATIENCE)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def meeting(parties: int) -> Callable[[], None]:
    """A point that the first `parties` callers pass together; later callers pass at once."""
    barrier = threading.Barrier(parties)
    lock = threading.Lock()
    seen = 0

    def wait() -> None:
        nonlocal seen
        with lock:
            seen += 1
            early = seen <= parties
        if early:
            barrier.wait(PATIENCE)

    return wait


def until(reached: Callable[[], bool], why: str = "") -> None:
    """Waits for what has to come."""
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline, why
        time.sleep(0.005)


def until_blocked(db: Database, *, or_done: Callable[[], bool]) -> bool:
    """Waits until some session of the database waits for a lock (True), or until `or_done` says that none will (False)."""
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    for _ in range(100_000):
        if column(db, blocked)[0]:
            return True
        if or_done():
            return False
    raise AssertionError("neither blocked nor done")
