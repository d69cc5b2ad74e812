"""The rule of permissions, free of any lookup, and what is told about grants."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from dsplatform.core.domain import Actor, AuditEntry, ValueObject
from dsplatform.core.errors import Conflict, Denied, NotFound
from dsplatform.core.types import FileId, PermissionType, PlatformRight

ObjectType = Literal["dataset", "file"]


@dataclass(frozen=True)
class Grantee(ValueObject):
    """To whom a right is granted."""

    kind: Literal["user", "group", "everyone"]
    id: int | None = None
    """Of the user or the group; where it is not known, the name counts."""
    name: str = "everyone"

    @property
    def said(self) -> str:
        """As a sentence names it."""
        return self.name if self.kind == "everyone" else f"{self.kind} {self.name!r}"


EVERYONE = Grantee("everyone")


@dataclass(frozen=True)
class Grant(ValueObject):
    """That somebody holds a right on a dataset or a file."""

    id: int
    grantee: Grantee
    right: PermissionType
    granted_by: str | None
    """Who granted it; None for a user who is no more."""
    granted_at: datetime
    expires_at: datetime | None
    """From then on it does not count; None: it has no end."""


@dataclass(frozen=True)
class Way(ValueObject):
    """By what somebody holds a right."""

    kind: Literal["role", "user", "group", "everyone"]
    name: str | None
    """Of the role or the group."""
    right: PermissionType | None
    """What was granted; None for a role."""
    grant_id: int | None
    expires_at: datetime | None

    @property
    def said(self) -> str:
        """As a sentence names it."""
        if self.kind == "role":
            return f"by the role {self.name!r}"
        to = {"user": "of her own", "group": f"of group {self.name!r}", "everyone": "for everyone"}[self.kind]
        until = "" if self.expires_at is None else f" until {self.expires_at:%Y-%m-%d %H:%M} UTC"
        return f"by the grant {to} of '{self.right}'{until} (number {self.grant_id})"


@dataclass(frozen=True)
class Holder(ValueObject):
    """A user who holds a right, and by what."""

    username: str
    ways: tuple[Way, ...]


@dataclass(frozen=True)
class Holding(ValueObject):
    """What a user holds by one grant."""

    object_type: ObjectType
    object_id: int
    slug: str | None
    """Of a dataset."""
    way: Way


@dataclass(frozen=True)
class Standing(ValueObject):
    """Whether somebody may do something, and why."""

    username: str
    right: PermissionType
    object_type: ObjectType
    name: str
    allowed: bool
    ways: tuple[Way, ...]
    """By what she holds the right; none for what a dataset gives on its files."""

    @property
    def sentence(self) -> str:
        """The answer for a person."""
        where = f"'{self.right}' on {self.object_type} {self.name!r}"
        if self.allowed:
            return f"{self.username} holds {where}: " + (
                "; ".join(way.said for way in self.ways) or "by a dataset of which a version names it"
            )
        if self.ways:
            return f"{self.username} holds {where}, but the credential in use may not be used for it"
        return f"{self.username} lacks {where}: who administers it can grant it"


def allows(actor: Actor, held: Collection[PermissionType], wanted: PermissionType, dataset_id: int | None) -> bool:
    """Whether an actor with these grants on an object may use the wanted right on it. `dataset_id`: None for a file by itself.

    The same rule as rows of the database: the view `rights_held` with `core.access.SEEN`.
    """
    return actor.reaches(wanted, dataset_id) and (actor.holds_everywhere(wanted) or any(right.includes(wanted) for right in held))


def sufficient_rights(wanted: PermissionType) -> list[PlatformRight]:
    """Those rights of roles that give the wanted right on every dataset and file."""
    return [right for right in PlatformRight if Actor(0, "", rights=(right,)).holds_everywhere(wanted)]


class GrantMissing(NotFound):
    """No such grant on this object."""

    code = "grant_missing"


class GranteeMissing(NotFound):
    """No user, or no group, of that name."""

    code = "grantee_missing"


class LastAdmin(Conflict):
    """The grant is the last one by which somebody administers the dataset."""

    code = "last_admin"


class FileUnseen(NotFound):
    """No file of that id, or not for this caller: the same either way."""

    def __init__(self, actor: Actor, file_id: FileId) -> None:
        super().__init__(f"file {file_id} does not exist")
        self.refusal = AuditEntry("access.read", "file", str(file_id), actor, result="refused")


class MissingRight(Denied):
    """The actor lacks a right."""

    code = "missing_right"

    def __init__(self, actor: Actor, wanted: str, object_type: str, object_id: str, *, by_token: bool = False) -> None:
        if by_token:
            sentence = f"this token may not be used for the right '{wanted}' here: use one with a wider scope"
        elif object_type == "platform":
            sentence = f"user {actor.username!r} lacks the right '{wanted}': ask an admin for a role that has it"
        else:
            sentence = f"user {actor.username!r} lacks the right '{wanted}' on this {object_type}: ask who administers it to grant it"
        super().__init__(sentence)
        self.missing = wanted
        self.refusal = AuditEntry(f"access.{wanted}", object_type, object_id, actor, result="refused")


class Unauthenticated(Denied):
    """Nobody is known by the credential, or there is none."""

    code = "unauthenticated"

    def __init__(
        self, sentence: str = "this credential is not known, or no longer good: use a token of `dsplatform tokens create`"
    ) -> None:
        super().__init__(sentence)
