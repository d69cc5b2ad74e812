"""Merging on names, with a dictionary per side as the model."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.core.errors import Invalid
from dsplatform.core.types import ContentHash, FileId, FilePath
from dsplatform.core.values import Component
from dsplatform.versioning import merging
from dsplatform.versioning.merging import SHOWN, Choice, MergeConflict
from dsplatform.versioning.model import Pair

State = Mapping[str, int]
"""A version: names and the file under each."""

states = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3))
OURS, THEIRS, BASE = Choice.OURS, Choice.THEIRS, Choice.BASE


def component(name: str, file: int) -> Component:
    return Component(FilePath(name), "file", FileId(file), ContentHash(f"{file:04x}" * 16), file, "csv")


def components(state: State) -> dict[FilePath, Component]:
    return {FilePath(name): component(name, file) for name, file in state.items()}


def differing(before: State, after: State) -> list[Pair]:
    old, new = components(before), components(after)
    return [Pair(name, old.get(name), new.get(name)) for name in sorted(old | new) if old.get(name) != new.get(name)]


def merged(
    bases: Sequence[State], ours: State, theirs: State, strategy: Choice | None = None, choices: Mapping[str, Choice] | None = None
) -> State:
    """What ours becomes."""
    chosen = {FilePath(name): choice for name, choice in (choices or {}).items()}
    changed = merging.merge(differing(ours, theirs), [components(base) for base in bases], strategy, chosen)
    result = dict(ours)
    for name, new in changed.items():
        if new is None:
            del result[name]
        else:
            result[name] = new.file_id
    return result


def both_changed(base: State, ours: State, theirs: State) -> set[str]:
    return {
        name
        for name in {*base, *ours, *theirs}
        if ours.get(name) != theirs.get(name) and base.get(name) not in (ours.get(name), theirs.get(name))
    }


# --- properties --------------------------------------------------------------------------------------------------------------------


@given(states, states, states)
def test_a_merge_is_what_a_person_would_say_name_by_name(base: State, ours: State, theirs: State) -> None:
    contested = both_changed(base, ours, theirs)
    expected = {
        name: state[name]
        for name in {*ours, *theirs}
        for state in [theirs if ours.get(name) == base.get(name) else ours]
        if name not in contested and name in state
    }
    if contested:
        with pytest.raises(MergeConflict) as caught:
            merged([base], ours, theirs)
        assert {one.name for one in caught.value.components} == contested
    else:
        assert merged([base], ours, theirs) == expected


@given(states, states)
def test_merging_with_itself_is_identity(base: State, ours: State) -> None:
    assert merged([base], ours, ours) == ours
    assert merged([], ours, ours) == ours


@given(states, states)
def test_merging_what_stood_still_changes_nothing_and_into_it_takes_all(base: State, other: State) -> None:
    assert merged([base], other, base) == other
    assert merged([base], base, other) == other


@given(states, states, states)
def test_what_does_not_conflict_commutes(base: State, ours: State, theirs: State) -> None:
    if not both_changed(base, ours, theirs):
        assert merged([base], ours, theirs) == merged([base], theirs, ours)


@given(
    states,
    st.dictionaries(st.sampled_from("ab"), st.none() | st.integers(1, 3)),
    st.dictionaries(st.sampled_from("cd"), st.none() | st.integers(1, 3)),
)
def test_disjoint_changes_never_conflict_and_both_arrive(
    base: State, left: Mapping[str, int | None], right: Mapping[str, int | None]
) -> None:
    def applied(*changes: Mapping[str, int | None]) -> State:
        state: dict[str, int | None] = dict(base)
        for change in changes:
            state |= change
        return {name: file for name, file in state.items() if file is not None}

    assert merged([base], applied(left), applied(right)) == applied(left, right) == merged([base], applied(right), applied(left))


@given(states, states, states, st.sampled_from(Choice))
def test_a_strategy_decides_what_is_contested_and_nothing_else(base: State, ours: State, theirs: State, strategy: Choice) -> None:
    result = merged([base], ours, theirs, strategy)
    side = {OURS: ours, THEIRS: theirs, BASE: base}[strategy]
    for name in {*base, *ours, *theirs}:
        if name in both_changed(base, ours, theirs):
            assert result.get(name) == side.get(name)
        else:
            assert result.get(name) == (theirs if ours.get(name) == base.get(name) else ours).get(name)


@given(states, states, states, st.data())
def test_choices_decide_one_by_one(base: State, ours: State, theirs: State, data: st.DataObject) -> None:
    contested = sorted(both_changed(base, ours, theirs))
    choices = {name: data.draw(st.sampled_from(Choice)) for name in contested}
    result = merged([base], ours, theirs, None, choices)
    for name, choice in choices.items():
        assert result.get(name) == {OURS: ours, THEIRS: theirs, BASE: base}[choice].get(name)
    if contested:
        left_out = contested.pop()
        with pytest.raises(MergeConflict) as caught:
            merged([base], ours, theirs, None, {name: choices[name] for name in contested})
        assert [one.name for one in caught.value.components] == [left_out]


@given(states, states, states, st.sampled_from(Choice), st.data())
def test_a_choice_counts_more_than_the_strategy(base: State, ours: State, theirs: State, strategy: Choice, data: st.DataObject) -> None:
    contested = sorted(both_changed(base, ours, theirs))
    choices = data.draw(st.dictionaries(st.sampled_from(contested), st.sampled_from(Choice)) if contested else st.just({}))
    result = merged([base], ours, theirs, strategy, choices)
    for name in contested:
        assert result.get(name) == {OURS: ours, THEIRS: theirs, BASE: base}[choices.get(name, strategy)].get(name)


@given(st.lists(states, min_size=2, max_size=3), states, states)
def test_several_bases_decide_only_where_they_agree(bases: list[State], ours: State, theirs: State) -> None:
    names = {name for state in (*bases, ours, theirs) for name in state}
    unclear = {name for name in names if len({base.get(name) for base in bases}) > 1 and ours.get(name) != theirs.get(name)}
    expected = unclear | both_changed(bases[0], ours, theirs)
    if not expected:
        assert merged(bases, ours, theirs) == merged(bases[:1], ours, theirs)
        return
    with pytest.raises(MergeConflict) as caught:
        merged(bases, ours, theirs)
    assert {one.name for one in caught.value.components} == expected
    assert {one.name for one in caught.value.components if not one.base_known} == unclear


@given(states, states)
def test_without_a_base_every_difference_is_contested(ours: State, theirs: State) -> None:
    different = {name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)}
    if not different:
        assert merged([], ours, theirs) == ours
        return
    with pytest.raises(MergeConflict) as caught:
        merged([], ours, theirs)
    assert {one.name for one in caught.value.components} == different
    assert merged([], ours, theirs, THEIRS) == theirs


# --- sentences ---------------------------------------------------------------------------------------------------------------------


def test_a_conflict_names_each_component_with_all_three_and_the_way_out() -> None:
    with pytest.raises(MergeConflict) as caught:
        merged([{"a": 1, "b": 1}], {"a": 2}, {"a": 3, "b": 2})
    sentence = str(caught.value)
    assert sentence.startswith("both sides changed 2 component(s): ")
    assert "'a' (base 000100010001, ours 000200020002, theirs 000300030003)" in sentence
    assert "'b' (base 000100010001, ours nothing, theirs 000200020002)" in sentence
    assert "--strategy ours|theirs" in sentence
    assert "--choose NAME=ours|theirs|base" in sentence


def test_a_conflict_without_a_clear_base_says_so() -> None:
    with pytest.raises(MergeConflict, match="'a' \\(base unclear, ours "):
        merged([{"a": 1}, {"a": 2}], {"a": 3}, {"a": 1})
    with pytest.raises(Invalid, match="'a' has no clear base"):
        merged([{"a": 1}, {"a": 2}], {"a": 3}, {"a": 1}, None, {"a": BASE})


def test_the_sentence_about_many_conflicts_has_an_end() -> None:
    many = {f"file{number:03}": number + 1 for number in range(SHOWN + 5)}
    with pytest.raises(MergeConflict, match=r"file019.* and 5 more; ") as caught:
        merged([{}], many, dict.fromkeys(many, 999))
    assert len(caught.value.components) == SHOWN + 5
    assert "file020" not in str(caught.value)


@pytest.mark.parametrize("name", ["clean", "same", "nowhere"])
def test_a_choice_about_what_nobody_contests_is_refused(name: str) -> None:
    base, ours, theirs = {"clean": 1, "same": 1, "a": 1}, {"clean": 2, "same": 1, "a": 2}, {"clean": 1, "same": 1, "a": 3}
    with pytest.raises(Invalid, match=f"nothing to choose for '{name}'"):
        merged([base], ours, theirs, None, {"a": OURS, name: OURS})
