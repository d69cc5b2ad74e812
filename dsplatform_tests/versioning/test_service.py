import hashlib
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsplatform.bootstrap import Platform
from dsplatform.core.database import Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Conflict, Denied, DsplatformError, Invalid, NotFound
from dsplatform.core.interfaces import Inspection
from dsplatform.core.settings import Settings
from dsplatform.core.types import FilePath, PermissionType, PointerName, VersionId, file_path
from dsplatform.core.values import CommitMode, Committed, Content, DatasetRef, UploadOvertaken, VersionChange
from dsplatform.datasets.service import DatasetService
from dsplatform.files.model import FileDamaged
from dsplatform.files.upload import StagedUpload
from dsplatform.versioning import publishing
from dsplatform.versioning.model import EmptyVersion, HeadMoved, VersionMissing
from dsplatform.versioning.pointers import Pointers
from dsplatform.versioning.publishing import Publisher
from dsplatform.versioning.repository import Versions
from dsplatform_tests import make
from dsplatform_tests.strategies import component_names, small_contents

REPLACE = CommitMode.REPLACE


@pytest.fixture
def sales(platform: Platform) -> DatasetRef:
    return make.dataset(platform)


def numbers(platform: Platform, dataset: DatasetRef) -> list[int]:
    return make.column(
        platform.db, "SELECT version_number FROM dataset_versions WHERE dataset_id = :id ORDER BY version_number", id=dataset.id
    )


def history(platform: Platform, dataset: DatasetRef, ref: str = "main") -> list[int]:
    """The numbers from a head along the parents to the first version."""
    version, _ = platform.versions.get_version(platform.actor(), dataset, ref)
    walked = [version.number]
    while version.parent_number is not None:
        version, _ = platform.versions.get_version(platform.actor(), dataset, str(version.parent_number))
        walked.append(version.number)
    return walked


def tag(platform: Platform, dataset: DatasetRef, name: str, committed: Committed) -> None:
    with platform.db.transaction() as tx:
        assert Pointers(tx).create(dataset.id, PointerName(name), committed.version_id, dataset.created_by)
        tx.execute("UPDATE dataset_pointers SET is_tag = true WHERE pointer_name = :name", name=name)


# --- what a version holds ----------------------------------------------------------------------------------------------------------


def test_a_first_version_holds_what_was_given_and_makes_main(platform: Platform, sales: DatasetRef) -> None:
    done = make.commit(platform, sales, {"b": b"1", "a": b"22"}, message=" first ")
    assert (done.version_number, done.created, done.branch) == (1, True, "main")
    assert (done.added, done.updated, done.removed) == (2, 0, 0)
    version, components = platform.versions.get_version(platform.actor(), sales)
    assert (version.id, version.number, version.parent_number, version.message, version.author) == (
        done.version_id,
        1,
        None,
        "first",
        "system",
    )
    assert (version.components, version.total_bytes, version.pointers) == (2, 3, ("main",))
    assert [component.name for component in components] == ["b", "a"]
    assert make.held(platform, sales) == {"b": b"1", "a": b"22"}
    make.assert_sound(platform)


def test_a_patch_carries_the_others_over(platform: Platform, sales: DatasetRef) -> None:
    make.commit(platform, sales, {"a": b"1", "b": b"2", "c": b"3"})
    done = make.commit(platform, sales, {"b": b"22", "d": b"4"}, remove=["c"])
    assert (done.added, done.updated, done.removed) == (1, 1, 1)
    assert make.held(platform, sales) == {"a": b"1", "b": b"22", "d": b"4"}
    assert make.held(platform, sales, "1") == {"a": b"1", "b": b"2", "c": b"3"}


def test_a_replacement_leaves_the_others_out(platform: Platform, sales: DatasetRef) -> None:
    make.commit(platform, sales, {"a": b"1", "b": b"2"})
    done = make.commit(platform, sales, {"b": b"2", "c": b"3"}, mode=REPLACE)
    assert (done.added, done.updated, done.removed) == (1, 0, 1)
    assert make.held(platform, sales) == {"b": b"2", "c": b"3"}


def test_components_keep_their_place_and_new_ones_come_last(platform: Platform, sales: DatasetRef) -> None:
    make.commit(platform, sales, {"c": b"1", "a": b"2", "b": b"3"})
    make.commit(platform, sales, {"z": b"4", "a": b"22", "d": b"5"}, remove=["c"])
    _, components = platform.versions.get_version(platform.actor(), sales)
    assert [component.name for component in components] == ["a", "b", "z", "d"]


