"""What keeps the store small, whole and understood. Whoever launches deleting by hand sees a plan first: `dry_run` is on."""

from collections.abc import Iterator, Sequence
from dataclasses import fields

import dagster as dg
from pydantic import Field

from dsplatform.bootstrap import Platform
from dsplatform.core.verification import INVARIANTS, Verification
from dsplatform.defs.assets import TEAM, datasets
from dsplatform.defs.resources import PlatformSource
from dsplatform.files.gc import Garbage
from dsplatform.versioning.retention import RetentionReport

SHOWN = 50
SHARDS = "0123456789abcdef"
"""The store is scanned in sixteen parts, by the first digit of the hash."""
EXCLUSIVE = {"dsplatform/exclusive": "upkeep", "dagster/max_runtime": str(12 * 3600)}


class CollectConfig(dg.Config):
    """How to collect garbage. As it stands: show the plan."""

    dry_run: bool = Field(default=True, description="Only show what would be done. The nightly schedule turns it off.")
    sweep: bool = Field(
        default=False, description="Also list the whole store for objects that nothing names. Only what two sweeps found is deleted."
    )
    mark: bool = Field(default=False, description="Also look at every file for some that no trigger reported.")


@dg.asset(
    group_name="upkeep",
    owners=TEAM,
    kinds={"postgres", "file"},
    deps=["stored_files", "dataset_versions"],
    output_required=False,
    description=(
        "What nothing names any more: deleted, or about to be. **By hand it only shows a plan**, as an observation; "
        "the nightly schedule does it. `dsplatform why HASH` explains one file."
    ),
)
def gc_report(
    context: dg.AssetExecutionContext, config: CollectConfig, platform: dg.ResourceParam[PlatformSource]
) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]  # Dagster compares the annotation with the bare class
    """Plans or does one collection."""
    with platform.in_run() as opened:
        system = opened.system()
        if config.dry_run:
            plan = opened.gc.plan(system, sweep=config.sweep)
            context.log_event(dg.AssetObservation("gc_report", description="what a real run would do", metadata=_garbage(plan)))
            return
        reaped = opened.deletion.reap(system)
        _drop_partitions(context.instance, opened)
        opened.deletion.resume()
        if config.mark:
            opened.gc.mark(system)
        opened.gc.fold()
        done = opened.gc.collect(system, sweep=config.sweep)
        forgotten = opened.legacy.forget_usage()
        yield dg.MaterializeResult(metadata={**_garbage(done), "datasets_gone": len(reaped), "legacy_usage_rows_gone": forgotten})


def _drop_partitions(instance: dg.DagsterInstance, platform: Platform) -> None:
    """Of datasets that are gone, also of those whose reaper was killed before it came to this. A dataset is stored before it becomes a
    partition, so what is no dataset now was one."""
    for slug in platform.datasets.gone(instance.get_dynamic_partitions(datasets.name or "")):
        instance.delete_dynamic_partition(datasets.name or "", slug)


def _garbage(garbage: Garbage) -> dict[str, dg.MetadataValue]:
    amounts = {field.name: (field.metadata["meaning"], getattr(garbage, field.name)) for field in fields(garbage) if field.metadata}
    known = {name: (meaning, amount) for name, (meaning, amount) in amounts.items() if amount is not None}
    shown: dict[str, dg.MetadataValue] = {
        "plan" if garbage.dry_run else "done": dg.MetadataValue.table(
            [dg.TableRecord({"what": meaning, "count": amount.count, "bytes": amount.bytes}) for meaning, amount in known.values()]
        )
    }
    if not garbage.dry_run:  # figures of plans would not belong into the same plot
        shown |= {f"{name}_bytes": dg.MetadataValue.int(amount.bytes) for name, (_, amount) in known.items()}
        shown |= {f"{name}_count": dg.MetadataValue.int(amount.count) for name, (_, amount) in known.items()}
        shown["failed_count"] = dg.MetadataValue.int(garbage.failed)
    if garbage.refusal:
        shown["a_real_run_would_refuse"] = dg.MetadataValue.text(garbage.refusal)
    return shown


class RetentionConfig(dg.Config):
    """Whether to delete. As it stands: show the plan."""

    dry_run: bool = Field(default=True, description="Only show what the rules would let go. The nightly schedule turns it off.")


