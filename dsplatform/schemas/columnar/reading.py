"""Parquet and Arrow: what the file's own schema and footer say. The rows are read only when they are asked for."""

from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.types as t

from dsplatform.schemas.columnar.parquet_footer import Footer, not_whole
from dsplatform.schemas.logical import LogicalType
from dsplatform.schemas.model import Column, FileCapture, Json, Table
from dsplatform.schemas.text.dialects import unique_names

METADATA_ENTRIES, METADATA_TEXT = 50, 200
SUMMARISED = {"ARROW:schema", "pandas", "parquet.avro.schema", "avro.schema", "org.apache.spark.sql.parquet.row.metadata", "geo"}
"""Keys under which writers keep schemas of their own; only their length is told."""
BATCH_ROWS = 16_384
PAGE_BYTES = 1 << 20
"""Read of a column at once, so that the first rows of a large row group cost little."""
ALIGNMENT = 64
STREAM_START = b"\xff\xff\xff\xff"


def read_parquet(path: Path) -> FileCapture:
    """From the footer alone."""
    import pyarrow.parquet as pq

    if reason := not_whole(path):
        return FileCapture.unreadable(reason, "parquet")
    with pq.ParquetFile(path, arrow_extensions_enabled=True) as file:
        footer = Footer(path, file.metadata)
        if reason := footer.lie():
            return FileCapture.unreadable(reason, "parquet")
        schema = file.schema_arrow
        columns, renamed = _columns(schema)
        leaves = footer.leaves(schema)
        columns = footer.named_by_parquet(columns, leaves)
        profile = footer.profile(columns, leaves)
        table = Table(None, columns, file.metadata.num_rows, {}, profile)
        metadata = {key.decode("utf-8", "replace"): value for key, value in (file.metadata.metadata or {}).items()}
        notes: dict[str, Json] = {"row_groups": file.metadata.num_row_groups, **renamed, **_metadata(metadata)}
        if file.metadata.created_by:
            notes["created_by"] = file.metadata.created_by[:METADATA_TEXT]
        return FileCapture.ok("parquet", (table,), {"compression": footer.compression()}, notes)


def read_arrow(path: Path) -> FileCapture:
    """An IPC file or stream, whose messages' heads are read and counted. Feather 1 has no schema of this kind."""
    with pa.memory_map(str(path)) as source:
        head = source.read(6)
        if head.startswith(b"FEA1"):
            return FileCapture.unreadable("Feather version 1 is outdated: write it again as version 2 or as Parquet", "feather")
        stream = head.startswith(STREAM_START)
        if not stream and (reason := _arrow_file_not_whole(source)):
            return FileCapture.unreadable(reason, "arrow")
        schema, rows, batches = _messages(source, 0 if stream else 8)
        reason = _more_than_a_stream(source) if stream else _footer_differs(source, schema, rows, batches)
        if reason is not None:
            return FileCapture.unreadable(reason, "arrow")
        notes: dict[str, Json] = {"batches": batches}
        if stream and not _ends_marked(source):
            notes["end_marker"] = "missing: the stream may have been cut off between two batches"
    columns, renamed = _columns(schema)
    metadata = {key.decode("utf-8", "replace"): value for key, value in (schema.metadata or {}).items()}
    details: dict[str, Json] = {"layout": "stream" if stream else "file"}
    return FileCapture.ok("arrow", (Table(None, columns, rows),), details, {**notes, **renamed, **_metadata(metadata)})


