"""V4: bytes read again on both sides. Whatever the migration believes, this reads the legacy file and what the store gives back."""

import hashlib
import io
import os
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

from dsplatform.core.database import Transaction
from dsplatform.core.errors import DsplatformError
from dsplatform.core.interfaces import FileKeeper
from dsplatform.core.types import FileId
from dsplatform.migration.judging import Difference
from dsplatform.migration.locating import Locator
from dsplatform.migration.model import SourceRow
from dsplatform.migration.source import Inline, Snapshot

STRATA = 10
"""Groups of files by size, from each of which as many are drawn."""
READERS = 4
PORTION = 200
PIECE = 1024 * 1024


def drawn(tx: Transaction, sample: int | None, seed: int) -> Sequence[tuple[int, int]]:
    """(legacy id, our id) of the files that are read: all of them (`sample` None), or so many, the same for the same seed.

    Every size has its share: files are ordered by size and divided into groups of equal number.
    """
    rows = [
        (int(legacy), new)
        for legacy, new in tx.tuples(
            "SELECT m.legacy_id, m.new_id FROM legacy_id_map m JOIN files f ON f.id = m.new_id "
            "WHERE m.entity = 'files' AND m.deleted_at IS NULL AND m.reason IS DISTINCT FROM 'made_here' "
            "ORDER BY f.file_size, m.legacy_id::bigint"
        )
    ]
    if sample is None or sample >= len(rows):
        return rows
    rng = random.Random(seed)  # noqa: S311 - draws a sample, guards nothing
    chosen: list[tuple[int, int]] = []
    for number in range(STRATA):
        stratum = rows[number * len(rows) // STRATA : (number + 1) * len(rows) // STRATA]
        share = (number + 1) * sample // STRATA - number * sample // STRATA
        chosen += rng.sample(stratum, min(share, len(stratum)))
    return chosen


def contents(source: Snapshot, store: FileKeeper, locator: Locator, chosen: Sequence[tuple[int, int]]) -> Iterator[Difference | int]:
    """Compares SHA-256 and length of both sides' bytes. No transaction of ours is open meanwhile."""
    for start in range(0, len(chosen), PORTION):
        portion = chosen[start : start + PORTION]
        rows = {row.key[0]: row for row in source.rows("files", [(legacy,) for legacy, _ in portion])}
        with ThreadPoolExecutor(READERS) as pool:
            ours = pool.map(lambda pair: _ours(store, pair[1]), portion)
            theirs = [_theirs(source, locator, rows.get(legacy)) for legacy, _ in portion]
            for (legacy, new), old, kept in zip(portion, theirs, ours, strict=True):
                yield 1
                if isinstance(old, str) or isinstance(kept, str):
                    told = old if isinstance(old, str) else kept
                    yield Difference("files", str(legacy), "", f"cannot be read again: {told}")
                elif old != kept:
                    yield Difference("files", str(legacy), "", f"has other bytes than file {new} here: {old[1]} there, {kept[1]} here")


def _ours(store: FileKeeper, file_id: int) -> tuple[str, int] | str:
    digest, size = hashlib.sha256(), 0
    try:
        with store.verified_chunks(FileId(file_id)) as chunks:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
    except (DsplatformError, OSError) as err:
        return f"the store: {err}"
    return digest.hexdigest(), size


def _theirs(source: Snapshot, locator: Locator, row: SourceRow | None) -> tuple[str, int] | str:
    if row is None:
        return "its legacy row is gone"
    digest, size = hashlib.sha256(), 0
    try:
        with _opened(source, locator, row) as reader:
            while piece := reader.read(PIECE):
                digest.update(piece)
                size += len(piece)
    except (DsplatformError, OSError) as err:
        return f"the legacy file: {err}"
    return digest.hexdigest(), size


def _opened(source: Snapshot, locator: Locator, row: SourceRow) -> BinaryIO:
    """The bytes of the row itself come before any path."""
    if isinstance(row.values.get("file_data"), Inline):
        return io.BufferedReader(_Cell(source, row.key))
    path: Any = row.values.get("file_path")
    if "file_path" in row.broken:
        path = os.fsdecode(row.broken["file_path"])
    if path is None:
        raise FileNotFoundError("its row names no file any more")
    return locator.open(path)


class _Cell(io.RawIOBase):
    """The bytes of the column `file_data`."""

    def __init__(self, source: Snapshot, key: tuple[int, ...]) -> None:
        self._pieces = source.inline("files", "file_data", key)
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._left = next(self._pieces, b"")
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count
