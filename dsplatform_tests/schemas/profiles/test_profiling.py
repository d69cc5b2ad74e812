"""The profile of a column: what a naive computation finds, however the rows are cut into batches."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.schemas.model import PROFILE_EXAMPLES, PROFILE_TEXT, PROFILE_TOP, ColumnProfile
from dsplatform.schemas.profiles.profiling import ColumnProfiler


def _profile(values: Sequence[Any], type_: pa.DataType, cuts: Sequence[int] = ()) -> ColumnProfile:
    profiler = ColumnProfiler()
    for start, end in zip([0, *cuts], [*cuts, len(values)], strict=True):
        profiler.add(pa.array(values[start:end], type_))
    return profiler.profile()


@pytest.mark.parametrize(
    ("type_", "values", "low", "high", "shown"),
    [
        (pa.bool_(), [True, False], "false", "true", "true"),
        (pa.int8(), [3, -4], -4, 3, "3"),
        (pa.uint64(), [2**64 - 1, 1], 1, 2**64 - 1, "18446744073709551615"),
        (pa.float16(), [1.5, -2.0], -2.0, 1.5, "1.5"),
        (pa.float64(), [0.1, math.nan, -math.inf], "-inf", 0.1, "0.1"),
        (pa.decimal128(5, 2), [Decimal("1.50"), Decimal("-0.25")], "-0.25", "1.50", "1.50"),
        (pa.decimal256(60, 2), [Decimal("1.50"), Decimal(2)], "1.50", "2.00", "1.50"),
        (pa.date32(), [date(2026, 1, 31), date(1, 1, 1)], "0001-01-01", "2026-01-31", "2026-01-31"),
        (pa.date64(), [date(2026, 1, 31)], "2026-01-31", "2026-01-31", "2026-01-31"),
        (pa.time64("ns"), [time(10, 0, 0, 5), time(9)], "09:00:00.000000000", "10:00:00.000005000", "10:00:00.000005000"),
        (pa.timestamp("us"), [datetime(2026, 1, 31, 10)], "2026-01-31 10:00:00.000000", "2026-01-31 10:00:00.000000", None),  # noqa: DTZ001
        (pa.timestamp("s", "UTC"), [datetime(2026, 1, 31, 10, tzinfo=UTC)], "2026-01-31 10:00:00Z", "2026-01-31 10:00:00Z", None),
        (pa.timestamp("ns"), [1, 2], "1970-01-01 00:00:00.000000001", "1970-01-01 00:00:00.000000002", None),
        (pa.duration("ms"), [timedelta(seconds=1.5), timedelta(-1)], "-PT86400S", "PT1.5S", "PT1.5S"),
        (pa.string(), ["b", "ä", "a"], "a", "ä", "b"),
        (pa.string_view(), ["b", "a"], "a", "b", "b"),
        (pa.large_string(), ["b", "a"], "a", "b", "b"),
        (pa.dictionary(pa.int8(), pa.string()), ["b", "a", "b"], "a", "b", "b"),
        (pa.binary(), [b"\xff", b"a"], "61", "ff", "ff"),
        (pa.binary(2), [b"ab", b"aa"], "6161", "6162", "6162"),
        (pa.binary_view(), [b"ab", b"aa"], "6161", "6162", "6162"),
    ],
)
def test_values_of_every_simple_type(type_: pa.DataType, values: list[Any], low: Any, high: Any, shown: str | None) -> None:
    profile = _profile([*values, None], type_)
    assert (profile.nulls, profile.distinct, profile.distinct_exact) == (1, len(set(values)), True)
    assert (profile.low, profile.high, profile.examples[0]) == (low, high, shown or low)
    assert ColumnProfile.read(profile.plain()) == profile


@pytest.mark.parametrize(
    ("type_", "values", "examples"),
    [
        (pa.list_(pa.int64()), [[1], None, [1], [2]], ("[1]", "[2]")),
        (pa.struct({"a": pa.int64()}), [{"a": 1}, None], ('{"a": 1}',)),
        (pa.map_(pa.string(), pa.int64()), [[("a", 1)], None], ('[["a", 1]]',)),
        (pa.list_(pa.timestamp("ns")), [[1], None], None),
        (pa.month_day_nano_interval(), [(1, 2, 3), None], None),
    ],
)
def test_of_nested_values_nulls_and_examples_are_told(type_: pa.DataType, values: list[Any], examples: tuple[str, ...] | None) -> None:
    profile = _profile(values, type_, cuts=[1])
    assert profile.nulls == 1
    assert profile.examples == (examples or profile.examples)
    assert profile.examples
    assert (profile.distinct, profile.low, profile.top) == (None, None, ())


def test_no_value_at_all() -> None:
    assert _profile([None, None], pa.null()) == ColumnProfile(nulls=2, distinct=0, distinct_exact=True)
    assert _profile([], pa.int64()) == ColumnProfile(nulls=0, distinct=0, distinct_exact=True)
    assert _profile([math.nan], pa.float64()).low is None


texts = st.text(max_size=3) | st.text(min_size=95, max_size=105) | st.sampled_from(["", "a", "x" * 300 + "1", "x" * 300 + "2"])
columns = st.one_of(
    st.tuples(st.just(pa.string()), st.lists(st.none() | texts, max_size=30)),
    st.tuples(st.just(pa.int64()), st.lists(st.none() | st.integers(-5, 5) | st.integers(-(2**63), 2**63 - 1), max_size=30)),
)


@given(columns, st.data())
def test_exact_figures_are_the_naive_ones_whatever_the_batches(column: tuple[pa.DataType, list[Any]], data: st.DataObject) -> None:
    type_, values = column
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=4)))
    profile = _profile(values, type_, cuts)
    present = [value for value in values if value is not None]
    counts = Counter(present)
    top = [] if len(counts) == len(present) else [(str(value)[:PROFILE_TEXT], count) for value, count in counts.most_common(PROFILE_TOP)]
    assert (profile.nulls, profile.distinct, profile.distinct_exact) == (len(values) - len(present), len(counts), True)
    assert list(profile.top) == top
    assert list(profile.examples) == [str(value)[:PROFILE_TEXT] for value in counts][:PROFILE_EXAMPLES]
    if not present:
        assert (profile.low, profile.high, profile.mean, profile.lengths) == (None, None, None, None)
    elif type_ == pa.string():
        assert (profile.low, profile.high) == (min(present)[:PROFILE_TEXT], max(present)[:PROFILE_TEXT])
        lengths = list(map(len, present))
        assert profile.lengths is not None
        assert profile.lengths[:2] == (min(lengths), max(lengths))
        assert profile.lengths[2] == pytest.approx(statistics.mean(lengths))
    else:
        assert (profile.low, profile.high) == (min(present), max(present))
        assert profile.mean == pytest.approx(sum(present) / len(present), abs=2**63 * 1e-12)


@given(st.lists(st.none() | st.floats(-1e9, 1e9), max_size=30), st.integers(0, 30))
def test_the_mean_of_floats_is_the_naive_one(values: list[float | None], cut: int) -> None:
    profile = _profile(values, pa.float64(), [min(cut, len(values))])
    present = [value for value in values if value is not None]
    assert profile.mean == (pytest.approx(statistics.fmean(present), abs=1e-3) if present else None)
