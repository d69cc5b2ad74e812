"""Statements about grants: who gets a right, and who holds it."""

from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import groupby

from dsplatform.core.access import SEEN, seen_by, sufficient
from dsplatform.core.database import Row, Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.types import PermissionType
from dsplatform.permissions.model import Grant, Grantee, Holder, Holding, ObjectType, Way, sufficient_rights

_GRANT = """
    SELECT p.id, p.permission_type, p.user_id, u.username, p.group_id, g.group_name, b.username AS granted_by, p.granted_at, p.expires_at
    FROM permissions p LEFT JOIN users u ON u.id = p.user_id LEFT JOIN users b ON b.id = p.granted_by
    LEFT JOIN groups g ON g.id = p.group_id
"""

_KIND = "CASE WHEN p.user_id IS NOT NULL THEN 'user' WHEN p.group_id IS NOT NULL THEN 'group' ELSE 'everyone' END"

_GRANTEE = """
    p.user_id IS NOT DISTINCT FROM CAST(:user AS bigint) AND p.group_id IS NOT DISTINCT FROM CAST(:grp AS bigint)
"""

_CONFLICT = {
    "user": "(resource_type, resource_id, user_id, permission_type) WHERE user_id IS NOT NULL",
    "group": "(resource_type, resource_id, group_id, permission_type) WHERE group_id IS NOT NULL",
    "everyone": "(resource_type, resource_id, permission_type) WHERE user_id IS NULL AND group_id IS NULL",
}

_LOCKED = {
    "dataset": "SELECT 1 FROM datasets WHERE id = :id AND deleted_at IS NULL FOR KEY SHARE",
    "file": "SELECT 1 FROM files WHERE id = :id FOR KEY SHARE",
}

_WAYS = f"""
WITH ways AS (
    SELECT u.id AS user_id, 'role' AS kind, r.role_name AS name, NULL AS permission_type, CAST(NULL AS bigint) AS grant_id,
           CAST(NULL AS timestamptz) AS expires_at
    FROM users u JOIN roles r ON r.id = u.role_id WHERE r.role_name = 'admin' OR r.rights && CAST(:rights AS text[])
    UNION ALL
    SELECT h.user_id, {_KIND},
           g.group_name, p.permission_type, p.id, p.expires_at
    FROM rights_held h JOIN permissions p ON p.id = h.grant_id LEFT JOIN groups g ON g.id = p.group_id
    WHERE h.resource_type = :type AND h.resource_id = :id AND h.permission_type = ANY(CAST(:sufficient AS text[]))
), holders AS (
    SELECT u.id, u.username FROM users u
    WHERE u.is_active AND u.username > :after AND (CAST(:only AS text) IS NULL OR u.username = :only)
    AND EXISTS (SELECT 1 FROM ways w WHERE w.user_id = u.id) ORDER BY u.username LIMIT :limit
)
SELECT o.username, w.kind, w.name, w.permission_type, w.grant_id, w.expires_at FROM holders o JOIN ways w ON w.user_id = o.id
ORDER BY o.username, w.grant_id NULLS FIRST
"""  # noqa: S608 - a constant


