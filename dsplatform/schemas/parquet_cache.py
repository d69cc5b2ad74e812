"""A folder of Parquet that was made of stored contents: kept as long as it is used, given up when room is needed.

What lies here can be made again at any time, so it is no content of the store: nothing refers to it, the garbage collector need not know
it, and losing it costs time alone. It goes when its source is collected, when nobody asked for it for `KEEP`, or when the folder holds more
than it may, that which was asked for longest ago first. Safe to share between threads and processes.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from dsplatform.core.types import ContentHash

KEEP = timedelta(days=8)
"""How long nobody asks for something until it goes: no longer than the bytes of what nothing names are kept."""
DRAFT_SECONDS = 86_400.0
"""After which a draft belongs to nobody who lives."""
LOCKS = 256


class ParquetCache:
    """Files by content and by what else they depend on."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self.most_bytes = most_bytes

    def find(self, content_hash: ContentHash, reading: str) -> BinaryIO | None:
        """The file, opened: it can be read to its end, also when it goes meanwhile. None: it is not there."""
        path = self.path(content_hash, reading)
        with suppress(FileNotFoundError):
            file = path.open("rb")
            os.utime(file.fileno())  # asked for now
            return file
        return None

    @contextmanager
    def making(self, content_hash: ContentHash, reading: str) -> Iterator[Path]:
        """A path to write the file to, while nobody else makes the same one: ask `find` again in the block. What is there at the end of the
        block is kept; where the block raises, or nothing was written, nothing is."""
        path = self.path(content_hash, reading)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.mkdir(exist_ok=True)
        draft = path.with_name(f".{uuid4().hex}.draft")
        with self._alone(path.name):
            try:
                yield draft
                with suppress(FileNotFoundError):
                    with draft.open("rb") as written:
                        os.fsync(written.fileno())  # a name never stands for half a file, also after a power cut
                    draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
        self.tidy()

    def forget(self, hashes: Collection[ContentHash]) -> None:
        """Removes everything that was made of these contents."""
        for content_hash in hashes:
            for path in (self._folder / content_hash[:2]).glob(f"{content_hash}-*"):
                path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Removes what nobody asks for any more, then what is too much, then drafts of processes that died."""
        now, total = time.time(), 0
        for used, size, path in sorted(self._entries(), reverse=True):
            age = now - used
            if path.suffix == ".draft":
                gone = age > DRAFT_SECONDS
            else:
                total += size
                gone = age > KEEP.total_seconds() or total > self.most_bytes
            if gone:
                path.unlink(missing_ok=True)

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        for path in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            with suppress(FileNotFoundError):
                about = path.stat()
                yield about.st_mtime, about.st_size, path

    def path(self, content_hash: ContentHash, reading: str) -> Path:
        """Where the file lies, if it is there."""
        return self._folder / content_hash[:2] / f"{content_hash}-{hashlib.sha256(reading.encode()).hexdigest()[:16]}.parquet"

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Holds one of a few locks, which a process that dies gives back."""
        number = hashlib.sha256(name.encode()).digest()[0] % LOCKS
        with (self._folder / f"lock-{number:02x}").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
