"""Clients who go on reading while a migration runs, and remember each time that they did not get what is there."""

from collections import Counter
from collections.abc import Callable, Mapping
from threading import Event, Thread
from types import TracebackType
from typing import Self

from dsplatform_tests.legacy.writers import Refusal

Ask = Callable[[], str | None]
"""Reads once. Answers None, or what was wrong; raising counts as that, too."""


class Readers:
    """`with Readers({"old paths": ask, ...}) as readers: ...` Each asks again and again from the beginning of the block to its end."""

    def __init__(self, asks: Mapping[str, Ask], *, pause: float = 0.02) -> None:
        """`pause`: seconds between two reads of one reader."""
        self._pause = pause
        self._stop = Event()
        self.made: Counter[str] = Counter()
        self.failed: list[str] = []
        self._threads = [Thread(target=self._run, args=each) for each in asks.items()]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, name: str, ask: Ask) -> None:
        while not self._stop.is_set():
            try:
                wrong = ask()
            except Exception as err:  # noqa: BLE001  what a reader would have met
                wrong = repr(err)
            self.made[name] += 1
            if wrong is not None:
                self.failed.append(f"{name}: {wrong}")
            self._stop.wait(self._pause)


def refused_seconds(refusals: list[Refusal]) -> float:
    """For how long writes were refused in all; times that overlap count once."""
    total, reached = 0.0, float("-inf")
    for _, since, until in sorted(refusals, key=lambda refusal: refusal.since):
        total += max(0.0, until - max(since, reached))
        reached = max(reached, until)
    return total
