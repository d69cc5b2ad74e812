"""Statements that delete: versions' components in batches, datasets with all they hold; and retention rules.

A batch is one statement of one transaction, so that its triggers lock the collector's queue in one order and nothing can deadlock.
"""

from collections.abc import Mapping, Sequence

from dsplatform.core.access import SEEN, seen_by
from dsplatform.core.database import Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.types import DatasetId, VersionId
from dsplatform.versioning.retention import Candidate, Freed, Rule


class Removals:
    """Statements about what goes."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    # --- versions --------------------------------------------------------------------------------------------------------------

    def pointers(self, version_id: VersionId) -> Sequence[tuple[str, bool]]:
        """(name, whether it is a tag) of everything that points at the version."""
        return [
            (row["pointer_name"], row["is_tag"])
            for row in self._tx.rows(
                "SELECT pointer_name, is_tag FROM dataset_pointers WHERE version_id = :id ORDER BY is_tag, pointer_name", id=version_id
            )
        ]

    def candidates(self, dataset_id: DatasetId) -> Sequence[Candidate]:
        """The dataset's versions that have their files, oldest first."""
        rows = self._tx.tuples(
            "SELECT v.id, v.version_number, CAST(extract(epoch FROM clock_timestamp() - v.created_at) / 86400 AS double precision), "
            "EXISTS (SELECT 1 FROM dataset_pointers p WHERE p.version_id = v.id) "
            "FROM dataset_versions v WHERE v.dataset_id = :dataset AND v.purged_at IS NULL ORDER BY v.version_number",
            dataset=dataset_id,
        )
        return [Candidate(VersionId(id_), number, age, named) for id_, number, age, named in rows]

    def mark(self, version_ids: Sequence[VersionId]) -> None:
        """Says that these versions are gone: from the commit on nobody reads them. The caller holds the dataset's lock."""
        self._tx.execute(
            "UPDATE dataset_versions SET purged_at = clock_timestamp() WHERE id = ANY(CAST(:ids AS bigint[])) AND purged_at IS NULL",
            ids=list(version_ids),
        )

    def unfinished(self) -> Sequence[VersionId]:
        """Versions that were marked and still have components: a deletion was interrupted, or is under way."""
        rows = self._tx.tuples(
            "SELECT v.id FROM dataset_versions v WHERE v.purged_at IS NOT NULL "
            "AND EXISTS (SELECT 1 FROM dataset_version_files c WHERE c.version_id = v.id) ORDER BY v.id"
        )
        return [VersionId(id_) for (id_,) in rows]

    def empty(self, version_ids: Sequence[VersionId], limit: int) -> int:
        """Deletes components of versions that are marked, so many at most; 0 when none is left."""
        return self._tx.execute(
            "DELETE FROM dataset_version_files WHERE (version_id, component_name) IN (SELECT c.version_id, c.component_name "
            "FROM dataset_version_files c JOIN dataset_versions v ON v.id = c.version_id "
            "WHERE c.version_id = ANY(CAST(:ids AS bigint[])) AND v.purged_at IS NOT NULL LIMIT :limit)",
            ids=list(version_ids),
            limit=limit,
        )

    def components(self, version_ids: Sequence[VersionId]) -> int:
        """How many components the versions have in all."""
        return int(
            self._tx.scalar(
                "SELECT count(*) FROM dataset_version_files WHERE version_id = ANY(CAST(:ids AS bigint[]))", ids=list(version_ids)
            )
        )

    def freed(self, actor: Actor, version_ids: Sequence[VersionId], dataset_id: DatasetId | None = None) -> Freed:
        """The contents that these versions name, and nothing else does that the actor may see: what others have is no business of hers.

        A deleted version keeps its overlay. With `dataset_id` the versions are all that this dataset has and go with it, so that
        their overlays and the files of its upload sessions are no references either.
        """
        row = self._tx.row(
            "WITH named AS (SELECT c.file_id FROM dataset_version_files c "  # noqa: S608 - a constant
            "WHERE c.version_id = ANY(CAST(:ids AS bigint[])) "
            "UNION SELECT v.overlay_file_id FROM dataset_versions v WHERE v.dataset_id = CAST(:dataset AS bigint) "
            "UNION SELECT s.file_id FROM staged_files s JOIN upload_sessions u ON u.id = s.session_id "
            "WHERE u.dataset_id = CAST(:dataset AS bigint)) "
            "SELECT count(*) AS files, coalesce(sum(f.file_size), 0) AS bytes FROM named n JOIN files f ON f.id = n.file_id "
            "WHERE NOT EXISTS (SELECT 1 FROM dataset_version_files o "
            "JOIN dataset_versions v ON v.id = o.version_id JOIN datasets d ON d.id = v.dataset_id "
            f"WHERE o.file_id = f.id AND o.version_id <> ALL(CAST(:ids AS bigint[])) AND {SEEN}) "
            "AND NOT EXISTS (SELECT 1 FROM dataset_versions o JOIN datasets d ON d.id = o.dataset_id "
            f"WHERE o.overlay_file_id = f.id AND o.dataset_id IS DISTINCT FROM CAST(:dataset AS bigint) AND {SEEN}) "
            "AND NOT EXISTS (SELECT 1 FROM staged_files s JOIN upload_sessions u ON u.id = s.session_id "
            "WHERE s.file_id = f.id AND (:sees_all OR u.owner_id = :viewer) "
            "AND (CAST(:dataset AS bigint) IS NULL OR u.dataset_id IS DISTINCT FROM CAST(:dataset AS bigint)))",
            ids=list(version_ids),
            dataset=dataset_id,
            **seen_by(actor),
        )
        return Freed(0, 0) if row is None else Freed(row["files"], int(row["bytes"]))

    def versions(self, dataset_id: DatasetId) -> Sequence[VersionId]:
        """All versions of the dataset, also those that are gone."""
        rows = self._tx.tuples("SELECT id FROM dataset_versions WHERE dataset_id = :dataset ORDER BY id", dataset=dataset_id)
        return [VersionId(id_) for (id_,) in rows]

    # --- datasets --------------------------------------------------------------------------------------------------------------

    def take_staged(self, dataset_id: DatasetId, limit: int) -> int:
        """Deletes what upload sessions of the dataset hold, so many files at most; 0 when none is left."""
        return self._tx.execute(
            "DELETE FROM staged_files WHERE (session_id, path) IN (SELECT s.session_id, s.path FROM staged_files s "
            "JOIN upload_sessions u ON u.id = s.session_id WHERE u.dataset_id = :dataset LIMIT :limit)",
            dataset=dataset_id,
            limit=limit,
        )

    def take_sessions(self, dataset_id: DatasetId, limit: int) -> int:
        """Deletes upload sessions of the dataset."""
        return self._tx.execute(
            "DELETE FROM upload_sessions WHERE id IN (SELECT id FROM upload_sessions WHERE dataset_id = :dataset LIMIT :limit)",
            dataset=dataset_id,
            limit=limit,
        )

    def take_pointers(self, dataset_id: DatasetId, limit: int) -> int:
        """Deletes branches and tags."""
        return self._tx.execute(
            "DELETE FROM dataset_pointers WHERE dataset_id = :dataset AND pointer_name IN "
            "(SELECT pointer_name FROM dataset_pointers WHERE dataset_id = :dataset LIMIT :limit)",
            dataset=dataset_id,
            limit=limit,
        )

    def take_components(self, dataset_id: DatasetId, limit: int) -> int:
        """Deletes components of the dataset's versions."""
        return self._tx.execute(
            "DELETE FROM dataset_version_files WHERE (version_id, component_name) IN (SELECT c.version_id, c.component_name "
            "FROM dataset_versions v JOIN dataset_version_files c ON c.version_id = v.id WHERE v.dataset_id = :dataset LIMIT :limit)",
            dataset=dataset_id,
            limit=limit,
        )

    def take_versions(self, dataset_id: DatasetId, limit: int) -> int:
        """Deletes versions with their schemas, the newest first: parents are older than their children. The inbox keeps its rows."""
        return self._tx.execute(
            "DELETE FROM dataset_versions WHERE id IN "
            "(SELECT id FROM dataset_versions WHERE dataset_id = :dataset ORDER BY id DESC LIMIT :limit)",
            dataset=dataset_id,
            limit=limit,
        )


