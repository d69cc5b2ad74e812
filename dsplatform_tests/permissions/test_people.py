import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor, Origin, Scope
from dsplatform.core.errors import Conflict, DsplatformError, Invalid, NotFound
from dsplatform.core.types import PermissionType, PlatformRight
from dsplatform.permissions.model import Grantee, MissingRight, Unauthenticated
from dsplatform.permissions.principals import User
from dsplatform_tests import make

pytestmark = pytest.mark.usefixtures("quick")

PASSWORD = "seven green whales sing"
HERE = Origin(address="10.0.0.1")
R = PlatformRight

GIVERS: dict[str, list[PlatformRight]] = {
    "keeper": [R.USERS],
    "chief": [R.USERS, R.CREATE, R.AUDIT],
    "scribe": [R.USERS, R.WRITE_ALL],
    "everything": list(R),
}
ROLES: dict[str, list[PlatformRight]] = {"auditor": [R.AUDIT], "reader": [R.READ_ALL], "operator": [R.OPERATE, R.AUDIT]}

MAY_GIVE = {
    "admin": {"admin", "editor", "viewer", "auditor", "reader", "operator", *GIVERS},
    "keeper": {"viewer", "keeper"},
    "chief": {"viewer", "editor", "auditor", "keeper", "chief"},
    "scribe": {"viewer", "keeper", "reader", "scribe"},
    "everything": {"editor", "viewer", "auditor", "reader", "operator", *GIVERS},
    "editor": set(),
    "viewer": set(),
}
"""Which roles who has this role may give."""


@pytest.fixture
def everybody(platform: Platform, root: Actor) -> dict[str, Actor]:
    """One user of each role, called as it."""
    for name, rights in {**GIVERS, **ROLES}.items():
        platform.people.set_role_rights(root, name, rights)
    return {role: platform.permissions.create_user(f"the {role}", role) for role in MAY_GIVE}


def allowed(action: Callable[..., object], *arguments: object, **more: object) -> bool:
    try:
        action(*arguments, **more)
    except MissingRight:
        return False
    return True


def role_of(platform: Platform, username: str) -> str:
    with platform.db.autocommit() as tx:
        return str(tx.scalar("SELECT r.role_name FROM users u JOIN roles r ON r.id = u.role_id WHERE username = :name", name=username))


def test_who_may_give_which_role_to_whom(platform: Platform, root: Actor, everybody: dict[str, Actor]) -> None:
    people, found = platform.people, {}
    all_roles = sorted(MAY_GIVE["admin"])
    for giver, actor in everybody.items():
        target = f"target of {giver}"
        people.create_user(root, target)
        given = set()
        for role in all_roles:
            made = allowed(people.create_user, actor, f"{role} by {giver}", role=role)
            changed = allowed(people.change_user, actor, target, role=role)
            assert made == changed, (giver, role)
            if changed:
                given.add(role)
                assert role_of(platform, target) == role
                people.change_user(root, target, role="viewer")
        found[giver] = given
    assert found == MAY_GIVE


def test_who_may_make_and_change_which_role(platform: Platform, root: Actor, everybody: dict[str, Actor]) -> None:
    people = platform.people
    for giver, actor in everybody.items():
        for role, rights in {**GIVERS, **ROLES}.items():
            may = role in MAY_GIVE[giver]
            assert allowed(people.set_role_rights, actor, f"{role} of {giver}", rights) == may, (giver, role)
            assert allowed(people.set_role_rights, actor, role, rights) == may
            # To take rights from a role takes all that it had, too: its users are not the actor's to judge.
            assert allowed(people.set_role_rights, actor, role, []) == may, (giver, role)
            people.set_role_rights(root, role, rights)


def test_who_may_let_whom_act_again(platform: Platform, root: Actor, everybody: dict[str, Actor]) -> None:
    people = platform.people
    for role in MAY_GIVE["admin"]:
        people.create_user(root, f"a {role}", role=role)
    for giver, actor in everybody.items():
        for role in MAY_GIVE["admin"]:
            people.change_user(root, f"a {role}", active=False)
            assert allowed(people.change_user, actor, f"a {role}", active=True) == (role in MAY_GIVE[giver]), (giver, role)


def test_only_an_admin_touches_an_admin(platform: Platform, root: Actor, everybody: dict[str, Actor]) -> None:
    people = platform.people
    people.create_user(root, "boss", role="admin")
    people.create_group(root, "board")
    tries: list[Callable[[Actor], object]] = [
        lambda actor: people.change_user(actor, "boss", role="viewer"),
        lambda actor: people.change_user(actor, "boss", active=False),
        lambda actor: people.change_user(actor, "boss", active=True),
        lambda actor: people.set_password(actor, "boss", PASSWORD),
        lambda actor: people.add_member(actor, "board", "boss"),
        lambda actor: people.remove_member(actor, "board", "boss"),
    ]
    for giver, actor in everybody.items():
        for one in tries:
            if giver == "admin":
                continue
            with pytest.raises(MissingRight):
                one(actor)
    assert people.get_user(root, "boss").role == "admin"
    for one in tries:
        one(root)


