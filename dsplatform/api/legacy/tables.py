"""Sheets, rows, columns and figures of the old server (sections 2.4 and 2.8)."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query

from dsplatform.api.legacy import values
from dsplatform.api.legacy.adapter import Adapter, DatasetNumber, LegacyDatasetAdapter, VersionNumber
from dsplatform.api.legacy.caller import Reader
from dsplatform.api.legacy.contents import Contents, failing, opened
from dsplatform.api.legacy.errors import Answer, Writable
from dsplatform.api.legacy.succession import succeeded_by
from dsplatform.api.legacy.table_shapes import Refreshed, SchemaVersion, SheetInfo, Statistics
from dsplatform.core.domain import Actor
from dsplatform.core.types import VersionId
from dsplatform.schemas.model import Column, ColumnProfile

router = APIRouter(prefix="/api/datasets/{dataset_id}")

NO_SHEET = "Sheet not found or invalid"
MOST_PAGES = 8
"""Of 16 MiB: what one answer may hold."""
UNITS = ("B", "KB", "MB", "GB", "TB")


@router.get("/versions/{version_id}/sheets")
@succeeded_by("/datasets/{dataset_id}/schema")
def list_sheets(adapter: Adapter, caller: Reader, dataset_id: DatasetNumber, version_id: VersionNumber) -> list[SheetInfo]:
    """The sheets of the version."""
    with opened(adapter, caller, dataset_id, version_id) as contents:
        return contents.sheets()


@router.get("/versions/{version_id}/data", response_class=Writable)
@succeeded_by("/datasets/{dataset_id}/preview")
def rows(
    adapter: Adapter,
    caller: Reader,
    dataset_id: DatasetNumber,
    version_id: VersionNumber,
    sheet: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, lt=2**62)] = 0,
) -> Writable:
    """A page of rows, each keyed by its columns. Whatever sheet is named, they are those of the version's one file."""
    with opened(adapter, caller, dataset_id, version_id) as contents:
        if contents.version.component is None or (sheet and sheet not in {one.name for one in contents.sheets()}):
            raise Answer(404, NO_SHEET)
        with failing(404, NO_SHEET):
            columns, found, total = _page(adapter, caller, dataset_id, contents, offset, limit)
        try:
            keyed = values.objects(columns, found)
        except UnicodeDecodeError as err:
            raise Answer(500, "Internal Server Error") from err
        return Writable(
            {
                "headers": [column.name for column in columns],
                "rows": keyed,
                "has_more": total is not None and offset + limit < total,
                "offset": offset,
                "limit": limit,
                "total": None,
            }
        )


@router.get("/versions/{version_id}/schema")
@succeeded_by("/datasets/{dataset_id}/schema")
def schema(adapter: Adapter, caller: Reader, dataset_id: DatasetNumber, version_id: VersionNumber) -> SchemaVersion:
    """The columns of the version's file."""
    with opened(adapter, caller, dataset_id, version_id) as contents:
        found = contents.table()
        if found is None:
            raise Answer(404, f"Schema not found for version {version_id}")
        table, count = found
        return SchemaVersion(
            dataset_version_id=version_id,
            schema_data=values.schema(table.columns, count),
            id=version_id,
            created_at=adapter.naive(contents.version.created_at),
        )


@router.post("/schema/compare")
@succeeded_by("/datasets/{dataset_id}/schema/diff")
def compare(adapter: Adapter, caller: Reader, dataset_id: DatasetNumber, body: Annotated[dict[str, int], Body()]) -> dict[str, Any]:
    """What differs between the columns of two versions."""
    before, after = body.get("version1_id"), body.get("version2_id")
    if not before or not after:
        raise Answer(400, "Both version1_id and version2_id are required")
    found = []
    for number in (before, after):
        with opened(adapter, caller, dataset_id, number) as contents:
            found.append(contents.table())
    if found[0] is None or found[1] is None:
        return {"error": "One or both schemas not found"}
    one, other = ({column.name: values.column(column) for column in table.columns} for table, _ in (found[0], found[1]))
    return {
        "version1": before,
        "version2": after,
        "columns_added": [column for name, column in other.items() if name not in one],
        "columns_removed": [column for name, column in one.items() if name not in other],
        "type_changes": [
            {"column": name, "old_type": one[name]["type"], "new_type": column["type"]}
            for name, column in other.items()
            if name in one and one[name]["type"] != column["type"]
        ],
    }


