"""A real instance: its tables are in the test's PostgreSQL, its storages are ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from dsplatform.core.paths import shipped
from dsplatform.embedded import EmbeddedPostgres
from dsplatform_tests import conftest


@pytest.fixture(scope="session")
def dagster_template(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database with Dagster's tables, which it takes a while to make."""
    with conftest._database(server, "template0") as name:
        with opened(server.url(name), tmp_path_factory.mktemp("instance")):
            pass
        yield name


@pytest.fixture
def dagster_url(server: EmbeddedPostgres, dagster_template: str) -> Iterator[str]:
    """A copy of it."""
    with conftest._database(server, dagster_template) as name:
        yield server.url(name)


@pytest.fixture
def instance(dagster_url: str, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with opened(dagster_url, tmp_path) as made:
        yield made


@contextmanager
def opened(url: str, folder: Path) -> Iterator[dg.DagsterInstance]:
    """The instance whose tables are there, for the processes that are started, too."""
    home = folder / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(shipped("dagster.yaml").read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DSPLATFORM_DAGSTER_DATABASE_URL", url)
        patch.setenv("DAGSTER_HOME", str(home))
        with dg.DagsterInstance.from_config(str(home)) as made:
            yield made
