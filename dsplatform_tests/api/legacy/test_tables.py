"""Sheets, rows, columns and figures, as sections 2.4 and 2.8 of the old system's description have them."""

import datetime as dt
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from dsplatform.api.legacy import tables, values
from dsplatform.schemas import converting
from dsplatform.schemas.model import Column
from dsplatform_tests import make
from dsplatform_tests.api.legacy.conftest import Old, actor

NEVER = 999_999
LATE = dt.datetime(2024, 5, 1, 12, 30, 15, 250_000)  # noqa: DTZ001 - files hold times without a zone


def committed(old: Old, data: bytes, name: str = "main") -> str:
    """The address of a new version of one file."""
    made = make.commit(old.platform, old.dataset, {name: data}, actor=actor(old.platform, "ada"))
    return f"{old.url}/versions/{made.version_id}"


@pytest.fixture
def first(old: Old) -> str:
    return f"{old.url}/versions/{old.first.version_id}"


@pytest.fixture
def second(old: Old) -> str:
    return f"{old.url}/versions/{old.second.version_id}"


def test_a_page_of_rows(old: Old, second: str) -> None:
    """2.4 GET /api/datasets/{dataset_id}/versions/{version_id}/data: keyed by column, in the order of the file."""
    page = old.rita.get(f"{second}/data")
    assert page.status_code == 200
    assert list(page.json().items()) == [
        ("headers", ["id", "price"]),
        ("rows", [{"id": 1, "price": 2}, {"id": 2, "price": 3}]),
        ("has_more", False),
        ("offset", 0),
        ("limit", 100),
        ("total", None),
    ]
    one = old.rita.get(f"{second}/data", params={"limit": 1}).json()
    assert (one["rows"], one["has_more"]) == ([{"id": 1, "price": 2}], True)
    rest = old.rita.get(f"{second}/data", params={"limit": 1, "offset": 1}).json()
    assert (rest["rows"], rest["has_more"], rest["offset"], rest["limit"]) == ([{"id": 2, "price": 3}], False, 1, 1)
    past = old.rita.get(f"{second}/data", params={"offset": 7})
    assert (past.status_code, past.json()["rows"], past.json()["has_more"]) == (200, [], False)
    for wrong in ({"limit": 0}, {"limit": 1001}, {"offset": -1}, {"limit": "x"}):
        assert old.rita.get(f"{second}/data", params=wrong).status_code == 422


def test_pages_put_together_are_the_whole(old: Old) -> None:
    at = committed(old, b"n,m\n" + b"".join(b"%d,x\n" % n for n in range(2_500)))
    found: list[int] = []
    more = True
    while more:
        page = old.rita.get(f"{at}/data", params={"limit": 1000, "offset": len(found)}).json()
        found += [row["n"] for row in page["rows"]]
        more = page["has_more"]
    assert found == list(range(2_500))


def test_a_sheet_that_is_not_there_or_a_file_without_rows_is_404(old: Old, second: str) -> None:
    nothing = {"detail": "Sheet not found or invalid"}
    wrong = old.rita.get(f"{second}/data", params={"sheet": "Sheet1"})
    assert (wrong.status_code, wrong.json()) == (404, nothing)
    assert old.rita.get(f"{second}/data", params={"sheet": "main"}).status_code == 200, "named as its sheet is"
    opaque = old.rita.get(f"{committed(old, b'%PDF-1.7')}/data")
    assert (opaque.status_code, opaque.json()) == (404, nothing)


