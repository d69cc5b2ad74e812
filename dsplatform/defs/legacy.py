"""The legacy system comes along: one asset for each phase, in the order in which they build on each other.

A run may be stopped at any time and launched again: each phase goes on where it was. Only one runs at a time, wherever it was started.
"""

import time
from collections.abc import Callable, Sequence

import dagster as dg
from pydantic import Field

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.core.errors import NotFound
from dsplatform.defs.assets import TEAM
from dsplatform.defs.resources import PlatformSource
from dsplatform.defs.uploads import BUSY
from dsplatform.migration.accounting import Account
from dsplatform.migration.landed_rows import Quarantined
from dsplatform.migration.model import Entity, meaning
from dsplatform.migration.report import markdown, verdict
from dsplatform.migration.validation import SAMPLE, TITLES

GROUP = "legacy"
SHOWN = 50
OBSERVED_SECONDS = 10.0
"""How often a phase says how far it is."""
EXCLUSIVE = {"dsplatform/exclusive": "legacy", "dagster/max_runtime": str(48 * 3600)}

COMING: dict[str, tuple[str, tuple[Entity, ...]]] = {
    "legacy_roles": ("Roles. They give no right on any dataset.", (Entity.ROLES,)),
    "legacy_users": ("Users. Passwords that are bcrypt hashes stay good; others were perhaps plain, and are left behind.", (Entity.USERS,)),
    "legacy_files": ("The bytes of each file that a version names: hashed, every content stored once.", (Entity.FILES,)),
    "legacy_datasets": (
        "Datasets with their labels. Until the switch they change only there.",
        (Entity.TAGS, Entity.DATASETS, Entity.DATASET_TAGS),
    ),
    "legacy_versions": ("Versions: parents, components, sheets.", (Entity.VERSIONS,)),
    "legacy_branches": ("Branches and tags.", (Entity.POINTERS, Entity.VERSION_TAGS)),
    "legacy_permissions": (
        "Who may do what. Nobody gains a right.",
        (Entity.PERMISSIONS, Entity.DATASET_PERMISSIONS, Entity.FILE_PERMISSIONS),
    ),
}
WITH_OTHERS = {Entity.VERSION_FILES, Entity.SHEETS, Entity.SHEET_METADATA}
LEFT_BEHIND = tuple(entity for entity in Entity if entity not in WITH_OTHERS and all(entity not in names for _, names in COMING.values()))
PHASES = {**COMING, "legacy_left_behind": ("What has no place here: accounted for row by row, by the rule that says so.", LEFT_BEHIND)}


class PaceConfig(dg.Config):
    """How to go about it. As it stands: as fast as it goes."""

    accept: list[str] = Field(default=[], description="Reasons that many rows may have. A phase that fails for one names it.")
    pause_ms: int = Field(default=0, ge=0, description="Wait so long after each batch, for the legacy server's sake.")


def _phase(name: str, before: str | None, description: str, entities: Sequence[Entity]) -> dg.AssetsDefinition:
    @dg.asset(
        name=name,
        group_name=GROUP,
        owners=TEAM,
        kinds={"postgres"},
        deps=[before] if before else [],
        description=f"{description} Goes on where the last run stopped; what is unchanged since costs a look.",
        check_specs=[
            dg.AssetCheckSpec(
                "every_row_accounted",
                asset=name,
                description="Each row of the legacy tables ended migrated, quarantined with a reason, or excluded by a rule.",
            ),
            dg.AssetCheckSpec(
                "every_finding_decided",
                asset=name,
                description="Nothing about these rows waits for a decision (`dsplatform legacy quarantine`). Only the switch needs it.",
            ),
        ],
    )
    def phase(context: dg.AssetExecutionContext, config: PaceConfig, platform: dg.ResourceParam[PlatformSource]) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster compares the annotation with the bare class
        """One stretch of the way."""
        with platform.in_run() as opened:
            system = opened.system()
            began = time.monotonic()
            written = 0
            try:
                done = opened.migration.migrate(
                    system, accept=config.accept, pause_seconds=config.pause_ms / 1000, only=entities, progress=_heard(context, name)
                )
                written = done.written
            except NotFound:
                context.log.info("the legacy database has no such table: it is of another generation")
            seconds = time.monotonic() - began
            return _result(opened, system, entities, written, seconds)

    return phase


