"""What faults are made with: processes that may be killed, and a server that may."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from dsplatform.embedded import EmbeddedPostgres, _program
from dsplatform.local import upgrade
from dsplatform_tests.journeys.crew import Crew, hired


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    """Processes that may be killed."""
    with hired() as ours:
        yield ours


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server of our own, which we may kill."""
    with EmbeddedPostgres(tmp_path / "mortal").running() as server:
        with psycopg.connect(server.url("postgres", ""), autocommit=True) as connection:
            connection.execute("CREATE DATABASE dsplatform")
        upgrade(server.url("dsplatform"))
        yield server


def kill(server: EmbeddedPostgres) -> None:
    """As a power cut would, but for what the disk has; and up again."""
    server._run(_program("pg_ctl"), "-D", server.data.name, "-w", "-s", "-m", "immediate", "stop")
    server.ensure_running()
