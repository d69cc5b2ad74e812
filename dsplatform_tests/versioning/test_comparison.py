"""Telling what became of components."""

from collections import Counter
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from dsplatform.versioning import comparison
from dsplatform.versioning.comparison import ComponentChange, Kind
from dsplatform_tests.versioning.test_merging import State, components, differing

states = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 4))


def names(change: ComponentChange) -> tuple[Kind, str | None, str | None]:
    return change.kind, change.before.name if change.before else None, change.after.name if change.after else None


def told(before: State, after: State) -> list[tuple[Kind, str | None, str | None]]:
    return [names(change) for change in comparison.changes(differing(before, after))]


def test_each_kind_is_told() -> None:
    before = {"gone": 1, "old": 2, "same": 3, "was": 4}
    after = {"new": 5, "moved": 2, "same": 3, "was": 6}
    assert told(before, after) == [
        (Kind.REMOVED, "gone", None),
        (Kind.RENAMED, "old", "moved"),
        (Kind.ADDED, None, "new"),
        (Kind.CHANGED, "was", "was"),
    ]


def test_of_equal_contents_names_are_paired_in_their_order() -> None:
    assert told({"a": 1, "b": 1, "c": 1}, {"x": 1, "y": 1}) == [
        (Kind.REMOVED, "c", None),
        (Kind.RENAMED, "a", "x"),
        (Kind.RENAMED, "b", "y"),
    ]
    assert told({"a": 1}, {"x": 1, "y": 1}) == [(Kind.RENAMED, "a", "x"), (Kind.ADDED, None, "y")]


def test_a_name_whose_content_changed_is_no_renaming() -> None:
    assert told({"a": 1, "b": 2}, {"a": 2, "b": 1}) == [(Kind.CHANGED, "a", "a"), (Kind.CHANGED, "b", "b")]
    assert told({"a": 1}, {"a": 1, "copy": 1}) == [(Kind.ADDED, None, "copy")]


@given(states, states)
def test_the_differences_lead_from_one_state_to_the_other(before: State, after: State) -> None:
    found = comparison.changes(differing(before, after))
    state = dict(before)
    for change in found:
        if change.before:
            assert state.pop(change.before.name) == change.before.file_id
    for change in found:
        if change.after:
            assert change.after.name not in state
            state[change.after.name] = change.after.file_id
    assert state == after
    assert sum(change.growth for change in found) == sum(after.values()) - sum(before.values())


@given(states, states)
def test_as_many_are_renamed_as_can_be(before: State, after: State) -> None:
    def alone(one: State, other: State) -> Mapping[int, int]:
        return Counter(file for name, file in one.items() if name not in other)

    gone, new = alone(before, after), alone(after, before)
    expected = sum(min(count, new.get(file, 0)) for file, count in gone.items())
    assert sum(kind is Kind.RENAMED for kind, _, _ in told(before, after)) == expected


@given(states, states)
def test_the_way_back_is_the_mirror(before: State, after: State) -> None:
    mirror = {Kind.ADDED: Kind.REMOVED, Kind.REMOVED: Kind.ADDED, Kind.CHANGED: Kind.CHANGED, Kind.RENAMED: Kind.RENAMED}
    there = {(mirror[kind], new, old) for kind, old, new in told(before, after)}
    assert there == set(told(after, before))


def test_what_is_the_same_is_no_difference() -> None:
    assert comparison.changes([]) == ()
    assert components({}) == {}
