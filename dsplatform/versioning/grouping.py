"""One transaction for the changes of several writers to one dataset: one lock, one barrier, one COMMIT, and a version for each.

Only the common kind of change goes with others: it puts components onto a branch that is there and has no contract. Whatever is special
about a change, or fails, leaves it without an outcome, and its writer makes it by herself, as if nobody had tried. So a group brings
nothing but good news, and errors and refusals have one place.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from io import BytesIO
from threading import Lock

from dsplatform.core.database import Database, OutcomeUnknown, Transaction
from dsplatform.core.errors import DsplatformError
from dsplatform.core.events import VersionCommitted
from dsplatform.core.failpoints import reach
from dsplatform.core.interfaces import AccessControl, DatasetDirectory, FileKeeper, Upload
from dsplatform.core.types import ContentHash, FilePath, PermissionType, PointerName, VersionId
from dsplatform.core.values import CommitMode, Committed, Content, DatasetRef, VersionChange
from dsplatform.versioning import model
from dsplatform.versioning.enforcement import Enforcement
from dsplatform.versioning.history import History
from dsplatform.versioning.model import Draft, Head, HeadMoved, Replaced
from dsplatform.versioning.pointers import Pointers
from dsplatform.versioning.protection_rows import permit_change
from dsplatform.versioning.repository import Versions
from dsplatform.versioning.turns import Turns, Waiting


@dataclass
class Line:
    """A branch with the drafts that follow each other on it and are not written yet."""

    head: Head
    """As the last draft leaves it. Its `version_id` is that of the version where the drafts begin."""
    there: dict[FilePath, Replaced]
    """What it has, of those names that the drafts put."""

    def differing(self, put: Mapping[FilePath, Content]) -> Mapping[FilePath, Replaced | None]:
        """Those names whose content on the branch is another one or none, with that content."""
        found = {name: self.there.get(name) for name in put}
        return {name: old for name, old in found.items() if old is None or old.content_hash != put[name].content_hash}

    def follow(self, draft: Draft, number: int) -> None:
        """The draft comes last now, and will have that number."""
        self.there.update({name: Replaced(content.content_hash, content.file_size) for name, content in draft.put.items()})
        self.head = replace(
            self.head,
            version_number=number,
            overlay_hash=_hash(draft),
            components=draft.components,
            total_bytes=draft.total_bytes,
        )


@dataclass(frozen=True)
class _Member:
    """One of the group, and the version that it is to become."""

    waiting: Waiting
    draft: Draft
    seen: Head
    number: int

    @property
    def change(self) -> VersionChange:
        return self.draft.change

    @property
    def contents(self) -> list[ContentHash]:
        """What it puts."""
        return [content.content_hash for content in self.draft.put.values()]


class GroupCommit:
    """Commits changes to one dataset together. Its caller has the turn on the dataset."""

    def __init__(
        self,
        db: Database,
        files: FileKeeper,
        datasets: DatasetDirectory,
        access: AccessControl,
        enforcement: Enforcement,
        clock: Callable[[], datetime],
        turns: Turns,
        rebasing: Lock,
    ) -> None:
        self._db = db
        self._files = files
        self._datasets = datasets
        self._access = access
        self._enforcement = enforcement
        self._clock = clock
        self._turns = turns
        self._rebasing = rebasing

    def commit(self, dataset: DatasetRef, gather: Callable[[], Sequence[Waiting]]) -> None:
        """Gives those who wait their outcome, as far as they can be committed together. Raises nothing but interruptions."""
        sent: list[_Member] = []
        try:
            with self._files.upload() as overlays:
                self._commit(overlays, dataset, gather, sent)
        except OutcomeUnknown as err:
            _unknown(sent, err)
        except Exception:  # noqa: BLE001, S110 - rolled back: whose fault it was meets it again, by herself
            pass
        except BaseException:
            _unknown(sent, OutcomeUnknown("the commit was interrupted: look whether it was made, or repeat it with the same key"))
            raise

    def _commit(self, overlays: Upload, dataset: DatasetRef, gather: Callable[[], Sequence[Waiting]], sent: list[_Member]) -> None:
        """First without the dataset's lock, unless writers of other processes are about; then under it, as `Publisher` does for one.

        Who has to wait for that lock takes over those who came meanwhile. `sent` gets those whose COMMIT is on its way.
        """
        waiting: Sequence[Waiting] = []
        if not self._turns.raced(dataset.id):
            waiting = gather()
            with self._db.autocommit() as tx:
                group = self._drafted(tx, dataset, waiting)
            if len(group) < 2:
                return
            self._hold(overlays, group)
            try:
                with self._db.transaction() as tx:
                    self._datasets.lock(tx, dataset.id)
                    committed = self._write(tx, overlays, group)
                    sent += group
                _told(group, committed)
                return
            except HeadMoved:
                self._turns.lost(dataset.id)
        with self._rebasing, self._db.transaction() as tx:
            self._datasets.lock(tx, dataset.id)
            group = self._drafted(tx, dataset, [*waiting, *gather()])
            self._hold(overlays, group)
            committed = self._write(tx, overlays, group)
            sent += group
        _told(group, committed)

    # --- drafts ----------------------------------------------------------------------------------------------------------------

    def _drafted(self, tx: Transaction, dataset: DatasetRef, waiting: Sequence[Waiting]) -> Sequence[_Member]:
        """Those that can go together, each worked out against what the ones before it leave."""
        common = [one for one in waiting if _is_common(one.change)]
        lines = {branch: self._line(tx, dataset, branch, common) for branch in {one.change.branch for one in common}}
        number = Versions(tx).newest(dataset.id)
        said: set[str] = set()
        group: list[_Member] = []
        for one in common:
            line, says = lines[one.change.branch], _says(one.change)
            if line is None or said & says:
                continue
            try:
                head, draft = line.head, self._draft(tx, line, one.change)
            except DsplatformError:
                continue
            if draft:
                number += 1
                line.follow(draft, number)
                said |= says
                group.append(_Member(one, draft, head, number))
        return group

    def _line(self, tx: Transaction, dataset: DatasetRef, branch: PointerName, waiting: Sequence[Waiting]) -> Line | None:
        """The branch as it is; None: it has still to be made, or has a contract."""
        changes = [one.change for one in waiting if one.change.branch == branch]
        head = Pointers(tx).head(dataset.id, branch)
        if head is None or self._enforcement.rule(tx, changes[0]):
            return None
        there = History(tx).named(head.version_id, {name for change in changes for name in change.put})
        return Line(head, {name: Replaced(component.content_hash, component.file_size) for name, component in there.items()})

    def _draft(self, tx: Transaction, line: Line, change: VersionChange) -> Draft | None:
        """None: it would make no version."""
        self._access.require(tx, change.actor, PermissionType.WRITE, change.dataset.id)
        permit_change(tx, self._access, change, line.head)
        if change.idempotency_key and Versions(tx).by_key(change.dataset.id, change.idempotency_key):
            return None
        differing = line.differing(change.put)
        model.must_be_expected(change, differing)
        diff = model.difference(change, differing, {})
        return None if diff.is_empty else Draft(change, line.head, False, diff, model.overlay(change, line.head, diff, self._clock()))

    def _hold(self, overlays: Upload, group: Sequence[_Member]) -> None:
        if not group:
            return
        overlays.add([BytesIO(member.draft.overlay) for member in group], surely_new=True)
        overlays.seal()

    # --- rows ------------------------------------------------------------------------------------------------------------------

    def _write(self, tx: Transaction, overlays: Upload, group: Sequence[_Member]) -> Sequence[Committed]:
        """Writes the versions and moves the branches. The dataset is locked. Raises `HeadMoved` when the drafts are void by now."""
        if not group:
            return []
        for member in group:
            self._access.require(tx, member.change.actor, PermissionType.WRITE, member.change.dataset.id)
        ids = overlays.record(tx, [_hash(member.draft) for member in group])
        # By their contents, as each upload does for its own: so that two groups with contents in common hardly deadlock over them.
        recorded = {
            member.number: member.waiting.upload.record(tx, member.contents) for member in sorted(group, key=lambda one: min(one.contents))
        }
        versions, pointers = Versions(tx), Pointers(tx)
        moves: dict[PointerName, tuple[_Member, VersionId]] = {}
        made: list[Committed] = []
        for member in group:
            first, parent = moves.get(member.change.branch, (member, member.seen.version_id))
            draft = replace(member.draft, seen=replace(member.seen, version_id=parent))
            version_id, number = versions.add(draft, ids[_hash(draft)], recorded[member.number])
            if number != member.number:
                raise model.moved(member.change)  # another branch of the dataset has a new version
            reach("version.committing")
            moves[member.change.branch] = first, version_id
            made.append(model.outcome(draft, version_id, number, created=True))
        for first, last in moves.values():
            if self._enforcement.rule(tx, first.change) or not pointers.move(
                first.change.dataset.id, first.change.branch, first.seen.version_id, last, first.seen.demands
            ):
                raise model.moved(first.change)
        reach("version.moved")
        for member, committed in zip(group, made, strict=True):
            tx.publish(VersionCommitted(committed.dataset.id, committed.version_id, committed.branch))
            tx.note(model.made(member.change, committed))
            member.waiting.within(tx, committed)
        return made


def _is_common(change: VersionChange) -> bool:
    special = change.remove or change.mode is CommitMode.REPLACE or change.expected_head or change.merge_parent or change.accepted
    return bool(change.put) and not special


def _says(change: VersionChange) -> set[str]:
    """What only one of a transaction may write: contents, which may be new to the store, and the key of the request."""
    said: set[str] = {content.content_hash for content in change.put.values()}
    return said | {f"key {change.idempotency_key}"} if change.idempotency_key else said


def _hash(draft: Draft) -> ContentHash:
    return ContentHash(sha256(draft.overlay).hexdigest())


def _told(group: Sequence[_Member], committed: Sequence[Committed]) -> None:
    for member, outcome in zip(group, committed, strict=True):
        member.waiting.outcome = outcome


def _unknown(sent: Sequence[_Member], err: OutcomeUnknown) -> None:
    for member in sent:
        member.waiting.outcome = member.waiting.outcome or err
