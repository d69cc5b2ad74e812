"""The bytes of a stored file in chunks: all of them, hashed as they pass, or a part."""

import hashlib
from typing import BinaryIO, Protocol, Self

from dsplatform.core.errors import Unavailable
from dsplatform.files.model import FileDamaged, StoredFile
from dsplatform.files.reading import CHUNK_BYTES


class Chunks(Protocol):
    """Bytes in order, in chunks of 1 MiB. Raises `FileDamaged` where they turn out not to be what was stored."""

    size: int
    """How many bytes there are in all of these chunks."""
    damaged: bool
    """Whether the bytes turned out not to be what was stored."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> bytes: ...


class HashingReader:
    """All chunks of a file, hashed as they pass. The last one is held back until the digest is known to be right."""

    def __init__(self, reader: BinaryIO, file: StoredFile) -> None:
        self._reader = reader
        self._file = file
        self._digest = hashlib.sha256()
        self.size = self._left = file.file_size
        self.damaged = False
        self._next = self._read()

    def _read(self) -> bytes:
        chunk = _read(self._reader, CHUNK_BYTES, self._file)
        self._digest.update(chunk)
        self._left -= len(chunk)
        return chunk

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        current, self._next = self._next, b""
        if current:
            self._next = self._read()
        if not self._next:
            if self._left != 0 or self._digest.hexdigest() != self._file.content_hash:
                self.damaged = True
                raise damaged(self._file, "its bytes have changed")
            if not current:
                raise StopIteration
        return current


class PartReader:
    """The chunks of a part of a file. Whether they are what was stored can only be told of the whole: of a part, that it is there."""

    def __init__(self, reader: BinaryIO, file: StoredFile, offset: int, length: int) -> None:
        self._reader = reader
        self._file = file
        self.size = self._left = length
        self.damaged = False
        try:
            reader.seek(offset)
        except OSError as err:
            raise _unreadable(file, err) from err

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        if not self._left:
            raise StopIteration
        chunk = _read(self._reader, min(CHUNK_BYTES, self._left), self._file)
        if not chunk:
            self.damaged = True
            raise damaged(self._file, "its bytes end too early")
        self._left -= len(chunk)
        return chunk


def damaged(file: StoredFile, finding: str) -> FileDamaged:
    """What a reader is told who met other bytes than were stored."""
    return FileDamaged(f"file {file.id} ({file.content_hash[:12]}…) is damaged: {finding}; upload the same content again to heal it")


def _read(reader: BinaryIO, size: int, file: StoredFile) -> bytes:
    try:
        return reader.read(size)
    except OSError as err:
        raise _unreadable(file, err) from err


def _unreadable(file: StoredFile, err: OSError) -> Unavailable:
    return Unavailable(f"file {file.id} cannot be read from the storage: {err.strerror}")
