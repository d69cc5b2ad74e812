"""How changes become versions: drafts, one barrier for their bytes, then a commit each.

Bytes are made durable while no transaction is open: the drafts are worked out and their overlays written first, then one barrier covers
everything, then each change is committed against the head that its draft saw. A draft that lost the race is worked out again. Who has to
wait for her turn on a dataset makes her bytes durable meanwhile.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from threading import Lock

from dsplatform.core.database import Database, SerializationFailed, Transaction, back_off
from dsplatform.core.errors import Conflict, DsplatformError
from dsplatform.core.events import VersionCommitted
from dsplatform.core.failpoints import reach
from dsplatform.core.interfaces import AccessControl, ArrivalGate, DatasetDirectory, FileKeeper, Inspection, Upload
from dsplatform.core.types import MAIN, ContentHash, FilePath, PermissionType
from dsplatform.core.values import CommitMode, Committed, Content, NotRead, UploadOvertaken, VersionChange
from dsplatform.versioning import model
from dsplatform.versioning.enforcement import Enforcement
from dsplatform.versioning.grouping import GroupCommit
from dsplatform.versioning.model import Difference, Draft, Head, HeadMoved, Replaced
from dsplatform.versioning.pointers import Pointers, main_if_missing
from dsplatform.versioning.protection_rows import permit_change
from dsplatform.versioning.repository import Versions
from dsplatform.versioning.turns import Turns, Waiting

MAX_ATTEMPTS = 50
"""How often a commit that others overtake is worked out again against the new head."""


def _at(index: int, within: Callable[[Transaction, int, Committed], None]) -> Callable[[Transaction, Committed], None]:
    return lambda tx, committed: within(tx, index, committed)


def _too_many(change: VersionChange) -> Conflict:
    return Conflict(f"dataset {change.dataset.slug!r} is being changed by many at once: try again")


class Publisher:
    """Makes versions of what an upload holds. Many may, at once."""

    def __init__(
        self,
        db: Database,
        files: FileKeeper,
        datasets: DatasetDirectory,
        access: AccessControl,
        gate: ArrivalGate,
        clock: Callable[[], datetime],
    ) -> None:
        self._db = db
        self._datasets = datasets
        self._access = access
        self._gate = gate
        self._enforcement = Enforcement(gate, clock)
        self._clock = clock
        self._turns = Turns()
        self._rebasing = Lock()
        self._groups = GroupCommit(db, files, datasets, access, self._enforcement, clock, self._turns, self._rebasing)

    def publish(
        self, upload: Upload, changes: Sequence[VersionChange], within: Callable[[Transaction, int, Committed], None]
    ) -> Sequence[Committed | DsplatformError]:
        """See `core.interfaces.VersionWriter.publish`."""
        datasets = [change.dataset.id for change in changes]
        if self._turns.taken(datasets):
            upload.seal()
            if len(changes) == 1:
                mine = Waiting(upload, changes[0], _at(0, within))
                self._together(mine)
                if mine.outcome:
                    reach("version.committed")
                    return [mine.outcome]
        with self._turns.on(datasets):
            return self._publish(upload, changes, within)

    def _together(self, mine: Waiting) -> None:
        """Who has to wait may find that another one has committed her change with his own; else she does so for those who wait by then."""
        with self._turns.together(mine) as gather:
            if mine.outcome is None:
                self._groups.commit(mine.change.dataset, gather)

    def _publish(
        self, upload: Upload, changes: Sequence[VersionChange], within: Callable[[Transaction, int, Committed], None]
    ) -> Sequence[Committed | DsplatformError]:
        inspection = self._gate.inspect(upload)
        drafts: dict[int, Draft] = {}
        outcomes: dict[int, Committed | DsplatformError] = {}
        for index, change in enumerate(changes):
            if self._turns.raced(change.dataset.id):
                continue  # a draft would likely be void
            try:
                drafts[index] = self._judged_draft(upload, inspection, change)
            except DsplatformError as err:
                outcomes[index] = err
        overlays = dict(zip(drafts, self._hold(upload, list(drafts.values())), strict=True))
        upload.seal()
        for index, change in enumerate(changes):
            if index in outcomes:
                continue
            try:
                if index in drafts:
                    outcomes[index] = self._commit_draft(upload, inspection, drafts[index], overlays[index], _at(index, within))
                else:
                    outcomes[index] = self._rebase(upload, inspection, change, _at(index, within))
                reach("version.committed")
            except DsplatformError as err:
                outcomes[index] = err
        return [outcomes[index] for index in range(len(changes))]

    # --- one change ------------------------------------------------------------------------------------------------------------

    def _judged_draft(self, upload: Upload, inspection: Inspection, change: VersionChange) -> Draft:
        """A draft, for which contents are read where a contract asks for it. No transaction is open meanwhile."""
        for _ in range(MAX_ATTEMPTS):
            try:
                with self._db.autocommit() as tx:
                    return self._draft(tx, inspection, change)
            except NotRead as unread:
                upload.seal()
                inspection.read(unread.arrival)
        raise _too_many(change)

    def _draft(self, tx: Transaction, inspection: Inspection, change: VersionChange) -> Draft:
        """Works a change out against the present head, and judges it by the contract that is enforced there.

        Without the dataset's lock nothing holds head and contract: the commit compares both again. Raises `NotRead`, and
        `ContractBreached` for what may not even go to quarantine.
        """
        self._access.require(tx, change.actor, PermissionType.WRITE, change.dataset.id)
        seen, forks = self._head(tx, change)
        rule = self._enforcement.rule(tx, change)
        versions = Versions(tx)
        if change.idempotency_key and versions.by_key(change.dataset.id, change.idempotency_key):
            return Draft(change, seen, forks, Difference({}, {}, (), 0), b"", rule)  # committing it answers with the earlier version
        self._expect(change, seen)
        permit_change(tx, self._access, change, None if forks else seen)
        if seen is None:
            differing: Mapping[FilePath, Replaced | None] = dict.fromkeys(change.put)
            parent: Mapping[FilePath, int] = {}
        else:
            differing = versions.differing(seen.version_id, change.put)
            parent = versions.sizes(seen.version_id) if change.remove or change.mode is CommitMode.REPLACE else {}
        model.must_be_expected(change, differing)
        diff = model.difference(change, differing, parent)
        model.must_hold_something(change, seen, diff)
        aside = None if rule is None or diff.is_empty else self._enforcement.aside(tx, inspection, change, seen, diff)
        goes = replace(change, branch=aside[0]) if aside else change
        merged = None if change.merge_parent is None else versions.get(change.merge_parent)
        return Draft(change, seen, forks, diff, model.overlay(goes, seen, diff, self._clock(), merged), rule, aside)

    def _head(self, tx: Transaction, change: VersionChange) -> tuple[Head | None, bool]:
        pointers = Pointers(tx)
        head = pointers.head(change.dataset.id, change.branch)
        return (pointers.head(change.dataset.id, MAIN), True) if head is None else (head, False)

    def _expect(self, change: VersionChange, seen: Head | None) -> None:
        if change.expected_head is not None and (seen is None or seen.version_id != change.expected_head):
            at = "has no version yet" if seen is None else f"is at version {seen.version_number}"
            raise HeadMoved(
                f"branch {change.branch!r} of dataset {change.dataset.slug!r} {at}, "
                "not where the change was made for: look at it and repeat"
            )

    def _hold(self, upload: Upload, drafts: Sequence[Draft]) -> list[ContentHash | None]:
        """Writes the overlays of those drafts that make a version."""
        making = [draft for draft in drafts if draft.makes_version]
        contents = iter(upload.add([BytesIO(draft.overlay) for draft in making], surely_new=True))
        hashes: list[ContentHash | None] = []
        for draft in drafts:
            content = next(contents) if draft.makes_version else None
            hashes.append(content.content_hash if isinstance(content, Content) else None)
        return hashes

    def _commit_draft(
        self,
        upload: Upload,
        inspection: Inspection,
        draft: Draft,
        overlay: ContentHash | None,
        within: Callable[[Transaction, Committed], None],
    ) -> Committed:
        for attempt in range(MAX_ATTEMPTS):
            try:
                with self._db.transaction() as tx:
                    committed = self._commit(tx, upload, draft, overlay)
                    within(tx, committed)
                return committed
            except HeadMoved:
                self._turns.lost(draft.change.dataset.id)
                return self._rebase(upload, inspection, draft.change, within)
            except UploadOvertaken:
                upload.reconcile()
            except SerializationFailed:
                back_off(attempt)
        raise _too_many(draft.change)

    def _rebase(
        self, upload: Upload, inspection: Inspection, change: VersionChange, within: Callable[[Transaction, Committed], None]
    ) -> Committed:
        """Works the change out again and commits it while the dataset's lock keeps the writers of other processes away.

        The one place where a transaction stays open while bytes are written: a few hundred of the overlay, the rest is durable by now.
        Without the lock the same process could lose the race for ever. It needs a second connection for the intent: one thread at a
        time, so that a small pool cannot be used up by those who wait for one.
        """
        for attempt in range(MAX_ATTEMPTS):
            try:
                with self._rebasing, self._db.transaction() as tx:
                    self._datasets.lock(tx, change.dataset.id)
                    draft = self._draft(tx, inspection, change)
                    (overlay,) = self._hold(upload, [draft])
                    upload.seal()
                    committed = self._write(tx, upload, draft, overlay)
                    within(tx, committed)
                return committed
            except NotRead as unread:
                upload.seal()
                inspection.read(unread.arrival)
            except UploadOvertaken:
                upload.reconcile()
            except SerializationFailed:
                back_off(attempt)
        raise _too_many(change)

    def _commit(self, tx: Transaction, upload: Upload, draft: Draft, overlay: ContentHash | None) -> Committed:
        """Commits a draft that was worked out without the dataset's lock. Raises `HeadMoved` when it is void by now."""
        change = draft.change
        self._access.require(tx, change.actor, PermissionType.WRITE, change.dataset.id)
        # The dataset's lock comes before the files' rows in every commit, so that two commits cannot deadlock over them; it also
        # makes numbers follow each other without gaps.
        self._datasets.lock(tx, change.dataset.id)
        # A branch that exists is compared when it moves; where a new one begins is compared here.
        if (draft.forks or draft.seen is None or draft.aside) and self._head(tx, change) != (draft.seen, draft.forks):
            raise model.moved(change)
        if self._enforcement.rule(tx, change) != draft.rule:
            raise model.moved(change)  # judged by terms that have changed: what counts now, counts
        return self._write(tx, upload, draft, overlay)

    def _write(self, tx: Transaction, upload: Upload, draft: Draft, overlay: ContentHash | None) -> Committed:
        """Writes the version and moves the branch. The dataset is locked."""
        change, versions, pointers = draft.change, Versions(tx), Pointers(tx)
        if change.idempotency_key and (earlier := versions.by_key(change.dataset.id, change.idempotency_key)):
            answer = model.outcome(draft, earlier, versions.number(earlier), created=False)
            aside = self._gate.aside(tx, earlier)
            return replace(answer, branch=aside[0], quarantined_from=change.branch, breaches=tuple(aside[1])) if aside else answer
        seen, forks = draft.seen, draft.forks
        permit_change(tx, self._access, change, None if forks else seen)
        if overlay is None:
            if seen is None:
                raise AssertionError("a first version is never empty")
            upload.record(tx, [])  # heals what was damaged
            if forks:
                pointers.create(change.dataset.id, change.branch, seen.version_id, change.actor.user_id)
                tx.note(model.forked(change, seen.version_number))
            return model.outcome(draft, seen.version_id, seen.version_number, created=False)
        ids = upload.record(tx, [*(content.content_hash for content in draft.put.values()), overlay])
        version_id, number = versions.add(draft, ids[overlay], ids)
        reach("version.committing")
        main_if_missing(pointers, draft, version_id)
        if seen is None or forks or draft.aside:
            moved = pointers.create(change.dataset.id, draft.branch, version_id, change.actor.user_id)
        else:
            moved = pointers.move(change.dataset.id, change.branch, seen.version_id, version_id, seen.demands)
        if not moved:
            raise model.moved(change)
        reach("version.moved")
        tx.publish(VersionCommitted(change.dataset.id, version_id, draft.branch))
        committed = model.outcome(draft, version_id, number, created=True)
        if draft.aside:
            self._gate.put_aside(tx, committed)
        if not change.accepted:  # or the decision is noted, with its number
            tx.note(model.made(change, committed))
        return committed
