"""Files of a multipart/form-data body (RFC 7578), one after the other, as they arrive."""

from collections.abc import Iterator
from typing import BinaryIO, cast

from fastapi import HTTPException
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser, parse_options_header

from dsplatform.api.incoming import BLOCK
from dsplatform.versioning.uploads import Part

MOST_PARTS = 1_000
HEADER_BYTES = 8 * 1024
MOST_HEADERS = 16
"""Of one part."""


def parts(body: BinaryIO, content_type: str | None) -> Iterator[Part]:
    """The files of the body; each is read to its end before the next one is asked for. Memory does not grow with them.

    A file is called as its `filename` says, else as its field. Raises 415 for a body of another type, 400 for a malformed one, 413 for one
    with too many parts or too large headers, 422 for a field that is no file.
    """
    kind, options = parse_options_header(content_type or "")
    boundary = options.get("boundary", "")
    if kind != "multipart/form-data" or not 0 < len(boundary) <= 70:
        raise HTTPException(415, "this takes a body of the type multipart/form-data, with a boundary of 70 characters at most")
    found = events(body, boundary)
    for event in found:
        if isinstance(event, MultipartSegment):
            if event.filename is None:
                raise HTTPException(422, f"field {event.name!r} is no file: what is not a file is a parameter of the query")
            yield Part(event.filename or event.name, cast("BinaryIO", _File(found)))


def events(body: BinaryIO, boundary: str) -> Iterator[MultipartSegment | bytes | None]:
    """A segment where a part begins, its bytes, and None where it ends."""
    try:
        with PushMultipartParser(
            boundary, max_segment_count=MOST_PARTS, max_header_size=HEADER_BYTES, max_header_count=MOST_HEADERS
        ) as parser:
            while not parser.closed:
                yield from parser.parse(body.read(BLOCK))
    except MultipartError as err:
        status = 413 if isinstance(err, ParserLimitReached) else 400
        raise HTTPException(status, f"the body is no good multipart/form-data: {err}") from err


class _File:
    """The bytes of the part that has begun, as a file."""

    def __init__(self, events: Iterator[MultipartSegment | bytes | None]) -> None:
        self._events = events
        self._rest = memoryview(b"")
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """Some bytes, `size` at most; none at the end."""
        while not self._rest and not self._ended:
            event = next(self._events, None)
            if event is None:
                self._ended = True
            elif not isinstance(event, MultipartSegment):
                self._rest = memoryview(event)
        if not 0 <= size < len(self._rest):
            size = len(self._rest)
        part, self._rest = self._rest[:size], self._rest[size:]
        return bytes(part)
