"""The process that follows, switches or goes back is killed at each of its steps: what it leaves is what ARCHITECTURE.md says."""

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg import errors as pg

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.migration.model import Reason
from dsplatform.migration.routing_rows import Master
from dsplatform.migration.switching import SwitchService
from dsplatform_tests.copies import Copies, Place
from dsplatform_tests.journeys.crew import Crew
from dsplatform_tests.legacy.ddl import connected
from dsplatform_tests.legacy.generator import Built, build
from dsplatform_tests.migration import make, works


def followed(place: Place[None]) -> Built:
    """Captured and migrated, with a change that was not followed."""
    built = build(place.legacy_url, place.legacy_folder, "G1b", datasets=2, oddities=False)
    with bootstrap(place.settings, place.database_url) as platform:
        _tell(platform, built)
        works.switching(platform).capture(platform.system())
        make.migration(platform, built.url, built.folder).migrate(platform.system(), accept=list(Reason))
    _write_there(built, "changed there")
    return built


@pytest.fixture
def copied(copies: Copies) -> Iterator[Place[Built]]:
    with copies.of(followed) as place:
        yield place


@pytest.fixture
def built(platform: Platform, copied: Place[Built]) -> Built:
    """Both systems."""
    built = replace(copied.made, url=copied.legacy_url)
    _tell(platform, built)
    return built


def _tell(platform: Platform, built: Built) -> None:
    """The processes that are killed where the legacy system is."""
    (platform.settings.home / "legacy.json").write_text(json.dumps({"url": built.url, "folder": str(built.folder), "mounts": []}))


def _write_there(built: Built, text: str) -> None:
    with connected(built.url) as connection:
        connection.execute(f"UPDATE datasets SET description = '{text}'".encode())


def _killed(crew: Crew, platform: Platform, url: str, folder: Path, work: str, point: str) -> SwitchService:
    pid = crew.start(f"dsplatform_tests.migration.works:{work}", platform.settings.home, url, folder / "ledger", point=f"{point}:kill:1")
    assert crew.ended(pid) == -signal.SIGKILL, "the point was not reached"
    return works.switching(platform)


def _here(platform: Platform) -> set[str]:
    with platform.db.autocommit() as tx:
        return {text for (text,) in tx.tuples("SELECT description FROM datasets")}


def test_a_follower_that_dies_before_the_log_forgets_is_repeated(
    platform: Platform, database_url: str, crew: Crew, built: Built, tmp_path: Path
) -> None:
    service = _killed(crew, platform, database_url, tmp_path, "follow", "follow.settled")
    assert service.status(platform.system()).capture.waiting == built.counts["datasets"]
    assert service.follow(platform.system()).written == 0
    assert _here(platform) == {"changed there"}


@pytest.mark.parametrize("point", ["switch.closed", "switch.validated"])
@pytest.mark.parametrize("goes_on", [True, False])
def test_a_switch_that_dies_with_the_gate_closed_goes_on_or_is_undone(
    point: str, *, goes_on: bool, platform: Platform, database_url: str, crew: Crew, built: Built, tmp_path: Path
) -> None:
    service = _killed(crew, platform, database_url, tmp_path, "switch", point)
    assert service.routing().master is Master.LEGACY
    with pytest.raises(pg.ReadOnlySqlTransaction):
        _write_there(built, "while nobody is in charge")
    if goes_on:
        assert service.switch(platform.system()).routing.master is Master.NEW
        assert _here(platform) == {"changed there"}
    else:
        service.rollback(platform.system())
        _write_there(built, "there again")


def test_a_switch_that_dies_after_the_routing_turned_is_whole(
    platform: Platform, database_url: str, crew: Crew, built: Built, tmp_path: Path
) -> None:
    service = _killed(crew, platform, database_url, tmp_path, "switch", "switch.turned")
    assert service.switch(platform.system()).routing.epoch == 1
    with pytest.raises(pg.ReadOnlySqlTransaction):
        _write_there(built, "too late")
    slug = platform.datasets.list_datasets(platform.system())[0].slug
    platform.datasets.update_dataset(platform.system(), slug, description="changed here")


@pytest.mark.parametrize(("point", "master"), [("rollback.held", Master.NEW), ("rollback.turned", Master.LEGACY)])
def test_a_way_back_that_dies_is_ended_by_the_next(
    point: str, master: Master, platform: Platform, database_url: str, crew: Crew, built: Built, tmp_path: Path
) -> None:
    works.switching(platform).switch(platform.system())
    service = _killed(crew, platform, database_url, tmp_path, "rollback", point)
    assert service.routing().master is master
    with pytest.raises(pg.ReadOnlySqlTransaction):
        _write_there(built, "while nobody is in charge")
    assert service.rollback(platform.system()).routing.master is Master.LEGACY
    _write_there(built, "there again")
