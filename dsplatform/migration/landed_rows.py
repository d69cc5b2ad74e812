"""Statements on what became of each legacy row: the id map and the quarantine. Each is made for a batch."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from dsplatform.core.database import Row, Transaction
from dsplatform.core.domain import ValueObject
from dsplatform.migration.canonical import as_json
from dsplatform.migration.model import Entity, Gone, Key, Outcome, key_of, legacy_id
from dsplatform.migration.source import KEY_SUM

BY_RULE = "recorded by rule"
SETTLED = "no longer so"


class Known(NamedTuple):
    """What the id map says of a row."""

    source_hash: bytes
    outcome: Outcome
    is_gone: bool
    new_id: int | None


class Line(NamedTuple):
    """A row of the id map as it is written."""

    entity: str
    legacy_id: str
    new_id: int | None
    outcome: str
    reason: str | None
    kept: str | None
    source_hash: str
    """Hexadecimal."""


class Remark(NamedTuple):
    """A row of the quarantine as it is written."""

    entity: str
    legacy_id: str
    reason: str
    detail: str
    raw: str
    resolution: str | None


@dataclass(frozen=True)
class Quarantined(ValueObject):
    """Why something about a legacy row is not as it was, and what was decided about it."""

    id: int
    entity: str
    legacy_id: str
    reason: str
    detail: Mapping[str, Any]
    raw: Mapping[str, Any]
    """The row as it was, without passwords."""
    first_seen: datetime
    last_seen: datetime
    resolution: str | None
    """None: nobody has decided."""
    resolved_by: str | None
    resolved_at: datetime | None


class IdMap:
    """Every legacy row that was read, and what it is here."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def known(self, entity: str, keys: Iterable[Key]) -> Mapping[Key, Known]:
        """What became of these rows before; those that were never read are left out."""
        rows = self._tx.tuples(
            "SELECT legacy_id, source_hash, outcome, deleted_at IS NOT NULL, new_id FROM legacy_id_map "
            "WHERE entity = :entity AND legacy_id = ANY(CAST(:ids AS text[]))",
            entity=entity,
            ids=[legacy_id(key) for key in keys],
        )
        return {key_of(text): Known(bytes(hashed), Outcome(outcome), gone, new_id) for text, hashed, outcome, gone, new_id in rows}

    def has_any(self, entities: Sequence[str]) -> bool:
        """Whether a row of one of these tables was read ever."""
        return bool(
            self._tx.scalar(
                "SELECT EXISTS (SELECT 1 FROM unnest(CAST(:entities AS text[])) w(entity) "
                "CROSS JOIN LATERAL (SELECT 1 FROM legacy_id_map m WHERE m.entity = w.entity LIMIT 1) one)",
                entities=list(entities),
            )
        )

    def which_live(self, entity: str, keys: Sequence[Key]) -> set[Key]:
        """Those of the rows that were read and not seen to be gone."""
        rows = self._tx.tuples(
            "SELECT legacy_id FROM legacy_id_map WHERE entity = :entity AND legacy_id = ANY(CAST(:ids AS text[])) AND deleted_at IS NULL",
            entity=entity,
            ids=[legacy_id(key) for key in keys],
        )
        return {key_of(text) for (text,) in rows}

    def new_ids(self, entity: str, ids: Iterable[int]) -> Mapping[int, int]:
        """Legacy id to ours, of the rows of a table with simple ids that are here and still there."""
        rows = self._tx.tuples(
            "SELECT legacy_id, new_id FROM legacy_id_map WHERE entity = :entity AND legacy_id = ANY(CAST(:ids AS text[])) "
            "AND new_id IS NOT NULL AND deleted_at IS NULL",
            entity=entity,
            ids=[str(one) for one in ids],
        )
        return {int(text): new_id for text, new_id in rows}

    def legacy_keys(self, entity: str, new_ids: Collection[int]) -> Sequence[Key]:
        """The rows that became these things of ours."""
        rows = self._tx.tuples(
            "SELECT legacy_id FROM legacy_id_map WHERE entity = :entity AND new_id = ANY(CAST(:ids AS bigint[])) ORDER BY legacy_id",
            entity=entity,
            ids=list(new_ids),
        )
        return [key_of(text) for (text,) in rows]

    def kept(self, entity: str, keys: Iterable[Key]) -> Mapping[Key, Mapping[str, Any]]:
        """What is kept of these rows."""
        rows = self._tx.tuples(
            "SELECT legacy_id, kept FROM legacy_id_map "
            "WHERE entity = :entity AND legacy_id = ANY(CAST(:ids AS text[])) AND kept IS NOT NULL",
            entity=entity,
            ids=[legacy_id(key) for key in keys],
        )
        return {key_of(text): kept for text, kept in rows}

    def write(self, run_id: UUID, version: int, lines: Sequence[Line]) -> int:
        """Keeps what became of the rows; answers how many lines changed. What was read before `version` never replaces what was read
        since."""
        if not lines:
            return 0
        columns = {name: list(values) for name, values in zip(Line._fields, zip(*lines, strict=True), strict=True)}
        return self._tx.execute(
            "INSERT INTO legacy_id_map AS m "
            "(entity, legacy_id, new_id, outcome, reason, kept, source_hash, source_version, first_run, last_run) "
            "SELECT n.entity, n.legacy_id, n.new_id, n.outcome, n.reason, CAST(n.kept AS jsonb), decode(n.hashed, 'hex'), "
            ":version, :run, :run "
            "FROM unnest(CAST(:entity AS text[]), CAST(:legacy_id AS text[]), CAST(:new_id AS bigint[]), CAST(:outcome AS text[]), "
            "CAST(:reason AS text[]), CAST(:kept AS text[]), CAST(:source_hash AS text[])) "
            "AS n(entity, legacy_id, new_id, outcome, reason, kept, hashed) "
            "ON CONFLICT (entity, legacy_id) DO UPDATE SET new_id = excluded.new_id, outcome = excluded.outcome, reason = excluded.reason, "
            "kept = excluded.kept, source_hash = excluded.source_hash, source_version = excluded.source_version, deleted_at = NULL, "
            "last_run = excluded.last_run WHERE m.source_version <= excluded.source_version AND (m.deleted_at IS NOT NULL OR "
            "(m.source_hash, m.outcome, m.new_id, m.reason, m.kept) IS DISTINCT FROM "
            "(excluded.source_hash, excluded.outcome, excluded.new_id, excluded.reason, excluded.kept))",
            version=version,
            run=run_id,
            **columns,
        )

    def living(self, entity: str, keys: Sequence[Key]) -> Sequence[Gone]:
        """Those of the rows that came along and were not seen to be gone."""
        rows = self._tx.tuples(
            "SELECT legacy_id, new_id, kept FROM legacy_id_map WHERE entity = :entity AND legacy_id = ANY(CAST(:ids AS text[])) "
            "AND deleted_at IS NULL ORDER BY legacy_id",
            entity=entity,
            ids=[legacy_id(key) for key in keys],
        )
        return [Gone(Entity(entity), key_of(text), new_id, kept) for text, new_id, kept in rows]

    def doubt(self, entity: str, keys: Iterable[Key]) -> None:
        """These rows depend on some that changed: the next look finds that they differ from what landed, by a byte that no hash has. What
        was made here never follows."""
        self._tx.execute(
            "UPDATE legacy_id_map m SET source_hash = m.source_hash || decode('00', 'hex') WHERE m.entity = :entity "
            "AND m.legacy_id = ANY(CAST(:ids AS text[])) AND m.deleted_at IS NULL AND octet_length(m.source_hash) % 2 = 0 "
            "AND NOT EXISTS (SELECT 1 FROM dataset_versions v WHERE m.entity = 'dataset_versions' AND v.id = m.new_id AND NOT v.imported)",
            entity=entity,
            ids=[legacy_id(key) for key in keys],
        )

    def sure(self, entity: str, keys: Iterable[Key]) -> None:
        """They are looked at now: what was in doubt is compared as it was."""
        self._tx.execute(
            "UPDATE legacy_id_map m SET source_hash = substr(m.source_hash, 1, octet_length(m.source_hash) - 1) WHERE m.entity = :entity "
            "AND m.legacy_id = ANY(CAST(:ids AS text[])) AND octet_length(m.source_hash) % 2 = 1",
            entity=entity,
            ids=[legacy_id(key) for key in keys],
        )

    def bury(self, run_id: UUID, version: int, gone: Sequence[Gone]) -> None:
        """These rows do not exist any more."""
        if gone:
            self._tx.execute(
                "UPDATE legacy_id_map SET deleted_at = now(), source_version = :version, last_run = :run "
                "WHERE entity = :entity AND legacy_id = ANY(CAST(:ids AS text[])) AND deleted_at IS NULL AND source_version <= :version",
                entity=gone[0].entity,
                ids=[legacy_id(one.key) for one in gone],
                version=version,
                run=run_id,
            )

    def key_sum(self, entity: str) -> tuple[int, int]:
        """Of the rows that are there as far as is known, what `Snapshot.key_sum` says of the table."""
        ((count, total),) = self._tx.tuples(
            f"SELECT {KEY_SUM} FROM legacy_id_map WHERE entity = :entity AND deleted_at IS NULL",  # noqa: S608 - a constant
            entity=entity,
        )
        return int(count), int(total)

    def page(self, entity: str, after: str, limit: int) -> Sequence[str]:
        """Legacy ids of rows that are there as far as is known, in the order of their text."""
        rows = self._tx.tuples(
            "SELECT legacy_id FROM legacy_id_map WHERE entity = :entity AND legacy_id > :after AND deleted_at IS NULL "
            "ORDER BY legacy_id LIMIT :limit",
            entity=entity,
            after=after,
            limit=limit,
        )
        return [text for (text,) in rows]

    def figures(self) -> Mapping[str, Mapping[str, int]]:
        """Per table, how many of the rows that are there ended how."""
        found: dict[str, dict[str, int]] = {}
        for entity, outcome, count in self._tx.tuples(
            "SELECT entity, outcome, count(*) FROM legacy_id_map WHERE deleted_at IS NULL GROUP BY entity, outcome"
        ):
            found.setdefault(entity, {})[outcome] = count
        return found


