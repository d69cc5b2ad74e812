"""Versions and tags by the paths of the second generation (section 2.8), but for making versions and statistics."""

from fastapi import APIRouter

from dsplatform.api.legacy import shapes
from dsplatform.api.legacy.adapter import Adapter, DatasetNumber, LegacyDatasetAdapter
from dsplatform.api.legacy.caller import Reader, Writer
from dsplatform.api.legacy.errors import Answer
from dsplatform.api.legacy.pointers import LONGEST, named, version_of
from dsplatform.api.legacy.succession import succeeded_by
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Invalid, NotFound
from dsplatform.migration.old_model import OldPointer, OldVersion
from dsplatform.versioning.model import PointerTaken

router = APIRouter(prefix="/api/datasets/{dataset_id}")

VERSIONS = "Read permission required to view versions"
VIEW, CREATE, DELETE = (
    f"{right} permission required to {what} version tags" for right, what in (("Read", "view"), ("Write", "create"), ("Write", "delete"))
)


@router.get("/versions/latest")
@succeeded_by("/datasets/{dataset_id}/versions/latest")
def latest(adapter: Adapter, caller: Reader, dataset_id: DatasetNumber) -> shapes.OverlaidVersion:
    """The version with the highest number."""
    dataset = adapter.dataset(caller, dataset_id, VERSIONS)
    with adapter.refusing(VERSIONS, dataset_id):
        found = adapter.services.legacy.versions(caller, dataset, limit=1)
    if not found:
        raise Answer(404, f"No versions found for dataset {dataset_id}")
    return _version(adapter, found[0])


@router.get("/versions/number/{number}")
@succeeded_by("/datasets/{dataset_id}/versions/{number}")
def by_number(adapter: Adapter, caller: Reader, dataset_id: DatasetNumber, number: int) -> shapes.OverlaidVersion:
    """The version with that number."""
    dataset = adapter.dataset(caller, dataset_id, VERSIONS)
    with adapter.refusing(VERSIONS, dataset_id):
        try:
            return _version(adapter, adapter.services.legacy.numbered(caller, dataset, number))
        except NotFound as err:
            raise Answer(404, f"Version {number} not found for dataset {dataset_id}") from err


@router.get("/versions/tag/{tag_name}")
@succeeded_by("/datasets/{dataset_id}/versions/{tag_name}")
def by_tag(adapter: Adapter, caller: Reader, dataset_id: DatasetNumber, tag_name: str) -> shapes.OverlaidVersion:
    """The version that a tag names."""
    dataset = adapter.dataset(caller, dataset_id, VERSIONS)
    with adapter.refusing(VERSIONS, dataset_id):
        found = _tag(adapter, caller, dataset_id, tag_name, VERSIONS)
        try:
            if found is None:
                raise NotFound(tag_name)
            return _version(adapter, adapter.services.legacy.version(caller, dataset, found.version_id))
        except NotFound as err:
            raise Answer(404, f"Version with tag '{tag_name}' not found for dataset {dataset_id}") from err


@router.post("/tags/{tag_name}")
@succeeded_by("/datasets/{dataset_id}/tags")
def create_tag(adapter: Adapter, caller: Writer, dataset_id: DatasetNumber, tag_name: str, body: shapes.TagTarget) -> shapes.VersionTag:
    """A new tag."""
    dataset = adapter.dataset(caller, dataset_id, CREATE)
    with adapter.refusing(CREATE, dataset_id):
        adapter.services.legacy.may_write(caller, dataset)
        if len(tag_name) > LONGEST:
            raise Answer(400, "Invalid tag name")
        version = version_of(adapter, caller, dataset, body.version_id)
        try:
            if named(adapter.services.legacy.pointers(caller, dataset), tag_name) is not None:
                raise PointerTaken(tag_name)
            adapter.services.branches.create_tag(caller, dataset, tag_name, str(version.version_number))
        except PointerTaken as err:
            raise Answer(409, f"Tag '{tag_name}' already exists for this dataset") from err
        except Invalid as err:
            raise Answer(400, "Invalid tag name") from err
    made = _tag(adapter, caller, dataset_id, tag_name, CREATE)
    if made is None:
        raise Answer(404, f"Tag '{tag_name}' not found for dataset {dataset_id}")
    return _shape(made)


@router.get("/tags")
@succeeded_by("/datasets/{dataset_id}/tags")
def list_tags(adapter: Adapter, caller: Reader, dataset_id: DatasetNumber) -> list[shapes.VersionTag]:
    """Tags by name."""
    return [_shape(tag) for tag in _tags(adapter, caller, dataset_id, VIEW)]


@router.get("/tags/{tag_name}")
@succeeded_by("/datasets/{dataset_id}/tags/{tag_name}")
def get_tag(adapter: Adapter, caller: Reader, dataset_id: DatasetNumber, tag_name: str) -> shapes.VersionTag:
    """One tag."""
    found = _tag(adapter, caller, dataset_id, tag_name, VIEW)
    if found is None:
        raise Answer(404, f"Tag '{tag_name}' not found for dataset {dataset_id}")
    return _shape(found)


@router.delete("/tags/{tag_name}")
@succeeded_by("/datasets/{dataset_id}/tags/{tag_name}")
def delete_tag(adapter: Adapter, caller: Writer, dataset_id: DatasetNumber, tag_name: str) -> shapes.Message:
    """Deletes a tag; its version stays."""
    dataset = adapter.dataset(caller, dataset_id, DELETE)
    with adapter.refusing(DELETE, dataset_id):
        adapter.services.legacy.may_write(caller, dataset)
        found = _tag(adapter, caller, dataset_id, tag_name, DELETE)
        try:
            if found is None:
                raise NotFound(tag_name)
            adapter.services.branches.delete_tag(caller, dataset, found.new_name)
        except NotFound as err:
            raise Answer(404, f"Tag '{tag_name}' not found for dataset {dataset_id}") from err
    return shapes.Message(message=f"Tag '{tag_name}' deleted successfully")


def _tags(adapter: LegacyDatasetAdapter, caller: Actor, dataset_id: int, refusal: str) -> list[OldPointer]:
    dataset = adapter.dataset(caller, dataset_id, refusal)
    with adapter.refusing(refusal, dataset_id):
        return [pointer for pointer in adapter.services.legacy.pointers(caller, dataset) if pointer.is_tag]


def _tag(adapter: LegacyDatasetAdapter, caller: Actor, dataset_id: int, name: str, refusal: str) -> OldPointer | None:
    return named(_tags(adapter, caller, dataset_id, refusal), name)


def _shape(tag: OldPointer) -> shapes.VersionTag:
    return shapes.VersionTag(dataset_id=tag.dataset_id, tag_name=tag.name, dataset_version_id=tag.version_id, id=tag.id)


def _version(adapter: LegacyDatasetAdapter, version: OldVersion) -> shapes.OverlaidVersion:
    """In the form of G2, where a version's file is its overlay."""
    return shapes.OverlaidVersion(
        dataset_id=version.dataset_id,
        version_number=version.version_number,
        overlay_file_id=version.overlay_id,
        created_by=version.uploaded_by,
        id=version.id,
        message=version.message,
        status=version.status,
        created_at=adapter.naive(version.created_at),
        updated_at=adapter.naive(version.updated_at),
        file_type="json",
        file_size=version.overlay_size,
    )
