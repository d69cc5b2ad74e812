"""The cells of a worksheet's XML. `scan` reads the plain form that nearly all programs write, with whole-array operations and many
times as fast as an XML parser; for a piece with anything else in it, it gives up and `parse` reads the piece with expat."""

import re
from dataclasses import dataclass
from typing import Final, TypeAlias
from xml.parsers import expat
from xml.sax.saxutils import unescape

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

MAX_ROWS, MAX_COLUMNS = 1 << 20, 1 << 14
"""What a sheet can have. A cell beyond says that the file is wrong."""

NUMBER, SHARED, BOOLEAN, ERROR, TEXT, DATE = b"nsbetd"
"""What the `t` of a cell says; `TEXT` stands for both texts in the cell and texts of formulas."""

Bytes: TypeAlias = npt.NDArray[np.uint8]
Positions: TypeAlias = npt.NDArray[np.int32]
Mask: TypeAlias = npt.NDArray[np.bool_]

_LETTERS: Final = re.compile(r"[A-Za-z]+")
_TYPES: Final = {"n": NUMBER, "s": SHARED, "b": BOOLEAN, "e": ERROR, "d": DATE, "str": TEXT, "inlineStr": TEXT}
_PRESERVE: Final = np.frombuffer(b'<t xml:space="preserve">', np.uint8)


@dataclass(frozen=True)
class RawCells:
    """Cells that have a value, in the order of the file: row and column from 0, `t`, style, and the value as it is written."""

    rows: Positions
    columns: Positions
    types: Bytes
    styles: Positions
    texts: pa.StringArray


class NotPlainError(ValueError):
    """The piece must be read by `parse`."""


def scan(piece: bytes) -> RawCells | None:
    """The cells of whole rows, from `<row` to `</row>`; None unless each tag is one of the plain ones in its plain place."""
    try:
        return _Scan(piece).cells()
    except (NotPlainError, IndexError):  # nothing stands where something should
        return None


def _require(condition: np.bool_ | bool) -> None:  # noqa: FBT001 - as of assert
    if not condition:
        raise NotPlainError


