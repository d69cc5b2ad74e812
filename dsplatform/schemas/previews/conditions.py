"""Conditions on the rows of a table: a small closed grammar, and values that are typed by the column. No text is ever run."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import TypeAlias

from dsplatform.core.errors import Invalid
from dsplatform.schemas.logical import NESTED
from dsplatform.schemas.model import Column
from dsplatform.schemas.previews.model import Condition

MOST, LONGEST = 20, 4_000
"""Conditions of one request, and characters of each."""

ORDERED = ("=", "!=", "<", "<=", ">", ">=")
WITHIN = ("contains", "startswith")
OF_NULL = ("is null", "is not null")

Literal: TypeAlias = bool | str | float | Fraction
"""What a value is compared as: a truth, a text, a float64, or an exact number: of days, of seconds, or itself."""

_OPERATOR = r"is\s+not\s+null\b|is\s+null\b|contains\b|startswith\b|!=|<=|>=|=|<|>"
_CONDITION = re.compile(rf'\s*(?:"((?:[^"]|"")*)"|([^\s"=!<>]+))\s*({_OPERATOR})(.*)', re.IGNORECASE | re.DOTALL)
_QUOTED = re.compile(r"""(?:"((?:[^"]|"")*)"|'((?:[^']|'')*)')""", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9])(\.[0-9]{1,9})?)?")
_SECONDS = re.compile(r"(-?)PT([0-9]{1,18}(?:\.[0-9]{1,9})?)S")
_ZONE = re.compile(r"(.*?)(Z|([+-])([01][0-9]|2[0-3])(?::?([0-5][0-9]))?)", re.DOTALL)


class WrongCondition(Invalid):
    """A condition that cannot be asked of the table."""

    code = "wrong_condition"


class ColumnMissing(Invalid):
    """The table has no column of that name."""

    code = "no_such_column"


def parse(texts: Sequence[str], columns: Mapping[str, Column]) -> tuple[Condition, ...]:
    """The conditions, each of which fits its column. Raises `WrongCondition` and `ColumnMissing`, which say what would be right."""
    if len(texts) > MOST:
        raise WrongCondition(f"{len(texts)} conditions are too many: give {MOST} at most")
    return tuple(_parse(text, columns) for text in texts)


def names(texts: Sequence[str]) -> tuple[str, ...]:
    """The names in comma-separated lists, in which one that holds a comma or a quote stands in double quotes."""
    try:
        return tuple(name for text in texts for row in csv.reader([text], strict=True) for name in row)
    except csv.Error as err:
        raise Invalid(f"the list of columns is no comma-separated one: {err}; quote a name that holds a comma") from err


def column_of(name: str, columns: Mapping[str, Column]) -> Column:
    """The column of that name. Raises `ColumnMissing`."""
    found = columns.get(name)
    if found is None:
        some = ", ".join(list(columns)[:10]) + (f" and {len(columns) - 10} more" if len(columns) > 10 else "")
        raise ColumnMissing(f"there is no column {_short(name)!r} in this table: its columns are {some}")
    return found


def literal(column: Column, value: str) -> Literal:
    """What the value is compared as. Raises `ValueError` that says what would be right."""
    match column.type:
        case "boolean":
            if value.lower() not in {"true", "false"}:
                raise ValueError("is neither true nor false")
            return value.lower() == "true"
        case "string":
            return value
        case "float64":
            return _float(value)
        case "date":
            return Fraction(_day(value))
        case "time":
            return _time(value)
        case "timestamp":
            return _moment(value)
        case "timestamp with zone":
            return _instant(value)
        case "duration":
            return _duration(value)
    return _number(value)


@dataclass(frozen=True)
class Bound:
    """A comparison with a whole number."""

    operator: str
    number: int


def bound(operator: str, value: Fraction, low: int, high: int) -> Bound | bool:
    """The comparison of whole numbers from `low` to `high` that means the same; True or False where all of them or none fulfil it."""
    whole, exact = value.numerator // value.denominator, value.denominator == 1
    if not exact:
        if operator in {"=", "!="}:
            return operator == "!="
        operator = {"<": "<=", ">=": ">"}.get(operator, operator)
    if whole > high:
        return operator in {"<", "<=", "!="}
    if whole < low:
        return operator in {">", ">=", "!="}
    return Bound(operator, whole)


