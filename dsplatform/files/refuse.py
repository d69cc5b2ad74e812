"""What nothing names any more: the statements that find it, decide about it, and remember what is to be deleted.

Every step is small and takes the rows that nobody holds (SKIP LOCKED), so that it neither waits for writers nor deadlocks with them.
A file is deleted in a statement of its own after its row was locked: an uploader or committer holds the row KEY SHARE through the
foreign key of what it inserts. Was it first, the row is passed by; were we first, it waits, finds no row, and uploads again. The
deciding statement's snapshot is younger than the locks, so a reference that was committed in between is seen.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from uuid import UUID

from dsplatform.core.database import Row, Transaction
from dsplatform.core.types import ContentHash, FileId

UNREFERENCED = """
    NOT EXISTS (SELECT 1 FROM dataset_version_files r WHERE r.file_id = f.id)
    AND NOT EXISTS (SELECT 1 FROM staged_files r WHERE r.file_id = f.id)
    AND NOT EXISTS (SELECT 1 FROM dataset_versions r WHERE r.overlay_file_id = f.id)"""
"""That no reference names the file `f`: every foreign key that points at `files`."""


class Expired:
    """Sessions and uploads whose time is over, by the database's clock."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def sessions(self) -> tuple[int, int]:
        """How many there are, and the bytes that they stage."""
        row = self._tx.row(
            "SELECT count(DISTINCT s.id) AS count, coalesce(sum(f.file_size), 0) AS bytes FROM upload_sessions s "
            "LEFT JOIN staged_files p ON p.session_id = s.id LEFT JOIN files f ON f.id = p.file_id WHERE s.expires_at < now()"
        )
        return (row["count"], int(row["bytes"])) if row else (0, 0)

    def end_sessions(self, limit: int) -> tuple[int, int]:
        """Ends some of them; how many, and the bytes that they staged.

        What they stage is deleted in one statement, and not by the cascade: its trigger then queues all files in one order.
        """
        ids = [
            row["id"]
            for row in self._tx.rows(
                "SELECT id FROM upload_sessions WHERE expires_at < now() ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED", limit=limit
            )
        ]
        if not ids:
            return 0, 0
        staged = self._tx.scalar(
            "WITH gone AS (DELETE FROM staged_files WHERE session_id = ANY(CAST(:ids AS uuid[])) RETURNING file_id) "
            "SELECT coalesce(sum(f.file_size), 0) FROM gone g JOIN files f ON f.id = g.file_id",
            ids=ids,
        )
        self._tx.execute("DELETE FROM upload_sessions WHERE id = ANY(CAST(:ids AS uuid[]))", ids=ids)
        return len(ids), int(staged)

    def uploads(self) -> int:
        """How many there are."""
        return int(self._tx.scalar("SELECT count(*) FROM upload_intents WHERE expires_at < now()"))

    def end_uploads(self, limit: int, grace: timedelta) -> Sequence[UUID]:
        """Ends some of them: the keys that no file names are buried. The grace is for an uploader that sleeps: it may still write.

        Two statements: the second one's snapshot sees every file that was recorded before the intent was gone.
        """
        rows = self._tx.rows(
            "WITH due AS (SELECT id FROM upload_intents WHERE expires_at < now() ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED) "
            "DELETE FROM upload_intents i USING due WHERE i.id = due.id RETURNING i.id, i.storage_keys",
            limit=limit,
        )
        keys = [key for row in rows for key in row["storage_keys"]]
        Tombstones(self._tx).bury(keys, "expired upload", grace)
        return [row["id"] for row in rows]

    def without_intent(self, uploads: Collection[UUID]) -> Sequence[UUID]:
        """Those of the uploads that are not under way."""
        rows = self._tx.rows(
            "SELECT u.id FROM unnest(CAST(:ids AS uuid[])) AS u (id) WHERE NOT EXISTS (SELECT 1 FROM upload_intents i WHERE i.id = u.id)",
            ids=list(uploads),
        )
        return [row["id"] for row in rows]


