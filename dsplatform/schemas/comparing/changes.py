"""What can change in a schema, what that means for those who read the data, and how it is told. Pure; `comparison.py` finds the changes.

docs/schema-changes.md says what each verdict means.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dsplatform.core.domain import ValueObject
from dsplatform.schemas.comparing.renames import Renamed
from dsplatform.schemas.comparing.widening import Kind, differences
from dsplatform.schemas.model import Column, Json

ISO_DATE = "YYYY-MM-DD"


class Verdict(StrEnum):
    """What a change means for those who read the data. The order is of gravity."""

    IDENTICAL = "identical"
    COMPATIBLE = "compatible"
    BREAKING = "breaking"

    @classmethod
    def gravest(cls, verdicts: Iterable["Verdict"]) -> "Verdict":
        """Of several, or `identical`."""
        return max(verdicts, key=list(cls).index, default=cls.IDENTICAL)


@dataclass(frozen=True)
class Retyped(ValueObject):
    """A column whose type, date format or nullability changed. Nullability is what the rows showed: its change alone breaks nobody."""

    name: str
    before: Column
    after: Column
    kind: Kind | None
    """How the type changed; None where it is the same."""

    @property
    def verdict(self) -> Verdict:
        """Breaking unless every value of the old type is one of the new, and is written as it was."""
        harmless = self.kind in {None, Kind.WIDENED, Kind.EMPTIED} and not self.rewritten
        return Verdict.COMPATIBLE if harmless else Verdict.BREAKING

    @property
    def rewritten(self) -> bool:
        """Whether dates are written another way."""
        return self.before.format != self.after.format and "null" not in {self.before.type, self.after.type}

    def sentences(self) -> list[str]:
        """The change in words, the parts of a nested type one by one."""
        told = []
        for path, old, new in differences(self.before.type, self.after.type) if self.kind else ():
            name = f"{self.name}{path}"
            part = "field" if path.rpartition(".")[1] and not path.endswith(("]", "}")) else "part" if path else "column"
            if old is None or new is None:
                told.append(f"{part} {name!r} ({_clipped(old or new)}) was {'removed' if new is None else 'added'}")
            elif new.name == "null":
                told.append(f"{part} {name!r} ({_clipped(old)}) has no values any more")
            else:
                told.append(f"{part} {name!r} was {_clipped(old)} and is {_clipped(new)}")
        if self.kind and not told:
            told.append(f"column {self.name!r} was {_clipped(self.before.type)} and is {_clipped(self.after.type)}")
        if self.rewritten and self.kind in {None, Kind.WIDENED}:
            told.append(f"column {self.name!r} was written {self.before.format or ISO_DATE} and is {self.after.format or ISO_DATE}")
        if self.before.nullable != self.after.nullable and "null" not in {self.before.type, self.after.type}:
            told.append(f"column {self.name!r} {'has' if self.after.nullable else 'no longer has'} rows without a value")
        return told


@dataclass(frozen=True)
class TableChange(ValueObject):
    """What changed in one table, by the names of its columns. A table that came or went has all its columns in `added` or `removed`.
    What is in `renamed` is in those two as well."""

    component: str
    table: str | None
    added: tuple[Column, ...]
    removed: tuple[Column, ...]
    renamed: tuple[Renamed, ...]
    retyped: tuple[Retyped, ...]
    reordered: bool

    @property
    def verdict(self) -> Verdict:
        """The gravest of its parts."""
        if self.removed:
            return Verdict.BREAKING
        new = Verdict.COMPATIBLE if self.added or self.reordered else Verdict.IDENTICAL
        return Verdict.gravest([new, *(change.verdict for change in self.retyped)])

    def sentences(self) -> list[str]:
        """The change in words."""
        gone, come = ({getattr(pair, side).name for pair in self.renamed} for side in ("before", "after"))
        told = [pair.sentence() for pair in self.renamed]
        told += [f"column {column.name!r} ({_clipped(column.type)}) was removed" for column in self.removed if column.name not in gone]
        told += [f"column {column.name!r} ({_clipped(column.type)}) was added" for column in self.added if column.name not in come]
        told += [sentence for change in self.retyped for sentence in change.sentences()]
        return told + ["the columns stand in another order"] * self.reordered


@dataclass(frozen=True)
class RenamedSheet(ValueObject):
    """A sheet that went and one that came in its place, of which at least half of the columns are the same."""

    before: str
    after: str
    confidence: float
    """The share of the columns that both have, by name and type, among all."""
    change: TableChange
    """Of the columns, from the one to the other."""


@dataclass(frozen=True)
class SheetsChange(ValueObject):
    """What changed in the sheets of one workbook, by their names. What is in `renamed` is in `added` and `removed` as well."""

    component: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    renamed: tuple[RenamedSheet, ...]
    hidden: tuple[str, ...]
    shown: tuple[str, ...]
    reordered: bool

    @property
    def verdict(self) -> Verdict:
        """Sheets are asked for by name: breaking where one is gone."""
        if self.removed:
            return Verdict.BREAKING
        return Verdict.COMPATIBLE if self.added or self.hidden or self.shown or self.reordered else Verdict.IDENTICAL

    def sentences(self) -> list[str]:
        """The change in words, with the columns of renamed sheets."""
        gone, come = ({getattr(pair, side) for pair in self.renamed} for side in ("before", "after"))
        told = []
        for pair in self.renamed:
            told.append(f"sheet {pair.before!r} was renamed to {pair.after!r}")
            told += [f"sheet {pair.after!r}: {sentence}" for sentence in pair.change.sentences()]
        told += [f"sheet {name!r} was removed" for name in self.removed if name not in gone]
        told += [f"sheet {name!r} was added" for name in self.added if name not in come]
        told += [f"sheet {name!r} is hidden now" for name in self.hidden]
        told += [f"sheet {name!r} is shown now" for name in self.shown]
        return told + ["the sheets stand in another order"] * self.reordered


@dataclass(frozen=True)
class LayoutChange(ValueObject):
    """A property of how a component holds its columns: format, header, encoding, delimiter or compression. Told, and compatible."""

    component: str
    table: str | None
    what: str
    before: Json
    after: Json

    def sentence(self) -> str:
        """The change in words."""
        if self.what == "header":
            return "has a header now" if self.after else "has no header any more"
        return f"{self.what} was {self.before or 'none'!r} and is {self.after or 'none'!r}"


@dataclass(frozen=True)
class Comparison(ValueObject):
    """What changed from one version's schema to another's. Only what changed is listed."""

    verdict: Verdict
    components_added: tuple[str, ...]
    components_removed: tuple[str, ...]
    components_lost: tuple[str, ...]
    """Still there, but could be read before and can't be now."""
    components_restored: tuple[str, ...]
    """Can be read again."""
    components_followed: tuple[tuple[str, str], ...]
    """(before, after): of those removed, the ones that another of their series stands for; names that differ in digits only."""
    components_unlike: tuple[str, ...]
    """Of those added, the ones with columns that no other had before."""
    components_unread: tuple[str, ...]
    """Added, or of a kind that is not read before; should be readable and is not."""
    layouts: tuple[LayoutChange, ...]
    sheets: tuple[SheetsChange, ...]
    tables: tuple[TableChange, ...]

    def sentences(self) -> list[str]:
        """What changed, a sentence each. What changed alike in several components is told once."""
        told: dict[str, list[str]] = defaultdict(list)
        followed = {name for name, _ in self.components_followed}
        for ending, names in (
            (" is gone", [name for name in self.components_removed if name not in followed]),
            (" cannot be read any more", self.components_lost),
            (" can be read again", self.components_restored),
            (" came with columns of its own", self.components_unlike),
            (" cannot be read", self.components_unread),
        ):
            for name in names:
                told[ending].append(name)
        for layout in self.layouts:
            told[f": {layout.sentence()}"].append(_label(layout.component, layout.table))
        for sheets in self.sheets:
            for sentence in sheets.sentences():
                told[f": {sentence}"].append(sheets.component)
        apart = {(sheets.component, name) for sheets in self.sheets for name in (*sheets.added, *sheets.removed)}
        restored = set(self.components_restored)
        for table in self.tables:
            if (table.component, table.table) not in apart and table.component not in restored:
                for sentence in table.sentences():
                    told[f": {sentence}"].append(_label(table.component, table.table))
        return [f"{_some(names)}{ending}" for ending, names in told.items()]


def _label(component: str, table: str | None) -> str:
    return f"{component}/{table}" if table else component


def _some(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} more"


def _clipped(type_: object) -> str:
    """A type as text, cut where a sentence would become unreadable."""
    text = str(type_)
    return text if len(text) <= 200 else f"{text[:200]}…"
