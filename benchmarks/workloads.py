"""The workloads. Each makes its data, measures beside the limit of the same round, and answers with a Markdown table."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks import data
from benchmarks.measure import MIB, Run, hash_copy_sync, hash_only, loose_files, run, spread, sync, two_durable_files
from benchmarks.setting import fresh_platform, home, homes, table
from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.settings import Settings
from dsplatform.ingestion.model import InboxState
from dsplatform.local import database_for

DSP = [sys.executable, "-m", "dsplatform"]


def w1(scratch: Path, rounds: int) -> str:
    """One CSV of 2 GiB through the command line."""
    source = scratch / "w1.csv"
    data.csv(source, 2048 * MIB)
    rows = []
    for options, label in ((["--no-schema"], "without schema"), ([], "with schema")):
        limits, hashes, runs = [], [], []
        for _ in range(rounds if options else 1):
            hashes.append(hash_only([source]))
            sync()
            limits.append(hash_copy_sync(source, scratch / "copy"))
            (scratch / "copy").unlink()
            sync()
            with home(scratch) as (env, _):
                _warm(env, scratch)
                runs.append(run([*DSP, "ingest", str(source), "--dataset", "w1", *options], env))
            sync()
        ratios = [one.wall / limit for one, limit in zip(runs, limits, strict=True)]
        rows.append((label, spread(hashes), spread(limits), _walls(runs), spread(ratios), f"{median(r.cpu for r in runs):.2f}", _rss(runs)))
    source.unlink()
    return table(
        "W1: one CSV of 2 GiB, `dsplatform ingest`",
        ["what", "hash only, s", "hash + copy + fsync, s", "command, s", "ratio to that", "CPU, s", "peak memory, MiB"],
        rows,
        "Bar without schema: ratio ≤ 1.4, memory ≤ 256 MiB; with schema: memory ≤ 768 MiB.",
    )


def w2(scratch: Path, rounds: int) -> str:
    """10,000 small files as one version, then once more with one of them changed."""
    source = scratch / "w2"
    data.small_files(source, 10_000, 0.2)
    paths = sorted(source.iterdir())
    hash_only(paths)
    loose, calls, databases, agains, commands, ratios, barriers = [], [], [], [], [], [], []
    for number in range(rounds):
        sync()
        loose.append(loose_files(paths, scratch / f"loose{number}"))
        sync()
        with fresh_platform(scratch) as platform:
            clock = _DatabaseClock(platform)
            calls.append(_seconds(lambda: platform.ingestion.ingest_paths(platform.system(), [source], "w2")))
            databases.append(clock.seconds)
            barriers.append(clock.barrier)
            original = paths[5_000].read_text()
            paths[5_000].write_text(f"{original}one more line\n")
            agains.append(_seconds(lambda: platform.ingestion.ingest_paths(platform.system(), [source], "w2")))
            paths[5_000].write_text(original)
        sync()
        with home(scratch) as (env, _):
            _warm(env, scratch)
            commands.append(run([*DSP, "ingest", str(source), "--dataset", "w2", "--no-schema"], env))
        ratios.append(calls[-1] / loose[-1])
    return table(
        "W2: 10,000 CSV files of 10 KiB, 20 % duplicates, one version, durable",
        ["what", "figure", "bar"],
        [
            ("loose files without sync or database, s", spread(loose), ""),
            ("service call, s", spread(calls), ""),
            ("ratio to the loose files of the round", spread(ratios), "≤ 1.5"),
            ("of it in the database, s", spread(databases), "≤ 0.5"),
            ("of it in the durability barrier, s", spread(barriers), ""),
            ("again with one file changed, s", spread(agains), "≤ 1.0"),
            ("whole command `ingest --no-schema`, s", _walls(commands), f"≤ {median(calls) + 1.5:.2f} (service call + 1.5)"),
            ("its CPU, s / peak memory, MiB", f"{median(r.cpu for r in commands):.2f} / {_rss(commands)}", ""),
        ],
    )


def w3(scratch: Path, _rounds_wanted: int) -> str:
    """20 versions of a CSV of 200 MiB."""
    source = scratch / "w3.csv"
    limits, calls, stored = [], [], 0
    with fresh_platform(scratch) as platform:
        for _ in data.snapshots(source, 200 * MIB, 20):
            sync()
            limits.append(hash_copy_sync(source, scratch / "copy"))
            sync()
            calls.append(_seconds(lambda: platform.ingestion.ingest_paths(platform.system(), [source], "w3")))
            stored += source.stat().st_size
    source.unlink()
    return table(
        "W3: 20 versions of a CSV of 200 MiB, 1 % of the rows changed and 1 % appended",
        ["what", "figure"],
        [
            ("hash + copy + fsync of a version, s", spread(limits)),
            ("service call, s", spread(calls)),
            ("ratio", spread([call / limit for call, limit in zip(calls, limits, strict=True)])),
            ("bytes stored, GiB (every version is kept whole)", f"{stored / 1024**3:.2f}"),
        ],
    )


def tiny(scratch: Path, rounds: int) -> str:
    """A version of one small component, in process."""
    times, limits = [], []
    loose = scratch / "tiny"
    loose.mkdir()
    with fresh_platform(scratch) as platform:
        actor = platform.actor()
        dataset = platform.datasets.create_dataset(actor, "tiny")
        for start in range(0, 100 * rounds, 50):  # in turns, not one by one: what the one leaves to the disk is not the other's to wait for
            numbers = range(start, start + 50)
            limits += [two_durable_files(loose, number) * 1000 for number in numbers]
            sync()
            for number in numbers:
                body = io.BytesIO(b"id,value\n1,%d\n" % number)
                times.append(_seconds(lambda: platform.versions.create_version(actor, dataset, {"a.csv": body})) * 1000)  # noqa: B023
    ordered = sorted(times)
    return table(
        "A tiny version through the service",
        ["versions", "two durable files, median, ms", "median, ms", "p95, ms", "bar"],
        [(len(times), f"{median(limits):.1f}", f"{median(times):.1f}", f"{ordered[int(len(ordered) * 0.95)]:.1f}", "median ≤ 10")],
    )


def latency(scratch: Path, rounds: int) -> str:
    """One small file with its marker, from the drop to its version, through sensor and daemon."""
    env = {"DSPLATFORM_HOME": str(scratch / f"home{next(homes)}")}
    settings = Settings.from_env(env)
    seconds = []
    log = scratch / "up.log"
    with log.open("w") as output, subprocess.Popen([*DSP, "up"], env={**os.environ, **env}, stdout=output) as process:
        while "Stop with" not in log.read_text():
            time.sleep(0.5)
        with database_for(settings) as databases, bootstrap(settings, databases.services) as platform:
            for number in range(10 if rounds > 1 else 3):
                target = settings.drop_dir / "latency" / f"{number}.csv"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(f"id\n{number}\n")
                target.with_name(f"{target.name}.done").touch()
                started = time.perf_counter()
                while not any(
                    entry.source_path == f"latency/{number}.csv"
                    for entry in platform.ingestion.outcomes(platform.system(), limit=1, only=InboxState.ACCEPTED)
                ):
                    time.sleep(0.1)
                seconds.append(time.perf_counter() - started)
        process.terminate()
    return table(
        "A small file with its `.done` marker: drop to version, through sensor and daemon",
        ["files", "median and range, s", "bar"],
        [(len(seconds), spread(seconds), "median ≤ 8")],
    )


class _DatabaseClock:
    """Adds up what a platform spends in transactions and in the durability barrier."""

    def __init__(self, platform: Platform) -> None:
        self.seconds = self.barrier = 0.0
        opened, sealed = platform.db.transaction, platform.files._storage.sync

        @contextmanager
        def timed() -> Iterator[object]:
            started = time.perf_counter()
            with opened() as tx:
                yield tx
            self.seconds += time.perf_counter() - started

        def synced(keys: Sequence[str]) -> None:
            started = time.perf_counter()
            sealed(keys)
            self.barrier += time.perf_counter() - started

        platform.db.transaction = timed  # type: ignore[method-assign, assignment]
        platform.files._storage.sync = synced  # type: ignore[method-assign, assignment]


def _warm(env: dict[str, str], scratch: Path) -> None:
    """One ingest before: Dagster's tables are made, the code is in the file cache."""
    small = scratch / "warm.csv"
    small.write_text("a,b\n1,2\n")
    run([*DSP, "ingest", str(small), "--dataset", "warm"], env)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _walls(runs: Sequence[Run]) -> str:
    return spread([one.wall for one in runs])


def _rss(runs: Sequence[Run]) -> str:
    return f"{max(one.rss for one in runs):.0f}"


ALL: dict[str, Callable[[Path, int], str]] = {"tiny": tiny, "latency": latency, "w2": w2, "w1": w1, "w3": w3}

os.environ.pop("DSPLATFORM_DATABASE_URL", None)
