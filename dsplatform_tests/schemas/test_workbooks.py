"""Workbooks: every sheet, every row."""

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path

import openpyxl
import pytest

from dsplatform.schemas.model import FileCapture, Status, Table
from dsplatform.schemas.readers import extract


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., FileCapture]:
    """Writes sheets of rows, and reads the workbook."""

    def run(hidden: Sequence[str] = (), name: str = "x.xlsx", **sheets: Sequence[Sequence[object]]) -> FileCapture:
        book = openpyxl.Workbook()
        book.remove(book["Sheet"])
        for title, rows in sheets.items():
            sheet = book.create_sheet(title)
            sheet.sheet_state = "hidden" if title in hidden else "visible"
            for row in rows:
                sheet.append(row)
        book.save(tmp_path / name)
        return extract(tmp_path / name, "zip", name)

    return run


def _columns(table: Table) -> list[tuple[str, str, bool]]:
    return [(column.name, column.type, column.nullable) for column in table.columns]


def test_every_sheet_is_read_and_hidden_ones_are_marked(read: Callable[..., FileCapture]) -> None:
    capture = read(hidden=["secret"], north=[["a"], [1], [2]], secret=[["b"], ["x"]], blank=[])
    assert (capture.status, capture.format, capture.rows) == (Status.OK, "xlsx", 3)
    assert [(table.name, table.rows, table.details.get("hidden", False)) for table in capture.tables] == [
        ("north", 2, False),
        ("secret", 1, True),
        ("blank", 0, False),
    ]


def test_types_come_from_all_rows(read: Callable[..., FileCapture]) -> None:
    day, moment = dt.datetime(2026, 1, 31), dt.datetime(2026, 1, 31, 10, 30)  # noqa: DTZ001 - workbooks know no zones
    rows: list[list[object]] = [[1, 1.5, day, moment, True, "x", 1, None]] * 1500
    capture = read(
        s=[["int", "float", "date", "time", "bool", "text", "late", "empty"], *rows, [2, 2.5, day, moment, False, None, "n/a", None]]
    )
    assert _columns(capture.tables[0]) == [
        ("int", "int64", False),
        ("float", "float64", False),
        ("date", "date", False),
        ("time", "timestamp", False),
        ("bool", "boolean", False),
        ("text", "string", True),
        ("late", "string", False),
        ("empty", "null", True),
    ]
    assert capture.rows == 1501


@pytest.mark.parametrize("mark", ["n/a", "NA", "null", "none yet"])
def test_a_word_among_numbers_makes_the_column_text(read: Callable[..., FileCapture], mark: str) -> None:
    capture = read(s=[["n", "blank"], [1, 1], [2, None], [mark, 3]])
    assert _columns(capture.tables[0]) == [("n", "string", False), ("blank", "int64", True)]


def test_a_sheet_without_header_loses_no_row(read: Callable[..., FileCapture]) -> None:
    capture = read(s=[[1, "x"], [2, "y"]])
    assert (capture.tables[0].details, capture.rows) == ({"header": False}, 2)
    assert [name for name, _, _ in _columns(capture.tables[0])] == ["column_1", "column_2"]


def test_a_column_that_mixes_dates_and_durations_is_text(read: Callable[..., FileCapture]) -> None:
    capture = read(s=[["n", "mixed"], [1, dt.datetime(2026, 1, 31)], [2, dt.timedelta(hours=30)]])  # noqa: DTZ001 - no zones there
    assert [(name, type_) for name, type_, _ in _columns(capture.tables[0])] == [("n", "int64"), ("mixed", "string")]


def test_a_table_may_begin_anywhere(read: Callable[..., FileCapture]) -> None:
    table: list[list[object]] = [["n", "mixed", "n"], [1, dt.datetime(2026, 1, 31), None], ["NA", dt.timedelta(hours=30), 2]]  # noqa: DTZ001 - no zones there
    capture = read(s=[[], [], *([None, None, *row] for row in table)])
    assert _columns(capture.tables[0]) == [("n", "string", False), ("mixed", "string", False), ("n_2", "int64", True)]


def test_a_workbook_under_another_name_is_still_a_workbook(read: Callable[..., FileCapture]) -> None:
    assert read(name="x.xlsm", s=[["a"], [1]]).format == "xlsx"


def test_a_damaged_workbook_is_unreadable(read: Callable[..., FileCapture], tmp_path: Path) -> None:
    read(s=[["a"], [1]])
    whole = (tmp_path / "x.xlsx").read_bytes()
    (tmp_path / "cut.xlsx").write_bytes(whole[: len(whole) // 2])
    assert extract(tmp_path / "cut.xlsx", "xlsx", "cut.xlsx").status is Status.UNREADABLE