def test_every_kind_of_value_has_its_old_form(old: Old) -> None:
    arrays = {
        "decimal": pa.array([Decimal("1.50"), None], pa.decimal128(9, 2)),
        "day": pa.array([dt.date(2024, 2, 29), None]),
        "moment": pa.array([LATE, LATE.replace(microsecond=0)], pa.timestamp("us")),
        "zoned": pa.array([LATE, None], pa.timestamp("ms", "UTC")),
        "clock": pa.array([dt.time(1, 2, 3), dt.time(1, 2, 3, 4)], pa.time64("us")),
        "number": pa.array([float("nan"), float("inf")]),
        "long": pa.array([2**63 - 1, -(2**63)]),
        "huge": pa.array([2**64 - 1, 0], pa.uint64()),
        "flag": pa.array([True, None]),
        "uuid": pa.array([UUID(int=7).bytes, None], pa.uuid()),
        "bytes": pa.array([b"text", None]),
        "lasts": pa.array([dt.timedelta(days=1, seconds=3_661, milliseconds=500), dt.timedelta()], pa.duration("us")),
    }
    rows = old.rita.get(f"{committed(old, make.parquet(arrays))}/data").json()["rows"]
    assert rows == [
        {
            "decimal": "1.50",
            "day": "2024-02-29",
            "moment": "2024-05-01T12:30:15.250000",
            "zoned": "2024-05-01T12:30:15.250000+00:00",
            "clock": "01:02:03",
            "number": None,
            "long": 2**63 - 1,
            "huge": 2**64 - 1,
            "flag": True,
            "uuid": str(UUID(int=7)),
            "bytes": "text",
            "lasts": "P1DT1H1M1.5S",
        },
        {
            "decimal": None,
            "day": None,
            "moment": "2024-05-01T12:30:15",
            "zoned": None,
            "clock": "01:02:03.000004",
            "number": None,
            "long": -(2**63),
            "huge": 0,
            "flag": None,
            "uuid": None,
            "bytes": None,
            "lasts": "PT0S",
        },
    ]


def test_bytes_that_are_no_text_are_500(old: Old) -> None:
    broken = old.rita.get(f"{committed(old, make.parquet({'b': [bytes([255, 254])]}))}/data")
    assert (broken.status_code, broken.json()) == (500, {"detail": "Internal Server Error"})