def test_the_same_bytes_under_two_names_are_two_components_of_one_file(platform: Platform, sales: DatasetRef) -> None:
    make.commit(platform, sales, {"a": b"x", "b": b"x"})
    _, components = platform.versions.get_version(platform.actor(), sales)
    assert len({component.file_id for component in components}) == 1
    assert make.held(platform, sales) == {"a": b"x", "b": b"x"}
    make.assert_sound(platform)


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["main", "main", "side"]),
        st.sampled_from(CommitMode),
        st.dictionaries(component_names, small_contents, max_size=3),
        st.sets(component_names, max_size=2),
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS)
def test_versions_behave_as_a_dictionary_would(
    operations: list[tuple[str, CommitMode, dict[str, bytes], set[str]]], platform: Platform
) -> None:
    dataset = make.dataset(platform, f"d{uuid4().hex}")
    heads: dict[str, dict[str, bytes]] = {}
    made: list[dict[str, bytes]] = []
    for branch, mode, put, remove in operations:
        before = heads.get(branch, heads.get("main"))
        after = {**{name: data for name, data in (before or {}).items() if mode is CommitMode.PATCH and name not in remove}, **put}
        sensible = not (remove & set(put)) and remove <= set(before or {})
        if not sensible or not after or (not put and not remove and mode is CommitMode.PATCH):
            with pytest.raises(Invalid):
                make.commit(platform, dataset, put, remove=sorted(remove), branch=branch, mode=mode)
            continue
        done = make.commit(platform, dataset, put, remove=sorted(remove), branch=branch, mode=mode)
        assert done.created == (after != before)
        heads[branch] = after
        heads.setdefault("main", after)
        made += [after] if done.created else []
        assert make.held(platform, dataset, branch) == after
        version, _ = platform.versions.get_version(platform.actor(), dataset, branch)
        assert (version.components, version.total_bytes) == (len(after), sum(map(len, after.values())))
    assert numbers(platform, dataset) == list(range(1, len(made) + 1))
    for number, tree in enumerate(made, 1):
        assert make.held(platform, dataset, str(number)) == tree
    for branch, tree in heads.items():
        assert make.held(platform, dataset, branch) == tree
    assert replayed(platform, dataset) == [{name: sha(data) for name, data in tree.items()} for tree in made]
    make.assert_sound(platform)


def test_what_was_committed_never_changes(platform: Platform, sales: DatasetRef) -> None:
    make.commit(platform, sales, {"a": b"1"})
    before = platform.versions.get_version(platform.actor(), sales, "1")
    make.commit(platform, sales, {"a": b"2"})
    after = platform.versions.get_version(platform.actor(), sales, "1")
    assert after[1] == before[1]
    assert after[0].plain() == {**before[0].plain(), "pointers": []}


# --- what makes no version ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", CommitMode)
def test_an_upload_that_changes_nothing_makes_no_version(mode: CommitMode, platform: Platform, sales: DatasetRef) -> None:
    first = make.commit(platform, sales, {"a": b"1", "b": b"2"})
    again = make.commit(platform, sales, {"a": b"1", "b": b"2"}, mode=mode)
    assert (again.created, again.version_id, again.version_number) == (False, first.version_id, 1)
    assert (again.added, again.updated, again.removed) == (0, 0, 0)
    assert numbers(platform, sales) == [1]
    make.assert_sound(platform)


@pytest.mark.parametrize(
    ("put", "remove", "mode"),
    [({}, [], CommitMode.PATCH), ({}, [], REPLACE), ({}, ["a", "b"], CommitMode.PATCH)],
)
def test_a_version_without_components_is_refused(
    put: dict[str, bytes], remove: list[str], mode: CommitMode, platform: Platform, sales: DatasetRef
) -> None:
    if not remove:
        with pytest.raises(EmptyVersion, match="'sales' needs at least one component"):
            make.commit(platform, sales, put, mode=mode)
    make.commit(platform, sales, {"a": b"1", "b": b"2"})
    with pytest.raises(EmptyVersion):
        make.commit(platform, sales, put, remove=remove, mode=mode)
    assert numbers(platform, sales) == [1]


def test_two_spellings_of_one_component_are_refused(platform: Platform, sales: DatasetRef) -> None:
    with pytest.raises(Invalid, match="two components have the same name"):
        make.commit(platform, sales, {"caf\u00e9": b"1", "cafe\u0301": b"2"})
    make.commit(platform, sales, {"cafe\u0301": b"1"})
    assert make.commit(platform, sales, {"caf\u00e9": b"2"}).updated == 1


def test_a_source_that_cannot_be_taken_makes_no_version(platform: Platform, sales: DatasetRef, system: Actor, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="'b' cannot be stored: it is gone"):
        platform.versions.create_version(system, sales, {"a": BytesIO(b"1"), "b": tmp_path / "missing"})
    assert numbers(platform, sales) == []
    make.assert_sound(platform)