def _heard(context: dg.AssetExecutionContext, name: str) -> Callable[[Entity, int, int], None]:
    """Observations from time to time, so that a plot shows the progress, and a line of the log with what is left."""
    began = last = time.monotonic()

    def hear(entity: Entity, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < OBSERVED_SECONDS and done < total:
            return
        last = now
        left = (total - done) * (now - began) / done if done else 0.0
        context.log.info("%s: %s of %s rows, about %.0f s left", entity, f"{done:,}", f"{total:,}", left)
        context.log_event(dg.AssetObservation(name, metadata={"rows_done": done, "rows_total": total, "seconds_left": round(left, 1)}))

    return hear


def _result(platform: Platform, system: Actor, entities: Sequence[Entity], written: int, seconds: float) -> dg.MaterializeResult:  # type: ignore[type-arg]  # as above
    status = platform.migration.status(system)
    mine = {*entities, *WITH_OTHERS} if Entity.VERSIONS in entities else set(entities)
    accounts = [account for account in status.accounts if account.entity in mine]
    waiting = [finding for entity in mine for finding in platform.migration.quarantine(system, entity=entity, limit=SHOWN)]
    rows = sum(account.source or 0 for account in accounts)
    return dg.MaterializeResult(
        metadata={
            "rows": rows,
            "rows_written": written,
            "rows_per_second": round(rows / seconds, 1) if seconds else 0.0,
            "migrated": sum(account.migrated for account in accounts),
            "quarantined": sum(account.quarantined for account in accounts),
            "excluded": sum(account.excluded for account in accounts),
            "accounts": _accounts(accounts),
            **({"waits_for_a_decision": _findings(waiting)} if waiting else {}),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="every_row_accounted",
                passed=all(account.holds for account in accounts),
                severity=dg.AssetCheckSeverity.WARN,  # writers go on: the next pass, or the delta, takes what came meanwhile
                metadata={
                    "rows_not_accounted": sum(abs((account.source or 0) - _ended(account)) for account in accounts if not account.holds)
                },
            ),
            dg.AssetCheckResult(
                check_name="every_finding_decided",
                passed=not waiting,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"shown": len(waiting)},
            ),
        ],
    )


def _ended(account: Account) -> int:
    return account.migrated + account.quarantined + account.excluded


def _accounts(accounts: Sequence[Account]) -> dg.TableMetadataValue:
    names = ("table", "rows there", "migrated", "quarantined", "excluded")
    return dg.MetadataValue.table(
        [
            dg.TableRecord(
                dict(
                    zip(
                        names,
                        (str(account.entity), account.source or 0, account.migrated, account.quarantined, account.excluded),
                        strict=True,
                    )
                )
            )
            for account in accounts
        ],
        dg.TableSchema([dg.TableColumn(names[0], "string"), *(dg.TableColumn(name, "int") for name in names[1:])]),
    )


def _findings(findings: Sequence[Quarantined]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        [
            dg.TableRecord(
                {
                    "row": f"{finding.entity} {finding.legacy_id}",
                    "reason": str(finding.reason),
                    "what it means": meaning(finding.reason).sentence,
                    "what to do": meaning(finding.reason).remedy,
                    "all about it": f"dsplatform legacy quarantine show {finding.id}",
                }
            )
            for finding in findings[:SHOWN]
        ]
    )


phases = [
    _phase(name, before, description, entities)
    for before, (name, (description, entities)) in zip([None, *PHASES], PHASES.items(), strict=False)
]


CHECKS = {code: title for code, title in TITLES.items() if code != "V10"}


class ValidationConfig(dg.Config):
    """How much to compare."""

    fast: bool = Field(default=False, description="Leave out whatever reads files.")
    sample: int = Field(default=SAMPLE, ge=0, description="How many files are read again on both sides; 0: all.")


