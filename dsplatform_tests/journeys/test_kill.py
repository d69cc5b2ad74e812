"""The process group is killed at random moments of a batch, many times; every file is there exactly once."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from dsplatform.bootstrap import Platform
from dsplatform_tests.make import problems

FILES_PER_KILL = 60

WORKER = """
import os
from dsplatform.bootstrap import bootstrap
from dsplatform.core.settings import Settings

settings = Settings.from_env()
for line in iter(input, "stop"):
    child = os.fork()  # which need not load everything again
    if not child:
        os.setsid()
        with bootstrap(settings, settings.database_url) as platform:
            print(os.getpid(), flush=True)
            platform.ingestion.discover()
            platform.ingestion.ingest_ready()
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""
LONGEST = 0.35
"""Seconds until a kill."""


def drop_batch(root: Path, number: int) -> Iterator[tuple[str, bytes]]:
    """New files in three datasets; every fifth has the bytes of another one."""
    for index in range(FILES_PER_KILL):
        path = f"set{index % 3}/{number:03}-{index:03}.csv"
        content = b"id,batch\n%d,%d\n" % (index - index % 5 if index % 5 == 1 else index, number)
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.with_name(target.name + ".done").touch()
        yield path, content


@contextmanager
def working(platform: Platform, url: str) -> Iterator[Callable[[float], bool]]:
    """Processes that ingest, each killed after so many seconds: the answer is whether it was at work still."""
    env = {**os.environ, "DSPLATFORM_HOME": str(platform.settings.home), "DSPLATFORM_DATABASE_URL": url, "DSPLATFORM_SETTLE_SECONDS": "0"}
    with subprocess.Popen([sys.executable, "-c", WORKER], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None

        def kill_after(seconds: float) -> bool:
            print("go", file=parent.stdin, flush=True)
            worker = int(parent.stdout.readline())  # type: ignore[union-attr]
            time.sleep(seconds)
            with suppress(ProcessLookupError):
                os.killpg(worker, signal.SIGKILL)
            return os.waitstatus_to_exitcode(int(parent.stdout.readline())) == -signal.SIGKILL  # type: ignore[union-attr]

        try:
            yield kill_after
        finally:
            parent.kill()


@pytest.mark.long
@pytest.mark.parametrize("kills", [30, pytest.param(500, marks=pytest.mark.soak)])
def test_no_file_is_lost_or_doubled_by_kills(kills: int, platform: Platform, database_url: str) -> None:
    dropped: dict[str, bytes] = {}
    interrupted, number, longest = 0, 0, LONGEST
    generator = random.Random(20260101)
    with working(platform, database_url) as kill_after:
        while interrupted < kills:
            dropped.update(drop_batch(platform.settings.drop_dir, number))
            number += 1
            if kill_after(generator.uniform(0.0, longest)):
                interrupted += 1
            else:  # it came too late, and proved nothing
                longest *= 0.8
    print(f"{interrupted} of {number} kills came in time, the last within {longest:.2f} s")

    platform.ingestion.discover()
    platform.ingestion.ingest_ready()

    assert _held(platform) == dropped
    assert _outcomes(platform) == Counter(dropped.keys())
    assert _left(platform.settings.drop_dir) == []
    assert platform.settings.processed_dir is not None
    assert len(_left(platform.settings.processed_dir)) == len(dropped)
    assert problems(platform) == []
    _numbers_have_no_gaps(platform)


def _held(platform: Platform) -> dict[str, bytes]:
    """Every component of every head, as it was dropped."""
    held = {}
    for dataset in ("set0", "set1", "set2"):
        _, _, components = platform.versions.find(platform.actor(), dataset)
        for component in components:
            with platform.files.verified_chunks(component.file_id) as chunks:
                held[f"{dataset}/{component.name}"] = b"".join(chunks)
    return held


def _outcomes(platform: Platform) -> Counter[str]:
    """How many outcomes each path has."""
    with platform.db.transaction() as tx:
        rows = tx.rows("SELECT path FROM inbox WHERE state IN ('accepted', 'duplicate')")
    return Counter(row["path"] for row in rows)


def _left(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def _numbers_have_no_gaps(platform: Platform) -> None:
    with platform.db.transaction() as tx:
        rows = tx.rows("SELECT count(*) AS versions, max(version_number) AS newest FROM dataset_versions GROUP BY dataset_id")
    assert all(row["versions"] == row["newest"] for row in rows)
