"""One pass over one legacy table: batches in the order of the key, until a reading that succeeded finds nothing more.

An error is never the end of a table: what does not answer is asked again, and then the run fails, with its checkpoint where it was.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from dsplatform.core.database import Database, Transaction
from dsplatform.core.domain import ValueObject
from dsplatform.core.errors import Conflict, Unavailable
from dsplatform.migration.landed_rows import IdMap, Quarantine
from dsplatform.migration.lander import Figures, Lander, wait
from dsplatform.migration.model import Entity, Group, Key, meaning
from dsplatform.migration.run_rows import Checkpoint, Checkpoints, RunEnded
from dsplatform.migration.settling import Settling
from dsplatform.migration.source import LegacyDatabase, Snapshot
from dsplatform.migration.step import Step

logger = logging.getLogger(__name__)

SNAPSHOT_SECONDS = 20
"""How long one moment of the legacy database is read from: while it lasts, its server keeps what was deleted."""
PATIENCE = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between attempts while something does not answer."""
SHARE, LEAST = 0.001, 100
"""A reason that more than this share of a table's rows have, and more than this many, stops the run."""


class Progress(Protocol):
    """Hears how far a table is."""

    def __call__(self, entity: Entity, done: int, total: int, /) -> None: ...


class TooManyFindings(Conflict):
    """A reason has so many rows of a table that somebody has to look before it goes on."""

    code = "legacy_too_many_findings"


@dataclass(frozen=True)
class Pace(ValueObject):
    """How a run goes."""

    pause_seconds: float
    """Between two batches, so that the legacy server has time for its users."""
    accepted: frozenset[str]
    """Reasons that do not stop it."""
    progress: Progress
    is_over: Callable[[], bool]
    """Whether it shall end after the batch."""


class Stopped(Exception):
    """Somebody asked the run to end. Never reaches a user."""


class Backfill:
    """Reads tables to their end."""

    def __init__(self, db: Database, legacy: LegacyDatabase, lander: Lander, settling: Settling, pace: Pace) -> None:
        self._db = db
        self._legacy = legacy
        self._lander = lander
        self._settling = settling
        self._pace = pace
        self._failures = 0

    def read(self, step: Step[Any]) -> None:
        """Lands the table, from its checkpoint on. Raises `Stopped`, `TooManyFindings`, `Unavailable`."""
        self._failures = 0
        is_at_its_end = False
        while not is_at_its_end:
            try:
                is_at_its_end = self._read(step)
            except Unavailable as err:
                if self._failures == len(PATIENCE):
                    raise
                logger.warning("%s: attempt %d of %d follows: %s", step.entity, self._failures + 2, len(PATIENCE) + 1, err)
                wait(PATIENCE[self._failures], self._pace.is_over)
                self._failures += 1
                self._go_on()

    def _read(self, step: Step[Any]) -> bool:
        """Batch after batch, each from a moment of the legacy database that is not old. After an empty reading: whether it came to where
        the table ends."""
        with ExitStack() as moment:
            source, reader, until = self._moment(moment)
            checkpoint = self._begun(step, source)
            last_key, read = checkpoint.last_key, checkpoint.rows_read
            totals = {entity: source.count(entity) for entity in (step.entity, *step.attached) if source.has(entity)}
            repeats = self._repeats(step)
            self._pace.progress(step.entity, read, totals[step.entity])
            self._look(totals)
            groups = _groups(step, source, last_key)
            while groups:
                found = self._lander.found
                self._lander.landed.clear()
                next_key = groups[-1].row.key
                # The next ones are read, mostly by the legacy server, while ours is writing these.
                coming = reader.submit(_groups, step, source, next_key) if time.monotonic() < until else None
                self._land(step, source, groups, last_key)
                if repeats and (changed := list(self._lander.landed)):
                    self._settling.follow(source, step, changed)
                last_key, read = next_key, read + len(groups)
                self._failures = 0
                self._pace.progress(step.entity, read, max(read, totals[step.entity]))
                if self._lander.found > found:
                    self._look(totals)
                wait(self._pace.pause_seconds, self._pace.is_over)
                self._go_on()
                if coming is None:
                    moment.close()
                    source, reader, until = self._moment(moment)
                groups = coming.result() if coming else _groups(step, source, last_key)
            high_key = source.high_key(step.entity)
            if high_key is not None and (last_key is None or last_key < high_key):
                return False
            self._lander.commit(lambda tx: step.finish(tx, source))
            return True

    def _repeats(self, step: Step[Any]) -> bool:
        """Whether tables that come later were read before, so that their rows may have to land again."""
        with self._db.autocommit() as tx:
            return IdMap(tx).has_any(list(Entity)[list(Entity).index(step.entity) + 1 :])

    def _begun(self, step: Step[Any], source: Snapshot) -> Checkpoint:
        high_key = source.high_key(step.entity)

        def begin(tx: Transaction) -> None:
            Checkpoints(tx).begin(step.entity, high_key, self._lander.run_id)
            step.begin(tx, high_key)

        self._lander.commit(begin)
        with self._db.autocommit() as tx:
            checkpoint = Checkpoints(tx).get(step.entity)
        if checkpoint is None:
            raise RunEnded("another run of the migration has begun meanwhile: this one ends here, what it did is kept")
        return checkpoint

    def _moment(self, stack: ExitStack) -> tuple[Snapshot, Executor, float]:
        """A moment of the legacy database, a thread that reads from it, and until when."""
        source = stack.enter_context(self._legacy.snapshot())
        return source, stack.enter_context(ThreadPoolExecutor(1, "legacy-reader")), time.monotonic() + SNAPSHOT_SECONDS

    def _land(self, step: Step[Any], source: Snapshot, groups: Sequence[Group], last_key: Key | None) -> None:
        self._settling.needed(source, step, groups)
        keys = [group.row.key for group in groups]
        before = dict(zip(keys, [last_key, *keys], strict=False))

        def within(tx: Transaction, part: Sequence[Group], figures: Figures) -> None:
            if not Checkpoints(tx).advance(step.entity, before[part[0].row.key], part[-1].row.key, figures):
                # The answer to a commit was lost, and the commit had arrived.
                raise Unavailable(f"the checkpoint of {step.entity} is elsewhere: it is read again")

        self._lander.land(step, source, groups, within=within)

    def _look(self, totals: Mapping[Entity, int]) -> None:
        """The stop rule."""
        for entity, total in totals.items():
            with self._db.autocommit() as tx:
                waiting = Quarantine(tx).open_figures(entity)
            for (_, reason), count in waiting.items():
                if reason not in self._pace.accepted and count > LEAST and count > SHARE * total:
                    raise TooManyFindings(
                        f"{count} rows of the legacy table {entity} are quarantined as {reason}: {meaning(reason).sentence}. Look at "
                        f"them with `dsplatform legacy quarantine list --reason {reason}`; go on with `dsplatform legacy migrate "
                        f"--accept {reason}`"
                    )

    def _go_on(self) -> None:
        if self._pace.is_over():
            raise Stopped


def _groups(step: Step[Any], source: Snapshot, after: Key | None) -> Sequence[Group]:
    """The next batch: each key once, with what lands together with it. Empty: as this moment has it, the table is at its end."""
    return step.gather(source, list({row.key: row for row in source.batch(step.entity, after, step.batch)}.values()))
