"""The drop folder: what is asked of it, wherever it is; and the one on disk: listing it, and moving what has its outcome out of it."""

import errno
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from dsplatform.core.errors import NotFound, Unavailable
from dsplatform.core.values import Source
from dsplatform.ingestion.model import DONE_SUFFIX, InboxState, Outcome, Sighting, is_ignored, stored_path

SCAN_BUDGET_SECONDS = 20.0


@dataclass(frozen=True)
class Look:
    """One listing of the folder."""

    sightings: Sequence[Sighting]
    complete: bool


class Drop(Protocol):
    """A watched place where files arrive."""

    parallel: int
    """How many files may be moved at once."""

    @property
    def name(self) -> str:
        """What the inbox calls this place."""
        ...

    @property
    def moves(self) -> frozenset[InboxState]:
        """The outcomes after which a file leaves the place."""
        ...

    def look(self) -> Look:
        """Lists the place within a limited time. Raises `Unavailable` when the list cannot be had."""
        ...

    def still_as_seen(self, sighting: Sighting, /) -> bool:
        """Whether the path holds the file that was seen, unchanged."""
        ...

    def source(self, sighting: Sighting) -> Source:
        """The file, for reading."""
        ...

    def put_away(self, sighting: Sighting, outcome: Outcome) -> bool:
        """Moves a file that has its outcome, and explains a refusal; False when there was nothing to move."""
        ...


class DropFolder:
    """A watched folder. `processed` and `rejected` are where files go afterwards; None: they stay where they are."""

    parallel = 1

    def __init__(self, root: Path, processed: Path | None, rejected: Path | None) -> None:
        self.root = root
        self._processed = processed
        self._rejected = rejected

    @property
    def name(self) -> str:
        """What the inbox calls this folder."""
        return str(self.root)

    @property
    def moves(self) -> frozenset[InboxState]:
        """The outcomes after which a file leaves the folder."""
        taken = {InboxState.ACCEPTED, InboxState.DUPLICATE} if self._processed else set()
        return frozenset(taken | ({InboxState.REJECTED} if self._rejected else set()))

    def look(self, budget: float = SCAN_BUDGET_SECONDS) -> Look:
        """Lists the folder, never following a link; gives up after `budget` seconds with what it has."""
        deadline = time.monotonic() + budget
        found: list[Sighting] = []
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for sighting in _walk(self.root):
                found.append(sighting)
                if time.monotonic() > deadline:
                    return Look(found, complete=False)
        except OSError as err:
            raise Unavailable(f"the drop folder {self.root} cannot be listed: {err.strerror}") from err
        return Look(found, complete=True)

    def still_as_seen(self, sighting: Sighting) -> bool:
        """Whether the path holds the file that was seen, unchanged."""
        return _identity(self._file(sighting)) == sighting.identity

    def put_away(self, sighting: Sighting, outcome: Outcome) -> bool:
        """Moves a file that has its outcome, and removes its marker; a refused one gets its reason beside it.

        False when nothing was moved: moves are turned off, the file was moved before (by a run that was killed then), or the path
        holds another file by now, which is the next arrival.
        """
        refused = outcome.state is InboxState.REJECTED
        base = self._rejected if refused else self._processed
        if base is None:
            return False
        source = self._file(sighting)
        marker = source.with_name(source.name + DONE_SUFFIX)
        if not os.path.lexists(source):
            marker.unlink(missing_ok=True)
            return False
        relative = source.relative_to(self.root)
        folder = base / relative.parent if refused else base / (outcome.dataset or "-") / datetime.now(UTC).date().isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        target = _free_name(folder / source.name)
        if not self.still_as_seen(sighting) or not _move(source, target, sighting):
            return False
        if refused:
            reason = {"file": sighting.path, "reason": outcome.reason, "size": sighting.size, "at": datetime.now(UTC).isoformat()}
            target.with_name(target.name + ".reason.json").write_text(json.dumps(reason, indent=2, ensure_ascii=False) + "\n")
        marker.unlink(missing_ok=True)
        return True

    def source(self, sighting: Sighting) -> str:
        """Where the file lies."""
        return str(self._file(sighting))

    def _file(self, sighting: Sighting) -> Path:
        return self.root / sighting.real_path


def _walk(root: Path) -> Iterator[Sighting]:
    """Everything below a folder that is no folder, in name order; links are seen and not followed."""
    pending = [iter(_listed(root, ""))]
    while pending:
        sighting = next(pending[-1], None)
        if sighting is None:
            pending.pop()
        elif isinstance(sighting, Sighting):
            yield sighting
        else:
            pending.append(iter(_listed(root / sighting, f"{sighting}/")))


def _listed(folder: Path, prefix: str) -> Sequence[Sighting | str]:
    """One folder: its files as sightings, its folders as paths below the root."""
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        if not prefix:
            raise
        return []
    except PermissionError:
        if not prefix:
            raise
        status = folder.lstat()
        reason = "the folder cannot be listed: there is no permission"
        return [Sighting(stored_path(prefix.rstrip("/")), 0, status.st_mtime_ns, status.st_ino, marked=False, refusal=reason)]
    names = {entry.name for entry in listed}
    found: list[Sighting | str] = []
    for entry in listed:
        if is_ignored(entry.name):
            continue
        path = prefix + entry.name
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(status.st_mode):
            found.append(path)
        else:
            marked = entry.name + DONE_SUFFIX in names
            found.append(Sighting(stored_path(path), status.st_size, status.st_mtime_ns, status.st_ino, marked, _refusal(status)))
    return found


def _refusal(status: os.stat_result) -> str | None:
    if stat.S_ISLNK(status.st_mode):
        return "it is a link; links are not followed: put the file itself there"
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file (a FIFO, socket or device)"
    return None


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def _free_name(path: Path) -> Path:
    number = 1
    candidate = path
    while os.path.lexists(candidate):
        number += 1
        candidate = path.with_name(f"{path.stem}~{number}{path.suffix}")
    return candidate


def _move(source: Path, target: Path, sighting: Sighting) -> bool:
    """Moves exactly the file that was seen; False when another one had taken its path, which is then left (or put back) there."""
    try:
        os.rename(source, target)
    except OSError as err:
        if err.errno != errno.EXDEV:
            raise
        # Another file system: the copy is complete before the original goes.
        draft = target.with_name(f".{target.name}.part")
        shutil.copy2(source, draft, follow_symlinks=False)
        if _identity(source) != sighting.identity:
            draft.unlink()
            return False
        os.rename(draft, target)
        source.unlink()
        return True
    if _identity(target) != sighting.identity and not os.path.lexists(source):
        os.rename(target, source)
        return False
    return True


@dataclass(frozen=True)
class PathSource:
    """A file that a person named, or that lies below a folder that she named."""

    name: str
    file: str
    refusal: str | None = None


def sources_below(paths: Sequence[Path]) -> Iterator[PathSource]:
    """The files at and below these paths, in name order, each with its component name: the relative path below a named folder, else the
    file name. A link is followed when it was named itself, and refused inside a folder. Raises `Invalid` for a path that is not there."""
    for path in paths:
        if not path.exists():
            raise NotFound(f"{path} does not exist")
        if not path.is_dir():
            target = path.resolve()
            yield PathSource(path.name, str(target), None if target.is_file() else _refusal(target.lstat()))
            continue
        root = path.resolve()
        for sighting in _walk(root):
            yield PathSource(sighting.real_path, f"{root}/{sighting.real_path}", sighting.refusal)
