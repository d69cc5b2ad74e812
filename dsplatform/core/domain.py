"""The base classes of the domain. Each does one thing that its subclasses and the rest of the platform rely on."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, Self, TypeVar

from dsplatform.core.types import PermissionType, PlatformRight


class ValueObject:
    """A frozen dataclass whose equality is its content, with a plain form that JSON can hold and that reads back as an equal value."""

    def plain(self) -> dict[str, Any]:
        """The fields, with nested value objects and sequences of them unfolded."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]  # subclasses are dataclasses


def _plain(value: object) -> object:
    if isinstance(value, ValueObject):
        return value.plain()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


class DomainEvent(ValueObject):
    """Something that happened, in the past tense: ids and facts only, of types that JSON keeps. New fields have defaults.

    Subclasses are registered by name, so that a stored delivery finds its class again.
    """

    _registry: ClassVar[dict[str, type["DomainEvent"]]] = {}

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        DomainEvent._registry[cls.__name__] = cls

    @property
    def name(self) -> str:
        """What the event is stored under."""
        return type(self).__name__

    @staticmethod
    def read(name: str, plain: dict[str, Any]) -> "DomainEvent":
        """The event that `plain()` was called on. Unknown fields (of a newer release) are left out."""
        cls = DomainEvent._registry[name]
        known = {field.name for field in fields(cls)}  # type: ignore[arg-type]  # subclasses are dataclasses
        return cls(**{key: value for key, value in plain.items() if key in known})


class Entity:
    """Something with an identity: two objects with the same id are the same thing, whatever else they hold.

    An entity that was never stored has no id yet and equals only itself.
    """

    id: int | None

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self is other or (self.id is not None and self.id == other.id)

    def __hash__(self) -> int:
        return hash((type(self), self.id)) if self.id is not None else object.__hash__(self)


class AggregateRoot(Entity):
    """An entity that guards the rules of what belongs to it, and remembers what happened until the transaction takes it."""

    def record(self, event: DomainEvent) -> None:
        """Keeps the event until `release`, which the transaction calls just before it commits."""
        self.__dict__.setdefault("_events", []).append(event)

    def release(self) -> list[DomainEvent]:
        """The recorded events, once."""
        events: list[DomainEvent] = self.__dict__.pop("_events", [])
        return events


AggregateT = TypeVar("AggregateT", bound=AggregateRoot)


class Repository(Protocol[AggregateT]):
    """Where aggregates of one kind are kept. Questions about sets of them are methods of their own, and skip the aggregate."""

    def get(self, id_: int) -> AggregateT:
        """The aggregate; raises `NotFound`."""
        ...

    def add(self, aggregate: AggregateT) -> Self:
        """Stores a new aggregate and gives it its id; raises `Conflict` where a unique name is taken."""
        ...


@dataclass(frozen=True)
class Scope(ValueObject):
    """What a credential may be used for at most, whatever its user may do."""

    right: PermissionType = PermissionType.ADMIN
    """The highest right. Only with `admin` the rights of the user's role count, too."""
    dataset_ids: tuple[int, ...] | None = None
    """The only datasets it works for; None: all. With a list the rights of the role do not count."""


@dataclass(frozen=True)
class Origin(ValueObject):
    """How a request came in, as the audit log keeps it."""

    token_id: int | None = None
    address: str | None = None
    request_id: str | None = None
    session_id: str | None = None
    """Of the session whose access token it was; None for an API token, and for the command line."""


@dataclass(frozen=True)
class Actor(ValueObject):
    """On whose behalf a service acts, and how far the credential goes that says so."""

    user_id: int
    username: str
    is_admin: bool = False
    """Whether the user's role is `admin`, which may do everything."""
    rights: tuple[PlatformRight, ...] = ()
    """What the user's role may do beyond single datasets."""
    scope: Scope = Scope()
    origin: Origin = Origin()

    def may(self, right: PlatformRight) -> bool:
        """Whether the role has the right, and the credential may use it."""
        unlimited = self.scope == Scope()
        return unlimited and (self.is_admin or right in self.rights)

    def reaches(self, right: PermissionType, dataset_id: int | None) -> bool:
        """Whether the credential may be used for this right on that dataset (None: on a file alone), if its user holds it."""
        only = self.scope.dataset_ids
        return self.scope.right.includes(right) and (only is None or dataset_id in only)

    def holds_everywhere(self, right: PermissionType) -> bool:
        """Whether the role gives the right on every dataset, without a grant."""
        return (
            self.is_admin
            or (right is PermissionType.READ and PlatformRight.READ_ALL in self.rights)
            or (right is not PermissionType.ADMIN and PlatformRight.WRITE_ALL in self.rights)
        )


@dataclass(frozen=True)
class AuditEntry(ValueObject):
    """Something that an actor did, or was refused, as the audit log keeps it. Never holds a secret, nor content of a file."""

    action: str
    """`noun.verb`, as `branch.create`; what it was refused for lack of a right is `access.<right>`."""
    object_type: str
    object_id: str
    actor: Actor | None
    """None: nobody who is known, as before a login."""
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    result: str = "done"
    """`done` or `refused`."""
