"""Following the legacy system, the switch and the way back."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from psycopg import errors as pg

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core import failpoints
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Conflict, Unavailable
from dsplatform.datasets.model import DatasetHeld
from dsplatform.migration.changes import ChangeLog
from dsplatform.migration.model import Entity, Reason
from dsplatform.migration.routing_rows import Master
from dsplatform.migration.service import MigrationService
from dsplatform.migration.switching import NotReady, SwitchService
from dsplatform.permissions.model import MissingRight
from dsplatform_tests.copies import Copies, Place
from dsplatform_tests.legacy import generator
from dsplatform_tests.legacy.ddl import connected
from dsplatform_tests.legacy.generator import Built
from dsplatform_tests.migration.make import migration

ANY = tuple(Reason)


class Back:
    """Remembers what was to be brought back."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[int], list[int]]] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self.fails = False

    def bring(self, _actor: Actor, datasets: Sequence[int], users: Sequence[int], _files: Sequence[int] = ()) -> Sequence[str]:
        if self.fails:
            raise Unavailable("the legacy database does not answer")
        self.asked.append((sorted(datasets), sorted(users)))
        happens, self.meanwhile = self.meanwhile, lambda: None
        happens()
        return ["group `readers` has no place there"]


class Side:
    """Both systems, and what joins them."""

    def __init__(self, platform: Platform, built: Built) -> None:
        self.platform, self.built = platform, built
        self.actor = platform.actor()
        self.log = ChangeLog(built.url, list(Entity))
        self.back = Back()
        self.against: list[str] = []
        self.service = SwitchService(platform.db, platform.permissions, self.migration, self.log, lambda _: self.against, self.back)

    @property
    def migration(self) -> MigrationService:
        return migration(
            self.platform, self.built.url, self.built.folder, base=self.built.folder, mounts=self.built.mounts, zone=generator.TIMEZONE
        )

    def run(self, statement: str, *params: object) -> list[tuple[Any, ...]]:
        with connected(self.built.url) as connection:
            cursor = connection.execute(statement.encode(), params)
            return cursor.fetchall() if cursor.description else []

    def names(self) -> list[tuple[int, str]]:
        with self.platform.db.autocommit() as tx:
            return tx.tuples(  # type: ignore[return-value]
                "SELECT id, description FROM datasets WHERE deleted_at IS NULL ORDER BY id"
            )

    def settle_findings(self) -> None:
        for reason in Reason:
            self.migration.resolve(self.actor, "accepted by a test", reason=reason)

    @property
    def gate_is_closed(self) -> bool:
        return self.log.state().gate_closed


def captured(place: Place[None]) -> Built:
    """Captured and migrated."""
    built = generator.build(place.legacy_url, place.legacy_folder, "G1b", datasets=4, oddities=False)
    with bootstrap(place.settings, place.database_url) as platform:
        side = Side(platform, built)
        side.service.capture(side.actor)
        side.migration.migrate(side.actor, accept=ANY)
    return built


@pytest.fixture
def copied(copies: Copies, request: pytest.FixtureRequest) -> Iterator[Place[Built] | None]:
    if "side" not in request.fixturenames:
        yield None
        return
    with copies.of(captured) as place:
        yield place


@pytest.fixture
def side(platform: Platform, copied: Place[Built]) -> Iterator[Side]:
    """Captured and migrated."""
    yield Side(platform, replace(copied.made, url=copied.legacy_url))
    failpoints.arm("")


# --- following -------------------------------------------------------------------------------------------------------------------


def test_what_changes_there_changes_here(side: Side) -> None:
    (first, *_) = side.names()
    side.run("UPDATE datasets SET description = 'changed there' WHERE id = %s", first[0])
    side.run("INSERT INTO datasets (id, name, created_by) SELECT max(id) + 1, 'made there', min(created_by) FROM datasets")
    followed = side.service.follow(side.actor)
    assert (followed.changes, followed.capture.waiting) == (2, 0)
    assert dict(side.names())[first[0]] == "changed there"
    assert len(side.names()) == 5
    side.run("DELETE FROM datasets WHERE name = 'made there'")
    side.service.follow(side.actor)
    assert len(side.names()) == 4


def test_where_nothing_changed_there_is_no_run(side: Side) -> None:
    before = side.migration.status(side.actor).run
    assert side.service.follow(side.actor).changes == 0
    assert side.migration.status(side.actor).run == before


