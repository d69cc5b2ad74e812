"""Whether captured files keep a contract. Pure: what only the rows can tell is asked for with `questions`, and comes back as answers.

Columns, types, row counts, and what a profile knows exactly need no second reading.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Self, TypeAlias

from dsplatform.core.domain import ValueObject
from dsplatform.schemas.contracts.model import Breach, ColumnRule, Contract, TableRule, holds, measure
from dsplatform.schemas.model import PROFILE_TEXT, Column, ColumnProfile, FileCapture, Status, Table

Asked: TypeAlias = tuple[int, str | None]
"""The place of a rule in its contract, and the name of the table."""

UNKNOWN = ColumnProfile()


@dataclass(frozen=True)
class Found(ValueObject):
    """Rows that are against a rule. Each example is (value as text, rows that have it, the first of them, counted from 1)."""

    rows: int
    values: int
    """How many different values these rows have."""
    examples: tuple[tuple[str, int, int], ...]

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """The finding that `plain()` was called on."""
        return cls(plain["rows"], plain["values"], tuple((value, rows, first) for value, rows, first in plain["examples"]))

    def shown(self) -> str:
        """The examples in words."""
        told = [
            f"{value!r} ({f'{rows} rows, first in row {first}' if rows > 1 else f'row {first}'})" for value, rows, first in self.examples
        ]
        return ", ".join(told) + (f" and {self.values - len(told)} more" if self.values > len(told) else "")


@dataclass(frozen=True)
class ColumnQuestion(ValueObject):
    """What is asked about the values of one column."""

    type: str
    nulls: bool = False
    allowed: tuple[bool | int | float | str, ...] | None = None
    low: bool | int | float | str | None = None
    high: bool | int | float | str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked."""
        return not self.nulls and self.allowed is None and self.low is None and self.high is None


@dataclass(frozen=True)
class Question(ValueObject):
    """What is asked about the rows of one table."""

    table: str | None
    types: tuple[tuple[str, str, str | None], ...]
    """(column, type, format) of every column that is named below."""
    columns: tuple[tuple[str, ColumnQuestion], ...]
    unique: tuple[tuple[str, ...], ...]

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """The question that `plain()` was called on."""
        columns = tuple((name, ColumnQuestion(**{**asked, "allowed": _tuple(asked["allowed"])})) for name, asked in plain["columns"])
        types = tuple((name, type_, format_) for name, type_, format_ in plain["types"])
        return cls(plain["table"], types, columns, tuple(tuple(key) for key in plain["unique"]))


@dataclass(frozen=True)
class Answer(ValueObject):
    """What the rows say. Findings are by (rule, column), and by (`unique`, `key_name`)."""

    reason: str | None
    """Why the rows could not be read; None: they were."""
    found: tuple[tuple[str, str, Found], ...] = ()

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """The answer that `plain()` was called on."""
        return cls(plain["reason"], tuple((rule, name, Found.read(found)) for rule, name, found in plain["found"]))


def key_name(key: Sequence[str]) -> str:
    """A key as a name in an answer."""
    return json.dumps(list(key))


def _tuple(values: Sequence[Any] | None) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values)


def questions(contract: Contract, component: str, capture: FileCapture) -> dict[Asked, Question]:
    """What has to be asked of the rows of a file, because its capture does not tell."""
    found: dict[Asked, Question] = {}
    for place, rule, table in _pairs(contract, component, capture):
        columns = {
            name: asked for name, column, profile in _named(rule, table) if not (asked := _open(rule.rules[name], column, profile)).is_empty
        }
        unique = tuple(key for key in rule.unique if _unique(key, table) is None)
        types = {column.name: (column.type, column.format) for column in table.columns}
        if columns or unique:
            named = dict.fromkeys([*columns, *(name for key in unique for name in key)])
            found[place, table.name] = Question(table.name, tuple((name, *types[name]) for name in named), tuple(columns.items()), unique)
    return found


def breaches(contract: Contract, component: str, capture: FileCapture, answers: Mapping[Asked, Answer]) -> list[Breach]:
    """How one file falls short of the contract. `answers` has those to all `questions`."""
    rules = contract.about(component)
    if rules and capture.status is not Status.OK:
        what = "cannot be read" if capture.status is Status.UNREADABLE else "is no table"
        return [Breach("unreadable", component, None, None, f"{component} {what}: {capture.reason}")]
    found = [
        Breach("sheet", component, rule.sheet, None, f"{component}: there is no sheet {rule.sheet!r}")
        for rule in rules
        if rule.required and rule.sheet is not None and not any(_is_meant(rule, table) for table in capture.tables)
    ]
    for place, rule, table in _pairs(contract, component, capture):
        found += _Judge(component, rule, table, capture, answers.get((place, table.name))).breaches()
    return found


