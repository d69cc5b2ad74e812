import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import argon2
import pytest

from dsplatform.core.errors import Invalid, Unavailable
from dsplatform.permissions import passwords
from dsplatform.permissions.passwords import Passwords, acceptable
from dsplatform_tests import make

GOOD = "seven green whales sing"


def test_the_parameters_are_those_that_were_decided() -> None:
    kept = argon2.extract_parameters(Passwords().hash(GOOD))
    assert (kept.type, kept.memory_cost, kept.time_cost, kept.parallelism) == (argon2.Type.ID, 65_536, 3, 4)
    assert (kept.salt_len, kept.hash_len) == (16, 32)


@pytest.mark.usefixtures("quick")
def test_a_password_matches_its_hash_alone() -> None:
    hasher = Passwords()
    kept = hasher.hash(GOOD)
    assert hasher.matches(kept, GOOD)
    assert not hasher.matches(kept, GOOD + " ")
    assert not hasher.matches(kept, "")
    assert not hasher.matches(None, GOOD)
    assert not hasher.matches("no hash at all", GOOD)
    assert hasher.hash(GOOD) != kept
    assert GOOD not in kept


@pytest.mark.usefixtures("quick")
def test_it_is_the_same_password_from_every_keyboard() -> None:
    hasher = Passwords()
    kept = hasher.hash("naïve café ﬁnance")
    assert hasher.matches(kept, "nai\u0308ve cafe\u0301 finance")


@pytest.mark.parametrize(
    ("password", "is_good"),
    [
        ("a" * 11, False),
        ("a" * 12, True),
        ("a" * 1024, True),
        ("a" * 1025, False),
        ("😀" * 12, True),
        ("ﷺ" * 1000, False),
        ("a" * 20 + "\ud800", False),
        ("e\u0301" * 11, False),
    ],
)
def test_length_is_the_only_rule(password: str, is_good: bool) -> None:
    if is_good:
        acceptable(password)
    else:
        with pytest.raises(Invalid, match="12 to 1,024 characters"):
            acceptable(password)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("password", ["a" * 1025, "a" * 20 + "\ud800"])
def test_what_nobody_can_have_chosen_matches_nothing(password: str) -> None:
    hasher = Passwords()
    assert not hasher.matches(hasher.hash(GOOD), password)
    assert not hasher.matches(None, password)


@pytest.mark.usefixtures("quick")
def test_the_hash_of_nobody_costs_the_same_and_is_of_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher, asked = Passwords(), []
    real = argon2.PasswordHasher.verify

    def counted(self: argon2.PasswordHasher, kept: str, password: str) -> bool:
        asked.append(argon2.extract_parameters(kept))
        return real(self, kept, password)

    kept = hasher.hash(GOOD)
    monkeypatch.setattr(argon2.PasswordHasher, "verify", counted)
    for stored, password in [(kept, GOOD), (kept, "wrong"), (None, GOOD), (None, ""), (kept, "a" * 2000), (None, "\ud800")]:
        hasher.matches(stored, password)
    assert len(asked) == 6
    assert len(set(map(str, asked))) == 1


@pytest.mark.usefixtures("quick")
def test_other_parameters_make_a_hash_outdated(monkeypatch: pytest.MonkeyPatch) -> None:
    old = Passwords().hash(GOOD)
    assert not Passwords().is_outdated(old)
    monkeypatch.setitem(passwords.PARAMETERS, "time_cost", 2)
    assert Passwords().is_outdated(old)
    assert Passwords().matches(old, GOOD)


class Gate:
    """Holds whoever computes a hash until it is opened, and counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.inside = self.most = 0
        self._lock = threading.Lock()
        monkeypatch.setattr(argon2.PasswordHasher, "verify", self._verify)

    def _verify(self, *_: Any) -> bool:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        assert self.open.wait(make.PATIENCE)
        with self._lock:
            self.inside -= 1
        return True


def refused(futures: list[Future[bool]]) -> int:
    return sum(isinstance(future.exception(), Unavailable) for future in futures if future.done())


@pytest.mark.usefixtures("quick")
def test_two_hashes_at_a_time_four_wait_and_the_rest_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords._turnstile, "_patience", make.PATIENCE)
    gate, hasher = Gate(monkeypatch), Passwords()
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(hasher.matches, "kept", GOOD) for _ in range(12)]
        make.until(lambda: refused(asked) >= 6 and gate.inside >= 2)
        assert gate.inside == 2
        gate.open.set()
    assert gate.most == 2
    assert refused(asked) == 6
    assert sum(future.exception() is None and future.result() for future in asked) == 6
    assert hasher.matches("kept", GOOD)  # every place is free again


@pytest.mark.usefixtures("quick")
def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords._turnstile, "_patience", 0.01)
    gate, hasher = Gate(monkeypatch), Passwords()
    with ThreadPoolExecutor(3) as pool:
        held = [pool.submit(hasher.matches, "kept", GOOD) for _ in range(2)]
        make.until(lambda: gate.inside >= 2)
        with pytest.raises(Unavailable, match="too many passwords"):
            hasher.matches("kept", GOOD)
        gate.open.set()
        assert all(future.result() for future in held)
    assert hasher.matches("kept", GOOD)
