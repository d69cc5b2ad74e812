"""The audit log: sealed every minute, verified every night."""

from collections.abc import Iterator

import dagster as dg

from dsplatform.defs.assets import TEAM
from dsplatform.defs.resources import PlatformSource
from dsplatform.permissions.audit_chain import Head

ASSET = "audit_log"
HEAD = "head"
SHOWN = 50


@dg.sensor(
    name="seal_audit_log",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Seals the audit log every minute and shows the newest seal as an observation of `audit_log`. Fails while the seal that it noted "
        "the last time is not there any more: look with `dsplatform audit verify`, then reset the cursor."
    ),
)
def seal_audit_log(context: dg.SensorEvaluationContext, platform: dg.ResourceParam[PlatformSource]) -> dg.SensorResult:
    """In the tick itself: a run a minute would cost a hundred times as much as what it does, and hide the others in the list of runs.

    The cursor is the head that was noted elsewhere: it lies in Dagster's database, not in ours.
    """
    with platform.open() as opened:
        lost = context.cursor and not opened.audit.has(Head.parse(context.cursor))
        sealed = opened.audit.seal()
    if lost:
        raise dg.Failure(
            f"the audit log has no seal {context.cursor}, which was noted a minute ago: its end was cut off, or an older state restored"
        )
    if not sealed.rows or sealed.head is None:
        return dg.SensorResult(skip_reason="every row has its seal", cursor=str(sealed.head or ""))
    observed = dg.AssetObservation(ASSET, metadata={"sealed_rows": sealed.rows, "rows": sealed.head.position, HEAD: str(sealed.head)})
    return dg.SensorResult(skip_reason=f"{sealed.rows} row(s) sealed", cursor=str(sealed.head), asset_events=[observed])


@dg.asset(
    name=ASSET,
    group_name="upkeep",
    owners=TEAM,
    kinds={"postgres"},
    description=(
        "Who did what, and who was refused what. Verified every night: each row is as it was sealed, none is gone, none was put in, and "
        "the seal that Dagster noted last is there. The same as `dsplatform audit verify --head …`."
    ),
    check_specs=[
        dg.AssetCheckSpec("as_it_was_sealed", asset=ASSET, description="Nothing in the audit log was changed since it was sealed.")
    ],
)
def audit_log(context: dg.AssetExecutionContext, platform: dg.ResourceParam[PlatformSource]) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]  # Dagster compares the annotation with the bare class
    """Verifies first: what was put in has no seal yet. Then seals what the sealer did not look at, and fails where something was found."""
    noted = _noted(context.instance)
    with platform.in_run() as opened:
        report = opened.audit.verify(opened.system(), noted=noted)
        opened.audit.seal(whole=True)
    rows = [dg.TableRecord({"finding": finding.sentence}) for finding in report.findings[:SHOWN]]
    shown = {"findings": dg.MetadataValue.table(rows)} if rows else {}
    yield dg.MaterializeResult(
        metadata={"rows": report.rows, "noted": str(noted or "nothing"), HEAD: str(report.head or "none"), **shown},
        check_results=[
            dg.AssetCheckResult(passed=report.sound, check_name="as_it_was_sealed", metadata={"findings_in_all": report.found, **shown})
        ],
    )
    if not report.sound:
        first = "; ".join(finding.sentence for finding in report.findings[:3])
        raise dg.Failure(f"the audit log is not as it was sealed, {report.found} finding(s): {first}", allow_retries=False)


def _noted(instance: dg.DagsterInstance) -> Head | None:
    """The newest head that the sensor has shown, from Dagster's own database."""
    for record in instance.fetch_observations(dg.AssetKey(ASSET), limit=1).records:
        if record.asset_observation and (text := record.asset_observation.metadata.get(HEAD)):
            return Head.parse(str(text.value))
    return None


verify_audit_log = dg.define_asset_job(
    "verify_audit_log",
    selection=dg.AssetSelection.assets(audit_log),
    description="Computes every hash of the audit log again. Fails when something is not as it was sealed.",
    tags={"dsplatform/kind": "upkeep"},
)

audit_nightly = dg.ScheduleDefinition(
    name="audit_nightly",
    job=verify_audit_log,
    cron_schedule="0 6 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night: verifies the audit log.",
)
