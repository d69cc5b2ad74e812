"""The catalogue of the old server: list, tags, one dataset, changing and deleting it (section 2.3)."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from dsplatform.api.legacy import shapes
from dsplatform.api.legacy.adapter import Adapter, DatasetNumber, LegacyDatasetAdapter
from dsplatform.api.legacy.caller import Reader, Writer
from dsplatform.api.legacy.succession import succeeded_by
from dsplatform.core.domain import Actor
from dsplatform.migration.old_datasets import ORDERS
from dsplatform.migration.old_model import Wanted

router = APIRouter(prefix="/api/datasets")

READ, UPDATE, DELETE = (
    f"{right} permission required to {what} dataset" for right, what in (("Read", "view"), ("Write", "update"), ("Admin", "delete"))
)


@router.get("")
@succeeded_by("/datasets")
def list_datasets(
    adapter: Adapter,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=100)] = 100,
    offset: Annotated[int, Query(ge=0)] = 0,
    name: str | None = None,
    description: str | None = None,
    created_by: int | None = None,
    tags: Annotated[list[str] | None, Query()] = None,
    sort_by: str | None = None,
    sort_order: str | None = None,
) -> list[shapes.Dataset]:
    """Datasets that the caller may read."""
    legacy = adapter.services.legacy
    wanted = Wanted(
        name=name or None,
        description=description or None,
        created_by=None if created_by is None else (legacy.user_id(created_by),),
        labels=tuple(tags or ()),
    )
    found, _ = legacy.datasets(
        caller,
        wanted,
        order=sort_by if sort_by in ORDERS else "updated_at",
        descending=(sort_order or "").lower() != "asc",
        limit=limit,
        offset=offset,
    )
    return [adapter.dataset_shape(each) for each in found]


@router.get("/tags")
@succeeded_by("/datasets")
def list_tags(adapter: Adapter, caller: Reader) -> list[shapes.Tag]:
    """The labels of the datasets that the caller may read."""
    return [
        shapes.Tag(name=label.name, description=label.description, id=label.id, usage_count=label.usage)
        for label in adapter.services.legacy.labels(caller)
    ]


@router.get("/{dataset_id}")
@succeeded_by("/datasets/{dataset_id}")
def get_dataset(adapter: Adapter, caller: Reader, dataset_id: DatasetNumber) -> shapes.Dataset:
    """One dataset with its versions and labels."""
    return _whole(adapter, caller, dataset_id, READ)


@router.patch("/{dataset_id}")
@succeeded_by("/datasets/{dataset_id}")
def update_dataset(adapter: Adapter, caller: Writer, dataset_id: DatasetNumber, body: shapes.DatasetUpdate) -> shapes.Dataset:
    """Changes what is given."""
    dataset = adapter.dataset(caller, dataset_id, UPDATE)
    with adapter.refusing(UPDATE, dataset_id):
        adapter.services.datasets.update_dataset(caller, f"#{dataset.id}", new_name=body.name, description=body.description, tags=body.tags)
    return _whole(adapter, caller, dataset_id, UPDATE)


@router.delete("/{dataset_id}", status_code=204)
@succeeded_by("/datasets/{dataset_id}")
def delete_dataset(adapter: Adapter, caller: Writer, dataset_id: DatasetNumber) -> Response:
    """Hides the dataset; it can be restored over the new paths for 30 days."""
    dataset = adapter.dataset(caller, dataset_id, DELETE)
    with adapter.refusing(DELETE, dataset_id):
        adapter.services.datasets.delete_dataset(caller, f"#{dataset.id}")
    return Response(status_code=204)


def _whole(adapter: LegacyDatasetAdapter, caller: Actor, number: int, refusal: str) -> shapes.Dataset:
    dataset = adapter.dataset(caller, number, refusal)
    with adapter.refusing(refusal, number):
        legacy = adapter.services.legacy
        return adapter.dataset_shape(legacy.dataset(caller, dataset), legacy.versions(caller, dataset))
