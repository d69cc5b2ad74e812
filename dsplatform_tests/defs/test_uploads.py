import time
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.errors import Unavailable
from dsplatform.defs.resources import OpenedPlatform
from dsplatform.defs.uploads import NAMED, api_uploads
from dsplatform_tests import make
from dsplatform_tests.defs.runs import job

NAME = "capture_schemas"


@pytest.fixture
def sensor(platform: Platform, instance: dg.DagsterInstance) -> dg.SensorEvaluationContext:
    return dg.build_sensor_context(instance=instance, resources={"platform": OpenedPlatform(platform)})


def tick(sensor: dg.SensorEvaluationContext) -> dg.SensorResult:
    answer = api_uploads(sensor)
    assert isinstance(answer, dg.SensorResult)
    return answer


def run(platform: Platform, instance: dg.DagsterInstance, tags: dict[str, str]) -> bool:
    return job(platform, NAME).execute_in_process(instance=instance, tags=tags, raise_on_error=False).success


def _raising(error: Exception) -> Iterator[None]:
    raise error


def shown(instance: dg.DagsterInstance, key: str) -> list[tuple[str | None, str | None]]:
    """(partition, data version) of each materialization, oldest first."""
    records = instance.fetch_materializations(dg.AssetKey(key), limit=100, ascending=True).records
    found = [record.asset_materialization for record in records]
    return [(one.partition, (one.tags or {}).get("dagster/data_version")) for one in found if one]


def test_what_waits_is_announced_asked_for_and_shown(
    platform: Platform, instance: dg.DagsterInstance, sensor: dg.SensorEvaluationContext
) -> None:
    sales, stock = make.dataset(platform, "sales"), make.dataset(platform, "stock")
    ids = [make.commit(platform, dataset, {"a.csv": b"id\n1\n"}).version_id for dataset in (sales, stock)]
    (asked,) = tick(sensor).run_requests or []
    assert asked.tags == {
        "dsplatform/versions": "2",
        "dsplatform/first_version": str(ids[0]),
        f"dsplatform/version.{ids[0]}": "sales@1",
        f"dsplatform/version.{ids[1]}": "stock@1",
    }
    assert run(platform, instance, dict(asked.tags))
    assert shown(instance, "dataset_versions") == [("sales", "1"), ("stock", "1")]
    assert shown(instance, "schema_snapshots") == [("sales", "1"), ("stock", "1")]
    assert set(instance.get_dynamic_partitions("datasets")) == {"sales", "stock"}
    assert tick(sensor).run_requests == []


def test_a_version_is_shown_once(platform: Platform, instance: dg.DagsterInstance) -> None:
    sales = make.dataset(platform, "sales")
    for content in (b"id\n1\n", b"id\n2\n"):
        make.commit(platform, sales, {"a.csv": content})
    assert run(platform, instance, {})
    assert run(platform, instance, {})
    assert shown(instance, "dataset_versions") == [("sales", "1"), ("sales", "2")]


def test_a_run_names_few_versions(platform: Platform, sensor: dg.SensorEvaluationContext) -> None:
    sales = make.dataset(platform, "sales")
    for number in range(NAMED + 5):
        make.commit(platform, sales, {"a.csv": b"id\n%d\n" % number})
    (asked,) = tick(sensor).run_requests or []
    assert asked.tags["dsplatform/versions"] == str(NAMED + 5)
    assert sum(name.startswith("dsplatform/version.") for name in asked.tags) == NAMED


def test_one_run_at_a_time(platform: Platform, instance: dg.DagsterInstance, sensor: dg.SensorEvaluationContext) -> None:
    make.commit(platform, make.dataset(platform), {"a.csv": b"id\n1\n"})
    instance.create_run_for_job(job(platform, NAME), status=dg.DagsterRunStatus.STARTED)
    answer = tick(sensor)
    assert answer.run_requests == []
    assert "at work already" in str(answer.skip_reason)


def test_what_a_run_could_not_take_waits_before_it_is_asked_for_again(
    platform: Platform, instance: dg.DagsterInstance, sensor: dg.SensorEvaluationContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    make.commit(platform, make.dataset(platform), {"a.csv": b"id\n1\n"})
    (asked,) = tick(sensor).run_requests or []

    @contextmanager
    def away(*_: object) -> Iterator[None]:
        yield from _raising(Unavailable("the store is away"))

    with monkeypatch.context() as broken:
        broken.setattr(type(platform.files), "local_paths", away)
        assert run(platform, instance, dict(asked.tags))
    answer = tick(sensor)
    assert answer.run_requests == []
    assert "could not take" in str(answer.skip_reason)
    later = time.time() + 61
    monkeypatch.setattr("dsplatform.defs.uploads.time.time", lambda: later)
    assert len(tick(sensor).run_requests or []) == 1
