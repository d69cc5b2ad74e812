"""What must be equal on both sides: for each legacy table the columns of a row there, and those of what it became here, as text.

Nothing here is shared with the migration itself: both sides are asked by SQL of their own, and each side writes its values in one
canonical form. Times are instants in UTC with their microseconds, text is bytes, JSON has its keys sorted, and NULL is not ''.
A name that was changed by a rule is taken back by what was recorded of it; whatever else differs is judged by `judging`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from dsplatform.migration.source import KEYS, Snapshot

Sql: TypeAlias = str
TEXT, TIME, JSON, HIDDEN = "text", "time", "json", "hidden"
SETTLED = "no longer so"
"""The resolution of a finding that has ended by itself."""


@dataclass(frozen=True)
class Column:
    """One value, on both sides."""

    name: str
    old: Sql
    new: Sql
    kind: str = TEXT
    """`text`, `time`, `json`; `hidden` for what is never shown."""
    old_shown: Sql = ""
    """What is asked for in place of `old` when a row differs: the value as it was written."""
    new_shown: Sql = ""

    @property
    def shown(self) -> tuple[Sql, Sql]:
        """Both sides as they are judged."""
        return self.old_shown or self.old, self.new_shown or self.new


@dataclass(frozen=True)
class Pair:
    """A legacy table, or what follows from some, and its likeness here."""

    entity: str
    old_key: tuple[Sql, Sql]
    old_from: Sql
    new_key: tuple[Sql, Sql]
    new_from: Sql
    columns: tuple[Column, ...]
    has_line: bool = True
    """Whether `m`, the row of the id map, and `q`, its findings, are in `new_from`."""


class Old:
    """How the legacy side is asked, whatever columns this generation has."""

    def __init__(self, source: Snapshot, zone: str) -> None:
        self._source = source
        self._zone = zone.replace("'", "''")
        self.generation = str(source.generation)

    def has(self, table: str, column: str | None = None) -> bool:
        """Whether there is such a table, or column."""
        return self._source.has(table, column)

    def columns(self, table: str) -> Mapping[str, str]:
        """The table's columns and their types."""
        return self._source.columns(table)

    def first(self, table: str, *names: str) -> str:
        """The first of the names that is a column of the table."""
        return next((name for name in names if self.has(table, name)), names[-1])

    def text(self, table: str, column: str, alias: str = "t") -> Sql:
        """The column as text; NULL where there is none."""
        return f"{alias}.{column}::text" if self.has(table, column) else "NULL::text"

    def time(self, name: str, table: str, column: str, new: Sql) -> Column:
        """The instant of a column, and ours."""
        if not self.has(table, column):
            return Column(name, "NULL::text", "NULL::text")
        local = f"t.{column}"
        at = local if self._is_aware(table, column) else f"({local} AT TIME ZONE '{self._zone}')"
        return Column(name, f"{at}::text", f"({new})::text", TIME, f"{local}::text")

    def iso(self, table: str, column: str) -> Sql:
        """A time as it was written, as Python writes it; NULL where it cannot."""
        if not self.has(table, column):
            return "NULL::text"
        aware = self._is_aware(table, column)
        at = f"(t.{column} AT TIME ZONE 'UTC')" if aware else f"t.{column}"
        fraction = f"CASE WHEN extract(microseconds FROM {at})::bigint % 1000000 <> 0 THEN to_char({at}, '.US') ELSE '' END"
        offset = " || '+00:00'" if aware else ""
        return f"(to_char({at}, 'YYYY-MM-DD\"T\"HH24:MI:SS') || {fraction}{offset})"

    def fact(self, table: str, column: str, kept: str = "") -> Column:
        """A column that is kept as it was beside the id map."""
        kind = self.columns(table).get(column, "")
        name = kept or column
        if kind.startswith("timestamp"):
            return Column(f"kept {name}", self.iso(table, column), f"m.kept->>'{name}'")
        if kind == "jsonb":
            return Column(f"kept {name}", f"t.{column}::text", f"(m.kept->'{name}')::text", JSON)
        trimmed = f"rtrim({self.text(table, column)})" if kind == "character" else self.text(table, column)
        new = f"rtrim(m.kept->>'{name}')" if kind == "character" else f"m.kept->>'{name}'"
        return Column(f"kept {name}", trimmed, new)

    def _is_aware(self, table: str, column: str) -> bool:
        return self.columns(table)[column] == "timestamp with time zone"


def table_pair(entity: str, columns: Sequence[Column], *, old_joins: Sql = "", new_joins: Sql = "") -> Pair:
    """The pair of a legacy table `t` and the rows of the id map `m` about it, with their findings `q`."""
    names = KEYS.get(entity, ("id",))
    second = f"t.{names[1]}::bigint" if len(names) > 1 else "0::bigint"
    new_from = (
        "legacy_id_map m LEFT JOIN (SELECT legacy_id, jsonb_object_agg(reason, detail) AS found FROM legacy_quarantine "
        f"WHERE entity = '{entity}' AND resolution IS DISTINCT FROM '{SETTLED}' GROUP BY legacy_id) q ON q.legacy_id = m.legacy_id "
        f"{new_joins} WHERE m.entity = '{entity}' AND m.deleted_at IS NULL"
    )
    return Pair(
        entity,
        (f"t.{names[0]}::bigint", second),
        f"{entity} t {old_joins}",
        ("split_part(m.legacy_id, ':', 1)::bigint", "coalesce(nullif(split_part(m.legacy_id, ':', 2), ''), '0')::bigint"),
        new_from,
        tuple(columns),
    )


def here(alias: str = "t", column: str = "id") -> Column:
    """Whether the thing exists here."""
    return Column("here", "'yes'", f"CASE WHEN {alias}.{column} IS NULL THEN 'no' ELSE 'yes' END")


def mapped(alias: str, entity: str, on: Sql) -> Sql:
    """Joins the row of the id map that tells which legacy row our thing is."""
    return f"LEFT JOIN legacy_id_map {alias} ON {alias}.entity = '{entity}' AND {alias}.new_id = {on} "


def taken_back(name: Sql) -> Sql:
    """A name of ours as it was before the rules changed it, if they recorded that they made exactly this one."""
    once = f"CASE WHEN q.found->'duplicate_key'->>'became' = {name} THEN q.found->'duplicate_key'->>'name' ELSE {name} END"
    return (
        f"CASE WHEN q.found IS NULL THEN {name} WHEN q.found->'bad_name'->>'became' = ({once}) THEN q.found->'bad_name'->>'name' "
        f"ELSE {once} END"
    )
