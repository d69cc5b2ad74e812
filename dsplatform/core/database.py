"""The database: a pool, `with db.transaction() as tx`, and the base of the repositories.

A transaction commits at a clean end and rolls back on an exception. It is the only place where driver errors become ours, and it
hands the events that were recorded in it to the outbox before it commits. Everything runs at READ COMMITTED: protocols that need
more take locks and say why.
"""

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Generic, Self, TypeVar

from psycopg import Connection as DriverConnection
from psycopg import Cursor
from psycopg import errors as pg
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, MetaData, create_engine, event, exc, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import Session, registry
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from dsplatform.core.array_literals import array_literal
from dsplatform.core.domain import AggregateRoot, AuditEntry, DomainEvent
from dsplatform.core.errors import Conflict, DsplatformError, Invalid, NotFound, Unavailable
from dsplatform.core.roles import ROLE, take_on

T = TypeVar("T")
AggregateT = TypeVar("AggregateT", bound=AggregateRoot)
Row = Mapping[str, Any]
Driver = DriverConnection[tuple[Any, ...]]

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Every table of the platform; each is declared in the repository of the module that owns it."""

mapping = registry(metadata=metadata)


class ConstraintViolated(Conflict):
    """A named constraint refused the change. Repositories turn the names they know into precise errors."""

    code = "constraint_violated"

    def __init__(self, message: str, constraint: str | None) -> None:
        super().__init__(message)
        self.constraint = constraint


class SerializationFailed(Unavailable):
    """The server chose this transaction as the victim of a deadlock or a serialization conflict: run it again."""

    code = "serialization_failed"


class OutcomeUnknown(Unavailable):
    """The connection was lost while a commit was under way, so that nobody can tell whether it was made."""

    code = "outcome_unknown"


class Transaction:
    """One unit of work. Short-lived, for one thread; made by `Database.transaction`."""

    def __init__(self, driver: Driver, connection: Connection | None = None) -> None:
        self._connection = connection
        self._driver = driver
        self._session: Session | None = None
        self._watched: list[AggregateRoot] = []
        self._events: list[DomainEvent] = []
        self.notes: list[AuditEntry] = []
        """What the audit log is to keep of this transaction."""
        self.committed = False
        """Whether the server has confirmed the commit."""

    @property
    def session(self) -> Session:
        """The ORM's session on this transaction, made when first needed. There is none where each statement is a transaction."""
        assert self._connection is not None
        if self._session is None:
            self._session = Session(bind=self._connection, expire_on_commit=False, join_transaction_mode="control_fully")
        return self._session

    def execute(self, sql: str, **params: object) -> int:
        """Runs one statement; answers with the number of rows it touched."""
        return self._run(sql, params).rowcount

    def rows(self, sql: str, **params: object) -> Sequence[Row]:
        """All rows of one question."""
        cursor = self._run(sql, params)
        result = cursor.pgresult  # not the cursor's description, which makes an object of each column
        assert result is not None
        names = [(result.fname(column) or b"").decode() for column in range(result.nfields)]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def tuples(self, sql: str, **params: object) -> Sequence[tuple[Any, ...]]:
        """All rows, in the order of the columns: for many rows, which cost less without names."""
        return self._run(sql, params).fetchall()

    def row(self, sql: str, **params: object) -> Row | None:
        """The only row, or None."""
        found = self.rows(sql, **params)
        if len(found) > 1:
            raise AssertionError(f"{len(found)} rows answer a question that has one answer at most")
        return found[0] if found else None

    def scalar(self, sql: str, **params: object) -> Any:
        """The first column of the only row, or None."""
        found = self.row(sql, **params)
        return None if found is None else next(iter(found.values()))

    def _run(self, sql: str, params: Mapping[str, object]) -> Cursor[tuple[Any, ...]]:
        """By the driver itself, on the connection of pool and session: half of what a small statement costs would be in between."""
        if self._session is not None:
            self._session.flush()
        bound = {name: array_literal(value) if isinstance(value, list) else value for name, value in params.items()}
        try:
            return self._driver.execute(_statement(sql), bound)
        except pg.IntegrityError as err:  # here already, so that a repository can turn a constraint's name into its own error
            raise _translated(err) from err

    def watch(self, aggregate: AggregateRoot) -> None:
        """The aggregate's events belong to this transaction."""
        if not any(aggregate is seen for seen in self._watched):
            self._watched.append(aggregate)

    def publish(self, happened: DomainEvent) -> None:
        """Records an event that no aggregate stands for."""
        self._events.append(happened)

    def note(self, entry: AuditEntry) -> None:
        """The audit log gets the entry in this transaction: with what it tells of, or not at all."""
        self.notes.append(entry)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """What fails inside is undone alone, with its events; the transaction goes on. Driver errors become ours.

        The session's savepoint and not the connection's: after a refused flush the session would roll back everything.
        """
        watched, events, notes = len(self._watched), len(self._events), len(self.notes)
        try:
            with self.session.begin_nested():
                self.session.connection()  # sets the savepoint now, not at the session's first statement
                yield
        except BaseException as err:
            del self._watched[watched:], self._events[events:], self.notes[notes:]
            if isinstance(err, (pg.Error, exc.DBAPIError)):
                raise _translated(err) from err
            raise

    def settle(self) -> list[DomainEvent]:
        """Writes what the session still holds, and gives out the recorded events."""
        if self._session is not None:
            self._session.flush()
        events = [happened for aggregate in self._watched for happened in aggregate.release()] + self._events
        self._events = []
        return events


