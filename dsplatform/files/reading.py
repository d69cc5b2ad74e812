"""Taking the bytes of one source: hashed while they are read, read once, and only from what holds still and is a regular file."""

import errno
import hashlib
import io
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from dsplatform.core.errors import Unavailable
from dsplatform.core.types import ContentHash
from dsplatform.core.values import Source
from dsplatform.files.model import HEAD_BYTES, sniff

CHUNK_BYTES = 1024 * 1024


class SourceRefused(Exception):
    """This source cannot be taken; others of the same upload can."""

    def __init__(self, reason: str, *, may_retry: bool = False) -> None:
        super().__init__(reason)
        self.may_retry = may_retry


class Spool(Protocol):
    """Gives a new temporary file's path; called only when a source is too large to hold."""

    def __call__(self) -> Path: ...


@dataclass
class Taken:
    """The bytes of a source: in memory (`data`), in a temporary file (`spooled`), or forgotten again."""

    content_hash: ContentHash
    size: int
    data: bytes | None = None
    spooled: Path | None = None
    known_type: str | None = None

    @property
    def file_type(self) -> str:
        """The kind of content; looked for when it is first asked for, because for a duplicate the store knows it."""
        if self.known_type is None:
            self.known_type = sniff((self.data or b"")[:HEAD_BYTES])
        return self.known_type


def take(source: Source, spool: Spool, small: int, alive: Callable[[int], None]) -> Taken:
    """Reads a source to its end. Up to `small` bytes stay in memory; more are spooled, with `alive` called with the size of each chunk.

    Raises `SourceRefused` for a path that is no readable regular file, is a link, or changed while it was read; `Unavailable` when
    the spool cannot be written.
    """
    if not isinstance(source, (str, Path)):
        return _take_stream(source, spool, small, alive)
    try:
        # O_NONBLOCK: opening a FIFO without a writer would wait for ever; regular files ignore it.
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as err:
        raise _refusal(err) from err
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise SourceRefused(f"it is {_kind(before.st_mode)}, not a regular file")
        if before.st_size <= small:
            try:
                taken = _in_memory(os.read(descriptor, before.st_size + 1))
            except OSError as err:
                raise _refusal(err) from err
            alive(taken.size)
        else:
            with open(descriptor, "rb", buffering=0, closefd=False) as reader:
                taken = _take_stream(reader, spool, 0, alive)
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if taken.size != before.st_size or _identity(before) != _identity(after):
        if taken.spooled:
            taken.spooled.unlink(missing_ok=True)
        raise SourceRefused("it changed while it was read: it is taken when it stands still", may_retry=True)
    return taken


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _in_memory(data: bytes) -> Taken:
    return Taken(ContentHash(hashlib.sha256(data).hexdigest()), len(data), data=data)


def _take_stream(reader: BinaryIO, spool: Spool, small: int, alive: Callable[[int], None]) -> Taken:
    start = b""
    while small and len(start) <= small and (chunk := _read(reader, small + 1 - len(start))):
        start += chunk
    if small and len(start) <= small:
        return _in_memory(start)
    path = spool()
    try:
        return _spooled(reader, start, path, alive)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _spooled(reader: BinaryIO, start: bytes, path: Path, alive: Callable[[int], None]) -> Taken:
    """Hashes a chunk while the previous one is being written: both release the interpreter lock, so two cores share the work."""
    digest = hashlib.sha256()
    size = 0
    head = b""
    try:
        with open(path, "xb", buffering=0) as target, ThreadPoolExecutor(1, thread_name_prefix="spool") as writer:
            written = None
            chunk = start or _read(reader, CHUNK_BYTES)
            while chunk:
                pending = writer.submit(_write_all, target, chunk)
                digest.update(chunk)
                size += len(chunk)
                if len(head) < HEAD_BYTES:
                    head += chunk[: HEAD_BYTES - len(head)]
                if written is not None:
                    written.result()
                written = pending
                alive(len(chunk))
                chunk = _read(reader, CHUNK_BYTES)
            if written is not None:
                written.result()
    except OSError as err:
        if err.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise Unavailable(f"the storage has no space left at {path.parent}: free space and repeat; nothing was recorded") from err
        raise Unavailable(f"the storage failed at {path.parent}: {err.strerror}; nothing was recorded") from err
    return Taken(ContentHash(digest.hexdigest()), size, spooled=path, known_type=sniff(head))


def _write_all(target: BinaryIO, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[target.write(view) :]


def _read(reader: BinaryIO, size: int) -> bytes:
    """One read of the source, whose failures are the source's and not the storage's."""
    try:
        chunk = reader.read(size)
    except OSError as err:
        raise _refusal(err) from err
    if chunk is None:
        raise SourceRefused("it is a reader that does not wait for its bytes: give a blocking one", may_retry=True)
    return chunk


def _refusal(err: OSError) -> SourceRefused:
    """A failure to open or read a source, in words."""
    if isinstance(err, PermissionError):
        return SourceRefused("there is no permission to read it: make it readable for the platform's user")
    if isinstance(err, FileNotFoundError):
        return SourceRefused("it is gone")
    if err.errno == errno.ELOOP:
        return SourceRefused("it is a link; links are not followed: put the file itself there")
    if err.errno == errno.ENXIO:
        return SourceRefused("it is a socket or a device, not a regular file")
    return SourceRefused(f"it cannot be read: {err.strerror or err}", may_retry=True)


def _kind(mode: int) -> str:
    for test, name in (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISCHR, "a character device"),
    ):
        if test(mode):
            return name
    return "something else"


def windows(sources: Sequence[Source], *, small: int, held: int) -> Iterator[tuple[Sequence[Source], Sequence[int]]]:
    """Runs of sources, in the given order, whose files up to `small` bytes have `held` bytes together at most; each with the places of
    its large ones."""
    start = total = 0
    large: list[int] = []
    for at, source in enumerate(sources):
        size = min(_size(source), small + 1)
        if at > start and total + size > held:
            yield sources[start:at], large
            start, total, large = at, 0, []
        total += size
        if size > small:
            large.append(at - start)
    if start < len(sources):
        yield sources[start:], large


def _size(source: Source) -> int:
    """A reader's is known where it is a regular file or memory, else it is taken for large; what is wrong with a path is said when it is
    taken."""
    if isinstance(source, (str, Path)):
        try:
            return os.stat(source, follow_symlinks=False).st_size
        except OSError:
            return 0
    if isinstance(source, io.BytesIO):
        return source.getbuffer().nbytes
    try:
        status = os.fstat(source.fileno())
    except (AttributeError, OSError, ValueError):
        return sys.maxsize
    return status.st_size if stat.S_ISREG(status.st_mode) else sys.maxsize
