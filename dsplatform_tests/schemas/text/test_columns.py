"""The type of a text column: lossless, from all values, whatever their order and however they are read."""

from collections.abc import Sequence
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.schemas.model import NO_HINTS, ColumnProfile, Hints, Json
from dsplatform.schemas.text.columns import TextColumn


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
        (["0", "1"], "int64"),
        (["1.000,50"], "string"),
        (["1_000"], "string"),
        (["50%"], "string"),
        (["inf"], "string"),
        ([" "], "string"),
        (["null", "1"], "string"),
        (["0.12345678901234567"], "decimal(17,17)"),
        (["0.000000000000000012"], "float64"),
        (["2.5E-3", "1"], "float64"),
        (["0", "1000000000000000.0"], "float64"),
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
        (["t", "f"], "string"),
        (["Y", "N"], "string"),
        (["on", "off"], "string"),
        (["true", "1"], "string"),
        (["2026-01-31", ""], "date"),
        (["2026-02-30"], "string"),
        (["01/02/2024"], "string"),
        (["31/01/2024"], "date"),
        (["31.1.2024", "1.2.2024"], "date"),
        (["01-31-2024"], "date"),
        (["31/01/2024", "01/31/2024"], "string"),
        (["31/01/2024", "31.01.2024"], "string"),
        (["31/02/2024"], "string"),
        (["31/01/24"], "string"),
        (["31/01-2024"], "string"),
        (["2024/01/31", "2024/02/29"], "date"),
        (["2024/01/31", "2024-01-31"], "string"),
        (["2023/02/29"], "string"),
        (["2024/1/31"], "string"),
        (["2024-1-31"], "string"),
        (["20260131"], "int64"),
        (["2026-01-31 10:00:00", "2026-01-31T10:00:00"], "timestamp"),
        (["2026-01-31 10:00"], "timestamp"),
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
days = st.one_of(*(st.builds(format, st.dates(), st.just(form)) for form in ("%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d.%m.%Y")))
moments = st.one_of(
    st.dates().map(str), st.datetimes().map(str), st.times().map(str), st.datetimes().map(lambda at: f"{at:%Y-%m-%dT%H:%M:%S}Z")
)
texts = st.one_of(st.just(""), numbers, moments, st.sampled_from(["true", "False", "NA", "-0", "x"]), st.text(max_size=4))
values_of_a_column = st.one_of(*(st.lists(one | st.just(""), max_size=12) for one in (texts, numbers, moments, days)))


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


def _column(values: Sequence[str], cut: int | None = None) -> TextColumn:
    column = TextColumn()
    for part in (values[:cut], values[cut:]) if cut is not None else (values,):
        column.add(pa.array([value or None for value in part], pa.string()))
    return column


