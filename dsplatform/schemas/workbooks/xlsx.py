"""Workbooks as Excel has written them since 2007 (.xlsx, .xlsm): a zip archive of XML parts, each sheet read once, in pieces."""

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from posixpath import dirname, join, normpath
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element
from xml.parsers import expat

import pyarrow as pa

from dsplatform.schemas.workbooks.archives import MAX_PIECE, Archive, ArchiveError
from dsplatform.schemas.workbooks.cells import MAX_COLUMNS, NotPlainError, column_number, decoded, parse, safe_parser, scan, unescaped
from dsplatform.schemas.workbooks.sheet_columns import CellStore
from dsplatform.schemas.workbooks.sheet_values import Cells, Meaning
from dsplatform.schemas.workbooks.sheets import Range, Sheet

_DATES = frozenset({*range(14, 23), *range(27, 37), 45, 47, *range(50, 59)})
_DURATIONS = frozenset({46})
_SINGLE = re.compile(rb'<si><t(?: xml:space="preserve")?>([^<]*)</t></si>')
_AT_ONCE = 3


@dataclass(frozen=True)
class Entry:
    """A sheet as the workbook lists it. `kind` is `worksheet`, `chartsheet`, …: the last word of its relation's type."""

    name: str
    part: str
    kind: str
    hidden: str | None


class Xlsx:
    """An open workbook. Raises `ValueError` for what cannot be read."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._part = self._target("", "officeDocument") or "xl/workbook.xml"
        root = self._tree(self._part)
        relations = {id_: (kind, part) for id_, kind, part in self._relations(self._part)}
        properties = _first(root, "workbookPr")
        self.since_1904 = properties is not None and properties.get("date1904") in {"1", "true"}
        self.sheets = [self._entry(element, relations) for element in _all(root, "sheet")]
        parts = Counter(entry.part for entry in self.sheets if entry.kind == "worksheet")
        if parts and max(parts.values()) > 1:
            raise ValueError("it lists one sheet under several names: read again and again, a small file would take all time there is")
        self._texts: pa.StringArray | None = None
        self._meaning: Meaning | None = None

    def _entry(self, element: Element, relations: dict[str, tuple[str, str]]) -> Entry:
        name = element.get("name", "")
        id_ = next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == "id"), "")
        kind, part = relations.get(id_, ("missing", ""))
        state = {"hidden": "hidden", "veryHidden": "very hidden"}.get(element.get("state", ""))
        return Entry(name, part, kind, state)

    def read(self, entry: Entry) -> Sheet:
        """All cells of a worksheet."""
        if self._meaning is None or self._texts is None:
            part = self._target(self._part, "sharedStrings")
            self._texts = _shared_texts(self._archive, part) if part is not None and part in self._archive else pa.array([], pa.string())
            styles = self._target(self._part, "styles")
            classes = _styles(self._tree(styles)) if styles is not None and styles in self._archive else []
            self._meaning = Meaning.of(classes, self._texts, since_1904=self.since_1904)
        try:
            return self._read(entry, self._texts, self._meaning)
        except ArchiveError:
            raise
        except ValueError as err:
            raise ValueError(f"sheet {entry.name!r}: {err}") from err

    def _read(self, entry: Entry, shared: pa.StringArray, meaning: Meaning) -> Sheet:
        store, own, extra = CellStore(), [shared], 0
        reading = _SheetXml(self._archive, entry.part)
        for cells, texts in _in_order(reading.rows(), meaning):
            if extra and len(texts):
                moved = (cells.kinds == 1) & (cells.values >= len(shared))
                cells.values[moved] += extra
            extra += len(texts)
            own.append(texts)
            store.add(cells)
        joined = pa.concat_arrays(own) if extra else shared
        return Sheet(entry.name, store.columns(), joined, entry.hidden, reading.merged())

    def _tree(self, part: str) -> Element:
        data = self._archive.read(part)
        check = safe_parser()
        try:
            check.Parse(data, True)
            return ET.fromstring(data)  # noqa: S314 - without a document type there is nothing to expand or fetch
        except (expat.ExpatError, ET.ParseError) as err:
            raise ValueError(f"its part {part!r} is damaged XML: {err}") from err

    def _relations(self, part: str) -> Iterator[tuple[str, str, str]]:
        """(id, kind, part) of what a part refers to inside the archive."""
        listing = join(dirname(part), "_rels", part.rpartition("/")[2] + ".rels")
        if listing not in self._archive:
            return
        for element in _all(self._tree(listing), "Relationship"):
            target = element.get("Target", "").replace("\\", "/")
            if element.get("TargetMode") != "External":
                path = normpath(target.lstrip("/") if target.startswith("/") else join(dirname(part), target))
                yield element.get("Id", ""), element.get("Type", "").rpartition("/")[2], path

    def _target(self, part: str, kind: str) -> str | None:
        return next((path for _, found, path in self._relations(part) if found == kind), None)


class _SheetXml:
    """The rows of a worksheet's XML in pieces, and what comes after them."""

    def __init__(self, archive: Archive, part: str) -> None:
        self._archive, self._part = archive, part
        self._tail = b""

    def rows(self) -> Iterator[bytes]:
        """Pieces of whole rows."""
        start = self._archive.start(self._part)
        check_prolog(start)
        begin = re.search(rb"<((?:\w+:)?)sheetData\s*(/?)>", start)
        if begin is None or begin[2]:
            self._tail = b"" if begin is None else start[begin.end() :]
            return
        closing = b"</" + begin[1] + b"sheetData"
        skipped = begin.end()
        pieces = self._archive.pieces(self._part, b"</" + begin[1] + b"row>")
        for piece in pieces:
            end = piece.find(closing)
            if end >= 0:
                self._tail = piece[end:]
            body = piece[skipped : end if end >= 0 else None]
            skipped = 0
            if body.strip():
                yield body
            if end >= 0:
                break
        while self._tail and len(self._tail) < MAX_PIECE and (more := next(pieces, b"")):
            self._tail += more
        if not self._tail:
            raise ValueError("its XML is cut off: the rows do not end")

    def merged(self) -> list[Range]:
        """The ranges that one cell covers."""
        found = re.finditer(
            rb"""<(?:\w+:)?mergeCell\s[^>]*?ref\s*=\s*["']\$?([A-Z]{1,3})\$?([0-9]{1,7}):\$?([A-Z]{1,3})\$?([0-9]{1,7})["']""", self._tail
        )
        return [
            (int(top) - 1, column_number(left.decode()), int(bottom) - 1, min(column_number(right.decode()), MAX_COLUMNS - 1))
            for left, top, right, bottom in (match.groups() for match in found)
        ]


