"""The legacy database, read and never written: one read-only transaction in which every question sees the same moment.

What PostgreSQL keeps and Python cannot hold does not stop a reading: it arrives as bytes, in `SourceRow.broken`. A reading that fails
raises, so that an error is never taken for the end of a table.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, LiteralString

import psycopg
from psycopg import pq, sql
from psycopg.adapt import Transformer
from psycopg.types.json import set_json_loads

from dsplatform.core.array_literals import array_literal
from dsplatform.core.database_url import libpq_url
from dsplatform.core.errors import Invalid, Unavailable
from dsplatform.migration.catalogue import KEYS, read
from dsplatform.migration.cells import as_json, one_by_one
from dsplatform.migration.model import BCRYPT, KEY_TELLS_ALL, SALT, SECRET, Generation, SourceRow

__all__ = ["KEYS", "Inline", "LegacyDatabase", "LegacyUnsupported", "Snapshot"]

NEEDED = ("roles", "users", "files", "datasets", "dataset_versions")
PORTION_BYTES = 32 * 1024 * 1024
STREAMED = 5_000
PIECE_BYTES = 8 * 1024 * 1024
_NOTHING: Mapping[str, bytes] = MappingProxyType({})
KEY_SUM: LiteralString = "count(*), coalesce(sum(('x' || left(md5(legacy_id), 15))::bit(60)::bigint), 0)"
"""Of a column of keys as `model.legacy_id` writes them: their number, and the sum of 60 bits of a hash of each. Two sets of keys that agree
in both are the same, but by a chance of 1 in 10^18."""


class LegacyUnsupported(Invalid):
    """The database is none that can come along."""

    code = "legacy_unsupported"


@dataclass(frozen=True)
class Inline:
    """Bytes that a row holds itself. They are not read with the row, but by `Snapshot.inline`."""

    size: int
    digest: str
    """Of the bytes, by the server: it tells a change. Hexadecimal; SHA-256, or MD5 from a server before 11."""


class LegacyDatabase:
    """Where the legacy system's database is. Each reading has a connection of its own."""

    def __init__(self, url: str) -> None:
        self._url = libpq_url(url)

    @contextmanager
    def snapshot(self) -> Iterator["Snapshot"]:
        """One moment of the database, for the length of the block: read only, REPEATABLE READ.

        Raises `LegacyUnsupported` for a database of another kind, and `Unavailable` when the server does not answer, here and in every
        question. While the block lasts, the server keeps rows that were deleted meanwhile, so it should not last for hours.
        """
        if not self._url:
            raise Unavailable("no legacy database is named: set DSPLATFORM_LEGACY_DATABASE_URL")
        with _answering():
            try:
                connection = psycopg.connect(
                    self._url,
                    application_name="dsplatform legacy",
                    connect_timeout=10,
                    keepalives_idle=30,
                    keepalives_interval=10,
                    keepalives_count=3,
                )
            except psycopg.ProgrammingError:
                # The driver's sentence quotes what it cannot read, and a password may stand there.
                raise LegacyUnsupported(
                    "DSPLATFORM_LEGACY_DATABASE_URL is no URL of PostgreSQL: postgresql://user:password@host/db"
                ) from None
        try:
            with _answering():
                connection.read_only = True
                connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                connection.execute("SET statement_timeout = 0")
                connection.execute("SET idle_in_transaction_session_timeout = 0")
                connection.execute("SET datestyle = 'ISO'")
                connection.execute("SET timezone = 'UTC'")
                # Between equal encodings, and from SQL_ASCII, the server hands bytes over as they are, so a wrong one refuses nothing.
                server = connection.info.parameter_status("server_encoding")
                connection.execute("SET client_encoding = 'SQL_ASCII'" if server == "SQL_ASCII" else "SET client_encoding = 'UTF8'")
                set_json_loads(as_json, connection)
                snapshot = Snapshot(connection)
            yield snapshot
        finally:
            connection.close()


