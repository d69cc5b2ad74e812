"""The audit log in Dagster: sealed by the sensor, verified by the nightly job, with the head that Dagster keeps."""

from typing import Any

import dagster as dg
import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import AuditEntry
from dsplatform.defs.audit import seal_audit_log
from dsplatform.defs.resources import OpenedPlatform
from dsplatform_tests import make
from dsplatform_tests.defs.runs import job


def note(platform: Platform, count: int = 1) -> None:
    with platform.db.transaction() as tx:
        for _ in range(count):
            tx.note(AuditEntry("x.y", "x", "1", None))


def tick(platform: Platform, instance: dg.DagsterInstance, cursor: str | None) -> tuple[str, str, list[Any]]:
    """(cursor, what is said, observations), recorded as the daemon does."""
    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"platform": OpenedPlatform(platform)})
    result = seal_audit_log(context)
    assert isinstance(result, dg.SensorResult)
    assert not result.run_requests
    for event in result.asset_events:
        instance.report_runless_asset_event(event)
    said = result.skip_reason
    return result.cursor or "", str(said.skip_message if isinstance(said, dg.SkipReason) else said), list(result.asset_events)


def verified(platform: Platform, instance: dg.DagsterInstance) -> tuple[bool, bool, str]:
    """(run succeeded, check passed, head that it was held against)"""
    result = job(platform, "verify_audit_log").execute_in_process(instance=instance, raise_on_error=False)
    (check,) = result.get_asset_check_evaluations()
    (event,) = result.asset_materializations_for_node("audit_log")
    return result.success, check.passed, str(event.metadata["noted"].value)


def test_a_tick_seals_and_shows_the_head(platform: Platform, instance: dg.DagsterInstance) -> None:
    note(platform, 3)
    cursor, said, (observed,) = tick(platform, instance, None)
    assert said == "3 row(s) sealed"
    assert observed.metadata["head"].value == cursor
    assert cursor.startswith("3:")
    assert make.column(platform.db, "SELECT count(*) FROM audit_seals") == [3]
    again, said, events = tick(platform, instance, cursor)
    assert (again, said, events) == (cursor, "every row has its seal", [])


def test_an_empty_log_needs_no_seal(platform: Platform, instance: dg.DagsterInstance) -> None:
    assert tick(platform, instance, None)[0] == ""


def test_a_tick_fails_loudly_while_the_head_that_it_noted_is_gone_and_still_seals(platform: Platform, instance: dg.DagsterInstance) -> None:
    note(platform, 3)
    cursor, _, _ = tick(platform, instance, None)
    cut(platform)
    note(platform)
    for _ in range(2):
        with pytest.raises(dg.Failure, match="its end was cut off"):
            tick(platform, instance, cursor)
    assert make.column(platform.db, "SELECT max(position) FROM audit_seals") == [3]
    assert tick(platform, instance, None)[0].startswith("3:")


def cut(platform: Platform) -> None:
    """The newest row and its seal are taken away by the owner."""
    with make.tampering(platform.db) as tx:
        for table, column in (("audit_log", "id"), ("audit_seals", "position")):
            tx.execute(f"ALTER TABLE {table} DISABLE TRIGGER {table}_only_grows")
            tx.execute(f"DELETE FROM {table} WHERE {column} = (SELECT max({column}) FROM {table})")


def test_the_nightly_job_holds_the_log_against_the_head_that_dagster_noted(platform: Platform, instance: dg.DagsterInstance) -> None:
    assert verified(platform, instance) == (True, True, "nothing")
    note(platform, 3)
    cursor, _, _ = tick(platform, instance, None)
    assert verified(platform, instance) == (True, True, cursor)
    cut(platform)
    assert verified(platform, instance) == (False, False, cursor)


def test_the_nightly_job_names_what_was_changed_and_fails(platform: Platform, instance: dg.DagsterInstance) -> None:
    note(platform, 3)
    tick(platform, instance, None)
    with make.tampering(platform.db) as tx:
        tx.execute("ALTER TABLE audit_log DISABLE TRIGGER audit_log_only_grows")
        tx.execute("UPDATE audit_log SET actor = 'eve' WHERE id = (SELECT min(id) FROM audit_log)")
    result = job(platform, "verify_audit_log").execute_in_process(instance=instance, raise_on_error=False)
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "is not what was sealed at position 1" in str(failure.step_failure_data.user_failure_data)


def test_the_nightly_job_finds_what_was_put_in_before_it_seals_it(platform: Platform, instance: dg.DagsterInstance) -> None:
    note(platform, 3)
    tick(platform, instance, None)
    with make.tampering(platform.db) as tx:
        tx.execute("INSERT INTO audit_log (at, action, object_type) VALUES (now() - interval '3 days', 'x.y', 'z')")
    assert verified(platform, instance)[:2] == (False, False)
    assert make.column(platform.db, "SELECT count(*) FROM audit_seals") == [4]
