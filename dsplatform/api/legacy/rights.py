"""Rights on datasets as the old server had them (section 2.6): one level for each user."""

from enum import StrEnum

from fastapi import APIRouter

from dsplatform.api.legacy import shapes
from dsplatform.api.legacy.adapter import Adapter, DatasetNumber
from dsplatform.api.legacy.caller import Writer
from dsplatform.api.legacy.errors import Answer
from dsplatform.api.legacy.succession import succeeded_by
from dsplatform.core.errors import NotFound
from dsplatform.core.types import PermissionType
from dsplatform.permissions.model import LastAdmin

router = APIRouter(prefix="/api/datasets/{dataset_id}/permissions")

VIEW, GRANT, REVOKE = (f"Admin permission required to {what} permissions" for what in ("view", "grant", "revoke"))
PAGE = 1_000


class DatasetPermissionType(StrEnum):
    """What the last part of the address may be."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@router.get("")
@succeeded_by("/datasets/{dataset_id}/permissions")
def list_permissions(adapter: Adapter, caller: Writer, dataset_id: DatasetNumber) -> list[shapes.DatasetPermission]:
    """What users hold by themselves, by user and level; what groups and everyone hold has no place in this form."""
    dataset = adapter.dataset(caller, dataset_id, VIEW)
    with adapter.refusing(VIEW, dataset_id):
        held = adapter.services.legacy.levels(caller, dataset)
    return [shapes.DatasetPermission(dataset_id=dataset_id, user_id=user, permission_type=level) for user, level in held]


@router.post("")
@succeeded_by("/datasets/{dataset_id}/permissions")
def grant_permission(adapter: Adapter, caller: Writer, dataset_id: DatasetNumber, body: shapes.PermissionGrant) -> shapes.DatasetPermission:
    """Gives a user this level in the place of the former."""
    dataset = adapter.dataset(caller, dataset_id, GRANT)
    with adapter.refusing(GRANT, dataset_id):
        adapter.services.legacy.may_administer(caller, dataset)
        if body.permission_type not in list(PermissionType):
            raise Answer(400, f"Invalid permission type '{body.permission_type}'")
        grantee = adapter.grantee(body.user_id)
        if grantee is None:
            raise Answer(404, f"User {body.user_id} not found")
        try:
            adapter.services.permissions.set_permission(caller, dataset, grantee, PermissionType(body.permission_type))
        except LastAdmin as err:
            raise Answer(400, str(err)) from err
    return shapes.DatasetPermission(dataset_id=dataset_id, user_id=body.user_id, permission_type=body.permission_type)


@router.delete("/{user_id}/{permission_type}")
@succeeded_by("/datasets/{dataset_id}/permissions")
def revoke_permission(
    adapter: Adapter, caller: Writer, dataset_id: DatasetNumber, user_id: int, permission_type: DatasetPermissionType
) -> shapes.Message:
    """Takes one level back."""
    dataset = adapter.dataset(caller, dataset_id, REVOKE)
    with adapter.refusing(REVOKE, dataset_id):
        adapter.services.legacy.may_administer(caller, dataset)
        grantee = adapter.grantee(user_id)
        if grantee is not None and grantee.id == caller.user_id and permission_type is DatasetPermissionType.ADMIN:
            raise Answer(400, "Cannot revoke your own admin permission")
        try:
            if grantee is None:
                raise NotFound(str(user_id))
            adapter.services.permissions.revoke_permission(caller, grantee, PermissionType(permission_type), dataset.id)
        except LastAdmin as err:
            raise Answer(400, str(err)) from err
        except NotFound as err:
            raise Answer(404, "Permission not found") from err
    return shapes.Message(message=f"Permission {permission_type.value} revoked from user {user_id}")
