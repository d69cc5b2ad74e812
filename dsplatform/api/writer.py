"""The writing side of a connection."""

import asyncio
from typing import Any

SMALL = 4096
"""Bytes that are worth waiting for what comes behind them."""


class Writer:
    """A transport that sends the head of an answer together with what is written next: in one call of the system and one packet, which
    costs both sides half of what two do. What waits goes at the end of the turn of the loop, so that no head waits for a slow body."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting = b""

    def write(self, data: bytes) -> None:
        """Sends it, in the order of the calls."""
        if self._waiting:
            waiting, self._waiting = self._waiting, b""
            self._transport.writelines([waiting, data])
        elif len(data) <= SMALL:
            self._waiting = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Sends what waits, and closes."""
        self._flush()
        self._transport.close()

    def get_write_buffer_size(self) -> int:
        """Bytes that the system has not taken yet."""
        return self._transport.get_write_buffer_size() + len(self._waiting)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, b""
        if waiting and not self._transport.is_closing():
            self._transport.write(waiting)

    def __getattr__(self, name: str) -> Any:
        """All else is the transport's own affair."""
        return getattr(self._transport, name)