@pytest.mark.parametrize(
    "wrong",
    [{"branch": "a b"}, {"message": "x" * 10_001}, {"remove": ["../x"]}],
)
def test_a_wrong_argument_makes_no_version(wrong: dict[str, Any], platform: Platform, sales: DatasetRef) -> None:
    with pytest.raises(Invalid):
        make.commit(platform, sales, {"a": b"1"}, **wrong)
    assert numbers(platform, sales) == []
    make.assert_sound(platform)


def test_a_deleted_dataset_takes_no_version(platform: Platform, sales: DatasetRef) -> None:
    with platform.db.transaction() as tx:
        tx.execute("UPDATE datasets SET deleted_at = now()")
    with pytest.raises(NotFound, match="was deleted"):
        make.commit(platform, sales, {"a": b"1"})
    make.assert_sound(platform)


# --- branches and tags -------------------------------------------------------------------------------------------------------------


def test_the_first_version_makes_main_whatever_branch_it_was_written_to(platform: Platform, sales: DatasetRef) -> None:
    done = make.commit(platform, sales, {"a": b"1"}, branch="side")
    version, _ = platform.versions.get_version(platform.actor(), sales)
    assert (version.id, version.pointers) == (done.version_id, ("main", "side"))


def test_a_new_branch_begins_at_the_head_of_main(platform: Platform, sales: DatasetRef) -> None:
    make.commit(platform, sales, {"a": b"1"})
    make.commit(platform, sales, {"b": b"2"})
    make.commit(platform, sales, {"c": b"3"}, branch="side")
    make.commit(platform, sales, {"d": b"4"})
    assert make.held(platform, sales, "side") == {"a": b"1", "b": b"2", "c": b"3"}
    assert make.held(platform, sales, "main") == {"a": b"1", "b": b"2", "d": b"4"}
    assert history(platform, sales, "side") == [3, 2, 1]
    assert history(platform, sales, "main") == [4, 2, 1]


def test_a_branch_that_differs_in_nothing_points_at_mains_head(platform: Platform, sales: DatasetRef) -> None:
    first = make.commit(platform, sales, {"a": b"1"})
    done = make.commit(platform, sales, {"a": b"1"}, branch="side")
    assert (done.created, done.version_id) == (False, first.version_id)
    version, _ = platform.versions.get_version(platform.actor(), sales, "side")
    assert version.pointers == ("main", "side")


def test_a_tag_cannot_be_written_to(platform: Platform, sales: DatasetRef) -> None:
    tag(platform, sales, "v1", make.commit(platform, sales, {"a": b"1"}))
    with pytest.raises(Conflict, match=r"'v1' is a tag.*name a branch"):
        make.commit(platform, sales, {"a": b"2"}, branch="v1")
    assert numbers(platform, sales) == [1]
    make.assert_sound(platform)


# --- references --------------------------------------------------------------------------------------------------------------------


def test_a_version_is_named_by_number_latest_branch_or_tag(platform: Platform, sales: DatasetRef, system: Actor) -> None:
    first = make.commit(platform, sales, {"a": b"1"})
    second = make.commit(platform, sales, {"a": b"2"})
    third = make.commit(platform, sales, {"a": b"3"}, branch="side")
    tag(platform, sales, "v1", first)

    def named(ref: str | None) -> VersionId:
        return platform.versions.get_version(system, sales, ref)[0].id

    assert [named(ref) for ref in ("1", "2", "3")] == [first.version_id, second.version_id, third.version_id]
    assert named(None) == named("main") == second.version_id
    assert named("latest") == named("side") == third.version_id
    assert named("v1") == first.version_id
    reference, version, components = platform.versions.find(system, "sales@v1")
    assert (reference, version.id, len(components)) == (sales, first.version_id, 1)
    assert platform.versions.find(system, "sales")[1].id == second.version_id
    assert platform.versions.label(third.version_id) == (sales, 3)


@pytest.mark.parametrize("ref", ["9", "0", "nothing", "٣", "1234567890", "99999999999999999999", "-1", "Main", "' OR 1=1 --"])
def test_a_reference_that_names_nothing_says_how_to_find_out(ref: str, platform: Platform, sales: DatasetRef, system: Actor) -> None:
    make.commit(platform, sales, {"a": b"1"})
    with pytest.raises(VersionMissing, match=r"'sales' has no version, branch or tag .*: `dsplatform log sales` lists them"):
        platform.versions.get_version(system, sales, ref)


@pytest.mark.parametrize("ref", [None, "main", "latest"])
def test_an_empty_dataset_has_no_version_yet(ref: str | None, platform: Platform, sales: DatasetRef, system: Actor) -> None:
    with pytest.raises(VersionMissing, match="has no version yet"):
        platform.versions.get_version(system, sales, ref)


