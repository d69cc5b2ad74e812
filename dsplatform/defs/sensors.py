"""Sensors: they look and ask for runs; taking, moving and deleting is left to the runs. A tick may happen twice without harm."""

import json

import dagster as dg

from dsplatform.defs.jobs import ingest_files
from dsplatform.defs.resources import PlatformSource

WAITING_RUNS = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]


SHORTER_THAN_THE_DAEMONS_LOOP = 2
"""Seconds. The daemon looks every 5; at 5, a tick that began a moment late in one round is not due in the next, and is left out."""


@dg.sensor(
    job_name=ingest_files.name,
    minimum_interval_seconds=SHORTER_THAN_THE_DAEMONS_LOOP,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks at the drop folder, writes down what arrived, and asks for one run when files are complete.",
)
def drop_folder(context: dg.SensorEvaluationContext, platform: dg.ResourceParam[PlatformSource]) -> dg.SensorResult:
    """One run takes everything that is complete, so that one is enough; while one works or waits, no other is asked for."""
    with platform.open() as opened:
        found = opened.ingestion.discover()
    cursor = json.dumps([found.files, found.ready, found.claimed])
    observed = [
        dg.AssetObservation(
            "staged_uploads",
            metadata={"queued_files": found.files, "queued_bytes": found.total_bytes, "oldest_age_s": round(found.oldest_age_s, 1)},
        )
    ]
    events = observed if cursor != context.cursor and (found.files or context.cursor) else []
    if not found.ready:
        reason = f"{found.waiting} file(s) not complete yet, {found.claimed} being ingested" if found.files else "the drop folder is empty"
        return dg.SensorResult(skip_reason=reason, cursor=cursor, asset_events=events)
    if found.claimed or context.instance.get_runs_count(dg.RunsFilter(job_name=ingest_files.name, statuses=WAITING_RUNS)):
        return dg.SensorResult(
            skip_reason=f"{found.ready} file(s) are complete; a run is at work or waits already", cursor=cursor, asset_events=events
        )
    return dg.SensorResult(run_requests=[dg.RunRequest(tags={"dsplatform/files": str(found.ready)})], cursor=cursor, asset_events=events)
