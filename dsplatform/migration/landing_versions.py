"""Versions come along with their components, their sheets and an overlay each."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO

from dsplatform.core.database import Transaction
from dsplatform.migration.landed_rows import IdMap
from dsplatform.migration.model import Entity, Gone, Group, Key, Landed, SourceRow
from dsplatform.migration.people_rows import PeopleRows
from dsplatform.migration.source import Snapshot
from dsplatform.migration.step import Prepared, Step, Surroundings
from dsplatform.migration.version_plan import Plan, Planner
from dsplatform.migration.version_rows import VersionRows

ROWS = 10_000
"""Rows of a transaction, about: a version may have many components."""


class VersionsStep(Step[Plan]):
    """Versions with their rows of `dataset_version_files`, `sheets` and `sheet_metadata`. Their schemas are captured anew, later."""

    entity = Entity.VERSIONS
    attached = (Entity.VERSION_FILES, Entity.SHEETS, Entity.SHEET_METADATA)

    def __init__(self, around: Surroundings) -> None:
        self._db = around.db
        self._files = around.files
        self._zone = around.zone

    def begin(self, tx: Transaction, highest: Key | None) -> None:
        """Ours begin far above theirs."""
        PeopleRows(tx).lead("dataset_versions", highest[0] if highest else 0)

    def gather(self, source: Snapshot, rows: Sequence[SourceRow]) -> Sequence[Group]:
        """Each version with its rows of the three other tables, as far as there are these tables."""
        ids = [row.key[0] for row in rows]
        more: dict[int, list[SourceRow]] = {id_: [] for id_ in ids}
        if source.has("dataset_version_files"):
            for row in source.where("dataset_version_files", "version_id", ids):
                more[row.key[0]].append(row)
        if source.has("sheets"):
            of_sheet = {}
            for row in source.where("sheets", "dataset_version_id", ids):
                more[row.values["dataset_version_id"]].append(row)
                of_sheet[row.key[0]] = row.values["dataset_version_id"]
            if of_sheet and source.has("sheet_metadata"):
                for row in source.where("sheet_metadata", "sheet_id", list(of_sheet)):
                    more[of_sheet[row.values["sheet_id"]]].append(row)
        return [Group(row, tuple(more[row.key[0]])) for row in rows]

    def portions(self, groups: Sequence[Group]) -> Iterable[Sequence[Group]]:
        """Portions of so many rows."""
        portion: list[Group] = []
        rows = 0
        for group in groups:
            if portion and rows + len(group.more) > ROWS:
                yield portion
                portion, rows = [], 0
            portion.append(group)
            rows += 1 + len(group.more)
        if portion:
            yield portion

    def needs(self, groups: Sequence[Group]) -> Mapping[Entity, Collection[Key]]:
        """The files that the versions name."""
        own = {(row.values["file_id"],) for row, _ in groups if row.values.get("file_id") is not None}
        return {Entity.FILES: own | {(row.key[1],) for _, more in groups for row in more if row.entity == Entity.VERSION_FILES}}

    @contextmanager
    def prepare(self, source: Snapshot, groups: Sequence[Group]) -> Iterator[Prepared[Plan]]:
        """Works out what each version is here, and writes the overlays, behind one barrier."""
        with self._db.autocommit() as tx:
            plan = Planner(tx, source, self._zone, self._files).plan(groups)
        with self._files.upload() as upload:
            upload.add([BytesIO(document) for document, _ in plan.overlays], surely_new=not plan.repeats)
            upload.seal()
            yield Prepared(plan, upload)

    def land(self, tx: Transaction, groups: Sequence[Group], prepared: Prepared[Plan]) -> Iterable[Landed]:
        """Writes versions and components, and keeps `main` where it is ours to keep."""
        plan, rows = prepared.work, VersionRows(tx)
        if prepared.upload is None:
            raise AssertionError("versions are prepared with the upload of their overlays")
        overlays = prepared.upload.record(tx, [hashed for _, hashed in plan.overlays])
        touched = {version.dataset_id for version in plan.versions}
        if plan.forgotten:
            touched.update(rows.purge(plan.forgotten))
            rows.forget(plan.forgotten)
        rows.revive(plan.revived)
        written = [(version, version.row(overlays[version.overlay_hash])) for version in plan.versions]
        rows.add([row for version, row in written if version.is_new])
        rows.change([row for version, row in written if not version.is_new])
        rows.follow({one.id: overlays[one.overlay_hash] for one in plan.followers})
        rows.keep_main(touched)
        return plan.landed

    def remove(self, tx: Transaction, gone: Sequence[Gone]) -> None:
        """Takes the files of these versions, and the names that they have."""
        rows = VersionRows(tx)
        rows.keep_main(rows.purge([one.new_id for one in gone if one.new_id is not None]))

    def owners(self, tx: Transaction, source: Snapshot, attached: Sequence[tuple[Entity, Key]]) -> Collection[Key]:
        """Of a row of `dataset_version_files` the key says it; of sheets the row, or else what became of it."""
        found: set[Key] = {(key[0],) for entity, key in attached if entity is Entity.VERSION_FILES}
        sheets = [key[0] for entity, key in attached if entity is Entity.SHEETS]
        about = [key[0] for entity, key in attached if entity is Entity.SHEET_METADATA]
        if sheets:
            found |= set(source.tuples("SELECT dataset_version_id FROM sheets WHERE id = ANY(%s)", sheets))
        if about:
            found |= set(
                source.tuples(
                    "SELECT s.dataset_version_id FROM sheet_metadata m JOIN sheets s ON s.id = m.sheet_id WHERE m.id = ANY(%s)", about
                )
            )
        id_map = IdMap(tx)
        for entity, ids in ((Entity.SHEETS, sheets), (Entity.SHEET_METADATA, about)):
            came = {one.new_id for one in id_map.known(entity, [(id_,) for id_ in ids]).values() if one.new_id is not None}
            found.update(id_map.legacy_keys(Entity.VERSIONS, came))
        return found

    def dependents(self, source: Snapshot, keys: Sequence[Key]) -> Mapping[Entity, Collection[Key]]:
        """Branches and tags that point at these versions, which may have waited for them."""
        ids = [key[0] for key in keys]
        return {
            entity: {row.key for row in source.where(entity, "dataset_version_id", ids)}
            for entity in (Entity.POINTERS, Entity.VERSION_TAGS)
            if source.has(entity)
        }
