"""Reading stored files back, the longest unread first, and marking what is damaged. Nothing is ever deleted.

A file's `verified_at` says when it was last read back, and is all the progress there is: a pass that was stopped or killed goes on where
it was. A damaged file keeps its object, a copy of which is put into quarantine; uploading the same bytes heals it, and so does an
operator who puts the right bytes back, once they are read here.
"""

import logging
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from dsplatform.core.access import internal, requires_right
from dsplatform.core.database import Database
from dsplatform.core.domain import Actor, AuditEntry, ValueObject
from dsplatform.core.errors import DsplatformError, Invalid, Unavailable
from dsplatform.core.failpoints import reach
from dsplatform.core.interfaces import AccessControl, VersionReader
from dsplatform.core.types import ContentHash, FileId, PlatformRight
from dsplatform.core.values import FileUse
from dsplatform.files.condition import Condition, Placed, every_placed
from dsplatform.files.stores import StorageBackend
from dsplatform.files.verification import absences, batches, differences, examine, listed_objects, must_be_ours

logger = logging.getLogger(__name__)

PAGE = 500
FLUSH_BYTES = 256 * 1024 * 1024
"""What is read between two records of the progress, and is read again after a crash."""
KEPT = 1_000
"""How many damaged files a pass describes; all are counted."""
PATIENCE = 10
"""After this many files in a row that the store does not let be read, the store is at fault, and the pass ends."""


@dataclass(frozen=True)
class Damage(ValueObject):
    """A file whose object is not what was stored."""

    file_id: FileId
    content_hash: ContentHash
    finding: str
    quarantined: bool
    """Whether a copy of what is there lies in quarantine."""
    uses: tuple[FileUse, ...]
    """The versions that it touches, newest first, up to 100 of them."""


@dataclass
class Scrubbed:
    """What a pass did."""

    files: int = 0
    bytes_read: int = 0
    damaged_files: int = 0
    damages: list[Damage] = field(default_factory=list)
    """The first of them."""
    cleared: list[ContentHash] = field(default_factory=list)
    """Files that were marked as damaged, and whose bytes are right again."""
    unreadable: list[str] = field(default_factory=list)
    """Files that the store did not let be read: they are first in the next pass."""
    finished: bool = True
    """False when the bound on bytes ended the pass."""


