"""Shadow mode: who reads is answered by the system that is written to, and asks the other one, too; both answers are compared.

Before the switch the legacy server answers, and alone hears what is to be changed; after it, our services do. Comparing never changes what
a client gets, and keeps nothing of what an answer says.
"""

import logging
import re
from asyncio import Event, Task, create_task
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import Any, cast

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, HTTPException, Request
from starlette.datastructures import MutableHeaders
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dsplatform.api.incoming import BLOCK, IncomingBody
from dsplatform.api.legacy.comparing import differences, explanation
from dsplatform.api.legacy.errors import Writable
from dsplatform.api.legacy.forwarding import NoAnswer, OldAnswer, OldServer, Seen
from dsplatform.api.outgoing import OutgoingBody
from dsplatform.core.errors import DsplatformError, Unavailable
from dsplatform.migration.shadow import Difference, Outcome

logger = logging.getLogger(__name__)

THREADS, COMPARED_AT_ONCE = 32, 8
LONGEST_PATH = 500
ASKED_BYTES = 8 << 20
"""Of the body of a question."""
READS = re.compile(r"/api/datasets/[0-9]+/schema/compare")
"""What asks by POST and changes nothing."""


class Comparisons:
    """What was found and waits to be written down. Safe between threads."""

    def __init__(self, most: int = 1_000) -> None:
        self._lock = Lock()
        self._most = most
        self._outcomes: Counter[Outcome] = Counter()
        self._differences: list[Difference] = []

    def add(self, outcome: Outcome, difference: Difference | None = None) -> None:
        """One comparison. Of more than `most` differences that wait, the oldest go."""
        with self._lock:
            self._outcomes[outcome] += 1
            if difference is not None:
                self._differences = [*self._differences[1 - self._most :], difference]

    def take(self) -> tuple[Counter[Outcome], list[Difference]]:
        """What was found since the last time."""
        with self._lock:
            taken = self._outcomes, self._differences
            self._outcomes, self._differences = Counter(), []
            return taken

    def give_back(self, outcomes: Counter[Outcome], found: Sequence[Difference]) -> None:
        """What could not be written waits again."""
        with self._lock:
            self._outcomes.update(outcomes)
            self._differences = [*found, *self._differences][-self._most :]


