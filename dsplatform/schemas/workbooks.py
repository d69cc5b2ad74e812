"""Workbooks (.xlsx, .xlsm, .xlsb, .xls, .ods): every sheet, typed by all of its rows."""

import logging
import zipfile
from pathlib import Path

import fastexcel
import pyarrow as pa
import pyarrow.compute as pc

from dsplatform.schemas.columns import kind_of
from dsplatform.schemas.delimited import unique_names
from dsplatform.schemas.model import Column, FileCapture, Json, Table

MAX_UNPACKED = 4 << 30
MAX_ENTRIES = 10_000
TYPES = {
    "null": "null",
    "int": "int64",
    "float": "float64",
    "string": "string",
    "boolean": "boolean",
    "datetime": "timestamp",
    "date": "date",
    "duration": "duration",
}

logging.getLogger("fastexcel").setLevel(logging.ERROR)  # it warns about each column that has no values


def workbook_kind(path: Path) -> str | None:
    """`xlsx`, `xlsb` or `ods` for a zip archive that is a workbook, else None. Raises `ValueError` for one that unpacks to too much."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = {entry.filename.replace("\\", "/").lstrip("/").lower() for entry in entries}
        if any(name.startswith("xl/") for name in names):
            kind = "xlsb" if "xl/workbook.bin" in names else "xlsx"
        elif "content.xml" in names and b"spreadsheet" in (archive.read("mimetype") if "mimetype" in names else b"spreadsheet"):
            kind = "ods"
        else:
            return None
        if len(entries) > MAX_ENTRIES or sum(entry.file_size for entry in entries) > MAX_UNPACKED:
            raise ValueError(f"the workbook has {len(entries)} parts or unpacks to more than {MAX_UNPACKED >> 30} GiB")
        return kind


def read_workbook(path: Path, kind: str) -> FileCapture:
    """All sheets in their order, hidden ones marked."""
    book = fastexcel.read_excel(path)
    return FileCapture.ok(kind, tuple(_sheet(book, index, name) for index, name in enumerate(book.sheet_names)))


def _sheet(book: fastexcel.ExcelReader, index: int, name: str) -> Table:
    sheet = _loaded(book, index, header_row=0)
    header = sheet.width > 0 and _has_header(sheet)
    if sheet.width and not header:
        sheet = _loaded(book, index, header_row=None)
    details: dict[str, Json] = {"header": header}
    if sheet.visible != "visible":
        details["hidden"] = True
    if not sheet.width:
        return Table(name, (), 0, details)
    infos, batch = sheet.available_columns(), sheet.to_arrow()
    given = [info.name if header and info.column_name_from == "looked_up" else "" for info in infos]
    names, _ = unique_names(given)
    marked = _columns_with_marks(book, index, 0 if header else None, infos, batch)
    columns = []
    for position, (unique, info, values) in enumerate(zip(names, infos, batch.columns, strict=True)):
        text = marked.get(position)
        type_, nulls = (_type(info.dtype, values), values.null_count) if text is None else ("string", text.null_count)
        columns.append(Column(unique, type_, nullable=nulls > 0 or not len(values)))
    return Table(name, tuple(columns), batch.num_rows, details)


def _columns_with_marks(
    book: fastexcel.ExcelReader, index: int, header_row: int | None, infos: list[fastexcel.ColumnInfo], batch: pa.RecordBatch
) -> dict[int, pa.Array]:
    """The texts of typed columns in which a cell says `n/a`, `NA` or `null`. fastexcel takes those for empty cells; they are text."""
    suspects = [
        position for position, info in enumerate(infos) if info.dtype not in {"string", "null"} and batch.column(position).null_count
    ]
    if not suspects:
        return {}
    texts = book.load_sheet(
        index, header_row=header_row, use_columns=[infos[position].name for position in suspects], dtypes="string", whitespace_as_null=True
    ).to_arrow()
    found = zip(suspects, texts.columns, strict=True)
    return {position: text for position, text in found if text.null_count < batch.column(position).null_count}


def _has_header(sheet: fastexcel.ExcelSheet) -> bool:
    """As in delimited text: the first row names the columns unless it looks like the rows below."""
    infos = sheet.available_columns()
    typed = [(kind_of(info.name), info.dtype) for info in infos if info.column_name_from == "looked_up"]
    if all(kind == "string" for kind, _ in typed):
        return bool(typed)
    alike = {"number": {"int", "float"}, "boolean": {"boolean"}, "date": {"datetime", "date"}, "timestamp": {"datetime", "date"}}
    votes = [-1 if dtype in alike.get(kind, ()) else 1 for kind, dtype in typed if dtype not in {"string", "null"}]
    return sum(votes) > 0


def _loaded(book: fastexcel.ExcelReader, index: int, *, header_row: int | None) -> fastexcel.ExcelSheet:
    """The sheet, typed by all rows. Where one column mixes types that have none in common, such columns are text."""
    try:
        return book.load_sheet(index, header_row=header_row, schema_sample_rows=None)
    except fastexcel.UnsupportedColumnTypeCombinationError:
        infos = book.load_sheet(index, header_row=header_row, dtypes="string").available_columns()
        mixed: fastexcel.DTypeMap = {info.name: "string" for info in infos if not _has_one_type(book, index, info.name, header_row)}
        return book.load_sheet(index, header_row=header_row, schema_sample_rows=None, dtypes=mixed)


def _has_one_type(book: fastexcel.ExcelReader, index: int, column: str, header_row: int | None) -> bool:
    try:
        book.load_sheet(index, header_row=header_row, schema_sample_rows=None, use_columns=[column])
    except fastexcel.UnsupportedColumnTypeCombinationError:
        return False
    return True


def _type(dtype: str, values: pa.Array) -> str:
    """Workbooks know only floating numbers and points in time: integers and days are told by all values."""
    if values.null_count == len(values):
        return "null"
    logical = TYPES[dtype]
    if logical == "float64" and _all(pc.and_(pc.equal(pc.floor(values), values), pc.less_equal(pc.abs(values), 2.0**53))):
        return "int64"
    if logical == "timestamp" and _all(pc.equal(pc.floor_temporal(values, unit="day"), values)):
        return "date"
    return logical


def _all(mask: pa.BooleanArray) -> bool:
    return bool(pc.all(mask, min_count=0).as_py())
