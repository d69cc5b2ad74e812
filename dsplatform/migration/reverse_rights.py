"""Rights on single files for the legacy system. Several of its files may be one content here: a right on it is said by a row of one."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from dsplatform.core.database import Transaction
from dsplatform.migration.landed_rows import IdMap
from dsplatform.migration.model import Entity, Key
from dsplatform.migration.old_numbers import shown
from dsplatform.migration.reverse_ours import RANKS
from dsplatform.migration.reverse_rows import ReverseRows
from dsplatform.migration.source import Snapshot

TABLES = (Entity.FILE_PERMISSIONS, Entity.PERMISSIONS)
"""Where rights on files are there; the first that the legacy system has gets new ones."""
_GRANTS = f"""
SELECT p.resource_id, p.user_id, {shown("users", "p.user_id")}, u.username, p.permission_type, p.granted_at,
    CASE WHEN p.granted_by IS NULL THEN NULL ELSE {shown("users", "p.granted_by")} END
FROM permissions p JOIN users u ON u.id = p.user_id
WHERE p.resource_type = 'file' AND p.resource_id = ANY(CAST(:ids AS bigint[])) AND p.expires_at IS NULL
"""  # noqa: S608 - constants
_UNSAID = """
SELECT DISTINCT resource_id, CASE WHEN user_id IS NULL THEN 'rights of groups, or of everyone,' ELSE 'rights with an end date' END
FROM permissions WHERE resource_type = 'file' AND resource_id = ANY(CAST(:ids AS bigint[]))
    AND (user_id IS NULL OR expires_at > now()) ORDER BY 1, 2
"""
_PLACES = """
SELECT CAST(legacy_id AS bigint), new_id FROM legacy_id_map
WHERE entity = 'files' AND new_id = ANY(CAST(:ids AS bigint[])) AND deleted_at IS NULL
"""


@dataclass(frozen=True)
class FileGrant:
    """A right of one person on one content, for good."""

    file_id: int
    new_user: int
    user: int
    name: str
    right: str
    at: datetime
    by: int | None


@dataclass(frozen=True)
class _Said:
    """A row there that gives somebody a right on a content, and that came along."""

    entity: Entity
    key: Key
    file_id: int
    user: int
    right: str


class ReverseFileRights:
    """The rights on some contents, as they are now."""

    def __init__(self, tx: Transaction, source: Snapshot, file_ids: Collection[int]) -> None:
        ids = list(file_ids)
        self._source = source
        self._tables = [table for table in TABLES if source.has(table)]
        self._places: Mapping[int, int] = dict(tx.tuples(_PLACES, ids=ids))
        """Legacy file to the content."""
        self._grants = [FileGrant(*row) for row in tx.tuples(_GRANTS, ids=ids)]
        self._of_others = [f"{what} on file {id_}" for id_, what in tx.tuples(_UNSAID, ids=ids)]
        self._said = [one for table in self._tables for one in self._rows(tx, table)]
        held = {(grant.file_id, grant.user, grant.right) for grant in self._grants}
        people = {(grant.file_id, grant.user) for grant in self._grants}
        self._surplus = [
            one
            for one in self._said
            if (
                (one.file_id, one.user) not in people
                if one.entity is Entity.FILE_PERMISSIONS
                else (one.file_id, one.user, one.right) not in held
            )
        ]

    @property
    def people(self) -> Sequence[int]:
        """Our ids of those who have them."""
        return sorted({grant.new_user for grant in self._grants})

    @property
    def surplus(self) -> Iterator[tuple[Entity, list[Key]]]:
        """The rows that go."""
        for table in self._tables:
            if keys := [one.key for one in self._surplus if one.entity is table]:
                yield table, keys

    def _rows(self, tx: Transaction, table: Entity) -> Iterator[_Said]:
        """What came along; what waits for a decision says nothing."""
        rows = self._source.where(table, "file_id" if table is Entity.FILE_PERMISSIONS else "resource_id", list(self._places))
        known = IdMap(tx).known(table, [row.key for row in rows])
        for row in rows:
            values = row.values
            if values.get("resource_type", "file") == "file" and row.key in known and known[row.key].new_id is not None:
                file = values["file_id" if table is Entity.FILE_PERMISSIONS else "resource_id"]
                yield _Said(table, row.key, self._places[file], values["user_id"], str(values["permission_type"]))

    def write(self, rows: ReverseRows) -> list[str]:
        """Makes the legacy rows say them; answers what they cannot."""
        for entity, keys in self.surplus:
            rows.delete(entity, keys)
        known = set(rows.ids("SELECT id FROM users WHERE id = ANY(%(ids)s)", ids=[grant.user for grant in self._grants]))
        unsaid = list(self._of_others)
        strongest: dict[tuple[int, int], FileGrant] = {}
        for grant in self._grants:
            before = strongest.get((grant.file_id, grant.user))
            if before is None or RANKS.index(grant.right) > RANKS.index(before.right):
                strongest[grant.file_id, grant.user] = grant
        for grant in strongest.values():
            places = [number for number, file_id in self._places.items() if file_id == grant.file_id]
            if not self._tables or not places:
                unsaid.append(f"the right {grant.right!r} of user {grant.name!r} on file {grant.file_id}: there is no place for it there")
            elif grant.user not in known:
                unsaid.append(f"the right {grant.right!r} of user {grant.name!r} on file {grant.file_id}: she has no place there")
            else:
                self._put(rows, grant, min(places))
        return unsaid

    def _put(self, rows: ReverseRows, grant: FileGrant, place: int) -> None:
        """Says it, where no row does."""
        said = [one for one in self._said if one not in self._surplus and (one.file_id, one.user) == (grant.file_id, grant.user)]
        named = [one for one in said if one.entity is Entity.FILE_PERMISSIONS]
        if any(one.right == grant.right for one in said) and all(one.right == grant.right for one in named):
            return
        if self._tables[0] is Entity.FILE_PERMISSIONS:
            for file in [one.key[0] for one in named] or [place]:
                key: dict[str, object] = {"file_id": file, "user_id": grant.user}
                rows.put("file_permissions", key, {"permission_type": grant.right}, changing=("permission_type",))
        else:
            key = {"resource_type": "file", "resource_id": place, "user_id": grant.user, "permission_type": grant.right}
            by = grant.user if grant.by is None else grant.by
            rows.put("permissions", key, {"granted_at": grant.at, "granted_by": by})

    def keys(self, source: Snapshot) -> Iterator[tuple[Entity, Sequence[Key]]]:
        """The rows about these contents, as they are now."""
        for table in self._tables:
            rows = source.where(table, "file_id" if table is Entity.FILE_PERMISSIONS else "resource_id", list(self._places))
            yield table, [row.key for row in rows if row.values.get("resource_type", "file") == "file"]
