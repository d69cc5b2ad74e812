"""The audit log: who did what, and who was refused what. It only grows, and it is sealed: `audit_chain` says how.

Entries are noted by the transactions that they tell of (`Transaction.note`). Reading the log is no change, and is not noted.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from dsplatform.core.access import internal, requires_right
from dsplatform.core.database import Database
from dsplatform.core.domain import Actor, ValueObject
from dsplatform.core.interfaces import AccessControl
from dsplatform.core.types import PlatformRight
from dsplatform.permissions.audit_chain import ChainCheck, Finding, Head, canonical, plain
from dsplatform.permissions.audit_rows import FIRST, AuditTrail, Entry, Filter

logger = logging.getLogger(__name__)

PAGE = 2_000
"""Rows that one statement reads or seals."""

OVERDUE_MINUTES = 10
"""A row that is older is sealed, where the sealer is at work."""


@dataclass(frozen=True)
class Sealed(ValueObject):
    """What one sealing did."""

    rows: int
    head: Head | None
    """None: nothing was ever logged."""


@dataclass(frozen=True)
class AuditReport(ValueObject):
    """What a verification of the log found."""

    rows: int
    """How many sealed rows were looked at."""
    head: Head | None
    found: int
    """How many things are not as they were sealed."""
    findings: tuple[Finding, ...]
    """The first thousand of them."""

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self.found


class AuditService:
    """Shows, exports, seals and verifies the log."""

    def __init__(self, db: Database, access: AccessControl) -> None:
        self._db = db
        self._access = access

    @requires_right(PlatformRight.AUDIT)
    def entries(
        self,
        _actor: Actor,
        *,
        by: str | None = None,
        action: str | None = None,
        object: str | None = None,  # noqa: A002 - the word of the log
        since: datetime | None = None,
        until: datetime | None = None,
        after: int | None = None,
        limit: int = 100,
    ) -> list[Entry]:
        """Entries, the newest first. `after`: the id of the last one of the page before. `action`: also all that begin with the word;
        `object`: `dataset` or `dataset:17`; `since` counts, `until` does not."""
        with self._db.autocommit() as tx:
            return list(AuditTrail(tx).entries(Filter(by, action, object, since, until), after, limit))

    @requires_right(PlatformRight.AUDIT)
    def count(
        self,
        _actor: Actor,
        *,
        by: str | None = None,
        action: str | None = None,
        object: str | None = None,  # noqa: A002 - the word of the log
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> int:
        """How many entries there are."""
        with self._db.autocommit() as tx:
            return AuditTrail(tx).count(Filter(by, action, object, since, until))

    @requires_right(PlatformRight.AUDIT)
    def export(self, _actor: Actor, *, after: int | None = None) -> Iterator[str]:
        """The log as lines of JSON in the order of its seals, from the one after that position on (None: all). What has no seal yet gets
        one first. A page is in memory at a time, and no transaction is open in between. `docs/audit.md` says how to verify the lines."""
        self.seal()
        return self._lines(FIRST if after is None else after)

    @requires_right(PlatformRight.AUDIT)
    def verify(self, _actor: Actor, *, noted: Head | None = None) -> AuditReport:
        """Computes every hash again, a page at a time; others may work meanwhile. `noted`: a head that was kept elsewhere, which alone
        tells of an end that was cut off or a chain that was made anew."""
        check = ChainCheck(noted)
        position = FIRST
        with self._db.autocommit() as tx:
            trail = AuditTrail(tx)
            while page := trail.seals(position, PAGE):
                for seal in page:
                    check.see(seal)
                position = page[-1].position
            check.end()
            overdue, ids = trail.overdue(OVERDUE_MINUTES)
        if overdue:
            named = ", ".join(map(str, ids)) + (" and more" if overdue > len(ids) else "")
            check.add(
                "unsealed",
                None,
                None,
                f"{overdue} row(s) older than {OVERDUE_MINUTES} minutes have no seal ({named}): they were put in later, or nothing seals; "
                "`dsplatform audit seal` does",
            )
        return AuditReport(check.rows, check.head, check.found, tuple(check.findings))

    @internal("it adds what proves the log, and shows nothing of it")
    def seal(self, *, whole: bool = False) -> Sealed:
        """Seals the rows that have no seal. `whole`: looks at the whole log for them, and not only from a day before the last sealed row
        on. Any number of processes may call it at once; one that is killed leaves whole batches."""
        rows = 0
        while True:
            with self._db.transaction() as tx:
                trail = AuditTrail(tx)
                trail.lock()
                head = trail.head()
                batch = trail.to_seal(PAGE, whole=whole)
                if batch:
                    head = trail.append(head, batch)
            rows += len(batch)
            if len(batch) < PAGE:
                break
        if rows:
            logger.info("the audit log is sealed up to %s", head)
        return Sealed(rows, head)

    @internal("it compares what the caller has noted herself")
    def has(self, head: Head) -> bool:
        """Whether the seal is there as it was noted."""
        with self._db.autocommit() as tx:
            return AuditTrail(tx).has(head)

    def _lines(self, after: int) -> Iterator[str]:
        while True:
            with self._db.autocommit() as tx:
                page = AuditTrail(tx).seals(after, PAGE)
            if not page:
                break
            for seal in page:
                yield canonical(
                    {
                        "chain_hash": seal.chain_hash,
                        "position": seal.position,
                        "row": None if seal.row is None else plain(seal.row),
                        "row_hash": seal.row_hash,
                    }
                )
            after = page[-1].position
