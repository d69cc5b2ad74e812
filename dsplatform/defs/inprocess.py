"""The ingest job inside this process, recorded on the instance like any other run: what `dsplatform ingest` does."""

import os
from pathlib import Path

import dagster as dg

from dsplatform.bootstrap import Platform
from dsplatform.core.errors import DsplatformError
from dsplatform.core.paths import instance_home
from dsplatform.defs.assets import IngestConfig, dataset_versions, schema_snapshots, stored_files
from dsplatform.defs.checks import contract, schema_drift
from dsplatform.defs.jobs import INGEST, ingest_files
from dsplatform.defs.resources import OpenedPlatform
from dsplatform.ingestion.model import IngestReport


def run_ingest(platform: Platform, dagster_home: Path, dagster_database_url: str, config: IngestConfig) -> tuple[IngestReport, str]:
    """Runs the job and answers with what it did and the run's id. Raises the service's error when the batch as a whole failed."""
    source = OpenedPlatform(platform)
    definitions = dg.Definitions(
        assets=[stored_files, dataset_versions, schema_snapshots],
        asset_checks=[schema_drift, contract],
        jobs=[ingest_files],
        resources={"platform": source},
        executor=dg.in_process_executor,
    )
    instance_home(dagster_home)
    os.environ["DAGSTER_HOME"] = str(dagster_home)
    os.environ["DSPLATFORM_DAGSTER_DATABASE_URL"] = dagster_database_url
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        result = definitions.resolve_job_def(INGEST).execute_in_process(
            instance=instance,
            run_config=dg.RunConfig(ops={"stored_files": config}, loggers={"console": {"config": {"log_level": "CRITICAL"}}}),
            tags={"dsplatform/started_by": "command line"},
            raise_on_error=False,
        )
    for event in result.all_events:
        if event.is_step_failure or event.is_run_failure:
            raise source.error or DsplatformError(f"the run {result.run_id} failed: {event.message}")
    if source.report is None:
        raise AssertionError("a run that succeeded has reported")
    return source.report, result.run_id
