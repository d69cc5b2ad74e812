"""What the bytes of a text are: encoding, line ends, NUL bytes. Every byte is read before an encoding is believed."""

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE, getincrementaldecoder, lookup
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from dsplatform.schemas.model import Hints

CHUNK = 256 << 10
GUESS_BYTES = 16 << 10
"""Of lines with other than ASCII: what the statistics see."""

MARKS = (  # UTF-32 first: its mark begins as that of UTF-16
    (BOM_UTF8, "utf-8-sig"),
    (BOM_UTF32_LE, "utf-32"),
    (BOM_UTF32_BE, "utf-32"),
    (BOM_UTF16_LE, "utf-16"),
    (BOM_UTF16_BE, "utf-16"),
)

_EASTERN = {
    "cp932": ("shift_jis", "cp932"),
    "shift_jis": ("shift_jis", "cp932"),
    "shift_jis_2004": ("shift_jis", "cp932", "shift_jis_2004"),
    "shift_jisx0213": ("shift_jis", "cp932", "shift_jisx0213"),
    "euc_jp": ("euc_jp",),
    "euc_jis_2004": ("euc_jp", "euc_jis_2004"),
    "euc_jisx0213": ("euc_jp", "euc_jisx0213"),
    "gb2312": ("gb18030",),
    "gbk": ("gb18030",),
    "gb18030": ("gb18030",),
    "big5": ("big5", "cp950"),
    "big5hkscs": ("big5", "big5hkscs"),
    "cp950": ("big5", "cp950"),
    "cp949": ("euc_kr", "cp949"),
    "euc_kr": ("euc_kr", "cp949"),
    "johab": ("johab",),
}
# Cyrillic; Greek; Hebrew and Arabic; Thai.
_OTHER_SCRIPTS = frozenset(
    {
        *("cp1251", "koi8_r", "koi8_u", "koi8_t", "mac_cyrillic", "iso8859_5", "cp855", "cp866"),
        *("cp1253", "iso8859_7", "mac_greek", "cp737"),
        *("cp1255", "iso8859_8", "cp862", "cp1256", "iso8859_6", "cp864"),
        *("cp874", "iso8859_11", "tis_620"),
    }
)
_LATIN = frozenset({"cp1250", "iso8859_2", "cp1254", "iso8859_9", "cp1257", "iso8859_13"})


@dataclass(frozen=True)
class Survey:
    """A pass over all bytes. Line ends are counted wherever they stand, inside of quotes, too."""

    encoding: str
    """A name that Python knows."""
    bom: bool
    guessed: bool
    """The bytes did not say it themselves."""
    nul_bytes: int
    line_ends: Mapping[str, int]
    long_line: int | None
    """The number of the first line that is longer than the limit; nothing behind it was read."""
    lines: int
    quotes: bool
    """Whether there is a quote of either kind."""


def survey(opened: Callable[[], BinaryIO], hints: Hints, limit: int) -> Survey:
    """Finds the encoding in the order of docs/schemas.md. `opened` gives the stream from its start; `limit` is of a line, in bytes of
    UTF-8. Raises `ValueError` where a byte order mark says what the bytes are not."""
    with opened() as stream:
        sample = stream.read(1 << 16)
    marked = next((name for mark, name in MARKS if sample.startswith(mark)), None)
    if marked is not None:
        try:
            return _count(opened, marked, limit, guessed=False)
        except UnicodeError as err:
            raise ValueError(f"the file says that it is {marked.removesuffix('-sig').upper()}, but not all of its bytes are") from err
    for encoding, guessed in _candidates(opened, sample, hints):
        try:
            return _count(opened, encoding, limit, guessed=guessed)
        except (UnicodeError, LookupError):
            continue
    raise AssertionError("every byte is a character in Latin-1")


def surveyed(shown: str, *, bom: bool) -> Survey:
    """What is known of a text whose survey found the encoding that `display` shows so. What it counted is left out."""
    encoding = "utf-8-sig" if bom and shown == "utf-8" else shown
    return Survey(encoding, bom, guessed=False, nul_bytes=0, line_ends={}, long_line=None, lines=0, quotes=True)


def in_utf8(stream: BinaryIO, encoding: str, size: int = CHUNK) -> Iterator[bytes]:
    """The text as UTF-8 without a byte order mark, read `size` bytes at a time. Raises `UnicodeError` for bytes that are none of it."""
    decoder = getincrementaldecoder(encoding)()
    while chunk := stream.read(size):
        if encoding != "utf-8":
            yield decoder.decode(chunk).encode()
            continue
        if not chunk.isascii() or decoder.getstate()[0]:
            decoder.decode(chunk)
        yield chunk
    if rest := decoder.decode(b"", final=True):
        yield rest.encode()


