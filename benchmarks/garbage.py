"""Collection: its time follows the garbage and not the store, and half of W2 goes in a second."""

import io
import time
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from benchmarks.measure import MIB, spread, sync
from benchmarks.setting import fresh_platform, owner, table
from dsplatform.bootstrap import Platform
from dsplatform.core.values import CommitMode
from dsplatform.files.gc import GarbageCollector

DEAD = 1_000
LIVE = (1_000, 1_000_000)
STEP = 50_000
BODY = b"customer-000000,2026-01-01,0.00,new\n" * 285


def gc(scratch: Path, rounds: int) -> str:
    """1,000 dead files among few and among many live ones, and half of the 10,000 files of W2."""
    rows = []
    for live in LIVE:
        with fresh_platform(scratch) as platform:
            _live(platform, live)
            rows.append(_measured(platform, f"{DEAD:,} dead among {live:,} live", DEAD, 1, rounds, "the same for both"))
    with fresh_platform(scratch) as platform:
        rows.append(_measured(platform, "half of W2: 5,000 dead of 10,000", 5_000, 5_000, rounds, "≤ 1.0, memory flat"))
    return table(
        "Garbage collection of files of 10 KiB",
        ["files", "collection, s", "most memory taken, MiB", "bar"],
        rows,
        "One collection without a grace period: it reviews, buries and deletes the objects. The live files of the first two lines are rows "
        "alone. Memory is Python's, of one more collection that is not timed.",
    )


def _live(platform: Platform, count: int) -> None:
    """A version with that many files more."""
    actor = platform.actor()
    dataset = platform.datasets.create_dataset(actor, "live")
    version = platform.versions.create_version(actor, dataset, {"first": io.BytesIO(b"first")}).version_id
    for start in range(0, count, STEP):
        with platform.db.transaction() as tx:
            tx.execute(
                "WITH made AS (INSERT INTO files (content_hash, file_size, storage_type, file_path, file_type) "
                "SELECT encode(sha256(CAST(CAST(n AS text) AS bytea)), 'hex'), 10240, 'local', 'live/' || n, 'text' "
                "FROM generate_series(CAST(:low AS integer), CAST(:high AS integer)) n RETURNING id) "
                "INSERT INTO dataset_version_files (version_id, component_name, component_index, file_id) "
                "SELECT :version, 'live ' || id, id, id FROM made",
                low=start + 1,
                high=min(start + STEP, count),
                version=version,
            )
    platform.gc.fold()
    with owner(platform) as tx:
        tx.execute("VACUUM ANALYZE")
        tx.execute("CHECKPOINT")


def _measured(platform: Platform, title: str, dead: int, kept: int, rounds: int, bar: str) -> tuple[object, ...]:
    times = []
    collector = GarbageCollector(platform.db, platform.gc._storage, platform.schemas, platform.permissions, grace=timedelta())
    for number in range(rounds):
        _die(platform, f"round {number}", dead, kept)
        sync()
        times.append(_collected(platform, collector, dead))
    _die(platform, "traced", dead, kept)
    tracemalloc.start()
    _collected(platform, collector, dead)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return title, spread(times), f"{peak / MIB:.1f}", bar


def _die(platform: Platform, name: str, dead: int, kept: int) -> None:
    """A version of `dead + kept` files, and one that keeps `kept` of them; the first is deleted, and its files are due for review."""
    actor = platform.actor()
    dataset = platform.datasets.create_dataset(actor, name)
    everything = {f"{number:06}.csv": f"{name} {number}\n".encode() + BODY for number in range(dead + kept)}
    platform.versions.create_version(actor, dataset, {path: io.BytesIO(body) for path, body in everything.items()})
    rest = {path: io.BytesIO(body) for path, body in everything.items() if int(path[:6]) < kept}
    platform.versions.create_version(actor, dataset, rest, mode=CommitMode.REPLACE)
    platform.deletion.delete_version(actor, f"{dataset.slug}@1")
    with platform.db.transaction() as tx:
        tx.execute("UPDATE gc_queue SET review_after = now() - interval '1 second'")


def _collected(platform: Platform, collector: GarbageCollector, dead: int) -> float:
    system = platform.system()
    started = time.perf_counter()
    done = collector.collect(system)
    seconds = time.perf_counter() - started
    if (done.unreferenced.count, done.purged.count) != (dead, dead):
        raise AssertionError(f"{done} instead of {dead} files")
    return seconds


ALL: dict[str, Callable[[Path, int], str]] = {"gc": gc}
