"""One file to one capture. The bytes decide what a file is; its name and a type that was sniffed before are hints."""

import re
from pathlib import Path

import pyarrow as pa

from dsplatform.schemas.delimited import OPENERS, NotDelimited, read_delimited, unique_names
from dsplatform.schemas.model import NO_HINTS, Column, FileCapture, Hints, Json, Table, hint_of

COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
TABLE_ENDINGS = frozenset({"csv", "tsv", "tab", "psv", "txt", "dat"})
JSON_ENDINGS = frozenset({"json", "jsonl", "ndjson", "geojson"})
WORKBOOK_ENDINGS = frozenset({"xls", "xlsx", "xlsm", "xlsb", "ods"})
MAGIC = {
    b"PAR1": "parquet",
    b"PARE": "parquet",
    b"ARROW1": "arrow",
    b"FEA1": "arrow",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\xd0\xcf\x11\xe0": "xls",
    b"\x09\x08": "xls",
    b"%PDF-": "pdf",
    b"SQLite format 3\x00": "sqlite",
}


def extract(path: Path, file_type: str, name: str, hints: Hints = NO_HINTS) -> FileCapture:
    """What the file holds. Never raises for what the bytes are; may end the process or never end, so call it through the sandbox."""
    hint = hint_of(name)
    try:
        return _extract(path, file_type, hint, hints)
    except MemoryError:
        return FileCapture.unreadable("reading needs more memory than a reader may use")
    except Exception as err:  # noqa: BLE001 - parsers of foreign bytes raise anything; the reason is kept for a person
        return FileCapture.unreadable(_sentence(err, path), hint or None)


def _extract(path: Path, file_type: str, hint: str, hints: Hints) -> FileCapture:
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        return FileCapture.unreadable("the file is empty")
    kind = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)
    match kind:
        case "parquet":
            return _parquet(path)
        case "arrow":
            return _arrow(path)
        case "zip" | "xls":
            return _workbook(path, kind, hint)
        case str():
            return FileCapture.opaque(kind)
    compression = next((name for magic, name in COMPRESSED.items() if head.startswith(magic)), "none")
    ending = hint.partition(".")[0]
    if compression != "none":
        with OPENERS[compression](path) as stream:
            head = stream.read(4096)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start in {b"{", b"["} and (file_type in {"json", "jsonl"} or ending in JSON_ENDINGS):
        lines = ending in {"jsonl", "ndjson"} or (file_type == "jsonl" and ending != "json")
        return _json(path, compression, array=start == b"[" and not lines, lines=lines)
    certain = ending in TABLE_ENDINGS  # a type that was sniffed is not: prose has commas, too
    if not certain and _is_binary(head):
        return FileCapture.opaque(file_type if compression == "none" else compression)
    try:
        return read_delimited(path, ending, compression, hints, certain=certain)
    except NotDelimited:
        return FileCapture.opaque("text")


def _is_binary(head: bytes) -> bool:
    controls = sum(byte < 32 and byte not in b"\t\n\r\x0c" for byte in head)
    return controls > 0 and not head.startswith((b"\xff\xfe", b"\xfe\xff"))


def _sentence(err: Exception, path: Path) -> str:
    """The first line that says something, without our own paths."""
    text = re.sub(r"^(Invalid Input Error|IO Error|calamine error): ", "", str(err).strip())
    text = re.sub(rf'( in file| file)? "?{re.escape(str(path))}"?', "", text)
    line = next((line.strip() for line in text.splitlines() if line.strip()), "") or type(err).__name__
    return line[:500].rstrip(". ")


def _json(path: Path, compression: str, *, array: bool, lines: bool) -> FileCapture:
    from dsplatform.schemas.json_files import read_json

    if compression not in {"none", "gzip", "zstd"}:
        return FileCapture.opaque(compression)
    return read_json(path, compression, array=array, lines=lines)


def _workbook(path: Path, container: str, hint: str) -> FileCapture:
    from fastexcel import FastExcelError

    from dsplatform.schemas.workbooks import read_workbook, workbook_kind

    kind = workbook_kind(path) if container == "zip" else "xls"
    if kind is None and hint not in WORKBOOK_ENDINGS:
        return FileCapture.opaque("zip")
    try:
        return read_workbook(path, kind or hint)
    except FastExcelError:
        if hint in WORKBOOK_ENDINGS or container == "zip":
            raise
        return FileCapture.opaque("ole")  # the container of old Office files of every sort


def _parquet(path: Path) -> FileCapture:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        meta = file.metadata
        first = meta.row_group(0) if meta.num_row_groups else None
        codec = first.column(0).compression if first is not None and first.num_columns else "UNCOMPRESSED"
        details: dict[str, Json] = {"compression": None if codec == "UNCOMPRESSED" else codec.lower()}
        return FileCapture.ok("parquet", (Table(None, _columns(file.schema_arrow), meta.num_rows),), details)


def _arrow(path: Path) -> FileCapture:
    import pyarrow as pa
    import pyarrow.ipc

    with pa.memory_map(str(path)) as source:
        if source.read(4) == b"FEA1":
            return FileCapture.unreadable("Feather version 1 is outdated: write it again as version 2 or as Parquet", "feather")
        with pyarrow.ipc.open_file(source) as reader:
            return FileCapture.ok("arrow", (Table(None, _columns(reader.schema), reader.count_rows()),))


def _columns(schema: pa.Schema) -> tuple[Column, ...]:
    names, _ = unique_names(list(schema.names))
    return tuple(Column(name, arrow_type(field.type), field.nullable) for name, field in zip(names, schema, strict=True))


def arrow_type(type_: pa.DataType) -> str:
    """The logical type of an Arrow type. Widths are left out, dictionaries and extensions looked through."""
    import pyarrow.types as t

    if t.is_decimal(type_):
        return f"decimal({type_.precision},{type_.scale})"
    if t.is_timestamp(type_):
        return "timestamp with zone" if type_.tz else "timestamp"
    if t.is_dictionary(type_) or t.is_run_end_encoded(type_):
        return arrow_type(type_.value_type)
    if isinstance(type_, pa.BaseExtensionType):
        return arrow_type(type_.storage_type)
    if t.is_map(type_):
        return f"map<{arrow_type(type_.key_type)}, {arrow_type(type_.item_type)}>"
    if t.is_struct(type_) or t.is_union(type_):
        fields = ", ".join(f"{type_.field(index).name}: {arrow_type(type_.field(index).type)}" for index in range(type_.num_fields))
        return f"{'struct' if t.is_struct(type_) else 'union'}<{fields}>"
    if hasattr(type_, "value_type"):
        return f"list<{arrow_type(type_.value_type)}>"
    simple = (
        (t.is_boolean, "boolean"),
        (t.is_signed_integer, "int64"),
        (t.is_unsigned_integer, "uint64"),
        (t.is_floating, "float64"),
        (t.is_date, "date"),
        (t.is_time, "time"),
        (t.is_duration, "duration"),
        (t.is_interval, "duration"),
        (t.is_null, "null"),
    )
    name = next((name for test, name in simple if test(type_)), None)
    return name or ("binary" if "binary" in str(type_) else "string")