@dg.asset(
    group_name="upkeep",
    owners=TEAM,
    kinds={"postgres"},
    deps=["dataset_versions"],
    output_required=False,
    description=(
        "Versions that the datasets' retention rules let go (`dsplatform retention DATASET`). What a branch or a tag names always stays. "
        "**By hand it only shows a plan**, as an observation; the nightly schedule does it."
    ),
)
def retention_report(
    context: dg.AssetExecutionContext, config: RetentionConfig, platform: dg.ResourceParam[PlatformSource]
) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]  # Dagster compares the annotation with the bare class
    """Plans or applies the rules of all datasets."""
    with platform.in_run() as opened:
        report = opened.deletion.apply_retention(opened.system(), dry_run=config.dry_run)
        if config.dry_run:
            context.log_event(
                dg.AssetObservation("retention_report", description="what a real run would delete", metadata=_retention(report, "plan"))
            )
            return
        figures = {"versions": sum(len(removal.versions) for removal in report.removals), "freed_bytes": report.freed.bytes}
        yield dg.MaterializeResult(metadata={**_retention(report, "deleted"), **figures})


def _retention(report: RetentionReport, title: str) -> dict[str, dg.MetadataValue]:
    rows = [
        {
            "dataset": removal.dataset,
            "versions": _numbers(removal.versions),
            "components": removal.components,
            "freed files": removal.freed.files,
            "freed bytes": removal.freed.bytes,
        }
        for removal in report.removals[:SHOWN]
    ]
    return {
        title: dg.MetadataValue.table(
            [dg.TableRecord(row) for row in rows],  # type: ignore[arg-type]  # its values may be of mixed types
            schema=dg.TableSchema([dg.TableColumn(name) for name in ("dataset", "versions", "components", "freed files", "freed bytes")]),
        )
    }


def _numbers(versions: Sequence[int]) -> str:
    shown = ", ".join(map(str, versions[:10]))
    return shown if len(versions) <= 10 else f"{shown} and {len(versions) - 10} more"


