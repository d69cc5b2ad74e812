"""The accounting: each row of the legacy database ends in exactly one way, whatever the rows are and whatever a step makes of them."""

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsplatform.bootstrap import Platform
from dsplatform.core.database import Transaction
from dsplatform.core.database_url import libpq_url
from dsplatform.core.domain import Actor
from dsplatform.migration.accounting import Accounting, AccountingBroken
from dsplatform.migration.landed_rows import IdMap
from dsplatform.migration.model import Entity, Finding, Group, Landed, Outcome, Reason, Rule, SourceRow, legacy_id
from dsplatform.migration.source import LegacyDatabase, Snapshot
from dsplatform.migration.step import Prepared, Step
from dsplatform_tests.legacy.generator import build
from dsplatform_tests.migration import make
from dsplatform_tests.migration.test_migrate import rows

FINDINGS = {Outcome.QUARANTINED: (Finding(Reason.CYCLE, {}),), Outcome.EXCLUDED: (Finding(Rule.NO_HOME, {}),)}
FATES = ["migrated", "quarantined", "excluded", "fails"]


class Fate(Step[None]):
    """Ends each role as its description says, or fails on it."""

    entity = Entity.ROLES
    batch = 3

    def land(self, tx: Transaction, groups: Sequence[Group], prepared: Prepared[None]) -> Iterable[Landed]:
        for group in groups:
            fate = group.row.values["description"]
            if fate == "fails":
                raise LookupError(fate)
            outcome = Outcome(fate)
            yield Landed(self.entity, group.row.key, outcome, None, FINDINGS.get(outcome, ()))


@pytest.fixture
def url(legacy_url: str, legacy_folder: Path) -> str:
    return build(legacy_url, legacy_folder, "G0", datasets=0, oddities=False).url


STATES = st.lists(st.dictionaries(st.integers(1, 40), st.sampled_from(FATES), max_size=12), min_size=1, max_size=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=12)
@given(states=STATES)
def test_every_row_ends_in_one_way(states: list[dict[int, str]], platform: Platform, url: str) -> None:
    """Of a table that becomes another and another: rows come, go, and end otherwise."""
    system = platform.system()
    migration = make.migration(platform, url, steps=lambda _: [Fate()])
    with platform.db.transaction() as tx:
        for table in ("legacy_checkpoints", "legacy_quarantine", "legacy_id_map"):
            tx.execute(f"DELETE FROM {table}")
    for state in states:
        with psycopg.connect(libpq_url(url)) as connection:
            connection.execute("DELETE FROM users")
            connection.execute("DELETE FROM roles")
            with connection.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO roles (id, role_name, description) VALUES (%s, %s, %s)",
                    [(id_, f"role {id_}", fate) for id_, fate in state.items()],
                )
        migration.migrate(system)
        ended = {
            int(id_): outcome for id_, outcome in rows(platform, "SELECT legacy_id, outcome FROM legacy_id_map WHERE deleted_at IS NULL")
        }
        assert ended == {id_: "quarantined" if fate == "fails" else fate for id_, fate in state.items()}
        waiting = rows(platform, "SELECT legacy_id, reason FROM legacy_quarantine WHERE resolution IS NULL")
        assert {int(id_): reason for id_, reason in waiting} == {
            id_: "transform_error" if fate == "fails" else "cycle" for id_, fate in state.items() if fate in {"fails", "quarantined"}
        }
        (checkpoint,) = rows(platform, "SELECT rows_read, rows_migrated, rows_quarantined, rows_excluded FROM legacy_checkpoints")
        assert checkpoint[0] == sum(checkpoint[1:]) == len(state)
        (account,) = (account for account in migration.status(system).accounts if account.entity == "roles")
        assert account.holds
        assert migration.migrate(system).written == 0