class Quarantine:
    """What was found out about legacy rows, and what was decided."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def write(self, run_id: UUID, remarks: Sequence[Remark]) -> None:
        """Keeps findings. A decision stays when the same is found again."""
        if not remarks:
            return
        columns = {name: list(values) for name, values in zip(Remark._fields, zip(*remarks, strict=True), strict=True)}
        self._tx.execute(
            "INSERT INTO legacy_quarantine AS q (run_id, entity, legacy_id, reason, detail, raw, resolution, resolved_at) "
            "SELECT :run, n.entity, n.legacy_id, n.reason, CAST(n.detail AS jsonb), CAST(n.raw AS jsonb), n.resolution, "
            "CASE WHEN n.resolution IS NOT NULL THEN now() END "
            "FROM unnest(CAST(:entity AS text[]), CAST(:legacy_id AS text[]), CAST(:reason AS text[]), CAST(:detail AS text[]), "
            "CAST(:raw AS text[]), CAST(:resolution AS text[])) AS n(entity, legacy_id, reason, detail, raw, resolution) "
            "ON CONFLICT (entity, legacy_id, reason) DO UPDATE SET run_id = excluded.run_id, detail = excluded.detail, raw = excluded.raw, "
            "last_seen = excluded.last_seen, "
            "resolution = CASE WHEN q.resolution = :settled THEN excluded.resolution ELSE coalesce(q.resolution, excluded.resolution) END, "
            "resolved_by = CASE WHEN q.resolution = :settled THEN NULL ELSE q.resolved_by END, "
            "resolved_at = CASE WHEN q.resolution = :settled THEN excluded.resolved_at "
            "ELSE coalesce(q.resolved_at, excluded.resolved_at) END "
            "WHERE (q.detail, q.raw) IS DISTINCT FROM (excluded.detail, excluded.raw) OR q.resolution = :settled",
            run=run_id,
            settled=SETTLED,
            **columns,
        )

    def settle(self, entity: str, keys: Collection[Key], found: Collection[tuple[str, str]]) -> None:
        """The rows landed again: what waits for a decision and was not found this time, as (legacy id, reason), is no longer so."""
        self._tx.execute(
            "UPDATE legacy_quarantine SET resolution = :settled, resolved_at = now() "
            "WHERE entity = :entity AND legacy_id = ANY(CAST(:ids AS text[])) AND (resolution IS NULL OR resolution = :by_rule) "
            "AND (legacy_id, reason) NOT IN (SELECT * FROM unnest(CAST(:found_ids AS text[]), CAST(:found_reasons AS text[])))",
            settled=SETTLED,
            by_rule=BY_RULE,
            entity=entity,
            ids=[legacy_id(key) for key in keys],
            found_ids=[pair[0] for pair in found],
            found_reasons=[pair[1] for pair in found],
        )

    def record(self, run_id: UUID, entity: str, key: Key, reason: str, detail: Mapping[str, Any]) -> None:
        """One remark that is decided by rule, about a row that landed with nothing to say."""
        self.write(run_id, [Remark(entity, legacy_id(key), reason, as_json(detail), "{}", BY_RULE)])

    def open_figures(self, entity: str | None = None) -> Mapping[tuple[str, str], int]:
        """(table, reason) to how many wait for a decision."""
        rows = self._tx.tuples(
            "SELECT entity, reason, count(*) FROM legacy_quarantine WHERE resolution IS NULL "
            "AND (CAST(:entity AS text) IS NULL OR entity = :entity) GROUP BY entity, reason",
            entity=entity,
        )
        return {(name, reason): count for name, reason, count in rows}

    def page(
        self, *, entity: str | None = None, reason: str | None = None, open_only: bool = True, after: int = 0, limit: int = 100
    ) -> Sequence[Quarantined]:
        """By id, from behind `after`."""
        rows = self._tx.rows(
            f"{_QUARANTINED} WHERE id > :after AND (CAST(:entity AS text) IS NULL OR entity = :entity) "
            "AND (CAST(:reason AS text) IS NULL OR reason = :reason) AND (NOT :open_only OR resolution IS NULL) ORDER BY id LIMIT :limit",
            entity=entity,
            reason=reason,
            open_only=open_only,
            after=after,
            limit=limit,
        )
        return [_quarantined(row) for row in rows]

    def get(self, id_: int) -> Quarantined | None:
        """One of them."""
        row = self._tx.row(f"{_QUARANTINED} WHERE id = :id", id=id_)
        return None if row is None else _quarantined(row)

    def resolve(self, resolution: str, by: str, *, id_: int | None = None, entity: str | None = None, reason: str | None = None) -> int:
        """Writes a decision down for what waits for one; answers for how many."""
        return self._tx.execute(
            "UPDATE legacy_quarantine SET resolution = :resolution, resolved_by = :who, resolved_at = now() WHERE resolution IS NULL "
            "AND (CAST(:id AS bigint) IS NULL OR id = :id) AND (CAST(:entity AS text) IS NULL OR entity = :entity) "
            "AND (CAST(:reason AS text) IS NULL OR reason = :reason)",
            resolution=resolution,
            who=by,
            id=id_,
            entity=entity,
            reason=reason,
        )


_QUARANTINED = (
    "SELECT id, entity, legacy_id, reason, detail, raw, first_seen, last_seen, resolution, resolved_by, resolved_at FROM legacy_quarantine"
)


def _quarantined(row: Row) -> Quarantined:
    return Quarantined(**row)
