import base64
import json
from pathlib import Path

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator

from dsplatform.bootstrap import Platform
from dsplatform.core.values import DatasetRef
from dsplatform_tests import make
from dsplatform_tests.api.conftest import AsUser, Grant

SALES = "/api/v1/datasets/sales"
PUBLISHED = Path(__file__).parents[2] / "docs" / "schema_json.schema.json"


@pytest.fixture
def ada(as_user: AsUser, sales: DatasetRef, platform: Platform) -> TestClient:
    """Her two versions are captured."""
    for number in ("1", "2"):
        platform.schemas.capture_version_schema(platform.versions.get_version(platform.actor(), sales, number)[0].id)
    return as_user("ada")


def test_a_schema_is_the_published_document(ada: TestClient) -> None:
    found = ada.get(f"{SALES}/schema").json()
    assert found["dataset"] == "sales"
    Draft202012Validator(json.loads(PUBLISHED.read_text())).validate(found["schema"])
    columns = found["schema"]["layouts"][0]["tables"][0]["columns"]
    assert [(column["name"], column["type"]) for column in columns] == [("id", "int64"), ("price", "float64")]


def test_a_version_that_waits_for_its_schema_is_unavailable(ada: TestClient, platform: Platform, sales: DatasetRef) -> None:
    make.commit(platform, sales, {"new.csv": b"a\n1\n"})
    answer = ada.get(f"{SALES}/schema")
    assert (answer.status_code, answer.json()["code"]) == (503, "schema_not_captured")
    assert answer.headers["retry-after"]


def test_the_columns_of_a_table_for_other_systems(ada: TestClient) -> None:
    table = {"ref": "2", "component": "prices.csv"}
    arrow = ada.get(f"{SALES}/schema/arrow", params=table).json()
    assert [(field["name"], field["type"], field["nullable"]) for field in arrow["fields"]] == [
        ("id", "int64", False),
        ("price", "double", False),
    ]
    ipc = ada.get(f"{SALES}/schema/arrow", params={**table, "format": "ipc"})
    assert ipc.headers["content-type"] == "application/vnd.apache.arrow.stream"
    assert ipc.content == base64.b64decode(arrow["ipc_base64"])
    assert pa.ipc.read_schema(pa.py_buffer(ipc.content)).names == ["id", "price"]
    row_schema = ada.get(f"{SALES}/schema/json-schema", params=table).json()
    Draft202012Validator(row_schema).validate({"id": 1, "price": 2.5})
    ddl = ada.get(f"{SALES}/schema/ddl", params=table)
    assert ddl.headers["content-type"].startswith("text/plain")
    assert '"price" double precision NOT NULL' in ddl.text


def test_which_table_is_meant_has_to_be_said(ada: TestClient) -> None:
    several, missing = ada.get(f"{SALES}/schema/ddl"), ada.get(f"{SALES}/schema/ddl?component=none.csv")
    assert (several.status_code, several.json()["code"]) == (422, "several_tables")
    assert (missing.status_code, missing.json()["code"]) == (404, "no_such_table")


def test_stats_are_of_all_tables_or_of_one(ada: TestClient) -> None:
    assert [item["component"] for item in ada.get(f"{SALES}/schema/stats").json()["items"]] == ["prices.csv", "more.csv"]
    (table,) = ada.get(f"{SALES}/schema/stats?component=prices.csv").json()["items"]
    price = table["columns"][1]
    assert (table["rows"], price["name"]) == (2, "price")
    assert (price["profile"]["low"], price["profile"]["high"], price["profile"]["mean"]) == (2.5, 3.5, 3.0)
    assert ada.get(f"{SALES}/schema/stats?sheet=none").json()["items"] == []


def test_schemas_are_compared(ada: TestClient, platform: Platform) -> None:
    found = ada.get(f"{SALES}/schema/diff?from=1").json()
    assert found["comparison"]["verdict"] == "compatible"
    (table,) = [table for table in found["comparison"]["tables"] if table["component"] == "prices.csv"]
    assert (table["retyped"][0]["before"]["type"], table["retyped"][0]["after"]["type"]) == ("int64", "float64")
    assert any("'price' was int64 and is float64" in sentence for sentence in found["sentences"])


def test_schemas_of_two_datasets_are_compared_where_both_may_be_read(ada: TestClient, platform: Platform) -> None:
    other = make.dataset(platform, "secret")
    version = make.commit(platform, other, {"prices.csv": b"id\n1\n"})
    platform.schemas.capture_version_schema(version.version_id)
    answer = ada.get(f"{SALES}/schema/diff", params={"from": "1", "from_dataset": str(other.id)})
    assert (answer.status_code, answer.json()["code"]) == (404, "dataset_missing")


def test_the_history_has_a_number_for_each_change(ada: TestClient) -> None:
    steps = ada.get(f"{SALES}/schema/history").json()["items"]
    assert [(step["version"], step["semver"], step["verdict"]) for step in steps] == [(1, "1.0.0", None), (2, "1.1.0", "compatible")]


def test_hints_are_set_as_a_whole(ada: TestClient) -> None:
    nothing = {"date_order": None, "encoding": None, "delimiter": None}
    assert ada.get(f"{SALES}/hints").json() == nothing
    assert ada.put(f"{SALES}/hints", json={"date_order": "dmy", "delimiter": ";"}).json() == {
        **nothing,
        "date_order": "dmy",
        "delimiter": ";",
    }
    assert ada.put(f"{SALES}/hints", json={"encoding": "windows-1252"}).json() == {**nothing, "encoding": "windows-1252"}
    assert ada.get(f"{SALES}/hints").json() == {**nothing, "encoding": "windows-1252"}
    for wrong in ({"date_order": "ymd"}, {"encoding": "klingon"}, {"delimiter": ";;"}):
        assert ada.put(f"{SALES}/hints", json=wrong).status_code == 422


def test_who_may_only_write_sets_no_hints(ada: TestClient, as_user: AsUser, grant: Grant, sales: DatasetRef) -> None:
    bob = as_user("bob")
    grant("bob", "write", sales.id)
    assert bob.get(f"/api/v1/datasets/{sales.id}/hints").status_code == 200
    assert bob.put(f"/api/v1/datasets/{sales.id}/hints", json={}).json()["missing"] == "admin"
