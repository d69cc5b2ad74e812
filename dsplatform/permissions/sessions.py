"""Logging in with a password, and the sessions that come of it.

A session gives two things: an access token, good for a quarter of an hour, and a refresh token, good for one use, which gives both anew.
A refresh token that is used twice is known to two, of whom one should not: its session ends at once for both. A session that has ended
is refused at the next request, since each asks for it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar
from uuid import UUID, uuid4

from dsplatform.core.access import internal, open_to_all
from dsplatform.core.database import Database, Transaction
from dsplatform.core.domain import Actor, AuditEntry, Origin, Scope, ValueObject
from dsplatform.core.errors import Conflict, Invalid
from dsplatform.core.types import principal_name
from dsplatform.permissions import access_tokens, tokens
from dsplatform.permissions.access_tokens import AccessTokens
from dsplatform.permissions.attempts import Attempts
from dsplatform.permissions.model import MissingRight, Unauthenticated
from dsplatform.permissions.passwords import Passwords, acceptable
from dsplatform.permissions.people_rows import People
from dsplatform.permissions.session_rows import LIFETIME, Sessions

T = TypeVar("T")


@dataclass(frozen=True)
class NewSession(ValueObject):
    """What a session gives, at the only moment when it can be read."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int
    """Seconds for which the access token is good."""


