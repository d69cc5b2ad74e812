"""Bodies about what versions hold: each key in its order, what is missing as null, times without zone (sections 2.2, 2.4, 2.8)."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from dsplatform.api.legacy.shapes import Shape


class SheetInfo(Shape):
    """A sheet (2.2)."""

    name: str
    index: int
    description: str | None = None
    file_id: int | None = None


class DatasetUploadResponse(Shape):
    """What became of an upload (2.2)."""

    dataset_id: int
    version_id: int
    sheets: list[SheetInfo]


class File(Shape):
    """A file (2.2). Where it lies is nobody's business."""

    storage_type: str = "filesystem"
    file_type: str
    mime_type: str | None = None
    file_path: str | None = None
    file_size: int | None = None
    id: int
    created_at: datetime
    file_data: str | None = None


class VersionFile(Shape):
    """A component of a version (2.2)."""

    version_id: int
    file_id: int
    component_type: str
    component_name: str | None = None
    component_index: int | None = None
    metadata: dict[str, Any] | None = None
    file: File | None = None


class Attached(Shape):
    """That a file was attached (2.4)."""

    file_id: int
    message: str


class Node(Shape):
    """A version in the tree (2.4)."""

    id: int
    version_number: int
    message: str | None = None
    created_at: datetime
    children: list["Node"]


class Tree(Shape):
    """The versions of a dataset as they hang together (2.4)."""

    dataset_id: int
    roots: list[Node]


class SchemaVersion(Shape):
    """The columns of a version (2.2)."""

    dataset_version_id: int
    schema_data: dict[str, Any]
    id: int
    created_at: datetime


class MadeVersion(Shape):
    """What became of a list of changes (2.8)."""

    version_id: int
    version_number: int
    overlay_file_id: int


class Statistics(Shape):
    """What the values of a version are like (2.8)."""

    version_id: int
    row_count: int | None
    column_count: int
    size_bytes: int
    size_formatted: str
    computed_at: datetime
    columns: dict[str, dict[str, Any]]
    metadata: dict[str, Any]


class Refreshed(Shape):
    """That figures are worked out (2.8)."""

    message: str
    analysis_run_id: int | None
    status: str


class FileChange(BaseModel):
    """One of a list of changes (2.8)."""

    operation: str
    file_id: int | None = None
    component_name: str | None = None
    component_type: str | None = None
    metadata: dict[str, Any] | None = None


class VersionChanges(BaseModel):
    """What a new version shall change (2.8)."""

    dataset_id: int | None = None
    file_changes: list[FileChange]
    message: str | None = None
    parent_version: int | None = None
