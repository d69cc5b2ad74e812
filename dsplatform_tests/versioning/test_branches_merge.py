"""Merging branches, on a real store."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsplatform.bootstrap import Platform
from dsplatform.core.database import Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Conflict, Gone, Invalid
from dsplatform.core.settings import Settings
from dsplatform.core.values import DatasetRef
from dsplatform.files.upload import StagedUpload
from dsplatform.versioning import branches as branches_module
from dsplatform.versioning import merging
from dsplatform.versioning.branches import BranchService
from dsplatform.versioning.merging import Choice, MergeConflict, Merged, MergeKind
from dsplatform.versioning.model import EmptyVersion, PointerMissing, VersionMissing
from dsplatform_tests import make
from dsplatform_tests.strategies import small_contents

MERGED, FORWARDED, ALREADY = MergeKind


def forked(
    platform: Platform, base: Mapping[str, bytes], ours: Mapping[str, bytes | None], theirs: Mapping[str, bytes | None], name: str = "sales"
) -> DatasetRef:
    """Version 1 on both branches; then each has its own changes, where there are any. None: removed."""
    dataset = make.dataset(platform, name)
    make.commit(platform, dataset, base)
    platform.branches.create_branch(platform.actor(), dataset, "side")
    for branch, changes in (("main", ours), ("side", theirs)):
        put = {path: data for path, data in changes.items() if data is not None}
        if changes:
            make.commit(platform, dataset, put, remove=[path for path, data in changes.items() if data is None], branch=branch)
    return dataset


def merge(platform: Platform, dataset: DatasetRef, theirs: str = "side", **options: Any) -> Merged:
    return platform.branches.merge(platform.actor(), dataset, theirs, **options)


def overlay(platform: Platform, number: int) -> dict[str, Any]:
    (file_id,) = make.column(platform.db, "SELECT overlay_file_id FROM dataset_versions WHERE version_number = :number", number=number)
    document: dict[str, Any] = json.loads(make.content(platform, file_id))
    return document


def test_disjoint_changes_become_a_version_with_two_parents(platform: Platform, system: Actor) -> None:
    dataset = forked(platform, {"a": b"1", "b": b"1", "c": b"1", "d": b"1"}, {"a": b"2", "c": None}, {"b": b"3", "d": None, "e": b"4"})
    done = merge(platform, dataset)
    assert (done.kind, done.branch, done.version_number) == (MERGED, "main", 4)
    assert (done.added, done.updated, done.removed) == (1, 1, 1)
    assert make.held(platform, dataset) == {"a": b"2", "b": b"3", "e": b"4"}
    version, components = platform.versions.get_version(system, dataset)
    assert (version.parent_number, version.merge_parent_number, version.message) == (2, 3, "merge side into main")
    assert (version.components, version.total_bytes) == (3, 3) == (len(components), sum(one.file_size for one in components))
    assert make.held(platform, dataset, "side") == {"a": b"1", "b": b"3", "c": b"1", "e": b"4"}
    make.assert_sound(platform)


def test_the_overlay_of_a_merge_names_both_parents(platform: Platform) -> None:
    dataset = forked(platform, {"a": b"1"}, {"b": b"2"}, {"c": b"3"})
    merge(platform, dataset, message=" together ")
    document = overlay(platform, 4)
    hashes = {
        number: version.overlay_hash
        for version in platform.versions.list_versions(platform.actor(), dataset)
        for number in [version.number]
    }
    assert document["parent"] == {"number": 2, "overlay": hashes[2]}
    assert document["merge_parent"] == {"number": 3, "overlay": hashes[3]}
    assert document["message"] == "together"
    assert [(one["op"], one["name"]) for one in document["changes"]] == [("add", "c")]
    assert "merge_parent" not in overlay(platform, 2)


@pytest.mark.parametrize("other", ["1", "NULL"])
def test_a_merge_whose_second_parent_is_another_one_is_found_by_reading_the_overlays(other: str, platform: Platform) -> None:
    dataset = forked(platform, {"a": b"1"}, {"b": b"2"}, {"c": b"3"})
    merge(platform, dataset)
    assert make.problems(platform) == []
    with make.tampering(platform.db) as tx:
        tx.execute(f"UPDATE dataset_versions SET merge_parent_version_id = {other} WHERE version_number = 4")
    (problem,) = make.problems(platform)
    assert (problem.invariant, problem.subject) == ("I7", "sales@4")
    assert problem.finding.startswith('its overlay says merge_parent {"number": 3, ')


def test_a_branch_that_is_behind_is_moved(platform: Platform) -> None:
    dataset = forked(platform, {"a": b"1"}, {}, {"a": b"2"})
    make.commit(platform, dataset, {"a": b"3"}, branch="side")
    done = merge(platform, dataset, "2")
    assert (done.kind, done.version_number) == (FORWARDED, 2)
    assert merge(platform, dataset).version_number == 3
    assert make.held(platform, dataset) == {"a": b"3"}
    assert [one.number for one in platform.versions.list_versions(platform.actor(), dataset)] == [3, 2, 1]


@pytest.mark.parametrize("theirs", ["side", "1", "main", "latest"])
def test_what_is_merged_already_says_so(theirs: str, platform: Platform) -> None:
    dataset = forked(platform, {"a": b"1"}, {"b": b"2"}, {"c": b"3"})
    merge(platform, dataset)
    done = merge(platform, dataset, theirs)
    assert (done.kind, done.version_number) == (ALREADY, 4)
    assert len(platform.versions.list_versions(platform.actor(), dataset)) == 4


def test_a_merge_goes_into_the_branch_that_is_named(platform: Platform) -> None:
    dataset = forked(platform, {"a": b"1"}, {"b": b"2"}, {"c": b"3"})
    assert merge(platform, dataset, "main", into="side").branch == "side"
    assert make.held(platform, dataset, "side") == {"a": b"1", "b": b"2", "c": b"3"}
    assert make.held(platform, dataset) == {"a": b"1", "b": b"2"}
    assert merge(platform, dataset).kind is FORWARDED
    with pytest.raises(PointerMissing, match="has no branch 'none'"):
        merge(platform, dataset, into="none")
    with pytest.raises(VersionMissing):
        merge(platform, dataset, "none")


# --- conflicts ---------------------------------------------------------------------------------------------------------------------


def contested(platform: Platform) -> DatasetRef:
    """`both` changed on both sides, `gone` changed by us and removed by them, `new` added by both; the rest does not conflict."""
    return forked(
        platform,
        {"both": b"0", "gone": b"0", "left": b"0", "right": b"0"},
        {"both": b"1", "gone": b"1", "new": b"1", "left": b"1"},
        {"both": b"2", "gone": None, "new": b"2", "right": b"2"},
    )


def test_a_conflict_names_what_both_changed_and_merges_nothing(platform: Platform) -> None:
    dataset = contested(platform)
    before = make.held(platform, dataset)
    with pytest.raises(MergeConflict, match=r"both sides changed 3 component\(s\): 'both' \(base ") as caught:
        merge(platform, dataset)
    assert isinstance(caught.value, Conflict)
    sides = {str(one.name): (one.base, one.ours, one.theirs) for one in caught.value.components}
    assert set(sides) == {"both", "gone", "new"}
    base, ours, theirs = sides["both"]
    assert base
    assert ours
    assert theirs
    assert all(part.content_hash[:12] in str(caught.value) for part in (base, ours, theirs))
    assert sides["gone"][2] is None
    assert sides["new"][0] is None
    assert make.held(platform, dataset) == before
    make.assert_sound(platform)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Choice.OURS, {"both": b"1", "gone": b"1", "new": b"1"}),
        (Choice.THEIRS, {"both": b"2", "new": b"2"}),
    ],
)
def test_a_strategy_decides_conflicts_only(strategy: Choice, expected: dict[str, bytes], platform: Platform) -> None:
    dataset = contested(platform)
    assert merge(platform, dataset, strategy=strategy).kind is MERGED
    assert make.held(platform, dataset) == {"left": b"1", "right": b"2", **expected}
    make.assert_sound(platform)


def test_choices_decide_one_by_one_and_may_go_back_to_the_base(platform: Platform) -> None:
    dataset = contested(platform)
    with pytest.raises(MergeConflict) as caught:
        merge(platform, dataset, choices={"both": Choice.BASE})
    assert {one.name for one in caught.value.components} == {"gone", "new"}
    with pytest.raises(Invalid, match="nothing to choose for 'left'"):
        merge(platform, dataset, choices={"left": Choice.OURS}, strategy=Choice.OURS)
    merge(platform, dataset, choices={"both": Choice.BASE, "gone": Choice.THEIRS}, strategy=Choice.OURS)
    assert make.held(platform, dataset) == {"both": b"0", "left": b"1", "right": b"2", "new": b"1"}
    make.assert_sound(platform)


def test_a_merge_that_changes_nothing_is_still_a_version(platform: Platform, system: Actor) -> None:
    """Else the same conflict would come back with the next merge."""
    dataset = forked(platform, {"a": b"0"}, {"a": b"1"}, {"a": b"2"})
    done = merge(platform, dataset, strategy=Choice.OURS)
    assert (done.kind, done.version_number, done.updated) == (MERGED, 4, 0)
    assert make.held(platform, dataset) == {"a": b"1"}
    assert merge(platform, dataset).kind is ALREADY
    make.commit(platform, dataset, {"b": b"3"}, branch="side")
    assert merge(platform, dataset).kind is MERGED
    assert make.held(platform, dataset) == {"a": b"1", "b": b"3"}
    make.assert_sound(platform)


def test_a_merge_that_leaves_nothing_is_refused(platform: Platform) -> None:
    dataset = forked(platform, {"a": b"0", "b": b"0"}, {"a": None}, {"b": None})
    with pytest.raises(EmptyVersion):
        merge(platform, dataset)
    make.assert_sound(platform)


def test_after_a_criss_cross_only_what_the_bases_agree_on_merges_by_itself(platform: Platform, system: Actor) -> None:
    dataset = forked(platform, {"a": b"0", "b": b"0"}, {"a": b"1"}, {"b": b"2"})  # 2 and 3
    merge(platform, dataset, "3")  # 4
    merge(platform, dataset, "2", into="side")  # 5, with the same contents
    make.commit(platform, dataset, {"a": b"9"}, branch="side")
    make.commit(platform, dataset, {"c": b"7"})
    assert [one.number for one in platform.branches.merge_bases(system, dataset, "main", "side")] == [3, 2]
    with pytest.raises(MergeConflict, match="'a' \\(base unclear, ours "):
        merge(platform, dataset)
    merge(platform, dataset, choices={"a": Choice.THEIRS})
    assert make.held(platform, dataset) == {"a": b"9", "b": b"2", "c": b"7"}


# --- deleted versions --------------------------------------------------------------------------------------------------------------


def test_a_base_that_was_deleted_decides_nothing(platform: Platform, system: Actor) -> None:
    dataset = forked(platform, {"a": b"0", "b": b"0"}, {"a": b"1"}, {"b": b"2"})
    platform.deletion.delete_version(system, "sales@1")
    with pytest.raises(MergeConflict) as caught:
        merge(platform, dataset)
    assert {one.name for one in caught.value.components if not one.base_known} == {"a", "b"}
    with pytest.raises(Invalid, match="has no clear base"):
        merge(platform, dataset, choices={"a": Choice.BASE}, strategy=Choice.OURS)
    merge(platform, dataset, choices={"a": Choice.OURS, "b": Choice.THEIRS})
    assert make.held(platform, dataset) == {"a": b"1", "b": b"2"}


def test_a_deleted_version_cannot_be_merged(platform: Platform, system: Actor) -> None:
    dataset = forked(platform, {"a": b"0"}, {"b": b"1"}, {"c": b"2"})
    platform.branches.delete_branch(system, dataset, "side")
    platform.deletion.delete_version(system, "sales@3")
    with pytest.raises(Gone):
        merge(platform, dataset, "3")


def test_contents_that_were_collected_meanwhile_are_not_named(platform: Platform, system: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The merge is worked out; then version and file are deleted in earnest, and only then it is to be committed."""
    dataset = forked(platform, {"a": b"0"}, {"b": b"1"}, {"c": b"2"})
    real = StagedUpload.seal
    removed: list[int] = []

    def seal(self: StagedUpload) -> None:
        real(self)
        if not removed:
            platform.branches.delete_branch(system, dataset, "side")
            platform.deletion.delete_version(system, "sales@3")
            with platform.db.transaction() as tx:
                tx.execute("DELETE FROM gc_queue")
                tx.execute("DELETE FROM file_reference_deltas")
                removed.append(tx.execute("DELETE FROM files f WHERE content_hash = encode(sha256('2'), 'hex')"))

    monkeypatch.setattr(StagedUpload, "seal", seal)
    with pytest.raises(Gone, match="is stored no longer"):
        merge(platform, dataset)
    assert removed == [1]
    assert make.held(platform, dataset) == {"a": b"0", "b": b"1"}


