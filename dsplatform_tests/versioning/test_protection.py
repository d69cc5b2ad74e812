"""Protected branches: what each demand lets through, for whom, and at which moment."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.core.errors import DsplatformError, Invalid
from dsplatform.core.types import PermissionType, PointerName
from dsplatform.core.values import DatasetRef
from dsplatform.schemas.contracts.contract_yaml import parse
from dsplatform.schemas.contracts.model import Policy
from dsplatform.versioning import protection_rows
from dsplatform.versioning.model import BranchProtected, Demand, PointerMissing
from dsplatform.versioning.pointers import Pointers
from dsplatform.versioning.publishing import Publisher
from dsplatform_tests import make

READ, WRITE, ADMIN = PermissionType
BRANCH = "release/1"


@pytest.fixture
def sales(platform: Platform, ann: Actor, ben: Actor) -> DatasetRef:
    """Ann administers it, ben may write it. `main` is at version 2, `release/1` at 3 and `side` at 4, which all stand on 1; `ahead` is at
    5, which stands on 3."""
    dataset = make.dataset(platform, "sales", ann)
    platform.permissions.grant_permission(ann, ben, WRITE, dataset.id)
    make.commit(platform, dataset, {"a": b"1"}, actor=ann)
    platform.branches.create_branch(ann, dataset, BRANCH)
    platform.branches.create_branch(ann, dataset, "side")
    make.commit(platform, dataset, {"a": b"2"}, actor=ann)
    make.commit(platform, dataset, {"r": b"3"}, actor=ann, branch=BRANCH)
    make.commit(platform, dataset, {"b": b"4"}, actor=ann, branch="side")
    platform.branches.create_branch(ann, dataset, "ahead", BRANCH)
    make.commit(platform, dataset, {"c": b"5"}, actor=ann, branch="ahead")
    return dataset


def heads(platform: Platform, dataset: DatasetRef) -> dict[str, int]:
    return {branch.name: branch.version_number for branch in platform.branches.list_branches(platform.actor(), dataset)}


def change(way: str, platform: Platform, dataset: DatasetRef, actor: Actor) -> object:
    """One way of changing the branch `release/1`."""
    branches = platform.branches
    if way == "commit":
        return make.commit(platform, dataset, {"n": b"9"}, actor=actor, branch=BRANCH)
    if way == "merge":
        return branches.merge(actor, dataset, "side", into=BRANCH)
    if way == "fast-forward":
        return branches.merge(actor, dataset, "ahead", into=BRANCH)
    if way == "move":
        head = platform.versions.get_version(actor, dataset, BRANCH)[0].id
        return branches.update_branch(actor, dataset, BRANCH, "1", expected_head=head)
    if way == "rename":
        return branches.rename_branch(actor, dataset, BRANCH, "other")
    assert way == "delete"
    return branches.delete_branch(actor, dataset, BRANCH)


WAYS = ("commit", "merge", "fast-forward", "move", "rename", "delete")
LETS_THROUGH = {
    None: {"ann": set(WAYS), "ben": set(WAYS)},
    Demand.ADMIN: {"ann": set(WAYS), "ben": set[str]()},
    Demand.MERGE: {"ann": {"merge", "fast-forward", "move", "rename", "delete"}, "ben": {"merge", "fast-forward"}},
}


@pytest.mark.parametrize("who", ["ann", "ben"])
@pytest.mark.parametrize("demand", [None, *Demand])
@pytest.mark.parametrize("way", WAYS)
def test_a_protection_lets_through_what_it_says(
    way: str, demand: Demand | None, who: str, platform: Platform, sales: DatasetRef, ann: Actor, ben: Actor
) -> None:
    actor = {"ann": ann, "ben": ben}[who]
    if demand is not None:
        platform.protection.protect(ann, sales, BRANCH, demand)
    before = heads(platform, sales)
    if way in LETS_THROUGH[demand][who]:
        change(way, platform, sales, actor)
        assert heads(platform, sales).get(BRANCH) != before[BRANCH]
    else:
        with pytest.raises(BranchProtected) as caught:
            change(way, platform, sales, actor)
        assert heads(platform, sales)[BRANCH] == before[BRANCH]
        assert refused(platform) == [("refused", {"branch": BRANCH, "demands": demand})]
        merged = "commit to another branch, and merge that one into it"
        assert (merged if (way, demand) == ("commit", Demand.MERGE) else "takes the right 'admin'") in str(caught.value)


def refused(platform: Platform) -> list[object]:
    with platform.db.transaction() as tx:
        return list(tx.tuples("SELECT result, after FROM audit_log WHERE result = 'refused'"))


@pytest.mark.parametrize("demand", Demand)
def test_other_branches_stay_free(demand: Demand, platform: Platform, sales: DatasetRef, ann: Actor, ben: Actor) -> None:
    platform.protection.protect(ann, sales, "main", demand)
    assert make.commit(platform, sales, {"n": b"9"}, actor=ben, branch="new").created  # it begins at main, and is not main
    assert make.commit(platform, sales, {"n": b"9"}, actor=ben, branch="side").created
    platform.branches.create_branch(ben, sales, "another", "main")
    platform.branches.create_tag(ben, sales, "v1", "main")
    assert heads(platform, sales)["main"] == 2


def test_a_protection_goes_with_its_branch(platform: Platform, sales: DatasetRef, ann: Actor, ben: Actor) -> None:
    platform.protection.protect(ann, sales, BRANCH, Demand.ADMIN)
    platform.branches.rename_branch(ann, sales, BRANCH, "stable")
    assert [(each.branch, each.demands) for each in platform.protection.protections(ben, sales)] == [("stable", Demand.ADMIN)]
    with pytest.raises(BranchProtected):
        make.commit(platform, sales, {"n": b"9"}, actor=ben, branch="stable")
    platform.branches.create_branch(ben, sales, BRANCH)
    assert make.commit(platform, sales, {"n": b"9"}, actor=ben, branch=BRANCH).created
    platform.branches.delete_branch(ann, sales, "stable")
    platform.branches.create_branch(ben, sales, "stable")
    assert list(platform.protection.protections(ben, sales)) == []


def test_protecting_takes_admin(platform: Platform, sales: DatasetRef, ann: Actor, ben: Actor) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: platform.protection.protect(ben, sales, BRANCH, Demand.MERGE),
        lambda: platform.protection.unprotect(ben, sales, BRANCH),
    ]
    platform.protection.protect(ann, sales, BRANCH, Demand.ADMIN)
    for attempt in attempts:
        with pytest.raises(DsplatformError, match="lacks the right 'admin'"):
            attempt()
    assert [each.demands for each in platform.protection.protections(ben, sales)] == [Demand.ADMIN]


@pytest.mark.parametrize("name", ["nowhere", "v1"])
def test_only_branches_are_protected(name: str, platform: Platform, sales: DatasetRef, ann: Actor) -> None:
    platform.branches.create_tag(ann, sales, "v1")
    with pytest.raises(PointerMissing, match=f"has no branch '{name}'"):
        platform.protection.protect(ann, sales, name, Demand.ADMIN)
    with pytest.raises(PointerMissing, match="is not protected"):
        platform.protection.unprotect(ann, sales, name)
    with pytest.raises(Invalid):
        platform.protection.protect(ann, sales, "a@b", Demand.ADMIN)


def test_what_is_protected_is_noted(platform: Platform, sales: DatasetRef, ann: Actor) -> None:
    platform.protection.protect(ann, sales, BRANCH, Demand.ADMIN)
    made = platform.protection.protect(ann, sales, BRANCH, Demand.MERGE)
    assert (made.branch, made.demands, made.set_by) == (BRANCH, Demand.MERGE, "ann")
    assert platform.protection.unprotect(ann, sales, BRANCH) == made
    with platform.db.transaction() as tx:
        rows = tx.tuples("SELECT action, object_id, before, after FROM audit_log WHERE action ~ 'protect' ORDER BY id")
    admin, merge = ({"branch": BRANCH, "demands": demand} for demand in ("admin", "merge"))
    assert rows == [
        ("branch.protect", str(sales.id), None, admin),
        ("branch.protect", str(sales.id), admin, merge),
        ("branch.unprotect", str(sales.id), merge, None),
    ]


def test_a_repeated_request_gets_the_version_that_it_made_before(platform: Platform, sales: DatasetRef, ann: Actor, ben: Actor) -> None:
    first = make.commit(platform, sales, {"n": b"9"}, actor=ben, idempotency_key="k")
    platform.protection.protect(ann, sales, "main", Demand.MERGE)
    again = make.commit(platform, sales, {"n": b"9"}, actor=ben, idempotency_key="k")
    assert (again.version_id, again.created) == (first.version_id, False)


def test_dropped_files_do_not_go_round_it(platform: Platform, system: Actor) -> None:
    dataset = make.dataset(platform)
    make.commit(platform, dataset, {"a": b"1"})
    platform.protection.protect(system, dataset, "main", Demand.MERGE)
    drop = platform.settings.drop_dir / "sales"
    drop.mkdir(parents=True)
    (drop / "b.csv").write_text("id\n1\n")
    (drop / "arrivals").mkdir()
    (drop / "arrivals" / "c.csv").write_text("id\n1\n")
    platform.ingestion.discover()
    platform.ingestion.discover()
    platform.ingestion.ingest_ready()
    assert heads(platform, dataset) == {"main": 1, "arrivals": 2}
    assert platform.settings.rejected_dir
    left = [path.name for path in Path(platform.settings.rejected_dir).rglob("b.csv*")]
    assert "b.csv" in left
    reasons = make.column(platform.db, "SELECT reason FROM inbox WHERE reason IS NOT NULL")
    assert len(reasons) == 1
    assert "commit to another branch, and merge that one into it" in reasons[0]


CONTRACT = "tables:\n  - component: a.csv\n    columns:\n      id: {type: int64}\n"


@pytest.mark.parametrize("demand", Demand)
def test_what_is_accepted_from_quarantine_is_a_merge(demand: Demand, platform: Platform, ann: Actor, ben: Actor) -> None:
    dataset = make.dataset(platform, "shop", ann)
    platform.permissions.grant_permission(ann, ben, WRITE, dataset.id)
    make.commit(platform, dataset, {"a.csv": b"id\n1\n"}, actor=ann)
    platform.contracts.set_terms(ann, dataset, policy=Policy.ENFORCE, contract=parse(CONTRACT))
    kept = make.commit(platform, dataset, {"a.csv": b"id\nx\n"}, actor=ben)
    assert kept.quarantined_from == "main"
    platform.protection.protect(ann, dataset, "main", demand)
    if demand is Demand.ADMIN:
        with pytest.raises(BranchProtected):
            platform.contracts.accept(ben, dataset, kept.version_id, reason="fine")
        assert heads(platform, dataset)["main"] == 1
    accepted = platform.contracts.accept(ben if demand is Demand.MERGE else ann, dataset, kept.version_id, reason="fine")
    assert heads(platform, dataset)["main"] == accepted.version_number != 1


# --- at one moment -------------------------------------------------------------------------------------------------------------


def _protected_meanwhile(platform: Platform, sales: DatasetRef, ann: Actor, ben: Actor, monkeypatch: pytest.MonkeyPatch) -> object:
    """What a commit answers whose branch is protected between its draft and its commit."""
    drafted = Publisher._hold
    done = threading.Event()

    def hold(self: Publisher, *args: object) -> object:
        held = drafted(self, *args)  # type: ignore[arg-type]  # as it is called
        if not done.is_set():
            done.set()
            with ThreadPoolExecutor(1) as pool:
                pool.submit(platform.protection.protect, ann, sales, "main", Demand.MERGE).result(make.PATIENCE)
        return held

    monkeypatch.setattr(Publisher, "_hold", hold)
    try:
        return make.commit(platform, sales, {"n": b"9"}, actor=ben)
    except BranchProtected as err:
        return err


def test_a_commit_that_is_under_way_does_not_slip_through(
    platform: Platform, sales: DatasetRef, ann: Actor, ben: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(_protected_meanwhile(platform, sales, ann, ben, monkeypatch), BranchProtected)
    assert heads(platform, sales)["main"] == 2


def test_mutant_a_move_that_does_not_compare_the_protection_slips_through(
    platform: Platform, sales: DatasetRef, ann: Actor, ben: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blind(self: Pointers, dataset_id: int, branch: str, seen: int, to: int, *_: object) -> bool:
        sql = "UPDATE dataset_pointers SET version_id = :to WHERE dataset_id = :d AND pointer_name = :n AND version_id = :seen"
        return self._tx.execute(sql, to=to, d=dataset_id, n=branch, seen=seen) == 1

    monkeypatch.setattr(Pointers, "move", blind)
    assert not isinstance(_protected_meanwhile(platform, sales, ann, ben, monkeypatch), BranchProtected)
    assert heads(platform, sales)["main"] == 6


def test_who_protects_waits_for_the_commit_that_has_begun_to_write(
    platform: Platform, sales: DatasetRef, ann: Actor, ben: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Publisher._write
    waiting: list[object] = []

    def write(self: Publisher, *args: object) -> object:
        answer = written(self, *args)  # type: ignore[arg-type]  # as it is called
        waiting.append(pool.submit(platform.protection.protect, ann, sales, "main", Demand.MERGE))
        assert make.until_blocked(platform.db, or_done=lambda: waiting[0].done())  # type: ignore[attr-defined]  # a future
        return answer

    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(Publisher, "_write", write)
        assert make.commit(platform, sales, {"n": b"9"}, actor=ben).created
        waiting[0].result(make.PATIENCE)  # type: ignore[attr-defined]  # a future
    assert [each.branch for each in platform.protection.protections(ann, sales)] == ["main"]


def test_a_right_that_is_taken_back_meanwhile_does_not_count(
    platform: Platform, sales: DatasetRef, ann: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleo = platform.permissions.create_user("cleo")
    platform.permissions.grant_permission(ann, cleo, WRITE, sales.id)
    admin = platform.permissions.grant_permission(ann, cleo, ADMIN, sales.id)
    platform.protection.protect(ann, sales, "main", Demand.ADMIN)
    drafted = Publisher._hold

    def hold(self: Publisher, *args: object) -> object:
        held = drafted(self, *args)  # type: ignore[arg-type]  # as it is called
        platform.permissions.revoke_grant(ann, sales, admin.id)
        monkeypatch.undo()
        return held

    monkeypatch.setattr(Publisher, "_hold", hold)
    with pytest.raises(BranchProtected):
        make.commit(platform, sales, {"n": b"9"}, actor=cleo)
    assert heads(platform, sales)["main"] == 2


def test_a_commit_asks_no_more_statements_of_a_branch_that_is_not_protected(
    platform: Platform, sales: DatasetRef, ben: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[PointerName] = []
    real = protection_rows.Protections.get

    def get(self: protection_rows.Protections, branch: PointerName) -> object:
        asked.append(branch)
        return real(self, branch)

    monkeypatch.setattr(protection_rows.Protections, "get", get)
    make.commit(platform, sales, {"n": b"9"}, actor=ben)
    platform.branches.merge(ben, sales, "side")
    assert asked == []