class _Scan:
    """One piece. Every tag is counted: the piece is plain when the tags of its cells and rows are all there are."""

    def __init__(self, piece: bytes) -> None:
        _require(piece.endswith(b"</row>"))
        self._piece = piece
        self._bytes: Bytes = np.frombuffer(piece, np.uint8)
        opens = np.flatnonzero(self._bytes == ord("<")).astype(np.int32)
        self._count = len(opens)
        self._tags: Positions = np.concatenate([opens, np.full(6, opens[-1], np.int32)])  # of which the last closes a row
        self._first: Bytes = self._bytes.take(self._tags + 1)
        self._second: Bytes = self._bytes.take(self._tags + 2)

    def cells(self) -> RawCells:
        """Raises `NotPlainError`."""
        data, tags, first = self._bytes, self._tags, self._first
        index = np.flatnonzero((first[: self._count] == ord("c")) & (self._second[: self._count] == ord(" "))).astype(np.int32)
        start, end = tags.take(index), tags.take(index + 1) - 1
        _require((data.take(end) == ord(">")).all())
        empty = data.take(end - 1) == ord("/")
        counted = int(np.count_nonzero(empty))
        following = first.take(index + 1)
        bare = ~empty & (following == ord("/"))  # <c r="A1" s="1"></c>
        if bare.any():
            _require((data[tags[index[bare] + 1] + 2] == ord("c")).all())
            counted += 2 * int(np.count_nonzero(bare))
        kept = np.flatnonzero(~(empty | bare))
        index, start, end, following = index.take(kept), start.take(kept), end.take(kept), following.take(kept)
        lines, digits = self._rows(start)
        columns, quote = self._reference(start, digits)
        types, styles = self._attributes(quote, end)
        begin, stop, used = self._values(index, following, types)
        _require(counted + used + self._row_tags == self._count)
        texts = self._texts(begin, stop, types)
        return RawCells(lines, columns, types, styles, texts)

    def _is(self, at: Positions, text: bytes) -> bool:
        return all(bool((self._bytes.take(at + offset) == char).all()) for offset, char in enumerate(text))

    def _rows(self, cells: Positions) -> tuple[Positions, Positions]:
        """Each cell's row, and how many digits its number has."""
        data, tags, first, second = self._bytes, self._tags[: self._count], self._first[: self._count], self._second[: self._count]
        opened = tags[(first == ord("r")) & (second == ord("o"))]
        closed = tags[(first == ord("/")) & (second == ord("r"))]
        _require(len(opened) > 0)
        _require(self._is(opened, b'<row r="') and self._is(closed, b"</row>"))
        self._row_tags = len(opened) + len(closed)
        number = np.zeros(len(opened), np.int32)
        digits = np.zeros(len(opened), np.int32)
        going = np.ones(len(opened), np.bool_)
        for offset in range(8, 16):
            char = data[np.minimum(opened + offset, len(data) - 1)]
            going &= (char >= ord("0")) & (char <= ord("9"))
            number = np.where(going, number * 10 + (char - ord("0")), number)
            digits += going
        _require((data[opened + 8 + digits] == ord('"')).all() and (digits > 0).all())
        bounds = np.searchsorted(cells, opened)
        _require(len(cells) == 0 or bounds[0] == 0)
        held = np.diff(bounds, append=len(cells))
        return np.repeat(number - 1, held), np.repeat(digits, held)

    def _reference(self, start: Positions, digits: Positions) -> tuple[Positions, Positions]:
        """The column that `r="AB12"` names, and where its closing quote is."""
        data = self._bytes
        _require(self._is(start + 3, b'r="'))
        letter = data.take(start + 6).astype(np.int32) - 64
        _require(((letter >= 1) & (letter <= 26)).all())
        column, letters = letter, np.ones(len(start), np.int32)
        for offset in (7, 8):
            char = data.take(start + offset).astype(np.int32) - 64
            more = (char >= 1) & (char <= 26) & (letters == offset - 6)
            if not more.any():
                break
            column = np.where(more, column * 26 + char, column)
            letters += more
        quote = start + 6 + letters + digits
        _require((data.take(quote) == ord('"')).all())
        for digit in (data.take(quote - digits), data.take(quote - 1)):
            _require(((digit >= ord("0")) & (digit <= ord("9"))).all())
        return column - 1, quote

    def _attributes(self, quote: Positions, end: Positions) -> tuple[Bytes, Positions]:
        """What stands between the reference and the end of the tag: nothing, ` s="12"`, ` t="s"`, or both."""
        data = self._bytes
        rest = end - quote - 1
        types = np.full(len(quote), NUMBER, np.uint8)
        length = np.zeros(len(quote), np.int32)
        one = np.flatnonzero((rest >= 6) & (data.take(end - 5) == ord("t")))
        if len(one):
            at = end[one]
            types[one] = data.take(at - 2)
            length[one] = 6
            _require(self._is(at - 6, b' t="') and self._is(at - 1, b'"'))
            _require(np.isin(types[one], np.frombuffer(b"nsbed", np.uint8)).all())
        for name in (b"str", b"inlineStr"):
            width = 5 + len(name)
            many = np.flatnonzero((rest >= width) & (length == 0) & (data.take(np.maximum(end - width + 1, 0)) == ord("t")))
            if len(many):
                _require(self._is(end[many] - width, b' t="' + name + b'"'))
                types[many], length[many] = TEXT, width
        left = rest - length
        styles = np.zeros(len(quote), np.int32)
        styled = np.flatnonzero(left)
        if len(styled):
            at, size = quote[styled] + 1, left[styled]
            _require(((size >= 6) & (size <= 10)).all())
            _require(self._is(at, b' s="') and (data.take(at + size - 1) == ord('"')).all())
            style = np.zeros(len(styled), np.int32)
            for offset in range(4, int(size.max()) - 1):
                inside = offset < size - 1
                char = data.take(at + offset).astype(np.int32) - 48
                _require(((char >= 0) & (char <= 9) | ~inside).all())
                style = np.where(inside, style * 10 + char, style)
            styles[styled] = style
        return types, styles

    def _values(self, index: Positions, following: Bytes, types: Bytes) -> tuple[Positions, Positions, int]:
        """Where the value of each cell begins and ends, and how many tags the cells have."""
        data, tags, first = self._bytes, self._tags, self._first
        used = 4 * len(index)
        value = index + 1
        formula = np.flatnonzero(following == ord("f"))
        if len(formula):
            open_ = value[formula]
            _require((np.isin(data[tags[open_] + 2], np.frombuffer(b"> ", np.uint8))).all())
            alone = data[tags[open_ + 1] - 2] == ord("/")
            alone &= first[open_ + 1] == ord("v")
            value[formula] += np.where(alone, 1, 2)
            used += int(np.count_nonzero(alone)) + 2 * int(np.count_nonzero(~alone))
            _require(self._is(tags[open_[~alone] + 1], b"</f>"))
        inline = np.flatnonzero(following == ord("i"))
        begin = tags.take(value) + 3
        if len(inline):
            at = value[inline]
            _require(self._is(tags.take(at), b"<is><t") and (tags.take(at + 1) == tags.take(at) + 4).all())
            _require((types[inline] == TEXT).all())
            text = tags.take(at + 1)
            spaced = data[text + 2] == ord(" ")
            _require((data[text + 2][~spaced] == ord(">")).all())
            if spaced.any():
                wide = text[spaced][:, None] + np.arange(len(_PRESERVE))
                _require(int(wide.max()) < len(data) and bool((data[wide] == _PRESERVE).all()))
            begin[inline] = text + np.where(spaced, len(_PRESERVE), 3)
            _require(self._is(tags.take(at + 2), b"</t></is></c>"))
            used += 2 * len(inline)
            value[inline] += 1
        plain = np.flatnonzero(following != ord("i"))
        at = value[plain]
        _require(self._is(tags.take(at), b"<v>") and self._is(tags.take(at + 1), b"</v></c>"))
        return begin, tags.take(value + 1), used

    def _texts(self, begin: Positions, stop: Positions, types: Bytes) -> pa.StringArray:
        """The values side by side."""
        lengths = stop - begin
        offsets = np.zeros(len(begin) + 1, np.int32)
        np.cumsum(lengths, out=offsets[1:])
        source = np.repeat(begin - offsets[:-1], lengths)
        source += np.arange(len(source), dtype=np.int32)
        texts = pa.StringArray.from_buffers(len(begin), pa.py_buffer(offsets), pa.py_buffer(self._bytes.take(source)))
        if (types == TEXT).any():
            texts = decoded(texts, self._piece)
        return texts