def test_only_an_admin_sets_the_password_of_another(platform: Platform, root: Actor, everybody: dict[str, Actor]) -> None:
    platform.people.create_user(root, "ann")
    may = {giver for giver, actor in everybody.items() if allowed(platform.people.set_password, actor, "ann", PASSWORD)}
    assert may == {"admin"}
    session = platform.sessions.login("ann", PASSWORD, HERE)
    platform.people.set_password(root, "ann", PASSWORD + "!")
    with pytest.raises(Unauthenticated):
        platform.accounts.authenticate(session.access_token, HERE)


def test_a_limited_token_of_an_admin_keeps_nobody(platform: Platform, root: Actor) -> None:
    for scope in (Scope(PermissionType.WRITE), Scope(PermissionType.ADMIN, (1,))):
        limited = replace(root, scope=scope)
        with pytest.raises(MissingRight):
            platform.people.create_user(limited, "ann")
        with pytest.raises(MissingRight):
            platform.people.list_users(limited)


def test_a_group_is_filled_only_by_who_holds_what_it_holds(platform: Platform, root: Actor, everybody: dict[str, Actor]) -> None:
    people, keeper = platform.people, everybody["keeper"]
    ann = platform.permissions.create_user("ann")
    dataset = make.dataset(platform, "sales", ann)
    people.create_group(keeper, "analysts")
    people.add_member(keeper, "analysts", "the viewer")
    people.remove_member(keeper, "analysts", "the viewer")
    grant(platform, ann, "analysts", PermissionType.WRITE, dataset.id)
    for member in ("the keeper", "the viewer"):
        with pytest.raises(MissingRight, match="'write'"):
            people.add_member(keeper, "analysts", member)
    platform.permissions.grant_permission(ann, keeper, PermissionType.READ, dataset.id)
    with pytest.raises(MissingRight, match="'write'"):
        people.add_member(keeper, "analysts", "the viewer")
    people.add_member(everybody["scribe"], "analysts", "the editor")
    platform.permissions.grant_permission(ann, keeper, PermissionType.ADMIN, dataset.id)
    people.add_member(keeper, "analysts", "the viewer")
    assert [user.username for user in people.list_members(keeper, "analysts")] == ["the editor", "the viewer"]
    grant(platform, ann, "analysts", PermissionType.READ, make.dataset(platform, "costs", ann).id)
    with pytest.raises(MissingRight, match="'read'"):
        people.add_member(keeper, "analysts", "the chief")
    people.remove_member(keeper, "analysts", "the viewer")
    people.add_member(root, "analysts", "the chief")


def grant(platform: Platform, by: Actor, group: str, right: PermissionType, dataset_id: int) -> None:
    with platform.db.transaction() as tx:
        tx.execute(
            "INSERT INTO permissions (resource_type, resource_id, group_id, permission_type, granted_by) "
            "SELECT 'dataset', :id, g.id, :right, :by FROM groups g WHERE group_name = :name",
            id=dataset_id,
            right=str(right),
            by=by.user_id,
            name=group,
        )


# --- users ---------------------------------------------------------------------------------------------------------------------


def test_a_new_user_is_a_viewer_without_a_way_in(platform: Platform, root: Actor) -> None:
    made = platform.people.create_user(root, "Ada.King@Example.org")
    assert made == platform.people.get_user(root, "ada.king@example.org")
    assert (made.username, made.role, made.is_active, made.is_service, made.has_password, made.groups) == (
        "ada.king@example.org",
        "viewer",
        True,
        False,
        False,
        (),
    )
    with pytest.raises(Unauthenticated):
        platform.sessions.login("ada.king@example.org", "", HERE)


@pytest.mark.parametrize("again", ["ann", "ANN", "\uff41\uff4e\uff4e"])
def test_no_two_users_have_the_same_name(again: str, platform: Platform, root: Actor) -> None:
    platform.people.create_user(root, "Ann")
    with pytest.raises(Conflict, match="user 'ann' exists already"):
        platform.people.create_user(root, again)


