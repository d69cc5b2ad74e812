from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Conflict, Denied, Invalid, NotFound
from dsplatform.core.settings import Settings
from dsplatform.core.types import DatasetId, PermissionType, PlatformRight
from dsplatform.permissions.grant_rows import Grants
from dsplatform.permissions.model import EVERYONE, Grantee, GranteeMissing, GrantMissing, LastAdmin, MissingRight
from dsplatform_tests import make

RIGHTS = list(PermissionType)
READ, WRITE, ADMIN = PermissionType


def require(platform: Platform, actor: Actor, right: PermissionType, dataset_id: DatasetId) -> bool:
    try:
        with platform.db.transaction() as tx:
            platform.permissions.require(tx, actor, right, dataset_id)
    except Denied:
        return False
    return True


def group(platform: Platform, name: str, *members: Actor) -> Grantee:
    with platform.db.transaction() as tx:
        group_id = tx.scalar("INSERT INTO groups (group_name) VALUES (:name) RETURNING id", name=name)
        for member in members:
            tx.execute("INSERT INTO group_members (group_id, user_id) VALUES (:group, :user)", group=group_id, user=member.user_id)
    return Grantee("group", name=name)


def noted(platform: Platform, action: str = "permission.") -> list[tuple[str, str, object, object]]:
    """(action, result, before, after) of what the audit log has of it."""
    with platform.db.transaction() as tx:
        return [
            (row[0], row[1], row[2], row[3])
            for row in tx.tuples("SELECT action, result, before, after FROM audit_log WHERE starts_with(action, :a) ORDER BY id", a=action)
        ]


# --- users ---------------------------------------------------------------------------------------------------------------------


def test_a_new_user_is_known_by_name(platform: Platform, ann: Actor) -> None:
    with platform.db.transaction() as tx:
        assert platform.permissions.actor(tx, "ann") == ann
    assert not ann.is_admin
    assert platform.permissions.create_user("root", "admin").is_admin


def test_a_taken_name_makes_no_second_user(platform: Platform, ann: Actor) -> None:
    with pytest.raises(Conflict, match="user 'ann' exists already"):
        platform.permissions.create_user("ann")


def test_an_unknown_role_is_refused_with_the_ones_there_are(platform: Platform) -> None:
    with pytest.raises(NotFound, match="role 'emperor' does not exist: use admin, editor or viewer"):
        platform.permissions.create_user("ann", "emperor")


def test_an_unknown_user_is_named_with_the_settings_that_name_users(platform: Platform) -> None:
    with (
        pytest.raises(NotFound, match="user 'nobody' does not exist or is not active: check DSPLATFORM_USER"),
        platform.db.transaction() as tx,
    ):
        platform.permissions.actor(tx, "nobody")


# --- granting ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("right", RIGHTS)
def test_a_right_is_granted_with_the_lesser_ones(right: PermissionType, platform: Platform, ann: Actor, ben: Actor) -> None:
    dataset, other = make.dataset(platform, "sales", ann), make.dataset(platform, "other", ann)
    assert not any(require(platform, ben, wanted, dataset.id) for wanted in RIGHTS)
    made = platform.permissions.grant_permission(ann, ben, right, dataset.id)
    assert (made.grantee, made.right, made.granted_by, made.expires_at) == (Grantee("user", ben.user_id, "ben"), right, "ann", None)
    allowed = [wanted for wanted in RIGHTS if require(platform, ben, wanted, dataset.id)]
    assert allowed == RIGHTS[: RIGHTS.index(right) + 1]
    assert allowed == [wanted for wanted in RIGHTS if platform.permissions.check_permission(ben, wanted, dataset.id)]
    assert not any(require(platform, ben, wanted, other.id) for wanted in RIGHTS)


def test_an_admin_needs_no_grant(platform: Platform) -> None:
    dataset = make.dataset(platform)
    assert require(platform, platform.permissions.create_user("root", "admin"), ADMIN, dataset.id)


def test_a_group_gets_what_its_members_hold_from_then_on(platform: Platform, ann: Actor, ben: Actor) -> None:
    dataset, analysts = make.dataset(platform, "sales", ann), group(platform, "analysts", ben)
    platform.permissions.grant_permission(ann, analysts, WRITE, dataset.id)
    late = platform.permissions.create_user("late")
    assert require(platform, ben, WRITE, dataset.id)
    assert not require(platform, late, READ, dataset.id)
    with platform.db.transaction() as tx:
        tx.execute("UPDATE group_members SET user_id = :late", late=late.user_id)
    assert require(platform, late, WRITE, dataset.id)
    assert not require(platform, ben, READ, dataset.id)


