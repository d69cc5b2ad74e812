import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.core.errors import TooMany
from dsplatform.permissions import attempts
from dsplatform.permissions.attempts import Attempts, Buckets, network


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def tries(limits: Attempts, account: str, address: str | None, *, known: bool = False) -> bool:
    try:
        limits.begin(account, address, known=known)
    except TooMany:
        return False
    return True


@given(st.integers(1, 20), st.floats(0.1, 100), st.lists(st.floats(0, 200), max_size=100))
def test_no_more_is_taken_than_a_bucket_held_and_got(size: int, seconds: float, pauses: list[float]) -> None:
    clock = Clock()
    buckets = Buckets(size, seconds, clock)
    taken = 0
    for pause in pauses:
        clock.now += pause
        wait = buckets.take("x")
        taken += wait == 0
        assert taken <= size + clock.now / seconds + 1e-6
        if wait:
            assert 0 < wait <= seconds * (1 + 1e-9)
            clock.now += wait + 1e-9  # more than a sum of floats loses
            assert buckets.take("x") == 0
            taken += 1


def test_what_is_given_back_counts_no_more_than_the_bucket_holds() -> None:
    buckets = Buckets(2, 60, Clock())
    for _ in range(5):
        buckets.give_back("x")
    assert [buckets.take("x") == 0 for _ in range(3)] == [True, True, False]


def test_old_buckets_are_forgotten_so_that_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "KEPT", 3)
    buckets = Buckets(1, 60, Clock())
    for name in "abcd":
        assert buckets.take(name) == 0
    assert buckets.take("d") > 0
    assert buckets.take("a") == 0


def test_guessing_at_one_account_from_one_address_ends_and_slowly_begins_again() -> None:
    clock = Clock()
    limits = Attempts(clock)
    assert [tries(limits, "ann", "10.0.0.1") for _ in range(12)] == [True] * 10 + [False] * 2
    clock.now += 60
    assert [tries(limits, "ann", "10.0.0.1") for _ in range(2)] == [True, False]


def test_guessing_at_many_accounts_from_one_address_ends() -> None:
    limits = Attempts(Clock())
    assert sum(tries(limits, f"user{number}", "10.0.0.1") for number in range(100)) == 30


def test_a_spray_at_one_account_from_everywhere_ends_but_leaves_its_owner_in() -> None:
    limits = Attempts(Clock())
    assert sum(tries(limits, "ann", f"10.0.{number // 250}.{number % 250}") for number in range(1000)) == 10
    assert tries(limits, "ann", "192.168.1.1", known=True)
    assert tries(limits, "ben", "192.168.1.1")
    assert not tries(limits, "ann", "192.168.1.1")


def test_who_guesses_from_where_others_work_locks_out_none_of_them() -> None:
    limits = Attempts(Clock())
    while tries(limits, "nobody", "10.0.0.1") or tries(limits, "zoe", "10.0.0.1"):
        pass
    assert not tries(limits, "ann", "10.0.0.1")
    assert tries(limits, "ann", "10.0.0.1", known=True)


def test_a_known_place_has_its_limit_too() -> None:
    limits = Attempts(Clock())
    assert sum(tries(limits, "ann", "10.0.0.1", known=True) for _ in range(100)) == 10


def test_a_success_does_not_count() -> None:
    limits = Attempts(Clock())
    for _ in range(100):
        limits.begin("ann", "10.0.0.1", known=False).succeeded()
    assert tries(limits, "ann", "10.0.0.1")


def test_it_says_when_to_come_back() -> None:
    clock = Clock()
    limits = Attempts(clock)
    while tries(limits, "ann", "10.0.0.1"):
        pass
    clock.now += 20
    with pytest.raises(TooMany, match="API token") as caught:
        limits.begin("ann", "10.0.0.1", known=False)
    assert 40 <= caught.value.retry_after <= 41


@pytest.mark.parametrize(
    ("address", "stands_for"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("testclient", "testclient"),
        (None, "local"),
        ("", "local"),
    ],
)
def test_an_address_stands_for_its_customer(address: str | None, stands_for: str) -> None:
    assert network(address) == stands_for
