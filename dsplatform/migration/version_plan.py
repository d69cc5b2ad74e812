"""What each legacy version of a batch is here: its id, its parent, its components, its overlay. Nothing is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from dsplatform.core.database import Transaction
from dsplatform.core.interfaces import FileKeeper
from dsplatform.core.types import ContentHash, FileId
from dsplatform.migration.canonical import group_hash, row_hash
from dsplatform.migration.columns import Columns, plain
from dsplatform.migration.components import Composition, Part, compose
from dsplatform.migration.landed_rows import IdMap
from dsplatform.migration.mapped import Home, Mapped, Person
from dsplatform.migration.model import Entity, Finding, Group, Landed, Outcome, Reason, SourceRow, meaning
from dsplatform.migration.overlays import Ancestor, Stored, digest, overlay, rechained
from dsplatform.migration.people_rows import ELSEWHERE
from dsplatform.migration.source import Snapshot
from dsplatform.migration.version_rows import Holder, VersionRow, VersionRows

KEPT = ("file_id", "overlay_file_id", "status", "last_updated_timestamp", "updated_at")


@dataclass
class Version:
    """A version on its way."""

    id: int
    dataset_id: int
    number: int
    message: str
    parent_id: int | None
    author: int
    at: datetime
    parts: Sequence[Part]
    overlay: bytes
    overlay_hash: ContentHash
    is_new: bool

    def row(self, overlay_id: int) -> VersionRow:
        """As it is written."""
        return VersionRow(
            self.id, self.dataset_id, self.number, self.message, self.parent_id, overlay_id, self.author, self.at, self.parts
        )  # fmt: skip


class Follower(NamedTuple):
    """A version whose overlay changes because its parent's did."""

    id: int
    overlay: bytes
    overlay_hash: ContentHash


@dataclass
class Plan:
    """A batch of versions."""

    versions: list[Version] = field(default_factory=list)
    """Those that are written, parents before their children."""
    followers: list[Follower] = field(default_factory=list)
    """Versions that were imported before and descend from changed ones."""
    landed: list[Landed] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)
    """Versions of ours that the legacy system has no more, and whose numbers others have there now."""
    revived: list[int] = field(default_factory=list)
    repeats: bool = False
    """Whether some of the overlays may be stored already."""

    @property
    def overlays(self) -> list[tuple[bytes, ContentHash]]:
        """All documents that have to be stored, with their hashes."""
        return [*((one.overlay, one.overlay_hash) for one in self.versions), *((one.overlay, one.overlay_hash) for one in self.followers)]


@dataclass
class _Facts:
    """What the databases answered for the batch."""

    homes: Mapping[int, Home]
    people: Mapping[int, Person]
    stored: Mapping[int, Stored | None]
    known: Mapping[int, tuple[int, bool]]
    """Legacy id to (our id, whether it was taken away), of those that are here."""
    present: Mapping[int, int]
    """Our id to the dataset, of versions that exist."""
    parents: Mapping[int, tuple[int, int]]
    """Legacy id to (legacy dataset, number), of every parent that exists in the legacy system."""
    holders: Mapping[tuple[int, int], Holder]
    """Who else has a (dataset, number) that one of the batch wants."""
    ancestors: Mapping[int, Ancestor]
    """By our id: versions outside the batch that are parents of some in it."""


