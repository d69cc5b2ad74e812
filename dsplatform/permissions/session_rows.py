"""Questions about logins and sessions."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from dsplatform.core.database import Row, Transaction
from dsplatform.core.domain import Actor, Origin
from dsplatform.permissions import tokens
from dsplatform.permissions.attempts import network
from dsplatform.permissions.repository import FULL, actor_of

LIFETIME = timedelta(days=7)
"""How long a session lasts, however often it is renewed."""
REMEMBERED = timedelta(days=90)
"""How long after its end a session tells from where its user logged in."""


@dataclass(frozen=True)
class Login:
    """What decides about a login."""

    actor: Actor
    password_hash: str | None
    is_active: bool
    is_known: bool
    """Whether she has logged in from that address before."""


@dataclass(frozen=True)
class Renewal:
    """What a refresh token stands for."""

    session_id: UUID
    actor: Actor
    was_used: bool
    """Whether it was used before: then somebody has it who should not."""
    is_good: bool
    """Whether its session is alive and its user active."""


class Sessions:
    """Sessions, and the tokens that renew them."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def login(self, username: str, origin: Origin) -> Login | None:
        """What is known of a user who wants to log in; None: there is no such user."""
        row = self._tx.row(
            "SELECT u.id, u.username, u.password_hash, u.is_active, r.role_name, r.rights, "
            "EXISTS (SELECT 1 FROM sessions s WHERE s.user_id = u.id AND s.address = :address) AS is_known "
            "FROM users u JOIN roles r ON r.id = u.role_id WHERE u.username = :username",
            username=username,
            address=network(origin.address),
        )
        return None if row is None else Login(actor_of(row, FULL, origin), row["password_hash"], row["is_active"], row["is_known"])

    def bcrypt_rounds(self) -> int:
        """The most rounds, as a power of two, of the passwords that still are as a legacy system kept them; 0: there are none."""
        return int(self._tx.scalar("SELECT max(substr(password_hash, 5, 2)) FROM users WHERE password_hash LIKE '$2%'") or 0)

    def rehash(self, user_id: int, before: str, after: str) -> None:
        """Keeps the same password under today's parameters, unless it has become another meanwhile."""
        self._tx.execute(
            "UPDATE users SET password_hash = :after WHERE id = :id AND password_hash = :before", id=user_id, before=before, after=after
        )

    def begin(self, session_id: UUID, user_id: int, before: str, origin: Origin, lifetime: timedelta = LIFETIME) -> bool:
        """A new session, if the password by which she came is still hers and she is active. Forgets what is no longer remembered."""
        self._tx.execute(
            "DELETE FROM sessions WHERE user_id = :user AND expires_at < now() - CAST(:remembered AS interval)",
            user=user_id,
            remembered=REMEMBERED,
        )
        return (
            self._tx.execute(
                "INSERT INTO sessions (id, user_id, address, expires_at) "
                "SELECT :id, id, :address, now() + CAST(:lifetime AS interval) FROM users "
                "WHERE id = :user AND is_active AND password_hash = :before FOR SHARE",
                id=session_id,
                user=user_id,
                before=before,
                address=network(origin.address),
                lifetime=lifetime,
            )
            == 1
        )

    def add_refresh(self, session_id: UUID, secret: str) -> None:
        """The session can be renewed with this secret."""
        self._tx.execute(
            "INSERT INTO refresh_tokens (token_hash, session_id) VALUES (:hash, :session)", hash=tokens.digest(secret), session=session_id
        )

    def use_refresh(self, secret: str, origin: Origin) -> Renewal | None:
        """Uses a refresh token up; None: it is not known. Of several who use the same one at once, one finds it unused."""
        row = self._tx.row(
            "SELECT s.id AS session_id, t.used_at IS NOT NULL AS was_used, "
            "s.ended_at IS NULL AND s.expires_at > now() AND u.is_active AS is_good, u.id, u.username, r.role_name, r.rights "
            "FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id "
            "JOIN users u ON u.id = s.user_id JOIN roles r ON r.id = u.role_id "
            "WHERE t.token_hash = :hash FOR UPDATE OF t",  # who waits here sees `used_at` as the one before left it
            hash=tokens.digest(secret),
        )
        if row is None:
            return None
        self._tx.execute(
            "UPDATE refresh_tokens SET used_at = now() WHERE token_hash = :hash AND used_at IS NULL", hash=tokens.digest(secret)
        )
        return Renewal(row["session_id"], _session_actor(row, origin), row["was_used"], row["is_good"])

    def actor(self, session_id: UUID, origin: Origin) -> Actor | None:
        """Whose session it is; None unless it is alive and she is active."""
        row = self._tx.row(
            "SELECT s.id AS session_id, u.id, u.username, r.role_name, r.rights FROM sessions s "
            "JOIN users u ON u.id = s.user_id JOIN roles r ON r.id = u.role_id "
            "WHERE s.id = :session AND s.ended_at IS NULL AND s.expires_at > now() AND u.is_active",
            session=session_id,
        )
        return None if row is None else _session_actor(row, origin)

    def end(self, session_id: UUID, because: str) -> bool:
        """Ends a session; False: it had ended before."""
        return (
            self._tx.execute(
                "UPDATE sessions SET ended_at = now(), ended_because = :because WHERE id = :session AND ended_at IS NULL",
                session=session_id,
                because=because,
            )
            == 1
        )

    def end_all(self, user_id: int, because: str) -> int:
        """Ends every session of a user; answers how many."""
        return self._tx.execute(
            "UPDATE sessions SET ended_at = now(), ended_because = :because "
            "WHERE user_id = :user AND ended_at IS NULL AND expires_at > now()",
            user=user_id,
            because=because,
        )


def _session_actor(row: Row, origin: Origin) -> Actor:
    return actor_of(row, FULL, Origin(None, origin.address, origin.request_id, str(row["session_id"])))
