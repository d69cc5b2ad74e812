"""What a dataset is, and the rules of its name and labels."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from dsplatform.core.domain import AggregateRoot, ValueObject
from dsplatform.core.errors import Conflict, Invalid, NotFound
from dsplatform.core.events import DatasetCreated
from dsplatform.core.types import DatasetName, PermissionType

MAX_LABELS = 100

RESTORABLE_DAYS = 30
"""How long a deleted dataset can be restored. Then it is reaped."""


class DatasetMissing(NotFound):
    """No living dataset of that name, or not for this caller."""

    code = "dataset_missing"


class DatasetHeld(Conflict):
    """The dataset lives in the legacy system and only follows it here."""

    code = "dataset_held"


class DatasetNameTaken(Conflict):
    """The owner has a living dataset of that name."""

    code = "dataset_name_taken"


class NothingToRestore(NotFound):
    """No deleted dataset of that name, or it was deleted too long ago."""

    code = "nothing_to_restore"


def labels(values: Iterable[str]) -> list[str]:
    """Labels are trimmed, not empty, 100 characters at most, each once without regard to case; kept in the given order."""
    kept: dict[str, str] = {}
    for value in values:
        label = " ".join(value.split())
        if not label or len(label) > 100:
            raise Invalid(f"label {value[:40]!r} must have 1 to 100 characters")
        kept.setdefault(label.casefold(), label)
    if len(kept) > MAX_LABELS:
        raise Invalid(f"{len(kept)} labels are too many: {MAX_LABELS} at most")
    return list(kept.values())


@dataclass(eq=False)
class Dataset(AggregateRoot):
    """A named line of versions with an owner."""

    name: str
    slug: str
    created_by: int
    description: str = ""
    labels: list[str] = field(default_factory=list)
    id: int | None = None
    created_at: datetime | None = None
    deleted_at: datetime | None = None

    def created(self) -> None:
        """To be called once it has its id."""
        if self.id is None:
            raise AssertionError("a dataset is announced after it was stored")
        self.record(DatasetCreated(dataset_id=self.id, created_by=self.created_by))

    def rename(self, name: DatasetName) -> None:
        """The slug stays, so that links go on working."""
        self.name = name

    def relabel(self, values: Iterable[str]) -> None:
        """Replaces the labels."""
        self.labels = labels(values)

    def change_labels(self, add: Iterable[str], remove: Iterable[str]) -> None:
        """Takes some away, in any case of letters, then adds others at the end."""
        gone = {label.casefold() for label in labels(remove)}
        self.labels = labels([*(label for label in self.labels if label.casefold() not in gone), *add])


@dataclass(frozen=True)
class DatasetSummary(ValueObject):
    """A dataset as lists show it."""

    id: int
    name: str
    slug: str
    owner: str
    description: str
    labels: tuple[str, ...]
    created_at: datetime
    versions: int
    latest_version: int | None
    latest_at: datetime | None


@dataclass(frozen=True)
class Filter(ValueObject):
    """Which datasets a list shows, among those that its reader may see."""

    search: str | None = None
    """Words that name or description holds."""
    label: str | None = None
    """In any case of letters."""
    owner: str | None = None
    """The user who made it."""
    right: PermissionType = PermissionType.READ
    """What the reader may do with them at least."""


@dataclass(frozen=True)
class DeletedDataset(ValueObject):
    """A dataset that was deleted and can be restored."""

    id: int
    name: str
    slug: str
    owner: str
    versions: int
    deleted_at: datetime
    restorable_until: datetime
