"""The inbox: one row per arrival of a file."""

from collections.abc import Collection, Sequence

from sqlalchemy import (
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
    func,
    text,
)

from dsplatform.core.database import Row, Transaction, metadata
from dsplatform.ingestion.model import Claimed, Discovery, InboxState, Outcome, Sighting

inbox = Table(
    "inbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("source", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("file_size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("inode", BigInteger, nullable=False),
    Column("marked", Boolean, nullable=False),
    Column("refusal", Text),
    Column("looks", Integer, nullable=False, server_default="1"),
    Column("first_seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("last_seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("changed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("state", Text, nullable=False, server_default="seen"),
    Column("claimed_by", Text),
    Column("run_id", Text),
    Column("reason", Text),
    Column("dataset", Text),
    Column("branch", Text),
    Column("component", Text),
    Column("content_hash", CHAR(64)),
    Column("stored", Boolean),
    Column("version_id", ForeignKey("dataset_versions.id", ondelete="SET NULL")),
    Column("decided_at", DateTime(timezone=True)),
    Column("moved_at", DateTime(timezone=True)),
    CheckConstraint("state IN ('seen', 'ready', 'claimed', 'accepted', 'duplicate', 'rejected')", name="state"),
    CheckConstraint("(state = 'claimed') = (claimed_by IS NOT NULL)", name="claimed_by"),
    # One open arrival per path: looking again finds its row.
    Index("uq_inbox_open", "source", "path", unique=True, postgresql_where=text("decided_at IS NULL")),
    Index("ix_inbox_unmoved", "source", "path", postgresql_where=text("decided_at IS NOT NULL AND moved_at IS NULL")),
    Index(None, "version_id"),
    Index(None, "decided_at"),
)


class Inbox:
    """Statements about arrivals of one drop folder. The database's clock decides all times."""

    def __init__(self, tx: Transaction, source: str) -> None:
        self._tx = tx
        self._source = source

    def sight(self, sightings: Sequence[Sighting], settle_seconds: float, *, complete: bool) -> None:
        """Writes down one look. Doing it twice changes nothing but the count of looks.

        A file whose arrival has its outcome, and which only waits to be moved (or never will be), is no new arrival.
        """
        started = self._tx.scalar("SELECT clock_timestamp()")
        self._tx.execute(
            "INSERT INTO inbox AS i (source, path, file_size, mtime_ns, inode, marked, refusal, last_seen_at) "
            "SELECT :source, n.path, n.size, n.mtime, n.inode, n.marked, n.refusal, clock_timestamp() "
            "FROM unnest(CAST(:paths AS text[]), CAST(:sizes AS bigint[]), CAST(:mtimes AS bigint[]), CAST(:inodes AS bigint[]), "
            "CAST(:marked AS boolean[]), CAST(:refusals AS text[])) n(path, size, mtime, inode, marked, refusal) "
            "WHERE NOT EXISTS (SELECT 1 FROM inbox o WHERE o.source = :source AND o.path = n.path AND o.decided_at IS NOT NULL "
            "AND o.moved_at IS NULL AND (o.file_size, o.mtime_ns, o.inode) = (n.size, n.mtime, n.inode)) ORDER BY n.path "
            "ON CONFLICT (source, path) WHERE decided_at IS NULL DO UPDATE SET "
            "looks = CASE WHEN (i.file_size, i.mtime_ns, i.inode) = (excluded.file_size, excluded.mtime_ns, excluded.inode) "
            "THEN i.looks + 1 ELSE 1 END, "
            "changed_at = CASE WHEN (i.file_size, i.mtime_ns, i.inode) = (excluded.file_size, excluded.mtime_ns, excluded.inode) "
            "THEN i.changed_at ELSE now() END, "
            "state = CASE WHEN (i.file_size, i.mtime_ns, i.inode) = (excluded.file_size, excluded.mtime_ns, excluded.inode) "
            "THEN i.state ELSE 'seen' END, "
            "file_size = excluded.file_size, mtime_ns = excluded.mtime_ns, inode = excluded.inode, marked = excluded.marked, "
            "refusal = excluded.refusal, last_seen_at = excluded.last_seen_at WHERE i.state <> 'claimed'",
            source=self._source,
            paths=[s.path for s in sightings],
            sizes=[s.size for s in sightings],
            mtimes=[s.mtime_ns for s in sightings],
            inodes=[s.inode for s in sightings],
            marked=[s.marked for s in sightings],
            refusals=[s.refusal for s in sightings],
        )
        self._tx.execute(
            "UPDATE inbox SET state = 'ready' WHERE source = :source AND state = 'seen' AND (marked OR refusal IS NOT NULL "
            "OR (looks >= 2 AND changed_at <= now() - :settle * interval '1 second'))",
            source=self._source,
            settle=settle_seconds,
        )
        if complete:
            self._tx.execute(
                "DELETE FROM inbox WHERE source = :source AND state IN ('seen', 'ready') AND last_seen_at < :started",
                source=self._source,
                started=started,
            )

    def free_dead_claims(self) -> int:
        """Gives back what a claimer held whose database session is gone (its advisory lock is free)."""
        return self._tx.execute(
            "UPDATE inbox SET state = 'ready', claimed_by = NULL WHERE source = :source AND state = 'claimed' AND claimed_by IN ("
            "SELECT c.claimed_by FROM (SELECT DISTINCT claimed_by FROM inbox WHERE source = :source AND state = 'claimed') c "
            "WHERE pg_try_advisory_xact_lock(hashtextextended(c.claimed_by, 0)))",
            source=self._source,
        )

    def claim(self, claimer: str, run_id: str | None, limit: int) -> Sequence[Claimed]:
        """Takes complete arrivals, oldest first. Rows that another claimer is just taking are passed by."""
        rows = self._tx.rows(
            "UPDATE inbox SET state = 'claimed', claimed_by = :claimer, run_id = :run WHERE id IN ("
            "SELECT id FROM inbox WHERE source = :source AND state = 'ready' ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED) "
            "RETURNING id, path, file_size, mtime_ns, inode, marked, refusal",
            source=self._source,
            claimer=claimer,
            run=run_id,
            limit=limit,
        )
        claimed = [
            Claimed(row["id"], Sighting(row["path"], row["file_size"], row["mtime_ns"], row["inode"], row["marked"], row["refusal"]))
            for row in rows
        ]
        return sorted(claimed, key=lambda item: item.id)

    def decide(self, claimer: str, outcomes: Sequence[Outcome]) -> int:
        """Writes the outcomes of claimed arrivals; answers how many were still this claimer's."""
        return self._tx.execute(
            "UPDATE inbox i SET state = n.state, claimed_by = NULL, reason = n.reason, dataset = n.dataset, branch = n.branch, "
            "component = n.component, content_hash = n.hash, stored = n.stored, version_id = n.version, decided_at = now() "
            "FROM unnest(CAST(:ids AS bigint[]), CAST(:states AS text[]), CAST(:reasons AS text[]), CAST(:datasets AS text[]), "
            "CAST(:branches AS text[]), CAST(:components AS text[]), CAST(:hashes AS text[]), CAST(:stored AS boolean[]), "
            "CAST(:versions AS bigint[])) n(id, state, reason, dataset, branch, component, hash, stored, version) "
            "WHERE i.id = n.id AND i.state = 'claimed' AND i.claimed_by = :claimer",
            claimer=claimer,
            ids=[o.inbox_id for o in outcomes],
            states=[str(o.state) for o in outcomes],
            reasons=[o.reason or o.note for o in outcomes],
            datasets=[o.dataset for o in outcomes],
            branches=[o.branch for o in outcomes],
            components=[o.component for o in outcomes],
            hashes=[o.content_hash for o in outcomes],
            stored=[o.stored for o in outcomes],
            versions=[o.version_id for o in outcomes],
        )

    def release(self, claimer: str, ids: Sequence[int] | None = None) -> None:
        """Gives claimed arrivals back, to be looked at anew."""
        self._tx.execute(
            "UPDATE inbox SET state = 'seen', claimed_by = NULL, looks = 0, changed_at = now() WHERE state = 'claimed' "
            "AND claimed_by = :claimer AND (CAST(:ids AS bigint[]) IS NULL OR id = ANY(CAST(:ids AS bigint[])))",
            claimer=claimer,
            ids=None if ids is None else list(ids),
        )

    def unmoved(self, states: Collection[InboxState], limit: int) -> Sequence[tuple[Sighting, Outcome]]:
        """Arrivals with one of these outcomes whose file may still lie in the folder."""
        rows = self._tx.rows(
            "SELECT id, path, file_size, mtime_ns, inode, marked, state, dataset, branch, component, reason FROM inbox "
            "WHERE source = :source AND decided_at IS NOT NULL AND moved_at IS NULL AND state = ANY(CAST(:states AS text[])) "
            "ORDER BY id LIMIT :limit",
            source=self._source,
            states=[str(state) for state in states],
            limit=limit,
        )
        return [
            (
                Sighting(row["path"], row["file_size"], row["mtime_ns"], row["inode"], row["marked"]),
                Outcome(
                    row["path"],
                    InboxState(row["state"]),
                    row["dataset"] or "",
                    row["branch"] or "",
                    row["component"] or "",
                    row["file_size"],
                    reason=row["reason"],
                    inbox_id=row["id"],
                ),
            )
            for row in rows
        ]

    def moved(self, ids: Sequence[int]) -> None:
        """Nothing of these arrivals lies in the folder any more."""
        self._tx.execute("UPDATE inbox SET moved_at = now() WHERE id = ANY(CAST(:ids AS bigint[]))", ids=list(ids))

    def standing(self, *, complete: bool) -> Discovery:
        """What waits."""
        row = self._tx.row(
            "SELECT count(*) AS files, count(*) FILTER (WHERE state = 'ready') AS ready, "
            "count(*) FILTER (WHERE state = 'seen') AS waiting, "
            "count(*) FILTER (WHERE state = 'claimed') AS claimed, coalesce(sum(file_size), 0) AS total_bytes, "
            "coalesce(extract(epoch FROM now() - min(first_seen_at)), 0) AS oldest "
            "FROM inbox WHERE source = :source AND decided_at IS NULL",
            source=self._source,
        )
        if row is None:
            raise AssertionError("an aggregate without GROUP BY always gives one row")
        return Discovery(
            row["files"],
            row["ready"],
            row["waiting"],
            row["claimed"],
            float(row["oldest"]),
            int(row["total_bytes"]),
            complete=complete,
        )

    def entries(self, *, limit: int, only: InboxState | None) -> Sequence[Row]:
        """Arrivals of this folder, those that wait first, then the latest outcomes."""
        return self._entries("ORDER BY i.decided_at DESC NULLS FIRST, i.id DESC", limit=limit, only=only)

    def arrivals(self, *, before: int | None, limit: int, only: InboxState | None) -> Sequence[Row]:
        """Arrivals of this folder with ids below `before`, the latest first."""
        return self._entries(
            "AND (CAST(:before AS bigint) IS NULL OR i.id < :before) ORDER BY i.id DESC", before=before, limit=limit, only=only
        )

    def count(self, only: InboxState | None) -> int:
        """How many arrivals this folder had."""
        return int(
            self._tx.scalar(
                "SELECT count(*) FROM inbox WHERE source = :source AND (CAST(:only AS text) IS NULL OR state = :only)",
                source=self._source,
                only=None if only is None else str(only),
            )
        )

    def _entries(self, which: str, *, limit: int, only: InboxState | None, **params: object) -> Sequence[Row]:
        return self._tx.rows(
            "SELECT i.id, i.path, i.file_size, i.state, i.reason, i.dataset, i.branch, i.component, i.stored, i.version_id, "  # noqa: S608
            "v.version_number, i.decided_at FROM inbox i LEFT JOIN dataset_versions v ON v.id = i.version_id "
            f"WHERE i.source = :source AND (CAST(:only AS text) IS NULL OR i.state = :only) {which} LIMIT :limit",
            source=self._source,
            only=None if only is None else str(only),
            limit=limit,
            **params,
        )
