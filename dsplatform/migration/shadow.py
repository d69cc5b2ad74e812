"""What comparing the legacy server's answers with ours has shown, for who decides whether to switch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from dsplatform.core.access import internal, requires_right
from dsplatform.core.database import Database
from dsplatform.core.domain import Actor, AuditEntry
from dsplatform.core.interfaces import AccessControl
from dsplatform.core.types import PlatformRight
from dsplatform.migration.shadow_rows import ShadowRows

MOST_KEPT = 10_000
"""Differences that are kept; the counts go on."""


class Outcome(StrEnum):
    """How a comparison came out."""

    SAME = "same"
    EXPLAINED = "explained"
    """They differ where docs/legacy-api.md says that they do."""
    DIFFERENT = "different"
    """They differ, and nothing explains it."""
    UNANSWERED = "unanswered"
    """The legacy server, or ours, gave no whole answer."""
    SKIPPED = "skipped"
    """Too many were being compared."""


@dataclass(frozen=True)
class Difference:
    """Two answers that differ. It holds nothing of what they say: places and kinds alone."""

    at: datetime
    method: str
    path: str
    """Without its query."""
    status_old: int | None
    status_new: int | None
    difference: Sequence[Mapping[str, str]]
    """`at`, a JSON pointer or the name of a part, and `kind`."""
    explanation: str | None = None

    def plain(self) -> dict[str, object]:
        """As it is kept."""
        return {**self.__dict__, "at": self.at.isoformat(), "difference": list(self.difference)}


@dataclass(frozen=True)
class Summary:
    """What was found so far."""

    counts: Mapping[Outcome, int]
    explanations: Mapping[str, int]
    """Of those that are kept."""
    unexplained: Sequence[Difference]
    """The newest."""

    @property
    def compared(self) -> int:
        """Answers that were held against each other."""
        return sum(self.counts[outcome] for outcome in (Outcome.SAME, Outcome.EXPLAINED, Outcome.DIFFERENT))

    @property
    def different(self) -> int:
        """Those of them that differ, where nothing explains it."""
        return self.counts[Outcome.DIFFERENT]

    def plain(self) -> dict[str, object]:
        """As JSON has it."""
        differences = [one.plain() for one in self.unexplained]
        return {"counts": dict(self.counts), "explanations": dict(self.explanations), "differences": differences}


class ShadowService:
    """Keeps what was compared."""

    def __init__(self, db: Database, access: AccessControl) -> None:
        self._db = db
        self._access = access

    @internal("the legacy paths write down what they compared")
    def note(self, outcomes: Mapping[Outcome, int], differences: Sequence[Difference]) -> None:
        """Adds to the counts, and keeps the differences, of which there are never more than `MOST_KEPT`."""
        with self._db.transaction() as tx:
            rows = ShadowRows(tx)
            rows.count({str(outcome): count for outcome, count in outcomes.items()})
            if differences:
                rows.add([one.plain() for one in differences[-MOST_KEPT:]])
                rows.cut(MOST_KEPT)

    @requires_right(PlatformRight.OPERATE)
    def summary(self, _actor: Actor, *, limit: int = 20) -> Summary:
        """What was found, with the newest differences that nothing explains."""
        with self._db.autocommit() as tx:
            rows = ShadowRows(tx)
            counts = rows.counts()
            found = [_difference(row) for row in rows.newest(limit)]
            return Summary({outcome: counts.get(outcome, 0) for outcome in Outcome}, rows.explanations(), found)

    @requires_right(PlatformRight.OPERATE)
    def begin_anew(self, actor: Actor) -> None:
        """Forgets what was found, after something was mended."""
        with self._db.transaction() as tx:
            ShadowRows(tx).forget()
            tx.note(AuditEntry("shadow.forget", "platform", "legacy", actor))


def _difference(row: Any) -> Difference:
    return Difference(row["at"], row["method"], row["path"], row["status_old"], row["status_new"], row["difference"])
