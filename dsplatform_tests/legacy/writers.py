"""Clients of the old server who go on writing while a migration runs, and remember what was committed and what was refused."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Event, Thread
from types import TracebackType
from typing import NamedTuple, Self

import psycopg
from psycopg import errors

from dsplatform.core.database_url import libpq_url
from dsplatform_tests.legacy.rows import TIMEZONE
from dsplatform_tests.legacy.writing import Change, Gone, Session

_ACTIONS: dict[Callable[[Session], None], int] = {
    lambda session: session.upload(): 4,
    lambda session: session.upload(session.any_dataset()): 6,
    lambda session: session.attach(session.any_version()): 2,
    lambda session: session.patch(session.any_dataset()): 4,
    lambda session: session.branch(session.any_version()): 2,
    lambda session: session.branch(session.any_version(), tag=True): 2,
    lambda session: session.unpoint(session.any_dataset()): 1,
    lambda session: session.permit(session.any_dataset()): 4,
    lambda session: session.person(): 1,
    lambda session: session.drop_version(session.any_version()): 3,
    lambda session: session.drop_dataset(session.any_dataset()): 2,
    lambda session: session.think_again(session.any_dataset()): 1,
}
"""What they do, and how often in proportion."""


class Refusal(NamedTuple):
    """A time in which a writer was refused because the legacy database was frozen (SQLSTATE 25006), in seconds of `time.monotonic`."""

    writer: int
    since: float
    """When the first request began that was refused."""
    until: float
    """When the next one succeeded, or when the writer stopped."""


@dataclass
class Log:
    """What one writer did."""

    committed: list[list[Change]] = field(default_factory=list)
    """Each transaction that was committed, in order."""
    refused: list[Refusal] = field(default_factory=list)
    refused_since: float | None = None
    """Of a time that is not over."""
    lost: Counter[str] = field(default_factory=Counter)
    """Requests that failed for another reason, as they do in such a system: conflicts with other writers, lost connections."""


class Writers:
    """`with Writers(url, folder, 8) as writers: ...` They write from the beginning of the block to its end, or until `stop`.

    About one transaction in seven stays open for up to `longest` seconds before it commits. `pause` is the mean time between requests.
    A writer that fails for a reason that no client could have met raises it at the end of the block.
    """

    def __init__(self, url: str, folder: Path, count: int = 8, *, seed: int = 1, longest: float = 0.8, pause: float = 0.02) -> None:
        self._url, self._folder = libpq_url(url), folder
        self._longest, self._pause = longest, pause
        self._stop = Event()
        self._failures: list[BaseException] = []
        self.logs = [Log() for _ in range(count)]
        self._threads = [Thread(target=self._run, args=(number, seed * 1000 + number)) for number in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        if self._failures and error is None:
            raise self._failures[0]

    def stop(self) -> None:
        """They end what they are at, and no more."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def transactions(self) -> int:
        """Committed so far."""
        return sum(len(log.committed) for log in self.logs)

    def changes(self) -> list[Change]:
        """All that was committed, in no order across writers."""
        return [change for log in self.logs for transaction in log.committed for change in transaction]

    def refused_seconds(self) -> float:
        """The longest time for which any writer was refused, in all; 0: none was."""
        return max(sum(refusal.until - refusal.since for refusal in log.refused) for log in self.logs)

    def lost(self) -> Counter[str]:
        """Why requests failed, and how many."""
        return sum((log.lost for log in self.logs), Counter())

    def _run(self, number: int, seed: int) -> None:
        rng, log = Random(seed), self.logs[number]
        while not self._stop.is_set() and not self._failures:
            try:
                with psycopg.connect(self._url, autocommit=True, options=f"-c timezone={TIMEZONE}") as connection:
                    self._write(Session(connection, self._folder, rng, lambda: self._linger(rng)), number, log)
            except psycopg.OperationalError as err:
                log.lost[type(err).__name__] += 1
                self._stop.wait(0.05)
            except Exception as err:  # noqa: BLE001  raised at the end of the block
                self._failures.append(err)
        self._accepted(number, log)

    def _accepted(self, number: int, log: Log) -> None:
        if log.refused_since is not None:
            log.refused.append(Refusal(number, log.refused_since, time.monotonic()))
            log.refused_since = None

    def _linger(self, rng: Random) -> None:
        """Some transactions stay open for long before they end."""
        if rng.random() < 0.15:
            self._stop.wait(rng.uniform(0, self._longest))

    def _write(self, session: Session, number: int, log: Log) -> None:
        actions, weights = list(_ACTIONS), list(_ACTIONS.values())
        session.committed = log.committed
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                session.rng.choices(actions, weights)[0](session)
                self._accepted(number, log)
            except errors.ReadOnlySqlTransaction:
                log.refused_since = log.refused_since or began
            except (Gone, errors.IntegrityError, psycopg.OperationalError) as err:
                if session.connection.closed:
                    raise
                log.lost[type(err).__name__] += 1
            self._stop.wait(session.rng.uniform(0, 2 * self._pause))