def test_everyone_is_also_who_comes_later(platform: Platform, ann: Actor, ben: Actor) -> None:
    dataset = make.dataset(platform, "sales", ann)
    platform.permissions.grant_permission(ann, EVERYONE, READ, dataset.id)
    assert require(platform, ben, READ, dataset.id)
    assert require(platform, platform.permissions.create_user("late", "viewer"), READ, dataset.id)
    assert not require(platform, ben, WRITE, dataset.id)


def test_a_grant_ends_at_its_time(platform: Platform, ann: Actor, ben: Actor) -> None:
    dataset, until = make.dataset(platform, "sales", ann), datetime.now(UTC) + timedelta(hours=1)
    made = platform.permissions.grant_permission(ann, ben, READ, dataset.id, until=until)
    assert made.expires_at == until
    assert require(platform, ben, READ, dataset.id)
    with platform.db.transaction() as tx:
        tx.execute("UPDATE permissions SET expires_at = now() WHERE id = :id", id=made.id)
    assert not require(platform, ben, READ, dataset.id)
    assert [grant.id for grant in platform.permissions.grants(ann, dataset)][-1] == made.id


@pytest.mark.parametrize("until", [datetime(2020, 1, 1, tzinfo=UTC), datetime(2999, 1, 1)], ids=["over", "without a zone"])  # noqa: DTZ001 - the claim
def test_an_end_that_is_over_or_unclear_is_refused(until: datetime, platform: Platform, ann: Actor, ben: Actor) -> None:
    dataset = make.dataset(platform, "sales", ann)
    with pytest.raises(Invalid, match="is no end for a grant"):
        platform.permissions.grant_permission(ann, ben, READ, dataset.id, until=until)
    assert not require(platform, ben, READ, dataset.id)


def test_a_second_grant_lengthens_and_never_shortens(platform: Platform, ann: Actor, ben: Actor) -> None:
    dataset, soon = make.dataset(platform, "sales", ann), datetime.now(UTC) + timedelta(hours=1)
    grant = platform.permissions.grant_permission
    first = grant(ann, ben, READ, dataset.id, until=soon)
    assert grant(ann, ben, READ, dataset.id, until=soon + timedelta(hours=1)).expires_at == soon + timedelta(hours=1)
    assert grant(ann, ben, READ, dataset.id).expires_at is None
    assert grant(ann, ben, READ, dataset.id, until=soon) == grant(ann, ben, READ, dataset.id, until=soon)
    (last,) = [each for each in platform.permissions.grants(ann, dataset) if each.grantee.name == "ben"]
    assert (last.id, last.expires_at) == (first.id, None)


@pytest.mark.parametrize("grantee", [Grantee("user", name="nobody"), Grantee("group", name="ben"), Grantee("user", name="everyone")])
def test_whom_nobody_knows_gets_nothing(grantee: Grantee, platform: Platform, ann: Actor, ben: Actor) -> None:
    dataset = make.dataset(platform, "sales", ann)
    with pytest.raises(GranteeMissing, match=rf"{grantee.said} does not exist"):
        platform.permissions.grant_permission(ann, grantee, READ, dataset.id)
    assert len(platform.permissions.grants(ann, dataset)) == 1


def test_nothing_is_granted_on_what_was_deleted(platform: Platform, system: Actor, ann: Actor, ben: Actor) -> None:
    dataset = make.dataset(platform, "sales", ann)
    with platform.db.transaction() as tx:
        tx.execute("UPDATE datasets SET deleted_at = now()")
    with pytest.raises(NotFound, match="this dataset was deleted"):
        platform.permissions.grant_permission(ann, ben, READ, dataset.id)
    with pytest.raises(NotFound, match="this dataset was deleted"):
        platform.permissions.grant_permission(system, ben, READ, DatasetId(999))


@pytest.mark.parametrize("right", [READ, WRITE])
def test_who_may_not_administer_may_not_grant_nor_revoke_nor_look(
    right: PermissionType, platform: Platform, ann: Actor, ben: Actor
) -> None:
    dataset = make.dataset(platform, "sales", ann)
    made = platform.permissions.grant_permission(ann, ben, right, dataset.id)
    before = platform.permissions.grants(ann, dataset)
    everything = platform.permissions
    attempts: list[Callable[[], object]] = [
        lambda: everything.grant_permission(ben, ben, ADMIN, dataset.id),
        lambda: everything.revoke_permission(ben, Grantee("user", name="ann"), ADMIN, dataset.id),
        lambda: everything.revoke_grant(ben, dataset, made.id),
        lambda: everything.grants(ben, dataset),
        lambda: everything.who_can(ben, dataset, READ),
        lambda: everything.can(ben, dataset, READ, "ann"),
    ]
    for attempt in attempts:
        with pytest.raises(MissingRight, match="user 'ben' lacks the right 'admin'"):
            attempt()
    assert platform.permissions.grants(ann, dataset) == before
    assert [entry[:2] for entry in noted(platform, "access.")] == [("access.admin", "refused")] * len(attempts)


