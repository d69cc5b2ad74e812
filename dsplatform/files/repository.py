"""Tables and statements of the content-addressed store."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CHAR,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from dsplatform.core.database import ConstraintViolated, Row, Transaction, metadata
from dsplatform.core.types import ContentHash, FileId
from dsplatform.core.values import UploadOvertaken

files = Table(
    "files",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),  # a new id per incarnation of a content
    Column("content_hash", CHAR(64), nullable=False),
    Column("file_size", BigInteger, nullable=False),
    Column("storage_type", Text, nullable=False),
    Column("file_path", Text, nullable=False),  # the storage key: written once, never reused
    Column("file_type", Text, nullable=False),
    Column("mime_type", Text),
    Column("compression_type", Text),
    Column("reference_count", BigInteger, nullable=False, server_default="0"),  # the folded part; see file_reference_counts
    Column("metadata", JSONB),
    Column("state", Text, nullable=False, server_default="ok"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("verified_at", DateTime(timezone=True)),
    Index("ix_files_verified", "verified_at", "id", postgresql_where=text("verified_at IS NOT NULL")),
    UniqueConstraint("content_hash", name="uq_files_content_hash"),
    UniqueConstraint("file_path", name="uq_files_file_path"),
    CheckConstraint("length(content_hash) = 64 AND translate(content_hash, '0123456789abcdef', '') = ''", name="content_hash"),
    CheckConstraint("file_size >= 0", name="file_size"),
    CheckConstraint("state IN ('ok', 'damaged')", name="state"),
)

upload_intents = Table(
    "upload_intents",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("backend", Text, nullable=False),
    Column("storage_keys", ARRAY(Text), nullable=False, server_default="{}"),  # written here before they are on the storage
    Column("s3_upload_id", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Index(None, "expires_at"),
)

upload_sessions = Table(
    "upload_sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("dataset_id", ForeignKey("datasets.id")),
    Column("owner_id", ForeignKey("users.id"), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Index(None, "expires_at"),
)

staged_files = Table(
    "staged_files",
    metadata,
    Column("session_id", ForeignKey("upload_sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("path", Text, primary_key=True),
    Column("file_id", ForeignKey("files.id"), nullable=False),
    Index(None, "file_id"),
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("storage_key", Text, primary_key=True),
    Column("content_hash", CHAR(64)),
    Column("file_size", BigInteger),  # null: not known, because no file was ever made of it
    Column("reason", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("purge_after", DateTime(timezone=True), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Index(None, "purge_after"),
)

gc_queue = Table(
    "gc_queue",
    metadata,
    Column("file_id", BigInteger, primary_key=True, autoincrement=False),
    Column("review_after", DateTime(timezone=True), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Index(None, "review_after"),
)

file_reference_deltas = Table(
    "file_reference_deltas",
    metadata,
    Column("file_id", BigInteger, nullable=False),
    Column("delta", Integer, nullable=False),
    Index(None, "file_id"),
)

store_binding = Table(
    "store_binding",
    metadata,
    Column("singleton", Boolean, primary_key=True, server_default="true"),
    Column("store_id", Text, nullable=False),
    Column("bound_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("restored_at", DateTime(timezone=True)),  # set: the database was restored, and nothing may be deleted until that is cleared
    CheckConstraint("singleton", name="singleton"),
)

sweep_candidates = Table(
    "sweep_candidates",
    metadata,
    Column("storage_key", Text, primary_key=True),
    Column("found_by", Uuid, nullable=False),
    Column("found_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

_COLUMNS = "f.id, f.content_hash, f.file_size, f.file_path, f.file_type, f.state, f.created_at"


class NewFile(NamedTuple):
    """A content that the store did not have, as its row will be."""

    content_hash: ContentHash
    file_size: int
    file_path: str
    file_type: str
    mime_type: str
    compression_type: str | None


class Files:
    """Statements about stored contents."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def placed(self, hashes: Collection[ContentHash]) -> Mapping[ContentHash, tuple[FileId, str, str, str]]:
        """(id, storage key, state, file type) of those contents that are stored; made for many at once."""
        rows = self._tx.tuples(
            "SELECT content_hash, id, file_path, state, file_type FROM files WHERE content_hash = ANY(CAST(:hashes AS bpchar[]))",
            hashes=list(hashes),
        )
        return {content_hash: (file_id, key, state, file_type) for content_hash, file_id, key, state, file_type in rows}

    def one(self, file_id: FileId) -> Row | None:
        """The file with its exact reference count."""
        return self._tx.row(
            f"SELECT {_COLUMNS}, c.reference_count FROM files f JOIN file_reference_counts c ON c.file_id = f.id WHERE f.id = :id",  # noqa: S608
            id=file_id,
        )

    def keys(self, ids: Collection[FileId]) -> Mapping[FileId, str]:
        """Where the objects of these files lie."""
        rows = self._tx.rows("SELECT id, file_path FROM files WHERE id = ANY(CAST(:ids AS bigint[]))", ids=list(ids))
        return {FileId(row["id"]): row["file_path"] for row in rows}

    def pin(self, ids: Collection[FileId]) -> Mapping[FileId, Row]:
        """Keeps the collector away from these rows until the transaction ends; answers with those that are still there.

        Locked in id order so that two uploads cannot deadlock.
        """
        rows = self._tx.rows(
            "SELECT id, file_path, state FROM files WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR KEY SHARE", ids=sorted(ids)
        )
        return {row["id"]: row for row in rows}

    def insert(self, rows: Collection[NewFile], storage_type: str, *, ending: UUID | None = None) -> Mapping[ContentHash, FileId]:
        """Records new contents, and ends the intent `ending` where one is given: nothing is recorded when that has expired.

        Raises `UploadOvertaken` when one of the contents was recorded meanwhile: the transaction is lost, and the caller looks again.
        Inserted in hash order so that two batches with contents in common cannot deadlock.
        """
        try:
            inserted = self._tx.tuples(
                "WITH ended AS (DELETE FROM upload_intents WHERE id = :ending AND expires_at > now() RETURNING id) "
                "INSERT INTO files (storage_type, content_hash, file_size, file_path, file_type, mime_type, compression_type) "
                "SELECT :storage_type, n.* FROM unnest(CAST(:content_hash AS text[]), CAST(:file_size AS bigint[]), "
                "CAST(:file_path AS text[]), CAST(:file_type AS text[]), CAST(:mime_type AS text[]), CAST(:compression_type AS text[])) n "
                "WHERE CAST(:ending AS uuid) IS NULL OR EXISTS (SELECT 1 FROM ended) RETURNING content_hash, id",
                storage_type=storage_type,
                ending=ending,
                **{name: list(values) for name, values in zip(NewFile._fields, zip(*sorted(rows), strict=True), strict=True)},
            )
        except ConstraintViolated as err:
            if err.constraint != "uq_files_content_hash":
                raise
            raise UploadOvertaken("another upload recorded some of these contents first") from err
        return dict(inserted)

    def heal(self, file_id: FileId, old_key: str, new_key: str, size: int) -> bool:
        """Points a damaged file at good bytes and gives the old object to the collector; False when somebody else did it first.

        FOR UPDATE at once: two healers that both upgraded from a shared lock would deadlock.
        """
        row = self._tx.row("SELECT file_path FROM files WHERE id = :id FOR UPDATE", id=file_id)
        if row is None or row["file_path"] != old_key:
            return False
        self._tx.execute(
            "UPDATE files SET file_path = :key, state = 'ok', verified_at = now(), file_size = :size WHERE id = :id",
            id=file_id,
            key=new_key,
            size=size,
        )
        self.bury([old_key], "healed", "1 hour")
        return True

    def bury(self, keys: Sequence[str], reason: str, grace: str) -> None:
        """Gives objects that no row names to the collector, which deletes them after the grace period."""
        self._tx.execute(
            "INSERT INTO tombstones (storage_key, content_hash, reason, purge_after) "
            "SELECT k, substring(k from '([0-9a-f]{64})'), :reason, now() + CAST(:grace AS interval) FROM unnest(CAST(:keys AS text[])) k "
            "ON CONFLICT (storage_key) DO NOTHING",
            keys=list(keys),
            reason=reason,
            grace=grace,
        )