@pytest.mark.parametrize(
    ("values", "hints", "type_", "format_", "low", "high"),
    [
        (["31/01/2024", "01/02/2024"], NO_HINTS, "date", "DD/MM/YYYY", "2024-01-31", "2024-02-01"),
        (["01/02/2024", "31/01/2024"], Hints(date_order="mdy"), "date", "DD/MM/YYYY", "2024-01-31", "2024-02-01"),
        (["31.1.2024"], NO_HINTS, "date", "DD.MM.YYYY", "2024-01-31", "2024-01-31"),
        (["01-31-2024", "02-01-2024"], NO_HINTS, "date", "MM-DD-YYYY", "2024-01-31", "2024-02-01"),
        (["01/02/2024", "02/01/2024"], NO_HINTS, "string", None, "01/02/2024", "02/01/2024"),
        (["01/02/2024", "03/01/2024"], Hints(date_order="dmy"), "date", "DD/MM/YYYY", "2024-01-03", "2024-02-01"),
        (["01/02/2024", "03/01/2024"], Hints(date_order="mdy"), "date", "MM/DD/YYYY", "2024-01-02", "2024-03-01"),
        (["2024/01/31"], NO_HINTS, "date", "YYYY/MM/DD", "2024-01-31", "2024-01-31"),
        (["2024-01-31"], Hints(date_order="dmy"), "date", None, "2024-01-31", "2024-01-31"),
    ],
)
def test_days_that_are_not_iso_say_how_they_are_read(
    values: list[str], hints: Hints, type_: str, format_: str | None, low: str, high: str
) -> None:
    few = TextColumn()
    few.add_texts(values)
    for column in (few, _column(values), _column(values, cut=1)):
        found = column.column("x", hints)
        assert (found.type, found.format) == (type_, format_)
        assert (column.profile().low, column.profile().high) == (low, high)


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (["1", "2", "NA", "3", "?"], {"looks_like": "number", "row": 3, "value": "NA"}),
        (["17", "18", "", "00042"], {"looks_like": "number", "row": 4, "value": "00042"}),
        (["x", "1", "2"], {"looks_like": "number", "row": 1, "value": "x"}),
        (["2024-01-31", "2024-02-30", "2024-02-01"], {"looks_like": "date", "row": 2, "value": "2024-02-30"}),
        (["10:00", "11:00", "25:00"], {"looks_like": "time", "row": 3, "value": "25:00"}),
        (["true", "false", "yes"], {"looks_like": "boolean", "row": 3, "value": "yes"}),
        (["1", "1" * 39], {"looks_like": "number", "reason": "the values together are more than one number type holds without loss"}),
        (
            ["01/02/2024"],
            {"looks_like": "date", "reason": "ambiguous: all values are days as DD/MM/YYYY and as MM/DD/YYYY"},
        ),
        (
            ["31/01/2024", "02/01/2024", "01/31/2024"],
            {
                "looks_like": "date",
                "row": 3,
                "value": "01/31/2024",
                "reason": "mixed orders: some are DD/MM/YYYY and some MM/DD/YYYY",
            },
        ),
        (["a", "b"], None),
        (["a", "1"], None),
        (["1", "2.5"], None),
        (["007", "008"], None),
        (["2024-01-31", "2024-01-31 10:00"], None),
    ],
)
def test_what_looks_typed_and_is_not_names_the_first_value_against_it(values: list[str], note: dict[str, Json] | None) -> None:
    few = TextColumn()
    few.add_texts(values)
    assert few.untyped() == note
    assert _column(values).untyped() == note


def test_the_row_of_a_value_against_the_type_counts_from_the_first_batch() -> None:
    column = _column(["1", "2", "", "3", "x", "y"], cut=4)
    assert column.untyped() == {"looks_like": "number", "row": 5, "value": "x"}


def _profiles(values: list[str], cut: int) -> list[ColumnProfile]:
    few = TextColumn()
    few.add_texts(values)
    return [few.profile(), _column(values).profile(), _column(values, cut).profile()]


@given(values_of_a_column, st.integers(0, 12))
def test_the_profile_is_the_same_however_the_rows_come(values: list[str], cut: int) -> None:
    few, many, cut_in_two = _profiles(values, min(cut, len(values)))
    assert few == many or (few.mean is not None and few.mean == pytest.approx(many.mean))
    for profile in (many, cut_in_two):
        assert (profile.nulls, profile.distinct, profile.top, profile.examples) == (few.nulls, few.distinct, few.top, few.examples)
        assert (profile.low, profile.high, profile.lengths) == (few.low, few.high, few.lengths)


@pytest.mark.parametrize(
    ("values", "low", "high", "mean"),
    [
        (["10", "9", "", "-1"], -1, 10, 6.0),
        (["18446744073709551615", "1"], 1, 2**64 - 1, float(2**63)),
        (["1.5", "-2", "10"], -2.0, 10.0, 9.5 / 3),
        (["12345678901234567.89", "0.1234"], "0.1234", "12345678901234567.8900", 12345678901234568.0132 / 2),
        (["10:00", "09:59:59.5"], "09:59:59.5", "10:00", None),
        (["2024-02-01", "2024-01-31 10:00:00.5"], "2024-01-31 10:00:00.5", "2024-02-01 00:00:00", None),
        (["2024-01-31T10:00:00+02:00", "2024-01-31T09:00:00Z"], "2024-01-31 08:00:00Z", "2024-01-31 09:00:00Z", None),
        (["0000-01-01"], "0000-01-01", "0000-01-01", None),
        (["TRUE", "true"], "true", "true", None),
        (["b", "a"], "a", "b", None),
    ],
)
def test_extremes_are_in_the_order_of_the_type(values: list[str], low: Json, high: Json, mean: float | None) -> None:
    for profile in _profiles(values, 1):
        assert (profile.low, profile.high) == (low, high)
        assert profile.mean == (None if mean is None else pytest.approx(mean))