class Grants:
    """Rights on datasets and files."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    # --- what counts -----------------------------------------------------------------------------------------------------------

    def held(self, user_id: int, object_type: ObjectType, object_id: int) -> frozenset[PermissionType]:
        """The rights that the user holds on the object now: by herself, by her groups, as everyone."""
        rows = self._tx.rows(
            "SELECT DISTINCT permission_type FROM rights_held WHERE user_id = :user AND resource_type = :type AND resource_id = :id",
            type=object_type,
            id=object_id,
            user=user_id,
        )
        return frozenset(PermissionType(row["permission_type"]) for row in rows)

    def named_by_dataset(self, actor: Actor, file_id: int, right: PermissionType) -> bool:
        """Whether a version that was not deleted, of a living dataset on which the actor holds the right, names the file."""
        return file_id in self.files_named(actor, [file_id], right)

    def files_named(self, actor: Actor, file_ids: Collection[int], right: PermissionType) -> frozenset[int]:
        """Those of the files that such a version names."""
        rows = self._tx.tuples(
            "SELECT w.id FROM unnest(CAST(:files AS bigint[])) w(id) WHERE EXISTS (SELECT 1 FROM dataset_version_files f "  # noqa: S608 - SEEN is a constant
            "JOIN dataset_versions v ON v.id = f.version_id JOIN datasets d ON d.id = v.dataset_id "
            f"WHERE f.file_id = w.id AND v.purged_at IS NULL AND d.deleted_at IS NULL AND {SEEN})",
            files=list(file_ids),
            **seen_by(actor, right),
        )
        return frozenset(row[0] for row in rows)

    def holders(
        self, object_type: ObjectType, object_id: int, right: PermissionType, *, only: str | None = None, after: str = "", limit: int = 1
    ) -> Sequence[Holder]:
        """The active users who hold the right, by name, those after the name `after`, each with every way by which she holds it; `only`:
        just this one. What a dataset gives on its files is not counted."""
        rows = self._tx.rows(
            _WAYS,
            type=object_type,
            id=object_id,
            sufficient=sufficient(right),
            rights=[str(each) for each in sufficient_rights(right)],
            only=only,
            after=after,
            limit=limit,
        )
        return [Holder(name, tuple(_way(row) for row in ways)) for name, ways in groupby(rows, key=lambda row: str(row["username"]))]

    def of_user(self, actor: Actor, username: str, *, after: int, limit: int) -> Sequence[Holding]:
        """What the user holds by grants that count now, in their order, those after the grant `after`. Of datasets only those that
        `actor` may see."""
        rows = self._tx.rows(
            f"SELECT p.id, {_KIND} AS kind, "  # noqa: S608 - constants
            "g.group_name AS name, p.permission_type, p.id AS grant_id, p.expires_at, p.resource_type, p.resource_id, d.slug "
            "FROM rights_held h JOIN permissions p ON p.id = h.grant_id JOIN users u ON u.id = h.user_id "
            "LEFT JOIN groups g ON g.id = p.group_id LEFT JOIN datasets d ON p.resource_type = 'dataset' AND d.id = p.resource_id "
            f"WHERE u.username = :username AND p.id > :after AND (p.resource_type <> 'dataset' OR d.deleted_at IS NULL AND {SEEN}) "
            "ORDER BY p.id LIMIT :limit",
            username=username,
            after=after,
            limit=limit,
            **seen_by(actor),
        )
        return [Holding(row["resource_type"], row["resource_id"], row["slug"], _way(row)) for row in rows]

    # --- grants by themselves --------------------------------------------------------------------------------------------------

    def hold(self, object_type: ObjectType, object_id: int) -> bool:
        """Keeps the object from being deleted until the transaction ends; False: it is gone."""
        return self._tx.row(_LOCKED[object_type], id=object_id) is not None

    def grantee(self, kind: str, name: str) -> int | None:
        """The id of a user or a group of that name."""
        sql = "SELECT id FROM users WHERE username = :name" if kind == "user" else "SELECT id FROM groups WHERE group_name = :name"
        found = self._tx.scalar(sql, name=name)
        return None if found is None else int(found)

    def page(self, object_type: ObjectType, object_id: int, *, after: int, limit: int) -> Sequence[Grant]:
        """The grants on the object in their order, those that have ended included."""
        rows = self._tx.rows(
            _GRANT + "WHERE p.resource_type = :type AND p.resource_id = :id AND p.id > :after ORDER BY p.id LIMIT :limit",
            type=object_type,
            id=object_id,
            after=after,
            limit=limit,
        )
        return [_grant(row) for row in rows]

    def get(self, object_type: ObjectType, object_id: int, grant_id: int) -> Grant | None:
        """One grant on the object."""
        row = self._tx.row(
            _GRANT + "WHERE p.resource_type = :type AND p.resource_id = :id AND p.id = :grant",
            type=object_type,
            id=object_id,
            grant=grant_id,
        )
        return None if row is None else _grant(row)

    def of(self, grantee: Grantee, object_type: ObjectType, object_id: int, right: PermissionType) -> Grant | None:
        """The grant of exactly that right to exactly this grantee."""
        row = self._tx.row(
            f"{_GRANT} WHERE p.resource_type = :type AND p.resource_id = :id AND p.permission_type = :right AND {_GRANTEE}",
            type=object_type,
            id=object_id,
            right=str(right),
            **_ids(grantee),
        )
        return None if row is None else _grant(row)

    def add(
        self,
        grantee: Grantee,
        object_type: ObjectType,
        object_id: int,
        right: PermissionType,
        granted_by: int,
        until: datetime | None = None,
    ) -> None:
        """Grants a right, until then or for good; of two grants of the same right the later one counts, unless it would end earlier."""
        self._tx.execute(
            "INSERT INTO permissions (resource_type, resource_id, user_id, group_id, permission_type, granted_by, expires_at) "  # noqa: S608 - a constant
            f"VALUES (:type, :id, :user, :grp, :right, :by, :until) ON CONFLICT {_CONFLICT[grantee.kind]} "
            "DO UPDATE SET expires_at = excluded.expires_at, granted_by = excluded.granted_by, granted_at = excluded.granted_at "
            "WHERE coalesce(permissions.expires_at, 'infinity') < coalesce(excluded.expires_at, 'infinity')",
            type=object_type,
            id=object_id,
            right=str(right),
            by=granted_by,
            until=until,
            **_ids(grantee),
        )

    def lasting_admins(self, dataset_id: int) -> Sequence[int]:
        """The grants of `admin` on the dataset that have no end and mean somebody. Locked, so that of two who take back each other's one
        has to wait and sees what the other did."""
        locked = self._tx.tuples(
            "SELECT id FROM permissions WHERE resource_type = 'dataset' AND resource_id = :id AND permission_type = 'admin' "
            "ORDER BY id FOR UPDATE",
            id=dataset_id,
        )
        rows = self._tx.tuples(
            "SELECT p.id FROM permissions p WHERE p.id = ANY(CAST(:ids AS bigint[])) AND p.expires_at IS NULL AND EXISTS ("
            "SELECT 1 FROM rights_held h JOIN users u ON u.id = h.user_id WHERE h.grant_id = p.id AND u.is_active)",
            ids=[id_ for (id_,) in locked],
        )
        return [id_ for (id_,) in rows]

    def take_back(self, grant_id: int) -> bool:
        """Ends a grant at once; False: it is gone already."""
        return self._tx.execute("DELETE FROM permissions WHERE id = :id", id=grant_id) == 1

    def remove(self, object_type: ObjectType, object_id: int) -> None:
        """Takes back every right on the object."""
        self._tx.execute("DELETE FROM permissions WHERE resource_type = :type AND resource_id = :id", type=object_type, id=object_id)


def _ids(grantee: Grantee) -> dict[str, int | None]:
    return {"user": grantee.id if grantee.kind == "user" else None, "grp": grantee.id if grantee.kind == "group" else None}


def _grant(row: Row) -> Grant:
    if row["user_id"] is not None:
        grantee = Grantee("user", row["user_id"], row["username"])
    elif row["group_id"] is not None:
        grantee = Grantee("group", row["group_id"], row["group_name"])
    else:
        grantee = Grantee("everyone")
    return Grant(row["id"], grantee, PermissionType(row["permission_type"]), row["granted_by"], row["granted_at"], row["expires_at"])


def _way(row: Row) -> Way:
    right = row["permission_type"]
    return Way(row["kind"], row["name"], None if right is None else PermissionType(right), row["grant_id"], row["expires_at"])
