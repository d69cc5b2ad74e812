"""What every command stands on: settings, a database that is up to date, the platform."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.errors import Unavailable
from dsplatform.core.settings import Settings
from dsplatform.local import database_for, schema_status, upgrade

CREDENTIALS = "credentials"
"""The file in `HOME` with the token of who is logged in."""


@dataclass(frozen=True)
class Session:
    """An opened platform and where Dagster keeps its own."""

    platform: Platform
    dagster_database_url: str
    dagster_home: Path


@contextmanager
def opened(progress: Callable[[int], None] | None = None) -> Iterator[Session]:
    """The platform of the environment. The embedded database is started and migrated as needed; another one must be migrated already."""
    settings = Settings.from_env()
    with database_for(settings) as databases:
        current, newest = schema_status(databases.owner)
        if current != newest:
            if settings.database_url:
                raise Unavailable(f"the database is at revision {current or 'none'}, not {newest}: run `dsplatform db upgrade`")
            upgrade(databases.owner)
        with bootstrap(settings, databases.services, progress=progress) as platform:
            acting = replace(platform, credential=settings.token or kept_credential(settings.home))
            yield Session(acting, databases.dagster, settings.home / "dagster")


def kept_credential(home: Path) -> str:
    """The token that `dsplatform login` keeps; empty: nobody is logged in."""
    try:
        return (home / CREDENTIALS).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as err:
        raise Unavailable(f"{home / CREDENTIALS} cannot be read: delete it, and log in again") from err