# --- many at once ------------------------------------------------------------------------------------------------------------------


def test_a_commit_between_the_plan_and_the_commit_is_merged_too(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = forked(platform, {"a": b"0"}, {"b": b"1"}, {"c": b"2"})
    real = BranchService._commit
    plans: list[int] = []

    def commit(self: BranchService, change: Any, *more: Any) -> Any:
        plans.append(change.expected_head)
        if len(plans) == 1:
            make.commit(platform, dataset, {"d": b"3"})
        return real(self, change, *more)

    monkeypatch.setattr(BranchService, "_commit", commit)
    assert merge(platform, dataset).kind is MERGED
    assert len(plans) == 2
    assert make.held(platform, dataset) == {"a": b"0", "b": b"1", "c": b"2", "d": b"3"}
    make.assert_sound(platform)


def test_a_commit_between_that_conflicts_is_seen(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = forked(platform, {"a": b"0"}, {"b": b"1"}, {"a": b"2"})
    real = BranchService._commit

    def commit(self: BranchService, change: Any, *more: Any) -> Any:
        make.commit(platform, dataset, {"a": b"3"})
        return real(self, change, *more)

    monkeypatch.setattr(BranchService, "_commit", commit)
    with pytest.raises(MergeConflict, match="'a'"):
        merge(platform, dataset)
    assert make.held(platform, dataset)["a"] == b"3"


def test_that_claim_fails_without_the_expected_head(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant commits what it worked out before, and the other one's change is overwritten without a word."""
    dataset = forked(platform, {"a": b"0"}, {"b": b"1"}, {"a": b"2"})
    real, make_change = BranchService._commit, merging.change

    def commit(self: BranchService, change: Any, *more: Any) -> Any:
        make.commit(platform, dataset, {"a": b"3"})
        return real(self, change, *more)

    def blind(*args: Any) -> Any:
        change = make_change(*args)
        return type(change)(**{**{name: getattr(change, name) for name in change.__dataclass_fields__}, "expected_head": None})

    monkeypatch.setattr(BranchService, "_commit", commit)
    monkeypatch.setattr(merging, "change", blind)
    merge(platform, dataset)
    assert make.held(platform, dataset)["a"] == b"2"


def test_of_those_who_merge_the_same_at_once_one_does(settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = make.meeting(4)
    real = BranchService._changed

    def changed(*args: Any) -> Any:
        planned()
        return real(*args)

    with make.crowded(settings, database_url, 8) as platform:
        dataset = forked(platform, {"a": b"0"}, {"b": b"1"}, {"c": b"2"})
        monkeypatch.setattr(BranchService, "_changed", changed)
        done = make.at_once(*[lambda: merge(platform, dataset)] * 4)
        assert Counter(one.kind for one in done) == {MERGED: 1, ALREADY: 3}
        assert {one.version_number for one in done} == {4}
        make.assert_sound(platform)


def test_forwarding_that_is_overtaken_is_worked_out_again(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = forked(platform, {"a": b"0"}, {}, {"c": b"2"})
    real = BranchService._fast_forward
    attempts: list[int] = []

    def forward(self: BranchService, tx: Transaction, *args: Any) -> Any:
        attempts.append(1)
        if len(attempts) == 1:
            make.commit(platform, dataset, {"b": b"1"})
        return real(self, tx, *args)

    monkeypatch.setattr(BranchService, "_fast_forward", forward)
    assert merge(platform, dataset).kind is MERGED
    assert make.held(platform, dataset) == {"a": b"0", "b": b"1", "c": b"2"}


def test_a_merge_that_is_overtaken_for_ever_gives_up(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = forked(platform, {"a": b"0"}, {}, {"c": b"2"})
    monkeypatch.setattr(branches_module, "MAX_ATTEMPTS", 3)
    monkeypatch.setattr(BranchService, "_fast_forward", lambda *_: None)
    with pytest.raises(Conflict, match="is being changed by many at once: try again"):
        merge(platform, dataset)


# --- against dictionaries ----------------------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b", "é", "sub/c"])
changes = st.dictionaries(names, st.none() | small_contents, max_size=3)


def _after(state: Mapping[str, bytes], change: Mapping[str, bytes | None]) -> dict[str, bytes]:
    return {name: data for name, data in {**state, **change}.items() if data is not None}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    base=st.dictionaries(names, small_contents, max_size=4), ours=changes, theirs=changes, strategy=st.none() | st.sampled_from([*Choice])
)
def test_merges_behave_as_dictionaries_would(
    base: dict[str, bytes],
    ours: dict[str, bytes | None],
    theirs: dict[str, bytes | None],
    strategy: Choice | None,
    platform: Platform,
) -> None:
    base = {**base, "always": b"0"}
    left = {name: data for name, data in ours.items() if base.get(name) != data}
    right = {name: data for name, data in theirs.items() if base.get(name) != data}
    dataset = forked(platform, base, left, right, f"d{uuid4().hex}")
    mine, other = _after(base, left), _after(base, right)
    conflicts = {name for name in left.keys() & right.keys() if left[name] != right[name]}
    if not right or (not left and right):
        assert merge(platform, dataset).kind is (ALREADY if not right else FORWARDED)
        assert make.held(platform, dataset) == (other if right else mine)
        return
    if conflicts and strategy is None:
        with pytest.raises(MergeConflict) as caught:
            merge(platform, dataset)
        assert {one.name for one in caught.value.components} == conflicts
        assert make.held(platform, dataset) == mine
        return
    winner = {Choice.OURS: mine, Choice.THEIRS: other, Choice.BASE: base}
    expected = _after(mine, {name: data for name, data in right.items() if name not in conflicts})
    if strategy is not None:
        expected = _after(expected, {name: winner[strategy].get(name) for name in conflicts})
    assert merge(platform, dataset, strategy=strategy).kind is MERGED
    assert make.held(platform, dataset) == expected
    version, components = platform.versions.get_version(platform.actor(), dataset)
    assert (version.components, version.total_bytes) == (len(components), sum(map(len, expected.values())))
