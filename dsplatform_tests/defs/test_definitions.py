"""The code location as Dagster loads it: complete, dressed, and quiet."""

import subprocess
import sys

import dagster as dg
import pytest

from dsplatform.core.verification import INVARIANTS
from dsplatform.definitions import defs
from dsplatform.defs.legacy import CHECKS, PHASES

JOBS = {
    "ingest_files",
    "capture_schemas",
    "recapture_schemas",
    "collect_garbage",
    "apply_retention",
    "storage_report",
    "integrity_scan",
    "verify_invariants",
    "fold_reference_counts",
    "verify_audit_log",
}
LEGACY = {"legacy_analysis", "legacy_migration", "follow_legacy"}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return defs()


def test_definitions_load_without_any_environment() -> None:
    code = "import dagster as dg; from dsplatform.definitions import defs; dg.Definitions.validate_loadable(defs())"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_graph_has_the_assets_that_people_know(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    edges = {node.key.to_user_string(): sorted(parent.to_user_string() for parent in node.parent_keys) for node in graph.asset_nodes}
    assert edges == {
        "staged_uploads": [],
        "stored_files": ["staged_uploads"],
        "uploaded_versions": [],
        "dataset_versions": ["stored_files"],
        "schema_snapshots": ["dataset_versions"],
        "retention_report": ["dataset_versions"],
        "gc_report": ["dataset_versions", "stored_files"],
        "storage_usage": ["dataset_versions", "stored_files"],
        "store_invariants": ["dataset_versions", "stored_files"],
        "file_integrity": ["stored_files"],
        "audit_log": [],
        **{phase: [before] if before else [] for before, phase in zip([None, *PHASES], PHASES, strict=False)},
        "legacy_validation": sorted(PHASES),
    }
    checks = {f"{key.asset_key.to_user_string()}:{key.name}" for key in graph.asset_check_keys}
    assert checks == {
        "stored_files:no_rejected_files",
        "stored_files:hash_integrity",
        "schema_snapshots:schema_drift",
        "schema_snapshots:contract",
        "file_integrity:nothing_damaged",
        "audit_log:as_it_was_sealed",
        *(f"store_invariants:invariant_{invariant}" for invariant in INVARIANTS),
        *(f"{phase}:{check}" for phase in PHASES for check in ("every_row_accounted", "every_finding_decided")),
        *(f"legacy_validation:{code}" for code in CHECKS),
    }


def test_every_asset_is_dressed(definitions: dg.Definitions) -> None:
    for node in definitions.resolve_asset_graph().asset_nodes:
        assert node.description, node.key
        assert node.group_name in {"ingest", "catalog", "upkeep", "legacy"}, node.key
        assert node.owners, node.key
        assert node.kinds, node.key


def test_every_job_and_sensor_says_what_it_is_for(definitions: dg.Definitions) -> None:
    jobs = [job for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")]
    assert {job.name for job in jobs} == JOBS | LEGACY
    assert all(job.description for job in jobs)
    sensors = definitions.resolve_all_sensor_defs() if hasattr(definitions, "resolve_all_sensor_defs") else list(definitions.sensors or [])
    assert {sensor.name for sensor in sensors} == {"drop_folder", "api_uploads", "seal_audit_log", "legacy_changes"}
    assert all(sensor.description for sensor in sensors)


def test_the_shipped_sensors_are_on_but_the_one_for_which_a_legacy_system_is_needed(definitions: dg.Definitions) -> None:
    off = {sensor.name for sensor in definitions.sensors or [] if sensor.default_status is not dg.DefaultSensorStatus.RUNNING}
    assert off == {"legacy_changes"}


def test_the_drop_folder_is_looked_at_in_every_round_of_the_daemon(definitions: dg.Definitions) -> None:
    from dagster._daemon.sensor import MIN_INTERVAL_LOOP_TIME

    intervals = {sensor.name: sensor.minimum_interval_seconds for sensor in definitions.sensors or []}
    assert (intervals["drop_folder"] or 0) < MIN_INTERVAL_LOOP_TIME - 1


def test_every_schedule_says_what_it_does_and_is_on(definitions: dg.Definitions) -> None:
    schedules = list(definitions.schedules or [])
    asked = {schedule.job_name for schedule in schedules if isinstance(schedule, dg.ScheduleDefinition)}
    assert asked == JOBS - {"ingest_files", "capture_schemas", "recapture_schemas"}
    for schedule in schedules:
        assert isinstance(schedule, dg.ScheduleDefinition)
        assert schedule.description
        assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING


def test_the_launchpad_opens_valid(definitions: dg.Definitions) -> None:
    for name in JOBS:
        assert dg.validate_run_config(definitions.resolve_job_def(name), {})


def test_every_setting_of_the_launchpad_is_described() -> None:
    from dsplatform.defs.assets import IngestConfig
    from dsplatform.defs.upkeep import CollectConfig, RetentionConfig, ScanConfig
    from dsplatform.defs.uploads import CaptureConfig

    for config in (IngestConfig, CaptureConfig, CollectConfig, RetentionConfig, ScanConfig):
        assert all(field.description for field in config.model_fields.values()), config
