"""Values in JSON: exact, and read back as what they were."""

# ruff: noqa: DTZ001 - timestamps without a zone are part of what is tested

import json
import math
from base64 import b64decode
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.schemas.previews.values import SAFE, day, json_values, moment


def through(values: pa.Array, **more: Any) -> list[Any]:
    """As a reader of the JSON gets them."""
    return json.loads(json.dumps(json_values(values, **more), allow_nan=False))  # type: ignore[no-any-return]


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)))
def test_whole_numbers_are_exact_and_texts_beyond_what_json_readers_hold(numbers: list[int | None]) -> None:
    for number, shown in zip(numbers, through(pa.array(numbers, pa.int64())), strict=True):
        assert (number is None) == (shown is None)
        if number is not None:
            assert int(shown) == number
            assert isinstance(shown, str) == (abs(number) > SAFE)


def test_the_largest_numbers_are_texts() -> None:
    assert through(pa.array([SAFE, SAFE + 1, -SAFE, -SAFE - 1], pa.int64())) == [SAFE, str(SAFE + 1), -SAFE, str(-SAFE - 1)]
    assert through(pa.array([0, 2**64 - 1], pa.uint64())) == [0, str(2**64 - 1)]


@given(st.lists(st.none() | st.floats()))
def test_floating_numbers_are_exact(numbers: list[float | None]) -> None:
    for number, shown in zip(numbers, through(pa.array(numbers, pa.float64())), strict=True):
        if number is None:
            assert shown is None
        elif math.isfinite(number):
            assert isinstance(shown, float)
            assert (shown, math.copysign(1, shown)) == (number, math.copysign(1, number))
        else:
            assert shown == ("NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity")


@given(st.lists(st.none() | st.decimals(allow_nan=False, allow_infinity=False, places=5, min_value=-(10**20), max_value=10**20)))
def test_decimals_are_texts_of_all_their_digits(numbers: list[Decimal | None]) -> None:
    shown = through(pa.array(numbers, pa.decimal128(38, 5)))
    assert [None if text is None else Decimal(text) for text in shown] == numbers
    assert all(text is None or len(text.partition(".")[2]) == 5 for text in shown)


def test_decimals_have_no_exponent() -> None:
    assert through(pa.array([Decimal("1E+3"), Decimal("-2E+3")], pa.decimal128(5, -3))) == ["1000", "-2000"]
    assert through(pa.array([Decimal("1E-30")], pa.decimal128(38, 30))) == [f"0.{'0' * 29}1"]


@given(st.dates())
def test_days_are_iso_8601(value: date) -> None:
    assert day((value - date(1970, 1, 1)).days) == value.isoformat()
    assert through(pa.array([value], pa.date32())) == through(pa.array([value], pa.date64())) == [value.isoformat()]


@given(st.datetimes())
def test_moments_are_iso_8601(value: datetime) -> None:
    count = (value - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    shown = moment(count, "us")
    assert datetime.fromisoformat(shown.ljust(26, "0") if "." in shown else shown) == value
    assert through(pa.array([count], pa.timestamp("us"))) == [shown]
    assert through(pa.array([count], pa.timestamp("us", "Europe/Berlin"))) == [f"{shown}Z"]


@pytest.mark.parametrize(
    ("count", "unit", "shown"),
    [
        (0, "s", "1970-01-01T00:00:00"),
        (1, "ns", "1970-01-01T00:00:00.000000001"),
        (-1, "ns", "1969-12-31T23:59:59.999999999"),
        (253_402_300_800, "s", "+10000-01-01T00:00:00"),
        (-62_167_219_200, "s", "0000-01-01T00:00:00"),
        (-62_167_219_201, "s", "-0001-12-31T23:59:59"),
        (2**63 - 1, "us", "+294247-01-10T04:00:54.775807"),
        (-(2**63), "ns", "1677-09-21T00:12:43.145224192"),
    ],
)
def test_moments_of_any_year_are_shown(count: int, unit: str, shown: str) -> None:
    assert moment(count, unit) == shown


def test_what_json_has_no_kind_for_is_text() -> None:
    assert through(pa.array([36_000_500_000_000], pa.time64("ns"))) == ["10:00:00.5"]
    assert through(pa.array([61], pa.time32("s"))) == ["00:01:01"]
    assert through(pa.array([-1_500], pa.duration("ms"))) == ["-PT1.5S"]
    assert through(pa.array([(1, -2, 1_500_000_000)], pa.month_day_nano_interval())) == ["P1M-2DT1.5S"]
    assert [b64decode(text) for text in through(pa.array([b"\x00\xff"], pa.binary()))] == [b"\x00\xff"]


NESTED = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(
        st.none() | st.fixed_dictionaries({"a": st.none() | st.integers(-9, 9), "b": st.none() | st.lists(st.text("xyz"))}), max_size=6
    ),
    st.integers(0, 3),
)
def test_nested_values_are_what_they_are_also_in_slices(values: list[Any], start: int) -> None:
    type_ = pa.struct([("a", pa.int32()), ("b", pa.list_(pa.string()))])
    assert through(pa.array(values, type_).slice(start)) == values[start:]


@given(st.lists(st.none() | st.lists(st.none() | st.integers(0, 9), min_size=2, max_size=2), max_size=6), st.integers(0, 3))
def test_lists_of_every_layout_are_the_same(values: list[Any], start: int) -> None:
    for type_ in (pa.list_(pa.int8()), pa.large_list(pa.int8()), pa.list_(pa.int8(), 2), pa.list_view(pa.int8())):
        assert through(pa.array(values, type_).slice(start)) == values[start:], type_


def test_maps_are_pairs_and_unions_their_values() -> None:
    maps = pa.array([[("a", 1), ("a", 2)], None, []], pa.map_(pa.string(), pa.int64()))
    assert through(maps) == [[["a", 1], ["a", 2]], None, []]
    assert through(maps.slice(1)) == [None, []]
    union = pa.UnionArray.from_dense(
        pa.array([0, 1, 0], pa.int8()), pa.array([0, 0, 1], pa.int32()), [pa.array([1, 2**60]), pa.array(["x"])], ["i", "s"]
    )
    assert through(union) == [1, "x", str(2**60)]


def test_what_is_written_otherwise_is_looked_through() -> None:
    assert through(pa.array(["a", "b", "a"]).dictionary_encode()) == ["a", "b", "a"]
    assert through(pa.array(["a"], pa.string_view())) == ["a"]
    assert through(pa.array([1.5], pa.float16())) == [1.5]
    twice = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    assert through(twice) == [{"a": 1, "a_2": 2}]


@given(NESTED)
def test_json_texts_become_what_they_say(value: Any) -> None:
    def plain(found: Any) -> Any:
        if isinstance(found, list):
            return [plain(item) for item in found]
        return str(found) if isinstance(found, int) and abs(found) > SAFE else found

    (shown,) = through(pa.array([json.dumps(value)]), parsed=True)
    assert shown == plain(value)


def test_a_broken_text_is_shown_as_far_as_it_is_one() -> None:
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\x00\x00\x00\x00\x02\x00\x00\x00"), pa.py_buffer(b"a\xff")])
    assert through(broken) == ["a\ufffd"]
