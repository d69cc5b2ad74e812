"""The schema of our database: brought to the newest revision, and asked for its own.

Alembic is imported where it is used: that takes a quarter of a second, and most commands only ask for the status.
"""

import re
from functools import cache
from typing import TYPE_CHECKING

import psycopg

from dsplatform.core.errors import Unavailable
from dsplatform.core.paths import shipped

if TYPE_CHECKING:
    from alembic.config import Config

_REVISION = re.compile(r"^revision = \"(.+)\"$", re.MULTILINE)
_DOWN_REVISION = re.compile(r"^down_revision = \"(.+)\"$", re.MULTILINE)


def _config(url: str = "") -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(shipped("migrations")).replace("%", "%%"))
    config.attributes["url"] = url
    return config


def _libpq(url: str) -> str:
    """Without SQLAlchemy's name of the driver."""
    scheme, _, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}://{rest}"


def upgrade(url: str) -> None:
    """Applies the migrations that the database lacks. One process at a time; the others wait, then find none."""
    from alembic import command

    try:
        with psycopg.connect(_libpq(url), autocommit=True, connect_timeout=10) as connection:
            connection.execute("SELECT pg_advisory_lock(hashtextextended('dsplatform migrations', 0))")
            command.upgrade(_config(url), "head")
    except psycopg.OperationalError as err:
        raise Unavailable(f"the database does not answer: {str(err).strip().splitlines()[0]}") from err


def schema_status(url: str) -> tuple[str | None, str]:
    """(revision of the database, newest revision); None: the database is empty."""
    try:
        with psycopg.connect(_libpq(url), connect_timeout=10) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            current = str(row[0]) if row else None
    except psycopg.errors.UndefinedTable:
        current = None
    except psycopg.OperationalError as err:
        raise Unavailable(f"the database does not answer: {str(err).strip().splitlines()[0]}") from err
    return current, _newest()


@cache
def _newest() -> str:
    """The revision that no other one builds on. Read from the files: every command asks, and Alembic takes long to import."""
    texts = [path.read_text() for path in (shipped("migrations") / "versions").glob("*.py")]
    revisions = {found for text in texts for found in _REVISION.findall(text)}
    (newest,) = revisions - {found for text in texts for found in _DOWN_REVISION.findall(text)}
    return str(newest)
