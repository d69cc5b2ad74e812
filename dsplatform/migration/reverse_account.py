"""The accounting of rows that the way back wrote: as if they had landed, so that following the legacy system finds nothing new.

What a step would say of a row is found by landing it and taking that back at once: nothing of ours changes by what was written there.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from dsplatform.core.database import Transaction
from dsplatform.migration.canonical import as_json, group_hash, row_hash
from dsplatform.migration.landed_rows import BY_RULE, IdMap, Line, Quarantine, Remark
from dsplatform.migration.lander import Lander
from dsplatform.migration.model import Entity, Group, Key, Landed, Outcome, Reason, Rule, SourceRow, legacy_id
from dsplatform.migration.source import Snapshot
from dsplatform.migration.step import Step


class ReverseAccount:
    """Accounts for legacy rows at one moment, in one transaction of ours."""

    def __init__(self, tx: Transaction, source: Snapshot, lander: Lander) -> None:
        self._tx = tx
        self._source = source
        self._lander = lander
        self._version = source.version

    @property
    def _run(self) -> UUID:
        return self._lander.run_id

    def place(self, entity: Entity, new_ids: Mapping[Key, int | None]) -> None:
        """These rows are, or will be, things of ours: nothing is known of them yet besides."""
        unknown = [key for key in new_ids if key not in IdMap(self._tx).known(entity, new_ids)]
        IdMap(self._tx).write(
            self._run, 0, [Line(entity, legacy_id(key), new_ids[key], Outcome.MIGRATED, None, None, "") for key in unknown]
        )

    def made_here(self, entity: Entity, rows: Mapping[Key, tuple[int | None, bytes]]) -> None:
        """Rows that say what we made, and that follow us no further: (our id, what tells their changes)."""
        known = IdMap(self._tx).known(entity, rows)
        new = [key for key in rows if key not in known or known[key].new_id is None]
        IdMap(self._tx).write(
            self._run,
            self._version,
            [Line(entity, legacy_id(key), rows[key][0], Outcome.MIGRATED, Reason.MADE_HERE, None, rows[key][1].hex()) for key in new],
        )
        self.remark(entity, new)
        self.seen(entity, {key: hashed for key, (_, hashed) in rows.items()})

    def remark(self, entity: Entity, keys: Collection[Key]) -> None:
        """That these rows say what was made here, as far as they can."""
        Quarantine(self._tx).write(self._run, [Remark(entity, legacy_id(key), Reason.MADE_HERE, "{}", "{}", BY_RULE) for key in keys])
        self._tx.execute(
            "UPDATE legacy_id_map SET reason = :reason WHERE entity = :entity AND legacy_id = ANY(CAST(:ids AS text[])) "
            "AND outcome = 'migrated'",
            entity=entity,
            reason=Reason.MADE_HERE,
            ids=[legacy_id(key) for key in keys],
        )

    def seen(self, entity: Entity, hashes: Mapping[Key, bytes]) -> None:
        """Rows that are there, and are known: what tells their changes from now on."""
        self._tx.execute(
            "UPDATE legacy_id_map m SET source_hash = decode(w.hashed, 'hex'), source_version = greatest(source_version, :version), "
            "deleted_at = NULL, last_run = :run FROM unnest(CAST(:ids AS text[]), CAST(:hashes AS text[])) w(id, hashed) "
            "WHERE m.entity = :entity AND m.legacy_id = w.id "
            "AND (m.deleted_at IS NOT NULL OR m.source_hash <> decode(w.hashed, 'hex'))",
            entity=entity,
            ids=[legacy_id(key) for key in hashes],
            hashes=[hashed.hex() for hashed in hashes.values()],
            version=self._version,
            run=self._run,
        )

    def orphaned(self, parents: Mapping[int, int | None]) -> None:
        """Versions whose parent was deleted here, and that get another there."""
        Quarantine(self._tx).write(
            self._run,
            [
                Remark(Entity.VERSIONS, str(id_), Reason.MADE_HERE, as_json({"parent_version_id": parent}), "{}", BY_RULE)
                for id_, parent in parents.items()
            ],
        )

    def orphan_files(self) -> None:
        """Files that the way back wrote, of versions that were deleted here since: they stay there, and nothing here is them any more."""
        self._tx.execute(
            "UPDATE legacy_id_map m SET new_id = NULL, outcome = 'excluded', reason = :rule, last_run = :run FROM legacy_quarantine q "
            "WHERE q.entity = :entity AND q.reason = :reason AND m.entity = q.entity AND m.legacy_id = q.legacy_id "
            "AND m.new_id IS NOT NULL AND m.outcome = 'migrated' "
            "AND NOT EXISTS (SELECT 1 FROM dataset_version_files c WHERE c.file_id = m.new_id)",
            rule=Rule.ORPHAN_FILE,
            reason=Reason.MADE_HERE,
            entity=Entity.FILES,
            run=self._run,
        )

    def rehearse(self, step: Step[Any], keys: Iterable[Key]) -> None:
        """Rows of a table whose things are ours already: accounts for them as the step would, and changes nothing else."""
        groups = step.gather(self._source, self._source.rows(step.entity, list(keys)))
        if not groups:
            return
        with step.prepare(self._source, groups) as prepared:
            self._tx.execute("SAVEPOINT rehearsal")
            landed = list(step.land(self._tx, groups, prepared))
            self._tx.execute("ROLLBACK TO SAVEPOINT rehearsal")
        self._write(step, groups, landed)

    def _write(self, step: Step[Any], groups: Sequence[Group], landed: Sequence[Landed]) -> None:
        rows: dict[tuple[Entity, Key], SourceRow] = {}
        hashes: dict[tuple[Entity, Key], bytes] = {}
        for group in groups:
            rows[step.entity, group.row.key], hashes[step.entity, group.row.key] = group.row, group_hash(group)
            for row in group.more:
                if row.entity in step.attached:
                    rows[Entity(row.entity), row.key], hashes[Entity(row.entity), row.key] = row, row_hash(row)
        self._lander.write(self._tx, landed, rows, hashes, self._version, list(rows))

    def bury(self, entity: Entity, keys: Collection[Key]) -> None:
        """Rows that the way back takes away."""
        found = IdMap(self._tx).living(entity, list(keys))
        IdMap(self._tx).bury(self._run, self._version, found)
        Quarantine(self._tx).settle(entity, [gone.key for gone in found], ())
