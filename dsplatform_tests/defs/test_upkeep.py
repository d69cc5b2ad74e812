"""Collecting, retaining, scanning and measuring as Dagster runs; plans by hand, deeds by schedule."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.defs.schedules import garbage_nightly, retention_nightly, scan_in_turns
from dsplatform.versioning.retention import Rule
from dsplatform_tests import make
from dsplatform_tests.defs.runs import job


def run(platform: Platform, instance: dg.DagsterInstance, name: str, **more: Any) -> dg.ExecuteInProcessResult:
    return job(platform, name).execute_in_process(instance=instance, **more)


def table(metadata: Any, name: str) -> list[dict[str, Any]]:
    value = metadata[name]
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(record.data) for record in value.records]


def observed(result: dg.ExecuteInProcessResult) -> Any:
    (event,) = [event for event in result.all_events if event.event_type is dg.DagsterEventType.ASSET_OBSERVATION]
    return event.asset_observation_data.asset_observation.metadata


def materialized(result: dg.ExecuteInProcessResult, asset: str) -> Any:
    (event,) = result.asset_materializations_for_node(asset)
    return event.metadata


@pytest.fixture
def two_versions(platform: Platform) -> Platform:
    """A dataset whose first version nothing names."""
    to = make.dataset(platform)
    make.commit(platform, to, {"a": b"old bytes"})
    make.commit(platform, to, {"a": b"new bytes"})
    return platform


def age(platform: Platform) -> None:
    """Lets every waiting time be over."""
    with platform.db.transaction() as tx:
        tx.execute("UPDATE gc_queue SET review_after = now() - interval '1 second'")
        tx.execute("UPDATE tombstones SET purge_after = now() - interval '1 second'")


def test_collecting_by_hand_shows_a_plan_and_changes_nothing(two_versions: Platform, system: Actor, instance: dg.DagsterInstance) -> None:
    two_versions.deletion.delete_version(system, "sales@1")
    age(two_versions)
    before = make.objects(two_versions)
    shown = table(observed(run(two_versions, instance, "collect_garbage")), "plan")
    assert sum(row["count"] for row in shown) == 1
    assert make.objects(two_versions) == before
    assert make.column(two_versions.db, "SELECT count(*) FROM tombstones") == [0]


def test_the_schedule_collects(two_versions: Platform, system: Actor, instance: dg.DagsterInstance) -> None:
    two_versions.deletion.delete_version(system, "sales@1")
    config = _request(garbage_nightly, "2026-11-24").run_config
    for done in ({"unreferenced_count": 1, "purged_count": 0}, {"unreferenced_count": 0, "purged_count": 1}):
        age(two_versions)
        shown = materialized(run(two_versions, instance, "collect_garbage", run_config=config), "gc_report")
        assert {name: shown[name].value for name in done} == done
    assert make.held(two_versions, two_versions.versions.find(system, "sales")[0]) == {"a": b"new bytes"}
    make.assert_sound(two_versions)


def test_what_a_reaped_dataset_was_is_no_partition_any_more(two_versions: Platform, system: Actor, instance: dg.DagsterInstance) -> None:
    make.dataset(two_versions, "stock")
    instance.add_dynamic_partitions("datasets", ["sales", "stock", "reaped by a run that was killed"])
    two_versions.datasets.delete_dataset(system, "sales")
    with two_versions.db.transaction() as tx:
        tx.execute("UPDATE datasets SET deleted_at = now() - interval '31 days' WHERE deleted_at IS NOT NULL")
    result = run(two_versions, instance, "collect_garbage", run_config=_request(garbage_nightly, "2026-11-24").run_config)
    assert materialized(result, "gc_report")["datasets_gone"].value == 1
    assert instance.get_dynamic_partitions("datasets") == ["stock"]


def test_figures_of_the_old_paths_are_kept_for_400_days(two_versions: Platform, instance: dg.DagsterInstance) -> None:
    with two_versions.db.transaction() as tx:
        for age in (399, 400, 401):
            tx.execute("INSERT INTO legacy_usage VALUES (current_date - CAST(:age AS integer), 'GET /old', 'ada', 'curl', 1)", age=age)
    assert observed(run(two_versions, instance, "collect_garbage"))
    assert len(make.column(two_versions.db, "SELECT day FROM legacy_usage")) == 3, "by hand it is a plan"
    result = run(two_versions, instance, "collect_garbage", run_config=_request(garbage_nightly, "2026-11-24").run_config)
    assert materialized(result, "gc_report")["legacy_usage_rows_gone"].value == 2
    assert make.column(two_versions.db, "SELECT current_date - day FROM legacy_usage") == [399]


def test_retention_by_hand_shows_a_plan_and_the_schedule_deletes(
    two_versions: Platform, system: Actor, instance: dg.DagsterInstance
) -> None:
    two_versions.deletion.set_retention(system, "sales", Rule(keep_last=1, keep_days=None))
    (planned,) = table(observed(run(two_versions, instance, "apply_retention")), "plan")
    assert (planned["dataset"], planned["versions"], planned["freed bytes"]) == ("sales", "1", len(b"old bytes"))
    assert [version.number for version in _living(two_versions, system)] == [2, 1]
    result = run(two_versions, instance, "apply_retention", run_config=_request(retention_nightly, "2026-11-24").run_config)
    assert materialized(result, "retention_report")["versions"].value == 1
    assert make.column(two_versions.db, "SELECT version_number FROM dataset_versions WHERE purged_at IS NOT NULL") == [1]


def _living(platform: Platform, actor: Actor) -> Any:
    return platform.versions.list_versions(actor, platform.versions.find(actor, "sales")[0])


def test_the_report_of_the_store_has_figures_to_plot(two_versions: Platform, instance: dg.DagsterInstance) -> None:
    make.commit(two_versions, make.dataset(two_versions, "twin"), {"b": b"new bytes"})
    shown = materialized(run(two_versions, instance, "storage_report"), "storage_usage")
    assert shown["live_bytes"].value >= len(b"new bytes")
    assert shown["historical_bytes"].value >= len(b"old bytes")
    assert {row["dataset"] for row in table(shown, "largest_datasets")} == {"sales", "twin"}


def test_an_empty_store_has_a_report_too(platform: Platform, instance: dg.DagsterInstance) -> None:
    assert materialized(run(platform, instance, "storage_report"), "storage_usage")["dedup_ratio"].value == 1.0
    assert run(platform, instance, "verify_invariants").success
    assert observed(run(platform, instance, "collect_garbage"))
    assert table(observed(run(platform, instance, "apply_retention")), "plan") == []


def test_a_scan_of_all_shards_finds_the_damaged_file(two_versions: Platform, system: Actor, instance: dg.DagsterInstance) -> None:
    _, _, (component,) = two_versions.versions.find(system, "sales")
    path = make.object_path(two_versions, component.file_id)
    path.chmod(0o600)
    path.write_bytes(b"new bytez")
    found: dict[str, Any] = {}
    for shard in "0123456789abcdef":
        result = run(two_versions, instance, "integrity_scan", partition_key=shard)
        (evaluation,) = result.get_asset_check_evaluations()
        if not evaluation.passed:
            (found[shard],) = table(materialized(result, "file_integrity"), "damaged")
    assert set(found) == {component.content_hash[0]}
    assert "sales@2 a" in found[component.content_hash[0]]["versions"]
    assert make.column(two_versions.db, "SELECT state FROM files WHERE id = :id", id=component.file_id) == ["damaged"]


def test_each_invariant_has_its_check(two_versions: Platform, instance: dg.DagsterInstance) -> None:
    stray = Path(two_versions.settings.storage_url) / "objects" / "ab" / f"ab{'0' * 62}.{'1' * 32}"
    stray.write_bytes(b"named by nothing")
    old = (datetime.now(UTC) - timedelta(days=3)).timestamp()
    import os

    os.utime(stray, (old, old))
    result = run(two_versions, instance, "verify_invariants")
    passed = {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}
    assert passed == {f"invariant_I{number}": number != 3 for number in range(1, 8)}


def test_a_fold_leaves_what_is_shown_as_it_is(two_versions: Platform, instance: dg.DagsterInstance) -> None:
    assert run(two_versions, instance, "fold_reference_counts").success
    assert make.column(two_versions.db, "SELECT count(*) FROM file_reference_deltas") == [0]
    make.assert_sound(two_versions)


def _request(schedule: Any, day: str) -> dg.RunRequest:
    context = dg.build_schedule_context(scheduled_execution_time=datetime.fromisoformat(day).replace(tzinfo=UTC))
    (request,) = schedule.evaluate_tick(context).run_requests
    assert isinstance(request, dg.RunRequest)
    return request


@pytest.mark.parametrize(
    ("day", "sweep", "mark"),
    [("2026-11-24", False, False), ("2026-11-22", True, False), ("2026-12-01", False, True), ("2026-11-01", True, True)],
)
def test_a_full_look_is_taken_seldom(day: str, sweep: bool, mark: bool) -> None:
    config = _request(garbage_nightly, day).run_config["ops"]["gc_report"]["config"]
    assert (config["dry_run"], config["sweep"], config["mark"]) == (False, sweep, mark)


def test_a_week_scans_every_shard_once() -> None:
    shards = []
    for day in range(7):
        context = dg.build_schedule_context(scheduled_execution_time=datetime(2026, 11, 23, 3, tzinfo=UTC) + timedelta(days=day))
        shards += [request.partition_key for request in scan_in_turns(context)]  # type: ignore[union-attr]  # it is a generator
    assert sorted(map(str, shards)) == list("0123456789abcdef")