def test_a_table_that_was_emptied_is_empty_here(side: Side) -> None:
    with side.platform.db.autocommit() as tx:
        before = tx.scalar("SELECT count(*) FROM permissions WHERE user_id IN (SELECT new_id FROM legacy_id_map WHERE entity = 'users')")
    assert before > 0
    side.run("TRUNCATE permissions")
    side.run("TRUNCATE dataset_permissions")
    side.service.follow(side.actor)
    with side.platform.db.autocommit() as tx:
        assert tx.scalar("SELECT count(*) FROM permissions WHERE user_id IN (SELECT new_id FROM legacy_id_map WHERE entity = 'users')") == 0


def test_a_crash_before_the_log_forgets_repeats_the_changes(side: Side) -> None:
    (first, *_) = side.names()
    side.run("UPDATE datasets SET description = 'changed there' WHERE id = %s", first[0])
    failpoints.arm("follow.settled:raise")
    with pytest.raises(failpoints.FailpointReached):
        side.service.follow(side.actor)
    assert side.service.waiting(side.actor) == 1
    assert side.service.follow(side.actor).written == 0
    assert dict(side.names())[first[0]] == "changed there"


# --- the switch ------------------------------------------------------------------------------------------------------------------


def _write_there(side: Side) -> None:
    side.run("UPDATE datasets SET description = 'written there'")


def _write_here(side: Side) -> None:
    slug = str(side.platform.datasets.list_datasets(side.actor)[0].slug)
    side.platform.datasets.update_dataset(side.actor, slug, description="written here")


def test_before_the_switch_the_copy_is_held_and_after_it_the_original(side: Side) -> None:
    _write_there(side)
    with pytest.raises(DatasetHeld):
        _write_here(side)
    switched = side.service.switch(side.actor)
    assert (switched.routing.master, switched.routing.epoch) == (Master.NEW, 1)
    assert {text for _, text in side.names()} == {"written there"}, "the last change came over"
    with pytest.raises(pg.ReadOnlySqlTransaction, match="frozen for cutover"):
        _write_there(side)
    _write_here(side)
    assert side.service.routing().epoch == 1


def test_a_second_switch_changes_nothing(side: Side) -> None:
    side.service.switch(side.actor)
    again = side.service.switch(side.actor)
    assert (again.routing.epoch, again.refused_seconds) == (1, 0.0)
    with pytest.raises(Conflict, match="nothing to follow"):
        side.service.follow(side.actor)


def test_what_the_legacy_system_says_no_longer_counts_after_the_switch(side: Side) -> None:
    side.service.switch(side.actor)
    with pytest.raises(Conflict, match="rollback"):
        side.migration.migrate(side.actor, accept=ANY)


def test_checks_that_fail_open_the_gate_again(side: Side) -> None:
    side.against = ["2 versions are missing"]
    with pytest.raises(NotReady, match="2 versions are missing"):
        side.service.switch(side.actor)
    assert not side.gate_is_closed
    assert side.service.routing().master is Master.LEGACY
    _write_there(side)
    with pytest.raises(DatasetHeld):
        _write_here(side)


def test_each_obstacle_is_named_before_anything_is_stopped(platform: Platform, legacy_url: str, legacy_folder: Path) -> None:
    side = Side(platform, generator.build(legacy_url, legacy_folder, "G1b", datasets=3, oddities=True))
    with pytest.raises(NotReady, match=r"not captured.*not every table was read"):
        side.service.switch(side.actor)
    side.service.capture(side.actor)
    with pytest.raises(NotReady, match="not every table was read") as caught:
        side.service.switch(side.actor)
    assert "captured" not in str(caught.value)
    side.migration.migrate(side.actor, accept=ANY)
    with pytest.raises(NotReady, match=r"findings wait for a decision: .*\d+ missing_bytes"):
        side.service.switch(side.actor)
    assert side.service.status(side.actor).obstacles
    side.settle_findings()
    assert side.service.status(side.actor).obstacles == ()
    assert side.service.switch(side.actor).routing.master is Master.NEW


