"""What old clients know: datasets, versions, names, labels and users with the numbers and times of the legacy system."""

from dataclasses import dataclass
from datetime import datetime

from dsplatform.core.domain import ValueObject
from dsplatform.core.errors import NotFound


class OldVersionMissing(NotFound):
    """No version of that old id, or not one that the caller may see."""

    code = "version_missing"


class VersionElsewhere(OldVersionMissing):
    """The version of that old id belongs to another dataset, which the caller may read."""


@dataclass(frozen=True)
class OldDataset(ValueObject):
    """A dataset as old clients know it."""

    id: int
    name: str
    description: str | None
    created_by: int
    created_at: datetime
    updated_at: datetime
    current_version: int | None
    """The highest number; None: there is no version."""
    file_type: str | None
    file_size: int | None
    """Of what is kept as the first component of that version."""
    labels: tuple[tuple[int, str], ...] = ()
    """(number, label)."""


@dataclass(frozen=True)
class OldVersion(ValueObject):
    """A version as old clients know it. What has `new` in its name is ours."""

    new_id: int
    id: int
    dataset_id: int
    version_number: int
    file_id: int
    overlay_id: int
    overlay_size: int
    uploaded_by: int
    parent_version_id: int | None
    message: str | None
    status: str
    created_at: datetime
    updated_at: datetime
    component: str | None
    """The name of the component that is *the* file of the version; None: it holds nothing."""
    file_type: str | None
    file_size: int | None


@dataclass(frozen=True)
class OldPointer(ValueObject):
    """A branch or a tag as old clients know it."""

    id: int
    dataset_id: int
    name: str
    new_name: str
    version_id: int
    version_number: int
    is_tag: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class OldLabel(ValueObject):
    """A label of datasets as old clients know it."""

    id: int
    name: str
    description: str | None
    usage: int


@dataclass(frozen=True)
class OldUser(ValueObject):
    """A user as old clients know her."""

    new_id: int
    id: int
    soeid: str
    username: str
    role_id: int
    role_name: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Wanted(ValueObject):
    """Which datasets a list holds. Name and description may hold `%` and `_`, which stand for any characters and for any one."""

    name: str | None = None
    description: str | None = None
    created_by: tuple[int, ...] | None = None
    """One of these users, by their ids here."""
    labels: tuple[str, ...] = ()
    """One of them, as it is written."""
    words: tuple[str, ...] = ()
    """All of them in the name; or in the description or in a label, where these are to be searched."""
    in_description: bool = False
    in_labels: bool = False
    created: tuple[datetime | None, datetime | None] = (None, None)
    updated: tuple[datetime | None, datetime | None] = (None, None)
    size: tuple[int | None, int | None] = (None, None)
    versions: tuple[int | None, int | None] = (None, None)
