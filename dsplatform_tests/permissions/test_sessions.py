from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import argon2
import jwt
import pytest

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.domain import Actor, Origin, Scope
from dsplatform.core.errors import Conflict, DsplatformError, Invalid, TooMany
from dsplatform.core.settings import Settings
from dsplatform.core.types import PermissionType
from dsplatform.permissions import passwords
from dsplatform.permissions.model import MissingRight, Unauthenticated
from dsplatform.permissions.secret_key import SecretKey
from dsplatform.permissions.sessions import NewSession
from dsplatform_tests import make
from dsplatform_tests.permissions import forging

pytestmark = pytest.mark.usefixtures("quick")

PASSWORD, OTHER = "seven green whales sing", "three blue owls listen"
HOME, AWAY = Origin(address="10.0.0.1"), Origin(address="10.0.0.2")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, secret_key=forging.KEY)


@pytest.fixture
def ann(platform: Platform, root: Actor) -> str:
    platform.people.create_user(root, "ann", role="editor", password=PASSWORD)
    return "ann"


@pytest.fixture
def session(platform: Platform, ann: str) -> NewSession:
    return platform.sessions.login(ann, PASSWORD, HOME)


def who(platform: Platform, credential: str) -> str | None:
    try:
        return platform.accounts.authenticate(credential, HOME).username
    except Unauthenticated:
        return None


def audited(platform: Platform, action: str) -> list[tuple[object, ...]]:
    with platform.db.autocommit() as tx:
        return [
            (row["actor"], row["object_id"], row["result"], row["after"])
            for row in tx.rows("SELECT actor, object_id, result, after FROM audit_log WHERE action = :action ORDER BY id", action=action)
        ]


def test_a_login_gives_a_session_of_the_user(platform: Platform, session: NewSession) -> None:
    actor = platform.accounts.authenticate(session.access_token, Origin(address="10.0.0.9", request_id="r1"))
    assert (actor.username, actor.scope) == ("ann", Scope())
    assert (actor.origin.address, actor.origin.request_id, actor.origin.token_id) == ("10.0.0.9", "r1", None)
    assert actor.origin.session_id == jwt.decode(session.access_token, options={"verify_signature": False})["sid"]
    assert session.expires_in == 900
    assert audited(platform, "session.login")[0][:3] == ("ann", str(actor.user_id), "done")