def parquet_rows(path: Path, start: int = 0, only: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows from `start` on, under the captured names. Row groups before it are not read. `only`: the columns that are wanted; there may
    be others."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, arrow_extensions_enabled=True, pre_buffer=False, buffer_size=PAGE_BYTES) as file:
        given = list(file.schema_arrow.names)
        names, _ = unique_names(given)
        first = 0
        while first < file.metadata.num_row_groups and start >= file.metadata.row_group(first).num_rows:
            start -= file.metadata.row_group(first).num_rows
            first += 1
        chosen = [name for name in names if name in only] if only is not None and names == given else None
        for batch in file.iter_batches(BATCH_ROWS, row_groups=list(range(first, file.metadata.num_row_groups)), columns=chosen):
            if start < batch.num_rows:
                yield (batch if chosen is not None else batch.rename_columns(names)).slice(start)
            start = max(0, start - batch.num_rows)


def arrow_rows(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows under the captured names."""
    with pa.memory_map(str(path)) as source:
        stream = source.read(4) == STREAM_START
        source.seek(0)
        if stream:
            with pyarrow.ipc.open_stream(source) as reader:
                names, _ = unique_names(list(reader.schema.names))
                for batch in reader:
                    yield batch.rename_columns(names)
            return
        with pyarrow.ipc.open_file(source) as file:
            names, _ = unique_names(list(file.schema.names))
            for index in range(file.num_record_batches):
                yield file.get_batch(index).rename_columns(names)


@lru_cache(maxsize=1024)
def logical_type(type_: pa.DataType) -> LogicalType:
    """What an Arrow type means. Widths are left out, dictionaries, run ends and extensions looked through."""
    if isinstance(type_, pa.UuidType):
        return LogicalType("string")
    if isinstance(type_, pa.BaseExtensionType):
        return logical_type(type_.storage_type)
    if t.is_dictionary(type_) or t.is_run_end_encoded(type_):
        return logical_type(type_.value_type)
    if t.is_decimal(type_):
        return LogicalType("decimal", (type_.precision, type_.scale))
    if t.is_timestamp(type_):
        return LogicalType("timestamp with zone" if type_.tz else "timestamp")
    if t.is_map(type_):
        return LogicalType.of("map", logical_type(type_.key_type), logical_type(type_.item_type))
    if t.is_union(type_):
        return LogicalType.of("union", *(logical_type(type_.field(index).type) for index in range(type_.num_fields)))
    if t.is_struct(type_):
        fields = [type_.field(index) for index in range(type_.num_fields)]
        return LogicalType("struct", fields=tuple((field.name, logical_type(field.type)) for field in fields))
    if t.is_nested(type_) and hasattr(type_, "value_type"):
        return LogicalType.of("list", logical_type(type_.value_type))
    name = next((name for test, name in _SIMPLE if test(type_)), None)
    if name is None:
        raise ValueError(f"the type {type_} is none that is known here: write the column as another one")
    return LogicalType(name)


_SIMPLE: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
    (t.is_boolean, "boolean"),
    (t.is_uint64, "uint64"),
    (t.is_integer, "int64"),
    (t.is_floating, "float64"),
    (t.is_date, "date"),
    (t.is_time, "time"),
    (t.is_duration, "duration"),
    (t.is_interval, "duration"),
    (t.is_null, "null"),
    (t.is_string, "string"),
    (t.is_large_string, "string"),
    (t.is_string_view, "string"),
    (t.is_binary, "binary"),
    (t.is_large_binary, "binary"),
    (t.is_binary_view, "binary"),
    (t.is_fixed_size_binary, "binary"),
)


def _columns(schema: pa.Schema) -> tuple[tuple[Column, ...], dict[str, Json]]:
    names, renamed = unique_names(list(schema.names))
    columns = tuple(Column(name, str(logical_type(field.type)), field.nullable) for name, field in zip(names, schema, strict=True))
    return columns, {"renamed_columns": renamed} if renamed else {}


def _metadata(entries: dict[str, bytes]) -> dict[str, Json]:
    """Of key-value metadata what a person may want to see."""
    shown: dict[str, Json] = {}
    for key, value in list(entries.items())[:METADATA_ENTRIES]:
        text = value.decode("utf-8", "replace")
        if key in SUMMARISED or len(text) > METADATA_TEXT:
            text = f"({len(value)} bytes)" if key in SUMMARISED else f"{text[:METADATA_TEXT]}… ({len(value)} bytes)"
        shown[key[:METADATA_TEXT]] = text
    if len(entries) > METADATA_ENTRIES:
        shown["…"] = f"and {len(entries) - METADATA_ENTRIES} more"
    return {"metadata": shown} if shown else {}


def _arrow_file_not_whole(source: pa.NativeFile) -> str | None:
    size = source.size()
    source.seek(max(0, size - 10))
    tail = source.read()
    if size < 20 or tail[-6:] != b"ARROW1":
        return "it begins as an Arrow file does and ends otherwise: it was cut off, or something was appended"
    footer = int.from_bytes(tail[:4], "little", signed=True)
    if not 0 < footer <= size - 18:
        return f"it claims a footer of {footer} bytes, but has only {size} in all: it was cut, or lies"
    return None


def _messages(source: pa.NativeFile, start: int) -> tuple[pa.Schema, int, int]:
    """The schema of the stream that begins there, its rows and its batches; `source` is then at its end. Of a batch at most one column is
    decoded."""
    source.seek(start)
    with pyarrow.ipc.open_stream(source) as reader:
        schema = reader.schema
    source.seek(start)
    options = pyarrow.ipc.IpcReadOptions(included_fields=[0] if len(schema) else [], use_threads=False)
    with pyarrow.ipc.open_stream(source, options=options) as reader:
        rows = batches = 0
        for batch in reader:
            rows += batch.num_rows
            batches += 1
        return schema, rows, batches


def _more_than_a_stream(source: pa.NativeFile) -> str | None:
    rest = source.size() - source.tell()
    return f"{rest} bytes follow the end of the stream: is it several, one after the other?" if rest else None


def _footer_differs(source: pa.NativeFile, schema: pa.Schema, rows: int, batches: int) -> str | None:
    """What the footer says otherwise than the messages that lie before it."""
    end, size = source.tell(), source.size()
    source.seek(size - 10)
    rest = size - 10 - int.from_bytes(source.read(4), "little") - end
    with pyarrow.ipc.open_file(source) as reader:
        said, parts = reader.count_rows(), reader.num_record_batches
        if (said, parts) != (rows, batches) or not reader.schema.equals(schema):
            return f"its footer tells of {said} rows in {parts} batches, the file begins with {rows} in {batches}"
    if not 0 <= rest < ALIGNMENT:
        return f"{rest} bytes lie between its batches and its footer: several files were put together into one"
    return None


def _ends_marked(source: pa.NativeFile) -> bool:
    source.seek(max(0, source.size() - 8))
    return bool(source.read() == STREAM_START + bytes(4))
