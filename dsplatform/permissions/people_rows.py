"""Questions about users, groups and roles, asked by who keeps them."""

from collections.abc import Collection, Sequence

from dsplatform.core.database import Row, Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.types import PermissionType, PlatformRight
from dsplatform.permissions.principals import ADMIN, SYSTEM, Group, Role, User

_USER = """
    SELECT u.id, u.username, r.role_name, u.is_active, u.is_service, u.password_hash IS NOT NULL AS has_password, u.created_at,
        ARRAY(SELECT g.group_name FROM group_members m JOIN groups g ON g.id = m.group_id WHERE m.user_id = u.id ORDER BY 1) AS groups
    FROM users u JOIN roles r ON r.id = u.role_id
"""
_GROUP = """
    SELECT g.id, g.group_name, g.description, (SELECT count(*) FROM group_members m WHERE m.group_id = g.id) AS members FROM groups g
"""
_ROLE = """
    SELECT r.id, r.role_name, r.description, r.rights, (SELECT count(*) FROM users u WHERE u.role_id = r.id) AS users FROM roles r
"""


class People:
    """Users."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def get(self, username: str) -> User | None:
        """The user of that name."""
        row = self._tx.row(f"{_USER} WHERE u.username = :username", username=username)
        return None if row is None else _user(row)

    def lock(self, username: str) -> User | None:
        """The same, as she is until the end of the transaction."""
        self._tx.execute("SELECT 1 FROM users WHERE username = :username FOR NO KEY UPDATE", username=username)
        return self.get(username)

    def page(self, after: str, limit: int, group_id: int | None = None) -> Sequence[User]:
        """Users by name, from behind `after`; only those of a group, if one is given."""
        rows = self._tx.rows(
            f"{_USER} WHERE u.username > :after AND (CAST(:group_id AS bigint) IS NULL "  # noqa: S608 - a constant
            "OR u.id IN (SELECT user_id FROM group_members WHERE group_id = :group_id)) ORDER BY u.username LIMIT :limit",
            after=after,
            limit=limit,
            group_id=group_id,
        )
        return [_user(row) for row in rows]

    def count(self) -> int:
        """How many there are."""
        return int(self._tx.scalar("SELECT count(*) FROM users"))

    def add(self, username: str, role_id: int, *, is_service: bool, password_hash: str | None) -> int:
        """A new user; answers with her id. Raises `ConstraintViolated` for a taken name."""
        return int(
            self._tx.scalar(
                "INSERT INTO users (username, role_id, is_service, password_hash) VALUES (:name, :role, :service, :hash) RETURNING id",
                name=username,
                role=role_id,
                service=is_service,
                hash=password_hash,
            )
        )

    def set_active(self, user_id: int, *, active: bool) -> None:
        """Whether she may do anything."""
        self._tx.execute("UPDATE users SET is_active = :active WHERE id = :id", id=user_id, active=active)

    def set_role(self, user_id: int, role_id: int) -> None:
        """Another role."""
        self._tx.execute("UPDATE users SET role_id = :role WHERE id = :id", id=user_id, role=role_id)

    def set_password(self, user_id: int, password_hash: str, before: str | None = None) -> bool:
        """Another password; False when it is not `before` any more, if that was given."""
        return (
            self._tx.execute(
                "UPDATE users SET password_hash = :hash "
                "WHERE id = :id AND (CAST(:before AS text) IS NULL OR password_hash = CAST(:before AS text))",
                id=user_id,
                hash=password_hash,
                before=before,
            )
            == 1
        )

    def is_last_admin(self, user_id: int) -> bool:
        """Whether no other active user has the role `admin`, the built-in one aside. Until the transaction ends nobody else can ask,
        so that of the last two not both go."""
        self._tx.execute("SELECT 1 FROM roles WHERE role_name = :admin FOR NO KEY UPDATE", admin=ADMIN)
        return not self._other_admins(user_id)

    def has_admin(self) -> bool:
        """Whether a person may administer."""
        return self._other_admins(0)

    def _other_admins(self, user_id: int) -> bool:
        return bool(
            self._tx.scalar(
                "SELECT EXISTS (SELECT 1 FROM users u JOIN roles r ON r.id = u.role_id "
                "WHERE r.role_name = :admin AND u.is_active AND u.username <> :system AND u.id <> :user)",
                admin=ADMIN,
                system=SYSTEM,
                user=user_id,
            )
        )

    def not_held(self, actor: Actor, *, user_id: int | None = None, group_id: int | None = None) -> PermissionType | None:
        """A right that the user or the group holds on something on which the actor does not hold it; None: she holds all of it."""
        held = (
            "SELECT resource_type, resource_id, permission_type FROM rights_held WHERE user_id = :whose"
            if group_id is None
            else "SELECT resource_type, resource_id, permission_type FROM permissions "
            "WHERE group_id = :whose AND (expires_at IS NULL OR expires_at > now())"
        )
        found = self._tx.scalar(
            f"SELECT p.permission_type FROM ({held}) p WHERE p.permission_type <> ALL(CAST(:everywhere AS text[])) "  # noqa: S608 - constants
            "AND NOT EXISTS (SELECT 1 FROM rights_held h WHERE h.user_id = :actor AND h.resource_type = p.resource_type "
            "AND h.resource_id = p.resource_id AND array_position(CAST(:rights AS text[]), h.permission_type) "
            ">= array_position(CAST(:rights AS text[]), p.permission_type)) "
            "ORDER BY array_position(CAST(:rights AS text[]), p.permission_type) DESC LIMIT 1",
            whose=user_id if group_id is None else group_id,
            everywhere=[str(right) for right in PermissionType if actor.holds_everywhere(right)],
            rights=[str(right) for right in PermissionType],
            actor=actor.user_id,
        )
        return None if found is None else PermissionType(found)


class Groups:
    """Groups and who belongs to them."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def get(self, name: str) -> Group | None:
        """The group of that name."""
        row = self._tx.row(f"{_GROUP} WHERE g.group_name = :name", name=name)
        return None if row is None else _group(row)

    def page(self, after: str, limit: int) -> Sequence[Group]:
        """Groups by name, from behind `after`."""
        rows = self._tx.rows(f"{_GROUP} WHERE g.group_name > :after ORDER BY g.group_name LIMIT :limit", after=after, limit=limit)
        return [_group(row) for row in rows]

    def count(self) -> int:
        """How many there are."""
        return int(self._tx.scalar("SELECT count(*) FROM groups"))

    def add(self, name: str, description: str) -> int:
        """A new group; answers with its id. Raises `ConstraintViolated` for a taken name."""
        return int(
            self._tx.scalar(
                "INSERT INTO groups (group_name, description) VALUES (:name, :description) RETURNING id", name=name, description=description
            )
        )

    def remove(self, group_id: int) -> None:
        """Takes the group away, and with it what was granted to it."""
        self._tx.execute("DELETE FROM groups WHERE id = :id", id=group_id)

    def join(self, group_id: int, user_id: int) -> bool:
        """The user belongs to the group; False: she did already."""
        return (
            self._tx.execute(
                "INSERT INTO group_members (group_id, user_id) VALUES (:grp, :user) ON CONFLICT DO NOTHING", grp=group_id, user=user_id
            )
            == 1
        )

    def leave(self, group_id: int, user_id: int) -> bool:
        """The user does not belong to the group; False: she did not before."""
        return self._tx.execute("DELETE FROM group_members WHERE group_id = :grp AND user_id = :user", grp=group_id, user=user_id) == 1


