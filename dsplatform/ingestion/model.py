"""Rules of the inbox: what a path means, which names are ignored, how an arrival moves from seen to its outcome."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from dsplatform.core.domain import ValueObject
from dsplatform.core.errors import Invalid
from dsplatform.core.types import MAIN, ContentHash, FilePath, PointerName, dataset_name, file_path, pointer_name
from dsplatform.core.values import Committed

DONE_SUFFIX = ".done"
RAW = "bytes:"
IGNORED_SUFFIXES = (".part", ".tmp", DONE_SUFFIX)


class InboxState(StrEnum):
    """Where an arrival stands. The last three are outcomes and final."""

    SEEN = "seen"
    READY = "ready"
    CLAIMED = "claimed"
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


OUTCOMES = (InboxState.ACCEPTED, InboxState.DUPLICATE, InboxState.REJECTED)


def is_ignored(name: str) -> bool:
    """Hidden names and names that say that the file is being written, or that mark another one."""
    return name.startswith(".") or name.lower().endswith(IGNORED_SUFFIXES)


@dataclass(frozen=True)
class Sighting(ValueObject):
    """One entry of a look at the drop folder."""

    path: str
    """Relative to the folder, `/` between parts."""
    size: int
    mtime_ns: int
    inode: int
    marked: bool
    """A `.done` marker lies beside it."""
    refusal: str | None = None
    """Why it can never be taken, where that can be seen without reading it."""

    @property
    def identity(self) -> tuple[int, int, int]:
        """What tells this file from another one under the same path."""
        return self.size, self.mtime_ns, self.inode

    @property
    def real_path(self) -> str:
        """The path as the file system knows it."""
        return os.fsdecode(unquote_to_bytes(self.path.removeprefix(RAW))) if self.path.startswith(RAW) else self.path


def stored_path(path: str) -> str:
    """A path as the database can keep it: names that are no UTF-8 are written as percent-encoded bytes behind a mark."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return RAW + quote_from_bytes(os.fsencode(path))
    return RAW + quote_from_bytes(path.encode()) if path.startswith(RAW) else path


@dataclass(frozen=True)
class Place(ValueObject):
    """What a path in the drop folder means."""

    dataset: str
    branch: PointerName
    component: FilePath


def place_of(path: str) -> Place:
    """`<dataset>/<file>` or `<dataset>/<branch>/<file>`. Raises `Invalid` for anything else, and for names against their rules."""
    if path.startswith(RAW):
        raise Invalid("its name is no valid UTF-8: rename it")
    parts = PurePosixPath(path).parts
    if len(parts) < 2:
        raise Invalid("it lies in no dataset's folder: put it into drop/<dataset>/")
    if len(parts) > 3:
        raise Invalid("it lies too deep: the layout is drop/<dataset>/[<branch>/]<file>")
    return Place(dataset_name(parts[0]), pointer_name(parts[1]) if len(parts) == 3 else MAIN, file_path(parts[-1]))


@dataclass(frozen=True)
class Claimed(ValueObject):
    """An arrival that this run works on."""

    id: int
    sighting: Sighting


@dataclass(frozen=True)
class Outcome(ValueObject):
    """What became of one file."""

    path: str
    state: InboxState
    dataset: str = ""
    branch: str = ""
    component: str = ""
    size: int = 0
    content_hash: ContentHash | None = None
    stored: bool | None = None
    """Whether the bytes were new to the store; None for a refused file."""
    version_id: int | None = None
    version_number: int | None = None
    reason: str | None = None
    inbox_id: int | None = None
    note: str | None = None
    """What to know of a file that was taken: that a contract keeps it from its branch, and why."""


@dataclass(frozen=True)
class InboxEntry(ValueObject):
    """A row of the inbox as lists show it."""

    id: int
    source_path: str
    dataset: str
    branch: str
    state: str
    reason: str | None
    version_number: int | None
    rows: int | None
    columns: int | None
    stored: bool | None
    file_size: int
    schema_captured: bool
    decided_at: str | None

    @classmethod
    def of(cls, row: Mapping[str, Any], captured: Mapping[FilePath, tuple[int | None, int]] | None) -> "InboxEntry":
        """A stored row, with (rows, columns) of each component of its version where these are captured."""
        rows, columns = (captured or {}).get(row["component"], (None, None))
        return cls(
            row["id"],
            row["path"],
            row["dataset"] or row["path"].partition("/")[0],
            row["branch"] or "",
            row["state"],
            row["reason"],
            row["version_number"],
            rows,
            columns,
            row["stored"],
            row["file_size"],
            captured is not None,
            row["decided_at"].isoformat() if row["decided_at"] else None,
        )


@dataclass(frozen=True)
class Discovery(ValueObject):
    """What one look found."""

    files: int
    ready: int
    waiting: int
    """Not complete yet."""
    claimed: int
    """Being worked on by somebody."""
    oldest_age_s: float
    total_bytes: int
    complete: bool
    """False when the time ran out before the whole folder was listed."""


@dataclass
class IngestReport:
    """What a run did, for people: counts, the versions made, and the outcome of every file."""

    outcomes: list[Outcome] = field(default_factory=list)
    versions: list[Committed] = field(default_factory=list)
    postponed: list[Outcome] = field(default_factory=list)
    duration_s: float = 0.0

    def count(self, state: InboxState) -> int:
        """How many files had that outcome."""
        return sum(outcome.state is state for outcome in self.outcomes)

    @property
    def rejected(self) -> Sequence[Outcome]:
        """The refused files."""
        return [outcome for outcome in self.outcomes if outcome.state is InboxState.REJECTED]

    @property
    def files_stored(self) -> int:
        """Files whose bytes were new."""
        return sum(outcome.stored is True for outcome in self.outcomes)

    @property
    def files_duplicate(self) -> int:
        """Files whose bytes the store had."""
        return sum(outcome.stored is False for outcome in self.outcomes)

    @property
    def bytes_in(self) -> int:
        """Bytes of all files that were taken."""
        return sum(outcome.size for outcome in self.outcomes if outcome.stored is not None)

    @property
    def bytes_stored(self) -> int:
        """Bytes that were new."""
        return sum(outcome.size for outcome in self.outcomes if outcome.stored)

    def figures(self) -> dict[str, float]:
        """The run in numbers; the keys are stable, so that they plot."""
        return {
            "files_stored": self.files_stored,
            "files_duplicate": self.files_duplicate,
            "files_rejected": len(self.rejected),
            "bytes_in": self.bytes_in,
            "bytes_stored": self.bytes_stored,
            "dedup_ratio": round(1 - self.bytes_stored / self.bytes_in, 4) if self.bytes_in else 0.0,
            "versions": sum(version.created for version in self.versions),
            "versions_quarantined": sum(version.created and version.quarantined_from is not None for version in self.versions),
            "duration_s": round(self.duration_s, 3),
        }

    def extend(self, other: "IngestReport") -> None:
        """Adds what another batch did."""
        self.outcomes += other.outcomes
        self.versions += other.versions
        self.postponed += other.postponed
        self.duration_s += other.duration_s
