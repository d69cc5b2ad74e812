"""The type of a text column, from all its values, batch by batch. The outcome does not depend on the order of the rows.

A column becomes typed only when each value converts and back without loss: an int64 to exactly the same text; a float64 when it has
at most 15 significant digits or is the shortest text of its number; a decimal when neither holds and 38 digits suffice.
"""

import re
from collections.abc import Sequence
from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc

_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_TIME = r"^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?$"
_BOOLEANS = frozenset({"true", "false", "True", "False", "TRUE", "FALSE"})
_INT64 = (-(2**63), 2**63 - 1)

_number, _time = re.compile(_NUMBER), re.compile(_TIME)
_zone, _date = re.compile(r"(Z|[+-]\d\d:?(\d\d)?)$"), re.compile(r"\d{4}-\d\d-\d\d")
# The plain forms of a whole column, its values joined by line ends.
_integers = re.compile(r"(?:(?:0|-?[1-9][0-9]{0,17})(?:\n|$))*")
_fractions = re.compile(r"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:\n|$))*")
_decimals = re.compile(r"(?<=\.)[0-9]+")
_dates = re.compile(r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}(?:\n|$))*")
_timestamps = re.compile(r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\n|$))*")


def kind_of(value: str) -> str:
    """What one value looks like: boolean, number, date, time, timestamp, timestamp with zone or string."""
    if value in _BOOLEANS:
        return "boolean"
    if _number.match(value) and value != "-0":
        return "number"
    if _date.match(value):
        if len(value) == 10:
            return "date"
        return "timestamp with zone" if _zone.search(value[10:]) else "timestamp"
    return "time" if _time.match(value) else "string"


