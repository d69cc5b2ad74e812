"""Branches, version tags and pointers of the old server (section 2.5), but for commits."""

from typing import Annotated, Any

from fastapi import APIRouter, Body

from dsplatform.api.legacy import shapes
from dsplatform.api.legacy.adapter import Adapter, DatasetNumber, LegacyDatasetAdapter
from dsplatform.api.legacy.caller import Reader, Writer
from dsplatform.api.legacy.errors import Answer
from dsplatform.api.legacy.succession import succeeded_by
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Invalid, NotFound
from dsplatform.core.types import VersionId
from dsplatform.core.values import DatasetRef
from dsplatform.migration.old_model import OldPointer, OldVersion
from dsplatform.versioning.model import HeadMoved, MainStays, PointerTaken, VersionMissing

router = APIRouter(prefix="/api/datasets/{dataset_id}")

CREATE_BRANCH, CREATE_TAG, UPDATE, DELETE = (
    f"Write permission required to {what}" for what in ("create branches", "create tags", "update branches", "delete branches/tags")
)
SHOWN = "Read permission required to view dataset"
LONGEST = 255
ATTEMPTS = 5
"""How often a branch is moved again that others move at the same moment."""


@router.post("/branches")
@succeeded_by("/datasets/{dataset_id}/branches")
def create_branch(adapter: Adapter, caller: Writer, dataset_id: DatasetNumber, body: shapes.Loose) -> shapes.DatasetPointer:
    """A new branch; one that is there moves."""
    name, version = body.get("branch_name"), body.get("from_version_id")
    if not name or not version:
        raise Answer(400, "Both branch_name and from_version_id are required")
    return _placed(adapter, caller, dataset_id, name, version, "branch", CREATE_BRANCH)


@router.post("/tags")
@succeeded_by("/datasets/{dataset_id}/tags")
def create_tag(adapter: Adapter, caller: Writer, dataset_id: DatasetNumber, body: shapes.Loose) -> shapes.DatasetPointer:
    """A new tag; a branch of the name moves."""
    name, version = body.get("tag_name"), body.get("version_id")
    if not name or not version:
        raise Answer(400, "Both tag_name and version_id are required")
    return _placed(adapter, caller, dataset_id, name, version, "tag", CREATE_TAG)


@router.get("/pointers")
@succeeded_by("/datasets/{dataset_id}/branches")
def list_pointers(adapter: Adapter, caller: Reader, dataset_id: DatasetNumber) -> list[shapes.DatasetPointer]:
    """Branches, then tags, each by name."""
    return [shape(adapter, pointer) for pointer in _pointers(adapter, caller, dataset_id)[1]]


@router.get("/pointers/{pointer_name}")
@succeeded_by("/datasets/{dataset_id}/branches/{pointer_name}")
def get_pointer(adapter: Adapter, caller: Reader, dataset_id: DatasetNumber, pointer_name: str) -> shapes.DatasetPointer:
    """One branch or tag."""
    _, pointers = _pointers(adapter, caller, dataset_id)
    found = named(pointers, pointer_name)
    if found is None:
        raise Answer(404, f"Pointer '{pointer_name}' not found for dataset {dataset_id}")
    return shape(adapter, found)


@router.delete("/pointers/{pointer_name}")
@succeeded_by("/datasets/{dataset_id}/branches/{pointer_name}")
def delete_pointer(adapter: Adapter, caller: Writer, dataset_id: DatasetNumber, pointer_name: str) -> shapes.Message:
    """Deletes the name; its version stays."""
    dataset = adapter.dataset(caller, dataset_id, DELETE)
    with adapter.refusing(DELETE, dataset_id):
        adapter.services.legacy.may_write(caller, dataset)
        if pointer_name.lower() == "main":
            raise Answer(400, "Cannot delete 'main' branch")
        found = named(adapter.services.legacy.pointers(caller, dataset), pointer_name)
        try:
            if found is None:
                raise NotFound(pointer_name)
            if found.is_tag:
                adapter.services.branches.delete_tag(caller, dataset, found.new_name)
            else:
                adapter.services.branches.delete_branch(caller, dataset, found.new_name)
        except MainStays as err:
            raise Answer(400, "Cannot delete 'main' branch") from err
        except NotFound as err:
            raise Answer(404, f"Pointer '{pointer_name}' not found") from err
    return shapes.Message(message=f"Pointer '{pointer_name}' deleted successfully")


@router.get("/branches")
@succeeded_by("/datasets/{dataset_id}/branches")
def list_branches(adapter: Adapter, caller: Reader, dataset_id: DatasetNumber) -> list[shapes.DatasetPointer]:
    """Branches by name."""
    return [shape(adapter, pointer) for pointer in _pointers(adapter, caller, dataset_id)[1] if not pointer.is_tag]


@router.get("/branches/{branch_name:path}/head")
@succeeded_by("/datasets/{dataset_id}/branches/{branch_name}")
def head(adapter: Adapter, caller: Reader, dataset_id: DatasetNumber, branch_name: str) -> shapes.DatasetVersion:
    """The version that a branch, or a tag, is at."""
    dataset, pointers = _pointers(adapter, caller, dataset_id)
    found = named(pointers, branch_name)
    version = None if found is None else _at(adapter, caller, dataset, found)
    if version is None:
        raise Answer(404, f"Branch '{branch_name}' not found")
    return adapter.version_shape(version)


