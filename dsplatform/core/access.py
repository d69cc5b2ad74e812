"""How the methods of services are guarded. Each public method says by one of these who may call it; a test calls them all as a stranger.

- `requires_permission(right)`: opens the method's transaction, checks in it that the actor holds the right on the dataset, and hands both
  on.
- `checks_permission(right)`: the method itself asks, in each of the transactions that it opens: it has several, or finds its dataset.
- `requires_right(right)`: the actor's role must give the right.
- `open_to_all(reason)`: whoever is known may call it; the reason says why that gives nothing away.
- `internal(reason)`: no door calls it on behalf of a person, so it takes no actor.
"""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from dsplatform.core.database import Database, Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Denied
from dsplatform.core.interfaces import AccessControl
from dsplatform.core.types import PermissionType, PlatformRight
from dsplatform.core.values import DatasetRef


class Guarded(Protocol):
    """A service whose methods can be guarded."""

    @property
    def _db(self) -> Database: ...
    @property
    def _access(self) -> AccessControl: ...


S = TypeVar("S", bound=Guarded)
P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., object])


def requires_permission(
    right: PermissionType,
) -> Callable[[Callable[Concatenate[S, Transaction, Actor, DatasetRef, P], R]], Callable[Concatenate[S, Actor, DatasetRef, P], R]]:
    """The method works in one transaction, which is opened for it and begins with the check. Raises `MissingRight`."""

    def guard(method: Callable[Concatenate[S, Transaction, Actor, DatasetRef, P], R]) -> Callable[Concatenate[S, Actor, DatasetRef, P], R]:
        @wraps(method)
        def guarded(self: S, actor: Actor, dataset: DatasetRef, /, *args: P.args, **kwargs: P.kwargs) -> R:
            with self._db.transaction() as tx:
                self._access.require(tx, actor, right, dataset.id)
                return method(self, tx, actor, dataset, *args, **kwargs)

        return _marked(guarded, f"permission {right}")

    return guard


def requires_right(
    right: PlatformRight,
) -> Callable[[Callable[Concatenate[S, Actor, P], R]], Callable[Concatenate[S, Actor, P], R]]:
    """The method is for those whose role gives the right. Raises `MissingRight`."""

    def guard(method: Callable[Concatenate[S, Actor, P], R]) -> Callable[Concatenate[S, Actor, P], R]:
        @wraps(method)
        def guarded(self: S, actor: Actor, /, *args: P.args, **kwargs: P.kwargs) -> R:
            try:
                self._access.require_right(actor, right)
            except Denied:
                with self._db.autocommit():  # the transaction that it ends has the refusal kept
                    raise
            return method(self, actor, *args, **kwargs)

        return _marked(guarded, f"right {right}")

    return guard


def checks_permission(right: PermissionType) -> Callable[[F], F]:
    """The method asks for the right itself."""
    return lambda method: _marked(method, f"checks {right}")


def open_to_all(reason: str) -> Callable[[F], F]:
    """Whoever is known may call the method."""
    return lambda method: _marked(method, f"open: {reason}")


def internal(reason: str) -> Callable[[F], F]:
    """The method acts for the platform itself."""
    return lambda method: _marked(method, f"internal: {reason}")


def guard_of(method: object) -> str | None:
    """How the method is guarded; None: not at all."""
    return getattr(method, "__guard__", None)


def _marked(method: F, guard: str) -> F:
    method.__guard__ = guard  # type: ignore[attr-defined]  # read by `guard_of`
    return method


_HELD = """
    SELECT h.resource_id FROM rights_held h
    WHERE h.user_id = :viewer AND h.resource_type = 'dataset' AND h.permission_type = ANY(CAST(:sufficient AS text[]))
"""

SEEN = f"""
    (:sees_all OR ({_HELD} AND h.resource_id = d.id LIMIT 1) IS NOT NULL)
    AND (CAST(:only AS bigint[]) IS NULL OR d.id = ANY(CAST(:only AS bigint[])))
"""
"""Whether an actor holds a right on a dataset `d` that is found otherwise. The parameters come from `seen_by`. The view `rights_held` is
the rule of permissions as rows: what a user holds by herself, by her groups and by what everyone may."""


def among_seen(actor: Actor, right: PermissionType = PermissionType.READ) -> str:
    """The same for a list of datasets `d`, worked out once and not for each of them.

    Each case has a text of its own, so that the server need not plan for all of them: who sees a few of very many datasets gets them by
    their ids.
    """
    parts = [] if actor.holds_everywhere(right) else [f"d.id = ANY(ARRAY({_HELD}))"]
    if seen_by(actor, right)["only"] is not None:
        parts.append("d.id = ANY(CAST(:only AS bigint[]))")
    return " AND ".join(parts) or "true"


def seen_by(actor: Actor, right: PermissionType = PermissionType.READ) -> dict[str, object]:
    """The parameters of `SEEN` and `among_seen`. A credential that may not be used for the right sees nothing."""
    only = actor.scope.dataset_ids
    if not actor.scope.right.includes(right):
        only = ()
    return {
        "sees_all": actor.holds_everywhere(right),
        "viewer": actor.user_id,
        "sufficient": sufficient(right),
        "only": None if only is None else list(only),
    }


def sufficient(right: PermissionType) -> list[str]:
    """The granted rights that include this one, as rows have them."""
    return list(_SUFFICIENT[right])


_SUFFICIENT = {right: tuple(str(held) for held in PermissionType if held.includes(right)) for right in PermissionType}
