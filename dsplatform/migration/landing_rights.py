"""Rights come along as grants, each row as one of its own: where somebody has several on a thing the strongest counts, as ever.

Nobody gains. A text that is none of our three rights, a user or a thing that is not here give none. To write includes to read here, and
that was so there: whoever was logged in could read versions and their data.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from dsplatform.core.database import Transaction
from dsplatform.core.types import PermissionType
from dsplatform.migration.columns import Columns
from dsplatform.migration.landed_rows import IdMap
from dsplatform.migration.mapped import Mapped
from dsplatform.migration.model import Entity, Gone, Group, Key, Landed, Reason, legacy_id
from dsplatform.migration.step import Prepared, Step, Surroundings

RIGHTS = (Entity.PERMISSIONS, Entity.DATASET_PERMISSIONS, Entity.FILE_PERMISSIONS)
"""The legacy tables that hold rights."""
_OURS = frozenset(map(str, PermissionType))
_NAMED = {
    Entity.DATASET_PERMISSIONS: ("dataset", "dataset_id"),
    Entity.FILE_PERMISSIONS: ("file", "file_id"),
}


class GrantRow(NamedTuple):
    """A grant as it is written."""

    resource_type: str
    resource_id: int
    user_id: int
    right: str
    granted_by: int | None
    at: datetime | None


class RightsStep(Step[None]):
    """The rows of one of the three tables."""

    leaf = True

    def __init__(self, around: Surroundings, entity: Entity) -> None:
        self.entity = entity
        self._zone = around.zone

    def land(self, tx: Transaction, groups: Sequence[Group], prepared: Prepared[None]) -> Iterable[Landed]:
        """Writes the grants, and takes back what a row gave before and does not give any more."""
        mapped, grants = Mapped(tx), _Grants(tx)
        about = [self._resource(group) for group in groups]
        people = mapped.people(
            {group.row.values[name] for group in groups for name in ("user_id", "granted_by") if group.row.values.get(name)}
        )
        things = {
            "dataset": {legacy: home.id for legacy, home in mapped.homes([id_ for kind, id_ in about if kind == "dataset"]).items()},
            "file": {
                legacy: file.file_id for legacy, file in mapped.stored([id_ for kind, id_ in about if kind == "file"]).items() if file
            },
        }
        given: dict[Key, tuple[Columns, GrantRow]] = {}
        landed: list[Landed] = []
        for (row, _), (kind, id_) in zip(groups, about, strict=True):
            columns = Columns(row, self._zone)
            right = str(columns.text("permission_type") or "")
            person, thing = people.get(row.values["user_id"] or -1), things.get(kind, {}).get(id_)
            if right not in _OURS:
                columns.find(Reason.UNKNOWN_RIGHT, right=right)
            if thing is None:
                columns.find(Reason.UNKNOWN_RESOURCE, kind=kind, id=id_)
            if person is None:
                columns.find(Reason.UNKNOWN_USER, user_id=row.values["user_id"])
            if thing is None or person is None or columns.findings:
                landed.append(columns.landed(self.entity, row.key, None))
                continue
            by = people.get(row.values.get("granted_by") or -1)
            at = columns.at("granted_at") if columns.has("granted_at") else None
            given[row.key] = columns, GrantRow(kind, thing, person.id, right, None if by is None else by.id, at)
        ids = grants.write([grant for _, grant in given.values()])
        landed += [columns.landed(self.entity, key, ids[grant[:4]]) for key, (columns, grant) in given.items()]
        grants.release(self.entity, [group.row.key for group in groups], keeping=set(ids.values()))
        return landed

    def _resource(self, group: Group) -> tuple[str, int]:
        kind, column = _NAMED.get(self.entity, (str(group.row.values.get("resource_type")), "resource_id"))
        return kind, group.row.values[column]

    def remove(self, tx: Transaction, gone: Sequence[Gone]) -> None:
        """Takes the rights back at once, unless another row gives the same."""
        _Grants(tx).release(self.entity, [one.key for one in gone], keeping=())


class _Grants:
    """Statements about the grants of a batch."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def write(self, rows: Sequence[GrantRow]) -> Mapping[tuple[object, ...], int]:
        """Grants them for good; the id of each, by what it grants to whom."""
        if not rows:
            return {}
        what = {
            "kinds": [row.resource_type for row in rows],
            "things": [row.resource_id for row in rows],
            "people": [row.user_id for row in rows],
            "rights": [row.right for row in rows],
        }
        self._tx.execute(
            "INSERT INTO permissions (resource_type, resource_id, user_id, permission_type, granted_by, granted_at) "
            "SELECT w.kind, w.thing, w.person, w.given, w.giver, coalesce(w.at, now()) FROM unnest(CAST(:kinds AS text[]), "
            "CAST(:things AS bigint[]), CAST(:people AS bigint[]), CAST(:rights AS text[]), CAST(:givers AS bigint[]), "
            "CAST(:times AS timestamptz[])) AS w(kind, thing, person, given, giver, at) "
            "ON CONFLICT (resource_type, resource_id, user_id, permission_type) WHERE user_id IS NOT NULL DO NOTHING",
            givers=[row.granted_by for row in rows],
            times=[None if row.at is None else row.at.isoformat() for row in rows],
            **what,
        )
        found = self._tx.tuples(
            "SELECT p.resource_type, p.resource_id, p.user_id, p.permission_type, p.id FROM unnest(CAST(:kinds AS text[]), "
            "CAST(:things AS bigint[]), CAST(:people AS bigint[]), CAST(:rights AS text[])) AS w(kind, thing, person, given) "
            "JOIN permissions p ON p.resource_type = w.kind AND p.resource_id = w.thing AND p.user_id = w.person "
            "AND p.permission_type = w.given",
            **what,
        )
        return {tuple(row[:4]): row[4] for row in found}

    def release(self, entity: Entity, keys: Sequence[Key], *, keeping: Collection[int]) -> None:
        """Takes back what these rows gave, but what is in `keeping`, and what a row outside of them gives, too."""
        before = {one.new_id for one in IdMap(self._tx).known(entity, keys).values() if one.new_id is not None} - set(keeping)
        if before:
            self._tx.execute(
                "DELETE FROM permissions p WHERE p.id = ANY(CAST(:ids AS bigint[])) AND NOT EXISTS (SELECT 1 FROM legacy_id_map m "
                "WHERE m.entity = ANY(CAST(:tables AS text[])) AND m.new_id = p.id AND m.deleted_at IS NULL "
                "AND NOT (m.entity = :entity AND m.legacy_id = ANY(CAST(:keys AS text[]))))",
                ids=list(before),
                tables=[str(table) for table in RIGHTS],
                entity=entity,
                keys=[legacy_id(key) for key in keys],
            )
