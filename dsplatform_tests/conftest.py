"""Real PostgreSQL for every test: one server per test process, migrated once, cloned for each test."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core import s3 as calls
from dsplatform.core.database import Database
from dsplatform.core.domain import Actor
from dsplatform.core.roles import ROLE, let_in
from dsplatform.core.s3_address import S3Address
from dsplatform.core.settings import Settings
from dsplatform.local import EmbeddedPostgres, upgrade
from dsplatform.permissions import passwords
from dsplatform.versioning.turns import Turns
from dsplatform_tests import s3
from dsplatform_tests.copies import Copies, Place, settings_of

_numbers = count(1)

# In a shell's background Ctrl-C is ignored, and by every child that is tested, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
# How long an example takes says how busy the machine is.
hypothesis_settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("untimed")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is marked `long` comes first, whatever order the rest has."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """The embedded server, with a database `template` at the newest revision."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("server")).running() as running:
        with _admin(running) as connection:
            connection.execute("CREATE DATABASE template")
            # A test that provokes a deadlock need not wait for the server to look for one.
            let_in(connection)
            connection.execute("GRANT SET ON PARAMETER deadlock_timeout TO dsplatform_app")
        upgrade(running.url("template"))
        yield running


def _admin(server: EmbeddedPostgres) -> psycopg.Connection:
    return psycopg.connect(server.url("postgres", ""), autocommit=True)


@pytest.fixture
def empty_database_url(server: EmbeddedPostgres) -> Iterator[str]:
    """A database without any table."""
    with _database(server, "template0") as name:
        yield server.url(name)


@pytest.fixture(scope="session")
def copies(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Copies:
    """What is built once, and copied for each test."""
    return Copies(server, tmp_path_factory.mktemp("copies"), partial(_database, server))


@pytest.fixture
def copied() -> Place[Any] | None:
    """What the tests of a file begin with, where it has a fixture of this name: the fixtures below are of that place then."""
    return None


@pytest.fixture
def legacy_url(server: EmbeddedPostgres, copied: Place[Any] | None) -> Iterator[str]:
    """An empty database for a stand-in of the legacy system (`dsplatform_tests.legacy.generator.build`)."""
    if copied:
        yield copied.legacy_url
        return
    with _database(server, "template0") as name:
        yield server.url(name)


@pytest.fixture
def legacy_ascii_url(server: EmbeddedPostgres) -> Iterator[str]:
    """As `legacy_url`, in a database that takes any bytes for text."""
    with _database(server, "template0 ENCODING 'SQL_ASCII' LOCALE 'C'") as name:
        yield server.url(name)


@pytest.fixture
def legacy_folder(tmp_path: Path, copied: Place[Any] | None) -> Path:
    """The base folder of the legacy system's files."""
    return copied.legacy_folder if copied else tmp_path / "legacy"


@pytest.fixture
def database_url(server: EmbeddedPostgres, copied: Place[Any] | None) -> Iterator[str]:
    """A migrated database of its own, as the services log in to it. `make.tampering` does what they may not."""
    if copied:
        yield copied.database_url
        return
    with _database(server, "template") as name:
        yield server.url(name, user=ROLE)


@pytest.fixture
def other_database_url(server: EmbeddedPostgres) -> Iterator[str]:
    """A second one."""
    with _database(server, "template") as name:
        yield server.url(name, user=ROLE)


@pytest.fixture
def owner_url(database_url: str) -> str:
    """The same database as its owner logs in to it."""
    return database_url.replace(f"{ROLE}@", "postgres@")


@contextmanager
def _database(server: EmbeddedPostgres, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    with _admin(server) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    yield name
    with _admin(server) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """The migrated database, without an outbox."""
    with Database(database_url) as database:
        yield database


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords cost next to nothing. Name it in `usefixtures`, so that it comes before `platform`."""
    monkeypatch.setitem(passwords.PARAMETERS, "memory_cost", 64)


@pytest.fixture
def settings(tmp_path: Path, copied: Place[Any] | None) -> Settings:
    """A home of its own; dropped files need not settle."""
    return copied.settings if copied else settings_of(tmp_path / "home")


@pytest.fixture
def platform(settings: Settings, database_url: str) -> Iterator[Platform]:
    """The whole platform on a database and a home of its own."""
    with bootstrap(settings, database_url) as built:
        yield built


@pytest.fixture
def system(platform: Platform) -> Actor:
    """The built-in user."""
    return platform.actor()


@pytest.fixture
def root(platform: Platform) -> Actor:
    """An admin."""
    return platform.permissions.create_user("root", "admin")


@pytest.fixture
def ann(platform: Platform) -> Actor:
    """An editor, who has nothing yet."""
    return platform.permissions.create_user("ann")


@pytest.fixture
def ben(platform: Platform) -> Actor:
    """Another editor."""
    return platform.permissions.create_user("ben")


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A real S3 server. Who asks it has patience: a busy machine is no fault."""
    with s3.running_server() as endpoint, pytest.MonkeyPatch.context() as patch:
        patch.setattr(calls, "READ_SECONDS", 60.0)
        patch.setattr(calls, "LAST_START_SECONDS", 120.0)
        yield endpoint


@pytest.fixture
def s3_address(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> S3Address:
    """A prefix of its own on that server, and the credentials in the environment."""
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    return S3Address(s3.BUCKET, f"test-{next(_numbers)}/", s3_endpoint)


@pytest.fixture
def s3_proxy(s3_endpoint: str) -> Iterator[s3.Proxy]:
    """A way to that server which a test can let fail."""
    with s3.running_proxy(s3_endpoint) as proxy:
        yield proxy


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads write as processes do: without taking turns."""
    monkeypatch.setattr(Turns, "taken", lambda *_: False)
    monkeypatch.setattr(Turns, "on", lambda *_: nullcontext())