def missing(contract: Contract, components: Sequence[str]) -> list[Breach]:
    """Rules that ask for a component where there is none."""
    return [
        Breach("component", rule.component, None, None, f"no component is named {rule.component!r}, and the contract asks for one")
        for rule in contract.tables
        if rule.required and not any(fnmatchcase(name, rule.component) for name in components)
    ]


def _is_meant(rule: TableRule, table: Table) -> bool:
    return rule.sheet is None or (table.name is not None and fnmatchcase(table.name, rule.sheet))


def _pairs(contract: Contract, component: str, capture: FileCapture) -> Iterator[tuple[int, TableRule, Table]]:
    for place, rule in enumerate(contract.tables):
        if fnmatchcase(component, rule.component) and capture.status is Status.OK:
            yield from ((place, rule, table) for table in capture.tables if _is_meant(rule, table))


def _profiles(table: Table) -> Sequence[ColumnProfile]:
    return table.profile or (UNKNOWN,) * len(table.columns)


def _named(rule: TableRule, table: Table) -> Iterator[tuple[str, Column, ColumnProfile]]:
    """The columns that the rule names and the table has."""
    for column, profile in zip(table.columns, _profiles(table), strict=True):
        if column.name in rule.rules:
            yield column.name, column, profile


def _open(rule: ColumnRule, column: Column, profile: ColumnProfile) -> ColumnQuestion:
    """What the profile leaves open. A column of another type is wrong already."""
    if column.type == "null" or (rule.type is not None and not holds(rule.type, column.type)):
        return ColumnQuestion(column.type)
    allowed = None if rule.allowed is None or _is_listed(profile) else rule.allowed
    tells = _tells_range(column, profile)
    return ColumnQuestion(
        column.type,
        nulls=not rule.nullable and column.nullable and profile.nulls is None,
        allowed=allowed,
        low=None if tells else rule.low,
        high=None if tells else rule.high,
    )


def _is_listed(profile: ColumnProfile) -> bool:
    """Whether the profile has every value that there is."""
    return profile.distinct_exact and profile.distinct == len(profile.top) and all(len(value) < PROFILE_TEXT for value, _ in profile.top)


def _tells_range(column: Column, profile: ColumnProfile) -> bool:
    if profile.low is None or profile.high is None or any(len(str(end)) >= PROFILE_TEXT for end in (profile.low, profile.high)):
        return False
    try:
        measure(column.type, profile.low), measure(column.type, profile.high)
    except ValueError:
        return False
    return True


