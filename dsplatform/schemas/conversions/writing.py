"""Writes one table as Parquet, a row group at a time. Called in a child process of the sandbox."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dsplatform.schemas.conversions.model import Conversion, Converted
from dsplatform.schemas.exports import arrow_schema
from dsplatform.schemas.previews.typed import typed

GROUP_ROWS, GROUP_BYTES = 1 << 17, 32 << 20
"""Rows and bytes (in memory) at which a row group is written: what is in memory at once, besides what the reader holds."""


class TooLarge(Exception):
    """The Parquet would be larger than it may be."""


class OtherRows(Exception):
    """The file gave another number of rows than its capture counted."""


def convert(path: Path, wanted: Conversion, opened: Callable[[], Iterable[pa.RecordBatch]]) -> Converted:
    """Writes all rows to `wanted.target`. `opened` gives them. The same rows give the same bytes. Never raises for what the file holds;
    may end the process, so call it through the sandbox."""
    try:
        return Converted(None, _write(wanted, opened()))
    except MemoryError:
        return Converted("converting it needs more memory than a reader may use")
    except Exception as err:  # noqa: BLE001 - parsers of foreign bytes raise anything; the reason is kept for a person
        line = next((line.strip() for line in str(err).splitlines() if line.strip()), "") or type(err).__name__
        return Converted(line[:500].replace(str(path), "the file").replace(wanted.target, "the target").rstrip(". "))


def _write(wanted: Conversion, batches: Iterable[pa.RecordBatch]) -> int:
    groups = _groups(_typed(batches, wanted))
    first = next(groups, None)
    schema = _schema(wanted) if first is None else first.schema
    rows = 0
    with Path(wanted.target).open("wb") as file, pq.ParquetWriter(file, schema, compression="snappy") as writer:
        while first is not None:
            writer.write_table(first.cast(schema), row_group_size=max(1, first.num_rows))
            rows += first.num_rows
            if file.tell() > wanted.most_bytes:
                raise TooLarge(f"as Parquet it has more than {wanted.most_bytes:,} bytes")
            first = next(groups, None)
    if wanted.rows not in {None, rows}:
        raise OtherRows(f"it gave {rows:,} rows, and {wanted.rows:,} were counted before")
    return rows


def _typed(batches: Iterable[pa.RecordBatch], wanted: Conversion) -> Iterator[pa.Table]:
    for batch in batches:
        arrays = [_storable(typed(batch.column(column.name), column, fine=column.name in wanted.fine)) for column in wanted.columns]
        if arrays:
            yield pa.Table.from_arrays(arrays, names=[column.name for column in wanted.columns])


def _storable(values: pa.Array) -> pa.Array:
    """A column without any value is one of texts: that is what other readers take it for."""
    return pa.nulls(len(values), pa.string()) if pa.types.is_null(values.type) else values


def _schema(wanted: Conversion) -> pa.Schema:
    """Of a table without rows."""
    plain = arrow_schema(wanted.columns)
    return pa.schema(pa.field(field.name, pa.string() if pa.types.is_null(field.type) else field.type) for field in plain)


def _groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Rows put together, or cut, to row groups."""
    held: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        for start in range(0, table.num_rows, GROUP_ROWS):
            part = table.slice(start, GROUP_ROWS)
            held.append(part)
            rows, size = rows + part.num_rows, size + part.nbytes
            if rows >= GROUP_ROWS or size >= GROUP_BYTES:
                yield pa.concat_tables(held)
                held, rows, size = [], 0, 0
    if held:
        yield pa.concat_tables(held)
