"""Delimited text (CSV, TSV and their kin): every byte and every row is read, in streams.

A first pass finds the encoding (`encodings.py`), the first lines the dialect (`dialects.py`). Then pyarrow reads the rows as text, in
blocks, so that memory does not grow with the file; `columns.py` types them. DuckDB was measured, too: its sniffer needs 3 to 8 ms a small
file, and its typing loses leading zeros.
"""

from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from io import BufferedReader, BytesIO, RawIOBase, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv as pa_csv

from dsplatform.schemas.compression import OPENERS, Bomb, opened
from dsplatform.schemas.model import NO_HINTS, FileCapture, Hints, Json, Table
from dsplatform.schemas.profiles.frequencies import LIMIT
from dsplatform.schemas.text.columns import TextColumn
from dsplatform.schemas.text.dialects import END, Findings, TooLong, bounded, examine, sniff, unique_names
from dsplatform.schemas.text.encodings import Survey, display, in_utf8, line_ends_meet, survey, surveyed

__all__ = ["OPENERS", "NotDelimited", "delimited_rows", "read_delimited", "unique_names"]

SAMPLE_BYTES = 128 << 10
"""Read to find the dialect. A file that ends within is small: Python reads it whole in less time than pyarrow needs to begin."""
BLOCKS = (1 << 20, 48 << 20)
"""Bytes parsed at once: the second when a row is longer than the first, which is also the longest row that is read."""
LARGE_BLOCK, RESERVED = 7 << 20, 40 << 20
"""Tables of few columns are parsed in blocks up to the first: larger ones hold fewer different values for each that is counted, half the
work of smaller ones. As pyarrow reserves a block for each column, all columns' blocks together stay within the second."""
WIDE, CELLS = 256, 1_000_000
"""A table of more columns is read by Python, so many cells at a time: pyarrow reserves a whole block for each column."""
ROW_CHARACTERS = 16 << 20
"""The longest row that Python reads, which needs several times the memory."""
DISTINCT = 2_000_000
"""Different values counted exactly in all columns together."""


class NotDelimited(Exception):
    """The text shows no columns."""


class Unreadable(Exception):
    """The text is a table that cannot be read; the sentence says why."""


def read_delimited(path: Path, hint: str, compression: str, hints: Hints = NO_HINTS, *, certain: bool) -> FileCapture:
    """Reads the table. Where the text isn't `certain` to be one, raises `NotDelimited` for what does not look like columns."""
    try:
        return _Reading(path, hint, compression, hints, certain=certain).capture()
    except (Unreadable, Bomb) as err:
        return FileCapture.unreadable(str(err), "csv")


