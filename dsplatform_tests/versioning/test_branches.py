"""Branches and tags, and the questions about history that are asked of the database."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.database import Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Conflict, Denied, DsplatformError, Gone, Invalid, NotFound
from dsplatform.core.settings import Settings
from dsplatform.core.types import PermissionType, VersionId
from dsplatform.core.values import DatasetRef
from dsplatform.datasets.service import DatasetService
from dsplatform.versioning.branches import BranchService
from dsplatform.versioning.model import HeadMoved, MainStays, Pointer, PointerMissing, PointerTaken, TagsNeverMove, VersionMissing
from dsplatform.versioning.pointers import Pointers
from dsplatform_tests import make


@pytest.fixture
def sales(platform: Platform) -> DatasetRef:
    """Three versions on `main`."""
    dataset = make.dataset(platform)
    for number in range(3):
        make.commit(platform, dataset, {"a": str(number).encode()})
    return dataset


@pytest.fixture
def branches(platform: Platform) -> BranchService:
    return platform.branches


def numbers(pointers: "list[Pointer] | tuple[Pointer, ...]") -> dict[str, int]:
    return {pointer.name: pointer.version_number for pointer in pointers}


def at(platform: Platform, dataset: DatasetRef, ref: str) -> VersionId:
    return platform.versions.get_version(platform.actor(), dataset, ref)[0].id


# --- branches ----------------------------------------------------------------------------------------------------------------------


def test_a_branch_begins_where_it_is_told_and_by_default_at_main(branches: BranchService, sales: DatasetRef, system: Actor) -> None:
    made = branches.create_branch(system, sales, "team/try-1", "1")
    assert (made.name, made.is_tag, made.version_number, made.created_by) == ("team/try-1", False, 1, "system")
    assert branches.create_branch(system, sales, "b").version_number == 3
    assert branches.create_branch(system, sales, "c", "team/try-1").version_number == 1
    assert branches.create_branch(system, sales, "d", "latest").version_number == 3
    assert numbers(list(branches.list_branches(system, sales))) == {"b": 3, "c": 1, "d": 3, "main": 3, "team/try-1": 1}
    assert branches.list_tags(system, sales) == []


def test_a_commit_goes_on_from_where_its_branch_is(platform: Platform, sales: DatasetRef, system: Actor) -> None:
    platform.branches.create_branch(system, sales, "old", "1")
    done = make.commit(platform, sales, {"b": b"new"}, branch="old")
    assert platform.versions.get_version(system, sales, "old")[0].parent_number == 1
    assert make.held(platform, sales, "old") == {"a": b"0", "b": b"new"}
    assert make.held(platform, sales) == {"a": b"2"}
    assert done.version_number == 4
    make.assert_sound(platform)


@pytest.mark.parametrize("first", ["branch", "tag"])
@pytest.mark.parametrize("second", ["branch", "tag"])
def test_branches_and_tags_share_one_namespace(first: str, second: str, branches: BranchService, sales: DatasetRef, system: Actor) -> None:
    create = {"branch": branches.create_branch, "tag": branches.create_tag}
    create[first](system, sales, "é", "1")
    with pytest.raises(PointerTaken, match="'sales' has a branch or tag 'é' already: choose another name"):
        create[second](system, sales, "e\u0301", "1")


def test_every_dataset_has_names_of_its_own(platform: Platform, sales: DatasetRef, system: Actor) -> None:
    other = make.dataset(platform, "other")
    make.commit(platform, other, {"a": b"1"})
    platform.branches.create_branch(system, sales, "x", "2")
    platform.branches.create_branch(system, other, "x")
    platform.branches.delete_branch(system, other, "x")
    assert numbers(list(platform.branches.list_branches(system, sales))) == {"main": 3, "x": 2}


@pytest.mark.parametrize("name", ["", "-x", "a..b", "a b", "a@b", "7", "latest", "a//b", "a\x00", "x" * 256])
def test_a_name_against_the_rule_is_refused(name: str, branches: BranchService, sales: DatasetRef, system: Actor) -> None:
    for create in (branches.create_branch, branches.create_tag):
        with pytest.raises(Invalid, match="is no valid branch or tag name"):
            create(system, sales, name)
    branches.create_branch(system, sales, "fine")
    with pytest.raises(Invalid, match="is no valid branch or tag name"):
        branches.rename_branch(system, sales, "fine", name)


def test_nothing_begins_where_nothing_is(platform: Platform, sales: DatasetRef, system: Actor) -> None:
    empty = make.dataset(platform, "empty")
    with pytest.raises(VersionMissing, match="has no version yet"):
        platform.branches.create_branch(system, empty, "x")
    with pytest.raises(VersionMissing, match="no version, branch or tag '9'"):
        platform.branches.create_tag(system, sales, "x", "9")


def test_a_branch_moves_anywhere_from_where_it_was_seen(platform: Platform, sales: DatasetRef, system: Actor) -> None:
    first, third = (at(platform, sales, ref) for ref in "13")
    assert platform.branches.update_branch(system, sales, "main", "1", expected_head=third).version_number == 1
    with pytest.raises(HeadMoved, match="branch 'main' of dataset 'sales' is at version 1, not where it was expected"):
        platform.branches.update_branch(system, sales, "main", "2", expected_head=third)
    assert platform.branches.update_branch(system, sales, "main", "3", expected_head=first).version_number == 3
    with pytest.raises(PointerMissing, match="has no branch 'none': `dsplatform branch list sales`"):
        platform.branches.update_branch(system, sales, "none", "3", expected_head=first)


def test_renaming_keeps_the_place(branches: BranchService, sales: DatasetRef, system: Actor) -> None:
    branches.create_branch(system, sales, "x", "2")
    branches.create_tag(system, sales, "taken", "1")
    with pytest.raises(PointerTaken):
        branches.rename_branch(system, sales, "x", "taken")
    with pytest.raises(PointerTaken):
        branches.rename_branch(system, sales, "x", "main")
    assert branches.rename_branch(system, sales, "x", "y").version_number == 2
    assert numbers(list(branches.list_branches(system, sales))) == {"main": 3, "y": 2}
    with pytest.raises(PointerMissing):
        branches.rename_branch(system, sales, "x", "z")


def test_main_stays(branches: BranchService, sales: DatasetRef, system: Actor) -> None:
    with pytest.raises(MainStays, match="can be neither renamed nor deleted"):
        branches.rename_branch(system, sales, "main", "old")
    with pytest.raises(MainStays):
        branches.delete_branch(system, sales, "main")
    assert numbers(list(branches.list_branches(system, sales))) == {"main": 3}


def test_a_deleted_branch_leaves_its_versions(platform: Platform, sales: DatasetRef, system: Actor) -> None:
    done = make.commit(platform, sales, {"b": b"x"}, branch="side")
    with pytest.raises(HeadMoved):
        platform.branches.delete_branch(system, sales, "side", expected_head=at(platform, sales, "1"))
    deleted = platform.branches.delete_branch(system, sales, "side", expected_head=done.version_id)
    assert deleted.version_number == 4
    assert make.held(platform, sales, "4") == {"a": b"2", "b": b"x"}
    with pytest.raises(PointerMissing):
        platform.branches.delete_branch(system, sales, "side")
    make.assert_sound(platform)


# --- tags --------------------------------------------------------------------------------------------------------------------------


def test_a_tag_is_made_listed_and_deleted_and_never_moves(platform: Platform, sales: DatasetRef, system: Actor) -> None:
    branches = platform.branches
    assert branches.create_tag(system, sales, "v1.0", "2").is_tag
    assert numbers(list(branches.list_tags(system, sales))) == {"v1.0": 2}
    assert platform.versions.get_version(system, sales, "v1.0")[0].number == 2
    second = at(platform, sales, "2")
    moves: list[Callable[[], object]] = [
        lambda: branches.update_branch(system, sales, "v1.0", "3", expected_head=second),
        lambda: branches.rename_branch(system, sales, "v1.0", "v2"),
        lambda: branches.delete_branch(system, sales, "v1.0"),
        lambda: branches.merge(system, sales, "3", into="v1.0"),
        lambda: make.commit(platform, sales, {"a": b"9"}, branch="v1.0"),
    ]
    for move in moves:
        with pytest.raises(TagsNeverMove, match=r"'v1\.0' is a tag, and tags never move"):
            move()
    with pytest.raises(PointerMissing, match="has no tag 'main'"):
        branches.delete_tag(system, sales, "main")
    assert branches.delete_tag(system, sales, "v1.0").version_number == 2
    with pytest.raises(PointerMissing, match=r"has no tag 'v1\.0': `dsplatform tag list sales`"):
        branches.delete_tag(system, sales, "v1.0")


# --- rights ------------------------------------------------------------------------------------------------------------------------


def test_names_and_history_need_their_rights(platform: Platform, sales: DatasetRef, system: Actor) -> None:
    branches, ben = platform.branches, platform.permissions.create_user("ben")
    head = at(platform, sales, "3")
    reads: list[Callable[[], object]] = [
        lambda: branches.list_branches(ben, sales),
        lambda: branches.list_tags(ben, sales) or True,
        lambda: branches.history(ben, sales),
        lambda: branches.picture(ben, sales),
        lambda: branches.is_ancestor(ben, sales, "1", "2"),
        lambda: branches.merge_bases(ben, sales, "1", "2"),
        lambda: branches.diff(ben, "sales@1", "sales@2"),
    ]
    writes: list[Callable[[], object]] = [
        lambda: branches.create_branch(ben, sales, "x"),
        lambda: branches.update_branch(ben, sales, "x", "3", expected_head=head),
        lambda: branches.rename_branch(ben, sales, "x", "y"),
        lambda: branches.merge(ben, sales, "main", into="y"),
        lambda: branches.delete_branch(ben, sales, "y"),
        lambda: branches.create_tag(ben, sales, "t"),
        lambda: branches.delete_tag(ben, sales, "t"),
    ]
    for read in reads:
        with pytest.raises((Denied, NotFound), match=r"lacks the right 'read'|'sales' does not exist"):
            read()
    platform.permissions.grant_permission(system, ben, PermissionType.READ, sales.id)
    assert all(read() for read in reads)
    for write in writes:
        with pytest.raises(Denied, match="lacks the right 'write'"):
            write()
    platform.permissions.grant_permission(system, ben, PermissionType.WRITE, sales.id)
    assert all(write() for write in writes)


def test_the_names_of_a_deleted_dataset_stay_as_they_are(platform: Platform, sales: DatasetRef, system: Actor) -> None:
    with platform.db.transaction() as tx:
        tx.execute("UPDATE datasets SET deleted_at = now()")
    with pytest.raises(NotFound, match="was deleted"):
        platform.branches.create_branch(system, sales, "x")
    with pytest.raises(NotFound, match="was deleted"):
        platform.branches.update_branch(system, sales, "main", "1", expected_head=VersionId(3))


# --- many at once ------------------------------------------------------------------------------------------------------------------


def _movers(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch, mutate: Callable[[], None] = lambda: None
) -> Counter[bool]:
    """Six move `main` from where they all saw it, each to its own version: who was told that she did."""
    seen = make.meeting(6)
    real = BranchService._locked

    def locked(self: BranchService, tx: Transaction, dataset: DatasetRef) -> object:
        seen()
        return real(self, tx, dataset)

    with make.crowded(settings, database_url, 6) as platform:
        dataset, actor = make.dataset(platform), platform.actor()
        for number in range(6):
            make.commit(platform, dataset, {"a": str(number).encode()})
        head = at(platform, dataset, "main")
        monkeypatch.setattr(BranchService, "_locked", locked)
        mutate()

        def move(to: int) -> bool:
            try:
                platform.branches.update_branch(actor, dataset, "main", str(to), expected_head=head)
            except Conflict:
                return False
            return True

        works: list[Callable[[], bool]] = [lambda to=to: move(to) for to in (1, 2, 3, 4, 5, 1)]  # type: ignore[misc]  # mypy cannot infer a lambda's default
        return Counter(make.at_once(*works))


def test_of_those_who_move_a_branch_at_once_one_does(settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _movers(settings, database_url, monkeypatch) == {True: 1, False: 5}


def test_without_the_lock_the_compare_and_swap_still_lets_one_win(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlocked = partial(monkeypatch.setattr, DatasetService, "lock", lambda *_: None)
    assert _movers(settings, database_url, monkeypatch, unlocked) == {True: 1, False: 5}


def test_mutant_a_blind_update_fails_the_claim(settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = threading.Barrier(6)

    def blind(self: Pointers, dataset_id: int, branch: str, _seen: int, to: int, *_: object) -> bool:
        compared.wait(make.PATIENCE)
        sql = "UPDATE dataset_pointers SET version_id = :to WHERE dataset_id = :dataset AND pointer_name = :name"
        return self._tx.execute(sql, to=to, dataset=dataset_id, name=branch) == 1

    def mutate() -> None:
        monkeypatch.setattr(DatasetService, "lock", lambda *_: None)
        monkeypatch.setattr(Pointers, "move", blind)

    assert _movers(settings, database_url, monkeypatch, mutate) == {True: 6}


def _while_deleted(platform: Platform, dataset: DatasetRef, action: Callable[[], object]) -> object:
    """What the action answers that begins while version 2 is being deleted: the dataset is locked, the version marked, not committed."""

    def attempt() -> object:
        try:
            return action()
        except DsplatformError as err:
            return err

    with ThreadPoolExecutor(1) as pool:
        with platform.db.transaction() as tx:
            tx.execute("SELECT 1 FROM datasets WHERE id = :id FOR NO KEY UPDATE", id=dataset.id)
            tx.execute("UPDATE dataset_versions SET purged_at = now() WHERE dataset_id = :id AND version_number = 2", id=dataset.id)
            running: Future[object] = pool.submit(attempt)
            make.until_blocked(platform.db, or_done=running.done)
        return running.result(make.PATIENCE)


@pytest.mark.parametrize("how", ["branch", "tag", "move", "fast-forward"])
@pytest.mark.parametrize("locked", [True, False], ids=["", "mutant"])
def test_what_is_being_deleted_gets_no_name(
    how: str, locked: bool, platform: Platform, sales: DatasetRef, system: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant does not lock: a name then points at a version without files."""
    branches, head = platform.branches, at(platform, sales, "main")
    branches.create_branch(system, sales, "behind", "1")
    actions: dict[str, Callable[[], object]] = {
        "branch": lambda: branches.create_branch(system, sales, "x", "2"),
        "tag": lambda: branches.create_tag(system, sales, "x", "2"),
        "move": lambda: branches.update_branch(system, sales, "main", "2", expected_head=head),
        "fast-forward": lambda: branches.merge(system, sales, "2", into="behind"),
    }
    if not locked:
        monkeypatch.setattr(DatasetService, "lock", lambda *_: None)
    outcome = _while_deleted(platform, sales, actions[how])
    sql = "SELECT count(*) FROM dataset_pointers p JOIN dataset_versions v ON v.id = p.version_id WHERE v.purged_at IS NOT NULL"
    assert (isinstance(outcome, Gone), make.column(platform.db, sql)) == (locked, [0 if locked else 1])


