"""A bucket as the store: many small files through the service, and the same writes without it."""

import gc
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from benchmarks import data
from benchmarks.measure import spread
from benchmarks.setting import home, table
from dsplatform.bootstrap import bootstrap
from dsplatform.core.errors import Unavailable
from dsplatform.core.s3 import CONNECTIONS
from dsplatform.core.s3_address import S3Address
from dsplatform.core.settings import Settings
from dsplatform.core.types import ContentHash
from dsplatform.files.model import storage_key
from dsplatform.files.s3 import S3Storage
from dsplatform_tests import s3

FILES = 10_000


def bucket(scratch: Path, rounds: int) -> str:
    """10,000 small files, all different, as one version in a bucket on this machine."""
    source = scratch / "s3"
    data.small_files(source, FILES, 0)
    paths = sorted(source.iterdir())
    os.environ.update(s3.environment())
    gc.set_threshold(100_000, 50, 100)  # as the command line sets it
    bare, services, dead = [], [], []
    with s3.running_server() as endpoint:
        for number in range(rounds):
            bare.append(FILES / _bare(S3Address(s3.BUCKET, f"bare{number}/", endpoint), paths, scratch))
            store = S3Address(s3.BUCKET, f"store{number}/", endpoint)
            with home(scratch) as (env, url), bootstrap(replace(Settings.from_env(env), storage_url=str(store)), url) as platform:
                platform.files.store_file(platform.actor(), paths[0])  # the connection, the store's identity
                started = time.perf_counter()
                report = platform.ingestion.ingest_paths(platform.system(), [source], "s3")
                services.append(FILES / (time.perf_counter() - started))
                assert report.files_stored + report.files_duplicate == FILES
            dead.append(_dead(scratch))
    return table(
        f"S3: {FILES:,} CSV files of 10 KiB into SeaweedFS on the same machine, {CONNECTIONS} in flight",
        ["what", "median and range", "bar"],
        [
            ("the store's own writes alone, files/s", spread(bare), ""),
            ("`ingest_paths`, one version, files/s", spread(services), "≥ 300"),
            ("a dead endpoint is named after, s", spread(dead), "≤ 30"),
        ],
        "Server and client share the machine's cores.",
    )


def _bare(address: S3Address, paths: Sequence[Path], scratch: Path) -> float:
    storage = S3Storage(address, scratch / "spool")
    storage.store_id()
    upload = uuid4()

    def write(number: int) -> None:
        storage.put(storage_key(ContentHash(f"{number:064x}"[::-1]), upload), paths[number].read_bytes())

    started = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(write, range(len(paths))))
    return time.perf_counter() - started


def _dead(scratch: Path) -> float:
    (port,) = s3.free_ports(1)
    storage = S3Storage(S3Address(s3.BUCKET, "", f"http://127.0.0.1:{port}"), scratch / "spool")
    started = time.perf_counter()
    try:
        storage.put(storage_key(ContentHash("0" * 64), uuid4()), b"x")
    except Unavailable:
        return time.perf_counter() - started
    raise AssertionError("somebody answered")


ALL = {"s3": bucket}
