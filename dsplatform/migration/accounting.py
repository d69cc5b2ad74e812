"""Whether every row of the legacy database is accounted for: its keys, compared with the id map's, both ways.

Counts alone would let one row that is missing hide one that is too many. So both databases sum up a hash of each key first, and where the
sums differ the keys are walked, a stretch at a time: in the order of the legacy table for what nobody has read, and in the order of the id
map for what is gone. What differs is settled, since writers may be at work. What is still not accounted for after that was lost by us, and
nothing goes on.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dsplatform.core.database import Database
from dsplatform.core.domain import ValueObject
from dsplatform.core.errors import Conflict
from dsplatform.migration.landed_rows import IdMap
from dsplatform.migration.model import Entity, Key, Outcome, key_of
from dsplatform.migration.source import LegacyDatabase, Snapshot

STRETCH = 20_000


class AccountingBroken(Conflict):
    """Rows of the legacy database ended nowhere."""

    code = "legacy_accounting_broken"


@dataclass(frozen=True)
class Account(ValueObject):
    """One table's rows, and how they ended."""

    entity: str
    source: int | None
    """Rows of the legacy table at this moment; None: it was not asked."""
    migrated: int
    quarantined: int
    excluded: int

    @property
    def holds(self) -> bool:
        """Whether each row ended in exactly one way."""
        return self.source is None or self.source == self.migrated + self.quarantined + self.excluded


def accounts(figures: Mapping[str, Mapping[str, int]], counts: Mapping[str, int | None]) -> Sequence[Account]:
    """One for each table, in the order in which they come along."""
    return [
        Account(
            entity,
            counts.get(entity),
            *(figures.get(entity, {}).get(outcome, 0) for outcome in (Outcome.MIGRATED, Outcome.QUARANTINED, Outcome.EXCLUDED)),
        )
        for entity in Entity
        if entity in figures or counts.get(entity) is not None
    ]


class Accounting:
    """Compares keys."""

    def __init__(self, db: Database, legacy: LegacyDatabase) -> None:
        self._db = db
        self._legacy = legacy

    def differences(self, source: Snapshot, entity: Entity) -> Iterator[Sequence[Key]]:
        """Keys that are in the table or in the id map and not in both, a stretch at a time."""
        with self._db.autocommit() as tx:
            is_accounted_for = IdMap(tx).key_sum(entity) == source.key_sum(entity)
        if is_accounted_for:
            return
        yield from self._unread(source, entity)
        yield from self._gone(source, entity)

    def require(self, entity: Entity, keys: Sequence[Key]) -> None:
        """Raises `AccountingBroken` for keys that are in the table and still not in the id map."""
        with self._legacy.snapshot() as source:
            lost = self._lacking(entity, sorted(source.there(entity, keys)))
        if lost:
            shown = ", ".join(str(key) for key in lost[:5])
            raise AccountingBroken(
                f"{len(lost)} rows of the legacy table {entity} ended nowhere, as {shown}: nothing goes on; this is a fault of the "
                "migration, report it"
            )

    def _unread(self, source: Snapshot, entity: Entity) -> Iterator[Sequence[Key]]:
        after: Key | None = None
        while stretch := source.keys(entity, after, STRETCH):
            after = stretch[-1]
            if lacking := self._lacking(entity, stretch):
                yield lacking

    def _lacking(self, entity: Entity, keys: Sequence[Key]) -> Sequence[Key]:
        with self._db.autocommit() as tx:
            living = IdMap(tx).which_live(entity, keys)
        return [key for key in keys if key not in living]

    def _gone(self, source: Snapshot, entity: Entity) -> Iterator[Sequence[Key]]:
        after = ""
        while True:
            with self._db.autocommit() as tx:
                stretch = IdMap(tx).page(entity, after, STRETCH)
            if not stretch:
                return
            after = stretch[-1]
            keys = [key_of(text) for text in stretch]
            there = source.there(entity, keys)
            if lost := [key for key in keys if key not in there]:
                yield lost
