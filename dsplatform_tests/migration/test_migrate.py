"""Bringing everything over: accounted for, again without a change, one at a time, stopped and gone on with, refused and failed."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psycopg
import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.database import Transaction
from dsplatform.core.database_url import libpq_url
from dsplatform.core.domain import Actor
from dsplatform.core.errors import DsplatformError, Invalid, NotFound, Unavailable
from dsplatform.migration import backfill
from dsplatform.migration.backfill import TooManyFindings
from dsplatform.migration.landing_people import UsersStep
from dsplatform.migration.model import Entity, Reason
from dsplatform.migration.service import LOCK, AlreadyRunning, MigrationService
from dsplatform.migration.source import LegacyDatabase, Snapshot
from dsplatform.permissions.model import MissingRight
from dsplatform_tests.legacy.generator import Built, build
from dsplatform_tests.make import assert_sound
from dsplatform_tests.migration import make
from dsplatform_tests.migration.dumps import differing, dump
from dsplatform_tests.migration.works import small

ALL = list(Reason)


@pytest.fixture
def built(legacy_url: str, legacy_folder: Path) -> Built:
    return build(legacy_url, legacy_folder, "G1a", datasets=3, oddities=False)


@pytest.fixture
def migration(platform: Platform, built: Built) -> MigrationService:
    return make.migration(platform, built.url, built.folder, base=built.folder, steps=small)


def legacy(built: Built, statement: str, *params: object) -> Any:
    """A change in the legacy system."""
    with psycopg.connect(libpq_url(built.url), autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), params)
        return cursor.fetchall() if cursor.description else None


def rows(platform: Platform, question: str, **params: object) -> list[Any]:
    with platform.db.autocommit() as tx:
        return [tuple(row.values()) for row in tx.rows(question, **params)]


@pytest.mark.parametrize("generation", ["G0", "G1a", "G1b", "G2"])
def test_every_row_is_accounted_for_and_the_second_run_changes_nothing(
    generation: str, platform: Platform, system: Actor, legacy_url: str, legacy_folder: Path
) -> None:
    built = build(legacy_url, legacy_folder, generation, datasets=4)
    migration = make.migration(platform, built.url, built.folder, base=built.folder, mounts=built.mounts)
    done = migration.migrate(system, accept=ALL)
    assert done.state == "done"
    assert done.written > 0
    accounts = {account.entity: account for account in migration.status(system).accounts}
    assert {entity: account.source for entity, account in accounts.items()} == {
        entity: count for entity, count in built.counts.items() if count
    } | {entity: 0 for entity, account in accounts.items() if account.source == 0}
    assert all(account.holds for account in accounts.values())
    before, touched = dump(platform.db), touches(platform)
    assert migration.migrate(system).written == 0
    assert differing(dump(platform.db), before) == {}
    assert touches(platform) == touched
    assert_sound(platform)


def touches(platform: Platform) -> dict[str, list[Any]]:
    """Which transaction wrote each row last, also where it wrote what was there."""
    tables = ("roles", "users", "datasets", "dataset_versions", "dataset_pointers", "permissions", "staged_files", "legacy_id_map")
    return {table: rows(platform, f"SELECT t.ctid::text, t.xmin::text FROM {table} t ORDER BY 1") for table in tables}


def test_only_the_rows_of_tables_that_changed_are_written(
    platform: Platform, system: Actor, migration: MigrationService, built: Built
) -> None:
    migration.migrate(system)
    legacy(built, "UPDATE roles SET description = 'other' WHERE id = 1")
    assert migration.migrate(system).written == 1
    assert rows(platform, "SELECT description FROM roles WHERE role_name = 'legacy-admin'") == [("other",)]
    assert migration.migrate(system).written == 0


def test_a_row_that_is_gone_is_found_though_nothing_told_of_it(
    platform: Platform, system: Actor, migration: MigrationService, built: Built
) -> None:
    migration.migrate(system)
    ((user,),) = legacy(built, "INSERT INTO users (soeid, password_hash, role_id) VALUES ('leaver1', 'x', 1) RETURNING id")
    migration.migrate(system)
    assert rows(platform, "SELECT is_active FROM users WHERE username = 'leaver1'") == [(True,)]
    legacy(built, "DELETE FROM users WHERE id = %s", user)
    migration.migrate(system)
    assert rows(platform, "SELECT is_active FROM users WHERE username = 'leaver1'") == [(False,)]
    found = rows(platform, "SELECT deleted_at IS NULL FROM legacy_id_map WHERE entity = 'users' AND legacy_id = :id", id=str(user))
    assert found == [(False,)]
    assert all(account.holds for account in migration.status(system).accounts)
    assert migration.migrate(system).written == 0


def test_a_row_that_came_while_its_table_was_read_behind_it_is_accounted_for(
    platform: Platform, system: Actor, migration: MigrationService, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids are given before their transaction ends: a row may come to be below what was read already."""
    legacy(built, "INSERT INTO roles (id, role_name) VALUES (900, 'late')")
    begin = UsersStep.begin

    def late(self: UsersStep, tx: Transaction, highest: Any) -> None:
        legacy(built, "INSERT INTO roles (id, role_name) VALUES (800, 'later') ON CONFLICT DO NOTHING")
        begin(self, tx, highest)

    monkeypatch.setattr(UsersStep, "begin", late)
    migration.migrate(system)  # roles were read to their end before
    assert rows(platform, "SELECT 1 FROM roles WHERE role_name = 'later'") == []
    batch = Snapshot.batch

    def skipping(self: Snapshot, table: str, after: Any, limit: int, up_to: Any = None) -> Any:
        return [row for row in batch(self, table, after, limit, up_to) if table != "roles" or row.key != (800,)]

    monkeypatch.setattr(Snapshot, "batch", skipping)
    migration.migrate(system)
    assert rows(platform, "SELECT 1 FROM roles WHERE role_name = 'later'") == [(1,)]


