"""What a file that an old client sends becomes: a dataset, a branch, a version (sections 2.3 to 2.5)."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from dsplatform.api.legacy.adapter import LegacyDatasetAdapter
from dsplatform.api.legacy.contents import sheet_of
from dsplatform.api.legacy.errors import Answer
from dsplatform.api.legacy.form import SentFile, UploadFields
from dsplatform.api.legacy.pointers import named
from dsplatform.api.legacy.table_shapes import Attached, DatasetUploadResponse
from dsplatform.api.uploads import SCHEMA_BYTES
from dsplatform.core.domain import Actor
from dsplatform.core.errors import DsplatformError, Invalid
from dsplatform.core.types import MAIN, FilePath, VersionId, pointer_name
from dsplatform.core.values import CommitMode, Committed, DatasetRef
from dsplatform.datasets.model import DatasetMissing
from dsplatform.migration.naming import safe_component_name, safe_dataset_name
from dsplatform.migration.old_files import attached
from dsplatform.migration.old_model import OldPointer, OldVersion
from dsplatform.permissions.model import MissingRight
from dsplatform.versioning.uploads import Part

UPDATE = "Write permission required to update dataset"
BRANCHES = "Write permission required to update branches"
ATTACH = "Write permission required to attach files"


@dataclass(frozen=True)
class Target:
    """Where a version goes, and how that is undone where it does not come."""

    branch: str
    expected_head: int | None
    undo: Callable[[], object]


class Arrivals:
    """Files of one client."""

    def __init__(self, adapter: LegacyDatasetAdapter, actor: Actor) -> None:
        self._adapter = adapter
        self._services = adapter.services
        self._actor = actor

    def upload(self, fields: UploadFields, file: SentFile, tags: Sequence[str]) -> DatasetUploadResponse:
        """A new version of a dataset, which is made where none is named and the caller has none of that name."""
        if fields.dataset_id is not None:
            dataset = self._adapter.dataset(self._actor, fields.dataset_id, UPDATE)
            with self._adapter.refusing(UPDATE, fields.dataset_id):
                made = self._into(dataset, fields, file)
                self._described(dataset, fields, tags)
                return made
        dataset, new = self._named(fields, tags)
        try:
            with self._adapter.refusing(UPDATE):
                made = self._into(dataset, fields, file)
        except BaseException:
            if new:
                self._services.datasets.delete_dataset(self._actor, dataset.key)
            raise
        if not new:
            self._described(dataset, fields, tags)
        return made

    def commit(self, number: int, branch: str, message: str | None, file: SentFile) -> DatasetUploadResponse:
        """A new version on a branch that is there."""
        dataset = self._adapter.dataset(self._actor, number, BRANCHES)
        with self._adapter.refusing(BRANCHES, number):
            self._services.legacy.may_write(self._actor, dataset)
            found = named(self._services.legacy.pointers(self._actor, dataset), branch)
            if found is None:
                raise Answer(400, f"Branch '{branch}' does not exist")
            if found.is_tag:
                raise _tagged(branch)
            return self._sent(dataset, Target(found.new_name, None, _nothing), message, file)

    def attach(self, number: int, version_id: int, kind: str, name: str | None, file: SentFile) -> Attached:
        """A version never changes: what is attached to the head of a branch makes the next one, which has the file besides."""
        dataset = self._adapter.dataset(self._actor, number, ATTACH)
        with self._adapter.refusing(ATTACH, number):
            self._services.legacy.may_write(self._actor, dataset)
            version = self._adapter.version(self._actor, dataset, number, version_id)
            at = [one for one in self._services.legacy.pointers(self._actor, dataset) if one.version_id == version.id and not one.is_tag]
            if not at:
                raise Answer(409, f"Version {version_id} is not the head of a branch, and versions do not change: attach to a newer one")
            branch = next((one for one in at if one.new_name == MAIN), at[0])
            component = attached(kind, name or file.name or kind, file.name or kind)
            done = self._services.uploads.upload(
                self._actor,
                dataset,
                [Part(component, file.bytes)],
                branch=branch.new_name,
                message=version.message or "",
                expected_head=version.version_number,
            )
            made = self._made(dataset, done.committed)
            own = VersionId(made.new_id), str(component)
            number_of_file = self._services.legacy.file_numbers([own])[own]
        return Attached(file_id=number_of_file, message=f"File attached successfully to version {made.id}")

    # --- datasets --------------------------------------------------------------------------------------------------------------

    def _named(self, fields: UploadFields, tags: Sequence[str]) -> tuple[DatasetRef, bool]:
        """The caller's own dataset of that name, or a new one; and whether it is new."""
        name = safe_dataset_name(fields.name)
        with suppress(DatasetMissing):
            found = self._services.datasets.open(self._actor, name)
            if found.created_by == self._actor.user_id and found.name == name:
                return found, False
        return self._services.datasets.create_dataset(self._actor, name, description=fields.description or "", tags=tags), True

    def _described(self, dataset: DatasetRef, fields: UploadFields, tags: Sequence[str]) -> None:
        """Name and description become what the form says, labels are added, where the caller may change them; else they stay."""
        shown = self._services.legacy.dataset(self._actor, dataset)
        renamed = fields.dataset_id is not None and fields.name and fields.name not in {shown.name, dataset.name}
        described = (fields.description or "") != (shown.description or "")
        if not (renamed or described or set(tags) - {label for _, label in shown.labels}):
            return
        with suppress(MissingRight):
            self._services.datasets.update_dataset(
                self._actor,
                dataset.key,
                new_name=safe_dataset_name(fields.name) if renamed else None,
                description=(fields.description or "") if described else None,
                add_tags=tags,
            )

    # --- versions --------------------------------------------------------------------------------------------------------------

    def _into(self, dataset: DatasetRef, fields: UploadFields, file: SentFile) -> DatasetUploadResponse:
        self._services.legacy.may_write(self._actor, dataset)
        target = self._target(dataset, fields)
        try:
            return self._sent(dataset, target, fields.message, file)
        except BaseException:
            target.undo()
            raise

    def _target(self, dataset: DatasetRef, fields: UploadFields) -> Target:
        """The branch, moved to the parent that the form names, as the old server would have it."""
        branches = self._services.branches
        found = named(self._services.legacy.pointers(self._actor, dataset), fields.branch_name)
        if found is not None and found.is_tag:
            raise _tagged(fields.branch_name)
        name = _pointer(fields.branch_name) if found is None else found.new_name
        if fields.parent_version_id is None:
            return Target(name, None, _nothing)
        number = self._services.legacy.dataset_number(dataset)
        parent = self._adapter.version(self._actor, dataset, number, fields.parent_version_id)
        if found is None:
            branches.create_branch(self._actor, dataset, name, str(parent.version_number))
            return Target(name, parent.version_number, lambda: branches.delete_branch(self._actor, dataset, name))
        if found.version_id != parent.id:
            self._move(dataset, found, found.version_number, parent.version_number)
            back = found
            return Target(name, parent.version_number, lambda: self._move(dataset, back, parent.version_number, back.version_number))
        return Target(name, parent.version_number, _nothing)

    def _move(self, dataset: DatasetRef, branch: OldPointer, seen: int, to: int) -> None:
        at = self._services.versions.id_of(self._actor, dataset, str(seen))
        self._services.branches.update_branch(self._actor, dataset, branch.new_name, str(to), expected_head=at)

    def _sent(self, dataset: DatasetRef, target: Target, message: str | None, file: SentFile) -> DatasetUploadResponse:
        """The version of the file alone, under its own name, which says how it is to be read."""
        name = FilePath(safe_component_name(file.name.replace("\\", "/").rpartition("/")[2]))
        done = self._services.uploads.upload(
            self._actor,
            dataset,
            [Part(name, file.bytes)],
            branch=target.branch,
            message=message or "",
            mode=CommitMode.REPLACE,
            expected_head=target.expected_head,
        )
        made = self._made(dataset, done.committed)
        captured = None
        with suppress(DsplatformError):  # the version is there
            schema = self._services.schemas.capture_at_once(self._actor, dataset, VersionId(made.new_id), most_bytes=SCHEMA_BYTES)
            found = None if schema is None else next((one for one in schema.components if one.name == name), None)
            captured = None if schema is None or found is None else (found, schema)
        return DatasetUploadResponse(dataset_id=made.dataset_id, version_id=made.id, sheets=[sheet_of(name, captured)])

    def _made(self, dataset: DatasetRef, committed: Committed) -> OldVersion:
        return self._services.legacy.these(self._actor, dataset, [committed.version_id])[0]


def _nothing() -> None: ...


def _pointer(name: str) -> str:
    try:
        return pointer_name(name)
    except Invalid as err:
        raise Answer(400, "Invalid branch name") from err


def _tagged(name: str) -> Answer:
    return Answer(400, f"Cannot commit to tag '{name}' - tags are immutable")
