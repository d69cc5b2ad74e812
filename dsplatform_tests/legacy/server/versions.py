"""Section 2.4: versions, their files and their data. No GET asks for a permission."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import duckdb
from fastapi import APIRouter, HTTPException, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from dsplatform_tests.legacy.server.old import Asking, DatasetId, Old, Row, Server, VersionId, answer

router = APIRouter()

SHAPE = """
  SELECT v.dataset_id, v.version_number, v.file_id, v.uploaded_by, v.parent_version_id, v.message, v.overlay_file_id, v.id,
         v.ingestion_timestamp, v.last_updated_timestamp, NULL AS uploaded_by_soeid, f.file_type, f.file_size
  FROM dataset_versions v LEFT JOIN files f ON f.id = v.file_id
"""
_FILES = """
  SELECT vf.version_id, vf.file_id, component_type, component_name, component_index, vf.metadata,
         f.storage_type, f.file_type, f.mime_type, f.file_path, f.file_size, f.id, f.created_at, f.file_data
  FROM dataset_version_files vf JOIN files f ON f.id = vf.file_id WHERE vf.version_id = %s ORDER BY component_index, component_name
"""
BLOCK = 1 << 20


class Compared(BaseModel):
    version1_id: int | None = None
    version2_id: int | None = None


def versions_of(old: Old, dataset_id: int) -> list[Row]:
    """All of a dataset, the newest first."""
    return old.rows(f"{SHAPE} WHERE v.dataset_id = %s ORDER BY version_number DESC", dataset_id)


def version(old: Old, dataset_id: int, version_id: int) -> Row:
    """A version of the dataset. Raises 404 for one of another dataset; for none at all what makes the old server answer 500."""
    found = old.row(f"{SHAPE} WHERE v.id = %s", version_id)
    if found is None:
        raise LookupError(f"version {version_id}")
    if found["dataset_id"] != dataset_id:
        raise HTTPException(404, f"Version {version_id} does not belong to dataset {dataset_id}")
    return found


def _exists(old: Old, dataset_id: int) -> bool:
    return old.row("SELECT id FROM datasets WHERE id = %s", dataset_id) is not None


@router.get("/{dataset_id}/versions")
def list_versions(old: Server, caller: Asking, dataset_id: DatasetId) -> Response:
    if not _exists(old, dataset_id):
        raise LookupError(f"dataset {dataset_id}")
    return answer(versions_of(old, dataset_id))


@router.get("/{dataset_id}/versions/tree")
def tree(old: Server, caller: Asking, dataset_id: DatasetId) -> Response:
    """Versions whose parent is in another dataset are nowhere in it."""
    if not _exists(old, dataset_id):
        raise HTTPException(404, f"Dataset {dataset_id} not found")
    found = versions_of(old, dataset_id)

    def nodes(parent: int | None) -> list[Row]:
        return [
            {
                "id": row["id"],
                "version_number": row["version_number"],
                "message": row["message"],
                "created_at": row["ingestion_timestamp"].isoformat(),
                "children": nodes(row["id"]),
            }
            for row in found
            if row["parent_version_id"] == parent
        ]

    return answer({"dataset_id": dataset_id, "roots": nodes(None)})


@router.get("/{dataset_id}/versions/{version_id}")
def get_version(old: Server, caller: Asking, dataset_id: DatasetId, version_id: VersionId) -> Response:
    return answer(version(old, dataset_id, version_id))


@router.delete("/{dataset_id}/versions/{version_id}")
def delete_version(old: Server, caller: Asking, dataset_id: DatasetId, version_id: VersionId) -> Response:
    """The rows of its files go first, and are gone also when a pointer, a schema or a child keeps the version (D11)."""
    old.require(caller, dataset_id, "write", "delete version")
    found = old.row(f"{SHAPE} WHERE v.id = %s", version_id)
    if found is None:
        raise HTTPException(404, f"Version {version_id} not found")
    version(old, dataset_id, version_id)
    with old.writing() as session:
        with session.transaction():
            session.delete("dataset_version_files", {"version_id": version_id})
        with session.transaction():
            session.delete("dataset_versions", {"id": version_id})
    return Response(status_code=204)


@router.get("/{dataset_id}/versions/{version_id}/download")
def download(old: Server, caller: Asking, dataset_id: DatasetId, version_id: VersionId) -> Response:
    """Headers are out before the file is opened: one that is missing breaks the body off."""
    found = version(old, dataset_id, version_id)
    file = _data_file(old, found)
    if file["storage_type"] != "filesystem" or not file["file_path"]:
        raise HTTPException(404, "File data not found or unsupported storage type")
    name = f"{dataset_id}_v{found['version_number']}.parquet"
    headers = {"Content-Disposition": f"attachment; filename={name}", "Content-Length": str(int(file["file_size"]))}
    return StreamingResponse(_blocks(file["file_path"]), headers=headers, media_type="application/parquet")


def _data_file(old: Old, found: Row) -> Row:
    """The file of the `primary` row, else of the version."""
    primary = "SELECT file_id FROM dataset_version_files WHERE version_id = %s AND component_type = 'primary' AND component_name = 'main'"
    chosen = old.row(primary, found["id"]) or found
    file = old.row("SELECT * FROM files WHERE id = %s", chosen["file_id"])
    if file is None:
        raise HTTPException(404, f"File for version {found['id']} not found")
    return file


def _blocks(path: str) -> Iterator[bytes]:
    with Path(path).open("rb") as file:
        while block := file.read(BLOCK):
            yield block


@router.get("/{dataset_id}/versions/{version_id}/sheets")
def sheets(old: Server, caller: Asking, dataset_id: DatasetId, version_id: VersionId) -> Response:
    """G1b tells of them at the upload, and keeps none (D18)."""
    version(old, dataset_id, version_id)
    return answer([])


@router.get("/{dataset_id}/versions/{version_id}/data")
def data(
    old: Server,
    caller: Asking,
    dataset_id: DatasetId,
    version_id: VersionId,
    sheet: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """Of the version's own file, whatever its components are."""
    found = version(old, dataset_id, version_id)
    file = old.row("SELECT file_path FROM files WHERE id = %s", found["file_id"])
    try:
        if sheet is not None or file is None:
            raise LookupError(sheet)
        headers, rows, total = _page(str(file["file_path"]), limit, offset)
    except (LookupError, duckdb.Error) as err:
        raise HTTPException(404, "Sheet not found or invalid") from err
    objects = [dict(zip(headers, row, strict=True)) for row in rows]
    return answer(
        {"headers": headers, "rows": objects, "has_more": offset + limit < total, "offset": offset, "limit": limit, "total": None}
    )


