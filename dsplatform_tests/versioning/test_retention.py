"""Which versions a rule lets go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.core.errors import Invalid
from dsplatform.core.types import VersionId
from dsplatform.versioning.retention import Candidate, Rule, let_go

rules = st.builds(Rule, st.none() | st.integers(1, 12), st.integers(0, 40)) | st.builds(Rule, st.integers(1, 12), st.none())


@st.composite
def histories(draw: st.DrawFn) -> list[Candidate]:
    """Versions in any order, with gaps where earlier ones went; a later one is never older."""
    numbers = sorted(draw(st.sets(st.integers(1, 60), max_size=25)))
    ages = sorted(draw(st.lists(st.floats(0, 60), min_size=len(numbers), max_size=len(numbers))), reverse=True)
    named = draw(st.lists(st.booleans(), min_size=len(numbers), max_size=len(numbers)))
    made = [Candidate(VersionId(1000 + n), n, age, is_named) for n, age, is_named in zip(numbers, ages, named, strict=True)]
    return draw(st.permutations(made))


def gone(rule: Rule, history: list[Candidate]) -> set[int]:
    return {candidate.number for candidate in let_go(rule, history)}


@given(rules, histories())
def test_a_version_goes_exactly_when_nothing_keeps_it(rule: Rule, history: list[Candidate]) -> None:
    for version in history:
        newer = sum(other.number > version.number for other in history)
        kept = version.named or (rule.keep_last or 0) > newer or version.age_days < (rule.keep_days or 0)
        assert (version.number in gone(rule, history)) is not kept


@given(rules, histories())
def test_what_a_branch_or_tag_names_never_goes(rule: Rule, history: list[Candidate]) -> None:
    assert not any(candidate.named for candidate in let_go(rule, history))


@given(rules, histories())
def test_they_go_oldest_first_and_only_once(rule: Rule, history: list[Candidate]) -> None:
    going = let_go(rule, history)
    assert going == sorted(going, key=lambda candidate: candidate.number)
    left = [candidate for candidate in history if candidate not in going]
    assert let_go(rule, left) == []


@given(rules, histories(), st.integers(0, 5), st.integers(0, 5))
def test_a_more_generous_rule_lets_no_more_go(rule: Rule, history: list[Candidate], more: int, longer: int) -> None:
    generous = Rule(None if rule.keep_last is None else rule.keep_last + more, None if rule.keep_days is None else rule.keep_days + longer)
    assert gone(generous, history) <= gone(rule, history)


@given(histories(), st.integers(1, 12), st.integers(0, 40))
def test_two_parts_of_a_rule_keep_what_either_keeps(history: list[Candidate], last: int, days: int) -> None:
    assert gone(Rule(last, days), history) == gone(Rule(last, None), history) & gone(Rule(None, days), history)


@pytest.mark.parametrize(("last", "days"), [(None, None), (0, None), (-1, 3), (None, -1), (1, 10**9), (10**9, None)])
def test_a_rule_that_says_nothing_or_nonsense_is_refused(last: int | None, days: int | None) -> None:
    with pytest.raises(Invalid):
        Rule(last, days)


def test_a_rule_says_what_it_keeps() -> None:
    assert str(Rule(3, None)) == "what branches and tags name and the last 3"
    assert str(Rule(3, 30)) == "what branches and tags name and the last 3 and those of the last 30 days"
