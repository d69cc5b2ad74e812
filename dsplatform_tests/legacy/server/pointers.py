"""Sections 2.5 and 2.6: branches, version tags, pointers and permissions."""

from collections.abc import Iterator
from enum import Enum

from fastapi import APIRouter, HTTPException, Response
from psycopg.sql import SQL
from pydantic import BaseModel

from dsplatform_tests.legacy.server.old import Asking, DatasetId, Old, Row, Server, answer
from dsplatform_tests.legacy.server.versions import SHAPE as VERSION

router = APIRouter()

_SHAPE = "SELECT dataset_id, pointer_name, dataset_version_id, is_tag, id, created_at, updated_at FROM dataset_pointers"


class DatasetPermissionType(Enum):
    """In a text it is `DatasetPermissionType.READ`."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class NewBranch(BaseModel):
    branch_name: str | None = None
    from_version_id: int | None = None


class NewTag(BaseModel):
    tag_name: str | None = None
    version_id: int | None = None


class Move(BaseModel):
    to_version_id: int | None = None


class PermissionGrant(BaseModel):
    user_id: int
    permission_type: str


def _pointer(old: Old, dataset_id: int, name: str) -> Row | None:
    return old.row(f"{_SHAPE} WHERE dataset_id = %s AND pointer_name = %s", dataset_id, name)


def _check(old: Old, dataset_id: int, version_id: int, name: str, noun: str) -> None:
    if old.row("SELECT id FROM datasets WHERE id = %s", dataset_id) is None:
        raise HTTPException(404, f"Dataset {dataset_id} not found")
    if old.row("SELECT id FROM dataset_versions WHERE id = %s AND dataset_id = %s", version_id, dataset_id) is None:
        raise HTTPException(404, f"Version {version_id} not found or doesn't belong to dataset")
    if len(name) > 255:
        raise HTTPException(400, f"Invalid {noun} name")


def _point(old: Old, dataset_id: int, name: str, version_id: int) -> None:
    with old.writing() as session, session.transaction():
        session.point(dataset_id, name, version_id)


@router.post("/{dataset_id}/branches")
def create_branch(old: Server, caller: Asking, dataset_id: DatasetId, new: NewBranch) -> Response:
    """One that exists is moved; one that is a tag makes it fail."""
    old.require(caller, dataset_id, "write", "create branches")
    if not new.branch_name or not new.from_version_id:
        raise HTTPException(400, "Both branch_name and from_version_id are required")
    _check(old, dataset_id, new.from_version_id, new.branch_name, "branch")
    if (found := _pointer(old, dataset_id, new.branch_name)) and found["is_tag"]:
        raise ValueError(new.branch_name)
    _point(old, dataset_id, new.branch_name, new.from_version_id)
    return answer(_pointer(old, dataset_id, new.branch_name))


@router.post("/{dataset_id}/tags")
def create_tag(old: Server, caller: Asking, dataset_id: DatasetId, new: NewTag) -> Response:
    """One named as a branch moves that branch."""
    old.require(caller, dataset_id, "write", "create tags")
    if not new.tag_name or not new.version_id:
        raise HTTPException(400, "Both tag_name and version_id are required")
    _check(old, dataset_id, new.version_id, new.tag_name, "tag")
    found = _pointer(old, dataset_id, new.tag_name)
    if found and found["is_tag"]:
        raise HTTPException(400, f"Tag '{new.tag_name}' already exists")
    if found:
        _point(old, dataset_id, new.tag_name, new.version_id)
    else:
        row = {"dataset_id": dataset_id, "pointer_name": new.tag_name, "dataset_version_id": new.version_id, "is_tag": True}
        with old.writing() as session, session.transaction():
            session.insert("dataset_pointers", **row)
    return answer(_pointer(old, dataset_id, new.tag_name))


@router.get("/{dataset_id}/pointers")
def list_pointers(old: Server, caller: Asking, dataset_id: DatasetId) -> Response:
    return answer(old.rows(f"{_SHAPE} WHERE dataset_id = %s ORDER BY is_tag, pointer_name", dataset_id))


@router.get("/{dataset_id}/pointers/{pointer_name}")
def get_pointer(old: Server, caller: Asking, dataset_id: DatasetId, pointer_name: str) -> Response:
    found = _pointer(old, dataset_id, pointer_name)
    if found is None:
        raise HTTPException(404, f"Pointer '{pointer_name}' not found for dataset {dataset_id}")
    return answer(found)


@router.delete("/{dataset_id}/pointers/{pointer_name}")
def delete_pointer(old: Server, caller: Asking, dataset_id: DatasetId, pointer_name: str) -> Response:
    old.require(caller, dataset_id, "write", "delete branches/tags")
    if pointer_name.lower() == "main":
        raise HTTPException(400, "Cannot delete 'main' branch")
    if _pointer(old, dataset_id, pointer_name) is None:
        raise HTTPException(404, f"Pointer '{pointer_name}' not found")
    with old.writing() as session, session.transaction():
        session.delete("dataset_pointers", {"dataset_id": dataset_id, "pointer_name": pointer_name})
    return answer({"message": f"Pointer '{pointer_name}' deleted successfully"})


@router.get("/{dataset_id}/branches")
def list_branches(old: Server, caller: Asking, dataset_id: DatasetId) -> Response:
    return answer(old.rows(f"{_SHAPE} WHERE dataset_id = %s AND NOT is_tag ORDER BY pointer_name", dataset_id))


@router.get("/{dataset_id}/branches/{branch_name:path}/head")
def head(old: Server, caller: Asking, dataset_id: DatasetId, branch_name: str) -> Response:
    """A tag's name does as well. The status for an unknown branch is not known; 404 was meant."""
    found = next(_history(old, dataset_id, branch_name), None)
    if found is None:
        raise HTTPException(404, f"Branch '{branch_name}' not found")
    return answer(found)


