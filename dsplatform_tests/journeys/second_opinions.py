"""Other readers, which share no code with ours: what do they see in a file, once they are told how it lies?

They are told the dialect and encoding of a text, and how many lines stand above a header; names and rows they find themselves.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import openpyxl
import pyarrow.parquet as pq
from python_calamine import CalamineWorkbook, SheetTypeEnum

from dsplatform.schemas.model import FileCapture

_Grid: TypeAlias = list[list[Any]]
"""A sheet's cells from its corner, row by row."""
_EMPTY = (None, "")

DAMAGED_PAGES = "The pages are damaged, the footer is not: schema and rows are the footer's, and who reads the rows is told."
_VARIANT = "DuckDB refuses a variant without `value`, which the case is about; as columns it is a struct like others."
_MERGED = "Cells of the header are merged across columns: each gets the text. calamine shows it in the first one."
DIFFERENT = {
    "parquet/bad_data__ARROW-GH-41321.parquet": DAMAGED_PAGES,
    "parquet/bad_data__ARROW-GH-45185.parquet": DAMAGED_PAGES,
    "parquet/bad_data__ARROW-GH-47662.parquet": DAMAGED_PAGES,
    "parquet/data__byte_stream_split_extended.gzip.parquet": "DuckDB does not decode BYTE_STREAM_SPLIT of float16 and decimals.",
    "parquet/data__map_no_value.parquet": "DuckDB wants two children of a map; the format allows one without values, a list of keys.",
    "parquet/shredded_variant__case-131.parquet": _VARIANT,
    "parquet/shredded_variant__case-138.parquet": _VARIANT,
    "workbooks/OOM_alloc.xls": _MERGED,
    "workbooks/issue_271.xls": _MERGED,
}
"""Where another reader says something else, or nothing: why ours is right."""


@dataclass(frozen=True)
class Seen:
    """One table: its sheet, its names, its rows."""

    sheet: str | None
    names: tuple[str, ...]
    rows: int | None


def read(path: Path, capture: FileCapture) -> list[Seen]:
    """What the other reader sees. Raises whatever it raises."""
    match capture.format:
        case "csv" | "tsv":
            return [_delimited(path, capture)]
        case "json" | "jsonl":
            return [_json(path)]
        case "parquet":
            return [_parquet(path)]
    return _workbook(path, capture)


def _bytes(path: Path) -> bytes:
    data = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            (member,) = [item for item in archive.infolist() if not item.is_dir()]
            return archive.read(member)
    for module in (gzip, bz2, lzma):
        try:
            return module.decompress(data)  # type: ignore[no-any-return]
        except Exception:  # noqa: BLE001 - it is not of this kind
            continue
    return data


def _delimited(path: Path, capture: FileCapture) -> Seen:
    """By the standard library. Rows that do not fit, which were reported, are taken off."""
    details, notes = capture.details, capture.notes
    text = _bytes(path).decode(str(details["encoding"])).removeprefix("\ufeff")
    lines = io.StringIO(text, newline="")
    for _ in range(int(str(notes.get("lines_above_header", 0)))):
        next(lines)
    csv.field_size_limit(1 << 30)
    found = [row for row in csv.reader(lines, delimiter=str(details["delimiter"]), quotechar=str(details["quote"])) if row]
    header = found.pop(0) if details["header"] else [""] * len(capture.tables[0].columns)
    ragged = int(str(notes.get("ragged_rows", 0)))
    fitting = sum(len(row) == len(header) for row in found)
    if fitting + ragged != len(found):
        raise AssertionError(f"{len(found)} rows are in the file, {fitting} fit, {ragged} were reported")
    return Seen(None, _unique(header), fitting)


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """As docs/schemas.md says."""
    result: dict[str, None] = {}
    given = set(names)
    for position, name in enumerate(names, 1):
        stem = name or f"column_{position}"
        free = chain([stem], (f"{stem}_{number}" for number in count(2)))
        result[next(one for one in free if one not in result and (one == name or one not in given))] = None
    return tuple(result)


