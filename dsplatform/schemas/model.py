"""Captures of files, and the schema of a version that is composed of them. Pure: no file, no database, no clock."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self, TypeAlias

from dsplatform.core.domain import ValueObject
from dsplatform.core.errors import Invalid, NotFound

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

SCHEMA_VERSION = 1
READER_VERSION = "2"
"""Part of the key under which captures are kept: raise it when the same bytes would be captured differently."""

PROFILE_TOP, PROFILE_EXAMPLES, PROFILE_TEXT = 5, 3, 100

COMPRESSED_ENDINGS = frozenset({"gz", "gzip", "zst", "zstd", "bz2", "xz"})


def hint_of(name: str) -> str:
    """The name's ending in lower case, with the one before a compression's: `csv`, `csv.gz`, or empty. Nothing else of a name counts."""
    parts = name.rpartition("/")[2].lower().split(".")
    if len(parts) > 2 and parts[-1] in COMPRESSED_ENDINGS:
        return f"{parts[-2]}.{parts[-1]}"
    return parts[-1] if len(parts) > 1 else ""


class SeveralTables(Invalid):
    """More than one table with columns of its own; which one is meant is not said."""

    code = "several_tables"


class NoSuchTable(NotFound):
    """No component, or no sheet, of that name was read."""

    code = "no_such_table"


@dataclass(frozen=True)
class Hints(ValueObject):
    """What a person said about how a dataset's files are to be read. It decides where the bytes leave it open, never against them."""

    date_order: str | None = None
    """`dmy` or `mdy`: what 01/02/2024 is."""
    encoding: str | None = None
    """Of text files that are not UTF-8 and have no byte order mark."""
    delimiter: str | None = None
    """One character."""

    @property
    def suffix(self) -> str:
        """The hints that were given as one text, empty without any: part of the key of captures."""
        return "".join(f";{name}={value}" for name, value in self.plain().items() if value is not None)


NO_HINTS = Hints()


class Status(StrEnum):
    """How reading a file ended."""

    OK = "ok"
    UNREADABLE = "unreadable"
    """Of a kind that is read, or claims to be, but this one cannot be."""
    OPAQUE = "opaque"
    """Of a kind that is stored and not read, such as a PDF."""


@dataclass(frozen=True)
class Column(ValueObject):
    """A column as the rows show it. `type` is a logical type as text (`logical.py`), `null` where no row has a value. `format` says how
    the text of a date is to be read where it is not ISO 8601, such as `DD/MM/YYYY`."""

    name: str
    type: str
    nullable: bool = True
    format: str | None = None

    def plain(self) -> dict[str, Any]:
        """As every value object's; written out, for there is one per column of each file."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class ColumnProfile(ValueObject):
    """What the values of one column are like, over all rows. None stands for what the file does not tell without reading its rows."""

    nulls: int | None = None
    distinct: int | None = None
    """Different values; an estimate (a few per cent off) unless `distinct_exact`."""
    distinct_exact: bool = False
    low: Json = None
    """The smallest value in the order of the column's type: a JSON number for int64, uint64 and float64, else its text; strings by code
    point, cut after `PROFILE_TEXT` characters."""
    high: Json = None
    mean: float | None = None
    """Of numbers."""
    lengths: tuple[int, int, float] | None = None
    """(least, greatest, mean) number of characters of a string, bytes of a binary."""
    top: tuple[tuple[str, int], ...] = ()
    """The most frequent values as text with their counts, most frequent first, at most `PROFILE_TOP`; empty where every value stands once.
    Counts are exact where `distinct_exact`, else no less than the truth's lower bound."""
    examples: tuple[str, ...] = ()
    """The first different values as text, at most `PROFILE_EXAMPLES`, cut after `PROFILE_TEXT` characters."""

    def plain(self) -> dict[str, Any]:
        """As every value object's; written out, for there is one per column of each file."""
        return {
            **self.__dict__,
            "lengths": None if self.lengths is None else list(self.lengths),
            "top": [[value, count] for value, count in self.top],
            "examples": list(self.examples),
        }

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """The profile that `plain()` was called on."""
        lengths = plain["lengths"]
        return cls(
            **{
                **plain,
                "lengths": None if lengths is None else tuple(lengths),
                "top": tuple((value, count) for value, count in plain["top"]),
                "examples": tuple(plain["examples"]),
            }
        )


@dataclass(frozen=True)
class Table(ValueObject):
    """Columns in their order. `name` is the sheet's in a workbook, else None; `details` says how the table lies in the file; `profile`
    has an entry per column, or none."""

    name: str | None
    columns: tuple[Column, ...]
    rows: int | None = None
    details: Mapping[str, Json] = field(default_factory=dict)
    profile: tuple[ColumnProfile, ...] = ()

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """The table that `plain()` was called on."""
        columns = tuple(Column(**column) for column in plain["columns"])
        profile = tuple(ColumnProfile.read(item) for item in plain.get("profile", ()))
        return cls(plain["name"], columns, plain.get("rows"), plain["details"], profile)


