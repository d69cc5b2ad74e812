"""Under `enforce` a branch never moves to what breaks its contract, whoever writes, however, and whatever happens meanwhile."""

from dsplatform.bootstrap import Platform
from dsplatform.core.values import Committed, DatasetRef
from dsplatform.schemas.contract_yaml import parse
from dsplatform.schemas.contracts import Contract, OnBreach, Policy
from dsplatform_tests import make

GOOD = b"id,name\n1,ann\n2,bob\n"
MORE = b"id,name\n3,cho\n"
BREAKING = b"id\n1\n"
TYPED = parse("tables: [{component: 'orders.csv', columns: {id: {type: int64, nullable: false}, name: {type: string}}}]")


def enforced(
    platform: Platform, contract: Contract | None = None, on_breach: OnBreach = OnBreach.QUARANTINE, branch: str = ""
) -> tuple[DatasetRef, Committed]:
    """A dataset with one version and an enforced contract."""
    dataset = make.dataset(platform)
    first = make.commit(platform, dataset, {"orders.csv": GOOD})
    enforce(platform, dataset, contract, on_breach, branch)
    return dataset, first


def enforce(
    platform: Platform, dataset: DatasetRef, contract: Contract | None = None, on_breach: OnBreach = OnBreach.QUARANTINE, branch: str = ""
) -> None:
    platform.contracts.set_terms(platform.actor(), dataset, branch, policy=Policy.ENFORCE, on_breach=on_breach, contract=contract)


def head(platform: Platform, dataset: DatasetRef, ref: str = "main") -> int:
    return platform.versions.get_version(platform.actor(), dataset, ref)[0].number


def branches(platform: Platform, dataset: DatasetRef) -> list[str]:
    return [pointer.name for pointer in platform.branches.list_branches(platform.actor(), dataset)]


def test_a_change_that_breaks_the_schema_goes_to_quarantine_and_main_stays(platform: Platform) -> None:
    dataset, first = enforced(platform)
    kept = make.commit(platform, dataset, {"orders.csv": BREAKING})
    assert (kept.branch.startswith("quarantine/20"), kept.quarantined_from) == (True, "main")
    assert kept.breaches == ("orders.csv: column 'name' (string) was removed",)
    assert head(platform, dataset) == first.version_number
    assert make.held(platform, dataset, kept.branch) == {"orders.csv": BREAKING}
    version, _ = platform.versions.get_version(platform.actor(), dataset, kept.branch)
    assert version.parent_number == first.version_number
    (waiting,) = platform.contracts.quarantined(platform.actor(), dataset)
    assert (waiting.version_number, waiting.target_branch, waiting.report, waiting.state) == (2, "main", kept.breaches, "open")
    make.assert_sound(platform)


def test_what_keeps_the_contract_goes_to_main(platform: Platform) -> None:
    dataset, _ = enforced(platform, TYPED)
    committed = make.commit(platform, dataset, {"orders.csv": MORE})
    assert (committed.branch, committed.quarantined_from, head(platform, dataset)) == ("main", None, 2)
    assert branches(platform, dataset) == ["main"]
    make.assert_sound(platform)
