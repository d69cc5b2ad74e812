import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.core.domain import Actor
from dsplatform.core.errors import Invalid
from dsplatform.core.types import ContentHash, DatasetId, FilePath, VersionId, dataset_name
from dsplatform.core.values import CommitMode, Content, DatasetRef, VersionChange
from dsplatform.versioning.model import Difference, Head, Replaced, difference, message, overlay, parse_reference
from dsplatform_tests.strategies import words

ANN = Actor(1, "ann")
SALES = DatasetRef(DatasetId(7), "Sales", "sales~2", 1)
AT = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)
HEAD = Head(VersionId(9), 4, ContentHash("e" * 64), 3, 30)


def content(digit: str, size: int = 10) -> Content:
    return Content(ContentHash(digit * 64), size, "csv", is_new=True)


def change(put: dict[str, Content] | None = None, *remove: str, mode: CommitMode = CommitMode.PATCH, text: str = "") -> VersionChange:
    return VersionChange(
        ANN, SALES, {FilePath(name): one for name, one in (put or {}).items()}, tuple(map(FilePath, remove)), message=text, mode=mode
    )


names = st.sampled_from([FilePath(name) for name in "abcd"])
trees = st.dictionaries(names, st.sampled_from("0123"), max_size=4)


@given(parent=trees, put=trees, remove=st.sets(names), mode=st.sampled_from(CommitMode))
def test_a_difference_turns_the_parent_into_what_the_change_means(
    parent: dict[FilePath, str], put: dict[FilePath, str], remove: set[FilePath], mode: CommitMode
) -> None:
    asked = change({name: content(digit, int(digit)) for name, digit in put.items()}, *sorted(remove), mode=mode)
    differing = {
        name: Replaced(ContentHash(parent[name] * 64), int(parent[name])) if name in parent else None
        for name, digit in put.items()
        if parent.get(name) != digit
    }
    sizes = {name: int(digit) for name, digit in parent.items()}
    if remove & set(put) or remove - set(parent):
        with pytest.raises(Invalid, match="removed"):
            difference(asked, differing, sizes)
        return
    found = difference(asked, differing, sizes)
    kept = {} if mode is CommitMode.REPLACE else {name: digit for name, digit in parent.items() if name not in remove}
    wanted = {**kept, **put}
    result = {name: digit for name, digit in parent.items() if name not in found.removed}
    assert not set(found.added) & set(result)
    assert set(found.updated) <= set(result)
    result |= {name: one.content_hash[0] for name, one in {**found.added, **found.updated}.items()}
    assert result == wanted
    assert found.is_empty == (wanted == parent)
    assert sum(sizes.values()) - found.bytes_gone + sum(one.file_size for one in {**found.added, **found.updated}.values()) == sum(
        int(digit) for digit in wanted.values()
    )


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (change({"a": content("1")}, "a"), "'a' cannot be put and removed by one version"),
        (change({}, "z"), "'z' cannot be removed: the parent version has no component of that name"),
    ],
)
def test_a_removal_that_makes_no_sense_is_refused(asked: VersionChange, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        difference(asked, dict.fromkeys(asked.put), {FilePath("a"): 1})


def test_what_is_removed_keeps_the_order_of_the_parent() -> None:
    parent = {FilePath(name): 1 for name in ("c", "a", "b")}
    assert difference(change({}, "a", "c", "b"), {}, parent).removed == ("c", "a", "b")


# --- the overlay -------------------------------------------------------------------------------------------------------------------


def test_the_overlay_of_a_version_is_exactly_this_document() -> None:
    diff = Difference({FilePath("é"): content("1", 5)}, {FilePath("a"): content("2", 6)}, (FilePath("b"),), 16)
    assert overlay(change(text="why"), HEAD, diff, AT).decode() == (
        '{"at":"2024-05-01T12:30:00+00:00","author":"ann","branch":"main","changes":['
        '{"hash":"' + "2" * 64 + '","name":"a","op":"update","size":6,"type":"csv"},'
        '{"name":"b","op":"remove"},'
        '{"hash":"' + "1" * 64 + '","name":"é","op":"add","size":5,"type":"csv"}],'
        '"dataset":"sales~2","format":"dsplatform.overlay/1","message":"why","parent":{"number":4,"overlay":"' + "e" * 64 + '"}}'
    )


def test_the_overlay_of_a_first_version_has_no_parent() -> None:
    assert json.loads(overlay(change(), None, Difference({}, {}, (), 0), AT))["parent"] is None


@given(st.permutations([(FilePath(name), content(name)) for name in "abc"]))
def test_an_overlay_does_not_depend_on_the_order_of_what_was_put(items: list[tuple[FilePath, Content]]) -> None:
    documents = {overlay(change(), HEAD, Difference(dict(part), {}, (), 0), AT) for part in (items, sorted(items))}
    assert len(documents) == 1


@given(text=st.text(max_size=20), name=words)
def test_an_overlay_is_canonical_json(text: str, name: str) -> None:
    try:
        asked = change({}, text=message(text))
        name.encode()
    except (Invalid, UnicodeEncodeError):
        return
    document = overlay(asked, HEAD, Difference({FilePath(name): content("1")}, {}, (), 0), AT)
    assert json.dumps(json.loads(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() == document


# --- references and messages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "parts"),
    [("sales", ("sales", None)), ("sales@3", ("sales", "3")), ("sales@a@b", ("sales", "a@b")), ("a b@latest", ("a b", "latest"))],
)
def test_a_reference_is_taken_apart_at_the_first_mark(raw: str, parts: tuple[str, str | None]) -> None:
    assert parse_reference(raw) == parts


@pytest.mark.parametrize("raw", ["", "@", "@3", "sales@"])
def test_half_a_reference_is_refused(raw: str) -> None:
    with pytest.raises(Invalid, match="write DATASET or DATASET@REF"):
        parse_reference(raw)


@given(words, st.none() | st.text(min_size=1, max_size=5))
def test_what_a_dataset_name_and_a_ref_make_is_taken_apart_again(raw: str, ref: str | None) -> None:
    try:
        name = dataset_name(raw)
    except Invalid:
        return
    assert parse_reference(name if ref is None else f"{name}@{ref}") == (name, ref)


def test_a_message_is_trimmed_and_bounded() -> None:
    assert message("  why\nnot \n") == "why\nnot"
    assert message("é" * 10_000) == "é" * 10_000
    with pytest.raises(Invalid, match="10001 characters: 10,000 at most"):
        message("x" * 10_001)


@pytest.mark.parametrize("raw", ["a\x00b", "a\ud800b"])
def test_a_message_that_cannot_be_stored_is_refused(raw: str) -> None:
    with pytest.raises(Invalid, match="a NUL or a broken character"):
        message(raw)
