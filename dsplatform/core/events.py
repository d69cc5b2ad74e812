"""Every event that one module may hear from another. Who hears which is listed in `bootstrap.py`."""

from dataclasses import dataclass

from dsplatform.core.domain import DomainEvent


@dataclass(frozen=True)
class DatasetCreated(DomainEvent):
    """A dataset exists. Nothing is in it yet."""

    dataset_id: int
    created_by: int


@dataclass(frozen=True)
class VersionCommitted(DomainEvent):
    """A version exists and its branch points at it."""

    dataset_id: int
    version_id: int
    branch: str
