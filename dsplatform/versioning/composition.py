"""Versions made of what is stored already: components that go, and components that are taken over from other versions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dsplatform.core.access import checks_permission
from dsplatform.core.database import Database, Transaction
from dsplatform.core.domain import Actor, ValueObject
from dsplatform.core.errors import DsplatformError, Invalid
from dsplatform.core.interfaces import AccessControl, DatasetDirectory, FileKeeper, VersionWriter
from dsplatform.core.types import MAIN, FilePath, PermissionType, VersionId, file_path, pointer_name
from dsplatform.core.values import CommitMode, Committed, Component, Content, DatasetRef, VersionChange
from dsplatform.versioning import model
from dsplatform.versioning.history import History
from dsplatform.versioning.model import ComponentMissing
from dsplatform.versioning.repository import Versions


@dataclass(frozen=True)
class Taken(ValueObject):
    """Where a component is taken from. Its content is named by nothing else: who knows a digest or an id has no right by that."""

    name: str
    """What it is called there."""
    ref: str | None = None
    """The version; None is the head of `main`."""
    dataset: str | None = None
    """Name, slug or `#id`; None is the dataset that is changed."""


class CompositionService:
    """Makes versions without bytes."""

    def __init__(self, db: Database, files: FileKeeper, datasets: DatasetDirectory, access: AccessControl, versions: VersionWriter) -> None:
        self._db = db
        self._files = files
        self._datasets = datasets
        self._access = access
        self._versions = versions

    @checks_permission(PermissionType.WRITE)
    def make_version(
        self,
        actor: Actor,
        dataset: DatasetRef,
        take: Mapping[str, Taken],
        *,
        remove: Sequence[str] = (),
        branch: str = MAIN,
        message: str = "",
        mode: CommitMode = CommitMode.PATCH,
        expected_head: int | None = None,
        idempotency_key: str | None = None,
    ) -> Committed:
        """Commits what `take` names (by the name that it gets) and what `remove` leaves out as one version. It means what
        `VersionService.create_version` means; `expected_head` is the number of a version.

        Raises `ComponentMissing`, and as reading does for what the actor may not read.
        """
        target, note = pointer_name(branch), model.message(message)
        wanted = {file_path(name): taken for name, taken in take.items()}
        if len(wanted) < len(take):
            raise Invalid("two components have the same name (after Unicode normalization): rename one")
        gone = tuple(file_path(name) for name in remove)
        with self._db.autocommit() as tx:
            self._access.require(tx, actor, PermissionType.WRITE, dataset.id)
            head = None if expected_head is None else Versions(tx).named(dataset, str(expected_head))
            put = self._contents(tx, actor, dataset, wanted)
        change = VersionChange(actor, dataset, put, gone, target, note, mode, head, idempotency_key)
        with self._files.upload() as upload:
            upload.adopt([content.content_hash for content in put.values()])
            (outcome,) = self._versions.publish(upload, [change], _nothing)
        if isinstance(outcome, DsplatformError):
            raise outcome
        return outcome

    def _contents(self, tx: Transaction, actor: Actor, dataset: DatasetRef, wanted: Mapping[FilePath, Taken]) -> dict[FilePath, Content]:
        """What is taken, one statement for each version that something is taken from."""
        names: dict[tuple[str | None, str | None], list[FilePath]] = {}
        for taken in wanted.values():
            names.setdefault((taken.dataset, taken.ref), []).append(file_path(taken.name))
        found = {place: self._components(tx, actor, dataset, place, asked) for place, asked in names.items()}
        return {name: _content(found[taken.dataset, taken.ref][file_path(taken.name)]) for name, taken in wanted.items()}

    def _components(
        self, tx: Transaction, actor: Actor, dataset: DatasetRef, place: tuple[str | None, str | None], names: Sequence[FilePath]
    ) -> Mapping[FilePath, Component]:
        of = dataset if place[0] is None else self._datasets.find(tx, actor, place[0])
        self._access.require(tx, actor, PermissionType.READ, of.id)
        version_id: VersionId = Versions(tx).named(of, place[1])
        found = History(tx).named(version_id, names)
        if missing := [name for name in names if name not in found]:
            number = Versions(tx).number(version_id)
            raise ComponentMissing(f"version {number} of dataset {of.slug!r} has no component {missing[0]!r}: look at what it holds")
        return found


def _content(component: Component) -> Content:
    return Content(component.content_hash, component.file_size, component.file_type, is_new=False)


def _nothing(_tx: Transaction, _index: int, _committed: Committed) -> None: ...
