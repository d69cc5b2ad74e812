import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor, Origin, Scope
from dsplatform.core.errors import Conflict, Denied, Invalid, NotFound
from dsplatform.core.types import PermissionType, PlatformRight
from dsplatform.permissions.accounts import _within
from dsplatform.permissions.model import MissingRight, Unauthenticated
from dsplatform_tests import make

pytestmark = pytest.mark.usefixtures("quick")

READ, WRITE, ADMIN = PermissionType
HERE = Origin(address="10.0.0.1", request_id="r1")


@pytest.fixture
def keeper(platform: Platform, root: Actor) -> Actor:
    """Keeps users, and may do nothing else."""
    platform.people.set_role_rights(root, "keeper", [PlatformRight.USERS])
    return platform.permissions.create_user("kim", "keeper")


def who(platform: Platform, secret: str) -> str | None:
    try:
        return platform.accounts.authenticate(secret, HERE).username
    except Unauthenticated:
        return None


def test_a_token_acts_for_its_user_and_says_so_in_the_origin(platform: Platform, ann: Actor) -> None:
    made = platform.accounts.create_token(ann, " nightly ")
    actor = platform.accounts.authenticate(made.secret, HERE)
    assert (actor.user_id, actor.username, actor.rights) == (ann.user_id, "ann", (PlatformRight.CREATE,))
    assert actor.origin == Origin(made.id, "10.0.0.1", "r1")
    assert made.name == "nightly"
    assert made.secret not in repr(made)


@pytest.mark.parametrize("secret", ["", "x", "dsp_", "dsp_" + "a" * 49, "Bearer x"])
def test_what_was_never_made_is_nobody(secret: str, platform: Platform, ann: Actor) -> None:
    assert who(platform, secret) is None


def test_an_expired_a_revoked_and_a_leaver_s_token_are_refused(platform: Platform, root: Actor, ann: Actor) -> None:
    expired, revoked, left = (platform.accounts.create_token(ann, name) for name in ("a", "b", "c"))
    with platform.db.transaction() as tx:
        tx.execute("UPDATE api_tokens SET expires_at = now() - interval '1 second' WHERE id = :id", id=expired.id)
    assert who(platform, revoked.secret) == "ann"
    platform.accounts.revoke_token(ann, revoked.id)
    platform.accounts.revoke_token(ann, revoked.id)
    assert [who(platform, token.secret) for token in (expired, revoked, left)] == [None, None, "ann"]
    platform.people.change_user(root, "ann", active=False)
    assert who(platform, left.secret) is None
    platform.people.change_user(root, "ann", active=True)
    assert who(platform, left.secret) is None


def test_who_is_not_active_is_nobody_whatever_became_of_her_credentials(platform: Platform, root: Actor) -> None:
    platform.people.create_user(root, "ann", password="seven green whales sing")
    session = platform.sessions.login("ann", "seven green whales sing", HERE)
    ann = platform.accounts.authenticate(session.access_token, HERE)
    made = platform.accounts.create_token(ann, "a")
    assert [who(platform, secret) for secret in (made.secret, session.access_token)] == ["ann", "ann"]
    with platform.db.transaction() as tx:
        tx.execute("UPDATE users SET is_active = false WHERE username = 'ann'")
    assert [who(platform, secret) for secret in (made.secret, session.access_token)] == [None, None]
    with pytest.raises(Unauthenticated):
        platform.sessions.refresh(session.refresh_token, HERE)


def test_use_is_written_down_once_a_minute(platform: Platform, ann: Actor) -> None:
    made = platform.accounts.create_token(ann, "a")

    def used() -> object:
        return platform.accounts.list_tokens(ann)[0].last_used_at

    assert used() is None
    platform.accounts.authenticate(made.secret, HERE)
    first = used()
    assert first is not None
    platform.accounts.authenticate(made.secret, HERE)
    assert used() == first
    with platform.db.transaction() as tx:
        tx.execute("UPDATE api_tokens SET last_used_at = last_used_at - interval '61 seconds'")
    earlier = used()
    platform.accounts.authenticate(made.secret, HERE)
    assert used() != earlier


@pytest.mark.parametrize(
    ("name", "days", "ids"),
    [
        ("", 1, None),
        (" ", 1, None),
        ("x" * 101, 1, None),
        ("a\nb", 1, None),
        ("a\x00", 1, None),
        ("a", 0, None),
        ("a", -1, None),
        ("a", 367, None),
        ("a", float("nan"), None),
        ("a", 1, []),
        ("a", 1, [0]),
        ("a", 1, [2**63]),
        ("a", 1, range(1, 1002)),
    ],
)
def test_a_token_without_sense_is_not_made(name: str, days: float, ids: list[int] | None, platform: Platform, ann: Actor) -> None:
    with pytest.raises(Invalid):
        platform.accounts.create_token(ann, name, days=days, dataset_ids=ids)
    assert platform.accounts.count_tokens(ann) == 0


