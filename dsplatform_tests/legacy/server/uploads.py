"""Uploads (section 2.3) and what else takes a file: attachments (2.4) and commits to a branch (2.5)."""

import json
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import openpyxl
import psycopg
import pyarrow as pa
from fastapi import APIRouter, HTTPException, Response
from pydantic import BaseModel

from dsplatform_tests.legacy import content
from dsplatform_tests.legacy.server.forms import Form, Upload, read
from dsplatform_tests.legacy.server.old import Asking, DatasetId, Old, Row, Server, VersionId, answer
from dsplatform_tests.legacy.server.versions import version
from dsplatform_tests.legacy.writing import Gone, Session

router = APIRouter()
SUPPORTED = ("csv", "xlsx", "xls", "xlsm")


class UploadForm(BaseModel):
    file: Upload
    dataset_id: int | None = None
    name: str
    description: str | None = None
    tags: str | None = None
    parent_version_id: int | None = None
    message: str | None = None
    branch_name: str = "main"


class CommitForm(BaseModel):
    file: Upload
    message: str | None = None


class AttachForm(BaseModel):
    file: Upload
    component_type: str
    component_name: str | None = None


@router.post("/upload")
def upload(old: Server, caller: Asking, fields: Form) -> Response:
    form = read(UploadForm, fields)
    user_id = old.user_id(caller)
    if user_id is None:
        raise HTTPException(403, "User not found in the system")
    _check_extension(form.file.filename)
    return answer(_stored(old, user_id, form, _tags(form.tags)))


@router.post("/{dataset_id}/branches/{branch_name:path}/commit")
def commit(old: Server, caller: Asking, dataset_id: DatasetId, branch_name: str, fields: Form) -> Response:
    form = read(CommitForm, fields)
    user_id = old.require(caller, dataset_id, "write", "update branches")
    _check_extension(form.file.filename)
    pointer = old.row(
        "SELECT dataset_version_id, is_tag FROM dataset_pointers WHERE dataset_id = %s AND pointer_name = %s", dataset_id, branch_name
    )
    if pointer is None:
        raise HTTPException(400, f"Branch '{branch_name}' does not exist")
    if pointer["is_tag"]:
        raise HTTPException(400, f"Cannot commit to tag '{branch_name}' - tags are immutable")
    dataset = old.row("SELECT name, description FROM datasets WHERE id = %s", dataset_id)
    assert dataset
    parent = pointer["dataset_version_id"]
    whole = UploadForm(
        file=form.file, dataset_id=dataset_id, message=form.message, branch_name=branch_name, parent_version_id=parent, **dataset
    )
    return answer(_stored(old, user_id, whole, []))


@router.post("/{dataset_id}/versions/{version_id}/files")
def attach(old: Server, caller: Asking, dataset_id: DatasetId, version_id: VersionId, fields: Form) -> Response:
    form = read(AttachForm, fields)
    user_id = old.user_id(caller)
    if user_id is None:
        raise HTTPException(403, "User not found in the system")
    if not old.may(user_id, dataset_id, "write"):
        raise HTTPException(403, "Write permission required to attach files")
    version(old, dataset_id, version_id)
    try:
        with old.writing() as session:
            temporary, size = session.file_on_disk(dataset_id, converted(form.file))
            with session.transaction():
                file_id = session.file_row(temporary, size)
                about = {"original_filename": form.file.filename}
                session.component(version_id, file_id, form.component_type, form.component_name or form.file.filename, about)
            session.move(temporary, dataset_id, version_id, file_id)
    except (psycopg.Error, duckdb.Error) as err:
        raise HTTPException(500, "Failed to attach file") from err
    return answer({"file_id": file_id, "message": f"File attached successfully to version {version_id}"})


def _check_extension(filename: str) -> None:
    if not filename:
        raise HTTPException(400, "Filename cannot be empty")
    extension = filename.rpartition(".")[2].lower()
    if extension not in SUPPORTED:
        raise HTTPException(400, f"Unsupported file type: {extension}. Supported types: {', '.join(SUPPORTED)}")


