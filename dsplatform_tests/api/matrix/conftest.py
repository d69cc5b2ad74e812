"""One application and one world for each file of tests here."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from dsplatform.api.app import create_app
from dsplatform.core.roles import ROLE
from dsplatform.core.settings import Settings
from dsplatform.embedded import EmbeddedPostgres
from dsplatform.permissions import passwords
from dsplatform_tests import conftest
from dsplatform_tests.api.matrix.world import Target, World, built


@pytest.fixture(scope="module")
def world(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The running application, and people who ask it. Passwords cost next to nothing, and nobody asks too often."""
    home = tmp_path_factory.mktemp("matrix") / "home"
    settings = Settings.from_env({"DSPLATFORM_HOME": str(home), "DSPLATFORM_RATE_LIMIT": "0"})
    with conftest._database(server, "template") as name, pytest.MonkeyPatch.context() as patch:
        patch.setitem(passwords.PARAMETERS, "memory_cost", 64)
        app = create_app(replace(settings, database_url=server.url(name, user=ROLE)))
        with TestClient(app, raise_server_exceptions=False) as client:
            yield built(app.state.platform, client)


@pytest.fixture(scope="module")
def theirs(world: World) -> Target:
    """Ann's, for requests that are refused: they change nothing, and learn nothing of her bytes."""
    return world.target("ann")
