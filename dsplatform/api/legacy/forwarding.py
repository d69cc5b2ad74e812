"""The way to the legacy server: a request goes there as it came, and its answer comes back, a block at a time."""

import hashlib
import http.client
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import jwt

from dsplatform.core.errors import Invalid, Unavailable
from dsplatform.permissions import access_tokens, tokens

SECONDS = 60.0
"""How long the legacy server may be silent."""
BLOCK = 1 << 20
JSON_BYTES = 8 << 20
"""JSON up to this size is compared by its parts, other answers by their digests."""
OF_THE_CONNECTION = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
        "host",
        "accept-encoding",
        "cookie",
        "set-cookie",
        "date",
        "server",
    }
)
"""Headers that are no part of what is asked or answered. There are no cookies."""


class NoAnswer(Unavailable):
    """The legacy server does not answer, or broke its answer off."""

    code = "legacy_no_answer"


def is_ours(authorization: str) -> bool:
    """Whether a header presents a credential that we hand out for our own paths: the legacy server is not to see it."""
    credential = authorization.partition(" ")[2].strip()
    if credential.startswith((f"{tokens.API}_", f"{tokens.REFRESH}_")):
        return True
    try:
        return jwt.get_unverified_header(credential).get("typ") == access_tokens.TYPE
    except jwt.InvalidTokenError:
        return False


class Seen:
    """What an answer is like, kept while it passes."""

    def __init__(self, status: int, content_type: str, disposition: str) -> None:
        self.status = status
        self.content_type = content_type.partition(";")[0].strip().lower()
        self.disposition = disposition
        self.whole = False
        """Whether it came to its end."""
        self.broken = False
        """Whether its sender ended it before that."""
        self._digest = hashlib.sha256()
        self._parts: list[bytes] | None = [] if self.content_type == "application/json" else None
        self._size = 0

    def add(self, part: bytes) -> None:
        """The next bytes."""
        self._digest.update(part)
        self._size += len(part)
        if self._parts is not None:
            self._parts.append(part)
            if self._size > JSON_BYTES:
                self._parts = None

    @property
    def digest(self) -> bytes:
        """Of all bytes."""
        return self._digest.digest()

    def json(self) -> Any:
        """What the body says. Raises `ValueError` where it is no JSON, or too large."""
        if self._parts is None:
            raise ValueError("no JSON")
        return json.loads(b"".join(self._parts))


class OldAnswer:
    """An answer of the legacy server."""

    def __init__(self, answer: http.client.HTTPResponse, held: ExitStack, here: str) -> None:
        """`here`: the legacy server's own address, which no client need know."""
        self.status = answer.status
        self.held = held
        self.headers: dict[str, str] = {}
        for name, value in answer.getheaders():
            if name.lower() not in OF_THE_CONNECTION and not name.lower().startswith("access-control-"):
                self.headers[name.title()] = value.removeprefix(here) if name.lower() == "location" else value
        self.seen = Seen(answer.status, self.headers.get("Content-Type", ""), self.headers.get("Content-Disposition", ""))
        self._answer = answer

    def chunks(self) -> Iterator[bytes]:
        """The bytes of its body. Raises `NoAnswer` where they end too early."""
        try:
            while chunk := self._answer.read1(BLOCK):
                self.seen.add(chunk)
                yield chunk
            if self._answer.length:
                raise http.client.IncompleteRead(b"", self._answer.length)
        except (OSError, http.client.HTTPException) as err:
            self.seen.broken = True
            raise NoAnswer("the legacy server broke its answer off") from err
        self.seen.whole = True


class OldServer:
    """The legacy server. Every call takes a connection of its own, and blocks."""

    def __init__(self, url: str, seconds: float = SECONDS) -> None:
        self._parts = urlsplit(url)
        self._url = url
        self._seconds = seconds

    def ask(self, method: str, target: str, headers: Mapping[str, str], body: Iterable[bytes] | bytes | None) -> OldAnswer:
        """What it answers; `target` is the path with its query, as it came. The caller closes `held`. Raises `NoAnswer`, `Invalid` for a
        path that leaves its folder, and what reading `body` raises."""
        if any(part in {b".", b".."} for part in unquote_to_bytes(target.partition("?")[0]).split(b"/")):
            raise Invalid("the path has `.` or `..` in it")
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        with ExitStack() as stack:
            connection = kind(self._parts.hostname or "", self._parts.port, timeout=self._seconds)
            stack.callback(connection.close)
            passed = {name: value for name, value in headers.items() if name.lower() not in OF_THE_CONNECTION}
            passed = {name: value for name, value in passed.items() if name.lower() != "authorization" or not is_ours(value)}
            chunked = body is not None and not isinstance(body, bytes) and "content-length" not in {name.lower() for name in passed}
            if chunked:
                passed["Transfer-Encoding"] = "chunked"
            try:
                connection.request(method, f"{self._parts.path}{target}", body, passed, encode_chunked=chunked)
                answer = connection.getresponse()
            except (OSError, http.client.HTTPException) as err:
                raise NoAnswer("the legacy server does not answer") from err
            return OldAnswer(answer, stack.pop_all(), self._url)

    def whole(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> Seen:
        """What its whole answer is like, also one that it breaks off. Raises as `ask` does."""
        answer = self.ask(method, target, headers, body)
        with answer.held, suppress(NoAnswer):
            for _ in answer.chunks():
                pass
        return answer.seen
