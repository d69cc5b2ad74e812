"""One file to one capture. The bytes decide what a file is; its name and a type that was sniffed before are hints."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from dsplatform.schemas.compression import only_member, opened
from dsplatform.schemas.model import NO_HINTS, Column, FileCapture, Hints, Json, hint_of
from dsplatform.schemas.text.delimited import NotDelimited, delimited_rows, read_delimited

COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
TABLE_ENDINGS = frozenset({"csv", "tsv", "tab", "psv", "txt", "dat"})
JSON_ENDINGS = frozenset({"json", "jsonl", "ndjson", "geojson"})
WORKBOOK_ENDINGS = frozenset({"xls", "xlsx", "xlsm", "xlsb", "ods"})
HEAD_BYTES = 4096
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


class NoRows(Exception):
    """A file, or a table of it, whose rows cannot be read; the text says why."""


@dataclass(frozen=True)
class _Kind:
    """What the first bytes and the name make of a file."""

    name: str
    """`parquet`, `arrow`, `zip`, `xls`, `json`, `jsonl`, `text`; or what is not read: `pdf`, `sqlite`, `opaque`, `empty`."""
    compression: str = "none"
    ending: str = ""
    """Of the name, or of the name of an archive's only member, in lower case."""
    array: bool = False
    """Whether JSON begins as an array."""
    certain: bool = False
    """Whether the name says that the text is a table. A type that was sniffed does not: prose has commas, too."""


def extract(path: Path, file_type: str, name: str, hints: Hints = NO_HINTS) -> FileCapture:
    """What the file holds. Never raises for what the bytes are; may end the process or never end, so call it through the sandbox."""
    hint = hint_of(name)
    try:
        return _extract(path, file_type, hint, hints)
    except MemoryError:
        return FileCapture.unreadable("reading needs more memory than a reader may use")
    except Exception as err:  # noqa: BLE001 - parsers of foreign bytes raise anything; the reason is kept for a person
        return FileCapture.unreadable(_sentence(err, path), hint or None)


@dataclass(frozen=True)
class Known:
    """What `extract` has found in a file, and what is wanted of it: spares reading more than the rows."""

    details: Mapping[str, Json]
    columns: Sequence[Column]
    """Of the table."""
    only: Collection[str]
    """The columns that are wanted; there may be others."""
    start: int = 0
    """Rows that are left out at the top."""


