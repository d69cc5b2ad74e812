"""Several writers' changes in one transaction: each is what it would be alone, and none harms another."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core import failpoints
from dsplatform.core.database import OutcomeUnknown, Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.errors import DsplatformError
from dsplatform.core.settings import Settings
from dsplatform.core.types import FilePath, PermissionType, PointerName
from dsplatform.core.values import CommitMode, Committed, Content, DatasetRef, VersionChange
from dsplatform.schemas.contracts.model import Policy
from dsplatform.versioning.grouping import GroupCommit
from dsplatform.versioning.model import Demand, HeadMoved
from dsplatform.versioning.turns import Waiting
from dsplatform_tests import make
from dsplatform_tests.versioning.cutting import COMMIT, Where, relayed
from dsplatform_tests.versioning.test_service import replayed


def _nothing(_tx: Transaction, _committed: Committed) -> None: ...


def waiting(
    platform: Platform,
    stack: ExitStack,
    dataset: DatasetRef,
    put: Mapping[str, bytes],
    *,
    actor: Actor | None = None,
    within: Callable[[Transaction, Committed], None] = _nothing,
    branch: str = "main",
    **how: Any,
) -> Waiting:
    """A change that waits for its turn, as `create_version` has it."""
    upload = stack.enter_context(platform.files.upload())
    contents: dict[FilePath, Content] = {}
    for name, data in put.items():
        (content,) = upload.add([BytesIO(data)])
        assert isinstance(content, Content)
        contents[FilePath(name)] = content
    upload.seal()
    change = VersionChange(actor or platform.actor(), dataset, contents, branch=PointerName(branch), **how)
    return Waiting(upload, change, within)


def group(platform: Platform) -> GroupCommit:
    return platform.versions._publisher._groups


def commit(platform: Platform, dataset: DatasetRef, those: Sequence[Waiting]) -> list[bool]:
    """Which of them have their outcome after the group."""
    group(platform).commit(dataset, lambda: those)
    return [one.outcome is not None for one in those]


def numbers(those: Sequence[Waiting]) -> list[int | None]:
    return [one.outcome.version_number if isinstance(one.outcome, Committed) else None for one in those]


@pytest.fixture
def sales(platform: Platform) -> DatasetRef:
    dataset = make.dataset(platform)
    make.commit(platform, dataset, {"base": b"0"})
    return dataset


def test_a_group_is_one_transaction_and_a_version_each(platform: Platform, sales: DatasetRef) -> None:
    make.commit(platform, sales, {"side": b"s"}, branch="side")
    heard: list[int] = []
    with ExitStack() as stack:
        those = [
            waiting(platform, stack, sales, {"a": b"1"}, within=lambda _, committed: heard.append(committed.version_number)),
            waiting(platform, stack, sales, {"b": b"2"}, branch="side", idempotency_key="k"),
            waiting(platform, stack, sales, {"a": b"3", "base": b"4"}, message="both"),
            waiting(platform, stack, sales, {"b": b"5"}),
        ]
        assert commit(platform, sales, those) == [True] * 4
    assert numbers(those) == [3, 4, 5, 6]
    assert heard == [3]
    assert len(set(make.column(platform.db, "SELECT xmin::text FROM dataset_versions WHERE version_number > 2"))) == 1
    assert make.held(platform, sales) == {"base": b"4", "a": b"3", "b": b"5"}
    assert make.held(platform, sales, "side") == {"base": b"0", "side": b"s", "b": b"2"}
    line = platform.branches.history(platform.actor(), sales, limit=10)
    assert [(version.number, version.parent_number) for version in line] == [(6, 5), (5, 3), (3, 1), (1, None)]
    both = those[2].outcome
    assert isinstance(both, Committed)
    assert (both.added, both.updated, both.created) == (0, 2, True)
    assert len(make.column(platform.db, "SELECT 1 FROM audit_log WHERE action = 'version.commit'")) == 6
    assert len(make.column(platform.db, "SELECT 1 FROM upload_intents")) == 0
    assert len(replayed(platform, sales)) == 6
    make.assert_sound(platform)


def test_what_is_special_or_refused_waits_for_its_own_turn(platform: Platform, sales: DatasetRef) -> None:
    system = platform.actor()
    ben, eve = platform.permissions.create_user("ben"), platform.permissions.create_user("eve")
    platform.permissions.grant_permission(system, ben, PermissionType.WRITE, sales.id)
    make.commit(platform, sales, {"old": b"key"}, idempotency_key="old")
    before = len(make.column(platform.db, "SELECT 1 FROM audit_log"))
    with ExitStack() as stack:

        def special(put: Mapping[str, bytes], **how: Any) -> Waiting:
            return waiting(platform, stack, sales, put, **how)

        goes = [special({"a": b"1"}), special({"b": b"2"}, actor=ben)]
        stays = [
            special({"c": b"3"}, actor=eve),
            special({"d": b"4"}, expected_head=999),
            special({"e": b"5"}, remove=(FilePath("base"),)),
            special({"f": b"6"}, mode=CommitMode.REPLACE),
            special({"g": b"7"}, branch="new"),
            special({"h": b"8"}, idempotency_key="old"),
            special({"base": b"0"}),
            special({"a": b"1"}),
            special({"i": b"9"}, expected={FilePath("i"): "0" * 64}),
        ]
        assert commit(platform, sales, [*stays[:4], *goes, *stays[4:]]) == [*[False] * 4, True, True, *[False] * 5]
    assert make.held(platform, sales) == {"base": b"0", "old": b"key", "a": b"1", "b": b"2"}
    assert len(make.column(platform.db, "SELECT 1 FROM audit_log")) == before + 2
    make.assert_sound(platform)


def test_each_member_is_asked_for_its_right_when_it_is_written(
    platform: Platform, sales: DatasetRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    ben = platform.permissions.create_user("ben")
    grant = platform.permissions.grant_permission(platform.actor(), ben, PermissionType.WRITE, sales.id)
    hold = GroupCommit._hold

    def revoked(self: GroupCommit, *args: Any) -> None:
        hold(self, *args)
        platform.permissions.revoke_grant(platform.actor(), sales, grant.id)

    monkeypatch.setattr(GroupCommit, "_hold", revoked)
    with ExitStack() as stack:
        those = [waiting(platform, stack, sales, {"a": b"1"}), waiting(platform, stack, sales, {"b": b"2"}, actor=ben)]
        assert commit(platform, sales, those) == [False, False]
    assert make.held(platform, sales) == {"base": b"0"}
    make.assert_sound(platform)


@pytest.mark.parametrize("what", ["protection", "contract"])
def test_a_branch_that_is_closed_meanwhile_takes_nothing(
    what: str, platform: Platform, sales: DatasetRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, once = GroupCommit._hold, [1]

    def closed(self: GroupCommit, *args: Any) -> None:
        hold(self, *args)
        if once and once.pop():
            if what == "protection":
                platform.protection.protect(platform.actor(), sales, "main", Demand.MERGE)
            else:
                platform.contracts.set_terms(platform.actor(), sales, policy=Policy.ENFORCE)

    monkeypatch.setattr(GroupCommit, "_hold", closed)
    with ExitStack() as stack:
        those = [waiting(platform, stack, sales, {"a": b"1"}), waiting(platform, stack, sales, {"b": b"2"})]
        assert commit(platform, sales, those) == [False, False]
    assert once == []
    assert make.held(platform, sales) == {"base": b"0"}
    make.assert_sound(platform)


def test_who_fails_at_the_end_harms_nobody(platform: Platform, sales: DatasetRef) -> None:
    """The callback of one raises, and it is no error of ours: all are rolled back, and each can be made by itself."""

    def breaks(_tx: Transaction, _committed: Committed) -> None:
        raise ZeroDivisionError

    with ExitStack() as stack:
        those = [waiting(platform, stack, sales, {"a": b"1"}), waiting(platform, stack, sales, {"b": b"2"}, within=breaks)]
        assert commit(platform, sales, those) == [False, False]
        alone = platform.versions.publish(those[0].upload, [those[0].change], lambda *_: None)
        assert isinstance(alone[0], Committed)
        assert alone[0].version_number == 2
    make.assert_sound(platform)


def test_a_content_that_another_upload_recorded_first_breaks_the_group_and_is_taken_over(platform: Platform, sales: DatasetRef) -> None:
    with ExitStack() as stack:
        those = [waiting(platform, stack, sales, {"a": b"1"}), waiting(platform, stack, sales, {"b": b"2"})]
        make.commit(platform, make.dataset(platform, "other"), {"x": b"2"})
        assert commit(platform, sales, those) == [False, False]
        for one in those:
            (alone,) = platform.versions.publish(one.upload, [one.change], lambda *_: None)
            assert isinstance(alone, Committed)
    assert make.held(platform, sales) == {"base": b"0", "a": b"1", "b": b"2"}
    make.assert_sound(platform)


@pytest.mark.parametrize("branch", ["main", "side"])
def test_a_writer_of_another_process_in_between_is_followed(
    branch: str, platform: Platform, database_url: str, sales: DatasetRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on another branch, where she takes the number."""
    make.commit(platform, sales, {"side": b"s"}, branch="side")
    hold, once = GroupCommit._hold, [1]

    def overtaken(self: GroupCommit, *args: Any) -> None:
        hold(self, *args)
        if once and once.pop():
            with bootstrap(platform.settings, database_url) as other:
                make.commit(other, sales, {"theirs": b"t"}, branch=branch)

    monkeypatch.setattr(GroupCommit, "_hold", overtaken)
    with ExitStack() as stack:
        those = [waiting(platform, stack, sales, {"a": b"1"}), waiting(platform, stack, sales, {"b": b"2"})]
        assert commit(platform, sales, those) == [True, True]
    assert numbers(those) == [4, 5]
    assert set(make.held(platform, sales)) == {"base", "a", "b"} | ({"theirs"} if branch == "main" else set())
    assert len(replayed(platform, sales)) == 5
    make.assert_sound(platform)


