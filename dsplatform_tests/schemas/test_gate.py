"""Under `enforce` a branch never moves to what breaks its contract, whoever writes, however, and whatever happens meanwhile."""

from collections.abc import Sequence
from functools import partial
from io import BytesIO

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core import failpoints
from dsplatform.core.errors import DsplatformError
from dsplatform.core.settings import Settings
from dsplatform.core.types import FilePath, PointerName
from dsplatform.core.values import Committed, Content, DatasetRef, VersionChange
from dsplatform.schemas.contracts.contract_yaml import parse
from dsplatform.schemas.contracts.model import Contract, OnBreach, Policy
from dsplatform.schemas.gate import Gate
from dsplatform.schemas.model import FileCapture
from dsplatform.schemas.sandbox import Request, Sandbox
from dsplatform.versioning.enforcement import Enforcement
from dsplatform.versioning.model import ContractBreached
from dsplatform.versioning.publishing import Publisher
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


def test_what_was_captured_is_used_and_what_the_gate_read_is_not_read_again(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, first = enforced(platform, TYPED)
    platform.schemas.capture_version_schema(first.version_id)
    real = Sandbox.extract
    read: list[str] = []

    def extract(self: Sandbox, requests: Sequence[Request]) -> list[FileCapture]:
        read.extend(request.name for request in requests)
        return real(self, requests)

    monkeypatch.setattr(Sandbox, "extract", extract)
    kept = make.commit(platform, dataset, {"orders.csv": BREAKING, "other.csv": b"a\n1\n"})
    assert (kept.quarantined_from, sorted(read)) == ("main", ["orders.csv", "other.csv"])
    assert platform.schemas.capture_version_schema(kept.version_id).columns == 1
    assert len(read) == 2


def test_what_keeps_the_contract_goes_to_main(platform: Platform) -> None:
    dataset, _ = enforced(platform, TYPED)
    committed = make.commit(platform, dataset, {"orders.csv": MORE})
    assert (committed.branch, committed.quarantined_from, head(platform, dataset)) == ("main", None, 2)
    assert branches(platform, dataset) == ["main"]
    make.assert_sound(platform)


def test_reject_refuses_the_change_and_makes_nothing(platform: Platform) -> None:
    dataset, _ = enforced(platform, on_breach=OnBreach.REJECT)
    with pytest.raises(ContractBreached, match=r"column 'name' .* was removed.*send it again"):
        make.commit(platform, dataset, {"orders.csv": BREAKING})
    assert (head(platform, dataset), branches(platform, dataset)) == (1, ["main"])
    assert make.column(platform.db, "SELECT count(*) FROM dataset_versions") == [1]
    make.assert_sound(platform)


@pytest.mark.parametrize(
    ("rules", "content", "sentence"),
    [
        ("columns: {id: {type: int64}}", b"id,name\nx,ann\n", "column 'id' is string, and the contract asks for int64"),
        (
            "columns: {name: {nullable: false}}",
            b"id,name\n1,ann\n2,\n",
            "column 'name' has no value in 1 row, and the contract asks for one",
        ),
        ("columns: {name: {allowed: [ann, bob]}}", b"id,name\n1,ann\n2,eve\n3,eve\n", "not allowed in 2 rows: 'eve' (2 rows"),
        (
            "columns: {id: {min: 1, max: 9}}",
            b"id,name\n10,ann\n2,b\n",
            "the greatest value of column 'id' is 10, and the contract asks for 9 at most",
        ),
        (
            "unique: [id]",
            b"id,name\n1,ann\n1,bob\n2,cho\n",
            "(id) is not unique: 1 value stands in more than one row: '1' (2 rows, first in row 1)",
        ),
        (
            "unique: [[id, name]]",
            b"id,name\n1,ann\n1,bob\n1,ann\n",
            "(id, name) is not unique: 1 value stands in more than one row: '1, ann' (2",
        ),
        ("rows: {min: 2}", b"id,name\n1,ann\n", "it has 1 row, and the contract asks for 2 at least"),
        ("rows: {max: 2}", b"id,name\n1,a\n2,b\n3,c\n", "it has 3 rows, and the contract allows 2 at most"),
        ("columns: {id: , name: }, extra_columns: false", b"id,name,age\n1,ann,3\n", "column 'age' (int64) is not in the contract"),
    ],
)
def test_each_rule_keeps_main_where_it_is(platform: Platform, rules: str, content: bytes, sentence: str) -> None:
    dataset, _ = enforced(platform, parse(f"tables: [{{component: 'orders*.csv', {rules}}}]"))
    kept = make.commit(platform, dataset, {"orders.csv": content})
    assert kept.quarantined_from == "main", kept
    assert any(sentence in told for told in kept.breaches), kept.breaches
    assert head(platform, dataset) == 1


def test_an_unreadable_file_is_a_breach_also_without_a_contract(platform: Platform) -> None:
    dataset, _ = enforced(platform)
    kept = make.commit(platform, dataset, {"new.parquet": b"PAR1 nonsense PAR1"})
    assert kept.quarantined_from == "main"
    assert kept.breaches[0].startswith("new.parquet cannot be read")


def test_what_is_carried_over_or_of_another_kind_is_not_judged_again(platform: Platform) -> None:
    dataset = make.dataset(platform)
    make.commit(platform, dataset, {"orders.csv": b"id,name\nx,ann\n"})  # against the contract that comes later
    enforce(platform, dataset, TYPED)
    assert make.commit(platform, dataset, {"readme.txt": b"no table at all"}).quarantined_from is None
    assert make.commit(platform, dataset, {"orders.csv": b"id,name\ny,bob\n"}).quarantined_from == "main"


def test_a_component_that_goes_is_a_breach(platform: Platform) -> None:
    dataset, _ = enforced(platform, TYPED)
    make.commit(platform, dataset, {"other.csv": b"a\n1\n"})
    kept = make.commit(platform, dataset, {}, remove=["orders.csv"])
    assert "no component is named 'orders.csv', and the contract asks for one" in kept.breaches
    assert head(platform, dataset) == 2


def test_a_first_version_that_breaks_its_contract_is_refused(platform: Platform) -> None:
    dataset = make.dataset(platform)
    enforce(platform, dataset, TYPED)
    with pytest.raises(ContractBreached, match="a first version has no branch"):
        make.commit(platform, dataset, {"orders.csv": BREAKING})
    assert make.commit(platform, dataset, {"orders.csv": GOOD}).version_number == 1
    make.assert_sound(platform)


def test_warn_and_off_let_everything_through(platform: Platform) -> None:
    for policy in (Policy.WARN, Policy.OFF):
        dataset = make.dataset(platform, policy.value)
        make.commit(platform, dataset, {"orders.csv": GOOD})
        platform.contracts.set_terms(platform.actor(), dataset, policy=policy, contract=TYPED)
        committed = make.commit(platform, dataset, {"orders.csv": BREAKING})
        assert (committed.branch, committed.quarantined_from) == ("main", None)
        judged = platform.contracts.judge(committed.version_id)
        assert (judged is None) is (policy is Policy.OFF)
        assert judged is None or [breach.rule for breach in judged.breaches] == ["column"]


def test_a_branch_has_terms_of_its_own_and_quarantine_forks_from_it(platform: Platform) -> None:
    dataset, _ = enforced(platform, branch="strict")
    make.commit(platform, dataset, {"orders.csv": MORE}, branch="strict")
    assert make.commit(platform, dataset, {"orders.csv": BREAKING}).branch == "main"
    kept = make.commit(platform, dataset, {"orders.csv": BREAKING}, branch="strict")
    version, _ = platform.versions.get_version(platform.actor(), dataset, kept.branch)
    assert (kept.quarantined_from, version.parent_number) == ("strict", 2)


def test_a_quarantine_branch_can_be_repaired_and_names_never_collide(platform: Platform) -> None:
    dataset, _ = enforced(platform)
    kept = [make.commit(platform, dataset, {"orders.csv": BREAKING + b"%d\n" % number}) for number in range(3)]
    names = [committed.branch for committed in kept]
    assert names == [names[0], f"{names[0]}-2", f"{names[0]}-3"]
    repaired = make.commit(platform, dataset, {"orders.csv": b"id\n5\n"}, branch=names[0])
    assert (repaired.branch, repaired.quarantined_from) == (names[0], None)


def test_a_repeated_request_is_answered_with_the_version_in_quarantine(platform: Platform) -> None:
    dataset, _ = enforced(platform)
    kept, again = (make.commit(platform, dataset, {"orders.csv": BREAKING}, idempotency_key="k") for _ in range(2))
    assert (again.version_id, again.branch, again.created) == (kept.version_id, kept.branch, False)
    assert (again.quarantined_from, again.breaches) == ("main", kept.breaches)
    assert len(platform.contracts.quarantined(platform.actor(), dataset)) == 1


def publish(platform: Platform, changes: Sequence[tuple[DatasetRef, str, bytes]]) -> Sequence[Committed | DsplatformError]:
    with platform.files.upload() as upload:
        wanted = []
        for dataset, branch, data in changes:
            (content,) = upload.add([BytesIO(data)])
            assert isinstance(content, Content)
            wanted.append(VersionChange(platform.actor(), dataset, {FilePath("orders.csv"): content}, branch=PointerName(branch)))
        return platform.versions.publish(upload, wanted, lambda _tx, _index, _committed: None)


def test_of_many_changes_in_one_publish_only_those_that_break_are_kept(platform: Platform) -> None:
    dataset, _ = enforced(platform, TYPED)
    other = make.dataset(platform, "free")
    outcomes = publish(
        platform,
        [
            (dataset, "main", MORE),
            (dataset, "main", BREAKING),
            (other, "main", BREAKING),
            (dataset, "main", b"id\n7\n"),
            (dataset, "main", b"id,name\n9,zoe\n"),
        ],
    )
    assert all(isinstance(outcome, Committed) for outcome in outcomes), outcomes
    kept = [outcome.quarantined_from for outcome in outcomes if isinstance(outcome, Committed)]
    assert kept == [None, "main", None, "main", None]
    assert make.held(platform, dataset) == {"orders.csv": b"id,name\n9,zoe\n"}
    make.assert_sound(platform)


# --- races ---------------------------------------------------------------------------------------------------------------------


def test_who_is_overtaken_is_judged_against_the_new_head(platform: Platform, monkeypatch: pytest.MonkeyPatch, apart: None) -> None:
    """A column comes to main between judging and committing: what was fine against the old head breaks the new one."""
    dataset, _ = enforced(platform)
    real = Enforcement.aside
    met: list[object] = []

    def overtaken(self: Enforcement, *args: object) -> object:
        found = real(self, *args)  # type: ignore[arg-type]
        if not met:
            met.append(found)
            assert make.commit(platform, dataset, {"orders.csv": b"id,name,age\n1,ann,30\n"}).branch == "main"
        return found

    monkeypatch.setattr(Enforcement, "aside", overtaken)
    kept = make.commit(platform, dataset, {"orders.csv": MORE})
    assert met == [None]  # the first judgement saw nothing wrong
    assert (kept.quarantined_from, kept.breaches) == ("main", ("orders.csv: column 'age' (int64) was removed",))
    assert head(platform, dataset) == 2
    make.assert_sound(platform)


def test_terms_that_are_set_between_judging_and_committing_count(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make.dataset(platform)
    make.commit(platform, dataset, {"orders.csv": GOOD})
    real = Publisher._commit_draft
    met: list[int] = []

    def late(self: Publisher, *args: object) -> object:
        met.append(1)
        enforce(platform, dataset)
        return real(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Publisher, "_commit_draft", late)
    kept = make.commit(platform, dataset, {"orders.csv": BREAKING})
    assert (met, kept.quarantined_from, head(platform, dataset)) == ([1], "main", 1)


def test_writers_of_many_processes_never_bring_a_breach_to_main(
    settings: Settings, database_url: str, apart: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two add a column, two commit files without it: whoever comes second to the column goes to quarantine, and nothing is lost."""
    meet = make.meeting(4)
    collisions: list[int] = []
    real, rebase = Publisher._judged_draft, Publisher._rebase

    def together(self: Publisher, *args: object) -> object:
        draft = real(self, *args)  # type: ignore[arg-type]
        meet()
        return draft

    def rebased(self: Publisher, *args: object) -> object:
        collisions.append(1)
        return rebase(self, *args)  # type: ignore[arg-type]

    with make.crowded(settings, database_url, 12) as platform:
        dataset, _ = enforced(platform)
        monkeypatch.setattr(Publisher, "_judged_draft", together)
        monkeypatch.setattr(Publisher, "_rebase", rebased)
        files = [b"id,name,age\n%d,ann,30\n" % number if number % 2 else b"id,name\n%d,ann\n" % number for number in range(4)]
        done = make.at_once(*(partial(make.commit, platform, dataset, {"orders.csv": data}) for data in files))
        assert len(collisions) >= 3
        line = [version.number for version in platform.branches.history(platform.actor(), dataset, "main")][::-1]
        widths = [make.held(platform, dataset, str(number))["orders.csv"].split(b"\n")[0].count(b",") for number in line]
        assert widths == sorted(widths)
        assert len(line) + len(platform.contracts.quarantined(platform.actor(), dataset)) == 5
        assert {committed.version_number for committed in done} == {2, 3, 4, 5}
        make.assert_sound(platform)


@pytest.mark.parametrize(("point", "there"), [("version.committing", 0), ("version.moved", 0), ("version.committed", 1)])
def test_version_branch_and_report_are_there_together_or_not_at_all(platform: Platform, point: str, there: int) -> None:
    dataset, _ = enforced(platform)
    failpoints.arm(f"{point}:raise")
    try:
        with pytest.raises(failpoints.FailpointReached):
            make.commit(platform, dataset, {"orders.csv": BREAKING})
    finally:
        failpoints.arm("")
    assert [len(branches(platform, dataset)), len(platform.contracts.quarantined(platform.actor(), dataset))] == [1 + there, there]
    assert head(platform, dataset) == 1
    make.assert_sound(platform)


# --- the mutant ----------------------------------------------------------------------------------------------------------------


def breaching_versions(platform: Platform, dataset: DatasetRef) -> int:
    """How many versions on the way to main are without the column that the contract asks for."""
    for _ in range(4):
        publish(platform, [(dataset, "main", BREAKING), (dataset, "main", MORE), (dataset, "main", GOOD)])
    history = platform.branches.history(platform.actor(), dataset, "main")
    judged = [platform.contracts.check(platform.actor(), dataset, version.id, TYPED) for version in history]
    return sum(bool(each.breaches) for each in judged)


def test_main_never_moves_to_a_breaching_version(platform: Platform) -> None:
    dataset, _ = enforced(platform, TYPED)
    assert breaching_versions(platform, dataset) == 0
    assert head(platform, dataset) > 1


def test_that_claim_fails_without_the_gate(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, _ = enforced(platform, TYPED)
    monkeypatch.setattr(Gate, "enforced", lambda *_: None)
    assert breaching_versions(platform, dataset) == 4


def test_the_terms_of_a_branch_follow_its_name(platform: Platform) -> None:
    dataset, _ = enforced(platform, branch="release")
    actor = platform.actor()
    platform.branches.create_branch(actor, dataset, "release")
    kept = make.commit(platform, dataset, {"orders.csv": BREAKING}, branch="release")
    assert kept.quarantined_from == "release"
    platform.branches.rename_branch(actor, dataset, "release", "stable")
    assert make.commit(platform, dataset, {"orders.csv": BREAKING}, branch="stable").quarantined_from == "stable"
    assert {waiting.target_branch for waiting in platform.contracts.quarantined(actor, dataset)} == {"stable"}
    platform.contracts.accept(actor, dataset, kept.version_id, "a new layout")
    assert make.held(platform, dataset, "stable") == {"orders.csv": BREAKING}