def test_a_row_that_ended_nowhere_stops_everything(platform: Platform, system: Actor, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loses a row on the way to the id map is found out, and nothing after it begins."""
    write = IdMap.write

    def losing(self: IdMap, run_id: Any, version: int, lines: Any) -> int:
        return write(self, run_id, version, [line for line in lines if line.legacy_id != "2"])

    monkeypatch.setattr(IdMap, "write", losing)
    migration = make.migration(platform, url)
    with pytest.raises(AccountingBroken, match=r"1 rows of the legacy table roles ended nowhere, as \(2,\)"):
        migration.migrate(system)
    assert rows(platform, "SELECT DISTINCT entity FROM legacy_id_map") == [("roles",)]
    monkeypatch.undo()
    assert migration.migrate(system).state == "done"


def test_keys_are_walked_only_where_their_sums_differ(
    platform: Platform, system: Actor, legacy_url: str, legacy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables with keys of one column and of two."""
    built = build(legacy_url, legacy_folder, "G1a", datasets=3, oddities=False)
    legacy = LegacyDatabase(built.url)
    make.migration(platform, built.url, legacy_folder, base=legacy_folder).migrate(system)
    accounting, tables = Accounting(platform.db, legacy), ("dataset_version_files", "users")
    with legacy.snapshot() as source:
        monkeypatch.setattr(Snapshot, "keys", None)
        assert [list(accounting.differences(source, Entity(table))) for table in tables] == [[], []]
        monkeypatch.undo()
        for table in tables:
            ((lost,),) = rows(
                platform,
                "UPDATE legacy_id_map SET legacy_id = regexp_replace(legacy_id, '^', '77') WHERE (entity, legacy_id) = (SELECT entity, "
                f"max(legacy_id) FROM legacy_id_map WHERE entity = '{table}' GROUP BY entity) RETURNING substr(legacy_id, 3)",
            )
            found = [legacy_id(key) for keys in accounting.differences(source, Entity(table)) for key in keys]
            assert found == [lost, f"77{lost}"]


def test_a_batch_is_read_while_the_one_before_it_lands(platform: Platform, system: Actor, url: str) -> None:
    came = [threading.Event() for _ in range(4)]

    class Patient(Fate):
        def gather(self, source: Snapshot, found: Sequence[SourceRow]) -> Sequence[Group]:
            next(event for event in came if not event.is_set()).set()
            return super().gather(source, found)

        def land(self, tx: Transaction, groups: Sequence[Group], prepared: Prepared[None]) -> Iterable[Landed]:
            assert came[groups[-1].row.key[0] // 3].wait(30)
            return [Landed(self.entity, group.row.key, Outcome.MIGRATED) for group in groups]

    with psycopg.connect(libpq_url(url)) as connection:
        connection.execute("DELETE FROM users")
        connection.execute("DELETE FROM roles")
        connection.execute("INSERT INTO roles (id, role_name) SELECT i, 'role ' || i FROM generate_series(1, 8) i")
    make.migration(platform, url, steps=lambda _: [Patient()]).migrate(system)
    assert rows(platform, "SELECT count(*) FROM legacy_id_map WHERE outcome = 'migrated'") == [(8,)]


@pytest.mark.parametrize("mistake", ["twice", "not at all", "of another"])
def test_a_step_that_does_not_account_for_its_rows_is_found_out(mistake: str, platform: Platform, system: Actor, url: str) -> None:
    class Careless(Fate):
        def land(self, tx: Transaction, groups: Sequence[Group], prepared: Prepared[None]) -> Iterable[Landed]:
            landed = [Landed(self.entity, group.row.key, Outcome.MIGRATED) for group in groups]
            if mistake == "twice":
                return landed * 2
            return landed[1:] if mistake == "not at all" else [*landed[1:], Landed(self.entity, (99,), Outcome.MIGRATED)]

    migration = make.migration(platform, url, steps=lambda _: [Careless()])
    migration.migrate(system)
    found = rows(
        platform, "SELECT DISTINCT reason, detail ->> 'traceback' LIKE '%accounts for each of its rows once%' FROM legacy_quarantine"
    )
    assert found == [("transform_error", True)]