def decoded(texts: pa.StringArray, piece: bytes) -> pa.StringArray:
    """With entities and escapes replaced, where there are any. Raises `NotPlainError`."""
    try:
        texts.validate(full=True)  # UTF-8
    except pa.ArrowInvalid as err:
        raise NotPlainError from err
    if b"&" not in piece and b"_x" not in piece and b"\r" not in piece:
        return texts
    odd = np.flatnonzero(pc.match_substring_regex(texts, r"[&\r]|_x[0-9A-Fa-f]{4}_").to_numpy(zero_copy_only=False))
    if not len(odd):
        return texts
    listed = texts.to_pylist()
    for position in odd:
        listed[position] = unescaped(entities(listed[position].replace("\r\n", "\n").replace("\r", "\n")))
    return pa.array(listed, pa.string())


def entities(text: str) -> str:
    """XML text with its character and predefined entities replaced. Raises `NotPlainError` for any other entity."""
    _require(not re.search(r"&(?!(?:amp|lt|gt|quot|apos|#[0-9]+|#x[0-9A-Fa-f]+);)", text))
    text = re.sub(r"&#(x[0-9A-Fa-f]+|[0-9]+);", lambda found: _character(found[1]), text)
    return unescape(text, {"&quot;": '"', "&apos;": "'"})


def _character(code: str) -> str:
    number = int(code[1:], 16) if code[0] == "x" else int(code)
    _require(number in {9, 10, 13} or 32 <= number < 0xD800 or 0xE000 <= number < 0x110000)
    _require(number != ord("&"))  # what it begins would be replaced again
    return chr(number)


