"""A contract that a version keeps, to begin with: what its files have in common, written down. Pure."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import escape

from dsplatform.schemas.contracts.model import ColumnRule, Contract, Scalar, TableRule, family
from dsplatform.schemas.model import PROFILE_TEXT, ColumnProfile, FileCapture, Status, Table

ALLOWED_AT_MOST = 20
"""More different values than this are no list."""
ROWS_FACTOR = 10
"""How far the number of rows may go up and down."""


@dataclass(frozen=True)
class _Seen:
    component: str
    table: Table


def learn(captures: Mapping[str, FileCapture], *, ranges: bool = False) -> Contract:
    """Required columns, types, nullability and loose bounds of the rows; allowed values of texts where the profile has all of them;
    with `ranges` also the least and the greatest values. Files with the same columns share a rule where a glob tells them from the
    others. What is no table is left out."""
    groups: dict[object, list[_Seen]] = defaultdict(list)
    for name, capture in captures.items():
        if capture.status is Status.OK:
            for table in capture.tables:
                groups[table.name, tuple((column.name, column.type) for column in table.columns)].append(_Seen(name, table))
    rules = []
    for group in groups.values():
        for names in _globs([seen.component for seen in group], captures):
            members = [seen for seen in group if fnmatchcase(seen.component, names)]
            rules.append(_rule(names, members, ranges=ranges))
    return Contract(tuple(sorted(rules, key=lambda rule: (rule.component, rule.sheet or ""))))


def _globs(names: Sequence[str], everything: Mapping[str, object]) -> list[str]:
    """One glob for all of these components and no other, else one for each."""
    if len(names) > 1:
        start = os.path.commonprefix(names)  # noqa: RUF071 - of the characters
        end = os.path.commonprefix([name[len(start) :][::-1] for name in names])[::-1]  # noqa: RUF071
        glob = f"{escape(start)}*{escape(end)}"
        if (start or end) and sum(fnmatchcase(name, glob) for name in everything) == len(names):
            return [glob]
    return [escape(name) for name in names]


def _rule(component: str, members: Sequence[_Seen], *, ranges: bool) -> TableRule:
    tables = [seen.table for seen in members]
    counts = [table.rows for table in tables if table.rows is not None]
    least, most = min(counts, default=0), max(counts, default=0)
    columns = {}
    for place, column in enumerate(tables[0].columns):
        profiles = [table.profile[place] if table.profile else ColumnProfile() for table in tables]
        nullable = any(table.columns[place].nullable and profile.nulls != 0 for table, profile in zip(tables, profiles, strict=True))
        low, high = _range(column.type, profiles) if ranges else (None, None)
        type_ = None if column.type == "null" else column.type
        columns[column.name] = ColumnRule(True, type_, nullable, _allowed(column.type, profiles), low, high)
    return TableRule(
        component,
        None if tables[0].name is None else escape(tables[0].name),
        columns=columns,
        rows_low=max(least // ROWS_FACTOR, 1) if least else None,
        rows_high=most * ROWS_FACTOR if most else None,
    )


def _allowed(type_: str, profiles: Sequence[ColumnProfile]) -> tuple[Scalar, ...] | None:
    """Every value that was seen; None where not all are known, or where they look like more to come."""
    if type_ != "string":
        return None
    values: set[str] = set()
    for profile in profiles:
        if not profile.distinct_exact or profile.distinct != len(profile.top) or not profile.top:
            return None
        values |= {value for value, _ in profile.top}
    if len(values) > ALLOWED_AT_MOST or any(len(value) >= PROFILE_TEXT for value in values):
        return None
    return tuple(sorted(values))


def _range(type_: str, profiles: Sequence[ColumnProfile]) -> tuple[Scalar | None, Scalar | None]:
    ends = [(profile.low, profile.high) for profile in profiles if profile.low is not None and profile.high is not None]
    if family(type_) == "number" and len(ends) == len(profiles):
        numbers = [number for pair in ends for number in _numbers(pair)]
        return (min(numbers), max(numbers)) if len(numbers) == 2 * len(ends) else (None, None)
    return None, None


def _numbers(values: Sequence[object]) -> Iterator[int | float]:
    yield from (value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool))
