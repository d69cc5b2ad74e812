"""Commands as a person types them, on a real database."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dsplatform.cli.app import app
from dsplatform.core.errors import DsplatformError


@pytest.fixture
def run(database_url: str, empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command in a home of its own. `answer` is typed on its input. An error of ours is raised, as `main`
    gets it."""
    monkeypatch.setenv("DSPLATFORM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DSPLATFORM_DATABASE_URL", database_url)
    monkeypatch.setenv("DSPLATFORM_DAGSTER_DATABASE_URL", empty_database_url)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))

    def invoke(*arguments: object, answer: str | None = None) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=answer)
        if isinstance(result.exception, DsplatformError):
            raise result.exception
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return invoke
