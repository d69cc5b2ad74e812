"""Deleting versions, now or by a dataset's retention rule, and reaping datasets that were deleted for good.

A version's row stays: the history keeps its shape, and its overlay what it changed. First it is marked, under the dataset's lock, so
that no commit, branch or tag can begin to name it at that moment; from then on its readers are told that it is gone. Then its
components go in batches, each committed. A crash in between leaves a marked version with components: `resume` takes the rest.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from dsplatform.core.access import checks_permission, internal, requires_right
from dsplatform.core.database import Database, Transaction
from dsplatform.core.domain import Actor, AuditEntry
from dsplatform.core.errors import Conflict, Invalid, NotFound
from dsplatform.core.failpoints import reach
from dsplatform.core.interfaces import AccessControl, DatasetDirectory
from dsplatform.core.types import DatasetId, PermissionType, PlatformRight, VersionId
from dsplatform.core.values import DatasetRef
from dsplatform.versioning.model import parse_reference
from dsplatform.versioning.removals import Removals, RetentionRules
from dsplatform.versioning.repository import Versions
from dsplatform.versioning.retention import Removal, RetentionPlan, RetentionReport, Rule, let_go

BATCH = 5_000
"""Rows that one transaction deletes."""

VERSIONS_AT_ONCE = 100
"""Marked versions whose components are taken together."""

TOLD = 100
"""Numbers of versions that one entry of the audit log holds."""


class VersionNamed(Conflict):
    """A branch or a tag points at the version."""

    code = "version_named"


class DeletionService:
    """Deletes what nobody names, and says beforehand what that would take. What concerns one dataset needs `admin` on it."""

    def __init__(self, db: Database, datasets: DatasetDirectory, access: AccessControl) -> None:
        self._db = db
        self._datasets = datasets
        self._access = access

    # --- versions --------------------------------------------------------------------------------------------------------------

    @checks_permission(PermissionType.ADMIN)
    def preview_version(self, actor: Actor, reference: str) -> Removal:
        """What `delete_version` would take. Raises what it would raise."""
        return self._preview(actor, reference)[2]

    @checks_permission(PermissionType.ADMIN)
    def delete_version(self, actor: Actor, reference: str) -> Removal:
        """Deletes the files of the version that `DATASET@REF` names; what nothing else names goes with the next collection.

        Raises `VersionNamed` while a branch or tag points at it, `Gone` when it was deleted before.
        """
        dataset, version_id, removal = self._preview(actor, reference)
        with self._db.transaction() as tx:
            self._datasets.lock(tx, dataset.id)
            # Looked at again: until now a branch or tag could begin to point here.
            self._deletable(tx, actor, dataset, version_id)
            Removals(tx).mark([version_id])
            tx.note(_entry("version.delete", dataset, actor, _told(removal.versions, removal.components)))
        self._empty([version_id])
        return removal

    def _preview(self, actor: Actor, reference: str) -> tuple[DatasetRef, VersionId, Removal]:
        name, ref = parse_reference(reference)
        if ref is None:
            raise Invalid(f"{reference!r} names no version: write DATASET@REF")
        with self._db.transaction() as tx:
            dataset = self._administered(tx, actor, name)
            version_id = Versions(tx).named(dataset, ref)
            self._deletable(tx, actor, dataset, version_id)
            return dataset, version_id, self._removal(tx, actor, dataset.slug, {version_id: Versions(tx).number(version_id)})

    def _deletable(self, tx: Transaction, actor: Actor, dataset: DatasetRef, version_id: VersionId) -> None:
        self._access.require(tx, actor, PermissionType.ADMIN, dataset.id)
        Versions(tx).living(version_id)
        if pointers := Removals(tx).pointers(version_id):
            names = " and ".join(f"{'tag' if is_tag else 'branch'} {name!r}" for name, is_tag in pointers)
            raise VersionNamed(
                f"version {Versions(tx).number(version_id)} of dataset {dataset.slug!r} cannot be deleted while {names} points at it: "
                "delete the tag (`dsplatform tag delete`), move the branch on or delete it (`dsplatform branch`), then repeat"
            )

    def _removal(self, tx: Transaction, actor: Actor, slug: str, versions: Mapping[VersionId, int]) -> Removal:
        ids, removals = list(versions), Removals(tx)
        return Removal(slug, tuple(versions.values()), removals.components(ids), removals.freed(actor, ids))

    def _empty(self, version_ids: Sequence[VersionId]) -> None:
        for start in range(0, len(version_ids), VERSIONS_AT_ONCE):
            while self._db.retrying(_emptying(version_ids[start : start + VERSIONS_AT_ONCE])):
                reach("version.emptying")

    @internal("it ends what somebody was allowed to begin")
    def resume(self) -> int:
        """Takes what interrupted deletions left; answers how many versions had something left."""
        with self._db.transaction() as tx:
            left = Removals(tx).unfinished()
        self._empty(left)
        return len(left)

    # --- retention -------------------------------------------------------------------------------------------------------------

    @checks_permission(PermissionType.ADMIN)
    def retention(self, actor: Actor, name: str, rule: Rule | None = None) -> RetentionPlan:
        """The dataset's rule, or `rule` where it is given, and what it would let go now. Changes nothing."""
        with self._db.transaction() as tx:
            dataset = self._administered(tx, actor, name)
            return self._plan(tx, actor, dataset, rule or RetentionRules(tx).get(dataset.id))

    @checks_permission(PermissionType.ADMIN)
    def set_retention(self, actor: Actor, name: str, rule: Rule | None) -> RetentionPlan:
        """Gives the dataset a rule in place of an earlier one, or none. It is applied with the next `apply_retention`."""
        with self._db.transaction() as tx:
            dataset = self._administered(tx, actor, name)
            before = RetentionRules(tx).get(dataset.id)
            if rule is None:
                RetentionRules(tx).drop(dataset.id)
            else:
                RetentionRules(tx).put(dataset.id, rule, actor.user_id)
            was, is_now = (None if one is None else one.plain() for one in (before, rule))
            tx.note(_entry("retention.set", dataset, actor, was, is_now))
            return self._plan(tx, actor, dataset, rule)

    @requires_right(PlatformRight.OPERATE)
    def apply_retention(self, actor: Actor, *, dry_run: bool) -> RetentionReport:
        """Deletes what the rules of all datasets let go; with `dry_run`, only says what that is. The rules were set by who may delete.

        What a dry run shows and what goes afterwards can differ: each dataset is looked at again under its lock. First it finishes what
        an interrupted deletion left.
        """
        if not dry_run:
            self.resume()
        with self._db.transaction() as tx:
            rules = RetentionRules(tx).all()
            doomed = {dataset_id: self._doomed(tx, dataset_id, rule) for dataset_id, (_, rule) in rules.items()}
        if not dry_run:
            doomed = {dataset_id: self._mark(actor, dataset_id, versions) for dataset_id, versions in doomed.items() if versions}
        with self._db.transaction() as tx:
            # Asked after marking and before emptying: the components are still there to be counted.
            removals = tuple(
                self._removal(tx, actor, rules[dataset_id][0], versions) for dataset_id, versions in doomed.items() if versions
            )
            everything = [version_id for versions in doomed.values() for version_id in versions]
            report = RetentionReport(removals, Removals(tx).freed(actor, everything))
        if not dry_run:
            self._empty(everything)
        return report

    def _administered(self, tx: Transaction, actor: Actor, name: str) -> DatasetRef:
        dataset = self._datasets.find(tx, actor, name)
        self._access.require(tx, actor, PermissionType.ADMIN, dataset.id)
        return dataset

    def _plan(self, tx: Transaction, actor: Actor, dataset: DatasetRef, rule: Rule | None) -> RetentionPlan:
        doomed = {} if rule is None else self._doomed(tx, dataset.id, rule)
        return RetentionPlan(dataset.slug, rule, self._removal(tx, actor, dataset.slug, doomed))

    def _doomed(self, tx: Transaction, dataset_id: DatasetId, rule: Rule) -> dict[VersionId, int]:
        return {candidate.id: candidate.number for candidate in let_go(rule, Removals(tx).candidates(dataset_id))}

    def _mark(self, actor: Actor, dataset_id: DatasetId, seen: Mapping[VersionId, int]) -> dict[VersionId, int]:
        """Marks those of `seen` that the rule still lets go, now that nobody can begin to name them. None, while the dataset is gone or
        follows the legacy system."""
        with suppress(NotFound, Conflict), self._db.transaction() as tx:
            self._datasets.lock(tx, dataset_id)
            rule = RetentionRules(tx).get(dataset_id)
            still = {} if rule is None else self._doomed(tx, dataset_id, rule)
            going = {version_id: number for version_id, number in still.items() if version_id in seen}
            Removals(tx).mark(list(going))
            if going:
                told = _told(sorted(going.values()), Removals(tx).components(list(going)))
                tx.note(AuditEntry("retention.apply", "dataset", str(dataset_id), actor, told))
            return going
        return {}

    # --- datasets --------------------------------------------------------------------------------------------------------------

    @checks_permission(PermissionType.ADMIN)
    def preview_dataset(self, actor: Actor, name: str) -> Removal:
        """What the reaper will take, 30 days after the dataset was deleted."""
        with self._db.transaction() as tx:
            dataset = self._administered(tx, actor, name)
            versions = Removals(tx).versions(dataset.id)
            living = tuple(candidate.number for candidate in Removals(tx).candidates(dataset.id))
            removals = Removals(tx)
            return Removal(dataset.slug, living, removals.components(versions), removals.freed(actor, versions, dataset.id))

    @requires_right(PlatformRight.OPERATE)
    def reap(self, actor: Actor) -> Sequence[DatasetRef]:
        """Takes the datasets whose time is over, with all they hold; answers which are gone.

        In batches, each committed: after a crash the dataset is still there, hidden and past restoring, and the next run goes on.
        """
        with self._db.transaction() as tx:
            expired = self._datasets.expired(tx)
        return [dataset for dataset in expired if self._reap(actor, dataset)]

    def _reap(self, actor: Actor, dataset: DatasetRef) -> bool:
        # What refers goes before what is referred to.
        for take in (
            Removals.take_staged,
            Removals.take_sessions,
            Removals.take_pointers,
            Removals.take_components,
            Removals.take_versions,
        ):
            while self._db.retrying(self._batch(dataset.id, take)):
                reach("dataset.reaping")

        def end(tx: Transaction) -> bool:
            if not self._datasets.lock_expired(tx, dataset.id):
                return False
            self._access.disown(tx, dataset.id)
            self._datasets.forget(tx, dataset.id)
            tx.note(_entry("dataset.reap", dataset, actor, {"name": dataset.name, "slug": dataset.slug}))
            return True

        return self._db.retrying(end)

    def _batch(self, dataset_id: DatasetId, take: Callable[[Removals, DatasetId, int], int]) -> Callable[[Transaction], int]:
        return lambda tx: take(Removals(tx), dataset_id, BATCH) if self._datasets.lock_expired(tx, dataset_id) else 0


def _emptying(version_ids: Sequence[VersionId]) -> Callable[[Transaction], int]:
    return lambda tx: Removals(tx).empty(version_ids, BATCH)


def _entry(
    action: str, dataset: DatasetRef, actor: Actor, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None = None
) -> AuditEntry:
    return AuditEntry(action, "dataset", str(dataset.id), actor, before, after)


def _told(versions: Sequence[int], components: int) -> dict[str, Any]:
    """What goes, for the audit log: the first of the numbers, and how much it is in all."""
    return {"versions": list(versions[:TOLD]), "count": len(versions), "components": components}