def unescaped(text: str) -> str:
    """`_x000D_` and its like are how workbooks write characters that XML cannot have; `_x005F_` is the underscore of one meant as it
    stands."""
    if "_x" not in text:
        return text
    return re.sub(r"_x([0-9A-Fa-f]{4})_", lambda found: _unit(int(found[1], 16), found[0]), text)


def _unit(code: int, text: str) -> str:
    return text if 0xD800 <= code < 0xE000 else chr(code)


def parse(piece: bytes, row: int = 0) -> tuple[RawCells, int]:
    """As `scan`, by the rules of XML, for rows of any form; `row` is the one to count on from where rows have no numbers. Also the row
    after the last. Raises `ValueError` for what is not well-formed."""
    reading = _Parsing(row - 1)
    parser = safe_parser()
    parser.StartElementHandler, parser.EndElementHandler = reading.start, reading.end
    parser.CharacterDataHandler = reading.characters
    try:
        parser.Parse(b"<sheetData>" + piece + b"</sheetData>", True)
    except expat.ExpatError as err:
        raise ValueError(f"its XML is damaged near row {reading.row + 1}: {expat.ErrorString(err.code)}") from err
    found = reading.found
    rows, columns, types, styles = np.array([cell[:4] for cell in found], np.int32).reshape(-1, 4).T
    texts = pa.array([text for *_, text in found], pa.string())
    return RawCells(rows.copy(), columns.copy(), types.astype(np.uint8), styles.copy(), texts), reading.row + 1


def safe_parser() -> expat.XMLParserType:
    """A parser that refuses a document type, and with it every entity that is not XML's own: nothing expands, nothing is fetched."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse
    return parser


def _refuse(*_: object) -> None:
    raise ValueError("its XML declares a document type, which no workbook needs and which can make it grow without limit")


class _Parsing:
    """What expat calls. A value is the text of `v`, or of each `t` in `is` that is not a phonetic hint."""

    __slots__ = ("_collecting", "_column", "_hint", "_inline", "_style", "_text", "_type", "found", "row")

    def __init__(self, row: int) -> None:
        self.found: list[tuple[int, int, int, int, str]] = []
        self.row, self._column, self._type, self._style = row, -1, NUMBER, 0
        self._text: list[str] | None = None
        self._inline = self._hint = self._collecting = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if ":" in name:
            name = name.rpartition(":")[2]
        if name == "c":
            letters = _LETTERS.match(attributes.get("r", ""))
            self._column = column_number(letters[0]) if letters else self._column + 1
            self._type = _TYPES.get(attributes.get("t", "n"), TEXT)
            self._style = int(attributes.get("s") or 0)
            self._text = None
        elif name == "v" or (name == "t" and self._inline and not self._hint):
            self._collecting = True
            if self._text is None:
                self._text = []
        elif name == "row":
            self.row = int(attributes["r"]) - 1 if "r" in attributes else self.row + 1
            self._column = -1
        elif name == "is":
            self._inline = True
        elif name == "rPh":
            self._hint = True

    def characters(self, text: str) -> None:
        if self._collecting and self._text is not None:
            self._text.append(text)

    def end(self, name: str) -> None:
        if ":" in name:
            name = name.rpartition(":")[2]
        if name == "c":
            if self._text is not None:
                if not 0 <= self.row < MAX_ROWS or not 0 <= self._column < MAX_COLUMNS:
                    raise ValueError(f"a cell lies in row {self.row + 1}, column {self._column + 1}: no sheet has so many")
                text = "".join(self._text)
                self.found.append((self.row, self._column, self._type, self._style, unescaped(text) if self._type == TEXT else text))
        elif name in {"v", "t"}:
            self._collecting = False
        elif name == "is":
            self._inline = False
        elif name == "rPh":
            self._hint = False


def column_number(letters: str) -> int:
    """The number from 0 of the column with these letters."""
    number = 0
    for letter in letters.upper()[:4]:
        number = number * 26 + ord(letter) - 64
    return number - 1
