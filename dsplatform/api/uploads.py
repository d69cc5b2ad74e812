"""Uploads: bytes go straight into the store while they arrive, and become a version when all are there."""

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO
from urllib.parse import unquote_to_bytes

from anyio import CapacityLimiter
from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request, Response
from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict, Field

from dsplatform.api import conditions, forms
from dsplatform.api.caller import Caller, DatasetName, Services
from dsplatform.api.incoming import read_in_thread, too_large
from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.core.errors import DsplatformError
from dsplatform.core.types import MAIN, ContentHash
from dsplatform.core.values import CommitMode, DatasetRef
from dsplatform.datasets.model import DatasetMissing
from dsplatform.schemas.model import VersionSchema
from dsplatform.versioning.uploads import Part, Uploaded

logger = logging.getLogger(__name__)
router = APIRouter(prefix="/datasets/{dataset}", tags=["files"])

SCHEMA_BYTES = 8 * 1024 * 1024
"""Up to this size files are read before the answer, which then has their schema."""


class UploadedComponent(BaseModel):
    """A file, as it arrived."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(description="Its name in the version", examples=["2026/january.csv"])
    content_hash: str = Field(
        description="SHA-256 of its bytes", examples=["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]
    )
    file_size: int = Field(description="In bytes", examples=[1048576])
    file_type: str = Field(description="What its first bytes show", examples=["csv"])
    duplicate: bool = Field(description="Whether something that you may read had these bytes already")


class UploadedColumn(BaseModel):
    """A column, as the rows show it."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(description="As the header has it", examples=["amount"])
    type: str = Field(description="Logical type", examples=["decimal(9, 2)"])
    nullable: bool = Field(description="Whether a row has no value")


class UploadedTable(BaseModel):
    """A table of a file that was uploaded."""

    component: str = Field(description="The file", examples=["2026/january.csv"])
    table: str | None = Field(description="The sheet; null where a file is one table", examples=["Sheet1"])
    rows: int | None = Field(description="How many; null where that is not known", examples=[1000])
    columns: list[UploadedColumn] = Field(description="In their order")


class UnreadFile(BaseModel):
    """A file that was stored and whose columns were not read."""

    component: str = Field(description="The file", examples=["report.pdf"])
    reason: str = Field(description="Why", examples=["files of the kind pdf are stored, their columns are not read"])


class UploadedSchema(BaseModel):
    """What reading the files of an upload found."""

    tables: list[UploadedTable] = Field(description="Of those that were read")
    unread: list[UnreadFile] = Field(description="Those that were not")


class Upload(BaseModel):
    """What became of an upload."""

    model_config = ConfigDict(populate_by_name=True)

    dataset: int = Field(description="Id of the dataset", examples=[17])
    slug: str = Field(description="Slug of the dataset", examples=["sales"])
    branch: str = Field(description="Where the version is; one in quarantine where a contract kept it from its branch", examples=["main"])
    version: int = Field(description="Its number", examples=[4])
    version_id: int = Field(description="Its id", examples=[1093])
    created: bool = Field(description="False: nothing changed, or the idempotency key was used before; it is the version that was there")
    added: int = Field(description="How many components are new", examples=[1])
    updated: int = Field(description="How many have another content now", examples=[0])
    removed: int = Field(description="How many are gone, by `mode=replace`", examples=[0])
    components: list[UploadedComponent] = Field(description="What was sent, in its order")
    quarantined_from: str | None = Field(description="The branch that it was meant for, where a contract kept it from there")
    breaches: list[str] = Field(description="Why, in sentences")
    schema_: UploadedSchema | None = Field(alias="schema", description="Of small files; null: `job` tells when it is there")
    job: str | None = Field(description="Where to ask how reading the files goes", examples=["/api/v1/datasets/17/versions/4/job"])


@dataclass(frozen=True)
class Options:
    """What an upload is to become."""

    branch: str
    message: str
    mode: CommitMode
    expected_head: int | None
    idempotency_key: str | None
    checks: bool
    """Whether `expected` counts."""
    expected: ContentHash | None
    announced: ContentHash | None


