"""The database that this installation uses: the server that the settings name, else the embedded one."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import psycopg

from dsplatform.core.errors import Denied, Invalid
from dsplatform.core.migrations import connected, schema_status, services_role, upgrade
from dsplatform.core.roles import ROLE, let_in
from dsplatform.core.settings import Settings
from dsplatform.embedded import EmbeddedPostgres

__all__ = ["Databases", "EmbeddedPostgres", "database_for", "schema_status", "services_role", "upgrade"]

PLATFORM, DAGSTER = "dsplatform", "dagster"
_URL = re.compile(r"(?P<scheme>[^:/]+)://(?P<authority>[^/?]*)(?:/(?P<database>[^?]*))?(?P<query>\?.*)?")


@dataclass(frozen=True)
class _Url:
    scheme: str
    authority: str
    database: str
    query: str

    @classmethod
    def read(cls, url: str) -> "_Url":
        parts = _URL.fullmatch(url)
        if parts is None:
            raise Invalid("the database URL is none of PostgreSQL: postgresql://user:password@host:5432/dsplatform")
        return cls(parts["scheme"], parts["authority"], parts["database"] or "", parts["query"] or "")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}/{self.database}{self.query}"


@dataclass(frozen=True)
class Databases:
    """URLs, with the logins that belong to them."""

    services: str
    """Ours, as the services use it."""
    owner: str
    """Ours, as who may change its schema; the same where only one login is known."""
    dagster: str
    """Dagster's, for psycopg2; the others are for psycopg 3."""


@contextmanager
def database_for(settings: Settings) -> Iterator[Databases]:
    """The databases of the server that the settings name, else of the embedded one. They exist; the embedded server runs for the block."""
    if not settings.database_url:
        with EmbeddedPostgres(settings.home).running() as server:
            with connected(server.url("postgres", "")) as connection:
                _ensure_databases(connection, [PLATFORM, DAGSTER])
                let_in(connection)
            yield Databases(server.url(PLATFORM, user=ROLE), server.url(PLATFORM), server.url(DAGSTER, "psycopg2"))
        return
    services = _Url.read(settings.database_url)
    owner = _Url.read(settings.owner_database_url or settings.database_url)
    dagster = _Url.read(settings.dagster_database_url) if settings.dagster_database_url else replace(owner, database=DAGSTER)
    if not settings.dagster_database_url:
        with connected(str(owner)) as connection:
            _ensure_databases(connection, [dagster.database])
    ours, theirs = "postgresql+psycopg", "postgresql+psycopg2"
    yield Databases(*(str(replace(url, scheme=scheme)) for url, scheme in ((services, ours), (owner, ours), (dagster, theirs))))


def _ensure_databases(connection: psycopg.Connection, names: Sequence[str]) -> None:
    """Creates the named databases that the server lacks."""
    there = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
    for name in names:
        if name not in there:
            try:
                connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
            except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                pass  # another process was first
            except psycopg.errors.InsufficientPrivilege as err:
                raise Denied(
                    f"the server has no database {name!r} and {connection.info.user!r} may not create it: "
                    f"create it, or name another one in DSPLATFORM_DAGSTER_DATABASE_URL"
                ) from err
