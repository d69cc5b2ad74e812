"""Making and reading versions."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from dsplatform.core.access import checks_permission, internal, requires_permission
from dsplatform.core.database import Database, Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.errors import DsplatformError, Invalid
from dsplatform.core.interfaces import AccessControl, ArrivalGate, DatasetDirectory, FileKeeper, Upload
from dsplatform.core.types import MAIN, FileId, FilePath, PermissionType, VersionId, file_path, pointer_name
from dsplatform.core.values import (
    CommitMode,
    Committed,
    Component,
    Content,
    DatasetRef,
    FileUse,
    Refused,
    Source,
    VersionChange,
)
from dsplatform.core.verification import Verification
from dsplatform.versioning import model, verification
from dsplatform.versioning.history import History
from dsplatform.versioning.model import Version, parse_reference
from dsplatform.versioning.publishing import Publisher
from dsplatform.versioning.repository import Versions


def _nothing(_tx: Transaction, _index: int, _committed: Committed) -> None: ...


class VersionService:
    """Versions of datasets."""

    def __init__(
        self,
        db: Database,
        files: FileKeeper,
        datasets: DatasetDirectory,
        access: AccessControl,
        gate: ArrivalGate,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._db = db
        self._files = files
        self._datasets = datasets
        self._access = access
        self._publisher = Publisher(db, files, datasets, access, gate, clock)

    @checks_permission(PermissionType.WRITE)
    def create_version(
        self,
        actor: Actor,
        dataset: DatasetRef,
        components: Mapping[str, Source],
        *,
        remove: Sequence[str] = (),
        branch: str = MAIN,
        message: str = "",
        mode: CommitMode = CommitMode.PATCH,
        expected_head: VersionId | None = None,
        idempotency_key: str | None = None,
    ) -> Committed:
        """Stores the components and commits them as one version, or not at all.

        `patch` adds and replaces the named components and carries the others over from the parent; `replace` leaves the others out.
        A change that would change nothing makes no version: the answer is the head, with `created=False`. A branch that does not
        exist begins at the head of `main`. Without `expected_head` the change is applied to whatever the head is.
        Raises `Invalid` for a source that cannot be taken, `Conflict` when `expected_head` is not the head, `Denied`.
        """
        with self._db.autocommit() as tx:  # before anything is read; the commit asks again
            self._access.require(tx, actor, PermissionType.WRITE, dataset.id)
        names = [file_path(name) for name in components]
        if len(set(names)) < len(names):
            raise Invalid("two components have the same name (after Unicode normalization): rename one")
        with self._files.upload() as upload:
            contents = upload.add(list(components.values()))
            put: dict[FilePath, Content] = {}
            for name, content in zip(names, contents, strict=True):
                if isinstance(content, Refused):
                    raise Invalid(f"{name!r} cannot be stored: {content.reason}")
                put[name] = content
            change = VersionChange(
                actor,
                dataset,
                put,
                tuple(file_path(name) for name in remove),
                pointer_name(branch),
                model.message(message),
                mode,
                expected_head,
                idempotency_key,
            )
            (outcome,) = self.publish(upload, [change], _nothing)
        if isinstance(outcome, DsplatformError):
            raise outcome
        return outcome

    @requires_permission(PermissionType.READ)
    def list_versions(
        self, tx: Transaction, _actor: Actor, dataset: DatasetRef, *, before: int | None = None, limit: int = 50
    ) -> Sequence[Version]:
        """Versions, newest first; the next page begins before the last number of this one."""
        return Versions(tx).page(dataset.id, before=before, limit=limit)

    @requires_permission(PermissionType.READ)
    def get_version(
        self, tx: Transaction, _actor: Actor, dataset: DatasetRef, ref: str | None = None
    ) -> tuple[Version, Sequence[Component]]:
        """A version and its components. `ref`: a number, `latest`, a branch or a tag; None is the head of `main`.

        Raises `VersionMissing`, and `Gone` for a version that was deleted.
        """
        version_id = self.resolve(tx, dataset, ref)
        return Versions(tx).get(version_id), Versions(tx).components(version_id)

    @requires_permission(PermissionType.READ)
    def get_component(self, tx: Transaction, _actor: Actor, dataset: DatasetRef, name: str, ref: str | None) -> tuple[Version, Component]:
        """One component of a version, and that version. Raises `VersionMissing`, `ComponentMissing`, `Gone`."""
        wanted = file_path(name)
        version = Versions(tx).get(self.resolve(tx, dataset, ref))
        component = History(tx).named(version.id, [wanted]).get(wanted)
        if component is None:
            raise model.ComponentMissing(f"version {version.number} of dataset {dataset.slug!r} has no component {name!r}")
        return version, component

    @requires_permission(PermissionType.READ)
    def id_of(self, tx: Transaction, _actor: Actor, dataset: DatasetRef, ref: str | None = None) -> VersionId:
        """The version that `ref` names, also one that was deleted. Raises `VersionMissing`."""
        return self.resolve(tx, dataset, ref)

    @checks_permission(PermissionType.READ)
    def find(self, actor: Actor, reference: str) -> tuple[DatasetRef, Version, Sequence[Component]]:
        """What `DATASET` or `DATASET@REF` names."""
        name, ref = parse_reference(reference)
        with self._db.autocommit() as tx:
            dataset = self._datasets.find(tx, actor, name)
        return dataset, *self.get_version(actor, dataset, ref)

    # --- asked by other modules ------------------------------------------------------------------------------------------------

    @internal("part of what asks for a right before")
    def resolve(self, tx: Transaction, dataset: DatasetRef, ref: str | None) -> VersionId:
        """The version that `ref` names in the dataset. Raises `VersionMissing`."""
        return Versions(tx).named(dataset, ref)

    @internal("jobs know versions by their ids")
    def label(self, version_id: VersionId) -> tuple[DatasetRef, int]:
        """(dataset, number) of a version."""
        with self._db.transaction() as tx:
            return Versions(tx).label(version_id)

    @internal("for checks of all datasets at once")
    def newest_of_all(self) -> Sequence[tuple[DatasetRef, VersionId]]:
        """(dataset, newest version) of every living dataset that has one."""
        with self._db.transaction() as tx:
            return Versions(tx).newest_of_all()

    @internal("part of what asks for a right before")
    def components(self, tx: Transaction, version_id: VersionId) -> Sequence[Component]:
        """The components in their order. Raises `Gone` for a version whose files were deleted."""
        return Versions(tx).components(version_id)

    @internal("part of what asks for a right before")
    def belongs(self, tx: Transaction, dataset: DatasetRef, version_id: VersionId) -> None:
        """Raises `VersionMissing` unless the version is one of the dataset, or was."""
        Versions(tx).belongs(dataset, version_id)

    @internal("part of what asks for a right before")
    def living(self, tx: Transaction, version_id: VersionId) -> None:
        """Raises `Gone` for a version whose files were deleted."""
        Versions(tx).living(version_id)

    @internal("for who operates the platform")
    def uses(self, tx: Transaction, file_ids: Sequence[FileId]) -> Sequence[FileUse]:
        """See `core.interfaces.VersionReader.uses`."""
        return verification.uses(tx, file_ids)

    @internal("part of `Platform.verify`")
    def verify(self, found: Verification, *, contents: bool) -> None:
        """Adds to `found` what is against I5 and I7; with `contents` every overlay is read."""
        verification.verify(self._db, self._files, found, contents=contents)

    @internal("it asks for the right of each change's actor")
    def publish(
        self, upload: Upload, changes: Sequence[VersionChange], within: Callable[[Transaction, int, Committed], None]
    ) -> Sequence[Committed | DsplatformError]:
        """See `core.interfaces.VersionWriter.publish`."""
        return self._publisher.publish(upload, changes, within)
