"""Values and types as the old server gave them: its encoding of cells, and the coarse types of its schemas (sections 1.2 and 2.4)."""

import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dsplatform.schemas.logical import LogicalType
from dsplatform.schemas.model import Column

_SECONDS = re.compile(r"(?<=:[0-9]{2})\.([0-9]+)")

DUCKDB = {
    "boolean": "BOOLEAN",
    "int64": "BIGINT",
    "uint64": "UBIGINT",
    "float64": "DOUBLE",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamp with zone": "TIMESTAMP WITH TIME ZONE",
    "duration": "INTERVAL",
    "string": "VARCHAR",
    "binary": "BLOB",
    "null": "VARCHAR",
}
"""What the old server's reader called a type. Nested values are texts in what we convert."""
COARSE = {"boolean": "boolean", "int64": "integer", "uint64": "integer", "float64": "number", "decimal": "number"}
"""All others are `string`."""


def column(of: Column) -> dict[str, Any]:
    """A column in the form of the old schemas."""
    return {"name": of.name, "type": coarse(of), "nullable": True, "original_type": duckdb_type(of)}


def schema(columns: Sequence[Column], rows: int | None) -> dict[str, Any]:
    """Columns in the form of the old schemas. The old server read them through views, whose columns are all nullable."""
    return {
        "type": "object",
        "properties": {one.name: {"type": coarse(one), "nullable": True, "duckdb_type": duckdb_type(one)} for one in columns},
        "columns": [column(one) for one in columns],
        "row_count": rows,
    }


def coarse(of: Column) -> str:
    """`integer`, `number`, `string` or `boolean`."""
    return COARSE.get(LogicalType.parse(of.type).name, "string")


def duckdb_type(of: Column) -> str:
    """As DuckDB writes it."""
    logical = LogicalType.parse(of.type)
    if logical.digits is not None:
        return f"DECIMAL({logical.digits[0]},{logical.digits[1]})"
    return DUCKDB.get(logical.name, "VARCHAR")


def objects(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Rows as previews have them, keyed by column and in the old encoding. Raises `UnicodeDecodeError` for bytes that are no text."""
    makers = [_maker(LogicalType.parse(one.type).name) for one in columns]
    names = [one.name for one in columns]
    return [{name: None if value is None else make(value) for name, make, value in zip(names, makers, row, strict=True)} for row in rows]


def _maker(name: str) -> Callable[[Any], Any]:
    return _MAKERS.get(name, _as_it_is)


def _as_it_is(value: Any) -> Any:
    return value


def _whole(value: Any) -> Any:
    """Old clients got every whole number as a number, however long it is."""
    return int(value) if isinstance(value, str) else value


def _floating(value: Any) -> Any:
    """What is no number, and what is infinite, was null."""
    return None if isinstance(value, str) else value


def _decimal(value: Any) -> str:
    return str(value)


def _moment(value: str) -> str:
    """Seconds have no fraction or six digits; a zone is an offset."""
    text = _SECONDS.sub(lambda found: f".{found[1][:6]:0<6}" if found[1][:6].strip("0") else "", value)
    return f"{text[:-1]}+00:00" if text.endswith("Z") else text


def _length(value: str) -> str:
    """`PT90061S` as `P1DT1H1M1S`."""
    sign, seconds = ("-", value[1:]) if value.startswith("-") else ("", value)
    if not seconds.startswith("PT"):
        return value
    whole, dot, fraction = seconds[2:-1].partition(".")
    minutes, rest = divmod(int(whole), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    clock = f"{hours}H" * bool(hours) + f"{minutes}M" * bool(minutes) + (f"{rest}{dot}{fraction}S" if rest or dot else "")
    day = f"{days}D" * bool(days)
    return f"{sign}P{day}T{clock}" if clock else f"{sign}P{day}" if day else "PT0S"


def _bytes(value: str) -> str:
    return b64decode(value).decode()


_MAKERS: Mapping[str, Callable[[Any], Any]] = {
    "int64": _whole,
    "uint64": _whole,
    "float64": _floating,
    "decimal": _decimal,
    "timestamp": _moment,
    "timestamp with zone": _moment,
    "time": _moment,
    "duration": _length,
    "binary": _bytes,
}
