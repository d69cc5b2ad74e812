"""Runs and ticks on a real instance: its tables are in the test's PostgreSQL, its storages are ours."""

import os
from pathlib import Path

import dagster as dg
import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.errors import DsplatformError, Invalid, Unavailable
from dsplatform.defs.assets import IngestConfig
from dsplatform.defs.inprocess import run_ingest
from dsplatform.defs.resources import OpenedPlatform, PlatformFromEnvironment
from dsplatform_tests.defs.runs import job

EVENTS_AT_MOST = 50


def ingest(platform: Platform, instance: dg.DagsterInstance, **config: object) -> dg.ExecuteInProcessResult:
    return job(platform, "ingest_files").execute_in_process(
        instance=instance, run_config=dg.RunConfig(ops={"stored_files": IngestConfig.model_validate(config)})
    )


def drop(platform: Platform, path: str, content: str = "id,name\n01,ann\n") -> None:
    target = platform.settings.drop_dir / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content)
    target.with_name(target.name + ".done").touch()


def materialization(instance: dg.DagsterInstance, asset: str, partition: str) -> dict[str, object]:
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[partition]), limit=1
    ).records
    event = records[0].asset_materialization
    assert event is not None
    return {key: value.records if isinstance(value, dg.TableMetadataValue) else value.value for key, value in event.metadata.items()}


