"""What other systems get of a table: each form is held against the system that reads it."""

import json
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from dsplatform.core.database_url import libpq_url
from dsplatform.core.errors import Invalid
from dsplatform.schemas.columnar.reading import logical_type
from dsplatform.schemas.exports import MAX_COLUMNS, TooManyColumns, arrow_schema, ddl, json_schema
from dsplatform.schemas.model import Column
from dsplatform_tests.schemas.test_logical import types

EVERY = (
    "boolean",
    "int64",
    "uint64",
    "decimal(9,2)",
    "decimal(50,10)",
    "float64",
    "date",
    "time",
    "timestamp",
    "timestamp with zone",
    "duration",
    "string",
    "binary",
    "list<int64>",
    "struct<a: int64, b: list<string>>",
    "map<string, float64>",
    "union<int64, string>",
    "null",
)
names = st.text(min_size=1, max_size=80) | st.sampled_from(
    ['a"b', "ctid", "select", "a'; DROP TABLE x; --", "é" * 40, "\\", "\x00", "%s", ":x"]
)
columns = st.lists(st.builds(Column, names, types.map(str), st.booleans()), max_size=12, unique_by=lambda column: column.name).map(tuple)


def _all() -> tuple[Column, ...]:
    return tuple(Column(type_, type_, nullable=True) for type_ in EVERY)


def test_the_arrow_types_are_those_of_the_table_in_the_docs() -> None:
    assert [str(field.type) for field in arrow_schema(_all())] == [
        "bool",
        "int64",
        "uint64",
        "decimal128(9, 2)",
        "decimal256(50, 10)",
        "double",
        "date32[day]",
        "time64[us]",
        "timestamp[us]",
        "timestamp[us, tz=UTC]",
        "duration[us]",
        "string",
        "binary",
        "list<item: int64>",
        "struct<a: int64, b: list<item: string>>",
        "map<string, double>",
        "dense_union<int64: int64=0, string: string=1>",
        "null",
    ]


@given(types)
def test_an_arrow_type_reads_back_as_the_logical_type(type_: object) -> None:
    (field,) = arrow_schema((Column("a", str(type_), nullable=False),))
    assert str(logical_type(field.type)) == str(type_).replace("map<null", "map<string")
    assert field.nullable is (str(type_) == "null")


def test_arrow_keeps_how_dates_are_written_and_what_is_nullable() -> None:
    made = arrow_schema((Column("d", "date", nullable=False, format="DD/MM/YYYY"), Column("e", "date", nullable=True)))
    assert (made.field("d").metadata, made.field("d").nullable) == ({b"format": b"DD/MM/YYYY"}, False)
    assert (made.field("e").metadata, made.field("e").nullable) == (None, True)
    assert pa.ipc.read_schema(made.serialize()).equals(made, check_metadata=True)


@given(columns)
def test_a_json_schema_is_one(given_columns: tuple[Column, ...]) -> None:
    made = json_schema(given_columns, "a table")
    Draft202012Validator.check_schema(made)
    properties = made["properties"]
    assert isinstance(properties, dict)
    assert list(properties) == [column.name for column in given_columns]
    json.dumps(made)


def _accepts(type_: str, value: object, *, nullable: bool = False, format_: str | None = None) -> bool:
    schema = json_schema((Column("a", type_, nullable=nullable, format=format_),))
    return bool(Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).is_valid({"a": value}))


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        ("boolean", [True], ["true", 1]),
        ("int64", [0, -(2**63), 2**63 - 1], ["1", 1.5, 2**63, -(2**63) - 1]),
        ("uint64", [0, 2**64 - 1], [-1, 2**64]),
        ("decimal(5,2)", ["0", "-123.45", "1.5"], ["1234", "1.234", 1.5, "1.", ".5", "1e2"]),
        ("decimal(3,0)", ["123"], ["1234", "1.0"]),
        ("decimal(2,2)", ["0.12", "0"], ["1.12"]),
        ("decimal(2,-2)", ["1200"], ["12000", "1.5"]),
        ("decimal(2,4)", ["0.0012"], ["1", "0.00123"]),
        ("float64", [1, 1.5, -0.0], ["1.5"]),
        ("date", ["2024-02-29"], ["2023-02-29", "29.02.2024", 20240229]),
        ("time", ["10:00", "23:59:59.123456789"], ["24:00", "10", "10:00Z"]),
        ("timestamp", ["2024-01-31 10:00", "2024-01-31T10:00:00.5"], ["2024-01-31", "2024-01-31T10:00:00Z"]),
        ("string", ["", "x"], [1]),
        ("binary", ["AAAA"], [1]),
        ("list<int64>", [[], [1, None]], [1, ["1"], {"0": 1}]),
        ("struct<a: int64, b: string>", [{}, {"a": None}, {"a": 1, "b": "x"}], [{"c": 1}, {"a": "1"}, []]),
        ("map<string, int64>", [{}, {"k": 1, "l": None}], [{"k": "1"}, []]),
        ("union<int64, string>", [1, "x"], [1.5, []]),
    ],
)
def test_a_json_schema_takes_the_values_of_the_type_and_no_others(type_: str, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if not _accepts(type_, value)] == []
    assert [value for value in bad if _accepts(type_, value)] == []
    assert not _accepts(type_, None)
    assert _accepts(type_, None, nullable=True)