def test_a_number_is_one_of_its_own_dataset(platform: Platform, sales: DatasetRef, system: Actor) -> None:
    other = make.dataset(platform, "other")
    make.commit(platform, other, {"a": b"1"})
    make.commit(platform, other, {"a": b"2"})
    make.commit(platform, sales, {"a": b"1"})
    with pytest.raises(VersionMissing):
        platform.versions.get_version(system, sales, "2")


def test_versions_are_listed_newest_first_in_pages_that_hold_each_once(platform: Platform, sales: DatasetRef, system: Actor) -> None:
    for number in range(7):
        make.commit(platform, sales, {"a": str(number).encode()}, branch="side" if number % 2 else "main")
    assert [version.number for version in platform.versions.list_versions(system, sales)] == [7, 6, 5, 4, 3, 2, 1]
    pages: list[list[int]] = []
    before = None
    while page := [version.number for version in platform.versions.list_versions(system, sales, before=before, limit=3)]:
        pages.append(page)
        before = page[-1]
    assert pages == [[7, 6, 5], [4, 3, 2], [1]]


def test_the_newest_of_all_are_one_of_each_living_dataset_that_has_one(platform: Platform, sales: DatasetRef) -> None:
    make.commit(platform, sales, {"a": b"1"})
    newest = make.commit(platform, sales, {"a": b"2"}, branch="side")
    make.dataset(platform, "empty")
    dead = make.dataset(platform, "dead")
    make.commit(platform, dead, {"a": b"1"})
    with platform.db.transaction() as tx:
        tx.execute("UPDATE datasets SET deleted_at = now() WHERE id = :id", id=dead.id)
    assert list(platform.versions.newest_of_all()) == [(sales, newest.version_id)]


# --- rights ------------------------------------------------------------------------------------------------------------------------


def test_reading_and_writing_need_their_rights(platform: Platform, sales: DatasetRef, system: Actor) -> None:
    make.commit(platform, sales, {"a": b"1"})
    ben = platform.permissions.create_user("ben")
    reads: list[Callable[[], object]] = [
        lambda: platform.versions.get_version(ben, sales),
        lambda: platform.versions.list_versions(ben, sales),
        lambda: platform.versions.find(ben, "sales@1"),
    ]
    for read in reads:
        with pytest.raises((Denied, NotFound), match=r"lacks the right 'read'|'sales' does not exist"):
            read()
    platform.permissions.grant_permission(system, ben, PermissionType.READ, sales.id)
    for read in reads:
        assert read()
    with pytest.raises(Denied, match="lacks the right 'write'"):
        make.commit(platform, sales, {"a": b"2"}, actor=ben)
    platform.permissions.grant_permission(system, ben, PermissionType.WRITE, sales.id)
    assert make.commit(platform, sales, {"a": b"2"}, actor=ben).created
    assert platform.versions.get_version(system, sales)[0].author == "ben"
    make.assert_sound(platform)


