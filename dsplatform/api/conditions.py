"""What the headers of a request ask: digests (RFC 9530), preconditions and ranges (RFC 9110). Pure.

A malformed header is refused or ignored as those say.
"""

import base64
import binascii
import re
from dataclasses import dataclass

from fastapi import HTTPException

from dsplatform.core.types import ContentHash

_DIGEST = re.compile(r"sha-256\s*=\s*:([A-Za-z0-9+/=]*):", re.ASCII | re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_RANGE = re.compile(r"bytes\s*=\s*([0-9]*)-([0-9]*)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Span:
    """A part of a representation: `length` bytes from `offset` on."""

    offset: int
    length: int


def etag(content_hash: ContentHash) -> str:
    """The entity tag of exactly these bytes."""
    return f'"{content_hash}"'


def digest(content_hash: ContentHash) -> str:
    """The digest as `Content-Digest` and `Repr-Digest` have it."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(content_hash)).decode()}:"


def announced(header: str | None) -> ContentHash | None:
    """The SHA-256 that the sender says. Raises 400 for a header that does not say one, because somebody wants it checked."""
    if header is None:
        return None
    found = _DIGEST.search(header)
    try:
        raw = base64.b64decode(found[1], validate=True) if found else b""
    except binascii.Error:
        raw = b""
    if len(raw) != 32:
        raise HTTPException(400, "the digest cannot be checked: write it as sha-256=:BASE64 OF 32 BYTES:")
    return ContentHash(raw.hex())


def expected(if_match: str | None, if_none_match: str | None) -> tuple[bool, ContentHash | None]:
    """What a write asks of what is there: (whether it asks, the content that has to be there; None: nothing). Raises 400 for what cannot be
    held until the commit: anything but one entity tag, or `If-None-Match: *`."""
    if if_match is None and if_none_match is None:
        return False, None
    if if_none_match is not None:
        if if_match is not None or if_none_match.strip() != "*":
            raise HTTPException(400, "for writing, If-None-Match takes `*` alone, and not together with If-Match")
        return True, None
    tag = (if_match or "").strip()
    if not re.fullmatch('"[0-9a-f]{64}"', tag):
        raise HTTPException(400, "for writing, If-Match takes one entity tag, as the answer to GET has it")
    return True, ContentHash(tag[1:-1])


def matches(header: str, tag: str, *, weak: bool) -> bool:
    """Whether a list of entity tags, or `*`, names this one; by the weak comparison, or by the strong one that no weak tag passes."""
    if header.strip() == "*":
        return True
    named = _TAG.findall(header)
    return any((one.removeprefix("W/") if weak else one) == (tag.removeprefix("W/") if weak else tag) for one in named) and (
        weak or not tag.startswith("W/")
    )


def span(header: str | None, if_range: str | None, tag: str, size: int) -> Span | None:
    """The part that is asked for; None: the whole, also for what asks for several parts, for other units, and for what is malformed.

    Raises 416 for a part that does not exist.
    """
    if header is None or (if_range is not None and if_range.strip() != tag):
        return None
    found = _RANGE.fullmatch(header.strip())
    if found is None or not (found[1] or found[2]) or max(map(len, found.groups())) > 4_000:
        return None
    first, last = found[1], found[2]
    if not first:
        length = min(int(last), size)
        if length == 0 and int(last) == 0:
            raise _no_such_part(size)
        return Span(size - length, length) if length else None
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        raise _no_such_part(size)
    end = min(int(last), size - 1) if last else size - 1
    return Span(int(first), end - int(first) + 1)


def _no_such_part(size: int) -> HTTPException:
    return HTTPException(416, f"the content has {size} bytes: ask for a part of them", {"Content-Range": f"bytes */{size}"})
