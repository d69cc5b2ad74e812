"""Garbage collection: what nothing names is buried, and after a grace period its bytes are deleted.

One collector at a time, small steps with a commit each, and no wait for anybody: it runs beside uploads and commits at all times.
Its cost follows the garbage, not the store; only `mark`, `audit` and the sweep look at everything.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from dsplatform.core.access import internal, requires_right
from dsplatform.core.database import Database, Transaction
from dsplatform.core.domain import Actor, AuditEntry, ValueObject
from dsplatform.core.errors import Conflict, DsplatformError
from dsplatform.core.failpoints import reach
from dsplatform.core.interfaces import AccessControl, CaptureKeeper
from dsplatform.core.types import FileId, PlatformRight
from dsplatform.files.binding import Binding
from dsplatform.files.ledger import FOLD, Ledger
from dsplatform.files.refuse import Expired, Queue, Strays, Tombstones
from dsplatform.files.stores import StorageBackend
from dsplatform.files.sweep import Sweep

logger = logging.getLogger(__name__)

GRACE = timedelta(days=8)
EXPIRY_GRACE = timedelta(hours=24)
REVIEW = 500
"""Files of one step: their rows are locked for some milliseconds, for which a commit that names one of them waits."""
PURGE = 1_000
PAGE = 10_000
YOUNGEST_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
"""Whatever the server's default is: an older snapshot than the locks would not see a reference that was made before them."""


class CollectionRunning(Conflict):
    """Another process collects already."""

    code = "collection_running"


@dataclass(frozen=True)
class Amount(ValueObject):
    """How much of one kind of garbage. Bytes are those that are known: an object that never became a file has no recorded size."""

    count: int = 0
    bytes: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.count + other.count, self.bytes + other.bytes)


@dataclass(frozen=True)
class Garbage(ValueObject):
    """What a collection would do, or what it did."""

    dry_run: bool
    sessions: Amount = field(metadata={"meaning": "sessions that expired: what they staged is reviewed a day later"})
    uploads: Amount = field(metadata={"meaning": "uploads that expired: what they wrote is deleted a day later"})
    unreferenced: Amount = field(metadata={"meaning": "files that nothing names: deleted after the grace period"})
    purged: Amount = field(metadata={"meaning": "objects whose grace period is over: deleted now"})
    strays: Amount | None = field(default=None, metadata={"meaning": "objects that nothing names, found by a sweep"})
    """Of a dry run: what the sweep found. Of a real one: what it buried because an earlier sweep had found it, too. None: no sweep."""
    failed: int = 0
    """Objects that the store did not delete; they are tried again."""
    refusal: str | None = None
    """Of a dry run: why a real one would not begin."""


@dataclass(frozen=True)
class Miscount(ValueObject):
    """A file whose shown reference count is wrong."""

    file_id: FileId
    shown: int
    actual: int


@dataclass(frozen=True)
class Audit(ValueObject):
    """What comparing every count with the references found."""

    files: int
    miscounts: tuple[Miscount, ...]