class Planner:
    """Plans one batch."""

    def __init__(self, tx: Transaction, source: Snapshot, zone: ZoneInfo, files: FileKeeper) -> None:
        self._files = files
        self._tx = tx
        self._source = source
        self._zone = zone
        self._plan = Plan()
        self._made: dict[int, Ancestor] = {}
        """By our id: versions of this batch."""
        self._new_ids: dict[int, int] = {}
        self._numbers: set[tuple[int, int]] = set()

    def plan(self, groups: Sequence[Group]) -> Plan:
        """The plan, with one `Landed` for each row."""
        groups = sorted(groups, key=lambda group: group.row.key)
        facts = self._ask(groups)
        ours = VersionRows(self._tx).made_here([id_ for id_, _ in facts.known.values()])
        self._made |= VersionRows(self._tx).ancestors(ours)
        for group in groups:
            known = facts.known.get(group.row.key[0])
            if known is not None and known[0] in ours:
                self._made_here(group, known[0])
            else:
                self._one(facts, *group)
        changed = {version.id: version for version in self._plan.versions if not version.is_new}
        if changed:
            self._plan.repeats = True
            self._follow(changed)
        return self._plan

    def _ask(self, groups: Sequence[Group]) -> _Facts:
        rows = [group.row for group in groups]
        mapped, ours = Mapped(self._tx), VersionRows(self._tx)
        homes = mapped.homes({row.values["dataset_id"] for row in rows})
        files = {row.values.get("file_id") or 0 for row in rows}
        files |= {row.key[1] for group in groups for row in group.more if row.entity == Entity.VERSION_FILES}
        ids = {row.key[0] for row in rows}
        wanted = {row.values["parent_version_id"] for row in rows if row.values.get("parent_version_id") is not None}
        parents = {row.key[0]: (row.values["dataset_id"], row.values["version_number"]) for row in rows}
        if outside := sorted(wanted - ids):
            for id_, dataset, number in self._source.tuples(
                "SELECT id, dataset_id, version_number FROM dataset_versions WHERE id = ANY(%s)", outside
            ):
                parents[id_] = (dataset, number)
        known = mapped.versions(ids | wanted)
        present = ours.present(ids | {new_id for new_id, _ in known.values()})
        known = {legacy: one for legacy, one in known.items() if one[0] in present or legacy in ids}
        numbers = {
            (homes[row.values["dataset_id"]].id, row.values["version_number"]): known.get(row.key[0], (0, False))[0]
            for row in rows
            if row.values["dataset_id"] in homes and _is_number(row.values["version_number"])
        }
        return _Facts(
            homes,
            mapped.people({_author(row) or 0 for row in rows}),
            mapped.stored(files),
            known,
            present,
            parents,
            self._holders(numbers),
            ours.ancestors([known[id_][0] for id_ in wanted - ids if id_ in known]),
        )

    def _holders(self, wanted: Mapping[tuple[int, int], int]) -> Mapping[tuple[int, int], Holder]:
        """Who else has the numbers: (dataset, number) to our id of who wants it. A holder can go when the legacy system has neither it
        any more nor what descends from it."""
        ours = VersionRows(self._tx)
        others = {number: id_ for number, id_ in ours.numbered(list(wanted)).items() if id_ != wanted[number]}
        lines = ours.lines(others.values())
        legacy = {one for line in lines.values() for _, one in line if one is not None}
        there = {key[0] for key in self._source.there(Entity.VERSIONS, [(id_,) for id_ in sorted(legacy)])} if legacy else set()
        return {
            number: Holder(id_, tuple(one for one, _ in lines[id_]), all(one is not None and one not in there for _, one in lines[id_]))
            for number, id_ in others.items()
        }

    # --- one version -----------------------------------------------------------------------------------------------------------

    def _one(self, facts: _Facts, row: SourceRow, more: Sequence[SourceRow]) -> None:
        columns = Columns(row, self._zone)
        legacy, number = row.key[0], row.values["version_number"]
        home = facts.homes.get(row.values["dataset_id"])
        earlier = facts.known.get(legacy)
        if home is None:
            columns.find(Reason.ORPHAN_PARENT, dataset_id=row.values["dataset_id"])
        elif not _is_number(number):
            columns.find(Reason.BAD_VALUE, column="version_number", value=number)
        elif self._is_taken(facts, home.id, number):
            columns.find(Reason.DUPLICATE_KEY, column="version_number", value=number)
        if home is None or columns.findings:
            detail = {"version_id": legacy, "why": str(columns.findings[0].reason)}
            new_id = None if earlier is None else earlier[0]
            self._plan.landed.append(Landed(Entity.VERSIONS, row.key, Outcome.QUARANTINED, new_id, tuple(columns.findings)))
            self._plan.landed += [
                Landed(Entity(one.entity), one.key, Outcome.QUARANTINED, findings=(Finding(Reason.ORPHAN_PARENT, detail),)) for one in more
            ]
            return
        self._numbers.add((home.id, number))
        parent = self._parent(facts, row, columns)
        new_id = self._id(facts, legacy, earlier, parent)
        if parent is not None and parent.version_id >= new_id:
            columns.find(Reason.CYCLE, parent_version_id=row.values["parent_version_id"])
            parent = None
        self._new_ids[legacy] = new_id
        if earlier is not None and earlier[1] and new_id in facts.present:
            self._plan.revived.append(new_id)
        self._write(facts, row, more, columns, home, new_id, parent)

    def _made_here(self, group: Group, new_id: int) -> None:
        """A version that the way back brought there: here it stays as it was made. What changed about it there finds no place."""
        before = IdMap(self._tx).known(Entity.VERSIONS, [group.row.key])[group.row.key]
        why = {"version_id": group.row.key[0], "why": "the version was made here, and does not change"}
        found: dict[bool, tuple[Outcome, tuple[Finding, ...]]] = {
            True: (Outcome.MIGRATED, (Finding(Reason.MADE_HERE, {}),)),
            False: (Outcome.QUARANTINED, (Finding(Reason.UNSUPPORTED, why),)),
        }
        explained = before.source_hash == group_hash(group)
        for one in group.more:
            known = IdMap(self._tx).known(one.entity, [one.key]).get(one.key)
            is_as_before = known is not None and known.source_hash == row_hash(one)
            is_same = is_as_before and known is not None and known.outcome is Outcome.MIGRATED
            explained = explained or not is_as_before
            self._plan.landed.append(Landed(Entity(one.entity), one.key, found[is_same][0], new_id, found[is_same][1]))
        is_same = before.outcome is Outcome.MIGRATED and explained
        self._plan.landed.append(Landed(Entity.VERSIONS, group.row.key, found[is_same][0], new_id, found[is_same][1]))

    def _is_taken(self, facts: _Facts, dataset_id: int, number: int) -> bool:
        holder = facts.holders.get((dataset_id, number))
        if (dataset_id, number) in self._numbers:
            return True
        if holder is not None and holder.can_go:
            self._plan.forgotten += [id_ for id_ in holder.line if id_ not in self._plan.forgotten]
        return holder is not None and not holder.can_go

    def _id(self, facts: _Facts, legacy: int, earlier: tuple[int, bool] | None, parent: Ancestor | None) -> int:
        """The version's own id where it is free, and higher than its parent's; else one far above, where all keep their order."""
        if earlier is not None:
            return earlier[0]
        free = legacy not in facts.present
        return legacy if free and (parent is None or parent.version_id < legacy) else legacy + ELSEWHERE

    def _parent(self, facts: _Facts, row: SourceRow, columns: Columns) -> Ancestor | None:
        """The parent, where it is an older version of the same dataset with a lower number, and is here. No other edge is made up."""
        legacy = row.values.get("parent_version_id")
        if legacy is None:
            return None
        there = facts.parents.get(legacy)
        reason = None
        if there is None:
            reason = Reason.ORPHAN_PARENT
        elif there[0] != row.values["dataset_id"]:
            reason = Reason.CROSS_DATASET_PARENT
        elif legacy >= row.key[0] or not _is_number(there[1]) or there[1] >= row.values["version_number"]:
            reason = Reason.CYCLE
        else:
            new_id = facts.known[legacy][0] if legacy in facts.known else self._new_ids.get(legacy, 0)
            parent = self._made.get(new_id) or facts.ancestors.get(new_id)
            if parent is not None and parent.dataset_id == facts.homes[row.values["dataset_id"]].id:
                return parent
            reason = Reason.ORPHAN_PARENT
        columns.keep(parent_version_id=legacy)
        columns.find(reason, parent_version_id=legacy, **({} if there is None else {"dataset_id": there[0], "version_number": there[1]}))
        return None

    def _write(
        self, facts: _Facts, row: SourceRow, more: Sequence[SourceRow], columns: Columns, home: Home, new_id: int, parent: Ancestor | None
    ) -> None:
        author = facts.people.get(_author(row) or -1)
        if author is None:
            columns.find(Reason.UNKNOWN_OWNER, user_id=_author(row))
            author = facts.people[0]
        at = columns.at("ingestion_timestamp" if "ingestion_timestamp" in row.values else "created_at")
        message = (columns.text("message") if "message" in row.values else None) or ""
        composition = compose(row, [one for one in more if one.entity == Entity.VERSION_FILES], facts.stored)
        if composition.lacks_main:
            columns.find(Reason.MISSING_BYTES, file_id=row.values.get("file_id"), components=len(composition.parts))
        columns.keep(**plain(row.values, *KEPT))
        sheets, about_sheets = _sheets(more, self._zone, new_id)
        if sheets and composition.parts:
            composition.parts[0].legacy["sheets"] = sheets
        elif sheets:
            columns.keep(sheets=sheets)
        components = {part.name: part.stored for part in composition.parts}
        document = overlay(
            slug=home.slug, legacy_id=row.key[0], author=author.username, at=at, message=message, parent=parent, components=components
        )  # fmt: skip
        hashed, number = digest(document), row.values["version_number"]
        parent_id = None if parent is None else parent.version_id
        self._plan.versions.append(
            Version(
                new_id, home.id, number, message, parent_id, author.id, at, composition.parts, document, hashed, new_id not in facts.present
            )
        )
        self._made[new_id] = Ancestor(new_id, home.id, number, hashed, components)
        if facts.present.get(new_id, home.id) != home.id:
            raise AssertionError(f"version {row.key[0]} came along in another dataset")
        self._plan.landed.append(columns.landed(Entity.VERSIONS, row.key, new_id))
        self._plan.landed += _rows(composition, new_id)
        self._plan.landed += about_sheets

    # --- what follows ----------------------------------------------------------------------------------------------------------

    def _follow(self, changed: Mapping[int, Version]) -> None:
        """Overlays hold their parent's hash: those of what descends from a version follow hers, in the same transaction."""
        rows = VersionRows(self._tx)
        before = rows.ancestors(changed)
        moved = [id_ for id_, version in changed.items() if before[id_].overlay_hash != version.overlay_hash]
        heirs = [heir for heir in rows.descendants(moved) if heir.id not in self._made or not heir.imported]
        wanted = {id_ for heir in heirs for id_ in (heir.id, heir.parent_id, heir.merge_parent_id) if id_ is not None}
        known = dict(rows.ancestors(wanted - self._made.keys())) | self._made
        for heir in heirs:
            own = known[heir.id]
            if not heir.imported:
                parents = {"parent": known[heir.parent_id].overlay_hash}
                if heir.merge_parent_id is not None:
                    parents["merge_parent"] = known[heir.merge_parent_id].overlay_hash
                with self._files.verified_chunks(FileId(heir.overlay_file_id)) as chunks:
                    document = rechained(b"".join(chunks), parents)
                hashed = digest(document)
                known[heir.id] = replace(own, overlay_hash=hashed)
                self._plan.followers.append(Follower(heir.id, document, hashed))
                continue
            document = overlay(
                slug=heir.slug, legacy_id=heir.legacy_id, author=heir.author, at=heir.at, message=heir.message,
                parent=known[heir.parent_id], components=own.components,
            )  # fmt: skip
            hashed = digest(document)
            known[heir.id] = replace(own, overlay_hash=hashed)
            self._plan.followers.append(Follower(heir.id, document, hashed))


