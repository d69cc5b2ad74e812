"""The columns of a sheet: cells put together by column, one type for each column, Arrow arrays by batch."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dsplatform.schemas.workbooks.sheet_values import DAY_MS, EXACT, Cells, Integers, Kind

MAX_CELLS = 20_000_000
"""With a value, in one sheet: 17 bytes of memory each. A full sheet of 1,048,576 rows has 19 columns of them."""
_BLOCK = 2_000_000


class CellStore:
    """All cells of a sheet, put together by column a block at a time."""

    def __init__(self) -> None:
        self._pending: list[Cells] = []
        self._waiting = self._count = 0
        self._columns: dict[int, list[Cells]] = {}

    def add(self, cells: Cells) -> None:
        """Raises `ValueError` when there are more than `MAX_CELLS`."""
        self._pending.append(cells)
        self._waiting += len(cells.rows)
        self._count += len(cells.rows)
        if self._count > MAX_CELLS:
            raise ValueError(f"a sheet has more than {MAX_CELLS:,} cells with a value, the most that is read")
        if self._waiting > _BLOCK:
            self._sort()

    def _sort(self) -> None:
        block = Cells.joined(self._pending)
        self._pending, self._waiting = [], 0
        if not len(block.rows):
            return
        order = np.argsort(block.columns.astype(np.uint16), kind="stable")
        block = Cells(block.rows.take(order), block.columns.take(order), block.kinds.take(order), block.values.take(order))
        bounds = np.flatnonzero(np.diff(block.columns, prepend=-1))
        for start, stop in zip(bounds.tolist(), [*bounds[1:].tolist(), len(order)], strict=True):
            self._columns.setdefault(int(block.columns[start]), []).append(block.slice(start, stop).copy())

    def columns(self) -> dict[int, Cells]:
        """The cells of each column by ascending row, each row once: of two cells in one place the last counts. Empties the store."""
        self._sort()
        found = {}
        while self._columns:
            column, parts = self._columns.popitem()
            cells = parts[0] if len(parts) == 1 else Cells.joined(parts)
            steps = np.diff(cells.rows)
            if (steps <= 0).any():
                order = np.argsort(cells.rows, kind="stable")
                cells = cells.where(order)  # type: ignore[arg-type]
                cells = cells.where(np.append(np.diff(cells.rows) > 0, True))
            found[column] = cells
        return dict(sorted(found.items()))


class Texts:
    """The texts that cells refer to, with their lengths in bytes."""

    def __init__(self, values: pa.StringArray) -> None:
        self.values = values
        self.lengths: npt.NDArray[np.int32] = pc.binary_length(values).to_numpy(zero_copy_only=False)


class SheetColumn:
    """The cells of one column below the header: its type, what it holds of each kind, its values in batches."""

    def __init__(self, cells: Cells, first: int, rows: int, texts: "Texts") -> None:
        below = cells.slice(int(np.searchsorted(cells.rows, first)), len(cells.rows))
        errors = below.kinds == Kind.ERROR
        self.errors = int(np.count_nonzero(errors))
        self._cells = below.where(~errors) if self.errors else below
        self._first, self._rows, self._texts = first, rows, texts
        counts = np.bincount(self._cells.kinds, minlength=len(Kind) + 1)
        self.kinds: Counter[str] = Counter()
        for kind in Kind:
            if counts[kind]:
                self.kinds[kind.label] += int(counts[kind])
        self.type = self._type()
        self.nulls = rows - len(self._cells.rows)

    def _type(self) -> str:
        match sorted(self.kinds):
            case []:
                return "null"
            case ["text"]:
                return "string"
            case ["number"]:
                return "int64" if self._whole() else "float64"
            case ["date", "timestamp"]:
                return "timestamp"
            case [only]:
                return only
        return "string"

    @property
    def mixed(self) -> bool:
        """Whether it is text only because its kinds have no other type in common."""
        return self.type == "string" and len(self.kinds) > 1

    def _whole(self) -> bool:
        numbers = self._cells.values[self._cells.kinds == Kind.NUMBER].view(np.float64)
        return bool(((np.floor(numbers) == numbers) & (np.abs(numbers) <= EXACT)).all())

    @property
    def widest(self) -> int:
        """Bytes of its longest text."""
        index = self._cells.values[self._cells.kinds == Kind.TEXT]
        return int(self._texts.lengths.take(index).max()) if len(index) else 0

    def batches(self, size: int) -> Iterator[pa.Array]:
        """The rows, `size` at a time."""
        for start in range(0, self._rows, size):
            yield self.batch(start, min(size, self._rows - start))

    def batch(self, start: int, rows: int) -> pa.Array:
        """That many rows from `start`, counted from the first below the header."""
        low, high = np.searchsorted(self._cells.rows, [self._first + start, self._first + start + rows])
        kinds, values = self._cells.kinds[low:high], self._cells.values[low:high]
        full = len(values) == rows
        places = None if full else self._cells.rows[low:high] - self._first - start
        if self.mixed:
            return self._rendered(kinds, values, places, rows)
        match self.type:
            case "null":
                return pa.nulls(rows)
            case "string":
                index = _spread(values, places, rows)
                return self._texts.values.take(index)
            case "int64":
                floats = kinds == Kind.NUMBER
                return _spread(np.where(floats, np.where(floats, values.view(np.float64), 0).astype(np.int64), values), places, rows)
            case "float64":
                return _spread(np.where(kinds == Kind.NUMBER, values.view(np.float64), values.astype(np.float64)), places, rows)
            case "boolean":
                return _spread(values.astype(np.bool_), places, rows)
            case "date":
                return _spread(values.astype(np.int32), places, rows).view(pa.date32())
            case "timestamp":
                moments = np.where(kinds == Kind.DATE, values * (DAY_MS * 1000), values)
                return _spread(moments, places, rows).view(pa.timestamp("us"))
            case "time":
                return _spread(values, places, rows).view(pa.time64("us"))
        return _spread(values, places, rows).view(pa.duration("us"))

    def _rendered(self, kinds: npt.NDArray[np.uint8], values: Integers, places: npt.NDArray[np.int32] | None, rows: int) -> pa.Array:
        listed: list[str | None] = [None] * rows
        at = range(rows) if places is None else places.tolist()
        for place, kind, value in zip(at, kinds.tolist(), values.tolist(), strict=True):
            listed[place] = rendered(kind, value, self._texts.values)
        return pa.array(listed, pa.string())


def _spread(values: npt.NDArray[Any], places: npt.NDArray[np.int32] | None, rows: int) -> pa.Array:
    """An array of that many rows with the values at their places."""
    if places is None:
        return pa.array(values)
    dense, absent = np.zeros(rows, values.dtype), np.ones(rows, np.bool_)
    dense[places], absent[places] = values, False
    return pa.array(dense, mask=absent)


_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - workbooks know no zones


def rendered(kind: int, value: int, texts: pa.StringArray) -> str:
    """A cell as text: numbers shortest, dates and times in ISO 8601."""
    match kind:
        case Kind.TEXT:
            return str(texts[value].as_py())
        case Kind.NUMBER:
            number = float(np.int64(value).view(np.float64))
            return str(int(number)) if number.is_integer() and abs(number) <= EXACT else repr(number)
        case Kind.BOOLEAN:
            return "true" if value else "false"
        case Kind.DATE:
            return (_EPOCH + dt.timedelta(value)).date().isoformat()
        case Kind.TIMESTAMP:
            return (_EPOCH + dt.timedelta(microseconds=value)).isoformat(" ")
        case Kind.TIME:
            return (_EPOCH + dt.timedelta(microseconds=value)).time().isoformat()
        case Kind.DURATION:
            return str(dt.timedelta(microseconds=value))
        case Kind.ERROR:
            return ""
    return str(value)
