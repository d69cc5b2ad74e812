"""Which of the two systems is written to: one row, compared and changed where everything else is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dsplatform.core.database import Transaction
from dsplatform.core.domain import ValueObject


class Master(StrEnum):
    """The system that is written to."""

    LEGACY = "legacy"
    NEW = "new"


@dataclass(frozen=True)
class Routing(ValueObject):
    """Where writes go."""

    master: Master
    epoch: int
    """Grows with each switch and each way back."""
    switched_at: datetime
    audited: int
    """The audit log's last entry of which the legacy system need not hear."""


@dataclass(frozen=True)
class Mark(ValueObject):
    """A place in the audit log."""

    entry: int
    ends_at: int
    """A transaction id that was given then: transactions that wrote entries before have smaller ones."""


class RoutingRow:
    """The row."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def get(self) -> Routing:
        """As it is."""
        row = self._tx.row("SELECT master, epoch, switched_at, audited FROM legacy_routing")
        if row is None:
            raise AssertionError("the routing has one row, made with its table")
        return Routing(Master(row["master"]), row["epoch"], row["switched_at"], row["audited"])

    def lock(self) -> Routing:
        """The same, until the transaction ends nobody else's."""
        self._tx.execute("SELECT 1 FROM legacy_routing FOR UPDATE")
        return self.get()

    def turn(self, master: Master, audited: int) -> Routing:
        """Writes go there from the end of the transaction on."""
        self._tx.execute(
            "UPDATE legacy_routing SET master = :master, epoch = epoch + 1, switched_at = clock_timestamp(), audited = :audited",
            master=master,
            audited=audited,
        )
        return self.get()

    def heard(self, audited: int) -> None:
        """The legacy system has what the audit log tells up to there."""
        self._tx.execute("UPDATE legacy_routing SET audited = :audited", audited=audited)

    def let_go(self) -> int:
        """The datasets that followed the legacy system are changed here from now on; answers how many."""
        return self._tx.execute("UPDATE datasets SET held = false WHERE held")

    def hold(self) -> int:
        """Every living dataset that the legacy system has is changed there alone. Waits for the commits that are under way."""
        return self._tx.execute(
            "UPDATE datasets SET held = true WHERE NOT held AND deleted_at IS NULL AND id IN "
            "(SELECT new_id FROM legacy_id_map WHERE entity = 'datasets' AND deleted_at IS NULL)"
        )

    def mark(self) -> Mark:
        """How far the audit log is. Entries up to there may still be on their way: numbers are given before their transaction ends."""
        ((entry, ends_at),) = self._tx.tuples("SELECT coalesce(max(id), 0), pg_current_xact_id()::text FROM audit_log")
        return Mark(entry, int(ends_at))

    def is_past(self, mark: Mark) -> bool:
        """Whether every entry up to the mark can be seen by now, if it will ever be."""
        return int(self._tx.scalar("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")) > mark.ends_at

    def touched(self, since: int, until: int | None = None) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        """(datasets, users, files) that entries of the audit log behind `since` are about, up to `until`."""
        rows = self._tx.tuples(
            "SELECT DISTINCT object_type, object_id FROM audit_log WHERE id > :since AND id <= coalesce(:until, id) AND result = 'done' "
            "AND object_type IN ('dataset', 'user', 'file') AND object_id ~ '^[0-9]+$' AND action NOT IN ('session.login')",
            since=since,
            until=until,
        )
        return tuple([int(object_id) for kind, object_id in rows if kind == wanted] for wanted in ("dataset", "user", "file"))  # type: ignore[return-value]