class Shadow:
    """Between the old paths and what answers them."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        old: OldServer,
        routers: Iterable[APIRouter],
        master: Callable[[], str],
        unseen: Callable[[str], bool],
        who: Callable[[Request], object | None],
        heard: Callable[[Outcome, Difference | None], None],
        most: int,
    ) -> None:
        """`master`: which system is written to; `unseen`: whether what the path names exists; `who` asks; `most`: bytes of a body. All of
        them are called in threads."""
        self._app = app
        self._old = old
        self._routes = [route for router in routers for route in router.routes]
        self._master = master
        self._unseen = unseen
        self._who = who
        self._heard = heard
        self._most = most
        self._limiter: CapacityLimiter | None = None
        self._comparing = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or not self._mark(scope):
            await self._app(scope, receive, send)
            return
        try:
            legacy = await self._in_thread(self._master) == "legacy"
            if reads(scope):
                body = await _body(Request(scope, receive))
                await (self._from_the_old(scope, receive, send, body) if legacy else self._from_ours(scope, receive, send, body))
            elif legacy:
                await self._forward(scope, receive, send)
            else:
                await self._app(scope, receive, send)
        except HTTPException as err:  # of the body
            await Writable({"detail": err.detail}, err.status_code)(scope, receive, send)
        except DsplatformError as err:  # before an answer has begun
            status = 502 if isinstance(err, NoAnswer) else 503 if isinstance(err, Unavailable) else 404
            await Writable({"detail": str(err)}, status)(scope, receive, send)

    def _mark(self, scope: Scope) -> bool:
        """Says which endpoint it is, for who counts them; False: it is none of them."""
        for route in self._routes:
            match, child = route.matches(scope)
            if match is Match.FULL:
                scope.update({key: child[key] for key in ("endpoint", "path_params", "route") if key in child})
                return True
        return False

    async def _in_thread(self, work: Callable[..., Any], *args: Any) -> Any:
        if self._limiter is None:
            self._limiter = CapacityLimiter(THREADS)
        return await to_thread.run_sync(work, *args, limiter=self._limiter)

    # --- who answers -----------------------------------------------------------------------------------------------------------

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is to be changed is heard by the legacy server alone."""
        request = Request(scope, receive)
        request.state.caller = await self._in_thread(self._who, request)
        length = request.headers.get("content-length")
        body: IncomingBody | None = None
        if length not in {None, "0"} or "transfer-encoding" in request.headers:
            body = IncomingBody(request, self._most)

        def ask() -> OldAnswer:
            source = None if body is None else iter(lambda: body.read(BLOCK), b"")
            return self._old.ask(scope["method"], _target(scope), _headers(scope), source)

        try:
            answer = cast("OldAnswer", await self._in_thread(ask))
        finally:
            if body is not None:
                body.close()
        await OutgoingBody(answer.chunks(), answer.held, answer.status, answer.headers)(scope, receive, send)

    async def _from_the_old(self, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        ours = self._begun(self._ours(scope, body))
        answer: OldAnswer | None = None
        try:
            answer = cast("OldAnswer", await self._in_thread(self._old.ask, scope["method"], _target(scope), _headers(scope), body or None))
            await OutgoingBody(answer.chunks(), answer.held, answer.status, answer.headers)(scope, receive, send)
        finally:
            new = await self._ended(ours)
            await self._compare(scope, None if answer is None else answer.seen, new, skipped=ours is None)

    async def _from_ours(self, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        async def asked() -> Seen | None:
            seen = await self._in_thread(self._old.whole, scope["method"], _target(scope), _headers(scope), body or None)
            return cast("Seen", seen)

        old = self._begun(asked())
        new = _Recorder(send)
        try:
            await self._app(scope, _replayed(body, receive), new)
        finally:
            await self._compare(scope, await self._ended(old), new.seen, skipped=old is None)

    async def _ours(self, scope: Scope, body: bytes) -> Seen | None:
        """What our answer is like, which nobody gets."""
        own = {**scope, "state": dict(scope.get("state", {}))}
        recorder = _Recorder(None)
        await self._app(own, _replayed(body, None), recorder)
        if "caller" in own["state"]:
            scope.setdefault("state", {})["caller"] = own["state"]["caller"]
        if recorder.seen is not None:
            recorder.seen.broken = not recorder.seen.whole  # nobody waits for it who could have left
        return recorder.seen

    # --- comparing -------------------------------------------------------------------------------------------------------------

    def _begun(self, work: Any) -> "Task[Seen | None] | None":
        """The other answer, on its way; None where too many are."""
        if self._comparing >= COMPARED_AT_ONCE:
            work.close()
            return None
        self._comparing += 1
        return create_task(work)

    async def _ended(self, work: "Task[Seen | None] | None") -> Seen | None:
        if work is None:
            return None
        try:
            return await work
        except Exception as err:  # noqa: BLE001 - the answer that the client got is not changed by it
            logger.warning("an answer could not be compared: %s", type(err).__name__)
            return None
        finally:
            self._comparing -= 1

    async def _compare(self, scope: Scope, old: Seen | None, new: Seen | None, *, skipped: bool) -> None:
        """Tells what became of it. What a client did not wait for is not compared."""
        left = any(one is not None and not one.whole and not one.broken for one in (old, new))
        if skipped or (left and old is not None and new is not None):
            self._heard(Outcome.SKIPPED, None)
            return
        path = scope["path"]
        if old is None or new is None:
            places = [{"at": "answer", "kind": "missing" if new is None else "extra"}]
            why: str | None = "there was no answer"
            outcome = Outcome.UNANSWERED
        else:
            places = differences(path, old, new)
            if not places:
                self._heard(Outcome.SAME, None)
                return
            why = await self._in_thread(lambda: explanation(path, old, new, places, unseen=lambda: self._unseen(path)))
            outcome = Outcome.DIFFERENT if why is None else Outcome.EXPLAINED
        statuses = None if old is None else old.status, None if new is None else new.status
        self._heard(outcome, Difference(datetime.now(UTC), scope["method"], path[:LONGEST_PATH], *statuses, places, why))


class _Recorder:
    """Hands an answer on, if anybody gets it, and keeps what it is like."""

    def __init__(self, send: Send | None) -> None:
        self.seen: Seen | None = None
        self._send = send

    async def __call__(self, message: Message) -> None:
        """The next part."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message.get("headers", [])))
            self.seen = Seen(message["status"], headers.get("content-type", ""), headers.get("content-disposition", ""))
        elif message["type"] == "http.response.body" and self.seen is not None:
            self.seen.add(message.get("body", b""))
            self.seen.whole = not message.get("more_body", False)
        if self._send is not None:
            await self._send(message)


def reads(scope: Scope) -> bool:
    """Whether the request changes nothing."""
    return scope["method"] in {"GET", "HEAD"} or (scope["method"] == "POST" and READS.fullmatch(scope["path"]) is not None)


def _target(scope: Scope) -> str:
    path = scope.get("raw_path") or scope["path"].encode()
    query = scope.get("query_string", b"")
    return str((path + b"?" + query if query else path).decode("latin-1"))


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


async def _body(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > ASKED_BYTES:
            raise HTTPException(413, "the body is too large")
        parts.append(part)
    return b"".join(parts)


def _replayed(body: bytes, then: Receive | None) -> Receive:
    """A body that was read, again; then what the client does, or nothing ever."""
    given = False

    async def receive() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        if then is not None:
            return await then()
        await Event().wait()
        raise AssertionError("nobody sets it")

    return receive
