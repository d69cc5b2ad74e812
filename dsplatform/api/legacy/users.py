"""Logging in, and users, as the old server had them (section 3)."""

from datetime import timedelta
from io import BytesIO
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from multipart import MultipartError, MultipartParser, parse_options_header

from dsplatform.api.caller import Services, Whence
from dsplatform.api.legacy import shapes
from dsplatform.api.legacy.adapter import Adapter, LegacyDatasetAdapter
from dsplatform.api.legacy.caller import Reader, Tokens, Unknown, Writer, named
from dsplatform.api.legacy.errors import Answer
from dsplatform.api.legacy.succession import succeeded_by
from dsplatform.api.legacy.tokens import NOT_VALID, Holder, Unusable
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Conflict
from dsplatform.migration.old_model import OldUser
from dsplatform.permissions.model import Unauthenticated

router = APIRouter(prefix="/api/users")

MOST_FIELDS = 50
NOT_ALLOWED = "Not enough permissions"
WRONG = "Incorrect username or password"


async def _form(request: Request) -> dict[str, str]:
    """The fields of a login: urlencoded, as OAuth 2 has them, or as browsers send a form with files."""
    body = await request.body()
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    try:
        if kind == "multipart/form-data":
            fields = {part.name: part.value for part in MultipartParser(BytesIO(body), options.get("boundary", ""), part_limit=MOST_FIELDS)}
        else:
            text = body.decode("utf-8", errors="replace")
            fields = {name: values[-1] for name, values in parse_qs(text, keep_blank_values=True, max_num_fields=MOST_FIELDS).items()}
    except (MultipartError, ValueError) as err:
        raise Answer(400, "There was an error parsing the body") from err
    missing: list[Any] = [
        {"type": "missing", "loc": ("body", name), "msg": "Field required", "input": None}
        for name in ("username", "password")
        if not fields.get(name)
    ]
    if missing:
        raise RequestValidationError(missing)
    return fields


Form = Annotated[dict[str, str], Depends(_form)]


@router.post("/token")
@succeeded_by("/sessions")
def login(services: Services, tokens: Tokens, whence: Whence, form: Form) -> shapes.TokenPair:
    """An access token and a refresh token."""
    lifetime = timedelta(days=services.settings.legacy_refresh_days)
    try:
        username = services.legacy.username(form["username"])
        actor, session_id = services.sessions.begin(username, form["password"], whence, lifetime=lifetime)
    except Unauthenticated as err:
        raise Answer(401, WRONG) from err
    holder = _holder(services.legacy.me(actor))
    return shapes.TokenPair(access_token=tokens.access(holder, session_id), refresh_token=tokens.refresh(holder, session_id))


@router.post("/token/refresh")
@succeeded_by("/sessions/refresh")
def refresh(services: Services, tokens: Tokens, whence: Whence, refresh_token: Annotated[str, Query()]) -> shapes.TokenPair:
    """Another access token; the refresh token stays as it is."""
    try:
        claim = tokens.of_refresh(refresh_token)
        session_id = claim.session_id
        actor = named(services, claim.soeid, whence) if session_id is None else services.sessions.holder(session_id, whence)
    except Unusable as err:
        raise Answer(401, str(err)) from err
    except Unknown as err:
        raise Answer(401, "Invalid refresh token - user not found") from err
    except Unauthenticated as err:
        raise Answer(401, NOT_VALID) from err
    holder = _holder(services.legacy.me(actor))
    return shapes.TokenPair(access_token=tokens.access(holder, session_id), refresh_token=refresh_token)


@router.post("/register", status_code=201)
@succeeded_by("/users")
def register(adapter: Adapter, caller: Writer, body: shapes.NewUser) -> shapes.User:
    """Makes a user, as `create` does: nobody makes herself one here."""
    return _made(adapter, caller, body)


@router.get("")
@succeeded_by("/users")
def list_users(adapter: Adapter, caller: Reader) -> list[shapes.User]:
    """All users. It takes the right `users`."""
    with adapter.refusing(NOT_ALLOWED):
        return [_shape(adapter, user) for user in adapter.services.legacy.users(caller)]


@router.post("", status_code=201)
@succeeded_by("/users")
def create(adapter: Adapter, caller: Writer, body: shapes.NewUser) -> shapes.User:
    """Makes a user. It takes the right `users`, and every right of the role that she gets."""
    return _made(adapter, caller, body)


def _made(adapter: LegacyDatasetAdapter, caller: Actor, body: shapes.NewUser) -> shapes.User:
    with adapter.refusing(NOT_ALLOWED):
        role = adapter.services.legacy.role(caller, body.role_id)
        if role is None:
            raise Answer(400, f"Invalid role_id '{body.role_id}'")
        try:
            made = adapter.services.people.create_user(caller, body.soeid, role=role, password=body.password)
        except Conflict as err:
            raise Answer(400, "User with this SOEID already exists") from err
    return _shape(adapter, adapter.services.legacy.people([made.id])[made.id])


def _holder(user: OldUser) -> Holder:
    return Holder(user.soeid, user.role_id, user.role_name)


def _shape(adapter: LegacyDatasetAdapter, user: OldUser) -> shapes.User:
    return shapes.User(
        id=user.id,
        soeid=user.soeid,
        role_id=user.role_id,
        role_name=user.role_name,
        created_at=adapter.naive(user.created_at),
        updated_at=adapter.naive(user.updated_at),
    )
