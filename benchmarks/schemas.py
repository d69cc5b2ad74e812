"""What reading a file's columns takes: all rows, exact types and the profile."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import data
from benchmarks.measure import MIB, Run, run, spread
from benchmarks.setting import table
from dsplatform.schemas.sandbox import Request, Sandbox

SIZE = 200 * MIB
SMALL_FILES = 10_000

READ = """
import sys
from pathlib import Path
from dsplatform.schemas.readers import extract
capture = extract(Path(sys.argv[1]), "csv", sys.argv[1])
assert capture.rows and capture.tables[0].profile, capture.reason
"""
SNIFF = """
import sys
import duckdb
duckdb.execute("SET threads = 2")
assert duckdb.execute("SELECT columns FROM sniff_csv(?, sample_size = -1)", [sys.argv[1]]).fetchall()
"""
NOTHING = {"ours": "from dsplatform.schemas import readers", "peer": "import duckdb"}
MANY = """
import sys
from pathlib import Path
from dsplatform.schemas.sandbox import Request, shared
requests = [Request(path, "csv", path.name) for path in sorted(Path(sys.argv[1]).iterdir())]
assert all(capture.rows == 191 for capture in shared().extract(requests))
"""


def csv(scratch: Path, rounds: int, size: int = SIZE) -> str:
    """One CSV file: ours with types that lose nothing and the profile, DuckDB's sniffer with types alone, in turns."""
    path = scratch / "big.csv"
    data.csv(path, size)
    ours, peer = list[Run](), list[Run]()
    for _ in range(rounds):
        peer.append(_python(SNIFF, path))
        ours.append(_python(READ, path))
    starts = {name: _python(code, path).wall for name, code in NOTHING.items()}
    ratios = [(theirs.wall - starts["peer"]) / (mine.wall - starts["ours"]) for mine, theirs in zip(ours, peer, strict=True)]
    path.unlink()
    return table(
        f"A CSV file of {size // MIB} MiB: all rows",
        ["what", "seconds", "seconds of CPU", "peak MiB", "bar"],
        [
            ("types and profile", *_figures(ours), "≤ 512 MiB"),
            ("DuckDB: `sniff_csv(sample_size = -1)`", *_figures(peer), ""),
            ("times faster, without the start of Python", spread(ratios), "", "", "≥ 1.6"),
        ],
    )


def small_csv(scratch: Path, rounds: int) -> str:
    """Many small CSV files through the child processes, as a commit's are read."""
    folder = scratch / "small"
    data.small_files(folder, SMALL_FILES, 0.0)
    runs = [_python(MANY, folder) for _ in range(rounds)]
    return table(
        f"{SMALL_FILES:,} CSV files of 10 KiB",
        ["what", "seconds", "bar"],
        [("types and profile, with the start of the children", spread([each.wall for each in runs]), "≤ 5")],
    )


def parquet(scratch: Path, rounds: int) -> str:
    """Parquet files of several sizes, one after the other through a child that has read one before."""
    kinds = {
        "small, 10 columns": (10, 1_000, 1_000),
        "9 row groups of 12 columns": (12, 6_000_000, 700_000),
        "150 row groups of 12": (12, 6_000_000, 40_000),
    }
    rows = []
    sandbox = Sandbox(1)
    for name, (columns, count, group) in kinds.items():
        path = scratch / "x.parquet"
        values = np.random.default_rng(1)
        held = pa.table({f"c{number}": values.random(count) for number in range(columns)})
        pq.write_table(held, path, compression="none", use_dictionary=False, row_group_size=group)
        del held
        seconds = []
        for _ in range(1 + 5 * rounds):
            started = time.perf_counter()
            (capture,) = sandbox.extract([Request(path, "parquet", path.name)])
            seconds.append(1000 * (time.perf_counter() - started))
            assert capture.rows == count, capture.reason
        rows.append((name, f"{path.stat().st_size / MIB:.1f}", spread(seconds[1:]), "≤ 20"))
        path.unlink()
    sandbox.close()
    return table("Parquet, from the footer", ["file", "MiB", "milliseconds", "bar"], rows)


def _python(code: str, path: Path) -> Run:
    return run([sys.executable, "-c", code, str(path)], {"ARROW_DEFAULT_MEMORY_POOL": "jemalloc", "MALLOC_ARENA_MAX": "2"})


def _figures(runs: list[Run]) -> tuple[str, str, str]:
    return spread([each.wall for each in runs]), f"{median(each.cpu for each in runs):.2f}", f"{max(each.rss for each in runs):.0f}"


ALL: dict[str, Callable[[Path, int], str]] = {"schemas-csv": csv, "schemas-small": small_csv, "schemas-parquet": parquet}
