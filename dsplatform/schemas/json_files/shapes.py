"""The shapes of JSON values: which kinds stand under one name, and the logical type that holds them all. Pure.

Values are added many at a time, in any order and any portions: the type is the same.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from dsplatform.schemas.logical import LogicalType

MAX_DEPTH = 100
MAX_NAMES = 50_000
DECIMAL_DIGITS = 38
"""Whole numbers of more digits stay text, as in text files."""

FLOAT_DIGITS = 308


class TooDeep(ValueError):
    """Values inside values, beyond what a reader follows."""

    def __init__(self) -> None:
        super().__init__(f"values are nested deeper than {MAX_DEPTH} levels")


class TooManyNames(ValueError):
    """Names that are data themselves, such as an id per record."""

    def __init__(self) -> None:
        super().__init__(f"more than {MAX_NAMES:,} different names stand in its objects: write what they say as values")


@dataclass
class Totals:
    """Of all shapes of a file."""

    names: int = 0
    infinite: int = 0
    """Floating numbers, said to be so or beyond what a float64 holds."""


class Shape:
    """What was seen under one name."""

    __slots__ = ("_depth", "fields", "floats", "high", "items", "low", "others", "totals")

    def __init__(self, totals: Totals | None = None, depth: int = 0) -> None:
        if depth > MAX_DEPTH:
            raise TooDeep
        self.totals = Totals() if totals is None else totals
        self._depth = depth
        self.others: set[str] = set()
        """Of boolean and string, what was seen."""
        self.floats = False
        self.low: int | None = None
        """Least and greatest whole number."""
        self.high: int | None = None
        self.items: Shape | None = None
        self.fields: dict[str, Shape] | None = None

    def add(self, values: Sequence[Any]) -> None:
        """More values, as Python's `json` gives them."""
        kinds = set(map(type, values))
        for kind in kinds - {type(None)}:
            self._add(kind, values if len(kinds) == 1 else [value for value in values if type(value) is kind])

    def _add(self, kind: type, values: Sequence[Any]) -> None:
        if kind is str:
            self.others.add("string")
        elif kind is int:
            low, high = min(values), max(values)
            self.low = low if self.low is None else min(low, self.low)
            self.high = high if self.high is None else max(high, self.high)
        elif kind is float:
            self.floats = True
            self.totals.infinite += values.count(math.inf) + values.count(-math.inf)
        elif kind is bool:
            self.others.add("boolean")
        elif kind is list:
            self.items = self.items or Shape(self.totals, self._depth + 1)
            self.items.add([item for value in values for item in value])
        else:
            for name, inner in by_name(values):
                self.field(name).add(inner)
            if self.fields is None:
                self.fields = {}

    def field(self, name: str) -> "Shape":
        """The shape under a name, new when there is none."""
        self.fields = {} if self.fields is None else self.fields
        found = self.fields.get(name)
        if found is None:
            self.totals.names += 1
            if self.totals.names > MAX_NAMES:
                raise TooManyNames
            found = self.fields[name] = Shape(self.totals, self._depth + 1)
        return found

    def type(self) -> LogicalType:
        """The least type that every value has; a union of them where there is none, in an order that depends on nothing."""
        names = self.others | self._number()
        found = [LogicalType(name) for name in ("boolean", "int64", "uint64", "float64") if name in names]
        if "decimal" in names:
            found.append(LogicalType("decimal", (self._digits(), 0)))
        if "string" in names:
            found.append(LogicalType("string"))
        if self.items is not None:
            found.append(LogicalType.of("list", self.items.type()))
        if self.fields is not None:
            found.append(LogicalType("struct", fields=tuple((name, inner.type()) for name, inner in self.fields.items())))
        if len(found) > 1:
            return LogicalType.of("union", *found)
        return found[0] if found else LogicalType("null")

    def _number(self) -> set[str]:
        if self.floats:
            return {"float64"} if self._digits() <= FLOAT_DIGITS else {"string"}
        if self.low is None or self.high is None:
            return set()
        if self.low >= -(2**63) and self.high < 2**63:
            return {"int64"}
        if self.low >= 0 and self.high < 2**64:
            return {"uint64"}
        return {"decimal"} if self._digits() <= DECIMAL_DIGITS else {"string"}

    def _digits(self) -> int:
        return max(len(str(abs(number))) for number in (self.low or 0, self.high or 0))


def by_name(records: Iterable[dict[str, Any]]) -> Iterable[tuple[str, Sequence[Any]]]:
    """The values under each name, of those records that have it; a name comes once for each set of names it stands in."""
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for record in records:
        alike.setdefault(tuple(record), []).append(record)
    for names, group in alike.items():
        for name in names:
            yield name, list(map(itemgetter(name), group))
