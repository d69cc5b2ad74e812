"""Where old clients send files: uploads, commits to a branch, attachments, and lists of changes (sections 2.3, 2.4, 2.5 and 2.8)."""

from collections.abc import Callable
from typing import BinaryIO, TypeVar

from fastapi import APIRouter, Request

from dsplatform.api.incoming import read_in_thread
from dsplatform.api.legacy.adapter import Adapter, DatasetNumber, LegacyDatasetAdapter, VersionNumber
from dsplatform.api.legacy.arrivals import Arrivals
from dsplatform.api.legacy.caller import Uploader
from dsplatform.api.legacy.form import AttachedFields, CommitFields, Sent, UploadFields, labels, received
from dsplatform.api.legacy.succession import succeeded_by
from dsplatform.api.legacy.table_shapes import Attached, DatasetUploadResponse
from dsplatform.api.uploads import threads
from dsplatform.core.domain import Actor

router = APIRouter(prefix="/api/datasets")

T = TypeVar("T")
ANY_SIZE = 1 << 62
"""The limit of a body is asked for while it is read: `DSPLATFORM_MAX_UPLOAD_BYTES`."""


@router.post("/upload", max_body_size=ANY_SIZE)
@succeeded_by("/datasets")
async def upload(request: Request, adapter: Adapter, caller: Uploader) -> DatasetUploadResponse:
    """A file becomes a version of a dataset."""

    def work(sent: Sent) -> DatasetUploadResponse:
        fields, file = sent.read(UploadFields)
        file.expect()
        return Arrivals(adapter, caller).upload(fields, file, labels(fields.tags))

    return await _taken(request, adapter, caller, work)


@router.post("/{dataset_id}/branches/{branch_name:path}/commit", max_body_size=ANY_SIZE)
@succeeded_by("/datasets/{dataset_id}/versions")
async def commit(
    request: Request, adapter: Adapter, caller: Uploader, dataset_id: DatasetNumber, branch_name: str
) -> DatasetUploadResponse:
    """A file becomes the next version of a branch."""

    def work(sent: Sent) -> DatasetUploadResponse:
        fields, file = sent.read(CommitFields)
        file.expect()
        return Arrivals(adapter, caller).commit(dataset_id, branch_name, fields.message, file)

    return await _taken(request, adapter, caller, work)


@router.post("/{dataset_id}/versions/{version_id}/files", max_body_size=ANY_SIZE)
@succeeded_by("/datasets/{dataset_id}/versions")
async def attach(request: Request, adapter: Adapter, caller: Uploader, dataset_id: DatasetNumber, version_id: VersionNumber) -> Attached:
    """A file beside the one of a version."""

    def work(sent: Sent) -> Attached:
        fields, file = sent.read(AttachedFields)
        return Arrivals(adapter, caller).attach(dataset_id, version_id, fields.component_type, fields.component_name, file)

    return await _taken(request, adapter, caller, work)


async def _taken(request: Request, adapter: LegacyDatasetAdapter, caller: Actor, work: Callable[[Sent], T]) -> T:
    """Reads the form in a thread, as fast as the client sends it, and works on it there."""
    settings = adapter.services.settings

    def whole(body: BinaryIO) -> T:
        with received(body, request.headers.get("content-type"), settings.home / "spool") as sent:
            return work(sent)

    with request.app.state.limits.upload(caller):
        return await read_in_thread(request, settings.max_upload_bytes, threads(request, adapter.services), whole)