def _is_number(value: object) -> bool:
    return isinstance(value, int) and 0 < value < 2**31


def _author(row: SourceRow) -> int | None:
    found = row.values.get("uploaded_by", row.values.get("created_by"))
    return found if isinstance(found, int) else None


def _rows(composition: Composition, new_id: int) -> list[Landed]:
    """What became of the rows of `dataset_version_files`."""
    landed = []
    for key, findings in composition.rows.items():
        lost = key in composition.lost
        waiting = lost or any(meaning(finding.reason).needs_decision for finding in findings)
        landed.append(
            Landed(Entity.VERSION_FILES, key, Outcome.QUARANTINED if waiting else Outcome.MIGRATED, None if lost else new_id, findings)
        )
    return landed


def _sheets(more: Sequence[SourceRow], zone: ZoneInfo, new_id: int) -> tuple[list[dict[str, Any]], list[Landed]]:
    """The sheets of a version in their order, as facts, and what became of their rows."""
    sheets: dict[int, dict[str, Any]] = {}
    landed = []
    rows = sorted((row for row in more if row.entity == Entity.SHEETS), key=lambda row: (row.values["sheet_index"], row.key))
    for row in rows:
        columns = Columns(row, zone)
        columns.keep(id=row.key[0], name=columns.text("name"), index=row.values["sheet_index"], description=columns.text("description"))
        sheets[row.key[0]] = columns.kept
        landed.append(columns.landed(Entity.SHEETS, row.key, new_id)._replace(kept=None))
    for row in sorted((row for row in more if row.entity == Entity.SHEET_METADATA), key=lambda row: row.key):
        columns = Columns(row, zone)
        metadata = columns.document("metadata")
        sheets[row.values["sheet_id"]].setdefault("metadata", metadata)
        columns.keep(**plain(row.values, "profiling_report_file_id"))
        landed.append(columns.landed(Entity.SHEET_METADATA, row.key, new_id))
    return list(sheets.values()), landed
