"""Logging in and out, and who one is."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import Field, SecretStr

from dsplatform.api.bodies import Input, Output
from dsplatform.api.caller import Caller, Services, Whence
from dsplatform.core.types import PlatformRight

router = APIRouter(tags=["sessions"])

Username = Annotated[str, Field(min_length=1, max_length=64, description="In any case of letters", examples=["ada"])]
Password = Annotated[SecretStr, Field(max_length=1024, description="Hers", examples=["correct horse battery staple"])]
NewPassword = Annotated[
    SecretStr, Field(max_length=1024, description="12 to 1,024 characters of any kind", examples=["seven green whales sing"])
]


class Login(Input):
    """Who wants in."""

    username: Username
    password: Password


class Refreshing(Input):
    """What renews a session."""

    refresh_token: SecretStr = Field(max_length=200, description="The last one that was given; it is good for one use", examples=["dsr_…"])


class Session(Output):
    """What a session gives. It is shown once."""

    access_token: str = Field(description="Send it as `Authorization: Bearer …`", examples=["eyJhbGciOi…"])
    token_type: Literal["Bearer"] = Field("Bearer", description="How the access token is sent")
    expires_in: int = Field(description="Seconds for which the access token is good", examples=[900])
    refresh_token: str = Field(description="Gives both anew at `POST /sessions/refresh`, once", examples=["dsr_…"])


class PasswordChange(Input):
    """Another password for oneself."""

    old: Password
    new: NewPassword


class Me(Output):
    """Who you are, and what you may do beyond what is granted on single datasets."""

    username: str = Field(description="Your name", examples=["ada"])
    role: str = Field(description="Your role", examples=["editor"])
    rights: list[PlatformRight] = Field(description="What the role gives; `admin` has all", examples=[["create"]])
    groups: list[str] = Field(description="The groups that you belong to", examples=[["analysts"]])
    is_service: bool = Field(description="Whether this is a service account")
    created_at: datetime = Field(description="When the account was made")
    right: Literal["read", "write", "admin"] = Field(description="The highest right that this credential may be used for")
    dataset_ids: list[int] | None = Field(description="The only datasets that this credential works for; null: all", examples=[[17]])


@router.post("/sessions", summary="Log in", status_code=201)
def login(services: Services, whence: Whence, body: Login, response: Response) -> Session:
    """A session of a user with a password. 401 when name or password is wrong, whichever it is; 429 after too many attempts."""
    _kept_nowhere(response)
    return Session.model_validate(services.sessions.login(body.username, body.password.get_secret_value(), whence))


@router.post("/sessions/refresh", summary="Renew a session")
def refresh_session(services: Services, whence: Whence, body: Refreshing, response: Response) -> Session:
    """Both tokens anew. A refresh token that is used a second time ends its session for everybody who has a token of it."""
    _kept_nowhere(response)
    return Session.model_validate(services.sessions.refresh(body.refresh_token.get_secret_value(), whence))


@router.delete("/sessions/current", summary="Log out", status_code=204)
def logout(services: Services, caller: Caller) -> None:
    """Ends the session of the access token that this is asked with: neither of its tokens is good any more. 409 for an API token."""
    services.sessions.logout(caller)


@router.get("/me", summary="Who am I?")
def me(services: Services, caller: Caller) -> Me:
    """The user of this credential, and how far it goes."""
    user = services.people.me(caller)
    rights = list(PlatformRight) if caller.is_admin else list(caller.rights)
    only = caller.scope.dataset_ids
    return Me(
        username=user.username,
        role=user.role,
        rights=rights,
        groups=list(user.groups),
        is_service=user.is_service,
        created_at=user.created_at,
        right=caller.scope.right.value,
        dataset_ids=None if only is None else list(only),
    )


@router.put("/me/password", summary="Change your password", status_code=204)
def change_password(services: Services, caller: Caller, body: PasswordChange) -> None:
    """All your sessions end, this one too; API tokens stay. 422 when the old password is wrong; 429 after too many attempts."""
    services.sessions.change_password(caller, body.old.get_secret_value(), body.new.get_secret_value())


def _kept_nowhere(response: Response) -> None:
    response.headers["Cache-Control"] = "no-store"
