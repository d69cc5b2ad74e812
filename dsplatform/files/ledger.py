"""The ledger of references: pending deltas are folded into `files.reference_count`, and now and then compared with the rows themselves.

What is shown is the folded count plus the pending deltas, which is exact at any instant. Nothing is ever deleted because of it.
"""

from collections.abc import Sequence

from dsplatform.core.database import Transaction
from dsplatform.core.types import FileId

FOLD = 5_000


class Ledger:
    """Statements about reference counts."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def alone(self) -> bool:
        """Whether nobody else folds until the transaction ends."""
        return bool(self._tx.scalar("SELECT pg_try_advisory_xact_lock(hashtextextended('fold reference counts', 0))"))

    def fold(self) -> int:
        """Folds some deltas; how many. One statement, so that none is lost or counted twice; rows are locked in the order of their
        ids, so that it cannot deadlock with a batch of heals."""
        folded = self._tx.scalar(
            "WITH taken AS (DELETE FROM file_reference_deltas WHERE ctid = ANY(ARRAY(SELECT ctid FROM file_reference_deltas LIMIT :limit)) "
            "RETURNING file_id, delta), "
            "sums AS (SELECT file_id, sum(delta) AS change FROM taken GROUP BY file_id), "
            "locked AS (SELECT id FROM files WHERE id IN (SELECT file_id FROM sums WHERE change <> 0) ORDER BY id FOR NO KEY UPDATE), "
            "folded AS (UPDATE files f SET reference_count = f.reference_count + s.change FROM sums s, locked l "
            "WHERE l.id = s.file_id AND f.id = l.id) "
            "SELECT count(*) FROM taken",
            limit=FOLD,
        )
        return int(folded)

    def miscounts(self, after: int, limit: int) -> tuple[int, int, Sequence[tuple[FileId, int, int]]]:
        """Looks at the next files in id order: (how many, the last id, those whose count is wrong with the shown and the true one).

        One statement, so that what others do meanwhile is seen on both sides or on none.
        """
        row = self._tx.row(
            "WITH page AS MATERIALIZED (SELECT id, reference_count FROM files WHERE id > :after ORDER BY id LIMIT :limit), "
            "ends AS (SELECT min(id) AS low, max(id) AS high FROM page), "
            "named AS (SELECT r.file_id, count(*) AS actual FROM ends, LATERAL ("
            "SELECT file_id FROM dataset_version_files WHERE file_id BETWEEN ends.low AND ends.high "
            "UNION ALL SELECT file_id FROM staged_files WHERE file_id BETWEEN ends.low AND ends.high "
            "UNION ALL SELECT overlay_file_id FROM dataset_versions WHERE overlay_file_id BETWEEN ends.low AND ends.high) r "
            "GROUP BY r.file_id), "
            "pending AS (SELECT d.file_id, sum(d.delta) AS delta FROM ends, file_reference_deltas d "
            "WHERE d.file_id BETWEEN ends.low AND ends.high GROUP BY d.file_id), "
            "compared AS (SELECT p.id, p.reference_count + coalesce(d.delta, 0) AS shown, coalesce(n.actual, 0) AS actual FROM page p "
            "LEFT JOIN named n ON n.file_id = p.id LEFT JOIN pending d ON d.file_id = p.id) "
            "SELECT (SELECT count(*) FROM page) AS count, (SELECT coalesce(max(id), 0) FROM page) AS last, "
            "coalesce(json_agg(json_build_array(id, shown, actual) ORDER BY id) FILTER (WHERE shown <> actual), '[]') AS wrong "
            "FROM compared",
            after=after,
            limit=limit,
        )
        if row is None:
            raise AssertionError("an aggregate answers with one row")
        return row["count"], row["last"], [(FileId(file_id), shown, actual) for file_id, shown, actual in row["wrong"]]
