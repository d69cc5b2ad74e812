"""The records of JSON text, by Python's own parser: in an array, one in each line, or one after the other; a portion in memory."""

import json
import re
from codecs import getincrementaldecoder
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsplatform.schemas.compression import opened
from dsplatform.schemas.json_files.shapes import TooDeep
from dsplatform.schemas.model import Json

CHUNK_BYTES = 1 << 20
MAX_RECORD_CHARS = 32 << 20
EXAMPLES = 20

_BLANK = re.compile(r"[ \t\r\n]*")


class BadJson(ValueError):
    """The text is not JSON; says where."""


@dataclass(frozen=True)
class JsonLayout:
    """How the records lie in the file: in one array, one in each line, or one after the other."""

    path: Path
    compression: str
    array: bool
    lines: bool

    @property
    def format(self) -> str:
        return "jsonl" if self.lines and not self.array else "json"


@dataclass
class Records:
    """One pass over the records. What is noted belongs to the records that were handed out."""

    layout: JsonLayout
    skip: int = 0
    """Records at the top that are not handed out, of a file that was read before."""
    encoding: str = "utf-8"
    _records: int = 0
    _doubled: int = 0
    _examples: list[Json] = field(default_factory=list)
    _constants: int = 0
    _infinite: int = 0
    _twice: list[str] = field(default_factory=list)
    _odd: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object, parse_constant=self._constant)

    def __iter__(self) -> Iterator[list[Any]]:
        """The records in their order. Raises `BadJson` where the text is none."""
        portions = self._of_lines() if self.layout.lines else self._of_text()
        for portion in portions:
            self._records += len(portion)
            yield portion

    def notes(self, infinite: int) -> dict[str, Json]:
        """What a person should know of the records, of whose numbers so many are infinite."""
        notes: dict[str, Json] = {}
        if self._doubled:
            notes |= {"duplicate_names": self._doubled, "duplicate_examples": self._examples}
        if self._constants:
            notes["not_finite_numbers"] = self._constants
        if infinite > self._infinite:
            notes["numbers_beyond_float64"] = infinite - self._infinite
        return notes

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            self._twice.append(next(name for name in names if names.count(name) > 1))
        return found

    def _constant(self, name: str) -> float:
        self._odd.append(name)
        return float(name)

    def parse(self, text: str, start: int) -> tuple[Any, int]:
        self._twice.clear()
        self._odd.clear()
        try:
            return self._decoder.raw_decode(text, start)
        except RecursionError:
            raise TooDeep from None

    def _count(self, record: int) -> None:
        """What the last record that was parsed has of odd things."""
        if self._twice:
            self._doubled += 1
            if len(self._examples) < EXAMPLES:
                self._examples.append({"record": record, "name": self._twice[0]})
        self._constants += len(self._odd)
        self._infinite += sum(name != "NaN" for name in self._odd)

    def _of_lines(self) -> Iterator[list[Any]]:
        number, rest = 0, ""
        for text, last in self._texts():
            lines = (rest + text).split("\n")
            rest = "" if last else lines.pop()
            if len(rest) > MAX_RECORD_CHARS:
                raise BadJson(f"line {number + len(lines) + 1} is longer than {MAX_RECORD_CHARS >> 20} MiB")
            records = []
            for line in lines:
                number += 1
                if stripped := line.strip(" \t\r"):
                    if self.skip:
                        self.skip -= 1
                        continue
                    records.append(self._line(stripped, number, last=last))
                    if self._twice or self._odd:
                        self._count(self._records + len(records))
            if records:
                yield records

    def _line(self, line: str, number: int, *, last: bool) -> Any:
        try:
            value, end = self.parse(line, 0)
        except json.JSONDecodeError as err:
            raise BadJson(f"line {number} is no JSON: {_told(err, line, cut=last)}") from err
        except ValueError as err:
            raise BadJson(f"line {number}: {_number_told(err)}") from err
        if end != len(line):
            raise BadJson(f"line {number} holds more than one record, or something after it: character {end + 1}")
        return value

    def _of_text(self) -> Iterator[list[Any]]:
        text = _Text(self._texts())
        records: list[Any] = []
        if self.layout.array:
            text.next()
            text.take(1)
        first = True
        while (mark := text.next()) and not (self.layout.array and mark == "]"):
            if self.layout.array and not first:
                if mark != ",":
                    raise BadJson(f"line {text.line}: a comma or the end of the array is missing before {mark!r}")
                text.take(1)
                text.next()
            records.append(text.value(self))
            first = False
            if self._twice or self._odd:
                self._count(self._records + len(records))
            if self.skip:
                left_out = min(self.skip, len(records))
                self.skip -= left_out
                records = records[left_out:]
            if records and (text.refilled or len(records) >= 10_000):
                text.refilled = False
                yield records
                records = []
        if self.layout.array:
            if not mark:
                raise BadJson("the array is not closed: the file seems to be cut off")
            text.take(1)
            if text.next():
                raise BadJson(f"line {text.line}: something follows the end of the array")
        if records:
            yield records

    def _texts(self) -> Iterator[tuple[str, bool]]:
        """The file decoded, in portions; the last one is marked."""
        read = 0
        with opened(self.layout.path, self.layout.compression) as stream:
            chunk = stream.read(CHUNK_BYTES)
            self.encoding = json.detect_encoding(chunk[:4])
            decoder = getincrementaldecoder(self.encoding)()
            while chunk:
                try:
                    yield decoder.decode(chunk), False
                except UnicodeDecodeError as err:
                    name = self.encoding.removesuffix("-sig").upper()
                    raise BadJson(f"the text is not {name}, as JSON must be: byte {read + err.start + 1}") from err
                read += len(chunk)
                chunk = stream.read(CHUNK_BYTES)
            try:
                yield decoder.decode(b"", final=True), True
            except UnicodeDecodeError as err:
                raise BadJson("the file ends inside a character: it seems to be cut off") from err


