"""Statements that write many datasets at once."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from dsplatform.core.database import Transaction
from dsplatform.migration.model import Entity
from dsplatform.migration.people_rows import ELSEWHERE, UNKNOWN


class NewId(NamedTuple):
    """Our id for a legacy row."""

    id: int
    is_new: bool


class DatasetRow(NamedTuple):
    """A dataset as it is written."""

    id: int
    name: str
    slug: str
    """Of a new one alone: it never changes."""
    description: str
    labels: Sequence[str]
    owner: int
    at: datetime
    is_new: bool


class DatasetRows:
    """Datasets of a batch."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def ids(self, legacy_ids: Sequence[int]) -> Mapping[int, NewId]:
        """The ids that these datasets have here, or get: their own where it is free."""
        known = {
            int(legacy): NewId(new_id, is_new=False)
            for legacy, new_id in self._tx.tuples(
                "SELECT m.legacy_id, m.new_id FROM legacy_id_map m JOIN datasets d ON d.id = m.new_id "
                "WHERE m.entity = :entity AND m.legacy_id = ANY(CAST(:ids AS text[]))",
                entity=Entity.DATASETS,
                ids=[str(id_) for id_ in legacy_ids],
            )
        }
        taken = {id_ for (id_,) in self._tx.tuples("SELECT id FROM datasets WHERE id = ANY(CAST(:ids AS bigint[]))", ids=list(legacy_ids))}
        return {id_: known.get(id_) or NewId(id_ + ELSEWHERE if id_ in taken else id_, is_new=True) for id_ in legacy_ids}

    def names_taken(self, wanted: Sequence[tuple[int, str, int]], but: Sequence[int]) -> set[tuple[int, str]]:
        """Those of (owner, name, id) whose name another living dataset of the owner has, outside of `but`."""
        rows = self._tx.tuples(
            "SELECT d.created_by, d.name FROM unnest(CAST(:owners AS bigint[]), CAST(:names AS text[])) w(owner, name) "
            "JOIN datasets d ON d.created_by = w.owner AND d.name = w.name AND d.deleted_at IS NULL "
            "WHERE d.id <> ALL(CAST(:but AS bigint[]))",
            owners=[owner for owner, _, _ in wanted],
            names=[name for _, name, _ in wanted],
            but=list(but),
        )
        return {(owner, name) for owner, name in rows}

    def slugs_taken(self, slugs: Sequence[str]) -> set[str]:
        """Those that a dataset has, also a deleted one."""
        return {
            slug for (slug,) in self._tx.tuples("SELECT slug FROM datasets WHERE slug = ANY(CAST(:slugs AS text[]))", slugs=list(slugs))
        }

    def write(self, rows: Sequence[DatasetRow]) -> None:
        """New datasets, and what others are now. One that was hidden because its row was gone is there again.

        Those that are there give their names free first, so that two of one batch can exchange theirs.
        """
        old, new = [row for row in rows if not row.is_new], [row for row in rows if row.is_new]
        if old:
            self._tx.execute(
                "UPDATE datasets SET name = '~' || id WHERE id IN (SELECT d.id FROM unnest(CAST(:ids AS bigint[]), CAST(:names AS text[])) "
                "w(id, name) JOIN datasets d ON d.id = w.id WHERE d.name <> w.name)",
                ids=[row.id for row in old],
                names=[row.name for row in old],
            )
            self._tx.execute(
                "UPDATE datasets d SET name = w.name, description = w.description, labels = CAST(w.labels AS text[]), "  # noqa: S608 - a constant
                f"created_by = w.owner, created_at = w.at, deleted_at = NULL FROM {_UNNESTED} WHERE d.id = w.id",
                **_arrays(old),
            )
        if new:
            self._tx.execute(
                "INSERT INTO datasets (id, name, slug, description, labels, created_by, created_at, held) "  # noqa: S608 - a constant
                f"SELECT w.id, w.name, w.slug, w.description, CAST(w.labels AS text[]), w.owner, w.at, true FROM {_UNNESTED}",
                **_arrays(new),
            )

    def give_to_owners(self, ids: Sequence[int]) -> None:
        """`admin` on each of these datasets for who made it, unless nobody knows who did."""
        self._tx.execute(
            "INSERT INTO permissions (resource_type, resource_id, user_id, permission_type, granted_at) "
            "SELECT 'dataset', d.id, d.created_by, 'admin', d.created_at FROM datasets d JOIN users u ON u.id = d.created_by "
            "WHERE d.id = ANY(CAST(:ids AS bigint[])) AND u.username <> :unknown "
            "ON CONFLICT (resource_type, resource_id, user_id, permission_type) WHERE user_id IS NOT NULL DO NOTHING",
            unknown=UNKNOWN,
            ids=list(ids),
        )

    def hide(self, ids: Collection[int]) -> None:
        """These datasets are gone, as if their owners had deleted them."""
        self._tx.execute(
            "UPDATE datasets SET deleted_at = clock_timestamp() WHERE id = ANY(CAST(:ids AS bigint[])) AND deleted_at IS NULL",
            ids=list(ids),
        )


_UNNESTED = (
    "unnest(CAST(:ids AS bigint[]), CAST(:names AS text[]), CAST(:slugs AS text[]), CAST(:descriptions AS text[]), "
    "CAST(:labels AS text[]), CAST(:owners AS bigint[]), CAST(:times AS timestamptz[])) "
    "AS w(id, name, slug, description, labels, owner, at)"
)


def _arrays(rows: Sequence[DatasetRow]) -> dict[str, object]:
    return {
        "ids": [row.id for row in rows],
        "names": [row.name for row in rows],
        "slugs": [row.slug for row in rows],
        "descriptions": [row.description for row in rows],
        "labels": [literal(row.labels) for row in rows],
        "owners": [row.owner for row in rows],
        "times": [row.at.isoformat() for row in rows],
    }


def literal(texts: Sequence[str]) -> str:
    """A list of texts as PostgreSQL writes it, to be an element of another list."""
    return "{" + ",".join('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts) + "}"
