"""Who is calling, and the API tokens by which programs say so."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from dsplatform.core.access import internal, open_to_all
from dsplatform.core.database import ConstraintViolated, Database, Transaction
from dsplatform.core.domain import Actor, AuditEntry, Origin, Scope, ValueObject
from dsplatform.core.errors import Conflict, Invalid, NotFound
from dsplatform.core.interfaces import AccessControl
from dsplatform.core.types import PermissionType, PlatformRight, principal_name
from dsplatform.permissions import tokens
from dsplatform.permissions.account_rows import Token, Tokens
from dsplatform.permissions.model import MissingRight, Unauthenticated
from dsplatform.permissions.people_rows import People, Roles
from dsplatform.permissions.principals import ADMIN, User, missing_to_give, missing_to_touch
from dsplatform.permissions.sessions import SessionService

DAYS = 90
"""How long a token is good, where nothing else is asked for."""
MOST_DATASETS = 1_000
"""That one token can be limited to."""


@dataclass(frozen=True)
class NewToken(ValueObject):
    """A token, at the only moment when it can be read."""

    id: int
    name: str
    secret: str = field(repr=False)
    scope: Scope
    expires_at: datetime


class AccountService:
    """Users' credentials."""

    def __init__(self, db: Database, access: AccessControl, sessions: SessionService) -> None:
        self._db = db
        self._access = access
        self._sessions = sessions

    @open_to_all(
        "it makes a token of the caller, with no more than she may do herself; for a service account it asks for the right `users`"
    )
    def create_token(
        self,
        actor: Actor,
        name: str,
        *,
        right: PermissionType = PermissionType.ADMIN,
        dataset_ids: Collection[int] | None = None,
        days: float = DAYS,
        of: str | None = None,
    ) -> NewToken:
        """A new token of the actor, or of the service account `of`. Its secret is in the answer and nowhere else.

        It reaches no further than the credential that it is made with. For a service account it takes the right `users`, and every right
        that the account has. Raises `Invalid` for a wrong name, time or list, `MissingRight`, `NotFound`.
        """
        label, scope, until = _label(name), _scope(right, dataset_ids), _until(days)
        secret = tokens.new(tokens.API)
        with self._db.transaction() as tx:
            _within(actor, scope)
            user_id = actor.user_id if of is None else self._service_account(tx, actor, of).id
            token_id = Tokens(tx).add(user_id, label, secret, scope, until)
            after = {
                "user_id": user_id,
                "name": label,
                "right": str(scope.right),
                "dataset_ids": None if scope.dataset_ids is None else list(scope.dataset_ids),
                "expires_at": until.isoformat(),
            }
            tx.note(AuditEntry("token.create", "token", str(token_id), actor, after=after))
        return NewToken(token_id, label, secret, scope, until)

    @open_to_all("it shows the caller's own tokens; for those of others it asks for the right `users`")
    def list_tokens(self, actor: Actor, *, of: str | None = None, after: int = 0, limit: int = 100) -> Sequence[Token]:
        """The tokens of the actor, or of the user `of`, by id, from behind `after`. A token with a limited scope shows itself alone."""
        with self._db.autocommit() as tx:
            return Tokens(tx).page(after, limit, *self._whose(tx, actor, of))

    @open_to_all("it counts the caller's own tokens; for those of others it asks for the right `users`")
    def count_tokens(self, actor: Actor, *, of: str | None = None) -> int:
        """How many tokens there are of whom `list_tokens` shows them."""
        with self._db.autocommit() as tx:
            return Tokens(tx).count(*self._whose(tx, actor, of))

    @open_to_all("it ends the caller's own tokens; for those of others it asks for the right `users`")
    def revoke_token(self, actor: Actor, token_id: int) -> None:
        """The token is refused from now on; no harm is done when it was already. A token with a limited scope revokes itself alone. Raises
        `NotFound` for a token of somebody else, unless the actor has the right `users`."""
        with self._db.transaction() as tx:
            token = Tokens(tx).get(token_id)
            own = token is not None and token.owner == actor.username and (actor.scope == Scope() or token.id == actor.origin.token_id)
            if token is None or not (own or actor.may(PlatformRight.USERS)):
                missing = NotFound(f"token {token_id} does not exist: `dsplatform tokens list` shows those that do")
                if token is not None:
                    missing.refusal = AuditEntry(f"access.{PlatformRight.USERS}", "token", str(token_id), actor, result="refused")
                raise missing
            if not own:
                _touchable(tx, actor, token.owner)
            if Tokens(tx).revoke(token_id):
                tx.note(AuditEntry("token.revoke", "token", str(token_id), actor, before={"owner": token.owner, "name": token.name}))

    @internal("it says who is calling")
    def authenticate(self, credential: str, origin: Origin) -> Actor:
        """Who presents the credential, an API token or the access token of a session. Raises `Unauthenticated` for one that is unknown,
        expired or revoked, or whose user is not active: always the same."""
        if not tokens.is_formed(tokens.API, credential):
            return self._sessions.authenticate(credential, origin)
        with self._db.autocommit() as tx:
            actor = Tokens(tx).owner(credential, origin)
            if actor is None:
                raise Unauthenticated
            return actor

    @internal("part of the first start, before there is anybody who could ask")
    def first_admin(self, hand_over: Callable[[str], None]) -> bool:
        """Makes the user `admin` with an API token, unless there is an active admin besides the built-in user, or there was a user of that
        name ever. `hand_over` gets the token and keeps it safe; only when it succeeds there is such a user. Answers whether it was made."""
        secret = tokens.new(tokens.API)
        try:
            with self._db.transaction() as tx:
                people, role = People(tx), Roles(tx).get(ADMIN)
                if role is None or people.has_admin():
                    return False
                user_id = people.add(ADMIN, role.id, is_service=False, password_hash=None)
                token_id = Tokens(tx).add(user_id, "first start", secret, Scope(), _until(DAYS))
                tx.note(AuditEntry("user.create", "user", str(user_id), None, after={"username": ADMIN, "role": ADMIN, "token": token_id}))
                hand_over(secret)
        except ConstraintViolated:  # there is a user of that name, who may not be active, or another process makes her at this moment
            return False
        return True

    def _whose(self, tx: Transaction, actor: Actor, of: str | None) -> tuple[int, int | None]:
        """(user, only this token) that the actor may look at."""
        if of is not None and principal_name(of) != actor.username:
            self._access.require_right(actor, PlatformRight.USERS)
            return _found(tx, of).id, None
        return actor.user_id, None if actor.scope == Scope() else actor.origin.token_id

    def _service_account(self, tx: Transaction, actor: Actor, of: str) -> User:
        """The service account, if the actor may do all that it may."""
        self._access.require_right(actor, PlatformRight.USERS)
        user = _touchable(tx, actor, of)
        if not user.is_service or not user.is_active:
            raise Conflict(f"user {user.username!r} is no active service account: others make their tokens themselves")
        role = Roles(tx).get(user.role)
        missing = missing_to_give(actor, user.role, role.rights if role else ()) or People(tx).not_held(actor, user_id=user.id)
        if missing:
            raise MissingRight(actor, missing, "platform", "")
        return user


