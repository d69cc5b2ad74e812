"""Writers of one dataset take turns within a process, so that a hot branch costs no lost drafts.

Correctness never rests on this: the commit compares the head in the database, whoever writes. Without turns, of 32 writers 31 would
work out a draft that is void when they commit it; writers of other processes meet there.
"""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

from dsplatform.core.types import DatasetId


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

    def taken(self, datasets: Collection[DatasetId]) -> bool:
        """Whether somebody writes to one of these datasets at this moment."""
        return any(dataset in self._turns for dataset in datasets)

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
