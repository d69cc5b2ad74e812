"""What is stored and why, what would be deleted, and what lies in the drop folder."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import Field

from dsplatform.api.bodies import Output
from dsplatform.api.caller import Caller, Dataset, Services
from dsplatform.api.pages import Limit, Page, Total, cut
from dsplatform.ingestion.model import InboxState

router = APIRouter(tags=["storage"])


class DatasetUsage(Output):
    """Bytes of the contents that a dataset names, each counted once."""

    dataset: str = Field(description="Its slug", examples=["sales"])
    files: int = Field(description="How many contents", examples=[12])
    live: int = Field(description="Named by the head of a branch or by a tag", examples=[629772])
    historical: int = Field(description="Named by other versions only", examples=[52481])
    pending: int = Field(description="Named only by what was deleted: they go when the collector comes to them", examples=[0])
    shared: int = Field(
        description="Of all these, named by another dataset that you may see, too: deleting this one would not free them", examples=[52481]
    )


class Usage(Output):
    """Bytes of the whole store, each content counted once."""

    files: int = Field(description="How many contents", examples=[1204])
    stored: int = Field(description="Their bytes", examples=[734003200])
    live: int = Field(description="Named by the head of a branch or by a tag", examples=[629145600])
    historical: int = Field(description="Named by other versions only", examples=[104857600])
    staged: int = Field(description="Named by users' sessions only", examples=[0])
    pending: int = Field(description="Named by nothing, or only by what was deleted", examples=[0])
    buried: int = Field(description="Of objects that are to be deleted, as far as their sizes are known", examples=[0])
    buried_objects: int = Field(description="How many of these there are", examples=[0])
    named: int = Field(description="What all versions hold together, each counted in full: beside `stored`, what storing once saves")
    datasets: list[DatasetUsage] = Field(description="By slug")


class Amount(Output):
    """How much of one kind of garbage."""

    count: int = Field(description="How many", examples=[3])
    bytes: int = Field(description="Their bytes, as far as they are known", examples=[52481])


class GarbagePlan(Output):
    """What the next collection would do. Dagster runs it every night."""

    sessions: Amount = Field(description="Sessions that expired: what they staged is reviewed a day later")
    uploads: Amount = Field(description="Uploads that expired: what they wrote is deleted a day later")
    unreferenced: Amount = Field(description="Files that nothing names: deleted after the grace period")
    purged: Amount = Field(description="Objects whose grace period is over: deleted now")
    refusal: str | None = Field(description="Why it would not begin; null: it would", examples=["the database was restored"])


class NamedBy(Output):
    """A version's component that is the content."""

    dataset: str = Field(description="Slug of the dataset", examples=["sales"])
    version_number: int = Field(description="The version", examples=[3])
    component: str = Field(description="Name of the component", examples=["orders.csv"])


class OverlayOf(Output):
    """A version whose overlay is the content."""

    dataset: str = Field(description="Slug of the dataset", examples=["sales"])
    version_number: int = Field(description="The version", examples=[3])


class StagedBy(Output):
    """A user's session that stages the content."""

    user: str = Field(description="Whose it is", examples=["ada"])
    session_id: UUID = Field(description="The session")
    path: str = Field(description="Under which name", examples=["orders.csv"])
    until: datetime = Field(description="When it expires")


class Buried(Output):
    """An object of the content that nothing names and that is still there."""

    storage_key: str = Field(description="Its key in the store")
    reason: str = Field(description="Why it goes", examples=["unreferenced"])
    until: datetime = Field(description="When it goes")


class Reasons(Output):
    """Why a content is stored."""

    content_hash: str = Field(description="SHA-256 of its bytes")
    file_id: int | None = Field(description="null: it is no file any more, or not yet", examples=[412])
    file_size: int | None = Field(description="Bytes", examples=[52481])
    state: str | None = Field(description="`ok` or `damaged`", examples=["ok"])
    references: int = Field(description="How many rows name it; the lists hold the first of each kind", examples=[2])
    components: list[NamedBy] = Field(description="Versions that have it as a component")
    overlays: list[OverlayOf] = Field(description="Versions whose list of changes it is")
    staged: list[StagedBy] = Field(description="Sessions that stage it")
    review_after: datetime | None = Field(description="When the collector looks at it; null: it lost no reference")
    uploads: list[datetime] = Field(description="Until when uploads are given that may be writing it")
    buried: list[Buried] = Field(description="Its objects that wait to be deleted")


