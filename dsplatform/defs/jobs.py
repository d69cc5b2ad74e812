"""Jobs that a person launches and the sensors ask for."""

import dagster as dg
from pydantic import Field

from dsplatform.defs.assets import capture, stored_files
from dsplatform.defs.resources import PlatformSource

INGEST = "ingest_files"

ingest_files = dg.define_asset_job(
    INGEST,
    selection=dg.AssetSelection.assets(stored_files),
    description="Ingests one batch: what the drop folder holds, or the files and folders that you name in the launchpad.",
    tags={"dsplatform/kind": "ingest", "dagster/max_runtime": str(12 * 3600)},
)


SHOWN_FAILURES = 50


class RecaptureConfig(dg.Config):
    """Whose schemas to read again. As it stands: all that older readers captured."""

    dataset: str = Field(default="", description="The dataset; empty: all of them.")
    versions: int = Field(default=1_000, ge=1, le=100_000, description="Versions that one run reads again, at most; the oldest first.")


@dg.op(description="Reads the schemas again that older readers captured, or that were captured before a dataset's hints changed.")
def recapture_outdated(context: dg.OpExecutionContext, config: RecaptureConfig, platform: dg.ResourceParam[PlatformSource]) -> None:
    """After an upgrade of the readers; each content is read once."""
    with platform.in_run() as opened:
        versions = opened.schemas.outdated(config.dataset or None, config.versions)
        captured = capture(context, opened, versions)
        system = opened.system()
        labels = {summary.version_id: opened.versions.label(summary.version_id) for summary in captured if summary.unreadable}
        failures = [
            dg.TableRecord({"version": f"{dataset.slug}@{number}", "file": name, "reason": reason})
            for version_id, (dataset, number) in labels.items()
            for name, reason in opened.schemas.unreadable(system, dataset, version_id)
        ]
        context.add_output_metadata(
            {
                "versions": len(captured),
                "versions_left": len(opened.schemas.outdated(config.dataset or None, config.versions)),
                "unreadable_files": len(failures),
                **({"failures": dg.MetadataValue.table(failures[:SHOWN_FAILURES])} if failures else {}),
            }
        )


@dg.job(
    description="Reads schemas again after an upgrade of the readers or a change of a dataset's reading hints (`dsp contract hints`).",
    tags={"dsplatform/kind": "capture", "dsplatform/exclusive": "capture"},
)
def recapture_schemas() -> None:
    """One op."""
    recapture_outdated()
