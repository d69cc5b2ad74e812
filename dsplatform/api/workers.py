"""A few threads in which requests are worked on."""

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Workers:
    """Threads that take work in the order in which it comes. They cost a third of what those of the framework do, which is more than a
    question to the database."""

    def __init__(self, count: int) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = [Thread(target=self._go, name=f"worker {number}", daemon=True) for number in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Waits for the work that was taken."""
        for _thread in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()

    async def run(self, work: Callable[..., T], *args: object) -> T:
        """What `work(*args)` gives or raises, worked out in one of the threads."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[T] = loop.create_future()

        def go() -> None:
            try:
                result = work(*args)
            except BaseException as err:  # noqa: BLE001 - it is raised where the result is waited for
                loop.call_soon_threadsafe(_end, ended, ended.set_exception, err)
            else:
                loop.call_soon_threadsafe(_end, ended, ended.set_result, result)

        self._work.put(go)
        return await ended

    def _go(self) -> None:
        while (work := self._work.get()) is not None:
            work()


def _end(ended: asyncio.Future[T], by: Callable[[Any], None], outcome: object) -> None:
    if not ended.done():  # nobody waits any more
        by(outcome)
