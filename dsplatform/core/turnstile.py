"""A few at a time, a few more wait, and the rest is refused, so that what is slow never takes all of a server's threads."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from dsplatform.core.errors import Unavailable


class Turnstile:
    """Counts the threads of this process that do one kind of slow work.

    Never more than `at_once` work, and never more than `waiting` wait besides. Who finds no place is refused at once and holds no thread;
    who has waited `patience` seconds for a turn is refused, too. Place and turn are given back on every way out of their blocks. Those who
    wait come in without any promised order.
    """

    def __init__(self, at_once: int, waiting: int, patience: float, refusal: Callable[[], Unavailable]) -> None:
        """`refusal` makes the error that the refused get."""
        self._places = BoundedSemaphore(at_once + waiting)
        self._turns = BoundedSemaphore(at_once)
        self._patience = patience
        self._refusal = refusal

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for the block: among those who work or wait, for a turn or for anything else. Raises the refusal at once."""
        if not self._places.acquire(blocking=False):
            raise self._refusal()
        try:
            yield
        finally:
            self._places.release()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The right to work for the block, for who has a place. Waits for it, and raises the refusal when patience ends."""
        if not self._turns.acquire(timeout=self._patience):
            raise self._refusal()
        try:
            yield
        finally:
            self._turns.release()

    @contextmanager
    def place_and_turn(self) -> Iterator[None]:
        """Both for the block, for work that waits for nothing but its turn."""
        with self.place(), self.turn():
            yield
