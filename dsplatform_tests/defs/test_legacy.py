"""The legacy system comes along as Dagster runs it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.errors import Unavailable
from dsplatform.core.settings import Settings
from dsplatform.defs.legacy import CHECKS, PHASES, follow_legacy, legacy_changes
from dsplatform.defs.resources import OpenedPlatform
from dsplatform.migration.landing_versions import VersionsStep
from dsplatform.migration.model import Entity
from dsplatform_tests.defs.runs import job
from dsplatform_tests.legacy.ddl import connected
from dsplatform_tests.legacy.generator import OLD_MOUNT, TIMEZONE, Built, build


@pytest.fixture
def built(legacy_url: str, legacy_folder: Path) -> Built:
    """A legacy system with its oddities."""
    return build(legacy_url, legacy_folder, "G1b", datasets=3)


@pytest.fixture
def beside(built: Built, tmp_path: Path, database_url: str) -> Iterator[Platform]:
    """A platform whose settings name it."""
    settings = Settings.from_env(
        {
            "DSPLATFORM_HOME": str(tmp_path / "home"),
            "DSPLATFORM_LEGACY_DATABASE_URL": built.url,
            "DSPLATFORM_LEGACY_ROOTS": str(built.folder),
            "DSPLATFORM_LEGACY_BASE": str(built.folder),
            "DSPLATFORM_LEGACY_MOUNTS": f"{OLD_MOUNT}={built.folder}",
            "DSPLATFORM_LEGACY_TIMEZONE": TIMEZONE,
        }
    )
    with bootstrap(settings, database_url) as platform:
        yield platform


def _run(platform: Platform, instance: dg.DagsterInstance, name: str, **more: Any) -> dg.ExecuteInProcessResult:
    return job(platform, name).execute_in_process(instance=instance, **more)


def _metadata(result: dg.ExecuteInProcessResult, asset: str) -> Any:
    (event,) = result.asset_materializations_for_node(asset)
    return {name: value.value for name, value in event.metadata.items()}


def _checks(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], bool]:
    return {(check.asset_key.to_user_string(), check.check_name): check.passed for check in result.get_asset_check_evaluations()}


def _sensed(platform: Platform, instance: dg.DagsterInstance) -> object:
    with dg.build_sensor_context(instance=instance, resources={"platform": OpenedPlatform(platform)}) as context:
        return legacy_changes(context)


def test_every_table_belongs_to_one_phase() -> None:
    of_phases = [entity for _, entities in PHASES.values() for entity in entities]
    assert len(of_phases) == len(set(of_phases))
    assert set(Entity) - set(of_phases) == {Entity.VERSION_FILES, Entity.SHEETS, Entity.SHEET_METADATA}


def test_the_phases_bring_everything_over_and_a_second_run_writes_nothing(
    beside: Platform, built: Built, instance: dg.DagsterInstance
) -> None:
    first = _run(beside, instance, "legacy_migration")
    assert first.success
    figures = {phase: _metadata(first, phase) for phase in PHASES}
    assert figures["legacy_users"]["rows"] == built.counts["users"]
    assert sum(found["rows"] for found in figures.values()) == sum(built.counts.values())
    assert all(found["rows"] == found["migrated"] + found["quarantined"] + found["excluded"] for found in figures.values())
    checks = _checks(first)
    assert all(checks[phase, "every_row_accounted"] for phase in PHASES)
    assert not checks["legacy_files", "every_finding_decided"], "there are missing files, which somebody has to look at"
    assert {code: checks["legacy_validation", code] for code in CHECKS} == {code: code != "V9" for code in CHECKS}, "V9: not all is decided"
    second = _run(beside, instance, "legacy_migration")
    assert {_metadata(second, phase)["rows_written"] for phase in PHASES} == {0}


def test_a_phase_that_failed_goes_on_when_the_job_is_launched_again(
    beside: Platform, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_gone(*_: object) -> None:
        raise Unavailable("the legacy database does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(VersionsStep, "prepare", is_gone)
        broken.setattr("dsplatform.migration.backfill.wait", lambda *_: None)
        failed = _run(beside, instance, "legacy_migration", raise_on_error=False)
    assert failed.get_failed_step_keys() == {"legacy_versions"}
    assert _run(beside, instance, "legacy_migration").success
    assert beside.migration.status(beside.actor()).unfinished == ()


def test_one_migration_runs_at_a_time_and_the_other_says_so(beside: Platform, instance: dg.DagsterInstance) -> None:
    with beside.migration.session(beside.actor(), "held"):
        result = _run(beside, instance, "legacy_migration", raise_on_error=False)
    assert not result.success
    assert result.get_failed_step_keys() == {"legacy_roles"}
    failures = [event for event in result.all_events if event.is_step_failure]
    assert "another process is bringing the legacy system over" in str(failures[0].step_failure_data.error)


def test_the_analysis_is_the_report(beside: Platform, instance: dg.DagsterInstance) -> None:
    result = _run(beside, instance, "legacy_analysis")
    (output,) = [event for event in result.all_events if event.is_successful_output]
    metadata = output.step_output_data.metadata
    assert metadata["may_start"].value is True
    assert str(metadata["report"].value).startswith("# Analysis of the legacy system")


def test_changes_are_followed_while_there_are_any(beside: Platform, built: Built, instance: dg.DagsterInstance) -> None:
    assert isinstance(_sensed(beside, instance), dg.SkipReason), "nothing is captured"
    beside.switching.capture(beside.actor())
    assert _run(beside, instance, "legacy_migration", run_config={}).success
    assert isinstance(_sensed(beside, instance), dg.SkipReason), "nothing has changed"
    with connected(built.url) as connection:
        connection.execute(b"UPDATE datasets SET description = 'changed there'")
    assert isinstance(_sensed(beside, instance), dg.RunRequest)
    result = _run(beside, instance, follow_legacy.name)
    (output,) = [event for event in result.all_events if event.is_successful_output]
    assert output.step_output_data.metadata["changes_left"].value == 0
    assert output.step_output_data.metadata["changes"].value == built.counts["datasets"]
    assert isinstance(_sensed(beside, instance), dg.SkipReason)