@router.get("/statistics")
@succeeded_by("/datasets/{dataset_id}/schema/stats")
def latest_statistics(adapter: Adapter, caller: Reader, dataset_id: DatasetNumber) -> Statistics:
    """What the values of the newest version are like."""
    dataset = adapter.dataset(caller, dataset_id, "Read permission required to view dataset")
    with adapter.refusing("Read permission required to view dataset", dataset_id):
        newest = adapter.services.legacy.versions(caller, dataset, limit=1)
    if not newest:
        raise Answer(404, f"No versions found for dataset {dataset_id}")
    return _statistics(adapter, caller, dataset_id, newest[0].id)


@router.get("/versions/{version_id}/statistics")
@succeeded_by("/datasets/{dataset_id}/schema/stats")
def statistics(adapter: Adapter, caller: Reader, dataset_id: DatasetNumber, version_id: VersionNumber) -> Statistics:
    """What the values of the version are like."""
    return _statistics(adapter, caller, dataset_id, version_id)


@router.post("/versions/{version_id}/statistics/refresh")
@succeeded_by("/datasets/{dataset_id}/schema/stats")
def refresh(
    adapter: Adapter,
    caller: Reader,
    dataset_id: DatasetNumber,
    version_id: VersionNumber,
    *,
    detailed: bool = False,  # noqa: ARG001 - all figures are worked out, whatever is asked for
    sample_size: int | None = None,  # noqa: ARG001 - of all rows
) -> Refreshed:
    """Contents never change, so figures are worked out once: at the latest when they are asked for, or soon, where that takes long."""
    with opened(adapter, caller, dataset_id, version_id) as contents:
        done = contents.captured() is not None
        return Refreshed(
            message=f"Statistics of version {version_id} {'are up to date' if done else 'are being computed'}",
            analysis_run_id=None,
            status="completed" if done else "pending",
        )


def _page(
    adapter: LegacyDatasetAdapter, caller: Actor, dataset_id: int, contents: Contents, offset: int, limit: int
) -> tuple[tuple[Column, ...], list[Any], int | None]:
    """The rows, however many portions they come in."""
    dataset = adapter.dataset(caller, dataset_id)
    found: list[Any] = []
    for _ in range(MOST_PAGES):
        page = adapter.services.conversions.page(
            caller, dataset, contents.ref, component=contents.component, offset=offset + len(found), limit=limit - len(found)
        )
        found += json.loads(page.body)
        if page.cut is None or len(found) >= limit:
            return page.columns, found, page.total
    raise Answer(500, f"The rows have more than {MOST_PAGES * 16} MiB: ask for fewer of them")


def _statistics(adapter: LegacyDatasetAdapter, caller: Actor, dataset_id: int, version_id: int) -> Statistics:
    with opened(adapter, caller, dataset_id, version_id) as contents:
        found, dataset = contents.table(), adapter.dataset(caller, dataset_id)
        if found is None:
            raise Answer(404, f"Statistics not found for version {version_id}")
        table, count = found
        version = contents.version
        profiles = adapter.services.schemas.profiles(caller, dataset, VersionId(version.new_id), of=[contents.component])
        profile = profiles.get((contents.component, table.name)) or (ColumnProfile(),) * len(table.columns)
        return Statistics(
            version_id=version_id,
            row_count=count,
            column_count=len(table.columns),
            size_bytes=version.file_size or 0,
            size_formatted=_size(version.file_size or 0),
            computed_at=adapter.naive(version.created_at),
            columns={column.name: _figures(column, one) for column, one in zip(table.columns, profile, strict=True)},
            metadata={"profiling_method": "full", "sampling_applied": False, "profiling_duration_ms": None},
        )


def _figures(column: Column, profile: ColumnProfile) -> dict[str, Any]:
    return {
        "type": values.coarse(column),
        "original_type": values.duckdb_type(column),
        "null_count": profile.nulls,
        "distinct_count": profile.distinct,
        "min": profile.low,
        "max": profile.high,
        "mean": profile.mean,
        "top_values": [{"value": value, "count": count} for value, count in profile.top],
    }


def _size(size: int) -> str:
    shown, unit = float(size), 0
    while shown >= 1024 and unit < len(UNITS) - 1:
        shown, unit = shown / 1024, unit + 1
    return f"{shown:.2f} {UNITS[unit]}" if unit else f"{size} B"
