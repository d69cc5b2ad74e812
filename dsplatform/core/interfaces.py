"""Everything that one module may ask of another. Services satisfy these by having the methods; mypy checks it in `bootstrap.py`.

A method that takes `tx` works inside the caller's transaction. The methods without one move bytes, which never happens while a
transaction is open; they open short transactions of their own.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol

from dsplatform.core.database import Transaction
from dsplatform.core.domain import Actor, ValueObject
from dsplatform.core.errors import DsplatformError
from dsplatform.core.types import ContentHash, DatasetId, FileId, FilePath, PermissionType, PointerName, VersionId

# --- files ---------------------------------------------------------------------------------------------------------------------

Source = Path | BinaryIO
"""Where bytes come from: a regular file (a link is not followed), or a reader that is read to its end."""


@dataclass(frozen=True)
class Content(ValueObject):
    """Bytes that an upload has hashed and holds, or knows to be stored already."""

    content_hash: ContentHash
    file_size: int
    file_type: str
    is_new: bool = field(compare=False)
    """Whether this upload wrote the bytes; False for what the store or an earlier source of the upload had."""


@dataclass(frozen=True)
class Refused(ValueObject):
    """A source that could not be taken, and why."""

    reason: str
    may_retry: bool = False
    """Whether the same source may be fine later (it was being written, the disk was full)."""


class Upload(Protocol):
    """Bytes on their way into the store: add, seal, record. What is not recorded is given back by the garbage collector."""

    def add(self, sources: Sequence[Source]) -> Sequence[Content | Refused]:
        """Hashes every source and writes what the store lacks. One answer per source, in their order."""
        ...

    def seal(self) -> None:
        """Makes all that was added durable, with one barrier."""
        ...

    def record(self, tx: Transaction, hashes: Collection[ContentHash]) -> Mapping[ContentHash, FileId]:
        """The ids of the sealed contents, recorded where they are new. Keeps them from the collector until `tx` ends.

        Raises `UploadOvertaken` when another writer or the collector came between: roll back, call `reconcile`, and repeat.
        """
        ...

    def reconcile(self) -> None:
        """After `UploadOvertaken`: looks at the store again and writes what it lacks now, durably."""
        ...


class UploadOvertaken(DsplatformError):
    """What an upload relied on changed before it was recorded. Never reaches a user: the caller reconciles and repeats."""

    code = "upload_overtaken"


class FileKeeper(Protocol):
    """The content-addressed store."""

    def upload(self) -> AbstractContextManager[Upload]:
        """Begins an upload."""
        ...

    def local_path(self, file_id: FileId) -> AbstractContextManager[Path]:
        """A local file with the exact bytes, to read and not to change, for as long as the block lasts."""
        ...

    def verified_chunks(self, file_id: FileId) -> AbstractContextManager["VerifiedChunks"]:
        """The bytes in order; the iteration raises before its last chunk when they are not what was stored."""
        ...


class VerifiedChunks(Protocol):
    """An iterator over chunks of bytes whose digest is checked as they pass."""

    def __iter__(self) -> "VerifiedChunks": ...
    def __next__(self) -> bytes: ...


# --- datasets and permissions --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DatasetRef(ValueObject):
    """A dataset, as far as other modules need it."""

    id: DatasetId
    name: str
    slug: str
    """Unique among all datasets and never changed: what URLs and Dagster partitions use."""
    created_by: int


class DatasetDirectory(Protocol):
    """Names to datasets."""

    def find(self, tx: Transaction, actor: Actor, name: str) -> DatasetRef:
        """The living dataset of that name: the actor's own, else the one with that slug. Raises `NotFound`."""
        ...

    def ensure(self, tx: Transaction, actor: Actor, name: str) -> DatasetRef:
        """`find`, or a new dataset owned by the actor. Raises `Invalid` for a name against the rule."""
        ...

    def lock(self, tx: Transaction, dataset_id: DatasetId) -> None:
        """Keeps other commits to the dataset and its deletion waiting until `tx` ends. Raises `NotFound`."""
        ...


class AccessControl(Protocol):
    """Who may do what."""

    def actor(self, tx: Transaction, username: str) -> Actor:
        """The active user of that name. Raises `NotFound`."""
        ...

    def require(self, tx: Transaction, actor: Actor, permission: PermissionType, dataset_id: DatasetId) -> None:
        """Raises `Denied`, naming the missing right, unless the actor holds it on the dataset."""
        ...

    def own(self, tx: Transaction, actor: Actor, dataset_id: DatasetId) -> None:
        """Gives the creator of a new dataset `admin` on it."""
        ...


# --- versions ------------------------------------------------------------------------------------------------------------------


class CommitMode(StrEnum):
    """What becomes of the components that a commit does not name."""

    PATCH = "patch"
    """They are carried over from the parent."""
    REPLACE = "replace"
    """They are left out."""


@dataclass(frozen=True)
class VersionChange(ValueObject):
    """What a new version shall change against the head of its branch."""

    actor: Actor
    dataset: DatasetRef
    put: Mapping[FilePath, Content]
    remove: tuple[FilePath, ...] = ()
    branch: PointerName = PointerName("main")
    message: str = ""
    mode: CommitMode = CommitMode.PATCH
    expected_head: VersionId | None = None
    """Where given: the change is refused with `Conflict` unless the branch is exactly there."""
    idempotency_key: str | None = None
    """Where given: the same key for the same dataset answers with the version that the first request made."""


@dataclass(frozen=True)
class Committed(ValueObject):
    """The outcome of a change: a new version, or the one that already was as asked."""

    dataset: DatasetRef
    branch: PointerName
    version_id: VersionId
    version_number: int
    created: bool
    """False when the change would have changed nothing, or repeats an idempotency key."""
    added: int
    updated: int
    removed: int


@dataclass(frozen=True)
class Component(ValueObject):
    """One file of a version, under its name."""

    name: FilePath
    component_type: str
    file_id: FileId
    content_hash: ContentHash
    file_size: int
    file_type: str


class VersionWriter(Protocol):
    """Makes versions of what an upload holds."""

    def publish(
        self,
        upload: Upload,
        changes: Sequence[VersionChange],
        within: Callable[[Transaction, int, Committed], None],
    ) -> Sequence[Committed | DsplatformError]:
        """Commits each change with its bytes in one transaction, behind one durability barrier for all of them.

        `within(tx, index, outcome)` runs in the transaction of the change at `index`, once per attempt. One change's failure
        leaves the others alone and is answered in its place.
        """
        ...


class VersionReader(Protocol):
    """Reads what versions hold."""

    def components(self, tx: Transaction, version_id: VersionId) -> Sequence[Component]:
        """The components in their order."""
        ...


# --- schemas -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SchemaSummary(ValueObject):
    """What a capture found in one version, in figures."""

    version_id: VersionId
    rows: int | None
    """Sum over the readable components; None when none could be read."""
    columns: int
    """Of the widest table."""
    unreadable: int
    changed: bool
    """Whether the columns differ from those of the parent version; True for a first version."""


class SchemaCapturer(Protocol):
    """Captures the schemas of versions."""

    def capture_version_schema(self, version_id: VersionId) -> SchemaSummary:
        """Reads every component that was not read before, and stores the version's schema. Repeating it is harmless."""
        ...


class SchemaReader(Protocol):
    """Reads what captures found."""

    def figures(self, tx: Transaction, version_id: VersionId) -> Mapping[FilePath, tuple[int | None, int]] | None:
        """(rows, columns) per component, over all of its tables; rows is None where it could not be read. None: not captured yet."""
        ...
