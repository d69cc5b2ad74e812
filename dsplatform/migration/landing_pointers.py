"""Branches and version tags come along. `main` where nobody made one is the business of versions (`version_rows`)."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import LiteralString, NamedTuple

from dsplatform.core.database import Transaction
from dsplatform.core.types import MAIN
from dsplatform.migration.columns import Columns
from dsplatform.migration.landed_rows import IdMap
from dsplatform.migration.mapped import Mapped, Numbers
from dsplatform.migration.model import Entity, Gone, Group, Key, Landed, Reason, SourceRow, legacy_id
from dsplatform.migration.naming import free_pointer_name, safe_pointer_name, safe_tag_name
from dsplatform.migration.source import Snapshot
from dsplatform.migration.step import Prepared, Step, Surroundings
from dsplatform.migration.version_rows import VersionRows

_TWINS: Mapping[Entity, LiteralString] = {
    Entity.POINTERS: "SELECT array_agg(id) FROM dataset_pointers WHERE dataset_id = ANY(%s) "
    "GROUP BY dataset_id, pointer_name HAVING count(*) > 1",
    Entity.VERSION_TAGS: "SELECT array_agg(id) FROM version_tags WHERE dataset_id = ANY(%s) "
    "GROUP BY dataset_id, tag_name HAVING count(*) > 1",
}


class PointerRow(NamedTuple):
    """A branch or a tag as it is written."""

    dataset_id: int
    name: str
    version_id: int
    is_tag: bool
    created_at: datetime
    moved_at: datetime


class Target(NamedTuple):
    """The version that a pointer names, here."""

    version_id: int
    dataset_id: int
    number: int
    created_at: datetime
    is_gone: bool


class PointersStep(Step[None]):
    """The rows of `dataset_pointers` (branches and tags), or of `version_tags` (tags alone)."""

    leaf = True

    def __init__(self, around: Surroundings, entity: Entity) -> None:
        self.entity = entity
        self._name = "tag_name" if entity is Entity.VERSION_TAGS else "pointer_name"
        self._zone = around.zone

    def gather(self, source: Snapshot, rows: Sequence[SourceRow]) -> Sequence[Group]:
        """Each pointer with the others of its very name in its dataset. There are none where the name is unique, as it should be."""
        twins = source.tuples(_TWINS[self.entity], sorted({row.values["dataset_id"] for row in rows}))
        others = {id_: [(other,) for other in ids if other != id_] for (ids,) in twins for id_ in ids}
        return [Group(row, tuple(source.rows(self.entity, others.get(row.key[0], [])))) for row in rows]

    def land(self, tx: Transaction, groups: Sequence[Group], prepared: Prepared[None]) -> Iterable[Landed]:
        """Writes those that point at a version of their dataset. Where one that landed before has another name now, the old name goes."""
        pointers = _Pointers(tx)
        homes = Mapped(tx).homes({group.row.values["dataset_id"] for group in groups})
        targets = pointers.targets({row.values["dataset_version_id"] for group in groups for row in (group.row, *group.more)})
        keys = [group.row.key for group in groups]
        had = pointers.had(self.entity, keys)
        taken = pointers.names({home.id for home in homes.values()}, self.entity, keys)
        landed: list[Landed] = []
        rows: dict[Key, PointerRow] = {}
        for row, twins in groups:
            columns = Columns(row, self._zone)
            home = homes.get(row.values["dataset_id"])
            target = targets.get(row.values["dataset_version_id"])
            facts = {"dataset_id": row.values["dataset_id"], "version_id": row.values["dataset_version_id"]}
            if home is None or target is None or target.is_gone:
                columns.find(Reason.ORPHAN_PARENT, **facts)
            elif target.dataset_id != home.id:
                columns.find(Reason.FOREIGN_POINTER, **facts)
            elif any(_ranks_higher(twin, row, targets) for twin in twins):
                columns.find(Reason.TWO_HEADS, **facts)
            else:
                rows[row.key] = self._row(columns, row.key, target, taken.setdefault(home.id, set()))
                columns.keep(pointer=rows[row.key].name)
            landed.append(columns.landed(self.entity, row.key, home.id if home and row.key in rows else None))
        # One that keeps its name is not taken away meanwhile: what protects a branch would go with it.
        pointers.drop(name for key, name in had.items() if key not in rows or name != (rows[key].dataset_id, rows[key].name))
        pointers.write(list(rows.values()))
        Numbers(tx).put("pointer", [(f"{row.dataset_id}:{row.name}", key[0]) for key, row in rows.items()])
        VersionRows(tx).keep_main(
            {dataset for dataset, name in had.values() if name == MAIN} - {row.dataset_id for row in rows.values() if row.name == MAIN},
            but=[legacy_id(key) for key in keys],
        )
        return landed

    def _row(self, columns: Columns, key: Key, target: Target, taken: set[str]) -> PointerRow:
        is_tag = self.entity is Entity.VERSION_TAGS or bool(columns.value("is_tag"))
        raw = columns.text(self._name) or ""
        safe = safe_tag_name(raw) if is_tag else safe_pointer_name(raw)
        name = free_pointer_name(safe, key[0], taken)
        taken.add(name)
        if name != raw:
            columns.keep(name=raw)
            columns.find(Reason.BAD_NAME if safe != raw else Reason.DUPLICATE_KEY, name=raw, became=name)
        created = columns.at("created_at") if columns.has("created_at") else target.created_at
        moved = columns.at("updated_at") if columns.has("updated_at") else created
        return PointerRow(target.dataset_id, name, target.version_id, is_tag, created, moved)

    def remove(self, tx: Transaction, gone: Sequence[Gone]) -> None:
        """Takes the names away; `main` goes on where it is ours to keep."""
        pointers = _Pointers(tx)
        keys = [one.key for one in gone]
        had = pointers.had(self.entity, keys)
        pointers.drop(had.values())
        VersionRows(tx).keep_main({dataset for dataset, name in had.values() if name == MAIN}, but=[legacy_id(key) for key in keys])


def _ranks_higher(twin: SourceRow, row: SourceRow, targets: Mapping[int, Target]) -> bool:
    """Whether of two pointers with one name it is the twin that counts: at the higher number, or the elder."""
    mine, other = (targets.get(one.values["dataset_version_id"]) for one in (row, twin))
    if mine is None or other is None or other.dataset_id != mine.dataset_id or other.is_gone:
        return False
    return (other.number, -twin.key[0]) > (mine.number, -row.key[0])


class _Pointers:
    """Statements about the pointers of a batch."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def targets(self, legacy_ids: Iterable[int]) -> Mapping[int, Target]:
        """The versions, by their legacy ids."""
        rows = self._tx.tuples(
            "SELECT CAST(m.legacy_id AS bigint), v.id, v.dataset_id, v.version_number, v.created_at, "
            "m.deleted_at IS NOT NULL OR v.purged_at IS NOT NULL "
            "FROM legacy_id_map m JOIN dataset_versions v ON v.id = m.new_id "
            "WHERE m.entity = :entity AND m.legacy_id = ANY(CAST(:ids AS text[]))",
            entity=Entity.VERSIONS,
            ids=[str(id_) for id_ in legacy_ids],
        )
        return {legacy: Target(*rest) for legacy, *rest in rows}

    def had(self, entity: Entity, keys: Sequence[Key]) -> Mapping[Key, tuple[int, str]]:
        """(dataset, name) of those that landed before and are still pointers."""
        known, kept = IdMap(self._tx).known(entity, keys), IdMap(self._tx).kept(entity, keys)
        found = {key: (one.new_id, str(kept.get(key, {}).get("pointer"))) for key, one in known.items() if not one.is_gone}
        return {key: (dataset, name) for key, (dataset, name) in found.items() if dataset is not None}

    def drop(self, pointers: Iterable[tuple[int, str]]) -> None:
        """Takes these (dataset, name) away."""
        dropped = list(pointers)
        if dropped:
            self._tx.execute(
                "DELETE FROM dataset_pointers p USING unnest(CAST(:datasets AS bigint[]), CAST(:names AS text[])) w(dataset_id, name) "
                "WHERE p.dataset_id = w.dataset_id AND p.pointer_name = w.name",
                datasets=[dataset for dataset, _ in dropped],
                names=[name for _, name in dropped],
            )

    def names(self, dataset_ids: Iterable[int], entity: Entity, but: Sequence[Key]) -> dict[int, set[str]]:
        """The names that other legacy pointers have in these datasets. A `main` that we made is no obstacle: it was kept for this one."""
        taken: dict[int, set[str]] = {}
        for dataset, name in self._tx.tuples(
            "SELECT p.dataset_id, p.pointer_name FROM dataset_pointers p WHERE p.dataset_id = ANY(CAST(:ids AS bigint[])) AND EXISTS ("
            "SELECT 1 FROM legacy_id_map m WHERE m.entity = ANY(CAST(:tables AS text[])) AND m.new_id = p.dataset_id "
            "AND m.new_id = ANY(CAST(:ids AS bigint[])) "
            "AND m.deleted_at IS NULL AND m.kept ->> 'pointer' = p.pointer_name "
            "AND NOT (m.entity = :entity AND m.legacy_id = ANY(CAST(:but AS text[]))))",
            ids=list(dataset_ids),
            tables=[str(table) for table in _TWINS],
            entity=entity,
            but=[legacy_id(key) for key in but],
        ):
            taken.setdefault(dataset, set()).add(name)
        return taken

    def write(self, rows: Sequence[PointerRow]) -> None:
        """The pointers, in place of a `main` that we made."""
        if rows:
            self._tx.execute(
                "INSERT INTO dataset_pointers AS p (dataset_id, pointer_name, version_id, is_tag, created_at, moved_at) "
                "SELECT * FROM unnest(CAST(:datasets AS bigint[]), CAST(:names AS text[]), CAST(:versions AS bigint[]), "
                "CAST(:tags AS boolean[]), CAST(:created AS timestamptz[]), CAST(:moved AS timestamptz[])) "
                "ON CONFLICT (dataset_id, pointer_name) DO UPDATE SET version_id = excluded.version_id, is_tag = excluded.is_tag, "
                "created_at = excluded.created_at, moved_at = excluded.moved_at",
                datasets=[row.dataset_id for row in rows],
                names=[row.name for row in rows],
                versions=[row.version_id for row in rows],
                tags=[row.is_tag for row in rows],
                created=[row.created_at.isoformat() for row in rows],
                moved=[row.moved_at.isoformat() for row in rows],
            )
