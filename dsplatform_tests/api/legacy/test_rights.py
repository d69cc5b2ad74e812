"""Rights on datasets, as section 2.6 of the old system's description has them."""

from dsplatform.core.types import DatasetId, PermissionType
from dsplatform.permissions.model import EVERYONE
from dsplatform_tests.api.legacy.conftest import Old, actor, answered


def _held(old: Old) -> list[tuple[int, str]]:
    return [(each["user_id"], each["permission_type"]) for each in old.ada.get(f"{old.url}/permissions").json()]


def test_rights_are_listed_by_user(old: Old) -> None:
    """2.6 GET /api/datasets/{dataset_id}/permissions: users alone, by number; it takes `admin`."""
    ada, will, rita = (actor(old.platform, name) for name in ("ada", "will", "rita"))
    old.platform.permissions.grant_permission(ada, EVERYONE, PermissionType.READ, DatasetId(old.dataset.id))
    old.platform.permissions.grant_permission(ada, rita, PermissionType.ADMIN, DatasetId(old.dataset.id))
    listed = old.ada.get(f"{old.url}/permissions").json()
    assert [list(each) for each in listed] == [["dataset_id", "user_id", "permission_type"]] * 4
    assert _held(old) == [(ada.user_id, "admin"), (will.user_id, "write"), (rita.user_id, "read"), (rita.user_id, "admin")]


def test_a_grant_takes_the_place_of_the_former(old: Old) -> None:
    """2.6 POST /api/datasets/{dataset_id}/permissions: one level for each user; up and down; 200."""
    ada, will, rita, eve = (actor(old.platform, name).user_id for name in ("ada", "will", "rita", "eve"))
    for level in ("write", "admin", "read", "read"):
        given = {"user_id": eve, "permission_type": level}
        assert answered(old.ada, "POST", f"{old.url}/permissions", given) == (200, {"dataset_id": old.dataset.id, **given})
        assert _held(old) == [(ada, "admin"), (will, "write"), (rita, "read"), (eve, level)]
    assert old.eve.get(old.url).status_code == 200
    owner = {"user_id": eve, "permission_type": "owner"}
    assert answered(old.ada, "POST", f"{old.url}/permissions", owner) == (400, {"detail": "Invalid permission type 'owner'"})
    unknown = {"user_id": 999, "permission_type": "read"}
    assert answered(old.ada, "POST", f"{old.url}/permissions", unknown) == (404, {"detail": "User 999 not found"})
    assert old.ada.post(f"{old.url}/permissions", json={"user_id": "eve"}).status_code == 422
    downgraded = old.ada.post(f"{old.url}/permissions", json={"user_id": ada, "permission_type": "read"})
    assert downgraded.status_code == 400  # nobody would be left to administer it
    assert (ada, "admin") in _held(old)
    old.ada.post(f"{old.url}/permissions", json={"user_id": will, "permission_type": "admin"})
    assert old.ada.post(f"{old.url}/permissions", json={"user_id": ada, "permission_type": "read"}).status_code == 200
    assert old.ada.get(f"{old.url}/permissions").status_code == 403


def test_a_right_is_taken_back(old: Old) -> None:
    """2.6 DELETE /api/datasets/{dataset_id}/permissions/{user_id}/{permission_type}: not one's own `admin`; exactly that level."""
    ada, will = (actor(old.platform, name).user_id for name in ("ada", "will"))
    url = f"{old.url}/permissions"
    assert answered(old.ada, "DELETE", f"{url}/{will}/read") == (404, {"detail": "Permission not found"})
    assert answered(old.ada, "DELETE", f"{url}/{will}/write") == (200, {"message": f"Permission write revoked from user {will}"})
    assert answered(old.ada, "DELETE", f"{url}/{will}/write") == (404, {"detail": "Permission not found"})
    for nobody in (-5, 0, -(2**70), 2**70):
        assert answered(old.ada, "DELETE", f"{url}/{nobody}/write") == (404, {"detail": "Permission not found"})
    assert answered(old.ada, "DELETE", f"{url}/{ada}/admin") == (400, {"detail": "Cannot revoke your own admin permission"})
    assert old.ada.delete(f"{url}/{will}/owner").status_code == 422
    assert old.will.get(old.url).status_code == 403


def test_rights_take_the_right_to_administer(old: Old) -> None:
    before = _held(old)
    for client, urls in ((old.eve, (old.url, "/api/datasets/999")), (old.rita, (old.url,)), (old.will, (old.url,))):
        for url in urls:
            for method, path, body, what in (
                ("GET", "permissions", None, "view"),
                ("POST", "permissions", {"user_id": 999, "permission_type": "read"}, "grant"),
                ("DELETE", "permissions/1/read", None, "revoke"),
            ):
                refused = {"detail": f"Admin permission required to {what} permissions"}
                assert answered(client, method, f"{url}/{path}", body) == (403, refused)
    assert _held(old) == before
