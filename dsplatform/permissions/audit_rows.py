"""Questions about the audit log and its seals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dsplatform.core.database import Row, Transaction
from dsplatform.core.domain import ValueObject
from dsplatform.permissions.audit_chain import GENESIS, Head, Seal, link, row_hash

_COLUMNS = (
    "id",
    "at",
    "actor_id",
    "actor",
    "token_id",
    "address",
    "action",
    "object_type",
    "object_id",
    "before",
    "after",
    "request_id",
    "result",
)
_AT = """to_char(l.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS at"""
_SHOWN = ", ".join({"at": _AT}.get(name, f"l.{name}") for name in _COLUMNS)
_AS_TEXT = {"at": _AT} | {name: f"CAST(l.{name} AS text) AS {name}" for name in ("before", "after")}
_SEALED = ", ".join(_AS_TEXT.get(name, f"l.{name}") for name in _COLUMNS)
_UNSEALED = "NOT EXISTS (SELECT 1 FROM audit_seals s WHERE s.audit_id = l.id)"

FIRST = -(2**63)
"""Before every position, also of seals that somebody put in."""


@dataclass(frozen=True)
class Entry(ValueObject):
    """A row of the audit log."""

    id: int
    at: str
    """In UTC, by the database's clock."""
    actor_id: int | None
    actor: str | None
    """None: nobody who is known, as before a login."""
    token_id: int | None
    address: str | None
    action: str
    object_type: str
    object_id: str | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    request_id: str | None
    result: str
    """`done` or `refused`."""
    position: int | None
    """Of its seal; None until the next minute's."""


@dataclass(frozen=True)
class Filter(ValueObject):
    """Which rows to show. None: all."""

    by: str | None = None
    """Name of the user."""
    action: str | None = None
    """`branch.create`, or `branch` for all that begin so."""
    object: str | None = None
    """`dataset`, or `dataset:17`."""
    since: datetime | None = None
    until: datetime | None = None


_WHERE = """
    (CAST(:by AS text) IS NULL OR l.actor = :by)
    AND (CAST(:action AS text) IS NULL OR l.action = :action OR starts_with(l.action, :action || '.'))
    AND (CAST(:kind AS text) IS NULL OR l.object_type = :kind)
    AND (CAST(:object AS text) IS NULL OR l.object_id = :object)
    AND (CAST(:since AS timestamptz) IS NULL OR l.at >= :since)
    AND (CAST(:until AS timestamptz) IS NULL OR l.at < :until)
"""


def _parameters(wanted: Filter) -> dict[str, object]:
    kind, _, object_id = (wanted.object or "").partition(":")
    return {
        "by": wanted.by,
        "action": wanted.action,
        "kind": kind or None,
        "object": object_id or None,
        "since": wanted.since,
        "until": wanted.until,
    }


class AuditTrail:
    """The log, to read and to seal."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def entries(self, wanted: Filter, before: int | None, limit: int) -> Sequence[Entry]:
        """The newest first, from the one before that id on."""
        rows = self._tx.rows(
            f"SELECT {_SHOWN}, s.position FROM audit_log l LEFT JOIN audit_seals s ON s.audit_id = l.id "  # noqa: S608 - constants
            f"WHERE {_WHERE} AND l.id < coalesce(CAST(:before AS bigint), 9223372036854775807) ORDER BY l.id DESC LIMIT :limit",
            **_parameters(wanted),
            before=before,
            limit=limit,
        )
        return [Entry(**row) for row in rows]

    def count(self, wanted: Filter) -> int:
        """How many rows there are in all."""
        return int(self._tx.scalar(f"SELECT count(*) FROM audit_log l WHERE {_WHERE}", **_parameters(wanted)))  # noqa: S608 - constants

    def seals(self, after: int, limit: int) -> Sequence[Seal]:
        """The next seals by position, with their rows."""
        rows = self._tx.rows(
            f"SELECT s.position, s.audit_id, s.row_hash, s.chain_hash, {_SEALED} "  # noqa: S608 - constants
            "FROM audit_seals s LEFT JOIN audit_log l ON l.id = s.audit_id WHERE s.position > :after ORDER BY s.position LIMIT :limit",
            after=after,
            limit=limit,
        )
        return [
            Seal(
                row["position"],
                row["audit_id"],
                row["row_hash"],
                row["chain_hash"],
                None if row["id"] is None else {name: row[name] for name in _COLUMNS},
            )
            for row in rows
        ]

    def overdue(self, minutes: int) -> tuple[int, Sequence[int]]:
        """(number, the first ten ids) of rows that are older and have no seal."""
        found = self._tx.row(
            "SELECT count(*) AS found, coalesce((array_agg(l.id ORDER BY l.id))[:10], '{}') AS ids FROM audit_log l "  # noqa: S608 - constants
            f"WHERE l.at < now() - make_interval(mins => :minutes) AND {_UNSEALED}",
            minutes=minutes,
        )
        return (found["found"], found["ids"]) if found else (0, [])

    # --- sealing ---------------------------------------------------------------------------------------------------------------

    def lock(self) -> None:
        """Seals come one after the other: waits for who is at it, until the end of the transaction."""
        self._tx.execute("SELECT pg_advisory_xact_lock(hashtextextended('seal audit log', 0))")

    def head(self) -> Head | None:
        """The newest seal."""
        found = self._tx.row("SELECT position, chain_hash FROM audit_seals ORDER BY position DESC LIMIT 1")
        return None if found is None else Head(**found)

    def has(self, head: Head) -> bool:
        """Whether the seal is there as it was noted."""
        return self._tx.row("SELECT 1 FROM audit_seals WHERE position = :position AND chain_hash = :chain_hash", **head.plain()) is not None

    def to_seal(self, limit: int, *, whole: bool) -> Sequence[Row]:
        """Rows without a seal, by id. What has one is told by its seal and not by a mark that moves on: an id is handed out when a row is
        written, and its transaction may commit after that of a later one. Unless `whole`, only rows from a day before the last sealed one
        on are looked at; the index on `at` finds them."""
        return self._tx.rows(
            "WITH floor AS MATERIALIZED (SELECT coalesce((SELECT least(l.at, now()) - interval '1 day' "  # noqa: S608 - constants
            "FROM audit_seals s JOIN audit_log l ON l.id = s.audit_id WHERE NOT CAST(:whole AS boolean) "
            "ORDER BY s.position DESC LIMIT 1), '-infinity') AS at), "
            "recent AS MATERIALIZED (SELECT l.id FROM audit_log l WHERE l.at >= (SELECT f.at FROM floor f)), "
            f"due AS MATERIALIZED (SELECT l.id FROM recent l WHERE {_UNSEALED} ORDER BY l.id LIMIT :limit) "
            f"SELECT {_SEALED} FROM due d JOIN audit_log l ON l.id = d.id ORDER BY l.id",
            whole=whole,
            limit=limit,
        )

    def append(self, head: Head | None, rows: Sequence[Row]) -> Head:
        """Seals the rows, in their order, after the head."""
        position, chain_hash = (0, GENESIS) if head is None else (head.position, head.chain_hash)
        sealed: list[tuple[int, int, str, str]] = []
        for row in rows:
            own = row_hash(row)
            position, chain_hash = position + 1, link(chain_hash, own)
            sealed.append((position, row["id"], own, chain_hash))
        positions, ids, hashes, chain = (list(column) for column in zip(*sealed, strict=True))
        self._tx.execute(
            "INSERT INTO audit_seals (position, audit_id, row_hash, chain_hash) SELECT * FROM unnest(CAST(:positions AS bigint[]), "
            "CAST(:ids AS bigint[]), CAST(:hashes AS text[]), CAST(:chain AS text[]))",
            positions=positions,
            ids=ids,
            hashes=hashes,
            chain=chain,
        )
        return Head(position, chain_hash)
