"""What is written is what is captured: random tables as CSV, Parquet, Arrow and JSON come back with names, types and counts."""

import csv
import datetime as dt
import gzip
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.schemas.model import FileCapture, Hints, Status
from dsplatform.schemas.readers import extract, rows

texts = st.text(
    st.one_of(st.sampled_from(",;|\t\n\r\"'\\ 0é漢\u2028\U0001f600"), st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
)


@dataclass(frozen=True)
class Kind:
    """Values of one sort, and what each format makes of them: by the rules of docs/schemas.md."""

    values: st.SearchStrategy[Any]
    arrow: pa.DataType
    in_text: str
    in_json: str
    in_arrow: str


def _exact(number: int) -> Decimal:
    return Decimal(number * 10 + 7).scaleb(-4)


KINDS = {
    "whole": Kind(st.integers(-(2**63), 2**63 - 1), pa.int64(), "int64", "int64", "int64"),
    "short": Kind(st.integers(0, 200), pa.uint8(), "int64", "int64", "int64"),
    "unsigned": Kind(st.integers(2**63, 2**64 - 1), pa.uint64(), "uint64", "uint64", "uint64"),
    "long": Kind(st.integers(10**29, 10**30 - 1), pa.decimal128(30, 0), "decimal(30,0)", "decimal(30,0)", "decimal(30,0)"),
    "exact": Kind(st.integers(10**21, 10**22 - 1).map(_exact), pa.decimal128(25, 4), "decimal(23,4)", "string", "decimal(25,4)"),
    "float": Kind(
        st.floats(1e-4, 1e15).filter(lambda number: number % 1 != 0) | st.sampled_from([-2.5, 0.5]),
        pa.float64(),
        "float64",
        "float64",
        "float64",
    ),
    "text": Kind(texts.map("x".__add__), pa.string(), "string", "string", "string"),
    "code": Kind(st.integers(0, 99).map("00{}".format), pa.large_string(), "string", "string", "string"),
    "flag": Kind(st.booleans(), pa.bool_(), "boolean", "boolean", "boolean"),
    "day": Kind(st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1)), pa.date32(), "date", "string", "date"),
    "moment": Kind(
        st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)).map(lambda at: at.replace(second=1)),  # noqa: DTZ001 - no zone
        pa.timestamp("us"),
        "timestamp",
        "string",
        "timestamp",
    ),
}


@dataclass(frozen=True)
class Written:
    """A table, column by column; None is a row without a value."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    columns: tuple[tuple[Any, ...], ...]

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The same, row by row."""
        return list(zip(*self.columns, strict=True))

    def expected(self, type_of: Callable[[Kind], str], *, typed_nulls: bool) -> list[tuple[str, str, int]]:
        """(name, type, rows without a value) of each column."""
        return [
            (name, type_of(KINDS[kind]) if typed_nulls or set(values) != {None} else "null", values.count(None))
            for name, kind, values in zip(self.names, self.kinds, self.columns, strict=True)
        ]


@st.composite
def tables(draw: st.DrawFn) -> Written:
    """One to thirty rows of one to six columns. A row has a value somewhere, or a text file would have no line for it."""
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=6))
    names = draw(st.lists(texts.map("n".__add__), min_size=len(kinds), max_size=len(kinds), unique=True))
    count = draw(st.integers(1, 30))
    columns = [tuple(draw(st.lists(st.none() | KINDS[kind].values, min_size=count, max_size=count))) for kind in kinds]
    return Written(tuple(names), tuple(kinds), tuple(columns))


