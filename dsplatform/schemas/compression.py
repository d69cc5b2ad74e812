"""Opening files that are compressed, as streams of what they hold. No stream unpacks without end."""

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

FREE_BYTES, MOST_TIMES = 1 << 30, 1000
"""What unpacks to more than `FREE_BYTES` and to more than `MOST_TIMES` its own size is a bomb. Tables shrink to a hundredth at best."""


class Bomb(Exception):
    """A compressed file that unpacks to far more than any table would."""


def only_member(path: Path) -> str | None:
    """The name of the one file in a zip archive; None where there are none or several, or where it is no such archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [item for item in archive.infolist() if not item.is_dir() and not item.filename.startswith("__MACOSX/")]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    return members[0].filename if len(members) == 1 else None


def opened(path: Path, compression: str) -> BinaryIO:
    """What the file holds. Raises `Bomb` while it is read."""
    stream = OPENERS[compression](path)
    return stream if compression == "none" else cast(BinaryIO, _Bounded(stream, max(FREE_BYTES, MOST_TIMES * path.stat().st_size)))


def _member(path: Path) -> BinaryIO:
    name = only_member(path)
    if name is None:
        raise ValueError("the zip archive does not hold exactly one file")
    archive = zipfile.ZipFile(path)  # it stays open as long as its member is read
    return cast(BinaryIO, archive.open(name))


OPENERS: dict[str, Callable[[Path], BinaryIO]] = {
    "none": lambda path: cast(BinaryIO, path.open("rb", buffering=0)),
    "gzip": lambda path: cast(BinaryIO, gzip.GzipFile(path)),
    "bzip2": lambda path: cast(BinaryIO, bz2.BZ2File(path)),
    "xz": lambda path: cast(BinaryIO, lzma.LZMAFile(path)),  # noqa: SIM115 - the caller's `with` closes it
    "zstd": lambda path: cast(BinaryIO, pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")),
    "zip": _member,
}


class _Bounded(io.RawIOBase):
    """A stream that ends with `Bomb` after `limit` bytes."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self._stream, self._limit, self._taken = stream, limit, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        chunk = self._stream.read(-1 if size is None else size)
        self._taken += len(chunk)
        if self._taken > self._limit:
            raise Bomb(f"it unpacks to more than {self._limit >> 20} MiB, {MOST_TIMES} times its size and more: no table does")
        return chunk

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        chunk = self.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        self._stream.close()
        super().close()
