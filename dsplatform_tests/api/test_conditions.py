import base64
import hashlib
from contextlib import suppress

import pytest
from fastapi import HTTPException
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.api import conditions
from dsplatform.api.conditions import Span
from dsplatform.core.types import ContentHash

HASH = ContentHash(hashlib.sha256(b"some").hexdigest())
TAG = f'"{HASH}"'


def part(header: str, content: bytes) -> bytes | int | None:
    """What `span` says: the bytes, the status, or None for the whole."""
    try:
        found = conditions.span(header, None, TAG, len(content))
    except HTTPException as err:
        return err.status_code
    return None if found is None else content[found.offset : found.offset + found.length]


# --- ranges ----------------------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_is_the_bytes_from_the_first_to_the_last_that_there_are(content: bytes, first: int, last: int) -> None:
    found = part(f"bytes={first}-{last}", content)
    if last < first:
        assert found is None
    elif first >= len(content):
        assert found == 416
    else:
        assert found == content[first : last + 1]


@given(st.binary(max_size=50), st.integers(0, 60))
def test_an_open_range_goes_to_the_end(content: bytes, first: int) -> None:
    assert part(f"bytes={first}-", content) == (416 if first >= len(content) else content[first:])


@given(st.binary(max_size=50), st.integers(0, 60))
def test_a_suffix_is_the_last_bytes(content: bytes, count: int) -> None:
    if count == 0:
        assert part("bytes=-0", content) == 416
    elif not content:
        assert part(f"bytes=-{count}", content) is None  # no part can say that it is empty
    else:
        assert part(f"bytes=-{count}", content) == content[-count:]


@pytest.mark.parametrize(
    "header",
    ["bytes=0-1,3-4", "bytes=", "bytes=-", "bytes=a-b", "bytes=1", "lines=0-1", "0-1", "bytes=0-1;", "bytes=٣-٤", f"bytes={'9' * 4400}-"],
)
def test_several_ranges_other_units_and_malformed_ones_are_the_whole(header: str) -> None:
    assert part(header, b"0123456789") is None


def test_a_range_of_another_content_is_the_whole() -> None:
    assert conditions.span("bytes=0-1", TAG, TAG, 10) == Span(0, 2)
    for other in ('"other"', f"W/{TAG}", "Wed, 21 Oct 2026 07:28:00 GMT"):
        assert conditions.span("bytes=0-1", other, TAG, 10) is None


@given(st.text(max_size=40))
def test_no_header_is_unforeseen(header: str) -> None:
    part(header, b"0123456789")
    conditions.matches(header, TAG, weak=True)
    for ask in (lambda: conditions.announced(header), lambda: conditions.expected(header, None)):
        with suppress(HTTPException):
            ask()


# --- entity tags -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "weak", "strong"),
    [
        (TAG, True, True),
        ("*", True, True),
        (f'"a", {TAG} ,"b"', True, True),
        (f"W/{TAG}", True, False),
        ('"a"', False, False),
        (TAG[1:-1], False, False),
        (f'"{TAG[1:-1]}x"', False, False),
        ("", False, False),
    ],
)
def test_entity_tags_are_compared_weakly_or_strongly(header: str, *, weak: bool, strong: bool) -> None:
    assert conditions.matches(header, TAG, weak=True) is weak
    assert conditions.matches(header, TAG, weak=False) is strong


def test_a_weak_tag_is_never_strongly_the_same() -> None:
    assert not conditions.matches(f"W/{TAG}", f"W/{TAG}", weak=False)
    assert conditions.matches(f"W/{TAG}", f"W/{TAG}", weak=True)


def test_a_write_asks_for_one_content_or_for_nothing_to_be_there() -> None:
    assert conditions.expected(None, None) == (False, None)
    assert conditions.expected(TAG, None) == (True, HASH)
    assert conditions.expected(None, "*") == (True, None)
    for wrong in (("*", None), (f"W/{TAG}", None), (f"{TAG}, {TAG}", None), (None, TAG), (TAG, "*"), (TAG.upper(), None)):
        with pytest.raises(HTTPException) as refused:
            conditions.expected(*wrong)
        assert refused.value.status_code == 400


# --- digests ---------------------------------------------------------------------------------------------------------------------


@given(st.binary())
def test_a_digest_that_was_written_is_read_again(content: bytes) -> None:
    digest = ContentHash(hashlib.sha256(content).hexdigest())
    assert conditions.announced(conditions.digest(digest)) == digest
    assert conditions.announced(f"sha-512=:{base64.b64encode(bytes(64)).decode()}:, {conditions.digest(digest)}") == digest


@pytest.mark.parametrize("header", ["", "sha-512=:AAAA:", "sha-256=:AAAA:", "sha-256=:!!!:", f"sha-256={HASH}", "sha-256=:A:"])
def test_a_digest_that_cannot_be_checked_is_refused(header: str) -> None:
    with pytest.raises(HTTPException) as refused:
        conditions.announced(header)
    assert refused.value.status_code == 400