def _options(
    request: Request,
    services: Services,
    _caller: Caller,
    branch: Annotated[str, Query(description="The branch; made at the head of `main` where it is missing", max_length=300)] = MAIN,
    message: Annotated[str, Query(description="What changed, for people", max_length=10_000, examples=["January, corrected"])] = "",
    mode: Annotated[CommitMode, Query(description="Other components are kept (`patch`) or left out (`replace`)")] = CommitMode.PATCH,
    expected_head: Annotated[
        int | None, Query(description="Refuse with 409 unless the branch is at this version", ge=1, le=2**31 - 1, examples=[3])
    ] = None,
    idempotency_key: Annotated[
        str | None, Header(description="The same key makes one version, however often it is sent", max_length=255, examples=["7c3e"])
    ] = None,
    if_match: Annotated[
        str | None,
        Header(
            description="Refuse with 412 unless the branch has this entity tag under the name",
            examples=['"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"'],
        ),
    ] = None,
    if_none_match: Annotated[str | None, Header(description="`*`: refuse with 412 where the branch has the name", examples=["*"])] = None,
    content_digest: Annotated[
        str | None,
        Header(
            description="`sha-256=:BASE64:` of the bytes, checked before anything is kept",
            examples=["sha-256=:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=:"],
        ),
    ] = None,
    repr_digest: Annotated[
        str | None, Header(description="The same as Content-Digest", examples=["sha-256=:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=:"])
    ] = None,
) -> Options:
    """Everything that can be refused before the body is read."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise HTTPException(415, f"bytes are kept as they are sent, so Content-Encoding {encoding!r} is not taken: send the file itself")
    if "content-range" in request.headers:
        raise HTTPException(400, "parts of a file are not taken: send it whole, without Content-Range")
    length = request.headers.get("content-length", "0")
    if length.isascii() and length.isdecimal() and int(length[:30]) > services.settings.max_upload_bytes:
        raise too_large(services.settings.max_upload_bytes)
    digests = {conditions.announced(header) for header in (content_digest, repr_digest)} - {None}
    if len(digests) > 1:
        raise HTTPException(400, "Content-Digest and Repr-Digest say different things")
    checks, expected = conditions.expected(if_match, if_none_match)
    key = idempotency_key or None
    return Options(branch, message, mode, expected_head, key, checks, expected, next(iter(digests), None))


def _target(
    services: Services,
    caller: Caller,
    name: DatasetName,
    _options: Annotated[Options, Depends(_options)],
    *,
    create: Annotated[bool, Query(description="Make the dataset where it is missing")] = False,
) -> DatasetRef:
    try:
        return services.datasets.open(caller, name)
    except DatasetMissing:
        if not create or name.startswith("#"):
            raise
        return services.datasets.create_dataset(caller, name)


Asked = Annotated[Options, Depends(_options)]
Target = Annotated[DatasetRef, Depends(_target)]

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": Upload, "description": "Nothing changed, or the idempotency key was used before"},
    202: {"model": Upload, "description": "A contract kept it from its branch: it waits in quarantine for a decision"},
    412: {"description": "The branch has another content under the name than `If-Match` or `If-None-Match` says"},
}


async def component_name(
    request: Request,
    path: Annotated[str, InPath(description="Name of the component: a relative path", examples=["2026/january.csv"], max_length=3100)],
) -> str:
    """The name that the path ends in. 422 for one that is not UTF-8, which else would become another name."""
    try:
        unquote_to_bytes(request.scope.get("raw_path") or b"").decode()
    except UnicodeDecodeError as err:
        raise HTTPException(422, "the name of the component is not UTF-8: write it in UTF-8, percent-encoded") from err
    return path


ComponentName = Annotated[str, Depends(component_name)]


@router.put(
    "/files/{path:path}",
    summary="Upload one file",
    status_code=201,
    responses=_ANSWERS,
    openapi_extra={"requestBody": {"required": True, "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def upload_file(
    request: Request, response: Response, services: Services, caller: Caller, options: Asked, dataset: Target, path: ComponentName
) -> Upload:
    """The body is the file: its exact bytes are kept, and make a version in which the component has them.

    It is stored while it arrives, in any size up to the limit. A body that breaks off, or is not what `Content-Digest` says, leaves
    nothing.
    """

    def parts(body: BinaryIO) -> Iterable[Part]:
        return [Part(path, body, options.announced)]

    return await _taken(request, response, services, caller, dataset, options, parts, {path} if options.checks else set())


@router.post(
    "/versions",
    summary="Upload several files as one version",
    status_code=201,
    responses=_ANSWERS,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                    }
                }
            },
        }
    },
)
async def upload_files(request: Request, response: Response, services: Services, caller: Caller, options: Asked, dataset: Target) -> Upload:
    """Each part of the form is a file, called as its `filename` says, else as its field; 1,000 at most.

    All of them are one version, or none is kept. What is no file is a parameter of the query.
    """
    if options.checks or options.announced:
        raise HTTPException(400, "If-Match, If-None-Match and Content-Digest speak of one file: upload it by PUT, or leave them out")

    def parts(body: BinaryIO) -> Iterable[Part]:
        return forms.parts(body, request.headers.get("content-type"))

    return await _taken(request, response, services, caller, dataset, options, parts, set())


async def _taken(
    request: Request,
    response: Response,
    services: Platform,
    caller: Actor,
    dataset: DatasetRef,
    options: Options,
    parts: Callable[[BinaryIO], Iterable[Part]],
    checked: set[str],
) -> Upload:
    def work(body: BinaryIO) -> Upload:
        done = services.uploads.upload(
            caller,
            dataset,
            parts(body),
            branch=options.branch,
            message=options.message,
            mode=options.mode,
            expected_head=options.expected_head,
            expected=dict.fromkeys(checked, options.expected),
            idempotency_key=options.idempotency_key,
        )
        return _answer(done, _schema(services, caller, done))

    with request.app.state.limits.upload(caller):
        answer = await read_in_thread(request, services.settings.max_upload_bytes, threads(request, services), work)
    if answer.quarantined_from is not None:
        response.status_code = 202
    elif not answer.created:
        response.status_code = 200
    response.headers["Location"] = f"/api/v1/datasets/{dataset.id}/versions/{answer.version}"
    return answer


def threads(request: Request, services: Platform) -> CapacityLimiter:
    """Threads of uploads are not those of other routes: who sends slowly keeps nobody else waiting."""
    state = request.app.state
    if not hasattr(state, "upload_threads"):
        state.upload_threads = CapacityLimiter(services.settings.max_uploads)
    found: CapacityLimiter = state.upload_threads
    return found


def _schema(services: Platform, caller: Actor, done: Uploaded) -> VersionSchema | None:
    """The schema of small files; None also where reading them fails, because the version is there."""
    committed = done.committed
    try:
        return services.schemas.capture_at_once(caller, committed.dataset, committed.version_id, most_bytes=SCHEMA_BYTES)
    except DsplatformError as err:
        logger.warning("the schema of version %s was not captured at once: %s", committed.version_id, err)
        return None


def _answer(done: Uploaded, schema: VersionSchema | None) -> Upload:
    committed = done.committed
    return Upload(
        dataset=committed.dataset.id,
        slug=committed.dataset.slug,
        branch=committed.branch,
        version=committed.version_number,
        version_id=committed.version_id,
        created=committed.created,
        added=committed.added,
        updated=committed.updated,
        removed=committed.removed,
        components=[UploadedComponent.model_validate(one) for one in done.components],
        quarantined_from=committed.quarantined_from,
        breaches=list(committed.breaches),
        schema=None if schema is None else _tables(schema, {one.name for one in done.components}),
        job=None if schema is not None else f"/api/v1/datasets/{committed.dataset.id}/versions/{committed.version_number}/job",
    )


def _tables(schema: VersionSchema, names: Collection[str]) -> UploadedSchema:
    sent = [item for item in schema.components if item.name in names]
    return UploadedSchema(
        tables=[
            UploadedTable(
                component=item.name,
                table=table.name,
                rows=rows,
                columns=[UploadedColumn.model_validate(column) for column in table.columns],
            )
            for item in sent
            if item.layout is not None
            for table, rows in zip(schema.layouts[item.layout].tables, item.rows, strict=True)
        ],
        unread=[UnreadFile(component=item.name, reason=item.reason or "") for item in sent if item.layout is None],
    )
