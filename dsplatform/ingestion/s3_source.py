"""A prefix in a bucket of an S3-compatible store as the drop folder: what was taken goes beside it, to `processed/` and `rejected/`.

An object appears whole and under its key at once. Here, too, it is taken when it stood still over two looks, or when an object with its
name and `.done` lies beside it.
"""

import hashlib
import io
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import BinaryIO
from urllib.parse import quote_from_bytes

from dsplatform.core.s3 import CONNECTIONS, AlreadyThere, Bucket, Stat, checksum
from dsplatform.core.s3_address import S3Address
from dsplatform.core.s3_reading import ObjectReader
from dsplatform.ingestion.model import DONE_SUFFIX, RAW, InboxState, Outcome, Sighting, is_ignored, stored_path
from dsplatform.ingestion.sources import SCAN_BUDGET_SECONDS, Look


class S3Drop:
    """See `sources.Drop`. Connects at the first use."""

    parallel = CONNECTIONS

    def __init__(self, address: S3Address, *, keep_taken: bool, keep_refused: bool) -> None:
        above, _, last = address.prefix.rstrip("/").rpartition("/")
        self._beside = S3Address(address.bucket, f"{above}/" if above else "", address.endpoint, address.region)
        self._drop = f"{last}/"
        self._keep_taken = keep_taken
        self._keep_refused = keep_refused
        self._connected: Bucket | None = None
        self.name = address.name

    @property
    def _bucket(self) -> Bucket:
        if self._connected is None:
            self._connected = Bucket(self._beside)
        return self._connected

    @property
    def moves(self) -> frozenset[InboxState]:
        """The outcomes after which an object leaves the prefix."""
        taken = set() if self._keep_taken else {InboxState.ACCEPTED, InboxState.DUPLICATE}
        return frozenset(taken | (set() if self._keep_refused else {InboxState.REJECTED}))

    def look(self, budget: float = SCAN_BUDGET_SECONDS) -> Look:
        """Lists the prefix; gives up after `budget` seconds with what it has. Raises `Unavailable` when the list cannot be had."""
        deadline = time.monotonic() + budget
        found: dict[str, Stat] = {}
        complete = True
        for page in self._bucket.list(self._drop, in_order=False):
            found.update((stat.key, stat) for stat in page)
            if time.monotonic() > deadline:
                complete = False
                break
        return Look([sighting for stat in found.values() for sighting in self._seen(stat, found)], complete)

    def _seen(self, stat: Stat, found: dict[str, Stat]) -> Iterator[Sighting]:
        path = stat.key.removeprefix(self._drop)
        if path and not path.endswith("/") and not any(is_ignored(part) for part in path.split("/")):
            marked = stat.key + DONE_SUFFIX in found
            # The database has no place for NUL; a name with it is refused as one that cannot be read.
            name = RAW + quote_from_bytes(path.encode()) if "\0" in path else stored_path(path)
            yield Sighting(name, *_identity(stat), marked)

    def still_as_seen(self, _sighting: Sighting) -> bool:
        """Always: an object does not change while it is read, and `source` reads no other one than was seen."""
        return True

    def source(self, sighting: Sighting) -> BinaryIO:
        """The object that was seen, to be read once; connects when its first byte is wanted."""
        return io.BufferedReader(_Arrival(self, sighting))

    def opened(self, sighting: Sighting) -> ObjectReader:
        """Raises OSError when it is gone or another one by now."""
        reader = ObjectReader(self._bucket, self._key(sighting))
        if _identity(reader.stat) != sighting.identity:
            reader.close()
            raise OSError("another object has taken its place")
        return reader

    def _key(self, sighting: Sighting) -> str:
        return self._drop + sighting.real_path

    def put_away(self, sighting: Sighting, outcome: Outcome) -> bool:
        """Moves an object that has its outcome, and removes its marker; a refused one gets its reason beside it.

        False when nothing was moved: moves are turned off, it was moved before, or the key holds another object by now, which is the
        next arrival. A crash between copy and deletion is repeated as a whole.
        """
        if outcome.state not in self.moves:
            return False
        key, bucket = self._key(sighting), self._bucket
        stat = bucket.stat(key)
        if stat is None:
            bucket.delete([key + DONE_SUFFIX])
            return False
        if _identity(stat) != sighting.identity:
            return False
        refused = outcome.state is InboxState.REJECTED
        if refused:
            target = f"rejected/{sighting.real_path}"
        else:
            day = datetime.now(UTC).date().isoformat()
            target = f"processed/{outcome.dataset or '-'}/{day}/{PurePosixPath(sighting.real_path).name}"
        target = self._free_name(target, stat)
        if not bucket.copy(stat, target):
            return False
        if refused:
            reason = {"file": sighting.path, "reason": outcome.reason, "size": sighting.size, "at": datetime.now(UTC).isoformat()}
            self._explain(f"{target}.reason.json", f"{json.dumps(reason, indent=2, ensure_ascii=False)}\n".encode())
        if not bucket.delete_exactly(stat):
            return False
        bucket.delete([key + DONE_SUFFIX])
        return True

    def _explain(self, key: str, reason: bytes) -> None:
        with suppress(AlreadyThere):  # by a run that was killed before it deleted the object
            self._bucket.put(key, reason, checksum(reason))

    def _free_name(self, key: str, stat: Stat) -> str:
        """A key that is free, or that holds a copy which a killed run has made of this very object."""
        path = PurePosixPath(key)
        number = 1
        while (there := self._bucket.stat(key)) is not None and (there.size, there.etag) != (stat.size, stat.etag):
            number += 1
            key = str(path.with_name(f"{path.stem}~{number}{path.suffix}"))
        return key


class _Arrival(io.RawIOBase):
    """An object that is opened when its first byte is wanted, so that thousands can wait."""

    def __init__(self, drop: S3Drop, sighting: Sighting) -> None:
        self._drop = drop
        self._sighting = sighting
        self._reader: ObjectReader | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # narrower than any buffer
        if self._reader is None:
            self._reader = self._drop.opened(self._sighting)
        return self._reader.readinto(buffer)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        super().close()


def _identity(stat: Stat) -> tuple[int, int, int]:
    """What tells this object from another one under its key, as the inbox keeps it: the ETag stands where files have their inode."""
    etag = int.from_bytes(hashlib.sha256(stat.etag.encode()).digest()[:8]) >> 1
    return stat.size, int(stat.modified_at.timestamp()) * 1_000_000_000, etag
