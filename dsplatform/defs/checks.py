"""Asset checks: what a batch must satisfy, and whether a schema drifted."""

from collections.abc import Sequence

import dagster as dg

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.core.types import VersionId
from dsplatform.core.values import DatasetRef
from dsplatform.defs.resources import PlatformSource
from dsplatform.ingestion.model import IngestReport
from dsplatform.schemas.comparing.comparison import Verdict
from dsplatform.schemas.contracts.model import Breach

SAMPLED_FILES = 100
SHOWN_CHANGES = 50
SAMPLED_BYTES = 64 * 1024 * 1024


class BatchChecks:
    """The checks of `stored_files`, evaluated by the run that stores them."""

    specs = (
        dg.AssetCheckSpec(
            "no_rejected_files",
            asset="stored_files",
            description="Every file of the batch was taken. A refused file is a warning: the others are in, and it lies in `rejected/`.",
        ),
        dg.AssetCheckSpec(
            "hash_integrity",
            asset="stored_files",
            description=f"Up to {SAMPLED_FILES} files of the batch, read back from the store, still have the hash they were stored under.",
        ),
    )

    def evaluate(self, platform: Platform, report: IngestReport) -> Sequence[dg.AssetCheckResult]:
        """One result per spec."""
        rejected = len(report.rejected)
        hashes = [outcome.content_hash for outcome in report.outcomes if outcome.content_hash is not None]
        sample = platform.scrub.sample(hashes, max_files=SAMPLED_FILES, max_bytes=SAMPLED_BYTES)
        return [
            dg.AssetCheckResult(
                check_name="no_rejected_files",
                passed=rejected == 0,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"files_rejected": rejected},
            ),
            dg.AssetCheckResult(
                check_name="hash_integrity",
                passed=not sample.damaged_files and not sample.unreadable,
                metadata={
                    "files_checked": sample.files,
                    "bytes_checked": sample.bytes_read,
                    "problems": dg.MetadataValue.json([*(damage.plain() for damage in sample.damages), *sample.unreadable]),
                },
            ),
        ]


batch_checks = BatchChecks()


def drift_evaluation(platform: Platform, system: Actor, dataset: DatasetRef, version_id: VersionId) -> dg.AssetCheckEvaluation:
    """Whether the schema of a version differs from its parent's, for the dataset's partition. An error where readers break."""
    change = platform.schemas.change(system, dataset, version_id)
    told = [] if change is None else change.sentences()
    breaking = change is not None and change.verdict is Verdict.BREAKING
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("schema_snapshots"),
        check_name="schema_drift",
        passed=not told,
        severity=dg.AssetCheckSeverity.ERROR if breaking else dg.AssetCheckSeverity.WARN,
        partition=dataset.slug,
        description="; ".join(told[:10]) or "no column changed",
        metadata={
            "changes": len(told),
            "verdict": "first version" if change is None else change.verdict.value,
            **({"what_changed": _said(told)} if told else {}),
        },
    )


def _said(sentences: Sequence[str]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table([dg.TableRecord({"change": sentence}) for sentence in sentences[:SHOWN_CHANGES]], _columns("change"))


def _columns(*names: str) -> dg.TableSchema:
    """What a table of texts shows; Dagster asks for it where the table is empty."""
    return dg.TableSchema([dg.TableColumn(name, "string") for name in names])


@dg.asset_check(
    asset="schema_snapshots",
    name="schema_drift",
    description=(
        "The newest version of each dataset has the columns of the version before it: a warning where it has others, an error where "
        "readers of the version before break. Evaluated per dataset by each batch."
    ),
)
def schema_drift(platform: dg.ResourceParam[PlatformSource]) -> dg.AssetCheckResult:
    """Every dataset at once, for who presses the button."""
    with platform.in_run() as opened:
        system = opened.system()
        changes = {
            dataset.slug: change
            for dataset, version_id in opened.versions.newest_of_all()
            if (change := opened.schemas.change(system, dataset, version_id))
        }
    drifted = {slug: change for slug, change in changes.items() if change.sentences()}
    breaking = any(change.verdict is Verdict.BREAKING for change in drifted.values())
    return dg.AssetCheckResult(
        passed=not drifted,
        severity=dg.AssetCheckSeverity.ERROR if breaking else dg.AssetCheckSeverity.WARN,
        metadata={
            "datasets_drifted": len(drifted),
            "what_changed": _said([f"{slug}: {sentence}" for slug, change in drifted.items() for sentence in change.sentences()]),
        },
    )


def contract_evaluation(platform: Platform, version_id: VersionId, dataset: str) -> dg.AssetCheckEvaluation | None:
    """Whether a version keeps the contract of its branch, for the dataset's partition; None where no contract is asked for."""
    judged = platform.contracts.judge(version_id)
    if judged is None:
        return None
    told = [breach.sentence for breach in judged.breaches]
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("schema_snapshots"),
        check_name="contract",
        passed=not told,
        severity=dg.AssetCheckSeverity.WARN,
        partition=dataset,
        description="; ".join(told[:10]) or f"the contract of {judged.branch} is kept",
        metadata={
            "branch": judged.branch,
            "policy": judged.policy.value,
            "breaches": len(told),
            **({"what_is_wrong": _breaches([(dataset, breach) for breach in judged.breaches])} if told else {}),
        },
    )


def _breaches(found: Sequence[tuple[str, Breach]]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        [
            dg.TableRecord(
                {
                    "dataset": slug,
                    "component": breach.component,
                    "table": breach.table or "",
                    "column": breach.column or "",
                    "rule": breach.rule,
                    "what": breach.sentence,
                }
            )
            for slug, breach in found[:SHOWN_CHANGES]
        ],
        _columns("dataset", "component", "table", "column", "rule", "what"),
    )


@dg.asset_check(
    asset="schema_snapshots",
    name="contract",
    description=(
        "The newest version of each dataset keeps the contract of its branch (`dsplatform contract`): a warning where it does not. What an "
        "enforced contract kept from its branch is told as well. Evaluated per dataset by each batch."
    ),
)
def contract(platform: dg.ResourceParam[PlatformSource]) -> dg.AssetCheckResult:
    """Every dataset that has a contract at once, for who presses the button."""
    with platform.in_run() as opened:
        judged = {
            dataset.slug: found for dataset, version_id in opened.versions.newest_of_all() if (found := opened.contracts.judge(version_id))
        }
    breaches = [(slug, breach) for slug, found in judged.items() for breach in found.breaches]
    return dg.AssetCheckResult(
        passed=not breaches,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"datasets_judged": len(judged), "breaches": len(breaches), "what_is_wrong": _breaches(breaches)},
    )
