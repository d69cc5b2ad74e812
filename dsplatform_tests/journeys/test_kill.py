"""The process group is killed at random moments of a batch, many times; every file is there exactly once."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
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
with bootstrap(settings, settings.database_url) as platform:
    print("up", flush=True)
    for line in iter(input, "stop"):
        platform.ingestion.discover()
        platform.ingestion.ingest_ready()
        print("done", flush=True)
"""


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


def start(platform: Platform, url: str) -> subprocess.Popen[str]:
    env = {**os.environ, "DSPLATFORM_HOME": str(platform.settings.home), "DSPLATFORM_DATABASE_URL": url, "DSPLATFORM_SETTLE_SECONDS": "0"}
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "up\n"
    return worker


@pytest.mark.parametrize("kills", [30, pytest.param(500, marks=pytest.mark.soak)])
def test_no_file_is_lost_or_doubled_by_kills(kills: int, platform: Platform, database_url: str) -> None:
    dropped: dict[str, bytes] = {}
    interrupted = 0
    generator = random.Random(20260101)
    spare = start(platform, database_url)
    for number in range(kills):
        worker, spare = spare, start(platform, database_url)  # the next one starts while this one works
        dropped.update(drop_batch(platform.settings.drop_dir, number))
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
        try:
            worker.wait(timeout=generator.uniform(0.0, 0.35))
        except subprocess.TimeoutExpired:
            os.killpg(worker.pid, signal.SIGKILL)
        out, _ = worker.communicate()
        interrupted += "done" not in out
    os.killpg(spare.pid, signal.SIGKILL)
    spare.communicate()
    assert interrupted >= kills // 2, "the kills came too late to prove anything"

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