def delimited_rows(
    path: Path, hint: str, compression: str, hints: Hints = NO_HINTS, details: Mapping[str, Json] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows that the capture counted, in their order: text under the columns' final names, null for an empty field. With the `details`
    of the capture no byte is read but those of the rows."""
    known = None if details is None else surveyed(str(details["encoding"]), bom=bool(details["bom"]))
    reading = _Reading(path, hint, compression, hints, certain=True, known=known)
    for batch in reading.batches():
        yield pa.RecordBatch.from_arrays(batch.columns, names=reading.names)


class _Reading:
    """One table. Raises `Unreadable` or `NotDelimited`."""

    def __init__(self, path: Path, hint: str, compression: str, hints: Hints, *, certain: bool, known: Survey | None = None) -> None:
        self._path, self._compression, self._hints = path, compression, hints
        with opened(path, compression) as stream:
            sample = _full(stream, SAMPLE_BYTES)
        self._whole = sample if len(sample) < SAMPLE_BYTES else None
        self._begins = known is not None  # the first rows are wanted soon
        self._survey = known or survey(self._open, hints, BLOCKS[-1])
        if self._survey.long_line is not None:
            raise Unreadable(f"line {self._survey.long_line} is longer than {BLOCKS[-1] >> 20} MiB")
        text = _text(sample, self._survey.encoding, whole=self._whole is not None)
        if not text.strip(" \t\r\n\x00\ufeff"):
            raise Unreadable(f"{'the file holds' if self._whole is not None else 'its first 128 KiB hold'} nothing but blanks")
        self._text = text
        self._dialect = sniff(text, hint, hints.delimiter)
        if not certain and (self._dialect.width == 1 or self._dialect.regular < 0.9):
            raise NotDelimited
        given = self._dialect.header
        self.names, self._renamed = unique_names(list(given) if given is not None else [""] * self._dialect.width)
        self._ended, self._rows, self._misfits, self._blank_lines = False, 0, 0, 0

    def capture(self) -> FileCapture:
        """Reads all rows."""
        columns = [TextColumn(max(64, min(LIMIT, DISTINCT // len(self.names)))) for _ in self.names]
        if self._whole is not None:
            self._profile_rows(columns, [self._small_rows()])
        elif len(columns) > WIDE:
            self._profile_rows(columns, self._wide_rows())
        else:
            self._profile(columns)
        return self._captured(columns)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows as text, null for an empty field. Raises `Unreadable` behind the last row that could be read."""
        if self._whole is None and len(self.names) <= WIDE:
            yield from self._big_batches()
            return
        for rows in [self._small_rows()] if self._whole is not None else self._wide_rows():
            cells = zip(*rows, strict=True) if rows else [()] * len(self.names)
            arrays = [pa.array([text or None for text in texts], pa.string()) for texts in cells]
            yield pa.RecordBatch.from_arrays(arrays, names=list(map(str, range(len(arrays)))))

    def _open(self) -> BinaryIO:
        return BytesIO(self._whole) if self._whole is not None else opened(self._path, self._compression)

    def _small_rows(self) -> list[list[str]]:
        dialect = self._dialect
        lines = StringIO(self._marked(), newline="")
        for _ in range(dialect.skip):
            next(lines)
        rows = list(dialect.cells(lines))
        last = rows.pop()
        self._ended = bool(last) and last[0].startswith(END)
        self._misfits = self._blank_lines = 0
        if any(len(row) != dialect.width for row in rows):
            found, rows = rows, [row for row in rows if len(row) == dialect.width]
            self._blank_lines = found.count([])
            self._misfits = len(found) - len(rows) - self._blank_lines
        self._rows = len(rows)
        self._check_end()
        return rows

    def _wide_rows(self) -> Iterator[list[list[str]]]:
        dialect, rows = self._dialect, list[list[str]]()
        self._ended, self._rows, self._misfits, self._blank_lines = False, 0, 0, 0
        with self._lines() as lines:
            for _ in range(dialect.skip):
                next(lines)
            try:
                for row in bounded(lines, dialect, ROW_CHARACTERS):
                    if len(row) == dialect.width:
                        rows.append(row)
                    elif not row:
                        self._blank_lines += 1
                    elif row[0].startswith(END):
                        self._ended = True
                    else:
                        self._misfits += 1
                    if len(rows) * dialect.width >= CELLS:
                        self._rows += len(rows)
                        yield rows
                        rows = []
            except TooLong:
                raise self._too_long() from None
        self._rows += len(rows)
        self._check_end()
        yield rows

    def _profile_rows(self, columns: list[TextColumn], parts: Iterable[list[list[str]]]) -> None:
        for rows in parts:
            for column, texts in zip(columns, zip(*rows, strict=True), strict=bool(rows)):
                column.add_texts(texts)

    def _marked(self) -> str:
        return self._text + ("" if self._text.endswith(("\n", "\r")) else "\n") + self._dialect.marker + "\n"

    def _big_batches(self) -> Iterator[pa.RecordBatch]:
        """Reads in short blocks; from the start with long ones, past the rows that were given, if a row needs them."""
        given = 0
        large = 0 if self._begins else min(LARGE_BLOCK, RESERVED // len(self.names))
        for block in (max(BLOCKS[0], large), BLOCKS[-1]):
            self._ended, self._rows, self._misfits, self._blank_lines = False, 0, 0, 0
            try:
                with self._source() as source:
                    for batch in self._parsed(source, block):
                        seen = self._rows
                        self._rows += batch.num_rows
                        if self._rows > given:
                            yield batch if seen >= given else batch.slice(given - seen)
                            given = self._rows
                self._check_end()
                return
            except pa.ArrowInvalid as err:
                if "straddling" not in str(err):
                    raise
        raise self._too_long()

    def _too_long(self) -> Unreadable:
        line = self._examine().open_quote
        where = "a row" if line is None else f"a quote is opened in line {line} and not closed: the row"
        return Unreadable(f"{where} is longer than {BLOCKS[-1] >> 20} MiB")

    def _parsed(self, source: pa.NativeFile, block: int) -> Iterator[pa.RecordBatch]:
        keys = list(map(str, range(len(self.names))))
        reader = pa_csv.open_csv(
            source,
            read_options=pa_csv.ReadOptions(
                column_names=keys, skip_rows=self._dialect.skip, use_threads=block < BLOCKS[-1], block_size=block
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=self._dialect.delimiter,
                quote_char=self._dialect.quote,
                newlines_in_values=True,
                invalid_row_handler=self._misfit,
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(keys, pa.string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                null_values=[""],
                check_utf8=False,  # the survey has
            ),
        )
        with reader:
            yield from reader

    def _misfit(self, row: pa_csv.InvalidRow) -> str:
        """A row without the right number of cells: ours at the end, or one to report."""
        if row.text.startswith(END):
            self._ended = True
        else:
            self._misfits += 1
        return "skip"

    def _profile(self, columns: list[TextColumn]) -> None:
        """Two threads: pyarrow parses the next block in its own while two share out the columns of this one."""

        batches = self.batches()
        with ThreadPoolExecutor(2) as threads:
            parts: list[Future[None]] = []
            for batch in batches:
                for part in parts:
                    part.result()
                parts = [threads.submit(column.add, values) for column, values in zip(columns, batch.columns, strict=True)]
            for part in parts:
                part.result()

    def _source(self) -> pa.NativeFile:
        return pa.PythonFile(_Marked(self._open(), self._survey.encoding, self._dialect.marker), mode="r")

    def _check_end(self) -> None:
        if self._ended:
            return
        line = self._examine().open_quote
        raise Unreadable(f"a quote is opened in line {line} and never closed")

    def _examine(self) -> Findings:
        """A pass in Python for what is to be named by line."""
        if self._whole is not None:
            return examine(StringIO(self._marked(), newline=""), self._dialect, ROW_CHARACTERS)
        with self._lines() as lines:
            return examine(lines, self._dialect, ROW_CHARACTERS)

    def _lines(self) -> TextIOWrapper:
        source = _Marked(self._open(), self._survey.encoding, self._dialect.marker)
        return TextIOWrapper(BufferedReader(source, BLOCKS[0]), "utf-8", newline="")

    def _captured(self, columns: list[TextColumn]) -> FileCapture:
        dialect, found = self._dialect, Findings()
        total = self._rows + self._misfits
        by_python = self._whole is not None or dialect.width > WIDE
        more = 0 if by_python else self._survey.lines - dialect.skip - total
        if self._misfits or (more and self._survey.quotes and self._has_blank_lines()):  # between quotes a blank line is none
            found = self._examine()
        if more:
            self._blank_lines = found.blank_lines if self._survey.quotes else more
        if self._misfits > self._rows:
            first = ", ".join(f"line {line} has {cells}" for line, cells in found.misfits[:3])
            raise Unreadable(f"{self._misfits} of {total} rows do not have {dialect.width} cells: {first}")
        details: dict[str, Json] = {
            "delimiter": dialect.delimiter,
            "quote": dialect.quote,
            "encoding": display(self._survey.encoding),
            "bom": self._survey.bom,
            "header": dialect.header is not None,
            "compression": None if self._compression == "none" else self._compression,
        }
        typed = tuple(column.column(name, self._hints) for name, column in zip(self.names, columns, strict=True))
        profile = tuple(column.profile() for column in columns)
        table = Table(None, typed, self._rows, {}, profile)
        return FileCapture.ok("tsv" if dialect.delimiter == "\t" else "csv", (table,), details, self._notes(columns, found))

    def _has_blank_lines(self) -> bool:
        with self._open() as stream:
            return line_ends_meet(stream, self._survey.encoding)

    def _notes(self, columns: list[TextColumn], found: Findings) -> dict[str, Json]:
        notes: dict[str, Json] = {}
        if self._misfits:
            examples: list[Json] = [{"line": line, "cells": cells} for line, cells in found.misfits]
            notes |= {"ragged_rows": self._misfits, "ragged_examples": examples}
        if self._blank_lines:
            notes["blank_lines"] = self._blank_lines
        if self._dialect.above:
            notes["lines_above_header"] = self._dialect.above
        if self._renamed and self._dialect.header is not None:
            notes["renamed_columns"] = self._renamed
        if self._survey.guessed:
            notes["encoding_guessed"] = True
        if len(self._survey.line_ends) > 1:
            notes["line_ends"] = dict(self._survey.line_ends)
        if self._survey.nul_bytes:
            notes["nul_bytes"] = self._survey.nul_bytes
        untyped: dict[str, Json] = {}
        for name, column in zip(self.names, columns, strict=True):
            why = column.untyped()
            if why is not None:
                untyped[name] = why
        if untyped:
            notes["untyped_columns"] = untyped
        return notes


class _Marked(RawIOBase):
    """What is parsed: the text as UTF-8, with the marker as the last line."""

    def __init__(self, stream: BinaryIO, encoding: str, marker: str) -> None:
        self._stream, self._chunks, self._marker = stream, in_utf8(stream, encoding, BLOCKS[0]), marker.encode()
        self._rest, self._last, self._done = b"", b"\n", False

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at the end."""
        while len(self._rest) < size and not self._done:
            chunk = next(self._chunks, b"")
            self._done = not chunk
            self._last = chunk[-1:] or self._last
            if self._done:
                chunk = (b"" if self._last in b"\r\n" else b"\n") + self._marker + b"\n"
            self._rest = self._rest + chunk if self._rest else chunk
        part, self._rest = self._rest[:size], self._rest[size:]
        return part

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        part = self.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        """Closes the file below."""
        self._stream.close()
        super().close()


def _text(sample: bytes, encoding: str, *, whole: bool) -> str:
    """The sample decoded, cut after its last line end unless it is the whole file."""
    text = getincrementaldecoder(encoding)().decode(sample, final=whole)
    end = max(text.rfind("\n"), text.rfind("\r"))
    return text if whole or end < 0 else text[: end + 1]


def _full(stream: BinaryIO, size: int) -> bytes:
    """`size` bytes, or all that there are: some streams give less at a time."""
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
