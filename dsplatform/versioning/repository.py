"""Tables of versions, their components, branches and tags; statements about versions."""

import unicodedata
from collections.abc import Mapping, Sequence

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from dsplatform.core.database import Row, Transaction, metadata
from dsplatform.core.errors import Gone
from dsplatform.core.types import LATEST, MAIN, ContentHash, DatasetId, FileId, FilePath, VersionId
from dsplatform.core.values import Component, Content, DatasetRef
from dsplatform.versioning.model import Draft, Replaced, Version, VersionMissing
from dsplatform.versioning.moments import main_at, moment

dataset_versions = Table(
    "dataset_versions",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("dataset_id", ForeignKey("datasets.id"), nullable=False),
    Column("version_number", Integer, nullable=False),
    Column("message", Text, nullable=False, server_default=""),
    Column("parent_version_id", BigInteger),
    Column("merge_parent_version_id", BigInteger),
    Column("overlay_file_id", ForeignKey("files.id"), nullable=False),
    Column("component_count", Integer, nullable=False),
    Column("total_bytes", BigInteger, nullable=False),
    Column("created_by", ForeignKey("users.id"), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("idempotency_key", Text),
    Column("purged_at", DateTime(timezone=True)),
    Column("imported", Boolean, nullable=False, server_default="false"),
    UniqueConstraint("dataset_id", "version_number", name="uq_dataset_versions_number"),
    UniqueConstraint("dataset_id", "id", name="uq_dataset_versions_dataset_id"),
    UniqueConstraint("dataset_id", "idempotency_key", name="uq_dataset_versions_idempotency_key"),
    # Both parents belong to the same dataset, and exist before their child: no cycle can arise.
    ForeignKeyConstraint(
        ["dataset_id", "parent_version_id"],
        ["dataset_versions.dataset_id", "dataset_versions.id"],
        name="fk_dataset_versions_parent",
    ),
    ForeignKeyConstraint(
        ["dataset_id", "merge_parent_version_id"],
        ["dataset_versions.dataset_id", "dataset_versions.id"],
        name="fk_dataset_versions_merge_parent",
    ),
    CheckConstraint("version_number > 0", name="version_number"),
    CheckConstraint("parent_version_id < id AND merge_parent_version_id < id", name="parents_are_older"),
    Index(None, "parent_version_id"),
    Index("ix_dataset_versions_merge_parent", "merge_parent_version_id", postgresql_where=text("merge_parent_version_id IS NOT NULL")),
    Index(None, "overlay_file_id"),
)

dataset_version_files = Table(
    "dataset_version_files",
    metadata,
    Column("version_id", ForeignKey("dataset_versions.id"), primary_key=True),
    Column("component_name", Text, primary_key=True),
    Column("component_type", Text, nullable=False, server_default="file"),
    Column("component_index", Integer, nullable=False),
    Column("file_id", ForeignKey("files.id"), nullable=False),
    Column("metadata", JSONB),
    Index(None, "file_id"),
)

retention_rules = Table(
    "retention_rules",
    metadata,
    Column("dataset_id", ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True),
    Column("keep_last", Integer),
    Column("keep_days", Integer),
    Column("updated_by", ForeignKey("users.id"), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("keep_last >= 1", name="keep_last"),
    CheckConstraint("keep_days >= 0", name="keep_days"),
    CheckConstraint("keep_last IS NOT NULL OR keep_days IS NOT NULL", name="some"),
)

dataset_pointers = Table(
    "dataset_pointers",
    metadata,
    Column("dataset_id", ForeignKey("datasets.id"), primary_key=True),
    Column("pointer_name", Text, primary_key=True),
    Column("version_id", BigInteger, nullable=False),
    Column("is_tag", Boolean, nullable=False, server_default="false"),
    Column("created_by", ForeignKey("users.id")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("moved_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    ForeignKeyConstraint(
        ["dataset_id", "version_id"], ["dataset_versions.dataset_id", "dataset_versions.id"], name="fk_dataset_pointers_version"
    ),
    Index(None, "version_id"),
)

_VERSION = """
    SELECT v.id, v.dataset_id, v.version_number, v.message, p.version_number AS parent_number,
           m.version_number AS merge_parent_number, u.username AS author, v.created_at, v.component_count, v.total_bytes, v.purged_at,
           f.content_hash AS overlay_hash,
           ARRAY(SELECT pointer_name FROM dataset_pointers r WHERE r.version_id = v.id ORDER BY is_tag, pointer_name) AS pointers
    FROM dataset_versions v JOIN users u ON u.id = v.created_by JOIN files f ON f.id = v.overlay_file_id
    LEFT JOIN dataset_versions p ON p.id = v.parent_version_id LEFT JOIN dataset_versions m ON m.id = v.merge_parent_version_id
"""


_ADD = """
WITH made AS (
  INSERT INTO dataset_versions
    (dataset_id, version_number, message, parent_version_id, merge_parent_version_id, overlay_file_id, created_by, idempotency_key,
     component_count, total_bytes)
  SELECT :dataset, coalesce(max(version_number), 0) + 1, :message, CAST(:parent AS bigint), CAST(:merged AS bigint), :overlay, :author,
         :key, CAST(:count AS integer), CAST(:bytes AS bigint)
  FROM dataset_versions WHERE dataset_id = :dataset RETURNING id, version_number
), carried AS (
  INSERT INTO dataset_version_files (version_id, component_name, component_type, component_index, file_id, metadata)
  SELECT made.id, component_name, component_type, component_index, file_id, metadata FROM made, dataset_version_files
  WHERE version_id = :parent AND component_name <> ALL(CAST(:touched AS text[]))
), put AS (
  INSERT INTO dataset_version_files (version_id, component_name, component_index, file_id)
  SELECT made.id, n.name, coalesce(old.component_index, n.at - 1 + (SELECT coalesce(max(component_index) + 1, 0)
         FROM dataset_version_files WHERE version_id = :parent)), n.file_id
  FROM made, unnest(CAST(:names AS text[]), CAST(:files AS bigint[])) WITH ORDINALITY n(name, file_id, at)
  LEFT JOIN dataset_version_files old ON old.version_id = :parent AND old.component_name = n.name
)
SELECT id, version_number FROM made
"""
"""A version with its components: what the parent has and the change does not touch, and what the change puts, at its old place where it
had one."""


class Versions:
    """Statements about versions and their components."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def resolve(self, dataset_id: DatasetId, ref: str) -> VersionId | None:
        """The version that a reference names: a number, `latest`, a branch or a tag."""
        if ref.isascii() and ref.isdecimal() and len(ref) <= 9:
            sql = "SELECT id FROM dataset_versions WHERE dataset_id = :dataset AND version_number = CAST(:ref AS integer)"
        elif ref == LATEST:
            sql = (
                "SELECT id FROM dataset_versions WHERE dataset_id = :dataset AND purged_at IS NULL AND :ref <> '' "
                "ORDER BY version_number DESC LIMIT 1"
            )
        else:
            sql = "SELECT version_id FROM dataset_pointers WHERE dataset_id = :dataset AND pointer_name = :ref"
        found = self._tx.scalar(sql, dataset=dataset_id, ref=ref)
        return None if found is None else VersionId(found)

    def named(self, dataset: DatasetRef, ref: str | None) -> VersionId:
        """The version that `ref` names in the dataset, also one that is gone; None is the head of `main`. Raises `VersionMissing`."""
        found = self.resolve(dataset.id, unicodedata.normalize("NFC", ref or MAIN))
        if found is None and ref and (at := moment(ref)):
            found = main_at(self._tx, dataset.id, at)
            if found is None:
                raise VersionMissing(f"dataset {dataset.slug!r} had no version by {ref}: `dsplatform log {dataset.slug}` lists them")
        if found is None:
            if ref is None or ref in {MAIN, LATEST}:
                raise VersionMissing(f"dataset {dataset.slug!r} has no version yet")
            raise VersionMissing(
                f"dataset {dataset.slug!r} has no version, branch or tag {ref!r}: `dsplatform log {dataset.slug}` lists them"
            )
        return found

    def living(self, version_id: VersionId) -> None:
        """Raises `Gone` for a version whose files were deleted.

        Ask it after reading components, not before: a deletion commits its mark first and takes the rows then, so that what was read
        before an answer without error was complete. Who makes something that refers to a version asks under the dataset's lock.
        """
        row = self._tx.row(
            "SELECT d.slug, v.version_number, v.purged_at FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id "
            "WHERE v.id = :id AND v.purged_at IS NOT NULL",
            id=version_id,
        )
        if row is not None:
            raise Gone(
                f"version {row['version_number']} of dataset {row['slug']!r} was deleted on {row['purged_at']:%Y-%m-%d}: "
                f"its files are gone; `dsplatform log {row['slug']}` lists the others"
            )

    def get(self, version_id: VersionId) -> Version:
        """The version as lists show it, also one that is gone."""
        row = self._tx.row(_VERSION + "WHERE v.id = :id", id=version_id)
        if row is None:
            raise AssertionError("asked for a version that was found before, in the same transaction")
        return _version(row)

    def number(self, version_id: VersionId) -> int:
        """The number of a version that exists."""
        return int(self._tx.scalar("SELECT version_number FROM dataset_versions WHERE id = :id", id=version_id))

    def label(self, version_id: VersionId) -> tuple[DatasetRef, int]:
        """(dataset, number) of a version that exists."""
        row = self._tx.row(
            "SELECT d.id, d.name, d.slug, d.created_by, v.version_number FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id "
            "WHERE v.id = :id",
            id=version_id,
        )
        if row is None:
            raise AssertionError("asked for the label of a version that does not exist")
        return _dataset(row), row["version_number"]

    def belongs(self, dataset: DatasetRef, version_id: VersionId) -> None:
        """Raises `VersionMissing` unless the version is one of the dataset, or was."""
        if (
            self._tx.row("SELECT 1 FROM dataset_versions WHERE id = :id AND dataset_id = :dataset", id=version_id, dataset=dataset.id)
            is None
        ):
            raise VersionMissing(
                f"dataset {dataset.slug!r} has no version with the id {version_id}: `dsplatform log {dataset.slug}` lists them"
            )

    def newest_of_all(self) -> Sequence[tuple[DatasetRef, VersionId]]:
        """(dataset, newest version) of every living dataset that has one, by slug."""
        rows = self._tx.rows(
            "SELECT DISTINCT ON (d.slug) d.id, d.name, d.slug, d.created_by, v.id AS version_id "
            "FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id "
            "WHERE d.deleted_at IS NULL AND v.purged_at IS NULL ORDER BY d.slug, v.version_number DESC"
        )
        return [(_dataset(row), VersionId(row["version_id"])) for row in rows]

    def page(self, dataset_id: DatasetId, *, before: int | None, limit: int) -> Sequence[Version]:
        """Versions, newest first, those with a number below `before`."""
        rows = self._tx.rows(
            _VERSION + "WHERE v.dataset_id = :dataset AND (CAST(:before AS integer) IS NULL OR v.version_number < :before) "
            "ORDER BY v.version_number DESC LIMIT :limit",
            dataset=dataset_id,
            before=before,
            limit=limit,
        )
        return [_version(row) for row in rows]

    def newest(self, dataset_id: DatasetId) -> int:
        """The highest number of a version of the dataset; 0 where it has none."""
        return int(self._tx.scalar("SELECT coalesce(max(version_number), 0) FROM dataset_versions WHERE dataset_id = :id", id=dataset_id))

    def these(self, version_ids: Sequence[VersionId]) -> Sequence[Version]:
        """The versions in the order of the ids."""
        rows = self._tx.rows(_VERSION + "WHERE v.id = ANY(CAST(:ids AS bigint[]))", ids=list(version_ids))
        found = {row["id"]: _version(row) for row in rows}
        return [found[version_id] for version_id in version_ids]

    def by_key(self, dataset_id: DatasetId, idempotency_key: str) -> VersionId | None:
        """The version that an earlier request with this key made."""
        found = self._tx.scalar(
            "SELECT id FROM dataset_versions WHERE dataset_id = :dataset AND idempotency_key = :key",
            dataset=dataset_id,
            key=idempotency_key,
        )
        return None if found is None else VersionId(found)

    def components(self, version_id: VersionId) -> Sequence[Component]:
        """The components in their order. Raises `Gone`."""
        rows = self._tx.rows(
            "SELECT c.component_name, c.component_type, c.file_id, f.content_hash, f.file_size, f.file_type FROM dataset_version_files c "
            "JOIN files f ON f.id = c.file_id WHERE c.version_id = :version ORDER BY c.component_index, c.component_name",
            version=version_id,
        )
        self.living(version_id)
        return [
            Component(
                FilePath(row["component_name"]),
                row["component_type"],
                FileId(row["file_id"]),
                ContentHash(row["content_hash"]),
                row["file_size"],
                row["file_type"],
            )
            for row in rows
        ]

    def sizes(self, version_id: VersionId) -> Mapping[FilePath, int]:
        """The size of each component, in their order."""
        rows = self._tx.rows(
            "SELECT c.component_name, f.file_size FROM dataset_version_files c JOIN files f ON f.id = c.file_id "
            "WHERE c.version_id = :version ORDER BY c.component_index, c.component_name",
            version=version_id,
        )
        return {FilePath(row["component_name"]): row["file_size"] for row in rows}

    def differing(self, version_id: VersionId, put: Mapping[FilePath, Content]) -> Mapping[FilePath, Replaced | None]:
        """Those names whose content in the version is another one or none, with that content; in the order of `put`."""
        rows = self._tx.rows(
            "SELECT n.name, f.content_hash, f.file_size "
            "FROM unnest(CAST(:names AS text[]), CAST(:hashes AS text[])) WITH ORDINALITY n(name, hash, at) "
            "LEFT JOIN dataset_version_files c ON c.version_id = :version AND c.component_name = n.name "
            "LEFT JOIN files f ON f.id = c.file_id "
            "WHERE f.content_hash IS DISTINCT FROM CAST(n.hash AS char(64)) ORDER BY n.at",
            names=list(put),
            hashes=[content.content_hash for content in put.values()],
            version=version_id,
        )
        return {
            FilePath(row["name"]): None if row["content_hash"] is None else Replaced(ContentHash(row["content_hash"]), row["file_size"])
            for row in rows
        }

    def add(self, draft: Draft, overlay_file_id: FileId, ids: Mapping[ContentHash, FileId]) -> tuple[VersionId, int]:
        """Stores the version with the next number and its full list of components. The caller holds the dataset's lock."""
        change, put = draft.change, draft.put
        parent = None if draft.seen is None else draft.seen.version_id
        row = self._tx.row(
            _ADD,
            dataset=change.dataset.id,
            message=change.message,
            parent=parent,
            merged=change.merge_parent,
            overlay=overlay_file_id,
            author=change.actor.user_id,
            key=change.idempotency_key,
            count=draft.components,
            bytes=draft.total_bytes,
            touched=[*put, *draft.difference.removed],
            names=list(put),
            files=[ids[content.content_hash] for content in put.values()],
        )
        if row is None:
            raise AssertionError("an aggregate without GROUP BY always gives one row")
        return VersionId(row["id"]), row["version_number"]


def _dataset(row: Row) -> DatasetRef:
    return DatasetRef(DatasetId(row["id"]), row["name"], row["slug"], row["created_by"])


def _version(row: Row) -> Version:
    return Version(
        VersionId(row["id"]),
        DatasetId(row["dataset_id"]),
        row["version_number"],
        row["message"],
        row["parent_number"],
        row["merge_parent_number"],
        row["author"],
        row["created_at"],
        row["component_count"],
        row["total_bytes"],
        ContentHash(row["overlay_hash"]),
        tuple(row["pointers"]),
        row["purged_at"],
    )
