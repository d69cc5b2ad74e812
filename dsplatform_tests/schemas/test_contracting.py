"""What people do with contracts and with versions in quarantine: set, decide, merge past it or not, and who may."""

from collections.abc import Callable
from functools import partial

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Denied, Gone, Invalid
from dsplatform.core.types import PermissionType
from dsplatform.core.values import Committed, DatasetRef
from dsplatform.schemas.contract_rows import Quarantine
from dsplatform.schemas.contracting import DecidedAlready, NotInQuarantine
from dsplatform.schemas.contracts.model import Contract, OnBreach, Policy
from dsplatform.versioning.merging import MergeConflict
from dsplatform.versioning.model import ContractBreached
from dsplatform_tests import make
from dsplatform_tests.schemas.test_gate import BREAKING, MORE, TYPED, branches, enforced, head


def in_quarantine(platform: Platform, contract: Contract | None = None) -> tuple[DatasetRef, Committed]:
    """A version that waits for a decision."""
    dataset, _ = enforced(platform, contract)
    return dataset, make.commit(platform, dataset, {"orders.csv": BREAKING})


def someone(platform: Platform, dataset: DatasetRef, *rights: PermissionType, name: str = "eve") -> Actor:
    user = platform.permissions.create_user(name)
    for right in rights:
        platform.permissions.grant_permission(platform.actor(), user, right, dataset.id)
    return user


def test_accepting_moves_the_branch_and_writes_down_who_and_why(platform: Platform) -> None:
    dataset, kept = in_quarantine(platform)
    done = platform.contracts.accept(platform.actor(), dataset, kept.version_id, " the column is not used any more ")
    assert (done.version_number, head(platform, dataset)) == (kept.version_number, kept.version_number)
    assert make.held(platform, dataset) == {"orders.csv": BREAKING}
    decided = done.quarantined
    assert (decided.state, decided.decided_by, decided.decision) == (
        "accepted",
        platform.actor().username,
        "the column is not used any more",
    )
    assert platform.contracts.quarantined(platform.actor(), dataset) == []
    assert platform.contracts.quarantined(platform.actor(), dataset, decided=True) == [decided]
    after = make.commit(platform, dataset, {"orders.csv": b"id\n2\n"})  # what was accepted counts from now on
    assert after.quarantined_from is None
    make.assert_sound(platform)


def test_a_decision_is_made_once(platform: Platform) -> None:
    dataset, kept = in_quarantine(platform)
    platform.contracts.dismiss(platform.actor(), dataset, kept.version_id, "sent by mistake")
    with pytest.raises(DecidedAlready, match=r"was dismissed on .* by .*sent by mistake"):
        platform.contracts.accept(platform.actor(), dataset, kept.version_id, "why not")
    assert (head(platform, dataset), kept.branch in branches(platform, dataset)) == (1, True)


def test_of_two_who_decide_at_once_one_does_and_the_branch_agrees(platform: Platform) -> None:
    dataset, kept = in_quarantine(platform)

    def accept() -> object:
        return platform.contracts.accept(platform.actor(), dataset, kept.version_id, "take it").version_number

    def dismiss() -> object:
        return platform.contracts.dismiss(platform.actor(), dataset, kept.version_id, "leave it").version_number

    def outcome(work: object) -> object:
        try:
            return work()  # type: ignore[operator]
        except DecidedAlready:
            return "late"

    found = make.at_once(lambda: outcome(accept), lambda: outcome(dismiss))
    state = platform.contracts.quarantined(platform.actor(), dataset, decided=True)[0].state
    assert found.count("late") == 1
    assert (head(platform, dataset) == kept.version_number) is (state == "accepted") is (found[0] != "late")


