"""The asset graph: what arrives, what is stored, the versions and the schemas of each dataset.

One run is one batch, whatever it holds. What happened to each file is in the inbox; the run shows counts, the refused files, and one
event per dataset that it touched.
"""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
from pydantic import Field

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Gone, Unavailable
from dsplatform.core.types import VersionId
from dsplatform.core.values import Committed, DatasetRef, SchemaSummary
from dsplatform.defs.checks import batch_checks, contract_evaluation, drift_evaluation
from dsplatform.defs.resources import PlatformSource
from dsplatform.ingestion.model import IngestReport

TEAM = ["team:data-platform"]
SHOWN_FAILURES = 50
SHOWN_COLUMNS = 50

datasets = dg.DynamicPartitionsDefinition(name="datasets")
"""One partition per dataset, keyed by its slug. Files and versions are no partitions: there are too many of them."""

staged_uploads = dg.AssetSpec(
    "staged_uploads",
    description="Files in the drop folder that have no outcome yet. The sensor observes how many wait, and for how long.",
    group_name="ingest",
    owners=TEAM,
    kinds={"file"},
)

dataset_versions = dg.AssetSpec(
    "dataset_versions",
    description="The versions of each dataset: a number, the files added and changed, who made it and why. One partition per dataset.",
    group_name="catalog",
    owners=TEAM,
    kinds={"postgres"},
    deps=["stored_files"],
    partitions_def=datasets,
)

schema_snapshots = dg.AssetSpec(
    "schema_snapshots",
    description="The columns, types and row counts of each version, read from all rows. One partition per dataset, one event per change.",
    group_name="catalog",
    owners=TEAM,
    kinds={"postgres", "duckdb"},
    deps=["dataset_versions"],
    partitions_def=datasets,
)


class IngestConfig(dg.Config):
    """What to ingest. As it stands: every complete file of the drop folder."""

    paths: list[str] = Field(
        default=[], description="Files or folders to ingest, as this server sees them. Empty: what the drop folder holds."
    )
    dataset: str = Field(default="", description="The dataset that named paths go into; made where it is missing.")
    branch: str = Field(default="main", description="The branch that the version goes to; begins at `main` where it is missing.")
    message: str = Field(default="", description="Why this version was made.", max_length=10_000)
    replace: bool = Field(default=False, description="Leave out what the version before had and the paths have not.")
    capture_schemas: bool = Field(default=True, description="Read the schemas now; otherwise a sensor has it done later.")


@dg.asset(
    group_name="ingest",
    owners=TEAM,
    kinds={"file", "postgres"},
    deps=[staged_uploads],
    code_version="1",
    check_specs=batch_checks.specs,
    description=(
        "Files taken into the store: hashed, written once, made durable, and committed as one version per dataset. "
        "**One run is one batch.** Refused files are listed with their reasons; `dsplatform inbox --failed` shows them all."
    ),
)
def stored_files(
    context: dg.AssetExecutionContext, config: IngestConfig, platform: dg.ResourceParam[PlatformSource]
) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster compares the annotation with the bare class
    """Ingests one batch and reports it."""
    with platform.in_run() as opened:
        report = _ingest(opened, config, context.run.run_id)
        platform.tell(report)
        committed = latest_per_dataset(report.versions)
        if committed:
            context.instance.add_dynamic_partitions(datasets.name or "", [version.dataset.slug for version in committed])
        captured: Sequence[SchemaSummary] = []
        if config.capture_schemas:
            opened.deliver()
            captured = capture(context, opened, [version.version_id for version in committed])
        rows = {summary.version_id: summary.rows for summary in captured}
        for version in committed:
            context.log_event(version_event(version, report, rows.get(version.version_id)))
        return dg.MaterializeResult(metadata={**report.figures(), **_tables(report)}, check_results=batch_checks.evaluate(opened, report))


def _ingest(platform: Platform, config: IngestConfig, run_id: str) -> IngestReport:
    if not config.paths:
        return platform.ingestion.ingest_ready(run_id=run_id)
    return platform.ingestion.ingest_paths(
        platform.actor(),
        [Path(path) for path in config.paths],
        config.dataset,
        branch=config.branch,
        message=config.message,
        replace_all=config.replace,
    )


def latest_per_dataset(versions: Sequence[Committed]) -> list[Committed]:
    """The last new version of each dataset; a batch can hold two snapshots of one file."""
    return list({version.dataset.id: version for version in versions if version.created}.values())