class Roles:
    """Roles and their rights."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def get(self, name: str) -> Role | None:
        """The role of that name."""
        row = self._tx.row(f"{_ROLE} WHERE r.role_name = :name", name=name)
        return None if row is None else _role(row)

    def lock(self, name: str) -> Role | None:
        """The same, as it is until the end of the transaction."""
        self._tx.execute("SELECT 1 FROM roles WHERE role_name = :name FOR UPDATE", name=name)
        return self.get(name)

    def page(self, after: str, limit: int) -> Sequence[Role]:
        """Roles by name, from behind `after`."""
        rows = self._tx.rows(f"{_ROLE} WHERE r.role_name > :after ORDER BY r.role_name LIMIT :limit", after=after, limit=limit)
        return [_role(row) for row in rows]

    def count(self) -> int:
        """How many there are."""
        return int(self._tx.scalar("SELECT count(*) FROM roles"))

    def add(self, name: str, description: str, rights: Collection[PlatformRight]) -> None:
        """A new role. Raises `ConstraintViolated` for a taken name."""
        self._tx.execute(
            "INSERT INTO roles (role_name, description, rights) VALUES (:name, :description, CAST(:rights AS text[]))",
            name=name,
            description=description,
            rights=[str(right) for right in rights],
        )

    def change(self, role_id: int, description: str, rights: Collection[PlatformRight]) -> None:
        """Other rights for all who have the role."""
        self._tx.execute(
            "UPDATE roles SET description = :description, rights = CAST(:rights AS text[]) WHERE id = :id",
            id=role_id,
            description=description,
            rights=[str(right) for right in rights],
        )

    def remove(self, role_id: int) -> None:
        """Takes the role away."""
        self._tx.execute("DELETE FROM roles WHERE id = :id", id=role_id)


def _user(row: Row) -> User:
    return User(
        row["id"],
        row["username"],
        row["role_name"],
        row["is_active"],
        row["is_service"],
        row["has_password"],
        row["created_at"],
        tuple(row["groups"]),
    )


def _group(row: Row) -> Group:
    return Group(row["id"], row["group_name"], row["description"], row["members"])


def _role(row: Row) -> Role:
    rights = tuple(right for right in PlatformRight if right in row["rights"])
    return Role(row["id"], row["role_name"], row["description"], rights, row["users"])
