"""Versions made of a list of changes, as the second generation had them (section 2.8)."""

from collections.abc import Sequence

from fastapi import APIRouter

from dsplatform.api.legacy.adapter import Adapter, DatasetNumber, LegacyDatasetAdapter
from dsplatform.api.legacy.caller import Writer
from dsplatform.api.legacy.errors import Answer
from dsplatform.api.legacy.succession import succeeded_by
from dsplatform.api.legacy.table_shapes import FileChange, MadeVersion, VersionChanges
from dsplatform.core.domain import Actor
from dsplatform.core.errors import NotFound
from dsplatform.core.types import MAIN, FilePath
from dsplatform.core.values import CommitMode, DatasetRef
from dsplatform.migration.naming import safe_component_name
from dsplatform.migration.old_files import OldFile, attached
from dsplatform.migration.old_model import OldVersion
from dsplatform.versioning.composition import Taken

router = APIRouter(prefix="/api/datasets/{dataset_id}")

CREATE = "Write permission required to create versions"
PRIMARY = frozenset({None, "", "primary", "file"})


@router.post("/versions")
@succeeded_by("/datasets/{dataset_id}/versions")
def make_version(adapter: Adapter, caller: Writer, dataset_id: DatasetNumber, body: VersionChanges) -> MadeVersion:
    """What the parent version has, with the changes, is the next version of `main`."""
    dataset = adapter.dataset(caller, dataset_id, CREATE)
    with adapter.refusing(CREATE, dataset_id):
        adapter.services.legacy.may_write(caller, dataset)
        parent = _parent(adapter, caller, dataset, dataset_id, body.parent_version)
        files = () if parent is None else adapter.services.legacy.files(caller, dataset, parent)
        take: dict[FilePath, Taken] = {
            one.component: Taken(one.component, str(parent.version_number)) for one in files if parent is not None
        }
        for change in body.file_changes:
            _apply(adapter, caller, change, files, take)
        if not take:
            raise Answer(400, "A version holds one file at least")
        done = adapter.services.composition.make_version(
            caller, dataset, {str(name): one for name, one in take.items()}, message=body.message or "", mode=CommitMode.REPLACE
        )
        made = adapter.services.legacy.these(caller, dataset, [done.version_id])[0]
    return MadeVersion(version_id=made.id, version_number=made.version_number, overlay_file_id=made.overlay_id)


def _parent(adapter: LegacyDatasetAdapter, caller: Actor, dataset: DatasetRef, dataset_id: int, number: int | None) -> OldVersion | None:
    """The version that is changed: of that number, else the newest; None for a dataset that has none, and for 0."""
    if number == 0:
        return None
    try:
        if number is not None:
            return adapter.services.legacy.numbered(caller, dataset, number)
    except NotFound as err:
        raise Answer(404, f"Version {number} not found for dataset {dataset_id}") from err
    return next(iter(adapter.services.legacy.versions(caller, dataset, limit=1)), None)


def _apply(adapter: LegacyDatasetAdapter, caller: Actor, change: FileChange, files: Sequence[OldFile], take: dict[FilePath, Taken]) -> None:
    there = next((one for one in files if _is(one, change)), None)
    if change.operation in {"remove", "update"} and there is not None:
        take.pop(there.component, None)
    if change.operation == "remove":
        if there is None:
            raise Answer(400, f"Component '{change.component_name}' is not in the parent version")
        return
    if change.operation not in {"add", "update"}:
        raise Answer(400, f"Unknown operation '{change.operation}': add, remove or update")
    place = None if change.file_id is None else adapter.services.legacy.file_place(caller, change.file_id)
    if place is None:
        raise Answer(404, f"File {change.file_id} not found")
    name = there.component if there is not None and change.operation == "update" else _named(change, place.component)
    take[name] = Taken(place.component, str(place.version_number), f"#{place.dataset_id}")


def _is(one: OldFile, change: FileChange) -> bool:
    kind = change.component_type in {None, "", one.component_type}
    return kind and change.component_name in {one.component_name, one.component}


def _named(change: FileChange, source: str) -> FilePath:
    """What the component is called here: *the* file keeps the name that says how it is read."""
    last = source.rpartition("/")[2]
    if change.component_type not in PRIMARY:
        return attached(str(change.component_type), change.component_name or last, last)
    return FilePath(safe_component_name(last if change.component_name in {None, "", MAIN} else str(change.component_name)))