scopes = st.builds(
    Scope, st.sampled_from(PermissionType), st.none() | st.frozensets(st.integers(1, 4), min_size=1).map(lambda ids: tuple(sorted(ids)))
)


@given(scopes, scopes, st.sampled_from(PermissionType), st.integers(1, 5))
def test_a_token_reaches_nothing_that_its_maker_s_credential_does_not(
    held: Scope, wanted: Scope, right: PermissionType, dataset: int
) -> None:
    maker, made = Actor(1, "ann", scope=held), Actor(1, "ann", scope=wanted)
    try:
        _within(maker, wanted)
    except MissingRight:
        reached = [(r, d) for r in PermissionType for d in (None, 1, 2, 3, 4, 5) if made.reaches(r, d) and not maker.reaches(r, d)]
        assert reached or wanted.dataset_ids is None
        return
    assert maker.reaches(right, dataset) or not made.reaches(right, dataset)
    assert maker.may(PlatformRight.AUDIT) or not made.may(PlatformRight.AUDIT) or not maker.rights


def test_a_limited_token_makes_no_wider_one(platform: Platform, ann: Actor) -> None:
    first = platform.accounts.create_token(ann, "a", right=WRITE, dataset_ids=[3, 4, 4])
    assert first.scope == Scope(WRITE, (3, 4))
    limited = platform.accounts.authenticate(first.secret, HERE)
    for right, ids in [(ADMIN, [3]), (WRITE, None), (WRITE, [3, 5]), (ADMIN, None)]:
        with pytest.raises(MissingRight, match="this token may not be used"):
            platform.accounts.create_token(limited, "b", right=right, dataset_ids=ids)
    second = platform.accounts.create_token(limited, "b", right=READ, dataset_ids=[4])
    assert platform.accounts.authenticate(second.secret, HERE).scope == Scope(READ, (4,))


def test_a_limited_token_shows_and_revokes_itself_alone(platform: Platform, ann: Actor) -> None:
    wide, narrow = platform.accounts.create_token(ann, "wide"), platform.accounts.create_token(ann, "narrow", right=READ)
    limited = platform.accounts.authenticate(narrow.secret, HERE)
    assert [token.name for token in platform.accounts.list_tokens(limited)] == ["narrow"]
    assert platform.accounts.count_tokens(limited) == 1
    with pytest.raises(NotFound):
        platform.accounts.revoke_token(limited, wide.id)
    platform.accounts.revoke_token(limited, narrow.id)
    assert who(platform, narrow.secret) is None
    assert who(platform, wide.secret) == "ann"


def test_tokens_are_listed_in_pages_without_their_secrets(platform: Platform, ann: Actor) -> None:
    made = [platform.accounts.create_token(ann, f"t{number}") for number in range(5)]
    first = platform.accounts.list_tokens(ann, limit=2)
    rest = platform.accounts.list_tokens(ann, after=first[-1].id)
    assert [token.id for token in [*first, *rest]] == [token.id for token in made]
    assert platform.accounts.count_tokens(ann) == 5
    for token, new in zip([*first, *rest], made, strict=True):
        assert token.hint == new.secret[:8]
        assert new.secret not in str(token.plain())


def test_others_tokens_take_the_right_and_are_as_if_they_were_not(platform: Platform, root: Actor, ann: Actor, keeper: Actor) -> None:
    ben = platform.permissions.create_user("ben")
    hers = platform.accounts.create_token(ann, "a")
    with pytest.raises(NotFound) as foreign:
        platform.accounts.revoke_token(ben, hers.id)
    with pytest.raises(NotFound) as absent:
        platform.accounts.revoke_token(ben, hers.id + 1000)
    assert str(foreign.value).replace(str(hers.id), "N") == str(absent.value).replace(str(hers.id + 1000), "N")
    for refused in (
        lambda: platform.accounts.list_tokens(ben, of="ann"),
        lambda: platform.accounts.count_tokens(ben, of="ann"),
        lambda: platform.accounts.list_tokens(ben, of="nobody"),
    ):
        with pytest.raises(MissingRight, match="'users'"):
            refused()
    assert [token.id for token in platform.accounts.list_tokens(keeper, of="ANN")] == [hers.id]
    platform.accounts.revoke_token(keeper, hers.id)
    assert who(platform, hers.secret) is None
    roots = platform.accounts.create_token(root, "a")
    with pytest.raises(MissingRight, match="'admin'"):
        platform.accounts.revoke_token(keeper, roots.id)
    assert who(platform, roots.secret) == "root"