class TextColumn:
    """Takes the batches of one column; knows its type when all have been added."""

    def __init__(self) -> None:
        self.nulls = 0
        self._kind: str | None = None
        self._whole = True  # every number so far is an integer
        self._low, self._high = 0, 0  # of the integers
        self._digits, self._scale = 0, 0  # before and after the point
        self._as_float, self._as_decimal = True, True

    def add(self, values: pa.StringArray) -> None:
        """The next rows; null where the field was empty."""
        self.nulls += values.null_count
        if self._kind == "string" or values.null_count == len(values):
            return
        if self._kind is None:
            self._kind = kind_of((values.drop_null() if values.null_count else values)[0].as_py())
        if not self._fits(values):
            self._kind = "string"

    def add_texts(self, texts: Sequence[str]) -> None:
        """`add` for few rows, an empty text being null. Most columns are plain, and Python knows so in a tenth of Arrow's time."""
        present = [text for text in texts if text]
        self.nulls += len(texts) - len(present)
        if self._kind == "string" or not present:
            return
        kind = self._kind or kind_of(present[0])
        if kind == "string" or self._plainly(kind, present):
            self._kind = kind
        elif kind == "number" and not all(map(_number.match, present)):
            self._kind = "string"
        else:
            self.add(pa.array(present, pa.string()))

    def _plainly(self, kind: str, texts: list[str]) -> bool:
        """Takes the values if all have the plain form of their kind; otherwise changes nothing."""
        joined = "\n".join(texts)
        if joined.count("\n") != len(texts) - 1:
            return False
        match kind:
            case "boolean":
                return _BOOLEANS.issuperset(texts)
            case "number" if self._whole and _integers.fullmatch(joined):
                numbers = [int(text) for text in texts]
                self._low, self._high = min(self._low, *numbers), max(self._high, *numbers)
                return True
            case "number" if "." in joined and max(map(len, texts)) <= 15 and "-0" not in texts and _fractions.fullmatch(joined):
                self._whole = False
                largest = max(map(abs, map(float, texts)))
                self._digits = max(self._digits, len(str(int(largest))))
                self._scale = max(self._scale, *map(len, _decimals.findall(joined)))
                return True
            case "date" | "timestamp" if (_dates if kind == "date" else _timestamps).fullmatch(joined):
                convert = date.fromisoformat if kind == "date" else datetime.fromisoformat
                try:
                    return all(map(convert, texts))
                except ValueError:
                    return False
        return False

    def _fits(self, values: pa.StringArray) -> bool:
        match self._kind:
            case "boolean":
                return _BOOLEANS.issuperset(pc.unique(values).drop_null().to_pylist())
            case "number":
                return self._fits_number(values)
            case "date" | "timestamp":
                if self._kind == "date" and _converts(values, pa.date32()):
                    return True
                self._kind = "timestamp"  # a date is one, at midnight
                return _converts(values, pa.timestamp("us")) or _converts(values, pa.timestamp("ns"))
            case "timestamp with zone":
                return _converts(values, pa.timestamp("us", "UTC")) or _converts(values, pa.timestamp("ns", "UTC"))
            case "time":
                return _all(pc.match_substring_regex(values, _TIME))
        return False

    def _fits_number(self, values: pa.StringArray) -> bool:
        if self._whole:
            try:
                numbers = pc.cast(values, pa.int64())
            except pa.ArrowInvalid:
                pass
            else:
                if _all(pc.equal(pc.cast(numbers, pa.string()), values)):
                    bounds = pc.min_max(numbers)
                    self._low, self._high = min(self._low, bounds["min"].as_py()), max(self._high, bounds["max"].as_py())
                    return True
        if not _all(pc.match_substring_regex(values, _NUMBER)) or pc.any(pc.equal(values, "-0")).as_py():
            return False
        length = pc.binary_length(values)
        sign = pc.cast(pc.starts_with(values, "-"), pa.int32())
        point = pc.find_substring(values, ".")
        has_point = pc.greater_equal(point, 0)
        if pc.any(pc.match_substring(values, "e", ignore_case=True)).as_py():
            self._whole = self._as_decimal = False
            self._as_float = self._as_float and _survives_as_float(values)
            return self._as_float
        digits = pc.subtract(pc.if_else(has_point, point, length), sign)
        scale = pc.if_else(has_point, pc.subtract(pc.subtract(length, point), 1), 0)
        self._digits, self._scale = max(self._digits, pc.max(digits).as_py()), max(self._scale, pc.max(scale).as_py())
        if self._scale:
            self._whole = False
        elif self._whole:
            self._add_big_integers(values, negative=pc.max(sign).as_py() > 0)
        if self._as_float and pc.max(length).as_py() > 15:  # shorter ones have fewer than 16 digits
            long = pc.filter(values, pc.greater(pc.add(digits, scale), 15))
            self._as_float = _survives_as_float(long)
        return True

    def _add_big_integers(self, values: pa.StringArray, *, negative: bool) -> None:
        self._low = min(self._low, -1) if negative else self._low
        longest = pc.filter(values, pc.greater_equal(pc.binary_length(values), 19)).drop_null().to_pylist()
        if any(len(value) > 40 for value in longest):
            self._low, self._high = -(10**40), 10**40  # beyond every integer and decimal type
        elif longest:
            numbers = [int(value) for value in longest]
            self._low, self._high = min(self._low, *numbers), max(self._high, *numbers)

    @property
    def type(self) -> str:
        """The logical type: null when there was no value."""
        if self._kind != "number":
            return self._kind or "null"
        whole_digits = max(self._digits, len(str(max(abs(self._low), self._high))))
        if self._whole:
            if _INT64[0] <= self._low and self._high <= _INT64[1]:
                return "int64"
            if self._low >= 0 and self._high < 2**64:
                return "uint64"
            return f"decimal({whole_digits},0)" if whole_digits <= 38 else "string"
        if self._as_float and max(abs(self._low), self._high) < 10**15:
            return "float64"
        precision = whole_digits + self._scale
        return f"decimal({precision},{self._scale})" if self._as_decimal and precision <= 38 else "string"


def _all(mask: pa.BooleanArray) -> bool:
    return bool(pc.all(mask, min_count=0).as_py())


def _converts(values: pa.StringArray, to: pa.DataType) -> bool:
    try:
        pc.cast(values, to)
    except pa.ArrowInvalid:
        return False
    return True


def _survives_as_float(values: pa.StringArray) -> bool:
    """Whether each text has at most 15 significant digits, or is the shortest text of its number."""
    digits = pc.binary_length(pc.replace_substring_regex(values, r"[eE].*$|[-.]", ""))
    numbers = pc.cast(values, pa.float64())
    exact = pc.or_(pc.less_equal(digits, 15), pc.equal(pc.cast(numbers, pa.string()), values))
    # Arrow writes numbers from 1e10 on with an exponent: what it wrote differently is asked again in Python's form.
    rest = pc.filter(values, pc.invert(exact)).to_pylist()
    return _all(pc.is_finite(numbers)) and all(repr(float(text)) == text for text in rest)
