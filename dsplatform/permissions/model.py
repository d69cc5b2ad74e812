"""The rule of permissions, free of any lookup."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from dsplatform.core.domain import Actor, AuditEntry, ValueObject
from dsplatform.core.errors import Denied
from dsplatform.core.types import PermissionType


@dataclass(frozen=True)
class Grantee(ValueObject):
    """To whom a right is granted."""

    kind: Literal["user", "group", "everyone"]
    id: int | None = None
    """Of the user or the group."""
    name: str = "everyone"


EVERYONE = Grantee("everyone")


def allows(actor: Actor, held: Collection[PermissionType], wanted: PermissionType, dataset_id: int | None) -> bool:
    """Whether an actor with these grants on an object may use the wanted right on it. `dataset_id`: None for a file by itself.

    The same rule as rows of the database: the view `rights_held` with `core.access.SEEN`.
    """
    return actor.reaches(wanted, dataset_id) and (actor.holds_everywhere(wanted) or any(right.includes(wanted) for right in held))


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
