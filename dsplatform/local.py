"""The database that this installation uses: the server that the settings name, else the embedded one."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import psycopg

from dsplatform.core.errors import Denied, Invalid, Unavailable
from dsplatform.core.migrations import schema_status, upgrade
from dsplatform.core.settings import Settings
from dsplatform.embedded import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "database_for", "schema_status", "upgrade"]

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


@contextmanager
def database_for(settings: Settings) -> Iterator[tuple[str, str]]:
    """(our database, Dagster's database) as URLs: of the server that the settings name, else of the embedded one.

    Ours is for psycopg 3, Dagster's for psycopg2. Both exist afterwards; the embedded server runs for the block.
    """
    if not settings.database_url:
        with EmbeddedPostgres(settings.home).running() as server:
            _ensure_databases(server.url("postgres", ""), [PLATFORM, DAGSTER])
            yield server.url(PLATFORM), server.url(DAGSTER, "psycopg2")
        return
    ours = _Url.read(settings.database_url)
    dagster = _Url.read(settings.dagster_database_url) if settings.dagster_database_url else replace(ours, database=DAGSTER)
    if not settings.dagster_database_url:
        _ensure_databases(str(replace(ours, scheme="postgresql")), [dagster.database])
    yield str(replace(ours, scheme="postgresql+psycopg")), str(replace(dagster, scheme="postgresql+psycopg2"))


def _ensure_databases(url: str, names: Sequence[str]) -> None:
    """Creates the named databases that the server lacks, through the database at `url` (libpq's form)."""
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
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
    except psycopg.OperationalError as err:
        raise Unavailable(f"the database does not answer: {str(err).strip().splitlines()[0]}") from err