def _captured(data: bytes, name: str, hints: Hints = Hints()) -> tuple[FileCapture, list[tuple[str, str, int | None]], int]:  # noqa: B008 - frozen
    """The capture, (name, type, nulls) of its columns, and how many rows a second reading gives."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        capture = extract(path, "", name, hints)
        assert capture.status is Status.OK, capture.reason
        (table,) = capture.tables
        batches = list(rows(path, "", name, hints, None))
        assert all(batch.schema.names == [column.name for column in table.columns] for batch in batches)
        nulls = [profile.nulls for profile in table.profile]
        found = [(column.name, column.type, count) for column, count in zip(table.columns, nulls, strict=True)]
        return capture, found, sum(batch.num_rows for batch in batches)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.datetime):
        return value.isoformat(" ")
    return "" if value is None else str(value)


@given(tables(), st.sampled_from([",", ";", "\t", "|"]), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_csv(table: Written, delimiter: str, line_end: str, compressed: bool) -> None:
    target = io.StringIO(newline="")
    # Where lines end with LF alone, Python's writer takes a CR inside a cell for harmless and leaves it without quotes.
    quoting: Literal[0, 1] = csv.QUOTE_ALL if line_end == "\n" else csv.QUOTE_MINIMAL
    writer = csv.writer(target, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writerow(table.names)
    writer.writerows([_cell(value) for value in row] for row in table.rows)
    data = target.getvalue().encode()
    name = "x.csv.gz" if compressed else "x.csv"
    capture, found, again = _captured(gzip.compress(data) if compressed else data, name, Hints(delimiter=delimiter))
    assert (capture.rows, again) == (len(table.rows), len(table.rows))
    assert "ragged_rows" not in capture.notes
    assert found == table.expected(lambda kind: kind.in_text, typed_nulls=False)
    assert [column.nullable for column in capture.tables[0].columns] == [None in values for values in table.columns]


def _arrow_table(table: Written) -> pa.Table:
    arrays = [pa.array(values, KINDS[kind].arrow) for kind, values in zip(table.kinds, table.columns, strict=True)]
    return pa.Table.from_arrays(arrays, list(table.names))


@given(tables(), st.integers(1, 30), st.sampled_from(["none", "zstd", "snappy"]))
def test_parquet(table: Written, group: int, codec: str) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(_arrow_table(table), sink, row_group_size=group, compression=codec)
    capture, found, again = _captured(sink.getvalue().to_pybytes(), "x.parquet")
    assert (capture.rows, again) == (len(table.rows), len(table.rows))
    assert found == table.expected(lambda kind: kind.in_arrow, typed_nulls=True)
    for profile, kind, values in zip(capture.tables[0].profile, table.kinds, table.columns, strict=True):
        given_values = [value for value in values if value is not None]
        if given_values and profile.low is not None:
            low, high = min(given_values), max(given_values)
            if kind in {"whole", "short", "unsigned", "float"}:
                assert (profile.low, profile.high) == (low, high)
            elif kind in {"exact", "long", "day"}:
                assert (profile.low, profile.high) == (str(low), str(high))
        assert profile.low is not None or not given_values or kind in {"text", "code", "moment"}


@given(tables(), st.integers(1, 30), st.booleans())
def test_arrow(table: Written, size: int, stream: bool) -> None:
    sink, written = pa.BufferOutputStream(), _arrow_table(table)
    with (pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file)(sink, written.schema) as writer:
        writer.write_table(written, max_chunksize=size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.arrow"
        path.write_bytes(sink.getvalue().to_pybytes())
        capture = extract(path, "", "x.arrow")
        assert capture.rows == len(table.rows), capture.reason
        found = [(column.name, column.type) for column in capture.tables[0].columns]
        assert found == [(name, type_) for name, type_, _ in table.expected(lambda kind: kind.in_arrow, typed_nulls=True)]
        assert pa.Table.from_batches(rows(path, "", "x.arrow", Hints(), None)) == written


def _record(names: Sequence[str], row: Sequence[Any], *, whole: bool) -> dict[str, Any]:
    plain = [str(value) if isinstance(value, dt.date | Decimal) else value for value in row]
    return {name: value for name, value in zip(names, plain, strict=True) if whole or value is not None}


@pytest.mark.parametrize("layout", ["lines", "array", "one after the other"])
@given(tables(), st.booleans(), st.booleans())
def test_json(layout: str, table: Written, ascii_only: bool, whole: bool) -> None:
    first = _record(table.names, table.rows[0], whole=True)  # all names, in their order
    records = [first, *(_record(table.names, row, whole=whole) for row in table.rows[1:])]
    parts = [json.dumps(record, ensure_ascii=ascii_only, indent=None if layout == "lines" else 1) for record in records]
    text = f"[{', '.join(parts)}]" if layout == "array" else "\n".join(parts)
    capture, found, again = _captured(text.encode(), "x.jsonl" if layout == "lines" else "x.json")
    assert (capture.rows, again) == (len(table.rows), len(table.rows))
    assert found == table.expected(lambda kind: kind.in_json, typed_nulls=False)
    assert [column.nullable for column in capture.tables[0].columns] == [None in values for values in table.columns]
