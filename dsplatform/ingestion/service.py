"""Turning arrivals into versions."""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from dsplatform.core.access import checks_permission, internal, requires_right
from dsplatform.core.database import Database, Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Conflict, Denied, Invalid, NotFound, Unavailable
from dsplatform.core.failpoints import reach
from dsplatform.core.interfaces import AccessControl, DatasetDirectory, FileKeeper, SchemaReader, Upload, VersionWriter
from dsplatform.core.types import (
    MAIN,
    FilePath,
    PermissionType,
    PlatformRight,
    PointerName,
    VersionId,
    dataset_name,
    file_path,
    pointer_name,
)
from dsplatform.core.values import CommitMode, Committed, Content, DatasetRef, Refused, Source, VersionChange
from dsplatform.ingestion.model import Claimed, Discovery, InboxEntry, InboxState, IngestReport, Outcome, Place, Sighting, place_of
from dsplatform.ingestion.repository import Inbox
from dsplatform.ingestion.sources import Drop, sources_below

logger = logging.getLogger(__name__)

EMPTY = "it is empty (0 bytes): drop it again when it has content"
TOLD = 10
"""Sentences of a quarantined version's report that stand with each of its files."""
CHANGED = "it changed after it was seen complete: it is taken when it stands still"


@dataclass(frozen=True)
class _Item:
    """One file on its way into a version."""

    path: str
    source: Source
    place: Place
    inbox_id: int | None = None

    def outcome(self, state: InboxState, reason: str) -> Outcome:
        """Without a version, for that reason."""
        place = self.place
        return Outcome(self.path, state, place.dataset, place.branch, place.component, reason=reason, inbox_id=self.inbox_id)

    def decided(self, content: Content, committed: Committed) -> Outcome:
        """With the version that holds it."""
        return Outcome(
            self.path,
            InboxState.ACCEPTED if committed.created else InboxState.DUPLICATE,
            committed.dataset.slug,
            committed.branch,
            self.place.component,
            content.file_size,
            content.content_hash,
            stored=content.is_new,
            version_id=committed.version_id,
            version_number=committed.version_number,
            inbox_id=self.inbox_id,
            note=_quarantined(committed),
        )


def _quarantined(committed: Committed) -> str | None:
    """What a person has to know of a version that a contract kept from its branch."""
    if committed.quarantined_from is None:
        return None
    return (
        f"kept from {committed.quarantined_from} by its contract, and stored on {committed.branch}: {'; '.join(committed.breaches[:TOLD])}"
        f"{f'; and {len(committed.breaches) - TOLD} more' if len(committed.breaches) > TOLD else ''}"
    )