def _parse(text: str, columns: Mapping[str, Column]) -> Condition:
    if len(text) > LONGEST:
        raise WrongCondition(f"a condition has more than {LONGEST:,} characters: {_short(text)!r}")
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise WrongCondition(
            f"{_short(text)!r} is no condition: write `column operator value` with one of {', '.join((*ORDERED, *WITHIN, *OF_NULL))}; "
            "names that hold blanks or signs stand in double quotes"
        )
    quoted, bare, operator, rest = found.groups()
    column = column_of(bare if quoted is None else quoted.replace('""', '"'), columns)
    operator = " ".join(operator.lower().split())
    rest = rest.strip()
    allowed = _operators(column.type)
    if operator not in allowed:
        raise WrongCondition(f"column {column.name!r} is of the type {_short(column.type)}: it can be asked {', '.join(allowed)}")
    if operator in OF_NULL:
        if rest:
            raise WrongCondition(f"nothing may follow {operator!r}: {_short(rest)!r} does")
        return Condition(column.name, operator)
    value = _unquoted(rest)
    try:
        literal(column, value)
    except ValueError as err:
        raise WrongCondition(f"column {column.name!r} is of the type {column.type}, and {_short(value)!r} {err}") from None
    return Condition(column.name, operator, value)


def _operators(type_: str) -> tuple[str, ...]:
    if type_ == "string":
        return *ORDERED, *WITHIN, *OF_NULL
    if type_ == "boolean":
        return "=", "!=", *OF_NULL
    if type_ in {"null", "binary"} or type_.partition("<")[0] in NESTED:
        return OF_NULL
    return *ORDERED, *OF_NULL


def _unquoted(rest: str) -> str:
    if rest[:1] in {'"', "'"}:
        found = _QUOTED.fullmatch(rest)
        if found is None:
            raise WrongCondition(f"the quote before {_short(rest[1:])!r} is not closed, or something follows: a quote in a text is doubled")
        double, single = found.groups()
        return str(double.replace('""', '"') if double is not None else single.replace("''", "'"))
    if not rest:
        raise WrongCondition('a value is missing behind the operator: the empty text is written ""')
    return rest


def _number(value: str) -> Fraction:
    if len(value) > 100 or not _NUMBER.fullmatch(value):
        raise ValueError("is no number: write one such as 17, -2.5 or 1e6")
    return Fraction(value)


def _float(value: str) -> float:
    if value.lower() in {"inf", "-inf"}:
        return float(value)
    _number(value)
    number = float(value)
    if number in {float("inf"), float("-inf")}:
        raise ValueError("is more than a float64 holds: write inf for what is infinite")
    return number


def _day(value: str) -> int:
    try:
        if not _DAY.fullmatch(value):
            raise ValueError
        return date.fromisoformat(value).toordinal() - date(1970, 1, 1).toordinal()
    except ValueError:
        raise ValueError("is no day: write one such as 2024-01-31, however the file writes them") from None


def _time(value: str) -> Fraction:
    found = _TIME.fullmatch(value)
    if found is None:
        raise ValueError("is no time of day: write one such as 17:30 or 17:30:15.25")
    hours, minutes, seconds, rest = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds or 0) + Fraction(f"0{rest}" if rest else 0)


def _moment(value: str) -> Fraction:
    try:
        seconds = Fraction(_day(value[:10]) * 86_400)
        if len(value) == 10:
            return seconds
        if value[10] not in " T":
            raise ValueError
        return seconds + _time(value[11:])
    except ValueError:
        raise ValueError("is no point in time without a zone: write one such as 2024-01-31 or 2024-01-31T17:30:15") from None


def _instant(value: str) -> Fraction:
    found = _ZONE.fullmatch(value)
    try:
        if found is None or len(found[1]) <= 10:
            raise ValueError
        offset = int(found[4]) * 3600 + int(found[5] or 0) * 60 if found[3] else 0
        return _moment(found[1]) - (offset if found[3] == "+" else -offset)
    except ValueError:
        raise ValueError(
            "is no point in time with its zone: write one such as 2024-01-31T17:30:15Z or 2024-01-31T17:30+02:00 (in an address, + is %2B)"
        ) from None


def _duration(value: str) -> Fraction:
    if found := _SECONDS.fullmatch(value):
        return Fraction(found[1] + found[2])
    try:
        return _number(value)
    except ValueError:
        raise ValueError("is no length of time: write its seconds, as 90.5 or PT90.5S") from None


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:99]}…"
