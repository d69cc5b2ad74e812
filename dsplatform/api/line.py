"""The line in which requests wait to be begun."""

import asyncio
from collections import deque
from collections.abc import Callable

AT_ONCE = 20
"""Requests that are begun in one turn of the loop."""


class Line:
    """First come, first begun; a few in each turn of the loop.

    Each step of a request waits for the turn that is under way. If one turn began all requests of a crowd, who came before them would wait
    for all of them.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()

    def join(self, loop: asyncio.AbstractEventLoop, begin: Callable[[], None]) -> None:
        """At the end of the line; `begin` is called when it is at the front."""
        if not self._waiting:
            loop.call_soon(self._move, loop)
        self._waiting.append(begin)

    def _move(self, loop: asyncio.AbstractEventLoop) -> None:
        first = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
        if self._waiting:
            loop.call_soon(self._move, loop)  # in the next turn
        for begin in first:
            begin()