def test_a_right_that_is_lost_before_the_commit_is_missed(
    platform: Platform, sales: DatasetRef, system: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ben = platform.permissions.create_user("ben")
    platform.permissions.grant_permission(system, ben, PermissionType.WRITE, sales.id)
    real = Publisher._hold

    def hold(self: Publisher, upload: Any, drafts: Any) -> Any:
        with platform.db.transaction() as tx:
            tx.execute("DELETE FROM permissions WHERE user_id = :id", id=ben.user_id)
        return real(self, upload, drafts)

    monkeypatch.setattr(Publisher, "_hold", hold)
    with pytest.raises(Denied):
        make.commit(platform, sales, {"a": b"1"}, actor=ben)
    assert numbers(platform, sales) == []
    make.assert_sound(platform)


# --- idempotency and expected heads ------------------------------------------------------------------------------------------------


def test_a_repeated_key_answers_with_the_version_that_the_first_made(platform: Platform, sales: DatasetRef) -> None:
    first = make.commit(platform, sales, {"a": b"1"}, idempotency_key="k")
    make.commit(platform, sales, {"a": b"2"})
    again = make.commit(platform, sales, {"a": b"1"}, idempotency_key="k")
    assert (again.version_id, again.version_number, again.created) == (first.version_id, 1, False)
    assert numbers(platform, sales) == [1, 2]
    make.assert_sound(platform)


def test_a_repeated_key_is_answered_though_the_head_has_moved_on(platform: Platform, sales: DatasetRef) -> None:
    base = make.commit(platform, sales, {"a": b"0"}).version_id
    first = make.commit(platform, sales, {"a": b"1"}, idempotency_key="k", expected_head=base)
    again = make.commit(platform, sales, {"a": b"1"}, idempotency_key="k", expected_head=base)
    assert again.version_id == first.version_id


def test_a_key_belongs_to_its_dataset(platform: Platform, sales: DatasetRef) -> None:
    other = make.dataset(platform, "other")
    assert make.commit(platform, sales, {"a": b"1"}, idempotency_key="k").created
    assert make.commit(platform, other, {"a": b"1"}, idempotency_key="k").created


@pytest.mark.usefixtures("apart")
def test_one_key_at_once_makes_one_version(settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drafted = make.meeting(8)
    real = Publisher._hold

    def hold(self: Publisher, upload: Any, drafts: Any) -> Any:
        drafted()  # none has seen the key
        return real(self, upload, drafts)

    monkeypatch.setattr(Publisher, "_hold", hold)
    with make.crowded(settings, database_url, 8) as platform:
        dataset = make.dataset(platform)
        answers = make.at_once(*[lambda: make.commit(platform, dataset, {"a": b"1"}, idempotency_key="k")] * 8)
        assert len({answer.version_id for answer in answers}) == 1
        assert Counter(answer.created for answer in answers) == {True: 1, False: 7}
        assert numbers(platform, dataset) == [1]
        make.assert_sound(platform)


@pytest.mark.parametrize("there", [True, False])
def test_an_expected_head_that_is_not_the_head_is_a_conflict(there: bool, platform: Platform, sales: DatasetRef) -> None:
    if there:
        old = make.commit(platform, sales, {"a": b"1"}).version_id
        head = make.commit(platform, sales, {"a": b"2"}).version_id
    else:
        old = VersionId(99)
    with pytest.raises(HeadMoved, match=r"is at version 2, not where" if there else "has no version yet, not where") as caught:
        make.commit(platform, sales, {"a": b"3"}, expected_head=old)
    assert isinstance(caught.value, Conflict)
    if there:
        assert make.commit(platform, sales, {"a": b"3"}, expected_head=head).version_number == 3
        assert make.commit(platform, sales, {"a": b"4"}, branch="side", expected_head=make.commit(platform, sales, {"a": b"3"}).version_id)
    make.assert_sound(platform)


@pytest.mark.usefixtures("apart")
def test_of_those_who_expect_one_head_at_once_one_wins(settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drafted = make.meeting(6)
    real = Publisher._hold

    def hold(self: Publisher, upload: Any, drafts: Any) -> Any:
        drafted()
        return real(self, upload, drafts)

    with make.crowded(settings, database_url, 6) as platform:
        dataset = make.dataset(platform)
        head = make.commit(platform, dataset, {"a": b"0"}).version_id
        monkeypatch.setattr(Publisher, "_hold", hold)

        def attempt(number: int) -> bool:
            try:
                return make.commit(platform, dataset, {"a": str(number).encode()}, expected_head=head).created
            except HeadMoved:
                return False

        works: list[Callable[[], bool]] = [lambda number=number: attempt(number) for number in range(1, 7)]  # type: ignore[misc]  # mypy cannot infer a lambda's default
        assert Counter(make.at_once(*works)) == {True: 1, False: 5}
        assert numbers(platform, dataset) == [1, 2]
        make.assert_sound(platform)


# --- many at once ------------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("apart")
def test_committers_at_once_lose_nothing_and_leave_no_gap(settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    committers, each = 16, 2
    drafts: list[int] = []
    meet = make.meeting(committers)
    real = Publisher._draft

    def draft(self: Publisher, tx: Transaction, inspection: Inspection, change: VersionChange) -> Any:
        drafts.append(1)
        worked_out = real(self, tx, inspection, change)
        meet()  # all have seen the same head
        return worked_out

    with make.crowded(settings, database_url, committers + 1) as platform:  # one more for the intent of who holds the lock
        dataset = make.dataset(platform)
        make.commit(platform, dataset, {"base": b"0"})
        monkeypatch.setattr(Publisher, "_draft", draft)

        def work(who: int) -> Callable[[], None]:
            def commits() -> None:
                for number in range(each):
                    assert make.commit(platform, dataset, {f"{who}/{number}": f"{who} {number}".encode()}).created

            return commits

        make.at_once(*[work(who) for who in range(committers)])
        assert len(drafts) >= committers * each + committers - 1  # the collisions did happen
        made = committers * each + 1
        assert numbers(platform, dataset) == list(range(1, made + 1))
        assert history(platform, dataset) == list(range(made, 0, -1))
        _, components = platform.versions.get_version(platform.actor(), dataset)
        assert {component.name for component in components} == {
            "base",
            *(f"{who}/{number}" for who in range(committers) for number in range(each)),
        }
        assert len(replayed(platform, dataset)) == made
        make.assert_sound(platform)


def test_writers_of_one_process_take_turns_and_work_nothing_out_twice(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafts: list[int] = []
    real = Publisher._draft

    def draft(self: Publisher, tx: Transaction, inspection: Inspection, change: VersionChange) -> Any:
        drafts.append(1)
        return real(self, tx, inspection, change)

    monkeypatch.setattr(Publisher, "_draft", draft)
    with make.crowded(settings, database_url, 8) as platform:
        dataset = make.dataset(platform)
        works: list[Callable[[], Committed]] = [
            lambda who=who: make.commit(platform, dataset, {str(who): b"1"}) for who in range(8)  # type: ignore[misc]  # mypy cannot infer a lambda's default
        ]  # fmt: skip
        make.at_once(*works)
        assert len(drafts) == 8
        assert history(platform, dataset) == list(range(8, 0, -1))
        make.assert_sound(platform)


def _two_meet(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, owner: type, method: str
) -> tuple[list[Committed | DsplatformError], bool, DatasetRef]:
    """One commit stops behind its first call of the method; another one runs meanwhile, as far as it is let. Deterministic.

    Answers the two outcomes, whether the second one had to wait, and the dataset.
    """
    dataset = make.dataset(platform)
    make.commit(platform, dataset, {"base": b"0"})
    second: list[Future[Committed | DsplatformError]] = []
    waited: list[bool] = []
    real = getattr(owner, method)

    def commit(name: str) -> Committed | DsplatformError:
        try:
            return make.commit(platform, dataset, {name: name.encode()})
        except DsplatformError as err:
            return err

    with ThreadPoolExecutor(1) as pool:

        def stopping(*args: Any) -> Any:
            answer = real(*args)
            if not second:
                second.append(pool.submit(commit, "second"))
                waited.append(make.until_blocked(platform.db, or_done=second[0].done))
            return answer

        monkeypatch.setattr(owner, method, stopping)
        first = commit("first")
        return [first, second[0].result(make.PATIENCE)], waited[0], dataset


def _all_kept(platform: Platform, outcomes: list[Committed | DsplatformError], dataset: DatasetRef) -> bool:
    return (
        all(isinstance(outcome, Committed) and outcome.created for outcome in outcomes)
        and make.held(platform, dataset) == {"base": b"0", "first": b"first", "second": b"second"}
        and history(platform, dataset) == [3, 2, 1]
    )


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("point", [(StagedUpload, "record"), (Versions, "add"), (Pointers, "move")], ids=["recorded", "added", "moved"])
def test_a_commit_that_comes_between_waits_and_is_worked_out_again(
    point: tuple[type, str], platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes, waited, dataset = _two_meet(platform, monkeypatch, *point)
    assert waited
    assert _all_kept(platform, outcomes, dataset)
    make.assert_sound(platform)


@pytest.mark.usefixtures("apart")
def test_the_claim_fails_without_the_lock(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both then take the same number, and one of them is refused for no fault of its own."""
    monkeypatch.setattr(DatasetService, "lock", lambda *_: None)
    outcomes, _, dataset = _two_meet(platform, monkeypatch, Versions, "add")
    assert not _all_kept(platform, outcomes, dataset)


def _acknowledged_are_kept(platform: Platform, outcomes: list[Committed | DsplatformError], dataset: DatasetRef) -> bool:
    reachable = history(platform, dataset)
    return all(outcome.version_number in reachable for outcome in outcomes if isinstance(outcome, Committed))


@pytest.mark.usefixtures("apart")
def test_without_the_lock_the_compare_and_swap_still_keeps_what_was_acknowledged(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DatasetService, "lock", lambda *_: None)
    outcomes, waited, dataset = _two_meet(platform, monkeypatch, StagedUpload, "record")
    assert not waited
    assert _acknowledged_are_kept(platform, outcomes, dataset)


@pytest.mark.usefixtures("apart")
def test_mutant_a_blind_update_fails_that_claim(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DatasetService, "lock", lambda *_: None)
    monkeypatch.setattr(Pointers, "move", make.moved_blindly)
    outcomes, waited, dataset = _two_meet(platform, monkeypatch, StagedUpload, "record")
    assert not waited
    assert all(isinstance(outcome, Committed) for outcome in outcomes)
    assert not _acknowledged_are_kept(platform, outcomes, dataset)


def test_a_commit_that_is_overtaken_for_ever_gives_up(platform: Platform, sales: DatasetRef, monkeypatch: pytest.MonkeyPatch) -> None:
    def overtaken(*_: object) -> None:
        raise UploadOvertaken("again")

    monkeypatch.setattr(publishing, "MAX_ATTEMPTS", 3)
    monkeypatch.setattr(StagedUpload, "record", overtaken)
    with pytest.raises(Conflict, match="is being changed by many at once: try again"):
        make.commit(platform, sales, {"a": b"1"})
    make.assert_sound(platform)


def test_a_victim_of_the_database_is_repeated(platform: Platform, sales: DatasetRef, monkeypatch: pytest.MonkeyPatch) -> None:
    victims = iter([1, 2])
    real = StagedUpload.record

    def record(self: StagedUpload, tx: Transaction, hashes: Any) -> Any:
        found = real(self, tx, hashes)
        for _ in victims:
            tx.execute("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = 'serialization_failure'; END $$")
        return found

    monkeypatch.setattr(StagedUpload, "record", record)
    assert make.commit(platform, sales, {"a": b"1"}).version_number == 1
    make.assert_sound(platform)


def test_commits_to_two_datasets_with_contents_in_common_do_not_disturb_each_other(settings: Settings, database_url: str) -> None:
    with make.crowded(settings, database_url, 6) as platform:
        datasets = [make.dataset(platform, f"d{number}") for number in range(6)]
        trees = [{f"{name}": str((number + name) % 6).encode() for name in range(4)} for number in range(6)]
        works: list[Callable[[], Committed]] = [
            lambda to=to, tree=tree: make.commit(platform, to, tree) for to, tree in zip(datasets, trees, strict=True)  # type: ignore[misc]  # mypy cannot infer a lambda's default
        ]  # fmt: skip
        make.at_once(*works)
        assert [make.held(platform, dataset) for dataset in datasets] == trees
        make.assert_sound(platform)


# --- publishing many ---------------------------------------------------------------------------------------------------------------


def publish(
    platform: Platform,
    changes: list[tuple[DatasetRef, dict[str, bytes]]],
    within: Callable[[Transaction, int, Committed], None] = lambda *_: None,
    actor: Actor | None = None,
) -> list[Committed | DsplatformError]:
    with platform.files.upload() as upload:
        asked = []
        for dataset, tree in changes:
            put: dict[FilePath, Content] = {}
            for name, content in zip(tree, upload.add([BytesIO(data) for data in tree.values()]), strict=True):
                assert isinstance(content, Content)
                put[file_path(name)] = content
            asked.append(VersionChange(actor or platform.actor(), dataset, put))
        return list(platform.versions.publish(upload, asked, within))


class Within(DsplatformError):
    """What a callback refuses with."""


def test_many_changes_are_published_behind_one_barrier(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    seals: list[int] = []
    real = StagedUpload.seal

    def seal(self: StagedUpload) -> None:
        seals.append(1)
        real(self)

    monkeypatch.setattr(StagedUpload, "seal", seal)
    datasets = [make.dataset(platform, f"d{number}") for number in range(5)]
    outcomes = publish(platform, [(dataset, {"a": str(number).encode()}) for number, dataset in enumerate(datasets)])
    assert all(isinstance(outcome, Committed) for outcome in outcomes)
    assert seals == [1]
    assert [make.held(platform, dataset) for dataset in datasets] == [{"a": str(number).encode()} for number in range(5)]
    make.assert_sound(platform)


def test_changes_of_one_publication_may_share_contents_and_a_dataset(platform: Platform, sales: DatasetRef) -> None:
    other = make.dataset(platform, "other")
    outcomes = publish(platform, [(sales, {"a": b"x"}), (other, {"a": b"x"}), (sales, {"b": b"x"}), (sales, {"b": b"x"})])
    made = [outcome.created for outcome in outcomes if isinstance(outcome, Committed)]
    assert made == [True, True, True, False]
    assert make.held(platform, sales) == {"a": b"x", "b": b"x"}
    assert history(platform, sales) == [2, 1]
    make.assert_sound(platform)


def test_a_change_that_fails_leaves_the_others_alone(platform: Platform, sales: DatasetRef, system: Actor) -> None:
    ann = platform.permissions.create_user("ann")
    platform.permissions.grant_permission(system, ann, PermissionType.WRITE, sales.id)
    foreign = make.dataset(platform, "foreign")
    outcomes = publish(platform, [(foreign, {"a": b"1"}), (sales, {"a": b"2"}), (sales, {})], actor=ann)
    assert [type(outcome).__name__ for outcome in outcomes] == ["MissingRight", "Committed", "EmptyVersion"]
    assert make.held(platform, sales) == {"a": b"2"}
    make.assert_sound(platform)


def test_what_the_callback_does_is_in_the_versions_transaction(platform: Platform, sales: DatasetRef) -> None:
    other = make.dataset(platform, "other")

    def within(tx: Transaction, index: int, committed: Committed) -> None:
        tx.execute("UPDATE datasets SET description = :text WHERE id = :id", text=f"at {committed.version_number}", id=committed.dataset.id)
        if index == 1:
            raise Within("not this one")

    first, second = publish(platform, [(sales, {"a": b"1"}), (other, {"a": b"2"})], within)
    assert isinstance(first, Committed)
    assert isinstance(second, Within)
    assert make.column(platform.db, "SELECT name || ':' || description FROM datasets ORDER BY 1") == ["other:", "sales:at 1"]
    assert numbers(platform, other) == []
    assert make.column(platform.db, "SELECT pointer_name FROM dataset_pointers WHERE dataset_id = :id", id=other.id) == []
    assert make.column(platform.db, "SELECT id FROM upload_intents") == []
    make.assert_sound(platform)


def test_a_callback_that_breaks_rolls_the_version_back(platform: Platform, sales: DatasetRef) -> None:
    def within(_tx: Transaction, _index: int, _committed: Committed) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        publish(platform, [(sales, {"a": b"1"})], within)
    assert numbers(platform, sales) == []
    assert make.column(platform.db, "SELECT id FROM files") == []
    assert make.buried(platform) == make.objects(platform) != set()
    make.assert_sound(platform)


def test_a_version_is_announced_by_its_own_commit(platform: Platform, sales: DatasetRef) -> None:
    def events() -> list[dict[str, Any]]:
        return make.column(platform.db, "SELECT payload FROM deliveries WHERE event = 'VersionCommitted' ORDER BY id")

    done = make.commit(platform, sales, {"a": b"1"}, branch="side")
    assert events() == [{"dataset_id": sales.id, "version_id": done.version_id, "branch": "side"}]
    make.commit(platform, sales, {"a": b"1"}, branch="side")
    with pytest.raises(EmptyVersion):
        make.commit(platform, sales, {}, mode=REPLACE)
    assert len(events()) == 1


# --- overlays ----------------------------------------------------------------------------------------------------------------------


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def replayed(platform: Platform, dataset: DatasetRef) -> list[dict[str, str]]:
    """The trees (name to hash) of all versions, rebuilt from nothing but the overlays; checks the chain on the way."""
    system = platform.actor()
    trees: dict[int, dict[str, str]] = {}
    digests: dict[int, str] = {}
    with platform.db.transaction() as tx:
        rows = tx.rows(
            "SELECT v.version_number, v.overlay_file_id FROM dataset_versions v WHERE dataset_id = :id ORDER BY version_number",
            id=dataset.id,
        )
    for row in rows:
        number = row["version_number"]
        raw = make.content(platform, row["overlay_file_id"])
        document = json.loads(raw)
        assert json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() == raw
        version, components = platform.versions.get_version(system, dataset, str(number))
        assert version.overlay_hash == sha(raw)
        assert (document["format"], document["dataset"], document["author"]) == ("dsplatform.overlay/1", dataset.slug, version.author)
        assert document["message"] == version.message
        digests[number] = sha(raw)
        parent = document["parent"]
        assert (parent and parent["number"]) == version.parent_number
        tree = dict(trees[parent["number"]]) if parent else {}
        if parent:
            assert parent["overlay"] == digests[parent["number"]]
        for one in document["changes"]:
            assert (one["op"] == "add") == (one["name"] not in tree)
            if one["op"] == "remove":
                del tree[one["name"]]
            else:
                tree[one["name"]] = one["hash"]
        assert tree == {component.name: component.content_hash for component in components}
        trees[number] = tree
    return [trees[number] for number in sorted(trees)]


def test_every_version_has_its_overlay_and_their_chain_rebuilds_the_history(platform: Platform, sales: DatasetRef) -> None:
    make.commit(platform, sales, {"a": b"1", "b": b"2"}, message="first")
    make.commit(platform, sales, {"b": b"3", "c": b"1"}, branch="side")
    make.commit(platform, sales, {"é": b"4"}, remove=["a"], message="third")
    make.commit(platform, sales, {"c": b"5"}, mode=REPLACE, branch="side")
    assert replayed(platform, sales) == [
        {"a": sha(b"1"), "b": sha(b"2")},
        {"a": sha(b"1"), "b": sha(b"3"), "c": sha(b"1")},
        {"b": sha(b"2"), "é": sha(b"4")},
        {"c": sha(b"5")},
    ]


def test_the_chain_breaks_when_an_overlay_is_changed(platform: Platform, sales: DatasetRef) -> None:
    make.commit(platform, sales, {"a": b"1"}, message="first")
    make.commit(platform, sales, {"a": b"2"})
    (overlay_id,) = make.column(platform.db, "SELECT overlay_file_id FROM dataset_versions WHERE version_number = 1")
    path = make.object_path(platform, overlay_id)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"first", b"FIRST"))
    with pytest.raises(FileDamaged):
        replayed(platform, sales)