def _found(tx: Transaction, username: str) -> User:
    user = People(tx).get(principal_name(username))
    if user is None:
        raise NotFound(f"user {username[:64]!r} does not exist: `dsplatform users list` shows who does")
    return user


def _touchable(tx: Transaction, actor: Actor, username: str) -> User:
    user = _found(tx, username)
    if missing := missing_to_touch(actor, user):
        raise MissingRight(actor, missing, "platform", "")
    return user


def _label(name: str) -> str:
    label = name.strip()
    if not 0 < len(label) <= 100 or not label.isprintable():
        raise Invalid("a token's name has 1 to 100 printable characters: say what it is for")
    return label


def _until(days: float) -> datetime:
    if not 0 < days <= 366:
        raise Invalid("a token is good for 366 days at most, and for more than none")
    return datetime.now(UTC) + timedelta(days=days)


def _scope(right: PermissionType, dataset_ids: Collection[int] | None) -> Scope:
    if dataset_ids is None:
        return Scope(right)
    only = tuple(sorted(set(dataset_ids)))
    if not 0 < len(only) <= MOST_DATASETS or only[0] < 1 or only[-1] >= 2**63:
        raise Invalid(f"a token is limited to 1 to {MOST_DATASETS:,} datasets, named by their ids")
    return Scope(right, only)


def _within(actor: Actor, scope: Scope) -> None:
    """Raises `MissingRight` when the scope reaches further than the credential of the actor."""
    reaches = actor.scope.dataset_ids is None or (scope.dataset_ids is not None and set(scope.dataset_ids) <= set(actor.scope.dataset_ids))
    if not (reaches and actor.scope.right.includes(scope.right)):
        raise MissingRight(actor, scope.right, "platform", "", by_token=True)