class Snapshot:
    """One moment of the legacy database. Threads that share it wait for each other, question by question."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._sizes: dict[str, int] = {}
        self._streams = 0
        self._tables = read(connection)
        self.tables = frozenset(self._tables)

    @cached_property
    def generation(self) -> Generation:
        """Told by the tables. Raises `LegacyUnsupported` for the generation that has no files per version, and for no legacy system."""
        return self._generation()

    @cached_property
    def version(self) -> int:
        """The moment as a number: it never falls, whoever reads."""
        ((version,),) = self.tuples("SELECT txid_snapshot_xmax(txid_current_snapshot())")
        return int(version)

    def has(self, table: str, column: str | None = None) -> bool:
        """Whether the table is there, and the column."""
        return table in self._tables and (column is None or column in self._tables[table].types)

    def columns(self, table: str) -> Mapping[str, str]:
        """Its columns in order, with their types."""
        return self._tables[table].types

    @property
    def encoding(self) -> str:
        """Of the database: `UTF8`, or `SQL_ASCII`, which takes any bytes for text."""
        return self._connection.info.parameter_status("server_encoding") or ""

    @property
    def server_version(self) -> str:
        """As `16.2`."""
        number = self._connection.info.server_version
        return f"{number // 10_000}.{number % 10_000}"

    def key_of(self, table: str) -> tuple[str, ...]:
        """The columns by which the table is read in order."""
        return self._tables[table].key

    def single(self, table: str) -> bool:
        """Whether no two of its rows can have one key."""
        return self._tables[table].single

    def count(self, table: str) -> int:
        """Rows of the table."""
        return int(self._fetch(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)), ())[1][0][0])

    def high_key(self, table: str) -> tuple[int, ...] | None:
        """The last key in order; None: the table is empty."""
        key = self._tables[table].key
        found = self._fetch(
            sql.SQL("SELECT {} FROM {} ORDER BY {} LIMIT 1").format(_names(key), sql.Identifier(table), _names(key, " DESC")), ()
        )[1]
        return found[0] if found else None

    def batch(self, table: str, after: tuple[int, ...] | None, limit: int, up_to: tuple[int, ...] | None = None) -> Sequence[SourceRow]:
        """The next rows in the order of the key, behind `after`, up to and with `up_to`.

        Fewer than `limit` come where rows are long, so only an empty answer is the end. Rows of one key come together.
        """
        key = self._tables[table].key
        conditions: list[sql.Composable] = []
        params: list[int] = []
        for sign, bound in ((sql.SQL(">"), after), (sql.SQL("<="), up_to)):
            if bound is not None:
                marks = sql.SQL(", ").join([sql.Placeholder()] * len(key))
                conditions.append(sql.SQL("ROW({}) {} ROW({})").format(_names(key), sign, marks))
                params += bound
        where = sql.SQL(" WHERE ") + sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("")
        return self._rows(table, where, params, limit=self._portion(table, limit))

    def rows(self, table: str, keys: Sequence[tuple[int, ...]]) -> Sequence[SourceRow]:
        """The rows of these keys, as far as they are there."""
        key = self._tables[table].key
        arrays = sql.SQL(", ").join([sql.SQL("%s::bigint[]")] * len(key))
        where = sql.SQL(" WHERE ({}) IN (SELECT * FROM unnest({}))").format(_names(key), arrays)
        return self._rows(table, where, [array_literal(list(column)) for column in zip(*keys, strict=True)]) if keys else []

    def keys(self, table: str, after: tuple[int, ...] | None, limit: int) -> list[tuple[int, ...]]:
        """The next keys in order, behind `after`; each once."""
        key = self._tables[table].key
        marks = sql.SQL(", ").join([sql.Placeholder()] * len(key))
        behind = sql.SQL("WHERE ROW({}) > ROW({})").format(_names(key), marks) if after is not None else sql.SQL("")
        statement = sql.SQL("SELECT DISTINCT {0} FROM {1} {2} ORDER BY {0} LIMIT {3}").format(
            _names(key), sql.Identifier(table), behind, sql.Literal(limit)
        )
        return self._fetch(statement, after or ())[1]

    def key_sum(self, table: str) -> tuple[int, int]:
        """How many keys the table has, and a sum that tells these from other ones, by `KEY_SUM`."""
        key = self._tables[table].key
        text = sql.SQL(" || ':' || ").join(sql.SQL("{}::text").format(sql.Identifier(column)) for column in key)
        keys = sql.SQL("SELECT {}{} AS legacy_id FROM {}").format(
            sql.SQL("" if self.single(table) else "DISTINCT "), text, sql.Identifier(table)
        )
        ((count, total),) = self._fetch(sql.SQL("SELECT {} FROM ({}) k").format(sql.SQL(KEY_SUM), keys), ())[1]
        return int(count), int(total)

    def there(self, table: str, keys: Sequence[tuple[int, ...]]) -> set[tuple[int, ...]]:
        """Those of the keys that the table has."""
        key = self._tables[table].key
        arrays = sql.SQL(", ").join([sql.SQL("%s::bigint[]")] * len(key))
        statement = sql.SQL("SELECT {0} FROM {1} WHERE ({0}) IN (SELECT * FROM unnest({2}))").format(
            _names(key), sql.Identifier(table), arrays
        )
        return set(self._fetch(statement, [array_literal(list(column)) for column in zip(*keys, strict=True)])[1]) if keys else set()

    def where(self, table: str, column: str, values: Sequence[int]) -> Sequence[SourceRow]:
        """The rows whose column has one of the values, in the order of the key."""
        # Not `= ANY`: where the column has no index, and is no bigint, each row would be compared with each value.
        where = sql.SQL(" WHERE {} IN (SELECT unnest(%s::bigint[]))").format(sql.Identifier(column))
        return self._rows(table, where, [array_literal(list(values))]) if values else []

    def naming(self, table: str, column: str, values: Sequence[int]) -> set[int]:
        """Those of the values that a row of the table has in the column."""
        # One look per value: most have an index to look in, and a value that many rows have costs no more.
        statement = sql.SQL("SELECT v FROM unnest(%s::bigint[]) v WHERE EXISTS (SELECT FROM {} t WHERE t.{} = v)").format(
            sql.Identifier(table), sql.Identifier(column)
        )
        return {value for (value,) in self._fetch(statement, (array_literal(list(values)),))[1]}

    def named(self, table: str, column: str) -> "array[int]":
        """Every value that a row of the table has in the column, eight bytes each."""
        values = array("q")
        statement = sql.SQL("SELECT {} FROM {} WHERE {} IS NOT NULL").format(*map(sql.Identifier, (column, table, column)))
        with _answering(), self._connection.cursor(name="named") as cursor:
            cursor.itersize = 50_000
            cursor.execute(statement)
            values.extend(value for (value,) in cursor)
        return values

    def inline(self, table: str, column: str, key: tuple[int, ...]) -> Iterator[bytes]:
        """The bytes of an `Inline`, in pieces of some MiB."""
        names = self._tables[table].key
        statement = sql.SQL("SELECT substring({} from %s for %s) FROM {} WHERE ROW({}) = ROW({})").format(
            sql.Identifier(column), sql.Identifier(table), _names(names), sql.SQL(", ").join([sql.Placeholder()] * len(names))
        )
        start = 1
        while True:
            found = self._fetch(statement, (start, PIECE_BYTES, *key))[1]
            piece = found[0][0] if found else None
            if not piece:
                return
            yield piece
            if len(piece) < PIECE_BYTES:
                return
            start += len(piece)

    def tuples(self, statement: LiteralString, *params: object, **names: str) -> list[tuple[Any, ...]]:
        """The answer to a question of the caller's own. `names` are tables and columns that the statement has as `{name}`. Text that is no
        valid UTF-8 comes as bytes."""
        return self._answer(_named(statement, names), params)

    def stream(self, statement: LiteralString, *params: object, **names: str) -> Iterator[list[tuple[Any, ...]]]:
        """The same, some thousand rows at a time, however many there are: the server keeps what was not asked for yet."""
        self._streams += 1
        cursor = sql.Identifier(f"dsplatform_{self._streams}")
        with _answering():
            declared = sql.SQL("DECLARE {} NO SCROLL CURSOR FOR ").format(cursor) + _named(statement, names)
            self._connection.execute(declared, params or None)
        try:
            while portion := self._answer(sql.SQL("FETCH {} FROM {}").format(sql.Literal(STREAMED), cursor), ()):
                yield portion
        finally:
            if self._connection.info.transaction_status == pq.TransactionStatus.INTRANS:
                self._connection.execute(sql.SQL("CLOSE {}").format(cursor))

    def _answer(self, statement: sql.SQL | sql.Composed, params: Sequence[object]) -> list[tuple[Any, ...]]:
        columns, rows, broken = self._fetch(statement, params)
        for at, cells in broken.items():
            row = list(rows[at])
            for column, raw in cells.items():
                row[columns.index(column)] = raw
            rows[at] = tuple(row)
        return rows

    def _rows(self, table: str, where: sql.Composable, params: Sequence[object], *, limit: int | None = None) -> Sequence[SourceRow]:
        known = self._tables[table]
        wanted = known.key if table in KEY_TELLS_ALL else known.columns
        inline = [column for column in wanted if known.types[column] == "bytea"]
        listed = sql.SQL(", ").join(self._digested(c) if c in inline else sql.Identifier(c) for c in wanted)
        part = sql.SQL("SELECT {} FROM {}{} ORDER BY {}").format(listed, sql.Identifier(table), where, _names(known.key))
        if limit is not None:
            part += sql.SQL(" FETCH FIRST {} ROWS " + ("ONLY" if known.single else "WITH TIES")).format(sql.Literal(limit))
        statement = sql.SQL("SELECT s.*, {} FROM ({}) s ORDER BY {}").format(self._row_digest(wanted), part, _names(known.key))
        columns, rows, broken = self._fetch(statement, params)
        names = columns[:-1]
        at_key = [names.index(column) for column in known.key]
        found = []
        for number, row in enumerate(rows):
            values = dict(zip(names, row, strict=False))
            for column in inline:
                if values[column] is not None:
                    size, _, digest = values[column].partition(" ")
                    values[column] = Inline(int(size), digest)
            found.append(SourceRow(table, tuple([row[at] for at in at_key]), values, broken.get(number, _NOTHING), row[-1]))
        return found

    def _row_digest(self, columns: Sequence[str]) -> sql.Composed:
        """Of what the row says, as text. Of a password only the salt, where it is a bcrypt hash: that tells another from the same."""
        shown = sql.SQL(", ").join(
            sql.SQL("CASE WHEN {0} ~ {1} THEN left({0}, {2}) END").format(sql.Identifier(c), sql.Literal(BCRYPT), sql.Literal(SALT))
            if c == SECRET
            else sql.Identifier(c)
            for c in columns
        )
        # To SQL_ASCII nothing is converted, so that no wrong byte is refused.
        return sql.SQL(
            "encode(sha256(convert_to(ROW({})::text, 'SQL_ASCII')), 'hex')"
            if self._connection.info.server_version >= 110_000
            else "md5(ROW({})::text)"
        ).format(shown)

    def _digested(self, column: str) -> sql.Composed:
        digest = "encode(sha256({0}), 'hex')" if self._connection.info.server_version >= 110_000 else "md5({0})"
        return sql.SQL("octet_length({0}) || ' ' || " + digest + " AS {0}").format(sql.Identifier(column))

    def _portion(self, table: str, limit: int) -> int:
        """How many rows of usual length may be held at once; JSON takes several times its length in memory."""
        if table not in self._sizes:
            known = self._tables[table]
            bytes_, rows = (0, 1)
            if "bytea" not in known.types.values():
                ((bytes_, rows),) = self._fetch(
                    sql.SQL(
                        "SELECT pg_table_size({0}), CASE WHEN c.reltuples > 0 THEN c.reltuples::bigint ELSE (SELECT count(*) FROM {1}) END "
                        "FROM pg_class c WHERE c.oid = {0}"
                    ).format(sql.Literal(known.oid), sql.Identifier(table)),
                    (),
                )[1]
            self._sizes[table] = max(1, PORTION_BYTES // (4 * max(1, bytes_ // max(1, rows))))
        return min(limit, self._sizes[table])

    def _fetch(
        self, statement: sql.SQL | sql.Composed, params: Sequence[object]
    ) -> tuple[list[str], list[tuple[Any, ...]], dict[int, dict[str, bytes]]]:
        """Columns, rows, and what of them cannot be held, by row and column."""
        with _answering(), self._connection.cursor() as cursor:
            cursor.execute(statement, params or None)
            result = cursor.pgresult
            assert result is not None  # every statement here asks for rows
            assert cursor.description is not None
            columns = [column.name for column in cursor.description]
            if self._connection.info.encoding != "ascii":
                try:
                    return columns, cursor.fetchall(), {}
                except (ValueError, RecursionError, psycopg.DataError):
                    pass  # a value that cannot be held: each by itself, from the answer that is there
            return columns, *one_by_one(result, columns, Transformer(self._connection))

    def _generation(self) -> Generation:
        if self._fetch(sql.SQL("SELECT 1 FROM pg_namespace WHERE nspname = 'dsa_core'"), ())[1]:
            raise LegacyUnsupported(
                "this is generation G3 of the legacy system (it has a schema dsa_core), another product that keeps rows and no files: "
                "there are no versions of files in it to bring along"
            )
        missing = [table for table in NEEDED if table not in self._tables]
        if missing:
            raise LegacyUnsupported(
                f"this is no database of the legacy system that can be read: the login's search path has no table {', '.join(missing)}"
            )
        if self.has("version_tags") or "overlay_file_id" in self._tables["dataset_versions"].required:
            return Generation.G2
        if self.has("dataset_pointers"):
            return Generation.G1A if self.has("sheets") else Generation.G1B
        return Generation.G0


def _names(columns: Sequence[str], after: LiteralString = "") -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(column) + sql.SQL(after) for column in columns)


def _named(statement: LiteralString, names: Mapping[str, str]) -> sql.SQL | sql.Composed:
    named = {name: sql.Identifier(identifier) for name, identifier in names.items()}
    return sql.SQL(statement).format(**named) if named else sql.SQL(statement)


@contextmanager
def _answering() -> Iterator[None]:
    """The driver's errors as ours."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as err:
        raise Unavailable(f"the legacy database: {err.diag.message_primary}: its login needs SELECT on every table") from err
    except (psycopg.errors.UntranslatableCharacter, psycopg.errors.CharacterNotInRepertoire) as err:
        raise LegacyUnsupported(f"the legacy database holds text that its own encoding does not have: {err.diag.message_primary}") from err
    except (psycopg.OperationalError, psycopg.InterfaceError) as err:
        lines = str(err).strip().splitlines()
        raise Unavailable(f"the legacy database does not answer: {lines[0] if lines else type(err).__name__}") from err
