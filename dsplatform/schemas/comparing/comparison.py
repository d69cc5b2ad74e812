"""Finds what changed between two schemas. Pure; `changes.py` says what it means and tells it.

docs/schema-changes.md has the verdict of more than fifty changes, and the tests hold this module to each.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from dsplatform.schemas.comparing.changes import (
    Comparison,
    LayoutChange,
    RenamedSheet,
    Retyped,
    SheetsChange,
    TableChange,
    Verdict,
)
from dsplatform.schemas.comparing.renames import renames
from dsplatform.schemas.comparing.widening import kind_of_change, widens
from dsplatform.schemas.model import Column, ColumnProfile, ComponentSchema, Layout, Status, Table, VersionSchema

__all__ = ["Comparison", "Profiles", "Retyped", "TableChange", "Verdict", "compare", "drift"]

Profiles = Mapping[tuple[str, str | None], Sequence[ColumnProfile]]
"""By component and table, an entry per column in the order of the columns, or none."""

SHEET_TOLD_FROM = 0.5
"""The share of equal columns from which a sheet counts as renamed."""

TEXT_FORMATS = frozenset({"csv", "tsv", "json", "jsonl"})
TEXT_LAYOUT = ("encoding", "delimiter", "quote", "compression")
"""What is told of text files besides the format. Inside Parquet and Arrow files nobody has to know it."""

_Names: TypeAlias = tuple[tuple[str | None, tuple[str, ...]], ...]
_Pair: TypeAlias = tuple[Table, Table]


def compare(before: VersionSchema, after: VersionSchema, profiles: tuple[Profiles, Profiles] = ({}, {})) -> Comparison:
    """What changed from `before` to `after`. Rows, notes and statistics may differ in an identical schema; columns may not.

    Profiles of both sides (of all tables, or of some) make renames surer; no verdict depends on them.
    """
    old, new = ({item.name: item for item in schema.components} for schema in (before, after))
    added = tuple(name for name in new if name not in old)
    removed = tuple(name for name in old if name not in new)
    followed = _followed(before, after, removed, added)
    heirs = {heir: name for name, heir in followed if heir not in old}
    pairs = [(old[heirs.get(name, name)], item) for name, item in new.items() if name in old or name in heirs]
    lost = tuple(now.name for was, now in pairs if was.layout is not None and now.layout is None)
    restored = tuple(now.name for was, now in pairs if was.layout is None and now.layout is not None)
    strangers = [new[name] for name in added if name not in heirs]
    known = _by_names(before.layouts)
    unlike = tuple(item.name for item in strangers if item.layout is not None and _holder(known, after.layouts[item.layout]) is None)
    unread = tuple(
        now.name
        for was, now in [*((None, item) for item in strangers), *pairs]
        if now.status is Status.UNREADABLE and (was is None or was.status is Status.OPAQUE)
    )
    layouts, sheets, tables = _Contents(before, after, profiles).changes(pairs)
    gone = set(removed) - {name for name, _ in followed}
    verdicts = [Verdict.BREAKING] * (bool(lost) or any(old[name].layout is not None for name in gone))
    verdicts += [Verdict.COMPATIBLE] * bool(gone or restored or unlike or unread or layouts)
    verdicts += [change.verdict for change in sheets] + [change.verdict for change in tables]
    return Comparison(Verdict.gravest(verdicts), added, removed, lost, restored, followed, unlike, unread, layouts, sheets, tables)


def drift(before: VersionSchema, after: VersionSchema, profiles: tuple[Profiles, Profiles] = ({}, {})) -> list[str]:
    """What changed, in sentences; none exactly where the verdict is `identical`."""
    return compare(before, after, profiles).sentences()


def _followed(before: VersionSchema, after: VersionSchema, removed: Sequence[str], added: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(removed, heir): one of those added, of the same series, the first to the first; else any of the series that has its columns."""
    if not removed:
        return ()
    fresh: dict[str, list[str]] = defaultdict(list)
    for name in sorted(added, reverse=True):
        fresh[_series(name)].append(name)
    names: dict[tuple[str, int], str] = {}
    members: dict[str, list[Layout]] = defaultdict(list)
    for item in after.components:
        if item.layout is not None:
            series, layout = _series(item.name), after.layouts[item.layout]
            if names.setdefault((series, id(layout)), item.name) == item.name:
                members[series].append(layout)
    known = {series: _by_names(layouts) for series, layouts in members.items()}
    left = {item.name: None if item.layout is None else before.layouts[item.layout] for item in before.components}
    found = []
    for name in sorted(removed):
        series, was = _series(name), left[name]
        if series == name:
            continue
        if fresh[series]:
            found.append((name, fresh[series].pop()))
        elif was is not None and (heir := _holder(known.get(series, {}), was)) is not None:
            found.append((name, names[series, id(heir)]))
    return tuple(found)


