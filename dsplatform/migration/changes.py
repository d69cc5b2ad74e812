"""What is put into the legacy database while both systems run: a log of the keys that changed, and a gate before every write.

Both live in a schema of their own, `dsplatform_capture`, beside the legacy tables; taking that schema away leaves nothing behind.

*The log.* A trigger per table and kind of change writes the keys of the rows that a statement touched, within the statement's own
transaction, so that what was rolled back was never there. A reader that asks for "everything since" misses what commits late: numbers
are given before their transaction ends. So only rows of transactions older than every one that still runs are read (the oldest number
in the server's snapshot), and a row goes from the log when what it names was brought over.

*The gate.* A trigger before each statement takes a shared lock. Who closes the gate takes the same lock for herself: she waits for every
writer that is under way, those that come later wait for her, and then find the gate closed. What they do is refused with SQLSTATE 25006.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg import sql

from dsplatform.core.database_url import libpq_url
from dsplatform.core.domain import ValueObject
from dsplatform.core.errors import Conflict, Denied, Unavailable
from dsplatform.migration.source import KEYS

SCHEMA = "dsplatform_capture"
FROZEN = "frozen for cutover"
"""What a writer is told who finds the gate closed. SQLSTATE 25006, read_only_sql_transaction."""
_GATE = 5_202_611_230
"""The advisory lock of the gate."""

_COMMON = (
    f"CREATE SCHEMA {SCHEMA}",
    f"""
    CREATE TABLE {SCHEMA}.changes (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        xid bigint NOT NULL DEFAULT txid_current(),
        entity text NOT NULL,
        key bigint[] NOT NULL,
        op "char" NOT NULL,
        at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    f"CREATE TABLE {SCHEMA}.gate (one boolean PRIMARY KEY DEFAULT true CHECK (one), closed boolean NOT NULL DEFAULT false, pass text)",
    f"INSERT INTO {SCHEMA}.gate DEFAULT VALUES",
    # The old server's login needs no rights on the schema: these work as their owner.
    f"""
    CREATE FUNCTION {SCHEMA}.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
    BEGIN
      IF current_setting('{SCHEMA}.pass', true) = (SELECT pass FROM {SCHEMA}.gate) THEN
        RETURN NULL;
      END IF;
      IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO {SCHEMA}.changes (entity, key, op) VALUES (TG_TABLE_NAME, '{{}}', 't');
      ELSIF TG_OP = 'UPDATE' THEN
        EXECUTE format('INSERT INTO {SCHEMA}.changes (entity, key, op) SELECT %L, key, ''u'' FROM '
          '(SELECT ARRAY[%s]::bigint[] AS key FROM was UNION SELECT ARRAY[%s]::bigint[] FROM changed) k',
          TG_TABLE_NAME, TG_ARGV[0], TG_ARGV[0]);
      ELSE
        EXECUTE format('INSERT INTO {SCHEMA}.changes (entity, key, op) SELECT %L, ARRAY[%s]::bigint[], %L FROM changed',
          TG_TABLE_NAME, TG_ARGV[0], lower(left(TG_OP, 1)));
      END IF;
      RETURN NULL;
    END $$
    """,  # noqa: S608 - a constant
    # The row is locked, too: a transaction that sees the database as it was before the gate closed fails there.
    f"""
    CREATE FUNCTION {SCHEMA}.gate() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
    DECLARE found {SCHEMA}.gate;
    BEGIN
      PERFORM pg_advisory_xact_lock_shared({_GATE});
      SELECT * INTO found FROM {SCHEMA}.gate FOR SHARE;
      IF found.closed AND current_setting('{SCHEMA}.pass', true) IS DISTINCT FROM found.pass THEN
        RAISE EXCEPTION '{FROZEN}' USING ERRCODE = '25006', HINT = 'the data moved to dsplatform: write there';
      END IF;
      RETURN NULL;
    END $$
    """,  # noqa: S608 - a constant
)

_TABLES = """
    SELECT c.relname::text FROM pg_class c WHERE c.relkind IN ('r', 'p') AND c.relname = ANY(%s) AND pg_table_is_visible(c.oid)
    ORDER BY c.relname
"""
_NOTED = (
    ("insert", "INSERT", "REFERENCING NEW TABLE AS changed"),
    ("update", "UPDATE", "REFERENCING OLD TABLE AS was NEW TABLE AS changed"),
    ("delete", "DELETE", "REFERENCING OLD TABLE AS changed"),
    ("truncate", "TRUNCATE", ""),
)
_LOG_ROWS = f"SELECT seq, entity, key FROM {SCHEMA}.changes"  # noqa: S608 - a constant
_BEHIND = f"""
    SELECT count(*), extract(epoch FROM clock_timestamp() - min(at)),
           (SELECT extract(epoch FROM max(clock_timestamp() - xact_start)) FROM pg_stat_activity WHERE backend_xid IS NOT NULL)
    FROM {SCHEMA}.changes
"""  # noqa: S608 - a constant


