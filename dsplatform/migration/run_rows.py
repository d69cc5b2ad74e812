"""Statements on runs of the migration and on how far they came."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from dsplatform.core.database import Row, Transaction
from dsplatform.core.domain import ValueObject
from dsplatform.core.errors import Conflict
from dsplatform.migration.canonical import as_json
from dsplatform.migration.model import Key, Outcome


@dataclass(frozen=True)
class LegacyRun(ValueObject):
    """One run of the migration."""

    id: UUID
    kind: str
    generation: str
    started_by: int
    started_at: datetime
    ended_at: datetime | None
    state: str
    """`running`, `done`, `stopped` (it can go on) or `failed` (it can go on when the cause is gone)."""
    report: Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoint(ValueObject):
    """How far the reading of one table came."""

    entity: str
    last_key: Key | None
    high_key: Key | None
    """The last key when the pass began."""
    rows_read: int
    rows_migrated: int
    rows_quarantined: int
    rows_excluded: int
    done: bool


class RunEnded(Conflict):
    """Another run of the migration has taken over."""

    code = "legacy_run_ended"


class Runs:
    """Runs of the migration."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def begin(self, run_id: UUID, kind: str, generation: str, user_id: int) -> None:
        """A new run. One that says it is running lost its process: whoever calls holds the lock of them all."""
        self._tx.execute(
            "UPDATE legacy_runs SET state = 'failed', ended_at = now(), "
            "report = coalesce(report, '{}') || '{\"error\": \"its process ended\"}' WHERE state = 'running'"
        )
        self._tx.execute(
            "INSERT INTO legacy_runs (id, kind, generation, started_by) VALUES (:id, :kind, :generation, :user)",
            id=run_id,
            kind=kind,
            generation=generation,
            user=user_id,
        )

    def hold(self, run_id: UUID) -> None:
        """Keeps others from taking over until the transaction ends. Raises `RunEnded` when one has."""
        if self._tx.row("SELECT 1 FROM legacy_runs WHERE id = :id AND state = 'running' FOR SHARE", id=run_id) is None:
            raise RunEnded("another run of the migration has begun meanwhile: this one ends here, what it did is kept")

    def end(self, run_id: UUID, state: str, report: Mapping[str, Any]) -> None:
        """How it ended."""
        self._tx.execute(
            "UPDATE legacy_runs SET state = :state, ended_at = now(), report = CAST(:report AS jsonb) WHERE id = :id AND state = 'running'",
            id=run_id,
            state=state,
            report=as_json(report),
        )

    def newest(self, kind: str | None = None) -> LegacyRun | None:
        """The last one that began."""
        row = self._tx.row(
            "SELECT id, kind, generation, started_by, started_at, ended_at, state, coalesce(report, '{}') AS report FROM legacy_runs "
            "WHERE CAST(:kind AS text) IS NULL OR kind = :kind ORDER BY started_at DESC, id LIMIT 1",
            kind=kind,
        )
        return None if row is None else LegacyRun(**row)

    def accepted(self) -> frozenset[str]:
        """Reasons that somebody accepted, in whichever run."""
        rows = self._tx.tuples("SELECT DISTINCT jsonb_array_elements_text(report -> 'accepted') FROM legacy_runs WHERE report ? 'accepted'")
        return frozenset(reason for (reason,) in rows)

    def note_accepted(self, run_id: UUID, reasons: frozenset[str]) -> None:
        """Somebody accepts that many rows have these reasons."""
        self._tx.execute(
            "UPDATE legacy_runs SET report = coalesce(report, '{}') || jsonb_build_object('accepted', to_jsonb(CAST(:reasons AS text[]))) "
            "WHERE id = :id",
            id=run_id,
            reasons=sorted(reasons),
        )


class Checkpoints:
    """How far each table was read in the pass that is under way, or was last."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def get(self, entity: str) -> Checkpoint | None:
        """Of one table."""
        row = self._tx.row(f"{_CHECKPOINT} WHERE entity = :entity AND shard = 0", entity=entity)
        return None if row is None else _checkpoint(row)

    def all(self) -> Mapping[str, Checkpoint]:
        """Of every table that was begun."""
        return {row["entity"]: _checkpoint(row) for row in self._tx.rows(f"{_CHECKPOINT} WHERE shard = 0")}

    def clear(self, entities: Collection[str]) -> None:
        """A new pass over these tables begins."""
        self._tx.execute("DELETE FROM legacy_checkpoints WHERE entity = ANY(CAST(:entities AS text[]))", entities=list(entities))

    def begin(self, entity: str, high_key: Key | None, run_id: UUID) -> None:
        """The table's pass begins, or goes on."""
        self._tx.execute(
            "INSERT INTO legacy_checkpoints (entity, shard, high_key, run_id) VALUES (:entity, 0, CAST(:high AS bigint[]), :run) "
            "ON CONFLICT (entity, shard) DO UPDATE SET run_id = excluded.run_id, updated_at = now()",
            entity=entity,
            high=None if high_key is None else list(high_key),
            run=run_id,
        )

    def advance(self, entity: str, before: Key | None, last_key: Key, figures: Mapping[Outcome, int]) -> bool:
        """The rows up to `last_key` are accounted for; False unless the table had come exactly as far as `before`."""
        return (
            self._tx.execute(
                "UPDATE legacy_checkpoints SET last_key = CAST(:last AS bigint[]), updated_at = now(), "
                "rows_read = rows_read + :rows_read, rows_migrated = rows_migrated + :migrated, "
                "rows_quarantined = rows_quarantined + :quarantined, rows_excluded = rows_excluded + :excluded "
                "WHERE entity = :entity AND shard = 0 AND last_key IS NOT DISTINCT FROM CAST(:before AS bigint[])",
                entity=entity,
                before=None if before is None else list(before),
                last=list(last_key),
                rows_read=sum(figures.values()),
                migrated=figures.get(Outcome.MIGRATED, 0),
                quarantined=figures.get(Outcome.QUARANTINED, 0),
                excluded=figures.get(Outcome.EXCLUDED, 0),
            )
            == 1
        )

    def finish(self, entity: str) -> None:
        """The table was read to its end."""
        self._tx.execute("UPDATE legacy_checkpoints SET done = true, updated_at = now() WHERE entity = :entity AND NOT done", entity=entity)


_CHECKPOINT = "SELECT entity, last_key, high_key, rows_read, rows_migrated, rows_quarantined, rows_excluded, done FROM legacy_checkpoints"


def _checkpoint(row: Row) -> Checkpoint:
    keys = {name: None if row[name] is None else tuple(row[name]) for name in ("last_key", "high_key")}
    return Checkpoint(**{**row, **keys})