def test_a_record_has_its_columns_and_no_others() -> None:
    schema = Draft202012Validator(json_schema((Column("a", "int64", nullable=False), Column("b", "null", nullable=False))))
    assert schema.is_valid({"a": 1})
    assert schema.is_valid({"a": 1, "b": None})
    assert not schema.is_valid({"b": None})
    assert not schema.is_valid({"a": 1, "c": 1})
    assert not schema.is_valid([1])


def test_the_sql_types_are_those_of_the_table_in_the_docs() -> None:
    lines = ddl(_all(), "t").splitlines()[1 : 1 + len(EVERY)]
    assert [line.strip().rstrip(",").rpartition('" ')[2] for line in lines] == [
        "boolean",
        "bigint",
        "numeric(20,0)",
        "numeric(9,2)",
        "numeric(50,10)",
        "double precision",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "interval",
        "text",
        "bytea",
        "jsonb",
        "jsonb",
        "jsonb",
        "jsonb",
        "text",
    ]


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        ("decimal(5,-3)", "numeric(8,0)"),
        ("decimal(3,5)", "numeric(5,5)"),
        ("decimal(3,3)", "numeric(3,3)"),
        ("decimal(38,0)", "numeric(38,0)"),
    ],
)
def test_decimals_get_scales_that_every_release_of_postgresql_allows(type_: str, expected: str) -> None:
    assert f'"a" {expected}\n' in ddl((Column("a", type_),), "t")


@given(columns, names)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example((Column("a" * 70, "int64"), Column("a" * 71, "int64"), Column("a" * 63, "int64"), Column("a" * 61 + "_2", "string")), "x" * 70)
@example((Column("ctid", "int64"), Column("ctid_2", "int64"), Column("xmin", "decimal(3,5)", nullable=False)), 'a"b.c')
@example((Column("a'\\'; DROP TABLE x; --" + "b" * 63, "decimal(5,-3)"), Column("", "null", nullable=False)), "")
@example((), "empty")
def test_postgresql_makes_the_table_with_the_names_that_were_given(
    empty_database_url: str, given_columns: tuple[Column, ...], table: str
) -> None:
    with psycopg.connect(libpq_url(empty_database_url)) as connection:
        connection.execute("CREATE SCHEMA made; SET search_path TO made")
        connection.execute(ddl(given_columns, table).encode())
        found = connection.execute(
            "SELECT a.attname, col_description(a.attrelid, a.attnum), a.attnotnull, format_type(a.atttypid, a.atttypmod)"
            " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = 'made' AND c.relkind = 'r' AND a.attnum > 0 ORDER BY a.attnum"
        ).fetchall()
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'made'").fetchone()
        connection.rollback()
    assert tables == (1,)
    for (name, comment, *_), column in zip(found, given_columns, strict=True):
        assert (comment or name) == column.name.replace("\x00", "\ufffd") or (column.name, name[:7]) == ("", "column_")
    assert [required for *_, required, _ in found] == [not column.nullable and column.type != "null" for column in given_columns]


def test_a_table_with_too_many_columns_is_refused_with_the_reason() -> None:
    wide = tuple(Column(f"c{index}", "int64") for index in range(MAX_COLUMNS + 1))
    with pytest.raises(TooManyColumns, match=r"1,600 columns at most, and this one has 1,601") as raised:
        ddl(wide, "t")
    assert isinstance(raised.value, Invalid)


def test_postgresql_takes_as_many_columns_as_are_allowed(empty_database_url: str) -> None:
    with psycopg.connect(libpq_url(empty_database_url)) as connection:
        connection.execute(ddl(tuple(Column(f"c{index}", "int64") for index in range(MAX_COLUMNS)), "widest").encode())
        with pytest.raises(psycopg.errors.TooManyColumns):
            connection.execute('ALTER TABLE "widest" ADD COLUMN one_more bigint')
