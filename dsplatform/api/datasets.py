"""Datasets: make, find, change, delete."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from dsplatform.api.caller import Caller, Services

router = APIRouter(prefix="/datasets", tags=["datasets"])


class Dataset(BaseModel):
    """A named line of versions."""

    model_config = ConfigDict(from_attributes=True)

    id: int = Field(description="Never changes", examples=[17])
    name: str = Field(description="Unique among the datasets of its owner", examples=["sales"])
    slug: str = Field(description="Unique among all, never changes: for links", examples=["sales"])
    owner: str = Field(description="Who made it", examples=["ada"])
    description: str = Field(examples=["Daily exports of the shop"])
    labels: list[str] = Field(examples=[["raw", "daily"]])
    created_at: datetime
    versions: int = Field(description="How many there are", examples=[3])
    latest_version: int | None = Field(description="The highest number", examples=[3])
    latest_at: datetime | None


class Datasets(BaseModel):
    """A page of datasets."""

    items: list[Dataset]
    next: str | None = Field(description="Give it as `after` for the next page; null: this is the last")
    total: int | None = Field(None, description="How many there are in all, where `total=true` was asked for")


@router.get("", summary="List datasets")
def list_datasets(
    services: Services,
    caller: Caller,
    search: Annotated[str | None, Query(description="Words of name or description", max_length=200)] = None,
    label: Annotated[str | None, Query(description="Only those with this label", max_length=100)] = None,
    after: Annotated[str, Query(description="`next` of the page before", max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    *,
    total: Annotated[bool, Query(description="Count all of them, too")] = False,
) -> Datasets:
    """Those that you may read, by slug."""
    found = services.datasets.list_datasets(caller, search=search, label=label, after=after, limit=limit)
    return Datasets(
        items=[Dataset.model_validate(one) for one in found],
        next=found[-1].slug if len(found) == limit else None,
        total=services.datasets.count(caller, search=search, label=label) if total else None,
    )
