from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.schemas.comparing.comparison import Verdict, compare
from dsplatform.schemas.comparing.evolution import FIRST, Semver, Step, changes, remember, steps
from dsplatform_tests.schemas.comparing.notation import schema
from dsplatform_tests.schemas.comparing.test_comparison import schemas

START = datetime(2026, 1, 1, tzinfo=UTC)


def _steps(*texts: str | None) -> list[Step]:
    return steps((number, START + timedelta(days=number), None if text is None else schema(text)) for number, text in enumerate(texts, 1))


def _told(*texts: str | None) -> list[tuple[str, str | None, tuple[str, ...]]]:
    return [(step.semver, step.verdict, step.sentences) for step in _steps(*texts)]


def _numbers(verdicts: list[Verdict | None]) -> list[Semver]:
    return list(accumulate(verdicts, lambda number, verdict: number.after(verdict), initial=FIRST))


@pytest.mark.parametrize(
    ("verdicts", "number"),
    [
        ([], "1.0.0"),
        (["identical", "identical"], "1.0.2"),
        (["identical", "compatible"], "1.1.0"),
        (["compatible", "breaking", "compatible", "identical", None], "2.1.2"),
        (["breaking"] * 12, "13.0.0"),
    ],
)
def test_the_number_of_a_version(verdicts: list[str | None], number: str) -> None:
    assert str(_numbers([None if verdict is None else Verdict(verdict) for verdict in verdicts])[-1]) == number


@given(st.lists(st.none() | st.sampled_from(Verdict)))
def test_numbers_only_grow(verdicts: list[Verdict | None]) -> None:
    found = _numbers(verdicts)
    assert all(earlier < later for earlier, later in pairwise(found))
    assert Semver(1, 9, 0) < Semver(1, 10, 0)


def test_each_version_is_compared_with_the_one_before_it() -> None:
    assert _told("a int64", "a int64, b date", "a int64, b date", "b date") == [
        ("1.0.0", None, ()),
        ("1.1.0", "compatible", ("x: column 'b' (date) was added",)),
        ("1.1.1", "identical", ()),
        ("2.0.0", "breaking", ("x: column 'a' (int64) was removed",)),
    ]


def test_versions_without_a_change_are_left_out() -> None:
    found = changes((number, START, schema(text)) for number, text in enumerate(["a int64", "a int64", "a float64", "a float64"], 1))
    assert [(step.version, step.semver) for step in found] == [(1, "1.0.0"), (3, "1.1.0")]


def test_a_version_that_is_not_captured_makes_numbers_uncertain_and_the_next_is_compared_with_the_last_known() -> None:
    found = _steps("a int64", None, "a string", "a string")
    assert [(step.semver, step.certain, step.verdict) for step in found] == [
        ("1.0.0", True, None),
        ("1.0.1", False, None),
        ("2.0.0", False, "breaking"),
        ("2.0.1", False, "identical"),
    ]
    assert found[1].sentences == ("its schema is not captured",)


def test_a_history_may_begin_with_versions_that_are_not_captured() -> None:
    assert [step.semver for step in _steps(None, None, "a int64", "a float64")] == ["1.0.0", "1.0.1", "1.0.2", "1.1.0"]
    assert steps([]) == []


def test_a_column_that_was_empty_for_a_while_is_compared_with_what_it_was() -> None:
    assert _told("a int64", "a null?", "a null?", "a string") == [
        ("1.0.0", None, ()),
        ("1.1.0", "compatible", ("x: column 'a' (int64) has no values any more",)),
        ("1.1.1", "identical", ()),
        ("2.0.0", "breaking", ("x: column 'a' was int64 and is string", "x: column 'a' no longer has rows without a value")),
    ]
    assert [step.verdict for step in _steps("a int64", "a null?", "a int64")] == [None, "compatible", "compatible"]


@pytest.mark.parametrize(
    ("first", "empty", "last"),
    [
        ("a list<int64>", "a list<null>", "a list<string>"),
        ("a struct<b: int64, c: date>", "a struct<b: null, c: date>", "a struct<b: string, c: date>"),
        ("d date@DD/MM/YYYY", "d null?", "d date@MM/DD/YYYY"),
        ("x[N]: a int64; x[S]: b date", "x[N]: a null?; x[S]: b date", "x[N]: a string; x[S]: b date"),
        ("sales-1: a int64", "sales-2: a null?", "sales-3: a string"),
        ("a int64", "x[Sheet1]: a null?", "x[Sheet1]: a string"),
    ],
)
def test_an_empty_delivery_hides_no_break(first: str, empty: str, last: str) -> None:
    assert [step.verdict for step in _steps(first, empty, last)] == [None, "compatible", "breaking"]
    assert compare(schema(empty), schema(last)).verdict is Verdict.COMPATIBLE  # as the two alone say


@given(st.lists(schemas(), max_size=5))
def test_steps_say_what_comparisons_say_where_no_column_is_empty(texts: list[str]) -> None:
    expected = [None, *(compare(schema(one), schema(other)).verdict for one, other in pairwise(texts))][: len(texts)]
    assert [step.verdict for step in _steps(*texts)] == expected


@given(schemas(), schemas())
def test_nothing_is_remembered_where_no_column_is_empty(before: str, after: str) -> None:
    assert compare(schema(after), remember(schema(before), schema(after))).verdict is Verdict.IDENTICAL
