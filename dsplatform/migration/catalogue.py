"""What the legacy database says about its own tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import psycopg

KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "dataset_tags": ("dataset_id", "tag_id"),
        "dataset_version_files": ("version_id", "file_id"),
        "dataset_permissions": ("dataset_id", "user_id"),
        "file_permissions": ("file_id", "user_id"),
        "dataset_statistics": ("version_id",),
    }
)
"""The columns that tell a table's rows apart, where that is not `id`."""


@dataclass(frozen=True)
class Table:
    """A table, as the server describes it."""

    oid: int
    columns: tuple[str, ...]
    types: Mapping[str, str]
    """By column, as PostgreSQL writes them."""
    required: frozenset[str]
    """Columns that are never NULL."""
    key: tuple[str, ...]
    single: bool
    """Whether no two rows can have one key."""


def read(connection: psycopg.Connection) -> dict[str, Table]:
    """The tables of the login's search path, by name. Those that lack a column of their key are none of ours."""
    tables: dict[str, Table] = {}
    found = connection.execute(
        "SELECT c.oid, c.relname::text, array_agg(a.attname::text ORDER BY a.attnum), "
        "array_agg(format_type(a.atttypid, NULL) ORDER BY a.attnum), array_agg(a.attnotnull ORDER BY a.attnum) "
        "FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
        "WHERE c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid) AND c.relnamespace <> 'pg_catalog'::regnamespace "
        "GROUP BY c.oid, c.relname"
    ).fetchall()
    unique: dict[int, list[set[str]]] = {}
    for oid, columns in connection.execute(
        "SELECT i.indrelid, array_agg(a.attname::text) FROM pg_index i "
        "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey::int2[]) "
        "WHERE i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL GROUP BY i.indexrelid, i.indrelid"
    ):
        unique.setdefault(oid, []).append({text(column) for column in columns})
    for oid, name, columns, types, required in found:
        key = KEYS.get(text(name), ("id",))
        named = [text(column) for column in columns]
        if set(key) <= set(named):
            needed = frozenset(column for column, not_null in zip(named, required, strict=True) if not_null)
            of_type = dict(zip(named, map(text, types), strict=True))
            single = any(one <= set(key) for one in unique.get(oid, []))
            tables[text(name)] = Table(oid, tuple(named), of_type, needed, key, single)
    return tables


def text(value: str | bytes) -> str:
    """A name, which comes as bytes from a database of SQL_ASCII."""
    return value.decode() if isinstance(value, bytes) else value
