"""Statements that write many imported versions at once, with their components and the branch `main` where nobody made one."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from dsplatform.core.database import Transaction
from dsplatform.core.types import ContentHash
from dsplatform.migration.canonical import as_json
from dsplatform.migration.components import Part
from dsplatform.migration.model import Entity
from dsplatform.migration.overlays import Ancestor, Stored


class VersionRow(NamedTuple):
    """A version as it is written."""

    id: int
    dataset_id: int
    number: int
    message: str
    parent_id: int | None
    overlay_id: int
    author: int
    at: datetime
    parts: Sequence[Part]


class Holder(NamedTuple):
    """Who has a number of a dataset that another wants."""

    id: int
    line: tuple[int, ...]
    """Itself, and what descends from it."""
    can_go: bool


class Heir(NamedTuple):
    """A version that descends from imported ones."""

    id: int
    parent_id: int
    slug: str
    legacy_id: int
    author: str
    at: datetime
    message: str
    imported: bool
    merge_parent_id: int | None
    overlay_file_id: int


class VersionRows:
    """Imported versions of a batch."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    # --- questions -------------------------------------------------------------------------------------------------------------

    def present(self, ids: Collection[int]) -> Mapping[int, int]:
        """Those of the ids that a version has, with its dataset."""
        rows = self._tx.tuples("SELECT id, dataset_id FROM dataset_versions WHERE id = ANY(CAST(:ids AS bigint[]))", ids=list(ids))
        return dict(rows)

    def made_here(self, ids: Collection[int]) -> set[int]:
        """Those of the versions that were made here, and that the legacy system only heard of."""
        rows = self._tx.tuples("SELECT id FROM dataset_versions WHERE id = ANY(CAST(:ids AS bigint[])) AND NOT imported", ids=list(ids))
        return {id_ for (id_,) in rows}

    def numbered(self, wanted: Sequence[tuple[int, int]]) -> Mapping[tuple[int, int], int]:
        """The versions that have these (dataset, number)."""
        rows = self._tx.tuples(
            "SELECT v.dataset_id, v.version_number, v.id FROM unnest(CAST(:datasets AS bigint[]), CAST(:numbers AS integer[])) "
            "w(dataset_id, number) JOIN dataset_versions v ON v.dataset_id = w.dataset_id AND v.version_number = w.number",
            datasets=[dataset for dataset, _ in wanted],
            numbers=[number for _, number in wanted],
        )
        return {(dataset, number): id_ for dataset, number, id_ in rows}

    def lines(self, ids: Collection[int]) -> Mapping[int, Sequence[tuple[int, int | None]]]:
        """Each version with what descends from it: (id, legacy id; None for what is no import)."""
        found: dict[int, list[tuple[int, int | None]]] = {}
        if ids:
            for start, id_, legacy in self._tx.tuples(
                "WITH RECURSIVE line AS (SELECT id AS start, id FROM unnest(CAST(:ids AS bigint[])) i(id) UNION "
                "SELECT l.start, v.id FROM line l JOIN dataset_versions v ON l.id IN (v.parent_version_id, v.merge_parent_version_id)) "
                "SELECT l.start, l.id, CAST(m.legacy_id AS bigint) FROM line l "
                "LEFT JOIN legacy_id_map m ON m.entity = :entity AND m.new_id = l.id ORDER BY l.start, l.id",
                ids=list(ids),
                entity=Entity.VERSIONS,
            ):
                found.setdefault(start, []).append((id_, legacy))
        return found

    def descendants(self, ids: Collection[int]) -> Sequence[Heir]:
        """Versions that descend from these, parents before their children."""
        if not ids:
            return []
        rows = self._tx.tuples(
            "WITH RECURSIVE heirs AS (SELECT id FROM dataset_versions WHERE parent_version_id = ANY(CAST(:ids AS bigint[])) "
            "OR merge_parent_version_id = ANY(CAST(:ids AS bigint[])) UNION "
            "SELECT v.id FROM heirs h JOIN dataset_versions v ON h.id IN (v.parent_version_id, v.merge_parent_version_id)) "
            "SELECT v.id, v.parent_version_id, d.slug, CAST(m.legacy_id AS bigint), u.username, v.created_at, v.message, v.imported, "
            "v.merge_parent_version_id, v.overlay_file_id "
            "FROM heirs JOIN dataset_versions v ON v.id = heirs.id JOIN datasets d ON d.id = v.dataset_id "
            "JOIN users u ON u.id = v.created_by LEFT JOIN legacy_id_map m ON m.entity = :entity AND m.new_id = v.id "
            "WHERE m.legacy_id IS NOT NULL OR NOT v.imported ORDER BY v.id",
            ids=list(ids),
            entity=Entity.VERSIONS,
        )
        return [Heir(*row) for row in rows]

    def ancestors(self, ids: Collection[int]) -> Mapping[int, Ancestor]:
        """Versions with what they hold."""
        if not ids:
            return {}
        parts: dict[int, dict[str, Stored]] = {}
        for version_id, name, *file in self._tx.tuples(
            "SELECT c.version_id, c.component_name, f.id, f.content_hash, f.file_size, f.file_type FROM dataset_version_files c "
            "JOIN files f ON f.id = c.file_id WHERE c.version_id = ANY(CAST(:ids AS bigint[]))",
            ids=list(ids),
        ):
            parts.setdefault(version_id, {})[name] = Stored(file[0], ContentHash(file[1]), file[2], file[3])
        rows = self._tx.tuples(
            "SELECT v.id, v.dataset_id, v.version_number, f.content_hash FROM dataset_versions v JOIN files f ON f.id = v.overlay_file_id "
            "WHERE v.id = ANY(CAST(:ids AS bigint[]))",
            ids=list(ids),
        )
        return {id_: Ancestor(id_, dataset, number, hash_, parts.get(id_, {})) for id_, dataset, number, hash_ in rows}

    # --- changes ---------------------------------------------------------------------------------------------------------------

    def add(self, rows: Sequence[VersionRow]) -> None:
        """New versions."""
        if rows:
            self._tx.execute(
                "INSERT INTO dataset_versions (id, dataset_id, version_number, message, parent_version_id, overlay_file_id, "  # noqa: S608 - a constant
                f"component_count, total_bytes, created_by, created_at, imported) SELECT {_COLUMNS}, true FROM {_UNNESTED}",
                **_arrays(rows),
            )
            self._put_components(rows)

    def change(self, rows: Sequence[VersionRow]) -> None:
        """Versions that were imported before, as they are now. A schema that was captured of other contents is captured anew."""
        if not rows:
            return
        ids = [row.id for row in rows]
        self._tx.execute(
            f"SELECT legacy_land_again(w.id, w.number, w.message, w.parent, w.overlay, w.count, w.bytes, w.author, w.at) FROM {_UNNESTED}",  # noqa: S608 - a constant
            **_arrays(rows),
        )
        before = {
            (version_id, name): rest
            for version_id, name, *rest in self._tx.tuples(
                "SELECT version_id, component_name, component_type, component_index, file_id, metadata FROM dataset_version_files "
                "WHERE version_id = ANY(CAST(:ids AS bigint[]))",
                ids=ids,
            )
        }
        after = {
            (row.id, part.name): [part.component_type, at, part.stored.file_id, {"legacy": part.legacy}]
            for row in rows
            for at, part in enumerate(row.parts)
        }
        others = {key[0] for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        if others:
            self._tx.execute("DELETE FROM dataset_version_files WHERE version_id = ANY(CAST(:ids AS bigint[]))", ids=list(others))
            self._tx.execute("DELETE FROM dataset_schema_versions WHERE version_id = ANY(CAST(:ids AS bigint[]))", ids=list(others))
            self._put_components([row for row in rows if row.id in others])

    def follow(self, overlays: Mapping[int, int]) -> None:
        """Gives imported versions other overlays: id to file."""
        if overlays:
            self._tx.execute(
                "SELECT legacy_land_again(v.id, v.version_number, v.message, v.parent_version_id, w.overlay, v.component_count, "
                "v.total_bytes, v.created_by, v.created_at) FROM unnest(CAST(:ids AS bigint[]), CAST(:overlays AS bigint[])) "
                "w(id, overlay) "
                "JOIN dataset_versions v ON v.id = w.id",
                ids=list(overlays),
                overlays=list(overlays.values()),
            )

    def _put_components(self, rows: Sequence[VersionRow]) -> None:
        parts = [(row.id, at, part) for row in rows for at, part in enumerate(row.parts)]
        if parts:
            self._tx.execute(
                "INSERT INTO dataset_version_files (version_id, component_name, component_type, component_index, file_id, metadata) "
                "SELECT w.version, w.name, w.kind, w.at, w.file, CAST(w.metadata AS jsonb) FROM unnest(CAST(:versions AS bigint[]), "
                "CAST(:names AS text[]), CAST(:kinds AS text[]), CAST(:places AS integer[]), CAST(:files AS bigint[]), "
                "CAST(:metadata AS text[])) AS w(version, name, kind, at, file, metadata)",
                versions=[id_ for id_, _, _ in parts],
                names=[part.name for _, _, part in parts],
                kinds=[part.component_type for _, _, part in parts],
                places=[at for _, at, _ in parts],
                files=[part.stored.file_id for _, _, part in parts],
                metadata=[as_json({"legacy": part.legacy}) for _, _, part in parts],
            )

    def revive(self, ids: Collection[int]) -> None:
        """Versions that the legacy system had taken away and has again. What a person of ours deleted stays deleted."""
        if ids:
            self._tx.execute("UPDATE dataset_versions SET purged_at = NULL WHERE id = ANY(CAST(:ids AS bigint[]))", ids=list(ids))

    def purge(self, ids: Collection[int]) -> Sequence[int]:
        """Takes the files of these versions, and whatever names them; their rows stay for the history. Answers the datasets."""
        self._tx.execute("DELETE FROM dataset_pointers WHERE version_id = ANY(CAST(:ids AS bigint[]))", ids=list(ids))
        self._tx.execute(
            "UPDATE dataset_versions SET purged_at = clock_timestamp() WHERE id = ANY(CAST(:ids AS bigint[])) AND purged_at IS NULL",
            ids=list(ids),
        )
        self._tx.execute("DELETE FROM dataset_version_files WHERE version_id = ANY(CAST(:ids AS bigint[]))", ids=list(ids))
        rows = self._tx.tuples(
            "SELECT DISTINCT dataset_id FROM dataset_versions WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY dataset_id", ids=list(ids)
        )
        return [dataset for (dataset,) in rows]

    def forget(self, ids: Collection[int]) -> None:
        """Gives the numbers of purged versions free: the legacy system has others under them."""
        if ids:
            self._tx.execute("DELETE FROM dataset_versions WHERE id = ANY(CAST(:ids AS bigint[]))", ids=list(ids))
            self._tx.execute(
                "UPDATE legacy_id_map SET new_id = NULL WHERE entity = :entity AND new_id = ANY(CAST(:ids AS bigint[]))",
                entity=Entity.VERSIONS,
                ids=list(ids),
            )

    def keep_main(self, dataset_ids: Collection[int], *, but: Collection[str] = ()) -> None:
        """Has `main` at the highest living version of each of these datasets, where the legacy system has no branch of that name; and
        takes it away from a dataset without one. `but`: keys of legacy pointers that do not count."""
        if not dataset_ids:
            return
        free = (
            "FROM unnest(CAST(:datasets AS bigint[])) w(dataset_id) WHERE NOT EXISTS (SELECT 1 FROM legacy_id_map m "
            "JOIN dataset_pointers p ON p.dataset_id = m.new_id AND p.pointer_name = 'main' "
            "WHERE m.entity = :entity AND m.new_id = w.dataset_id AND m.deleted_at IS NULL AND m.kept ->> 'pointer' = 'main' "
            "AND m.legacy_id <> ALL(CAST(:but AS text[])))"
        )
        self._tx.execute(
            f"WITH free AS MATERIALIZED (SELECT w.dataset_id {free}), "  # noqa: S608 - a constant
            "top AS (SELECT f.dataset_id, h.id, h.created_at FROM free f LEFT JOIN LATERAL ("
            "SELECT v.id, v.created_at FROM dataset_versions v WHERE v.dataset_id = f.dataset_id AND v.purged_at IS NULL "
            "ORDER BY v.version_number DESC LIMIT 1) h ON true), "
            "gone AS (DELETE FROM dataset_pointers p USING top t WHERE p.dataset_id = t.dataset_id AND p.pointer_name = 'main' "
            "AND t.id IS NULL) "
            "INSERT INTO dataset_pointers AS p (dataset_id, pointer_name, version_id, created_at, moved_at) "
            "SELECT t.dataset_id, 'main', t.id, t.created_at, t.created_at FROM top t WHERE t.id IS NOT NULL "
            "ON CONFLICT (dataset_id, pointer_name) DO UPDATE SET version_id = excluded.version_id, is_tag = false, "
            "created_at = excluded.created_at, moved_at = excluded.moved_at "
            "WHERE (p.version_id, p.is_tag, p.moved_at) IS DISTINCT FROM (excluded.version_id, false, excluded.moved_at)",
            datasets=list(dataset_ids),
            entity=Entity.POINTERS,
            but=list(but),
        )


_COLUMNS = "w.id, w.dataset, w.number, w.message, w.parent, w.overlay, w.count, w.bytes, w.author, w.at"
_UNNESTED = (
    "unnest(CAST(:ids AS bigint[]), CAST(:datasets AS bigint[]), CAST(:numbers AS integer[]), CAST(:messages AS text[]), "
    "CAST(:parents AS bigint[]), CAST(:overlays AS bigint[]), CAST(:counts AS integer[]), CAST(:sizes AS bigint[]), "
    "CAST(:authors AS bigint[]), CAST(:times AS timestamptz[])) "
    "AS w(id, dataset, number, message, parent, overlay, count, bytes, author, at)"
)


def _arrays(rows: Sequence[VersionRow]) -> dict[str, object]:
    return {
        "ids": [row.id for row in rows],
        "datasets": [row.dataset_id for row in rows],
        "numbers": [row.number for row in rows],
        "messages": [row.message for row in rows],
        "parents": [row.parent_id for row in rows],
        "overlays": [row.overlay_id for row in rows],
        "counts": [len(row.parts) for row in rows],
        "sizes": [sum(part.stored.size for part in row.parts) for row in rows],
        "authors": [row.author for row in rows],
        "times": [row.at.isoformat() for row in rows],
    }