def test_rows_that_are_many_bytes_come_whole_or_not_at_all(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    at = committed(old, b"text,n\n" + b"".join(b"%s,%d\n" % (b"x" * 300, n) for n in range(20)))
    monkeypatch.setattr(converting, "MOST_BYTES", 1_000)
    whole = old.rita.get(f"{at}/data", params={"limit": 20})
    assert [row["n"] for row in whole.json()["rows"]] == list(range(20))
    monkeypatch.setattr(tables, "MOST_PAGES", 2)
    refused = old.rita.get(f"{at}/data", params={"limit": 20})
    assert refused.status_code == 500
    assert "ask for fewer" in refused.json()["detail"]


def test_sheets_of_a_version_that_was_made_here(old: Old, second: str) -> None:
    """2.4 GET /api/datasets/{dataset_id}/versions/{version_id}/sheets: the one that the old server would have told of."""
    assert old.rita.get(f"{second}/sheets").json() == [{"name": "main", "index": 0, "description": None, "file_id": None}]


def test_the_columns_of_a_version(old: Old, second: str) -> None:
    """2.4 GET /api/datasets/{dataset_id}/versions/{version_id}/schema: coarse types, and those of the old server's reader."""
    found = old.rita.get(f"{second}/schema").json()
    assert list(found) == ["dataset_version_id", "schema_data", "id", "created_at"]
    assert found["dataset_version_id"] == old.second.version_id
    assert found["schema_data"] == {
        "type": "object",
        "properties": {
            "id": {"type": "integer", "nullable": True, "duckdb_type": "BIGINT"},
            "price": {"type": "integer", "nullable": True, "duckdb_type": "BIGINT"},
        },
        "columns": [
            {"name": "id", "type": "integer", "nullable": True, "original_type": "BIGINT"},
            {"name": "price", "type": "integer", "nullable": True, "original_type": "BIGINT"},
        ],
        "row_count": 2,
    }
    missing = old.rita.get(f"{committed(old, b'%PDF-1.7')}/schema")
    assert missing.status_code == 404
    assert missing.json()["detail"].startswith("Schema not found for version ")


@pytest.mark.parametrize(
    ("type_", "coarse", "duckdb"),
    [
        ("int64", "integer", "BIGINT"),
        ("decimal(9,2)", "number", "DECIMAL(9,2)"),
        ("float64", "number", "DOUBLE"),
        ("boolean", "boolean", "BOOLEAN"),
        ("timestamp with zone", "string", "TIMESTAMP WITH TIME ZONE"),
        ("null", "string", "VARCHAR"),
        ("list<int64>", "string", "VARCHAR"),
    ],
)
def test_coarse_types(type_: str, coarse: str, duckdb: str) -> None:
    column = Column("a", type_)
    assert (values.coarse(column), values.duckdb_type(column)) == (coarse, duckdb)


def test_columns_of_two_versions_are_compared(old: Old) -> None:
    """2.4 POST /api/datasets/{dataset_id}/schema/compare: by their coarse types alone."""
    third = committed(old, b"id,cost,price\nx,1,2.5\n").rpartition("/")[2]
    compare = f"{old.url}/schema/compare"
    found = old.rita.post(compare, json={"version1_id": old.second.version_id, "version2_id": int(third)})
    assert found.json() == {
        "version1": old.second.version_id,
        "version2": int(third),
        "columns_added": [{"name": "cost", "type": "integer", "nullable": True, "original_type": "BIGINT"}],
        "columns_removed": [],
        "type_changes": [
            {"column": "id", "old_type": "integer", "new_type": "string"},
            {"column": "price", "old_type": "integer", "new_type": "number"},
        ],
    }
    opaque = int(committed(old, b"%PDF-1.7").rpartition("/")[2])
    none = old.rita.post(compare, json={"version1_id": old.second.version_id, "version2_id": opaque})
    assert (none.status_code, none.json()) == (200, {"error": "One or both schemas not found"})
    for body in ({}, {"version1_id": 0, "version2_id": 1}):
        refused = old.rita.post(compare, json=body)
        assert (refused.status_code, refused.json()) == (400, {"detail": "Both version1_id and version2_id are required"})
    assert old.rita.post(compare, json={"version1_id": "x"}).status_code == 422
    unknown = old.rita.post(compare, json={"version1_id": NEVER, "version2_id": old.second.version_id})
    assert (unknown.status_code, unknown.json()) == (404, {"detail": f"Version {NEVER} not found"})
    hidden = old.eve.post(compare, json={"version1_id": old.first.version_id, "version2_id": old.second.version_id})
    assert hidden.status_code == 404


def test_figures_of_a_version(old: Old, second: str) -> None:
    """2.8 GET /api/datasets/{dataset_id}/versions/{version_id}/statistics: from the profile.

    2.8 GET /api/datasets/{dataset_id}/statistics: of the newest version.
    """
    found = old.rita.get(f"{second}/statistics").json()
    assert old.rita.get(f"{old.url}/statistics").json() == found
    assert list(found) == [
        "version_id",
        "row_count",
        "column_count",
        "size_bytes",
        "size_formatted",
        "computed_at",
        "columns",
        "metadata",
    ]
    assert (found["version_id"], found["row_count"], found["column_count"]) == (old.second.version_id, 2, 2)
    assert (found["size_bytes"], found["size_formatted"]) == (17, "17 B")
    price = found["columns"]["price"]
    assert (price["type"], price["null_count"], price["distinct_count"], price["min"], price["max"], price["mean"]) == (
        "integer",
        0,
        2,
        2,
        3,
        2.5,
    )
    assert found["metadata"]["sampling_applied"] is False
    empty = old.platform.datasets.create_dataset(actor(old.platform, "ada"), "empty")
    none = old.ada.get(f"/api/datasets/{empty.id}/statistics")
    assert (none.status_code, none.json()) == (404, {"detail": f"No versions found for dataset {empty.id}"})
    hidden = old.eve.get(f"{old.url}/statistics")
    assert (hidden.status_code, hidden.json()) == (403, {"detail": "Read permission required to view dataset"})
    assert old.rita.get(f"{committed(old, b'%PDF-1.7')}/statistics").status_code == 404


def test_figures_are_worked_out_once(old: Old, second: str) -> None:
    """2.8 POST /api/datasets/{dataset_id}/versions/{version_id}/statistics/refresh: there is nothing to do."""
    done = old.rita.post(f"{second}/statistics/refresh", params={"detailed": True, "sample_size": 10})
    assert done.status_code == 200
    assert done.json() == {
        "message": f"Statistics of version {old.second.version_id} are up to date",
        "analysis_run_id": None,
        "status": "completed",
    }
    assert old.eve.post(f"{second}/statistics/refresh").status_code == 404


def test_sizes_are_told_in_units() -> None:
    assert [tables._size(size) for size in (0, 1023, 1024, 1_500_000, 5 * 1024**5)] == ["0 B", "1023 B", "1.00 KB", "1.43 MB", "5120.00 TB"]


def test_a_first_version_is_opened_by_who_may_read(old: Old, first: str) -> None:
    for path in ("data", "sheets", "schema", "statistics"):
        found: Any = old.rita.get(f"{first}/{path}")
        assert found.status_code == 200, path
        assert found.headers["deprecation"].startswith("@"), path
        assert 'rel="successor-version"' in found.headers["link"], path
