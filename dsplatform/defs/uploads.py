"""Versions that came without their schema, as uploads over HTTP do: read and shown by one run at a time."""

import time
from collections.abc import Mapping, Sequence

import dagster as dg
from pydantic import Field

from dsplatform.bootstrap import Platform
from dsplatform.core.types import VersionId
from dsplatform.core.values import SchemaSummary
from dsplatform.defs.assets import TEAM, capture, dataset_versions, datasets
from dsplatform.defs.resources import PlatformSource

BUSY = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
NAMED = 20
"""Versions that a run names in its tags: the HTTP door finds the run by them."""
AGAIN_SECONDS = 60
"""How long a version that a run could not take waits for the next one."""
FIRST = "dsplatform/first_version"


class CaptureConfig(dg.Config):
    """How much to capture."""

    versions: int = Field(default=1_000, ge=1, le=100_000, description="Versions that one run captures, at most.")


@dg.asset(
    group_name="ingest",
    owners=TEAM,
    kinds={"postgres", "duckdb"},
    code_version="1",
    description=(
        "Versions that were stored without their schema: larger uploads over HTTP, `--no-schema`, and what a killed run left. "
        "**One run reads all that wait**, and shows each as a version of its dataset."
    ),
)
def uploaded_versions(
    context: dg.AssetExecutionContext, config: CaptureConfig, platform: dg.ResourceParam[PlatformSource]
) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster compares the annotation with the bare class
    """Delivers what was announced, then reads the schemas of versions that have none yet."""
    with platform.in_run() as opened:
        opened.deliver()
        captured = capture(context, opened, opened.schemas.pending(config.versions))
        for summary in captured:
            _show(context, opened, summary)
        unreadable = sum(summary.unreadable for summary in captured)
        return dg.MaterializeResult(metadata={"versions": len(captured), "unreadable_files": unreadable})


def _show(context: dg.AssetExecutionContext, platform: Platform, summary: SchemaSummary) -> None:
    """The version as an event of its dataset's partition: the first one that is known of it, or what is new about it."""
    dataset, number = platform.versions.label(summary.version_id)
    metadata = {"version": number, "dagster/partition_row_count": summary.rows or 0}
    context.instance.add_dynamic_partitions(datasets.name or "", [dataset.slug])
    if _shown(context.instance, dataset.slug) >= number:
        context.log_event(dg.AssetObservation(dataset_versions.key, partition=dataset.slug, metadata=metadata))
        return
    context.log_event(
        dg.AssetMaterialization(
            dataset_versions.key,
            partition=dataset.slug,
            description=f"version {number}",
            tags={"dagster/data_version": str(number)},
            metadata={**metadata, "look_at_it": dg.MetadataValue.text(f"dsplatform show {dataset.slug}")},
        )
    )


def _shown(instance: dg.DagsterInstance, slug: str) -> int:
    """The number of the last version of the dataset that was shown; 0: none."""
    last = instance.fetch_materializations(dg.AssetRecordsFilter(dataset_versions.key, asset_partitions=[slug]), limit=1).records
    tags = last[0].asset_materialization.tags if last and last[0].asset_materialization else None
    number = (tags or {}).get("dagster/data_version", "0")
    return int(number) if number.isdecimal() else 0


capture_schemas = dg.define_asset_job(
    "capture_schemas",
    selection=dg.AssetSelection.assets(uploaded_versions),
    description="Reads the schemas of versions that were stored without: uploads over HTTP, `--no-schema`, what a killed run left.",
    tags={"dsplatform/kind": "capture", "dsplatform/exclusive": "capture"},
)


@dg.sensor(
    job_name=capture_schemas.name,
    minimum_interval_seconds=2,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for a run when versions wait for their schema: uploaded over HTTP, ingested without it, or left by a killed run.",
)
def api_uploads(context: dg.SensorEvaluationContext, platform: dg.ResourceParam[PlatformSource]) -> dg.SensorResult:
    """One run captures all that wait. One that could not take the first of them is not followed by the next at once."""
    with platform.open() as opened:
        opened.deliver()
        waiting = opened.schemas.pending(1_000)
        if not waiting:
            return dg.SensorResult(skip_reason="every version has its schema")
        tags = _tags(opened, waiting)
    if context.instance.get_runs_count(dg.RunsFilter(job_name=capture_schemas.name, statuses=BUSY)):
        return dg.SensorResult(skip_reason=f"{len(waiting)} version(s) wait; a run is at work already")
    if _tried_just_now(context.instance, tags[FIRST]):
        return dg.SensorResult(skip_reason=f"{len(waiting)} version(s) wait; the last run could not take the first of them")
    return dg.SensorResult(run_requests=[dg.RunRequest(tags=dict(tags))])


def _tags(platform: Platform, waiting: Sequence[VersionId]) -> Mapping[str, str]:
    """What a run says of the versions for which it was asked: how many, and which, if they are few."""
    tags = {"dsplatform/versions": str(len(waiting)), FIRST: str(waiting[0])}
    for version_id in waiting[:NAMED]:
        dataset, number = platform.versions.label(version_id)
        tags[f"dsplatform/version.{version_id}"] = f"{dataset.slug}@{number}"
    return tags


def _tried_just_now(instance: dg.DagsterInstance, first: str) -> bool:
    records = instance.get_run_records(dg.RunsFilter(job_name=capture_schemas.name, tags={FIRST: first}), limit=1)
    return any(record.end_time is not None and time.time() - record.end_time < AGAIN_SECONDS for record in records)
