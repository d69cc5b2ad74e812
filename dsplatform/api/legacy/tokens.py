"""Access and refresh tokens with the claims of the old server, so that its clients read what they know.

Signed by HS256 alone, whatever a header says. A token of ours belongs to a session, named by `sid`, and is good no longer than that; one
of the old server, which has no session, is good until it expires, and only where its secret was given to us.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import jwt

ALGORITHM = "HS256"
LONGEST = 2_048
NOT_VALID, EXPIRED, NO_ROLE = "Could not validate credentials", "Token has expired", "Token missing role information"


class Unusable(Exception):
    """The token says nothing; the message is what the old server said."""


@dataclass(frozen=True)
class Holder:
    """Whom a token names."""

    soeid: str
    role_id: int
    role_name: str | None


@dataclass(frozen=True)
class Claim:
    """What a token says that we, or the old server, signed."""

    soeid: str
    session_id: UUID | None
    """None: the old server made it."""


class LegacyTokens:
    """Signs and reads both kinds."""

    def __init__(self, key: Callable[[], bytes], *, access_seconds: int, refresh_seconds: int) -> None:
        """`key`: gives the secret that signs; asked for when it is needed."""
        self._key = key
        self._access_seconds = access_seconds
        self._refresh_seconds = refresh_seconds

    def access(self, holder: Holder, session_id: UUID | None) -> str:
        """A token that opens the endpoints."""
        claims: dict[str, object] = {"role_id": holder.role_id, "role_name": holder.role_name}
        return self._signed(holder.soeid, session_id, self._access_seconds, claims)

    def refresh(self, holder: Holder, session_id: UUID | None) -> str:
        """A token that gives access tokens, as often as one likes."""
        return self._signed(holder.soeid, session_id, self._refresh_seconds, {"token_type": "refresh"})

    def of_access(self, token: str) -> Claim:
        """What an access token says. Raises `Unusable`, also for a refresh token."""
        read = self._read(token)
        if read.get("token_type") == "refresh":
            raise Unusable(NOT_VALID)
        if read.get("role_id") is None:
            raise Unusable(NO_ROLE)
        return _claim(read)

    def of_refresh(self, token: str) -> Claim:
        """What a refresh token says. Raises `Unusable`, also for an access token."""
        read = self._read(token)
        if read.get("token_type") != "refresh":
            raise Unusable(NOT_VALID)
        return _claim(read)

    def _signed(self, soeid: str, session_id: UUID | None, seconds: int, claims: dict[str, object]) -> str:
        of_session = {} if session_id is None else {"sid": str(session_id)}
        return jwt.encode({"sub": soeid, **claims, "exp": int(time.time()) + seconds, **of_session}, self._key(), ALGORITHM)

    def _read(self, token: str) -> dict[str, object]:
        if len(token) > LONGEST:
            raise Unusable(NOT_VALID)
        try:
            read: dict[str, object] = jwt.decode(token, self._key(), algorithms=[ALGORITHM], options={"require": ["sub", "exp"]})
        except jwt.ExpiredSignatureError as err:
            raise Unusable(EXPIRED) from err
        except jwt.InvalidTokenError as err:
            raise Unusable(NOT_VALID) from err
        return read


def _claim(read: dict[str, object]) -> Claim:
    session_id = read.get("sid")
    try:
        return Claim(str(read["sub"]), None if session_id is None else UUID(str(session_id)))
    except ValueError as err:
        raise Unusable(NOT_VALID) from err