class Arrival(Output):
    """A file that came to the drop folder, and what became of it."""

    id: int = Field(description="Counts up", examples=[17])
    source_path: str = Field(description="Where it lay, below the drop folder", examples=["sales/orders.csv"])
    dataset: str = Field(description="Slug of the dataset that it is for", examples=["sales"])
    branch: str = Field(description="Empty: not decided yet", examples=["main"])
    state: Literal["seen", "ready", "claimed", "accepted", "duplicate", "rejected"] = Field(
        description="`seen`: not complete yet; `ready`: waits; `claimed`: is being taken; the others are outcomes", examples=["accepted"]
    )
    reason: str | None = Field(description="Why it was refused, or what to know of it", examples=["it is empty (0 bytes)"])
    version_number: int | None = Field(description="The version that it is in", examples=[3])
    rows: int | None = Field(description="Rows that it has; null: not read (yet)", examples=[200])
    columns: int | None = Field(description="Columns that it has", examples=[11])
    stored: bool | None = Field(description="Whether its bytes were new to the store; null: it has no outcome, or was refused")
    file_size: int = Field(description="Bytes", examples=[52481])
    decided_at: datetime | None = Field(description="When it had its outcome")


class Inbox(Page):
    """A page of arrivals."""

    items: list[Arrival] = Field(description="The latest first")


@router.get("/usage", summary="What the store takes")
def get_usage(services: Services, caller: Caller) -> Usage:
    """Bytes by what names them, in all and by dataset. Needs the right `operate`; looks at every version's list of files."""
    return Usage.model_validate(services.inventory.usage(caller))


@router.get("/datasets/{dataset}/usage", summary="What a dataset takes")
def get_dataset_usage(services: Services, caller: Caller, dataset: Dataset) -> DatasetUsage:
    """Bytes by what names them."""
    return DatasetUsage.model_validate(services.inventory.usage_of(caller, dataset))


@router.get("/storage/gc-plan", summary="What would be deleted")
def get_gc_plan(services: Services, caller: Caller) -> GarbagePlan:
    """What the next collection would do; nothing is changed. Needs the right `operate`."""
    return GarbagePlan.model_validate(services.gc.plan(caller))


@router.get("/storage/why/{subject}", summary="Why a content is stored")
def explain_content(
    services: Services,
    caller: Caller,
    subject: Annotated[
        str,
        Path(max_length=64, description="SHA-256 of the content, or 8 of its first digits or more, or the id of a file", examples=["412"]),
    ],
    limit: Annotated[int, Query(ge=1, le=1000, description="References of each kind, at most", examples=[100])] = 100,
) -> Reasons:
    """Everything that names it, or how long it is still here without. Needs the right `operate`: it tells of every dataset."""
    return Reasons.model_validate(services.inventory.why(caller, subject, limit=limit))


@router.get("/inbox", summary="What became of dropped files")
def list_inbox(
    services: Services,
    caller: Caller,
    state: Annotated[InboxState | None, Query(description="Only those that stand there", examples=["rejected"])] = None,
    after: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="`next` of the page before", examples=[17])] = None,
    limit: Limit = 100,
    *,
    total: Total = False,
) -> Inbox:
    """Arrivals of the drop folder, the latest first. Needs the right `operate`."""
    found = services.ingestion.arrivals(caller, before=after, limit=limit + 1, only=state)
    items, following = cut(found, lambda one: str(one.id), limit)
    return Inbox(
        items=[Arrival.model_validate(one) for one in items],
        next=following,
        total=services.ingestion.count(caller, state) if total else None,
    )
