"""Users, groups and roles, kept by those whose role has the right `users`.

Nobody gives more than she has, by whatever way: a role goes only to whom a holder of all its rights gives it, a group with grants is
filled only by who holds these herself, and only an admin makes or changes an admin, or gives somebody else a password.
"""

from collections.abc import Collection, Sequence

from dsplatform.core.access import open_to_all, requires_right
from dsplatform.core.database import ConstraintViolated, Database, Transaction
from dsplatform.core.domain import Actor, AuditEntry
from dsplatform.core.errors import Conflict, Invalid, NotFound
from dsplatform.core.interfaces import AccessControl
from dsplatform.core.types import PlatformRight, principal_name
from dsplatform.permissions.account_rows import Tokens
from dsplatform.permissions.model import MissingRight
from dsplatform.permissions.passwords import Passwords
from dsplatform.permissions.people_rows import Groups, People, Roles
from dsplatform.permissions.principals import ADMIN, SYSTEM, Group, Role, User, missing_to_give, missing_to_touch
from dsplatform.permissions.session_rows import Sessions

USERS = PlatformRight.USERS


class PeopleService:
    """Keeps users, groups and roles. Names are as `principal_name` makes them; each method raises `Invalid` for one that cannot be."""

    def __init__(self, db: Database, access: AccessControl, passwords: Passwords) -> None:
        self._db = db
        self._access = access
        self._passwords = passwords

    @open_to_all("it tells the caller about herself")
    def me(self, actor: Actor) -> User:
        """The user as whom the actor is here."""
        with self._db.autocommit() as tx:
            return _user(People(tx).get(actor.username), actor.username)

    # --- users -----------------------------------------------------------------------------------------------------------------

    @requires_right(USERS)
    def list_users(self, _actor: Actor, *, after: str = "", limit: int = 100) -> Sequence[User]:
        """Users by name, from behind `after`."""
        with self._db.autocommit() as tx:
            return People(tx).page(after, limit)

    @requires_right(USERS)
    def count_users(self, _actor: Actor) -> int:
        """How many users there are, with those who are not active."""
        with self._db.autocommit() as tx:
            return People(tx).count()

    @requires_right(USERS)
    def get_user(self, _actor: Actor, username: str) -> User:
        """One user. Raises `NotFound`."""
        with self._db.autocommit() as tx:
            return _user(People(tx).get(principal_name(username)), username)

    @requires_right(USERS)
    def create_user(
        self, actor: Actor, username: str, *, role: str = "viewer", is_service: bool = False, password: str | None = None
    ) -> User:
        """A new user with this role. Without a password she has no way in until an admin gives her one; a service account never has one.
        Raises `Conflict` for a taken name, `NotFound` for an unknown role, `MissingRight` for a role with rights that the actor lacks."""
        name = principal_name(username)
        if is_service and password is not None:
            raise Invalid("a service account has no password: make a token for it")
        hashed = None if password is None else self._passwords.hash(password)
        try:
            with self._db.transaction() as tx:
                given = self._giveable(tx, actor, role)
                user_id = People(tx).add(name, given.id, is_service=is_service, password_hash=hashed)
                after = {"username": name, "role": given.name, "is_service": is_service}
                tx.note(AuditEntry("user.create", "user", str(user_id), actor, after=after))
                return _user(People(tx).get(name), name)
        except ConstraintViolated as err:
            if err.constraint != "uq_users_username":
                raise
            raise Conflict(f"user {name!r} exists already") from err

    @requires_right(USERS)
    def change_user(self, actor: Actor, username: str, *, role: str | None = None, active: bool | None = None) -> User:
        """Another role for a user, or whether she may do anything; from her next request on.

        Who is deactivated loses her sessions and her tokens, for good; what she made stays. Raises `NotFound`, `Conflict` for the last
        active admin, `MissingRight` for an admin or a role with rights that the actor lacks.
        """
        with self._db.transaction() as tx:
            people, user = People(tx), self._touchable(tx, actor, username)
            given = self._giveable(tx, actor, role or user.role) if role is not None or active else None
            stays = active is not False and (given is None or given.name == ADMIN)
            if user.role == ADMIN and user.is_active and not stays and people.is_last_admin(user.id):
                raise Conflict(f"user {user.username!r} is the last active admin: make another one first")
            if given is not None and given.name != user.role:
                people.set_role(user.id, given.id)
                after = {"role": given.name}
                tx.note(AuditEntry("user.role", "user", str(user.id), actor, before={"role": user.role}, after=after))
            if active is False and user.is_active:
                people.set_active(user.id, active=False)
                figures = {"sessions_ended": Sessions(tx).end_all(user.id, "deactivated"), "tokens_revoked": Tokens(tx).revoke_all(user.id)}
                tx.note(AuditEntry("user.deactivate", "user", str(user.id), actor, after=figures))
            if active and not user.is_active:
                people.set_active(user.id, active=True)
                tx.note(AuditEntry("user.reactivate", "user", str(user.id), actor))
            return _user(people.get(user.username), username)

    @requires_right(USERS)
    def set_password(self, actor: Actor, username: str, password: str) -> None:
        """Another password for a user; her sessions end. Only an admin may, since it is a way to become her."""
        with self._db.autocommit():
            if not actor.is_admin:
                raise MissingRight(actor, ADMIN, "platform", "")
        hashed = self._passwords.hash(password)
        with self._db.transaction() as tx:
            user = self._touchable(tx, actor, username)
            if user.is_service:
                raise Invalid(f"{user.username!r} is a service account, which has no password: make a token for it")
            People(tx).set_password(user.id, hashed)
            ended = Sessions(tx).end_all(user.id, "password")
            tx.note(AuditEntry("user.password", "user", str(user.id), actor, after={"sessions_ended": ended}))

    # --- groups ----------------------------------------------------------------------------------------------------------------

    @requires_right(USERS)
    def list_groups(self, _actor: Actor, *, after: str = "", limit: int = 100) -> Sequence[Group]:
        """Groups by name, from behind `after`."""
        with self._db.autocommit() as tx:
            return Groups(tx).page(after, limit)

    @requires_right(USERS)
    def count_groups(self, _actor: Actor) -> int:
        """How many groups there are."""
        with self._db.autocommit() as tx:
            return Groups(tx).count()

    @requires_right(USERS)
    def get_group(self, _actor: Actor, name: str) -> Group:
        """One group. Raises `NotFound`."""
        with self._db.autocommit() as tx:
            return _group(tx, name)

    @requires_right(USERS)
    def list_members(self, _actor: Actor, name: str, *, after: str = "", limit: int = 100) -> Sequence[User]:
        """Who belongs to a group, by name, from behind `after`. Raises `NotFound`."""
        with self._db.autocommit() as tx:
            return People(tx).page(after, limit, _group(tx, name).id)

    @requires_right(USERS)
    def create_group(self, actor: Actor, name: str, description: str = "") -> Group:
        """A new group, of nobody and without grants. Raises `Conflict` for a taken name."""
        wanted, said = principal_name(name), _description(description)
        try:
            with self._db.transaction() as tx:
                group_id = Groups(tx).add(wanted, said)
                tx.note(AuditEntry("group.create", "group", str(group_id), actor, after={"name": wanted, "description": said}))
                return _group(tx, wanted)
        except ConstraintViolated as err:
            raise Conflict(f"group {wanted!r} exists already") from err

    @requires_right(USERS)
    def delete_group(self, actor: Actor, name: str) -> None:
        """Takes a group away, and with it all that was granted to it. Raises `NotFound`."""
        with self._db.transaction() as tx:
            group = _group(tx, name)
            Groups(tx).remove(group.id)
            before = {"name": group.name, "description": group.description, "members": group.members}
            tx.note(AuditEntry("group.delete", "group", str(group.id), actor, before=before))

    @requires_right(USERS)
    def add_member(self, actor: Actor, name: str, username: str) -> None:
        """The user belongs to the group. Raises `MissingRight` when the group holds a right that the actor does not."""
        with self._db.transaction() as tx:
            group, user = _group(tx, name), self._touchable(tx, actor, username)
            if missing := People(tx).not_held(actor, group_id=group.id):
                raise MissingRight(actor, missing, "platform", "")
            if Groups(tx).join(group.id, user.id):
                tx.note(AuditEntry("group.join", "group", str(group.id), actor, after={"member": user.username}))

    @requires_right(USERS)
    def remove_member(self, actor: Actor, name: str, username: str) -> None:
        """The user does not belong to the group. Raises `NotFound`."""
        with self._db.transaction() as tx:
            group, user = _group(tx, name), self._touchable(tx, actor, username)
            if Groups(tx).leave(group.id, user.id):
                tx.note(AuditEntry("group.leave", "group", str(group.id), actor, before={"member": user.username}))

    # --- roles -----------------------------------------------------------------------------------------------------------------

    @requires_right(USERS)
    def list_roles(self, _actor: Actor, *, after: str = "", limit: int = 100) -> Sequence[Role]:
        """Roles by name, from behind `after`."""
        with self._db.autocommit() as tx:
            return Roles(tx).page(after, limit)

    @requires_right(USERS)
    def count_roles(self, _actor: Actor) -> int:
        """How many roles there are."""
        with self._db.autocommit() as tx:
            return Roles(tx).count()

    @requires_right(USERS)
    def set_role_rights(self, actor: Actor, name: str, rights: Collection[PlatformRight], description: str = "") -> Role:
        """Makes a role with these rights, or gives one that is there these instead, for all who have it. Raises `Conflict` for a built-in
        one, `MissingRight` when the actor lacks one of the rights that it has or gets."""
        wanted, said = principal_name(name), _description(description)
        with self._db.transaction() as tx:
            found = Roles(tx).lock(wanted)
            if found is not None and found.is_built_in:
                raise Conflict(f"role {wanted!r} is built in and stays as it is: make another one")
            if missing := missing_to_give(actor, wanted, {*rights, *(found.rights if found else ())}):
                raise MissingRight(actor, missing, "platform", "")
            after = {"name": wanted, "rights": sorted(rights), "description": said}
            if found is None:
                Roles(tx).add(wanted, said, sorted(set(rights)))
            else:
                Roles(tx).change(found.id, said, sorted(set(rights)))
            made = _role(tx, wanted)
            before = None if found is None else {"rights": list(found.rights), "description": found.description}
            tx.note(AuditEntry("role.create" if found is None else "role.change", "role", str(made.id), actor, before=before, after=after))
            return made

    @requires_right(USERS)
    def delete_role(self, actor: Actor, name: str) -> None:
        """Takes a role away that nobody has. Raises `Conflict` for a built-in one and while somebody has it."""
        with self._db.transaction() as tx:
            found = Roles(tx).lock(principal_name(name))
            role = found or _role(tx, name)
            if role.is_built_in:
                raise Conflict(f"role {role.name!r} is built in and stays")
            if role.users:
                raise Conflict(f"{role.users} user(s) have the role {role.name!r}: give them another one first")
            Roles(tx).remove(role.id)
            tx.note(AuditEntry("role.delete", "role", str(role.id), actor, before={"name": role.name, "rights": list(role.rights)}))

    # ---------------------------------------------------------------------------------------------------------------------------

    def _giveable(self, tx: Transaction, actor: Actor, name: str) -> Role:
        role = _role(tx, name)
        if missing := missing_to_give(actor, role.name, role.rights):
            raise MissingRight(actor, missing, "platform", "")
        return role

    def _touchable(self, tx: Transaction, actor: Actor, username: str) -> User:
        """The user, locked, if the actor may change her."""
        user = _user(People(tx).lock(principal_name(username)), username)
        if missing := missing_to_touch(actor, user):
            raise MissingRight(actor, missing, "platform", "")
        if user.username == SYSTEM:
            raise Conflict(f"user {SYSTEM!r} is built in and stays as it is")
        return user


def _user(found: User | None, username: str) -> User:
    if found is None:
        raise NotFound(f"user {username[:64]!r} does not exist: `dsplatform users list` shows who does")
    return found


def _group(tx: Transaction, name: str) -> Group:
    found = Groups(tx).get(principal_name(name))
    if found is None:
        raise NotFound(f"group {name[:64]!r} does not exist: `dsplatform groups list` shows those that do")
    return found


def _role(tx: Transaction, name: str) -> Role:
    found = Roles(tx).get(principal_name(name))
    if found is None:
        raise NotFound(f"role {name[:64]!r} does not exist: `dsplatform roles list` shows those that do")
    return found


def _description(text: str) -> str:
    if len(text) > 500 or "\x00" in text:
        raise Invalid("a description has 500 characters at most, and no NUL")
    return text
