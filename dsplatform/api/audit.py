"""The audit log: read, exported, verified. All of it takes the right `audit`."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from dsplatform.api.bodies import Moment, Output
from dsplatform.api.caller import Caller, Services
from dsplatform.api.pages import Limit, Page, Total, cut
from dsplatform.permissions.audit_chain import Head

router = APIRouter(prefix="/audit", tags=["audit"])

MAX_ID = 2**62
HASH = "4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a"


class AuditEntry(Output):
    """Something that somebody did, or was refused."""

    id: int = Field(description="Number of the row", examples=[120])
    at: str = Field(description="When, in UTC, by the database's clock", examples=["2026-11-01T12:00:00.000000Z"])
    actor_id: int | None = Field(description="Id of the user; null: nobody who is known", examples=[3])
    actor: str | None = Field(description="Her name at that time", examples=["ada"])
    token_id: int | None = Field(description="The API token that was used, if one was", examples=[7])
    address: str | None = Field(description="Where the request came from", examples=["192.0.2.10"])
    action: str = Field(description="`noun.verb`; `access.<right>` is what was refused for lack of a right", examples=["branch.create"])
    object_type: str = Field(description="What kind of thing it was done to", examples=["dataset"])
    object_id: str | None = Field(description="Which one", examples=["17"])
    before: dict[str, Any] | None = Field(description="What changed, as it was")
    after: dict[str, Any] | None = Field(description="What changed, as it is", examples=[{"name": "main"}])
    request_id: str | None = Field(description="Of the request, as it was answered in `X-Request-ID`", examples=["5f0c2c1e"])
    result: str = Field(description="`done` or `refused`", examples=["done"])
    position: int | None = Field(description="Of its seal; null: it is sealed within a minute", examples=[118])


class AuditLog(Page):
    """A page of the audit log."""

    items: list[AuditEntry] = Field(description="The newest first")
    next: int | None = Field(None, description="Give it as `after` for the next page; null: this is the last", examples=[21])  # type: ignore[assignment]  # a number as key


class SealHead(Output):
    """A seal to note elsewhere: what led to it can then not be rewritten unnoticed."""

    position: int = Field(description="How many seals there were", examples=[118])
    chain_hash: str = Field(description="SHA-256 over all of them", examples=[HASH])


class AuditFinding(Output):
    """One thing that is not as it was sealed."""

    kind: Literal["changed", "removed", "seal", "gap", "backdated", "head", "unsealed"] = Field(description="What is wrong")
    position: int | None = Field(description="At which seal", examples=[44])
    audit_id: int | None = Field(description="With which row", examples=[46])
    sentence: str = Field(description="The same for a person", examples=["row 46 is not what was sealed at position 44"])


class AuditReport(Output):
    """What a verification found."""

    sound: bool = Field(description="Whether nothing was found", examples=[True])
    rows: int = Field(description="How many sealed rows were looked at", examples=[118])
    head: SealHead | None = Field(description="The newest seal; null: there is none")
    found: int = Field(description="How many findings there are in all", examples=[0])
    findings: list[AuditFinding] = Field(description="The first thousand of them")


@router.get("", summary="Read the audit log")
def list_audit_entries(
    services: Services,
    caller: Caller,
    by: Annotated[str | None, Query(max_length=200, description="Only of this user", examples=["ada"])] = None,
    action: Annotated[
        str | None, Query(max_length=200, description="Only this action, or all that begin with the word", examples=["branch"])
    ] = None,
    object: Annotated[  # noqa: A002 - the word of the log
        str | None, Query(max_length=400, description="Only what was done to this kind of thing, or to this thing", examples=["dataset:17"])
    ] = None,
    since: Annotated[Moment | None, Query(description="Not before, with a time zone", examples=["2026-11-01T00:00:00Z"])] = None,
    until: Annotated[Moment | None, Query(description="Only before, with a time zone", examples=["2026-12-01T00:00:00Z"])] = None,
    after: Annotated[int | None, Query(ge=1, le=MAX_ID, description="`next` of the page before", examples=[21])] = None,
    limit: Limit = 100,
    *,
    total: Total = False,
) -> AuditLog:
    """Every change and every refusal, the newest first. Reading it is not noted."""
    found = services.audit.entries(caller, by=by, action=action, object=object, since=since, until=until, after=after, limit=limit + 1)
    items, following = cut(found, lambda one: one.id, limit)
    return AuditLog(
        items=[AuditEntry.model_validate(one) for one in items],
        next=following,
        total=services.audit.count(caller, by=by, action=action, object=object, since=since, until=until) if total else None,
    )


@router.get(
    "/export",
    summary="Export the audit log",
    response_class=StreamingResponse,
    responses={200: {"description": "One JSON object a line", "content": {"application/jsonl": {"schema": {"type": "string"}}}}},
)
def export_audit_log(
    services: Services,
    caller: Caller,
    after: Annotated[int, Query(ge=0, le=MAX_ID, description="Position of the last seal that you have; 0: everything", examples=[118])] = 0,
) -> StreamingResponse:
    """Sealed rows as lines of JSON, the oldest first, each with its hashes: you can verify them by yourself, and add to what you have."""
    lines = services.audit.export(caller, after=after or None)
    return StreamingResponse((f"{line}\n" for line in lines), media_type="application/jsonl")


@router.get("/verify", summary="Verify the audit log")
def verify_audit_log(
    services: Services,
    caller: Caller,
    head: Annotated[
        str | None, Query(max_length=100, description="POSITION:HASH of a seal that you noted earlier", examples=[f"118:{HASH}"])
    ] = None,
) -> AuditReport:
    """Computes every hash again: changed, removed and inserted rows are named. It takes about ten seconds for a million rows."""
    return AuditReport.model_validate(services.audit.verify(caller, noted=Head.parse(head) if head else None))
