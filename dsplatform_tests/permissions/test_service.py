import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Conflict, Denied, NotFound
from dsplatform.core.types import PermissionType
from dsplatform_tests import make

RIGHTS = list(PermissionType)


def require(platform: Platform, actor: Actor, right: PermissionType, dataset_id: int) -> bool:
    try:
        with platform.db.transaction() as tx:
            platform.permissions.require(tx, actor, right, dataset_id)  # type: ignore[arg-type]  # an id
    except Denied:
        return False
    return True


def test_a_new_user_is_known_by_name(platform: Platform) -> None:
    created = platform.permissions.create_user("ann")
    with platform.db.transaction() as tx:
        assert platform.permissions.actor(tx, "ann") == created
    assert not created.is_admin
    assert platform.permissions.create_user("root", "admin").is_admin


def test_a_taken_name_makes_no_second_user(platform: Platform) -> None:
    platform.permissions.create_user("ann")
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


@pytest.mark.parametrize("right", RIGHTS)
def test_a_right_is_granted_with_the_lesser_ones(right: PermissionType, platform: Platform) -> None:
    ann, ben = platform.permissions.create_user("ann"), platform.permissions.create_user("ben")
    dataset, other = make.dataset(platform, "sales", ann), make.dataset(platform, "other", ann)
    assert not any(require(platform, ben, wanted, dataset.id) for wanted in RIGHTS)
    platform.permissions.grant_permission(ann, ben, right, dataset.id)
    allowed = [wanted for wanted in RIGHTS if require(platform, ben, wanted, dataset.id)]
    assert allowed == RIGHTS[: RIGHTS.index(right) + 1]
    assert allowed == [wanted for wanted in RIGHTS if platform.permissions.check_permission(ben, wanted, dataset.id)]
    assert not any(require(platform, ben, wanted, other.id) for wanted in RIGHTS)


def test_an_admin_needs_no_grant(platform: Platform) -> None:
    dataset = make.dataset(platform)
    assert require(platform, platform.permissions.create_user("root", "admin"), PermissionType.ADMIN, dataset.id)


@pytest.mark.parametrize("right", [PermissionType.READ, PermissionType.WRITE])
def test_who_may_not_administer_may_not_grant(right: PermissionType, platform: Platform) -> None:
    ann, ben = platform.permissions.create_user("ann"), platform.permissions.create_user("ben")
    dataset = make.dataset(platform, "sales", ann)
    platform.permissions.grant_permission(ann, ben, right, dataset.id)
    with pytest.raises(Denied, match="user 'ben' lacks the right 'admin'"):
        platform.permissions.grant_permission(ben, ben, PermissionType.ADMIN, dataset.id)
    assert not require(platform, ben, PermissionType.ADMIN, dataset.id)
