import threading
import time

import pytest

from dsplatform.core.types import DatasetId
from dsplatform.versioning.turns import Turns
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