def _series(name: str) -> str:
    return re.sub(r"[0-9]+", "#", name)


def _names(layout: Layout) -> _Names:
    return tuple((table.name, tuple(column.name for column in table.columns)) for table in layout.tables)


def _by_names(layouts: Sequence[Layout]) -> Mapping[_Names, Sequence[Layout]]:
    known: dict[_Names, list[Layout]] = defaultdict(list)
    for layout in layouts:
        known[_names(layout)].append(layout)
    return known


def _holder(known: Mapping[_Names, Sequence[Layout]], layout: Layout) -> Layout | None:
    """One of the known layouts that has the columns of this one, in their order, with types that hold its values."""
    mine = [column for table in layout.tables for column in table.columns]
    for one in known.get(_names(layout), ()):
        others = [column for table in one.tables for column in table.columns]
        pairs = zip(mine, others, strict=True)
        if all(widens(new.type, old.type) and (new.format == old.format or new.type == "null") for new, old in pairs):
            return one
    return None


class _Contents:
    """Compares components that were read with one another, each two layouts once."""

    def __init__(self, before: VersionSchema, after: VersionSchema, profiles: tuple[Profiles, Profiles]) -> None:
        self._layouts = before.layouts, after.layouts
        self._profiles = profiles
        self._seen: dict[tuple[int | None, int], tuple[list[LayoutChange], list[SheetsChange], list[TableChange]]] = {}

    def changes(
        self, pairs: Iterable[tuple[ComponentSchema, ComponentSchema]]
    ) -> tuple[tuple[LayoutChange, ...], tuple[SheetsChange, ...], tuple[TableChange, ...]]:
        """Of all pairs of components, in their order."""
        layouts: list[LayoutChange] = []
        sheets: list[SheetsChange] = []
        tables: list[TableChange] = []
        for old, new in pairs:
            if new.layout is None:
                continue
            key = old.layout, new.layout
            if self._profiles[0] or key not in self._seen:  # with profiles each pair may tell other renames
                self._seen[key] = self._compare(old, new, self._layouts[1][new.layout])
            found = self._seen[key]
            layouts += [replace(change, component=new.name) for change in found[0]]
            sheets += [replace(change, component=new.name) for change in found[1]]
            tables += [replace(change, component=new.name) for change in found[2]]
        return tuple(layouts), tuple(sheets), tuple(tables)

    def _compare(
        self, old: ComponentSchema, new: ComponentSchema, after: Layout
    ) -> tuple[list[LayoutChange], list[SheetsChange], list[TableChange]]:
        if old.layout is None:
            tables = [self._table(old, new, None, table) for table in after.tables]
            return [], [], [change for change in tables if change.verdict is not Verdict.IDENTICAL]
        before = self._layouts[0][old.layout]
        names = [table.name for table in before.tables], [table.name for table in after.tables]
        if len(before.tables) == len(after.tables) == 1 and None in {*names[0], *names[1]}:  # a lone sheet became a file, or was one
            both, gone, come = [(before.tables[0], after.tables[0])], [], []
        else:
            earlier = {table.name: table for table in before.tables}
            both = [(earlier[table.name], table) for table in after.tables if table.name in earlier]
            gone = [table for table in before.tables if table.name not in names[1]]
            come = [table for table in after.tables if table.name not in names[0]]
        tables = [self._table(old, new, *pair) for pair in both]
        tables += [self._table(old, new, table, None) for table in gone] + [self._table(old, new, None, table) for table in come]
        sheets = SheetsChange(
            new.name,
            added=tuple(table.name or "" for table in come),
            removed=tuple(table.name or "" for table in gone),
            renamed=tuple(self._renamed_sheets(old, new, gone, come)),
            hidden=tuple(now.name or "" for was, now in both if not _hidden(was) and _hidden(now)),
            shown=tuple(now.name or "" for was, now in both if _hidden(was) and not _hidden(now)),
            reordered=[was.name for was, _ in both] != [table.name for table in before.tables if table not in gone],
        )
        return (
            _layout_changes(new.name, before, after, both),
            [sheets] if sheets.verdict is not Verdict.IDENTICAL else [],
            [change for change in tables if change.verdict is not Verdict.IDENTICAL],
        )

    def _renamed_sheets(
        self, old: ComponentSchema, new: ComponentSchema, gone: Sequence[Table], come: Sequence[Table]
    ) -> Iterator[RenamedSheet]:
        """The first that went with the first that came, and so on, where at least half of the columns are the same."""
        for was, now in zip(gone, come, strict=False):
            mine, others = ({(column.name, column.type) for column in table.columns} for table in (was, now))
            share = len(mine & others) / len(mine | others) if mine | others else 1.0
            if share >= SHEET_TOLD_FROM:
                yield RenamedSheet(was.name or "", now.name or "", round(share, 2), self._table(old, new, was, now))

    def _table(self, old: ComponentSchema, new: ComponentSchema, was: Table | None, now: Table | None) -> TableChange:
        before, after = was.columns if was else (), now.columns if now else ()
        name = now.name if now else was.name if was else None
        if before == after:
            return TableChange(new.name, name, (), (), (), (), reordered=False)
        left, right = ({column.name: column for column in columns} for columns in (before, after))
        kept = [key for key in left if key in right]
        return TableChange(
            new.name,
            name,
            added=tuple(column for column in after if column.name not in left),
            removed=tuple(column for column in before if column.name not in right),
            renamed=renames(
                before,
                after,
                (self._profile(0, old, was), self._profile(1, new, now)),
                (self._rows(0, old, was), self._rows(1, new, now)),
            )
            if was and now
            else (),
            retyped=tuple(_retyped(left[key], right[key]) for key in kept if left[key] != right[key]),
            reordered=kept != [key for key in right if key in left],
        )

    def _profile(self, side: int, component: ComponentSchema, table: Table) -> Mapping[str, ColumnProfile]:
        found = self._profiles[side].get((component.name, table.name), ())
        return {column.name: profile for column, profile in zip(table.columns, found, strict=False)}

    def _rows(self, side: int, component: ComponentSchema, table: Table) -> int | None:
        tables = self._layouts[side][component.layout or 0].tables
        return component.rows[tables.index(table)] if len(component.rows) == len(tables) else None


def _retyped(before: Column, after: Column) -> Retyped:
    kind = None if before.type == after.type else kind_of_change(before.type, after.type)
    return Retyped(before.name, before, after, kind)


def _hidden(table: Table) -> bool:
    return bool(table.details.get("hidden"))


def _layout_changes(component: str, before: Layout, after: Layout, tables: Sequence[_Pair]) -> list[LayoutChange]:
    changes = []
    if before.format != after.format:
        changes.append(LayoutChange(component, None, "format", before.format, after.format))
    if before.format in TEXT_FORMATS and after.format in TEXT_FORMATS:
        for what in TEXT_LAYOUT:
            old, new = (layout.details.get(what) or {"compression": "none"}.get(what) for layout in (before, after))
            if old != new and None not in (old, new):
                changes.append(LayoutChange(component, None, what, old, new))
    for was, now in tables:
        old, new = was.details.get("header", before.details.get("header")), now.details.get("header", after.details.get("header"))
        if old != new and None not in (old, new):
            changes.append(LayoutChange(component, now.name, "header", old, new))
    return changes
