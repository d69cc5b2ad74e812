"""API tokens: by which programs say who they are."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from dsplatform.api.bodies import Input, Output
from dsplatform.api.caller import Caller, Services
from dsplatform.api.pages import Limit, Page, Total, cut
from dsplatform.core.types import PermissionType
from dsplatform.permissions.account_rows import Token as KeptToken
from dsplatform.permissions.accounts import NewToken

router = APIRouter(tags=["tokens"])

Right = Literal["read", "write", "admin"]
DatasetIds = Annotated[
    list[Annotated[int, Field(ge=1, le=2**53)]] | None,
    Field(min_length=1, max_length=1_000, description="The only datasets that it works for, by id; null: all of its user", examples=[[17]]),
]


class TokenRequest(Input):
    """A token to be made."""

    name: str = Field(min_length=1, max_length=100, description="What it is for", examples=["nightly export"])
    right: Right = Field("admin", description="The highest right that it may be used for, if its user has it", examples=["read"])
    dataset_ids: DatasetIds = None
    days: float = Field(90, gt=0, le=366, description="How long it is good", examples=[90])
    of: str | None = Field(None, max_length=64, description="The service account that it is for; null: yourself", examples=["exporter"])


class Token(Output):
    """An API token, without its secret."""

    id: int = Field(description="Names it", examples=[5])
    owner: str = Field(description="Whose it is", examples=["ada"])
    name: str = Field(description="What it is for", examples=["nightly export"])
    hint: str = Field(description="How it begins", examples=["dsp_1aB2"])
    right: Right = Field(description="The highest right that it may be used for", examples=["read"])
    dataset_ids: DatasetIds
    created_at: datetime = Field(description="When it was made")
    expires_at: datetime = Field(description="Until when it is good")
    revoked_at: datetime | None = Field(description="Since when it is refused; null: it was not revoked")
    last_used_at: datetime | None = Field(description="When it was last used, within a minute; null: never")


class Tokens(Page):
    """A page of tokens."""

    items: list[Token] = Field(description="By id")


class MadeToken(Output):
    """A new token. Its secret is shown here and never again."""

    id: int = Field(description="Names it", examples=[5])
    name: str = Field(description="What it is for", examples=["nightly export"])
    secret: str = Field(description="Send it as `Authorization: Bearer …`", examples=["dsp_…"])
    right: Right = Field(description="The highest right that it may be used for", examples=["read"])
    dataset_ids: DatasetIds
    expires_at: datetime = Field(description="Until when it is good")


@router.get("/tokens", summary="List tokens")
def list_tokens(
    services: Services,
    caller: Caller,
    of: Annotated[
        str | None, Query(description="Those of this user; it takes the right `users`", max_length=64, examples=["exporter"])
    ] = None,
    after: Annotated[int, Query(ge=0, le=2**62, description="`next` of the page before", examples=[5])] = 0,
    limit: Limit = 100,
    *,
    total: Total = False,
) -> Tokens:
    """Your own, also those that are no longer good. A token that is limited itself sees itself alone."""
    found = services.accounts.list_tokens(caller, of=of, after=after, limit=limit + 1)
    items, following = cut(found, lambda token: str(token.id), limit)
    return Tokens(
        items=[_shown(token) for token in items],
        next=following,
        total=services.accounts.count_tokens(caller, of=of) if total else None,
    )


@router.post("/tokens", summary="Make a token", status_code=201)
def create_token(services: Services, caller: Caller, body: TokenRequest, response: Response) -> MadeToken:
    """A token of yours, which reaches no further than what you ask this with; or of a service account, for which it takes the right
    `users` and every right that the account has."""
    made: NewToken = services.accounts.create_token(
        caller, body.name, right=PermissionType(body.right), dataset_ids=body.dataset_ids, days=body.days, of=body.of
    )
    response.headers["Cache-Control"] = "no-store"
    only = made.scope.dataset_ids
    return MadeToken(
        id=made.id,
        name=made.name,
        secret=made.secret,
        right=made.scope.right.value,
        dataset_ids=None if only is None else list(only),
        expires_at=made.expires_at,
    )


@router.delete("/tokens/{token_id}", summary="Revoke a token", status_code=204)
def revoke_token(
    services: Services, caller: Caller, token_id: Annotated[int, Path(ge=1, le=2**62, description="Its id", examples=[5])]
) -> None:
    """It is refused from now on. For tokens of others it takes the right `users`."""
    services.accounts.revoke_token(caller, token_id)


def _shown(token: KeptToken) -> Token:
    only = token.scope.dataset_ids
    return Token(
        id=token.id,
        owner=token.owner,
        name=token.name,
        hint=token.hint,
        right=token.scope.right.value,
        dataset_ids=None if only is None else list(only),
        created_at=token.created_at,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
        last_used_at=token.last_used_at,
    )
