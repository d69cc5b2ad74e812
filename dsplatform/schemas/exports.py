"""The columns of one table for other systems: Arrow schema, JSON Schema of a record, DDL. docs/schemas.md has the table of types."""

import re
from collections.abc import Callable, Sequence

import pyarrow as pa

from dsplatform.core.errors import Invalid
from dsplatform.schemas.logical import LogicalType
from dsplatform.schemas.model import Column, Json, NoSuchTable, SeveralTables, VersionSchema

MAX_COLUMNS = 1_600
"""What PostgreSQL allows in a table."""
MAX_NAME = 63
"""Bytes of a name in PostgreSQL; it would cut longer ones, and two might become one."""
SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})


class TooManyColumns(Invalid):
    """A table of PostgreSQL can't have so many."""

    code = "too_many_columns"


def table_of(schema: VersionSchema, component: str | None = None, sheet: str | None = None) -> tuple[Column, ...]:
    """The columns of the table that is meant: of this component, this sheet, or of all where all have the same columns.

    Raises `NoSuchTable` and `SeveralTables`.
    """
    tables = {
        key: columns for key, columns in schema.tables().items() if component in {None, key[0]} and sheet in {None, key[1]} and columns
    }
    if not tables:
        where = " ".join(f"{kind} {name!r}" for kind, name in (("component", component), ("sheet", sheet)) if name is not None)
        raise NoSuchTable(f"no table was read{f' in {where}' if where else ''}: `dsplatform schema` lists what there is")
    distinct: dict[tuple[Column, ...], str] = {}
    for (name, table), columns in tables.items():
        distinct.setdefault(columns, name if table is None else f"{name}/{table}")
    if len(distinct) > 1:
        some = ", ".join(list(distinct.values())[:5]) + (f" and {len(distinct) - 5} more" if len(distinct) > 5 else "")
        raise SeveralTables(f"there are {len(distinct)} tables with columns of their own ({some}): choose with --component and --sheet")
    return next(iter(distinct))


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """The columns in Arrow. Reading it back gives the same logical types. How dates are written is in the metadata of their fields."""
    return pa.schema(
        pa.field(
            column.name,
            arrow_type(LogicalType.parse(column.type)),
            nullable=not _always_there(column),
            metadata={"format": column.format} if column.format else None,
        )
        for column in columns
    )


def arrow_type(type_: LogicalType) -> pa.DataType:
    """The Arrow type whose values are those of the logical type."""
    if type_.digits is not None:
        precision, scale = type_.digits
        return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
    parts = [arrow_type(part) for part in type_.parts]
    match type_.name:
        case "list":
            return pa.list_(parts[0])
        case "map":
            return pa.map_(pa.string() if pa.types.is_null(parts[0]) else parts[0], parts[1])  # a key is never null
        case "struct":
            return pa.struct([pa.field(name, part) for (name, _), part in zip(type_.fields, parts, strict=True)])
        case "union":
            return pa.dense_union([pa.field(str(part), built) for part, built in zip(type_.parts, parts, strict=True)])
    return _ARROW[type_.name]()


_ARROW: dict[str, Callable[[], pa.DataType]] = {
    "boolean": pa.bool_,
    "int64": pa.int64,
    "uint64": pa.uint64,
    "float64": pa.float64,
    "date": pa.date32,
    "time": lambda: pa.time64("us"),
    "timestamp": lambda: pa.timestamp("us"),
    "timestamp with zone": lambda: pa.timestamp("us", "UTC"),
    "duration": lambda: pa.duration("us"),
    "string": pa.string,
    "binary": pa.binary,
    "null": pa.null,
}