@dg.asset(
    group_name=GROUP,
    owners=TEAM,
    kinds={"postgres"},
    deps=list(PHASES),
    description=(
        "Compares both systems, by a program of its own that shares no code with the one that copied. While the legacy system is written "
        "to, what was not followed yet differs."
    ),
    check_specs=[dg.AssetCheckSpec(code, asset="legacy_validation", description=f"{code}: {title}.") for code, title in CHECKS.items()],
)
def legacy_validation(
    context: dg.AssetExecutionContext, config: ValidationConfig, platform: dg.ResourceParam[PlatformSource]
) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster compares the annotation with the bare class
    """One check each."""

    def hear(code: str, done: int, total: int) -> None:
        context.log.info("%s: %s of %s checks", code, done, total)

    with platform.in_run() as opened:
        found = opened.validation.validate(opened.system(), fast=config.fast, sample=config.sample or None, progress=hear)
    done = {check.code: check for check in found.checks if check.code in CHECKS}
    return dg.MaterializeResult(
        metadata={
            "compared": sum(check.compared for check in done.values()),
            "differences": sum(check.found for check in done.values()),
            "checks": dg.MetadataValue.table(
                [
                    dg.TableRecord(
                        {
                            "check": f"{check.code} {check.title}",
                            "result": {None: "not done", True: "passed", False: "FAILED"}[check.passed],
                            "compared": check.compared,
                            "differences": check.found,
                            "seconds": round(check.seconds, 2),
                        }
                    )
                    for check in done.values()
                ]
            ),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=code,
                passed=code in done and done[code].passed is not False,
                severity=dg.AssetCheckSeverity.WARN if code == "V9" else dg.AssetCheckSeverity.ERROR,  # it waits for people
                description="; ".join(done[code].notes) if code in done else "not done",
                metadata={
                    "compared": done[code].compared,
                    "differences": done[code].found,
                    **(
                        {"first": dg.MetadataValue.json([one.plain() for one in done[code].differences[:SHOWN]])}
                        if done[code].found
                        else {}
                    ),
                }
                if code in done
                else {},
            )
            for code in CHECKS
        ],
    )


legacy_migration = dg.define_asset_job(
    "legacy_migration",
    selection=dg.AssetSelection.assets(*PHASES, legacy_validation),
    description=(
        "Brings over what is new or changed in the legacy system, phase by phase, and compares. It may be stopped and launched again at "
        "any time; the legacy system goes on working. See docs/migration.md."
    ),
    tags={**EXCLUSIVE, "dsplatform/kind": "legacy"},
)


class AnalysisConfig(dg.Config):
    """How thoroughly to look."""

    read_all: bool = Field(default=False, description="Read every file and compare its hash, not only a sample.")


@dg.op(description="Looks at the legacy system, changes nothing, and says whether migration may start.")
def analyse_legacy(context: dg.OpExecutionContext, config: AnalysisConfig, platform: dg.ResourceParam[PlatformSource]) -> None:
    """The report is the op's metadata."""
    with platform.in_run() as opened:
        found = opened.legacy_analysis.analyse(opened.system(), read_all=config.read_all)
        context.add_output_metadata(
            {
                "verdict": verdict(found),
                "may_start": found.may_start,
                "oddities": len(found.oddities),
                "report": dg.MetadataValue.md(markdown(found)),
            }
        )


@dg.job(
    description="Analyses the legacy system: what it holds, what is odd about it, and whether migration may start.",
    tags={"dsplatform/kind": "legacy"},
)
def legacy_analysis() -> None:
    """One op."""
    analyse_legacy()


@dg.op(description="Brings over what changed in the legacy system since the last time; deletions, too.")
def follow_changes(context: dg.OpExecutionContext, platform: dg.ResourceParam[PlatformSource]) -> None:
    """One pass over the change log."""
    with platform.in_run() as opened:
        followed = opened.switching.follow(opened.system())
        context.add_output_metadata(
            {
                "changes": followed.changes,
                "rows_written": followed.written,
                "changes_left": followed.capture.waiting,
                "lag_seconds": round(followed.capture.lag_seconds, 1),
            }
        )


@dg.job(
    description="One pass over the legacy system's change log. The sensor `legacy_changes` asks for it while there is something to do.",
    tags={**EXCLUSIVE, "dsplatform/kind": "legacy"},
)
def follow_legacy() -> None:
    """One op."""
    follow_changes()


@dg.sensor(
    job_name=follow_legacy.name,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Follows the legacy system: asks for a pass while changes wait. On after the first migration, off after the switch.",
)
def legacy_changes(context: dg.SensorEvaluationContext, platform: dg.ResourceParam[PlatformSource]) -> dg.RunRequest | dg.SkipReason:
    """No run while one is at it."""
    if context.instance.get_runs_count(dg.RunsFilter(job_name=follow_legacy.name, statuses=BUSY)):
        return dg.SkipReason("a pass is under way")
    with platform.open() as opened:
        waiting = opened.switching.waiting(opened.system())
    return dg.RunRequest() if waiting else dg.SkipReason("nothing changed in the legacy system, or nobody follows it")