class Queue:
    """Files that lost a reference and wait for review."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def unreferenced(self) -> tuple[int, int]:
        """How many files a review would bury now, and their bytes."""
        row = self._tx.row(
            "SELECT count(*) AS count, coalesce(sum(f.file_size), 0) AS bytes FROM gc_queue q JOIN files f ON f.id = q.file_id "  # noqa: S608
            f"WHERE q.review_after < now() AND {UNREFERENCED}"
        )
        return (row["count"], int(row["bytes"])) if row else (0, 0)

    def due(self, limit: int) -> Sequence[FileId]:
        """The next ones, locked: who deletes another reference of them waits, and queues them again."""
        rows = self._tx.tuples(
            "SELECT file_id FROM gc_queue WHERE review_after < now() ORDER BY review_after LIMIT :limit FOR UPDATE SKIP LOCKED", limit=limit
        )
        return [file_id for (file_id,) in rows]

    def lock(self, ids: Collection[FileId]) -> Sequence[FileId]:
        """Locks those of the files that nobody holds."""
        rows = self._tx.tuples(
            "SELECT id FROM files WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR UPDATE SKIP LOCKED", ids=list(ids)
        )
        return [file_id for (file_id,) in rows]

    def bury(self, locked: Collection[FileId], grace: timedelta) -> Sequence[tuple[ContentHash, int]]:
        """Deletes those of the locked files that nothing names, and buries their objects; their hashes and sizes."""
        return self._tx.tuples(
            f"WITH dead AS (DELETE FROM files f WHERE f.id = ANY(CAST(:ids AS bigint[])) AND {UNREFERENCED} "  # noqa: S608
            "RETURNING f.content_hash, f.file_path, f.file_size), "
            "buried AS (INSERT INTO tombstones (storage_key, content_hash, file_size, reason, purge_after) "
            "SELECT file_path, content_hash, file_size, 'unreferenced', now() + :grace FROM dead "
            "ON CONFLICT (storage_key) DO UPDATE SET purge_after = excluded.purge_after) "
            "SELECT content_hash, file_size FROM dead",
            ids=list(locked),
            grace=grace,
        )

    def reviewed(self, ids: Collection[FileId], locked: Collection[FileId]) -> None:
        """Takes what was decided and what is gone from the queue; what somebody held comes again in ten minutes."""
        self._tx.execute(
            "DELETE FROM gc_queue q WHERE q.file_id = ANY(CAST(:ids AS bigint[])) "
            "AND (q.file_id = ANY(CAST(:locked AS bigint[])) OR NOT EXISTS (SELECT 1 FROM files f WHERE f.id = q.file_id))",
            ids=list(ids),
            locked=list(locked),
        )
        if len(locked) < len(ids):
            self._tx.execute(
                "UPDATE gc_queue SET review_after = now() + interval '10 minutes', attempts = attempts + 1 "
                "WHERE file_id = ANY(CAST(:ids AS bigint[]))",
                ids=list(ids),
            )

    def mark(self, after: int, limit: int) -> tuple[int, int]:
        """Queues those of the next files in id order that nothing names; (the last id looked at or 0 at the end, how many were new).

        A row that is queued already is reviewed anyway.
        """
        row = self._tx.row(
            "WITH page AS (SELECT id FROM files WHERE id > :after ORDER BY id LIMIT :limit), "  # noqa: S608
            "marked AS (INSERT INTO gc_queue (file_id, review_after) "
            f"SELECT f.id, now() + interval '24 hours' FROM page f WHERE {UNREFERENCED} ORDER BY f.id "
            "ON CONFLICT (file_id) DO NOTHING RETURNING file_id) "
            "SELECT coalesce((SELECT max(id) FROM page), 0) AS last, (SELECT count(*) FROM marked) AS count",
            after=after,
            limit=limit,
        )
        return (row["last"], row["count"]) if row else (0, 0)


class Tombstones:
    """Objects that are to be deleted when their time has come."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def due(self) -> tuple[int, int]:
        """How many there are whose time has come, and their bytes as far as they are known."""
        row = self._tx.row(
            "SELECT count(*) AS count, coalesce(sum(t.file_size), 0) AS bytes FROM tombstones t WHERE t.purge_after < now() "
            "AND NOT EXISTS (SELECT 1 FROM files f WHERE f.file_path = t.storage_key)"
        )
        return (row["count"], int(row["bytes"])) if row else (0, 0)

    def bury(self, keys: Sequence[str], reason: str, grace: timedelta) -> None:
        """Buries those of the keys that no file names."""
        if keys:
            self._tx.execute(
                "INSERT INTO tombstones (storage_key, content_hash, reason, purge_after) "
                "SELECT k, substring(k from '([0-9a-f]{64})'), :reason, now() + :grace FROM unnest(CAST(:keys AS text[])) k "
                "WHERE NOT EXISTS (SELECT 1 FROM files f WHERE f.file_path = k) ON CONFLICT (storage_key) DO NOTHING",
                keys=list(keys),
                reason=reason,
                grace=grace,
            )

    def lease(self, limit: int) -> Sequence[Row]:
        """Some whose time has come, for ten minutes: (storage_key, file_size). None while the database counts as restored.

        Committed before the objects are deleted; who dies in between leaves them to the next run.
        """
        return self._tx.rows(
            "WITH due AS (SELECT storage_key FROM tombstones WHERE purge_after < now() "
            "AND NOT EXISTS (SELECT 1 FROM store_binding WHERE restored_at IS NOT NULL) "
            "ORDER BY purge_after LIMIT :limit FOR UPDATE SKIP LOCKED) "
            "UPDATE tombstones t SET attempts = t.attempts + 1, purge_after = now() + interval '10 minutes' FROM due "
            "WHERE t.storage_key = due.storage_key RETURNING t.storage_key, t.file_size",
            limit=limit,
        )

    def spare_living(self, keys: Collection[str]) -> Sequence[str]:
        """Takes back those whose key a file names (only ever so after a repair by hand or a restore); answers with them."""
        rows = self._tx.tuples(
            "DELETE FROM tombstones t USING files f WHERE t.storage_key = ANY(CAST(:keys AS text[])) AND f.file_path = t.storage_key "
            "RETURNING t.storage_key",
            keys=list(keys),
        )
        return [key for (key,) in rows]

    def spare_every_living(self) -> int:
        """The same for all of them; how many."""
        return self._tx.execute("DELETE FROM tombstones t USING files f WHERE f.file_path = t.storage_key")

    def remove(self, keys: Collection[str]) -> None:
        """Forgets those whose objects are gone."""
        self._tx.execute("DELETE FROM tombstones WHERE storage_key = ANY(CAST(:keys AS text[]))", keys=list(keys))


