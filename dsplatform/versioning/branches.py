"""Branches and tags, what differs between versions, their history, and merging."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice

from dsplatform.core.access import checks_permission, internal, requires_permission
from dsplatform.core.database import Database, Transaction
from dsplatform.core.domain import Actor, AuditEntry
from dsplatform.core.errors import Conflict, DsplatformError, Gone
from dsplatform.core.interfaces import AccessControl, ArrivalGate, DatasetDirectory, FileKeeper, Inspection, SchemaReader, VersionWriter
from dsplatform.core.types import MAIN, FilePath, PermissionType, PointerName, VersionId, file_path, pointer_name
from dsplatform.core.values import Arrival, Committed, Component, DatasetRef, NotRead, VersionChange
from dsplatform.versioning import comparison, graph, merging, model
from dsplatform.versioning.comparison import Kind, Side, VersionDiff
from dsplatform.versioning.graph import Parents, Picture
from dsplatform.versioning.history import History, Names
from dsplatform.versioning.merging import Choice, Merged, MergeKind
from dsplatform.versioning.model import Demand, Head, HeadMoved, MainStays, Pointer, PointerMissing, PointerTaken, TagsNeverMove, Version
from dsplatform.versioning.pointers import Pointers
from dsplatform.versioning.protection_rows import Protections, permit
from dsplatform.versioning.repository import Versions

MAX_ATTEMPTS = 20
"""How often a merge is worked out again because the branch moved meanwhile."""


class BranchService:
    """Names of versions, and questions about how versions hang together."""

    def __init__(
        self,
        db: Database,
        files: FileKeeper,
        datasets: DatasetDirectory,
        access: AccessControl,
        versions: VersionWriter,
        schemas: SchemaReader,
        gate: ArrivalGate,
    ) -> None:
        self._db = db
        self._files = files
        self._datasets = datasets
        self._access = access
        self._versions = versions
        self._schemas = schemas
        self._gate = gate

    # --- names -----------------------------------------------------------------------------------------------------------------

    @requires_permission(PermissionType.READ)
    def list_branches(self, tx: Transaction, _actor: Actor, dataset: DatasetRef) -> Sequence[Pointer]:
        """The branches by name."""
        return [pointer for pointer in Names(tx, dataset.id).all() if not pointer.is_tag]

    @requires_permission(PermissionType.READ)
    def list_tags(self, tx: Transaction, _actor: Actor, dataset: DatasetRef) -> Sequence[Pointer]:
        """The tags by name."""
        return [pointer for pointer in Names(tx, dataset.id).all() if pointer.is_tag]

    @requires_permission(PermissionType.WRITE)
    def create_branch(self, tx: Transaction, actor: Actor, dataset: DatasetRef, name: str, at: str | None = None) -> Pointer:
        """A new branch at the version that `at` names, by default at the head of `main`. Raises `PointerTaken`, also where a tag has
        the name."""
        return self._create(tx, actor, dataset, name, at, is_tag=False)

    @requires_permission(PermissionType.WRITE)
    def create_tag(self, tx: Transaction, actor: Actor, dataset: DatasetRef, name: str, at: str | None = None) -> Pointer:
        """A new tag, which stays at its version until it is deleted. Raises `PointerTaken`."""
        return self._create(tx, actor, dataset, name, at, is_tag=True)

    @requires_permission(PermissionType.WRITE)
    def update_branch(self, tx: Transaction, actor: Actor, dataset: DatasetRef, name: str, to: str, *, expected_head: VersionId) -> Pointer:
        """Moves a branch to any version of the dataset, provided that it is at `expected_head`. Raises `HeadMoved` where it is not.

        Where a contract is enforced that takes who may set it: nobody judges the version.
        """
        names = self._locked(tx, dataset)
        branch = self._branch(names, dataset, pointer_name(name))
        demands = self._permit(tx, actor, dataset, branch.name, "branch.move")
        if self._gate.enforced(tx, dataset.id, branch.name):
            self._access.require(tx, actor, PermissionType.ADMIN, dataset.id)
        if not Pointers(tx).move(dataset.id, branch.name, expected_head, self._target(tx, dataset, to), demands):
            raise _moved(branch, dataset)
        moved = names.read(branch.name)
        tx.note(_entry("move", actor, dataset, branch, moved))
        return moved

    @requires_permission(PermissionType.WRITE)
    def rename_branch(self, tx: Transaction, actor: Actor, dataset: DatasetRef, name: str, new_name: str) -> Pointer:
        """Gives a branch another name. Raises `PointerTaken`, and `MainStays` for `main`."""
        names = self._locked(tx, dataset)
        branch = self._branch(names, dataset, _not_main(pointer_name(name)))
        new = pointer_name(new_name)
        self._permit(tx, actor, dataset, branch.name, "branch.rename")
        if not names.rename(branch.name, new):
            raise _taken(new, dataset)
        self._gate.renamed(tx, dataset.id, branch.name, new)
        renamed = names.read(new)
        tx.note(_entry("rename", actor, dataset, branch, renamed))
        return renamed

    @requires_permission(PermissionType.WRITE)
    def delete_branch(
        self, tx: Transaction, actor: Actor, dataset: DatasetRef, name: str, *, expected_head: VersionId | None = None
    ) -> Pointer:
        """Deletes the name and answers with what it was; its versions stay, and keep their numbers. Raises `MainStays` for `main`, and
        `HeadMoved` where the branch is not at `expected_head`."""
        names = self._locked(tx, dataset)
        branch = self._branch(names, dataset, _not_main(pointer_name(name)))
        self._permit(tx, actor, dataset, branch.name, "branch.delete")
        if not names.remove(branch.name, branch.version_id if expected_head is None else expected_head):
            raise _moved(branch, dataset)
        tx.note(_entry("delete", actor, dataset, branch, None))
        return branch

    @requires_permission(PermissionType.WRITE)
    def delete_tag(self, tx: Transaction, actor: Actor, dataset: DatasetRef, name: str) -> Pointer:
        """Deletes a tag and answers with what it was; its version stays. Raises `PointerMissing` for what is no tag."""
        names = self._locked(tx, dataset)
        tag = names.get(pointer_name(name))
        if tag is None or not tag.is_tag:
            raise PointerMissing(f"dataset {dataset.slug!r} has no tag {name!r}: `dsplatform tag list {dataset.slug}` lists them")
        names.remove(tag.name, tag.version_id)
        tx.note(_entry("delete", actor, dataset, tag, None))
        return tag

    # --- history ---------------------------------------------------------------------------------------------------------------

    @requires_permission(PermissionType.READ)
    def history(
        self,
        tx: Transaction,
        _actor: Actor,
        dataset: DatasetRef,
        ref: str | None = None,
        *,
        first_parent: bool = False,
        limit: int = 50,
    ) -> Sequence[Version]:
        """The version and what it stands on, each before its parents; with `first_parent` without what was merged in."""
        head = Versions(tx).named(dataset, ref)
        parents = History(tx).parents(dataset.id)
        line = graph.first_parents(parents, head) if first_parent else graph.topological(parents, [head])
        return Versions(tx).these(list(islice(line, limit)))

    @requires_permission(PermissionType.READ)
    def picture(self, tx: Transaction, _actor: Actor, dataset: DatasetRef, ref: str | None = None, *, limit: int = 50) -> Picture:
        """The history of a version, or of the whole dataset, with the places of versions and lines in a drawing."""
        parents = History(tx).parents(dataset.id)
        heads = list(parents) if ref is None else [Versions(tx).named(dataset, ref)]
        rows = graph.layout(parents, graph.topological(parents, heads)[:limit])
        tags = {pointer.name for pointer in Names(tx, dataset.id).all() if pointer.is_tag}
        return graph.picture(rows, Versions(tx).these([row.version_id for row in rows]), tags)

    @requires_permission(PermissionType.READ)
    def is_ancestor(self, tx: Transaction, _actor: Actor, dataset: DatasetRef, older: str, younger: str) -> bool:
        """Whether the second version stands on the first one, or is it."""
        one, other = (Versions(tx).named(dataset, ref) for ref in (older, younger))
        return graph.is_ancestor(History(tx).parents(dataset.id), one, other)

    @requires_permission(PermissionType.READ)
    def merge_bases(self, tx: Transaction, _actor: Actor, dataset: DatasetRef, ours: str, theirs: str) -> Sequence[Version]:
        """The best common ancestors: one, or several after a criss-cross (see `graph.merge_bases`)."""
        one, other = (Versions(tx).named(dataset, ref) for ref in (ours, theirs))
        return Versions(tx).these(graph.merge_bases(History(tx).parents(dataset.id), one, other))

    # --- differences -----------------------------------------------------------------------------------------------------------

    @checks_permission(PermissionType.READ)
    def diff(self, actor: Actor, before: str, after: str) -> VersionDiff:
        """What differs from one `DATASET[@REF]` to another, also of another dataset. Costs follow what differs once the two lists are
        compared, which the database does. Raises `Gone` for a version that was deleted."""
        with self._db.transaction() as tx:
            old, new = self._readable(tx, actor, before), self._readable(tx, actor, after)
            found = comparison.changes(History(tx).differing(old[1].id, new[1].id))
            pairs = [(change.before, change.after) for change in found if change.kind is Kind.CHANGED]
            columns = self._schemas.column_changes(tx, old[1].id, new[1].id, [(one, other) for one, other in pairs if one and other])
            return VersionDiff(_side(*old), _side(*new), found, tuple(columns))

    # --- merging ---------------------------------------------------------------------------------------------------------------

    @checks_permission(PermissionType.WRITE)
    def merge(
        self,
        actor: Actor,
        dataset: DatasetRef,
        theirs: str,
        *,
        into: str = MAIN,
        strategy: Choice | None = None,
        choices: Mapping[str, Choice] | None = None,
        message: str = "",
    ) -> Merged:
        """Brings what the version `theirs` names changed since the common ancestor into the branch `into`, component by component.

        A branch that is behind is moved; one that has it already is left alone; otherwise a version with two parents is made. Raises
        `MergeConflict` for components that both changed, unless `choices` (by name) or `strategy` decide, and `Invalid` for a choice
        about what nobody contests. See `merging` for the rules.
        """
        branch = pointer_name(into)
        chosen = {file_path(name): choice for name, choice in (choices or {}).items()}
        note = model.message(message) or f"merge {theirs} into {branch}"
        return self._merge(actor, dataset, theirs, branch, strategy, chosen, note, None)

    @internal("it goes past the contract; who may is asked in `contracts`")
    def accept(
        self,
        actor: Actor,
        dataset: DatasetRef,
        version_number: int,
        into: PointerName,
        *,
        strategy: str | None,
        message: str,
        within: Callable[[Transaction, int], None],
    ) -> int:
        """See `core.interfaces.Merger.accept`."""
        with self._db.transaction() as tx:
            self._access.require(tx, actor, PermissionType.WRITE, dataset.id)
            names = self._locked(tx, dataset)
            if names.get(into) is None:
                names.add(into, self._target(tx, dataset, str(version_number)), actor.user_id, is_tag=False)
                within(tx, version_number)
                return version_number
        choice = None if strategy is None else Choice(strategy)
        return self._merge(actor, dataset, str(version_number), into, choice, {}, model.message(message), within).version_number

    def _merge(
        self,
        actor: Actor,
        dataset: DatasetRef,
        theirs: str,
        branch: PointerName,
        strategy: Choice | None,
        choices: Mapping[FilePath, Choice],
        message: str,
        accepting: Callable[[Transaction, int], None] | None,
    ) -> Merged:
        """`accepting` runs in the transaction that moves the branch, and spares it the contract."""
        with self._files.upload() as upload:
            inspection = self._gate.inspect(upload)
            for _ in range(MAX_ATTEMPTS):
                try:
                    with self._db.transaction() as tx:
                        self._access.require(tx, actor, PermissionType.WRITE, dataset.id)
                        ours, their_id = self._sides(tx, dataset, branch, theirs)
                        permit(tx, self._access, actor, dataset, branch, ours.demands, model.MERGE)
                        parents = History(tx).parents(dataset.id)
                        if graph.is_ancestor(parents, their_id, ours.version_id):
                            if accepting:
                                accepting(tx, ours.version_number)
                            return Merged(MergeKind.ALREADY_MERGED, branch, ours.version_id, ours.version_number)
                        if graph.is_ancestor(parents, ours.version_id, their_id):
                            change = merging.change(actor, dataset, branch, ours, their_id, {}, message)
                            if forwarded := self._fast_forward(tx, change, ours, their_id, None if accepting else inspection):
                                if accepting:
                                    accepting(tx, forwarded.version_number)
                                else:
                                    tx.note(model.forwarded(change, ours.version_number, forwarded.version_number))
                                return forwarded
                            continue
                        changed = self._changed(tx, parents, ours, their_id, strategy, choices)
                except NotRead as unread:
                    upload.seal()
                    inspection.read(unread.arrival)
                    continue
                change = merging.change(actor, dataset, branch, ours, their_id, changed, message)
                outcome = self._commit(replace(change, accepted=accepting is not None), accepting)
                if isinstance(outcome, HeadMoved):
                    continue
                if isinstance(outcome, DsplatformError):
                    raise outcome
                counts = outcome.added, outcome.updated, outcome.removed
                return Merged(MergeKind.MERGED, branch, outcome.version_id, outcome.version_number, *counts)
        raise Conflict(f"branch {branch!r} of dataset {dataset.slug!r} is being changed by many at once: try again")

    def _sides(self, tx: Transaction, dataset: DatasetRef, branch: PointerName, theirs: str) -> tuple[Head, VersionId]:
        ours = Pointers(tx).head(dataset.id, branch)
        if ours is None:
            raise model.no_branch(branch, dataset)
        return ours, Versions(tx).named(dataset, theirs)

    def _fast_forward(
        self, tx: Transaction, change: VersionChange, ours: Head, to: VersionId, inspection: Inspection | None
    ) -> Merged | None:
        """None where the branch moved meanwhile. Judged by an enforced contract, unless no inspection is given."""
        dataset, branch = change.dataset, change.branch
        self._datasets.lock(tx, dataset.id)
        Versions(tx).living(to)
        if inspection is not None and self._gate.enforced(tx, dataset.id, branch):
            pairs = History(tx).differing(ours.version_id, to)
            put = {pair.name: merging.content(pair.after) for pair in pairs if pair.after is not None}
            gone = tuple(pair.name for pair in pairs if pair.after is None)
            before = tuple(Versions(tx).components(ours.version_id))
            if refusal := inspection.judge(tx, Arrival(dataset, branch, ours.version_id, before, put, gone)):
                raise model.refused(change, refusal)
        if not Pointers(tx).move(dataset.id, branch, ours.version_id, to, ours.demands):
            return None
        return Merged(MergeKind.FAST_FORWARDED, branch, to, Versions(tx).number(to))

    def _changed(
        self,
        tx: Transaction,
        parents: Parents,
        ours: Head,
        theirs: VersionId,
        strategy: Choice | None,
        choices: Mapping[FilePath, Choice],
    ) -> Mapping[FilePath, Component | None]:
        """What has to change in ours. Bases that were deleted say nothing any more: all that differs is contested then."""
        differing = History(tx).differing(ours.version_id, theirs)
        names = [pair.name for pair in differing]
        bases: list[Mapping[FilePath, Component]] = []
        with suppress(Gone):
            bases = [History(tx).named(base, names) for base in graph.merge_bases(parents, ours.version_id, theirs)]
        return merging.merge(differing, bases, strategy, choices)

    def _commit(self, change: VersionChange, accepting: Callable[[Transaction, int], None] | None) -> Committed | DsplatformError:
        def within(tx: Transaction, _index: int, committed: Committed) -> None:
            if accepting:
                accepting(tx, committed.version_number)

        with self._files.upload() as upload:
            upload.adopt([content.content_hash for content in change.put.values()])
            (outcome,) = self._versions.publish(upload, [change], within)
            return outcome

    # --- within a transaction --------------------------------------------------------------------------------------------------

    def _create(self, tx: Transaction, actor: Actor, dataset: DatasetRef, name: str, at: str | None, *, is_tag: bool) -> Pointer:
        names = self._locked(tx, dataset)
        wanted = pointer_name(name)
        if not names.add(wanted, self._target(tx, dataset, at), actor.user_id, is_tag=is_tag):
            raise _taken(wanted, dataset)
        made = names.read(wanted)
        tx.note(_entry("create", actor, dataset, None, made))
        return made

    def _locked(self, tx: Transaction, dataset: DatasetRef) -> Names:
        """Every change of a name holds the dataset's lock, as every commit does and every deletion: what is pointed at cannot be deleted
        meanwhile, and who was seen at a version is still there."""
        self._datasets.lock(tx, dataset.id)
        return Names(tx, dataset.id)

    def _permit(self, tx: Transaction, actor: Actor, dataset: DatasetRef, branch: PointerName, action: str) -> Demand | None:
        """How the branch is protected. Raises `BranchProtected` for a change by hand that this keeps the actor from."""
        found = Protections(tx, dataset.id).get(branch)
        demands = None if found is None else found.demands
        permit(tx, self._access, actor, dataset, branch, demands, action)
        return demands

    def _target(self, tx: Transaction, dataset: DatasetRef, ref: str | None) -> VersionId:
        found = Versions(tx).named(dataset, ref)
        Versions(tx).living(found)
        return found

    def _branch(self, names: Names, dataset: DatasetRef, name: PointerName) -> Pointer:
        found = names.get(name)
        if found is None:
            raise model.no_branch(name, dataset)
        if found.is_tag:
            raise TagsNeverMove(f"{name!r} is a tag, and tags never move: name a branch, or delete it with `dsplatform tag delete`")
        return found

    def _readable(self, tx: Transaction, actor: Actor, reference: str) -> tuple[DatasetRef, Version]:
        name, ref = model.parse_reference(reference)
        dataset = self._datasets.find(tx, actor, name)
        self._access.require(tx, actor, PermissionType.READ, dataset.id)
        return dataset, Versions(tx).get(Versions(tx).named(dataset, ref))


def _side(dataset: DatasetRef, version: Version) -> Side:
    return Side(dataset.slug, version.number, version.components, version.total_bytes)


def _entry(verb: str, actor: Actor, dataset: DatasetRef, before: Pointer | None, after: Pointer | None) -> AuditEntry:
    noun = "tag" if any(pointer and pointer.is_tag for pointer in (before, after)) else "branch"
    was, is_now = (None if pointer is None else {noun: pointer.name, "version": pointer.version_number} for pointer in (before, after))
    return AuditEntry(f"{noun}.{verb}", "dataset", str(dataset.id), actor, was, is_now)


def _not_main(name: PointerName) -> PointerName:
    if name == MAIN:
        raise MainStays("'main' can be neither renamed nor deleted: new branches begin there")
    return name


def _moved(branch: Pointer, dataset: DatasetRef) -> HeadMoved:
    return HeadMoved(
        f"branch {branch.name!r} of dataset {dataset.slug!r} is at version {branch.version_number}, not where it was expected: "
        "look at it and repeat"
    )


def _taken(name: PointerName, dataset: DatasetRef) -> PointerTaken:
    return PointerTaken(f"dataset {dataset.slug!r} has a branch or tag {name!r} already: choose another name")
