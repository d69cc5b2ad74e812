"""The way back: the rows of the legacy system say what we say now, so that it can be written to again and nothing is lost.

Nothing is replayed. Each dataset that changed here is looked at as it is now, and the legacy rows are made to say the same, in one
transaction that its closed gate lets through; what they say already is not written. So repeating it, also after a crash, is harmless. New
files are whole in the legacy tree before a row names them. What came about here is then accounted for as if it had come along, so that
following the legacy system begins from what it was given. What that system has no words for is told in sentences.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from dsplatform.core.database import Database
from dsplatform.core.domain import Actor
from dsplatform.core.interfaces import FileKeeper
from dsplatform.migration.canonical import group_hash, row_hash
from dsplatform.migration.changes import ChangeLog
from dsplatform.migration.model import Entity, Group, Key
from dsplatform.migration.old_numbers import APART
from dsplatform.migration.people_rows import PeopleRows
from dsplatform.migration.reverse_account import ReverseAccount
from dsplatform.migration.reverse_dataset import ReverseDataset
from dsplatform.migration.reverse_files import ReverseFiles, Tables
from dsplatform.migration.reverse_ours import Ours, OursReader
from dsplatform.migration.reverse_people import ReversePeople
from dsplatform.migration.reverse_rights import ReverseFileRights
from dsplatform.migration.reverse_rows import NotHeld, ReverseRows
from dsplatform.migration.routing_rows import Master
from dsplatform.migration.run_rows import Runs
from dsplatform.migration.service import MigrationService, Session
from dsplatform.migration.source import LegacyDatabase, Snapshot

LED = ("users", "datasets", "dataset_versions")
"""Tables whose ids both systems give out."""
TOLD = 10
"""Sentences of one error."""


class Reverse:
    """Writes into the legacy system what changed here."""

    def __init__(
        self,
        db: Database,
        log: ChangeLog,
        legacy: LegacyDatabase,
        migration: MigrationService,
        files: FileKeeper,
        tables: Tables,
        folder: Path | None,
        zone: ZoneInfo,
        system: Callable[[], Actor],
    ) -> None:
        """`folder`: where the legacy system's own uploads lie. `system`: who may read every dataset."""
        self._db = db
        self._log = log
        self._legacy = legacy
        self._migration = migration
        self._files = ReverseFiles(tables, files, folder)
        self._zone = zone
        self._system = system

    def bring(self, actor: Actor, datasets: Sequence[int], users: Sequence[int], files: Sequence[int] = ()) -> Sequence[str]:
        """These datasets and users, and the rights on these files, as they are now. Answers, in sentences, what the legacy system cannot
        express. Repeating it is harmless. Raises `AlreadyRunning`, `Unavailable`, and `NotHeld` for what that system cannot hold, once
        everything else was brought."""
        unsaid: dict[str, None] = {}
        refused: list[str] = []
        if datasets or users or files:
            about = {"datasets": len(datasets), "users": len(users), "files": len(files)}
            with self._migration.session(actor, "reverse", about, master=Master.NEW) as session:
                work = _Work(self._db, self._log, self._legacy, self._files, self._zone, self._system(), session)
                parts: list[Callable[[], Sequence[str]]] = [partial(work.people, users, users)]
                parts += [partial(work.dataset, dataset) for dataset in sorted(datasets)]
                parts.append(partial(work.file_rights, files))
                for part in parts:
                    try:
                        unsaid |= dict.fromkeys(part())
                    except NotHeld as err:
                        refused.append(str(err))
        if refused:
            raise NotHeld(
                f"{'; '.join(refused[:TOLD])}: {len(refused)} in all. Change it here, or have the legacy database hold it, and repeat"
            )
        self._lead()
        return list(unsaid)

    def _lead(self) -> None:
        """Where nothing changes here any more: the legacy system goes on above all ids that it was given, and we again far above it."""
        with self._db.autocommit() as tx:
            if tx.scalar(
                "SELECT EXISTS (SELECT 1 FROM datasets d JOIN legacy_id_map m ON m.entity = 'datasets' AND m.new_id = d.id "
                "AND m.deleted_at IS NULL WHERE NOT d.held AND d.deleted_at IS NULL)"
            ):
                return
            ours = {
                table: int(tx.scalar(f"SELECT coalesce(max(id), 0) FROM {table} WHERE id < {APART}"))  # noqa: S608 - constants
                for table in LED
            }
        with self._legacy.snapshot() as source, self._log.passing() as connection:
            highest = {table: ReverseRows(connection, source, self._zone).lead(table, id_) for table, id_ in ours.items()}
        with self._db.transaction() as tx:
            for table, id_ in highest.items():
                PeopleRows(tx).lead(table, id_)


