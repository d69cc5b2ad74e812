"""The legacy system comes along: rows a second, bytes against hashing and copying them, memory."""

import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from benchmarks.measure import MIB, Run, hash_copy_sync, run, spread, sync
from benchmarks.setting import home, table
from dsplatform.core.database_url import libpq_url
from dsplatform.core.settings import Settings
from dsplatform.local import database_for
from dsplatform_tests.legacy.generator import Built, build

DSP = [sys.executable, "-m", "dsplatform"]
DATASETS = 12_000
FILES, LARGE = 400, 20


@contextmanager
def _beside(scratch: Path, *, datasets: int, versions: int, shared_files: int | None = None) -> Iterator[tuple[dict[str, str], Built]]:
    """A fresh home, and a G1a system in the same server."""
    with home(scratch) as (env, _), database_for(Settings.from_env(env)) as databases:
        name, folder = f"old{os.getpid()}_{random.randrange(10**6)}", Path(env["DSPLATFORM_HOME"]) / "old"
        with psycopg.connect(libpq_url(databases.owner), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
        head, _, query = databases.owner.partition("?")
        url = head.rpartition("/")[0] + f"/{name}?{query}"
        built = build(url, folder, "G1a", oddities=False, datasets=datasets, versions=versions, shared_files=shared_files)
        with psycopg.connect(libpq_url(url), autocommit=True) as connection:
            connection.execute("ANALYZE")
        old = {"DSPLATFORM_LEGACY_DATABASE_URL": url, "DSPLATFORM_LEGACY_ROOTS": str(folder), "DSPLATFORM_LEGACY_BASE": str(folder)}
        yield env | old, built


def metadata(scratch: Path, rounds: int) -> str:
    """Rows of all tables; the files are few and tiny, so that every row that names one is a duplicate."""
    first: list[Run] = []
    again: list[Run] = []
    for _ in range(rounds):
        with _beside(scratch, datasets=DATASETS, versions=3, shared_files=50) as (env, built):
            total = sum(built.counts.values())
            sync()
            first.append(run([*DSP, "legacy", "migrate", "--json"], env))
            again.append(run([*DSP, "legacy", "migrate", "--json"], env))
    rows = [
        ("rows a second, of all tables", spread([total / one.wall for one in first]), "≥ 15,000"),
        ("rows a second, when nothing has changed", spread([total / one.wall for one in again]), ""),
        ("peak memory, MiB", spread([one.rss for one in first]), "≤ 512"),
    ]
    return table(f"A legacy system of {total:,} rows in {len(built.counts)} tables comes along", ["what", "figure", "bar"], rows)


def contents(scratch: Path, rounds: int) -> str:
    """Files of 1 MiB, and some of 128 MiB, all new."""
    ratios, rates, memory = [], [], []
    for _ in range(rounds):
        with _beside(scratch, datasets=FILES // 2, versions=2) as (env, built):
            paths = sorted((built.folder / "datasets").rglob("*.parquet"))
            _fill(built, paths)
            moved = sum(path.stat().st_size for path in paths)
            sync()
            target = scratch / "copy"
            limit = sum(hash_copy_sync(path, target) for path in paths)
            target.unlink()
            sync()
            started = time.perf_counter()
            done = run([*DSP, "legacy", "migrate", "--json", "--accept", "size_mismatch"], env)
            seconds = time.perf_counter() - started
            ratios.append(limit / seconds)
            rates.append(moved / MIB / seconds)
            memory.append(done.rss)
    rows = [
        ("against hashing, copying and syncing each file", spread(ratios), "≥ 0.6"),
        ("MiB a second", spread(rates), ""),
        ("peak memory, MiB", spread(memory), "≤ 512"),
    ]
    title = f"Bytes of a legacy system: {len(paths):,} files, {moved // MIB:,} MiB"
    return table(title, ["what", "figure", "bar"], rows, "The whole command, with its start and all tables.")


def _fill(built: Built, paths: list[Path]) -> None:
    rng = random.Random(1)
    with psycopg.connect(libpq_url(built.url), autocommit=True) as connection:
        for number, path in enumerate(paths):
            block = rng.randbytes(MIB)
            with path.open("wb") as file:
                for at in range(128 if number < LARGE else 1):
                    file.write(number.to_bytes(4, "big") + at.to_bytes(4, "big") + block[8:])
            connection.execute("UPDATE files SET file_size = %s WHERE file_path = %s", (path.stat().st_size, str(path)))


ALL = {"legacy_rows": metadata, "legacy_bytes": contents}
