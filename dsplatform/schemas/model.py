"""Captures of files, the composed schema of a version, and the comparison of two. Pure: no file, no database, no clock."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self, TypeAlias

from dsplatform.core.domain import ValueObject

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

SCHEMA_VERSION = 1


class Status(StrEnum):
    """How reading a file ended."""

    OK = "ok"
    UNREADABLE = "unreadable"
    """Of a kind that is read, or claims to be, but this one cannot be."""
    OPAQUE = "opaque"
    """Of a kind that is stored and not read, such as a PDF."""


@dataclass(frozen=True)
class Column(ValueObject):
    """A column as the rows show it. `type` is a logical type: boolean, int64, uint64, decimal(p,s), float64, date, time, timestamp,
    timestamp with zone, duration, string, binary, list<…>, struct<…>, map<…>, or null where no row has a value."""

    name: str
    type: str
    nullable: bool = True


@dataclass(frozen=True)
class Table(ValueObject):
    """Columns in their order. `name` is the sheet's in a workbook, else None; `details` says how the table lies in the file."""

    name: str | None
    columns: tuple[Column, ...]
    rows: int | None = None
    details: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """The table that `plain()` was called on."""
        columns = tuple(Column(**column) for column in plain["columns"])
        return cls(plain["name"], columns, plain.get("rows"), plain["details"])


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
                    capture.format, capture.details, tuple(Table(table.name, table.columns, None, table.details) for table in capture.tables)
                )
                index = seen.setdefault(repr(layout), len(layouts))
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


class Verdict(StrEnum):
    """What a change means for those who read the data. The order is of gravity."""

    IDENTICAL = "identical"
    COMPATIBLE = "compatible"
    BREAKING = "breaking"


@dataclass(frozen=True)
class Retyped(ValueObject):
    """A column whose type or nullability changed. Nullability is what the rows showed: its change alone breaks nobody."""

    name: str
    before: Column
    after: Column

    @property
    def verdict(self) -> Verdict:
        """Breaking unless every value of the old type is one of the new."""
        return Verdict.COMPATIBLE if widens(self.before.type, self.after.type) else Verdict.BREAKING


@dataclass(frozen=True)
class TableChange(ValueObject):
    """What changed in one table. A table that came or went has all its columns in `added` or `removed`."""

    component: str
    table: str | None
    added: tuple[Column, ...]
    removed: tuple[Column, ...]
    retyped: tuple[Retyped, ...]
    reordered: bool

    @property
    def verdict(self) -> Verdict:
        """The gravest of its parts."""
        if self.removed or any(change.verdict is Verdict.BREAKING for change in self.retyped):
            return Verdict.BREAKING
        return Verdict.COMPATIBLE if self.added or self.retyped or self.reordered else Verdict.IDENTICAL


@dataclass(frozen=True)
class Comparison(ValueObject):
    """What changed from one version's schema to another's. Only tables with a change are listed."""

    verdict: Verdict
    components_added: tuple[str, ...]
    components_removed: tuple[str, ...]
    components_lost: tuple[str, ...]
    """Still there, but could be read before and can't be now."""
    tables: tuple[TableChange, ...]


def compare(before: VersionSchema, after: VersionSchema) -> Comparison:
    """What changed from `before` to `after`. Formats, rows and notes may differ in an identical schema; columns may not."""
    old, new = ({item.name: item for item in schema.components} for schema in (before, after))
    added = tuple(name for name in new if name not in old)
    removed = tuple(name for name in old if name not in new)
    lost = tuple(name for name in new if name in old and old[name].layout is not None and new[name].layout is None)
    left, right = before.tables(), after.tables()
    common = [key for key in {**left, **right} if key[0] in old and key[0] in new and key[0] not in lost]
    changes = [_table_change(*key, left.get(key, ()), right.get(key, ())) for key in common]
    verdicts = [change.verdict for change in changes]
    if removed or lost or Verdict.BREAKING in verdicts:
        verdict = Verdict.BREAKING
    else:
        verdict = Verdict.COMPATIBLE if added or Verdict.COMPATIBLE in verdicts else Verdict.IDENTICAL
    return Comparison(verdict, added, removed, lost, tuple(change for change in changes if change.verdict is not Verdict.IDENTICAL))


def _table_change(component: str, table: str | None, before: tuple[Column, ...], after: tuple[Column, ...]) -> TableChange:
    old, new = ({column.name: column for column in columns} for columns in (before, after))
    kept = [name for name in old if name in new]
    return TableChange(
        component,
        table,
        added=tuple(column for column in after if column.name not in old),
        removed=tuple(column for column in before if column.name not in new),
        retyped=tuple(Retyped(name, old[name], new[name]) for name in kept if old[name] != new[name]),
        reordered=kept != [name for name in new if name in old],
    )


def widens(before: str, after: str) -> bool:
    """Whether every value of the logical type `before` is a value of `after`, as readers take them: int64 to float64 counts."""
    if before in {after, "null"}:
        return True
    match before, after:
        case ("int64" | "uint64", "float64") | ("date", "timestamp"):
            return True
        case ("int64" | "uint64", _) if after_decimal := _decimal(after):
            return after_decimal[0] - after_decimal[1] >= (19 if before == "int64" else 20)
    if (old := _decimal(before)) and (new := _decimal(after)):
        return new[1] >= old[1] and new[0] - new[1] >= old[0] - old[1]
    if before.startswith("list<") and after.startswith("list<"):
        return widens(before[5:-1], after[5:-1])
    return False


def _decimal(type_: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"decimal\((\d+),(-?\d+)\)", type_)
    return (int(match[1]), int(match[2])) if match else None


def storable(value: Json) -> Json:
    """The same with U+FFFD for what PostgreSQL's jsonb cannot hold (NUL, lone surrogates). Names come from foreign files."""
    if isinstance(value, str):
        return re.sub("[\x00\ud800-\udfff]", "\ufffd", value)
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, dict):
        return {str(storable(key)): storable(item) for key, item in value.items()}
    return value
