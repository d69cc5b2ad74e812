"""Turning arrivals into versions."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

from dsplatform.core.access import checks_permission, internal, requires_right
from dsplatform.core.database import Database, Row, Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Conflict, Denied, Invalid, NotFound, Unavailable
from dsplatform.core.failpoints import reach
from dsplatform.core.interfaces import AccessControl, DatasetDirectory, FileKeeper, SchemaReader, Upload, VersionWriter
from dsplatform.core.types import (
    MAIN,
    PermissionType,
    PlatformRight,
    VersionId,
    dataset_name,
    file_path,
    pointer_name,
)
from dsplatform.core.values import CommitMode, Committed, Content, DatasetRef, Refused, VersionChange
from dsplatform.ingestion.items import Item, groups_of, no_twins
from dsplatform.ingestion.model import Claimed, Discovery, InboxEntry, InboxState, IngestReport, Outcome, Place, Sighting, place_of
from dsplatform.ingestion.repository import Inbox
from dsplatform.ingestion.sources import Drop, sources_below

logger = logging.getLogger(__name__)

EMPTY = "it is empty (0 bytes): drop it again when it has content"
CHANGED = "it changed after it was seen complete: it is taken when it stands still"


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

    @internal("numbers, for who watches the process")
    def standing(self) -> Discovery:
        """What waits, as the last look wrote it down."""
        with self._db.autocommit() as tx:
            return Inbox(tx, self._folder.name).standing(complete=True)

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
        items: list[Item] = []
        for arrival in claimed:
            sighting = arrival.sighting
            try:
                if sighting.refusal:
                    raise Invalid(sighting.refusal)
                items.append(Item(sighting.path, self._folder.source(sighting), place_of(sighting.path), arrival.id))
            except Invalid as err:
                report.outcomes.append(Outcome(sighting.path, InboxState.REJECTED, reason=str(err), inbox_id=arrival.id))
        sightings = {arrival.id: arrival.sighting for arrival in claimed}

        def stands_still(item: Item) -> bool:
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
        nothing is left out by accident. The files stay where they are. Raises `Denied`.
        """
        name, pointer = dataset_name_or_slug(dataset), pointer_name(branch)
        self._permit(actor, name)
        report = IngestReport()
        items: list[Item] = []
        for source in sources_below(paths):
            try:
                if source.refusal:
                    raise Invalid(source.refusal)
                items.append(Item(source.file, source.file, Place(name, pointer, file_path(source.name))))
            except Invalid as err:
                report.outcomes.append(
                    Outcome(os.fsencode(source.file).decode(errors="backslashreplace"), InboxState.REJECTED, reason=str(err))
                )
        if not items and not report.outcomes:
            raise Invalid(f"there is no file to take at or below {', '.join(str(path) for path in paths)}")
        no_twins(items)
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
        items: Sequence[Item],
        message: str,
        mode: CommitMode,
        stands_still: Callable[[Item], bool],
        within: Callable[[Transaction, Sequence[Outcome]], None] | None,
    ) -> IngestReport:
        """Stores the files behind one durability barrier and commits one version per dataset and branch."""
        started = time.monotonic()
        report = IngestReport()
        report.postponed += [item.outcome(InboxState.SEEN, CHANGED) for item in items if not stands_still(item)]
        gone = {outcome.path for outcome in report.postponed}
        items = [item for item in items if item.path not in gone]
        with self._files.upload() as upload:
            taken: list[tuple[Item, Content]] = []
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
        taken: Sequence[tuple[Item, Content]],
        message: str,
        mode: CommitMode,
        within: Callable[[Transaction, Sequence[Outcome]], None] | None,
        report: IngestReport,
    ) -> None:
        changes: list[VersionChange] = []
        groups: list[list[tuple[Item, Content]]] = []
        for group in groups_of(taken, report):
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

    def _permit(self, actor: Actor, name: str) -> None:
        """Before anything is read: raises `Denied` where the actor may neither write the dataset nor make it. The commit asks again."""
        with self._db.autocommit() as tx:
            try:
                found = self._datasets.find(tx, actor, name)
            except NotFound:
                self._access.require_right(actor, PlatformRight.CREATE)
            else:
                self._access.require(tx, actor, PermissionType.WRITE, found.id)

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
            return self._shown(tx, Inbox(tx, self._folder.name).entries(limit=limit, only=only))

    @requires_right(PlatformRight.OPERATE)
    def arrivals(
        self, _actor: Actor, *, before: int | None = None, limit: int = 200, only: InboxState | None = None
    ) -> Sequence[InboxEntry]:
        """Arrivals of the drop folder with ids below `before`, the latest first: page by page."""
        with self._db.transaction() as tx:
            return self._shown(tx, Inbox(tx, self._folder.name).arrivals(before=before, limit=limit, only=only))

    @requires_right(PlatformRight.OPERATE)
    def count(self, _actor: Actor, only: InboxState | None = None) -> int:
        """How many arrivals there were."""
        with self._db.autocommit() as tx:
            return Inbox(tx, self._folder.name).count(only)

    def _shown(self, tx: Transaction, rows: Sequence[Row]) -> list[InboxEntry]:
        version_ids = {VersionId(row["version_id"]) for row in rows if row["version_id"] is not None}
        figures = {version_id: self._schemas.figures(tx, version_id) for version_id in version_ids}
        return [InboxEntry.of(row, figures.get(row["version_id"])) for row in rows]


def dataset_name_or_slug(name: str) -> str:
    """A dataset's name by the rule, or a slug `name~2`."""
    base, tilde, number = name.rpartition("~")
    return name if tilde and number.isdecimal() and dataset_name(base) else dataset_name(name)


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
