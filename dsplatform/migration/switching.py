"""Staying in step with the legacy system while it lives, the switch, and the way back.

The switch is short because nothing is left to do in it: the gate of the legacy database closes, the last changes come over, the fast
checks run, and one transaction turns the routing and lets the datasets go. Whatever fails before that transaction opens the gate again
and leaves everything as it was; writers of the legacy system were refused meanwhile, readers never. A process that dies in between
leaves the gate closed: the next switch goes on from there, and `rollback` opens it.

No process has to notice the switch in time. Before it, this database refuses changes of what the legacy system has (`datasets.held`);
after it, the legacy database does (the gate). An adapter that has not heard yet is refused by one or the other.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from dsplatform.core.access import internal, requires_right
from dsplatform.core.database import Database
from dsplatform.core.domain import Actor, AuditEntry, ValueObject
from dsplatform.core.errors import Conflict, Unavailable
from dsplatform.core.failpoints import reach
from dsplatform.core.interfaces import AccessControl
from dsplatform.core.types import PlatformRight
from dsplatform.migration.changes import Capture, Change, ChangeLog
from dsplatform.migration.landed_rows import IdMap
from dsplatform.migration.landing_files import release
from dsplatform.migration.model import Entity, Key, key_of
from dsplatform.migration.routing_rows import Master, Routing, RoutingRow
from dsplatform.migration.service import MigrationService, MigrationStatus, Session

OPERATE = PlatformRight.OPERATE
PORTION = 1_000
"""Changes that are brought over at once."""
CLOSING_SECONDS = 2.0
"""How long writers of the legacy system wait for the gate to close, before it gives way to a transaction that does not end."""
CLOSING_TRIES = 5
FEW = 500
"""Changes that are left for the time when writes are refused."""
SETTLING_SECONDS = 60.0
"""How long the way back waits for transactions that may still write an entry of the audit log."""
ROUNDS = 10
"""How often the switch, or the way back, looks for what was written while it went."""


class NotReady(Conflict):
    """The switch would lose something, or nobody can say that it would not."""

    code = "legacy_not_ready"


class WayBack(Protocol):
    """Writes into the legacy system what changed here."""

    def bring(self, actor: Actor, datasets: Sequence[int], users: Sequence[int], files: Sequence[int] = ()) -> Sequence[str]:
        """These datasets and users, and the rights on these files, as they are now. Answers, in sentences, what the legacy system cannot
        express. Repeating it is harmless. Raises `Unavailable`, `Conflict` for what that system cannot hold."""
        ...


Validate = Callable[[Actor], Sequence[str]]
"""What the fast checks have against the copy, in sentences."""


@dataclass(frozen=True)
class Followed(ValueObject):
    """What was brought over, and what is left."""

    changes: int
    """Entries of the change log that were worked off."""
    written: int
    """Rows of the accounting that they changed."""
    capture: Capture


@dataclass(frozen=True)
class Switched(ValueObject):
    """Where writes go now."""

    routing: Routing
    refused_seconds: float
    """How long writes were refused; 0: they went there already."""
    left: tuple[str, ...] = ()
    """What the legacy system cannot express, of what came back to it."""


@dataclass(frozen=True)
class SwitchStatus(ValueObject):
    """Where both systems stand."""

    routing: Routing
    capture: Capture
    migration: MigrationStatus
    obstacles: tuple[str, ...]
    """What is in the way of a switch, in sentences; empty where writes go here already."""


class SwitchService:
    """Follows the legacy system, takes over from it, and gives back."""

    def __init__(
        self, db: Database, access: AccessControl, migration: MigrationService, log: ChangeLog, validate: Validate, way_back: WayBack
    ) -> None:
        self._db = db
        self._access = access
        self._migration = migration
        self._log = log
        self._validate = validate
        self._way_back = way_back

    @requires_right(OPERATE)
    def capture(self, actor: Actor) -> Sequence[str]:
        """Begins to note what changes in the legacy system, before the first row is copied; answers with the tables that were covered
        now. Repeating it covers tables that came later. Raises `Denied` for a login that may not, `Unavailable`."""
        covered = self._log.install()
        with self._db.transaction() as tx:
            tx.note(AuditEntry("legacy.capture", "legacy", "capture", actor, after={"tables": list(covered)}))
        return covered

    @requires_right(OPERATE)
    def capture_script(self, _actor: Actor) -> str:
        """The statements of `capture`, for who owns the legacy database."""
        return self._log.script()

    @requires_right(OPERATE)
    def release(self, actor: Actor) -> None:
        """Takes everything away that was put into the legacy database, and lets go of contents that nothing here names: for the end.
        Raises `Conflict` while a copy still follows it."""
        with self._db.autocommit() as tx:
            if RoutingRow(tx).get().master is Master.LEGACY and self._log.state().waiting:
                raise Conflict("changes of the legacy system still wait to be brought over: follow it first, or switch")
        self._log.remove()
        with self._db.transaction() as tx:
            tx.note(AuditEntry("legacy.release", "legacy", "capture", actor, after={"contents": release(tx)}))

    @requires_right(OPERATE)
    def follow(self, actor: Actor, *, is_over: Callable[[], bool] = lambda: False) -> Followed:
        """Brings over what changed in the legacy system until now. Raises `AlreadyRunning`, `Conflict` where nothing is
        captured or writes come here already, `Unavailable`."""
        self._following()
        before = self._log.state()
        if not before.waiting:
            return Followed(0, 0, before)
        with self._migration.session(actor, "follow") as session:
            changes = self._drain(session, up_to=self._log.newest(), is_over=is_over)
            written = session.written
        return Followed(changes, written, self._log.state())

    @requires_right(OPERATE)
    def waiting(self, _actor: Actor) -> int:
        """How many changes of the legacy system wait to be brought over; 0 also where nothing is captured, or writes come here."""
        with self._db.autocommit() as tx:
            if RoutingRow(tx).get().master is not Master.LEGACY:
                return 0
        return self._log.state().waiting

    @requires_right(OPERATE)
    def status(self, actor: Actor) -> SwitchStatus:
        """Where everything stands. Raises `Unavailable` where the legacy database does not answer."""
        with self._db.autocommit() as tx:
            routing = RoutingRow(tx).get()
        capture, migration = self._log.state(), self._migration.status(actor)
        obstacles = () if routing.master is Master.NEW else tuple(_obstacles(capture, migration))
        return SwitchStatus(routing, capture, migration, obstacles)

    @internal("each request to the adapter asks it")
    def routing(self) -> Routing:
        """Where writes go at this moment."""
        with self._db.autocommit() as tx:
            return RoutingRow(tx).get()

    @requires_right(OPERATE)
    def switch(self, actor: Actor) -> Switched:
        """Writes come here from now on. Repeating it is harmless.

        Raises `NotReady` with all that is in the way: before anything was stopped where it was known before, else with the gate open
        again. Raises `Conflict` where a transaction of the legacy system does not end, `AlreadyRunning`, `Unavailable`.
        """
        with self._db.autocommit() as tx:
            routing = RoutingRow(tx).get()
        if routing.master is Master.NEW:
            return Switched(routing, 0.0)
        self._must_be_ready(actor)
        self._catch_up(actor)
        with self._migration.session(actor, "switch") as session:
            self._close_gate()
            closed_at = time.monotonic()
            with self._gate_opened_on_error():
                reach("switch.closed")
                self._drain(session, all_committed=True)
                if against := self._validate(actor):
                    raise NotReady("the switch was given up, and the legacy system is written to again: " + "; ".join(against))
                reach("switch.validated")
                with self._db.transaction() as tx:
                    row = RoutingRow(tx)
                    row.lock()
                    freed = row.let_go()
                    routing = row.turn(Master.NEW, row.mark().entry)
                    seconds = time.monotonic() - closed_at
                    after = {"epoch": routing.epoch, "datasets": freed, "refused_seconds": round(seconds, 3)}
                    tx.note(AuditEntry("legacy.switch", "legacy", str(routing.epoch), actor, after=after))
            reach("switch.turned")
        return Switched(routing, time.monotonic() - closed_at)

    @requires_right(OPERATE)
    def rollback(self, actor: Actor) -> Switched:
        """Writes go to the legacy system again, which has got what was written here. Repeating it is harmless.

        Where no switch has happened it only opens the gate, which one that died may have left closed. Raises `AlreadyRunning`,
        `Unavailable`; what was held stays so, and the next attempt goes on.
        """
        with self._db.autocommit() as tx:
            routing = RoutingRow(tx).get()
        if routing.master is Master.LEGACY:
            if self._log.state().installed:
                self._log.open_gate()
            return Switched(routing, 0.0)
        left: dict[str, None] = dict.fromkeys(self._bring_back(actor))  # most of it, while writes still come here
        began = time.monotonic()
        for _ in range(ROUNDS):
            with self._db.transaction() as tx:
                RoutingRow(tx).hold()
            reach("rollback.held")
            left |= dict.fromkeys(self._bring_back(actor))
            with self._db.transaction() as tx:
                row = RoutingRow(tx)
                routing = row.lock()
                # What was made meanwhile is held, too, and brought back, before anything is turned.
                if row.hold() or any(row.touched(routing.audited)):
                    continue
                routing = row.turn(Master.LEGACY, routing.audited)
                after = {"epoch": routing.epoch, "cannot_be_expressed": len(left)}
                tx.note(AuditEntry("legacy.rollback", "legacy", str(routing.epoch), actor, after=after))
            reach("rollback.turned")
            self._log.open_gate()
            return Switched(routing, time.monotonic() - began, tuple(left))
        raise Conflict("datasets are being made faster here than they can be brought back: stop what makes them, and repeat")

    @requires_right(OPERATE)
    def bring_back(self, actor: Actor) -> Sequence[str]:
        """After a switch: the legacy system gets what was written here since the last time, so that the way back stays short. Answers with
        what it cannot express. Raises `Conflict` before a switch."""
        with self._db.autocommit() as tx:
            if RoutingRow(tx).get().master is Master.LEGACY:
                raise Conflict("the legacy system is written to: there is nothing to bring back")
        return self._bring_back(actor)

    # --- steps -----------------------------------------------------------------------------------------------------------------

    def _following(self) -> None:
        with self._db.autocommit() as tx:
            if RoutingRow(tx).get().master is Master.NEW:
                raise Conflict("writes come here since the switch: there is nothing to follow; `dsplatform legacy rollback` goes back")

    def _must_be_ready(self, actor: Actor) -> None:
        status = self.status(actor)
        if status.obstacles:
            raise NotReady("the switch has to wait: " + "; ".join(status.obstacles))

    def _catch_up(self, actor: Actor) -> None:
        for _ in range(ROUNDS):
            if self.follow(actor).capture.waiting <= FEW:
                return
        raise NotReady("the legacy system changes faster than it can be followed: switch at a quieter hour")

    def _drain(
        self, session: Session, *, up_to: int | None = None, all_committed: bool = False, is_over: Callable[[], bool] = lambda: False
    ) -> int:
        """Works the log off, up to a number; answers how many changes that were."""
        done = 0
        while not is_over() and (changes := self._log.read(PORTION, up_to=up_to, all_committed=all_committed)):
            session.settle(self._keys(changes))
            reach("follow.settled")
            self._log.forget(changes)
            done += len(changes)
        return done

    def _keys(self, changes: Sequence[Change]) -> dict[Entity, set[Key]]:
        wanted: dict[Entity, set[Key]] = {}
        for change in changes:
            keys = wanted.setdefault(Entity(change.entity), set())
            if change.key:
                keys.add(change.key)
            else:
                keys |= self._known(Entity(change.entity))
        return wanted

    def _known(self, entity: Entity) -> set[Key]:
        """Every row that was there as far as is known: a table was emptied at once."""
        keys: set[Key] = set()
        last = ""
        with self._db.autocommit() as tx:
            while page := IdMap(tx).page(entity, last, PORTION):
                keys |= {key_of(text) for text in page}
                last = page[-1]
        return keys

    def _close_gate(self) -> None:
        for attempt in range(1, CLOSING_TRIES + 1):
            try:
                self._log.close_gate(CLOSING_SECONDS)
                return
            except Conflict:
                if attempt == CLOSING_TRIES:
                    raise
                time.sleep(CLOSING_SECONDS)

    @contextmanager
    def _gate_opened_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            with self._db.autocommit() as tx:
                turned = RoutingRow(tx).get().master is Master.NEW  # the answer to the last COMMIT may be what was lost
            if not turned:
                self._log.open_gate()
            raise

    def _bring_back(self, actor: Actor) -> Sequence[str]:
        with self._db.autocommit() as tx:
            mark = RoutingRow(tx).mark()
        until = time.monotonic() + SETTLING_SECONDS
        while True:
            with self._db.autocommit() as tx:
                row = RoutingRow(tx)
                if row.is_past(mark):
                    datasets, users, files = row.touched(row.get().audited, mark.entry)
                    break
            if time.monotonic() > until:
                raise Unavailable("a transaction of this database has been open for long, and may still write: look at it, and repeat")
            time.sleep(0.05)
        left = self._way_back.bring(actor, datasets, users, files)
        with self._db.transaction() as tx:
            RoutingRow(tx).heard(mark.entry)
        return left


def _obstacles(capture: Capture, migration: MigrationStatus) -> Iterator[str]:
    if not capture.installed:
        yield "changes of the legacy system are not captured (`dsplatform legacy capture`)"
    if capture.uncovered:
        yield f"changes of {', '.join(capture.uncovered)} are not captured (`dsplatform legacy capture` covers them)"
    if migration.run is None or migration.unfinished:
        yield "not every table was read to its end (`dsplatform legacy migrate`)"
    if migration.is_running:
        yield "a run is under way (`dsplatform legacy status`)"
    for account in migration.accounts:
        # Rows that came since the last pass are in the log, which is drained with the gate closed; then the fast checks compare.
        if account.source is not None and abs(account.source - account.migrated - account.quarantined - account.excluded) > capture.waiting:
            yield f"not every row of {account.entity} is accounted for (`dsplatform legacy migrate`)"
    if migration.waiting:
        rows = ", ".join(f"{count} {reason}" for reason, count in sorted(migration.waiting.items()))
        yield f"findings wait for a decision: {rows} (`dsplatform legacy quarantine list`)"