class Intents:
    """Uploads under way. The database's clock alone decides what has expired."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def open(self, upload_id: UUID, backend: str, keys: Sequence[str]) -> None:
        """Begins an upload that will write these keys."""
        self._tx.execute(
            "INSERT INTO upload_intents (id, backend, storage_keys, expires_at) "
            "VALUES (:id, :backend, CAST(:keys AS text[]), now() + interval '1 hour')",
            id=upload_id,
            backend=backend,
            keys=list(keys),
        )

    def reopen(self, upload_id: UUID, backend: str, keys: Sequence[str], *, written: Sequence[str] = ()) -> bool:
        """Begins an upload again that has ended with a commit; False when it had not.

        Where nobody has heard of that commit, give the keys that were `written`: files name them if there was one. Else the upload has
        expired, and they are being deleted.
        """
        return (
            self._tx.execute(
                "INSERT INTO upload_intents (id, backend, storage_keys, expires_at) "
                "SELECT :id, :backend, CAST(:keys AS text[]), now() + interval '1 hour' WHERE NOT EXISTS (SELECT 1 "
                "FROM unnest(CAST(:written AS text[])) k WHERE NOT EXISTS (SELECT 1 FROM files f WHERE f.file_path = k)) "
                "ON CONFLICT (id) DO NOTHING",
                id=upload_id,
                backend=backend,
                keys=list(keys),
                written=list(written),
            )
            == 1
        )

    def extend(self, upload_id: UUID, keys: Sequence[str] = ()) -> bool:
        """Renews an upload and names more keys; False when it has expired."""
        return (
            self._tx.execute(
                "UPDATE upload_intents SET expires_at = now() + interval '1 hour', storage_keys = storage_keys || CAST(:keys AS text[]) "
                "WHERE id = :id AND expires_at > now()",
                id=upload_id,
                keys=list(keys),
            )
            == 1
        )

    def hold(self, upload_id: UUID) -> bool:
        """Keeps expiry waiting until the transaction ends; False when the upload has expired."""
        row = self._tx.row("SELECT 1 FROM upload_intents WHERE id = :id AND expires_at > now() FOR UPDATE", id=upload_id)
        return row is not None

    def close(self, upload_id: UUID) -> bool:
        """Ends an upload whose keys are all named by files now; False when it has expired."""
        return self._tx.execute("DELETE FROM upload_intents WHERE id = :id AND expires_at > now()", id=upload_id) == 1

    def abandon(self, upload_id: UUID) -> None:
        """Ends an upload that was not recorded in full: the keys that no file names go to the collector.

        Two statements: the second one's snapshot sees every file that was recorded before the intent was gone.
        """
        keys = self._tx.scalar("DELETE FROM upload_intents WHERE id = :id RETURNING storage_keys", id=upload_id)
        if keys:
            self._tx.execute(
                "INSERT INTO tombstones (storage_key, content_hash, reason, purge_after) "
                "SELECT k, substring(k from '([0-9a-f]{64})'), 'abandoned upload', now() + interval '24 hours' "
                "FROM unnest(CAST(:keys AS text[])) k WHERE NOT EXISTS (SELECT 1 FROM files f WHERE f.file_path = k) "
                "ON CONFLICT (storage_key) DO NOTHING",
                keys=keys,
            )


class Staged:
    """References of users at work."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def open(self, session_id: UUID, owner_id: int) -> None:
        """A session, alive for a day."""
        self._tx.execute(
            "INSERT INTO upload_sessions (id, owner_id, expires_at) VALUES (:id, :owner, now() + interval '24 hours')",
            id=session_id,
            owner=owner_id,
        )

    def hold(self, session_id: UUID, owner_id: int) -> bool:
        """Keeps expiry waiting until the transaction ends; False when the session has expired, or is not the owner's."""
        row = self._tx.row(
            "SELECT 1 FROM upload_sessions WHERE id = :id AND owner_id = :owner AND expires_at > now() FOR UPDATE",
            id=session_id,
            owner=owner_id,
        )
        return row is not None

    def put(self, session_id: UUID, path: str, file_id: FileId) -> None:
        """Names a file in the session."""
        self._tx.execute(
            "INSERT INTO staged_files (session_id, path, file_id) VALUES (:session, :path, :file)",
            session=session_id,
            path=path,
            file=file_id,
        )

    def remove(self, session_id: UUID, path: str) -> bool:
        """Drops a name, and the session with its last one; False when there was no such name."""
        removed = self._tx.execute("DELETE FROM staged_files WHERE session_id = :session AND path = :path", session=session_id, path=path)
        self._tx.execute(
            "DELETE FROM upload_sessions s WHERE s.id = :session AND NOT EXISTS (SELECT 1 FROM staged_files f WHERE f.session_id = s.id)",
            session=session_id,
        )
        return removed == 1
