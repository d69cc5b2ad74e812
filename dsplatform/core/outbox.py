"""Events on their way: one stored row per subscriber, written with the change, delivered at least once.

A delivery's effect and its removal are one commit, so a crash between them is not possible; a handler that fails is tried again
later and may see the same event twice. Rows are claimed by lock, never by a cursor over their ids: ids are handed out before
commit, so a slow transaction's row would appear behind the cursor and be lost.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import BigInteger, Column, DateTime, Identity, Index, Integer, Table, Text, func
from sqlalchemy.dialects.postgresql import JSONB

from dsplatform.core.access import internal
from dsplatform.core.database import Database, Transaction, metadata
from dsplatform.core.domain import DomainEvent

logger = logging.getLogger(__name__)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("subscriber", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("due_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("last_error", Text),
    Index(None, "due_at"),
)

Handler = Callable[[Transaction, DomainEvent], None]


class Outbox:
    """Stores and delivers. `subscribers` names who hears which event: {event class: {subscriber name: handler}}."""

    def __init__(self, subscribers: Mapping[type[DomainEvent], Mapping[str, Handler]]) -> None:
        self._subscribers = subscribers

    @internal("part of each transaction that has events")
    def store(self, tx: Transaction, events: Sequence[DomainEvent]) -> None:
        """Writes one delivery per event and subscriber, in the caller's transaction."""
        for event in events:
            for subscriber in self._subscribers.get(type(event), {}):
                tx.execute(
                    "INSERT INTO deliveries (subscriber, event, payload) VALUES (:subscriber, :event, CAST(:payload AS jsonb))",
                    subscriber=subscriber,
                    event=event.name,
                    payload=json.dumps(event.plain()),
                )

    @internal("what is announced is delivered whoever asks for it")
    def deliver(self, db: Database, *, limit: int = 1_000) -> int:
        """Delivers what is due, one transaction each, until nothing is or `limit` is reached. Answers how many succeeded.

        Any number of processes may do this at once. A failing delivery is due again after 1 s, 2 s, 4 s … up to 10 minutes.
        """
        done = 0
        for _ in range(limit):
            with db.transaction() as tx:
                row = tx.row(
                    "SELECT id, subscriber, event, payload FROM deliveries WHERE due_at <= now() ORDER BY due_at, id "
                    "LIMIT 1 FOR UPDATE SKIP LOCKED"
                )
                if row is None:
                    return done
                try:
                    with tx.savepoint():
                        event = DomainEvent.read(row["event"], row["payload"])
                        handler = self._subscribers.get(type(event), {}).get(row["subscriber"])
                        if handler is not None:  # None: a subscriber that a newer release no longer has
                            handler(tx, event)
                    tx.execute("DELETE FROM deliveries WHERE id = :id", id=row["id"])
                    done += 1
                except Exception as err:  # noqa: BLE001 - one broken handler must not hold up what others wait for
                    logger.warning("delivery %s to %s failed: %s", row["id"], row["subscriber"], err)
                    tx.execute(
                        "UPDATE deliveries SET attempts = attempts + 1, last_error = :error, "
                        "due_at = now() + least(power(2, least(attempts, 10)), 600) * interval '1 second' WHERE id = :id",
                        id=row["id"],
                        error=str(err).replace("\x00", "\N{REPLACEMENT CHARACTER}"),
                    )
        return done

    @internal("a number, for who watches the process")
    def pending(self, tx: Transaction) -> int:
        """How many deliveries wait."""
        return int(tx.scalar("SELECT count(*) FROM deliveries"))
