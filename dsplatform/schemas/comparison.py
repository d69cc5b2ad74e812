"""What changed between two schemas, and what it means for those who read the data. Pure."""

import re
from dataclasses import dataclass
from enum import StrEnum

from dsplatform.core.domain import ValueObject
from dsplatform.schemas.model import Column, VersionSchema


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

    def sentence(self) -> str:
        """The change in words."""
        if self.before.type == self.after.type:
            return f"column {self.name!r} {'has' if self.after.nullable else 'no longer has'} rows without a value"
        return f"column {self.name!r} was {self.before.type} and is {self.after.type}"


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


def drift(before: VersionSchema, after: VersionSchema) -> list[str]:
    """What changed in the columns, one sentence each. A component that came with columns that others had is no change."""
    change = compare(before, after)
    known = set(before.tables().values())
    new = [name for name in change.components_added if any(key[0] == name and cols not in known for key, cols in after.tables().items())]
    sentences = [f"{name} is gone" for name in change.components_removed]
    sentences += [f"{name} cannot be read any more" for name in change.components_lost]
    sentences += [f"{name} came with columns of its own" for name in new]
    for table in change.tables:
        where = f"{table.component}/{table.table}" if table.table else table.component
        sentences += [f"{where}: column {column.name!r} ({column.type}) was removed" for column in table.removed]
        sentences += [f"{where}: column {column.name!r} ({column.type}) was added" for column in table.added]
        sentences += [f"{where}: {retyped.sentence()}" for retyped in table.retyped]
        sentences += [f"{where}: the columns stand in another order"] * table.reordered
    return sentences


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
