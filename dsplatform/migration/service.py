"""Bringing the legacy system's data over, again and again while it lives: by one process at a time, and from wherever the last one came."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from dsplatform.core.access import internal, requires_right
from dsplatform.core.database import Database
from dsplatform.core.domain import Actor, AuditEntry, ValueObject
from dsplatform.core.errors import Conflict, Invalid, NotFound, Unavailable
from dsplatform.core.interfaces import AccessControl, FileKeeper
from dsplatform.core.types import PlatformRight
from dsplatform.migration.accounting import Account, Accounting, accounts
from dsplatform.migration.backfill import Backfill, Pace, Progress, Stopped
from dsplatform.migration.landed_rows import IdMap, Quarantine, Quarantined
from dsplatform.migration.lander import Lander
from dsplatform.migration.locating import Locator
from dsplatform.migration.model import Entity, Generation, Key, Reason, key_of
from dsplatform.migration.routing_rows import Master, RoutingRow
from dsplatform.migration.run_rows import Checkpoints, LegacyRun, Runs
from dsplatform.migration.settling import Settling
from dsplatform.migration.source import LegacyDatabase
from dsplatform.migration.step import Step, Surroundings
from dsplatform.migration.steps import every_step

logger = logging.getLogger(__name__)

LOCK = "legacy migration"
"""The advisory lock that whoever writes by this module holds."""
OPERATE = PlatformRight.OPERATE
OTHERWISE = {
    Master.NEW: "writes come here since the switch, and would be overwritten: `dsplatform legacy rollback` goes back",
    Master.LEGACY: "the legacy system is written to: there is nothing to bring back",
}
"""Why a run cannot be, by the system that is written to."""
StepsOf = Callable[[Surroundings], Sequence[Step[Any]]]


class AlreadyRunning(Conflict):
    """Another process is bringing the legacy system over."""

    code = "legacy_already_running"


@dataclass(frozen=True)
class Migrated(ValueObject):
    """What a run did."""

    run_id: UUID
    state: str
    """`done`, or `stopped` before the end, because somebody asked for it."""
    written: int
    """Legacy rows that were written anew: none when nothing had changed."""
    accounts: tuple[Account, ...]


@dataclass(frozen=True)
class MigrationStatus(ValueObject):
    """Where the migration stands."""

    run: LegacyRun | None
    """The last one."""
    is_running: bool
    accounts: tuple[Account, ...]
    waiting: Mapping[str, int]
    """Reason to how many rows wait for a decision about it."""
    unfinished: tuple[str, ...]
    """Tables that the pass under way has not read to their end."""


class Session:
    """A run that holds the lock: what is settled in it is accounted to it."""

    def __init__(self, db: Database, legacy: LegacyDatabase, generation: Generation, steps: Sequence[Step[Any]], run_id: UUID) -> None:
        self.run_id = run_id
        self.generation = generation
        self.steps = steps
        self.lander = Lander(db, run_id)
        self.settling = Settling(db, legacy, steps, self.lander)

    @property
    def written(self) -> int:
        """Legacy rows that were written anew so far."""
        return self.lander.written

    def settle(self, changes: Mapping[Entity, Collection[Key]], *, force: bool = False) -> int:
        """The rows of these keys land as they are now, with what depends on them; what is gone ends here, too. Answers how many rows of
        the accounting changed. Raises `Unavailable`."""
        before = self.written
        self.settling.settle(changes, force=force)
        return self.written - before


class MigrationService:
    """Brings the legacy system's data over, and tells how far it is."""

    def __init__(
        self,
        db: Database,
        files: FileKeeper,
        access: AccessControl,
        legacy: LegacyDatabase,
        locator: Locator,
        zone: ZoneInfo,
        steps: StepsOf = every_step,
    ) -> None:
        self._db = db
        self._access = access
        self._files = files
        self._legacy = legacy
        self._locator = locator
        self._zone = zone
        self._steps = steps

    @requires_right(OPERATE)
    def migrate(
        self,
        actor: Actor,
        *,
        accept: Collection[str] = (),
        pause_seconds: float = 0.0,
        only: Collection[Entity] | None = None,
        progress: Progress | None = None,
        is_over: Callable[[], bool] = lambda: False,
    ) -> Migrated:
        """Lands every row of the legacy database that is new or has changed, from where the last run ended if that was before the end.

        `only`: these tables, and those that come with them; a table that this generation has not is passed over. `accept` names reasons
        that may have many rows. `is_over` is asked after each batch whether to end there. Raises `AlreadyRunning`,
        `TooManyFindings` when too many rows of a table have one reason, `AccountingBroken`, `Unavailable`; what was committed stays.
        """
        hears: Progress = _unheard if progress is None else progress
        pace = Pace(pause_seconds, frozenset(_reasons(accept)), hears, is_over)
        with self._session(actor, "migrate", {"accepted": sorted(pace.accepted)}) as (session, report):
            with self._db.transaction() as tx:
                Runs(tx).note_accepted(session.run_id, pace.accepted)
                accepted = Runs(tx).accepted()
            pace = Pace(pause_seconds, accepted, hears, is_over)
            report["accepted"] = sorted(accepted)
            try:
                self._pass(session, pace, only)
                report["state"] = "done"
            except Stopped:
                report["state"] = "stopped"
        with self._db.autocommit() as tx:
            found = accounts(IdMap(tx).figures(), {})
        return Migrated(session.run_id, report["state"], session.written, tuple(found))

    @internal("the services of the migration ask for it, on behalf of whoever called them")
    @contextmanager
    def session(
        self, actor: Actor, kind: str, about: Mapping[str, Any] | None = None, *, master: Master = Master.LEGACY
    ) -> Iterator[Session]:
        """A run of this kind, in which rows are settled, while that system is written to; nobody else runs meanwhile. Raises
        `AlreadyRunning`, `Conflict` where the other one is written to, `Unavailable`."""
        with self._session(actor, kind, about or {}, master) as (session, report):
            yield session
            report["state"] = "done"

    @requires_right(OPERATE)
    def status(self, _actor: Actor, *, ask_source: bool = True) -> MigrationStatus:
        """Where it stands; with `ask_source` each table of the legacy database is counted."""
        counts = self._counts() if ask_source else {}
        with self._db.advisory_lock(LOCK) as free, self._db.autocommit() as tx:
            run = Runs(tx).newest()
            found = accounts(IdMap(tx).figures(), counts)
            waiting: dict[str, int] = {}
            for (_, reason), count in Quarantine(tx).open_figures().items():
                waiting[reason] = waiting.get(reason, 0) + count
            unfinished = tuple(name for name, checkpoint in Checkpoints(tx).all().items() if not checkpoint.done)
        return MigrationStatus(run, not free, tuple(found), waiting, unfinished)

    @requires_right(OPERATE)
    def quarantine(
        self,
        _actor: Actor,
        *,
        entity: str | None = None,
        reason: str | None = None,
        open_only: bool = True,
        after: int = 0,
        limit: int = 100,
    ) -> Sequence[Quarantined]:
        """What was found about legacy rows, by number, from behind `after`; only what waits for a decision, unless asked otherwise."""
        with self._db.autocommit() as tx:
            return Quarantine(tx).page(entity=entity, reason=reason, open_only=open_only, after=after, limit=limit)

    @requires_right(OPERATE)
    def finding(self, _actor: Actor, number: int) -> Quarantined:
        """One of them. Raises `NotFound`."""
        with self._db.autocommit() as tx:
            found = Quarantine(tx).get(number)
        if found is None:
            raise NotFound(f"quarantine has no number {number}")
        return found

    @requires_right(OPERATE)
    def resolve(
        self, actor: Actor, resolution: str, *, number: int | None = None, entity: str | None = None, reason: str | None = None
    ) -> int:
        """Writes a decision down for what waits for one: one number, or all of a table or a reason. Answers for how many. Raises
        `Invalid` when it is not said for which."""
        if not resolution.strip() or (number is None and entity is None and reason is None):
            raise Invalid("a decision needs words, and what it is about: a number, a table or a reason")
        with self._db.transaction() as tx:
            count = Quarantine(tx).resolve(resolution.strip(), actor.username, id_=number, entity=entity, reason=reason)
            about = {"number": number, "entity": entity, "reason": reason, "resolution": resolution.strip(), "rows": count}
            tx.note(AuditEntry("legacy.resolve", "legacy", str(number or reason or entity), actor, after=about))
        return count

    @requires_right(OPERATE)
    def retry(self, actor: Actor, *, number: int | None = None, entity: str | None = None, reason: str | None = None) -> tuple[int, int]:
        """Lands again the rows of one finding, or of all of a table or a reason that wait for a decision. Answers (how many rows were
        tried, how many of these still wait). Raises `NotFound`, `AlreadyRunning`, `Unavailable`."""
        with self._session(actor, "retry", {"number": number, "entity": entity, "reason": reason}) as (session, report):
            rows = self._waiting(number, entity, reason)
            if not rows and number is not None:
                raise NotFound(f"quarantine has no number {number} that waits for a decision")
            session.settle(rows, force=True)
            left = self._waiting(number, entity, reason)
            report["state"] = "done"
        return sum(map(len, rows.values())), sum(len(set(keys) & set(rows[name])) for name, keys in left.items() if name in rows)

    # --- a run -----------------------------------------------------------------------------------------------------------------

    @contextmanager
    def _session(
        self, actor: Actor, kind: str, about: Mapping[str, Any], master: Master = Master.LEGACY
    ) -> Iterator[tuple[Session, dict[str, Any]]]:
        """Holds the lock, and writes down how it began and ended. The report's `state` is `done` or `stopped` where the block says so."""
        with self._db.advisory_lock(LOCK) as held:
            if not held:
                raise AlreadyRunning("another process is bringing the legacy system over: wait for its end, see `dsplatform legacy status`")
            with self._db.autocommit() as tx:
                found = RoutingRow(tx).get().master
            if found is not master:
                raise Conflict(OTHERWISE[found])
            with self._legacy.snapshot() as source:
                generation, tables = source.generation, source.tables
            run_id = uuid4()
            with self._db.transaction() as tx:
                Runs(tx).begin(run_id, kind, generation, actor.user_id)
                tx.note(AuditEntry(f"legacy.{kind}", "legacy", str(run_id), actor, after=about))
            around = Surroundings(self._db, self._legacy, generation, self._files, self._locator, self._zone, actor)
            steps = [step for step in self._steps(around) if step.entity in tables]
            session = Session(self._db, self._legacy, generation, steps, run_id)
            report: dict[str, Any] = {"state": "failed"}
            try:
                yield session, report
            except BaseException as err:
                report["error"] = str(err) if not isinstance(err, KeyboardInterrupt) else "interrupted"
                raise
            finally:
                self._end(actor, kind, session, report)

    def _end(self, actor: Actor, kind: str, session: Session, report: dict[str, Any]) -> None:
        after = {"state": report["state"], "written": session.written}
        try:
            with self._db.transaction() as tx:
                Runs(tx).end(session.run_id, report["state"], {**report, "written": session.written})
                tx.note(AuditEntry(f"legacy.{kind}_end", "legacy", str(session.run_id), actor, after=after))
        except Unavailable as err:  # the next run finds it running and without its process
            logger.warning("the end of run %s could not be written down: %s", session.run_id, err)
            if report["state"] == "done":
                raise

    def _pass(self, session: Session, pace: Pace, only: Collection[Entity] | None) -> None:
        """Every table in its order; the next begins when the one before is accounted for."""
        steps = [step for step in session.steps if only is None or {step.entity, *step.attached} & set(only)]
        if not steps:
            raise NotFound(f"the legacy database has no table {', '.join(only or ())}")
        with self._db.transaction() as tx:
            seen = Checkpoints(tx).all()
            if all(step.entity in seen and seen[step.entity].done for step in steps):
                Checkpoints(tx).clear([step.entity for step in steps])
        backfill = Backfill(self._db, self._legacy, session.lander, session.settling, pace)
        for step in steps:
            with self._db.autocommit() as tx:
                checkpoint = Checkpoints(tx).get(step.entity)
            if checkpoint is not None and checkpoint.done:
                continue
            backfill.read(step)
            self._account(session, step)
            with self._db.transaction() as tx:
                Runs(tx).hold(session.run_id)
                Checkpoints(tx).finish(step.entity)

    def _account(self, session: Session, step: Step[Any]) -> None:
        """The next table waits until every row of this one ended somewhere."""
        accounting = Accounting(self._db, self._legacy)
        with self._legacy.snapshot() as source:
            for entity in (step.entity, *step.attached):
                for keys in accounting.differences(source, entity) if source.has(entity) else ():
                    session.settle({entity: keys})
                    accounting.require(entity, keys)

    def _counts(self) -> Mapping[str, int | None]:
        with self._legacy.snapshot() as source:
            return {entity: source.count(entity) for entity in Entity if source.has(entity)}

    def _waiting(self, number: int | None, entity: str | None, reason: str | None) -> dict[Entity, list[Key]]:
        rows: dict[Entity, list[Key]] = {}
        for finding in self._findings(number, entity, reason):
            rows.setdefault(Entity(finding.entity), []).append(key_of(finding.legacy_id))
        return rows

    def _findings(self, number: int | None, entity: str | None, reason: str | None) -> Iterable[Quarantined]:
        after = 0
        with self._db.autocommit() as tx:
            if number is not None:
                one = Quarantine(tx).get(number)
                if one is not None and one.resolution is None:
                    yield one
                return
            while page := Quarantine(tx).page(entity=entity, reason=reason, after=after, limit=1_000):
                yield from page
                after = page[-1].id


def _reasons(names: Collection[str]) -> Iterator[str]:
    for name in names:
        if name not in set(Reason):
            raise Invalid(f"{name!r} is no reason: it is one of {', '.join(Reason)}")
        yield name


def _unheard(_entity: Entity, _done: int, _total: int) -> None: ...
