"""Workbooks (.xlsx, .xlsm, .xlsb, .xls, .ods): every sheet, typed by all of its rows.

What Excel has written since 2007 is read by `xlsx.py`, at a speed and with a detail (error cells, formats, merged ranges) that no library
offers together. The other formats are rare and small: calamine reads them."""

import logging
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from tempfile import TemporaryDirectory

import fastexcel
import numpy as np
import pyarrow as pa
from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetMetadata, SheetTypeEnum, SheetVisibleEnum

from dsplatform.schemas.model import FileCapture, Json
from dsplatform.schemas.workbooks.archives import Archive, names
from dsplatform.schemas.workbooks.sheet_columns import CellStore
from dsplatform.schemas.workbooks.sheet_values import Cells, Kind, of_python
from dsplatform.schemas.workbooks.sheets import Sheet
from dsplatform.schemas.workbooks.xlsx import Xlsx

_BLOCK = 100_000
ENCRYPTED = "it is encrypted: save it without a password"

logging.getLogger("fastexcel").setLevel(logging.ERROR)  # it warns about each column that has no values


class NotAWorkbook(ValueError):
    """The container of old Office files, with something else in it."""


def workbook_kind(path: Path) -> str | None:
    """`xlsx`, `xlsb` or `ods` for a zip archive that is a workbook, else None. Opens nothing in it but a short text."""
    found = names(path)
    if "xl/workbook.bin" in found:
        return "xlsb"
    if any(name.startswith("xl/") for name in found) or {"[content_types].xml", "workbook.xml"} <= found:
        return "xlsx"
    if "content.xml" in found and "mimetype" in found:
        with Archive(path) as archive:
            return "ods" if b"spreadsheet" in archive.read("mimetype") else None
    return "ods" if "content.xml" in found else None


def read_workbook(path: Path, kind: str) -> FileCapture:
    """All sheets in their order, hidden ones marked, with profiles. Raises `ValueError` for what cannot be read, and why."""
    tables, details, notes = [], dict[str, Json](), dict[str, dict[str, Json]]()
    for sheet in _sheets(path, kind, None, details):
        tables.append(sheet.table())
        for note, value in sheet.notes.items():
            notes.setdefault(note, {})[sheet.name] = value
    return FileCapture.ok(kind, tuple(tables), details, dict(notes))


def workbook_rows(path: Path, kind: str, sheet: str | None) -> Iterator[pa.RecordBatch]:
    """The rows of one sheet that its capture counted, under the captured names and typed as captured: error cells are null, the cells of
    mixed columns text. Without a name, of the only sheet. Raises `ValueError` as `read_workbook` does, and when there is no such sheet."""
    found = list(_sheets(path, kind, sheet, {}))
    if len(found) != 1:
        raise ValueError(f"there is no sheet {sheet!r}" if sheet is not None else "say which sheet: there are several")
    return found[0].batches()


def _sheets(path: Path, kind: str, only: str | None, details: dict[str, Json]) -> Iterator[Sheet]:
    """The sheets one after the other, or the only one of that name. `details` takes what concerns them all."""
    zipped = _is_zip(path)
    if not zipped and _has_encrypted_package(path):
        raise NotAWorkbook(ENCRYPTED)
    if not zipped and kind != "xls":
        raise ValueError(f"it is damaged, or not the .{kind} that its name says")
    if kind in {"xlsx", "xlsm"}:
        with Archive(path) as archive:
            yield from _xlsx(Xlsx(archive), only, details)
        return
    if zipped:
        with Archive(path) as archive:
            archive.verify()
    with TemporaryDirectory() as folder:  # calamine goes by the ending, which what is stored has not
        named = Path(folder, f"book.{kind}")
        named.symlink_to(path.resolve())
        yield from _others(named, only, details)


def _xlsx(book: Xlsx, only: str | None, details: dict[str, Json]) -> Iterator[Sheet]:
    if not book.sheets:
        raise ValueError("it lists no sheet")
    if book.since_1904:
        details["date_system"] = 1904
    charts = [entry.name for entry in book.sheets if entry.kind == "chartsheet"]
    if charts:
        details["chart_sheets"] = list[Json](charts)
    for entry in book.sheets:
        if entry.kind == "worksheet" and only in {None, entry.name}:
            yield book.read(entry)


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _has_encrypted_package(path: Path) -> bool:
    """Whether it is the container in which Office keeps a document with a password."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return content.find("EncryptedPackage".encode("utf-16-le")) >= 0


def _others(path: Path, only: str | None, details: dict[str, Json]) -> Iterator[Sheet]:
    try:
        with CalamineWorkbook.from_path(path) as book:
            if not book.sheets_metadata:
                raise NotAWorkbook("it lists no sheet")
            charts = [sheet.name for sheet in book.sheets_metadata if sheet.typ == SheetTypeEnum.ChartSheet]
            if charts:
                details["chart_sheets"] = list[Json](charts)
            errors = fastexcel.read_excel(path)
            for index, sheet in enumerate(book.sheets_metadata):
                if sheet.typ == SheetTypeEnum.WorkSheet and only in {None, sheet.name}:
                    yield _other(book, errors, index, sheet)
    except PasswordError as err:
        raise ValueError(ENCRYPTED) from err
    except (CalamineError, fastexcel.FastExcelError) as err:
        raise NotAWorkbook(f"it is damaged, cut off, or no workbook: {err}") from err


def _other(book: CalamineWorkbook, errors: fastexcel.ExcelReader, index: int, about: SheetMetadata) -> Sheet:
    sheet = book.get_sheet_by_index(index)
    very = about.visible == SheetVisibleEnum.VeryHidden
    state = "very hidden" if very else "hidden" if about.visible == SheetVisibleEnum.Hidden else None
    ranges = [(top, left, bottom, right) for (top, left), (bottom, right) in sheet.merged_cell_ranges or []]
    store, texts = CellStore(), dict[str, int]()
    if sheet.start is not None:
        top, left = sheet.start
        found: list[tuple[int, int, int, int]] = []
        for row, values in enumerate(sheet.iter_rows(), top):
            for column, value in enumerate(values, left):
                if isinstance(value, str):
                    if value:
                        found.append((row, column, Kind.TEXT, texts.setdefault(value, len(texts))))
                else:
                    found.append((row, column, *of_python(value)))
            if len(found) > _BLOCK:
                store.add(_cells(found))
                found = []
        found += [(row, column, Kind.ERROR, 0) for row, column in _errors(errors, index, top, left)]
        store.add(_cells(found))
    return Sheet(about.name, store.columns(), pa.array(list(texts), pa.string()), state, ranges)


def _errors(book: fastexcel.ExcelReader, index: int, top: int, left: int) -> Iterator[tuple[int, int]]:
    """Where the error cells are: calamine gives them no value."""
    _, errors = book.load_sheet(index, header_row=None, skip_rows=0, dtypes="string").to_arrow_with_errors()
    for error in errors.errors if errors is not None else ():
        if "Error(" in error.detail:
            row, column = error.offset_position
            yield top + row, left + column


def _cells(found: list[tuple[int, int, int, int]]) -> Cells:
    rows, columns, kinds, values = np.array(found, np.int64).reshape(-1, 4).T
    return Cells(rows.astype(np.int32), columns.astype(np.int32), kinds.astype(np.uint8), values.copy())