class IngestionService:
    """The inbox and what is done with it."""

    def __init__(
        self,
        db: Database,
        files: FileKeeper,
        datasets: DatasetDirectory,
        versions: VersionWriter,
        schemas: SchemaReader,
        access: AccessControl,
        folder: Drop,
        *,
        drop_user: str,
        settle_seconds: float,
        batch_files: int,
    ) -> None:
        self._db = db
        self._files = files
        self._datasets = datasets
        self._versions = versions
        self._schemas = schemas
        self._access = access
        self._folder = folder
        self._drop_user = drop_user
        self._settle_seconds = settle_seconds
        self._batch_files = batch_files

    # --- the drop folder -------------------------------------------------------------------------------------------------------

    @internal("what is dropped is taken on behalf of the user that the settings name")
    def discover(self) -> Discovery:
        """Lists the drop folder and writes down what is there. Moves and takes nothing; may be repeated at will."""
        look = self._folder.look()
        with self._db.transaction() as tx:
            inbox = Inbox(tx, self._folder.name)
            inbox.free_dead_claims()
            inbox.sight(look.sightings, self._settle_seconds, complete=look.complete)
            return inbox.standing(complete=look.complete)

    @internal("what is dropped is taken on behalf of the user that the settings name")
    def ingest_ready(self, *, run_id: str | None = None) -> IngestReport:
        """Takes every complete arrival, batch after batch, until none is left. Any number of processes may do this at once.

        A crash leaves claimed arrivals that the next run takes up, and files to be moved that the next run moves.
        """
        report = IngestReport()
        claimer = f"inbox:{uuid4()}"
        with self._db.advisory_lock(claimer):
            self._put_away()
            while True:
                with self._db.transaction() as tx:
                    inbox = Inbox(tx, self._folder.name)
                    inbox.free_dead_claims()
                    claimed = inbox.claim(claimer, run_id, self._batch_files)
                if not claimed:
                    return report
                reach("inbox.claimed")
                try:
                    report.extend(self._ingest_claimed(claimer, claimed))
                except BaseException:
                    with self._db.transaction() as tx:
                        Inbox(tx, self._folder.name).release(claimer)
                    raise
                reach("inbox.decided")
                self._put_away()

    def _ingest_claimed(self, claimer: str, claimed: Sequence[Claimed]) -> IngestReport:
        with self._db.transaction() as tx:
            actor = self._access.actor(tx, self._drop_user)
        report = IngestReport()
        items: list[_Item] = []
        for arrival in claimed:
            sighting = arrival.sighting
            try:
                if sighting.refusal:
                    raise Invalid(sighting.refusal)
                items.append(_Item(sighting.path, self._folder.source(sighting), place_of(sighting.path), arrival.id))
            except Invalid as err:
                report.outcomes.append(Outcome(sighting.path, InboxState.REJECTED, reason=str(err), inbox_id=arrival.id))
        sightings = {arrival.id: arrival.sighting for arrival in claimed}

        def stands_still(item: _Item) -> bool:
            return self._folder.still_as_seen(sightings[item.inbox_id or 0])

        def within(tx: Transaction, outcomes: Sequence[Outcome]) -> None:
            if Inbox(tx, self._folder.name).decide(claimer, outcomes) != len(outcomes):
                raise Conflict("these arrivals were taken by another run")

        report.extend(self._ingest(actor, items, "{} from the drop folder", CommitMode.PATCH, stands_still, within))
        with self._db.transaction() as tx:
            inbox = Inbox(tx, self._folder.name)
            inbox.decide(claimer, report.rejected)
            inbox.release(claimer, [outcome.inbox_id for outcome in report.postponed if outcome.inbox_id is not None])
        return report

    def _put_away(self) -> None:
        """Moves files that have their outcome out of the folder, those of a killed predecessor too."""
        while True:
            with self._db.transaction() as tx:
                unmoved = Inbox(tx, self._folder.name).unmoved(self._folder.moves, 1_000)
            with ThreadPoolExecutor(self._folder.parallel, thread_name_prefix="put-away") as pool:
                done = [inbox_id for inbox_id in pool.map(self._put_one_away, unmoved) if inbox_id is not None]
            reach("inbox.put_away")
            with self._db.transaction() as tx:
                Inbox(tx, self._folder.name).moved(done)
            if len(done) < 1_000:
                return

    def _put_one_away(self, unmoved: tuple[Sighting, Outcome]) -> int | None:
        sighting, outcome = unmoved
        try:
            self._folder.put_away(sighting, outcome)
        except OSError as err:
            logger.warning("cannot move %s out of the drop folder: %s", sighting.path, err)
            return None
        return outcome.inbox_id

    # --- named files -----------------------------------------------------------------------------------------------------------

    @checks_permission(PermissionType.WRITE)
    def ingest_paths(
        self,
        actor: Actor,
        paths: Sequence[Path],
        dataset: str,
        *,
        branch: str = MAIN,
        message: str = "",
        replace_all: bool = False,
    ) -> IngestReport:
        """Takes files of this machine, and whole folders with their relative paths as names, into one version of a dataset.

        What cannot be taken is refused with its reason, and the rest goes in; with `replace_all` a refusal stops the whole, so that
        nothing is left out by accident. The files stay where they are.
        """
        name, pointer = dataset_name_or_slug(dataset), pointer_name(branch)
        report = IngestReport()
        items: list[_Item] = []
        for source in sources_below(paths):
            try:
                if source.refusal:
                    raise Invalid(source.refusal)
                items.append(_Item(source.file, source.file, Place(name, pointer, file_path(source.name))))
            except Invalid as err:
                report.outcomes.append(
                    Outcome(os.fsencode(source.file).decode(errors="backslashreplace"), InboxState.REJECTED, reason=str(err))
                )
        if not items and not report.outcomes:
            raise Invalid(f"there is no file to take at or below {', '.join(str(path) for path in paths)}")
        _no_twins(items)
        if replace_all and report.outcomes:
            first = report.outcomes[0]
            raise Invalid(
                f"{first.path} cannot be taken: {first.reason}; nothing was changed, because --replace would drop it from the dataset"
            )
        mode = CommitMode.REPLACE if replace_all else CommitMode.PATCH
        report.extend(self._ingest(actor, items, message or "{}", mode, lambda _item: True, None))
        return report

    # --- both ------------------------------------------------------------------------------------------------------------------

    def _ingest(
        self,
        actor: Actor,
        items: Sequence[_Item],
        message: str,
        mode: CommitMode,
        stands_still: Callable[[_Item], bool],
        within: Callable[[Transaction, Sequence[Outcome]], None] | None,
    ) -> IngestReport:
        """Stores the files behind one durability barrier and commits one version per dataset and branch."""
        started = time.monotonic()
        report = IngestReport()
        report.postponed += [item.outcome(InboxState.SEEN, CHANGED) for item in items if not stands_still(item)]
        gone = {outcome.path for outcome in report.postponed}
        items = [item for item in items if item.path not in gone]
        with self._files.upload() as upload:
            taken: list[tuple[_Item, Content]] = []
            for item, answer in zip(items, upload.add([item.source for item in items]), strict=True):
                if isinstance(answer, Refused) and answer.may_retry:
                    report.postponed.append(item.outcome(InboxState.SEEN, answer.reason))
                elif isinstance(answer, Refused):
                    report.outcomes.append(item.outcome(InboxState.REJECTED, answer.reason))
                elif answer.file_size == 0:
                    report.outcomes.append(item.outcome(InboxState.REJECTED, EMPTY))
                elif not stands_still(item):
                    report.postponed.append(item.outcome(InboxState.SEEN, CHANGED))
                else:
                    taken.append((item, answer))
            if mode is CommitMode.REPLACE and len(taken) < len(items):
                missing = [*report.outcomes, *report.postponed][0]
                raise Invalid(f"{missing.path} cannot be taken: {missing.reason}; nothing was changed, because --replace would drop it")
            self._commit(actor, upload, taken, message, mode, within, report)
        report.duration_s = time.monotonic() - started
        return report

    def _commit(
        self,
        actor: Actor,
        upload: Upload,
        taken: Sequence[tuple[_Item, Content]],
        message: str,
        mode: CommitMode,
        within: Callable[[Transaction, Sequence[Outcome]], None] | None,
        report: IngestReport,
    ) -> None:
        changes: list[VersionChange] = []
        groups: list[list[tuple[_Item, Content]]] = []
        for group in _groups(taken, report):
            place = group[0][0].place
            put = {item.place.component: content for item, content in group}
            text = message.format(_files(len(group))) if "{}" in message else message
            try:
                dataset = self._dataset(actor, place.dataset)
            except (Invalid, Denied, NotFound, Conflict) as err:
                report.outcomes += [item.outcome(InboxState.REJECTED, str(err)) for item, _ in group]
                continue
            changes.append(VersionChange(actor, dataset, put, branch=place.branch, message=text, mode=mode))
            groups.append(group)

        def decided(index: int, committed: Committed) -> list[Outcome]:
            return [item.decided(content, committed) for item, content in groups[index]]

        def record(tx: Transaction, index: int, committed: Committed) -> None:
            if within is not None:
                within(tx, decided(index, committed))

        for index, answer in enumerate(self._versions.publish(upload, changes, record)):
            if isinstance(answer, Committed):
                report.versions.append(answer)
                report.outcomes += decided(index, answer)
            elif isinstance(answer, Unavailable):
                raise answer
            else:
                report.outcomes += [item.outcome(InboxState.REJECTED, str(answer)) for item, _ in groups[index]]

    def _dataset(self, actor: Actor, name: str) -> DatasetRef:
        """The dataset that the name means to the actor, made where it is missing; checked before any byte is named."""
        with self._db.transaction() as tx:
            dataset = self._datasets.ensure(tx, actor, name)
            self._access.require(tx, actor, PermissionType.WRITE, dataset.id)
            return dataset

    # --- questions -------------------------------------------------------------------------------------------------------------

    @requires_right(PlatformRight.OPERATE)
    def outcomes(self, _actor: Actor, *, limit: int = 200, only: InboxState | None = None) -> Sequence[InboxEntry]:
        """Arrivals of the drop folder: those without an outcome first, then the latest outcomes."""
        with self._db.transaction() as tx:
            rows = Inbox(tx, self._folder.name).entries(limit=limit, only=only)
            version_ids = {VersionId(row["version_id"]) for row in rows if row["version_id"] is not None}
            figures: dict[int, Mapping[FilePath, tuple[int | None, int]] | None] = {
                version_id: self._schemas.figures(tx, version_id) for version_id in version_ids
            }
        entries = []
        for row in rows:
            captured = figures.get(row["version_id"])
            rows_, columns = (captured or {}).get(row["component"], (None, None))
            entries.append(
                InboxEntry(
                    row["id"],
                    row["path"],
                    row["dataset"] or row["path"].partition("/")[0],
                    row["branch"] or "",
                    row["state"],
                    row["reason"],
                    row["version_number"],
                    rows_,
                    columns,
                    row["stored"],
                    row["file_size"],
                    captured is not None,
                    row["decided_at"].isoformat() if row["decided_at"] else None,
                )
            )
        return entries