def json_schema(columns: Sequence[Column], title: str | None = None) -> dict[str, Json]:
    """The JSON Schema (draft 2020-12) of a record with these columns. Those that are nullable may be missing, too."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **({"title": title} if title else {}),
        "type": "object",
        "properties": {column.name: _property(column) for column in columns},
        "required": [column.name for column in columns if _always_there(column)],
        "additionalProperties": False,
    }


def _property(column: Column) -> dict[str, Json]:
    found = json_type(LogicalType.parse(column.type))
    found = _or_null(found) if column.nullable else found
    return {**found, "description": f"written {column.format} in the files"} if column.format else found


def json_type(type_: LogicalType) -> dict[str, Json]:
    """The JSON Schema of one value. Parts of nested values may be null; fields of a struct may be missing."""
    if type_.digits is not None:
        return {"type": "string", "pattern": _digits(*type_.digits)}
    parts = [_or_null(json_type(part)) for part in type_.parts]
    match type_.name:
        case "list":
            return {"type": "array", "items": parts[0]}
        case "map":
            return {"type": "object", "additionalProperties": parts[1]}
        case "struct":
            fields: dict[str, Json] = {name: part for (name, _), part in zip(type_.fields, parts, strict=True)}
            return {"type": "object", "properties": fields, "additionalProperties": False}
        case "union":
            return {"anyOf": [json_type(part) for part in type_.parts]}
    return dict(_JSON[type_.name])


_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,9})?)?"
_JSON: dict[str, dict[str, Json]] = {
    "boolean": {"type": "boolean"},
    "int64": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "uint64": {"type": "integer", "minimum": 0, "maximum": 2**64 - 1},
    "float64": {"type": "number"},
    "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "pattern": f"^{_CLOCK}$"},  # the format `time` demands a zone
    "timestamp": {"type": "string", "pattern": f"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[T ]{_CLOCK}$"},
    "timestamp with zone": {"type": "string", "format": "date-time"},
    "duration": {"type": "string", "format": "duration"},
    "string": {"type": "string"},
    "binary": {"type": "string", "contentEncoding": "base64"},
    "null": {"type": "null"},
}


def _or_null(schema: dict[str, Json]) -> dict[str, Json]:
    if "anyOf" in schema:
        members = schema["anyOf"]
        return {"anyOf": [*(members if isinstance(members, list) else []), {"type": "null"}]}
    if schema["type"] == "null":
        return schema
    return {**schema, "type": [schema["type"], "null"]}


def _digits(precision: int, scale: int) -> str:
    """The pattern of a decimal as text."""
    whole = f"[0-9]{{1,{precision - scale}}}" if precision > scale else "0"
    return f"^-?{whole}(\\.[0-9]{{1,{scale}}})?$" if scale > 0 else f"^-?{whole}$"


def ddl(columns: Sequence[Column], table: str) -> str:
    """A CREATE TABLE for PostgreSQL. Names that PostgreSQL can't have are cut or changed, and said in full in the column's comment.

    Raises `TooManyColumns`.
    """
    if len(columns) > MAX_COLUMNS:
        raise TooManyColumns(
            f"a table of PostgreSQL has {MAX_COLUMNS:,} columns at most, and this one has {len(columns):,}: "
            "load it as Parquet, or store each row as jsonb"
        )
    names = _names([column.name for column in columns])
    name = identifier(_cut(_clean(table), MAX_NAME) or "table")
    lines = [
        f"    {identifier(named)} {sql_type(LogicalType.parse(column.type))}" + " NOT NULL" * _always_there(column)
        for named, column in zip(names, columns, strict=True)
    ]
    comments = [
        f"COMMENT ON COLUMN {name}.{identifier(named)} IS {literal(column.name)};\n"
        for named, column in zip(names, columns, strict=True)
        if named != column.name
    ]
    body = "(\n" + ",\n".join(lines) + "\n)" if lines else "()"
    return f"CREATE TABLE {name} {body};\n{''.join(comments)}"


def sql_type(type_: LogicalType) -> str:
    """The type of a PostgreSQL column that holds the values."""
    if type_.digits is not None:
        precision, scale = type_.digits
        return f"numeric({max(precision - min(scale, 0), scale)},{max(scale, 0)})"
    return _SQL.get(type_.name, "jsonb")


_SQL = {
    "boolean": "boolean",
    "int64": "bigint",
    "uint64": "numeric(20,0)",
    "float64": "double precision",
    "date": "date",
    "time": "time",
    "timestamp": "timestamp",
    "timestamp with zone": "timestamptz",
    "duration": "interval",
    "string": "text",
    "binary": "bytea",
    "null": "text",
}


def _always_there(column: Column) -> bool:
    return not column.nullable and column.type != "null"


def identifier(name: str) -> str:
    """A name in quotes, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text in quotes, whatever it holds and however the server reads backslashes."""
    quoted = "'" + _clean(text).replace("'", "''").replace("\\", "\\\\") + "'"
    return f" E{quoted}" if "\\" in quoted else quoted


def _names(given: Sequence[str]) -> list[str]:
    """Names that PostgreSQL can have, each once; the same where they are such."""
    taken = {name for name in given if _fits(name)}
    seen: set[str] = set()
    names = []
    for position, name in enumerate(given, 1):
        found, count = name, 1
        if not _fits(name) or name in seen:
            base = _clean(name) or f"column_{position}"
            found = _cut(base, MAX_NAME)
            while found in taken or found in SYSTEM_COLUMNS:
                count += 1
                found = f"{_cut(base, MAX_NAME - len(str(count)) - 1)}_{count}"
            taken.add(found)
        seen.add(found)
        names.append(found)
    return names


def _fits(name: str) -> bool:
    return name == _clean(name) and 0 < len(name.encode()) <= MAX_NAME and name not in SYSTEM_COLUMNS


def _clean(name: str) -> str:
    """Without what PostgreSQL's text can't hold."""
    return re.sub("[\x00\ud800-\udfff]", "\ufffd", name)


def _cut(name: str, size: int) -> str:
    return name.encode()[:size].decode("utf-8", "ignore")
