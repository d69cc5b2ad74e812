"""Zip archives from strangers: what they list is checked before anything is opened, and what is opened is read within limits."""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from types import TracebackType

MAX_ENTRIES = 10_000
"""A workbook has a part per sheet, drawing and picture; Excel itself fails long before."""
MAX_LISTING = 4 << 20
"""Bytes of the listing at the end, looked at before it is read: ten thousand entries with long names."""
MAX_UNPACKED = 1 << 30
"""Of all parts together. A sheet of 500,000 rows and 10 columns has 200 MiB of XML, one of 1,048,576 rows and 25 columns 1 GiB."""
MAX_RATIO, RATIO_FROM = 100, 16 << 20
"""Sheets of numbers shrink to a sixth, the emptiest honest ones to a fiftieth; deflate's best is a thousandth. Parts below 16 MiB may
shrink as they like: they do no harm."""
MAX_PART = 32 << 20
"""Of a part that is read as a whole: the names of the sheets, the styles."""
MAX_PIECE = 64 << 20
"""Of one row, or one shared text. A cell holds 32,767 characters at most."""

_BLOCK = 4 << 20
_END, _BIG_END = b"PK\x05\x06", b"PK\x06\x06"


class ArchiveError(ValueError):
    """The archive is damaged, or would unpack to more than a reader may hold."""


def names(path: Path) -> frozenset[str]:
    """The entries in lower case with plain slashes; none where the listing is longer than any workbook's. Raises `ArchiveError`."""
    if _listing(path) > MAX_LISTING:
        return frozenset()
    with _opened(path) as archive:
        return frozenset(_plain(entry.filename) for entry in archive.infolist())


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error) as err:
        raise ArchiveError(f"its archive is damaged or cut off: {err}") from err


class Archive(AbstractContextManager["Archive"]):
    """An open archive whose listing is within the limits. Raises `ArchiveError` when it is not."""

    def __init__(self, path: Path) -> None:
        if _listing(path) > MAX_LISTING:
            raise ArchiveError(f"its archive lists more than {MAX_ENTRIES:,} parts, the most that is read")
        self._zip = _opened(path)
        try:
            self._check()
        except ArchiveError:
            self._zip.close()
            raise
        self._entries = {_plain(entry.filename): entry for entry in self._zip.infolist()}

    def _check(self) -> None:
        entries = self._zip.infolist()
        if len(entries) > MAX_ENTRIES:
            raise ArchiveError(f"its archive lists {len(entries):,} parts; {MAX_ENTRIES:,} is the most that is read")
        if any(entry.flag_bits & 1 for entry in entries):
            raise ArchiveError("it is encrypted: save it without a password")
        total = sum(entry.file_size for entry in entries)
        if total > MAX_UNPACKED:
            raise ArchiveError(f"it unpacks to {total >> 20:,} MiB; {MAX_UNPACKED >> 20:,} MiB is the most that is read")
        for entry in entries:
            if entry.file_size > max(RATIO_FROM, MAX_RATIO * entry.compress_size):
                raise ArchiveError(
                    f"its part {entry.filename[:100]!r} unpacks to {entry.file_size >> 20:,} MiB, more than {MAX_RATIO} times its size"
                )
        end = 0
        for entry in sorted(entries, key=lambda entry: entry.header_offset):
            if entry.header_offset < end:
                raise ArchiveError(f"its part {entry.filename[:100]!r} overlaps another: such an archive unpacks to more than it holds")
            end = entry.header_offset + 30 + entry.compress_size

    def __contains__(self, name: str) -> bool:
        return _plain(name) in self._entries

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._zip.close()

    def read(self, name: str) -> bytes:
        """A small part."""
        if self._entry(name).file_size > MAX_PART:
            raise ArchiveError(f"its part {name!r} unpacks to more than {MAX_PART >> 20} MiB, the most that is read of this kind")
        return b"".join(self._blocks(name))

    def start(self, name: str) -> bytes:
        """The first megabytes of a part, or all of it."""
        return next(self._blocks(name), b"")

    def pieces(self, name: str, end: bytes) -> Iterator[bytes]:
        """A big part, in pieces that each end with the last `end` read so far; what comes after the last `end` of all is the last piece."""
        rest = b""
        for block in self._blocks(name):
            rest += block
            cut = rest.rfind(end)
            if cut >= 0:
                yield rest[: cut + len(end)]
                rest = rest[cut + len(end) :]
            elif len(rest) > MAX_PIECE:
                raise ArchiveError(f"a row or text in {name!r} is longer than {MAX_PIECE >> 20} MiB, the most that is read")
        yield rest

    def verify(self) -> None:
        """Unpacks every part and keeps none: what another reader will meet is what the listing says."""
        for name in self._entries:
            for block in self._blocks(name):
                if name.endswith((".xml", ".rels")) and b"<!DOCTYPE" in block:
                    raise ArchiveError("its XML declares a document type, which no workbook needs and which can make it grow without limit")

    def _entry(self, name: str) -> zipfile.ZipInfo:
        entry = self._entries.get(_plain(name))
        if entry is None:
            raise ArchiveError(f"its part {name!r} is missing")
        return entry

    def _blocks(self, name: str) -> Iterator[bytes]:
        # Reading ends at the listed size, whatever the data would unpack to; a checksum that then differs is an error.
        entry = self._entry(name)
        try:
            with self._zip.open(entry) as part:
                while block := part.read(_BLOCK):
                    yield block
                if part.tell() != entry.file_size:
                    raise EOFError(f"{part.tell():,} bytes instead of {entry.file_size:,}")
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as err:
            raise ArchiveError(f"its part {name!r} is damaged, cut off, or not of the size that the archive lists: {err}") from err


def _plain(name: str) -> str:
    return str(PurePosixPath(name.replace("\\", "/").lstrip("/"))).lower()


def _listing(path: Path) -> int:
    """Bytes of the archive's listing, which its last record tells; who opens the archive reads no more of it."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - (1 << 16) - 22))
        tail = file.read()
        at = tail.rfind(_END)
        if at < 0 or len(tail) < at + 22:
            return 0
        _, _, _, count, length, _, _ = struct.unpack("<4H2LH", tail[at + 4 : at + 22])
        big = tail.rfind(_BIG_END, 0, at)
        if (count == 0xFFFF or length == 0xFFFFFFFF) and big >= 0 and len(tail) >= big + 56:
            length = struct.unpack("<Q", tail[big + 40 : big + 48])[0]
        return int(length)
