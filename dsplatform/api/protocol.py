"""HTTP/1.1 as it is served: uvicorn's protocol, which sets no time for a client, with deadlines for each part of a request.

A connection is in one of three states. *Waiting*: nothing of a request has come; it ends at the deadline of the first request, and after
that at uvicorn's keep-alive timeout. *Head*: from the first byte until the headers are complete; it ends at the deadline. *Body*: a body
has to bring a least amount in each window of time, as long as it is the client that we wait for. Beside these, an answer must not lie
unread. One loop looks at all connections; a connection has no timer of its own. Requests are begun in the order in which they come, a few
in each turn of the loop, so that a crowd of them does not keep waiting whose request is further on already.
"""

import asyncio
import contextlib
import enum
import logging
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from dsplatform.api.errors import problem
from dsplatform.api.line import Line
from dsplatform.api.writer import Writer

logger = logging.getLogger(__name__)

HEAD_BYTES = 64 * 1024
"""Of the request line and all headers; also of what stands between two pieces of a chunked body, and of trailers."""
HEADERS = 100
PIPELINED = 8
"""Requests that a connection may send ahead of their answers."""
BODY_RATE = 1024
"""Bytes a second."""
UNSENT_BYTES = 256 * 1024
"""Of an answer, what the system takes from us before it is sent. Without a limit that is megabytes for each client that does not read."""
AT_ONCE = 20
"""Connections that are looked at before others are served again: to end hundreds of requests takes a while."""
LINGER_SECONDS = 5.0
"""How long a client may go on sending a body that was answered already, so that it can read the answer."""


@dataclass(frozen=True)
class Patience:
    """How long we wait for a client, in seconds."""

    head: float = 10
    body: float = 20
    """The window in which a body brings `BODY_RATE` a second at least."""
    answer: float = 60
    """How long of an answer nothing may be taken."""


@dataclass
class Cuts:
    """What was cut off or refused before the application saw it, by reason."""

    counts: Counter[str] = field(default_factory=Counter)

    def note(self, reason: str, address: str) -> None:
        """One more."""
        self.counts[reason] += 1
        logger.info("cut off: %s", reason, extra={"address": address})


class _State(enum.Enum):
    WAITING = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()
    DONE = enum.auto()
    """The request is complete; its answer may not be."""


class _RefusedError(Exception):
    """Raised out of a callback of the parser."""