@router.get("/branches/{branch_name:path}/history")
@succeeded_by("/datasets/{dataset_id}/history")
def history(adapter: Adapter, caller: Reader, dataset_id: DatasetNumber, branch_name: str) -> list[shapes.DatasetVersion]:
    """The version that a branch, or a tag, is at, its parent, and so on."""
    dataset, pointers = _pointers(adapter, caller, dataset_id)
    found = named(pointers, branch_name)
    if found is None:
        return []
    try:
        line = adapter.services.branches.history(caller, dataset, found.new_name, first_parent=True, limit=MOST_VERSIONS)
    except VersionMissing:  # the name was deleted meanwhile
        return []
    versions = adapter.services.legacy.these(caller, dataset, [version.id for version in line])
    return [adapter.version_shape(version) for version in versions]


@router.patch("/branches/{branch_name:path}")
@succeeded_by("/datasets/{dataset_id}/branches/{branch_name}")
def update_branch(
    adapter: Adapter, caller: Writer, dataset_id: DatasetNumber, branch_name: str, body: Annotated[dict[str, int], Body()]
) -> shapes.Message:
    """Moves a branch to any version of the dataset."""
    number = body.get("to_version_id")
    if not number:
        raise Answer(400, "to_version_id is required")
    dataset = adapter.dataset(caller, dataset_id, UPDATE)
    with adapter.refusing(UPDATE, dataset_id):
        adapter.services.legacy.may_write(caller, dataset)
        found = named(adapter.services.legacy.pointers(caller, dataset), branch_name)
        if found is None:
            raise Answer(400, f"Branch '{branch_name}' not found")
        if found.is_tag:
            raise Answer(400, f"Cannot update tag '{branch_name}' - tags are immutable")
        _move(adapter, caller, dataset, found, version_of(adapter, caller, dataset, number))
    return shapes.Message(message=f"Branch '{branch_name}' updated to version {number}")


MOST_VERSIONS = 100_000
"""Of one history."""


def shape(adapter: LegacyDatasetAdapter, pointer: OldPointer) -> shapes.DatasetPointer:
    """In the form of G1b."""
    return shapes.DatasetPointer(
        dataset_id=pointer.dataset_id,
        pointer_name=pointer.name,
        dataset_version_id=pointer.version_id,
        is_tag=pointer.is_tag,
        id=pointer.id,
        created_at=adapter.naive(pointer.created_at),
        updated_at=adapter.naive(pointer.updated_at),
    )


def named(pointers: Any, name: str) -> OldPointer | None:
    """The branch or tag that old clients call so, else the one that is called so here."""
    by_name: dict[str, OldPointer] = {pointer.new_name: pointer for pointer in pointers} | {pointer.name: pointer for pointer in pointers}
    return by_name.get(name)


def version_of(adapter: LegacyDatasetAdapter, caller: Actor, dataset: DatasetRef, number: object) -> OldVersion:
    """The version of the dataset with that old id. 404 in the words of these endpoints."""
    try:
        if not isinstance(number, int):
            raise NotFound(str(number))
        return adapter.services.legacy.version(caller, dataset, number)
    except NotFound as err:
        raise Answer(404, f"Version {number} not found or doesn't belong to dataset") from err


def _placed(
    adapter: LegacyDatasetAdapter, caller: Actor, dataset_id: int, name: object, number: object, kind: str, refusal: str
) -> shapes.DatasetPointer:
    """A branch or a tag at a version: a new one, or the branch that has the name."""
    dataset = adapter.dataset(caller, dataset_id, refusal)
    branches, legacy = adapter.services.branches, adapter.services.legacy
    with adapter.refusing(refusal, dataset_id):
        legacy.may_write(caller, dataset)
        version = version_of(adapter, caller, dataset, number)
        if not isinstance(name, str) or len(name) > LONGEST:
            raise Answer(400, f"Invalid {kind} name")
        for _ in range(ATTEMPTS):
            found = named(legacy.pointers(caller, dataset), name)
            try:
                if found is None:
                    create = branches.create_branch if kind == "branch" else branches.create_tag
                    create(caller, dataset, name, str(version.version_number))
                elif found.is_tag:
                    raise Answer(
                        400, f"Tag '{name}' already exists" if kind == "tag" else f"Cannot update tag '{name}' - tags are immutable"
                    )
                else:
                    _move(adapter, caller, dataset, found, version)
            except (PointerTaken, NotFound):  # it came or went meanwhile
                continue
            except Invalid as err:
                raise Answer(400, f"Invalid {kind} name") from err
            if (made := named(legacy.pointers(caller, dataset), name)) is not None:
                return shape(adapter, made)
    raise Answer(409, f"'{name}' is being changed by others: try again")


def _move(adapter: LegacyDatasetAdapter, caller: Actor, dataset: DatasetRef, found: OldPointer, to: OldVersion) -> None:
    """Wherever it is: the old server asked nobody."""
    branches = adapter.services.branches
    for attempt in range(1, ATTEMPTS + 1):
        at = adapter.services.versions.id_of(caller, dataset, found.new_name)
        try:
            branches.update_branch(caller, dataset, found.new_name, str(to.version_number), expected_head=VersionId(at))
            return
        except HeadMoved:
            if attempt == ATTEMPTS:
                raise


def _pointers(adapter: LegacyDatasetAdapter, caller: Actor, dataset_id: int) -> tuple[DatasetRef, Any]:
    dataset = adapter.dataset(caller, dataset_id)
    with adapter.refusing(SHOWN, dataset_id):
        return dataset, adapter.services.legacy.pointers(caller, dataset)


def _at(adapter: LegacyDatasetAdapter, caller: Actor, dataset: DatasetRef, pointer: OldPointer) -> OldVersion | None:
    try:
        return adapter.services.legacy.version(caller, dataset, pointer.version_id)
    except NotFound:
        return None