def test_what_cannot_be_made_is_told(platform: Platform, root: Actor) -> None:
    with pytest.raises(NotFound, match="role 'emperor' does not exist"):
        platform.people.create_user(root, "ann", role="emperor")
    with pytest.raises(Invalid, match="no password"):
        platform.people.create_user(root, "robot", is_service=True, password=PASSWORD)
    with pytest.raises(Invalid, match="12 to 1,024"):
        platform.people.create_user(root, "ann", password="short")
    with pytest.raises(Invalid, match="no valid name"):
        platform.people.create_user(root, "a/b")
    for call in (platform.people.get_user, platform.people.change_user):
        with pytest.raises(NotFound, match="user 'ann' does not exist"):
            call(root, "ann")
    with pytest.raises(Invalid, match="service account"):
        platform.people.create_user(root, "robot", is_service=True)
        platform.people.set_password(root, "robot", PASSWORD)


def test_the_built_in_user_stays_as_it_is(platform: Platform, root: Actor) -> None:
    platform.people.create_group(root, "some")
    for change in (
        lambda: platform.people.change_user(root, "system", active=False),
        lambda: platform.people.change_user(root, "system", role="viewer"),
        lambda: platform.people.set_password(root, "system", PASSWORD),
        lambda: platform.people.add_member(root, "some", "System"),
    ):
        with pytest.raises(Conflict, match="built in"):
            change()


def test_the_last_active_admin_stays(platform: Platform, root: Actor) -> None:
    people = platform.people
    for role, active in ((None, False), ("viewer", None), ("admin", False), ("viewer", True)):
        with pytest.raises(Conflict, match="last active admin"):
            people.change_user(root, "root", role=role, active=active)
    people.change_user(root, "root", role="admin")
    people.create_user(root, "boss", role="admin")
    people.change_user(root, "boss", active=False)
    with pytest.raises(Conflict, match="last active admin"):
        people.change_user(root, "root", active=False)
    people.change_user(root, "boss", active=True)
    assert not people.change_user(root, "root", active=False).is_active


def test_of_the_last_two_admins_who_go_at_once_one_stays(platform: Platform, root: Actor) -> None:
    platform.people.create_user(root, "boss", role="admin")
    for round_ in range(10):
        barrier = threading.Barrier(2)

        def leave(name: str, barrier: threading.Barrier = barrier) -> User | DsplatformError:
            barrier.wait()
            try:
                return platform.people.change_user(root, name, active=False)
            except DsplatformError as err:
                return err

        with ThreadPoolExecutor(2) as pool:
            results = [future.result() for future in [pool.submit(leave, name) for name in ("root", "boss")]]
        assert sorted(isinstance(result, Conflict) for result in results) == [False, True], round_
        for name in ("root", "boss"):
            platform.people.change_user(root, name, active=True)


def test_a_role_counts_from_the_next_request_on(platform: Platform, root: Actor) -> None:
    platform.people.create_user(root, "ann", role="editor", password=PASSWORD)
    session = platform.sessions.login("ann", PASSWORD, HERE)
    assert platform.accounts.authenticate(session.access_token, HERE).rights == (R.CREATE,)
    platform.people.change_user(root, "ann", role="viewer")
    assert platform.accounts.authenticate(session.access_token, HERE).rights == ()


def test_users_are_listed_in_pages_by_name(platform: Platform, root: Actor) -> None:
    for name in ("dora", "ben", "ann", "carl"):
        platform.people.create_user(root, name)
    first = platform.people.list_users(root, limit=3)
    rest = platform.people.list_users(root, after=first[-1].username)
    assert [user.username for user in [*first, *rest]] == ["ann", "ben", "carl", "dora", "root", "system"]
    assert platform.people.count_users(root) == 6


def test_everybody_sees_herself(platform: Platform, root: Actor) -> None:
    ann = platform.permissions.create_user("ann", "viewer")
    platform.people.create_group(root, "b")
    platform.people.create_group(root, "a")
    for group in ("b", "a"):
        platform.people.add_member(root, group, "ann")
    assert platform.people.me(ann).groups == ("a", "b")


def test_whoever_is_named_is_found_in_any_case_of_letters(platform: Platform, root: Actor) -> None:
    platform.people.create_user(root, "Ann")
    platform.people.create_group(root, "Analysts")
    platform.people.create_user(root, "ben")
    platform.people.add_member(root, "ANALYSTS", "BEN")
    dataset = make.dataset(platform, "sales", root)
    for grantee in (Grantee("user", name="ANN"), Grantee("group", name="AnalystS")):
        platform.permissions.grant_permission(root, grantee, PermissionType.READ, dataset.id)
    for name in ("ANN", "Ben"):
        assert platform.permissions.can(root, dataset, PermissionType.READ, name).allowed
        assert len(platform.permissions.of_user(root, name)) == 1
    with platform.db.transaction() as tx:
        assert platform.permissions.actor(tx, "ANN").username == "ann"


# --- groups and roles ----------------------------------------------------------------------------------------------------------