def test_names_are_the_same_in_any_case(platform: Platform, ann: str) -> None:
    assert who(platform, platform.sessions.login("ANN", PASSWORD, HOME).access_token) == "ann"


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("ann", "wrong"),
        ("ann", ""),
        ("ann", PASSWORD.upper()),
        ("nobody", PASSWORD),
        ("", PASSWORD),
        ("a\x00b", PASSWORD),
        ("robot", PASSWORD),
        ("system", ""),
        ("off", PASSWORD),
        ("ann", "x" * 2000),
    ],
)
def test_whatever_is_wrong_the_answer_and_the_work_are_the_same(
    user: str, password: str, platform: Platform, root: Actor, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.people.create_user(root, "robot", is_service=True)
    platform.people.create_user(root, "off", password=PASSWORD)
    platform.people.change_user(root, "off", active=False)
    asked, hashed = [], []
    real = argon2.PasswordHasher.verify

    def verify(self: argon2.PasswordHasher, kept: str, given: str) -> bool:
        asked.append(str(argon2.extract_parameters(kept)))
        return bool(real(self, kept, given))

    monkeypatch.setattr(argon2.PasswordHasher, "verify", verify)
    monkeypatch.setattr(argon2.PasswordHasher, "hash", lambda *_: hashed.append("x"))
    with pytest.raises(Unauthenticated) as caught:
        platform.sessions.login(user, password, HOME)
    assert str(caught.value) == "user name or password is wrong"
    assert len(asked) == 1
    assert "memory_cost=64" in asked[0]
    assert hashed == []


def test_a_failed_login_is_audited_without_what_was_typed(platform: Platform, ann: str) -> None:
    for user in ("ann", "hunter2-in-the-wrong-field"):
        with pytest.raises(Unauthenticated):
            platform.sessions.login(user, "wrong", Origin(address="10.0.0.1", request_id="r7"))
    with platform.db.autocommit() as tx:
        ann_id = tx.scalar("SELECT id FROM users WHERE username = 'ann'")
        everything = str(tx.rows("SELECT * FROM audit_log"))
    where = {"address": "10.0.0.1", "request_id": "r7"}
    assert audited(platform, "session.login") == [(None, str(ann_id), "refused", where), (None, "unknown", "refused", where)]
    assert "hunter2" not in everything
    assert "wrong" not in everything


def test_a_logout_ends_the_session_at_once(platform: Platform, session: NewSession, ann: str) -> None:
    other = platform.sessions.login(ann, PASSWORD, AWAY)
    platform.sessions.logout(platform.accounts.authenticate(session.access_token, HOME))
    assert who(platform, session.access_token) is None
    with pytest.raises(Unauthenticated):
        platform.sessions.refresh(session.refresh_token, HOME)
    assert who(platform, other.access_token) == "ann"
    assert audited(platform, "session.end")[0][3] == {"ended_because": "logout"}


def test_who_came_with_a_token_has_no_session_to_end(platform: Platform, root: Actor) -> None:
    with pytest.raises(Conflict, match="API token"):
        platform.sessions.logout(root)


def test_a_session_ends_after_a_week_and_when_its_user_is_deactivated(
    platform: Platform, session: NewSession, root: Actor, ann: str
) -> None:
    with platform.db.transaction() as tx:
        left = tx.scalar("SELECT expires_at - now() AS left FROM sessions")
        assert 6.99 < left.total_seconds() / 86_400 <= 7
        tx.execute("UPDATE sessions SET expires_at = now() - interval '1 second'")
    assert who(platform, session.access_token) is None
    with pytest.raises(Unauthenticated):
        platform.sessions.refresh(session.refresh_token, HOME)
    again = platform.sessions.login(ann, PASSWORD, HOME)
    platform.people.change_user(root, ann, active=False)
    assert who(platform, again.access_token) is None
    platform.people.change_user(root, ann, active=True)
    assert who(platform, again.access_token) is None
    with pytest.raises(Unauthenticated):
        platform.sessions.refresh(again.refresh_token, HOME)


# --- forged tokens -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def own_key(settings: Settings) -> bytes:
    return SecretKey(settings.secret_key, Path("unused")).of("sessions")


def test_what_is_forged_would_be_good_otherwise(platform: Platform, session: NewSession, own_key: bytes) -> None:
    claims = jwt.decode(session.access_token, options={"verify_signature": False})
    assert who(platform, forging.good(claims, own_key)) == "ann"
    assert who(platform, forging.good(claims, own_key[:-1])) is None


def test_every_forged_credential_is_refused(platform: Platform, session: NewSession, own_key: bytes) -> None:
    claims = jwt.decode(session.access_token, options={"verify_signature": False})
    forged = {name: forge(claims, own_key) for name, forge in forging.FORGERIES.items()}
    assert {name: who(platform, token) for name, token in forged.items()} == dict.fromkeys(forged)
    assert who(platform, session.refresh_token) is None
    assert who(platform, session.access_token) == "ann"


def test_another_installation_s_sessions_are_not_ours(
    platform: Platform, session: NewSession, settings: Settings, database_url: str
) -> None:
    with bootstrap(replace(settings, secret_key="another key that is of 32 bytes or more"), database_url) as other:
        assert who(other, session.access_token) is None
    with bootstrap(settings, database_url) as same:
        assert who(same, session.access_token) == "ann"


# --- refreshing ----------------------------------------------------------------------------------------------------------------


def test_a_refresh_gives_both_anew_in_the_same_session(platform: Platform, session: NewSession) -> None:
    renewed = platform.sessions.refresh(session.refresh_token, AWAY)
    assert renewed.refresh_token != session.refresh_token
    assert who(platform, renewed.access_token) == "ann"
    assert who(platform, session.access_token) == "ann"
    for _ in range(3):
        renewed = platform.sessions.refresh(renewed.refresh_token, HOME)
    with platform.db.autocommit() as tx:
        assert tx.scalar("SELECT count(*) FROM sessions") == 1
        assert tx.scalar("SELECT count(*) FROM refresh_tokens WHERE used_at IS NULL") == 1


def test_a_refresh_token_that_is_used_again_ends_its_session_and_is_audited(platform: Platform, session: NewSession, ann: str) -> None:
    other = platform.sessions.login(ann, PASSWORD, AWAY)
    renewed = platform.sessions.refresh(session.refresh_token, HOME)
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            platform.sessions.refresh(session.refresh_token, AWAY)
    assert who(platform, renewed.access_token) is None
    assert who(platform, session.access_token) is None
    with pytest.raises(Unauthenticated):
        platform.sessions.refresh(renewed.refresh_token, HOME)
    assert who(platform, other.access_token) == "ann"
    assert [row[2:] for row in audited(platform, "session.end")] == [("refused", {"ended_because": "its refresh token was used twice"})]


@pytest.mark.parametrize("secret", ["", "dsr_x", "dsp_x", "x" * 5000])
def test_what_is_no_refresh_token_renews_nothing(secret: str, platform: Platform, session: NewSession) -> None:
    with pytest.raises(Unauthenticated):
        platform.sessions.refresh(secret, HOME)
    with pytest.raises(Unauthenticated):
        platform.sessions.refresh(session.access_token, HOME)


def test_of_two_who_refresh_at_once_one_wins_and_the_session_ends_for_both(platform: Platform, session: NewSession) -> None:
    def refresh(_: int) -> NewSession | DsplatformError:
        try:
            return platform.sessions.refresh(session.refresh_token, HOME)
        except DsplatformError as err:
            return err

    with ThreadPoolExecutor(2) as pool:
        with platform.db.transaction() as tx:  # both get as far as they can together
            tx.execute("SELECT 1 FROM refresh_tokens FOR UPDATE")
            both = [pool.submit(refresh, number) for number in range(2)]
            make.until(lambda: waiting(platform) >= 2)
        results = [future.result() for future in both]
    winners = [result for result in results if isinstance(result, NewSession)]
    assert len(winners) == 1
    assert [type(result) for result in results if result not in winners] == [Unauthenticated]
    assert who(platform, winners[0].access_token) is None
    with pytest.raises(Unauthenticated):
        platform.sessions.refresh(winners[0].refresh_token, HOME)
    assert len(audited(platform, "session.end")) == 1


def waiting(platform: Platform) -> int:
    with platform.db.autocommit() as tx:
        return int(tx.scalar("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"))


# --- attempts ------------------------------------------------------------------------------------------------------------------


def fails(platform: Platform, user: str, origin: Origin) -> bool:
    """Whether the attempt was made, as opposed to refused before."""
    try:
        platform.sessions.login(user, "wrong", origin)
    except TooMany:
        return False
    except Unauthenticated:
        return True
    raise AssertionError("a wrong password is let in")


def test_a_spray_from_everywhere_ends_and_the_owner_gets_in_from_where_she_was(platform: Platform, session: NewSession, ann: str) -> None:
    made = platform.accounts.create_token(platform.accounts.authenticate(session.access_token, HOME), "script")
    assert sum(fails(platform, ann, Origin(address=f"10.1.0.{number}")) for number in range(40)) == 10
    with pytest.raises(TooMany):
        platform.sessions.login(ann, PASSWORD, AWAY)
    assert who(platform, platform.sessions.login(ann, PASSWORD, HOME).access_token) == ann
    assert who(platform, made.secret) == ann


def test_a_password_that_is_right_does_not_help_who_tried_too_often(platform: Platform, ann: str) -> None:
    while fails(platform, ann, AWAY):
        pass
    with pytest.raises(TooMany):
        platform.sessions.login(ann, PASSWORD, AWAY)


def test_unknown_users_are_limited_as_known_ones(platform: Platform, ann: str) -> None:
    assert [
        sum(fails(platform, user, Origin(address=f"10.{net}.0.{n}")) for n in range(20)) for net, user in enumerate((ann, "nobody"))
    ] == [10, 10]


def test_who_is_refused_for_too_many_attempts_costs_no_hash(platform: Platform, ann: str, monkeypatch: pytest.MonkeyPatch) -> None:
    while fails(platform, ann, AWAY):
        pass
    monkeypatch.setattr(passwords.Passwords, "matches", lambda *_, **__: pytest.fail("a hash was computed"))
    with pytest.raises(TooMany):
        platform.sessions.login(ann, PASSWORD, AWAY)


# --- passwords -----------------------------------------------------------------------------------------------------------------


def test_a_login_brings_an_old_hash_to_today_s_parameters(
    platform: Platform, ann: str, settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept() -> str:
        with platform.db.autocommit() as tx:
            return str(tx.scalar("SELECT password_hash FROM users WHERE username = 'ann'"))

    before = kept()
    platform.sessions.login(ann, PASSWORD, HOME)
    assert kept() == before
    monkeypatch.setitem(passwords.PARAMETERS, "memory_cost", 128)
    with bootstrap(settings, database_url) as newer:
        newer.sessions.login(ann, PASSWORD, HOME)
        assert kept() != before
        assert argon2.extract_parameters(kept()).memory_cost == 128
        newer.sessions.login(ann, PASSWORD, HOME)


def test_a_change_of_password_takes_the_old_one_and_ends_every_session(platform: Platform, session: NewSession, ann: str) -> None:
    actor = platform.accounts.authenticate(session.access_token, HOME)
    made = platform.accounts.create_token(actor, "script")
    for old, new in [("wrong", OTHER), (OTHER, OTHER), (PASSWORD, "short")]:
        with pytest.raises(Invalid):
            platform.sessions.change_password(actor, old, new)
    assert who(platform, session.access_token) == ann
    platform.sessions.change_password(actor, PASSWORD, OTHER)
    assert who(platform, session.access_token) is None
    assert who(platform, made.secret) == ann
    with pytest.raises(Unauthenticated):
        platform.sessions.login(ann, PASSWORD, HOME)
    assert who(platform, platform.sessions.login(ann, OTHER, HOME).access_token) == ann


def test_a_limited_token_changes_no_password_and_guessing_it_ends(platform: Platform, session: NewSession) -> None:
    actor = platform.accounts.authenticate(session.access_token, HOME)
    limited = replace(actor, scope=Scope(PermissionType.WRITE))
    with pytest.raises(MissingRight):
        platform.sessions.change_password(limited, PASSWORD, OTHER)
    for _ in range(10):
        with pytest.raises(Invalid):
            platform.sessions.change_password(actor, "wrong", OTHER)
    with pytest.raises(TooMany):
        platform.sessions.change_password(actor, PASSWORD, OTHER)


@pytest.fixture
def slow_login(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is put into the list is called between the check of the password and the session."""
    calls: list[object] = []
    real = passwords.Passwords.matches

    def matches(self: passwords.Passwords, kept: str | None, password: str, **rounds: int) -> bool:
        found = real(self, kept, password, **rounds)
        while calls:
            calls.pop()()  # type: ignore[operator]  # callables
        return found

    monkeypatch.setattr(passwords.Passwords, "matches", matches)
    return calls


def test_a_password_that_is_changed_during_a_login_gives_no_session(
    platform: Platform, root: Actor, ann: str, slow_login: list[object]
) -> None:
    slow_login.append(lambda: platform.people.set_password(root, ann, OTHER))
    with pytest.raises(Unauthenticated):
        platform.sessions.login(ann, PASSWORD, HOME)
    slow_login.append(lambda: platform.people.change_user(root, ann, active=False))
    with pytest.raises(Unauthenticated):
        platform.sessions.login(ann, OTHER, HOME)
    with platform.db.autocommit() as tx:
        assert tx.scalar("SELECT count(*) FROM sessions") == 0
