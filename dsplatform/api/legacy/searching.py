"""Search and suggestions of the second generation (sections 2.8 and 5)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query

from dsplatform.api.legacy import shapes
from dsplatform.api.legacy.adapter import Adapter, LegacyDatasetAdapter
from dsplatform.api.legacy.caller import Reader
from dsplatform.api.legacy.succession import succeeded_by
from dsplatform.core.domain import Actor
from dsplatform.migration.old_datasets import ORDERS
from dsplatform.migration.old_model import Wanted

router = APIRouter(prefix="/api/datasets/search")

Words = Annotated[list[str] | None, Query()]
Numbers = Annotated[list[int] | None, Query()]
Size = Annotated[int | None, Query(ge=0)]
STORED = "parquet"
"""What the old server stored, of whatever kind a file was."""
FACETS = ("tags", "created_by", "file_types")


@router.get("")
@succeeded_by("/datasets")
def search(
    adapter: Adapter,
    caller: Reader,
    query: str | None = None,
    facet_fields: Words = None,
    tags: Words = None,
    file_types: Words = None,
    created_by: Numbers = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    updated_after: datetime | None = None,
    updated_before: datetime | None = None,
    size_min: Size = None,
    size_max: Size = None,
    versions_min: Size = None,
    versions_max: Size = None,
    *,
    fuzzy: bool = True,  # noqa: ARG001 - words are always looked for inside of others
    search_description: bool = True,
    search_tags: bool = True,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0)] = 0,
    sort_by: str | None = None,
    sort_order: str | None = None,
    include_facets: bool = False,
) -> shapes.Found:
    """Datasets that the caller may read and that hold the words."""
    legacy, bound = adapter.services.legacy, adapter.instant
    if file_types and STORED not in file_types:
        return shapes.Found(results=[], total=0, limit=limit, offset=offset, has_more=False, facets={} if include_facets else None)
    wanted = Wanted(
        words=tuple((query or "").split()),
        in_description=search_description,
        in_labels=search_tags,
        labels=tuple(tags or ()),
        created_by=tuple(legacy.user_id(each) for each in created_by) if created_by else None,
        created=(bound(created_after), bound(created_before)),
        updated=(bound(updated_after), bound(updated_before)),
        size=(size_min, size_max),
        versions=(versions_min, versions_max),
    )
    order, descending = sort_by if sort_by in ORDERS else "updated_at", (sort_order or "").lower() != "asc"
    found, total = legacy.datasets(caller, wanted, order=order, descending=descending, limit=limit, offset=offset)
    return shapes.Found(
        results=[adapter.dataset_shape(each) for each in found],
        total=total,
        limit=limit,
        offset=offset,
        has_more=offset + len(found) < total,
        facets=_facets(adapter, caller, wanted, facet_fields or FACETS) if include_facets else None,
    )


@router.get("/suggest")
@succeeded_by("/datasets")
def suggest(
    adapter: Adapter, caller: Reader, query: str = "", limit: Annotated[int, Query(ge=1, le=50)] = 10, types: Words = None
) -> shapes.Suggestions:
    """Names and labels of datasets that the caller may read and that hold the words."""
    legacy, given = adapter.services.legacy, query.strip()
    texts: list[tuple[str, str]] = []
    if not types or "dataset_name" in types:
        found, _ = legacy.datasets(caller, Wanted(words=(given,) if given else ()), order="name", descending=False, limit=limit)
        texts += [(each.name, "dataset_name") for each in found]
    if not types or "tag" in types:
        texts += [(label.name, "tag") for label in legacy.labels(caller) if given.casefold() in label.name.casefold()]
    unique = list(dict.fromkeys(texts))
    return shapes.Suggestions(query=query, suggestions=[shapes.Suggestion(text=text, type=kind) for text, kind in unique[:limit]])


def _facets(adapter: LegacyDatasetAdapter, caller: Actor, wanted: Wanted, fields: Sequence[str]) -> dict[str, dict[str, int]]:
    labels, creators, files = adapter.services.legacy.facets(caller, wanted)
    known = {"tags": dict(labels), "created_by": dict(creators), "file_types": {STORED: files} if files else {}}
    return {field: known[field] for field in fields if field in known}
