"""Workbooks: every sheet, every row, typed by all cells."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest
from openpyxl.chart import BarChart
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from dsplatform.schemas.model import FileCapture, Status, Table
from dsplatform.schemas.readers import extract
from dsplatform.schemas.workbooks import archives
from dsplatform.schemas.workbooks.reading import workbook_rows
from dsplatform_tests.schemas.workbooks import books

DAY, MOMENT = dt.datetime(2026, 1, 31), dt.datetime(2026, 1, 31, 10, 30, 0, 250_000)  # noqa: DTZ001 - workbooks know no zones
Rows = Sequence[Sequence[object]]


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., FileCapture]:
    """Writes sheets of rows with openpyxl, and reads the workbook."""

    def run(
        states: Mapping[str, str] | None = None, merged: Sequence[str] = (), name: str = "x.xlsx", epoch: Any = None, **sheets: Rows
    ) -> FileCapture:
        book = openpyxl.Workbook()
        book.remove(book["Sheet"])
        book.epoch = epoch or book.epoch
        for title, rows in sheets.items():
            sheet = book.create_sheet(title)
            sheet.sheet_state = (states or {}).get(title, "visible")
            for row in rows:
                sheet.append(row)
            for cells in merged:
                sheet.merge_cells(cells)
        book.save(tmp_path / name)
        return extract(tmp_path / name, "zip", name)

    return run


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., FileCapture]:
    """Reads a workbook of one sheet with these rows of XML, and other parts."""

    def run(rows: str, others: Mapping[str, str] | None = None, **how: Any) -> FileCapture:
        path = books.write(tmp_path / "made.xlsx", {**books.parts(books.sheet(rows, **how)), **(others or {})})
        return extract(path, "zip", "made.xlsx")

    return run


def _columns(table: Table) -> list[tuple[str, str, bool]]:
    return [(column.name, column.type, column.nullable) for column in table.columns]


def _names(capture: FileCapture) -> list[str]:
    return [column.name for column in capture.tables[0].columns]


def _types(capture: FileCapture) -> list[str]:
    return [column.type for column in capture.tables[0].columns]


def test_every_sheet_is_read_and_hidden_ones_are_marked(read: Callable[..., FileCapture]) -> None:
    states = {"secret": "hidden", "deep": "veryHidden"}
    capture = read(states, north=[["a"], [1], [2]], secret=[["b"], ["x"]], deep=[["c"], [1.5]], blank=[], head=[["only", "a header"]])
    assert (capture.status, capture.format, capture.rows) == (Status.OK, "xlsx", 4)
    marks = [(table.name, table.rows, table.details.get("hidden"), table.details.get("very_hidden")) for table in capture.tables]
    assert marks == [
        ("north", 2, None, None),
        ("secret", 1, True, None),
        ("deep", 1, True, True),
        ("blank", 0, None, None),
        ("head", 0, None, None),
    ]
    assert _columns(capture.tables[4]) == [("only", "null", True), ("a header", "null", True)]
    assert (capture.tables[3].columns, capture.tables[3].profile) == ((), ())


def test_types_come_from_all_rows(read: Callable[..., FileCapture]) -> None:
    rows: list[list[object]] = [[1, 1.5, DAY, MOMENT, True, "x", 1, None]] * 1500
    capture = read(
        s=[["int", "float", "date", "time", "bool", "text", "late", "empty"], *rows, [2, 2.5, DAY, MOMENT, False, None, "n/a", None]]
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
    assert capture.notes == {"mixed_columns": {"s": {"late": {"text": 1, "number": 1500}}}}


@pytest.mark.parametrize("mark", ["n/a", "NA", "null", "-", " ", "1"])
def test_a_word_among_numbers_makes_the_column_text(read: Callable[..., FileCapture], mark: str) -> None:
    capture = read(s=[["n", "blank"], [1, 1], [2, None], [mark, 3]])
    assert _columns(capture.tables[0]) == [("n", "string", False), ("blank", "int64", True)]
    assert capture.notes["mixed_columns"] == {"s": {"n": {"text": 1, "number": 2}}}


def test_numbers_kept_as_text_are_text(read: Callable[..., FileCapture]) -> None:
    capture = read(s=[["zip", "n"], ["01234", 1], ["98765", 2]])
    assert _types(capture) == ["string", "int64"]
    assert capture.tables[0].profile[0].examples == ("01234", "98765")


def test_a_sheet_without_header_loses_no_row(read: Callable[..., FileCapture]) -> None:
    capture = read(s=[[1, "x"], [2, "y"]])
    assert (capture.tables[0].details, capture.rows) == ({"header": False}, 2)
    assert _names(capture) == ["column_1", "column_2"]
    assert capture.notes == {}


def test_kinds_that_have_no_type_in_common_are_text(read: Callable[..., FileCapture], tmp_path: Path) -> None:
    cells: list[object] = [DAY, dt.timedelta(hours=30), dt.time(10, 30), True, 1.5, 7, MOMENT, "x", None]
    capture = read(s=[["n", "mixed"], *([number, cell] for number, cell in enumerate(cells))])
    assert _types(capture) == ["int64", "string"]
    kinds = {"date": 1, "timestamp": 1, "duration": 1, "time": 1, "boolean": 1, "number": 2, "text": 1}
    assert capture.notes == {"mixed_columns": {"s": {"mixed": kinds}}}
    (batch,) = workbook_rows(tmp_path / "x.xlsx", "xlsx", "s")
    assert batch.column("mixed").to_pylist() == [
        *("2026-01-31", "1 day, 6:00:00", "10:30:00", "true", "1.5", "7", "2026-01-31 10:30:00.250000", "x", None)
    ]


def test_days_and_moments_together_are_moments(read: Callable[..., FileCapture]) -> None:
    assert _types(read(s=[["t"], [DAY], [MOMENT]])) == ["timestamp"]


def test_times_and_durations_have_types_of_their_own(read: Callable[..., FileCapture], tmp_path: Path) -> None:
    capture = read(s=[["at", "for"], [dt.time(23, 59, 59), dt.timedelta(days=3, seconds=1)], [dt.time(0), dt.timedelta(0)]])
    assert _types(capture) == ["time", "duration"]
    (batch,) = workbook_rows(tmp_path / "x.xlsx", "xlsx", "s")
    assert batch.to_pylist()[0] == {"at": dt.time(23, 59, 59), "for": dt.timedelta(days=3, seconds=1)}


def test_both_systems_of_dates_give_the_same_days(read: Callable[..., FileCapture], tmp_path: Path) -> None:
    rows = [["d", "t"], [dt.date(1904, 2, 1), MOMENT], [dt.date(2026, 1, 31), MOMENT]]
    found = []
    for epoch in (None, CALENDAR_MAC_1904):
        capture = read(epoch=epoch, s=rows)
        assert _types(capture) == ["date", "timestamp"]
        assert capture.details == ({"date_system": 1904} if epoch else {})
        found.append([batch.to_pylist() for batch in workbook_rows(tmp_path / "x.xlsx", "xlsx", "s")])
    assert found[0] == found[1] == [[{"d": dt.date(1904, 2, 1), "t": MOMENT}, {"d": dt.date(2026, 1, 31), "t": MOMENT}]]


@pytest.mark.parametrize(
    ("serial", "day"),
    [(1, dt.date(1900, 1, 1)), (59, dt.date(1900, 2, 28)), (61, dt.date(1900, 3, 1)), (2958465, dt.date(9999, 12, 31))],
)
def test_days_at_the_ends_of_the_calendar(made: Callable[..., FileCapture], tmp_path: Path, serial: int, day: dt.date) -> None:
    capture = made(f'<row r="1"><c r="A1" s="1"><v>{serial}</v></c></row>', {"xl/styles.xml": books.styles("yyyy-mm-dd")})
    assert _types(capture) == ["date"]
    (batch,) = workbook_rows(tmp_path / "made.xlsx", "xlsx", "S1")
    assert batch.column(0).to_pylist() == [day]


def test_a_number_that_is_no_day_of_the_calendar_stays_a_number(made: Callable[..., FileCapture]) -> None:
    rows = '<row r="1"><c r="A1" s="1"><v>2958466</v></c></row><row r="2"><c r="A2" s="1"><v>-1</v></c></row>'
    assert _types(made(rows, {"xl/styles.xml": books.styles("yyyy-mm-dd")})) == ["int64"]


@pytest.mark.parametrize(
    ("code", "type_"),
    [
        ("General", "float64"),
        ("0.00", "float64"),
        ("#,##0.00 &quot;days&quot;", "float64"),
        ("0.00E+00", "float64"),
        ("[Red]0.0", "float64"),
        ("\\d0.0", "float64"),
        ("@", "float64"),
        ("dd/mm/yyyy", "timestamp"),
        ("[$-409]d\\-mmm\\-yy;@", "timestamp"),
        ("m/d/yy h:mm", "timestamp"),
        ("yyyy&quot;年&quot;m&quot;月&quot;", "timestamp"),
        ("[h]:mm:ss", "duration"),
        ("[mm]:ss", "duration"),
    ],
)
def test_the_format_tells_a_date_from_a_number(made: Callable[..., FileCapture], code: str, type_: str) -> None:
    assert _types(made('<row r="1"><c r="A1" s="1"><v>45000.5</v></c></row>', {"xl/styles.xml": books.styles(code)})) == [type_]


def test_formulas_count_by_their_stored_values(made: Callable[..., FileCapture]) -> None:
    rows = (
        '<row r="1"><c r="A1" t="str"><f>"n"</f><v>n</v></c><c r="B1" t="str"><f>"t"</f><v>t</v></c></row>'
        '<row r="2"><c r="A2"><f>1+1</f><v>2</v></c><c r="B2" t="str"><f>A1</f><v>x</v></c></row>'
        '<row r="3"><c r="A3"><f>1+2</f><v>3</v></c><c r="B3" t="str"><f>""</f><v></v></c></row>'
    )
    capture = made(rows)
    assert _columns(capture.tables[0]) == [("n", "int64", False), ("t", "string", True)]


def test_error_cells_are_counted_and_taken_as_rows_without_a_value(read: Callable[..., FileCapture], tmp_path: Path) -> None:
    capture = read(s=[["n", "t"], [1, "#N/A"], ["#DIV/0!", "#REF!"], [3, "#NAME?"]])
    assert _columns(capture.tables[0]) == [("n", "int64", True), ("t", "null", True)]
    assert (capture.rows, capture.notes) == (3, {"error_cells": {"s": {"n": 1, "t": 3}}})
    assert [profile.nulls for profile in capture.tables[0].profile] == [1, 3]
    (batch,) = workbook_rows(tmp_path / "x.xlsx", "xlsx", "s")
    assert batch.column("n").to_pylist() == [1, None, 3]


def test_titles_above_the_header_are_counted(read: Callable[..., FileCapture]) -> None:
    capture = read(
        merged=["A1:C1"], s=[["Sales of the year"], ["in euro"], [], ["region", "sum", "n"], ["north", 1.5, 1], ["south", 2.5, 2]]
    )
    assert (_names(capture), capture.rows) == (["region", "sum", "n"], 2)
    assert capture.notes == {"lines_above_header": {"s": 3}}


def test_merged_header_cells_name_each_column_they_cover(read: Callable[..., FileCapture]) -> None:
    rows: Rows = [
        ["Region", "Sales", None, "Costs", None],
        [None, 2023, 2024, "plan", "real"],
        ["north", 1, 2, 3, 4],
        ["south", 5, 6, 7, 8],
    ]
    capture = read(merged=["A1:A2", "B1:C1", "D1:E1"], s=rows)
    assert _names(capture) == ["Region", "Sales / 2023", "Sales / 2024", "Costs / plan", "Costs / real"]
    assert (_types(capture)[1:], capture.rows) == (["int64"] * 4, 2)


def test_merged_header_cells_without_a_line_below_are_numbered(read: Callable[..., FileCapture]) -> None:
    capture = read(merged=["A1:B1"], s=[["amounts", None, "n"], [1.5, 2.5, 1], [3.5, 4.5, 2]])
    assert (_names(capture), capture.rows) == (["amounts", "amounts_2", "n"], 2)
    assert capture.notes == {"renamed_columns": {"s": {"2": "amounts_2"}}}


def test_a_table_may_begin_anywhere(read: Callable[..., FileCapture]) -> None:
    table: list[list[object]] = [["n", "mixed", "n"], [1, DAY, None], ["NA", dt.timedelta(hours=30), 2]]
    capture = read(s=[[], [], *([None, None, *row] for row in table)])
    assert _columns(capture.tables[0]) == [("n", "string", False), ("mixed", "string", False), ("n_2", "int64", True)]
    assert "lines_above_header" not in capture.notes


def test_the_range_is_the_one_with_values_whatever_the_file_declares(made: Callable[..., FileCapture]) -> None:
    rows = (
        '<row r="1"><c r="A1" t="str"><v>a</v></c><c r="Z1" s="0"/></row><row r="2"><c r="A2"><v>1</v></c></row>'
        '<row r="3"/><row r="4"><c r="A4"><v>2</v></c></row><row r="1000000"><c r="ZZ1000000" s="0"/></row>'
    )
    for declared in ("A1", "A1:XFD1048576", "C7:B2", ""):
        capture = made(rows, dimension=declared)
        assert (_columns(capture.tables[0]), capture.rows) == ([("a", "int64", True)], 3)


def test_chart_sheets_are_named(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book["Sheet"].append(["a"])
    book.create_chartsheet("Chart 1").add_chart(BarChart())
    book.save(tmp_path / "x.xlsx")
    capture = extract(tmp_path / "x.xlsx", "zip", "x.xlsx")
    assert ([table.name for table in capture.tables], capture.details) == (["Sheet"], {"chart_sheets": ["Chart 1"]})


def test_integers_beyond_what_a_float_holds_are_exact(made: Callable[..., FileCapture], tmp_path: Path) -> None:
    numbers = [9007199254740993, -9223372036854775808, 3]
    capture = made("".join(f'<row r="{row}"><c r="A{row}"><v>{number}</v></c></row>' for row, number in enumerate(numbers, 1)))
    assert _types(capture) == ["int64"]
    (batch,) = workbook_rows(tmp_path / "made.xlsx", "xlsx", "S1")
    assert batch.column(0).to_pylist() == numbers


def test_the_later_of_two_cells_in_one_place_counts(made: Callable[..., FileCapture], tmp_path: Path) -> None:
    cells = '<row r="2"><c r="A2"><v>1</v></c></row><row r="1"><c r="A1"><v>5</v></c></row><row r="2"><c r="A2"><v>7</v></c></row>'
    assert made(cells).rows == 2
    (batch,) = workbook_rows(tmp_path / "made.xlsx", "xlsx", "S1")
    assert batch.column(0).to_pylist() == [5, 7]


def test_the_rows_have_the_captured_names_and_types(read: Callable[..., FileCapture], tmp_path: Path) -> None:
    capture = read(a=[["x"], [1]], b=[["n", "n", None, "t"], [1, 1.5, True, "a"], [None, None, None, None], [3, 2.5, False, DAY]])
    (batch,) = workbook_rows(tmp_path / "x.xlsx", "xlsx", "b")
    assert batch.schema.names == [column.name for column in capture.tables[1].columns] == ["n", "n_2", "column_3", "t"]
    assert batch.schema.types == [pa.int64(), pa.float64(), pa.bool_(), pa.string()]
    assert batch.num_rows == capture.tables[1].rows == 3
    assert batch.to_pylist()[2] == {"n": 3, "n_2": 2.5, "column_3": False, "t": "2026-01-31"}
    with pytest.raises(ValueError, match="no sheet 'c'"):
        workbook_rows(tmp_path / "x.xlsx", "xlsx", "c")
    with pytest.raises(ValueError, match="say which sheet"):
        workbook_rows(tmp_path / "x.xlsx", "xlsx", None)


def test_texts_are_what_was_typed(read: Callable[..., FileCapture], tmp_path: Path) -> None:
    texts = ["a & b", "<v>1</v>", "line\nbreak", " blanks ", "tab\there", "漢字 🎉", "'quoted'", "=1+1"[1:], "&amp;"]
    read(s=[["t", "n"], *([text, 1] for text in texts)])
    (batch,) = workbook_rows(tmp_path / "x.xlsx", "xlsx", "s")
    assert batch.column("t").to_pylist() == texts


def test_escaped_characters_are_the_characters(made: Callable[..., FileCapture], tmp_path: Path) -> None:
    texts = ["a_x000D_b_x005F_x0041_&#10;_xZZZZ_", "&#x263A;_x0041_"]
    made("".join(f'<row r="{row}"><c r="A{row}" t="str"><v>{text}</v></c></row>' for row, text in enumerate(texts, 1)))
    (batch,) = workbook_rows(tmp_path / "made.xlsx", "xlsx", "S1")
    assert (batch.schema.names, batch.column(0).to_pylist()) == (["a\rb_x0041_\n_xZZZZ_"], ["☺A"])


def test_a_workbook_under_another_name_is_still_a_workbook(read: Callable[..., FileCapture]) -> None:
    for name in ("x.xlsm", "x.csv", "x"):
        assert read(name=name, s=[["a"], [1]]).format == "xlsx"


@pytest.mark.parametrize("plain", [True, False])
def test_where_a_sheet_is_cut_into_pieces_changes_nothing(
    made: Callable[..., FileCapture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: bool
) -> None:
    tag = "<c" if plain else "<c "
    rows = "".join(
        f'<row r="{row}">{tag} r="A{row}"><v>{row}</v></c>{tag} r="B{row}" t="s"><v>{row % 900}</v></c>'
        f'{tag} r="C{row}" t="inlineStr"><is><t>own &amp; {row}</t></is></c></row>'
        for row in range(1, 4001)
    )
    others = {"xl/sharedStrings.xml": books.shared(*(f"<t>shared {number}</t>" for number in range(900)))}
    whole = made(rows, others)
    monkeypatch.setattr(archives, "_BLOCK", 5000)
    assert made(rows, others) == whole
    read = [row for batch in workbook_rows(tmp_path / "made.xlsx", "xlsx", "S1") for row in batch.to_pylist()]
    assert read == [{"column_1": row, "column_2": f"shared {row % 900}", "column_3": f"own & {row}"} for row in range(1, 4001)]


def test_a_damaged_workbook_is_unreadable(read: Callable[..., FileCapture], tmp_path: Path) -> None:
    read(s=[["a"], [1]])
    whole = (tmp_path / "x.xlsx").read_bytes()
    (tmp_path / "cut.xlsx").write_bytes(whole[: len(whole) // 2])
    assert extract(tmp_path / "cut.xlsx", "xlsx", "cut.xlsx").status is Status.UNREADABLE
