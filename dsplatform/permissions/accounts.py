"""Who is calling: tokens of users, and what becomes of a credential."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dsplatform.core.access import internal, open_to_all
from dsplatform.core.database import Database, Transaction
from dsplatform.core.domain import Actor, AuditEntry, Origin, Scope, ValueObject
from dsplatform.core.errors import Invalid
from dsplatform.core.interfaces import AccessControl
from dsplatform.core.types import PermissionType
from dsplatform.permissions import tokens
from dsplatform.permissions.account_rows import Tokens
from dsplatform.permissions.model import Unauthenticated

DAYS = 90
"""How long a token is good, where nothing else is asked for."""


@dataclass(frozen=True)
class NewToken(ValueObject):
    """A token, at the only moment when it can be read."""

    id: int
    name: str
    secret: str
    scope: Scope
    expires_at: datetime


class AccountService:
    """Users' credentials."""

    def __init__(self, db: Database, access: AccessControl) -> None:
        self._db = db
        self._access = access

    @open_to_all("it makes a token of the caller, with no more than she may do herself")
    def create_token(
        self,
        actor: Actor,
        name: str,
        *,
        right: PermissionType = PermissionType.ADMIN,
        dataset_ids: Collection[int] | None = None,
        days: float = DAYS,
    ) -> NewToken:
        """A new token of the actor. Its secret is in the answer and nowhere else. Raises `Invalid` for a wrong name or time."""
        label = name.strip()
        if not label or len(label) > 100:
            raise Invalid("a token's name has 1 to 100 characters: say what it is for")
        if not 0 < days <= 366:
            raise Invalid("a token is good for 366 days at most, and for more than none")
        secret = tokens.new(tokens.API)
        until = datetime.now(UTC) + timedelta(days=days)
        scope = Scope(right, None if dataset_ids is None else tuple(dataset_ids))
        with self._db.transaction() as tx:
            token_id = Tokens(tx).add(actor.user_id, label, secret, scope, until)
            tx.note(AuditEntry("token.create", "token", str(token_id), actor, after={"name": label, "scope": str(right)}))
        return NewToken(token_id, label, secret, scope, until)

    @internal("it says who is calling")
    def authenticate(self, credential: str, origin: Origin) -> Actor:
        """Who presents the credential. Raises `Unauthenticated` for one that is unknown, expired or revoked, or whose user is not active:
        always the same."""
        with self._db.autocommit() as tx:
            actor = self._of_token(tx, credential, origin)
            if actor is None:
                raise Unauthenticated
            return actor

    def _of_token(self, tx: Transaction, secret: str, origin: Origin) -> Actor | None:
        if not tokens.is_formed(tokens.API, secret):
            return None
        return Tokens(tx).owner(secret, origin)
