"""The bytes of legacy files: every row is looked for, and a sample, or all, is read and hashed. Nothing is kept of what was read."""

import hashlib
import os
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from dsplatform.core.domain import ValueObject
from dsplatform.core.errors import Unavailable
from dsplatform.migration.locating import Locator, NotLocated
from dsplatform.migration.model import Reason
from dsplatform.migration.odd_files import of_versions, overlays
from dsplatform.migration.oddities import EXAMPLES, Oddity, Severity
from dsplatform.migration.source import Snapshot

SAMPLE, SAMPLE_BYTES = 1_000, 2 * 1024**3
"""Files that are read unless all are to be, and bytes after which no further one is begun."""
BLOCK = 1024 * 1024

Progress = Callable[[str, int, int], None]
"""Hears what is done, how much of it, and of how much."""


@dataclass(frozen=True)
class DiskFigures(ValueObject):
    """What was found of the files that versions name, overlays aside."""

    rows: int
    located: int
    """Rows whose file is there, or whose bytes are in the table."""
    inline: int
    """Of these, rows whose bytes are in the table."""
    bytes: int
    """Of all located files, each once though several rows may name it."""
    read: int
    """Files that were read and hashed."""
    bytes_read: int
    seconds_reading: float
    distinct_bytes: int | None
    """Of different contents. None: not all files were read."""


@dataclass(frozen=True)
class _Row:
    id: int
    path: str | None
    size: int | None
    digest: str | None
    inline: int | None
    """Bytes in the table."""
    used: bool
    overlay: bool


_KINDS = {
    "D13.missing": (
        "files that are not where their row says",
        Severity.DECIDE,
        "their versions come along without them, as `missing_bytes`: put them there, or name the folder in DSPLATFORM_LEGACY_MOUNTS",
    ),
    "bad_path": (
        "paths that may not be read",
        Severity.DECIDE,
        "nothing is read there: name the folder in the roots or mounts, else their versions come along without them, as `bad_path`",
    ),
    "unreadable": (
        "files that could not be read just now",
        Severity.DECIDE,
        "migration stops at such a file and says so: repair the disk, or mount the folder",
    ),
    "size": (
        "files of another size than their row says",
        Severity.DECIDE,
        "the bytes come along as they are, quarantined as `size_mismatch`",
    ),
    "no_size": ("files whose row says no size", Severity.NOTE, "the size is that of the bytes"),
    "D15.wrong": (
        "files of another hash than their row says, among those that were read",
        Severity.DECIDE,
        "the bytes come along under their true hash, quarantined as `hash_mismatch`",
    ),
    "D16": (
        "overlays that were never written",
        Severity.NOTE,
        "nothing is lost: what versions hold is in other rows, and they get overlays of ours",
    ),
}