class RetentionRules:
    """Statements about retention rules."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def all(self) -> Mapping[DatasetId, tuple[str, Rule]]:
        """(slug, rule) of the living datasets that have one, in slug order."""
        rows = self._tx.rows(
            "SELECT r.dataset_id, d.slug, r.keep_last, r.keep_days FROM retention_rules r JOIN datasets d ON d.id = r.dataset_id "
            "WHERE d.deleted_at IS NULL ORDER BY d.slug"
        )
        return {DatasetId(row["dataset_id"]): (row["slug"], Rule(row["keep_last"], row["keep_days"])) for row in rows}

    def get(self, dataset_id: DatasetId) -> Rule | None:
        """The dataset's rule."""
        row = self._tx.row("SELECT keep_last, keep_days FROM retention_rules WHERE dataset_id = :dataset", dataset=dataset_id)
        return None if row is None else Rule(row["keep_last"], row["keep_days"])

    def put(self, dataset_id: DatasetId, rule: Rule, user_id: int) -> None:
        """The dataset's rule, in place of an earlier one."""
        self._tx.execute(
            "INSERT INTO retention_rules (dataset_id, keep_last, keep_days, updated_by) VALUES (:dataset, :last, :days, :user) "
            "ON CONFLICT (dataset_id) DO UPDATE SET keep_last = excluded.keep_last, keep_days = excluded.keep_days, "
            "updated_by = excluded.updated_by, updated_at = now()",
            dataset=dataset_id,
            last=rule.keep_last,
            days=rule.keep_days,
            user=user_id,
        )

    def drop(self, dataset_id: DatasetId) -> None:
        """From now on everything stays."""
        self._tx.execute("DELETE FROM retention_rules WHERE dataset_id = :dataset", dataset=dataset_id)