# --- history -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def forked(platform: Platform, system: Actor) -> DatasetRef:
    """1 - 2 - 4 = 5 on main, where 5 merges 1 - 3 of `side`."""
    dataset = make.dataset(platform, "forked")
    make.commit(platform, dataset, {"a": b"1"})
    make.commit(platform, dataset, {"a": b"2"})
    platform.branches.create_branch(system, dataset, "side", "1")
    make.commit(platform, dataset, {"b": b"3"}, branch="side")
    make.commit(platform, dataset, {"a": b"4"})
    assert platform.branches.merge(system, dataset, "side").version_number == 5
    platform.branches.create_tag(system, dataset, "v1", "3")
    return dataset


def test_a_history_is_what_a_version_stands_on(branches: BranchService, forked: DatasetRef, system: Actor) -> None:
    def history(ref: str | None, *, first_parent: bool = False, limit: int = 50) -> list[int]:
        return [one.number for one in branches.history(system, forked, ref, first_parent=first_parent, limit=limit)]

    assert history(None) == [5, 4, 2, 3, 1]
    assert history("side") == [3, 1]
    assert history("main", first_parent=True) == [5, 4, 2, 1]
    assert history("4", limit=2) == [4, 2]
    merge = branches.history(system, forked)[0]
    assert (merge.parent_number, merge.merge_parent_number, merge.pointers) == (4, 3, ("main",))
    with pytest.raises(VersionMissing):
        history("9")