# --- taking back ---------------------------------------------------------------------------------------------------------------


def test_what_is_taken_back_counts_at_once(platform: Platform, ann: Actor, ben: Actor) -> None:
    dataset = make.dataset(platform, "sales", ann)
    everything, user = platform.permissions, Grantee("user", name="ben")
    made = everything.grant_permission(ann, ben, WRITE, dataset.id)
    with pytest.raises(GrantMissing, match="user 'ben' has no grant of 'read' on this dataset"):
        everything.revoke_permission(ann, user, READ, dataset.id)
    assert everything.revoke_permission(ann, user, WRITE, dataset.id) == made
    assert not require(platform, ben, READ, dataset.id)
    with pytest.raises(GrantMissing):
        everything.revoke_grant(ann, dataset, made.id)
    again = everything.grant_permission(ann, ben, READ, dataset.id)
    assert everything.revoke_grant(ann, dataset, again.id) == again
    assert not require(platform, ben, READ, dataset.id)


def test_a_grant_is_taken_back_on_its_own_dataset_alone(platform: Platform, ann: Actor, ben: Actor) -> None:
    sales, own = make.dataset(platform, "sales", ann), make.dataset(platform, "own", ben)
    (foreign,) = platform.permissions.grants(ann, sales)
    with pytest.raises(GrantMissing):
        platform.permissions.revoke_grant(ben, own, foreign.id)
    assert require(platform, ann, ADMIN, sales.id)


def test_the_last_lasting_admin_stays_unless_an_admin_of_the_platform_decides(
    platform: Platform, system: Actor, ann: Actor, ben: Actor
) -> None:
    dataset, everything = make.dataset(platform, "sales", ann), platform.permissions
    (own,) = everything.grants(ann, dataset)
    everything.grant_permission(ann, ben, WRITE, dataset.id)
    ends = everything.grant_permission(ann, ben, ADMIN, dataset.id, until=datetime.now(UTC) + timedelta(days=1))
    nobody = everything.grant_permission(ann, group(platform, "empty"), ADMIN, dataset.id)
    for actor in (ann, ben):
        with pytest.raises(LastAdmin, match="grant 'admin' to somebody else first, or ask an admin of the platform"):
            everything.revoke_grant(actor, dataset, own.id)
    assert everything.revoke_grant(ann, dataset, nobody.id) == nobody
    assert everything.revoke_grant(ann, dataset, ends.id) == ends
    assert everything.revoke_grant(system, dataset, own.id) == own
    assert not require(platform, ann, READ, dataset.id)


def test_another_lasting_admin_lets_the_first_go(platform: Platform, ann: Actor, ben: Actor) -> None:
    dataset, everything = make.dataset(platform, "sales", ann), platform.permissions
    (own,) = everything.grants(ann, dataset)
    everything.grant_permission(ann, group(platform, "owners", ben), ADMIN, dataset.id)
    assert everything.revoke_grant(ann, dataset, own.id) == own
    assert everything.check_permission(ben, ADMIN, dataset.id)


def test_two_admins_who_take_back_each_others_grant_do_not_both_succeed(settings: Settings, database_url: str) -> None:
    with make.crowded(settings, database_url, 3) as platform:
        everything = platform.permissions
        ann, ben = everything.create_user("ann"), everything.create_user("ben")
        for number in range(5):
            dataset = make.dataset(platform, f"d{number}", ann)
            (own,) = everything.grants(ann, dataset)
            other = everything.grant_permission(ann, ben, ADMIN, dataset.id)

            def take(actor: Actor, grant_id: int) -> bool:
                try:
                    everything.revoke_grant(actor, dataset, grant_id)  # noqa: B023 - called before the loop goes on
                except (LastAdmin, Denied):
                    return False
                return True

            done = make.at_once(lambda: take(ann, other.id), lambda: take(ben, own.id))  # noqa: B023 - called before the loop goes on
            assert sorted(done) == [False, True]


# --- who may what --------------------------------------------------------------------------------------------------------------


