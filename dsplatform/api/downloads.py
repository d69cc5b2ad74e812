"""Downloads: the exact bytes, checked while they are sent."""

from contextlib import ExitStack
from enum import StrEnum
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, HTTPException, Query, Request, Response
from fastapi import Path as InPath
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field

from dsplatform.api import archives, conditions
from dsplatform.api.caller import Caller, Dataset, Services
from dsplatform.api.outgoing import OutgoingBody
from dsplatform.api.uploads import ComponentName
from dsplatform.core.attachments import attachment
from dsplatform.core.types import FileId
from dsplatform.files.model import MIME_TYPES

router = APIRouter(tags=["files"])

Ref = Annotated[
    str | None,
    Query(
        description="Number, `latest`, a branch, a tag, or a time (`2026-11-01`: its end in UTC); the head of `main` where it is left out",
        examples=["main", "3", "2026-11-01T12:00Z"],
        max_length=300,
    ),
]

SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, no-cache",
}
"""Whatever was stored, no browser is to run it, and no cache to give it to others."""

_BYTES = {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The bytes", **_BYTES},
    206: {"description": "The part that `Range` asks for", **_BYTES},
    304: {"description": "What `If-None-Match` names is still right"},
    307: {"description": "Where the bytes lie in the bucket, for five minutes"},
    412: {"description": "The content is none that `If-Match` names"},
    416: {"description": "There is no such part"},
}


class File(BaseModel):
    """A content, whatever versions call it."""

    model_config = ConfigDict(from_attributes=True)

    id: int = Field(description="Never changes", examples=[4711])
    content_hash: str = Field(
        description="SHA-256 of its bytes", examples=["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]
    )
    file_size: int = Field(description="In bytes", examples=[1048576])
    file_type: str = Field(description="What its first bytes show", examples=["csv"])
    state: str = Field(description="`ok`, or `damaged` until the same content is uploaded again", examples=["ok"])


class Format(StrEnum):
    """Kinds of archives."""

    ZIP = "zip"
    TAR = "tar"


@router.get("/files/{file_id}", summary="What is known of a file")
def get_file(
    services: Services,
    caller: Caller,
    file_id: Annotated[int, InPath(description="Its id, as `GET /storage/why/{subject}` tells operators", ge=1, le=2**62, examples=[4711])],
) -> File:
    """For whoever may read it: it was granted to her, or a version that she may read names it."""
    return File.model_validate(services.files.describe(caller, FileId(file_id)))


@router.head("/datasets/{dataset}/files/{path:path}", include_in_schema=False)
@router.get("/datasets/{dataset}/files/{path:path}", summary="Download one file", response_class=Response, responses=_ANSWERS)
def download_file(
    request: Request,
    services: Services,
    caller: Caller,
    dataset: Dataset,
    path: ComponentName,
    ref: Ref = None,
    range_: Annotated[str | None, Header(alias="Range", description="One part: `bytes=0-1023`", examples=["bytes=0-1023"])] = None,
    if_range: Annotated[
        str | None,
        Header(
            description="An entity tag: the part counts only of this content",
            examples=['"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"'],
        ),
    ] = None,
    if_match: Annotated[
        str | None,
        Header(
            description="Entity tags: 412 for any other content",
            examples=['"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"'],
        ),
    ] = None,
    if_none_match: Annotated[
        str | None,
        Header(
            description="Entity tags: 304 for one of these", examples=['"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"']
        ),
    ] = None,
    *,
    redirect: Annotated[bool, Query(description="Where the bytes lie in a bucket: answer with their address there")] = False,
) -> Response:
    """The exact bytes. The entity tag is their SHA-256; what is sent whole is compared with it, and breaks off before its end where it is
    not right."""
    version, component = services.versions.get_component(caller, dataset, path, ref)
    name = component.name.rpartition("/")[2]
    tag = conditions.etag(component.content_hash)
    headers = {
        **SAFE,
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Content-Location": f"/api/v1/datasets/{dataset.id}/files/{quote(component.name)}?ref={version.number}",
    }
    if if_match is not None and not conditions.matches(if_match, tag, weak=False):
        raise HTTPException(412, f"the content of {component.name!r} is {tag}, which If-Match does not name")
    if if_none_match is not None and conditions.matches(if_none_match, tag, weak=True):
        return Response(status_code=304, headers=headers)
    if redirect and request.method == "GET" and (url := services.files.download_url(caller, component.file_id, filename=name)):
        return RedirectResponse(url, 307, {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})
    span = conditions.span(range_, if_range, tag, component.file_size) if request.method == "GET" else None
    digest = conditions.digest(component.content_hash)
    headers |= {
        "Content-Type": MIME_TYPES.get(component.file_type, "application/octet-stream"),
        "Content-Disposition": attachment(name),
        "Content-Length": str(component.file_size if span is None else span.length),
        "Repr-Digest": digest,
    }
    if span is None:
        headers["Content-Digest"] = digest
    else:
        headers["Content-Range"] = f"bytes {span.offset}-{span.offset + span.length - 1}/{component.file_size}"
    if request.method == "HEAD":
        return _head(headers)
    with ExitStack() as stack:
        offset, length = (0, None) if span is None else (span.offset, span.length)
        chunks = stack.enter_context(services.files.download(caller, component.file_id, offset=offset, length=length))
        return OutgoingBody(chunks, stack.pop_all(), 200 if span is None else 206, headers)


_ARCHIVED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The archive",
        "content": {f"application/{kind}": {"schema": {"type": "string", "format": "binary"}} for kind in ("zip", "x-tar")},
    },
    304: {"description": "What `If-None-Match` names is still right"},
}


@router.head("/datasets/{dataset}/archive", include_in_schema=False)
@router.get("/datasets/{dataset}/archive", summary="Download a whole version", response_class=Response, responses=_ARCHIVED)
def download_version(
    request: Request,
    services: Services,
    caller: Caller,
    dataset: Dataset,
    ref: Ref = None,
    format_: Annotated[Format, Query(alias="format", description="The kind of archive")] = Format.ZIP,
    if_none_match: Annotated[
        str | None,
        Header(
            description="Entity tags: 304 for one of these", examples=['"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"']
        ),
    ] = None,
) -> Response:
    """All components, each as it is, made while it is sent. A damaged one breaks the archive off; the same version is the same archive."""
    version, components = services.versions.get_version(caller, dataset, ref)
    tag = f'W/"{version.overlay_hash}.{format_}"'
    headers = {**SAFE, "ETag": tag}
    if if_none_match is not None and conditions.matches(if_none_match, tag, weak=True):
        return Response(status_code=304, headers=headers)
    headers["Content-Type"] = "application/zip" if format_ is Format.ZIP else "application/x-tar"
    headers["Content-Disposition"] = attachment(f"{dataset.slug}-v{version.number}.{format_}")
    if request.method == "HEAD":
        return _head(headers)
    make = archives.zipped if format_ is Format.ZIP else archives.tarred
    members = (archives.Member(one.name, one.file_size, partial(services.files.download, caller, one.file_id)) for one in components)
    chunks = make(members, version.created_at)
    with ExitStack() as stack:
        stack.callback(chunks.close)
        return OutgoingBody(chunks, stack.pop_all(), 200, headers)


def _head(headers: dict[str, str]) -> Response:
    """What GET answers, without the bytes."""
    answer = Response(headers=headers)
    if "Content-Length" not in headers:
        del answer.headers["content-length"]  # that of no content
    return answer
