"""Who asks, as the old server told it: 401 without a good token, 403 where the token is good and its user is not there."""

from typing import Annotated

from fastapi import Depends, Request

from dsplatform.api.caller import Services, Whence
from dsplatform.api.legacy.errors import Answer
from dsplatform.api.legacy.tokens import NOT_VALID, LegacyTokens, Unusable
from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor, Origin
from dsplatform.core.errors import NotFound
from dsplatform.permissions import tokens as api_tokens
from dsplatform.permissions.model import Unauthenticated


async def _tokens(request: Request) -> LegacyTokens:
    tokens: LegacyTokens = request.app.state.tokens
    return tokens


Tokens = Annotated[LegacyTokens, Depends(_tokens)]
"""What signs and reads the tokens of old clients."""


class Unknown(Exception):
    """The token is good, and its user is not there or not active."""


def credential_of(request: Request) -> str:
    """What the request presents. 401 where that is nothing."""
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        raise Answer(401, "Not authenticated")
    return credential.strip()


Credential = Annotated[str, Depends(credential_of)]


def identified(services: Platform, tokens: LegacyTokens, credential: str, origin: Origin) -> Actor:
    """Who presents an access token of the old kind, or one of our own tokens. Raises `Answer` with 401, and `Unknown`."""
    if not api_tokens.is_formed(api_tokens.API, credential):
        try:
            claim = tokens.of_access(credential)
        except Unusable as err:
            if str(err) != NOT_VALID:
                raise Answer(401, str(err)) from err
        else:
            if claim.session_id is None:
                return named(services, claim.soeid, origin)
            try:
                return services.sessions.holder(claim.session_id, origin)
            except Unauthenticated as err:
                raise Answer(401, NOT_VALID) from err
    try:
        return services.accounts.authenticate(credential, origin)
    except Unauthenticated as err:
        raise Answer(401, NOT_VALID) from err


def named(services: Platform, soeid: str, origin: Origin) -> Actor:
    """The active user whom the old server called so. Raises `Unknown`."""
    try:
        return services.legacy.user(soeid, origin)
    except NotFound as err:
        raise Unknown from err


class _Caller:
    """Answers in these words where the user is not there."""

    def __init__(self, status: int, detail: str) -> None:
        self._answer = status, detail

    def __call__(self, request: Request, services: Services, tokens: Tokens, credential: Credential, origin: Whence) -> Actor:
        try:
            actor = identified(services, tokens, credential, origin)
        except Unknown as err:
            raise Answer(*self._answer) from err
        request.state.caller = actor  # for the log, and for who uses what
        return actor


Reader = Annotated[Actor, Depends(_Caller(401, NOT_VALID))]
"""On whose behalf something is read."""
Writer = Annotated[Actor, Depends(_Caller(403, "User not found"))]
"""On whose behalf something is changed."""
Uploader = Annotated[Actor, Depends(_Caller(403, "User not found in the system"))]
"""On whose behalf a file is brought."""
