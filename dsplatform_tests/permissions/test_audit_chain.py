"""The chain by itself: whatever is done to rows and seals, it is found, and named where it was done."""

import hashlib
import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.core.errors import Invalid
from dsplatform.permissions.audit_chain import GENESIS, ChainCheck, Finding, Head, Row, Seal, canonical, link, plain, row_hash

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)


def row(number: int, at: str = "2026-11-01T12:00:00.000000Z", **more: object) -> Row:
    return {
        "id": number,
        "at": at,
        "actor": "ada",
        "action": "branch.create",
        "token_id": None,
        "before": None,
        "after": '{"n": 1}',
        **more,
    }


def chain(rows: list[Row]) -> list[Seal]:
    seals, before = [], GENESIS
    for position, one in enumerate(rows, start=1):
        own = row_hash(one)
        before = link(before, own)
        seals.append(Seal(position, one["id"], own, before, one))
    return seals


def found(seals: list[Seal], noted: Head | None = None) -> list[Finding]:
    check = ChainCheck(noted)
    for seal in seals:
        check.see(seal)
    check.end()
    assert check.found == len(check.findings)
    return check.findings


def kinds(seals: list[Seal], noted: Head | None = None) -> list[tuple[str, int | None]]:
    return [(finding.kind, finding.position) for finding in found(seals, noted)]


def head(seals: list[Seal]) -> Head:
    return Head(seals[-1].position, seals[-1].chain_hash)


ROWS = [row(number) for number in range(1, 8)]


def test_the_canonical_form_is_what_the_documentation_says() -> None:
    one = row(7, after='{"é": "\\u0001/\\"", "b": [1.50, 0.0000001, null, true], "a": 12345678901234567890123}', actor='a"b\n')
    text = canonical(plain(one))
    assert text == (
        '{"action":"branch.create","actor":"a\\"b\\n",'
        '"after":{"a":12345678901234567890123,"b":[1.50,0.0000001,null,true],"é":"\\u0001/\\""},'
        '"at":"2026-11-01T12:00:00.000000Z","id":7}'
    )
    assert row_hash(one) == hashlib.sha256(text.encode()).hexdigest()


@given(st.dictionaries(WORDS, JSON, max_size=4))
def test_the_canonical_form_reads_back_and_does_not_depend_on_the_order(value: dict[str, object]) -> None:
    assert json.loads(canonical(value)) == value
    assert canonical(dict(reversed(value.items()))) == canonical(value)
    assert canonical(json.loads(json.dumps(value), parse_int=Decimal)) == canonical(value)


def test_what_is_nested_too_deep_for_readers_is_taken_as_text() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    assert plain(row(1, after=deep))["after"] == deep
    assert row_hash(row(1, after=deep)) != row_hash(row(1, after=None))


def test_a_chain_that_nobody_touched_is_sound() -> None:
    seals = chain(ROWS)
    assert kinds(seals, head(seals)) == []
    assert kinds(seals, head(seals[:3])) == []
    assert kinds([]) == []


@pytest.mark.parametrize("at", range(7))
def test_each_thing_that_is_done_at_one_place_is_named_there_alone(at: int) -> None:
    seals = chain(ROWS)
    one, position = seals[at], at + 1

    def but(changed: Seal) -> list[Seal]:
        return [*seals[:at], changed, *seals[at + 1 :]]

    assert kinds(but(replace(one, row=row(position, actor="eve")))) == [("changed", position)]
    assert kinds(but(replace(one, row=None))) == [("removed", position)]
    assert kinds(but(replace(one, chain_hash="f" * 64))) == [("seal", position)]
    assert kinds(but(replace(one, row_hash="f" * 64))) == [("seal", position)]
    both = replace(one, row=row(position, actor="eve"), row_hash=row_hash(row(position, actor="eve")))
    assert kinds(but(both)) == [("seal", position)]
    if at < 6:  # of the last one nobody can tell
        forged = replace(both, chain_hash=link(seals[at - 1].chain_hash if at else GENESIS, both.row_hash))
        assert kinds(but(forged)) == [("seal", position + 1)]
        assert kinds([*seals[:at], *seals[at + 1 :]]) == [("gap", position + 1)]


