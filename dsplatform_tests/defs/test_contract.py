"""Dropped files and contracts, as a run shows them."""

import dagster as dg

from dsplatform.bootstrap import Platform
from dsplatform.core.values import DatasetRef
from dsplatform.defs.checks import contract
from dsplatform.defs.resources import OpenedPlatform
from dsplatform.ingestion.model import InboxState
from dsplatform.schemas.contracts.model import OnBreach, Policy
from dsplatform_tests import make
from dsplatform_tests.defs.test_runs import drop, ingest, materialization


def dropped(platform: Platform, instance: dg.DagsterInstance, content: str) -> dg.ExecuteInProcessResult:
    drop(platform, "sales/orders.csv", content)
    platform.ingestion.discover()
    result = ingest(platform, instance)
    assert result.success
    return result


def sales(platform: Platform) -> DatasetRef:
    with platform.db.transaction() as tx:
        return platform.datasets.find(tx, platform.actor(), "sales")


def check(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation | None:
    return next((event for event in result.get_asset_check_evaluations() if event.check_name == "contract"), None)


def test_a_dropped_file_that_breaks_the_contract_is_kept_from_main_and_the_run_says_so(
    platform: Platform, instance: dg.DagsterInstance
) -> None:
    assert check(dropped(platform, instance, "id,name\n1,ann\n")) is None  # nobody asked
    platform.contracts.set_terms(platform.actor(), sales(platform), policy=Policy.ENFORCE)
    result = dropped(platform, instance, "id\n1\n")
    told = check(result)
    assert told is not None
    assert (told.passed, told.severity, told.partition) == (False, dg.AssetCheckSeverity.WARN, "sales")
    assert "column 'name' (string) was removed" in (told.description or "")
    table = told.metadata["what_is_wrong"]
    assert isinstance(table, dg.TableMetadataValue)
    assert table.records[0].data["rule"] == "schema"
    shown = materialization(instance, "dataset_versions", "sales")
    assert str(shown["branch"]).startswith("quarantine/")
    assert make.held(platform, sales(platform)) == {"orders.csv": b"id,name\n1,ann\n"}
    (entry, *_) = platform.ingestion.outcomes(platform.system(), only=InboxState.ACCEPTED)
    assert "kept from main by its contract, and stored on quarantine/" in (entry.reason or "")
    assert [path.name for path in (platform.settings.processed_dir or platform.settings.home).rglob("orders*.csv")]


def test_a_rejected_drop_lies_in_rejected_with_the_reason(platform: Platform, instance: dg.DagsterInstance) -> None:
    dropped(platform, instance, "id,name\n1,ann\n")
    platform.contracts.set_terms(platform.actor(), sales(platform), policy=Policy.ENFORCE, on_breach=OnBreach.REJECT)
    dropped(platform, instance, "id\n1\n")
    (entry,) = platform.ingestion.outcomes(platform.system(), only=InboxState.REJECTED)
    assert "column 'name' (string) was removed" in (entry.reason or "")
    assert platform.settings.rejected_dir is not None
    lying = {path.name: path for path in platform.settings.rejected_dir.rglob("orders*")}
    assert any(path.read_bytes() == b"id\n1\n" for path in lying.values())
    assert any(name.endswith(".reason.json") for name in lying)


def test_a_warning_names_what_the_contract_misses_and_a_kept_one_passes(platform: Platform, instance: dg.DagsterInstance) -> None:
    dropped(platform, instance, "id,name\n1,ann\n")
    version = platform.versions.get_version(platform.actor(), sales(platform))[0].id
    learnt = platform.contracts.learn(platform.actor(), sales(platform), version)
    platform.contracts.set_terms(platform.actor(), sales(platform), policy=Policy.WARN, contract=learnt)
    warned, kept = (check(dropped(platform, instance, content)) for content in ("id\n1\n", "id,name\n7,bob\n"))
    assert warned is not None
    assert kept is not None
    assert (warned.passed, kept.passed) == (False, True)
    assert warned.description == "orders.csv: column 'name' is missing"


def test_the_check_can_be_asked_for_by_hand(platform: Platform, instance: dg.DagsterInstance) -> None:
    dropped(platform, instance, "id,name\n1,ann\n")
    platform.contracts.set_terms(platform.actor(), sales(platform), policy=Policy.WARN)
    result = contract(OpenedPlatform(platform))
    assert isinstance(result, dg.AssetCheckResult)
    assert (result.passed, result.metadata["datasets_judged"].value) == (True, 1)
