"""When what is done by itself. All times are UTC; each schedule can be turned off in the UI."""

from collections.abc import Iterator

import dagster as dg

from dsplatform.defs.upkeep import (
    SHARDS,
    CollectConfig,
    RetentionConfig,
    apply_retention,
    collect_garbage,
    fold_reference_counts,
    integrity_scan,
    storage_report,
    verify_invariants,
)

RUNNING = dg.DefaultScheduleStatus.RUNNING
DAYS_OF_A_WEEK = 7


@dg.schedule(
    job=apply_retention,
    cron_schedule="0 1 * * *",
    default_status=RUNNING,
    description="Every night: deletes the versions that the datasets' rules let go.",
)
def retention_nightly() -> dg.RunRequest:
    """Before garbage is collected."""
    return dg.RunRequest(run_config=dg.RunConfig(ops={"retention_report": RetentionConfig(dry_run=False)}))


@dg.schedule(
    job=collect_garbage,
    cron_schedule="0 2 * * *",
    default_status=RUNNING,
    description="Every night: collects garbage; on Sundays also sweeps the store, on the first of a month also marks.",
)
def garbage_nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """A full look costs as much as the store is large, so it is taken seldom."""
    day = context.scheduled_execution_time
    config = CollectConfig(dry_run=False, sweep=day.isoweekday() == DAYS_OF_A_WEEK, mark=day.day == 1)
    return dg.RunRequest(run_config=dg.RunConfig(ops={"gc_report": config}))


@dg.schedule(
    job=integrity_scan,
    cron_schedule="0 3 * * *",
    default_status=RUNNING,
    description="Every night two or three sixteenths of the store, so that a week sees it all.",
)
def scan_in_turns(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
    """Shards in turn, by the day of the week."""
    night = context.scheduled_execution_time.date()
    today = night.isoweekday() % DAYS_OF_A_WEEK
    for number, shard in enumerate(SHARDS):
        if number % DAYS_OF_A_WEEK == today:
            yield dg.RunRequest(run_key=f"{night} {shard}", partition_key=shard)


invariants_nightly = dg.ScheduleDefinition(
    name="invariants_nightly",
    job=verify_invariants,
    cron_schedule="0 5 * * *",
    default_status=RUNNING,
    description="Every night: checks the invariants.",
)
counts_hourly = dg.ScheduleDefinition(
    name="counts_hourly",
    job=fold_reference_counts,
    cron_schedule="30 * * * *",
    default_status=RUNNING,
    description="Every hour: folds the ledger of references.",
)
storage_hourly = dg.ScheduleDefinition(
    name="storage_hourly",
    job=storage_report,
    cron_schedule="0 * * * *",
    default_status=RUNNING,
    description="Every hour: measures the store.",
)
