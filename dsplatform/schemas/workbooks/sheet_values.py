"""What the cells of a sheet mean: the kind of each, and its value in 64 bits."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dsplatform.schemas.workbooks.cells import BOOLEAN, DATE, ERROR, MAX_COLUMNS, MAX_ROWS, NUMBER, SHARED, TEXT, RawCells

Integers: TypeAlias = npt.NDArray[np.int64]
DAY_MS, EXACT = 86_400_000, 2.0**53
_EPOCH_1900, _EPOCH_1904 = 25_569, 24_107
_LAST_DAY = {_EPOCH_1900: 2_958_466, _EPOCH_1904: 2_957_004}


class Kind(IntEnum):
    """Of a cell. `WHOLE` is a number that only an integer can hold exactly; otherwise numbers are floating, as workbooks keep them."""

    TEXT = 1
    NUMBER = 2
    WHOLE = 3
    BOOLEAN = 4
    DATE = 5
    TIMESTAMP = 6
    TIME = 7
    DURATION = 8
    ERROR = 9

    @property
    def label(self) -> str:
        """As notes call it."""
        return "number" if self is Kind.WHOLE else self.name.lower()


@dataclass(frozen=True)
class Cells:
    """Typed cells. A value is an index into the sheet's texts, the bits of a float, an integer, days since 1970, or microseconds."""

    rows: npt.NDArray[np.int32]
    columns: npt.NDArray[np.int32]
    kinds: npt.NDArray[np.uint8]
    values: Integers

    def where(self, mask: npt.NDArray[np.bool_]) -> "Cells":
        """Those of the mask."""
        return Cells(self.rows[mask], self.columns[mask], self.kinds[mask], self.values[mask])

    def slice(self, start: int, stop: int) -> "Cells":
        """Some of them, in the same memory."""
        part = slice(start, stop)
        return Cells(self.rows[part], self.columns[part], self.kinds[part], self.values[part])

    def copy(self) -> "Cells":
        """The same in memory of their own."""
        return Cells(self.rows.copy(), self.columns.copy(), self.kinds.copy(), self.values.copy())

    @classmethod
    def joined(cls, parts: Sequence["Cells"]) -> "Cells":
        """All in order."""
        if not parts:
            none = np.zeros(0, np.int32)
            return cls(none, none, none.astype(np.uint8), none.astype(np.int64))
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("rows", "columns", "kinds", "values")))


@dataclass(frozen=True)
class Meaning:
    """What a workbook's other parts say about its cells."""

    styles: npt.NDArray[np.uint8]
    """By style: 0 a number, 1 a date or time, 2 a duration."""
    epoch: int
    shared: int
    """How many texts the sheets share."""
    blank: npt.NDArray[np.bool_] | None
    """Which of the shared texts are empty, if any is: a cell with such a text has no value."""

    @classmethod
    def of(cls, styles: Sequence[int], shared: pa.StringArray, *, since_1904: bool) -> "Meaning":
        """From the classes of the styles and the shared texts."""
        blank = pc.equal(pc.binary_length(shared), 0).to_numpy(zero_copy_only=False)
        epoch = _EPOCH_1904 if since_1904 else _EPOCH_1900
        return cls(np.array([*styles, 0], np.uint8), epoch, len(shared), blank if blank.any() else None)

    def cells(self, raw: RawCells) -> tuple[Cells, pa.StringArray]:
        """The cells that have a value, and the texts that are their own: those are counted on from the shared ones. Raises `ValueError`."""
        if len(raw.rows) and (int(raw.rows.max()) >= MAX_ROWS or int(raw.columns.max()) >= MAX_COLUMNS or int(raw.rows.min()) < 0):
            raise ValueError(f"a cell lies beyond row {MAX_ROWS:,} or column {MAX_COLUMNS:,}: no sheet has so many")
        kinds, values = np.zeros(len(raw.rows), np.uint8), np.zeros(len(raw.rows), np.int64)
        own = raw.texts.slice(0, 0)
        for code in np.flatnonzero(np.bincount(raw.types, minlength=1)).tolist():
            at = np.flatnonzero(raw.types == code)
            texts = raw.texts if len(at) == len(raw.texts) else raw.texts.take(pa.array(at))
            present = pc.greater(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)
            if not present.all():
                at, texts = at[present], texts.filter(pa.array(present))
            if code == SHARED:
                index = self._shared(texts)
                kinds[at], values[at] = Kind.TEXT, index
                if self.blank is not None:
                    kinds[at[self.blank.take(index)]] = 0
            elif code == NUMBER:
                numbers, odd = _numbers(texts)
                kinds[at], values[at] = self._numbers(numbers, texts, raw.styles.take(at))
                if len(odd):
                    kinds[at[odd]], values[at[odd]] = Kind.TEXT, self.shared + len(own) + np.arange(len(odd))
                    own = pa.concat_arrays([own, texts.take(pa.array(odd))])
            elif code == BOOLEAN:
                kinds[at], values[at] = Kind.BOOLEAN, pc.is_in(texts, pa.array(["1", "true"])).to_numpy(zero_copy_only=False)
            elif code == ERROR:
                kinds[at] = Kind.ERROR
            elif code == DATE:
                kinds[at], values[at], rest = _iso(texts.to_pylist(), self.shared + len(own))
                own = pa.concat_arrays([own, pa.array(rest, pa.string())])
            elif code == TEXT:
                kinds[at], values[at] = Kind.TEXT, self.shared + len(own) + np.arange(len(at))
                own = pa.concat_arrays([own, texts]) if len(own) else texts
        cells = Cells(raw.rows, raw.columns, kinds, values)
        return (cells if kinds.all() else cells.where(kinds > 0)), own

    def _shared(self, texts: pa.StringArray) -> Integers:
        index: Integers = pc.cast(texts, pa.int64()).to_numpy()
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < self.shared:
            raise ValueError(f"a cell names the shared text {index.max()}; there are {self.shared}")
        return index

    def _numbers(
        self, numbers: npt.NDArray[np.float64], texts: pa.StringArray, styles: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[np.uint8], Integers]:
        kinds, values = np.full(len(numbers), Kind.NUMBER, np.uint8), numbers.view(np.int64).copy()
        for position in np.flatnonzero(np.abs(numbers) >= EXACT).tolist():
            text = texts[position].as_py()
            if text.lstrip("-").isdigit() and -(2**63) <= int(text) < 2**63:
                kinds[position], values[position] = Kind.WHOLE, int(text)
        classes = self.styles.take(np.minimum(styles, len(self.styles) - 1))
        for at, convert in ((classes == 1, self._moments), (classes == 2, _durations)):
            if at.any():
                where = np.flatnonzero(at)
                kinds[where], values[where] = convert(numbers[where])
        return kinds, values

    def _moments(self, serial: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.uint8], Integers]:
        """Days since the epoch, to the millisecond. The 1900 system knows a 29 February 1900; days before it are one later than they
        count. Below one, they are times of day."""
        inside = (serial >= 0) & (serial < _LAST_DAY[self.epoch])
        ms = np.rint(np.where(inside, serial, 0) * DAY_MS).astype(np.int64)
        days, rest = np.divmod(ms, DAY_MS)
        unix = days - self.epoch + ((days < 60) & (self.epoch == _EPOCH_1900))
        kinds = np.where(ms < DAY_MS, Kind.TIME, np.where(rest == 0, Kind.DATE, Kind.TIMESTAMP))
        values = np.where(ms < DAY_MS, ms * 1000, np.where(rest == 0, unix, (unix * DAY_MS + rest) * 1000))
        kinds = np.where(inside, kinds, Kind.NUMBER).astype(np.uint8)
        return kinds, np.where(inside, values, serial.view(np.int64))


