"""Files that were damaged at random go through the sandbox: a child may die of one, the caller gets an answer for each.

A few thousand in CI; `make soak` reads 100,000. MUTATIONS sets the number.
"""

import gzip
import io
import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from dsplatform.schemas.model import FileCapture, Status
from dsplatform.schemas.sandbox import Request, Sandbox

SHORT = 3_000
LONG = int(os.environ.get("MUTATIONS", "100000"))
PORTION = 600

TABLE = pa.table(
    {
        "number": pa.array(range(200)),
        "text": [f"text {number % 7}" for number in range(200)],
        "list": [[number, None] for number in range(200)],
        "struct": [{"a": number, "b": {"c": "x"}} for number in range(200)],
        "at": pa.array(range(200), pa.timestamp("us", "UTC")),
        "kind": pa.array(["a", "b"] * 100).dictionary_encode(),
    }
)
LINES = b"".join(json.dumps({**row, "at": str(row["at"])}).encode() + b"\n" for row in TABLE.to_pylist())
RECORDS = json.dumps([{**row, "at": str(row["at"])} for row in TABLE.to_pylist()], indent=1).encode()
CSV = b"number,text,day\n" + b"".join(b"%d,text %d,2026-01-%02d\n" % (number, number % 7, number % 28 + 1) for number in range(200))


def _parquet(codec: str, *, group: int) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(TABLE, sink, compression=codec, row_group_size=group, write_page_index=True)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _arrow(codec: str | None, *, stream: bool) -> bytes:
    sink = io.BytesIO()
    opened = pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file
    with opened(sink, TABLE.schema, options=pyarrow.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(TABLE, max_chunksize=50)
    return sink.getvalue()


WHOLE = {
    "plain.parquet": _parquet("none", group=200),
    "groups.parquet": _parquet("zstd", group=20),
    "file.arrow": _arrow(None, stream=False),
    "packed.arrow": _arrow("lz4", stream=False),
    "stream.arrows": _arrow("zstd", stream=True),
    "lines.jsonl": LINES,
    "array.json": RECORDS,
    "lines.jsonl.gz": gzip.compress(LINES, mtime=0),
    "lines.jsonl.zst": pa.Codec("zstd").compress(LINES).to_pybytes(),
    "table.csv.gz": gzip.compress(CSV, mtime=0),
}


def _mutated(data: bytes, generator: random.Random) -> bytes:
    """One to four wounds. Every second one lies near the end, where footers are."""
    found = bytearray(data)
    for _ in range(generator.choice([1, 1, 1, 2, 4])):
        size = len(found)
        if not size:
            break
        at = generator.randrange(size) if generator.random() < 0.5 else max(0, size - 1 - int(generator.expovariate(1 / 200)))
        match generator.choice([0, 0, 0, 1, 1, 1, 2, 3, 4, 5, 6]):
            case 0:
                found[at] ^= 1 << generator.randrange(8)
            case 1:
                found[at] = generator.choice(b'\x00\xff\x7f\x80{}[]",\n')
            case 2:
                found[at : at + 4] = generator.choice([b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", bytes(4)])
            case 3:
                del found[at : at + generator.choice([1, 4, 100, size])]
            case 4:
                found[at:at] = generator.randbytes(generator.choice([1, 8, 64]))
            case 5:
                length = generator.randint(1, 64)
                found[at:at] = found[at : at + length] * generator.choice([1, 2, 50])
            case 6:
                other = generator.choice(list(WHOLE.values()))
                found[at:] = other[generator.randrange(len(other)) :]
    return bytes(found)


@pytest.fixture
def readers() -> Iterator[Sandbox]:
    """A sandbox of its own."""
    box = Sandbox(2)
    yield box
    box.close()


def _lines(data: bytes) -> int:
    return sum(bool(line.strip(b" \t\r")) for line in data.split(b"\n"))


def _read(readers: Sandbox, folder: Path, count: int) -> Counter[tuple[str, str]]:
    """How many files of each name ended how: read, refused, not read, or with a dead child."""
    generator = random.Random(20261123)
    ends: Counter[tuple[str, str]] = Counter()
    names = list(WHOLE)
    for start in range(0, count, PORTION):
        requests = []
        for number in range(start, min(start + PORTION, count)):
            name = names[number % len(names)]
            path = folder / f"{number % PORTION}"
            path.write_bytes(_mutated(WHOLE[name], generator))
            requests.append(Request(path, "", name))
        captures = readers.extract(requests)
        assert len(captures) == len(requests)
        for request, capture in zip(requests, captures, strict=True):
            ends[request.name, _end(request, capture)] += 1
    return ends


def _end(request: Request, capture: FileCapture) -> str:
    if capture.status is not Status.OK:
        assert capture.reason, request
        assert str(request.path) not in capture.reason
        return "died" if "crashed on it" in capture.reason else str(capture.status)
    assert capture.rows is not None, request
    assert capture.rows >= 0, request
    if capture.format == "jsonl" and request.name == "lines.jsonl":
        assert capture.rows == _lines(request.path.read_bytes())
    return "read"


def _check(ends: Counter[tuple[str, str]], count: int) -> None:
    print({end: sum(times for (_, this), times in ends.items() if this == end) for end in ("read", "unreadable", "opaque", "died")})
    assert sum(ends.values()) == count
    for name in WHOLE:
        assert ends[name, "unreadable"] > count // len(WHOLE) // 20, f"no damage to {name} was seen: {ends}"
    assert sum(ends[name, "read"] for name in WHOLE) > count // 50, f"nothing survived: {ends}"
    assert sum(ends[name, "died"] for name in WHOLE) < count // 50, f"children die all the time: {ends}"


def _whole_files_are_read(readers: Sandbox, folder: Path) -> None:
    requests = []
    for name, data in WHOLE.items():
        (folder / name).write_bytes(data)
        requests.append(Request(folder / name, "", name))
    assert [capture.rows for capture in readers.extract(requests)] == [200] * len(WHOLE)


def test_damaged_files_are_answered_and_the_next_one_is_read(readers: Sandbox, tmp_path: Path) -> None:
    _whole_files_are_read(readers, tmp_path)
    _check(_read(readers, tmp_path, SHORT), SHORT)
    _whole_files_are_read(readers, tmp_path)


@pytest.mark.soak
def test_very_many_damaged_files_are_answered(readers: Sandbox, tmp_path: Path) -> None:
    _check(_read(readers, tmp_path, LONG), LONG)
    _whole_files_are_read(readers, tmp_path)
