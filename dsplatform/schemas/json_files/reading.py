"""JSON and JSON lines: every record, by Python's own parser, a portion at a time. Strings stay strings, even those that look like dates.

DuckDB was measured, too: it finds the shapes twice as fast, but not of lists with items of several shapes, takes whole numbers beyond
uint64 for floating ones, says nothing of a name that stands twice in a record, and fails on 200 levels.
"""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from dsplatform.schemas.json_files.records import BadJson, JsonLayout, Records
from dsplatform.schemas.json_files.shapes import Shape, TooDeep, TooManyNames, by_name
from dsplatform.schemas.logical import LogicalType
from dsplatform.schemas.model import PROFILE_EXAMPLES, PROFILE_TEXT, Column, ColumnProfile, FileCapture, Json, Table
from dsplatform.schemas.profiles.frequencies import LIMIT
from dsplatform.schemas.profiles.profiling import ColumnProfiler

ARROW = {"boolean": pa.bool_(), "int64": pa.int64(), "uint64": pa.uint64(), "float64": pa.float64(), "string": pa.string()}
"""What values of a type are handed on as; decimals besides, and everything nested as its JSON text."""
MANY_COLUMNS = 100
"""Of the columns beyond, fewer different values are counted exactly."""
VALUE = "value"
"""The one column of records that are no objects."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def read_json(path: Path, compression: str, *, array: bool, lines: bool) -> FileCapture:
    """All records: of the top-level array, of each line, or one after the other."""
    layout = JsonLayout(path, compression, array, lines)
    reading, found = Records(layout), _Found()
    try:
        for records in reading:
            found.add(records)
    except (BadJson, TooDeep, TooManyNames) as err:
        return FileCapture.unreadable(str(err), layout.format)
    if not found.rows and not array:
        return FileCapture.unreadable("the file holds nothing but blanks", layout.format)
    columns = found.columns()
    details: dict[str, Json] = {
        "compression": None if compression == "none" else compression,
        "encoding": reading.encoding.removesuffix("-sig"),
        "bom": reading.encoding.endswith("-sig") or reading.encoding in {"utf-16", "utf-32"},
        "array": array,
    }
    table = Table(None, columns, found.rows, {}, found.profile(layout, columns))
    return FileCapture.ok(layout.format, (table,), details, reading.notes(found.infinite))


def json_rows(
    layout: JsonLayout, columns: Sequence[Column] | None = None, only: Collection[str] | None = None, start: int = 0
) -> Iterator[pa.RecordBatch]:
    """The rows under the names and in the types of the capture; a nested value as its JSON text. Without the capture's columns they are
    read once before. `only`: the columns that are wanted; the rows begin with the one at `start`."""
    single = columns is not None and [column.name for column in columns] == [VALUE]
    if columns is None or (single and columns[0].type.startswith("union<")):  # the one column may be a field of that name, too
        found = _Found()
        for records in Records(layout):
            found.add(records)
        columns, single = found.columns(), found.single
    elif single:
        single = _first_is_single(layout)
    return _rows(layout, [column for column in columns if only is None or column.name in only], single=single, start=start)


def _first_is_single(layout: JsonLayout) -> bool:
    """Whether the records are no objects, where either all of them are or none is."""
    first = next((record for records in Records(layout) for record in records if record is not None), None)
    return type(first) is not dict


def _rows(layout: JsonLayout, columns: Sequence[Column], *, single: bool, start: int = 0) -> Iterator[pa.RecordBatch]:
    arrows = [_arrow(column.type) for column in columns]
    schema = pa.schema([pa.field(column.name, arrow) for column, (arrow, _) in zip(columns, arrows, strict=True)])
    for records in Records(layout, start):
        lists = [records] if single else [[(record or {}).get(column.name) for record in records] for column in columns]
        arrays = [_array(values, arrow, text=text) for values, (arrow, text) in zip(lists, arrows, strict=True)]
        rows = pa.StructArray.from_arrays(arrays, fields=list(schema)) if arrays else pa.array([{}] * len(records), pa.struct([]))
        yield pa.RecordBatch.from_struct_array(rows)


def _arrow(type_: str) -> tuple[pa.DataType, bool]:
    """The Arrow type that holds values of a logical type, and whether they are written as JSON text."""
    logical = LogicalType.parse(type_)
    if logical.digits is not None:
        return pa.decimal128(*logical.digits), False
    if logical.name == "null":
        return pa.null(), False
    return ARROW.get(logical.name, pa.string()), logical.name not in ARROW


def _array(values: Sequence[Any], type_: pa.DataType, *, text: bool = False) -> pa.Array:
    if text:
        values = [None if value is None else _json_text(value) for value in values]
    elif pa.types.is_string(type_) and not set(map(type, values)) <= {str, type(None)}:
        values = [None if value is None else str(value) for value in values]  # whole numbers too long for a decimal
    elif pa.types.is_floating(type_):
        values = [None if value is None else float(value) for value in values]
    try:
        return pa.array(values, type_)
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can write and UTF-8 cannot
        return pa.array([None if value is None else _SURROGATE.sub("\ufffd", value) for value in values], type_)


def _json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class _Found:
    """What all records have shown so far."""

    def __init__(self) -> None:
        self.rows = 0
        self._shape = Shape()
        self._objects = 0
        self._nulls = 0
        self._profiles: dict[str, _Profile] = {}

    def add(self, records: Sequence[Any]) -> None:
        """The next records."""
        self.rows += len(records)
        objects = [record for record in records if type(record) is dict]
        self._objects += len(objects)
        if len(objects) < len(records):
            others = [record for record in records if type(record) is not dict]
            self._nulls += others.count(None)
            self._shape.add(others)
            self._profile(VALUE).add(others)
        if objects and self._shape.fields is None:
            self._shape.fields = {}
        for name, values in by_name(objects):
            self._shape.field(name).add(values)
            self._profile(name).add(values)

    @property
    def infinite(self) -> int:
        """Numbers that are, or that a float64 cannot hold."""
        return self._shape.totals.infinite

    def _profile(self, name: str) -> "_Profile":
        found = self._profiles.get(name)
        if found is None:
            found = self._profiles[name] = _Profile(LIMIT if len(self._profiles) < MANY_COLUMNS else LIMIT // 10)
        return found

    @property
    def single(self) -> bool:
        """Whether something else than an object is among the records."""
        return self._objects + self._nulls < self.rows or (self.rows > 0 and not self._objects)

    def columns(self) -> tuple[Column, ...]:
        """A column per name; one for all where not every record is an object."""
        if self.single:
            return (Column(VALUE, str(self._shape.type()), nullable=self._nulls > 0),)
        fields = self._shape.fields or {}
        return tuple(Column(name, str(inner.type()), self._profiles[name].values < self.rows) for name, inner in fields.items())

    def profile(self, layout: JsonLayout, columns: Sequence[Column]) -> tuple[ColumnProfile, ...]:
        """One for each column. Values that turned out to be of another type than the first ones are read once more."""
        if self.single and self._objects:
            return (ColumnProfile(nulls=self._nulls),)
        profiles = [self._profiles[column.name] for column in columns]
        stale = [column for column, profile in zip(columns, profiles, strict=True) if profile.stale and not _arrow(column.type)[1]]
        again = {column.name: ColumnProfiler(LIMIT if len(stale) < MANY_COLUMNS else LIMIT // 10) for column in stale}
        for batch in _rows(layout, stale, single=self.single) if stale else ():
            for name, values in zip(batch.schema.names, batch.columns, strict=True):
                again[name].add(values)
        return tuple(
            again[column.name].profile() if column.name in again else profile.finish(self.rows, nested=_arrow(column.type)[1])
            for column, profile in zip(columns, profiles, strict=True)
        )


class _Profile:
    """The profile of one column, in the hope that the first values have the type of all."""

    def __init__(self, limit: int) -> None:
        self.values = 0
        """Those that are not null."""
        self.stale = False
        self._type: pa.DataType | None = None
        self._profiler = ColumnProfiler(limit)
        self._examples: dict[str, None] = {}

    def add(self, values: Sequence[Any]) -> None:
        """The next values. Nulls are counted at the end, with the records that lack the name."""
        kinds = set(map(type, values))
        if type(None) in kinds:
            values = [value for value in values if value is not None]
            kinds.remove(type(None))
        self.values += len(values)
        if len(self._examples) < PROFILE_EXAMPLES:
            self._examples |= dict.fromkeys(_json_text(value)[:PROFILE_TEXT] for value in values[: 2 * PROFILE_EXAMPLES])
        if not values or self.stale:
            return
        type_ = _FIRST.get(frozenset(kinds))
        if type_ == pa.int64() and self._type == pa.float64():
            type_ = self._type
        if type_ is None or type_ != (self._type or type_):
            self.stale = True
            return
        self._type = type_
        try:
            self._profiler.add(_array(values, type_))
        except (OverflowError, pa.ArrowInvalid):  # a whole number beyond int64
            self.stale = True

    def finish(self, rows: int, *, nested: bool) -> ColumnProfile:
        """With the rows that have no value; of nested values only their number and examples."""
        if nested or self._type is None:
            return ColumnProfile(nulls=rows - self.values, examples=tuple(self._examples)[:PROFILE_EXAMPLES])
        if rows > self.values:
            self._profiler.add(pa.nulls(rows - self.values, self._type))
        return self._profiler.profile()


_FIRST = {
    frozenset({str}): pa.string(),
    frozenset({int}): pa.int64(),
    frozenset({float}): pa.float64(),
    frozenset({int, float}): pa.float64(),
    frozenset({bool}): pa.bool_(),
}
