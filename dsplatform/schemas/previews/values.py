"""Values in JSON, exactly: what a JSON number cannot be trusted with is a text. docs/preview.md has the table."""

import json
import math
from base64 import b64encode
from collections.abc import Callable, Iterator
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t

from dsplatform.schemas.model import Json
from dsplatform.schemas.profiles.profiling import plain_values
from dsplatform.schemas.text.dialects import unique_names

SAFE = 2**53
"""Whole numbers up to this, and down to its negative, are exact for every reader of JSON."""
DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def json_values(values: pa.Array, *, parsed: bool = False) -> list[Json]:
    """One JSON value for each. `parsed`: the texts are JSON, and become what they say."""
    values = plain_values(values)
    if parsed:
        return [None if text is None else exact(json.loads(text)) for text in _texts(values)]
    if t.is_null(values.type) or t.is_boolean(values.type):
        return values.to_pylist()  # type: ignore[no-any-return]
    if t.is_string(values.type):
        return list(_texts(values))
    if t.is_integer(values.type) or t.is_floating(values.type):
        return [exact(value) for value in values.to_pylist()]
    make = next((make for test, make in _NESTED if test(values.type)), None)
    if make is not None:
        return make(values)
    return _each(values)


def exact(value: Json) -> Json:
    """The same, where numbers that a reader of JSON may round are texts."""
    if isinstance(value, dict):
        return {name: exact(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [exact(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, int) and abs(value) > SAFE:
        return str(value)
    return value


def moment(count: int, unit: str, zone: str | None = None) -> str:
    """ISO 8601 of a time so many units after 1970; years beyond 9999 and before 0 with a sign, as it asks for."""
    seconds, rest = divmod(count, 10 ** DIGITS[unit])
    days, clock = divmod(seconds, 86_400)
    return f"{day(days)}T{_clock(clock, rest, DIGITS[unit])}{'' if zone is None else 'Z'}"


def day(days: int) -> str:
    """ISO 8601 of a day so many days after 1970-01-01, of any year."""
    era, of_era = divmod(days + 719_468, 146_097)  # eras of 400 years that begin in March
    year_of_era = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * of_year + 2) // 153
    number = of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    year = year_of_era + era * 400 + (month <= 2)
    shown = f"{year:04d}" if 0 <= year <= 9999 else f"{year:+05d}"
    return f"{shown}-{month:02d}-{number:02d}"


def _clock(seconds: int, rest: int, digits: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{_fraction(rest, digits)}"


def _each(values: pa.Array) -> list[Json]:
    """Values that JSON has no kind for, as text."""
    type_ = values.type
    if t.is_decimal(type_):
        return [None if value is None else _digits(value) for value in values.to_pylist()]
    if t.is_binary(type_) or t.is_large_binary(type_):
        return [None if value is None else b64encode(value).decode() for value in values.to_pylist()]
    if t.is_date(type_):
        wide = t.is_date64(type_)
        counts = values.view(pa.int64() if wide else pa.int32()).to_pylist()
        return [None if count is None else day(count // 86_400_000 if wide else count) for count in counts]
    if t.is_timestamp(type_):
        return [None if count is None else moment(count, type_.unit, type_.tz) for count in values.view(pa.int64()).to_pylist()]
    if t.is_time(type_):
        counts = values.view(pa.int32() if type_.bit_width == 32 else pa.int64()).to_pylist()
        digits = DIGITS[type_.unit]
        return [None if count is None else _clock(count // 10**digits, count % 10**digits, digits) for count in counts]
    if t.is_interval(type_):
        return [None if value is None else _interval(*value) for value in values.to_pylist()]
    return [None if count is None else _length(count, DIGITS[type_.unit]) for count in values.view(pa.int64()).to_pylist()]  # durations


def _length(count: int, digits: int) -> str:
    seconds, rest = divmod(abs(count), 10**digits)
    return f"{'-' if count < 0 else ''}PT{seconds}{_fraction(rest, digits)}S"


def _fraction(rest: int, digits: int) -> str:
    return f".{rest:0{digits}d}".rstrip("0") if rest else ""


def _digits(value: Decimal) -> str:
    return f"{value:f}"


def _interval(months: int, days: int, nanoseconds: int) -> str:
    """ISO 8601, each part with its sign."""
    seconds, rest = divmod(abs(nanoseconds), 10**9)
    return f"P{months}M{days}DT{'-' if nanoseconds < 0 else ''}{seconds}{_fraction(rest, 9)}S"


def _texts(values: pa.Array) -> list[str | None]:
    try:
        return values.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:  # a writer's broken text: shown as far as it is one
        return [None if raw is None else raw.decode("utf-8", "replace") for raw in pc.cast(values, pa.binary()).to_pylist()]


def _structs(values: pa.Array) -> list[Json]:
    names, _ = unique_names([field.name for field in values.type])
    parts = [json_values(values.field(index)) for index in range(values.type.num_fields)]
    there = values.is_valid().to_pylist()
    return [{name: part[at] for name, part in zip(names, parts, strict=True)} if there[at] else None for at in range(len(values))]


def _lists(values: pa.Array) -> list[Json]:
    return list(_cut(values, json_values(values.flatten())))


def _maps(values: pa.Array) -> list[Json]:
    """Lists of [key, value], which a key may begin twice."""
    lists = values.cast(pa.list_(values.type.field(0).type))
    entries = lists.flatten()
    pairs: list[Json] = [list(pair) for pair in zip(json_values(entries.field(0)), json_values(entries.field(1)), strict=True)]
    return list(_cut(lists, pairs))


def _cut(values: pa.Array, items: list[Json]) -> Iterator[Json]:
    at = 0
    for length in pc.list_value_length(values).to_pylist():
        if length is None:
            yield None
        else:
            yield items[at : at + length]
            at += length


def _unions(values: pa.Array) -> list[Json]:
    return [json_values(pa.array([one.value.as_py()], one.value.type))[0] if one.is_valid else None for one in values]


def _of_list(type_: pa.DataType) -> bool:
    return bool(t.is_nested(type_) and hasattr(type_, "value_type"))


_NESTED: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], list[Json]]], ...] = (
    (t.is_struct, _structs),
    (t.is_map, _maps),
    (t.is_union, _unions),
    (_of_list, _lists),
)
