"""`python -m benchmarks [NAME ...]`: runs the named ones (all by default), prints a table each, and writes RESULTS.md when all ran."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks import access, garbage, history, http, integrity, legacy, s3, schemas, silence, workbooks, workloads, writers
from benchmarks.measure import machine

LAST = {"w1", "w3"}
"""What keeps the disk busy for minutes afterwards."""
_NAMED = {
    **workloads.ALL,
    **writers.ALL,
    **garbage.ALL,
    **integrity.ALL,
    **history.ALL,
    **access.ALL,
    **http.ALL,
    **silence.ALL,
    **s3.ALL,
    **legacy.ALL,
    **schemas.ALL,
    **workbooks.ALL,
}
ALL = dict(sorted(_NAMED.items(), key=lambda item: item[0] in LAST))
RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> None:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*ALL, []], help="which (default: all)")
    parser.add_argument("--folder", type=Path, default=Path.cwd() / ".dsplatform-bench", help="scratch folder, emptied afterwards")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each measurement; the median is printed")
    arguments = parser.parse_args()
    names = arguments.names or list(ALL)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    head = f"Made by `make bench` on {machine()}.\nSeconds vary with the machine; ratios are against the limit of the same round."
    parts = ["# Benchmark results", "", head, ""]
    scratch = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        for name in names:
            print(f"{name} ...", file=sys.stderr, flush=True)
            part = ALL[name](scratch, arguments.rounds)
            print(part, flush=True)
            parts.append(part)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if not arguments.names:
        RESULTS.write_text("\n".join(parts))


if __name__ == "__main__":
    main()
