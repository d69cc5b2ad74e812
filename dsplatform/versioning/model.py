"""Rules of versions: what a change means against a parent, and the document that records it."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from dsplatform.core.domain import Actor, AuditEntry, ValueObject
from dsplatform.core.errors import Conflict, Denied, Invalid, NotFound
from dsplatform.core.types import ContentHash, DatasetId, FilePath, PointerName, VersionId
from dsplatform.core.values import CommitMode, Committed, Component, Content, DatasetRef, EnforcedRule, Refusal, VersionChange

OVERLAY_FORMAT = "dsplatform.overlay/1"
QUARANTINE = "quarantine/"
TOLD = 10
"""Sentences of a report that an error shows."""


class VersionMissing(NotFound):
    """No version that the reference names."""

    code = "version_missing"


class ComponentMissing(NotFound):
    """The version has no component of that name."""

    code = "component_missing"


class HeadMoved(Conflict):
    """The branch is not where the change was made for."""

    code = "head_moved"


class TagsNeverMove(Conflict):
    """A commit was asked to move a tag."""

    code = "tags_never_move"


class NotAsExpected(Conflict):
    """The branch has another content under a name than the change was made for."""

    code = "precondition_failed"


class DigestMismatch(Invalid):
    """Other bytes arrived than the sender said."""

    code = "digest_mismatch"


class EmptyVersion(Invalid):
    """A version without any component would say nothing."""

    code = "empty_version"


class ContractBreached(Conflict):
    """What was to be committed is against the contract of its branch, which is enforced."""

    code = "contract_breached"


class PointerTaken(Conflict):
    """A branch or a tag has the name already."""

    code = "pointer_taken"


class PointerMissing(NotFound):
    """No branch, or no tag, of that name."""

    code = "pointer_missing"


class MainStays(Invalid):
    """`main` was to be deleted or renamed: new branches begin there."""

    code = "main_stays"


class Demand(StrEnum):
    """What a protected branch asks for."""

    ADMIN = "admin"
    """Whoever changes it, in whatever way, needs `admin` on the dataset."""
    MERGE = "merge"
    """It changes by merges and fast-forwards alone, for everybody. To move it by hand, rename or delete it takes `admin`."""


class BranchProtected(Denied):
    """The branch is protected from this way of changing it, or from this actor."""

    code = "branch_protected"

    def __init__(self, actor: Actor, dataset: DatasetRef, branch: PointerName, demand: Demand, action: str) -> None:
        where = f"branch {branch!r} of dataset {dataset.slug!r} is protected"
        if action == COMMIT and demand is Demand.MERGE:
            super().__init__(f"{where}: commit to another branch, and merge that one into it")
        else:
            super().__init__(f"{where}, this takes the right 'admin': ask who administers the dataset, or use another branch")
        self.refusal = AuditEntry(
            action, "dataset", str(dataset.id), actor, after={"branch": branch, "demands": str(demand)}, result="refused"
        )


COMMIT, MERGE = "version.commit", "version.merge"
"""Two ways of changing a branch, in the words of the audit log. The others are by hand."""


@dataclass(frozen=True)
class Protection(ValueObject):
    """That a branch is protected."""

    branch: PointerName
    demands: Demand
    set_by: str
    set_at: datetime


@dataclass(frozen=True)
class Head(ValueObject):
    """Where a branch points, with what the next version needs to know of it."""

    version_id: VersionId
    version_number: int
    overlay_hash: ContentHash
    components: int
    total_bytes: int
    demands: Demand | None = None
    """How the branch is protected."""


@dataclass(frozen=True)
class Replaced(ValueObject):
    """What the parent has under a name that is put."""

    content_hash: ContentHash
    file_size: int


@dataclass(frozen=True)
class Version(ValueObject):
    """A version as lists show it."""

    id: VersionId
    dataset_id: DatasetId
    number: int
    message: str
    parent_number: int | None
    merge_parent_number: int | None
    """What was merged in, where this version is a merge."""
    author: str
    created_at: datetime
    components: int
    total_bytes: int
    overlay_hash: ContentHash
    pointers: tuple[str, ...]
    """Branches and tags that point here."""
    purged_at: datetime | None
    """When its files were deleted; None for a version that can be read."""


@dataclass(frozen=True)
class Pointer(ValueObject):
    """A branch or a tag."""

    name: PointerName
    is_tag: bool
    version_id: VersionId
    version_number: int
    created_by: str | None
    created_at: datetime
    moved_at: datetime


@dataclass(frozen=True)
class Pair(ValueObject):
    """What two versions have under one name, where that differs; None: nothing."""

    name: FilePath
    before: Component | None
    after: Component | None


@dataclass(frozen=True)
class Difference(ValueObject):
    """What a change means against the components of its parent."""

    added: Mapping[FilePath, Content]
    updated: Mapping[FilePath, Content]
    removed: tuple[FilePath, ...]
    bytes_gone: int
    """Size of what was updated or removed, as it was in the parent."""

    @property
    def is_empty(self) -> bool:
        """Whether the version would equal its parent."""
        return not (self.added or self.updated or self.removed)


@dataclass(frozen=True)
class Draft(ValueObject):
    """A change, worked out against the head that was seen. Committing it succeeds only while the branch is still there."""

    change: VersionChange
    seen: Head | None
    """None: the dataset has no version yet."""
    forks: bool
    """Whether the branch is new and begins at `seen`, the head of `main`."""
    difference: Difference
    overlay: bytes
    rule: EnforcedRule | None = None
    """The terms that it was judged by."""
    aside: tuple[PointerName, Refusal] | None = None
    """The quarantine branch that it goes to instead of its own, and why."""

    @property
    def branch(self) -> PointerName:
        """Where the version goes."""
        return self.aside[0] if self.aside else self.change.branch

    @property
    def put(self) -> Mapping[FilePath, Content]:
        """What is another content than before, or new."""
        return {**self.difference.updated, **self.difference.added}

    @property
    def components(self) -> int:
        """How many the version has."""
        return (self.seen.components if self.seen else 0) + len(self.difference.added) - len(self.difference.removed)

    @property
    def total_bytes(self) -> int:
        """How many they have."""
        return (self.seen.total_bytes if self.seen else 0) - self.difference.bytes_gone + sum(one.file_size for one in self.put.values())

    @property
    def makes_version(self) -> bool:
        """A change that would change nothing makes none, unless it is a merge: the next one must know that it was made."""
        return self.change.merge_parent is not None or not self.difference.is_empty


def difference(change: VersionChange, differing: Mapping[FilePath, Replaced | None], parent: Mapping[FilePath, int]) -> Difference:
    """What `change` means.

    `differing` holds the components that it puts and whose content the parent has not under that name, with what the parent has there;
    `parent` is every name of the parent and its size, in order (only looked at where the change can remove). Raises `Invalid` for the
    removal of a name that is not there, or that is put at the same time.
    """
    added = {name: change.put[name] for name, old in differing.items() if old is None}
    updated = {name: change.put[name] for name, old in differing.items() if old is not None}
    for name in change.remove:
        if name in change.put:
            raise Invalid(f"component {name!r} cannot be put and removed by one version")
        if name not in parent:
            raise Invalid(f"component {name!r} cannot be removed: the parent version has no component of that name")
    gone = set(change.remove)
    if change.mode is CommitMode.REPLACE:
        gone |= set(parent) - set(change.put)
    removed = tuple(name for name in parent if name in gone)
    bytes_gone = sum(old.file_size for old in differing.values() if old is not None) + sum(parent[name] for name in removed)
    return Difference(added, updated, removed, bytes_gone)


def must_be_expected(change: VersionChange, differing: Mapping[FilePath, Replaced | None]) -> None:
    """Raises `NotAsExpected` unless the parent has what the change was made for. `differing` is as for `difference`."""
    for name, expected in change.expected.items():
        old = differing.get(name) if name in differing else change.put[name]
        found = None if old is None else old.content_hash
        if found != expected:
            has = "does not have" if found is None else "has another content under"
            raise NotAsExpected(f"branch {change.branch!r} of dataset {change.dataset.slug!r} {has} {name!r}: look at it and repeat")


def must_hold_something(change: VersionChange, seen: Head | None, diff: Difference) -> None:
    """Raises `EmptyVersion` for a change that leaves no component, and for one that asks for nothing and is no merge."""
    asks_nothing = not change.put and not change.remove and change.mode is CommitMode.PATCH and change.merge_parent is None
    if asks_nothing or (not change.put and (seen is None or len(diff.removed) == seen.components)):
        raise EmptyVersion(f"a version of dataset {change.dataset.slug!r} needs at least one component")


def overlay(change: VersionChange, seen: Head | None, diff: Difference, at: datetime, merged: Version | None = None) -> bytes:
    """The canonical document of a version: UTF-8 JSON, keys sorted, no blanks; the same version gives the same bytes. `merged` is the
    second parent of a merge."""
    entries = [
        {"op": op, "name": name, "hash": content.content_hash, "size": content.file_size, "type": content.file_type}
        for op, contents in (("add", diff.added), ("update", diff.updated))
        for name, content in contents.items()
    ]
    entries += [{"op": "remove", "name": name} for name in diff.removed]
    document = {
        "format": OVERLAY_FORMAT,
        "dataset": change.dataset.slug,
        "branch": change.branch,
        "parent": None if seen is None else {"number": seen.version_number, "overlay": seen.overlay_hash},
        "author": change.actor.username,
        "at": at.isoformat(),
        "message": change.message,
        "changes": sorted(entries, key=lambda entry: str(entry["name"])),
    }
    if merged is not None:
        document["merge_parent"] = {"number": merged.number, "overlay": merged.overlay_hash}
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def refused(change: VersionChange, refusal: Refusal, *, first: bool = False) -> ContractBreached:
    """The error that says why a change is kept from its branch. `first`: there is no version at which quarantine could begin."""
    if change.merge_parent is not None:
        way_out = "correct the other version, or let a person decide: `dsplatform contract --help`"
    else:
        way_out = "correct it and send it again" + (" (a first version has no branch that quarantine could begin at)" if first else "")
    shown = "; ".join(refusal.sentences[:TOLD])
    more = f"; and {len(refusal.sentences) - TOLD} more" if len(refusal.sentences) > TOLD else ""
    where = f"the contract of branch {change.branch!r} of dataset {change.dataset.slug!r}"
    return ContractBreached(f"{where} is enforced, and this breaks it: {shown}{more}; {way_out}")


def quarantine_branch(day: date, taken: Collection[str]) -> PointerName:
    """The branch for what arrives in quarantine on this day: `quarantine/2026-01-31`, then `-2`, `-3` and so on."""
    name = f"{QUARANTINE}{day.isoformat()}"
    return PointerName(next(each for each in (name, *(f"{name}-{number}" for number in range(2, len(taken) + 3))) if each not in taken))


def parse_reference(raw: str) -> tuple[str, str | None]:
    """`DATASET` or `DATASET@REF`, taken apart at the first `@` (which no dataset name holds)."""
    name, mark, ref = raw.partition("@")
    if not name or (mark and not ref):
        raise Invalid(f"{raw!r} is no dataset reference: write DATASET or DATASET@REF (a number, latest, a branch or a tag)")
    return name, ref or None


def message(raw: str) -> str:
    """A message is trimmed and has 10,000 characters at most."""
    text = raw.strip()
    if len(text) > 10_000:
        raise Invalid(f"the message has {len(text)} characters: 10,000 at most")
    if "\x00" in text or text != text.encode(errors="replace").decode():
        raise Invalid("the message holds a NUL or a broken character: remove it")
    return text


def outcome(draft: Draft, version_id: VersionId, number: int, *, created: bool) -> Committed:
    """What the caller is told: the version that was made of the draft, or the one that already was as asked."""
    diff = draft.difference
    return Committed(
        draft.change.dataset,
        draft.branch,
        version_id,
        number,
        created,
        len(diff.added) if created else 0,
        len(diff.updated) if created else 0,
        len(diff.removed) if created else 0,
        draft.change.branch if draft.aside else None,
        draft.aside[1].sentences if draft.aside else (),
    )


def made(change: VersionChange, committed: Committed) -> AuditEntry:
    """That a change made a version, for the audit log."""
    after: dict[str, Any] = {
        "version": committed.version_number,
        "branch": committed.branch,
        "added": committed.added,
        "updated": committed.updated,
        "removed": committed.removed,
    }
    if committed.quarantined_from:
        after["kept_from"] = committed.quarantined_from
    return AuditEntry(COMMIT if change.merge_parent is None else MERGE, "dataset", str(change.dataset.id), change.actor, after=after)


def forked(change: VersionChange, number: int) -> AuditEntry:
    """That a change which changed nothing made its branch."""
    after = {"branch": change.branch, "version": number}
    return AuditEntry("branch.create", "dataset", str(change.dataset.id), change.actor, after=after)


def forwarded(change: VersionChange, before: int, after: int) -> AuditEntry:
    """That a merge moved a branch which was behind."""
    was, is_now = ({"branch": change.branch, "version": number} for number in (before, after))
    return AuditEntry(MERGE, "dataset", str(change.dataset.id), change.actor, was, is_now)


def moved(change: VersionChange) -> HeadMoved:
    """The draft of a change is void."""
    return HeadMoved(f"branch {change.branch!r} of dataset {change.dataset.slug!r} moved while the version was made")


def no_branch(name: PointerName, dataset: DatasetRef) -> PointerMissing:
    """The dataset has no branch of that name."""
    return PointerMissing(f"dataset {dataset.slug!r} has no branch {name!r}: `dsplatform branch list {dataset.slug}` lists them")