def _json(path: Path) -> Seen:
    text = _bytes(path).decode("utf-8-sig")
    try:
        whole = json.loads(text)
        records: list[Any] = whole if isinstance(whole, list) else [whole]
    except json.JSONDecodeError:
        records = [json.loads(line) for line in text.split("\n") if line.strip()]
    return Seen(None, tuple(dict.fromkeys(name for record in records for name in record)), len(records))


def _parquet(path: Path) -> Seen:
    """By DuckDB, which reads the data, too."""
    with duckdb.connect() as connection:
        connection.execute("SET enable_geoparquet_conversion = false")
        relation = connection.from_parquet(str(path))
        rows = len(relation.fetchall())
        return Seen(None, _unique(relation.columns), rows)


def rows_of_parquet(path: Path) -> int:
    """What DuckDB reads in the footer; where it does not get that far, the rows that Arrow reads in the pages."""
    with duckdb.connect() as connection:
        connection.execute("SET enable_geoparquet_conversion = false")
        try:
            ((rows,),) = connection.execute("SELECT num_rows FROM parquet_file_metadata($path)", {"path": str(path)}).fetchall()
        except duckdb.Error:
            return int(pq.read_table(path).num_rows)
        return int(rows)


def _workbook(path: Path, capture: FileCapture) -> list[Seen]:
    """By openpyxl what Excel has written since 2007, the rest by calamine's plain cells. Told is how many rows stand above the header."""
    above = capture.notes.get("lines_above_header", {})
    assert isinstance(above, dict)
    try:
        grids = _by_openpyxl(path) if capture.format == "xlsx" else _by_calamine(path)
    except (KeyError, TypeError, IndexError):  # it expects what Excel writes, down to parts that may lack
        grids = _by_calamine(path)
    grids = grids or _by_calamine(path)  # of a strict workbook openpyxl sees no sheet
    if len(grids) != len(capture.tables):
        return [Seen(sheet, (), None) for sheet in grids]
    seen = []
    for table, (sheet, grid) in zip(capture.tables, grids.items(), strict=True):
        lines = int(str(above.get(table.name or "", 0)))
        names = tuple(column.name for column in table.columns)
        heights = range(1, 2 + max((name.count(" / ") for name in names), default=0)) if table.details["header"] else range(1)
        views = [_table(sheet, grid, lines, height) for height in heights]
        seen.append(next((view for view in views if view.names == names), views[0]))
    return seen


def _by_openpyxl(path: Path) -> dict[str, _Grid]:
    with warnings.catch_warnings(), path.open("rb") as file:  # which it leaves open where it fails
        warnings.simplefilter("ignore")  # of what it leaves out, such as drawings
        book = openpyxl.load_workbook(file, data_only=True)
        return {sheet.title: [list(row) for row in sheet.iter_rows(1, values_only=True)] for sheet in book.worksheets}


def _by_calamine(path: Path) -> dict[str, _Grid]:
    with CalamineWorkbook.from_path(path) as book:
        names = [sheet.name for sheet in book.sheets_metadata if sheet.typ == SheetTypeEnum.WorkSheet]
        return {name: book.get_sheet_by_name(name).to_python(skip_empty_area=False) for name in names}


def _table(sheet: str, grid: _Grid, above: int, height: int) -> Seen:
    """From the first row with a value to the last; the header has `height` lines."""
    used = [number for number, row in enumerate(grid) if any(value not in _EMPTY for value in row)]
    if not used:
        return Seen(sheet, (), 0)
    top = used[0] + above
    places = [place for row in grid[top:] for place, value in enumerate(row) if value not in _EMPTY]
    names = []
    for place in range(min(places), max(places) + 1):
        lines = [row[place] if place < len(row) else None for row in grid[top : top + height]]
        if len(lines) > 1 and lines[0] in _EMPTY and lines[1] not in _EMPTY:  # a cell to the left covers it
            lines[0] = next((value for value in reversed(grid[top][:place]) if value not in _EMPTY), None)
        names.append(" / ".join(dict.fromkeys(_text(value) for value in lines if value not in _EMPTY)))
    return Seen(sheet, _unique(names), used[-1] + 1 - top - height)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value % 1 == 0 else str(value)
