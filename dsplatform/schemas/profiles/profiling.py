"""The profile of a column, batch by batch: counts, extremes, frequent values. Bounded memory, whatever the column holds."""

import json
import math

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t

from dsplatform.schemas.model import PROFILE_EXAMPLES, PROFILE_TEXT, ColumnProfile, Json
from dsplatform.schemas.profiles.frequencies import LIMIT, Frequencies

Lengths = tuple[int, int, int, int]
"""Least, greatest, sum and number."""


class ColumnProfiler:
    """Takes the batches of one column in their order; `profile` when all were added. Of nested values (lists, structs, maps, unions) it
    counts the nulls and shows examples."""

    def __init__(self, limit: int = LIMIT) -> None:
        """`limit` is how many different values are counted exactly. A file of very many columns needs a smaller one."""
        self._nulls = 0
        self._frequencies: Frequencies | None = Frequencies(limit)
        self._examples: list[str] = []
        self._ends: pa.Array | None = None  # the least and the greatest
        self._sum, self._numbers = 0.0, 0
        self._lengths: Lengths | None = None

    def add(self, values: pa.Array) -> None:
        """The next rows. All batches of one column have one Arrow type; a null is a row without a value."""
        if isinstance(values, pa.ChunkedArray):
            for chunk in values.chunks:
                self.add(chunk)
            return
        values = plain_values(values)
        if _is_nested(values.type):
            self._add_nested(values)
            return
        self._nulls += values.null_count
        if values.null_count == len(values):
            return
        assert self._frequencies is not None
        distinct, counts = self._frequencies.take(values, texts_of)
        if _is_number(values.type):
            self._add_numbers(values.drop_null())
        elif _is_text(values.type) or _is_binary(values.type):
            lengths = pc.binary_length(distinct) if _is_binary(values.type) else text_lengths(distinct)
            self._lengths = lengths_with(self._lengths, lengths, counts)
        self._add_bounds(distinct)

    def profile(self) -> ColumnProfile:
        """What was found."""
        found = self._frequencies
        if found is None:
            return ColumnProfile(nulls=self._nulls, examples=tuple(self._examples))
        low, high = (None, None) if self._ends is None else map(_shown, self._ends)
        return ColumnProfile(
            nulls=self._nulls,
            distinct=found.distinct,
            distinct_exact=found.exact,
            low=low,
            high=high,
            mean=self._sum / self._numbers if self._numbers else None,
            lengths=mean_length(self._lengths),
            top=found.top,
            examples=found.examples,
        )

    def _add_nested(self, values: pa.Array) -> None:
        self._frequencies = None
        self._nulls += values.null_count
        for value in values if len(self._examples) < PROFILE_EXAMPLES else ():
            if value.is_valid and (text := _nested_text(value)[:PROFILE_TEXT]) not in self._examples:
                self._examples.append(text)
                if len(self._examples) == PROFILE_EXAMPLES:
                    break

    def _add_numbers(self, values: pa.Array) -> None:
        if t.is_floating(values.type):
            values = values.filter(pc.is_finite(values))
        if not len(values):
            return
        self._numbers += len(values)
        if t.is_integer(values.type):
            bounds = pc.min_max(values)
            largest = max(-bounds["min"].as_py(), bounds["max"].as_py())
            if largest * len(values) < 2**63:  # else the sum of integers would wrap around
                self._sum += pc.sum(values).as_py()
                return
        self._sum += pc.sum(pc.cast(values, pa.float64(), safe=False)).as_py()

    def _add_bounds(self, distinct: pa.Array) -> None:
        type_ = distinct.type
        if t.is_floating(type_):
            distinct = distinct.filter(pc.invert(pc.is_nan(distinct)))
        if not len(distinct):
            return
        ends = pa.concat_arrays([self._ends, distinct]) if self._ends is not None else distinct
        bounds = pc.min_max(pc.cast(ends, pa.int64()) if t.is_duration(type_) else ends)
        self._ends = pa.array([bounds["min"], bounds["max"]], bounds["min"].type).cast(type_)