def test_a_transaction_that_does_not_end_keeps_the_switch_from_happening(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsplatform.migration.switching.CLOSING_SECONDS", 0.05)
    with connected(side.built.url) as stuck:
        stuck.autocommit = False
        stuck.execute("UPDATE datasets SET description = 'stuck'")
        with pytest.raises(Conflict, match="did not end"):
            side.service.switch(side.actor)
        stuck.commit()
    assert not side.gate_is_closed
    assert side.service.switch(side.actor).routing.master is Master.NEW


@pytest.mark.parametrize("point", ["switch.closed", "switch.validated"])
def test_an_error_before_the_routing_turns_leaves_all_as_it_was(point: str, side: Side) -> None:
    failpoints.arm(f"{point}:raise")
    with pytest.raises(failpoints.FailpointReached):
        side.service.switch(side.actor)
    assert (side.gate_is_closed, side.service.routing().master) == (False, Master.LEGACY)
    assert side.service.switch(side.actor).routing.epoch == 1


def test_an_error_after_the_routing_turned_leaves_the_switch_whole(side: Side) -> None:
    failpoints.arm("switch.turned:raise")
    with pytest.raises(failpoints.FailpointReached):
        side.service.switch(side.actor)
    assert (side.gate_is_closed, side.service.routing().master) == (True, Master.NEW)
    _write_here(side)


def test_a_gate_that_a_dead_switch_left_closed_is_opened_by_rollback(side: Side) -> None:
    side.log.close_gate(1)
    with pytest.raises(pg.ReadOnlySqlTransaction):
        _write_there(side)
    assert side.service.rollback(side.actor).routing.epoch == 0
    _write_there(side)


# --- the way back ----------------------------------------------------------------------------------------------------------------


def test_the_way_back_brings_what_was_written_here_and_lets_writers_in_there(side: Side) -> None:
    side.service.switch(side.actor)
    dataset = side.platform.datasets.list_datasets(side.actor)[0]
    _write_here(side)
    back = side.service.rollback(side.actor)
    assert back.routing.master is Master.LEGACY
    assert back.left == ("group `readers` has no place there",)
    assert side.back.asked[0] == ([dataset.id], [])
    assert not side.gate_is_closed
    _write_there(side)
    with pytest.raises(DatasetHeld):
        _write_here(side)
    assert side.service.rollback(side.actor).routing.epoch == 2, "going back twice changes nothing"


def test_what_is_written_while_the_way_back_goes_is_brought_back_too(side: Side) -> None:
    side.service.switch(side.actor)
    _write_here(side)
    side.back.meanwhile = lambda: _make(side, "made meanwhile")
    side.service.rollback(side.actor)
    made = side.platform.datasets.get(side.actor, "made meanwhile").id
    assert made in {dataset for datasets, _ in side.back.asked for dataset in datasets}


def test_a_way_back_that_fails_loses_nothing_and_can_be_repeated(side: Side) -> None:
    side.service.switch(side.actor)
    _write_here(side)
    side.back.fails = True
    with pytest.raises(Unavailable):
        side.service.rollback(side.actor)
    assert (side.gate_is_closed, side.service.routing().master) == (True, Master.NEW)
    side.back.fails = False
    side.service.rollback(side.actor)
    assert side.back.asked[0][0]


def test_what_was_brought_back_once_is_not_brought_again(side: Side) -> None:
    side.service.switch(side.actor)
    _write_here(side)
    assert side.service.bring_back(side.actor)
    side.service.bring_back(side.actor)
    assert [bool(datasets) for datasets, _ in side.back.asked] == [True, False]


def test_entries_of_a_transaction_that_commits_late_are_not_passed_over(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of an entry is given before its transaction ends: the way back waits for it."""
    monkeypatch.setattr("dsplatform.migration.switching.SETTLING_SECONDS", 0.3)
    side.service.switch(side.actor)
    _write_here(side)
    with side.platform.db.transaction() as tx:
        tx.execute("UPDATE users SET is_service = is_service WHERE username = 'system'")  # it has a transaction id, and may write
        with pytest.raises(Unavailable, match="has been open for long"):
            side.service.bring_back(side.actor)
    assert side.service.bring_back(side.actor)


def test_nothing_is_brought_back_before_a_switch(side: Side) -> None:
    with pytest.raises(Conflict, match="nothing to bring back"):
        side.service.bring_back(side.actor)


def test_the_capture_goes_when_nobody_needs_it(side: Side) -> None:
    _write_there(side)
    with pytest.raises(Conflict, match="still wait"):
        side.service.release(side.actor)
    side.service.follow(side.actor)
    assert _staged(side) > 0
    side.service.release(side.actor)
    assert not side.log.state().installed
    assert _staged(side) == 0, "what is deleted from now on is collected"


def test_whoever_does_not_operate_may_do_nothing_of_this(side: Side) -> None:
    somebody = side.platform.permissions.create_user("somebody")
    for method in ("capture", "follow", "switch", "rollback", "status", "bring_back", "release", "waiting", "capture_script"):
        with pytest.raises(MissingRight):
            getattr(side.service, method)(somebody)


def _staged(side: Side) -> int:
    with side.platform.db.autocommit() as tx:
        return int(tx.scalar("SELECT count(*) FROM staged_files"))


def _make(side: Side, name: str) -> None:
    side.platform.datasets.create_dataset(side.actor, name)
