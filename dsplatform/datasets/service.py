"""Creating, changing and finding datasets."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar
from unicodedata import normalize

from dsplatform.core.access import checks_permission, internal, open_to_all, requires_right
from dsplatform.core.database import ConstraintViolated, Database, Transaction
from dsplatform.core.domain import Actor, AuditEntry
from dsplatform.core.errors import NotFound
from dsplatform.core.interfaces import AccessControl
from dsplatform.core.types import DatasetId, PermissionType, PlatformRight, dataset_name
from dsplatform.core.values import DatasetRef
from dsplatform.datasets.model import (
    RESTORABLE_DAYS,
    Dataset,
    DatasetHeld,
    DatasetMissing,
    DatasetNameTaken,
    DatasetSummary,
    DeletedDataset,
    Filter,
    NothingToRestore,
    labels,
)
from dsplatform.datasets.repository import Datasets

MAX_ATTEMPTS = 20

MissingT = TypeVar("MissingT", bound=NotFound)


class DatasetService:
    """The directory of datasets."""

    def __init__(self, db: Database, access: AccessControl) -> None:
        self._db = db
        self._access = access

    @requires_right(PlatformRight.CREATE)
    def create_dataset(self, actor: Actor, name: str, *, description: str = "", tags: Iterable[str] = ()) -> DatasetRef:
        """A new, empty dataset, owned by the actor. Raises `Invalid` for a name against the rule, `DatasetNameTaken`."""
        with self._db.transaction() as tx:
            return self._create(tx, actor, name, description, tags)

    @checks_permission(PermissionType.ADMIN)
    def update_dataset(
        self,
        actor: Actor,
        name: str,
        *,
        new_name: str | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        add_tags: Iterable[str] = (),
        remove_tags: Iterable[str] = (),
    ) -> DatasetRef:
        """Changes what is given and leaves the rest; needs `admin` on the dataset. `tags` takes the place of all labels."""
        try:
            with self._db.transaction() as tx:
                found = self._administered(tx, actor, name)
                self.lock(tx, found.id)
                dataset = Datasets(tx).get(found.id)
                before = _told(dataset)
                if new_name is not None:
                    dataset.rename(dataset_name(new_name))
                if description is not None:
                    dataset.description = description
                if tags is not None:
                    dataset.relabel(tags)
                dataset.change_labels(add_tags, remove_tags)
                after = {what: value for what, value in _told(dataset).items() if value != before[what]}
                if after:
                    Datasets(tx).touch(found.id)
                    tx.note(_entry("update", actor, found.id, {what: before[what] for what in after}, after))
                return replace(found, name=dataset.name)
        except ConstraintViolated as err:
            raise _taken(err, new_name or name) from err

    @open_to_all("it finds what the caller may read")
    def get(self, actor: Actor, name: str) -> DatasetSummary:
        """The dataset of that name, slug or id, as lists show it; one statement. Raises as `open` does."""
        with self._db.autocommit() as tx:
            found = Datasets(tx).seen(actor, normalize("NFC", name))
            if found is None:
                raise _missing(actor, name)
            return found

    @open_to_all("it lists what the caller may read")
    def list_datasets(
        self,
        actor: Actor,
        *,
        search: str | None = None,
        label: str | None = None,
        owner: str | None = None,
        right: PermissionType = PermissionType.READ,
        after: str = "",
        limit: int = 100,
    ) -> Sequence[DatasetSummary]:
        """Datasets on which the actor holds the right, in slug order, those after the slug `after`; with `search` those whose name or
        description holds the words, with `owner` those that this user made."""
        with self._db.autocommit() as tx:
            return Datasets(tx).page(actor, Filter(search, label, owner, right), after=after, limit=limit)

    @open_to_all("it counts what the caller may read")
    def count(
        self,
        actor: Actor,
        *,
        search: str | None = None,
        label: str | None = None,
        owner: str | None = None,
        right: PermissionType = PermissionType.READ,
    ) -> int:
        """How many datasets `list_datasets` gives in all."""
        with self._db.autocommit() as tx:
            return Datasets(tx).count(actor, Filter(search, label, owner, right))

    @open_to_all("it finds what the caller may read")
    def open(self, actor: Actor, name: str) -> DatasetRef:
        """The dataset of that name or slug, or of that id (`#17`). Raises `DatasetMissing`, also for what the actor may not read."""
        with self._db.autocommit() as tx:
            return self.find(tx, actor, name)

    # --- deletion --------------------------------------------------------------------------------------------------------------

    @checks_permission(PermissionType.ADMIN)
    def delete_dataset(self, actor: Actor, name: str) -> DeletedDataset:
        """Hides the dataset at once, after the commits that are under way; needs `admin` on it.

        Its name is free for a new dataset, its slug stays taken. It can be restored for 30 days, then it is reaped with all it holds.
        """
        with self._db.transaction() as tx:
            found = self._administered(tx, actor, name)
            self.lock(tx, found.id)
            deleted = Datasets(tx).delete(found.id)
            if deleted is None:
                raise DatasetMissing(f"dataset {name!r} was deleted by somebody else just now: `dsplatform restore` lists it")
            until = {"restorable_until": deleted.restorable_until.isoformat()}
            tx.note(_entry("delete", actor, found.id, {"name": deleted.name, "slug": deleted.slug}, until))
            return deleted

    @open_to_all("it lists what the caller may restore")
    def restorable(self, actor: Actor) -> Sequence[DeletedDataset]:
        """Deleted datasets that the actor can restore, the last deleted first."""
        with self._db.autocommit() as tx:
            return Datasets(tx).restorable(actor)

    @checks_permission(PermissionType.ADMIN)
    def restore_dataset(self, actor: Actor, name: str, *, new_name: str | None = None) -> DatasetRef:
        """Brings a deleted dataset back as it was; needs `admin` on it.

        `name`: its slug, its id (`#17`), or the name of an own one; where several had the name, the last deleted. Raises
        `NothingToRestore`, also for what the actor may not read, and `DatasetNameTaken` when its owner has another dataset of the name by
        now.
        """
        with self._db.transaction() as tx:
            found = Datasets(tx).find_deleted(actor, normalize("NFC", name))
            if found is None:
                raise _unseen(
                    NothingToRestore(
                        f"there is no deleted dataset {name!r}: `dsplatform restore` lists those of the last {RESTORABLE_DAYS} days"
                    ),
                    actor,
                    name,
                )
            self._access.require(tx, actor, PermissionType.ADMIN, found.id)
            back = replace(found, name=found.name if new_name is None else dataset_name(new_name))
            try:
                with tx.savepoint():
                    restored = Datasets(tx).restore(back.id, back.name)
            except ConstraintViolated as err:
                if err.constraint != "uq_datasets_owner_name":
                    raise
                raise DatasetNameTaken(
                    f"the owner of {found.slug!r} has another dataset {back.name!r} by now: restore it under a name that is free, "
                    f"`dsplatform restore {found.slug} --as NAME`"
                ) from err
            if not restored:
                raise NothingToRestore(f"dataset {found.slug!r} was restored by somebody else just now, or its time is over")
            tx.note(_entry("restore", actor, back.id, None, {"name": back.name, "slug": back.slug}))
            return back

    @internal("Dagster forgets the partitions of datasets that are gone")
    def gone(self, slugs: Collection[str]) -> Sequence[str]:
        """Those of the slugs that no dataset has any more, a restorable one included: for whoever keeps something by slug."""
        with self._db.transaction() as tx:
            return Datasets(tx).unknown(slugs)

    def _administered(self, tx: Transaction, actor: Actor, name: str) -> DatasetRef:
        found = self.find(tx, actor, name)
        self._access.require(tx, actor, PermissionType.ADMIN, found.id)
        return found

    # --- asked by other modules ------------------------------------------------------------------------------------------------

    @internal("it finds what the caller may read, in a transaction of hers")
    def find(self, tx: Transaction, actor: Actor, name: str) -> DatasetRef:
        """See `core.interfaces.DatasetDirectory.find`. Raises `DatasetMissing`."""
        found = Datasets(tx).find(actor, normalize("NFC", name))
        if found is None:
            raise _missing(actor, name)
        return found

    @internal("it is asked by what checks the right to write next")
    def ensure(self, tx: Transaction, actor: Actor, name: str) -> DatasetRef:
        """`find`, or a new dataset owned by the actor. Raises `Invalid` for a name against the rule."""
        with suppress(DatasetMissing):
            return self.find(tx, actor, name)
        try:
            return self._create(tx, actor, name, "", ())
        except DatasetNameTaken:  # made by somebody else between the question and the insert
            return self.find(tx, actor, name)

    @internal("part of each change")
    def lock(self, tx: Transaction, dataset_id: DatasetId) -> None:
        """Keeps other commits to the dataset and its deletion waiting until `tx` ends. Raises `DatasetMissing`, and `DatasetHeld` for one
        that changes in the legacy system."""
        held = Datasets(tx).lock(dataset_id)
        if held is None:
            raise DatasetMissing(f"dataset {dataset_id} was deleted")
        if held:
            raise DatasetHeld(
                f"dataset {dataset_id} still lives in the legacy system and follows it: change it there, until `dsplatform legacy switch`"
            )

    @internal("part of reaping")
    def expired(self, tx: Transaction) -> Sequence[DatasetRef]:
        """Deleted datasets that can no longer be restored, in the order of their deletion."""
        return Datasets(tx).expired()

    @internal("part of reaping")
    def lock_expired(self, tx: Transaction, dataset_id: DatasetId) -> bool:
        """Keeps others away from what is left of a dataset; False unless it was deleted and can no longer be restored."""
        return Datasets(tx).lock_expired(dataset_id)

    @internal("part of reaping")
    def forget(self, tx: Transaction, dataset_id: DatasetId) -> None:
        """The end of a dataset that holds nothing any more. The caller holds `lock_expired`."""
        Datasets(tx).forget(dataset_id)

    def _create(self, tx: Transaction, actor: Actor, name: str, description: str, tags: Iterable[str]) -> DatasetRef:
        valid = dataset_name(name)
        self._access.require_right(actor, PlatformRight.CREATE)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            dataset = Dataset(
                name=valid,
                slug=Datasets(tx).free_slug(valid),
                created_by=actor.user_id,
                description=description,
                labels=labels(tags),
            )
            try:
                with tx.savepoint():
                    Datasets(tx).add(dataset)
                break
            except ConstraintViolated as err:
                # Somebody took the slug between the question and the insert; the next one is asked for.
                if err.constraint != "uq_datasets_slug" or attempt == MAX_ATTEMPTS:
                    raise _taken(err, name) from err
        dataset.created()
        dataset_id = DatasetId(dataset.id or 0)
        self._access.own(tx, actor, dataset_id)
        tx.note(_entry("create", actor, dataset_id, None, {"name": dataset.name, "slug": dataset.slug}))
        return DatasetRef(dataset_id, dataset.name, dataset.slug, dataset.created_by)


def _told(dataset: Dataset) -> dict[str, Any]:
    return {"name": dataset.name, "description": dataset.description, "labels": list(dataset.labels)}


def _entry(verb: str, actor: Actor, dataset_id: int, before: dict[str, Any] | None, after: dict[str, Any] | None) -> AuditEntry:
    return AuditEntry(f"dataset.{verb}", "dataset", str(dataset_id), actor, before, after)


def _missing(actor: Actor, name: str) -> DatasetMissing:
    return _unseen(DatasetMissing(f"dataset {name!r} does not exist: `dsplatform datasets` lists what there is"), actor, name)


def _unseen(err: MissingT, actor: Actor, name: str) -> MissingT:
    """The same for what does not exist and for what the actor may not see. The audit log keeps both, so that they take the same time."""
    if actor.scope.dataset_ids is not None or not actor.holds_everywhere(PermissionType.READ):
        err.refusal = AuditEntry("access.read", "dataset", name[:200], actor, result="refused")
    return err


def _taken(err: ConstraintViolated, name: str) -> Exception:
    if err.constraint == "uq_datasets_owner_name":
        return DatasetNameTaken(f"you have a dataset {name!r} already: choose another name or add a version to it")
    return err