def line_ends_meet(stream: BinaryIO, encoding: str) -> bool:
    """Whether two line ends stand side by side anywhere."""
    last = b""
    for chunk in in_utf8(stream, encoding):
        text = (last + chunk).replace(b"\r\n", b"\n")
        if any(both in text for both in (b"\n\n", b"\r\r", b"\n\r", b"\r\n")):
            return True
        last = chunk[-2:]
    return False


def display(encoding: str) -> str:
    """The name that people know."""
    name = encoding.removesuffix("-sig")
    if name.startswith("cp125"):
        return f"windows-{name[2:]}"
    return name.replace("iso8859_", "iso-8859-").replace("koi8_", "koi8-")


def _without_mark(sample: bytes) -> str | None:
    """Western text in UTF-16 without a mark: every other byte is zero."""
    zeros = sample[::2].count(0), sample[1::2].count(0)
    if max(zeros) <= len(sample) // 4 or min(zeros) > max(zeros) // 8:
        return None
    return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"


def _candidates(opened: Callable[[], BinaryIO], sample: bytes, hints: Hints) -> Iterator[tuple[str, bool]]:
    if wide := _without_mark(sample):
        yield wide, False
    yield "utf-8", False
    if hints.encoding:
        yield hints.encoding, False
    for encoding in _guess(_sample(opened)):
        yield encoding, True
    yield "windows-1252", True
    yield "latin-1", True


def _sample(opened: Callable[[], BinaryIO]) -> bytes:
    """The first different lines that are not ASCII."""
    found: dict[bytes, None] = {}
    size = 0
    with opened() as stream:
        while size < GUESS_BYTES and (chunk := stream.read(CHUNK)):
            if chunk.isascii():
                continue
            for line in chunk.splitlines():
                if not line.isascii() and line not in found:
                    found[line[:GUESS_BYTES]] = None
                    size += len(line)
                    if size >= GUESS_BYTES:
                        break
    return b"\n".join(found)


def _guess(sample: bytes) -> tuple[str, ...]:
    """What the statistics say, where they can: scripts other than Latin are told apart well, the Latin code pages hardly."""
    from charset_normalizer import from_bytes  # seldom needed

    matches = from_bytes(sample)
    best = matches.best()
    if best is not None and best.encoding in _EASTERN and (best.chaos >= 0.06 or not _in_runs(str(best))):
        matches = from_bytes(sample, cp_exclusion=list(_EASTERN))
        best = matches.best()
    if best is None:
        return ()
    if best.encoding in _EASTERN:
        return _EASTERN[best.encoding]
    if best.encoding in _OTHER_SCRIPTS:
        return (best.encoding,)
    western = next((match for match in matches if "cp1252" in match.could_be_from_charset), None)
    if best.encoding in _LATIN and (western is None or best.coherence > western.coherence + 0.05):
        return (best.encoding,)
    return ()


def _in_runs(text: str) -> bool:
    """Whether most characters beyond ASCII have one beside them. In Western text, read as Eastern, they stand alone between letters."""
    runs = re.findall(r"[^\x00-\x7f]+", text)
    return 2 * sum(len(run) for run in runs if len(run) > 1) > sum(map(len, runs))


def _count(opened: Callable[[], BinaryIO], encoding: str, limit: int, *, guessed: bool) -> Survey:
    if lookup(encoding).name == "utf-8" and encoding != "utf-8-sig":
        encoding = "utf-8"
    ends = {"CRLF": 0, "LF": 0, "CR": 0}
    nul_bytes = since = 0
    quotes = False
    long_line, last = None, b""
    with opened() as stream:
        for chunk in in_utf8(stream, encoding, CHUNK):
            first = min((at for at in (chunk.find(b"\n"), chunk.find(b"\r")) if at >= 0), default=len(chunk))
            if since + first > limit:
                long_line = sum(ends.values()) + 1
                break
            if b"\0" in chunk:  # which is faster than counting none
                nul_bytes += chunk.count(b"\0")
            quotes = quotes or b'"' in chunk or b"'" in chunk
            feeds = len(chunk) - len(chunk.replace(b"\n", b""))  # twice as fast as counting many
            if b"\r" in chunk:
                both = chunk.count(b"\r\n")
                ends["CRLF"] += both
                ends["CR"] += chunk.count(b"\r") - both
                feeds -= both
            if last == b"\r" and chunk[:1] == b"\n":
                ends["CRLF"], ends["CR"], feeds = ends["CRLF"] + 1, ends["CR"] - 1, feeds - 1
            ends["LF"] += feeds
            at = max(chunk.rfind(b"\n"), chunk.rfind(b"\r"))
            since = since + len(chunk) if at < 0 else len(chunk) - at - 1
            last = chunk[-1:]
    marked = any(encoding == name for _, name in MARKS)
    lines = sum(ends.values()) + (since > 0)
    ends = {name: count for name, count in ends.items() if count}
    return Survey(encoding, marked, guessed, nul_bytes, ends, long_line, lines, quotes)