@dataclass(frozen=True)
class Change(ValueObject):
    """That rows of a table changed. How they are now, the table says."""

    seq: int
    entity: str
    key: tuple[int, ...]
    """Empty: all rows may have (TRUNCATE)."""


@dataclass(frozen=True)
class Capture(ValueObject):
    """How the log stands."""

    installed: bool
    gate_closed: bool = False
    waiting: int = 0
    """Changes that were not brought over yet."""
    lag_seconds: float = 0.0
    """Age of the oldest of them; 0: there is none."""
    longest_transaction_seconds: float = 0.0
    """Of the writing transactions that run at this moment. Nothing that committed after the oldest began can be read before it ends."""
    uncovered: tuple[str, ...] = ()
    """Tables without the triggers, which came later: install again."""


class ChangeLog:
    """The log and the gate in the legacy database."""

    def __init__(self, url: str, tables: Sequence[str]) -> None:
        """`tables`: those whose changes matter, where they exist."""
        self._url = libpq_url(url)
        self._tables = list(tables)

    # --- putting it there, and taking it away ---------------------------------------------------------------------------------

    def script(self) -> str:
        """The statements of `install`, for somebody else to run."""
        with self._connected() as connection:
            return ";\n".join(statement.as_string(connection) for statement in self._missing(connection)) + ";\n"

    def install(self) -> Sequence[str]:
        """Puts log and gate in place, before the first row is copied; answers with the tables that were covered now. Waits for writers
        that are under way. What is there already stays. Raises `Denied` for a login that may not, `Unavailable`."""
        with self._connected() as connection, connection.transaction():
            before = set(self._covered(connection))
            for statement in self._missing(connection):
                connection.execute(statement)
            return [name for name in self._existing(connection) if name not in before]

    def remove(self) -> None:
        """Takes log and gate away. What was not brought over is forgotten, so this is for the end, or for starting over."""
        with self._connected() as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE".encode())

    def state(self) -> Capture:
        """How far behind the readers are."""
        with self._connected() as connection:
            if not self._installed(connection):
                return Capture(installed=False)
            waiting, lag, longest = _row(connection, _BEHIND)
            (closed,) = _row(connection, f"SELECT closed FROM {SCHEMA}.gate")  # noqa: S608 - a constant
            covered = self._covered(connection)
            uncovered = tuple(name for name in self._existing(connection) if name not in covered)
        return Capture(True, bool(closed), int(waiting), float(lag or 0), float(longest or 0), uncovered)

    def _missing(self, connection: psycopg.Connection) -> Iterator[sql.Composed]:
        if not self._installed(connection):
            yield from (sql.Composed([sql.SQL(re.sub(r"\n +", "\n", statement).strip())]) for statement in _COMMON)
            covered: Sequence[str] = ()
        else:
            covered = self._covered(connection)
        for name in self._existing(connection):
            if name in covered:
                continue
            table = sql.Identifier(name)
            key = sql.Literal(", ".join(KEYS.get(name, ("id",))))
            for suffix, event, transition in _NOTED:
                yield sql.SQL(
                    f"CREATE TRIGGER {SCHEMA}_{suffix} AFTER {event} ON {{}} {transition} FOR EACH STATEMENT "
                    f"EXECUTE FUNCTION {SCHEMA}.note({{}})"
                ).format(table, key)
                yield sql.SQL(f"ALTER TABLE {{}} ENABLE ALWAYS TRIGGER {SCHEMA}_{suffix}").format(table)
            yield sql.SQL(
                f"CREATE TRIGGER {SCHEMA}_gate BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {{}} FOR EACH STATEMENT "
                f"EXECUTE FUNCTION {SCHEMA}.gate()"
            ).format(table)
            yield sql.SQL(f"ALTER TABLE {{}} ENABLE ALWAYS TRIGGER {SCHEMA}_gate").format(table)

    def _installed(self, connection: psycopg.Connection) -> bool:
        return bool(_row(connection, f"SELECT to_regclass('{SCHEMA}.gate') IS NOT NULL")[0])

    def _existing(self, connection: psycopg.Connection) -> list[str]:
        return [name for (name,) in connection.execute(_TABLES, [self._tables]).fetchall()]

    def _covered(self, connection: psycopg.Connection) -> list[str]:
        if not self._installed(connection):
            return []
        rows = connection.execute(
            "SELECT c.relname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE t.tgname = %s", [f"{SCHEMA}_gate"]
        ).fetchall()
        return [name for (name,) in rows]

    # --- reading --------------------------------------------------------------------------------------------------------------

    def newest(self) -> int:
        """The number of the last change so far; 0: none waits."""
        with self._connected() as connection:
            return int(_row(connection, f"SELECT coalesce(max(seq), 0) FROM {SCHEMA}.changes")[0])  # noqa: S608 - a constant

    def read(self, limit: int, *, up_to: int | None = None, all_committed: bool = False) -> Sequence[Change]:
        """The oldest changes that nothing under way can precede, up to the number `up_to`. `all_committed`: the gate is closed, so that
        every change counts."""
        settled = "true" if all_committed else "xid < txid_snapshot_xmin(txid_current_snapshot())"
        with self._connected() as connection:
            rows = connection.execute(
                f"{_LOG_ROWS} WHERE {settled} AND seq <= coalesce(%s, seq) ORDER BY seq LIMIT %s".encode(), [up_to, limit]
            ).fetchall()
        return [Change(seq, entity, tuple(key)) for seq, entity, key in rows]

    def forget(self, changes: Sequence[Change]) -> None:
        """After what they name was brought over: takes them from the log."""
        with self._connected() as connection:
            connection.execute(f"DELETE FROM {SCHEMA}.changes WHERE seq = ANY(%s)".encode(), [[change.seq for change in changes]])  # noqa: S608 - a constant

    # --- the gate -------------------------------------------------------------------------------------------------------------

    def close_gate(self, seconds: float) -> None:
        """Refuses every write from here on, once those under way have ended. Writers wait meanwhile, `seconds` at most: then everything is
        as before, and `Conflict` is raised with who is in the way. Repeating it is harmless."""
        with self._connected() as connection:
            try:
                with connection.transaction():
                    connection.execute(f"SET LOCAL lock_timeout = {int(seconds * 1000)}".encode())
                    connection.execute(f"SELECT pg_advisory_xact_lock({_GATE})".encode())
                    connection.execute(
                        f"UPDATE {SCHEMA}.gate SET closed = true, pass = coalesce(pass, %s)".encode(),  # noqa: S608 - a constant
                        [token_hex(16)],
                    )
            except pg.LockNotAvailable as err:
                raise Conflict(
                    f"a transaction of the legacy system did not end within {seconds:g} s, so the gate stayed open: "
                    "look at pg_stat_activity there, and repeat"
                ) from err

    def open_gate(self) -> None:
        """Lets writers in again. Repeating it is harmless."""
        with self._connected() as connection:
            connection.execute(f"UPDATE {SCHEMA}.gate SET closed = false".encode())  # noqa: S608 - a constant

    @contextmanager
    def passing(self) -> Iterator[psycopg.Connection]:
        """A transaction that the closed gate lets through: for bringing back what was written elsewhere. It is not noted in the log."""
        with self._connected() as connection, connection.transaction():
            (token,) = _row(connection, f"SELECT pass FROM {SCHEMA}.gate")  # noqa: S608 - a constant
            connection.execute("SELECT set_config(%s, %s, true)", [f"{SCHEMA}.pass", token or ""])
            yield connection

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection]:
        if not self._url:
            raise Unavailable("no legacy database is named: set DSPLATFORM_LEGACY_DATABASE_URL")
        try:
            with psycopg.connect(
                self._url, autocommit=True, connect_timeout=10, application_name="dsplatform capture", client_encoding="UTF8"
            ) as connection:
                yield connection
        except pg.InsufficientPrivilege as err:
            raise Denied(
                f"the login of DSPLATFORM_LEGACY_DATABASE_URL may not do this: {str(err).splitlines()[0]}; name one that owns the "
                "tables, or let their owner run what `dsplatform legacy capture --script` prints"
            ) from err
        except (pg.UndefinedTable, pg.InvalidSchemaName) as err:
            raise Conflict("changes of the legacy database are not captured: `dsplatform legacy capture` begins it") from err
        except psycopg.OperationalError as err:
            raise Unavailable(f"the legacy database does not answer: {str(err).strip().splitlines()[0]}") from err


def _row(connection: psycopg.Connection, question: str) -> tuple[Any, ...]:
    row = connection.execute(question.encode()).fetchone()
    if row is None:
        raise Unavailable("the legacy database gave no answer")
    return tuple(row)