def test_the_picture_of_a_dataset_shows_every_version_and_name(platform: Platform, forked: DatasetRef, system: Actor) -> None:
    make.commit(platform, forked, {"c": b"6"}, branch="side")
    platform.branches.delete_branch(system, forked, "side")
    picture = platform.branches.picture(system, forked)
    drawn = [line for node in picture.nodes for line in (f"{node.drawing[0]} {node.version.number}", *node.drawing[1:])]
    assert drawn == ["* 6", "| * 5", "|/|", "| * 4", "| * 2", "* | 3", "|/", "* 1"]
    named = {node.version.number: (node.branches, node.tags) for node in picture.nodes}
    assert (named[5], named[3], named[6]) == ((("main",), ()), ((), ("v1",)), ((), ()))
    assert len(platform.branches.picture(system, forked, limit=2).nodes) == 2
    assert [node.version.number for node in platform.branches.picture(system, forked, "v1").nodes] == [3, 1]


def test_ancestry_is_asked_by_reference(branches: BranchService, forked: DatasetRef, system: Actor) -> None:
    assert branches.is_ancestor(system, forked, "v1", "main")
    assert not branches.is_ancestor(system, forked, "v1", "4")
    assert [one.number for one in branches.merge_bases(system, forked, "4", "side")] == [1]
    assert [one.number for one in branches.merge_bases(system, forked, "main", "side")] == [3]