def rows(path: Path, file_type: str, name: str, hints: Hints, table: str | None, known: Known | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of one table of a file that `extract` reads, in their order, under the captured names. Raises `NoRows` for other files
    and tables, and what the parsers of foreign bytes raise."""
    hint = hint_of(name)
    kind = _kind(path, file_type, hint)
    start = 0 if known is None else known.start
    if kind.name in {"zip", "xls"} and (book := _book(path, kind.name, hint)) is not None:
        from dsplatform.schemas.workbooks.reading import workbook_rows

        return _from(workbook_rows(path, book, table), start)
    if table is not None:
        raise NoRows(f"the file has one table without a name, and none named {table!r}")
    match kind.name:
        case "parquet":
            from dsplatform.schemas.columnar.reading import parquet_rows

            return parquet_rows(path, start, None if known is None else known.only)
        case "arrow":
            from dsplatform.schemas.columnar.reading import arrow_rows

            return _from(arrow_rows(path), start)
        case "json" | "jsonl":
            from dsplatform.schemas.json_files.reading import json_rows
            from dsplatform.schemas.json_files.records import JsonLayout

            layout = JsonLayout(path, kind.compression, kind.array, kind.name == "jsonl")
            return json_rows(layout) if known is None else json_rows(layout, known.columns, known.only, start)
        case "text":
            return _from(delimited_rows(path, kind.ending, kind.compression, hints, None if known is None else known.details), start)
    raise NoRows(f"the rows of files of the kind {kind.name} are not read")


def _from(batches: Iterator[pa.RecordBatch], start: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if not start or start < batch.num_rows:
            yield batch.slice(start)
        start = max(0, start - batch.num_rows)


def _extract(path: Path, file_type: str, hint: str, hints: Hints) -> FileCapture:
    kind = _kind(path, file_type, hint)
    match kind.name:
        case "empty":
            return FileCapture.unreadable("the file is empty")
        case "parquet":
            from dsplatform.schemas.columnar.reading import read_parquet

            return read_parquet(path)
        case "arrow":
            from dsplatform.schemas.columnar.reading import read_arrow

            return read_arrow(path)
        case "zip" | "xls":
            return _workbook(path, kind.name, hint)
        case "json" | "jsonl":
            from dsplatform.schemas.json_files.reading import read_json

            return read_json(path, kind.compression, array=kind.array, lines=kind.name == "jsonl")
        case "text":
            try:
                return read_delimited(path, kind.ending, kind.compression, hints, certain=kind.certain)
            except NotDelimited:
                return FileCapture.opaque("text")
        case "opaque":
            return FileCapture.opaque(file_type if kind.compression == "none" else kind.compression)
    return FileCapture.opaque(kind.name)


def _kind(path: Path, file_type: str, hint: str) -> _Kind:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        return _Kind("empty")
    ending = hint.partition(".")[0]
    found = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None) or ("arrow" if _is_arrow_stream(head) else None)
    compression = next((name for magic, name in COMPRESSED.items() if head.startswith(magic)), "none")
    if found == "zip" and hint not in WORKBOOK_ENDINGS and (member := only_member(path)) is not None:
        found, compression, ending = None, "zip", hint_of(member)
    if found is not None:
        return _Kind(found)
    if compression != "none":
        with opened(path, compression) as stream:
            head = stream.read(HEAD_BYTES)
    start = _start(head)
    if ending in JSON_ENDINGS or (file_type in {"json", "jsonl"} and start in {"{", "["}):
        lines = ending in {"jsonl", "ndjson"} or (file_type == "jsonl" and ending != "json")
        return _Kind("jsonl" if lines else "json", compression, ending, array=start == "[" and not lines)
    certain = ending in TABLE_ENDINGS
    return _Kind("opaque" if not certain and _is_binary(head) else "text", compression, ending, certain=certain)


def _is_arrow_stream(head: bytes) -> bool:
    """Whether it begins with the mark of a message, and how long its head is: whole words."""
    length = int.from_bytes(head[4:8], "little")
    return head.startswith(b"\xff\xff\xff\xff") and 0 < length < 1 << 26 and length % 8 == 0


def _start(head: bytes) -> str:
    """The first character of a text that is no blank, if it is JSON in one of its encodings."""
    text = head.decode(json.detect_encoding(head), "ignore")
    return text.removeprefix("\ufeff").lstrip()[:1]


def _is_binary(head: bytes) -> bool:
    controls = sum(byte < 32 and byte not in b"\t\n\r\x0c" for byte in head)
    return controls > 0 and not head.startswith((b"\xff\xfe", b"\xfe\xff"))


def _sentence(err: Exception, path: Path) -> str:
    """The first line that says something, without our own paths."""
    text = re.sub(r"^(Invalid Input Error|IO Error|calamine error): ", "", str(err).strip())
    text = re.sub(rf'( in file| file)? "?{re.escape(str(path))}"?', "", text)
    line = next((line.strip() for line in text.splitlines() if line.strip()), "") or type(err).__name__
    return line[:500].rstrip(". ")


def _workbook(path: Path, container: str, hint: str) -> FileCapture:
    from dsplatform.schemas.workbooks.reading import NotAWorkbook, read_workbook

    kind = _book(path, container, hint)
    if kind is None:
        return FileCapture.opaque("zip")
    try:
        return read_workbook(path, kind)
    except NotAWorkbook:
        if hint in WORKBOOK_ENDINGS or container == "zip":
            raise
        return FileCapture.opaque("ole")  # the container of old Office files of every sort


def _book(path: Path, container: str, hint: str) -> str | None:
    """The kind of workbook; None for another archive."""
    from dsplatform.schemas.workbooks.reading import workbook_kind

    kind = workbook_kind(path) if container == "zip" else "xls"
    return kind or (hint if hint in WORKBOOK_ENDINGS else None)