def test_a_swapped_pair_of_rows_is_named() -> None:
    seals = chain(ROWS)
    a, b = seals[2], seals[3]
    seals[2:4] = [replace(a, row=b.row), replace(b, row=a.row)]
    assert kinds(seals) == [("changed", 3), ("changed", 4)]


def test_a_swapped_pair_of_seals_is_named() -> None:
    seals = chain(ROWS)
    a, b = seals[2], seals[3]
    seals[2:4] = [replace(b, position=3), replace(a, position=4)]
    assert {kind for kind, _ in kinds(seals)} == {"seal"}
    assert {3, 4} <= {position for _, position in kinds(seals)}


def test_an_end_that_was_cut_off_and_a_chain_made_anew_are_found_by_a_noted_head() -> None:
    seals = chain(ROWS)
    assert kinds(seals[:5]) == []
    assert kinds(seals[:5], head(seals)) == [("head", 5)]
    assert kinds([], head(seals)) == [("head", 0)]
    anew = chain([row(1, actor="eve"), *ROWS[1:]])
    assert kinds(anew) == []
    assert kinds(anew, head(seals)) == [("head", 7)]
    assert kinds(anew, head(seals[:4])) == [("head", 4)]


def test_a_seal_that_was_put_before_the_first_is_found() -> None:
    seals = chain(ROWS)
    assert kinds([replace(seals[0], position=-3, audit_id=99, row=row(99)), *seals]) != []


def test_a_row_with_an_older_time_is_found_once() -> None:
    times = ["12:00", "12:01", "09:00", "12:02", "12:03"]
    seals = chain([row(number, at=f"2026-11-01T{time}:00.000000Z") for number, time in enumerate(times, start=1)])
    assert kinds(seals) == [("backdated", 3)]


def test_a_row_that_committed_late_is_no_finding() -> None:
    times = ["12:00", "12:50", "11:55", "12:51"]
    assert kinds(chain([row(number, at=f"2026-11-01T{time}:00.000000Z") for number, time in enumerate(times, start=1)])) == []


def test_a_time_that_is_none_is_no_reason_to_give_up() -> None:
    assert kinds(chain([row(1), row(2, at="infinity"), row(3, at="")])) == []


def test_only_the_first_findings_are_kept_in_words() -> None:
    check = ChainCheck()
    for seal in chain([row(number) for number in range(1, 1_200)]):
        check.see(replace(seal, row=None))
    assert (check.found, len(check.findings)) == (1_199, 1_000)


@given(st.data())
def test_whatever_is_done_to_some_seals_is_found(data: st.DataObject) -> None:
    """Any change of rows, hashes or order, but for cutting the end off, which a head finds."""
    seals = chain(ROWS)
    changed = list(seals)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed) - 1))
        one = changed[at]
        other = data.draw(st.sampled_from(seals))
        changed[at] = data.draw(
            st.sampled_from(
                [
                    replace(one, row=other.row),
                    replace(one, row_hash=other.row_hash),
                    replace(one, chain_hash=other.chain_hash),
                    replace(one, row=other.row, row_hash=other.row_hash),
                    replace(one, row=other.row, row_hash=other.row_hash, chain_hash=other.chain_hash),
                    replace(one, row=None),
                ]
            )
        )
        if len(changed) > 1 and data.draw(st.booleans()):
            del changed[at]
    if changed == seals[: len(changed)]:
        assert kinds(changed, head(seals)) == ([] if len(changed) == len(seals) else [("head", len(changed))])
    else:
        assert kinds(changed) != []


@pytest.mark.parametrize(
    "text",
    ["", "7", "7:", ":" + "a" * 64, "0:" + "a" * 64, "7:" + "A" * 64, "-7:" + "a" * 64, "\u0667:" + "a" * 64, "9" * 19 + ":" + "a" * 64],
)
def test_a_head_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="POSITION:HASH"):
        Head.parse(text)


def test_a_head_reads_back() -> None:
    assert Head.parse(f" {Head(7, 'a' * 64)}\n") == Head(7, "a" * 64)