def _tags(text: str | None) -> list[str]:
    """A JSON list, or text between commas."""
    try:
        tags = json.loads(text or "[]")
        if not isinstance(tags, list):
            raise HTTPException(400, "Invalid tags format: Tags must be a list")
    except ValueError:
        tags = (text or "").split(",")
    tags = [tag.strip() for tag in tags]
    if len(tags) > 20:
        raise HTTPException(400, "Too many tags. Maximum allowed: 20")
    for tag in tags:
        if len(tag) > 50:
            raise HTTPException(400, f"Tag '{tag}' exceeds maximum length of 50 characters")
    return [tag for tag in tags if tag]


def _stored(old: Old, user_id: int, form: UploadForm, tags: list[str]) -> Row:
    """The dataset is committed before the file is converted. Anybody may give any dataset a new version."""
    branch = form.branch_name or "main"
    try:
        with old.writing() as session:
            dataset_id = _dataset(session, user_id, form)
            temporary, size = session.file_on_disk(dataset_id, converted(form.file))
            with session.transaction():
                parent, number = _place(session, dataset_id, form.parent_version_id, branch)
                file_id = session.file_row(temporary, size)
                row = {"dataset_id": dataset_id, "version_number": number, "file_id": file_id, "uploaded_by": user_id}
                version_id = session.insert("dataset_versions", **row, parent_version_id=parent, message=form.message)
                session.component(version_id, file_id, "primary", "main")
                for tag in tags:
                    session.label(dataset_id, tag)
            session.move(temporary, dataset_id, version_id, file_id)
            if not session.tag(dataset_id, branch):
                with session.transaction():
                    session.point(dataset_id, branch, version_id)
    except (psycopg.Error, Gone) as err:
        raise HTTPException(500, "An unexpected error occurred during upload") from err
    except duckdb.Error as err:
        raise HTTPException(500, f"Failed to store the file: {err}") from err
    sheet = {"name": Path(form.file.filename).stem, "index": 0, "description": None, "file_id": None}
    return {"dataset_id": dataset_id, "version_id": version_id, "sheets": [sheet]}


def _dataset(session: Session, user_id: int, form: UploadForm) -> int:
    """Its name and description are overwritten; whoever makes one is its admin."""
    row = {"name": form.name, "description": form.description}
    with session.transaction():
        if form.dataset_id is not None:
            session.update("datasets", {"id": form.dataset_id}, **row)
            return form.dataset_id
        dataset_id = session.insert("datasets", **row, created_by=user_id)
        session.grant(dataset_id, user_id, "admin")
    return dataset_id


def _place(session: Session, dataset_id: int, parent: int | None, branch: str) -> tuple[int | None, int]:
    """Parent and number. Beside another child of the same parent the number is taken already, and the upload fails."""
    if parent is None:
        parent = session.head(dataset_id, branch)
    if parent is None and branch != "main":
        raise Gone(branch)
    if parent is not None:
        return parent, session.one("SELECT version_number + 1 FROM dataset_versions WHERE id = %s", parent)
    return None, session.one("SELECT coalesce(max(version_number), 0) + 1 FROM dataset_versions WHERE dataset_id = %s", dataset_id)


def converted(file: Upload) -> bytes:
    """As Parquet: the first sheet of a workbook, or text as CSV with errors ignored. Raises duckdb.Error when it is neither."""
    if file.filename.lower().endswith((".xlsx", ".xlsm", ".xls")):
        sheet = openpyxl.load_workbook(BytesIO(file.data), read_only=True).worksheets[0]
        header, *rows = list(sheet.values)
        return content.written(pa.table({str(name): pa.array([row[place] for row in rows]) for place, name in enumerate(header)}))
    with TemporaryDirectory() as folder, duckdb.connect() as connection:
        source, target = Path(folder) / "upload.csv", Path(folder) / "upload.parquet"
        source.write_bytes(file.data)
        connection.execute(
            "COPY (SELECT * FROM read_csv_auto($1, header = true, ignore_errors = true, quote = '\"', escape = '\"'))"
            f" TO '{target}' (FORMAT parquet)",
            [str(source)],
        )
        return target.read_bytes()
