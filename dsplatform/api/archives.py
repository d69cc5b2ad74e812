"""Many files as one: zip and tar, made while they are sent. The same files give the same bytes each time."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime

from dsplatform.files.chunks import Chunks


@dataclass(frozen=True)
class Member:
    """A file of an archive."""

    name: str
    size: int
    opened: Callable[[], AbstractContextManager[Chunks]]


def zipped(members: Iterable[Member], at: datetime) -> Generator[bytes, None, None]:
    """A zip archive, each file as it is, dated `at`. Its own sums are beside what reading the members checks."""
    sink = _Sink()
    when = at.astimezone(UTC)
    stamp = (max(when.year, 1980), when.month, when.day, when.hour, when.minute, when.second)
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for member in members:
            info = zipfile.ZipInfo(member.name, stamp)
            info.create_system = 3  # the same bytes on every system
            info.external_attr = 0o644 << 16
            with member.opened() as chunks, archive.open(info, "w", force_zip64=True) as target:
                for chunk in chunks:
                    target.write(chunk)
                    yield sink.taken()
    yield sink.taken()


def tarred(members: Iterable[Member], at: datetime) -> Generator[bytes, None, None]:
    """A tar archive (POSIX.1-2001, names in UTF-8), each file dated `at`."""
    written = 0
    for member in members:
        info = tarfile.TarInfo(member.name)
        info.size, info.mtime = member.size, int(at.timestamp())
        head = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        with member.opened() as chunks:
            yield head
            yield from chunks
        padding = -member.size % tarfile.BLOCKSIZE
        yield bytes(padding)
        written += len(head) + member.size + padding
    yield bytes(2 * tarfile.BLOCKSIZE + -(written + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE)


class _Sink(io.RawIOBase):
    """Takes what is written and gives it on."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # narrower than any buffer
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)