def _durations(days: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.uint8], Integers]:
    inside = np.abs(days) < 1e8
    values = np.rint(np.where(inside, days, 0) * DAY_MS).astype(np.int64) * 1000
    return np.where(inside, Kind.DURATION, Kind.NUMBER).astype(np.uint8), np.where(inside, values, days.view(np.int64))


def _numbers(texts: pa.StringArray) -> tuple[npt.NDArray[np.float64], list[int]]:
    """The numbers, and the positions of what is none."""
    try:
        numbers = pc.cast(texts, pa.float64()).to_numpy(zero_copy_only=False)
        if np.isfinite(numbers).all():
            return numbers, []
    except pa.ArrowInvalid:
        pass
    odd, listed = [], []
    for position, text in enumerate(texts.to_pylist()):
        try:
            listed.append(float(text))
        except ValueError:
            listed.append(np.nan)
        if not np.isfinite(listed[-1]) or "_" in text:
            odd.append(position)
    return np.array(listed, np.float64), odd


def _iso(texts: list[str], base: int) -> tuple[list[int], list[int], list[str]]:
    """Kinds and values of dates in ISO 8601; what is none stays text."""
    kinds, values, rest = list[int](), list[int](), list[str]()
    for text in texts:
        try:
            kind, value = of_python(
                dt.time.fromisoformat(text) if text[2:3] == ":" else dt.datetime.fromisoformat(text).replace(tzinfo=None)
            )
        except ValueError:
            kind, value = Kind.TEXT, base + len(rest)
            rest.append(text)
        kinds.append(kind)
        values.append(value)
    return kinds, values, rest


def of_python(value: object) -> tuple[int, int]:
    """Kind and value of what is no text."""
    match value:
        case bool():
            return Kind.BOOLEAN, int(value)
        case int() | float():
            return Kind.NUMBER, int(np.float64(value).view(np.int64))
        case dt.datetime():
            days, seconds = value.toordinal() - 719_163, value.time()
            return (Kind.TIMESTAMP, days * DAY_MS * 1000 + _microseconds(seconds)) if seconds != dt.time() else (Kind.DATE, days)
        case dt.date():
            return Kind.DATE, value.toordinal() - 719_163
        case dt.time():
            return Kind.TIME, _microseconds(value)
        case dt.timedelta():
            return Kind.DURATION, value // dt.timedelta(microseconds=1)
    raise ValueError(f"a cell of the kind {type(value).__name__}")


def _microseconds(time: dt.time) -> int:
    return ((time.hour * 60 + time.minute) * 60 + time.second) * 1_000_000 + time.microsecond