def test_a_run_takes_the_drop_folder_and_shows_each_dataset(platform: Platform, instance: dg.DagsterInstance) -> None:
    drop(platform, "sales/orders.csv")
    drop(platform, "stock/items.csv", "sku\nA\nB\n")
    drop(platform, "stock/empty.csv", "")
    platform.ingestion.discover()
    result = ingest(platform, instance)
    assert result.success
    assert set(instance.get_dynamic_partitions("datasets")) == {"sales", "stock"}
    sales = materialization(instance, "dataset_versions", "sales")
    assert (sales["version"], sales["files_added"], sales["dagster/partition_row_count"]) == (1, 1, 1)
    columns = materialization(instance, "schema_snapshots", "sales")["dagster/column_schema"]
    assert isinstance(columns, dg.TableSchema)
    assert [(column.name, column.type) for column in columns.columns] == [("id", "string"), ("name", "string")]
    profile = materialization(instance, "schema_snapshots", "sales")["profile"]
    assert isinstance(profile, list)
    assert [record.data["column"] for record in profile] == ["id", "name"]
    shown = result.asset_materializations_for_node("stored_files")
    stored = next(event for event in shown if event.asset_key == dg.AssetKey("stored_files"))
    assert stored.metadata["files_stored"].value == 2
    assert stored.metadata["files_rejected"].value == 1
    table = stored.metadata["rejected_files"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [record.data["file"] for record in table.records] == ["stock/empty.csv"]


def test_a_refused_file_is_a_warning_and_the_run_succeeds(platform: Platform, instance: dg.DagsterInstance) -> None:
    drop(platform, "sales/empty.csv", "")
    platform.ingestion.discover()
    result = ingest(platform, instance)
    assert result.success
    checks = {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}
    assert (checks["no_rejected_files"].passed, checks["no_rejected_files"].severity) == (False, dg.AssetCheckSeverity.WARN)
    assert checks["hash_integrity"].passed


def test_hash_integrity_finds_bytes_that_changed(platform: Platform, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    drop(platform, "sales/a.csv")
    platform.ingestion.discover()
    original = platform.ingestion.ingest_ready

    def flipped(**more: object) -> object:
        report = original()
        for path in Path(platform.settings.storage_url).glob("objects/*/*"):
            path.chmod(0o600)
            path.write_bytes(path.read_bytes()[:-1] + b"!")
        return report

    monkeypatch.setattr(platform.ingestion, "ingest_ready", flipped)
    result = ingest(platform, instance)
    checks = {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}
    assert checks["hash_integrity"] is False


def test_a_schema_that_drifts_is_told_for_its_dataset_and_an_error_where_readers_break(
    platform: Platform, instance: dg.DagsterInstance
) -> None:
    for gone, new in (("id,name\n1,ann\n", "a\n1\n"), ("id\n1\n", "a,b\n1,2\n")):
        drop(platform, "sales/a.csv", gone)
        drop(platform, "plants/a.csv", new)
        drop(platform, "stock/b.csv", f"sku\n{len(gone)}\n")
        platform.ingestion.discover()
        result = ingest(platform, instance)
    drift = {event.partition: event for event in result.get_asset_check_evaluations() if event.check_name == "schema_drift"}
    assert (drift["sales"].passed, drift["sales"].severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "'name'" in (drift["sales"].description or "")
    table = drift["sales"].metadata["what_changed"]
    assert isinstance(table, dg.TableMetadataValue)
    assert "column 'name' (string) was removed" in str(table.records[0].data["change"])
    assert (drift["plants"].passed, drift["plants"].severity) == (False, dg.AssetCheckSeverity.WARN)
    assert drift["plants"].metadata["verdict"].value == "compatible"
    assert drift["stock"].passed is True


def test_schemas_that_older_readers_captured_are_read_again(
    platform: Platform, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dsplatform.schemas import capturing, service

    for slug in ("sales", "stock"):
        drop(platform, f"{slug}/a.csv")
        drop(platform, f"{slug}/bad.json", "{")
    platform.ingestion.discover()
    ingest(platform, instance)
    for module in (capturing, service):
        monkeypatch.setattr(module, "READER_VERSION", "next")
    recapture = job(platform, "recapture_schemas")
    for config, read, left in (({"dataset": "stock"}, 1, 0), ({"versions": 5}, 1, 0), ({}, 0, 0)):
        result = recapture.execute_in_process(instance=instance, run_config={"ops": {"recapture_outdated": {"config": config}}})
        output = next(event for event in result.all_events if event.is_successful_output).step_output_data.metadata
        assert (output["versions"].value, output["versions_left"].value) == (read, left)
        failures = output.get("failures")
        assert isinstance(failures, dg.TableMetadataValue) is bool(read)
        assert not isinstance(failures, dg.TableMetadataValue) or [record.data["file"] for record in failures.records] == ["bad.json"]


def test_the_drift_check_can_be_asked_for_all_datasets(platform: Platform, instance: dg.DagsterInstance) -> None:
    from dsplatform.defs.checks import schema_drift

    for content in ("id,name\n1,ann\n", "id\n1\n"):
        drop(platform, "sales/a.csv", content)
        platform.ingestion.discover()
        ingest(platform, instance)
    result = schema_drift(platform=OpenedPlatform(platform))
    assert isinstance(result, dg.AssetCheckResult)
    assert result.passed is False
    assert result.metadata["datasets_drifted"].value == 1


def test_a_run_of_a_thousand_files_has_few_events(platform: Platform, instance: dg.DagsterInstance) -> None:
    folder = platform.settings.home / "in"
    folder.mkdir(parents=True)
    for number in range(1000):
        (folder / f"{number}.csv").write_text(f"id\n{number}\n")
    result = ingest(platform, instance, paths=[str(folder)], dataset="many")
    assert len(instance.all_logs(result.run_id)) <= EVENTS_AT_MOST
    assert materialization(instance, "dataset_versions", "many")["files_added"] == 1000


def test_a_sensor_asks_for_one_run_however_many_files_there_are(platform: Platform, instance: dg.DagsterInstance) -> None:
    from dsplatform.defs.sensors import drop_folder

    def tick(cursor: str | None = None) -> dg.SensorResult:
        context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"platform": OpenedPlatform(platform)})
        answer = drop_folder(context)
        assert isinstance(answer, dg.SensorResult)
        return answer

    idle = tick()
    assert (idle.run_requests, idle.asset_events) == ([], [])
    assert "empty" in str(idle.skip_reason)
    for number in range(2_000):
        (platform.settings.drop_dir / f"d{number % 7}").mkdir(parents=True, exist_ok=True)
        (platform.settings.drop_dir / f"d{number % 7}" / f"{number}.csv").write_text(f"id\n{number}\n")
    waiting = tick(idle.cursor)
    assert waiting.run_requests == []
    assert "not complete" in str(waiting.skip_reason)
    asked = tick(waiting.cursor)
    assert len(asked.run_requests or []) == 1
    assert (asked.run_requests or [])[0].tags["dsplatform/files"] == "2000"
    assert len(asked.asset_events) == 1
    assert tick(asked.cursor).asset_events == []  # nothing new to say
    assert ingest(platform, instance).success
    assert tick(asked.cursor).run_requests == []


def test_a_sensor_waits_while_a_run_is_queued_or_at_work(platform: Platform, instance: dg.DagsterInstance) -> None:
    from dsplatform.defs.sensors import drop_folder

    drop(platform, "sales/a.csv")
    context = dg.build_sensor_context(instance=instance, resources={"platform": OpenedPlatform(platform)})
    instance.create_run_for_job(job(platform, "ingest_files"), status=dg.DagsterRunStatus.STARTING)
    answer = drop_folder(context)
    assert isinstance(answer, dg.SensorResult)
    assert answer.run_requests == []
    assert "at work or waits" in str(answer.skip_reason)


def test_what_was_ingested_without_schema_is_captured_by_the_next_run(
    platform: Platform, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    from dsplatform.defs.uploads import api_uploads

    (tmp_path / "a.csv").write_text("id\n1\n")
    ingest(platform, instance, paths=[str(tmp_path / "a.csv")], dataset="sales", capture_schemas=False)
    context = dg.build_sensor_context(instance=instance, resources={"platform": OpenedPlatform(platform)})
    asked = api_uploads(context)
    assert isinstance(asked, dg.SensorResult)
    assert len(asked.run_requests or []) == 1
    assert job(platform, "capture_schemas").execute_in_process(instance=instance).success
    assert materialization(instance, "schema_snapshots", "sales")["columns"] == 1
    again = api_uploads(context)
    assert isinstance(again, dg.SensorResult)
    assert again.run_requests == []


def test_a_run_in_this_process_answers_with_its_report(
    platform: Platform, instance: dg.DagsterInstance, dagster_url: str, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("id\n1\n")
    config = IngestConfig(paths=[str(tmp_path / "a.csv")], dataset="sales", message="by hand")
    report, run_id = run_ingest(platform, tmp_path / "dagster", dagster_url, config)
    assert [version.version_number for version in report.versions] == [1]
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert run.tags["dsplatform/started_by"] == "command line"


def test_a_run_in_this_process_raises_the_services_error(
    platform: Platform, instance: dg.DagsterInstance, dagster_url: str, tmp_path: Path
) -> None:
    with pytest.raises(Invalid, match="no valid dataset name"):
        run_ingest(platform, tmp_path / "dagster", dagster_url, IngestConfig(paths=[str(tmp_path)], dataset="-bad"))


def test_the_environments_platform_opens_on_its_database(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSPLATFORM_HOME", str(tmp_path))
    monkeypatch.setenv("DSPLATFORM_DATABASE_URL", database_url)
    monkeypatch.setenv("DSPLATFORM_DAGSTER_DATABASE_URL", database_url)
    with PlatformFromEnvironment().open() as opened:
        assert opened.actor().username == "system"
    assert not os.path.exists(tmp_path / "postgres")


def test_a_batch_that_cannot_be_done_fails_with_the_sentence(platform: Platform, instance: dg.DagsterInstance) -> None:
    result = job(platform, "ingest_files").execute_in_process(
        instance=instance,
        run_config=dg.RunConfig(ops={"stored_files": IngestConfig(paths=["/nowhere/a.csv"], dataset="sales")}),
        raise_on_error=False,
    )
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_failure_data.user_failure_data is not None
    assert failure.step_failure_data.user_failure_data.description == "/nowhere/a.csv does not exist"


@pytest.mark.parametrize(("error", "becomes"), [(Invalid("no"), dg.Failure), (Unavailable("later"), dg.RetryRequested)])
def test_only_what_does_not_answer_is_tried_again_by_dagster(
    error: DsplatformError, becomes: type[Exception], database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSPLATFORM_HOME", str(tmp_path))
    monkeypatch.setenv("DSPLATFORM_DATABASE_URL", database_url)
    monkeypatch.setenv("DSPLATFORM_DAGSTER_DATABASE_URL", database_url)
    with pytest.raises(becomes), PlatformFromEnvironment().in_run():
        raise error
