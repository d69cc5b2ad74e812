"""Statements that write many roles and users at once."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from dsplatform.core.database import Transaction
from dsplatform.migration.model import Entity

ELSEWHERE = 2**31
"""What is added to a legacy id that is not free. Legacy ids are below it, and above 0: so the id itself is nobody's."""
UNKNOWN = "legacy-unknown"
"""To whom belongs what belonged to somebody who does not exist."""


class Place(NamedTuple):
    """What a legacy row is here, or will be."""

    id: int
    name: str | None
    """What it is called here; None: it is new."""


class RoleRow(NamedTuple):
    """A role as it is written."""

    id: int
    name: str
    description: str


class UserRow(NamedTuple):
    """A user as she is written."""

    id: int
    name: str
    role: int
    password_hash: str | None
    at: datetime
    is_new: bool
    has_new_password: bool
    """Whether the password replaces the one that she has here."""


class PeopleRows:
    """Roles and users of a batch."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def places(self, entity: Entity, legacy_ids: Sequence[int]) -> Mapping[int, Place]:
        """What these rows are here, or their own id where it is free."""
        table, name = ("roles", "role_name") if entity is Entity.ROLES else ("users", "username")
        known = {
            int(legacy): Place(new_id, called)
            for legacy, new_id, called in self._tx.tuples(
                f"SELECT m.legacy_id, m.new_id, t.{name} FROM legacy_id_map m JOIN {table} t ON t.id = m.new_id "  # noqa: S608 - constants
                "WHERE m.entity = :entity AND m.legacy_id = ANY(CAST(:ids AS text[]))",
                entity=entity,
                ids=[str(id_) for id_ in legacy_ids],
            )
        }
        taken = {
            id_
            for (id_,) in self._tx.tuples(
                f"SELECT id FROM {table} WHERE id = ANY(CAST(:ids AS bigint[]))",  # noqa: S608 - a constant
                ids=list(legacy_ids),
            )
        }
        return {id_: known.get(id_) or Place(id_ + ELSEWHERE if id_ in taken else id_, None) for id_ in legacy_ids}

    def taken(self, entity: Entity, names: Collection[str], but: Collection[int]) -> Mapping[str, int]:
        """Those of the names that somebody has who is none of these, with her id."""
        table, name = ("roles", "role_name") if entity is Entity.ROLES else ("users", "username")
        rows = self._tx.tuples(
            f"SELECT {name}, id FROM {table} WHERE {name} = ANY(CAST(:names AS text[])) AND id <> ALL(CAST(:but AS bigint[]))",  # noqa: S608
            names=list(names),
            but=list(but),
        )
        return dict(rows)

    def write_roles(self, rows: Sequence[RoleRow]) -> None:
        """Roles that give the right to make datasets, and none besides. What somebody changed about one here since stays, but its
        description."""
        columns = {name: list(values) for name, values in zip(RoleRow._fields, zip(*rows, strict=True), strict=True)}
        self._tx.execute(
            "INSERT INTO roles (id, role_name, description, rights) SELECT n.id, n.name, n.description, CAST('{create}' AS text[]) "
            "FROM unnest(CAST(:id AS bigint[]), CAST(:name AS text[]), CAST(:description AS text[])) n(id, name, description) "
            "ON CONFLICT (id) DO UPDATE SET role_name = excluded.role_name, description = excluded.description "
            "WHERE (roles.role_name, roles.description) IS DISTINCT FROM (excluded.role_name, excluded.description)",
            **columns,
        )

    def write_users(self, rows: Sequence[UserRow]) -> None:
        """Users. Of one who is here already the name and the role follow the legacy row; her password where it has become another there."""
        columns = {name: list(values) for name, values in zip(UserRow._fields, zip(*rows, strict=True), strict=True)}
        columns["at"] = [at.isoformat() for at in columns["at"]]
        self._tx.execute(
            "INSERT INTO users AS u (id, username, role_id, password_hash, created_at) "
            "SELECT n.id, n.name, n.role, n.password_hash, n.at FROM unnest(CAST(:id AS bigint[]), CAST(:name AS text[]), "
            "CAST(:role AS bigint[]), CAST(:password_hash AS text[]), CAST(:at AS timestamptz[]), CAST(:is_new AS boolean[])) "
            "n(id, name, role, password_hash, at, is_new) WHERE n.is_new",
            **{name: values for name, values in columns.items() if name != "has_new_password"},
        )
        if all(row.is_new for row in rows):
            return
        self._tx.execute(
            "UPDATE users u SET username = n.name, role_id = n.role, is_active = true, "
            "password_hash = CASE WHEN n.renewed THEN n.password_hash ELSE u.password_hash END "
            "FROM unnest(CAST(:id AS bigint[]), CAST(:name AS text[]), CAST(:role AS bigint[]), CAST(:password_hash AS text[]), "
            "CAST(:is_new AS boolean[]), CAST(:has_new_password AS boolean[])) n(id, name, role, password_hash, is_new, renewed) "
            "WHERE u.id = n.id AND NOT n.is_new",
            **{name: values for name, values in columns.items() if name != "at"},
        )

    def deactivate(self, user_ids: Sequence[int]) -> None:
        """They may do nothing any more, from their next request on; what they made stays."""
        self._tx.execute("UPDATE users SET is_active = false WHERE id = ANY(CAST(:ids AS bigint[]))", ids=list(user_ids))

    def add_unknown(self) -> None:
        """The user to whom belongs what belonged to somebody who does not exist: inactive, with no rights."""
        self._tx.execute(
            "INSERT INTO users (id, username, role_id, is_active) SELECT :id, :name, id, false FROM roles WHERE role_name = 'viewer' "
            "ON CONFLICT DO NOTHING",
            id=ELSEWHERE,
            name=UNKNOWN,
        )

    def viewer(self) -> int:
        """The role without any right beyond grants."""
        return int(self._tx.scalar("SELECT id FROM roles WHERE role_name = 'viewer'"))

    def lead(self, table: str, highest: int) -> None:
        """Ids that we give out from here on begin a million above the legacy system's highest, which goes on giving out its own."""
        self._tx.execute("SELECT legacy_lead(:name, :highest)", name=table, highest=highest)
