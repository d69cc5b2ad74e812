"""Bodies of the old server: each key in its order, what is missing as null, times without zone."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Shape(BaseModel):
    """An answer, read from what the adapter made."""

    model_config = ConfigDict(from_attributes=True)


class Tag(Shape):
    """A label (2.2)."""

    name: str
    description: str | None = None
    id: int
    usage_count: int | None = None


class DatasetVersion(Shape):
    """A version, as G1b had it (2.2)."""

    dataset_id: int
    version_number: int
    file_id: int
    uploaded_by: int
    parent_version_id: int | None = None
    message: str | None = None
    overlay_file_id: int | None = None
    id: int
    ingestion_timestamp: datetime
    last_updated_timestamp: datetime
    uploaded_by_soeid: str | None = None
    file_type: str | None = None
    file_size: int | None = None


class Dataset(Shape):
    """A dataset (2.2)."""

    name: str
    description: str | None = None
    id: int
    created_by: int
    created_at: datetime
    updated_at: datetime
    current_version: int | None = None
    file_type: str | None = None
    file_size: int | None = None
    versions: list[DatasetVersion] | None = None
    tags: list[Tag] | None = None


class OverlaidVersion(Shape):
    """A version, as G2 had it (2.2)."""

    dataset_id: int
    version_number: int
    overlay_file_id: int
    created_by: int
    id: int
    message: str | None = None
    status: str
    created_at: datetime
    updated_at: datetime
    file_type: str | None = None
    file_size: int | None = None


class DatasetPointer(Shape):
    """A branch or a version tag (2.2)."""

    dataset_id: int
    pointer_name: str
    dataset_version_id: int
    is_tag: bool
    id: int
    created_at: datetime
    updated_at: datetime


class VersionTag(Shape):
    """A version tag, as G2 had it (2.8)."""

    dataset_id: int
    tag_name: str
    dataset_version_id: int
    id: int


class DatasetPermission(Shape):
    """A right of a user (2.2)."""

    dataset_id: int
    user_id: int
    permission_type: str


class User(Shape):
    """A user (3)."""

    id: int
    soeid: str
    role_id: int
    role_name: str | None = None
    created_at: datetime
    updated_at: datetime


class TokenPair(Shape):
    """What a login gives (3)."""

    access_token: str
    refresh_token: str
    token_type: str = "bearer"  # noqa: S105 - a word


class Message(Shape):
    """That it was done."""

    message: str


class Found(Shape):
    """What a search gives (2.8, 5): the old server's own form is not known."""

    results: list[Dataset]
    total: int
    limit: int
    offset: int
    has_more: bool
    facets: dict[str, dict[str, int]] | None = None


class Suggestion(Shape):
    """One of them (5)."""

    text: str
    type: str


class Suggestions(Shape):
    """What may be meant (5)."""

    query: str
    suggestions: list[Suggestion]


class DatasetUpdate(BaseModel):
    """What is to be different (2.2)."""

    name: str | None = None
    description: str | None = None
    tags: list[str] | None = None


class PermissionGrant(BaseModel):
    """A right for a user (2.2)."""

    user_id: int
    permission_type: str


class TagTarget(BaseModel):
    """Where a version tag is to be (2.8)."""

    version_id: int


class NewUser(BaseModel):
    """A user to be made (3)."""

    soeid: str = Field(min_length=7, max_length=7)
    password: str
    role_id: int


Loose = dict[str, Any]
"""A body of which the old server looked at single keys."""
