"""Tables and statements of captures: per content, and per version."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import CHAR, BigInteger, Boolean, CheckConstraint, Column, DateTime, ForeignKey, Index, Integer, Table, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB

from dsplatform.core.database import Row, Transaction, metadata
from dsplatform.core.types import ContentHash, VersionId
from dsplatform.core.values import SchemaSummary
from dsplatform.schemas.model import NO_HINTS, FileCapture, Hints, Json, VersionSchema, storable

Key = tuple[ContentHash, str]
"""What a capture depends on besides the readers' version: the bytes, and the hints in the file's name and of its dataset."""

dataset_schema_versions = Table(
    "dataset_schema_versions",
    metadata,
    Column("version_id", BigInteger, ForeignKey("dataset_versions.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False, server_default="pending"),
    Column("schema_json", JSONB),
    Column("row_count", BigInteger),
    Column("column_count", Integer),
    Column("unreadable_count", Integer),
    Column("changed", Boolean),
    Column("reader_version", Text),
    Column("requested_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("captured_at", DateTime(timezone=True)),
    CheckConstraint("state IN ('pending', 'captured')", name="state"),
    CheckConstraint("(state = 'captured') = (schema_json IS NOT NULL)", name="captured"),
    Index("ix_dataset_schema_versions_pending", "version_id", postgresql_where=text("state = 'pending'")),
)

file_schemas = Table(
    "file_schemas",
    metadata,
    Column("content_hash", CHAR(64), primary_key=True),
    Column("hint", Text, primary_key=True),
    Column("reader_version", Text, primary_key=True),
    Column("capture", JSONB, nullable=False),
    Column("captured_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

schema_contracts = Table(
    "schema_contracts",
    metadata,
    Column("dataset_id", ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True),
    Column("branch", Text, primary_key=True),
    Column("policy", Text, nullable=False),
    Column("on_breach", Text, nullable=False, server_default="quarantine"),
    Column("contract", JSONB, nullable=False),
    Column("revision", Integer, nullable=False, server_default="1"),
    Column("updated_by", ForeignKey("users.id"), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("policy IN ('off', 'warn', 'enforce')", name="policy"),
    CheckConstraint("on_breach IN ('quarantine', 'reject')", name="on_breach"),
)

reading_hints = Table(
    "reading_hints",
    metadata,
    Column("dataset_id", ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True),
    Column("hints", JSONB, nullable=False),
)

quarantined_versions = Table(
    "quarantined_versions",
    metadata,
    Column("version_id", BigInteger, ForeignKey("dataset_versions.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("dataset_id", ForeignKey("datasets.id", ondelete="CASCADE"), nullable=False),
    Column("branch", Text, nullable=False),
    Column("target_branch", Text, nullable=False),
    Column("report", JSONB, nullable=False),
    Column("state", Text, nullable=False, server_default="open"),
    Column("arrived_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("decided_by", ForeignKey("users.id")),
    Column("decided_at", DateTime(timezone=True)),
    Column("decision", Text),
    CheckConstraint("state IN ('open', 'accepted', 'dismissed')", name="state"),
    CheckConstraint("(state = 'open') = (decided_at IS NULL)", name="decided"),
    Index(None, "dataset_id", "state"),
)


def _jsonb(plain: Json) -> str:
    text = json.dumps(plain)
    return json.dumps(storable(plain)) if "\\u0000" in text or "\\ud" in text else text


class FileSchemas:
    """Captures of contents: kept, so that the same bytes are read once."""

    def __init__(self, tx: Transaction, reader_version: str) -> None:
        self._tx = tx
        self._reader_version = reader_version

    def find(self, keys: Sequence[Key]) -> dict[Key, FileCapture]:
        """Those that are kept."""
        rows = self._tx.rows(
            "SELECT f.content_hash, f.hint, f.capture "
            "FROM unnest(CAST(:hashes AS text[]), CAST(:hints AS text[])) AS k (content_hash, hint) "
            "JOIN file_schemas f ON f.content_hash = k.content_hash AND f.hint = k.hint AND f.reader_version = :reader",
            hashes=[content_hash for content_hash, _ in keys],
            hints=[hint for _, hint in keys],
            reader=self._reader_version,
        )
        return {(ContentHash(row["content_hash"]), row["hint"]): FileCapture.read(row["capture"]) for row in rows}

    def add(self, captures: Mapping[Key, FileCapture]) -> None:
        """Keeps them; where another process was quicker, what it found."""
        self._tx.execute(
            "INSERT INTO file_schemas (content_hash, hint, reader_version, capture) "
            "SELECT content_hash, hint, :reader, CAST(capture AS jsonb) "
            "FROM unnest(CAST(:hashes AS text[]), CAST(:hints AS text[]), CAST(:captures AS text[])) AS k (content_hash, hint, capture) "
            "ORDER BY content_hash, hint ON CONFLICT DO NOTHING",  # in one order, so that two captures cannot deadlock
            reader=self._reader_version,
            hashes=[content_hash for content_hash, _ in captures],
            hints=[hint for _, hint in captures],
            captures=[_jsonb(capture.plain()) for capture in captures.values()],
        )

    def forget(self, hashes: Collection[ContentHash]) -> None:
        """Forgets the captures of these contents, of every reader."""
        self._tx.execute("DELETE FROM file_schemas WHERE content_hash = ANY(CAST(:hashes AS bpchar[]))", hashes=list(hashes))


class SchemaVersions:
    """The composed schemas of versions, and which versions still wait for theirs."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def request(self, version_id: VersionId) -> None:
        """The version waits for its capture, unless it has one or already waits, or is no more."""
        self._tx.execute(
            "INSERT INTO dataset_schema_versions (version_id) SELECT id FROM dataset_versions WHERE id = :id AND purged_at IS NULL "
            "ON CONFLICT DO NOTHING",
            id=version_id,
        )

    def pending(self, limit: int) -> Sequence[VersionId]:
        """Versions that wait, oldest first; and those older than a minute that nobody announced, so that none is forgotten.

        What was deleted does not wait; a dataset that is restored does again.
        """
        rows = self._tx.rows(
            "SELECT s.version_id FROM dataset_schema_versions s JOIN dataset_versions v ON v.id = s.version_id "
            "JOIN datasets d ON d.id = v.dataset_id WHERE s.state = 'pending' AND v.purged_at IS NULL AND d.deleted_at IS NULL "
            "UNION ALL SELECT v.id FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id "
            "LEFT JOIN dataset_schema_versions s ON s.version_id = v.id "
            "WHERE s.version_id IS NULL AND v.purged_at IS NULL AND d.deleted_at IS NULL AND v.created_at < now() - interval '1 minute' "
            "ORDER BY version_id LIMIT :limit",
            limit=limit,
        )
        return [VersionId(row["version_id"]) for row in rows]

    def parent(self, version_id: VersionId) -> Row | None:
        """The version's first parent, as `parent_version_id`; None when there is no such version."""
        return self._tx.row("SELECT parent_version_id FROM dataset_versions WHERE id = :id", id=version_id)

    def hints(self, version_id: VersionId) -> Hints:
        """How the files of the version's dataset are to be read."""
        plain = self._tx.scalar(
            "SELECT h.hints FROM dataset_versions v JOIN reading_hints h ON h.dataset_id = v.dataset_id WHERE v.id = :id", id=version_id
        )
        return NO_HINTS if plain is None else Hints(**plain)

    def line(self, version_id: VersionId) -> Sequence[tuple[int, datetime, VersionSchema | None]]:
        """(number, when, schema) of the version and its first parents, oldest first; None where it is not captured."""
        rows = self._tx.rows(
            "WITH RECURSIVE line AS ("
            "SELECT id, parent_version_id, version_number, created_at FROM dataset_versions WHERE id = :id "
            "UNION ALL SELECT v.id, v.parent_version_id, v.version_number, v.created_at "
            "FROM line JOIN dataset_versions v ON v.id = line.parent_version_id) "
            "SELECT version_number, created_at, s.schema_json FROM line LEFT JOIN dataset_schema_versions s ON s.version_id = line.id "
            "ORDER BY line.id",
            id=version_id,
        )
        return [
            (row["version_number"], row["created_at"], None if row["schema_json"] is None else VersionSchema.read(row["schema_json"]))
            for row in rows
        ]

    def outdated(self, reader_version: str, dataset_slug: str | None, limit: int) -> Sequence[VersionId]:
        """Captured versions whose readers were others, or read by other hints, oldest first."""
        rows = self._tx.rows(
            "SELECT s.version_id, s.reader_version, h.hints FROM dataset_schema_versions s JOIN dataset_versions v ON v.id = s.version_id "
            "JOIN datasets d ON d.id = v.dataset_id LEFT JOIN reading_hints h ON h.dataset_id = d.id "
            "WHERE s.state = 'captured' AND v.purged_at IS NULL AND d.deleted_at IS NULL "
            "AND (CAST(:slug AS text) IS NULL OR d.slug = :slug) AND (h.hints IS NOT NULL OR s.reader_version <> :reader) "
            "ORDER BY s.version_id",
            slug=dataset_slug,
            reader=reader_version,
        )
        old = [row for row in rows if row["reader_version"] != reader_version + Hints(**(row["hints"] or {})).suffix]
        return [VersionId(row["version_id"]) for row in old[:limit]]

    def get(self, version_id: VersionId) -> VersionSchema | None:
        """The captured schema."""
        plain = self._tx.scalar("SELECT schema_json FROM dataset_schema_versions WHERE version_id = :id", id=version_id)
        return None if plain is None else VersionSchema.read(plain)

    def summary(self, version_id: VersionId, reader_version: str) -> SchemaSummary | None:
        """The figures of a capture by these readers."""
        row = self._tx.row(
            "SELECT row_count, column_count, unreadable_count, changed FROM dataset_schema_versions "
            "WHERE version_id = :id AND state = 'captured' AND reader_version = :reader",
            id=version_id,
            reader=reader_version,
        )
        if row is None:
            return None
        return SchemaSummary(version_id, row["row_count"], row["column_count"], row["unreadable_count"], row["changed"])

    def store(self, schema: VersionSchema, summary: SchemaSummary, reader_version: str) -> None:
        """The version's schema, in place of an earlier one."""
        self._tx.execute(
            "INSERT INTO dataset_schema_versions (version_id, state, schema_json, row_count, column_count, unreadable_count, changed, "
            "reader_version, captured_at) "
            "VALUES (:id, 'captured', CAST(:schema AS jsonb), :rows, :columns, :unreadable, :changed, :reader, now()) "
            "ON CONFLICT (version_id) DO UPDATE SET state = excluded.state, schema_json = excluded.schema_json, "
            "row_count = excluded.row_count, column_count = excluded.column_count, unreadable_count = excluded.unreadable_count, "
            "changed = excluded.changed, reader_version = excluded.reader_version, captured_at = excluded.captured_at",
            id=summary.version_id,
            schema=_jsonb(schema.plain()),
            rows=summary.rows,
            columns=summary.columns,
            unreadable=summary.unreadable,
            changed=summary.changed,
            reader=reader_version,
        )
