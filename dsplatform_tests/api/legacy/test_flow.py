"""An old client's day, from one end to the other, in its own words."""

import io

import pyarrow.parquet as pq
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dsplatform.bootstrap import Platform

PASSWORD = "seven green whales sing"
FIRST, SECOND = b"id,city,price\n1,Rome,2.5\n2,Oslo,3.75\n", b"id,city,price\n1,Rome,2.5\n2,Oslo,3.75\n3,Bonn,1.0\n"


def test_an_old_client_works_from_login_to_search(client: TestClient, app: FastAPI, platform: Platform) -> None:
    platform.people.create_user(platform.system(), "ab12345", role="editor", password=PASSWORD)
    given = client.post("/api/users/token", data={"username": "AB12345", "password": PASSWORD}).json()
    again = client.post("/api/users/token/refresh", params={"refresh_token": given["refresh_token"]}).json()
    old = TestClient(client.app, headers={"Authorization": f"Bearer {again['access_token']}"})
    old.portal = client.portal
    assert old.get("/api/datasets/").json() == []

    fields = {"name": "sales", "description": "of the shop", "tags": "raw, daily"}
    made = old.post("/api/datasets/upload", data=fields, files={"file": ("january.csv", FIRST, "text/csv")})
    assert made.status_code == 200, made.text
    number = made.json()["dataset_id"]
    more = old.post(
        "/api/datasets/upload",
        data={"name": "sales", "description": "of the shop", "dataset_id": str(number)},
        files={"file": ("february.csv", SECOND, "text/csv")},
    )
    assert more.status_code == 200, more.text

    (listed,) = old.get("/api/datasets").json()
    assert (listed["id"], listed["name"], listed["current_version"]) == (number, "sales", 2)
    assert sorted(tag["name"] for tag in old.get("/api/datasets/tags").json()) == ["daily", "raw"]
    newest, oldest = old.get(f"/api/datasets/{number}/versions").json()
    assert (newest["id"], oldest["id"], newest["parent_version_id"]) == (more.json()["version_id"], made.json()["version_id"], oldest["id"])

    for version, rows in ((oldest, 2), (newest, 3)):
        at = f"/api/datasets/{number}/versions/{version['id']}"
        assert old.get(at).json() == version
        bytes_ = old.get(f"{at}/download")
        assert bytes_.headers["content-disposition"] == f"attachment; filename={number}_v{version['version_number']}.parquet"
        assert pq.read_table(io.BytesIO(bytes_.content)).num_rows == rows
        sheet = old.get(f"{at}/sheets").json()[0]["name"]
        page = old.get(f"{at}/data", params={"sheet": sheet, "limit": 2}).json()
        assert (page["headers"], len(page["rows"]), page["has_more"]) == (["id", "city", "price"], 2, rows > 2)
        assert page["rows"][0] == {"id": 1, "city": "Rome", "price": 2.5}

    assert [each["name"] for each in old.get("/api/datasets/search", params={"query": "shop"}).json()["results"]] == ["sales"]
    assert old.get("/api/datasets/search/suggest", params={"query": "sal"}).json()["suggestions"] == [
        {"text": "sales", "type": "dataset_name"}
    ]
    changed = old.patch(f"/api/datasets/{number}", json={"name": "sales-2026", "tags": ["raw"]}).json()
    assert (changed["name"], [tag["name"] for tag in changed["tags"]]) == ("sales-2026", ["raw"])
    assert old.delete(f"/api/datasets/{number}/versions/{newest['id']}").status_code == 204
    assert [version["id"] for version in old.get(f"/api/datasets/{number}/versions").json()] == [oldest["id"]]

    new = TestClient(
        client.app,
        headers={"Authorization": f"Bearer {platform.sessions.login('ab12345', PASSWORD, platform.system().origin).access_token}"},
    )
    new.portal = client.portal
    told = new.get(f"/api/v1/datasets/{number}").json()
    assert (told["name"], told["owner"], told["versions"]) == ("sales-2026", "ab12345", 1)
    figures = app.state.metrics.text(platform).decode()
    assert (
        'dsplatform_http_requests_total{method="GET",route="/api/datasets/{dataset_id}/versions/{version_id}/data",status="200"} 2.0'
        in figures
    )