def test_a_decision_that_is_not_written_down_moves_no_branch(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, kept = in_quarantine(platform)
    monkeypatch.setattr(Quarantine, "decide", lambda *_: False)
    with pytest.raises(DecidedAlready):
        platform.contracts.accept(platform.actor(), dataset, kept.version_id, "take it")
    assert head(platform, dataset) == 1


def test_accepting_what_the_branch_has_changed_meanwhile_is_merged(platform: Platform) -> None:
    dataset, kept = in_quarantine(platform)
    make.commit(platform, dataset, {"other.csv": b"a\n1\n"})
    done = platform.contracts.accept(platform.actor(), dataset, kept.version_id, "take it")
    assert make.held(platform, dataset) == {"orders.csv": BREAKING, "other.csv": b"a\n1\n"}
    assert done.version_number == head(platform, dataset) > kept.version_number
    make.assert_sound(platform)


def test_accepting_the_same_file_that_the_branch_changed_takes_a_strategy(platform: Platform) -> None:
    dataset, kept = in_quarantine(platform)
    make.commit(platform, dataset, {"orders.csv": MORE})
    with pytest.raises(MergeConflict, match="orders"):
        platform.contracts.accept(platform.actor(), dataset, kept.version_id, "take it")
    assert len(platform.contracts.quarantined(platform.actor(), dataset)) == 1
    platform.contracts.accept(platform.actor(), dataset, kept.version_id, "take it", strategy="theirs")
    assert make.held(platform, dataset) == {"orders.csv": BREAKING}


def test_accepting_makes_the_branch_that_was_not_there(platform: Platform) -> None:
    dataset, _ = enforced(platform)
    kept = make.commit(platform, dataset, {"orders.csv": BREAKING}, branch="new")
    assert "new" not in branches(platform, dataset)
    platform.contracts.accept(platform.actor(), dataset, kept.version_id, "take it")
    assert (head(platform, dataset, "new"), head(platform, dataset)) == (kept.version_number, 1)


@pytest.mark.parametrize("overtaken", [False, True])
def test_a_merge_by_hand_is_refused_what_the_contract_refuses(platform: Platform, overtaken: bool) -> None:
    """Also where it would only move the branch forward."""
    dataset, kept = in_quarantine(platform)
    if overtaken:
        make.commit(platform, dataset, {"other.csv": b"a\n1\n"})
    before = head(platform, dataset)
    with pytest.raises(ContractBreached, match="dsplatform contract"):
        platform.branches.merge(platform.actor(), dataset, kept.branch)
    assert head(platform, dataset) == before
    make.commit(platform, dataset, {"orders.csv": MORE}, branch="fine")
    platform.branches.merge(platform.actor(), dataset, "fine")
    assert make.held(platform, dataset)["orders.csv"] == MORE


def test_moving_an_enforced_branch_by_hand_takes_admin(platform: Platform) -> None:
    dataset, kept = in_quarantine(platform)
    eve = someone(platform, dataset, PermissionType.WRITE)
    at = platform.versions.get_version(platform.actor(), dataset)[0].id
    with pytest.raises(Denied, match="admin"):
        platform.branches.update_branch(eve, dataset, "main", kept.branch, expected_head=at)
    platform.branches.update_branch(platform.actor(), dataset, "main", kept.branch, expected_head=at)
    assert head(platform, dataset) == kept.version_number


def test_each_question_and_change_asks_for_its_right(platform: Platform) -> None:
    dataset, kept = in_quarantine(platform)
    nobody = someone(platform, dataset, name="nobody")
    reader = someone(platform, dataset, PermissionType.READ, name="reader")
    writer = someone(platform, dataset, PermissionType.WRITE, name="writer")
    contracts = platform.contracts
    for actor, allowed in ((nobody, 0), (reader, 5), (writer, 6)):
        works: list[Callable[[], object]] = [
            partial(contracts.terms, actor, dataset),
            partial(contracts.hints, actor, dataset),
            partial(contracts.learn, actor, dataset, kept.version_id),
            partial(contracts.check, actor, dataset, kept.version_id),
            partial(contracts.quarantined, actor, dataset),
            partial(contracts.dismiss, actor, dataset, kept.version_id, "no"),
            partial(contracts.set_terms, actor, dataset, policy=Policy.OFF),
            partial(contracts.set_hints, actor, dataset, {"delimiter": ";"}),
        ]
        denied = []
        for number, work in enumerate(works):
            try:
                work()
            except Denied:
                denied.append(number)
        assert denied == list(range(allowed, len(works))), actor.username


def test_terms_keep_what_is_not_named(platform: Platform) -> None:
    dataset = make.dataset(platform)
    first = platform.contracts.set_terms(platform.actor(), dataset)
    assert (first.policy, first.on_breach, first.contract, first.revision) == (Policy.WARN, OnBreach.QUARANTINE, Contract(), 1)
    platform.contracts.set_terms(platform.actor(), dataset, contract=TYPED, on_breach=OnBreach.REJECT)
    third = platform.contracts.set_terms(platform.actor(), dataset, policy=Policy.ENFORCE)
    assert (third.policy, third.on_breach, third.contract, third.revision) == (Policy.ENFORCE, OnBreach.REJECT, TYPED, 3)
    platform.contracts.set_terms(platform.actor(), dataset, "dev", policy=Policy.OFF)
    assert [terms.branch for terms in platform.contracts.terms(platform.actor(), dataset)] == ["", "dev"]


@pytest.mark.parametrize("given", [{"date_order": "ymd"}, {"encoding": "no such"}, {"delimiter": ";;"}, {"delimiter": '"'}])
def test_hints_that_are_none_are_refused(platform: Platform, given: dict[str, str | None]) -> None:
    dataset = make.dataset(platform)
    with pytest.raises(Invalid, match="write"):
        platform.contracts.set_hints(platform.actor(), dataset, given)


def test_hints_are_kept_one_by_one_and_taken_away(platform: Platform) -> None:
    dataset, contracts = make.dataset(platform), platform.contracts
    contracts.set_hints(platform.actor(), dataset, {"date_order": "dmy"})
    both = contracts.set_hints(platform.actor(), dataset, {"delimiter": ";"})
    assert (both.date_order, both.delimiter, both.encoding) == ("dmy", ";", None)
    contracts.set_hints(platform.actor(), dataset, {"date_order": None, "delimiter": None, "encoding": None})
    assert make.column(platform.db, "SELECT count(*) FROM reading_hints") == [0]


def test_the_gate_reads_by_the_hints_of_the_dataset(platform: Platform) -> None:
    dataset = make.dataset(platform)
    platform.contracts.set_hints(platform.actor(), dataset, {"date_order": "dmy"})
    make.commit(platform, dataset, {"d.csv": b"day\n01/02/2024\n"})
    dated = platform.contracts.learn(platform.actor(), dataset, platform.versions.get_version(platform.actor(), dataset)[0].id)
    assert dated.tables[0].rules["day"].type == "date"
    platform.contracts.set_terms(platform.actor(), dataset, policy=Policy.ENFORCE, contract=dated)
    assert make.commit(platform, dataset, {"d.csv": b"day\n03/04/2024\n"}).quarantined_from is None
    assert make.commit(platform, dataset, {"d.csv": b"day\nsoon\n"}).quarantined_from == "main"


def test_what_is_not_in_quarantine_and_what_was_deleted_is_not_decided(platform: Platform) -> None:
    dataset, kept = in_quarantine(platform)
    first = platform.versions.get_version(platform.actor(), dataset)[0].id
    with pytest.raises(NotInQuarantine, match="contract list"):
        platform.contracts.accept(platform.actor(), dataset, first, "take it")
    with pytest.raises(Invalid, match="--reason"):
        platform.contracts.accept(platform.actor(), dataset, kept.version_id, "  ")
    platform.branches.delete_branch(platform.actor(), dataset, kept.branch)
    platform.deletion.delete_version(platform.actor(), f"{dataset.slug}@{kept.version_number}")
    with pytest.raises(Gone):
        platform.contracts.accept(platform.actor(), dataset, kept.version_id, "take it")
    assert platform.contracts.quarantined(platform.actor(), dataset) == []


def test_a_deleted_dataset_takes_contract_hints_and_quarantine_with_it(platform: Platform) -> None:
    dataset, _ = in_quarantine(platform, TYPED)
    platform.contracts.set_hints(platform.actor(), dataset, {"date_order": "dmy"})
    platform.datasets.delete_dataset(platform.actor(), dataset.slug)
    with platform.db.transaction() as tx:
        tx.execute("UPDATE datasets SET deleted_at = now() - interval '31 days'")
    assert [gone.slug for gone in platform.deletion.reap(platform.system())] == [dataset.slug]
    for table in ("schema_contracts", "reading_hints", "quarantined_versions"):
        assert make.column(platform.db, f"SELECT count(*) FROM {table}") == [0]
