"""What is stored and why: every reference of a file, or how long it is still here without one; and how many bytes serve what."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from dsplatform.core.access import internal, requires_permission, requires_right
from dsplatform.core.database import Database, Transaction
from dsplatform.core.domain import Actor, ValueObject
from dsplatform.core.errors import Conflict, Invalid
from dsplatform.core.interfaces import AccessControl
from dsplatform.core.types import ContentHash, FileId, PermissionType, PlatformRight
from dsplatform.core.values import DatasetRef
from dsplatform.files.model import FileMissing
from dsplatform.files.tracing import Traces

SHORTEST = 8
"""Digits of a hash that must be given at least."""


@dataclass(frozen=True)
class Component(ValueObject):
    """A version's component that names the file."""

    dataset: str
    version_number: int
    component: str


@dataclass(frozen=True)
class Overlay(ValueObject):
    """A version whose overlay the file is."""

    dataset: str
    version_number: int


@dataclass(frozen=True)
class Staged(ValueObject):
    """A user's session that stages the file."""

    user: str
    session_id: UUID
    path: str
    until: datetime


@dataclass(frozen=True)
class Buried(ValueObject):
    """An object of the content that nothing names and that is still there."""

    storage_key: str
    reason: str
    until: datetime


@dataclass(frozen=True)
class Reasons(ValueObject):
    """Why a content is here."""

    content_hash: ContentHash
    file_id: FileId | None
    """None: it is no file (any more); its objects are being written or wait to be deleted."""
    file_size: int | None
    state: str | None
    references: int
    """How many rows name the file; the tuples hold the first of each kind."""
    components: tuple[Component, ...]
    overlays: tuple[Overlay, ...]
    staged: tuple[Staged, ...]
    review_after: datetime | None
    """When the collector looks at the file: it lost a reference. It goes only if it has no other one then."""
    uploads: tuple[datetime, ...]
    """Until when uploads that may be writing the content are given."""
    buried: tuple[Buried, ...]


@dataclass(frozen=True)
class DatasetUsage(ValueObject):
    """Bytes of the contents that a dataset names, each counted once."""

    dataset: str
    files: int
    live: int
    """Named by the head of a branch or by a tag."""
    historical: int
    """Named by other versions only."""
    pending: int
    """Named only by what was deleted: they go when the reaper and the collector come to them."""
    shared: int
    """Of all these, named by another dataset, too: deleting this one would not free them."""


@dataclass(frozen=True)
class Usage(ValueObject):
    """Bytes of the whole store, each content counted once."""

    files: int
    stored: int
    live: int
    historical: int
    staged: int
    """Named by users' sessions only."""
    pending: int
    """Of files: named by nothing, or only by what was deleted."""
    buried: int
    """Of objects that are to be deleted, as far as their sizes are known."""
    buried_objects: int
    named: int
    """What all versions hold together, each counted in full: `named / stored` is what storing once saves."""
    datasets: tuple[DatasetUsage, ...]


@dataclass(frozen=True)
class StoreFigures(ValueObject):
    """Sums over the store."""

    files: int
    stored: int
    """Bytes of the files."""
    damaged: int
    """Files whose bytes were found damaged or missing."""
    buried_objects: int
    buried: int
    """Bytes of objects that are to be deleted, as far as their sizes are known."""


class Inventory:
    """Explains what is stored."""

    def __init__(self, db: Database, access: AccessControl) -> None:
        self._db = db
        self._access = access

    @requires_right(PlatformRight.OPERATE)
    def why(self, _actor: Actor, subject: str, *, limit: int = 100) -> Reasons:
        """Why a content is here, named by its hash, by at least eight of its first digits, or by a file's id. For operators: it tells
        of every dataset. Raises `FileMissing` when nothing is known of it, `Conflict` when several contents begin like that."""
        with self._db.transaction() as tx:
            content_hash = self._find(tx, subject.lower())
            traces = Traces(tx, limit)
            file = traces.file(content_hash)
            file_id = FileId(file["id"]) if file else None
            return Reasons(
                content_hash,
                file_id,
                file["file_size"] if file else None,
                file["state"] if file else None,
                file["reference_count"] if file else 0,
                tuple(Component(**row) for row in traces.components(file_id)) if file_id else (),
                tuple(Overlay(**row) for row in traces.overlays(file_id)) if file_id else (),
                tuple(Staged(**row) for row in traces.staged(file_id)) if file_id else (),
                traces.review_after(file_id) if file_id else None,
                tuple(traces.uploads(content_hash)),
                tuple(Buried(**row) for row in traces.buried(content_hash)),
            )

    def _find(self, tx: Transaction, subject: str) -> ContentHash:
        found: Sequence[ContentHash] = ()
        if re.fullmatch(rf"[0-9a-f]{{{SHORTEST},64}}", subject):
            found = Traces(tx, 2).beginning_with(subject)
        elif not subject.isdecimal():
            raise Invalid(f"{subject!r} is neither a file's id nor a hash: give {SHORTEST} to 64 of its hexadecimal digits")
        if not found and subject.isdecimal() and len(subject) < 19:
            found = Traces(tx, 1).of_file(int(subject))
        if len(found) > 1:
            raise Conflict(f"several contents begin with {subject}: {found[0]}, {found[1]} …; give more digits")
        if not found:
            raise FileMissing(f"{subject} is not stored, and nothing is left of it")
        return found[0]

    @requires_permission(PermissionType.READ)
    def usage_of(self, tx: Transaction, actor: Actor, dataset: DatasetRef) -> DatasetUsage:
        """What a dataset takes. `shared` counts what other datasets name that the actor may see, too."""
        (row,) = Traces(tx, 1).usage_of(dataset.id, actor) or [{"dataset": dataset.slug, **dict.fromkeys(_FIGURES, 0)}]
        return DatasetUsage(**row)

    @requires_right(PlatformRight.OPERATE)
    def usage(self, _actor: Actor) -> Usage:
        """What the whole store takes, and each dataset of it. For operators; looks at every version's list of files."""
        with self._db.transaction() as tx:
            traces = Traces(tx, 1)
            totals, datasets = traces.totals(), traces.usage_of(None)
        return Usage(**totals, datasets=tuple(DatasetUsage(**row) for row in datasets))

    @internal("sums, for who watches the process")
    def figures(self) -> StoreFigures:
        """Sums over the store. Looks at each file's row: a second for some millions of files."""
        with self._db.autocommit() as tx:
            return StoreFigures(**Traces(tx, 1).figures())

    @internal("a number, for who watches the process")
    def reviews(self) -> int:
        """How many files wait for the collector to look at them."""
        with self._db.autocommit() as tx:
            return Traces(tx, 1).reviews()


_FIGURES = ("files", "live", "historical", "pending", "shared")
