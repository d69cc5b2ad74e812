"""Captures and version schemas: their JSON, and how layouts are shared."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.schemas.model import Column, FileCapture, Json, Status, Table, VersionSchema, hint_of, storable

names = st.text(max_size=12)
values = st.recursive(st.none() | st.booleans() | st.integers() | names, lambda inner: st.lists(inner, max_size=2), max_leaves=4)
details = st.dictionaries(names, values, max_size=2)
columns = st.builds(Column, names, st.sampled_from(["int64", "string", "list<date>", "decimal(4,2)"]), st.booleans())
tables = st.builds(Table, st.none() | names, st.lists(columns, max_size=3).map(tuple), st.none() | st.integers(0, 9), details)
read = st.builds(FileCapture.ok, st.sampled_from(["csv", "xlsx"]), st.lists(tables, max_size=2).map(tuple), details, details)
captures = read | st.builds(FileCapture.unreadable, names) | st.builds(FileCapture.opaque, names)


def _table(*columns: tuple[str, str], rows: int | None = 1) -> Table:
    return Table(None, tuple(Column(*column) for column in columns), rows)


@given(captures)
def test_a_capture_reads_back_from_its_json(capture: FileCapture) -> None:
    assert FileCapture.read(json.loads(json.dumps(capture.plain()))) == capture


@given(st.dictionaries(names, captures, max_size=4))
def test_a_version_schema_reads_back_from_its_json(by_name: dict[str, FileCapture]) -> None:
    schema = VersionSchema.compose(by_name)
    assert VersionSchema.read(json.loads(json.dumps(schema.plain()))) == schema


@given(st.dictionaries(names, captures, max_size=4))
def test_every_component_keeps_its_columns_and_its_outcome(by_name: dict[str, FileCapture]) -> None:
    schema = VersionSchema.compose(by_name)
    assert [item.name for item in schema.components] == list(by_name)
    for item in schema.components:
        capture = by_name[item.name]
        assert (item.status, item.reason, item.notes) == (capture.status, capture.reason, capture.notes)
        if item.layout is None:
            assert capture.status is not Status.OK
        else:
            assert [table.columns for table in schema.layouts[item.layout].tables] == [table.columns for table in capture.tables]
            assert item.rows == tuple(table.rows for table in capture.tables)


def test_ten_thousand_files_of_one_layout_share_it() -> None:
    capture = FileCapture.ok("csv", (_table(*((f"column_{i}", "int64") for i in range(50)), rows=7),))
    schema = VersionSchema.compose({f"part-{i}.csv": capture for i in range(10_000)})
    assert (len(schema.layouts), schema.rows, schema.columns) == (1, 70_000, 50)
    assert len(json.dumps(schema.plain())) < 1_500_000


def test_the_figures_of_a_version_count_what_was_read() -> None:
    sheets = (_table(("a", "int64"), ("b", "string"), rows=3), _table(("c", "date"), rows=4))
    schema = VersionSchema.compose(
        {"book.xlsx": FileCapture.ok("xlsx", sheets), "bad.csv": FileCapture.unreadable("no"), "x.pdf": FileCapture.opaque("pdf")}
    )
    assert (schema.rows, schema.columns, schema.unreadable) == (7, 2, 1)
    assert schema.figures() == {"book.xlsx": (7, 3), "bad.csv": (None, 0), "x.pdf": (None, 0)}


def test_a_version_of_which_nothing_was_read_has_no_row_count() -> None:
    assert VersionSchema.compose({"x.pdf": FileCapture.opaque("pdf")}).rows is None


def test_columns_of_several_tables_carry_the_name_of_theirs() -> None:
    one = VersionSchema.compose({"a.csv": FileCapture.ok("csv", (_table(("x", "int64")),))})
    book = Table("north", (Column("y", "date", nullable=False),), 1)
    two = VersionSchema.compose({"a.csv": FileCapture.ok("csv", (_table(("x", "int64")),)), "b.xlsx": FileCapture.ok("xlsx", (book,))})
    assert one.flat() == [("x", "int64", True)]
    assert two.flat() == [("a.csv: x", "int64", True), ("b.xlsx/north: y", "date", False)]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("orders.csv", "csv"),
        ("2026.01/Orders.CSV", "csv"),
        ("orders.csv.GZ", "csv.gz"),
        ("orders.gz", "gz"),
        ("a.b.c.xlsx", "xlsx"),
        ("README", ""),
        ("folder.d/README", ""),
    ],
)
def test_the_hint_is_the_ending_of_the_name(name: str, hint: str) -> None:
    assert hint_of(name) == hint


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5))
def test_what_is_stored_holds_nothing_that_jsonb_refuses(value: Json) -> None:
    stored = json.dumps(storable(value), ensure_ascii=False)
    assert "\\u0000" not in stored
    stored.encode()


def test_names_with_a_nul_or_half_a_character_are_stored_with_a_replacement() -> None:
    assert storable({"a\x00": ["\ud800b", 1]}) == {"a\ufffd": ["\ufffdb", 1]}
