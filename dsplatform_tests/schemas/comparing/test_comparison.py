"""How changes are found: which components, sheets and columns are compared with which. The verdicts are in docs/schema-changes.md."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.schemas.comparing.changes import Retyped
from dsplatform.schemas.comparing.comparison import Verdict, compare, drift
from dsplatform.schemas.comparing.widening import Kind
from dsplatform.schemas.model import Column, FileCapture, Table, VersionSchema
from dsplatform_tests.schemas.comparing.notation import parsed, schema

GRAVITY = list(Verdict)


def test_all_that_changed_is_listed_by_name() -> None:
    change = compare(schema("x: a int64, b date; y: a int64; z: unreadable"), schema("x: b timestamp, c string; z: a int64; q: opaque"))
    assert change.verdict is Verdict.BREAKING
    assert (change.components_added, change.components_removed, change.components_restored) == (("q",), ("y",), ("z",))
    x, z = change.tables
    assert (x.component, x.table, [c.name for c in x.added], [c.name for c in x.removed]) == ("x", None, ["c"], ["a"])
    assert x.retyped == (Retyped("b", Column("b", "date", nullable=False), Column("b", "timestamp", nullable=False), Kind.WIDENED),)
    assert [c.name for c in z.added] == ["a"]
    assert change.sentences() == [
        "y is gone",
        "z can be read again",
        "x: column 'a' (int64) was removed",
        "x: column 'c' (string) was added",
        "x: column 'b' was date and is timestamp",
    ]


def test_a_renamed_column_is_among_those_that_went_and_came() -> None:
    (change,) = compare(schema("Id int64, b date"), schema("id int64, b date")).tables
    assert ([c.name for c in change.removed], [c.name for c in change.added]) == (["Id"], ["id"])
    (renamed,) = change.renamed
    assert (renamed.before.name, renamed.after.name, renamed.confidence) == ("Id", "id", 0.95)


def test_a_sheet_is_renamed_with_its_changes_and_stands_among_those_that_went_and_came() -> None:
    change = compare(schema("x[S]: a int64, b date; x[N]: q string"), schema("x[T]: a int64, b date, c date; x[N]: q string"))
    (sheets,) = change.sheets
    (renamed,) = sheets.renamed
    assert (sheets.removed, sheets.added, renamed.before, renamed.after, renamed.confidence) == (("S",), ("T",), "S", "T", 0.67)
    assert [column.name for column in renamed.change.added] == ["c"]
    assert {(table.table, len(table.added), len(table.removed)) for table in change.tables} == {("S", 0, 2), ("T", 3, 0)}


def test_a_lone_sheet_and_a_file_without_sheets_are_compared() -> None:
    change = compare(schema("a int64, b date"), schema("x[Sheet1]: a int64"))
    assert (change.sheets, [layout.what for layout in change.layouts]) == ((), ["format"])
    assert [(table.table, [column.name for column in table.removed]) for table in change.tables] == [("Sheet1", ["b"])]


def test_a_component_is_compared_with_the_one_of_its_series_that_it_replaces() -> None:
    change = compare(
        schema("in/2024-01-31.csv: a int64; in/2024-02-29.csv: a int64; other.csv: z date"),
        schema("in/2024-03-31.csv: a int64; in/2024-04-30.csv: a string; other.csv: z date"),
    )
    assert change.components_followed == (("in/2024-01-31.csv", "in/2024-03-31.csv"), ("in/2024-02-29.csv", "in/2024-04-30.csv"))
    assert [(table.component, table.verdict) for table in change.tables] == [("in/2024-04-30.csv", Verdict.BREAKING)]


def test_a_component_whose_columns_no_other_of_its_series_has_is_gone() -> None:
    change = compare(schema("t1.csv: a int64; t2.csv: a float64"), schema("t1.csv: a int64"))
    assert (change.components_followed, change.sentences()) == ((), ["t2.csv is gone"])
    held = compare(schema("t1.csv: a int64; t2.csv: a float64"), schema("t2.csv: a float64"))
    assert (held.components_followed, held.verdict) == ((("t1.csv", "t2.csv"),), Verdict.IDENTICAL)


def test_header_of_files_and_of_sheets_is_told() -> None:
    def capture(header: bool) -> VersionSchema:
        return VersionSchema.compose({"x": FileCapture.ok("xlsx", (Table("N", (Column("a", "int64"),), 1, {"header": header}),))})

    assert drift(capture(True), capture(False)) == ["x/N: has no header any more"]
    assert drift(capture(False), capture(True)) == ["x/N: has a header now"]


def test_a_sentence_stays_short_whatever_the_type() -> None:
    wide = "struct<" + ", ".join(f"a{index}: int64" for index in range(1_000)) + ">"
    sentences = [*drift(schema(f"a {wide}"), schema("a string")), *drift(schema(f"a {wide}, b date"), schema("b date"))]
    assert len(sentences) == 2
    assert max(map(len, sentences)) < 300


def test_ten_thousand_components_of_one_layout_are_told_once() -> None:
    columns = ", ".join(f"c{index} int64" for index in range(100))
    before, after = (
        VersionSchema.compose({f"file-{index}": capture for index in range(10_000)})
        for capture in (_capture(columns), _capture(f"{columns}, d date"))
    )
    change = compare(before, after)
    assert (len(change.tables), change.sentences()) == (10_000, ["file-0 and 9999 more: column 'd' (date) was added"])


def test_ten_thousand_renamed_columns_are_paired_one_by_one() -> None:
    before, after = (VersionSchema.compose({"x": _wide(form)}) for form in ("col {}", "COL_{}"))
    (change,) = compare(before, after).tables
    assert [(pair.before.name, pair.after.name) for pair in change.renamed[:2]] == [("col 0", "COL_0"), ("col 1", "COL_1")]
    assert len(change.renamed) == 10_000


def _wide(form: str) -> FileCapture:
    return FileCapture.ok("csv", (Table(None, tuple(Column(form.format(index), "int64") for index in range(10_000)), 1),))


def _capture(columns: str) -> FileCapture:
    layout = schema(columns).layouts[0]
    return FileCapture.ok("csv", layout.tables, layout.details)


columns = st.lists(
    st.sampled_from(["a int64", "a float64", "a string", "b string?", "B string", "c date", "c date@DD/MM/YYYY", "d decimal(9,2)"]),
    unique_by=lambda text: text.split()[0],
).map(", ".join)
sheets = st.lists(st.tuples(st.sampled_from(["N", "S", "S hidden"]), columns), max_size=2, unique_by=lambda item: item[0][0])


@st.composite
def schemas(draw: st.DrawFn, names: tuple[str, ...] = ("x", "y", "s-1", "s-2", "s-3")) -> str:
    parts = []
    for name in draw(st.lists(st.sampled_from(names), unique=True, max_size=3)):
        what = draw(st.sampled_from(["columns", "sheets", "unreadable", "opaque", "layout"]))
        if what == "sheets":
            parts += [f"{name}[{sheet}]: {text}" for sheet, text in draw(sheets)]
        else:
            layout = "{delimiter=tab}" if what == "layout" else ""
            parts.append(f"{name}{layout}: {what if what in {'unreadable', 'opaque'} else draw(columns)}")
    return "; ".join(parts)


alone = schemas(("x", "y", "z"))
"""Without files of a series, which stand for each other."""


@given(schemas())
def test_a_schema_is_identical_to_itself(text: str) -> None:
    found = compare(schema(text), schema(text))
    assert found.verdict is Verdict.IDENTICAL
    assert found.sentences() == []


@given(schemas(), schemas())
def test_words_are_said_exactly_where_there_is_a_verdict(left: str, right: str) -> None:
    assert bool(drift(schema(left), schema(right))) is (compare(schema(left), schema(right)).verdict is not Verdict.IDENTICAL)


@given(alone, alone)
def test_what_one_direction_adds_the_other_removes(left: str, right: str) -> None:
    there, back = compare(schema(left), schema(right)), compare(schema(right), schema(left))
    assert (there.components_added, there.components_removed) == (back.components_removed, back.components_added)
    assert {*there.components_lost} == {*back.components_restored}
    assert {*there.components_restored} == {*back.components_lost}
    common = {item.name for item in schema(left).components} & {item.name for item in schema(right).components}
    unread = {*there.components_lost, *there.components_restored}
    forth, again = ([table for table in one.tables if table.component in common - unread] for one in (there, back))
    assert {(t.component, t.added, t.removed) for t in forth} == {(t.component, t.removed, t.added) for t in again}


@given(alone, alone, alone)
def test_two_steps_are_never_less_grave_than_the_way_at_once(first: str, second: str, third: str) -> None:
    """Without columns that have no values, which remember nothing (`evolution.py` does), and files of a series."""
    a, b, c = map(schema, (first, second, third))
    at_once, *steps = (compare(*pair).verdict for pair in ((a, c), (a, b), (b, c)))
    assert GRAVITY.index(at_once) <= max(map(GRAVITY.index, steps))


def test_profiles_tell_renames_of_each_component_alone() -> None:
    (before, old), (after, new) = (
        parsed("x: a string = p q p q, k int64; y: a string = p q p q, k int64"),
        parsed("x: b string = q p q p, k int64; y: b string = longer other words entirely, k int64"),
    )
    found = {table.component: len(table.renamed) for table in compare(before, after, (old, new)).tables}
    assert found == {"x": 1, "y": 0}


@pytest.mark.parametrize("type_", ["a type of an older reader", "union<a: int64>"])
def test_what_is_no_logical_type_is_compared_as_text(type_: str) -> None:
    before, after = (
        VersionSchema.compose({"x": FileCapture.ok("csv", (Table(None, (Column("a", text),), 1),))}) for text in (type_, "int64")
    )
    assert drift(before, after) == [f"x: column 'a' was {type_} and is int64"]
    assert compare(before, after).verdict is Verdict.BREAKING
    assert compare(before, before).verdict is Verdict.IDENTICAL