def test_two_at_once_are_one(platform: Platform, system: Actor, migration: MigrationService) -> None:
    held, go_on = Event(), Event()

    def wait(entity: Entity, done: int, total: int) -> None:
        held.set()
        assert go_on.wait(60)

    ended: list[object] = []
    first = Thread(target=lambda: ended.append(migration.migrate(system, progress=wait)))
    first.start()
    assert held.wait(60)
    with pytest.raises(AlreadyRunning, match="another process"):
        migration.migrate(system)
    with pytest.raises(AlreadyRunning):
        migration.retry(system, reason="missing_bytes")
    assert migration.status(system).is_running
    go_on.set()
    first.join()
    assert len(ended) == 1
    assert not migration.status(system).is_running


def test_who_lost_the_lock_writes_nothing_more(platform: Platform, system: Actor, migration: MigrationService) -> None:
    """A connection that breaks takes the lock with it, and the process does not hear of it."""
    others: list[Any] = []

    def lose(entity: Entity, done: int, total: int) -> None:
        if entity is Entity.FILES and not others:
            with platform.db.autocommit() as tx:
                tx.execute("UPDATE legacy_runs SET state = 'failed'")
            others.append(dump(platform.db))

    with pytest.raises(DsplatformError, match="another run of the migration has begun"):
        migration.migrate(system, progress=lose)
    assert differing(dump(platform.db), others[0]) == {}


def test_it_ends_after_the_batch_when_asked_to_and_goes_on_from_there(
    platform: Platform, system: Actor, migration: MigrationService, built: Built
) -> None:
    seen: list[tuple[Entity, int]] = []
    stopped = migration.migrate(
        system, progress=lambda entity, done, _: seen.append((entity, done)), is_over=lambda: (Entity.FILES, 7) in seen
    )
    assert stopped.state == "stopped"
    assert seen[-1] == (Entity.FILES, 7)
    assert rows(platform, "SELECT count(*) FROM legacy_id_map WHERE entity = 'files'") == [(7,)]
    status = migration.status(system)
    assert status.run is not None
    assert status.run.state == "stopped"
    assert status.unfinished == ("files",)
    seen.clear()
    assert migration.migrate(system, progress=lambda entity, done, _: seen.append((entity, done))).state == "done"
    assert seen[0] == (Entity.FILES, 7)
    assert Entity.USERS not in {entity for entity, _ in seen}
    seen.clear()
    migration.migrate(system, progress=lambda entity, done, _: seen.append((entity, done)))
    assert seen[0] == (Entity.ROLES, 0)


def test_one_table_alone(platform: Platform, system: Actor, migration: MigrationService) -> None:
    migration.migrate(system, only=[Entity.ROLES])
    assert rows(platform, "SELECT DISTINCT entity FROM legacy_id_map") == [("roles",)]
    with pytest.raises(NotFound, match="no table version_tags"):
        migration.migrate(system, only=[Entity.VERSION_TAGS])


def test_too_many_of_one_reason_stop_it_until_somebody_accepts(
    platform: Platform, system: Actor, migration: MigrationService, built: Built
) -> None:
    legacy(built, "INSERT INTO users (soeid, password_hash, role_id) SELECT 'plain' || n, 'hunter' || n, 1 FROM generate_series(1, 101) n")
    with pytest.raises(TooManyFindings, match=r"101 rows of the legacy table users .* bad_password_hash: .*--accept bad_password_hash"):
        migration.migrate(system)
    assert migration.status(system).unfinished == ("users",)
    with pytest.raises(TooManyFindings):
        migration.migrate(system)
    with pytest.raises(Invalid, match="'typo' is no reason"):
        migration.migrate(system, accept=["typo"])
    assert migration.migrate(system, accept=["bad_password_hash"]).state == "done"
    assert migration.migrate(system).state == "done", "who accepted once need not again"


