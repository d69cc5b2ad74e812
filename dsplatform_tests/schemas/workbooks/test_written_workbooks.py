"""What one program writes and another reads must agree with ours: tables of openpyxl, and workbooks that once broke a reader."""

import datetime as dt
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.cell import WriteOnlyCell
from openpyxl.worksheet.worksheet import Worksheet

from dsplatform.schemas.model import FileCapture, Status
from dsplatform.schemas.readers import extract
from dsplatform.schemas.sandbox import Request, Sandbox
from dsplatform.schemas.workbooks.reading import workbook_rows

CORPUS = Path(__file__).parents[3].parent / "shared" / "corpus" / "workbooks"

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(
    lambda text: text[0] not in "=#"
)
DAYS = st.dates(dt.date(1900, 3, 1), dt.date(9999, 12, 30))
MOMENTS = st.builds(lambda day, seconds: dt.datetime.combine(day, dt.time()) + dt.timedelta(seconds=seconds), DAYS, st.integers(1, 86_399))
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "int64": st.integers(-(2**53), 2**53),
    "float64": st.floats(-1e100, 1e100).filter(lambda number: not number.is_integer()).map(lambda number: float(f"{number:.15g}")),
    "string": WORDS.filter(lambda text: "_x" not in text),
    "boolean": st.booleans(),
    "date": DAYS,
    "timestamp": MOMENTS,
    "time": st.builds(dt.time, st.integers(0, 23), st.integers(0, 59), st.integers(0, 59)),
    "duration": st.builds(lambda seconds: dt.timedelta(seconds=seconds), st.integers(0, 10**7)),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[str], list[list[object]]]:
    """Names, types and rows, of which the last has a value in every column, so that it counts."""
    types = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=6))
    names = draw(st.lists(WORDS, min_size=len(types), max_size=len(types), unique=True))
    absent = draw(st.booleans())
    row = st.tuples(*(KINDS[type_] | st.none() if absent else KINDS[type_] for type_ in types))
    rows = [list(values) for values in draw(st.lists(row, max_size=30))]
    return names, types, [*rows, [draw(KINDS[type_]) for type_ in types]]


@settings(deadline=None)
@given(tables())
def test_tables_come_back_as_they_were_written(table: tuple[list[str], list[str], list[list[object]]]) -> None:
    names, types, rows = table
    with TemporaryDirectory() as folder:
        path = Path(folder, "x.xlsx")
        book = openpyxl.Workbook(write_only=True)
        sheet = book.create_sheet("s")
        lines: list[list[Any]] = [list(names), *rows]
        for row in lines:
            cells = [WriteOnlyCell(sheet, value) for value in row]
            for cell in cells:
                if isinstance(cell.value, str):
                    cell.data_type = "s"
            sheet.append(cells)
        book.save(path)
        capture = extract(path, "", "x.xlsx")
        read = [
            row for batch in workbook_rows(path, "xlsx", "s") for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
        ]
    (found,) = capture.tables
    assert [column.name for column in found.columns] == names
    assert [column.type for column in found.columns] == types
    assert found.rows == len(rows)
    nulls = [sum(row[index] is None for row in rows) for index in range(len(names))]
    assert [profile.nulls for profile in found.profile] == nulls
    assert [column.nullable for column in found.columns] == [count > 0 for count in nulls]
    assert read == [tuple(row) for row in rows]


@pytest.fixture(scope="module")
def captures() -> dict[Path, FileCapture]:
    """Of all workbooks that once broke a reader."""
    if not CORPUS.is_dir():
        pytest.skip("the corpus of ugly files is not here")
    box = Sandbox(1)
    paths = sorted(CORPUS.iterdir())
    found = dict(zip(paths, box.extract([Request(path, "", path.name) for path in paths]), strict=True))
    box.close()
    return found


REFUSED = {
    "OOM_alloc3.xls": "damaged",
    "issue_385.xls": "encrypted",
    "pass_protected.ods": "encrypted",
    "pass_protected.xlsx": "encrypted",
}


def test_each_ugly_workbook_is_read_or_refused_for_its_reason(captures: dict[Path, FileCapture]) -> None:
    assert len(captures) == 61
    refused = {path.name: capture.reason or "" for path, capture in captures.items() if capture.status is not Status.OK}
    assert set(refused) == set(REFUSED)
    for name, word in REFUSED.items():
        assert word in refused[name]
    for capture in captures.values():
        for table in capture.tables:
            assert len(table.profile) == len(table.columns)
            assert all((profile.nulls or 0) <= (table.rows or 0) for profile in table.profile)


def test_an_independent_reader_sees_the_same_sheets_and_rows(captures: dict[Path, FileCapture]) -> None:
    compared = 0
    for path, capture in captures.items():
        if path.suffix not in {".xlsx", ".xlsm"} or capture.status is not Status.OK:
            continue
        try:
            with warnings.catch_warnings(action="ignore"), path.open("rb") as file:
                book = openpyxl.load_workbook(file, data_only=True)
        except (KeyError, IndexError, TypeError):
            continue  # what broke a reader breaks this one, too
        if path.name == "strict_iso_paths.xlsx":
            continue  # openpyxl sees no sheet in the strict form of the standard
        assert [table.name for table in capture.tables] == [sheet.title for sheet in book.worksheets], path.name
        for table, sheet in zip(capture.tables, book.worksheets, strict=True):
            compared += 1
            notes = capture.notes.get("lines_above_header", {})
            above = notes.get(table.name or "", 0) if isinstance(notes, dict) else 0
            assert isinstance(above, int)
            header = 2 if path.name == "merge_cells.xlsx" else int(bool(table.details["header"]))
            assert (table.rows or 0) + header + above == _height(sheet), (path.name, table.name)
            assert bool(table.details.get("hidden")) == (sheet.sheet_state != "visible")
    assert compared >= 30


def _height(sheet: Worksheet) -> int:
    """From the first row with a value to the last."""
    rows = [row for row, values in enumerate(sheet.iter_rows(values_only=True)) if any(value not in {None, ""} for value in values)]
    return rows[-1] - rows[0] + 1 if rows else 0
