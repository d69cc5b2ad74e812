"""Statements that write into the legacy database: whatever columns its generation has, and nothing that is so already."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import Connection, sql
from psycopg import errors as pg
from psycopg.types.json import Jsonb

from dsplatform.core.errors import Conflict
from dsplatform.migration.catalogue import KEYS
from dsplatform.migration.model import Entity, Key
from dsplatform.migration.source import Snapshot

_RUNS = "{}_run_id IN (SELECT id FROM {} WHERE dataset_version_id = ANY(%(versions)s))"
OF_VERSIONS: Sequence[tuple[str, str]] = (
    ("exploration_outputs", _RUNS.format("exploration", "data_exploration_runs")),
    ("sampling_outputs", _RUNS.format("sampling", "sampling_runs")),
    ("data_exploration_runs", "dataset_version_id = ANY(%(versions)s)"),
    ("sampling_runs", "dataset_version_id = ANY(%(versions)s)"),
    ("analysis_runs", "dataset_version_id = ANY(%(versions)s)"),
    ("dataset_statistics", "version_id = ANY(%(versions)s)"),
    ("sheet_metadata", "sheet_id IN (SELECT id FROM sheets WHERE dataset_version_id = ANY(%(versions)s))"),
    ("sheets", "dataset_version_id = ANY(%(versions)s)"),
    ("dataset_schema_versions", "dataset_version_id = ANY(%(versions)s)"),
    ("dataset_pointers", "dataset_version_id = ANY(%(versions)s)"),
    ("version_tags", "dataset_version_id = ANY(%(versions)s)"),
    ("dataset_version_files", "version_id = ANY(%(versions)s)"),
    ("dataset_versions", "id = ANY(%(versions)s)"),
)
"""What goes with versions, in an order that the foreign keys allow."""
OF_DATASETS: Sequence[tuple[str, str]] = (
    ("dataset_pointers", "dataset_id = %(dataset)s"),
    ("version_tags", "dataset_id = %(dataset)s"),
    ("dataset_tags", "dataset_id = %(dataset)s"),
    ("permissions", "resource_type = 'dataset' AND resource_id = %(dataset)s"),
    ("dataset_permissions", "dataset_id = %(dataset)s"),
    ("datasets", "id = %(dataset)s"),
)
"""What goes with a dataset after its versions, in such an order."""

_BYTES = re.compile("(?: 0x[0-9a-f]{2})+")


class NotHeld(Conflict):
    """The legacy database cannot hold what is to be written there: nothing of the thing was written, and writes still come here."""

    code = "legacy_not_held"


class ReverseRows:
    """Rows of the legacy database, within one transaction."""

    def __init__(self, connection: Connection, source: Snapshot, zone: ZoneInfo) -> None:
        """`source` tells which tables and columns there are, `zone` what the legacy system's clock shows."""
        self._connection = connection
        self._zone = zone
        self._source = source

    def ids(self, statement: str, **params: object) -> list[Any]:
        """The first column of the answer. Raises `NotHeld` for a text that the database has no characters for."""
        with _held("what is looked for", params):
            return [row[0] for row in self._connection.execute(statement.encode(), params).fetchall()]

    def numbers(self, table: str, count: int) -> list[int]:
        """Ids that the legacy system will not give out any more."""
        return self.ids(
            "SELECT nextval(pg_get_serial_sequence(%(name)s, 'id')) FROM generate_series(1, %(count)s)", name=table, count=count
        )

    def put(self, table: str, key: Mapping[str, object], values: Mapping[str, object], *, changing: Collection[str] = ()) -> None:
        """A row, of the columns that the table has. Where there is one of the key, those of `changing` become so. Raises `NotHeld`."""
        row = {name: value for name, value in {**key, **values}.items() if self._source.has(table, name)}
        with _held(f"the row {', '.join(f'{name} {value}' for name, value in key.items())} of its table {table}", row):
            self._put(table, key, row, changing)

    def _put(self, table: str, key: Mapping[str, object], row: dict[str, Any], changing: Collection[str]) -> None:
        types = self._source.columns(table)
        row = {name: Jsonb(value) if isinstance(value, (dict, list)) else self._clocked(value, types[name]) for name, value in row.items()}
        here = sql.SQL(" AND ").join(sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in key)
        if self._connection.execute(sql.SQL("SELECT 1 FROM {} WHERE {}").format(sql.Identifier(table), here), row).fetchone() is None:
            self._connection.execute(
                sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                    sql.Identifier(table),
                    sql.SQL(", ").join(map(sql.Identifier, row)),
                    sql.SQL(", ").join(map(sql.Placeholder, row)),
                ),
                row,
            )
            return
        changed = [name for name in changing if name in row]
        if changed:
            # What is written in no valid text, or in none of ours, is compared by the server and not read.
            other = sql.SQL(" OR ").join(
                sql.SQL("{} IS DISTINCT FROM {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in changed
            )
            self._connection.execute(
                sql.SQL("UPDATE {} SET {} WHERE {} AND ({})").format(
                    sql.Identifier(table),
                    sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in changed),
                    here,
                    other,
                ),
                row,
            )

    def _clocked(self, value: Any, kind: str) -> Any:
        """A time as the column keeps it: most have no zone, and hold what the legacy system's clock shows."""
        if not isinstance(value, datetime):
            return value
        if kind == "timestamp with time zone":
            return value if value.tzinfo is not None else value.replace(tzinfo=self._zone)
        return value if value.tzinfo is None else value.astimezone(self._zone).replace(tzinfo=None)

    def relink(self, parents: Mapping[int, int | None]) -> None:
        """Gives versions other parents."""
        for id_, parent in parents.items():
            self._connection.execute(
                "UPDATE dataset_versions SET parent_version_id = %(parent)s WHERE id = %(id)s "
                "AND parent_version_id IS DISTINCT FROM %(parent)s",
                {"id": id_, "parent": parent},
            )

    def delete(self, table: str, keys: Collection[Key]) -> None:
        """The rows of these keys."""
        names = KEYS.get(table, ("id",))
        for key in keys:
            here = sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in names)
            self._connection.execute(sql.SQL("DELETE FROM {} WHERE {}").format(sql.Identifier(table), here), key)

    def lead(self, table: str, ours: int) -> int:
        """Has the legacy system give out ids above all that it has, so that a child is never older than its parent, and above `ours`.
        Answers the highest of them."""
        (highest,) = self.ids(f"SELECT greatest(max(id), %(ours)s) FROM {table}", ours=ours)  # noqa: S608 - a constant
        (sequence,) = self.ids("SELECT pg_get_serial_sequence(%(name)s, 'id')", name=table)
        if sequence is not None:
            (reached,) = self.ids(f"SELECT last_value FROM {sequence}")  # noqa: S608 - quoted by the server
            if reached < highest:
                self.ids("SELECT setval(%(sequence)s::regclass, %(highest)s)", sequence=sequence, highest=highest)
        return int(highest)