def text_lengths(texts: pa.Array) -> pa.Array:
    """Characters of each."""
    data = texts.buffers()[2]
    ascii_ = data is None or data.to_pybytes().isascii()
    return pc.binary_length(texts) if ascii_ else pc.utf8_length(texts)


def lengths_with(before: Lengths | None, lengths: pa.Array, counts: pa.Array) -> Lengths:
    """The lengths with those of more values, each standing `counts` times."""
    bounds = pc.min_max(lengths)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    total, number = pc.sum(pc.multiply(lengths, counts)).as_py(), pc.sum(counts).as_py()
    if before is None:
        return low, high, total, number
    return min(low, before[0]), max(high, before[1]), total + before[2], number + before[3]


def mean_length(lengths: Lengths | None) -> tuple[int, int, float] | None:
    """As a profile has them."""
    return None if lengths is None else (lengths[0], lengths[1], lengths[2] / lengths[3])


def texts_of(values: pa.Array) -> pa.Array:
    """Values of a simple type as text: ISO 8601, digits, `true`; a binary in hexadecimal."""
    if values.type == pa.string():
        return values
    if _is_binary(values.type):
        return pa.array([value.hex() for value in values.to_pylist()], pa.string())
    if t.is_duration(values.type):
        seconds = {"s": 0, "ms": 3, "us": 6, "ns": 9}[values.type.unit]
        return pa.array([_seconds(value, seconds) for value in pc.cast(values, pa.int64()).to_pylist()], pa.string())
    return pc.cast(values, pa.string())


def _seconds(value: int, digits: int) -> str:
    whole, rest = divmod(abs(value), 10**digits)
    fraction = f".{rest:0{digits}d}".rstrip("0").rstrip(".") if digits else ""
    return f"{'-' if value < 0 else ''}PT{whole}{fraction}S"


def _shown(value: pa.Scalar) -> Json:
    if _is_number(value.type) and not t.is_decimal(value.type):
        number: int | float | None = value.as_py()
        return str(number) if isinstance(number, float) and not math.isfinite(number) else number
    if not value.is_valid:
        return None
    text: str = texts_of(pa.array([value], value.type))[0].as_py()
    return text[:PROFILE_TEXT]


def _nested_text(value: pa.Scalar) -> str:
    """As JSON, where Python has values for all that is in it."""
    try:
        return json.dumps(value.as_py(), default=str, ensure_ascii=False)
    except (ValueError, OverflowError, TypeError):  # nanoseconds, years before 1
        return " ".join(pa.array([value], value.type).to_string().split())[2:-2]


def plain_values(values: pa.Array) -> pa.Array:
    """Dictionaries, run ends and extensions looked through; types that Arrow computes little with as a wider one."""
    type_ = values.type
    if isinstance(type_, pa.BaseExtensionType):
        return plain_values(values.storage)
    if t.is_dictionary(type_):
        return plain_values(values.dictionary_decode())
    if t.is_run_end_encoded(type_):
        return plain_values(pc.run_end_decode(values))
    if t.is_float16(type_):
        return pc.cast(values, pa.float32())
    if t.is_large_string(type_) or t.is_string_view(type_):
        return pc.cast(values, pa.string())
    if t.is_binary_view(type_) or t.is_fixed_size_binary(type_):
        return pc.cast(values, pa.binary())
    return values


def _is_nested(type_: pa.DataType) -> bool:
    return bool(t.is_nested(type_) or t.is_interval(type_))


def _is_number(type_: pa.DataType) -> bool:
    return bool(t.is_integer(type_) or t.is_floating(type_) or t.is_decimal(type_))


def _is_text(type_: pa.DataType) -> bool:
    return bool(t.is_string(type_))


def _is_binary(type_: pa.DataType) -> bool:
    return bool(t.is_binary(type_) or t.is_large_binary(type_))
