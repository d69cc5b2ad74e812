"""Looks for the wanted rows of one file, and stops as soon as they are found. Called in a child process of the sandbox."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dsplatform.schemas.previews.matching import matches
from dsplatform.schemas.previews.model import Cut, Look, Looked
from dsplatform.schemas.previews.typed import typed
from dsplatform.schemas.previews.writing import writer

PIECE_ROWS = 1 << 14


class RowTooLarge(Exception):
    """One row is more than an answer may hold."""


def look(path: Path, wanted: Look, opened: Callable[[], Iterable[pa.RecordBatch]]) -> Looked:
    """Writes the rows that were asked for to `wanted.target`. `opened` gives the table's rows from `wanted.start` on. Never raises for what
    the file holds; may end the process, so call it through the sandbox."""
    try:
        return _Search(wanted).run(opened())
    except MemoryError:
        return Looked("reading its rows needs more memory than a reader may use")
    except Exception as err:  # noqa: BLE001 - parsers of foreign bytes raise anything; the reason is kept for a person
        line = next((line.strip() for line in str(err).splitlines() if line.strip()), "") or type(err).__name__
        return Looked(line[:500].replace(str(path), "the file").rstrip(". "))


class _Search:
    """One pass over the rows, until the page is full."""

    def __init__(self, wanted: Look) -> None:
        self._wanted = wanted
        self._columns = {column.name: column for column in wanted.columns}
        self._writer = writer(wanted)
        self._position = wanted.start
        self._full = False
        self._cut: Cut | None = None

    def run(self, batches: Iterable[pa.RecordBatch]) -> Looked:
        begun = time.monotonic()
        for batch in _pieces(batches):
            self._take(batch)
            if not self._full and time.monotonic() - begun > self._wanted.seconds:
                self._full, self._cut = True, Cut.TIME
            if self._full:
                break
        Path(self._wanted.target).write_bytes(self._writer.finish())
        return Looked(None, self._writer.rows, self._position, not self._full, self._cut)

    def _take(self, batch: pa.RecordBatch) -> None:
        """Looks at these rows, as far as the page has room for them."""
        room = self._wanted.limit - self._writer.rows
        places: list[int] | range = range(min(room, batch.num_rows))
        arrays = {name: batch.column(name).slice(0, room) for name in self._wanted.chosen}
        if self._wanted.conditions:
            found = pc.indices_nonzero(self._matching(batch)).slice(0, room)
            places = found.to_pylist()
            arrays = {name: _at(batch.column(name), found) for name in self._wanted.chosen}
        taken = self._writer.add([self._typed(name, array) for name, array in arrays.items()])
        if taken < len(places):
            if not self._writer.rows:
                raise RowTooLarge(
                    f"row {self._position + places[0] + 1} alone is larger than {self._wanted.size >> 20} MiB in this form: "
                    "choose fewer columns"
                )
            self._full, self._cut = True, Cut.SIZE
            self._position += places[taken]
        elif self._writer.rows == self._wanted.limit:
            self._full = True
            self._position += places[-1] + 1
        else:
            self._position += batch.num_rows

    def _matching(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        found: pa.BooleanArray | None = None
        for condition in self._wanted.conditions:
            values = self._typed(condition.column, batch.column(condition.column))
            fulfilled = matches(values, self._columns[condition.column], condition)
            found = fulfilled if found is None else pc.and_(found, fulfilled)
        return found

    def _typed(self, name: str, values: pa.Array) -> pa.Array:
        return typed(values, self._columns[name], fine=name in self._wanted.fine)


def _pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, max(1, batch.num_rows), PIECE_ROWS):
            yield batch.slice(start, PIECE_ROWS)


def _at(values: pa.Array, places: pa.Array) -> pa.Array:
    try:
        return values.take(places)
    except pa.ArrowNotImplementedError:  # Arrow picks no rows of some types, but joins their slices
        parts = [values.slice(place, 1) for place in places.to_pylist()]
        return pa.concat_arrays(parts) if parts else values.slice(0, 0)