def test_a_group_has_its_members_and_takes_its_grants_with_it(platform: Platform, root: Actor) -> None:
    people, ann = platform.people, platform.permissions.create_user("ann")
    ben = platform.permissions.create_user("ben")
    dataset = make.dataset(platform, "sales", ann)
    made = people.create_group(root, "Analysts", "who look")
    assert (made.name, made.description, made.members) == ("analysts", "who look", 0)
    for _ in range(2):
        people.add_member(root, "ANALYSTS", "Ben")
    assert people.get_group(root, "analysts").members == 1
    grant(platform, ann, "analysts", PermissionType.READ, dataset.id)
    assert platform.permissions.check_permission(ben, PermissionType.READ, dataset.id)
    people.delete_group(root, "analysts")
    assert not platform.permissions.check_permission(ben, PermissionType.READ, dataset.id)
    people.create_group(root, "analysts")
    people.add_member(root, "analysts", "ben")
    assert not platform.permissions.check_permission(ben, PermissionType.READ, dataset.id)
    people.remove_member(root, "analysts", "ben")
    people.remove_member(root, "analysts", "ben")
    assert people.list_members(root, "analysts") == []


def test_groups_that_are_not_there_and_names_that_are_taken_are_told(platform: Platform, root: Actor) -> None:
    people = platform.people
    people.create_group(root, "a")
    with pytest.raises(Conflict, match="group 'a' exists already"):
        people.create_group(root, "A")
    with pytest.raises(Invalid, match="500 characters"):
        people.create_group(root, "b", "x" * 501)
    for call in (people.get_group, people.delete_group, people.list_members):
        with pytest.raises(NotFound, match="group 'b' does not exist"):
            call(root, "b")
    with pytest.raises(NotFound, match="user 'nobody'"):
        people.add_member(root, "a", "nobody")
    people.create_group(root, "c")
    assert [group.name for group in people.list_groups(root, after="a")] == ["c"]
    assert people.count_groups(root) == 2


def test_a_role_is_made_changed_and_taken_away_when_nobody_has_it(platform: Platform, root: Actor) -> None:
    people = platform.people
    made = people.set_role_rights(root, "Auditor", [R.AUDIT, R.AUDIT, R.READ_ALL], "looks")
    assert (made.name, set(made.rights), made.users, made.is_built_in) == ("auditor", {R.AUDIT, R.READ_ALL}, 0, False)
    people.create_user(root, "ann", role="auditor")
    assert set(platform.permissions.create_user("ben", "auditor").rights) == {R.AUDIT, R.READ_ALL}
    assert people.set_role_rights(root, "auditor", [R.AUDIT]).users == 2
    with pytest.raises(Conflict, match="2 user"):
        people.delete_role(root, "auditor")
    for name in ("ann", "ben"):
        people.change_user(root, name, role="viewer")
    people.delete_role(root, "auditor")
    with pytest.raises(NotFound):
        people.delete_role(root, "auditor")
    assert [role.name for role in people.list_roles(root)] == ["admin", "editor", "viewer"]
    assert people.count_roles(root) == 3


@pytest.mark.parametrize("name", ["admin", "Editor", "viewer"])
def test_the_built_in_roles_stay_as_they_are(name: str, platform: Platform, root: Actor) -> None:
    with pytest.raises(Conflict, match="built in"):
        platform.people.set_role_rights(root, name, [])
    with pytest.raises(Conflict, match="built in"):
        platform.people.delete_role(root, name)


def test_every_change_of_people_is_audited_once(platform: Platform, root: Actor) -> None:
    people = platform.people
    people.set_role_rights(root, "auditor", [R.AUDIT])
    people.set_role_rights(root, "auditor", [])
    people.create_user(root, "ann", password=PASSWORD)
    people.change_user(root, "ann", role="auditor")
    people.change_user(root, "ann", role="auditor")
    people.change_user(root, "ann", active=False)
    people.change_user(root, "ann", active=False)
    people.change_user(root, "ann", active=True)
    people.set_password(root, "ann", PASSWORD)
    people.create_group(root, "some")
    for _ in range(2):
        people.add_member(root, "some", "ann")
    for _ in range(2):
        people.remove_member(root, "some", "ann")
    people.delete_group(root, "some")
    people.change_user(root, "ann", role="viewer")
    people.delete_role(root, "auditor")
    with platform.db.autocommit() as tx:
        rows = tx.rows("SELECT action, actor, result FROM audit_log ORDER BY id")
    assert [row["action"] for row in rows if row["actor"] == "root"] == [
        *("role.create", "role.change", "user.create", "user.role", "user.deactivate", "user.reactivate", "user.password"),
        *("group.create", "group.join", "group.leave", "group.delete", "user.role", "role.delete"),
    ]
