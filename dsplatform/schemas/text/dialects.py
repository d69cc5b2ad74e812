"""How a text is cut into rows and cells: delimiter, quote, header, names; found in its first lines."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import StringIO
from itertools import islice

from dsplatform.schemas.model import Json
from dsplatform.schemas.text.columns import kind_of

DELIMITERS = (",", ";", "\t", "|")
SAMPLE_ROWS = 50
NAMED = 20
"""Rows that are named when they do not fit."""
END = "\x00end-of-data"
"""A last line that we add ourselves. When it does not come back as a row of its own, it was swallowed by an open quote."""

csv.field_size_limit(1 << 30)  # rows are bounded before they get here


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

    @property
    def marker(self) -> str:
        """The line to add at the end: one cell too many, so that no parser takes it for a row."""
        return END + self.delimiter * self.width

    def cells(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """The rows in these lines; a blank line is an empty one."""
        return csv.reader(lines, delimiter=self.delimiter, quotechar=self.quote)


@dataclass
class Findings:
    """What a pass over the lines finds that the rows themselves do not show. Lines count from 1."""

    misfits: list[tuple[int, int]] = field(default_factory=list)
    """(line, cells) of the first rows that do not have the width."""
    blank_lines: int = 0
    open_quote: int | None = None
    """The line in which a quote opens that is never closed, or not within the limit."""


def sniff(text: str, hint: str, delimiter: str | None = None) -> Dialect:
    """The delimiter that cuts the lines most evenly, the quote, and whether the first even row is a header. A given `delimiter` counts."""
    lines = list(StringIO(text, newline=""))  # not splitlines, which also splits at characters such as U+2028
    top = next((line for line in lines if line.strip()), "")
    candidates = [char for char in DELIMITERS if char in top] or [char for char in DELIMITERS if char in text] or [","]
    if delimiter is not None:
        candidates = [delimiter]
    elif hint in {"tsv", "tab"} and "\t" in candidates:
        candidates = ["\t"]
    marks = "|".join(map(re.escape, candidates))
    single = "'" in text and '"' not in text and re.search(rf"(?m)(?:^|{marks})'[^'\n]*'(?:{marks}|$)", text)
    dialects = [_cut(lines, char, quote) for quote in ("'\"" if single else '"') for char in candidates]
    return max(dialects, key=lambda cut: cut.regular * (1 - 1 / cut.width) * (0.5 if cut.above else 1))


def _cut(lines: list[str], delimiter: str, quote: str) -> Dialect:
    reader = csv.reader(lines, delimiter=delimiter, quotechar=quote)
    found = ((reader.line_num, row) for row in reader if row)
    ends, rows = zip(*islice(found, SAMPLE_ROWS), strict=True) if any(map(str.strip, lines)) else ((), ())
    if not rows:
        return Dialect(delimiter, quote, (), 1, len(lines), 0, 1.0)
    width, often = Counter(map(len, rows)).most_common(1)[0]
    first = next(index for index, row in enumerate(rows) if len(row) == width)
    above = ends[first - 1] if first else 0
    header = is_header(rows[first], [row for row in rows[first + 1 :] if len(row) == width])
    names = tuple(rows[first]) if header else None
    return Dialect(delimiter, quote, names, width, ends[first] if header else above, above, often / len(rows))


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
    numbers: dict[str, int] = {}
    for position, name in enumerate(names, 1):
        chosen = stem = name or f"column_{position}"
        while chosen in used or (chosen != name and chosen in taken):
            numbers[stem] = numbers.get(stem, 1) + 1
            chosen = f"{stem}_{numbers[stem]}"
        if chosen != name:
            renamed[str(position)] = chosen
        used.add(chosen)
        result.append(chosen)
    return result, renamed


def examine(lines: Iterable[str], dialect: Dialect, limit: int) -> Findings:
    """Reads lines that end with the marker, and notes the first rows that do not fit, blank lines and an open quote, which is one that
    is not closed within `limit` characters. Slow (Python), so only for files in which there is something to find."""
    found = Findings()
    held = _Held(lines, limit)
    before = 0
    try:
        for row in dialect.cells(held):
            start, before = before + 1, held.number
            if row and row[0].startswith(END):
                return found
            if start > dialect.skip:
                if not row:
                    found.blank_lines += 1
                elif len(row) != dialect.width and len(found.misfits) < NAMED:
                    found.misfits.append((start, len(row)))
            last = held.let_go()
    except TooLong:
        last = held.let_go()
        found.open_quote = before + 1 + _line_of_open_quote(last, dialect)
        return found
    if found.misfits and found.misfits[-1][0] == start:  # the row that ran to the end
        found.misfits.pop()
    found.open_quote = start + _line_of_open_quote(last, dialect)
    return found


def bounded(lines: Iterable[str], dialect: Dialect, limit: int) -> Iterator[list[str]]:
    """The rows in these lines. Raises `TooLong` for one of more than `limit` characters."""
    held = _Held(lines, limit)
    for row in dialect.cells(held):
        held.let_go()
        yield row


class TooLong(Exception):
    """A row that goes on beyond the limit."""


_JOINED = 10_000


class _Held(Iterator[str]):
    """Lines, of which those of the row that is being read are held."""

    def __init__(self, lines: Iterable[str], limit: int) -> None:
        self._lines, self._limit = iter(lines), limit
        self._row: list[str] = []
        self._size = 0
        self.number = 0

    def __next__(self) -> str:
        if self._size > self._limit:
            raise TooLong
        line = next(self._lines)
        self.number += 1
        self._size += len(line)
        self._row.append(line)
        if len(self._row) == _JOINED:
            self._row = ["".join(self._row)]  # millions of short lines take far more than their text
        return line

    def let_go(self) -> list[str]:
        """The lines of the row that ended."""
        row, self._row, self._size = self._row, [], 0
        return row


def _line_of_open_quote(lines: list[str], dialect: Dialect) -> int:
    """In which line (from 0) of a row that never ends the quote opens that is not closed."""
    text, quote = "".join(lines), re.escape(dialect.quote)
    closed = re.compile(rf"{quote}[^{quote}]*(?:{quote}{quote}[^{quote}]*)*{quote}(?!{quote})")
    at = 0
    while True:
        if text.startswith(dialect.quote, at):
            cell = closed.match(text, at)
            if cell is None:
                return len(list(StringIO(text[:at] + "x", newline=""))) - 1
            at = cell.end()
        after = text.find(dialect.delimiter, at)
        if after < 0:
            return 0
        at = after + 1
