"""Users, groups and roles, and who may give what, free of any lookup."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from dsplatform.core.domain import Actor, ValueObject
from dsplatform.core.errors import Invalid
from dsplatform.core.types import PlatformRight, principal_name

ADMIN = "admin"
BUILT_IN_ROLES = frozenset({ADMIN, "editor", "viewer"})
"""Roles that nobody changes or takes away."""
SYSTEM = "system"
"""The built-in user, as whom the platform acts by itself. Nobody changes it, and it has no password."""


@dataclass(frozen=True)
class User(ValueObject):
    """A person, or a program with an account of its own."""

    id: int
    username: str
    role: str
    is_active: bool
    is_service: bool
    """A service account: it has no password, only tokens."""
    has_password: bool
    created_at: datetime
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group(ValueObject):
    """Users who are granted rights together."""

    id: int
    name: str
    description: str
    members: int
    """How many users belong to it."""


@dataclass(frozen=True)
class Role(ValueObject):
    """What its users may do beyond what is granted to them."""

    id: int
    name: str
    description: str
    rights: tuple[PlatformRight, ...]
    users: int
    """How many users have it."""

    @property
    def is_built_in(self) -> bool:
        """Whether it is there from the start, for good."""
        return self.name in BUILT_IN_ROLES


def known_as(name: str) -> str:
    """The form in which the name of a user, group or role is kept. One that cannot be stays as it is, and is nobody's."""
    try:
        return principal_name(name)
    except Invalid:
        return name


def missing_to_give(actor: Actor, role_name: str, rights: Collection[PlatformRight]) -> str | None:
    """The right that an actor lacks to give somebody this role, or to make it so; None: she may.

    Nobody gives more than she has. Only an admin gives the role `admin`, which stands for every right.
    """
    if actor.is_admin:
        return None
    if role_name == ADMIN:
        return ADMIN
    held = set(actor.rights)
    if PlatformRight.WRITE_ALL in held:
        held.add(PlatformRight.READ_ALL)
    return next((str(right) for right in PlatformRight if right in rights and right not in held), None)


def missing_to_touch(actor: Actor, user: User) -> str | None:
    """The right that an actor lacks to change this user; None: she may. Only an admin changes an admin."""
    return ADMIN if user.role == ADMIN and not actor.is_admin else None
