"""docs/schema-changes.md, line by line: what was agreed is what the code says."""

import json
import re
from pathlib import Path

import pytest

from dsplatform.schemas.comparing.comparison import Verdict, compare, drift
from dsplatform_tests.schemas.comparing.notation import parsed

PAGE = (Path(__file__).parents[3] / "docs" / "schema-changes.md").read_text()
ROWS = [
    tuple(cell.strip().strip("`") for cell in match.groups())
    for match in re.finditer(r"^\|(.*)\|(.*)\|(.*)\|(.*)\|(.*)\|$", PAGE, re.MULTILINE)
]
CHANGES = [row for row in ROWS if row[0].isdigit()]


def test_the_table_is_read_whole_and_has_every_verdict_often() -> None:
    assert [int(number) for number, *_ in CHANGES] == list(range(1, len(CHANGES) + 1))
    assert len(CHANGES) == len(re.findall(r"^\| \d+ \|", PAGE, re.MULTILINE)) >= 100
    verdicts = [verdict for *_, verdict in CHANGES]
    assert set(verdicts) == set(Verdict)
    assert min(verdicts.count(verdict) for verdict in Verdict) >= 10


@pytest.mark.parametrize(("number", "before", "after", "told", "verdict"), CHANGES)
def test_a_change_has_the_verdict_and_the_words_that_were_agreed(number: str, before: str, after: str, told: str, verdict: str) -> None:
    (old, profiles), (new, others) = parsed(before), parsed(after)
    found = compare(old, new, (profiles, others))
    assert (found.verdict, "; ".join(found.sentences())) == (verdict, told)


@pytest.mark.parametrize(("number", "before", "after", "told", "verdict"), CHANGES)
def test_no_verdict_depends_on_profiles(number: str, before: str, after: str, told: str, verdict: str) -> None:
    assert compare(parsed(before)[0], parsed(after)[0]).verdict == verdict


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_words_are_said_exactly_where_something_changed(number: int) -> None:
    _, before, after, *_ = CHANGES[number]
    (old, _), (new, _) = parsed(before), parsed(after)
    for left, right in ((old, new), (new, old)):
        assert bool(drift(left, right)) is (compare(left, right).verdict is not Verdict.IDENTICAL)
    assert drift(old, old) == drift(new, new) == []


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_every_comparison_is_json(number: int) -> None:
    (old, profiles), (new, others) = parsed(CHANGES[number][1]), parsed(CHANGES[number][2])
    plain = compare(old, new, (profiles, others)).plain()
    assert json.loads(json.dumps(plain)) == plain
