"""Writers of one dataset take turns within a process, so that a hot branch costs no lost drafts. Whose turn it is may commit for others.

Correctness never rests on this: the commit compares the head in the database, whoever writes. Without turns, of 32 writers 31 would
work out a draft that is void when they commit it; writers of other processes meet there, and who met one expects more of them.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Condition, Lock

from dsplatform.core.database import Transaction
from dsplatform.core.errors import DsplatformError
from dsplatform.core.interfaces import Upload
from dsplatform.core.types import DatasetId
from dsplatform.core.values import Committed, VersionChange

RACED_SECONDS = 1.0
"""How long after a lost race a dataset is taken to have writers in other processes."""


@dataclass(eq=False)
class Waiting:
    """A change whose writer waits for her turn, and which another writer may commit meanwhile. The upload is sealed."""

    upload: Upload
    change: VersionChange
    within: Callable[[Transaction, Committed], None]
    outcome: Committed | DsplatformError | None = None
    """None: nobody committed it, so she does it herself."""


class _Turn:
    """A lock, how many hold or wait for it, and what those who wait would have committed by others."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._held = False
        self._waiting: list[Waiting] = []
        self.interested = 0

    @contextmanager
    def taken(self, mine: Waiting | None = None) -> Iterator[bool]:
        """Waits until nobody has the turn and takes it for the block; without it (False) as soon as `mine` has its outcome."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held or (mine and mine.outcome))
            taken = not (mine and mine.outcome)
            self._held |= taken
        try:
            yield taken
        finally:
            if taken:
                with self._changed:
                    self._held = False
                    self._changed.notify_all()

    def join(self, mine: Waiting) -> None:
        with self._changed:
            self._waiting.append(mine)

    def gather(self) -> Sequence[Waiting]:
        with self._changed:
            those, self._waiting = self._waiting, []
            return those

    def withdraw(self, mine: Waiting) -> None:
        """Ends only when nobody is at work on `mine`, and nobody will be."""
        with self.taken(), self._changed:
            self._waiting = [other for other in self._waiting if other is not mine]


class Turns:
    """One writer at a time for each dataset."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._turns: dict[DatasetId, _Turn] = {}
        self._raced: dict[DatasetId, float] = {}

    def taken(self, datasets: Collection[DatasetId]) -> bool:
        """Whether somebody writes to one of these datasets at this moment; in another process: did so a moment ago."""
        return any(dataset in self._turns or self.raced(dataset) for dataset in datasets)

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
                held.enter_context(held.enter_context(self._wanted(dataset)).taken())
            yield

    @contextmanager
    def together(self, mine: Waiting) -> Iterator[Callable[[], Sequence[Waiting]]]:
        """Waits until another writer has committed `mine`, which then has its outcome; else for the turn on its dataset, and keeps it for
        the block. Yields what takes over those who wait, at the moment when it is called."""
        with self._wanted(mine.change.dataset.id) as turn, ExitStack() as held:
            turn.join(mine)
            try:
                held.enter_context(turn.taken(mine))
            except BaseException:  # interrupted: her upload ends, and somebody may be about to record it
                turn.withdraw(mine)
                raise
            yield turn.gather

    @contextmanager
    def _wanted(self, dataset: DatasetId) -> Iterator[_Turn]:
        with self._guard:
            turn = self._turns.setdefault(dataset, _Turn())
            turn.interested += 1
        try:
            yield turn
        finally:
            with self._guard:
                turn.interested -= 1
                if not turn.interested:
                    del self._turns[dataset]