def version_event(version: Committed, report: IngestReport, rows: int | None) -> dg.AssetMaterialization:
    """One new version of one dataset; `rows` where its schema is captured already."""
    mine = [outcome for outcome in report.outcomes if outcome.version_id == version.version_id]
    return dg.AssetMaterialization(
        "dataset_versions",
        partition=version.dataset.slug,
        description=f"version {version.version_number} on {version.branch}"
        + (f", kept from {version.quarantined_from} by its contract" if version.quarantined_from else ""),
        tags={"dagster/data_version": str(version.version_number)},
        metadata={
            "version": version.version_number,
            "branch": version.branch,
            "files_added": version.added,
            "files_updated": version.updated,
            "files_removed": version.removed,
            "bytes_in": sum(outcome.size for outcome in mine),
            "bytes_stored": sum(outcome.size for outcome in mine if outcome.stored),
            **({} if rows is None else {"dagster/partition_row_count": rows}),
            **({"breaches": dg.MetadataValue.json(list(version.breaches))} if version.breaches else {}),
            "look_at_it": dg.MetadataValue.text(f"dsplatform show {version.dataset.slug}"),
        },
    )


def capture(
    context: dg.OpExecutionContext | dg.AssetExecutionContext, platform: Platform, versions: Sequence[VersionId]
) -> Sequence[SchemaSummary]:
    """Captures the schemas of these versions, and reports those that changed. What cannot be read now stays pending."""
    captured, system = [], platform.system()
    for version_id in versions:
        try:
            summary = platform.schemas.capture_version_schema(version_id)
        except Unavailable as err:
            context.log.warning("the schema of version %s waits: %s", version_id, err)
            continue
        except Gone as err:  # deleted since it was put on the list
            context.log.info("the schema of version %s is not wanted any more: %s", version_id, err)
            continue
        captured.append(summary)
        dataset, number = platform.versions.label(version_id)
        if summary.changed:
            context.log_event(
                dg.AssetMaterialization(
                    "schema_snapshots",
                    partition=dataset.slug,
                    description=f"schema of version {number}",
                    tags={"dagster/data_version": str(number)},
                    metadata={
                        "dagster/column_schema": dg.TableSchema(
                            columns=[
                                dg.TableColumn(name, type_, constraints=dg.TableColumnConstraints(nullable=nullable))
                                for name, type_, nullable in platform.schemas.columns(system, dataset, version_id)
                            ]
                        ),
                        "dagster/partition_row_count": summary.rows or 0,
                        "version": number,
                        "data_version": platform.schemas.semver(system, dataset, version_id).semver,
                        "columns": summary.columns,
                        "unreadable_files": summary.unreadable,
                        **_profile(platform, system, dataset, version_id),
                    },
                )
            )
        context.log_event(drift_evaluation(platform, system, dataset, version_id))  # type: ignore[arg-type]  # documented, missing in its type
        if judged := contract_evaluation(platform, version_id, dataset.slug):
            context.log_event(judged)  # type: ignore[arg-type]
    return captured


def _profile(platform: Platform, system: Actor, dataset: DatasetRef, version_id: VersionId) -> dict[str, dg.MetadataValue]:
    records = [
        dg.TableRecord(
            {
                "table": component if table is None else f"{component}/{table}",
                "column": column.name,
                "type": column.type,
                "without_value": profile.nulls,
                "different": profile.distinct,
                "least": None if profile.low is None else str(profile.low),
                "greatest": None if profile.high is None else str(profile.high),
                "examples": ", ".join(profile.examples),
            }
        )
        for (component, table), column, profile in platform.schemas.profile_of_each_layout(system, dataset, version_id, SHOWN_COLUMNS)
    ]
    if not records:
        return {}
    kinds = dict.fromkeys(records[0].data, "string") | {"without_value": "int", "different": "int"}
    return {"profile": dg.MetadataValue.table(records, dg.TableSchema([dg.TableColumn(name, kind) for name, kind in kinds.items()]))}


def _tables(report: IngestReport) -> dict[str, dg.MetadataValue]:
    shown: dict[str, dg.MetadataValue] = {}
    if report.rejected:
        shown["rejected_files"] = dg.MetadataValue.table(
            [dg.TableRecord({"file": o.path, "reason": o.reason or ""}) for o in report.rejected[:SHOWN_FAILURES]]
        )
    versions = [version for version in report.versions if version.created]
    if versions:
        shown["new_versions"] = dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "dataset": v.dataset.slug,
                        "branch": v.branch,
                        "version": v.version_number,
                        "added": v.added,
                        "updated": v.updated,
                        "kept_from": v.quarantined_from or "",
                    }
                )
                for v in versions[:SHOWN_FAILURES]
            ]
        )
    return shown
