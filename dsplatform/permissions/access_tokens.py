"""Access tokens of sessions: short-lived, signed, and of one form only.

JWTs as RFC 8725 asks: the algorithm is ours and never the header's, the type is checked, issuer and audience are ours, no claim is
optional. A token says which session it belongs to and nothing else that counts: who it is and what she may is asked of the database.
"""

import time
from collections.abc import Callable
from uuid import UUID

import jwt

from dsplatform.permissions.model import Unauthenticated

SECONDS = 15 * 60
"""How long an access token is good."""
LEEWAY = 60
"""Seconds by which clocks may differ."""
ALGORITHM, TYPE, ISSUER, AUDIENCE = "HS256", "at+jwt", "dsplatform", "dsplatform-api"
LONGEST = 2_048


class AccessTokens:
    """Signs and reads access tokens."""

    def __init__(self, key: Callable[[], bytes]) -> None:
        """`key`: gives the secret that signs; asked for when it is needed."""
        self._key = key

    def issue(self, session_id: UUID, user_id: int) -> str:
        """A token of the session."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(user_id),
            "sid": str(session_id),
            "iat": now,
            "nbf": now,
            "exp": now + SECONDS,
        }
        return jwt.encode(claims, self._key(), ALGORITHM, headers={"typ": TYPE})

    def session(self, token: str) -> UUID:
        """The session that the token belongs to. Raises `Unauthenticated` for one that we did not sign, or whose time is over."""
        if len(token) > LONGEST:
            raise Unauthenticated
        try:
            read = jwt.decode_complete(
                token,
                self._key(),
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                leeway=LEEWAY,
                options={"require": ["iss", "aud", "sub", "sid", "iat", "nbf", "exp"]},
            )
            if read["header"].get("typ") != TYPE:
                raise Unauthenticated
            return UUID(read["payload"]["sid"])
        except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError) as err:
            raise Unauthenticated from err