class GarbageCollector:
    """Collects, folds and audits. For who operates the platform, and for schedules."""

    def __init__(
        self, db: Database, storage: StorageBackend, captures: CaptureKeeper, access: AccessControl, *, grace: timedelta = GRACE
    ) -> None:
        self._db = db
        self._access = access
        self._storage = storage
        self._captures = captures
        self._grace = grace
        self._binding = Binding(db, storage)
        self._sweep = Sweep(db, storage, self._binding)

    # --- collection --------------------------------------------------------------------------------------------------------------

    @requires_right(PlatformRight.OPERATE)
    def plan(self, _actor: Actor, *, sweep: bool = False) -> Garbage:
        """What `collect` would do now. Changes nothing, whatever it finds; with `sweep` it lists the whole store."""
        refusal = strays = None
        try:
            self._binding.require(bind=False)
            if sweep:
                found = self._sweep.look()
                strays = Amount(len(found), sum(item.size for item in found))
        except DsplatformError as err:
            refusal = str(err)
        with self._db.transaction() as tx:
            sessions, unreferenced, purged = Expired(tx).sessions(), Queue(tx).unreferenced(), Tombstones(tx).due()
            uploads = Expired(tx).uploads()
        return Garbage(True, Amount(*sessions), Amount(uploads), Amount(*unreferenced), Amount(*purged), strays, refusal=refusal)

    @requires_right(PlatformRight.OPERATE)
    def collect(self, actor: Actor, *, sweep: bool = False) -> Garbage:
        """Ends what has expired, buries what nothing names, deletes what was buried long enough; with `sweep` looks for strays first.

        Raises `CollectionRunning`, and `CollectionRefused` when it cannot be told what may be deleted: then nothing has been.
        """
        with self._alone():
            self._binding.require()
            strays = Amount(*self._sweep.bury(self._sweep.look())) if sweep else None
            sessions = sum(self._until_none(self._end_sessions), Amount())
            uploads = sum(self._until_none(self._end_uploads), Amount())
            self._discard_spooled()
            unreferenced = sum(self._until_none(self._review), Amount())
            purged, failed = self._purge()
        done = Garbage(False, sessions, uploads, unreferenced, purged, strays, failed)
        figures = {name: value for name, value in done.plain().items() if name not in {"dry_run", "refusal"}}
        self._note(AuditEntry("gc.collect", "store", "", actor, after=figures))
        logger.info("collected %s", done)
        return done

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._db.advisory_lock("collect garbage") as held:
            if not held:
                raise CollectionRunning("another process collects garbage already: wait until it is done")
            yield

    def _until_none(self, step: Callable[[Transaction], Amount | None]) -> Iterator[Amount]:
        """A step in a transaction of its own, again until it finds nothing more."""
        while True:
            with self._db.transaction() as tx:
                amount = step(tx)
            if amount is None:
                return
            yield amount

    def _end_sessions(self, tx: Transaction) -> Amount | None:
        count, size = Expired(tx).end_sessions(REVIEW)
        reach("expiry.sessions")
        return Amount(count, size) if count else None

    def _end_uploads(self, tx: Transaction) -> Amount | None:
        ended = Expired(tx).end_uploads(REVIEW, max(self._grace, EXPIRY_GRACE))
        reach("expiry.uploads")
        return Amount(len(ended)) if ended else None

    def _discard_spooled(self) -> None:
        """Removes temporary files of uploads that are no more. Those of the last day are left to an uploader that still works."""
        before = self._storage.now() - EXPIRY_GRACE
        old = [upload_id for upload_id, written in self._storage.spooled().items() if written < before]
        if old:
            with self._db.autocommit() as tx:
                ended = Expired(tx).without_intent(old)
            for upload_id in ended:
                self._storage.discard_spooled(upload_id)

    def _review(self, tx: Transaction) -> Amount | None:
        tx.execute(YOUNGEST_SNAPSHOT)
        queue = Queue(tx)
        ids = queue.due(REVIEW)
        if not ids:
            return None
        locked = queue.lock(ids)
        reach("gc.locked")
        dead = queue.bury(locked, self._grace)
        if dead:
            self._captures.forget(tx, [content_hash for content_hash, _ in dead])
        queue.reviewed(ids, locked)
        return Amount(len(dead), sum(size for _, size in dead))

    def _purge(self) -> tuple[Amount, int]:
        """Deletes objects whose time has come: (how many went, how many could not be deleted)."""
        purged, failed = Amount(), 0
        while True:
            reach("gc.buried")
            with self._db.transaction() as tx:
                leased = {row["storage_key"]: row["file_size"] or 0 for row in Tombstones(tx).lease(PURGE)}
            if not leased:
                return purged, failed
            with self._db.transaction() as tx:  # a new snapshot, after the lease
                for key in Tombstones(tx).spare_living(leased):
                    logger.error("object %s was to be deleted, and a file names it: it stays", key)
                    del leased[key]
            reach("purge.leased")
            left = self._storage.delete(leased)
            reach("purge.deleted")
            gone = {key: size for key, size in leased.items() if key not in left}
            with self._db.transaction() as tx:
                Tombstones(tx).remove(gone)
            for key, reason in left.items():
                logger.warning("object %s could not be deleted: %s", key, reason)
            purged, failed = purged + Amount(len(gone), sum(gone.values())), failed + len(left)

    @requires_right(PlatformRight.OPERATE)
    def mark(self, actor: Actor) -> int:
        """Queues every file that nothing names and that is not queued: what a disabled trigger forgot. Looks at all files, monthly;
        answers how many were new to the queue."""
        with self._alone():
            last = count = 0
            while True:
                with self._db.transaction() as tx:
                    last, found = Queue(tx).mark(last, PAGE)
                    count += found
                    if not last:
                        tx.note(AuditEntry("gc.mark", "store", "", actor, after={"queued": count}))
                        return count

    def _note(self, entry: AuditEntry) -> None:
        """Of work in many transactions: once it is done."""
        with self._db.autocommit() as tx:
            tx.note(entry)

    # --- after a restore ---------------------------------------------------------------------------------------------------------

    @requires_right(PlatformRight.OPERATE)
    def restored(self, actor: Actor) -> None:
        """Says that the database was restored from a backup: nothing is deleted until `clear_restore_flag`."""
        identity = self._storage.store_id()
        with self._db.transaction() as tx:
            self._binding.set_restored(tx, identity)
            tx.note(AuditEntry("gc.stop", "store", "", actor))

    @requires_right(PlatformRight.OPERATE)
    def clear_restore_flag(self, actor: Actor) -> int:
        """Allows deleting again. What was to be deleted and is named by a file again is spared; answers how many those are. What sweeps
        found before the restore counts no longer."""
        with self._db.transaction() as tx:
            spared = Tombstones(tx).spare_every_living()
            Strays(tx).forget_others(None)
            self._binding.clear_restored(tx)
            tx.note(AuditEntry("gc.allow", "store", "", actor, after={"spared": spared}))
        return spared

    # --- reference counts --------------------------------------------------------------------------------------------------------

    @internal("what is shown is the same before and after")
    def fold(self) -> int:
        """Brings `files.reference_count` up to date; answers how many deltas were folded. One process folds at a time: beside another
        one it does nothing. What is shown is exact before and after."""
        total = 0
        while True:
            folded = 0
            with self._db.transaction() as tx:
                if Ledger(tx).alone():
                    folded = Ledger(tx).fold()
                    reach("fold.folded")
            total += folded
            if folded < FOLD:
                return total

    @internal("it compares figures, and tells of no dataset")
    def audit(self) -> Audit:
        """Compares every file's count with the rows that name it. A difference is an alarm, and changes nothing."""
        wrong: list[Miscount] = []
        count = last = 0
        while True:
            with self._db.autocommit() as tx:
                looked, last, found = Ledger(tx).miscounts(last, PAGE)
            if not looked:
                return Audit(count, tuple(wrong))
            count += looked
            wrong += _alarmed(found)


def _alarmed(found: Sequence[tuple[FileId, int, int]]) -> list[Miscount]:
    for file_id, shown, actual in found:
        logger.error("file %s is shown with %s reference(s) and has %s", file_id, shown, actual)
    return [Miscount(*one) for one in found]
