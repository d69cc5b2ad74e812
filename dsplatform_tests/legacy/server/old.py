"""What the routes of the old server stand on: its database, its tokens, its rules of permission."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import LifoQueue
from random import SystemRandom
from typing import Annotated, Any, NamedTuple

import bcrypt
import jwt
import psycopg
from fastapi import Depends, HTTPException, Request, Response
from fastapi import Path as InPath
from psycopg.rows import DictRow, dict_row
from pydantic import TypeAdapter

from dsplatform.core.database_url import libpq_url
from dsplatform_tests.legacy.rows import TIMEZONE
from dsplatform_tests.legacy.writing import Session

SECRET = "the legacy server's own secret, 32 bytes"
CONNECTIONS = 8

Row = dict[str, Any]
_ANY: TypeAdapter[Any] = TypeAdapter(Any)


class Caller(NamedTuple):
    """Who asks, as the token says."""

    soeid: str
    role_id: int


class Old:
    """The old server's inside, shared by all requests."""

    def __init__(self, url: str, folder: Path, secret: str) -> None:
        self.folder = folder
        self._secret = secret
        self._connections: LifoQueue[psycopg.Connection[DictRow]] = LifoQueue()
        for _ in range(CONNECTIONS):
            self._connections.put(psycopg.connect(libpq_url(url), autocommit=True, row_factory=dict_row, options=f"-c timezone={TIMEZONE}"))

    def close(self) -> None:
        """Once no request runs any more."""
        while not self._connections.empty():
            self._connections.get().close()

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[DictRow]]:
        """One of the connections, for as long as the block runs."""
        connection = self._connections.get()
        try:
            yield connection
        finally:
            self._connections.put(connection)

    def rows(self, statement: str, *values: object) -> list[Row]:
        """The answer to a query, each row by the names of its columns in their order."""
        with self.connection() as connection:
            return connection.execute(statement.encode(), values).fetchall()

    def row(self, statement: str, *values: object) -> Row | None:
        """Its first row."""
        return next(iter(self.rows(statement, *values)), None)

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A way to write as `writing` does it."""
        with self.connection() as connection:
            yield Session(connection, self.folder, SystemRandom(), lambda: None)

    # Tokens and rights

    def tokens(self, soeid: str, password: str) -> Row | None:
        """Both tokens; None: there is no such user, or another password. A stored value that is no hash raises ValueError (U1)."""
        user = self.row(
            "SELECT soeid, password_hash, role_id, role_name FROM users JOIN roles ON roles.id = role_id WHERE soeid = %s", soeid
        )
        if user is None or not bcrypt.checkpw(password.encode(), user["password_hash"].encode()):
            return None
        refresh = self._signed({"sub": soeid, "token_type": "refresh"}, dt.timedelta(days=7))
        return {"access_token": self.access_token(user), "refresh_token": refresh, "token_type": "bearer"}

    def access_token(self, user: Row) -> str:
        claims = {"sub": user["soeid"], "role_id": user["role_id"], "role_name": user["role_name"]}
        return self._signed(claims, dt.timedelta(minutes=30))

    def _signed(self, claims: Row, lifetime: dt.timedelta) -> str:
        return jwt.encode({**claims, "exp": dt.datetime.now(dt.UTC) + lifetime}, self._secret, "HS256")

    def claims(self, token: str, *, refresh: bool = False) -> Row:
        """What a token says. Raises 401."""
        try:
            claims: Row = jwt.decode(token, self._secret, ["HS256"])
        except jwt.ExpiredSignatureError as err:
            raise HTTPException(401, "Token has expired") from err
        except jwt.InvalidTokenError as err:
            raise HTTPException(401, "Could not validate credentials") from err
        if (claims.get("token_type") == "refresh") is not refresh or not claims.get("sub"):
            raise HTTPException(401, "Could not validate credentials")
        return claims

    def user_id(self, caller: Caller) -> int | None:
        """The id of the token's user, who may be gone."""
        found = self.row("SELECT id FROM users WHERE soeid = %s", caller.soeid)
        return found["id"] if found else None

    def may(self, user_id: int | None, dataset_id: int, level: str) -> bool:
        """Exactly this level, or `admin`: `write` is no `read`."""
        held = self.row("SELECT permission_type FROM dataset_permissions WHERE (dataset_id, user_id) = (%s, %s)", dataset_id, user_id)
        return held is not None and held["permission_type"] in {level, "admin"}

    def require(self, caller: Caller, dataset_id: int, level: str, what: str) -> int:
        """The caller's id. Raises 403 with `... permission required to` and what. Whether the dataset exists is asked later."""
        user_id = self.user_id(caller)
        if user_id is None:
            raise HTTPException(403, "User not found")
        if not self.may(user_id, dataset_id, level):
            raise HTTPException(403, f"{level.capitalize()} permission required to {what}")
        return user_id


def _old(request: Request) -> Old:
    old: Old = request.app.state.old
    return old


Server = Annotated[Old, Depends(_old)]


def _caller(request: Request, old: Server) -> Caller:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise HTTPException(401, "Not authenticated")
    claims = old.claims(token)
    if claims.get("role_id") is None:
        raise HTTPException(401, "Token missing role information")
    return Caller(claims["sub"], claims["role_id"])


Asking = Annotated[Caller, Depends(_caller)]
DatasetId = Annotated[int, InPath(gt=0)]
VersionId = Annotated[int, InPath(gt=0)]


def answer(body: Any) -> Response:
    """JSON as pydantic writes it: naive times, decimals as text, NaN as null. Bytes that are no UTF-8 make it fail."""
    return Response(_ANY.dump_json(body), media_type="application/json")
