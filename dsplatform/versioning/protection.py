"""Protecting branches: a branch may ask for `admin`, or change by merges alone."""

from collections.abc import Sequence

from dsplatform.core.access import requires_permission
from dsplatform.core.database import Database, Transaction
from dsplatform.core.domain import Actor, AuditEntry
from dsplatform.core.interfaces import AccessControl, DatasetDirectory
from dsplatform.core.types import PermissionType, PointerName, pointer_name
from dsplatform.core.values import DatasetRef
from dsplatform.versioning.history import Names
from dsplatform.versioning.model import Demand, PointerMissing, Protection, no_branch
from dsplatform.versioning.protection_rows import Protections


class ProtectionService:
    """Which branches are protected, and how."""

    def __init__(self, db: Database, datasets: DatasetDirectory, access: AccessControl) -> None:
        self._db = db
        self._datasets = datasets
        self._access = access

    @requires_permission(PermissionType.READ)
    def protections(self, tx: Transaction, _actor: Actor, dataset: DatasetRef) -> Sequence[Protection]:
        """The protected branches by name."""
        return Protections(tx, dataset.id).all()

    @requires_permission(PermissionType.ADMIN)
    def protect(self, tx: Transaction, actor: Actor, dataset: DatasetRef, branch: str, demands: Demand) -> Protection:
        """Protects a branch, or changes how. Counts for every change that is not committed yet. Raises `PointerMissing` for what is no
        branch.

        It holds the dataset's lock, as each change of a branch does: none is between two minds.
        """
        self._datasets.lock(tx, dataset.id)
        name = pointer_name(branch)
        found = Names(tx, dataset.id).get(name)
        if found is None or found.is_tag:
            raise no_branch(name, dataset)
        protections = Protections(tx, dataset.id)
        old = protections.get(name)
        protections.put(name, demands, actor.user_id)
        tx.note(_entry("branch.protect", actor, dataset, name, old, demands))
        made = protections.get(name)
        if made is None:
            raise AssertionError("what this transaction wrote cannot be missing in it")
        return made

    @requires_permission(PermissionType.ADMIN)
    def unprotect(self, tx: Transaction, actor: Actor, dataset: DatasetRef, branch: str) -> Protection:
        """Ends the protection of a branch and answers with what it was. Raises `PointerMissing` for one that is not protected."""
        self._datasets.lock(tx, dataset.id)
        name = pointer_name(branch)
        old = Protections(tx, dataset.id).get(name)
        if old is None:
            raise PointerMissing(f"branch {name!r} of dataset {dataset.slug!r} is not protected: there is nothing to end")
        Protections(tx, dataset.id).remove(name)
        tx.note(_entry("branch.unprotect", actor, dataset, name, old, None))
        return old


def _entry(action: str, actor: Actor, dataset: DatasetRef, branch: PointerName, old: Protection | None, new: Demand | None) -> AuditEntry:
    before, after = (None if demand is None else {"branch": branch, "demands": str(demand)} for demand in (old and old.demands, new))
    return AuditEntry(action, "dataset", str(dataset.id), actor, before, after)