def test_only_service_accounts_get_tokens_from_others(platform: Platform, root: Actor, ann: Actor, keeper: Actor) -> None:
    platform.people.create_user(root, "robot", is_service=True)
    made = platform.accounts.create_token(keeper, "export", right=READ, of="robot")
    assert who(platform, made.secret) == "robot"
    for person in ("ann", "kim"):
        with pytest.raises(Conflict, match="no active service account"):
            platform.accounts.create_token(root, "x", of=person)
    with pytest.raises(MissingRight, match="'users'"):
        platform.accounts.create_token(ann, "x", of="robot")
    limited = replace(root, scope=Scope(WRITE))
    with pytest.raises(MissingRight):
        platform.accounts.create_token(limited, "x", right=READ, of="robot")


def test_a_service_account_s_token_takes_every_right_that_it_has(platform: Platform, root: Actor, ann: Actor, keeper: Actor) -> None:
    dataset = make.dataset(platform, "sales", ann)
    platform.people.create_user(root, "robot", is_service=True)
    with platform.db.transaction() as tx:
        robot = platform.permissions.actor(tx, "robot")
    platform.permissions.grant_permission(ann, robot, WRITE, dataset.id)
    platform.permissions.grant_permission(ann, keeper, READ, dataset.id)
    with pytest.raises(MissingRight, match="'write'"):
        platform.accounts.create_token(keeper, "x", right=READ, of="robot")
    platform.permissions.grant_permission(ann, keeper, ADMIN, dataset.id)
    assert who(platform, platform.accounts.create_token(keeper, "x", of="robot").secret) == "robot"
    platform.people.create_user(root, "maker", role="editor", is_service=True)
    with pytest.raises(MissingRight, match="'create'"):
        platform.accounts.create_token(keeper, "x", of="maker")
    platform.people.create_user(root, "almighty", role="admin", is_service=True)
    with pytest.raises(MissingRight, match="'admin'"):
        platform.accounts.create_token(keeper, "x", of="almighty")
    assert who(platform, platform.accounts.create_token(root, "x", of="almighty").secret) == "almighty"


def test_every_change_of_a_token_is_audited_and_every_refusal(platform: Platform, ann: Actor, keeper: Actor) -> None:
    made = platform.accounts.create_token(ann, "a", right=READ, dataset_ids=[1])
    platform.accounts.revoke_token(ann, made.id)
    platform.accounts.revoke_token(ann, made.id)
    with pytest.raises(Denied):
        platform.accounts.list_tokens(ann, of="kim")
    with platform.db.autocommit() as tx:
        rows = tx.rows("SELECT action, actor, object_id, result FROM audit_log WHERE actor = 'ann' ORDER BY id")
    assert [tuple(row.values()) for row in rows] == [
        ("token.create", "ann", str(made.id), "done"),
        ("token.revoke", "ann", str(made.id), "done"),
        ("access.users", "ann", "", "refused"),
    ]


# --- the first admin -----------------------------------------------------------------------------------------------------------


def test_a_new_platform_gets_an_admin_once_and_her_token_in_a_private_file(platform: Platform) -> None:
    path = platform.first_admin()
    assert path == platform.settings.home / "admin-token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    admin = platform.accounts.authenticate(path.read_text().strip(), HERE)
    assert (admin.username, admin.is_admin) == ("admin", True)
    path.unlink()
    assert platform.first_admin() is None
    assert not path.exists()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET is_active = false WHERE username = 'admin'",
        "UPDATE users SET role_id = (SELECT id FROM roles WHERE role_name = 'viewer') WHERE username = 'admin'",
    ],
)
def test_it_is_never_made_again(change: str, platform: Platform) -> None:
    assert platform.first_admin()
    with platform.db.transaction() as tx:
        tx.execute(change)
    assert platform.first_admin() is None


def test_where_somebody_administers_already_none_is_made(platform: Platform, root: Actor) -> None:
    assert platform.first_admin() is None


def test_when_the_token_cannot_be_kept_there_is_no_such_user_and_the_next_start_makes_one(platform: Platform) -> None:
    def fail(_: str) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        platform.accounts.first_admin(fail)
    assert platform.first_admin()


def test_of_many_first_starts_one_makes_her(platform: Platform) -> None:
    secrets: list[str] = []
    barrier = threading.Barrier(4)

    def start(keep: Callable[[str], None]) -> bool:
        barrier.wait()
        return platform.accounts.first_admin(keep)

    with ThreadPoolExecutor(4) as pool:
        made = [future.result() for future in [pool.submit(start, secrets.append) for _ in range(4)]]
    assert sum(made) == 1
    assert len(secrets) == 1
    assert who(platform, secrets[0]) == "admin"
