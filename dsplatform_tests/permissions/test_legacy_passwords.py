"""Passwords that a legacy system kept as bcrypt hashes: they are good, are made anew with the next login, and give nothing away."""

import argon2
import bcrypt
import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor, Origin
from dsplatform.core.errors import Invalid
from dsplatform.permissions.model import Unauthenticated
from dsplatform.permissions.passwords import Passwords

pytestmark = pytest.mark.usefixtures("quick")

SHORT = "Summer24"
HOME = Origin(address="10.0.0.1")


def old(password: str, prefix: bytes = b"2b") -> str:
    """As the legacy system kept it, with few rounds."""
    return bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).replace(b"$2b$", b"$" + prefix + b"$", 1).decode()


@pytest.fixture
def ann(platform: Platform) -> Actor:
    """A user whose password came along."""
    actor = platform.permissions.create_user("ann", "editor")
    keep(platform, old(SHORT))
    return actor


def keep(platform: Platform, hashed: str) -> None:
    with platform.db.autocommit() as tx:
        tx.execute("UPDATE users SET password_hash = :hash WHERE username = 'ann'", hash=hashed)


def kept(platform: Platform) -> str:
    with platform.db.autocommit() as tx:
        return str(tx.scalar("SELECT password_hash FROM users WHERE username = 'ann'"))


@pytest.mark.parametrize("prefix", [b"2a", b"2b", b"2x", b"2y"])
def test_a_bcrypt_hash_is_of_its_password_alone(prefix: bytes) -> None:
    hasher, hashed = Passwords(), old(SHORT, prefix)
    assert hasher.matches(hashed, SHORT)
    assert not hasher.matches(hashed, SHORT + " ")
    assert not hasher.matches(hashed, "")
    assert hasher.is_outdated(hashed)


def test_what_was_typed_is_compared_and_no_other_form_of_it() -> None:
    typed = "nai\u0308ve"
    assert Passwords().matches(old(typed), typed)
    assert not Passwords().matches(old(typed), "na\u00efve")


def test_of_a_long_password_bcrypt_knows_the_beginning() -> None:
    assert Passwords().matches(old("x" * 100), "x" * 100)


@pytest.mark.parametrize("password", ["a" * 1025, "a" * 20 + "\ud800", "nul\0nul"])
def test_what_nobody_can_have_chosen_matches_nothing(password: str) -> None:
    assert not Passwords().matches(old(SHORT), password)
    assert not Passwords().matches(old(""), "a" * 1025)


@pytest.mark.parametrize("hashed", ["$2b$04$" + "z" * 53, "$2b$04$short", "$2$04$" + "." * 53, "hunter2", "$2b$99$" + "." * 53])
def test_what_is_no_bcrypt_hash_matches_nothing(hashed: str) -> None:
    assert not Passwords().matches(hashed, hashed)


def test_the_next_login_makes_it_anew_however_short_the_password_is(platform: Platform, ann: Actor) -> None:
    platform.sessions.login("ann", SHORT, HOME)
    after = kept(platform)
    assert argon2.extract_parameters(after).memory_cost == 64
    platform.sessions.login("ann", SHORT, HOME)
    assert kept(platform) == after
    with pytest.raises(Unauthenticated):
        platform.sessions.login("ann", SHORT + "x", HOME)


def test_a_wrong_password_leaves_it_as_it_is(platform: Platform, ann: Actor) -> None:
    before = kept(platform)
    with pytest.raises(Unauthenticated):
        platform.sessions.login("ann", "Winter24", HOME)
    assert kept(platform) == before


def test_it_can_be_changed_for_one_that_is_long_enough(platform: Platform, ann: Actor) -> None:
    with pytest.raises(Invalid, match="12 to"):
        platform.sessions.change_password(ann, SHORT, "Summer25")
    platform.sessions.change_password(ann, SHORT, "seven green whales sing")
    assert kept(platform).startswith("$argon2id$")


@pytest.mark.parametrize("user", ["ann", "nobody", "robot", "new"])
def test_each_login_does_both_kinds_of_work_while_anybody_has_an_old_password(
    user: str, platform: Platform, ann: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = platform.permissions.create_user("root", "admin")
    platform.people.create_user(root, "robot", is_service=True)
    platform.people.create_user(root, "new", password="seven green whales sing")
    work: list[str] = []
    verify, check = argon2.PasswordHasher.verify, bcrypt.checkpw

    def verified(self: argon2.PasswordHasher, hashed: str, password: str) -> bool:
        work.append(f"argon2 {argon2.extract_parameters(hashed).memory_cost}")
        return bool(verify(self, hashed, password))

    def checked(password: bytes, hashed: bytes) -> bool:
        work.append(f"bcrypt {hashed[4:6].decode()}")
        return check(password, hashed)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", verified)
    monkeypatch.setattr(bcrypt, "checkpw", checked)
    with pytest.raises(Unauthenticated):
        platform.sessions.login(user, "Winter24", HOME)
    assert work == ["argon2 64", "bcrypt 04"]
    work.clear()
    platform.sessions.login("ann", SHORT, HOME)  # the last one is made anew
    work.clear()
    with pytest.raises(Unauthenticated):
        platform.sessions.login(user, "Winter24", HOME)
    assert work == ["argon2 64"]
