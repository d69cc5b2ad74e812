import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.schemas.comparing.renames import TOLD_FROM, folded, likeness, renames
from dsplatform.schemas.model import Column, ColumnProfile
from dsplatform_tests.schemas.comparing.notation import profile, schema

ROWS = (4, 4)


def _columns(text: str) -> tuple[Column, ...]:
    layouts = schema(text).layouts
    return layouts[0].tables[0].columns if layouts else ()


def _told(before: str, after: str, values: dict[str, str] | None = None) -> dict[str, str]:
    """Old to new name. `values` are the column's, by name; without any the columns have no profiles."""
    sides = [
        {c.name: profile(c.type, values[c.name].split()) for c in _columns(text) if c.name in values} if values else {}
        for text in (before, after)
    ]
    found = renames(_columns(before), _columns(after), (sides[0], sides[1]), ROWS)
    return {pair.before.name: pair.after.name for pair in found}


def test_place_and_type_alone_are_told_never() -> None:
    assert _told("a int64, b date", "a int64, c date") == {}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('"Order Date" date', "order_date date", {"Order Date": "order_date"}),
        ("a int64, TOTAL float64", "total float64, a int64", {"TOTAL": "total"}),
        ("Straße string", "STRASSE string", {"Straße": "STRASSE"}),
        ("total string", "TOTAL int64", {}),  # another type is another column
        ("a_b int64, A-B int64", "ab int64", {"a_b": "ab"}),  # one of them, the first
        ("__ int64", "-- int64", {}),  # names without letters say nothing
    ],
)
def test_names_that_differ_in_case_and_marks_are_one(before: str, after: str, told: dict[str, str]) -> None:
    assert _told(before, after) == told


def test_values_tell_which_of_two_it_is() -> None:
    values = {"a": "1 2 3 4", "kind": "x y x y", "code": "AAAA BBBB CCCC DDDD", "sort": "y x y x", "key": "EEEE FFFF GGGG HHHH"}
    assert _told("a int64, kind string, code string", "a int64, sort string, key string", values) == {"kind": "sort", "code": "key"}


def test_place_counts_from_the_columns_that_both_have() -> None:
    values = {"k": "1 2 3 4", "b": "x y x y", "n": "9 8 7 6", "s": "x y x y"}
    assert _told("k int64, b string", "n string, k int64, s string", values) == {"b": "s"}
    assert _told("b string, k int64", "n string, s string, k int64", values) == {"b": "s"}  # and from the one behind


def test_columns_at_other_places_are_not_one() -> None:
    values = {"k": "1 2 3 4", "b": "x y x y", "s": "x y x y"}
    assert _told("b string, k int64", "k int64, s string", values) == {}


@pytest.mark.parametrize(
    ("type_", "before", "after", "alike"),
    [
        ("int64", "1 2 3 4", "1 2 3 4", True),
        ("int64", "1 2 3 4", "5 6 7 8", True),  # the next keys
        ("int64", "20 30 40 25", "1990 2001 1984 2020", False),
        ("float64", "1.5 20.25 99.0 7.0", "2.5 18.75 120.0 9.0", True),
        ("float64", "0.1 0.2 0.3 0.4", "1e6 2e6 3e6 4e6", False),
        ("date", "2024-01-01 2024-01-31 2024-01-15 2024-01-16", "2024-02-01 2024-02-29 2024-02-15 2024-02-16", True),
        ("date", "1940-01-01 2001-01-30 1970-01-01 1999-09-09", "2024-02-01 2024-02-29 2024-02-15 2024-02-16", False),
        ("string", "Rome Oslo Rome Oslo", "Oslo Rome Rome Rome", True),
        ("string", "Rome Oslo Rome Oslo", "a@example.org b@example.org c@example.org d@example.org", False),
        ("string", "A1 B2 C3 D4", "E5 F6 G7 H8", True),  # codes of one length
        ("boolean", "true false true false", "false true true true", True),
    ],
)
def test_how_alike_values_are(type_: str, before: str, after: str, alike: bool) -> None:
    found = likeness(profile(type_, before.split()), profile(type_, after.split()), ROWS)
    assert found is not None
    assert (0.1 + 0.85 * found >= TOLD_FROM) is alike


def test_equal_bounds_of_texts_speak_for_a_rename_and_others_not_against_it() -> None:
    footer = ColumnProfile(nulls=0, low="Rome", high="Zagreb")
    assert likeness(footer, footer, ROWS) == 1
    assert likeness(footer, ColumnProfile(nulls=0, low="Rome", high="Oslo"), ROWS) == pytest.approx(0.625)
    assert likeness(footer, ColumnProfile(nulls=0, low="Bern", high="Oslo"), ROWS) is None


def test_profiles_that_tell_nothing_of_the_values_are_none() -> None:
    assert likeness(ColumnProfile(), ColumnProfile()) is None
    assert likeness(ColumnProfile(nulls=0, distinct=4), ColumnProfile(nulls=0, distinct=4), ROWS) is None
    assert likeness(ColumnProfile(low=float("nan"), high=float("inf")), ColumnProfile(low=0, high=1), ROWS) is None


bounds = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates().map(str)
profiles = st.builds(
    ColumnProfile,
    nulls=st.none() | st.integers(0, 2**40),
    distinct=st.none() | st.integers(0, 2**40),
    low=bounds,
    high=bounds,
    lengths=st.none() | st.tuples(st.integers(0, 2**31), st.integers(0, 2**31), st.floats(0, 1e9)),
    top=st.lists(st.tuples(st.text(max_size=2), st.integers(1, 9)), max_size=5).map(tuple),
)
rows = st.none() | st.integers(0, 2**40)


@given(profiles, profiles, st.tuples(rows, rows))
def test_likeness_lies_between_nothing_and_all_whichever_comes_first(
    one: ColumnProfile, other: ColumnProfile, counts: tuple[int | None, int | None]
) -> None:
    found = likeness(one, other, counts)
    assert found == pytest.approx(likeness(other, one, (counts[1], counts[0])))
    assert found is None or 0 <= found <= 1


def test_more_empty_values_than_rows_tell_nothing() -> None:
    one, other = ColumnProfile(nulls=0, distinct=0, top=(("a", 1),)), ColumnProfile(nulls=1, distinct=5, top=(("a", 1),))
    assert likeness(one, other, (1, 0)) is None


@given(
    st.lists(st.sampled_from(["a", "A", "b", "B ", "c"]), unique=True), st.lists(st.sampled_from(["a", "A_", "b", "B", "d"]), unique=True)
)
def test_each_column_is_in_one_rename_at_most(left: list[str], right: list[str]) -> None:
    before, after = (tuple(Column(name, "int64") for name in names) for names in (left, right))
    found = renames(before, after)
    assert {pair.before.name for pair in found} <= set(left) - set(right)
    assert {pair.after.name for pair in found} <= set(right) - set(left)
    assert len({pair.before.name for pair in found}) == len({pair.after.name for pair in found}) == len(found)
    assert all(folded(pair.before.name) == folded(pair.after.name) for pair in found)
