"""The rule of permissions, free of any lookup."""

from collections.abc import Collection

from dsplatform.core.domain import Actor
from dsplatform.core.errors import Denied
from dsplatform.core.types import PermissionType


def allows(actor: Actor, held: Collection[PermissionType], wanted: PermissionType) -> bool:
    """Whether an actor with these rights on an object may use the wanted one."""
    return actor.is_admin or any(right.includes(wanted) for right in held)


class MissingRight(Denied):
    """The actor lacks a right on a dataset."""

    def __init__(self, actor: Actor, wanted: PermissionType, what: str) -> None:
        super().__init__(f"user {actor.username!r} lacks the right '{wanted}' on {what}: ask its owner or an admin to grant it")