def test_a_lost_answer_is_told_to_all_who_were_in_it_and_to_nobody_else(settings: Settings, database_url: str) -> None:
    with relayed(database_url) as (relay, url), bootstrap(settings, url) as platform:
        sales = make.dataset(platform)
        make.commit(platform, sales, {"base": b"0"})
        for cuts, where in enumerate(Where, start=1):
            with ExitStack() as stack:
                those = [
                    waiting(platform, stack, sales, {name: f"{name} {cuts}".encode()}, idempotency_key=f"{name}{cuts}") for name in "ab"
                ]
                those.append(waiting(platform, stack, sales, {"c": b"3"}, expected_head=999))
                relay.cut(where, COMMIT)
                assert commit(platform, sales, those) == [True, True, False]
            assert relay.cuts == cuts
            assert all(isinstance(one.outcome, OutcomeUnknown) for one in those[:2])
            for name in "ab":
                make.commit(platform, sales, {name: f"{name} {cuts}".encode()}, idempotency_key=f"{name}{cuts}")
        assert [version.number for version in platform.branches.history(platform.actor(), sales, limit=99)] == list(range(9, 0, -1))
        make.drained(platform)
        make.assert_sound(platform)


def test_an_interruption_leaves_no_writer_to_repeat_what_may_be_committed(
    platform: Platform, sales: DatasetRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = GroupCommit._write

    def interrupted(self: GroupCommit, *args: Any) -> None:
        write(self, *args)
        raise KeyboardInterrupt

    monkeypatch.setattr(GroupCommit, "_write", interrupted)
    with ExitStack() as stack:
        those = [waiting(platform, stack, sales, {"a": b"1"}), waiting(platform, stack, sales, {"b": b"2"})]
        with pytest.raises(KeyboardInterrupt):
            commit(platform, sales, those)
        assert [one.outcome for one in those] == [None, None]  # no COMMIT was sent
    assert make.held(platform, sales) == {"base": b"0"}


# --- through the front door ------------------------------------------------------------------------------------------------------


def test_who_waits_is_committed_by_another_and_who_conflicts_is_told_so_alone(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grouped: list[int] = []
    write = GroupCommit._write

    def counted(self: GroupCommit, tx: Transaction, overlays: Any, members: Any) -> Any:
        grouped.append(len(members))
        return write(self, tx, overlays, members)

    monkeypatch.setattr(GroupCommit, "_write", counted)
    with make.crowded(settings, database_url, 12) as platform:
        sales = make.dataset(platform)
        first = make.commit(platform, sales, {"base": b"0"})
        ben = platform.permissions.create_user("ben")

        def work(put: str, **how: Any) -> Callable[[], str]:
            def one() -> str:
                try:
                    return f"version {make.commit(platform, sales, {put: put.encode()}, **how).version_number}"
                except DsplatformError as err:
                    return type(err).__name__

            return one

        turns = platform.versions._publisher._turns
        works = [work(str(number)) for number in range(8)]
        works += [work("x", expected_head=first.version_id + 999), work("y", actor=ben), work("z", branch="new")]
        started = threading.Event()

        def hold() -> str:
            """Has the turn until all the others wait for it."""
            with turns.on([sales.id]):
                started.set()
                while len(turns._turns[sales.id]._waiting) < len(works) - 1:  # ben is refused before he has to wait
                    threading.Event().wait(0.01)
            return ""

        def after(one: Callable[[], str]) -> Callable[[], str]:
            def waits() -> str:
                assert started.wait(make.PATIENCE)
                return one()

            return waits

        _, *said = make.at_once(hold, *map(after, works))
        assert grouped[0] >= 8
        assert said[8:10] == [HeadMoved.__name__, "MissingRight"]
        assert sorted(said[:8] + said[10:]) == sorted(f"version {number}" for number in range(2, 11))
        assert set(make.held(platform, sales)) == {"base", *map(str, range(8))}
        assert len(replayed(platform, sales)) == 10
        make.assert_sound(platform)


# --- any changes -----------------------------------------------------------------------------------------------------------------

puts = st.dictionaries(st.sampled_from("abc"), st.sampled_from([b"1", b"2", b"3", b"4", b"5"]), min_size=1, max_size=2)


@given(changes=st.lists(st.tuples(puts, st.sampled_from(["main", "side"])), min_size=2, max_size=6))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_group_makes_what_its_changes_make_one_after_the_other(platform: Platform, changes: list[tuple[dict[str, bytes], str]]) -> None:
    alone, together = (make.dataset(platform, f"{kind} {os.urandom(8).hex()}") for kind in ("alone", "together"))
    for dataset in (alone, together):
        make.commit(platform, dataset, {"a": b"1"})
        make.commit(platform, dataset, {"b": b"2"}, branch="side")
    with ExitStack() as stack:
        those = [waiting(platform, stack, together, put, branch=branch) for put, branch in changes]
        went = commit(platform, together, those)
        for one in those:
            if one.outcome is None:
                (one.outcome,) = platform.versions.publish(one.upload, [one.change], lambda *_: None)
    order = [at for at, gone in enumerate(went) if gone] + [at for at, gone in enumerate(went) if not gone]
    for at in order:
        outcome, (put, branch) = those[at].outcome, changes[at]
        same = make.commit(platform, alone, put, branch=branch)
        assert isinstance(outcome, Committed)
        assert (same.version_number, same.created, same.added, same.updated, same.branch) == (
            outcome.version_number, outcome.created, outcome.added, outcome.updated, outcome.branch
        )  # fmt: skip
    trees = [[(entry["number"], entry["tree"]) for entry in _trees(platform, dataset)] for dataset in (alone, together)]
    assert trees[0] == trees[1]
    replayed(platform, together)


def _trees(platform: Platform, dataset: DatasetRef) -> list[dict[str, Any]]:
    found = []
    for version in platform.versions.list_versions(platform.actor(), dataset, limit=100):
        _, components = platform.versions.get_version(platform.actor(), dataset, str(version.number))
        tree = [(component.name, component.content_hash) for component in components]
        figures = (version.parent_number, version.components, version.total_bytes, version.pointers)
        found.append({"number": version.number, "tree": (tree, figures)})
    return found


# --- a process that dies ---------------------------------------------------------------------------------------------------------


def _write(home: str, url: str, dataset: DatasetRef, point: str, ledger: str) -> None:
    """Eight writers of a process that is killed, and what they were told."""
    os.environ["DSPLATFORM_HOME"] = home
    descriptor = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with make.crowded(Settings.from_env({"DSPLATFORM_HOME": home}), url, 10) as platform:
        failpoints.arm(point)

        def commits(who: int) -> None:
            for number in range(100):
                name = f"{who}/{number}"
                version = make.commit(platform, dataset, {name: name.encode()}).version_number
                os.write(descriptor, f"{version} {name}\n".encode())

        make.at_once(*[lambda who=who: commits(who) for who in range(8)])


@pytest.mark.parametrize("point", ["version.moved:kill:5", "version.committed:kill:20"])
def test_what_a_killed_process_acknowledged_is_reachable(point: str, platform: Platform, database_url: str, tmp_path: Path) -> None:
    sales = make.dataset(platform)
    make.commit(platform, sales, {"base": b"0"})
    ledger = tmp_path / "ledger"
    process = multiprocessing.get_context("spawn").Process(
        target=_write, args=(str(platform.settings.home), database_url, sales, point, str(ledger))
    )
    process.start()
    process.join()
    assert process.exitcode == -9
    acknowledged = [line.split() for line in ledger.read_text().splitlines()]
    assert acknowledged
    held = make.held(platform, sales)
    for _, name in acknowledged:
        assert held[name] == name.encode()
    line = [version.number for version in platform.branches.history(platform.actor(), sales, limit=1_000)]
    assert line == list(range(len(line), 0, -1))
    assert {int(number) for number, _ in acknowledged} <= set(line)
    make.overdue(platform.db)
    make.drained(platform)
    make.assert_sound(platform)
