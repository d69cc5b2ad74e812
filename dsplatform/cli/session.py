"""What every command stands on: settings, a database that is up to date, the platform."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.errors import Unavailable
from dsplatform.core.settings import Settings
from dsplatform.local import database_for, schema_status, upgrade


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
    with database_for(settings) as (url, dagster_url):
        current, newest = schema_status(url)
        if current != newest:
            if settings.database_url:
                raise Unavailable(f"the database is at revision {current or 'none'}, not {newest}: run `dsplatform db upgrade`")
            upgrade(url)
        with bootstrap(settings, url, progress=progress) as platform:
            yield Session(platform, dagster_url, settings.home / "dagster")
