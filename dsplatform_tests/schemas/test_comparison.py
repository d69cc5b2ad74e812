"""The verdict on a change, and the sentences that tell it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.schemas.comparison import Verdict, compare, drift, widens
from dsplatform.schemas.model import Column, FileCapture, Table, VersionSchema


def _schema(**components: str | None) -> VersionSchema:
    """Components by name; the columns as `a int64, b string?`, several sheets as `north: a int64 | south: b date`; None: unreadable."""
    return VersionSchema.compose({name: _capture(text) for name, text in components.items()})


def _capture(text: str | None) -> FileCapture:
    if text is None:
        return FileCapture.unreadable("broken")
    tables = []
    for part in text.split("|"):
        sheet, colon, columns = part.rpartition(":")
        tables.append(Table(sheet.strip() if colon else None, tuple(_column(item) for item in columns.split(",") if item.strip()), 5))
    return FileCapture.ok("xlsx" if ":" in text else "csv", tuple(tables))


def _column(text: str) -> Column:
    name, _, type_ = text.strip().partition(" ")
    return Column(name, type_.rstrip("?"), nullable=type_.endswith("?"))


@pytest.mark.parametrize(
    ("before", "after", "verdict", "told"),
    [
        ("a int64", "a int64", "identical", []),
        ("a int64", "a int64, b string?", "compatible", ["x: column 'b' (string) was added"]),
        ("a int64, b string", "a int64", "breaking", ["x: column 'b' (string) was removed"]),
        ("a int64", "a float64", "compatible", ["x: column 'a' was int64 and is float64"]),
        ("a float64", "a int64", "breaking", ["x: column 'a' was float64 and is int64"]),
        ("a null", "a date", "compatible", ["x: column 'a' was null and is date"]),
        ("a int64", "a int64?", "compatible", ["x: column 'a' has rows without a value"]),
        ("a int64?", "a int64", "compatible", ["x: column 'a' no longer has rows without a value"]),
        ("a int64, b date", "b date, a int64", "compatible", ["x: the columns stand in another order"]),
        ("n: a int64", "n: a int64 | s: b date", "compatible", ["x/s: column 'b' (date) was added"]),
        ("n: a int64 | s: b date", "n: a int64", "breaking", ["x/s: column 'b' (date) was removed"]),
        ("a int64", None, "breaking", ["x cannot be read any more"]),
        (None, "a int64", "compatible", ["x: column 'a' (int64) was added"]),
        (None, None, "identical", []),
    ],
)
def test_a_change_of_one_component_has_this_verdict(before: str | None, after: str | None, verdict: str, told: list[str]) -> None:
    assert compare(_schema(x=before), _schema(x=after)).verdict == verdict
    assert drift(_schema(x=before), _schema(x=after)) == told


def test_a_component_that_is_gone_breaks() -> None:
    change = compare(_schema(x="a int64", y="b date"), _schema(x="a int64"))
    assert (change.verdict, change.components_removed, change.tables) == (Verdict.BREAKING, ("y",), ())
    assert drift(_schema(x="a int64", y="b date"), _schema(x="a int64")) == ["y is gone"]


def test_a_new_component_is_a_change_of_the_columns_only_when_its_columns_are_new() -> None:
    assert compare(_schema(x="a int64"), _schema(x="a int64", y="a int64")).verdict is Verdict.COMPATIBLE
    assert drift(_schema(x="a int64"), _schema(x="a int64", y="a int64")) == []
    assert drift(_schema(x="a int64"), _schema(x="a int64", y="z int64")) == ["y came with columns of its own"]


@pytest.mark.parametrize(
    ("before", "after", "wider"),
    [
        ("int64", "decimal(19,0)", True),
        ("int64", "decimal(18,0)", False),
        ("uint64", "decimal(20,0)", True),
        ("uint64", "int64", False),
        ("decimal(5,2)", "decimal(6,2)", True),
        ("decimal(5,2)", "decimal(6,4)", False),
        ("decimal(5,2)", "float64", False),
        ("date", "timestamp", True),
        ("timestamp", "timestamp with zone", False),
        ("int64", "string", False),
        ("list<int64>", "list<float64>", True),
        ("list<float64>", "list<int64>", False),
        ("struct<a: int64>", "struct<a: int64>", True),
    ],
)
def test_a_type_widens_when_every_value_still_fits(before: str, after: str, wider: bool) -> None:
    assert widens(before, after) is wider


columns = st.lists(st.sampled_from(["a int64", "b string?", "c date", "d decimal(9,2)"]), unique=True).map(", ".join)
schemas = st.dictionaries(st.sampled_from(["x", "y", "z"]), st.none() | columns).map(lambda components: _schema(**components))


@given(schemas)
def test_a_schema_is_identical_to_itself(schema: VersionSchema) -> None:
    assert compare(schema, schema).verdict is Verdict.IDENTICAL


@given(schemas, schemas)
def test_what_one_direction_adds_the_other_removes(left: VersionSchema, right: VersionSchema) -> None:
    there, back = compare(left, right), compare(right, left)
    assert (there.components_added, there.components_removed) == (back.components_removed, back.components_added)
    if not there.components_lost and not back.components_lost:
        assert {(c.component, c.added, c.removed) for c in there.tables} == {(c.component, c.removed, c.added) for c in back.tables}
