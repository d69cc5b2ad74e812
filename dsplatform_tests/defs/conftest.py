"""A real instance: its tables are in the test's PostgreSQL, its storages are ours."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from dsplatform.core.paths import shipped


@pytest.fixture
def instance(empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(shipped("dagster.yaml").read_text())
    monkeypatch.setenv("DSPLATFORM_DAGSTER_DATABASE_URL", empty_database_url)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.from_config(str(home)) as made:
        yield made
