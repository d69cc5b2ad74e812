"""The body of a request, on its way from the event loop to a thread that reads it as a file."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import BinaryIO, TypeVar, cast

from anyio import CapacityLimiter, to_thread
from fastapi import HTTPException, Request

T = TypeVar("T")

BLOCK = 1024 * 1024
"""Bytes that are handed over at once. Two blocks of a body are in memory: one that is worked on, and one that is being received."""


class IncomingBody:
    """A reader for a thread, of a body that the event loop receives.

    Nothing is received before the first `read`, and never more than one block ahead: who sends faster than the thread reads has to wait.
    A body of more than `most` bytes ends with 413 at the block that passes it, one that breaks off with 400.
    """

    def __init__(self, request: Request, most: int) -> None:
        self._receive = request.receive
        self._loop = asyncio.get_running_loop()
        self._most = most
        self._ahead: Future[bytes] | None = None
        self._rest = memoryview(b"")
        self._more = True
        self.size = 0
        """Bytes received so far."""

    def read(self, size: int = -1) -> bytes:
        """Some bytes, `size` at most; none at the end."""
        if not self._rest:
            self._rest = memoryview(self._next())
        if not 0 <= size < len(self._rest):
            size = len(self._rest)
        part, self._rest = self._rest[:size], self._rest[size:]
        return cast("bytes", part.obj) if len(part) == len(part.obj) else bytes(part)  # type: ignore[arg-type]  # a block is not copied

    def _next(self) -> bytes:
        if not self._more and self._ahead is None:
            return b""
        block = (self._ahead or self._ask()).result()
        self._ahead = self._ask() if self._more else None
        return block

    def _ask(self) -> Future[bytes]:
        return asyncio.run_coroutine_threadsafe(self._block(), self._loop)

    async def _block(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        while self._more and size < BLOCK:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise HTTPException(400, "the body broke off: send it again")
            part = message.get("body", b"")
            self._more = message.get("more_body", False)
            parts.append(part)
            size += len(part)
        self.size += size
        if self.size > self._most:
            raise too_large(self._most)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Nothing more will be read."""
        if self._ahead is not None:
            self._ahead.cancel()


async def read_in_thread(request: Request, most: int, threads: CapacityLimiter, work: Callable[[BinaryIO], T]) -> T:
    """Runs `work` in a thread, with the request's body as a file. What it raises is raised here."""
    body = IncomingBody(request, most)
    try:
        return await to_thread.run_sync(work, cast("BinaryIO", body), limiter=threads)
    finally:
        body.close()


def too_large(most: int) -> HTTPException:
    """What is answered to more than that."""
    return HTTPException(413, f"the body has more than {most:,} bytes, the most that is taken here (DSPLATFORM_MAX_UPLOAD_BYTES)")