@cache
def _statement(sql: str) -> str:
    """`:name` as the driver writes it. Statements are constants of the code, so each is rewritten once per process."""
    return re.sub(r"(?<![:\w]):([a-z_]+)", r"%(\1)s", sql.replace("%", "%%"))


class Database:
    """A pool of connections to one PostgreSQL database. Safe to share between threads; not across a fork. They work as the role of the
    services (`core.roles`) where the login may take it on, unless `as_login` says otherwise."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 5,
        as_login: bool = False,
        outbox: Callable[[Transaction, list[DomainEvent]], None] | None = None,
        audit: Callable[[Transaction, list[AuditEntry]], None] | None = None,
    ) -> None:
        self._engine = create_engine(
            url,
            poolclass=QueuePool,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=30,
            pool_use_lifo=True,  # what was used last is at hand in the caches of both processes
            connect_args={"application_name": "dsplatform", "connect_timeout": 10, "options": "-c timezone=UTC"},
        )
        event.listen(self._engine, "checkin", _returned)
        event.listen(self._engine, "checkout", _asked_for)
        if not as_login and self._engine.url.username != ROLE:
            event.listen(self._engine, "connect", take_on)
        self._outbox = outbox
        self._audit = audit

    @contextmanager
    def autocommit(self) -> Iterator[Transaction]:
        """Each statement is a transaction of its own: for questions, and for one change by itself. None waits for a COMMIT."""
        try:
            with self._reader() as driver:
                tx = Transaction(driver)
                yield tx
                if tx.notes and self._audit:
                    self._audit(tx, tx.notes)
        except DsplatformError as err:
            self._keep(err)
            raise
        except (pg.Error, exc.DBAPIError, exc.TimeoutError) as err:
            raise _translated(err) from err

    @contextmanager
    def _reader(self) -> Iterator[Driver]:
        """A connection of the pool where each statement is a transaction. Not by the engine, which takes twice as long to switch."""
        pooled = self._engine.raw_connection()
        driver: Driver = pooled.driver_connection  # type: ignore[assignment]
        try:
            driver.autocommit = True
            yield driver
        finally:
            if driver.info.transaction_status is TransactionStatus.IDLE:
                driver.autocommit = False
                pooled.close()
            else:  # lost, or left in the middle of a statement
                pooled.invalidate()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A unit of work: commits at the end of the block, rolls back when it raises.

        Raises `ConstraintViolated`, `SerializationFailed` or `Unavailable` for what the server refuses, and `OutcomeUnknown`.
        """
        committing = False
        try:
            with self._engine.begin() as connection:
                driver: Driver = connection.connection.driver_connection  # type: ignore[assignment]
                assert not driver.autocommit  # or nothing could be rolled back
                tx = Transaction(driver, connection)
                yield tx
                events = tx.settle()
                if events and self._outbox:
                    self._outbox(tx, events)
                if tx.notes and self._audit:
                    self._audit(tx, tx.notes)
                committing = True
            tx.committed = True
        except DsplatformError as err:
            self._keep(err)
            raise
        except (pg.Error, exc.DBAPIError, exc.TimeoutError, exc.PendingRollbackError) as err:
            if committing and _is_lost(err):
                raise OutcomeUnknown(
                    "the connection to the database was lost during the commit, which may have arrived or not: look whether it has, "
                    "or repeat it with the same idempotency key"
                ) from err
            raise _translated(err) from err

    def _keep(self, err: DsplatformError) -> None:
        """Has the audit log keep a refusal, whose own transaction is rolled back and has given its connection back."""
        if err.refusal is not None and self._audit:
            refusal, err.refusal = err.refusal, None
            with self.autocommit() as tx:
                self._audit(tx, [refusal])

    def retrying(self, work: Callable[[Transaction], T], *, attempts: int = 10) -> T:
        """Runs `work` in a transaction of its own, again when the server made it the victim of a deadlock or a serialization
        conflict. `work` must have no effect outside the database."""
        for attempt in range(1, attempts + 1):
            try:
                with self.transaction() as tx:
                    return work(tx)
            except SerializationFailed:
                if attempt == attempts:
                    raise
                back_off(attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    @contextmanager
    def advisory_lock(self, name: str) -> Iterator[bool]:
        """Tries to hold the named lock for the block; yields whether it does. Ends with the connection, so a crash frees it."""
        try:
            with self._engine.connect() as connection:
                key = {"name": name}
                held = bool(connection.execute(text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))"), key).scalar())
                connection.commit()
                try:
                    yield held
                finally:
                    if held:
                        connection.execute(text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))"), key)
                        connection.commit()
        except (pg.Error, exc.DBAPIError, exc.TimeoutError) as err:
            raise _translated(err) from err

    def pool(self) -> tuple[int, int]:
        """(connections at most, those in use)."""
        pool = self._engine.pool
        assert isinstance(pool, QueuePool)  # the engine is made with it
        return pool.size(), pool.checkedout()

    def close(self) -> None:
        """Closes the pool's idle connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def back_off(attempt: int) -> None:
    """Waits before a repetition, at random up to twice as long each time and a second at most, so that those who met do not meet again."""
    time.sleep(random.uniform(0, min(1.0, 0.005 * 2**attempt)))  # noqa: S311 - spreads repetitions, guards nothing


IDLE_SECONDS = 5
"""A connection that was idle for longer is asked whether it still lives; asking each time costs as much as a small statement."""


def _returned(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info["returned_at"] = time.monotonic()


def _asked_for(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
    if time.monotonic() - record.info.get("returned_at", time.monotonic()) > IDLE_SECONDS:
        try:
            cursor = connection.cursor()
            cursor.execute("SELECT 1")
            connection.rollback()
        except pg.Error as err:
            raise exc.DisconnectionError from err


def _translated(err: Exception) -> DsplatformError:
    """A driver's or the ORM's error as ours; what is a bug of ours is raised as it is."""
    if isinstance(err, exc.TimeoutError):
        return Unavailable("all database connections are in use: raise DSPLATFORM_POOL_SIZE or ask for less at once")
    if isinstance(err, exc.PendingRollbackError):
        return Unavailable("the database connection was lost before the transaction ended")
    cause = err.orig if isinstance(err, exc.DBAPIError) else err
    if isinstance(cause, pg.IntegrityError):
        return ConstraintViolated(str(cause.diag.message_primary or cause), cause.diag.constraint_name)
    if isinstance(cause, (pg.SerializationFailure, pg.DeadlockDetected)):
        return SerializationFailed("the database asked to repeat the transaction")
    if isinstance(cause, pg.DataError):
        return Invalid(f"the database cannot take a value: {cause.diag.message_primary or cause}")
    if isinstance(cause, pg.UndefinedTable):
        return Unavailable(f"{cause.diag.message_primary}: the database is not set up; run `dsplatform db upgrade`")
    if isinstance(cause, pg.InsufficientPrivilege):
        return Unavailable(f"{cause.diag.message_primary}: the services' database role gets its rights by `dsplatform db upgrade`")
    if isinstance(cause, pg.DiskFull):
        return Unavailable("the database's disk is full: free space and repeat")
    if isinstance(cause, (pg.OperationalError, pg.InterfaceError)):
        reason = str(cause).strip().splitlines()
        return Unavailable(f"the database does not answer: {reason[0] if reason else type(cause).__name__}")
    raise err


def _is_lost(err: Exception) -> bool:
    """Whether the connection ended, as opposed to an answer that refuses."""
    cause = err.orig if isinstance(err, exc.DBAPIError) else err
    return isinstance(cause, (pg.OperationalError, pg.InterfaceError)) and (cause.sqlstate or "08").startswith(("08", "57P"))


class SqlRepository(Generic[AggregateT]):
    """Aggregates of one kind, kept by the ORM's mapping. A subclass names the class and how people call it."""

    kind: type[AggregateT]
    noun: str

    def __init__(self, tx: Transaction) -> None:
        self.tx = tx

    def get(self, id_: int) -> AggregateT:
        """The aggregate; raises `NotFound`."""
        found = self.tx.session.get(self.kind, id_)
        if found is None:
            raise NotFound(f"{self.noun} {id_} does not exist")
        self.tx.watch(found)
        return found

    def add(self, aggregate: AggregateT) -> Self:
        """Stores a new aggregate and gives it its id; raises `ConstraintViolated` for a taken unique name."""
        self.tx.session.add(aggregate)
        try:
            self.tx.session.flush()
        except exc.IntegrityError as err:
            raise _translated(err) from err
        self.tx.watch(aggregate)
        return self