class Scrub:
    """The scrubber. Every method may be repeated, stopped anywhere, and run by many at once."""

    def __init__(
        self,
        db: Database,
        storage: StorageBackend,
        versions: VersionReader,
        access: AccessControl,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._db = db
        self._storage = storage
        self._versions = versions
        self._access = access
        self._clock = clock
        self._sleep = sleep

    @requires_right(PlatformRight.OPERATE)
    def presence(self, actor: Actor, prefix: str = "") -> Scrubbed:
        """Compares the store's listing with the files whose hash begins with `prefix`, and marks those whose object is missing or has
        another size. Reads no contents. Raises `WrongStore`, and `Unavailable` when the store cannot be listed in full."""
        _must_be_digits(prefix)
        must_be_ours(self._db, self._storage)
        outcome = Scrubbed()
        differing = differences(self._placed(prefix, outcome), listed_objects(self._storage, prefix))
        for batch in batches(item for item in differing if isinstance(item, Placed)):
            self._record([], absences(self._db, self._storage, batch), outcome)
        return self._noted(actor, "scrub.presence", prefix, outcome)

    def _placed(self, prefix: str, outcome: Scrubbed) -> Iterator[Placed]:
        for file in every_placed(self._db, prefix):
            outcome.files += 1
            yield file

    @requires_right(PlatformRight.OPERATE)
    def contents(self, actor: Actor, prefix: str = "", *, max_bytes: int | None = None, bytes_per_second: int | None = None) -> Scrubbed:
        """Reads the files whose hash begins with `prefix`, and that are there now: first those that were never read back, then the
        longest unread.

        Ends before the file that would exceed `max_bytes`, though not before one was read; a later call goes on there. Marks what is
        damaged, and clears the mark of what is right again. Raises `WrongStore`, and `Unavailable` when the store does not answer.
        """
        _must_be_digits(prefix)
        must_be_ours(self._db, self._storage)
        return self._noted(actor, "scrub.contents", prefix, self._read(self._due(prefix), max_bytes, bytes_per_second))

    def _noted(self, actor: Actor, action: str, prefix: str, outcome: Scrubbed) -> Scrubbed:
        figures = {
            "files": outcome.files,
            "bytes_read": outcome.bytes_read,
            "damaged": outcome.damaged_files,
            "cleared": len(outcome.cleared),
            "unreadable": len(outcome.unreadable),
        }
        with self._db.autocommit() as tx:
            tx.note(AuditEntry(action, "store", prefix, actor, after=figures))
        return outcome

    @internal("each batch of arrivals is sampled, whoever sent it")
    def sample(self, hashes: Sequence[ContentHash], *, max_files: int, max_bytes: int) -> Scrubbed:
        """Reads some files with these contents, at random and within the bounds; marks and clears as `contents` does."""
        chosen = random.sample(hashes, min(max_files, len(hashes)))
        with self._db.autocommit() as tx:
            files = Condition(tx).known(chosen)
        fitting, left = [], max_bytes
        for file in files:
            if file.file_size <= left:
                fitting.append(file)
                left -= file.file_size
        return self._read(iter(fitting), None, None)

    def _due(self, prefix: str) -> Iterator[Placed]:
        with self._db.autocommit() as tx:
            started, newest = Condition(tx).horizon()
        last = 0
        while True:
            with self._db.autocommit() as tx:
                unread = Condition(tx).never_read(prefix, last, newest, PAGE)
            if not unread:
                break
            yield from unread
            last = unread[-1].id
        at, last = None, 0
        while True:
            with self._db.autocommit() as tx:
                page = Condition(tx).longest_unread(prefix, (at, last), started, PAGE)
            if not page:
                return
            yield from (file for _, file in page)
            at, last = page[-1][0], page[-1][1].id

    def _read(self, due: Iterator[Placed], max_bytes: int | None, bytes_per_second: int | None) -> Scrubbed:
        outcome = Scrubbed()
        started, flushed, failures = self._clock(), 0, 0
        good: list[Placed] = []
        bad: list[tuple[Placed, str]] = []

        def passed(count: int) -> None:
            outcome.bytes_read += count
            if bytes_per_second and (early := outcome.bytes_read / bytes_per_second - (self._clock() - started)) > 0:
                self._sleep(early)

        for file in due:
            if max_bytes is not None and outcome.files and outcome.bytes_read + file.file_size > max_bytes:
                outcome.finished = False
                break
            try:
                finding = examine(self._storage, file, passed)
            except Unavailable as err:
                failures += 1
                outcome.unreadable.append(f"{file.label}: {err}")
                if failures == PATIENCE:
                    self._record(good, bad, outcome)
                    raise
                continue
            failures = 0
            outcome.files += 1
            if finding:
                bad.append((file, finding))
            else:
                good.append(file)
            if len(good) + len(bad) >= PAGE or outcome.bytes_read - flushed > FLUSH_BYTES:
                self._record(good, bad, outcome)
                good, bad, flushed = [], [], outcome.bytes_read
        self._record(good, bad, outcome)
        return outcome

    def _record(self, good: Sequence[Placed], bad: Sequence[tuple[Placed, str]], outcome: Scrubbed) -> None:
        if good:
            kept = self._db.retrying(lambda tx: Condition(tx).record(good, "ok"))
            outcome.cleared += [file.content_hash for file in good if file.id in kept and file.state != "ok"]
        marked = mark_damaged(self._db, self._storage, bad)
        outcome.damaged_files += len(marked)
        described = marked[: max(0, KEPT - len(outcome.damages))]
        with self._db.autocommit() as tx:
            uses = self._versions.uses(tx, [file.id for file, _, _ in described]) if described else []
        for file, finding, quarantined in described:
            touched = tuple(use for use in uses if use.file_id == file.id)
            outcome.damages.append(Damage(file.id, file.content_hash, finding, quarantined, touched))


def mark_damaged(db: Database, storage: StorageBackend, found: Sequence[tuple[Placed, str]]) -> list[tuple[Placed, str, bool]]:
    """Marks files and copies their objects into quarantine; answers with those that are still where they were read, and whether there
    is a copy. The mark comes first: a damage without a copy is known, and the next pass makes the copy. Raises `WrongStore`."""
    if not found:
        return []
    must_be_ours(db, storage)
    marked = db.retrying(lambda tx: Condition(tx).record([file for file, _ in found], "damaged"))
    reach("scrub.marked")
    answer = []
    for file, finding in found:
        if file.id in marked:
            logger.warning("%s is damaged: %s", file.label, finding)
            answer.append((file, finding, _quarantine(storage, file)))
    return answer


def _quarantine(storage: StorageBackend, file: Placed) -> bool:
    try:
        return storage.quarantine(file.key)
    except DsplatformError as err:  # a full disk must not keep damage from being reported
        logger.warning("%s could not be copied into quarantine: %s", file.label, err)
        return False


def _must_be_digits(prefix: str) -> None:
    if not re.fullmatch("[0-9a-f]{0,64}", prefix):
        raise Invalid(f"{prefix!r} does not begin a hash: give hexadecimal digits in lower case, or nothing for every file")
