"""Delimited text (CSV, TSV and their kin): finds the dialect at the top of the file, then reads every row.

pyarrow reads the rows as text, in blocks, so memory does not grow with the file; `columns.py` types them. DuckDB was measured, too: its
sniffer needs 3 to 8 ms a small file, and its typing loses leading zeros.
"""

import bz2
import csv
import gzip
import lzma
import re
from codecs import getincrementaldecoder
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.csv as pa_csv

from dsplatform.schemas.columns import TextColumn, kind_of
from dsplatform.schemas.model import NO_HINTS, Column, FileCapture, Hints, Json, Table

DELIMITERS = (",", ";", "\t", "|")
SAMPLE_BYTES = 128 << 10
"""Read to find the dialect. A file that ends within is small: Python reads it whole in less time than pyarrow needs to begin."""
SAMPLE_ROWS = 50
BLOCKS = (1 << 20, 48 << 20)
"""Bytes parsed at once: the second when a row is longer than the first."""
END = "\x00end-of-data"
"""A last line that we add ourselves. When it does not come back as a row of its own, it was swallowed by an open quote."""

OPENERS: dict[str, Callable[[Path], BinaryIO]] = {
    "none": lambda path: cast(BinaryIO, path.open("rb", buffering=0)),
    "gzip": lambda path: cast(BinaryIO, gzip.GzipFile(path)),
    "bzip2": lambda path: cast(BinaryIO, bz2.BZ2File(path)),
    "xz": lambda path: cast(BinaryIO, lzma.LZMAFile(path)),  # noqa: SIM115 - the caller's `with` closes it
    "zstd": lambda path: cast(BinaryIO, pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")),
}


class NotDelimited(Exception):
    """The text shows no columns."""


@dataclass(frozen=True)
class Dialect:
    """How the text is cut into cells, found in a sample of it."""

    delimiter: str
    quote: str
    header: tuple[str, ...] | None
    width: int
    skip: int
    """Lines to leave out before the rows: those above the header, and the header."""
    above: int
    """Of these, the ones above the header: titles, comments."""
    regular: float
    """Share of the sampled rows that have `width` cells."""


def read_delimited(path: Path, hint: str, compression: str, hints: Hints = NO_HINTS, *, certain: bool) -> FileCapture:
    """Reads the table. Where the text isn't `certain` to be one, raises `NotDelimited` for what does not look like columns."""
    with OPENERS[compression](path) as stream:
        sample = stream.read(SAMPLE_BYTES)
    whole = len(sample) < SAMPLE_BYTES
    failure: Exception = ValueError("no encoding fits")
    for encoding in encodings(sample):
        try:
            text = _text(sample, encoding, whole=whole)
            if not text.strip(" \t\r\n\x00\ufeff"):
                return FileCapture.unreadable(f"{'the file holds' if whole else 'its first 128 KiB hold'} nothing but blanks", "csv")
            dialect = sniff(text, hint)
            if not certain and (dialect.width == 1 or dialect.regular < 0.9):
                raise NotDelimited
            reading = _Reading(path, compression, encoding, dialect)
            return reading.capture_small(text) if whole else reading.capture()
        except UnicodeError as err:
            failure = err
        except pa.ArrowInvalid as err:
            if "invalid UTF8" not in str(err):
                raise
            failure = err
    raise failure


def encodings(sample: bytes) -> tuple[str, ...]:
    """The encodings to try in turn. Only UTF-8 and Windows-1252 can fail; every byte is a character in Latin-1."""
    for mark, name in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if sample.startswith(mark):
            return (name,)
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if max(even, odd) > len(sample) // 4:  # Western text in UTF-16 without a mark: every other byte is zero
        return ("utf-16-le",) if odd > even else ("utf-16-be",)
    return ("utf-8", "windows-1252", "latin-1")


def sniff(text: str, hint: str) -> Dialect:
    """The delimiter that cuts the lines most evenly, the quote, and whether the first even row is a header."""
    lines = list(StringIO(text, newline=""))  # not splitlines, which also splits at characters such as U+2028
    top = next((line for line in lines if line.strip()), "")
    candidates = [char for char in DELIMITERS if char in top] or [char for char in DELIMITERS if char in text] or [","]
    if hint in {"tsv", "tab"} and "\t" in candidates:
        candidates = ["\t"]
    marks = "|".join(map(re.escape, candidates))
    single = "'" in text and '"' not in text and re.search(rf"(?m)(?:^|{marks})'[^'\n]*'(?:{marks}|$)", text)
    dialects = [_cut(lines, char, quote) for quote in ("'\"" if single else '"') for char in candidates]
    return max(dialects, key=lambda cut: cut.regular * (1 - 1 / cut.width) * (0.5 if cut.above else 1))


def _cut(lines: list[str], delimiter: str, quote: str) -> Dialect:
    csv.field_size_limit(1 << 30)
    rows = list(islice(filter(None, csv.reader(lines, delimiter=delimiter, quotechar=quote)), SAMPLE_ROWS))
    if not rows:
        return Dialect(delimiter, quote, (), 1, len(lines), 0, 1.0)
    width, often = Counter(map(len, rows)).most_common(1)[0]
    first = next(index for index, row in enumerate(rows) if len(row) == width)
    reader = csv.reader(lines, delimiter=delimiter, quotechar=quote)
    ends = [reader.line_num for row in islice(filter(None, reader), first + 1)]  # the line where each of these rows ends
    above = ends[-2] if first else 0
    header = is_header(rows[first], [row for row in rows[first + 1 :] if len(row) == width])
    names = tuple(rows[first]) if header else None
    return Dialect(delimiter, quote, names, width, ends[-1] if header else above, above, often / len(rows))


def is_header(first: list[str], others: list[list[str]]) -> bool:
    """Whether the first row names the columns: not when it looks like the rows below, cell by cell."""
    kinds = [kind_of(cell) if cell else "null" for cell in first]
    if all(kind in {"string", "null"} for kind in kinds):
        return any(first)
    votes = 0
    for index, kind in enumerate(kinds):
        below = {kind_of(row[index]) for row in others if row[index]}
        if len(below) == 1 and below != {"string"} and kind != "null":
            votes += -1 if below == {kind} else 1
    return votes > 0


def unique_names(names: list[str]) -> tuple[list[str], dict[str, Json]]:
    """The names as they stand, `column_3` for an empty one, `name_2` for a second; and which columns (from 1) got another name."""
    taken = set(names)
    used: set[str] = set()
    renamed: dict[str, Json] = {}
    result = []
    for position, name in enumerate(names, 1):
        chosen = stem = name or f"column_{position}"
        number = 2
        while chosen in used or (chosen != name and chosen in taken):
            chosen = f"{stem}_{number}"
            number += 1
        if chosen != name:
            renamed[str(position)] = chosen
        used.add(chosen)
        result.append(chosen)
    return result, renamed


class _Reading:
    """One pass over all rows."""

    def __init__(self, path: Path, compression: str, encoding: str, dialect: Dialect) -> None:
        self._path, self._compression, self._encoding, self._dialect = path, compression, encoding, dialect
        given = dialect.header
        self._names, self._renamed = unique_names(list(given) if given is not None else [""] * dialect.width)
        self._ended, self._misfits, self._examples = False, 0, list[Json]()
        self._marker = END + dialect.delimiter * dialect.width  # one cell too many, so it is always handed to `_misfit`

    def capture(self) -> FileCapture:
        """Reads; once more with long blocks if a row needs them."""
        for block in BLOCKS:
            try:
                return self._read(block)
            except pa.ArrowInvalid as err:
                if "straddling" not in str(err):
                    raise
        return FileCapture.unreadable(f"a row is longer than {BLOCKS[-1] >> 20} MiB, or a quote is opened and never closed", "csv")

    def capture_small(self, text: str) -> FileCapture:
        """The same from the whole text."""
        dialect = self._dialect
        lines = StringIO(text + ("" if text.endswith(("\n", "\r")) else "\n") + self._marker, newline="")
        for _ in range(dialect.skip):
            next(lines)
        found = list(csv.reader(lines, delimiter=dialect.delimiter, quotechar=dialect.quote))
        rows = [row for row in found if len(row) == dialect.width]
        self._ended = found[-1][0].startswith(END)
        if len(rows) < len(found) - 1:
            self._report_misfits(lines)
        columns = [TextColumn() for _ in self._names]
        for column, texts in zip(columns, zip(*rows, strict=True), strict=bool(rows)):
            column.add_texts(texts)
        return self._captured(len(rows), columns)

    def _report_misfits(self, lines: StringIO) -> None:
        lines.seek(0)
        reader = csv.reader(lines, delimiter=self._dialect.delimiter, quotechar=self._dialect.quote)
        before = 0
        for row in reader:
            if before >= self._dialect.skip and row and len(row) != self._dialect.width:
                self._misfit(row[0], before + 1, len(row))
            before = reader.line_num

    def _read(self, block: int) -> FileCapture:
        self._ended, self._misfits, self._examples = False, 0, list[Json]()
        rows, columns = 0, [TextColumn() for _ in self._names]
        with self._source() as source:
            for batch in _ahead(self._batches(source, block)):
                rows += batch.num_rows
                for column, values in zip(columns, batch.columns, strict=True):
                    column.add(values)
        return self._captured(rows, columns)

    def _batches(self, source: pa.NativeFile, block: int) -> Iterator[pa.RecordBatch]:
        keys = [str(index) for index in range(len(self._names))]
        reader = pa_csv.open_csv(
            source,
            read_options=pa_csv.ReadOptions(column_names=keys, skip_rows=self._dialect.skip, use_threads=False, block_size=block),
            parse_options=pa_csv.ParseOptions(
                delimiter=self._dialect.delimiter,
                quote_char=self._dialect.quote,
                newlines_in_values=True,
                invalid_row_handler=lambda row: self._misfit(row.text, row.number, row.actual_columns),
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(keys, pa.string()), strings_can_be_null=True, null_values=[""]
            ),
        )
        with reader:
            yield from reader

    def _misfit(self, text: str, line: int, cells: int) -> str:
        """A row without the right number of cells: ours at the end, or one to report."""
        if text.startswith(END):
            self._ended = True
        else:
            self._misfits += 1
            if len(self._examples) < 5:
                self._examples.append({"line": line, "cells": cells})
        return "skip"

    def _source(self) -> pa.NativeFile:
        return pa.PythonFile(_Utf8Source(OPENERS[self._compression](self._path), self._encoding, self._marker), mode="r")

    def _captured(self, rows: int, columns: list[TextColumn]) -> FileCapture:
        dialect, total = self._dialect, rows + self._misfits
        if not self._ended:
            return FileCapture.unreadable(f"a quote is opened and never closed: row {total} runs to the end of the file", "csv")
        if self._misfits > rows:
            return FileCapture.unreadable(
                f"{self._misfits} of {total} rows do not have {dialect.width} cells; the first ones: {self._examples}", "csv"
            )
        details: dict[str, Json] = {
            "delimiter": dialect.delimiter,
            "quote": dialect.quote,
            "encoding": self._encoding.removesuffix("-sig"),
            "bom": self._encoding in {"utf-8-sig", "utf-16"},
            "header": dialect.header is not None,
            "compression": None if self._compression == "none" else self._compression,
        }
        notes: dict[str, Json] = {}
        if self._misfits:
            notes |= {"ragged_rows": self._misfits, "ragged_examples": self._examples}
        if dialect.above:
            notes["lines_above_header"] = dialect.above
        if self._renamed and dialect.header is not None:
            notes["renamed_columns"] = self._renamed
        typed = tuple(
            Column(name, column.type, nullable=column.nulls > 0 or rows == 0) for name, column in zip(self._names, columns, strict=True)
        )
        return FileCapture.ok("tsv" if dialect.delimiter == "\t" else "csv", (Table(None, typed, rows),), details, notes)


class _Utf8Source:
    """What pyarrow reads from: decompressed bytes as UTF-8, with the marker as the last line."""

    closed = False

    def __init__(self, stream: BinaryIO, encoding: str, marker: str) -> None:
        self._stream, self._marker = stream, marker.encode()
        self._decoder = None if encoding == "utf-8" else getincrementaldecoder(encoding)()
        self._rest = b""
        self._last = b"\n"
        self._done = False

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        while len(self._rest) < size and not self._done:
            chunk = self._stream.read(size)
            self._done = not chunk
            if self._decoder is not None:
                chunk = self._decoder.decode(chunk, final=self._done).encode()
            self._last = chunk[-1:] or self._last
            if self._done:
                chunk += (b"" if (self._last in b"\r\n") else b"\n") + self._marker + b"\n"
            self._rest += chunk
        part, self._rest = self._rest[:size], self._rest[size:]
        return part

    def close(self) -> None:
        """Closes the file below."""
        self.closed = True
        self._stream.close()


def _text(sample: bytes, encoding: str, *, whole: bool) -> str:
    """The sample decoded, cut after its last line end unless it is the whole file."""
    text = getincrementaldecoder(encoding)().decode(sample, final=whole)
    end = max(text.rfind("\n"), text.rfind("\r"))
    return text if whole or end < 0 else text[: end + 1]


def _ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches; the next is parsed in a second thread while the caller types this one."""
    first, second = next(batches, None), next(batches, None)
    if first is not None:
        yield first
    if second is None:
        return
    with ThreadPoolExecutor(1) as thread:
        batch: pa.RecordBatch | None = second
        while batch is not None:
            future: Future[pa.RecordBatch | None] = thread.submit(next, batches, None)
            yield batch
            batch = future.result()
