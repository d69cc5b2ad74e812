"""The turnstile: nobody beyond the limit, every place given back, and patience that ends."""

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from threading import Event, Lock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.core.errors import Unavailable
from dsplatform.core.turnstile import Turnstile
from dsplatform_tests import make

refusal = partial(Unavailable, "too many")


class Broken(Exception):
    """How work ends early."""


STEPS = st.lists(st.tuples(st.sampled_from(["place", "turn", "both", "return", "break"]), st.integers(0, 9)), max_size=40)


@given(at_once=st.integers(1, 3), waiting=st.integers(0, 3), steps=STEPS)
def test_whatever_comes_and_goes_the_counts_are_right(at_once: int, waiting: int, steps: list[tuple[str, int]]) -> None:
    turnstile = Turnstile(at_once, waiting, 0.0, refusal)
    inside: list[tuple[AbstractContextManager[None], int, int]] = []

    def held() -> tuple[int, int]:
        return sum(places for _, places, _ in inside), sum(turns for _, _, turns in inside)

    def enter(kind: str) -> None:
        block, places, turns = {
            "place": (turnstile.place(), 1, 0),
            "turn": (turnstile.turn(), 0, 1),
            "both": (turnstile.place_and_turn(), 1, 1),
        }[kind]
        before = held()
        if before[0] + places > at_once + waiting or before[1] + turns > at_once:
            with pytest.raises(Unavailable, match="too many"):
                block.__enter__()
        else:
            block.__enter__()
            inside.append((block, places, turns))

    def leave(which: int, error: Exception | None) -> None:
        block, _, _ = inside.pop(which % len(inside))
        assert not block.__exit__(type(error) if error else None, error, None), "no error is swallowed"

    for kind, which in steps:
        if kind in {"place", "turn", "both"}:
            enter(kind)
        elif inside:
            leave(which, Broken() if kind == "break" else None)
    while inside:
        leave(0, None)
    with ExitStack() as all_of_it:
        for number in range(at_once + waiting):
            all_of_it.enter_context(turnstile.place_and_turn() if number < at_once else turnstile.place())
        with pytest.raises(Unavailable), turnstile.place():
            pass
        with pytest.raises(Unavailable), turnstile.turn():
            pass


def test_of_a_crowd_few_work_few_wait_and_the_rest_is_refused_while_they_do() -> None:
    turnstile, go, counting = Turnstile(2, 3, make.PATIENCE, refusal), Event(), Lock()
    inside = most = 0

    def work() -> None:
        nonlocal inside, most
        with turnstile.place_and_turn():
            with counting:
                inside += 1
                most = max(most, inside)
            assert go.wait(make.PATIENCE)
            with counting:
                inside -= 1

    def refused(asked: list[Future[None]]) -> int:
        return sum(isinstance(one.exception(), Unavailable) for one in asked if one.done())

    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(work) for _ in range(12)]
        make.until(lambda: refused(asked) >= 7 and inside >= 2)
        go.set()
    assert most == 2
    assert refused(asked) == 7
    assert [one.exception() for one in asked].count(None) == 5, "who waited had her turn"


def test_who_has_waited_long_enough_is_refused_and_her_place_is_free_again() -> None:
    turnstile = Turnstile(1, 1, 0.01, refusal)
    with turnstile.place_and_turn():
        for _ in range(3):
            with pytest.raises(Unavailable), turnstile.place_and_turn():
                pass
    with turnstile.place_and_turn():
        pass


def test_nobody_waits_for_a_place() -> None:
    turnstile = Turnstile(1, 0, 3_600.0, refusal)
    with turnstile.place(), pytest.raises(Unavailable), turnstile.place_and_turn():
        pass


def test_every_refusal_is_an_error_of_its_own() -> None:
    turnstile, errors = Turnstile(1, 0, 0.0, refusal), []
    with turnstile.place():
        for _ in range(2):
            with pytest.raises(Unavailable) as caught, turnstile.place():
                pass
            errors.append(caught.value)
    assert errors[0] is not errors[1]
