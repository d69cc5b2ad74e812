"""Rows as JSON, CSV or Arrow, up to a number of bytes. What was added fits; the rest is told."""

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Protocol

import pyarrow as pa
import pyarrow.ipc

from dsplatform.schemas.exports import arrow_schema
from dsplatform.schemas.model import Column, Json
from dsplatform.schemas.previews.model import Form, Look
from dsplatform.schemas.previews.typed import nested_text
from dsplatform.schemas.previews.values import json_values

BLOCK_CELLS = 50_000
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", *"\uff1d\uff0b\uff0d\uff20")
"""What a text begins with that spreadsheets take for a formula, or strip before they do; the last four are the wide signs of the first."""


class Writer(Protocol):
    """Takes rows until they are more than fits."""

    rows: int

    def add(self, arrays: Sequence[pa.Array]) -> int:
        """Adds the next rows, given as one array for each column; answers how many of them fitted."""
        ...

    def finish(self) -> bytes:
        """All that was added."""
        ...


def writer(look: Look) -> Writer:
    """For the form that is wanted."""
    named = {column.name: column for column in look.columns}
    columns = [named[name] for name in look.chosen]
    match look.form:
        case Form.ARROW:
            return ArrowRows(columns, look.size)
        case Form.CSV:
            return CsvRows(columns, look.size, spreadsheet=look.spreadsheet)
    return JsonRows(columns, look.size)


class JsonRows:
    """A JSON array of rows, each an array of values in the order of the columns."""

    def __init__(self, columns: Sequence[Column], size: int) -> None:
        self._columns = columns
        self._parts: list[bytes] = []
        self._left = size - 2
        self.rows = 0

    def add(self, arrays: Sequence[pa.Array]) -> int:
        """See `Writer`."""
        return _add_lines(self, self._columns, arrays)

    def line(self, row: Sequence[Json]) -> bool:
        """Adds one row, if it fits."""
        part = json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")
        self._left -= len(part) + 1
        if self._left < 0:
            return False
        self._parts.append(part)
        self.rows += 1
        return True

    def finish(self) -> bytes:
        """See `Writer`."""
        return b"[" + b",".join(self._parts) + b"]"


class CsvRows:
    """RFC 4180, in UTF-8 without a mark: a line of names, then the rows. No value is an empty field, an empty text is `""`."""

    def __init__(self, columns: Sequence[Column], size: int, *, spreadsheet: bool) -> None:
        self._columns = columns
        self._spreadsheet = spreadsheet
        self._texts = [column.type == "string" or column.type.endswith(">") for column in columns]
        self._parts = [self._encoded([column.name for column in columns], [True] * len(columns))]
        self._left = size - len(self._parts[0])
        self.rows = 0

    def add(self, arrays: Sequence[pa.Array]) -> int:
        """See `Writer`."""
        return _add_lines(self, self._columns, arrays)

    def line(self, row: Sequence[Json]) -> bool:
        """Adds one row, if it fits."""
        part = self._encoded(row, self._texts)
        self._left -= len(part)
        if self._left < 0:
            return False
        self._parts.append(part)
        self.rows += 1
        return True

    def finish(self) -> bytes:
        """See `Writer`."""
        return b"".join(self._parts)

    def _encoded(self, row: Sequence[Json], texts: Sequence[bool]) -> bytes:
        cells = [self._cell(value, text=text) for value, text in zip(row, texts, strict=True)]
        if cells == [""]:
            cells = ['""']  # an empty line would be no row
        return (",".join(cells) + "\r\n").encode("utf-8", "replace")

    def _cell(self, value: Json, *, text: bool) -> str:
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        cell = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
        if self._spreadsheet and text and cell.startswith(FORMULA):
            cell = f"'{cell}"
        quoted = not cell or cell[0] in " \t" or cell[-1] in " \t" or any(sign in cell for sign in '",\r\n')
        return '"' + cell.replace('"', '""') + '"' if quoted else cell


class ArrowRows:
    """An Arrow IPC stream. The metadata of each field has its logical `type`, and `json` where nested values are JSON texts."""

    def __init__(self, columns: Sequence[Column], size: int) -> None:
        self._columns = columns
        self._schema: pa.Schema | None = None
        self._batches: list[pa.RecordBatch] = []
        self._left = size - 64
        self.rows = 0

    def add(self, arrays: Sequence[pa.Array]) -> int:
        """See `Writer`."""
        if self._schema is None:
            self._schema = pa.schema([_field(column, array) for column, array in zip(self._columns, arrays, strict=True)])
            self._left -= self._schema.serialize().size
        batch = pa.RecordBatch.from_arrays(list(arrays), schema=self._schema)
        fits = bisect_right(range(1, batch.num_rows + 1), self._left, key=lambda rows: _size(batch.slice(0, rows)))
        if fits:
            self._batches.append(batch.slice(0, fits))
            self._left -= _size(self._batches[-1])
            self.rows += fits
        return fits

    def finish(self) -> bytes:
        """See `Writer`."""
        schema = arrow_schema(self._columns) if self._schema is None else self._schema
        target = BytesIO()
        with pyarrow.ipc.new_stream(target, schema) as stream:
            for batch in self._batches:
                stream.write_batch(batch)
        return target.getvalue()


def _field(column: Column, array: pa.Array) -> pa.Field:
    told = {"type": column.type} | ({"json": "true"} if nested_text(array, column) else {})
    return pa.field(column.name, array.type, metadata=told)


def _size(batch: pa.RecordBatch) -> int:
    return int(pyarrow.ipc.get_record_batch_size(batch))


def _add_lines(to: JsonRows | CsvRows, columns: Sequence[Column], arrays: Sequence[pa.Array]) -> int:
    before = to.rows
    for block in _blocks(arrays):
        lists = [json_values(array, parsed=nested_text(array, column)) for array, column in zip(block, columns, strict=True)]
        for row in zip(*lists, strict=True):
            if not to.line(row):
                return to.rows - before
    return to.rows - before


def _blocks(arrays: Sequence[pa.Array]) -> Iterator[list[pa.Array]]:
    """A few rows at a time, so that what does not fit is hardly converted."""
    rows = max(1, BLOCK_CELLS // max(1, len(arrays)))
    total = len(arrays[0]) if arrays else 0
    heavy = sum(array.nbytes for array in arrays) // max(1, total)
    rows = max(1, min(rows, (4 << 20) // max(1, heavy)))
    for start in range(0, total, rows):
        yield [array.slice(start, rows) for array in arrays]
