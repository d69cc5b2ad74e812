"""Which rows fulfil a condition: compared as what they are, exactly, and never as text of a statement."""

from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t

from dsplatform.schemas.model import Column
from dsplatform.schemas.previews.conditions import Bound, bound, literal
from dsplatform.schemas.previews.model import Condition

COMPARE = {"=": pc.equal, "!=": pc.not_equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal}
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def matches(values: pa.Array, column: Column, condition: Condition) -> pa.BooleanArray:
    """True for each row that fulfils the condition. A row without a value fulfils `is null` alone. The values are typed."""
    if condition.value is None:
        missing = values.is_null()
        return missing if condition.operator == "is null" else pc.invert(missing)
    wanted = literal(column, condition.value)
    if isinstance(wanted, Fraction):
        found = _exact(values, condition.operator, wanted)
    elif condition.operator == "contains":
        found = pc.match_substring(values, str(wanted))
    elif condition.operator == "startswith":
        found = pc.starts_with(values, str(wanted))
    else:
        if isinstance(wanted, float):
            values = pc.cast(values, pa.float64())
        found = COMPARE[condition.operator](values, pa.scalar(wanted, values.type))
    return pc.fill_null(found, fill_value=False)


def _exact(values: pa.Array, operator: str, wanted: Fraction) -> pa.Array:
    """Numbers and times are whole numbers of some unit: the wanted one becomes one of them, and nothing is rounded."""
    type_ = values.type
    if t.is_decimal(type_):
        most = 10**type_.precision - 1
        asked = bound(operator, wanted * Fraction(10) ** type_.scale, -most, most)
        if isinstance(asked, Bound):
            digits = tuple(map(int, str(abs(asked.number))))
            value = Decimal((int(asked.number < 0), digits, -type_.scale))  # not scaleb, which rounds
            return COMPARE[asked.operator](values, pa.scalar(value, type_))
        return asked_of_all(values, fulfilled=asked)
    numbers, unit = _whole(values)
    width, signed = numbers.type.bit_width, t.is_signed_integer(numbers.type)
    low, high = (-(2 ** (width - 1)), 2 ** (width - 1) - 1) if signed else (0, 2**width - 1)
    asked = bound(operator, wanted * unit, low, high)
    if isinstance(asked, Bound):
        return COMPARE[asked.operator](numbers, pa.scalar(asked.number, numbers.type))
    return asked_of_all(values, fulfilled=asked)


def asked_of_all(values: pa.Array, *, fulfilled: bool) -> pa.Array:
    """The same answer for each row that has a value."""
    return values.is_valid() if fulfilled else pa.array([False] * len(values), pa.bool_())


def _whole(values: pa.Array) -> tuple[pa.Array, int]:
    """As whole numbers, and how many of them make a day of dates, a second of times, or one."""
    type_ = values.type
    if t.is_integer(type_):
        return values, 1
    if t.is_date(type_):
        return (values.view(pa.int32()), 1) if t.is_date32(type_) else (values.view(pa.int64()), 86_400_000)
    return values.view(pa.int32() if type_.bit_width == 32 else pa.int64()), PER_SECOND[type_.unit]