def dataset_name_or_slug(name: str) -> str:
    """A dataset's name by the rule, or a slug `name~2`."""
    base, tilde, number = name.rpartition("~")
    return name if tilde and number.isdecimal() and dataset_name(base) else dataset_name(name)


def _no_twins(items: Sequence[_Item]) -> None:
    """Raises `Invalid` when two files would be the same component of one version."""
    seen: dict[FilePath, _Item] = {}
    for item in items:
        twin = seen.setdefault(item.place.component, item)
        if twin is not item:
            raise Invalid(f"{twin.path} and {item.path} would both be component {item.place.component!r}: ingest them one after the other")


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _groups(taken: Iterable[tuple[_Item, Content]], report: IngestReport) -> Iterator[list[tuple[_Item, Content]]]:
    """One group per dataset and branch. Two files that mean the same component make two groups, the later after the earlier."""
    open_groups: dict[tuple[str, PointerName], dict[FilePath, tuple[_Item, Content]]] = {}
    full: list[list[tuple[_Item, Content]]] = []
    for item, content in taken:
        place = item.place
        group = open_groups.setdefault((place.dataset, place.branch), {})
        twin = group.get(place.component)
        if twin is not None and os.path.basename(twin[0].path) != os.path.basename(item.path):
            reason = f"its name equals that of {twin[0].path!r} in Unicode's normal form NFC: rename one of them"
            report.outcomes.append(item.outcome(InboxState.REJECTED, reason))
            continue
        if twin is not None:
            full.append(list(group.values()))
            group = open_groups[place.dataset, place.branch] = {}
        group[place.component] = (item, content)
    yield from full
    yield from (list(group.values()) for group in open_groups.values())