@router.get("/{dataset_id}/branches/{branch_name:path}/history")
def history(old: Server, caller: Asking, dataset_id: DatasetId, branch_name: str) -> Response:
    """Follows the parents wherever they lead, also into another dataset."""
    return answer(list(_history(old, dataset_id, branch_name)))


def _history(old: Old, dataset_id: int, name: str) -> Iterator[Row]:
    found = _pointer(old, dataset_id, name)
    next_id = found and found["dataset_version_id"]
    seen = set()
    while next_id is not None and next_id not in seen:
        seen.add(next_id)
        version = old.row(f"{VERSION} WHERE v.id = %s", next_id)
        assert version
        yield version
        next_id = version["parent_version_id"]


@router.patch("/{dataset_id}/branches/{branch_name:path}")
def move_branch(old: Server, caller: Asking, dataset_id: DatasetId, branch_name: str, move: Move) -> Response:
    old.require(caller, dataset_id, "write", "update branches")
    if not move.to_version_id:
        raise HTTPException(400, "to_version_id is required")
    found = _pointer(old, dataset_id, branch_name)
    if found is None:
        raise HTTPException(400, f"Branch '{branch_name}' not found")
    if found["is_tag"]:
        raise HTTPException(400, f"Cannot update tag '{branch_name}' - tags are immutable")
    _check(old, dataset_id, move.to_version_id, branch_name, "branch")
    with old.writing() as session, session.transaction():
        session.update("dataset_pointers", {"id": found["id"]}, dataset_version_id=move.to_version_id, updated_at=SQL("now()"))
    return answer({"message": f"Branch '{branch_name}' updated to version {move.to_version_id}"})


# Permissions

_PERMISSION = "SELECT dataset_id, user_id, permission_type::text FROM dataset_permissions WHERE dataset_id = %s"


@router.get("/{dataset_id}/permissions")
def list_permissions(old: Server, caller: Asking, dataset_id: DatasetId) -> Response:
    old.require(caller, dataset_id, "admin", "view permissions")
    return answer(old.rows(f"{_PERMISSION} ORDER BY user_id, dataset_permissions.permission_type", dataset_id))


@router.post("/{dataset_id}/permissions")
def grant(old: Server, caller: Asking, dataset_id: DatasetId, new: PermissionGrant) -> Response:
    """One level for each user: the new one takes the place of the old. An unknown level or user makes it fail."""
    old.require(caller, dataset_id, "admin", "grant permissions")
    with old.writing() as session, session.transaction():
        session.grant(dataset_id, new.user_id, new.permission_type)
    return answer(old.row(f"{_PERMISSION} AND user_id = %s", dataset_id, new.user_id))


@router.delete("/{dataset_id}/permissions/{user_id}/{permission_type}")
def revoke(old: Server, caller: Asking, dataset_id: DatasetId, user_id: int, permission_type: DatasetPermissionType) -> Response:
    own = old.require(caller, dataset_id, "admin", "revoke permissions")
    if own == user_id and permission_type is DatasetPermissionType.ADMIN:
        raise HTTPException(400, "Cannot revoke your own admin permission")
    if old.row(f"{_PERMISSION} AND user_id = %s AND permission_type::text = %s", dataset_id, user_id, permission_type.value) is None:
        raise HTTPException(404, "Permission not found")
    with old.writing() as session, session.transaction():
        session.delete("dataset_permissions", {"dataset_id": dataset_id, "user_id": user_id})
    return answer({"message": f"Permission {permission_type} revoked from user {user_id}"})