class Disk:
    """One look at all files. `figures` and `oddities` have what it found."""

    def __init__(self, source: Snapshot, locator: Locator, *, read_all: bool, progress: Progress) -> None:
        self._source = source
        self._locator = locator
        self._read_all = read_all
        self._progress = progress
        self._found: dict[str, tuple[int, list[str]]] = defaultdict(lambda: (0, []))
        self._places = array("Q")
        """Of all files that rows name: device and inode, in eight bytes."""
        self._counted = _Sizes()
        self._contents = _Sizes()
        self._sample: list[_Row] = []
        self._hashable = 0
        self._rows = self._located = self._inline = self._inline_bytes = self._read = self._bytes_read = 0
        self._seconds = 0.0
        self._random = Random(1)  # noqa: S311 - chooses a sample, the same each time

    def look(self) -> None:
        """At each row of the table, in the order of their ids."""
        total, done = self._source.count("files"), 0
        for portion in self._each():
            for row in portion:
                self._look_at(row)
            done += len(portion)
            self._progress("files", done, total)
        if not self._read_all:
            for number, row in enumerate(self._sample):
                if self._bytes_read < SAMPLE_BYTES:
                    self._hash(row)
                self._progress("bytes", number + 1, len(self._sample))

    @property
    def figures(self) -> DiskFigures:
        """Of what was looked at so far."""
        return DiskFigures(
            self._rows,
            self._located,
            self._inline,
            self._inline_bytes + self._counted.total(),
            self._read,
            self._bytes_read,
            round(self._seconds, 3),
            self._contents.total() if self._read_all else None,
        )

    @property
    def oddities(self) -> Iterator[Oddity]:
        """Of what was looked at so far."""
        for code, (title, severity, becomes) in _KINDS.items():
            count, examples = self._found[code]
            if count:
                yield Oddity(code, title, severity, "files", count, tuple(examples), becomes)

    def strays(self, folders: Sequence[Path]) -> Oddity | None:
        """Files in these folders that no row names."""
        import numpy as np  # it starts threads, and takes longer than most commands

        known = np.unique(np.frombuffer(self._places, dtype=np.uint64))
        count = 0
        examples: list[str] = []
        for path, place in _walk(folders):
            at = int(np.searchsorted(known, np.uint64(place)))
            if at == len(known) or int(known[at]) != place:
                count += 1
                if len(examples) < EXAMPLES:
                    examples.append(ascii(path)[1:-1])
        if not count:
            return None
        return Oddity(
            "D12.stray",
            "files on disk that no row names",
            Severity.NOTE,
            "",
            count,
            tuple(examples),
            "they are left where they are; keep them until the legacy system is taken away",
        )

    def _each(self) -> Iterator[list[_Row]]:
        digest = "f.content_hash" if self._source.has("files", "content_hash") else "NULL::text"
        inline = "octet_length(f.file_data)" if self._source.has("files", "file_data") else "NULL::int"
        statement = (
            f"SELECT f.id, f.file_path, f.file_size, {digest}, {inline}, u.id IS NOT NULL, o.id IS NOT NULL FROM files f "  # noqa: S608
            f"LEFT JOIN ({of_versions(self._source)}) u ON u.id = f.id LEFT JOIN {overlays(self._source)} o ON o.id = f.id ORDER BY f.id"
        )
        for portion in self._source.stream(statement):
            yield [_Row(id_, _path(path), size, _hex(digest), *rest) for id_, path, size, digest, *rest in portion]

    def _look_at(self, row: _Row) -> None:
        on_disk = self._locate(row) if row.path else None
        size = on_disk if row.inline is None else row.inline
        self._rows += row.used
        if size is None or not row.used:
            return
        self._located += 1
        if row.inline is not None:
            self._inline += 1
            self._inline_bytes += row.inline
        if row.size is None:
            self._note("no_size", row)
        elif row.size != size:
            self._note("size", row)
        if self._read_all:
            self._hash(row)
        elif row.digest or not self._source.has("files", "content_hash"):
            self._choose(row)

    def _locate(self, row: _Row) -> int | None:
        """The size of the row's file on disk. What versions need and is not there is noted."""
        try:
            with self._locator.open(row.path or "") as found:
                there = os.fstat(found.fileno())
        except NotLocated as err:
            if row.overlay:
                self._note("D16", row)
            elif row.used and row.inline is None:
                self._note("D13.missing" if err.reason is Reason.MISSING_BYTES else "bad_path", row)
            return None
        except Unavailable:
            if row.used and row.inline is None:
                self._note("unreadable", row)
            return None
        place = _place(there)
        self._places.append(place)
        if row.used and row.inline is None:
            self._counted.add(place, there.st_size)
        return there.st_size

    def _choose(self, row: _Row) -> None:
        """Takes the row into the sample, each with the same chance."""
        self._hashable += 1
        if len(self._sample) < SAMPLE:
            self._sample.append(row)
        elif (at := self._random.randrange(self._hashable)) < SAMPLE:
            self._sample[at] = row

    def _hash(self, row: _Row) -> None:
        began = time.monotonic()
        digest = hashlib.sha256()
        size = 0
        try:
            for block in self._blocks(row):
                digest.update(block)
                size += len(block)
        except NotLocated:
            return self._note("D13.missing", row)  # it went meanwhile
        except (Unavailable, OSError):
            return self._note("unreadable", row)
        finally:
            self._seconds += time.monotonic() - began
        self._read += 1
        self._bytes_read += size
        if self._read_all:
            self._contents.add(int.from_bytes(digest.digest()[:8]), size)
        if row.digest and row.digest != digest.hexdigest():
            self._note("D15.wrong", row)
        return None

    def _blocks(self, row: _Row) -> Iterator[bytes]:
        if row.inline is not None:
            yield from self._source.inline("files", "file_data", (row.id,))
        elif row.path:
            with self._locator.open(row.path) as file:
                while block := file.read(BLOCK):
                    yield block

    def _note(self, code: str, row: _Row) -> None:
        count, examples = self._found[code]
        if len(examples) < EXAMPLES:
            examples.append(str(row.id))
        self._found[code] = count + 1, examples


class _Sizes:
    """Sizes of things, of which the same may come many times: sixteen bytes each."""

    def __init__(self) -> None:
        self._things, self._sizes = array("Q"), array("Q")

    def add(self, thing: int, size: int) -> None:
        self._things.append(thing)
        self._sizes.append(size)

    def total(self) -> int:
        """Of different things."""
        if not self._things:
            return 0
        import numpy as np

        _, first = np.unique(np.frombuffer(self._things, dtype=np.uint64), return_index=True)
        return int(np.frombuffer(self._sizes, dtype=np.uint64)[first].sum())


def _place(there: os.stat_result) -> int:
    return hash((there.st_dev, there.st_ino)) & 0xFFFF_FFFF_FFFF_FFFF


def _walk(folders: Iterable[Path]) -> Iterator[tuple[str, int]]:
    """The regular files in and below the folders, each once, with their places. Links are not followed."""
    real = sorted({os.path.realpath(folder) for folder in folders})
    waiting = [folder for folder in real if not any(folder.startswith(other.rstrip("/") + "/") for other in real)]
    while waiting:
        try:
            entries = sorted(os.scandir(waiting.pop()), key=lambda entry: entry.name)
        except OSError:
            continue  # what may not be listed is no finding
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                yield entry.path, _place(entry.stat(follow_symlinks=False))


def _path(value: str | bytes | None) -> str | None:
    return os.fsdecode(value) if isinstance(value, bytes) else value


def _hex(value: str | bytes | None) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value and value.strip().lower()
