"""Texts that are numbers: the narrowest type that holds all of a column without loss.

int64 or uint64 where each gives exactly its text back; float64 where each has at most 15 significant digits or is the shortest text of
its number; a decimal when neither holds and 38 digits suffice.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from operator import mul

import pyarrow as pa
import pyarrow.compute as pc

from dsplatform.schemas.model import Json

PLAIN = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$"
NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
INT64 = (-(2**63), 2**63 - 1)

# The plain forms of a whole column, its values joined by line ends.
_integers = re.compile(r"(?:(?:0|-?[1-9][0-9]{0,17})(?:\n|$))*")
_fractions = re.compile(r"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:\n|$))*")
_decimals = re.compile(r"(?<=\.)[0-9]+")


class Numbers:
    """Takes the different texts of a column, batch by batch."""

    against: str | None = None
    reason = "the values together are more than one number type holds without loss"

    def __init__(self) -> None:
        self._whole = True  # every number so far is an integer
        self._digits, self._scale = 0, 0  # before the point, without a lone zero, and after it
        self._as_float, self._as_decimal = True, True
        self._low, self._high = Decimal(0), Decimal(0)
        self._sum: float = 0
        self._count = 0

    def take(self, texts: pa.Array, counts: pa.Array) -> bool:
        """Whether all of them are numbers. `counts` says how often each stands."""
        return (self._whole and self._take_integers(texts, counts)) or self._take_others(texts, counts)

    def take_few(self, counts: Mapping[str, int]) -> bool:
        """The same for few: most columns are plain, and Python knows so in a tenth of Arrow's time."""
        joined = "\n".join(counts)
        if joined.count("\n") == len(counts) - 1:
            if self._whole and _integers.fullmatch(joined):
                numbers = list(map(int, counts))
                self._add_integers(min(numbers), max(numbers), sum(map(mul, numbers, counts.values())), sum(counts.values()))
                return True
            if "." in joined and max(map(len, counts)) <= 15 and "-0" not in counts and _fractions.fullmatch(joined):
                self._whole = False
                self._scale = max(self._scale, *map(len, _decimals.findall(joined)))
                texts, floats = list(counts), list(map(float, counts))
                # At most 15 digits: floats are in the order of the texts.
                low, high = (Decimal(texts[floats.index(end)]) for end in (min(floats), max(floats)))
                self._add(low, high, sum(map(mul, floats, counts.values())), sum(counts.values()))
                return True
        return self.take(pa.array(counts.keys(), pa.string()), pa.array(counts.values(), pa.int64()))

    def _take_integers(self, texts: pa.Array, counts: pa.Array) -> bool:
        try:
            numbers = pc.cast(texts, pa.int64())
        except pa.ArrowInvalid:
            return False
        if not pc.all(pc.equal(pc.cast(numbers, pa.string()), texts)).as_py():
            return False
        bounds, count = pc.min_max(numbers), pc.sum(counts).as_py()
        low, high = bounds["min"].as_py(), bounds["max"].as_py()
        if max(-low, high) * count < 2**63:
            total = pc.sum(pc.multiply(numbers, counts)).as_py()
        else:
            total = pc.sum(pc.multiply(pc.cast(numbers, pa.float64(), safe=False), counts)).as_py()
        self._add_integers(low, high, total, count)
        return True

    def _take_others(self, texts: pa.Array, counts: pa.Array) -> bool:
        plain = pc.all(pc.match_substring_regex(texts, PLAIN)).as_py()
        if not plain and not pc.all(pc.match_substring_regex(texts, NUMBER)).as_py():
            return False
        if pc.any(pc.equal(texts, "-0")).as_py():
            return False
        floats = pc.cast(texts, pa.float64())
        bounds = pc.min_max(floats)
        low, high = (
            pick(map(Decimal, texts.filter(pc.equal(floats, bounds[end])).to_pylist())) for pick, end in ((min, "min"), (max, "max"))
        )
        self._add(low, high, pc.sum(pc.multiply(floats, counts)).as_py(), pc.sum(counts).as_py())
        if not plain:
            self._whole = self._as_decimal = False
            self._as_float = self._as_float and _survives(texts, floats)
            return self._as_float
        length, point = pc.binary_length(texts), pc.find_substring(texts, ".")
        after = pc.subtract(pc.subtract(length, point), 1)
        scale = pc.max(after.filter(pc.greater_equal(point, 0))).as_py() or 0
        self._scale = max(self._scale, scale)
        self._whole = self._whole and not scale
        if self._as_float and pc.max(length).as_py() > 15:  # shorter ones have fewer than 16 digits
            long = pc.greater(length, 15)
            self._as_float = _survives(texts.filter(long), floats.filter(long))
        return True

    def _add_integers(self, low: int, high: int, total: float, count: int) -> None:
        self._as_float = self._as_float and max(-low, high) < 10**15
        self._add(Decimal(low), Decimal(high), total, count)

    def _add(self, low: Decimal, high: Decimal, total: float, count: int) -> None:
        if self._count:
            low, high = min(low, self._low), max(high, self._high)
        self._low, self._high = low, high
        self._sum, self._count = self._sum + total, self._count + count
        if self._as_decimal:
            largest = max(-low, high)
            before = len(str(int(largest))) if largest < 10**40 else 41
            self._digits = max(self._digits, before if largest >= 1 else 0)

    @property
    def type(self) -> str:
        """The logical type; string where none holds all."""
        if self._whole:
            if INT64[0] <= self._low and self._high <= INT64[1]:
                return "int64"
            if self._low >= 0 and self._high < 2**64:
                return "uint64"
        if self._as_float and not self._whole:
            return "float64"
        precision = self._digits + self._scale
        return f"decimal({precision},{self._scale})" if self._as_decimal and precision <= 38 else "string"

    @property
    def bounds(self) -> tuple[Json, Json]:
        """The least and the greatest, as a profile has them."""
        type_ = self.type
        if type_ in {"int64", "uint64"}:
            return int(self._low), int(self._high)
        if type_ == "float64":
            return float(self._low), float(self._high)
        return f"{self._low:.{self._scale}f}", f"{self._high:.{self._scale}f}"

    @property
    def mean(self) -> float:
        """Over all rows with a value."""
        return self._sum / self._count


def _survives(texts: pa.Array, floats: pa.Array) -> bool:
    """Whether each text has at most 15 significant digits, or is the shortest text of its number."""
    digits = pc.binary_length(pc.replace_substring_regex(texts, r"^-?0\.0*|[eE].*$|[-.]", ""))
    exact = pc.or_(pc.less_equal(digits, 15), pc.equal(pc.cast(floats, pa.string()), texts))
    # Arrow writes numbers from 1e10 on with an exponent: what it wrote differently is asked again in Python's form.
    rest = texts.filter(pc.invert(exact)).to_pylist()
    return bool(pc.all(pc.is_finite(floats), min_count=0).as_py()) and all(repr(float(text)) == text for text in rest)