def _unique(key: Sequence[str], table: Table) -> bool | None:
    """Whether no two rows have the same key; None where only the rows can tell, True where the key is not there to be judged."""
    profiles = {column.name: profile for column, profile in zip(table.columns, _profiles(table), strict=True)}
    if any(name not in profiles for name in key):
        return True
    if len(key) > 1 or table.rows is None:
        return None
    profile = profiles[key[0]]
    if profile.nulls is not None and profile.distinct_exact and profile.distinct == table.rows - profile.nulls:
        return True
    return None


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class _Judge:
    """One table under one rule."""

    def __init__(self, component: str, rule: TableRule, table: Table, capture: FileCapture, answer: Answer | None) -> None:
        self._component = component
        self._rule = rule
        self._table = table
        self._capture = capture
        self._answer = answer
        self._found = {} if answer is None else {(kind, name): found for kind, name, found in answer.found}
        self._where = component if table.name is None else f"{component}/{table.name}"

    def breaches(self) -> list[Breach]:
        """All of them, columns in the order of the contract."""
        found = [*self._rows(), *self._presence()]
        columns = {name: (column, profile) for name, column, profile in _named(self._rule, self._table)}
        for name, rule in self._rule.rules.items():
            if name in columns:
                found += self._column(rule, *columns[name])
        found += [breach for key in self._rule.unique for breach in self._key(key)]
        if self._answer is not None and self._answer.reason is not None:
            found.append(self._breach("unreadable", None, f"the rows cannot be judged: {self._answer.reason}"))
        return found

    def _breach(self, rule: str, column: str | None, text: str) -> Breach:
        return Breach(rule, self._component, self._table.name, column, f"{self._where}: {text}")

    def _rows(self) -> Iterator[Breach]:
        rows, low, high = self._table.rows, self._rule.rows_low, self._rule.rows_high
        if rows is not None and low is not None and rows < low:
            yield self._breach("rows", None, f"it has {_count(rows, 'row')}, and the contract asks for {low:,} at least")
        if rows is not None and high is not None and rows > high:
            yield self._breach("rows", None, f"it has {_count(rows, 'row')}, and the contract allows {high:,} at most")

    def _presence(self) -> Iterator[Breach]:
        there = {column.name for column in self._table.columns}
        wanted = [name for name, rule in self._rule.rules.items() if rule.required]
        wanted += [name for key in self._rule.unique for name in key]
        for name in dict.fromkeys(wanted):
            if name not in there:
                yield self._breach("column", name, f"column {name!r} is missing")
        if not self._rule.extra_columns:
            for column in self._table.columns:
                if column.name not in self._rule.rules:
                    text = f"column {column.name!r} ({column.type}) is not in the contract, which allows no other columns"
                    yield self._breach("extra_columns", column.name, text)

    def _column(self, rule: ColumnRule, column: Column, profile: ColumnProfile) -> Iterator[Breach]:
        if column.type != "null" and rule.type is not None and not holds(rule.type, column.type):
            why = self._capture.notes.get("untyped_columns")
            told = f" ({why[column.name]})" if isinstance(why, dict) and column.name in why else ""
            yield self._breach("type", column.name, f"column {column.name!r} is {column.type}, and the contract asks for {rule.type}{told}")
            return
        if not rule.nullable:
            yield from self._nulls(column, profile)
        if column.type != "null":
            yield from self._allowed(rule, column, profile)
            yield from self._range(rule, column, profile)

    def _nulls(self, column: Column, profile: ColumnProfile) -> Iterator[Breach]:
        found = self._found.get(("nullable", column.name))
        count = found.rows if found else profile.nulls
        if count is None and column.type == "null" and self._table.rows:
            count = self._table.rows
        if count:
            at = f" (first in row {found.examples[0][2]})" if found and found.examples else ""
            text = f"column {column.name!r} has no value in {_count(count, 'row')}{at}, and the contract asks for one in every row"
            yield self._breach("nullable", column.name, text)

    def _allowed(self, rule: ColumnRule, column: Column, profile: ColumnProfile) -> Iterator[Breach]:
        if rule.allowed is None:
            return
        found = self._found.get(("allowed", column.name))
        if found is not None:
            shown, rows = found.shown(), found.rows
        elif _is_listed(profile):
            wrong = [(value, count) for value, count in profile.top if not is_allowed(column.type, rule.allowed, value)]
            shown, rows = ", ".join(f"{value!r} ({_count(count, 'row')})" for value, count in wrong), sum(count for _, count in wrong)
        else:
            return
        if rows:
            yield self._breach(
                "allowed", column.name, f"column {column.name!r} has values that are not allowed in {_count(rows, 'row')}: {shown}"
            )

    def _range(self, rule: ColumnRule, column: Column, profile: ColumnProfile) -> Iterator[Breach]:
        found = self._found.get(("range", column.name))
        if found is not None:
            span = " and ".join(f"{bound!r} at {word}" for bound, word in ((rule.low, "least"), (rule.high, "most")) if bound is not None)
            text = f"column {column.name!r} is out of range in {_count(found.rows, 'row')}: {found.shown()}; the contract asks for {span}"
            yield self._breach("range", column.name, text)
        elif _tells_range(column, profile):
            for bound, end, word, wrong in ((rule.low, profile.low, "least", _less), (rule.high, profile.high, "greatest", _greater)):
                if bound is not None and wrong(column.type, end, bound):
                    asks = f"{bound!r} at {'least' if word == 'least' else 'most'}"
                    yield self._breach(
                        "range", column.name, f"the {word} value of column {column.name!r} is {end!r}, and the contract asks for {asks}"
                    )

    def _key(self, key: Sequence[str]) -> Iterator[Breach]:
        found = self._found.get(("unique", key_name(key)))
        if found is not None:
            values = f"{_count(found.values, 'value')} {'stands' if found.values == 1 else 'stand'} in more than one row"
            yield self._breach("unique", key[0] if len(key) == 1 else None, f"({', '.join(key)}) is not unique: {values}: {found.shown()}")


def is_allowed(type_: str, allowed: Sequence[object], value: object) -> bool:
    """Whether the value is one of those, as values of the type: 1.50 is 1.5."""
    try:
        measured = measure(type_, value)
    except ValueError:
        return False
    for one in allowed:
        try:
            if measure(type_, one) == measured:
                return True
        except ValueError:
            continue
    return False


def _less(type_: str, value: object, bound: object) -> bool:
    try:
        return bool(measure(type_, value) < measure(type_, bound))  # type: ignore[operator]  # of one type, so of one kind
    except ValueError:
        return True


def _greater(type_: str, value: object, bound: object) -> bool:
    return _less(type_, bound, value)
