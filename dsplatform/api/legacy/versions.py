"""Versions of the old server: lists, the tree, deletion, downloads, and what a version holds (section 2.4)."""

from contextlib import ExitStack
from typing import Any

from fastapi import APIRouter, Response

from dsplatform.api.legacy import shapes
from dsplatform.api.legacy.adapter import Adapter, DatasetNumber, LegacyDatasetAdapter, VersionNumber
from dsplatform.api.legacy.caller import Reader, Writer
from dsplatform.api.legacy.contents import PARQUET, SHOWN, failing, opened
from dsplatform.api.legacy.errors import Answer
from dsplatform.api.legacy.succession import succeeded_by
from dsplatform.api.legacy.table_shapes import Node, Tree, VersionFile
from dsplatform.api.outgoing import OutgoingBody
from dsplatform.core.domain import Actor
from dsplatform.core.types import VersionId
from dsplatform.core.values import DatasetRef
from dsplatform.migration.old_model import OldVersion

router = APIRouter(prefix="/api/datasets/{dataset_id}/versions")

DELETE = "Write permission required to delete version"


@router.get("")
@succeeded_by("/datasets/{dataset_id}/versions")
def list_versions(adapter: Adapter, caller: Reader, dataset_id: DatasetNumber) -> list[shapes.DatasetVersion]:
    """All versions, the newest first."""
    return [adapter.version_shape(version) for version in _versions(adapter, caller, dataset_id)]


@router.get("/tree")
@succeeded_by("/datasets/{dataset_id}/history")
def tree(adapter: Adapter, caller: Reader, dataset_id: DatasetNumber) -> Tree:
    """How they hang together. What stands on a version that was deleted is a root."""
    versions = _versions(adapter, caller, dataset_id)
    nodes = {
        version.id: Node(
            id=version.id,
            version_number=version.version_number,
            message=version.message,
            created_at=adapter.naive(version.created_at),
            children=[],
        )
        for version in versions
    }
    roots: list[Node] = []
    for version in versions:
        parent = nodes.get(version.parent_version_id or 0)
        (roots if parent is None else parent.children).append(nodes[version.id])
    return Tree(dataset_id=dataset_id, roots=roots)


@router.get("/{version_id}")
@succeeded_by("/datasets/{dataset_id}/versions")
def get_version(adapter: Adapter, caller: Reader, dataset_id: DatasetNumber, version_id: VersionNumber) -> shapes.DatasetVersion:
    """One version."""
    with opened(adapter, caller, dataset_id, version_id) as contents:
        return adapter.version_shape(contents.version)


@router.delete("/{version_id}", status_code=204)
@succeeded_by("/datasets/{dataset_id}/versions")
def delete_version(adapter: Adapter, caller: Writer, dataset_id: DatasetNumber, version_id: VersionNumber) -> Response:
    """Deletes its files. Branches that are at it go back to what it stands on."""
    dataset = adapter.dataset(caller, dataset_id, DELETE)
    with adapter.refusing(DELETE, dataset_id):
        version = adapter.version(caller, dataset, dataset_id, version_id)
        moved = _moved_back(adapter, caller, dataset, version)
        try:
            adapter.services.deletion.delete_version(caller, f"{dataset.key}@{version.version_number}")
        except BaseException:
            for name, to in moved.items():
                adapter.services.branches.update_branch(caller, dataset, name, str(version.version_number), expected_head=to)
            raise
    return Response(status_code=204)


@router.get("/{version_id}/download", response_class=Response)
@succeeded_by("/datasets/{dataset_id}/archive")
def download(adapter: Adapter, caller: Reader, dataset_id: DatasetNumber, version_id: VersionNumber) -> Response:
    """The file of the version as Parquet."""
    with opened(adapter, caller, dataset_id, version_id) as contents, ExitStack() as stack:
        number = contents.version.version_number
        with failing(404, "File data not found or unsupported storage type"):
            dataset = adapter.dataset(caller, dataset_id)
            found = stack.enter_context(adapter.services.conversions.parquet(caller, dataset, contents.ref, component=contents.component))
        headers = {
            "Content-Type": PARQUET,
            "Content-Disposition": f"attachment; filename={dataset_id}_v{number}.parquet",
            "Content-Length": str(found.size),
            "X-Content-Type-Options": "nosniff",
        }
        return OutgoingBody(found.chunks, stack.pop_all(), 200, headers)


@router.get("/{version_id}/files")
@succeeded_by("/datasets/{dataset_id}/versions")
def list_files(adapter: Adapter, caller: Reader, dataset_id: DatasetNumber, version_id: VersionNumber) -> list[VersionFile]:
    """What the version holds."""
    with opened(adapter, caller, dataset_id, version_id) as contents:
        return contents.shapes(contents.files())


@router.get("/{version_id}/files/{component_type}")
@succeeded_by("/datasets/{dataset_id}/versions")
def get_file(
    adapter: Adapter,
    caller: Reader,
    dataset_id: DatasetNumber,
    version_id: VersionNumber,
    component_type: str,
    component_name: str | None = None,
) -> VersionFile:
    """The first component of that type, and of that name where one is given."""
    with opened(adapter, caller, dataset_id, version_id) as contents:
        named = [one for one in contents.files() if component_name in {None, "", one.component_name}]
        found = [one for one in named if one.component_type == component_type]
        if not found:
            raise Answer(404, f"File with component type '{component_type}' not found in version {version_id}")
        return contents.shapes(found[:1])[0]


def _versions(adapter: LegacyDatasetAdapter, caller: Actor, dataset_id: int) -> Any:
    dataset = adapter.dataset(caller, dataset_id)
    with adapter.refusing(SHOWN, dataset_id):
        return adapter.services.legacy.versions(caller, dataset)


def _moved_back(adapter: LegacyDatasetAdapter, caller: Actor, dataset: DatasetRef, version: OldVersion) -> dict[str, VersionId]:
    """The branches that were at the version, and where they are now. 409 where there is nowhere, or a tag is at it."""
    services = adapter.services
    names = [pointer for pointer in services.legacy.pointers(caller, dataset) if pointer.version_id == version.id]
    if tag := next((pointer for pointer in names if pointer.is_tag), None):
        raise Answer(409, f"Version {version.id} has the tag '{tag.name}': delete the tag first")
    if not names:
        return {}
    line = services.branches.history(caller, dataset, str(version.version_number), first_parent=True)
    older = next((one for one in line if one.id != version.new_id and one.purged_at is None), None)
    if older is None:
        raise Answer(409, f"Version {version.id} is all that branch '{names[0].name}' has: delete the branch, or the dataset")
    services.legacy.may_administer(caller, dataset)
    for pointer in names:
        services.branches.update_branch(caller, dataset, pointer.new_name, str(older.number), expected_head=VersionId(version.new_id))
    return {pointer.new_name: older.id for pointer in names}
