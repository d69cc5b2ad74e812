from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.schemas.comparing.widening import Kind, differences, kind_of_change, remembered, widens
from dsplatform.schemas.logical import LogicalType
from dsplatform_tests.schemas.test_logical import types

simple = st.sampled_from(
    ["int64", "uint64", "float64", "date", "timestamp", "string", "null", "decimal(19,0)", "decimal(20,0)", "decimal(21,1)"]
)
close = st.recursive(
    simple.map(LogicalType.parse),
    lambda inner: st.one_of(
        inner.map(lambda item: LogicalType.of("list", item)),
        st.tuples(inner, inner).map(lambda pair: LogicalType.of("map", *pair)),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: LogicalType.of("union", *parts)),
        st.lists(st.tuples(st.sampled_from("abc"), inner), max_size=3).map(lambda fields: LogicalType("struct", fields=tuple(fields))),
    ),
    max_leaves=4,
)
"""Types of few kinds, so that many pairs stand in an order."""


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("int64", "decimal(19,0)", "widened"),
        ("int64", "decimal(18,0)", "changed"),
        ("int64", "decimal(20,-1)", "changed"),  # tens only
        ("uint64", "decimal(19,0)", "changed"),
        ("uint64", "decimal(22,2)", "widened"),
        ("uint64", "float64", "widened"),
        ("decimal(5,2)", "decimal(6,2)", "widened"),
        ("decimal(5,2)", "decimal(6,4)", "changed"),
        ("decimal(6,2)", "decimal(5,2)", "narrowed"),
        ("int64", "string", "changed"),
        ("string", "int64", "changed"),
        ("int64", "null", "emptied"),
        ("null", "int64", "widened"),
        ("list<null>", "list<int64>", "widened"),
        ("list<int64>", "list<null>", "emptied"),
        ("list<int64>", "null", "emptied"),
        ("struct<>", "struct<a: int64>", "widened"),
        ("struct<a: int64>", "struct<>", "narrowed"),
        ("struct<a: int64>", "struct<A: int64>", "changed"),
        ("struct<a: int64, b: date>", "struct<a: null, b: timestamp, c: string>", "emptied"),
        ("struct<a: null>", "struct<a: int64>", "widened"),
        ("map<string, int64>", "map<string, null>", "emptied"),
        ("union<int64, float64>", "float64", "widened"),
        ("float64", "union<int64, float64>", "widened"),
        ("union<int64, string>", "union<float64, string>", "widened"),
        ("union<int64, string>", "string", "narrowed"),
        ("list<union<int64, string>>", "list<int64>", "narrowed"),
        ("union<list<int64>, struct<a: int64>>", "union<struct<b: date, a: float64>, list<float64>>", "widened"),
        ("a type of an older reader", "int64", "changed"),
        ("int64", "a type of an older reader", "changed"),
    ],
)
def test_how_a_type_changed(before: str, after: str, kind: str) -> None:
    assert kind_of_change(before, after) == kind


@given(types)
def test_a_type_widens_itself_and_the_type_without_values(type_: LogicalType) -> None:
    assert widens(str(type_), str(type_))
    assert widens("null", str(type_))


@given(close, close, close)
def test_what_holds_a_type_that_holds_a_third_holds_the_third(one: LogicalType, two: LogicalType, three: LogicalType) -> None:
    for a, b, c in permutations(map(str, (one, two, three))):
        if widens(a, b) and widens(b, c):
            assert widens(a, c)


@given(close, st.data())
def test_growing_twice_is_growing(type_: LogicalType, data: st.DataObject) -> None:
    once = _grown(type_, data)
    twice = _grown(once, data)
    assert widens(str(type_), str(once))
    assert widens(str(once), str(twice))
    assert widens(str(type_), str(twice))


@given(close, close)
def test_types_that_widen_each_other_are_one_but_for_the_order_of_their_parts(one: LogicalType, other: LogicalType) -> None:
    mutual = widens(str(one), str(other)) and widens(str(other), str(one))
    assert mutual is (_canonical(one) == _canonical(other))


@given(close, close)
def test_what_is_remembered_is_lost_nowhere(before: LogicalType, after: LogicalType) -> None:
    known = remembered(str(before), str(after))
    assert widens(str(after), known)
    assert remembered(str(before), known) == known
    assert remembered(str(before), "null") == str(before)


@given(close, close)
def test_kinds_of_change_follow_from_the_order(before: LogicalType, after: LogicalType) -> None:
    there, back = kind_of_change(str(before), str(after)), kind_of_change(str(after), str(before))
    assert (there is Kind.WIDENED) is widens(str(before), str(after))
    if there is Kind.NARROWED:
        assert back is Kind.WIDENED
    if there is Kind.CHANGED:
        assert back is not Kind.WIDENED


@given(close, close)
def test_differences_are_found_exactly_where_types_differ(before: LogicalType, after: LogicalType) -> None:
    found = differences(str(before), str(after))
    assert bool(found) is (before != after)
    assert all(old != new for _, old, new in found)


def test_a_difference_is_named_by_its_path() -> None:
    found = differences(
        "struct<a: list<struct<b: int64>>, m: map<string, int64>, x: date>",
        "struct<a: list<struct<b: string>>, m: map<int64, date>, y: date>",
    )
    assert [(path, old and str(old), new and str(new)) for path, old, new in found] == [
        (".a[].b", "int64", "string"),
        (".m{key}", "string", "int64"),
        (".m{}", "int64", "date"),
        (".x", "date", None),
        (".y", None, "date"),
    ]


def _grown(type_: LogicalType, data: st.DataObject) -> LogicalType:
    """A type that has all values of this one, and likely more."""
    how = data.draw(st.sampled_from(["same", "union", "field", "parts"]))
    if how == "union":
        return LogicalType.of("union", data.draw(close), type_)
    if how == "field" and type_.name == "struct":
        return LogicalType("struct", fields=(*type_.fields, ("new", data.draw(close))))
    if how == "parts" and type_.fields:
        return LogicalType(type_.name, fields=tuple((name, _grown(part, data)) for name, part in type_.fields))
    return LogicalType("float64") if type_.name in {"int64", "null"} else type_


def _canonical(type_: LogicalType) -> object:
    """The same for types with the same values: no union in a union, none of its members holds another, no order of members or fields."""
    if type_.name == "union":
        members = [member for part in type_.parts for member in _members(part)]
        kept = {
            _canonical(member)
            for member in members
            if not any(widens(str(member), str(other)) and not widens(str(other), str(member)) for other in members)
        }
        return kept.pop() if len(kept) == 1 else ("union", frozenset(kept))
    if type_.name == "struct":
        names = [name for name, _ in type_.fields]
        return "struct", frozenset((name, names[:place].count(name), _canonical(part)) for place, (name, part) in enumerate(type_.fields))
    return type_.name, type_.digits, tuple(_canonical(part) for part in type_.parts)


def _members(type_: LogicalType) -> list[LogicalType]:
    return [member for part in type_.parts for member in _members(part)] if type_.name == "union" else [type_]