_UNKNOWN = """
    NOT EXISTS (SELECT 1 FROM files f WHERE f.file_path = k)
    AND NOT EXISTS (SELECT 1 FROM (SELECT unnest(storage_keys) AS named FROM upload_intents) i WHERE i.named = k)
    AND NOT EXISTS (SELECT 1 FROM tombstones t WHERE t.storage_key = k)"""
"""That nothing names the key `k`. In one statement, because one snapshot shows a finishing upload as intent or as file, or as both."""


class Strays:
    """Objects that nothing names, as the sweeps find them."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def unknown(self, keys: Collection[str]) -> Sequence[str]:
        """Those of the keys that nothing names. Ask after the objects were listed, never before."""
        rows = self._tx.tuples(f"SELECT k FROM unnest(CAST(:keys AS text[])) k WHERE {_UNKNOWN}", keys=list(keys))  # noqa: S608
        return [key for (key,) in rows]

    def bury_found_again(self, sweep: UUID, keys: Sequence[str], sizes: Sequence[int], grace: timedelta) -> tuple[int, int]:
        """Buries those of the keys that another sweep has found before and nothing names even now; how many, and their bytes."""
        row = self._tx.row(
            "WITH buried AS (INSERT INTO tombstones (storage_key, content_hash, file_size, reason, purge_after) "  # noqa: S608
            "SELECT k, substring(k from '([0-9a-f]{64})'), s, 'unknown object', now() + :grace "
            "FROM unnest(CAST(:keys AS text[]), CAST(:sizes AS bigint[])) AS u (k, s) "
            "JOIN sweep_candidates c ON c.storage_key = k AND c.found_by <> :sweep "
            f"WHERE {_UNKNOWN} ON CONFLICT (storage_key) DO NOTHING RETURNING file_size) "
            "SELECT count(*) AS count, coalesce(sum(file_size), 0) AS bytes FROM buried",
            sweep=sweep,
            keys=list(keys),
            sizes=list(sizes),
            grace=grace,
        )
        return (row["count"], int(row["bytes"])) if row else (0, 0)

    def found(self, sweep: UUID, keys: Sequence[str]) -> None:
        """Notes what this sweep found, so that a later one can agree."""
        self._tx.execute(
            "INSERT INTO sweep_candidates (storage_key, found_by) SELECT k, :sweep FROM unnest(CAST(:keys AS text[])) k "
            "ON CONFLICT (storage_key) DO UPDATE SET found_by = excluded.found_by, found_at = now()",
            sweep=sweep,
            keys=list(keys),
        )

    def forget_others(self, sweep: UUID | None) -> None:
        """Forgets what only other sweeps have found; with None, what any has."""
        self._tx.execute("DELETE FROM sweep_candidates WHERE found_by IS DISTINCT FROM :sweep", sweep=sweep)
