"""One sheet as a table: where its header is, what its columns are called, what they hold."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from dsplatform.schemas.model import Column, ColumnProfile, Json, Table
from dsplatform.schemas.profiles.profiling import ColumnProfiler
from dsplatform.schemas.text.delimited import unique_names
from dsplatform.schemas.workbooks.sheet_columns import SheetColumn, Texts, rendered
from dsplatform.schemas.workbooks.sheet_values import Cells, Kind

LOOKED_AT = 100
"""Rows from the top among which the header is sought."""
BATCH_ROWS, BATCH_BYTES = 1 << 16, 16 << 20

Range = tuple[int, int, int, int]
"""First row, first column, last row, last column, from 0."""
_Row = dict[int, tuple[int, int]]
_ALIKE: dict[int, int] = {Kind.WHOLE: Kind.NUMBER, Kind.TIMESTAMP: Kind.DATE}


@dataclass(frozen=True)
class Header:
    """`lines` are its rows, none where the table has no header; data begins at `first`; `above` counts the rows before."""

    names: dict[int, str]
    first: int
    above: int
    present: bool


@dataclass
class Sheet:
    """The cells of a sheet with a name; `merged` are ranges that one cell covers."""

    name: str
    cells: Mapping[int, Cells]
    texts: pa.StringArray
    hidden: str | None = None
    """`hidden`, `very hidden`, or None."""
    merged: Sequence[Range] = ()
    columns: list[SheetColumn] = field(init=False, default_factory=list)
    names: list[str] = field(init=False, default_factory=list)
    rows: int = field(init=False, default=0)
    notes: dict[str, Json] = field(init=False, default_factory=dict)
    header: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        if not self.cells:
            return
        top = min(int(cells.rows[0]) for cells in self.cells.values())
        bottom = max(int(cells.rows[-1]) for cells in self.cells.values())
        header = self._header(top)
        self.header, self.rows = header.present, bottom + 1 - header.first
        used = [number for number, cells in self.cells.items() if cells.rows[-1] >= header.first] + list(header.names)
        numbers = range(min(used), max(used) + 1) if used else range(0)
        self.names, renamed = unique_names([header.names.get(number, "") for number in numbers])
        none, texts = Cells.joined([]), Texts(self.texts)
        self.columns = [SheetColumn(self.cells.get(number, none), header.first, self.rows, texts) for number in numbers]
        named = list(zip(self.names, self.columns, strict=True))
        found: dict[str, dict[str, Json] | int] = {
            "lines_above_header": header.above,
            "renamed_columns": renamed if header.present else {},
            "mixed_columns": {name: dict(column.kinds) for name, column in named if column.mixed},
            "error_cells": {name: column.errors for name, column in named if column.errors},
        }
        self.notes = {note: value for note, value in found.items() if value}

    def table(self) -> Table:
        """Its schema and profile."""
        details: dict[str, Json] = {"header": self.header}
        if self.hidden:
            details["hidden"] = True
        if self.hidden == "very hidden":
            details["very_hidden"] = True
        columns = tuple(
            Column(name, column.type, nullable=column.nulls > 0 or not self.rows)
            for name, column in zip(self.names, self.columns, strict=True)
        )
        with ThreadPoolExecutor(2) as threads:
            profile = tuple(threads.map(_profile, self.columns))
        return Table(self.name, columns, self.rows, details, profile)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows of the table."""
        size = max(1, min(BATCH_ROWS, 4 * BATCH_BYTES // max(1, sum(column.widest + 8 for column in self.columns))))
        for start in range(0, self.rows, size):
            rows = min(size, self.rows - start)
            yield pa.RecordBatch.from_arrays([column.batch(start, rows) for column in self.columns], names=self.names)

    def _row(self, row: int) -> _Row:
        """The cells of one row."""
        found: _Row = {}
        for number, cells in self.cells.items():
            at = int(np.searchsorted(cells.rows, row))
            if at < len(cells.rows) and cells.rows[at] == row:
                found[number] = (int(cells.kinds[at]), int(cells.values[at]))
        return found

    def _header(self, top: int) -> Header:
        counts = np.zeros(LOOKED_AT, np.int64)
        for cells in self.cells.values():
            counts[cells.rows[: np.searchsorted(cells.rows, top + LOOKED_AT)] - top] += 1
        usual = Counter(counts[counts > 0].tolist()).most_common()
        several = max(count for count, times in usual if times == usual[0][1]) > 1
        start = top + int(np.argmax(counts > 1)) if several else top
        if not self._names_columns(start):
            return Header({}, start, start - top, present=False)
        merged = {start: self._spans(start)}
        last = start
        while merged[last] and self._goes_on(last, merged[last]):
            last += 1
            merged[last] = self._spans(last)
        names: dict[int, list[str]] = {}
        for row in range(start, last + 1):
            texts = {number: rendered(*cell, self.texts) for number, cell in self._row(row).items()}
            for first, stop in merged[row]:
                texts |= dict.fromkeys(range(first, stop + 1), texts.get(first, ""))
            for number, text in texts.items():
                if text and text not in names.setdefault(number, []):
                    names[number].append(text)
        return Header({number: " / ".join(parts) for number, parts in names.items()}, last + 1, start - top, present=True)

    def _names_columns(self, row: int) -> bool:
        """As in delimited text: a row names the columns unless it looks like the rows below."""
        votes = 0
        kinds = {number: kind for number, (kind, _) in self._row(row).items()}
        if all(kind == Kind.TEXT for kind in kinds.values()):
            return True
        for number, kind in kinds.items():
            cells = self.cells[number]
            start, stop = np.searchsorted(cells.rows, [row + 1, row + LOOKED_AT])
            below = {_ALIKE.get(found, found) for found in np.unique(cells.kinds[start:stop]).tolist()}
            if below - {Kind.TEXT, Kind.ERROR}:
                votes += -1 if _ALIKE.get(kind, kind) in below else 1
        return votes > 0

    def _spans(self, row: int) -> list[tuple[int, int]]:
        """First and last columns of what is merged across columns in that row alone."""
        return [(left, right) for top, left, bottom, right in self.merged if top == row == bottom and right > left]

    def _goes_on(self, row: int, spans: list[tuple[int, int]]) -> bool:
        """Whether the next row is a line of the header, too: it says something below the merged cells, in words or years, or other cells of
        the header reach down into it."""
        below = self._row(row + 1)
        under = [below[number] for first, last in spans for number in range(first, last + 1) if number in below]
        beside = [cell for number, cell in below.items() if not any(first <= number <= last for first, last in spans)]
        if not under:
            return False
        if any(top <= row < bottom == row + 1 and left == right for top, left, bottom, right in self.merged):
            return True
        if any(kind != Kind.TEXT for kind, _ in beside):
            return False
        years = all(kind == Kind.NUMBER and 1900 <= float(np.int64(value).view(np.float64)) <= 2100 for kind, value in under)
        return all(kind == Kind.TEXT for kind, _ in under) or years


def _profile(column: SheetColumn) -> ColumnProfile:
    profiler = ColumnProfiler()
    if column.type == "null":
        profiler.add(pa.nulls(column.nulls))
        return profiler.profile()
    size = max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, column.widest)))
    for values in column.batches(size):
        profiler.add(values)
    return profiler.profile()
