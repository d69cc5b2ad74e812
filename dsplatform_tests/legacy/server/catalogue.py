"""Section 2.3 without uploads: the list of datasets, one of them, its changes and its end."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Response
from psycopg.sql import SQL
from pydantic import BaseModel

from dsplatform_tests.legacy.server.old import Asking, DatasetId, Old, Row, Server, answer
from dsplatform_tests.legacy.server.versions import versions_of

router = APIRouter()

_SHAPE = """
  SELECT d.name, d.description, d.id, d.created_by, d.created_at, d.updated_at, v.version_number AS current_version, f.file_type,
         f.file_size, NULL AS versions, t.ids, t.names
  FROM datasets d
  LEFT JOIN LATERAL (
    SELECT version_number, file_id FROM dataset_versions WHERE dataset_id = d.id ORDER BY version_number DESC LIMIT 1) v ON true
  LEFT JOIN files f ON f.id = v.file_id
  LEFT JOIN LATERAL (
    SELECT array_agg(DISTINCT tags.id ORDER BY tags.id) AS ids, array_agg(DISTINCT tags.name ORDER BY tags.name) AS names
    FROM dataset_tags JOIN tags ON tags.id = tag_id WHERE dataset_id = d.id) t ON true
"""
_SORTS = {"name": "d.name", "created_at": "d.created_at", "file_size": "f.file_size", "current_version": "v.version_number"}


class DatasetUpdate(BaseModel):
    name: str | None = None
    description: str | None = None
    tags: list[str] | None = None


@router.get("")
def list_datasets(
    old: Server,
    caller: Asking,
    limit: Annotated[int, Query(ge=1, le=100)] = 100,
    offset: Annotated[int, Query(ge=0)] = 0,
    name: str | None = None,
    description: str | None = None,
    created_by: int | None = None,
    tags: Annotated[list[str] | None, Query()] = None,
    sort_by: str | None = None,
    sort_order: str | None = None,
) -> Response:
    """What the caller may not read is taken from the page after it was cut. A caller who is no user any more sees all."""
    tagged = "EXISTS (SELECT FROM dataset_tags JOIN tags ON tags.id = tag_id WHERE dataset_id = d.id AND tags.name = ANY(%s))"
    asked = {
        "d.name ILIKE %s": name and f"%{name}%",
        "d.description ILIKE %s": description and f"%{description}%",
        "d.created_by = %s": created_by,
        tagged: tags,
    }
    conditions = {condition: value for condition, value in asked.items() if value is not None}
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    order = f"{_SORTS.get(sort_by or '', 'd.updated_at')} {'ASC' if sort_order == 'asc' else 'DESC'}"
    found = old.rows(f"{_SHAPE} {where} ORDER BY {order} LIMIT %s OFFSET %s", *conditions.values(), limit, offset)
    user_id = old.user_id(caller)
    return answer([_dataset(row) for row in found if user_id is None or old.may(user_id, row["id"], "read")])


@router.get("/tags")
def list_tags(old: Server, caller: Asking) -> Response:
    """A later method of the same name hid the one that was meant."""
    raise TypeError("list_tags() takes 1 positional argument but 2 were given")


@router.get("/{dataset_id}")
def get_dataset(old: Server, caller: Asking, dataset_id: DatasetId) -> Response:
    if not old.may(old.user_id(caller), dataset_id, "read"):
        raise HTTPException(403, "Read permission required to view dataset")
    return answer(_whole(old, dataset_id))


@router.patch("/{dataset_id}")
def update_dataset(old: Server, caller: Asking, dataset_id: DatasetId, update: DatasetUpdate) -> Response:
    """Labels are taken as they come: no trimming, no limit but the column's."""
    old.require(caller, dataset_id, "write", "update dataset")
    _whole(old, dataset_id)
    changed = {key: value for key, value in (("name", update.name), ("description", update.description)) if value is not None}
    with old.writing() as session, session.transaction():
        session.update("datasets", {"id": dataset_id}, updated_at=SQL("now()"), **changed)
        if update.tags is not None:
            session.delete("dataset_tags", {"dataset_id": dataset_id})
            for tag in update.tags:
                session.label(dataset_id, tag)
    return answer(_whole(old, dataset_id))


@router.delete("/{dataset_id}")
def delete_dataset(old: Server, caller: Asking, dataset_id: DatasetId) -> Response:
    """Versions before the pointers that name them: with any pointer it fails, after the rows of the files are gone for good (D11)."""
    old.require(caller, dataset_id, "admin", "delete dataset")
    _whole(old, dataset_id)
    with old.writing() as session:
        for version in old.rows("SELECT id FROM dataset_versions WHERE dataset_id = %s", dataset_id):
            with session.transaction():
                session.delete("dataset_version_files", {"version_id": version["id"]})
            with session.transaction():
                session.delete("dataset_versions", {"id": version["id"]})
        with session.transaction():
            for table in ("dataset_pointers", "dataset_tags", "dataset_permissions"):
                session.delete(table, {"dataset_id": dataset_id})
            session.delete("datasets", {"id": dataset_id})
    return Response(status_code=204)


def _whole(old: Old, dataset_id: int) -> Row:
    found = old.row(f"{_SHAPE} WHERE d.id = %s", dataset_id)
    if found is None:
        raise HTTPException(404, f"Dataset {dataset_id} not found")
    return _dataset(found) | {"versions": versions_of(old, dataset_id) or None}


def _dataset(row: Row) -> Row:
    """Ids and names of labels are sorted apart from each other and then put together, so that an id may have the wrong name."""
    ids, names = row.pop("ids"), row.pop("names")
    tags = [{"name": name, "description": None, "id": id_, "usage_count": None} for id_, name in zip(ids or (), names or (), strict=True)]
    return {**row, "tags": tags or None}