def test_a_hundred_of_one_reason_stop_nothing(system: Actor, migration: MigrationService, built: Built) -> None:
    legacy(built, "INSERT INTO users (soeid, password_hash, role_id) SELECT 'plain' || n, 'hunter' || n, 1 FROM generate_series(1, 100) n")
    assert migration.migrate(system).state == "done"


def test_no_password_is_anywhere(
    platform: Platform,
    system: Actor,
    migration: MigrationService,
    built: Built,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor what stands where a hash should: in no table, no error that a step raises about the row, and no line of the log."""
    secret = "hunter2-'\\quoted"
    legacy(built, "INSERT INTO users (soeid, password_hash, role_id) VALUES ('plain01', %s, 1), ('plain02', %s, 1)", secret, secret + "!")
    land = UsersStep.land

    def failing(self: UsersStep, tx: Transaction, groups: Any, prepared: Any) -> Any:
        if any(group.row.values["soeid"] == "plain02" for group in groups):
            raise ValueError(f"cannot take {[dict(group.row.values) for group in groups]} {groups[-1].row.values['password_hash']}")
        return land(self, tx, groups, prepared)

    monkeypatch.setattr(UsersStep, "land", failing)
    migration.migrate(system)
    assert rows(platform, "SELECT reason FROM legacy_quarantine WHERE entity = 'users' ORDER BY id") == [
        ("bad_password_hash",),
        ("transform_error",),
    ]
    tables = [name for (name,) in rows(platform, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    whole = "".join(str(rows(platform, f"SELECT t::text FROM {table} t")) for table in tables)
    assert "plain01" in whole
    assert "hunter2" not in whole
    assert "hunter2" not in caplog.text
    raw = [row["raw"]["password_hash"] for row in dump(platform.db)["legacy_quarantine"] if row["entity"] == "users"]
    assert raw == ["(left out)"] * 2


def test_a_row_on_which_we_fail_is_quarantined_and_the_others_come(
    platform: Platform, system: Actor, migration: MigrationService, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    land = UsersStep.land
    bad = legacy(built, "SELECT id FROM users ORDER BY id OFFSET 2 LIMIT 1")[0]

    def failing(self: UsersStep, tx: Transaction, groups: Any, prepared: Any) -> Any:
        landed = list(land(self, tx, groups, prepared))
        if any(group.row.key == bad for group in groups):
            raise ZeroDivisionError("by the row")
        return landed

    with monkeypatch.context() as patch:
        patch.setattr(UsersStep, "land", failing)
        migration.migrate(system)
    (finding,) = migration.quarantine(system, entity="users")
    assert (finding.legacy_id, finding.reason) == (str(bad[0]), "transform_error")
    assert "ZeroDivisionError: by the row" in finding.detail["traceback"]
    assert len(rows(platform, "SELECT 1 FROM legacy_id_map WHERE entity = 'users' AND outcome = 'migrated'")) == built.counts["users"] - 1
    assert all(account.holds for account in migration.status(system).accounts)
    assert migration.retry(system, number=finding.id) == (1, 0)
    assert migration.quarantine(system) == []
    assert migration.finding(system, finding.id).resolution == "no longer so"
    assert len(rows(platform, "SELECT 1 FROM legacy_id_map WHERE entity = 'users' AND outcome = 'migrated'")) == built.counts["users"]


@contextmanager
def failing_snapshots(monkeypatch: pytest.MonkeyPatch, times: Callable[[int], bool]) -> Iterator[list[int]]:
    """Readings of the legacy database that fail; the list counts them."""
    calls = [0]
    real = Snapshot.batch

    def batch(self: Snapshot, *args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if times(calls[0]):
            raise Unavailable("the legacy database does not answer")
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Snapshot, "batch", batch)
        patch.setattr(backfill, "PATIENCE", (0.0, 0.0))
        yield calls


def test_what_does_not_answer_is_asked_again(
    platform: Platform, system: Actor, migration: MigrationService, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    with failing_snapshots(monkeypatch, lambda call: call % 2 == 0):
        assert migration.migrate(system).state == "done"
    assert all(account.holds for account in migration.status(system).accounts)


def test_an_error_is_never_the_end_of_a_table(
    platform: Platform, system: Actor, migration: MigrationService, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    with failing_snapshots(monkeypatch, lambda call: call > 4) as calls, pytest.raises(Unavailable, match="does not answer"):
        migration.migrate(system)
    assert calls == [4 + 3]
    status = migration.status(system)
    assert status.run is not None
    assert (status.run.state, status.run.report["error"]) == ("failed", "the legacy database does not answer")
    assert len(status.unfinished) == 1
    assert migration.migrate(system).state == "done"


def test_an_empty_answer_before_the_end_is_no_end(
    platform: Platform, system: Actor, migration: MigrationService, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, lies = Snapshot.batch, [3]

    def lying(self: Snapshot, *args: Any, **kwargs: Any) -> Any:
        if args[0] == "files" and args[1] is not None and lies[0]:
            lies[0] -= 1
            return []
        return batch(self, *args, **kwargs)

    monkeypatch.setattr(Snapshot, "batch", lying)
    migration.migrate(system)
    read = rows(platform, "SELECT rows_read FROM legacy_checkpoints WHERE entity = 'files'")
    assert (lies, read) == ([0], [(built.counts["files"],)])


def test_a_moment_of_the_legacy_database_is_not_kept_for_long(
    system: Actor, migration: MigrationService, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, asked = Snapshot.batch, list[Snapshot]()

    def noting(self: Snapshot, *args: Any, **kwargs: Any) -> Any:
        asked.append(self)
        return batch(self, *args, **kwargs)

    monkeypatch.setattr(backfill, "SNAPSHOT_SECONDS", 0)
    monkeypatch.setattr(Snapshot, "batch", noting)
    assert migration.migrate(system).state == "done"
    assert len(set(map(id, asked))) == len(asked)
    assert migration.migrate(system).written == 0


def test_it_pauses_between_batches(system: Actor, migration: MigrationService, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(backfill, "wait", lambda seconds, _: pauses.append(seconds))
    migration.migrate(system, pause_seconds=0.25)
    assert set(pauses) == {0.25}
    assert len(pauses) > 10


def test_only_operators_may_and_what_they_do_is_audited(platform: Platform, system: Actor, migration: MigrationService) -> None:
    eve = platform.permissions.create_user("eve", "editor")
    calls: list[Callable[[Actor], object]] = [
        migration.migrate,
        lambda actor: migration.status(actor),
        lambda actor: migration.quarantine(actor),
        lambda actor: migration.finding(actor, 1),
        lambda actor: migration.resolve(actor, "fine", reason="cycle"),
        lambda actor: migration.retry(actor, reason="cycle"),
    ]
    for call in calls:
        with pytest.raises(MissingRight):
            call(eve)
    assert rows(platform, "SELECT count(*) FROM legacy_runs") == [(0,)]
    migration.migrate(system, accept=["cycle"])
    migration.resolve(system, "fine", reason="cycle")
    found = rows(platform, "SELECT action, actor, after FROM audit_log WHERE action LIKE 'legacy.%' ORDER BY id")
    assert [(action, actor) for action, actor, _ in found] == [
        ("legacy.migrate", "system"),
        ("legacy.migrate_end", "system"),
        ("legacy.resolve", "system"),
    ]
    assert found[0][2] == {"accepted": ["cycle"]}
    assert found[1][2]["state"] == "done"


def test_a_decision_is_written_down_and_stays(platform: Platform, system: Actor, migration: MigrationService, built: Built) -> None:
    legacy(built, "INSERT INTO users (soeid, password_hash, role_id) VALUES ('plain01', 'x', 1)")
    migration.migrate(system)
    (finding,) = migration.quarantine(system)
    with pytest.raises(Invalid, match="what it is about"):
        migration.resolve(system, "fine")
    assert migration.resolve(system, " she got a new one ", number=finding.id) == 1
    assert migration.quarantine(system) == []
    (kept,) = migration.quarantine(system, open_only=False, reason="bad_password_hash")
    assert (kept.resolution, kept.resolved_by) == ("she got a new one", "system")
    legacy(built, "UPDATE users SET soeid = 'plain02' WHERE soeid = 'plain01'")
    migration.migrate(system)
    assert migration.finding(system, finding.id).resolution == "she got a new one"
    with pytest.raises(NotFound, match="no number 12345"):
        migration.finding(system, 12345)
    with pytest.raises(NotFound, match="waits for a decision"):
        migration.retry(system, number=finding.id)


def test_what_it_reads_it_cannot_write(built: Built) -> None:
    with LegacyDatabase(built.url).snapshot() as source, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        source.tuples("DELETE FROM users RETURNING id")


def test_the_lock_is_free_after_a_failure(platform: Platform, system: Actor, migration: MigrationService, built: Built) -> None:
    with pytest.raises(RuntimeError, match="of the caller"), migration.session(system, "delta"):
        raise RuntimeError("of the caller")
    with platform.db.advisory_lock(LOCK) as free:
        assert free
    status = migration.status(system)
    assert status.run is not None
    assert (status.run.kind, status.run.state) == ("delta", "failed")
    assert json.loads(json.dumps(status.run.report))["error"] == "of the caller"
