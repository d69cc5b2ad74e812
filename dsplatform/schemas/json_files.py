"""JSON and JSON lines: the shape of every record, by DuckDB. Strings stay strings, even those that look like dates."""

import json
import os
from pathlib import Path
from typing import TypeAlias

import duckdb

from dsplatform.schemas.model import Column, FileCapture, Table

Shape: TypeAlias = str | list["Shape"] | dict[str, "Shape"]
"""As DuckDB's json_structure tells it: a type's name, a list of one shape, or an object of shapes."""

NAMES = {"BIGINT": "int64", "UBIGINT": "int64", "DOUBLE": "float64", "BOOLEAN": "boolean", "NULL": "null"}
"""What is not in here is text or of several shapes: a string."""
NUMBERS = ("UBIGINT", "BIGINT", "DOUBLE")
EMPTY, MIXED = "JSON", "MIXED"
"""DuckDB says JSON of an object without names (and of a list's items of several shapes); what differs between records is ours to say."""
MAX_RECORD_BYTES = 32 << 20
SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "threads": 2,
    "memory_limit": "384MB",
    "temp_directory": "",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
RECORDS = "read_json_objects($path, format = $format, compression = $compression, maximum_object_size = $size)"


def read_json(path: Path, compression: str, *, array: bool, lines: bool) -> FileCapture:
    """All records: of the top-level array, of each line, or one after the other. Values of several shapes make a string column."""
    kind = "jsonl" if lines and not array else "json"
    if array and compression == "none" and not _ends_with_bracket(path):
        return FileCapture.unreadable("the array is not closed: the file seems to be cut off", kind)
    source: dict[str, object] = {
        "path": "".join(f"[{char}]" if char in "*?[" else char for char in str(path)),  # DuckDB would expand a pattern
        "format": "array" if array else "newline_delimited" if lines else "unstructured",
        "compression": compression,
        "size": MAX_RECORD_BYTES,
    }
    with duckdb.connect(":memory:", config=SETTINGS) as connection:
        found = _Records()
        # A run of 19 digits may be beyond int64; only then each column is asked for its greatest number.
        connection.execute(f"SELECT json_structure(json), regexp_matches(json::VARCHAR, '[0-9]{{19}}') FROM {RECORDS}", source)  # noqa: S608
        while batch := connection.fetchmany(20_000):
            found.add(batch)
        big = _beyond_int64(connection, source, found) if found.long_numbers else set()
    if isinstance(found.shape, dict):
        columns = tuple(
            Column(name, "uint64" if name in big else _type(shape), nullable=name in found.with_null or found.seen[name] < found.rows)
            for name, shape in found.shape.items()
        )
    else:
        columns = () if found.shape is None else (Column("value", _type(found.shape), nullable="value" in found.with_null),)
    details = {"compression": None if compression == "none" else compression}
    return FileCapture.ok(kind, (Table(None, columns, found.rows),), {**details, "array": array})


class _Records:
    """The merged shape of all records, and in how many each top-level name stands."""

    def __init__(self) -> None:
        self.rows = 0
        self.shape: Shape | None = None
        self.seen: dict[str, int] = {}
        self.with_null: set[str] = set()
        self.long_numbers = False

    def add(self, batch: list[tuple[str, bool]]) -> None:
        counts: dict[str, int] = {}
        for structure, long in batch:
            counts[structure] = counts.get(structure, 0) + 1
            self.long_numbers = self.long_numbers or long
        for structure, count in counts.items():
            shape: Shape = json.loads(structure)
            self.rows += count
            self.shape = shape if self.shape is None else merged(self.shape, shape)
            for name, inner in (shape if isinstance(shape, dict) else {"value": shape}).items():
                self.seen[name] = self.seen.get(name, 0) + count
                if inner == "NULL":
                    self.with_null.add(name)


def merged(left: Shape, right: Shape) -> Shape:
    """The least shape that holds both."""
    if left == right or right == "NULL":
        return left
    if left == "NULL":
        return right
    if isinstance(left, dict) and isinstance(right, dict):
        return {name: merged(left.get(name, "NULL"), right.get(name, "NULL")) for name in {**left, **right}}
    if isinstance(left, list) and isinstance(right, list):
        return [merged(left[0], right[0])]
    if left in NUMBERS and right in NUMBERS:
        return max(str(left), str(right), key=NUMBERS.index)
    if isinstance(left, dict) and right == EMPTY:
        return left
    if isinstance(right, dict) and left == EMPTY:
        return right
    return MIXED


def _type(shape: Shape) -> str:
    if isinstance(shape, list):
        return f"list<{_type(shape[0])}>"
    if isinstance(shape, dict):
        return f"struct<{', '.join(f'{name}: {_type(inner)}' for name, inner in shape.items())}>"
    return NAMES.get(shape, "string")


def _beyond_int64(connection: duckdb.DuckDBPyConnection, source: dict[str, object], found: _Records) -> set[str]:
    """The top-level columns without negative numbers that hold one beyond int64."""
    names = [name for name, shape in found.shape.items() if shape == "UBIGINT"] if isinstance(found.shape, dict) else []
    big = set()
    for name in names:
        pointer = "/" + name.replace("~", "~0").replace("/", "~1")
        query = f"SELECT max(TRY_CAST(json_extract_string(json, $pointer) AS UBIGINT)) FROM {RECORDS}"  # noqa: S608
        row = connection.execute(query, {**source, "pointer": pointer}).fetchone()
        if row and row[0] is not None and row[0] >= 2**63:
            big.add(name)
    return big


def _ends_with_bracket(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
        return file.read().rstrip().endswith(b"]")
