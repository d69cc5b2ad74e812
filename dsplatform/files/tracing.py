"""Statements that follow a file to what names it, and add up what is named by what."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from dsplatform.core.access import SEEN, seen_by
from dsplatform.core.database import Row, Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.types import ContentHash, DatasetId, FileId

_NAMED = """
    SELECT r.dataset_id, r.file_id, bool_or(r.alive AND h.version_id IS NOT NULL) AS live, bool_or(r.alive) AS kept
    FROM (SELECT v.dataset_id, v.id, c.file_id, v.purged_at IS NULL AND d.deleted_at IS NULL AS alive
          FROM dataset_version_files c JOIN dataset_versions v ON v.id = c.version_id JOIN datasets d ON d.id = v.dataset_id
          UNION ALL
          SELECT v.dataset_id, v.id, v.overlay_file_id, d.deleted_at IS NULL
          FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id) r
    LEFT JOIN (SELECT DISTINCT version_id FROM dataset_pointers) h ON h.version_id = r.id
    GROUP BY r.dataset_id, r.file_id"""
"""Every file that a dataset names, once. The overlay of a deleted version stays with the version's row."""


class Traces:
    """Questions about references. Lists hold the first `limit` rows."""

    def __init__(self, tx: Transaction, limit: int) -> None:
        self._tx = tx
        self._limit = limit

    def beginning_with(self, digits: str) -> Sequence[ContentHash]:
        """The contents whose hash begins so, of files and of what is to be deleted."""
        rows = self._tx.tuples(
            "SELECT content_hash FROM files WHERE content_hash BETWEEN CAST(:low AS bpchar) AND CAST(:high AS bpchar) "
            "UNION SELECT content_hash FROM tombstones WHERE content_hash BETWEEN CAST(:low AS bpchar) AND CAST(:high AS bpchar) "
            "ORDER BY 1 LIMIT :limit",
            low=digits.ljust(64, "0"),
            high=digits.ljust(64, "f"),
            limit=self._limit,
        )
        return [content_hash for (content_hash,) in rows]

    def of_file(self, file_id: int) -> Sequence[ContentHash]:
        """The content of the file with that id."""
        return [row["content_hash"] for row in self._tx.rows("SELECT content_hash FROM files WHERE id = :id", id=file_id)]

    def file(self, content_hash: ContentHash) -> Row | None:
        """The file of a content."""
        return self._tx.row(
            "SELECT f.id, f.file_size, f.state, c.reference_count FROM files f JOIN file_reference_counts c ON c.file_id = f.id "
            "WHERE f.content_hash = :hash",
            hash=content_hash,
        )

    def components(self, file_id: FileId) -> Sequence[Row]:
        """Components that name the file."""
        return self._tx.rows(
            "SELECT d.slug AS dataset, v.version_number, c.component_name AS component FROM dataset_version_files c "
            "JOIN dataset_versions v ON v.id = c.version_id JOIN datasets d ON d.id = v.dataset_id WHERE c.file_id = :id "
            "ORDER BY d.slug, v.version_number, c.component_name LIMIT :limit",
            id=file_id,
            limit=self._limit,
        )

    def overlays(self, file_id: FileId) -> Sequence[Row]:
        """Versions whose overlay the file is."""
        return self._tx.rows(
            "SELECT d.slug AS dataset, v.version_number FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id "
            "WHERE v.overlay_file_id = :id ORDER BY d.slug, v.version_number LIMIT :limit",
            id=file_id,
            limit=self._limit,
        )

    def staged(self, file_id: FileId) -> Sequence[Row]:
        """Sessions that stage the file."""
        return self._tx.rows(
            'SELECT u.username AS "user", p.session_id, p.path, s.expires_at AS until FROM staged_files p '
            "JOIN upload_sessions s ON s.id = p.session_id JOIN users u ON u.id = s.owner_id WHERE p.file_id = :id "
            "ORDER BY s.expires_at, p.session_id, p.path LIMIT :limit",
            id=file_id,
            limit=self._limit,
        )

    def review_after(self, file_id: FileId) -> datetime | None:
        """When the collector looks at the file, if it does."""
        found: datetime | None = self._tx.scalar("SELECT review_after FROM gc_queue WHERE file_id = :id", id=file_id)
        return found

    def uploads(self, content_hash: ContentHash) -> Sequence[datetime]:
        """Until when uploads are given that name a key of the content."""
        rows = self._tx.rows(
            "SELECT i.expires_at FROM upload_intents i "
            "WHERE EXISTS (SELECT 1 FROM unnest(i.storage_keys) k WHERE substr(k, 4, 64) = :hash) ORDER BY i.expires_at LIMIT :limit",
            hash=content_hash,
            limit=self._limit,
        )
        return [row["expires_at"] for row in rows]

    def buried(self, content_hash: ContentHash) -> Sequence[Row]:
        """Objects of the content that are to be deleted."""
        return self._tx.rows(
            "SELECT storage_key, reason, purge_after AS until FROM tombstones WHERE content_hash = :hash "
            "ORDER BY purge_after, storage_key LIMIT :limit",
            hash=content_hash,
            limit=self._limit,
        )

    def usage_of(self, dataset_id: DatasetId | None, actor: Actor | None = None) -> Sequence[Row]:
        """Figures of one dataset, or of every one that names a file, in the order of the slugs; as the actor may know them, or all."""
        seen = {"sees_all": True, "viewer": None, "sufficient": [], "only": None} if actor is None else seen_by(actor)
        return self._tx.rows(
            f"WITH named AS ({_NAMED}) "  # noqa: S608
            "SELECT d.slug AS dataset, count(*) AS files, "
            "CAST(coalesce(sum(f.file_size) FILTER (WHERE n.live), 0) AS bigint) AS live, "
            "CAST(coalesce(sum(f.file_size) FILTER (WHERE n.kept AND NOT n.live), 0) AS bigint) AS historical, "
            "CAST(coalesce(sum(f.file_size) FILTER (WHERE NOT n.kept), 0) AS bigint) AS pending, "
            "CAST(coalesce(sum(f.file_size) FILTER (WHERE n.names > 1), 0) AS bigint) AS shared "
            "FROM (SELECT m.*, count(*) OVER (PARTITION BY m.file_id) AS names "
            f"FROM named m JOIN datasets d ON d.id = m.dataset_id WHERE {SEEN}) n "
            "JOIN files f ON f.id = n.file_id JOIN datasets d ON d.id = n.dataset_id "
            "WHERE CAST(:dataset AS bigint) IS NULL OR n.dataset_id = :dataset GROUP BY d.slug ORDER BY d.slug",
            dataset=dataset_id,
            **seen,
        )

    def totals(self) -> dict[str, Any]:
        """Figures of the whole store."""
        row = self._tx.row(
            f"WITH named AS (SELECT file_id, bool_or(live) AS live, bool_or(kept) AS kept FROM ({_NAMED}) n GROUP BY file_id), "  # noqa: S608
            "judged AS (SELECT f.file_size, coalesce(n.live, false) AS live, coalesce(n.kept, false) AS kept, "
            "EXISTS (SELECT 1 FROM staged_files s WHERE s.file_id = f.id) AS staged "
            "FROM files f LEFT JOIN named n ON n.file_id = f.id) "
            "SELECT count(*) AS files, CAST(coalesce(sum(file_size), 0) AS bigint) AS stored, "
            "CAST(coalesce(sum(file_size) FILTER (WHERE live), 0) AS bigint) AS live, "
            "CAST(coalesce(sum(file_size) FILTER (WHERE kept AND NOT live), 0) AS bigint) AS historical, "
            "CAST(coalesce(sum(file_size) FILTER (WHERE staged AND NOT kept), 0) AS bigint) AS staged, "
            "CAST(coalesce(sum(file_size) FILTER (WHERE NOT staged AND NOT kept), 0) AS bigint) AS pending, "
            "(SELECT CAST(coalesce(sum(file_size), 0) AS bigint) FROM tombstones) AS buried, "
            "(SELECT count(*) FROM tombstones) AS buried_objects, "
            "(SELECT CAST(coalesce(sum(v.total_bytes), 0) AS bigint) FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id "
            "WHERE v.purged_at IS NULL AND d.deleted_at IS NULL) AS named FROM judged"
        )
        return dict(row or {})

    def figures(self) -> Row:
        """Sums over all files and all objects that are to be deleted."""
        return self._tx.rows(
            "SELECT f.*, t.* FROM (SELECT count(*) AS files, CAST(coalesce(sum(file_size), 0) AS bigint) AS stored, "
            "count(*) FILTER (WHERE state <> 'ok') AS damaged FROM files) f, "
            "(SELECT count(*) AS buried_objects, CAST(coalesce(sum(file_size), 0) AS bigint) AS buried FROM tombstones) t"
        )[0]

    def reviews(self) -> int:
        """How many files wait for the collector to look at them."""
        return int(self._tx.scalar("SELECT count(*) FROM gc_queue"))
