"""What modules hand each other: frozen values, without behaviour of their own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from dsplatform.core.domain import Actor, ValueObject
from dsplatform.core.errors import DsplatformError
from dsplatform.core.types import ContentHash, DatasetId, FileId, FilePath, PointerName, VersionId

Source = str | Path | BinaryIO
"""Where bytes come from: the path of a regular file (a link is not followed), or a reader that is read to its end."""


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


class UploadOvertaken(DsplatformError):
    """What an upload relied on changed before it was recorded. Never reaches a user: the caller reconciles and repeats."""

    code = "upload_overtaken"


@dataclass(frozen=True)
class DatasetRef(ValueObject):
    """A dataset, as far as other modules need it."""

    id: DatasetId
    name: str
    slug: str
    """Unique among all datasets and never changed: what URLs and Dagster partitions use."""
    created_by: int

    @property
    def key(self) -> str:
        """What names it by its id, wherever a dataset is named: `#17`."""
        return f"#{self.id}"


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
    merge_parent: VersionId | None = None
    """Where given: the version is a merge, has this second parent, and is made even where nothing changes."""
    accepted: bool = False
    """Whether a person answers for it, so that no contract is asked."""
    expected: Mapping[FilePath, ContentHash | None] = field(default_factory=dict)
    """Where given: the change is refused with `Conflict` unless the branch has exactly these contents under the names that are put (None:
    nothing). What else changes on the branch meanwhile does not matter."""


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
    quarantined_from: PointerName | None = None
    """The branch that it was meant for, where a contract kept it from there; `branch` is then one in quarantine."""
    breaches: tuple[str, ...] = ()
    """Why, in sentences."""


@dataclass(frozen=True)
class Component(ValueObject):
    """One file of a version, under its name."""

    name: FilePath
    component_type: str
    file_id: FileId
    content_hash: ContentHash
    file_size: int
    file_type: str


@dataclass(frozen=True)
class FileUse(ValueObject):
    """Where a version names a file."""

    file_id: FileId
    dataset: str
    version_number: int
    component: FilePath | None
    """None: the file is the version's overlay."""


@dataclass(frozen=True)
class EnforcedRule(ValueObject):
    """Which terms are enforced: those of a branch, or of every branch (empty), as they were set for the n-th time."""

    branch: str
    revision: int


@dataclass(frozen=True)
class Arrival(ValueObject):
    """What a branch would get that enforced terms guard."""

    dataset: DatasetRef
    branch: PointerName
    head: VersionId | None
    """Where the branch is, or would begin; None: the dataset has no version yet."""
    before: tuple[Component, ...]
    """All components of the head."""
    put: Mapping[FilePath, Content]
    """What differs from them."""
    removed: tuple[FilePath, ...]


@dataclass(frozen=True)
class Refusal(ValueObject):
    """Why an arrival is kept from its branch, in sentences."""

    sentences: tuple[str, ...]
    quarantined: bool
    """Whether it goes to a branch of its own instead; False: it is refused."""


class NotRead(DsplatformError):
    """Contents have to be read before an arrival can be judged. Never reaches a user: the caller has them read and asks again."""

    code = "not_read"

    def __init__(self, arrival: Arrival) -> None:
        super().__init__(f"contents for branch {arrival.branch!r} of dataset {arrival.dataset.slug!r} were not read yet")
        self.arrival = arrival


@dataclass(frozen=True)
class ColumnChange(ValueObject):
    """A column that came (`before` is None), went (`after` is None) or changed its type."""

    component: FilePath
    table: str | None
    column: str
    before: str | None
    after: str | None


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
