"""Writers of one dataset take turns within a process, so that a hot branch costs no lost drafts.

Correctness never rests on this: the commit compares the head in the database, whoever writes. Without turns, of 32 writers 31 would
work out a draft that is void when they commit it; writers of other processes meet there, and who met one expects more of them.
"""

import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

from dsplatform.core.types import DatasetId

RACED_SECONDS = 1.0
"""How long after a lost race a dataset is taken to have writers in other processes."""


class _Turn:
    """A lock, and how many hold or wait for it."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.interested = 0


class Turns:
    """One writer at a time for each dataset."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._turns: dict[DatasetId, _Turn] = {}
        self._raced: dict[DatasetId, float] = {}

    def taken(self, datasets: Collection[DatasetId]) -> bool:
        """Whether somebody writes to one of these datasets at this moment."""
        return any(dataset in self._turns for dataset in datasets)

    def lost(self, dataset: DatasetId) -> None:
        """Somebody of another process was faster."""
        now = time.monotonic()
        with self._guard:
            self._raced = {raced: until for raced, until in self._raced.items() if until > now}
            self._raced[dataset] = now + RACED_SECONDS

    def raced(self, dataset: DatasetId) -> bool:
        """Whether a writer of another process was faster a moment ago, so that the database's lock is better taken first."""
        return self._raced.get(dataset, 0.0) > time.monotonic()

    @contextmanager
    def on(self, datasets: Collection[DatasetId]) -> Iterator[None]:
        """Waits for the turn on all of these datasets, in one order for everybody, and keeps it for the block."""
        with ExitStack() as held:
            for dataset in sorted(set(datasets)):
                held.enter_context(self._on(dataset))
            yield

    @contextmanager
    def _on(self, dataset: DatasetId) -> Iterator[None]:
        with self._guard:
            turn = self._turns.setdefault(dataset, _Turn())
            turn.interested += 1
        try:
            with turn.lock:
                yield
        finally:
            with self._guard:
                turn.interested -= 1
                if not turn.interested:
                    del self._turns[dataset]