def _page(path: str, limit: int, offset: int) -> tuple[list[str], Sequence[tuple[object, ...]], int]:
    if not Path(path).is_file():  # a pattern, or an address on the network, is no file of the system's
        raise LookupError(path)
    with duckdb.connect() as connection:
        found = connection.execute("SELECT * FROM read_parquet(?) LIMIT ? OFFSET ?", [path, limit, offset])
        headers = [column[0] for column in found.description or ()]
        rows = found.fetchall()
        total = connection.execute("SELECT count(*) FROM read_parquet(?)", [path]).fetchall()[0][0]
    return headers, rows, total


@router.get("/{dataset_id}/versions/{version_id}/schema")
def schema(old: Server, caller: Asking, dataset_id: DatasetId, version_id: VersionId) -> Response:
    version(old, dataset_id, version_id)
    newest = _schema(old, version_id)
    if newest is None:
        raise HTTPException(404, f"Schema not found for version {version_id}")
    return answer(newest)


def _schema(old: Old, version_id: int) -> Row | None:
    return old.row(
        "SELECT dataset_version_id, schema_json AS schema_data, id, created_at FROM dataset_schema_versions"
        " WHERE dataset_version_id = %s ORDER BY created_at DESC LIMIT 1",
        version_id,
    )


@router.post("/{dataset_id}/schema/compare")
def compare(old: Server, caller: Asking, dataset_id: DatasetId, compared: Compared) -> Response:
    ids = (compared.version1_id, compared.version2_id)
    if not ids[0] or not ids[1]:
        raise HTTPException(400, "Both version1_id and version2_id are required")
    for id_ in (ids[0], ids[1]):
        version(old, dataset_id, id_)
    schemas = [_schema(old, ids[0]), _schema(old, ids[1])]
    if not all(schemas):
        return answer({"error": "One or both schemas not found"})
    one, two = ({column["name"]: column for column in (found or {})["schema_data"]["columns"]} for found in schemas)
    changes = [
        {"column": name, "old_type": one[name]["type"], "new_type": column["type"]}
        for name, column in two.items()
        if name in one and one[name]["type"] != column["type"]
    ]
    added, removed = ([column for name, column in side.items() if name not in other] for side, other in ((two, one), (one, two)))
    return answer({"version1": ids[0], "version2": ids[1], "columns_added": added, "columns_removed": removed, "type_changes": changes})


@router.get("/{dataset_id}/versions/{version_id}/files")
def files(old: Server, caller: Asking, dataset_id: DatasetId, version_id: VersionId) -> Response:
    version(old, dataset_id, version_id)
    return answer([_version_file(row) for row in old.rows(_FILES, version_id)])


@router.get("/{dataset_id}/versions/{version_id}/files/{component_type}")
def file(
    old: Server, caller: Asking, dataset_id: DatasetId, version_id: VersionId, component_type: str, component_name: str | None = None
) -> Response:
    """The first that fits."""
    version(old, dataset_id, version_id)
    for row in old.rows(_FILES, version_id):
        if row["component_type"] == component_type and component_name in {None, row["component_name"]}:
            return answer(_version_file(row))
    raise HTTPException(404, f"File with component type '{component_type}' not found in version {version_id}")


def _version_file(row: Row) -> Row:
    names = ("version_id", "file_id", "component_type", "component_name", "component_index", "metadata")
    of_version = {name: row.pop(name) for name in names}
    if isinstance(of_version["metadata"], str):
        of_version["metadata"] = json.loads(of_version["metadata"])
    return {**of_version, "file": row}