@dataclass(frozen=True)
class FileCapture(ValueObject):
    """What reading one file found. `details` belong to the layout (delimiter, encoding, header, compression); `notes` to this file
    alone (rows that did not fit, names made unique)."""

    status: Status
    reason: str | None
    format: str | None
    details: Mapping[str, Json] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    notes: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def ok(
        cls, format_: str, tables: tuple[Table, ...], details: Mapping[str, Json] | None = None, notes: Mapping[str, Json] | None = None
    ) -> Self:
        """A file that was read."""
        return cls(Status.OK, None, format_, details or {}, tables, notes or {})

    @classmethod
    def unreadable(cls, reason: str, format_: str | None = None) -> Self:
        """A file that should have been readable."""
        return cls(Status.UNREADABLE, reason, format_)

    @classmethod
    def opaque(cls, kind: str) -> Self:
        """A file of a kind that is not read."""
        return cls(Status.OPAQUE, f"files of the kind {kind} are stored, their columns are not read", kind)

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """The capture that `plain()` was called on."""
        tables = tuple(Table.read(table) for table in plain["tables"])
        return cls(Status(plain["status"]), plain["reason"], plain["format"], plain["details"], tables, plain["notes"])

    @property
    def rows(self) -> int | None:
        """Of all tables together; None where that is not known."""
        counts = [table.rows for table in self.tables if table.rows is not None]
        return sum(counts) if self.status is Status.OK and len(counts) == len(self.tables) else None


@dataclass(frozen=True)
class Layout(ValueObject):
    """What files that look alike have in common. Its tables carry no rows."""

    format: str | None
    details: Mapping[str, Json]
    tables: tuple[Table, ...]


def _alike(layout: Layout) -> str:
    """The same for equal layouts, whether they were just read or kept, where the database has put the names of details in another order."""
    tables = [[table.name, [column.plain() for column in table.columns], table.details] for table in layout.tables]
    return json.dumps([layout.format, layout.details, tables], sort_keys=True)


@dataclass(frozen=True)
class ComponentSchema(ValueObject):
    """One component of a version: the index of its layout, None unless it was read, and the rows of each table."""

    name: str
    layout: int | None
    status: Status
    reason: str | None
    rows: tuple[int | None, ...]
    notes: Mapping[str, Json]


@dataclass(frozen=True)
class VersionSchema(ValueObject):
    """The schema of a version: each distinct layout once, so that ten thousand files of one layout stay small."""

    schema_version: int
    layouts: tuple[Layout, ...]
    components: tuple[ComponentSchema, ...]

    @classmethod
    def compose(cls, captures: Mapping[str, FileCapture]) -> Self:
        """From the captures of the components, by component name."""
        layouts: list[Layout] = []
        seen: dict[str, int] = {}
        components = []
        for name, capture in captures.items():
            index = None
            if capture.status is Status.OK:
                layout = Layout(
                    capture.format,
                    capture.details,
                    tuple(Table(table.name, table.columns, None, table.details) for table in capture.tables),
                )
                index = seen.setdefault(_alike(layout), len(layouts))
                if index == len(layouts):
                    layouts.append(layout)
            rows = tuple(table.rows for table in capture.tables)
            components.append(ComponentSchema(name, index, capture.status, capture.reason, rows, capture.notes))
        return cls(SCHEMA_VERSION, tuple(layouts), tuple(components))

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """The schema that `plain()` was called on."""
        layouts = tuple(
            Layout(item["format"], item["details"], tuple(Table.read(table) for table in item["tables"])) for item in plain["layouts"]
        )
        components = tuple(
            ComponentSchema(**{**item, "status": Status(item["status"]), "rows": tuple(item["rows"])}) for item in plain["components"]
        )
        return cls(plain["schema_version"], layouts, components)

    def tables(self) -> Mapping[tuple[str, str | None], tuple[Column, ...]]:
        """The columns of every table that was read, by component name and table name."""
        return {
            (component.name, table.name): table.columns
            for component in self.components
            if component.layout is not None
            for table in self.layouts[component.layout].tables
        }

    def figures(self) -> dict[str, tuple[int | None, int]]:
        """(rows, columns) of each component, over all of its tables; rows is None where it was not read."""
        widths = [sum(len(table.columns) for table in layout.tables) for layout in self.layouts]
        return {
            item.name: (None, 0) if item.layout is None else (sum(rows or 0 for rows in item.rows), widths[item.layout])
            for item in self.components
        }

    def flat(self) -> list[tuple[str, str, bool]]:
        """(name, type, nullable) of the columns of every layout. Where there are several tables, names begin with the component or sheet
        that shows the table first."""
        first = {item.layout: item.name for item in reversed(self.components)}
        tables = [
            (f"{first[index]}/{table.name}" if table.name else first[index], table)
            for index, layout in enumerate(self.layouts)
            for table in layout.tables
        ]
        return [
            (f"{label}: {column.name}" if len(tables) > 1 else column.name, column.type, column.nullable)
            for label, table in tables
            for column in table.columns
        ]

    @property
    def rows(self) -> int | None:
        """Of all components that were read together; None where none was."""
        counts = [sum(rows or 0 for rows in item.rows) for item in self.components if item.status is Status.OK]
        return sum(counts) if counts else None

    @property
    def columns(self) -> int:
        """Of the widest table."""
        return max((len(table.columns) for layout in self.layouts for table in layout.tables), default=0)

    @property
    def unreadable(self) -> int:
        """Components that should have been readable."""
        return sum(item.status is Status.UNREADABLE for item in self.components)


def storable(value: Json) -> Json:
    """The same with U+FFFD for what PostgreSQL's jsonb cannot hold (NUL, lone surrogates). Names come from foreign files."""
    if isinstance(value, str):
        return re.sub("[\x00\ud800-\udfff]", "\ufffd", value)
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, dict):
        return {str(storable(key)): storable(item) for key, item in value.items()}
    return value