class PatientProtocol(HttpToolsProtocol):
    """One connection."""

    patience: Patience
    cuts: Cuts
    most: int
    """Connections of this process, at most."""
    line: Line

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._state = _State.WAITING
        self._waited: float | None = None
        """Seconds for which the client was the one to go on; None: no deadline runs."""
        self._head_bytes = 0
        self._loose_bytes = 0
        """Received since the last byte of a body, other than of a head."""
        self._body_came = False
        self._body_bytes = 0
        self._unread = 0
        self._lain = 0.0
        """Seconds for which nothing of the answer was taken."""
        self._refusal = (400, "malformed_request", "this is no HTTP request that can be understood")

    # --- what comes in -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Its first request's deadline begins now."""
        super().connection_made(Writer(transport, self.loop))  # type: ignore[arg-type]  # it is one by what it has
        self._waited = 0.0
        if len(self.connections) > self.most:
            self.cuts.note("too many connections", self._address())
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Feeds the parser; what it has not understood as part of a body is counted."""
        if self._state is _State.WAITING and self._waited is None:
            self._waited = 0.0  # also where the parser skips what comes, as line ends before a request
        before, self._body_came = self._state, False
        super().data_received(data)
        if self.transport.is_closing() or self._state is not before:
            return
        if self._state is _State.HEAD:  # of one header that has no end, perhaps, which the parser keeps
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(431, "headers_too_large", f"the headers have more than {HEAD_BYTES} bytes in all")
        elif self._state is _State.BODY:
            self._loose_bytes = 0 if self._body_came else self._loose_bytes + len(data)
            if self._loose_bytes > HEAD_BYTES:
                self._refuse(400, "malformed_request", "between the pieces of the body, or behind it, stands more than is sensible")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        if self._waited is None:
            self._waited = 0.0
        self._state = _State.HEAD
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A piece of the request line."""
        super().on_url(url)
        if len(self.url) > HEAD_BYTES:
            self._fail(414, "uri_too_long", f"the address is longer than {HEAD_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A complete header, or a trailer, of which nobody has to know."""
        if self._state is not _State.HEAD:
            return
        super().on_header(name, value)
        if len(self.headers) > HEADERS:
            self._fail(431, "headers_too_large", f"a request has {HEADERS} headers at most")

    def on_headers_complete(self) -> None:
        """From here on the body's rules hold."""
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES:
            self._fail(431, "headers_too_large", f"the headers have more than {HEAD_BYTES} bytes in all")
        if len(self.pipeline) >= PIPELINED:
            self._fail(400, "malformed_request", f"more than {PIPELINED} requests were sent ahead of their answers")
        self._state = _State.BODY
        self._loose_bytes = self._body_bytes = 0
        self._waited = 0.0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body_came = True
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole request is here. Where it was answered before, nobody but us waits for the next one."""
        super().on_message_complete()
        answered = self.cycle.response_complete
        self._state = _State.WAITING if answered else _State.DONE
        self._waited = 0.0 if answered else None

    def on_response_complete(self) -> None:
        """The answer is written; the next request may begin, once this one's body is at its end."""
        if self._state is _State.BODY:
            self._waited = 0.0
        elif self._state is _State.DONE:
            self._state = _State.WAITING
        super().on_response_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Called by uvicorn: the headers are complete, and the answer to the request before is written."""
        self.line.join(self.loop, partial(self._begin, cycle, app))

    def _begin(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if not cycle.disconnected:
            super()._start_asgi_task(cycle, app)

    # --- what is looked at, once in a while ----------------------------------------------------------------------------

    def look(self, seconds: float) -> None:
        """Cuts the client off if it has had its time, after so many seconds more."""
        unread = self.transport.get_write_buffer_size()
        self._lain = self._lain + seconds if 0 < self._unread <= unread else 0.0
        self._unread = unread
        if self._lain > self.patience.answer:
            self._cut("the answer is not read")
        elif self._waited is not None and not self.transport.is_closing() and not self._waits_for_us():
            self._waited += seconds
            self._judge(self._waited)

    def _waits_for_us(self) -> bool:
        """Whether it is not the client's turn: with a request that came before, or with what it sent of this one."""
        if self.cycle is None or self.cycle.response_complete:
            return False
        if self._state is _State.BODY:
            return bool(self.cycle.body or self.cycle.waiting_for_100_continue or self.flow.read_paused)
        return True

    def _judge(self, waited: float) -> None:
        if self._state in {_State.WAITING, _State.HEAD}:
            if waited > self.patience.head:
                self._refuse(408, "request_timeout", f"the headers were not complete after {self.patience.head:g} seconds")
        elif self.cycle.response_complete:
            if waited > LINGER_SECONDS:
                self._cut("a body goes on after its answer")
        elif waited > self.patience.body:
            if self._body_bytes < waited * BODY_RATE:
                self._cut("a body comes too slowly")
            self._waited, self._body_bytes = 0.0, 0

    def resume_writing(self) -> None:
        """Enough was read that the application may go on writing."""
        self._lain = 0.0
        super().resume_writing()

    # --- the end of it -------------------------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the parser's words are of no use to anybody
        """What the parser does not take."""
        self._refuse(*self._refusal)

    def _fail(self, status: int, code: str, sentence: str) -> None:
        """Inside a callback of the parser: makes it stop, and answers."""
        self._refusal = (status, code, sentence)
        raise _RefusedError(code)

    def _refuse(self, status: int, code: str, sentence: str) -> None:
        """Answers with a problem, unless an answer is under way, and closes."""
        if self.transport.is_closing():
            return
        self.cuts.note(code, self._address())
        if self.cycle is not None and not self.cycle.response_complete:
            if self.cycle.more_body:
                self.transport.abort()
            else:  # the request itself is whole: what came behind it is not
                self.cycle.keep_alive = False
                self.flow.pause_reading()
            return
        answer = problem(status, code, sentence)
        headers = b"".join(b"%s: %s\r\n" % pair for pair in [*answer.raw_headers, (b"connection", b"close")])
        self.transport.write(STATUS_LINE[status] + headers + b"\r\n" + bytes(answer.body))
        self.transport.close()

    def _cut(self, reason: str) -> None:
        """Ends the connection without a farewell, for which the system would keep what is not sent until the client reads it."""
        self.cuts.note(reason, self._address())
        self._option(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _option(self, level: int, option: int, value: int | bytes) -> None:
        with contextlib.suppress(OSError):  # the client is gone already
            self.transport.get_extra_info("socket").setsockopt(level, option, value)

    def _address(self) -> str:
        return self.client[0] if self.client else ""


def protocol(patience: Patience, cuts: Cuts, most: int) -> type[PatientProtocol]:
    """The protocol with these limits, as uvicorn wants it: a class."""
    return type("Protocol", (PatientProtocol,), {"patience": patience, "cuts": cuts, "most": most, "line": Line()})


def hold_little_unsent(listening: Iterable[socket.socket]) -> None:
    """Of an answer the system is to take little before it is sent. Connections have that from the socket that accepts them."""
    for each in listening:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


async def watch(state: ServerState, patience: Patience) -> None:
    """Looks at every connection, several times in the shortest time that a client has.

    Time in which we were too busy to look does not count: what the client has sent meanwhile was not read either.
    """
    pause = min(1.0, patience.head / 4, patience.body / 4, patience.answer / 4)
    before = time.monotonic()
    while True:
        await asyncio.sleep(pause)
        now = time.monotonic()
        seconds, before = min(now - before, 2 * pause), now
        for count, connection in enumerate(list(state.connections), 1):
            if isinstance(connection, PatientProtocol):
                connection.look(seconds)
            if count % AT_ONCE == 0:
                await asyncio.sleep(0)