@dg.asset(
    group_name="upkeep",
    owners=TEAM,
    kinds={"postgres"},
    deps=["stored_files", "dataset_versions"],
    description="What takes how much space, and what storing each content once saves. Look at the plots.",
)
def storage_usage(platform: dg.ResourceParam[PlatformSource]) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Figures of the whole store."""
    with platform.in_run() as opened:
        usage = opened.inventory.usage(opened.system())
    largest = sorted(usage.datasets, key=lambda one: one.live + one.historical, reverse=True)[:SHOWN]
    return dg.MaterializeResult(
        metadata={
            "stored_bytes": usage.stored,
            "live_bytes": usage.live,
            "historical_bytes": usage.historical,
            "pending_bytes": usage.pending + usage.buried,
            "named_bytes": usage.named,
            "dedup_ratio": round(usage.named / usage.stored, 3) if usage.stored else 1.0,
            "largest_datasets": dg.MetadataValue.table(
                [dg.TableRecord({"dataset": one.dataset, "live bytes": one.live, "historical bytes": one.historical}) for one in largest],
                schema=dg.TableSchema([dg.TableColumn(name) for name in ("dataset", "live bytes", "historical bytes")]),
            ),
        }
    )


shards = dg.StaticPartitionsDefinition(list(SHARDS))


class ScanConfig(dg.Config):
    """How much to read, and how fast."""

    contents: bool = Field(default=True, description="Read contents back, the longest unread first; otherwise presence and sizes only.")
    megabytes: int = Field(default=100_000, ge=1, description="Read this much at most; the next scan goes on there.")
    megabytes_per_second: int = Field(default=100, ge=1, description="Read no faster, so that others can work.")


@dg.asset(
    group_name="upkeep",
    owners=TEAM,
    kinds={"file"},
    deps=["stored_files"],
    partitions_def=shards,
    description=(
        "Is every stored file there, and are its bytes what its hash says? One partition is a sixteenth of the store. What is damaged is "
        "marked with the versions that it touches and copied into quarantine, never deleted; uploading the same bytes again heals it."
    ),
    check_specs=[
        dg.AssetCheckSpec("nothing_damaged", asset="file_integrity", description="The scan found no file that is missing or has changed.")
    ],
)
def file_integrity(
    context: dg.AssetExecutionContext, config: ScanConfig, platform: dg.ResourceParam[PlatformSource]
) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster compares the annotation with the bare class
    """Scans one shard: presence first, then contents."""
    with platform.in_run() as opened:
        system = opened.system()
        scans = [opened.scrub.presence(system, context.partition_key)]
        if config.contents:
            scans.append(
                opened.scrub.contents(
                    system,
                    context.partition_key,
                    max_bytes=config.megabytes * 1_000_000,
                    bytes_per_second=config.megabytes_per_second * 1_000_000,
                )
            )
    damages = {damage.file_id: damage for scan in scans for damage in scan.damages}
    rows = [
        dg.TableRecord(
            {
                "file": f"{damage.file_id} {damage.content_hash[:12]}",
                "finding": damage.finding,
                "versions": ", ".join(f"{use.dataset}@{use.version_number} {use.component}" for use in damage.uses[:5]),
            }
        )
        for damage in list(damages.values())[:SHOWN]
    ]
    table = {"damaged": dg.MetadataValue.table(rows)} if rows else {}
    return dg.MaterializeResult(
        metadata={
            "files": max(scan.files for scan in scans),
            "bytes_read": sum(scan.bytes_read for scan in scans),
            "damaged_files": len(damages),
            "healed_files": sum(len(scan.cleared) for scan in scans),
            "finished": all(scan.finished for scan in scans),
            **table,
        },
        check_results=[dg.AssetCheckResult(passed=not damages, check_name="nothing_damaged", metadata={"damaged": len(damages), **table})],
    )


def _check_name(invariant: str) -> str:
    return f"invariant_{invariant}"


@dg.asset(
    group_name="upkeep",
    owners=TEAM,
    kinds={"postgres", "file"},
    deps=["stored_files", "dataset_versions"],
    description="What must hold at every moment, whatever was killed, deleted or collected. The same as `dsplatform verify`.",
    check_specs=[
        dg.AssetCheckSpec(_check_name(invariant), asset="store_invariants", description=f"{invariant}: {meaning}.")
        for invariant, meaning in INVARIANTS.items()
    ],
)
def store_invariants(platform: dg.ResourceParam[PlatformSource]) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """One verification, one check per invariant. Reads no contents and changes nothing."""
    with platform.in_run() as opened:
        found = opened.verify(opened.system())
    return dg.MaterializeResult(metadata=dict(found.checked), check_results=[_evaluation(found, invariant) for invariant in INVARIANTS])


def _evaluation(found: Verification, invariant: str) -> dg.AssetCheckResult:
    problems = [problem for problem in found.problems if problem.invariant == invariant]
    rows = [dg.TableRecord({"what": problem.subject, "finding": problem.finding}) for problem in problems[:SHOWN]]
    return dg.AssetCheckResult(
        check_name=_check_name(invariant),
        passed=not found.found[invariant],
        metadata={"problems": found.found[invariant], **({"first": dg.MetadataValue.table(rows)} if rows else {})},
    )


@dg.op(description="Adds what was appended to the ledger of references to the files' counts. What is shown is exact before and after.")
def fold(context: dg.OpExecutionContext, platform: dg.ResourceParam[PlatformSource]) -> None:
    """One fold."""
    with platform.in_run() as opened:
        context.add_output_metadata({"folded": opened.gc.fold()})


@dg.job(
    description="Brings the shown reference counts up to date, so that asking for them stays quick. Deletion never trusts them.",
    tags={"dsplatform/kind": "upkeep"},
)
def fold_reference_counts() -> None:
    """One op."""
    fold()


collect_garbage = dg.define_asset_job(
    "collect_garbage",
    selection=dg.AssetSelection.assets(gc_report),
    description="Deletes what nothing names any more. As it stands in the launchpad it only shows a plan.",
    tags={"dsplatform/kind": "upkeep", **EXCLUSIVE},
)
apply_retention = dg.define_asset_job(
    "apply_retention",
    selection=dg.AssetSelection.assets(retention_report),
    description="Deletes the versions that retention rules let go. As it stands in the launchpad it only shows a plan.",
    tags={"dsplatform/kind": "upkeep", **EXCLUSIVE},
)
storage_report = dg.define_asset_job(
    "storage_report",
    selection=dg.AssetSelection.assets(storage_usage),
    description="Measures what takes how much space.",
    tags={"dsplatform/kind": "upkeep"},
)
integrity_scan = dg.define_asset_job(
    "integrity_scan",
    selection=dg.AssetSelection.assets(file_integrity),
    description="Reads a sixteenth of the store back and compares it with its hashes. Pick the part in the launchpad.",
    tags={"dsplatform/kind": "upkeep", "dsplatform/exclusive": "scan", "dagster/max_runtime": str(12 * 3600)},
)
verify_invariants = dg.define_asset_job(
    "verify_invariants",
    selection=dg.AssetSelection.assets(store_invariants),
    description="Checks what must hold at every moment. Reads no contents and changes nothing.",
    tags={"dsplatform/kind": "upkeep"},
)
