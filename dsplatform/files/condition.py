"""Statements about the condition of stored files: what is where, what nothing names, what is due to be read, what was found."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from dsplatform.core.database import Database, Transaction
from dsplatform.core.types import ContentHash, FileId

PAGE = 10_000


class Placed(NamedTuple):
    """A file and where its object shall be."""

    id: FileId
    content_hash: ContentHash
    file_size: int
    key: str
    state: str

    @property
    def label(self) -> str:
        """As a person reads it."""
        return f"file {self.id} ({self.content_hash})"


_PLACED = "f.id, f.content_hash, f.file_size, f.file_path, f.state"
_PREFIX = "f.content_hash >= CAST(:prefix AS bpchar) AND f.content_hash < CAST(:prefix || 'g' AS bpchar)"  # digits end with f


class Condition:
    """Statements about files and their objects."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def store_id(self) -> str | None:
        """The store that this database's keys point into, once that is known."""
        found: str | None = self._tx.scalar("SELECT store_id FROM store_binding")
        return found

    def placed(self, prefix: str, after: str, limit: int) -> Sequence[Placed]:
        """The next files in the order of their hashes, which is that of their keys; those whose hash begins with `prefix`."""
        rows = self._tx.tuples(
            f"SELECT {_PLACED} FROM files f WHERE {_PREFIX} AND f.content_hash > CAST(:after AS bpchar) "  # noqa: S608
            "ORDER BY f.content_hash LIMIT :limit",
            prefix=prefix,
            after=after,
            limit=limit,
        )
        return [Placed._make(row) for row in rows]

    def known(self, hashes: Collection[ContentHash]) -> Sequence[Placed]:
        """The files with these contents."""
        rows = self._tx.tuples(
            f"SELECT {_PLACED} FROM files f WHERE f.content_hash = ANY(CAST(:hashes AS bpchar[]))",  # noqa: S608
            hashes=list(hashes),
        )
        return [Placed._make(row) for row in rows]

    def still(self, files: Sequence[Placed]) -> set[FileId]:
        """Which of these files are where they were."""
        rows = self._tx.tuples(
            "SELECT f.id FROM files f JOIN unnest(CAST(:ids AS bigint[]), CAST(:keys AS text[])) k (id, key) "
            "ON k.id = f.id AND k.key = f.file_path",
            ids=[file.id for file in files],
            keys=[file.key for file in files],
        )
        return {FileId(row[0]) for row in rows}

    def unnamed(self, keys: Sequence[str]) -> Sequence[str]:
        """Those keys that no file, no intent and no tombstone names. One statement, one moment: what goes from one to another is seen."""
        rows = self._tx.tuples(
            "SELECT k FROM unnest(CAST(:keys AS text[])) k WHERE NOT EXISTS (SELECT 1 FROM files f WHERE f.file_path = k) "
            "AND NOT EXISTS (SELECT 1 FROM tombstones t WHERE t.storage_key = k) "
            "AND k NOT IN (SELECT unnest(i.storage_keys) FROM upload_intents i)",
            keys=list(keys),
        )
        return [row[0] for row in rows]

    # --- scrubbing -------------------------------------------------------------------------------------------------------------

    def horizon(self) -> tuple[datetime, int]:
        """(now, the newest file's id): where a pass over all that is there at this moment ends."""
        ((now, newest),) = self._tx.tuples("SELECT now(), coalesce(max(id), 0) FROM files")
        return now, newest

    def never_read(self, prefix: str, after: int, newest: int, limit: int) -> Sequence[Placed]:
        """The next files that were never read back, in id order."""
        rows = self._tx.tuples(
            f"SELECT {_PLACED} FROM files f WHERE f.verified_at IS NULL AND f.id > :after AND f.id <= :newest AND {_PREFIX} "  # noqa: S608
            "ORDER BY f.id LIMIT :limit",
            prefix=prefix,
            after=after,
            newest=newest,
            limit=limit,
        )
        return [Placed._make(row) for row in rows]

    def longest_unread(
        self, prefix: str, after: tuple[datetime | None, int], before: datetime, limit: int
    ) -> Sequence[tuple[datetime, Placed]]:
        """The next files with when they were read last, before `before`, in that order."""
        rows = self._tx.tuples(
            f"SELECT f.verified_at, {_PLACED} FROM files f WHERE f.verified_at < :before AND {_PREFIX} "  # noqa: S608
            "AND (f.verified_at, f.id) > (coalesce(CAST(:at AS timestamptz), '-infinity'), :id) ORDER BY f.verified_at, f.id LIMIT :limit",
            prefix=prefix,
            before=before,
            at=after[0],
            id=after[1],
            limit=limit,
        )
        return [(row[0], Placed._make(row[1:])) for row in rows]

    def record(self, files: Sequence[Placed], state: str) -> set[FileId]:
        """Records that these files were read and what state they are in; those that were healed or collected meanwhile are left out,
        and those that were called damaged meanwhile are not called good.

        Locked in id order so that two passes cannot deadlock.
        """
        rows = self._tx.tuples(
            "UPDATE files f SET state = :state, verified_at = now() FROM (SELECT g.id FROM files g "
            "JOIN unnest(CAST(:ids AS bigint[]), CAST(:keys AS text[]), CAST(:states AS text[])) k (id, key, state) "
            "ON k.id = g.id AND k.key = g.file_path AND (k.state = g.state OR :state = 'damaged') "
            "ORDER BY g.id FOR NO KEY UPDATE OF g) found WHERE f.id = found.id RETURNING f.id",
            ids=[file.id for file in files],
            keys=[file.key for file in files],
            states=[file.state for file in files],
            state=state,
        )
        return {FileId(row[0]) for row in rows}


def every_placed(db: Database, prefix: str = "") -> Iterator[Placed]:
    """Every file in the order of the keys, page by page; no transaction is open between them."""
    after = ""
    while True:
        with db.autocommit() as tx:
            page = Condition(tx).placed(prefix, after, PAGE)
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].content_hash