@contextmanager
def _held(what: str, values: Mapping[str, object]) -> Iterator[None]:
    """The database's refusal of a value in words: which row, which column, which text."""
    try:
        yield
    except pg.DataError as err:
        said = err.diag.message_primary or type(err).__name__
        found = _BYTES.search(said)
        character = bytes.fromhex(found[0].replace(" 0x", "")).decode(errors="replace") if found else ""
        texts = {name: value.obj if isinstance(value, Jsonb) else value for name, value in values.items()}
        guilty = [f"{name} {str(value)[:60]!r}" for name, value in texts.items() if character and character in str(value)]
        raise NotHeld(f"the legacy database cannot hold {what}: {', '.join([*guilty, said])}") from err


def doomed(source: Snapshot, versions: Sequence[int], dataset: int | None) -> Iterator[tuple[Entity, list[Key]]]:
    """The rows that go with these versions, and with the dataset, in the order in which they can be deleted."""
    for table, condition in (*(OF_VERSIONS if versions else ()), *(OF_DATASETS if dataset is not None else ())):
        if source.has(table):
            names = ", ".join(KEYS.get(table, ("id",)))
            where = condition.replace("%(versions)s", "%s").replace("%(dataset)s", "%s")
            subject: object = dataset if "%(dataset)s" in condition else list(versions)
            keys = source.tuples(f"SELECT {names} FROM {table} WHERE {where}", subject)  # noqa: S608 - constants
            if keys:
                yield Entity(table), keys
