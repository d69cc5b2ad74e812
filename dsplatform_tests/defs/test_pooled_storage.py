"""The contract of the pooled storages: the stock ones read what they write, and the other way round."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import yaml
from dagster._core.scheduler.instigation import InstigatorType, TickData, TickStatus
from sqlalchemy import event

from dsplatform.core.database_url import libpq_url
from dsplatform.core.paths import shipped
from dsplatform.defs.pooled_storage import (
    POOL_SIZE,
    PooledEventLogStorage,
    PooledRunStorage,
    PooledScheduleStorage,
)

PARTITIONS = dg.DynamicPartitionsDefinition(name="datasets")
VARIABLE = "DSPLATFORM_DAGSTER_DATABASE_URL"
Instances = Callable[[str], dg.DagsterInstance]


@dg.asset(partitions_def=PARTITIONS)
def versions(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    context.log.info("one line")
    return dg.MaterializeResult(metadata={"dagster/row_count": 42}, data_version=dg.DataVersion("abc"))


@dg.asset_check(asset=versions)
def has_rows() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@dg.asset
def broken() -> None:
    raise ValueError("on purpose")


def stock(config: str) -> str:
    """`dagster.yaml` as its own comment says to change it."""
    loaded = yaml.safe_load(config)
    for block in ("event_log_storage", "run_storage", "schedule_storage"):
        del loaded[block]
    (fallback,) = [line.removeprefix("#") for line in config.splitlines() if line.startswith("#   storage: {postgres")]
    return yaml.safe_dump(loaded | yaml.safe_load(fallback))


@pytest.fixture
def instances(empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Instances]:
    """Makes instances on one database: `pooled`, as shipped, or `stock`."""
    monkeypatch.setenv(VARIABLE, empty_database_url.replace("+psycopg:", "+psycopg2:"))
    config = shipped("dagster.yaml").read_text()
    for name, content in {"pooled": config, "stock": stock(config)}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "dagster.yaml").write_text(content)
    made: list[dg.DagsterInstance] = []

    def make(name: str) -> dg.DagsterInstance:
        made.append(dg.DagsterInstance.from_config(str(tmp_path / name)))
        return made[-1]

    yield make
    for instance in made:
        instance.dispose()


def connections(url: str) -> int:
    with psycopg.connect(libpq_url(url), application_name="counter") as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name <> 'counter'"
        ).fetchone()
    return row[0] if row else 0


def test_the_shipped_instance_uses_the_pooled_storages(instances: Instances) -> None:
    instance = instances("pooled")
    assert isinstance(instance.event_log_storage, PooledEventLogStorage)
    assert isinstance(instance.run_storage, PooledRunStorage)
    assert isinstance(instance.schedule_storage, PooledScheduleStorage)
    reread = dg.DagsterInstance.from_ref(instance.get_ref())  # how run processes get it
    assert isinstance(reread.event_log_storage, PooledEventLogStorage)


def test_the_shipped_instance_watches_its_runs(instances: Instances) -> None:
    instance = instances("pooled")
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_runtime_seconds == 14_400
    assert instance.run_retries_enabled
    assert instance.run_retries_max_retries == 2
    assert not instance.telemetry_enabled
    assert not instance.nux_enabled
    concurrency = instance.get_concurrency_config()
    assert concurrency.run_queue_config is not None
    assert concurrency.run_queue_config.max_concurrent_runs == 4


@pytest.mark.parametrize(("writes", "reads"), [("pooled", "stock"), ("stock", "pooled"), ("pooled", "pooled")])
def test_runs_and_events_are_the_same_whichever_wrote_them(writes: str, reads: str, instances: Instances) -> None:
    writer = instances(writes)
    writer.add_dynamic_partitions("datasets", ["sales", "staff"])
    result = dg.materialize([versions, has_rows], instance=writer, partition_key="sales", tags={"kind": "ingest"})
    failed = dg.materialize([broken], instance=writer, raise_on_error=False)

    reader = instances(reads)
    assert sorted(reader.get_dynamic_partitions("datasets")) == ["sales", "staff"]
    assert {run.run_id: run.status for run in reader.get_runs()} == {
        result.run_id: dg.DagsterRunStatus.SUCCESS,
        failed.run_id: dg.DagsterRunStatus.FAILURE,
    }
    assert [run.run_id for run in reader.get_runs(dg.RunsFilter(tags={"kind": "ingest"}))] == [result.run_id]
    assert [entry.message for entry in reader.all_logs(result.run_id)] == [entry.message for entry in writer.all_logs(result.run_id)]
    assert "one line" in [entry.user_message for entry in reader.all_logs(result.run_id)]
    latest = reader.get_latest_materialization_event(versions.key)
    assert latest is not None
    assert latest.asset_materialization is not None
    assert latest.asset_materialization.partition == "sales"
    assert latest.asset_materialization.metadata["dagster/row_count"].value == 42
    assert latest.asset_materialization.tags is not None
    assert latest.asset_materialization.tags["dagster/data_version"] == "abc"
    assert reader.get_materialized_partitions(versions.key) == {"sales"}
    (check,) = result.get_asset_check_evaluations()
    records = reader.event_log_storage.get_asset_check_execution_history(check.asset_check_key, limit=5)
    assert [record.run_id for record in records] == [result.run_id]


@pytest.mark.parametrize(("writes", "reads"), [("pooled", "stock"), ("stock", "pooled")])
def test_ticks_are_the_same_whichever_wrote_them(writes: str, reads: str, instances: Instances) -> None:
    tick = instances(writes).create_tick(
        TickData(
            instigator_origin_id="origin",
            instigator_name="drop_folder",
            instigator_type=InstigatorType.SENSOR,
            status=TickStatus.STARTED,
            timestamp=time.time(),
            selector_id="selector",
        )
    )
    reader = instances(reads)
    reader.update_tick(tick.with_status(TickStatus.SKIPPED, skip_reason="nothing there"))
    (read,) = reader.get_ticks("origin", "selector")
    assert (read.tick_id, read.status, read.skip_reason) == (tick.tick_id, TickStatus.SKIPPED, "nothing there")


def test_events_share_connections_instead_of_opening_one_each(instances: Instances, empty_database_url: str) -> None:
    instance = instances("pooled")
    instance.get_runs_count()
    storages = (instance.event_log_storage, instance.run_storage, instance.schedule_storage)
    (engine,) = {getattr(storage, "_engine") for storage in storages}  # noqa: B009 - of the subclass, which mypy cannot know
    opened: list[object] = []
    event.listen(engine, "connect", lambda connection, _: opened.append(connection))
    for number in range(50):
        instance.report_runless_asset_event(dg.AssetMaterialization("thing", metadata={"number": number}))
    assert len(opened) < POOL_SIZE
    assert connections(empty_database_url) <= POOL_SIZE


def test_many_threads_never_wait_for_each_other_s_connections(instances: Instances, empty_database_url: str) -> None:
    """The storages ask for a second connection while they hold one. With a limited pool, which is used up here, nothing would get on."""
    instance = instances("pooled")
    errors: list[Exception] = []
    engine = getattr(instance.event_log_storage, "_engine")  # noqa: B009 - of the subclass, which mypy cannot know
    held = [engine.connect() for _ in range(2 * POOL_SIZE)]

    def work(thread: int) -> None:
        try:
            for number in range(20):
                instance.report_runless_asset_event(dg.AssetMaterialization(f"thing_{thread}", metadata={"number": number}))
        except Exception as err:  # noqa: BLE001 - a thread's error is seen below
            errors.append(err)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(instance.get_asset_keys()) == 16
    for connection in held:
        connection.close()
    assert connections(empty_database_url) <= POOL_SIZE


def test_a_connection_that_the_server_closed_is_replaced(instances: Instances, empty_database_url: str) -> None:
    instance = instances("pooled")
    assert instance.get_runs_count() == 0
    with psycopg.connect(libpq_url(empty_database_url)) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert instance.get_runs_count() == 0


def test_disposing_closes_the_connections(instances: Instances, empty_database_url: str) -> None:
    instance = instances("pooled")
    instance.get_runs_count()
    instance.dispose()
    assert connections(empty_database_url) == 0


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_whatever_the_driver_of_the_url_psycopg2_is_meant(
    scheme: str, instances: Instances, monkeypatch: pytest.MonkeyPatch, empty_database_url: str
) -> None:
    monkeypatch.setenv(VARIABLE, f"{scheme}:{empty_database_url.partition(':')[2]}")
    instance = instances("pooled")
    instance.report_runless_asset_event(dg.AssetMaterialization("thing"))
    assert instance.get_latest_materialization_event(dg.AssetKey("thing")) is not None
