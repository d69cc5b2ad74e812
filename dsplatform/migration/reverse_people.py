"""Users for the legacy system: those whom somebody made here, and what changed about the others."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from dsplatform.core.database import Transaction
from dsplatform.migration.old_model import OldUser
from dsplatform.migration.remembered_rows import Remembered
from dsplatform.migration.reverse_rows import ReverseRows

LONGEST = 20
"""Characters of a name there."""
_LOWEST = "SELECT id FROM roles ORDER BY lower(role_name) IN ('admin', 'manager'), id IN (1, 2), id LIMIT 1"
"""The lowest role but those that open everything there."""
_USERS = """
SELECT u.id, u.is_active, CASE WHEN u.password_hash LIKE '$2%' THEN u.password_hash END,
    (SELECT min(CAST(w.legacy_id AS integer)) FROM legacy_id_map w WHERE w.entity = 'roles' AND w.new_id = u.role_id
        AND w.deleted_at IS NULL),
    EXISTS (SELECT 1 FROM legacy_id_map m WHERE m.entity = 'users' AND m.new_id = u.id AND m.deleted_at IS NOT NULL),
    EXISTS (SELECT 1 FROM audit_log a, legacy_routing r WHERE a.object_type = 'user' AND a.object_id = CAST(u.id AS text)
        AND a.action = 'user.password' AND a.result = 'done' AND a.at > r.switched_at),
    EXISTS (SELECT 1 FROM legacy_id_map m WHERE m.entity = 'users' AND m.new_id = u.id AND m.deleted_at IS NULL AND m.source_hash <> '')
FROM users u WHERE u.id = ANY(CAST(:ids AS bigint[]))
"""


class Person(NamedTuple):
    """A user as she is now."""

    user: OldUser
    is_active: bool
    password: str | None
    """The legacy system's own hash, where she still has it."""
    role: int | None
    """Hers in the legacy system; None: it is none of that."""
    was_removed: bool
    """Whether the legacy system took her away before."""
    has_new_password: bool
    """Whether somebody gave her another since the switch."""
    is_accounted: bool
    """Whether what the legacy system says of her is known here."""

    @property
    def is_otherwise(self) -> bool:
        """Whether she is more, or less, than the legacy system can say."""
        return self.role is None or self.password is None or not self.is_active


def no_password(number: int) -> str:
    """A bcrypt hash that no password has, the same for the same user."""
    return f"$2b$12${'.' * 22}{number:.>31}"


class ReversePeople:
    """Those whom a dataset names, or who changed."""

    def read(self, tx: Transaction, user_ids: Collection[int]) -> list[Person]:
        """These users of ours."""
        about = {id_: rest for id_, *rest in tx.tuples(_USERS, ids=list(user_ids))}
        return [Person(user, *about[user.new_id]) for user in Remembered(tx).users(user_ids)]

    def write(self, rows: ReverseRows, people: Collection[Person], touched: Collection[int]) -> tuple[Mapping[int, int], list[str]]:
        """Has them there: (old id to ours, what cannot be expressed)."""
        unsaid: list[str] = []
        there: dict[int, int] = {}
        known = set(rows.ids("SELECT id FROM users WHERE id = ANY(%(ids)s)", ids=[person.user.id for person in people]))
        for person in people:
            user, name = person.user, person.user.soeid
            if user.id in known:
                there[user.id] = user.new_id
                if user.new_id in touched:
                    unsaid += self._change(rows, person)
            elif person.was_removed and not person.is_active and user.new_id in touched:
                continue
            elif len(name) > LONGEST or rows.ids("SELECT id FROM users WHERE soeid = %(name)s", name=name):
                unsaid.append(f"user {name!r}: a name there has {LONGEST} characters at most, and is nobody else's")
            else:
                unsaid += self._add(rows, person)
                there[user.id] = user.new_id
        return there, unsaid

    def _add(self, rows: ReverseRows, person: Person) -> list[str]:
        user = person.user
        password = person.password if person.is_active else None
        (lowest,) = rows.ids(_LOWEST)
        values = {
            "soeid": user.soeid,
            "password_hash": password or no_password(user.id),
            "role_id": person.role or lowest,
            "created_at": user.created_at,
            "updated_at": user.updated_at,
        }
        rows.put("users", {"id": user.id}, values)
        unsaid = [] if password else [f"the password of user {user.soeid!r}: she needs a new one there"]
        return unsaid if person.role else [*unsaid, f"the role {user.role_name!r} of user {user.soeid!r}"]

    def _change(self, rows: ReverseRows, person: Person) -> list[str]:
        user, unsaid = person.user, []
        if person.role is not None:
            rows.put("users", {"id": user.id}, {"role_id": person.role}, changing=("role_id",))
        else:
            unsaid.append(f"the role {user.role_name!r} of user {user.soeid!r}")
        if not person.is_active:
            rows.put("users", {"id": user.id}, {"password_hash": no_password(user.id)}, changing=("password_hash",))
            unsaid.append(f"user {user.soeid!r} is not active: her password was taken away there")
        elif person.has_new_password:
            unsaid.append(f"the new password of user {user.soeid!r}: she needs another one there")
        return unsaid
