"""The type of a text column: lossless, from all values, whatever their order and however they are read."""

from collections.abc import Sequence
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.schemas.columns import TextColumn


def _typed(values: Sequence[str]) -> str:
    """One batch through Arrow, null for an empty text."""
    column = TextColumn()
    column.add(pa.array([value or None for value in values], pa.string()))
    return column.type


def _typed_few(values: Sequence[str]) -> str:
    column = TextColumn()
    column.add_texts(values)
    return column.type


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (["", ""], "null"),
        (["1", "", "-20"], "int64"),
        (["9223372036854775807", "-9223372036854775808"], "int64"),
        (["1", "9223372036854775808"], "uint64"),
        (["18446744073709551616"], "decimal(20,0)"),
        (["-5", "9223372036854775808"], "decimal(19,0)"),
        (["1" * 39], "string"),
        (["1" * 400], "string"),
        (["007", "12"], "string"),
        (["+5"], "string"),
        (["-0", "1"], "string"),
        (["0x1F"], "string"),
        (["1,234"], "string"),
        ([" 5"], "string"),
        (["1", "2.5"], "float64"),
        (["-0.5", "12.50"], "float64"),
        (["0.8444218515250481"], "float64"),
        (["12345678901.23456"], "float64"),
        (["1e5", "1.5E-7"], "float64"),
        (["1.2345678901234568e-07"], "float64"),
        (["1.2345678901234567e-07"], "string"),
        (["12345678901.234567"], "decimal(17,6)"),
        (["1e999"], "string"),
        (["NaN", "1"], "string"),
        (["12345678901234567.89"], "decimal(19,2)"),
        (["12345678901234567.89", "0.1234"], "decimal(21,4)"),
        (["1e5", "12345678901234567.89"], "string"),
        (["true", "FALSE"], "boolean"),
        (["yes", "no"], "string"),
        (["true", "1"], "string"),
        (["2026-01-31", ""], "date"),
        (["2026-02-30"], "string"),
        (["01/02/2024"], "string"),
        (["20260131"], "int64"),
        (["2026-01-31 10:00:00", "2026-01-31T10:00:00"], "timestamp"),
        (["2026-01-31 10:00:00.123456789"], "timestamp"),
        (["2026-01-31", "2026-01-31 10:00:00"], "timestamp"),
        (["2026-01-31 25:00:00"], "string"),
        (["2026-01-31T10:00:00Z", "2026-01-31T10:00:00+02:00"], "timestamp with zone"),
        (["2026-01-31T10:00:00Z", "2026-01-31T10:00:00"], "string"),
        (["10:00", "23:59:59.5"], "time"),
        (["24:00"], "string"),
        (["NA", "1"], "string"),
        (["1\n2"], "string"),
        (["true\nfalse"], "string"),
    ],
)
def test_values_make_this_type(values: list[str], type_: str) -> None:
    assert {_typed(values), _typed(values[::-1]), _typed_few(values), _typed_few(values[::-1])} == {type_}


digits = st.text("0123456789", min_size=1, max_size=22)
numbers = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False).map(str),
    st.floats(-1000, 1000).map(lambda number: f"{number:.2f}"),
    st.builds("{}.{}".format, digits, digits),
    digits,
)
moments = st.one_of(
    st.dates().map(str), st.datetimes().map(str), st.times().map(str), st.datetimes().map(lambda at: f"{at:%Y-%m-%dT%H:%M:%S}Z")
)
texts = st.one_of(st.just(""), numbers, moments, st.sampled_from(["true", "False", "NA", "-0", "x"]), st.text(max_size=4))
values_of_a_column = st.one_of(*(st.lists(one | st.just(""), max_size=12) for one in (texts, numbers, moments)))


@given(values_of_a_column, st.data())
def test_the_type_depends_neither_on_the_order_nor_on_the_batches(values: list[str], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(values))
    cut = data.draw(st.integers(0, len(values)))
    column = TextColumn()
    for part in (shuffled[:cut], shuffled[cut:]):
        column.add(pa.array([value or None for value in part], pa.string()))
    assert column.type == _typed(values)
    assert column.nulls == values.count("")


@given(values_of_a_column)
def test_few_values_are_typed_as_many_are(values: list[str]) -> None:
    assert _typed_few(values) == _typed(values)


@given(st.lists(numbers, min_size=1, max_size=6))
def test_a_numeric_column_gives_every_value_back(values: list[str]) -> None:
    type_ = _typed(values)
    for value in values:
        if type_ in {"int64", "uint64"}:
            assert str(int(value)) == value
        elif type_ == "float64":
            assert Decimal(f"{float(value):.15g}") == Decimal(value) or repr(float(value)) == value.lower()
        elif type_.startswith("decimal"):
            precision, scale = (int(part) for part in type_[8:-1].split(","))
            assert abs(Decimal(value)) < Decimal(10) ** (precision - scale)
            assert -int(Decimal(value).as_tuple().exponent) <= scale
