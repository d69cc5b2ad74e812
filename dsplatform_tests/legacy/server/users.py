"""Section 3: tokens and users."""

import bcrypt
from fastapi import APIRouter, HTTPException, Response
from psycopg.errors import IntegrityError
from pydantic import BaseModel, Field

from dsplatform_tests.legacy.server.forms import Form, read
from dsplatform_tests.legacy.server.old import Asking, Row, Server, answer

router = APIRouter()
_SHAPE = "SELECT u.id, soeid, role_id, role_name, created_at, updated_at FROM users u JOIN roles r ON r.id = role_id"


class Login(BaseModel):
    username: str
    password: str


class NewUser(BaseModel):
    soeid: str = Field(min_length=7, max_length=7)
    password: str
    role_id: int


@router.post("/token")
def token(old: Server, fields: Form) -> Response:
    login = read(Login, fields)
    tokens = old.tokens(login.username, login.password)
    if tokens is None:
        raise HTTPException(401, "Incorrect username or password")
    return answer(tokens)


@router.post("/token/refresh")
def refresh(old: Server, refresh_token: str) -> Response:
    claims = old.claims(refresh_token, refresh=True)
    user = old.row("SELECT soeid, role_id, role_name FROM users JOIN roles ON roles.id = role_id WHERE soeid = %s", claims["sub"])
    if user is None:
        raise HTTPException(401, "Invalid refresh token - user not found")
    return answer({"access_token": old.access_token(user), "refresh_token": refresh_token, "token_type": "bearer"})


@router.get("")
def everyone(old: Server, caller: Asking) -> Response:
    return answer(old.rows(f"{_SHAPE} ORDER BY u.id"))


@router.post("/register", status_code=201)
def register(old: Server, new: NewUser) -> Response:
    created = answer(_added(old, new))
    created.status_code = 201
    return created


@router.post("", status_code=201)
def add(old: Server, new: NewUser, caller: Asking) -> Response:
    return register(old, new)


def _added(old: Server, new: NewUser) -> Row:
    hashed = bcrypt.hashpw(new.password.encode(), bcrypt.gensalt(4)).decode()
    try:
        with old.writing() as session, session.transaction():
            id_ = session.insert("users", soeid=new.soeid, password_hash=hashed, role_id=new.role_id)
    except IntegrityError as err:
        raise HTTPException(400, "User with this SOEID already exists") from err
    found = old.row(f"{_SHAPE} WHERE u.id = %s", id_)
    assert found
    return found