class _Text:
    """The part of the text that was not taken yet."""

    def __init__(self, texts: Iterator[tuple[str, bool]]) -> None:
        self._texts, self._text, self._at, self._ended = texts, "", 0, False
        self.line = 1
        """Of the next character."""
        self.refilled = False

    def next(self) -> str:
        """The next character that is no blank, which it does not take; empty at the end."""
        while True:
            self.take(_BLANK.match(self._text, self._at).end() - self._at)  # type: ignore[union-attr]
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def take(self, count: int) -> None:
        """Goes on by so many characters."""
        self.line += self._text.count("\n", self._at, self._at + count)
        self._at += count

    def value(self, reading: Records) -> Any:
        """The next value. A text that ends within is read on, twice as much each time."""
        while True:
            try:
                value, end = reading.parse(self._text, self._at)
            except json.JSONDecodeError as err:
                if self._more():
                    continue
                line = self.line + self._text.count("\n", self._at, err.pos)
                raise BadJson(f"line {line} is no JSON: {_told(err, self._text, cut=True)}") from err
            except ValueError as err:
                raise BadJson(f"line {self.line}: {_number_told(err)}") from err
            if end == len(self._text) and self._more():
                continue
            self.take(end - self._at)
            return value

    def _more(self) -> bool:
        """Reads on; False at the end. What was taken is let go."""
        if self._ended:
            return False
        rest = self._text[self._at :]
        if len(rest) > MAX_RECORD_CHARS:
            raise BadJson(f"the record that begins in line {self.line} is longer than {MAX_RECORD_CHARS >> 20} MiB, or broken")
        parts = [rest]
        wanted = max(1, len(rest))
        while wanted > 0 and not self._ended:
            text, self._ended = next(self._texts)
            parts.append(text)
            wanted -= len(text)
        self._text, self._at, self.refilled = "".join(parts), 0, True
        return True


def _told(err: json.JSONDecodeError, text: str, *, cut: bool) -> str:
    if cut and (err.pos >= len(text.rstrip()) or err.msg.startswith("Unterminated string")):
        return "the file ends inside a record, it seems to be cut off"
    return f"{err.msg[0].lower()}{err.msg[1:]} (character {err.colno})"


def _number_told(err: ValueError) -> str:
    return "a number has more digits than a reader takes (4,300)" if "digits" in str(err) else str(err)
