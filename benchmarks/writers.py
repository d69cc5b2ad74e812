"""Many writers at once: on one branch, and each on a dataset of its own."""

import io
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.measure import sync
from benchmarks.setting import home, table
from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.settings import Settings
from dsplatform.versioning.pointers import Pointers

WRITERS = 32
PROCESSES = 2
SECONDS = 5


def writers(scratch: Path, rounds: int) -> str:
    """Tiny versions, as many as 32 writers in two processes can make."""
    rows = []
    for label, own, blind in (
        ("one branch", False, False),
        ("one branch, pointer moved without comparing (mutant)", False, True),
        ("a dataset each", True, False),
    ):
        for _ in range(rounds):
            sync()
            rows.append((label, *_round(scratch, own=own, blind=blind)))
    return table(
        f"Many writers: {WRITERS} in {PROCESSES} processes, {SECONDS} seconds, a new tiny file each",
        ["where", "commits acknowledged", "commits/s", "reachable from the branch", "bar"],
        [(*row, "≥ 500/s" if "each" in row[0] else "" if "mutant" in row[0] else "≥ 100/s, all reachable") for row in rows],
    )


def _round(scratch: Path, *, own: bool, blind: bool) -> tuple[int, str, str]:
    with home(scratch) as (env, url), bootstrap(Settings.from_env(env), url) as platform:
        actor = platform.actor()
        for number in range(WRITERS if own else 1):
            platform.versions.create_version(actor, platform.datasets.create_dataset(actor, f"d{number}"), {"first": io.BytesIO(b"1")})
        context = multiprocessing.get_context("spawn")
        start, answers = context.Barrier(PROCESSES), context.Queue()
        processes = [
            context.Process(target=_write, args=(env, url, which, start, answers), kwargs={"own": own, "blind": blind})
            for which in range(PROCESSES)
        ]
        for process in processes:
            process.start()
        results = [answers.get() for _ in processes]
        for process in processes:
            process.join()
        made = [version for versions, _ in results for version in versions]
        rate = sum(len(versions) / seconds for versions, seconds in results)
        reachable = _reachable(platform)
        return len(made), f"{rate:.0f}", f"{len(set(made) & reachable)} of {len(made)}"


def _write(env: dict[str, str], url: str, which: int, start: Any, answers: Any, *, own: bool, blind: bool) -> None:
    """One process: its share of the writers, each committing until the time is over."""
    if blind:
        Pointers.move = _move_blindly  # type: ignore[method-assign,assignment]
    share = WRITERS // PROCESSES
    with bootstrap(Settings.from_env({**env, "DSPLATFORM_POOL_SIZE": "12"}), url) as platform, ThreadPoolExecutor(share) as pool:
        actor = platform.actor()
        start.wait()
        began = time.perf_counter()
        work = [
            pool.submit(_commits, platform, actor, which * share + number if own else 0, number + which * share, began + SECONDS)
            for number in range(share)
        ]
        versions = [version for done in work for version in done.result()]
        answers.put((versions, time.perf_counter() - began))


def _commits(platform: Platform, actor: Any, dataset_number: int, writer: int, until: float) -> list[int]:
    with platform.db.transaction() as tx:
        dataset = platform.datasets.find(tx, actor, f"d{dataset_number}")
    made = []
    for number in count():
        if time.perf_counter() > until:
            return made
        body = io.BytesIO(f"{os.getpid()} {writer} {number}".encode())
        made.append(platform.versions.create_version(actor, dataset, {f"w{writer}": body}).version_id)
    return made


def _move_blindly(pointers: Pointers, dataset_id: int, branch: str, _seen: int, to: int, *_: object) -> bool:
    pointers._tx.execute(
        "UPDATE dataset_pointers SET version_id = :to WHERE dataset_id = :dataset AND pointer_name = :name",
        dataset=dataset_id,
        name=branch,
        to=to,
    )
    return True


def _reachable(platform: Platform) -> set[int]:
    with platform.db.transaction() as tx:
        rows = tx.tuples(
            "WITH RECURSIVE up AS (SELECT v.id, v.parent_version_id FROM dataset_pointers p JOIN dataset_versions v ON v.id = p.version_id "
            "UNION SELECT v.id, v.parent_version_id FROM up JOIN dataset_versions v ON v.id = up.parent_version_id) SELECT id FROM up"
        )
    return {row[0] for row in rows}


ALL: dict[str, Callable[[Path, int], str]] = {"writers": writers}
