"""Datasets: make, find, change, delete, restore."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from dsplatform.api.bodies import DryRun, Input, Output, Removal
from dsplatform.api.caller import Caller, DatasetName, Services
from dsplatform.api.one_thread import OneThread
from dsplatform.api.pages import Limit, Page, Total, cut, page_of
from dsplatform.core.types import PermissionType

router = APIRouter(tags=["datasets"])

Description = Annotated[str, Field(max_length=10_000, description="What it holds, for people", examples=["Daily exports of the shop"])]
Label = Annotated[str, Field(min_length=1, max_length=100)]
Labels = Annotated[list[Label], Field(max_length=100, description="Words to find it by", examples=[["raw", "daily"]])]


class Dataset(Output):
    """A named line of versions."""

    id: int = Field(description="Never changes", examples=[17])
    name: str = Field(description="Unique among the datasets of its owner", examples=["sales"])
    slug: str = Field(description="Unique among all, never changes: for links", examples=["sales"])
    owner: str = Field(description="Who made it", examples=["ada"])
    description: str = Field(description="What it holds, for people", examples=["Daily exports of the shop"])
    labels: list[str] = Field(description="Words to find it by", examples=[["raw", "daily"]])
    created_at: datetime = Field(description="When it was made")
    versions: int = Field(description="How many there are", examples=[3])
    latest_version: int | None = Field(description="The highest number; null: there is none yet", examples=[3])
    latest_at: datetime | None = Field(description="When that version was made")


class Datasets(Page):
    """A page of datasets."""

    items: list[Dataset] = Field(description="By slug")


class RestorableDataset(Output):
    """A dataset that was deleted and can be restored."""

    id: int = Field(description="As it was", examples=[17])
    name: str = Field(description="As it was; another dataset may have it by now", examples=["sales"])
    slug: str = Field(description="As it was", examples=["sales"])
    owner: str = Field(description="Who made it", examples=["ada"])
    versions: int = Field(description="How many there are", examples=[3])
    deleted_at: datetime = Field(description="When it was deleted")
    restorable_until: datetime = Field(description="Then it goes for good, with all that it holds")


class RestorableDatasets(Page):
    """A page of deleted datasets."""

    items: list[RestorableDataset] = Field(description="By id")


class NewDataset(Input):
    """A dataset to be made."""

    name: str = Field(
        min_length=1,
        max_length=128,
        description="Letters and digits of any script, `_`, `-`, `.` and inner spaces; unique among your own",
        examples=["sales"],
    )
    description: Description = ""
    labels: Labels = Field(default_factory=list)


class DatasetChange(Input):
    """What is to be different. What is not named stays as it is."""

    name: str | None = Field(None, min_length=1, max_length=128, description="A new name; the slug stays", examples=["sales-2026"])
    description: Description | None = None
    labels: Labels | None = None


class LabelChange(Input):
    """Labels that come and labels that go. Others that somebody changes at the same time are left alone."""

    add: Labels = Field(default_factory=list)
    remove: Labels = Field(default_factory=list)


class Restoring(Input):
    """How a deleted dataset comes back."""

    name: str | None = Field(None, min_length=1, max_length=128, description="Another name, where its own is taken", examples=["sales-old"])


@router.get("/datasets", summary="List datasets")
def list_datasets(
    services: Services,
    caller: Caller,
    search: Annotated[str | None, Query(description="Words of name or description", max_length=200, examples=["shop"])] = None,
    label: Annotated[str | None, Query(description="Only those with this label", max_length=100, examples=["raw"])] = None,
    owner: Annotated[str | None, Query(description="Only those that this user made", max_length=200, examples=["ada"])] = None,
    right: Annotated[Literal["read", "write", "admin"], Query(description="Only those on which you hold this right")] = "read",
    after: Annotated[str, Query(description="`next` of the page before", max_length=200, examples=["sales"])] = "",
    limit: Limit = 100,
    *,
    total: Total = False,
) -> Datasets:
    """Those that you may read, by slug."""
    wanted: dict[str, Any] = {"search": search, "label": label, "owner": owner, "right": PermissionType(right)}
    found = services.datasets.list_datasets(caller, **wanted, after=after, limit=limit + 1)
    items, following = cut(found, lambda one: one.slug, limit)
    return Datasets(
        items=[Dataset.model_validate(one) for one in items],
        next=following,
        total=services.datasets.count(caller, **wanted) if total else None,
    )


@router.post("/datasets", summary="Make a dataset", status_code=201)
def create_dataset(services: Services, caller: Caller, body: NewDataset, response: Response) -> Dataset:
    """A new, empty dataset of yours. 409 where you have one of that name."""
    made = services.datasets.create_dataset(caller, body.name, description=body.description, tags=body.labels)
    response.headers["Location"] = f"/api/v1/datasets/{made.id}"
    return Dataset.model_validate(services.datasets.get(caller, made.key))


def get_dataset(services: Services, caller: Caller, dataset: DatasetName) -> Response:
    """One dataset, with how many versions it has."""
    found = Dataset.model_validate(services.datasets.get(caller, dataset))
    return Response(found.model_dump_json(), media_type="application/json")


router.add_api_route(
    "/datasets/{dataset}", get_dataset, methods=["GET"], summary="Get a dataset", response_model=Dataset, route_class_override=OneThread
)


@router.patch("/datasets/{dataset}", summary="Change a dataset")
def update_dataset(services: Services, caller: Caller, dataset: DatasetName, body: DatasetChange) -> Dataset:
    """Name, description or labels. It takes the right `admin`."""
    changed = services.datasets.update_dataset(caller, dataset, new_name=body.name, description=body.description, tags=body.labels)
    return Dataset.model_validate(services.datasets.get(caller, changed.key))


@router.post("/datasets/{dataset}/labels", summary="Add and remove labels")
def change_labels(services: Services, caller: Caller, dataset: DatasetName, body: LabelChange) -> Dataset:
    """Labels are the same whatever the case of their letters. It takes the right `admin`."""
    changed = services.datasets.update_dataset(caller, dataset, add_tags=body.add, remove_tags=body.remove)
    return Dataset.model_validate(services.datasets.get(caller, changed.key))


@router.delete("/datasets/{dataset}", summary="Delete a dataset")
def delete_dataset(
    services: Services,
    caller: Caller,
    dataset: DatasetName,
    *,
    dry_run: DryRun = False,
) -> RestorableDataset | Removal:
    """Hides it at once; for 30 days it can be restored. `dry_run` says what its end would take. It takes the right `admin`."""
    if dry_run:
        return Removal.model_validate(services.deletion.preview_dataset(caller, dataset))
    return RestorableDataset.model_validate(services.datasets.delete_dataset(caller, dataset))


@router.get("/deleted-datasets", summary="List deleted datasets")
def list_deleted_datasets(
    services: Services,
    caller: Caller,
    after: Annotated[int, Query(ge=0, le=2**62, description="`next` of the page before", examples=[17])] = 0,
    limit: Limit = 100,
    *,
    total: Total = False,
) -> RestorableDatasets:
    """Those that you can restore."""
    found = services.datasets.restorable(caller)
    items, following = page_of(found, lambda one: one.id, after, limit)
    return RestorableDatasets(
        items=[RestorableDataset.model_validate(one) for one in items],
        next=None if following is None else str(following),
        total=len(found) if total else None,
    )


@router.post("/deleted-datasets/{dataset}/restore", summary="Restore a deleted dataset")
def restore_dataset(
    services: Services,
    caller: Caller,
    dataset: DatasetName,
    body: Restoring,
) -> Dataset:
    """Brings it back as it was. It takes the right `admin`; 409 where its owner has another dataset of the name by now."""
    restored = services.datasets.restore_dataset(caller, dataset, new_name=body.name)
    return Dataset.model_validate(services.datasets.get(caller, restored.key))