class _Work:
    """The things of one run."""

    def __init__(
        self,
        db: Database,
        log: ChangeLog,
        legacy: LegacyDatabase,
        files: ReverseFiles,
        zone: ZoneInfo,
        system: Actor,
        session: Session,
    ) -> None:
        self._db = db
        self._log = log
        self._legacy = legacy
        self._files = files
        self._zone = zone
        self._system = system
        self._lander = session.lander
        self._new_files: set[int] = set()
        """Contents that got a number there in this run."""
        self._steps = {step.entity: step for step in session.steps}

    @contextmanager
    def _account(self) -> Iterator[tuple[Snapshot, ReverseAccount]]:
        with self._legacy.snapshot() as source, self._db.transaction() as tx:
            Runs(tx).hold(self._lander.run_id)
            yield source, ReverseAccount(tx, source, self._lander)

    def _reserve(self, entity: Entity, ids: Sequence[int]) -> None:
        """Things of ours whose number the legacy system cannot hold are known by one of its own from now on."""
        with self._db.autocommit() as tx:
            unfit = OursReader(tx, self._zone).unfit(entity, ids)
        if unfit:
            with self._legacy.snapshot() as source, self._log.passing() as connection:
                numbers = ReverseRows(connection, source, self._zone).numbers(entity, len(unfit))
            with self._account() as (_, account):
                account.place(entity, {(number,): id_ for number, id_ in zip(numbers, unfit, strict=True)})

    # --- users -----------------------------------------------------------------------------------------------------------------

    def people(self, ids: Sequence[int], touched: Sequence[int]) -> Sequence[str]:
        """These users; of those who are there already only what changed."""
        if not ids:
            return ()
        self._reserve(Entity.USERS, ids)
        people = ReversePeople()
        with self._db.autocommit() as tx:
            found = people.read(tx, ids)
        with self._legacy.snapshot() as source, self._log.passing() as connection:
            there, unsaid = people.write(ReverseRows(connection, source, self._zone), found, touched)
        with self._account() as (_, account):
            changed = [one for one in found if one.user.id in there and (one.user.new_id in touched or not one.is_accounted)]
            account.place(Entity.USERS, {(one.user.id,): one.user.new_id for one in changed})
            account.rehearse(self._steps[Entity.USERS], [(one.user.id,) for one in changed])
            account.remark(Entity.USERS, [(one.user.id,) for one in changed if one.is_otherwise])
        return unsaid

    # --- datasets --------------------------------------------------------------------------------------------------------------

    def dataset(self, dataset_id: int) -> Sequence[str]:
        """One dataset."""
        self._reserve(Entity.DATASETS, [dataset_id])
        with self._db.autocommit() as tx:
            living = OursReader(tx, self._zone).living_versions(dataset_id)
        self._reserve(Entity.VERSIONS, living)
        with self._db.autocommit() as tx:
            ours = OursReader(tx, self._zone).read(dataset_id)
        if ours is None:
            return ()
        unsaid = [*ours.unsaid, *self.people(ours.people, ())]
        with self._db.autocommit() as tx, self._legacy.snapshot() as source:
            ours = OursReader(tx, self._zone).read(dataset_id)  # whoever got a number just now is called by it
            if ours is None:
                return unsaid
            plan = ReverseDataset(OursReader(tx, self._zone), source, ours)
        with self._account() as (_, account):
            for entity, keys in plan.doomed:
                account.bury(entity, keys)
            account.orphaned(plan.orphaned)
            account.orphan_files()
        written = {
            part.number: self._files.write(self._system, plan.part(version, part), ours.number, version.id)
            for version, parts in plan.missing
            for part in parts
            if part.number not in plan.files_there
        }
        with self._legacy.snapshot() as source, self._log.passing() as connection:
            unsaid += plan.write(ReverseRows(connection, source, self._zone), written)
        self._account_for(ours, plan)
        self._new_files |= {part.file_id for _, parts in plan.new for part in parts}
        return unsaid

    # --- rights on files -------------------------------------------------------------------------------------------------------

    def file_rights(self, ids: Collection[int]) -> Sequence[str]:
        """Those on these contents, and on all that got a number there in this run."""
        wanted = {*ids, *self._new_files}
        if not wanted:
            return ()
        with self._db.autocommit() as tx, self._legacy.snapshot() as source:
            people = ReverseFileRights(tx, source, wanted).people
        unsaid = list(self.people(people, ()))
        with self._db.autocommit() as tx, self._legacy.snapshot() as source:
            rights = ReverseFileRights(tx, source, wanted)
        with self._account() as (_, account):
            for entity, keys in rights.surplus:
                account.bury(entity, keys)
        with self._legacy.snapshot() as source, self._log.passing() as connection:
            unsaid += rights.write(ReverseRows(connection, source, self._zone))
        with self._account() as (source, account):
            for entity, there in rights.keys(source):
                account.rehearse(self._steps[entity], there)
        return unsaid

    # --- accounting ------------------------------------------------------------------------------------------------------------

    def _account_for(self, ours: Ours, plan: ReverseDataset) -> None:
        with self._account() as (source, account):
            steps, number = self._steps, ours.number
            if plan.orphaned:
                account.seen(Entity.VERSIONS, self._hashes(source, [(id_,) for id_ in plan.orphaned]))
            if ours.dataset is None:
                return
            account.place(Entity.DATASETS, {(number,): ours.ref.id})
            if source.has(Entity.DATASET_TAGS):
                account.rehearse(steps[Entity.TAGS], [(row.key[1],) for row in source.where(Entity.DATASET_TAGS, "dataset_id", [number])])
            account.rehearse(steps[Entity.DATASETS], [(number,)])
            files: dict[Key, int] = {(part.number,): part.file_id for _, parts in plan.new for part in parts}
            bare: dict[Key, None] = {(id_,): None for version, parts in plan.new for id_ in plan.bare(version, parts)}
            rows = source.rows(Entity.FILES, [*files, *bare])
            account.made_here(Entity.FILES, {row.key: (files.get(row.key), row_hash(row)) for row in rows})
            versions: dict[Key, int] = {(version.id,): version.new_id for version in ours.versions}
            hashes = self._hashes(source, list(versions))
            account.made_here(Entity.VERSIONS, {key: (versions[key], hashed) for key, hashed in hashes.items()})
            if source.has(Entity.VERSION_FILES):
                rows = source.where(Entity.VERSION_FILES, "version_id", [version.id for version, _ in plan.new])
                account.made_here(Entity.VERSION_FILES, {row.key: (versions[row.key[:1]], row_hash(row)) for row in rows})
            for entity, of_sheets in plan.sheets(source).items():
                account.made_here(entity, {row.key: (versions[(version,)], row_hash(row)) for row, version in of_sheets})
            for entity, keys in plan.leaves(source).items():
                account.rehearse(steps[entity], keys)

    def _hashes(self, source: Snapshot, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        groups: Sequence[Group] = self._steps[Entity.VERSIONS].gather(source, source.rows(Entity.VERSIONS, keys))
        return {group.row.key: group_hash(group) for group in groups}
