"""Parquet files as the legacy system stored them: small, many types of column, the same bytes for the same number."""

import datetime as dt
import json
from decimal import Decimal
from functools import lru_cache
from io import BytesIO
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

WORDS = ("north", "south", "east", "west", "grün", "été", "東", "a,b", 'say "x"', "line\nbreak", "")


@lru_cache(maxsize=4096)
def parquet(number: int) -> bytes:
    """File `number`. Different numbers give different bytes."""
    rng = Random(number)
    rows = rng.randint(3, 12)
    columns: dict[str, Any] = {
        "id": pa.array([number * 100 + row for row in range(rows)], pa.int64()),
        "region": pa.array([rng.choice(WORDS) for _ in range(rows)]),
        "amount": pa.array([rng.choice([None, round(rng.uniform(-1e3, 1e3), 2)]) for _ in range(rows)], pa.float64()),
        "paid": pa.array([rng.random() < 0.5 for _ in range(rows)]),
    }
    if number % 3 == 0:
        columns["day"] = pa.array([dt.date(2020, 1, 1) + dt.timedelta(rng.randint(0, 900)) for _ in range(rows)])
        columns["price"] = pa.array([Decimal(rng.randint(0, 99999)).scaleb(-2) for _ in range(rows)], pa.decimal128(12, 2))
    return written(pa.table(columns))


@lru_cache(maxsize=1)
def empty_source() -> bytes:
    """What the conversion makes of an empty file: one column `column0` and no row."""
    return written(pa.table({"column0": pa.array([], pa.string())}))


def doubled_header(number: int) -> bytes:
    """What the conversion makes of a header that names a column twice."""
    return written(pa.table({"name": [f"a{number}"], "name_1": ["b"], "value": [number]}))


def written(table: pa.Table) -> bytes:
    """The table as one Parquet file."""
    sink = BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


_TYPES = {
    "int64": ("integer", "BIGINT"),
    "string": ("string", "VARCHAR"),
    "double": ("number", "DOUBLE"),
    "bool": ("boolean", "BOOLEAN"),
    "date32[day]": ("string", "DATE"),
    "decimal128(12, 2)": ("number", "DECIMAL(12,2)"),
}
"""By type of Arrow: the coarse type of the legacy system, and DuckDB's."""


@lru_cache(maxsize=4096)
def columns(data: bytes) -> tuple[dict[str, tuple[str, str]], int]:
    """The columns of a file with their types, coarse and DuckDB's, and how many rows it has."""
    table = pq.read_table(BytesIO(data))
    return {field.name: _TYPES[str(field.type)] for field in table.schema}, table.num_rows


@lru_cache(maxsize=4096)
def schema_json(data: bytes) -> str:
    """What the legacy system stored as the schema of a file."""
    found, count = columns(data)
    document = {
        "type": "object",
        "properties": {name: {"type": kind, "nullable": True, "duckdb_type": original} for name, (kind, original) in found.items()},
        "columns": [{"name": name, "type": kind, "nullable": True, "original_type": original} for name, (kind, original) in found.items()],
        "row_count": count,
    }
    return json.dumps(document)
