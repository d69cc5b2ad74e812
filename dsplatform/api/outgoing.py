"""Bytes on their way to a client: read in threads, a chunk ahead of what is sent."""

import logging
from asyncio import Task, create_task
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

from anyio import CancelScope, to_thread
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dsplatform.core.errors import DsplatformError

logger = logging.getLogger(__name__)


class OutgoingBody(Response):
    """An answer whose bytes come from an iterator that blocks.

    A slow client holds one chunk in memory and no thread. When the iterator fails, the answer ends before its end: the connection is
    closed, and no client takes what it has for the whole.
    """

    def __init__(self, chunks: Iterator[bytes], held: ExitStack, status_code: int, headers: Mapping[str, str]) -> None:
        """`held` is closed when the last chunk is out, or the client is gone."""
        super().__init__(None, status_code, dict(headers))
        if "Content-Length" not in headers:
            del self.headers["content-length"]  # that of no content
        self._chunks = chunks
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        gone = create_task(_disconnected(receive))
        ahead: Task[bytes | None] | None = None
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            ahead = create_task(self._next())
            while (chunk := await ahead) is not None and not gone.done():
                ahead = create_task(self._next())
                if chunk:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if not gone.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except DsplatformError as err:
            # Returning without an end has the server close the connection. Nothing else can be said once an answer has begun.
            logger.warning("%s was broken off: %s", scope["path"], err)
        finally:
            gone.cancel()
            with CancelScope(shield=True):
                if ahead is not None and not ahead.done():
                    await _ended(ahead)
                await to_thread.run_sync(self._held.close)

    async def _next(self) -> bytes | None:
        return await to_thread.run_sync(next, self._chunks, None)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _ended(task: Task[bytes | None]) -> None:
    try:
        await task
    except DsplatformError as err:
        logger.warning("what nobody waits for failed: %s", err)
