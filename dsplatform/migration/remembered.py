"""What the adapter asks: things by the numbers and names that old clients know them by, and who still uses the old paths."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from dsplatform.core.access import internal, open_to_all, requires_permission, requires_right
from dsplatform.core.database import Database, Transaction
from dsplatform.core.domain import Actor, Origin
from dsplatform.core.errors import Invalid
from dsplatform.core.interfaces import AccessControl
from dsplatform.core.types import PermissionType, PlatformRight, VersionId
from dsplatform.core.values import DatasetRef
from dsplatform.migration.old_datasets import OldDatasets
from dsplatform.migration.old_files import FilePlace, OldFile, OldFiles
from dsplatform.migration.old_model import OldDataset, OldLabel, OldPointer, OldUser, OldVersion, OldVersionMissing, Wanted
from dsplatform.migration.old_numbers import OldNumbers, file_subject
from dsplatform.migration.remembered_rows import Remembered
from dsplatform.migration.usage_rows import UsageRows, Used

READ, WRITE, ADMIN = PermissionType
USERS, OPERATE = PlatformRight.USERS, PlatformRight.OPERATE
KEPT_DAYS = 400
"""How long figures of use are kept: a year, and the month in which somebody looks back on it."""
_MEANS = "what a number means says nothing about what is there"


class LegacyService:
    """Remembers the legacy system for its clients."""

    def __init__(self, db: Database, access: AccessControl, zone: str) -> None:
        """`zone`: of the legacy system's clock."""
        self._db = db
        self._access = access
        self._zone = zone

    # --- numbers and names -----------------------------------------------------------------------------------------------------

    @internal(_MEANS)
    def dataset_id(self, number: int) -> int:
        """The id here of the dataset that old clients know by the number; nothing need have it."""
        with self._db.autocommit() as tx:
            return OldNumbers(tx).new_id("datasets", number)

    @internal(_MEANS)
    def user_id(self, number: int) -> int:
        """The same of a user."""
        with self._db.autocommit() as tx:
            return OldNumbers(tx).new_id("users", number)

    @internal(_MEANS)
    def dataset_number(self, dataset: DatasetRef) -> int:
        """The number by which old clients know the dataset."""
        with self._db.autocommit() as tx:
            return self._datasets(tx).get(dataset.id).id

    @internal(_MEANS)
    def file_numbers(self, parts: Collection[tuple[VersionId, str]]) -> Mapping[tuple[VersionId, str], int]:
        """The number of each (version, component) that is not one of the legacy system's."""
        with self._db.autocommit() as tx:
            found = OldNumbers(tx).numbers("file", [file_subject(*part) for part in parts])
        return {part: found[file_subject(*part)] for part in parts}

    @internal("it says who acts, before anything is asked for")
    def username(self, soeid: str) -> str:
        """The name here of whom old clients call so. Nobody need have it."""
        with self._db.autocommit() as tx:
            return self._old(tx).username(soeid) or soeid

    @internal("it says who acts, before anything is asked for")
    def user(self, soeid: str, origin: Origin) -> Actor:
        """The active user whom old clients call so. Raises `NotFound`."""
        with self._db.autocommit() as tx:
            return replace(self._access.actor(tx, self._old(tx).username(soeid) or soeid), origin=origin)

    # --- datasets and versions -------------------------------------------------------------------------------------------------

    @open_to_all("it lists what the caller may read")
    def datasets(
        self, actor: Actor, wanted: Wanted, *, order: str = "updated_at", descending: bool = True, limit: int = 100, offset: int = 0
    ) -> tuple[Sequence[OldDataset], int]:
        """Datasets that the actor may read, and how many there are in all; the first `offset` of them are left out."""
        with self._db.autocommit() as tx:
            return self._datasets(tx).page(actor, wanted, order=order, descending=descending, limit=limit, offset=min(offset, 2**62))

    @open_to_all("it counts what the caller may read")
    def facets(self, actor: Actor, wanted: Wanted) -> tuple[Mapping[str, int], Mapping[str, int], int]:
        """Of all these datasets: how often each label and each creator's number is among them, and how many have a file."""
        with self._db.autocommit() as tx:
            return self._datasets(tx).facets(actor, wanted)

    @open_to_all("it lists the labels of what the caller may read")
    def labels(self, actor: Actor) -> Sequence[OldLabel]:
        """The labels of these datasets, by name."""
        with self._db.autocommit() as tx:
            return self._datasets(tx).labels(actor)

    @requires_permission(WRITE)
    def may_write(self, _tx: Transaction, _actor: Actor, _dataset: DatasetRef) -> None:
        """Nothing, where the actor may write the dataset: the old server asked that before it looked at what was sent."""

    @requires_permission(ADMIN)
    def may_administer(self, _tx: Transaction, _actor: Actor, _dataset: DatasetRef) -> None:
        """The same where she may administer it."""

    @requires_permission(READ)
    def dataset(self, tx: Transaction, _actor: Actor, dataset: DatasetRef) -> OldDataset:
        """One dataset."""
        return self._datasets(tx).get(dataset.id)

    @requires_permission(READ)
    def versions(self, tx: Transaction, _actor: Actor, dataset: DatasetRef, *, limit: int | None = None) -> Sequence[OldVersion]:
        """Its living versions, the newest first."""
        return self._old(tx).versions(dataset.id, limit)

    @requires_permission(READ)
    def version(self, tx: Transaction, actor: Actor, dataset: DatasetRef, number: int) -> OldVersion:
        """The living version of the dataset with that old id. Raises `OldVersionMissing`; `VersionElsewhere` where the actor may read the
        dataset that it belongs to."""
        return self._old(tx).version(actor, dataset.id, number)

    @requires_permission(READ)
    def numbered(self, tx: Transaction, _actor: Actor, dataset: DatasetRef, number: int) -> OldVersion:
        """The living version with that number. Raises `OldVersionMissing`."""
        found = self._old(tx).numbered(dataset.id, number) if number < 2**31 else None
        if found is None:
            raise OldVersionMissing(f"dataset {dataset.slug!r} has no version {number}")
        return found

    @requires_permission(READ)
    def these(self, tx: Transaction, _actor: Actor, dataset: DatasetRef, version_ids: Sequence[VersionId]) -> Sequence[OldVersion]:
        """Those of the versions, by our ids, that belong to the dataset and live; in this order."""
        number = self._datasets(tx).get(dataset.id).id
        return [version for version in self._old(tx).these(version_ids) if version.dataset_id == number]

    @requires_permission(READ)
    def files(self, tx: Transaction, _actor: Actor, dataset: DatasetRef, version: OldVersion) -> Sequence[OldFile]:
        """What a version of the dataset holds, in its order."""
        return OldFiles(tx).of(dataset.id, version.new_id, version.component)

    @open_to_all("it finds what the caller may read")
    def file_place(self, actor: Actor, number: int) -> FilePlace | None:
        """Where the file lies that old clients know by the number; None, also for what the actor may not read."""
        with self._db.autocommit() as tx:
            return OldFiles(tx).place(actor, number, OldNumbers(tx).subject("file", number))

    @requires_permission(READ)
    def pointers(self, tx: Transaction, _actor: Actor, dataset: DatasetRef) -> Sequence[OldPointer]:
        """Branches, then tags, each in the order of their names."""
        return self._old(tx).pointers(dataset.id)

    @requires_permission(ADMIN)
    def levels(self, tx: Transaction, _actor: Actor, dataset: DatasetRef) -> Sequence[tuple[int, PermissionType]]:
        """(user's number, right) of each grant to a single user that counts now, by both."""
        return self._old(tx).levels(dataset.id)

    # --- users -----------------------------------------------------------------------------------------------------------------

    @open_to_all("it tells the caller about herself")
    def me(self, actor: Actor) -> OldUser:
        """The caller as old clients know her."""
        with self._db.autocommit() as tx:
            return self._old(tx).users([actor.user_id])[0]

    @requires_right(USERS)
    def users(self, _actor: Actor) -> Sequence[OldUser]:
        """All users, by their number."""
        with self._db.autocommit() as tx:
            return self._old(tx).users()

    @requires_right(USERS)
    def role(self, _actor: Actor, number: int) -> str | None:
        """The name here of the role that old clients know by the number."""
        with self._db.autocommit() as tx:
            return self._old(tx).role(number)

    @internal("part of what asks for a right before")
    def people(self, user_ids: Collection[int]) -> Mapping[int, OldUser]:
        """Users by our ids."""
        with self._db.autocommit() as tx:
            return {user.new_id: user for user in self._old(tx).users(user_ids)}

    # --- who still uses it -----------------------------------------------------------------------------------------------------

    @internal("it counts what was asked, for whoever operates the platform")
    def note_usage(self, counts: Mapping[tuple[str, str, str], int]) -> None:
        """Adds requests by (endpoint, client, program) to today's figures, in one statement."""
        with self._db.autocommit() as tx:
            UsageRows(tx).add(counts)

    @requires_right(OPERATE)
    def usage(self, _actor: Actor, *, days: int = 30) -> Sequence[Used]:
        """Who used which endpoint how often in the last days, today among them: the most used first."""
        if not 1 <= days <= 3_660:
            raise Invalid(f"{days} days cannot be looked back: 1 to 3,660")
        with self._db.autocommit() as tx:
            return UsageRows(tx).since(days)

    @internal("part of the nightly upkeep: what is old goes, whoever asks")
    def forget_usage(self) -> int:
        """Takes away figures that are older than `KEPT_DAYS`; answers how many rows."""
        with self._db.autocommit() as tx:
            return UsageRows(tx).forget(KEPT_DAYS)

    def _old(self, tx: Transaction) -> Remembered:
        return Remembered(tx)

    def _datasets(self, tx: Transaction) -> OldDatasets:
        return OldDatasets(tx, self._zone)