def test_who_can_tells_every_way(platform: Platform, system: Actor, ann: Actor, ben: Actor) -> None:
    dataset, everything = make.dataset(platform, "sales", ann), platform.permissions
    analysts = group(platform, "analysts", ann, ben)
    own = everything.grants(ann, dataset)[0].id
    theirs = everything.grant_permission(ann, analysts, WRITE, dataset.id).id
    all_ = everything.grant_permission(ann, EVERYONE, READ, dataset.id).id
    shown = {
        holder.username: [(way.kind, way.name, way.grant_id) for way in holder.ways] for holder in everything.who_can(ann, dataset, READ)
    }
    assert shown == {
        "ann": [("user", None, own), ("group", "analysts", theirs), ("everyone", None, all_)],
        "ben": [("group", "analysts", theirs), ("everyone", None, all_)],
        "system": [("role", "admin", None), ("everyone", None, all_)],
    }
    assert [holder.username for holder in everything.who_can(ann, dataset, WRITE)] == ["ann", "ben", "system"]
    assert [holder.username for holder in everything.who_can(ann, dataset, ADMIN)] == ["ann", "system"]
    pages = [everything.who_can(ann, dataset, READ, after=after, limit=1)[0].username for after in ("", "ann", "ben")]
    assert pages == ["ann", "ben", "system"]


def test_can_answers_with_the_reason(platform: Platform, ann: Actor, ben: Actor) -> None:
    dataset, everything = make.dataset(platform, "sales", ann), platform.permissions
    made = everything.grant_permission(ann, ben, WRITE, dataset.id)
    assert everything.can(ann, dataset, READ, "ben").sentence == (
        f"ben holds 'read' on dataset 'sales': by the grant of her own of 'write' (number {made.id})"
    )
    assert not everything.can(ann, dataset, ADMIN, "ben").allowed
    assert everything.can(ben, dataset, WRITE).allowed
    assert not everything.can(ben, dataset, ADMIN, "ben").allowed
    assert not everything.can(ann, dataset, READ, "nobody").allowed


def test_what_a_user_holds_is_told_to_her_and_to_who_keeps_users(platform: Platform, system: Actor, ann: Actor, ben: Actor) -> None:
    sales, secret, everything = make.dataset(platform, "sales", ann), make.dataset(platform, "secret", ann), platform.permissions
    everything.grant_permission(ann, group(platform, "analysts", ben), READ, sales.id)
    everything.grant_permission(ann, ben, WRITE, secret.id)
    assert [(held.slug, held.way.kind, held.way.right) for held in everything.of_user(ben)] == [
        ("sales", "group", READ),
        ("secret", "user", WRITE),
    ]
    assert everything.of_user(system, "ben") == everything.of_user(ben)
    with pytest.raises(MissingRight, match="lacks the right 'users'"):
        everything.of_user(ann, "ben")
    keeper = Actor(ann.user_id, "keeper", rights=(PlatformRight.USERS,))
    everything.grant_permission(ann, EVERYONE, READ, sales.id)
    assert {held.slug for held in everything.of_user(keeper, "ben")} == {"sales", "secret"}
    stranger = Actor(platform.permissions.create_user("cleo").user_id, "cleo", rights=(PlatformRight.USERS,))
    assert {held.slug for held in everything.of_user(stranger, "ben")} == {"sales"}


# --- what is written down ------------------------------------------------------------------------------------------------------


def test_what_is_granted_and_taken_back_is_noted(platform: Platform, ann: Actor, ben: Actor) -> None:
    dataset, everything = make.dataset(platform, "sales", ann), platform.permissions
    soon = datetime.now(UTC) + timedelta(hours=1)
    made = everything.grant_permission(ann, ben, READ, dataset.id, until=soon)
    everything.grant_permission(ann, ben, READ, dataset.id)
    everything.revoke_grant(ann, dataset, made.id)
    short = {"grant": made.id, "to": "user ben", "right": "read", "until": soon.isoformat()}
    long = {**short, "until": None}
    assert noted(platform) == [
        ("permission.grant", "done", None, short),
        ("permission.grant", "done", short, long),
        ("permission.revoke", "done", long, None),
    ]


def test_what_is_not_done_is_not_noted_as_done(platform: Platform, ann: Actor, ben: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make.dataset(platform, "sales", ann)

    def broken(*_: object) -> object:
        raise Conflict("after the write")

    real = Grants.of
    monkeypatch.setattr(Grants, "of", lambda self, *args: real(self, *args) if not real(self, *args) else broken())
    with pytest.raises(Conflict):
        platform.permissions.grant_permission(ann, ben, READ, dataset.id)
    monkeypatch.undo()
    assert not require(platform, ben, READ, dataset.id)
    assert noted(platform) == []
