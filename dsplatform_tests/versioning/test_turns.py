import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dsplatform.core.errors import Conflict
from dsplatform.core.types import DatasetId
from dsplatform.versioning.turns import Turns, Waiting
from dsplatform_tests import make

A, B, C = DatasetId(1), DatasetId(2), DatasetId(3)


def _together(turns: Turns, *wanted: list[DatasetId]) -> bool:
    """Whether two writers were ever inside at the same time."""
    inside: list[int] = []
    met: list[bool] = []

    def write(datasets: list[DatasetId]) -> None:
        for _ in range(20):
            with turns.on(datasets):
                inside.append(1)
                time.sleep(0.0005)  # lets others in, where they are let in
                met.append(len(inside) > 1)
                inside.pop()

    make.at_once(*[lambda datasets=datasets: write(datasets) for datasets in wanted])
    return any(met)


def test_of_writers_to_one_dataset_one_is_inside() -> None:
    assert not _together(Turns(), [A], [A, B], [C, A], [A])


def test_writers_to_different_datasets_do_not_wait_for_each_other() -> None:
    turns = Turns()
    with turns.on([A]):
        entered = threading.Event()

        def other() -> None:
            with turns.on([B]):
                entered.set()

        thread = threading.Thread(target=other)
        thread.start()
        assert entered.wait(make.PATIENCE)
        thread.join()


def test_several_datasets_in_any_order_never_block_each_other_for_ever() -> None:
    turns = Turns()
    assert _together(turns, [A, B], [B, A], [B, C], [C, A, B]) or not turns.taken([A, B, C])
    assert not turns.taken([A, B, C])


def test_a_turn_ends_with_its_block_also_when_that_fails() -> None:
    turns = Turns()
    with pytest.raises(ValueError, match="mine"), turns.on([A, A]):
        assert turns.taken([B, A])
        assert not turns.taken([B])
        raise ValueError("mine")
    assert not turns.taken([A])
    assert turns._turns == {}


def test_a_lost_race_is_remembered_for_a_moment_and_then_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    turns = Turns()
    turns.lost(A)
    assert turns.raced(A)
    assert not turns.raced(B)
    now += 1.5
    assert not turns.raced(A)
    turns.lost(B)
    assert turns._raced.keys() == {B}


def _waiting(dataset: DatasetId) -> Waiting:
    change = SimpleNamespace(dataset=SimpleNamespace(id=dataset))
    return Waiting(cast(Any, None), cast(Any, change), lambda *_: None)


def test_who_waits_goes_on_without_the_turn_once_another_has_done_her_work() -> None:
    turns, hers = Turns(), _waiting(A)
    went, may_end = threading.Event(), threading.Event()

    def wait() -> None:
        with turns.together(hers):
            went.set()
            assert may_end.wait(make.PATIENCE)

    with turns.together(_waiting(A)) as gather:
        thread = threading.Thread(target=wait)
        thread.start()
        while hers not in (those := gather()):
            assert not went.wait(0.001)
        assert hers in those
        hers.outcome = Conflict("done")
    assert went.wait(make.PATIENCE)
    with turns.on([A]):  # she has no turn
        may_end.set()
        thread.join()
    assert turns._turns == {}


def test_who_was_tried_in_vain_gets_the_turn_and_finds_nothing_to_do_for_others() -> None:
    turns, hers = Turns(), _waiting(A)
    found: list[object] = []

    def wait() -> None:
        with turns.together(hers) as gather:
            found.append(gather())

    with turns.together(_waiting(A)) as gather:
        thread = threading.Thread(target=wait)
        thread.start()
        while hers not in gather():
            time.sleep(0.001)
    thread.join(make.PATIENCE)
    assert found == [[]]


def test_who_is_interrupted_while_she_waits_ends_only_when_nobody_is_at_work_for_her(monkeypatch: pytest.MonkeyPatch) -> None:
    turns, hers, ended = Turns(), _waiting(A), threading.Event()
    real = threading.Condition.wait_for
    interrupted: list[int] = []

    def wait_for(self: threading.Condition, predicate: Any, timeout: float | None = None) -> Any:
        if threading.current_thread().name == "hers" and not interrupted:
            interrupted.append(1)
            raise KeyboardInterrupt
        return real(self, predicate, timeout)

    def wait() -> None:
        with pytest.raises(KeyboardInterrupt), turns.together(hers):
            pass
        ended.set()

    monkeypatch.setattr(threading.Condition, "wait_for", wait_for)
    with turns.together(_waiting(A)) as gather:
        thread = threading.Thread(target=wait, name="hers")
        thread.start()
        while hers not in gather():
            time.sleep(0.001)
        assert not ended.wait(0.05)
    assert ended.wait(make.PATIENCE)
    thread.join()
    assert turns._turns == {}