class SessionService:
    """Logs users in and out."""

    def __init__(self, db: Database, passwords: Passwords, attempts: Attempts, key: Callable[[], bytes]) -> None:
        self._db = db
        self._passwords = passwords
        self._attempts = attempts
        self._access_tokens = AccessTokens(key)

    @internal("it says who is calling")
    def login(self, username: str, password: str, origin: Origin) -> NewSession:
        """A new session of the user. Raises `Unauthenticated`, always the same, unless name and password are good; `TooMany` after too
        many attempts; `Unavailable` when too many passwords are being checked."""
        return self._begun(username, password, origin, lambda tx, actor, session_id: self._tokens(tx, session_id, actor.user_id))

    @internal("it says who is calling")
    def begin(self, username: str, password: str, origin: Origin, *, lifetime: timedelta) -> tuple[Actor, UUID]:
        """A new session without tokens of ours, for a door whose clients know tokens of another kind. Raises as `login` does."""
        return self._begun(username, password, origin, lambda _tx, actor, session_id: (actor, session_id), lifetime)

    @internal("it says who is calling")
    def identify(self, username: str, password: str, origin: Origin) -> Actor:
        """Who has this name and password, without a session. Raises as `login` does."""
        return self._identified(username, password, origin)[0]

    @internal("it says who is calling")
    def refresh(self, refresh_token: str, origin: Origin) -> NewSession:
        """New tokens for the session of a refresh token, which is used up. One that was used before ends its session. Raises
        `Unauthenticated`."""
        if not tokens.is_formed(tokens.REFRESH, refresh_token):
            raise Unauthenticated(_NO_REFRESH)
        with self._db.transaction() as tx:
            renewal = Sessions(tx).use_refresh(refresh_token, origin)
            if renewal is not None and renewal.is_good and not renewal.was_used:
                return self._tokens(tx, renewal.session_id, renewal.actor.user_id)
            if renewal is not None and renewal.was_used and Sessions(tx).end(renewal.session_id, "reuse"):
                after = {"ended_because": "its refresh token was used twice"}
                tx.note(AuditEntry("session.end", "session", str(renewal.session_id), renewal.actor, after=after, result="refused"))
        raise Unauthenticated(_NO_REFRESH)

    @open_to_all("it ends the caller's own session")
    def logout(self, actor: Actor) -> None:
        """Ends the session as which the actor is here. Raises `Conflict` when she came with an API token."""
        session_id = actor.origin.session_id
        if session_id is None:
            raise Conflict("this request came with an API token, not with a session: revoke the token instead")
        with self._db.transaction() as tx:
            if Sessions(tx).end(UUID(session_id), "logout"):
                tx.note(AuditEntry("session.end", "session", session_id, actor, after={"ended_because": "logout"}))

    @internal("it says who is calling")
    def authenticate(self, access_token: str, origin: Origin) -> Actor:
        """Whose session the access token belongs to. Raises `Unauthenticated` unless both are good now."""
        return self.holder(self._access_tokens.session(access_token), origin)

    @internal("it says who is calling")
    def holder(self, session_id: UUID, origin: Origin) -> Actor:
        """Whose session it is. Raises `Unauthenticated` unless it is alive and she is active."""
        with self._db.autocommit() as tx:
            actor = Sessions(tx).actor(session_id, origin)
            if actor is None:
                raise Unauthenticated
            return actor

    @open_to_all("it changes the caller's own password, whose old one she has to know")
    def change_password(self, actor: Actor, old: str, new: str) -> None:
        """Another password for the actor. All her sessions end; her API tokens stay. Raises `Invalid` for a wrong old password or a new
        one that is not acceptable, `MissingRight` for a credential with a limited scope."""
        with self._db.autocommit() as tx:
            if actor.scope != Scope():
                raise MissingRight(actor, "admin", "platform", "", by_token=True)
            login = Sessions(tx).login(actor.username, actor.origin)
            rounds = Sessions(tx).bcrypt_rounds()
        acceptable(new)
        attempt = self._attempts.begin(actor.username, actor.origin.address, known=True)
        kept = None if login is None else login.password_hash
        if not self._passwords.matches(kept, old, bcrypt_rounds=rounds) or kept is None:
            with self._db.transaction() as tx:
                tx.note(AuditEntry("user.password", "user", str(actor.user_id), actor, result="refused"))
            raise Invalid("the old password is wrong")
        attempt.succeeded()
        hashed = self._passwords.hash(new)
        with self._db.transaction() as tx:
            if not People(tx).set_password(actor.user_id, hashed, before=kept):
                raise Conflict("the password was changed by somebody else meanwhile: log in again")
            ended = Sessions(tx).end_all(actor.user_id, "password")
            tx.note(AuditEntry("user.password", "user", str(actor.user_id), actor, after={"sessions_ended": ended}))

    def _begun(
        self, username: str, password: str, origin: Origin, given: Callable[[Transaction, Actor, UUID], T], lifetime: timedelta = LIFETIME
    ) -> T:
        """What is given for a new session, in the transaction that begins it."""
        for _ in range(
            2
        ):  # her password may change, or be hashed anew by another login, before the session begins: then all is asked again
            actor, kept = self._identified(username, password, origin)
            session_id = uuid4()
            with self._db.transaction() as tx:
                if Sessions(tx).begin(session_id, actor.user_id, kept, origin, lifetime):
                    tx.note(AuditEntry("session.login", "user", str(actor.user_id), actor, after={"session": str(session_id)}))
                    return given(tx, actor, session_id)
        raise _wrong()

    def _identified(self, username: str, password: str, origin: Origin) -> tuple[Actor, str]:
        """The user, and the hash that is kept of her password. The work is the same whatever is wrong, and no connection is held
        during it."""
        name = _name(username)
        with self._db.autocommit() as tx:
            login = Sessions(tx).login(name, origin)
            rounds = Sessions(tx).bcrypt_rounds()
        attempt = self._attempts.begin(name, origin.address, known=login is not None and login.is_known)
        kept = None if login is None else login.password_hash
        matches = self._passwords.matches(kept, password, bcrypt_rounds=rounds)
        if login is None or kept is None or not matches or not login.is_active:
            self._note_failure(None if login is None else login.actor, origin)
            raise _wrong()
        attempt.succeeded()
        if self._passwords.is_outdated(kept):
            before, kept = kept, self._passwords.hash_again(password)
            with self._db.autocommit() as tx:
                Sessions(tx).rehash(login.actor.user_id, before, kept)
        return login.actor, kept

    def _note_failure(self, user: Actor | None, origin: Origin) -> None:
        """The name of nobody is not kept: it may be a password, typed into the wrong field."""
        after = {"address": origin.address, "request_id": origin.request_id}
        with self._db.transaction() as tx:
            tx.note(AuditEntry("session.login", "user", str(user.user_id) if user else "unknown", None, after=after, result="refused"))

    def _tokens(self, tx: Transaction, session_id: UUID, user_id: int) -> NewSession:
        secret = tokens.new(tokens.REFRESH)
        Sessions(tx).add_refresh(session_id, secret)
        return NewSession(self._access_tokens.issue(session_id, user_id), secret, access_tokens.SECONDS)


_NO_REFRESH = "this refresh token is not known, or no longer good: log in again"


def _wrong() -> Unauthenticated:
    return Unauthenticated("user name or password is wrong")


def _name(username: str) -> str:
    """The name as it would be kept. One that nobody can have is counted with all others of that kind, and finds nobody."""
    try:
        return principal_name(username)
    except Invalid:
        return "?"