def check_prolog(start: bytes) -> None:
    """Raises `ValueError` for XML that is not UTF-8 or that declares a document type."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in start[:64]:
        raise ValueError("its XML is not in UTF-8, as that of a workbook is")
    if b"<!DOCTYPE" in start:
        raise ValueError("its XML declares a document type, which no workbook needs and which can make it grow without limit")


def _in_order(pieces: Iterator[bytes], meaning: Meaning) -> Iterator[tuple[Cells, pa.StringArray]]:
    """The cells of each piece, in order; two threads work while the next piece is unpacked."""
    with ThreadPoolExecutor(2) as threads:
        waiting: list[tuple[bytes, Future[tuple[Cells, pa.StringArray] | None]]] = []
        row = 0
        for piece in chain(pieces, [None]):
            if piece is not None:
                waiting.append((piece, threads.submit(_plain, piece, meaning)))
            while waiting and (piece is None or len(waiting) > _AT_ONCE):
                text, future = waiting.pop(0)
                found = future.result()
                if found is None:
                    raw, row = parse(text, row)
                    yield meaning.cells(raw)
                else:
                    row = int(found[0].rows[-1]) + 1 if len(found[0].rows) else row
                    yield found


def _plain(piece: bytes, meaning: Meaning) -> tuple[Cells, pa.StringArray] | None:
    raw = scan(piece)
    return None if raw is None else meaning.cells(raw)


def _shared_texts(archive: Archive, part: str) -> pa.StringArray:
    start = archive.start(part)
    check_prolog(start)
    begin = re.search(rb"<((?:\w+:)?)sst(?:\s[^>]*[^/>])?\s*>", start)
    if begin is None:
        return pa.array([], pa.string())
    found = []
    skipped = begin.end()
    for piece in archive.pieces(part, b"</" + begin[1] + b"si>"):
        end = piece.rfind(b"</" + begin[1] + b"sst")
        body = piece[skipped : end if end >= 0 else None]
        skipped = 0
        if body.strip():
            found.append(_texts(body))
    return pa.concat_arrays(found) if found else pa.array([], pa.string())


def _texts(piece: bytes) -> pa.StringArray:
    singles = _SINGLE.findall(piece)
    with suppress(NotPlainError):
        if 4 * len(singles) == piece.count(b"<"):
            return decoded(pa.array(singles, pa.binary()).view(pa.string()), piece)
    reading = _Shared()
    parser = safe_parser()
    parser.StartElementHandler, parser.EndElementHandler = reading.start, reading.end
    parser.CharacterDataHandler = reading.characters
    try:
        parser.Parse(b"<sst>" + piece + b"</sst>", True)
    except expat.ExpatError as err:
        raise ValueError(f"its shared texts are damaged XML: {err}") from err
    return pa.array(reading.texts, pa.string())


class _Shared:
    """What expat calls: a shared text is every `t` in `si` that is not a phonetic hint, rich text being several."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._text: list[str] = []
        self._collecting = self._hint = False

    def start(self, name: str, _: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        if name == "si":
            self._text = []
        elif name == "rPh":
            self._hint = True
        elif name == "t":
            self._collecting = not self._hint

    def characters(self, text: str) -> None:
        if self._collecting:
            self._text.append(text)

    def end(self, name: str) -> None:
        name = name.rpartition(":")[2]
        if name == "si":
            self.texts.append(unescaped("".join(self._text)))
        elif name == "rPh":
            self._hint = False
        elif name == "t":
            self._collecting = False


def _styles(root: Element) -> list[int]:
    """Of each cell style: 0 a number, 1 a date or time, 2 a duration."""
    codes = {int(element.get("numFmtId", 0)): _class(element.get("formatCode", "")) for element in _all(root, "numFmt")}
    formats = _first(root, "cellXfs")
    ids = [int(element.get("numFmtId", 0)) for element in formats] if formats is not None else []
    return [codes.get(id_, 2 if id_ in _DURATIONS else int(id_ in _DATES)) for id_ in ids]


def _class(code: str) -> int:
    """What a number format makes of a number."""
    section = re.sub(r'"[^"]*"|\\.|_.|\*.', "", code).partition(";")[0].lower()
    if re.search(r"\[(h+|m+|s+)\]", section):
        return 2
    return int(re.search(r"[ymdhs]", re.sub(r"\[[^\]]*\]|general", "", section)) is not None)


def _all(root: Element, name: str) -> list[Element]:
    return [element for element in root.iter() if element.tag.rpartition("}")[2] == name]


def _first(root: Element, name: str) -> Element | None:
    return next(iter(_all(root, name)), None)
