"""An old client's day over the API as it is shipped: it logs in, uploads, lists, downloads, looks at rows and labels, and searches.

Once with a dataset that came along from the legacy system, once with one that it makes itself.
"""

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow.parquet as pq
import pytest

from dsplatform.bootstrap import bootstrap
from dsplatform.core.settings import Settings
from dsplatform_tests import make
from dsplatform_tests.api.served import Served, served
from dsplatform_tests.legacy.generator import PASSWORD, TIMEZONE
from dsplatform_tests.migration import legacy_side

SALES = b"id,city,price\n1,Rome,2.50\n2,Oslo,3.75\n3,Bonn,\n"
BOUNDARY = "an old client's"


class OldClient:
    """Knows the old server's words, and nothing of ours."""

    def __init__(self, api: Served) -> None:
        self._api = api
        self._token: str | None = None

    def log_in(self, soeid: str, password: str) -> Mapping[str, Any]:
        body = urlencode({"username": soeid, "password": password}).encode()
        status, _, answer = self._api.ask("POST", "/api/users/token", body, Content_Type="application/x-www-form-urlencoded")
        assert status == 200, answer
        tokens: Mapping[str, Any] = json.loads(answer)
        self._token = tokens["access_token"]
        return tokens

    def refresh(self, token: str) -> None:
        status, _, answer = self._api.ask("POST", f"/api/users/token/refresh?refresh_token={token}")
        assert status == 200, answer
        self._token = json.loads(answer)["access_token"]

    def get(self, path: str) -> Any:
        return json.loads(self.fetch(path)[1])

    def fetch(self, path: str) -> tuple[dict[str, str], bytes]:
        status, headers, answer = self._api.ask("GET", path, Authorization=f"Bearer {self._token}")
        assert status == 200, answer
        return headers, answer

    def send(self, method: str, path: str, body: Any) -> Any:
        told = {"Authorization": f"Bearer {self._token}", "Content_Type": "application/json"}
        status, _, answer = self._api.ask(method, path, json.dumps(body).encode(), **told)
        assert status == 200, answer
        return json.loads(answer)

    def upload(self, data: bytes, file_name: str, **fields: object) -> Any:
        parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items()]
        head = f'Content-Disposition: form-data; name="file"; filename="{file_name}"\r\nContent-Type: text/csv\r\n\r\n'
        parts.insert(0, head.encode() + data + b"\r\n")  # browsers send the file first
        mark = f"--{BOUNDARY}".encode()
        body = b"".join(mark + b"\r\n" + part for part in parts) + mark + b"--\r\n"
        told = {"Authorization": f"Bearer {self._token}", "Content_Type": f'multipart/form-data; boundary="{BOUNDARY}"'}
        status, _, answer = self._api.ask("POST", "/api/datasets/upload", body, **told)
        assert status == 200, answer
        return json.loads(answer)


@pytest.fixture
def api(settings: Settings, database_url: str, legacy_url: str, legacy_folder: Path) -> Iterator[tuple[Served, str, int]]:
    """The API in a process of its own, after the switch; the owner of a dataset that came along, and its id."""
    with bootstrap(settings, database_url) as platform:
        legacy, _ = legacy_side.built(platform, legacy_url, legacy_folder, "G1b", datasets=1, versions=2, oddities=False)
        legacy.migrate()
        ((soeid, dataset),) = legacy.run("SELECT soeid, d.id FROM datasets d JOIN users u ON u.id = d.created_by ORDER BY d.id LIMIT 1")
        with make.tampering(platform.db) as tx:
            tx.execute("UPDATE datasets SET held = false")
            tx.execute("UPDATE legacy_routing SET master = 'new'")
    told = {"legacy_api": "on", "legacy_timezone": TIMEZONE, "legacy_secret": "of 32 bytes at least, as it has to be", "rate_limit": 0}
    with served(database_url, settings.home, told, probes=False) as running:
        yield running, soeid, dataset


def day(client: OldClient, dataset: int | None, name: str) -> None:
    """What old clients do, in the order of their frontend."""
    before = client.get(f"/api/datasets/{dataset}/versions") if dataset else []
    sent = client.upload(
        SALES, "sales.csv", name=name, **({"dataset_id": dataset} if dataset else {}), description="All", tags="raw,checked"
    )
    at = f"/api/datasets/{sent['dataset_id']}"
    assert dataset in {None, sent["dataset_id"]}
    found = next(one for one in client.get("/api/datasets?limit=100") if one["id"] == sent["dataset_id"])
    assert (found["name"], found["current_version"], found["versions"]) == (name, len(before) + 1, None)
    versions = client.get(f"{at}/versions")
    assert [one["id"] for one in versions] == [sent["version_id"], *(one["id"] for one in before)]
    for version in versions:
        here = f"{at}/versions/{version['id']}"
        headers, data = client.fetch(f"{here}/download")
        assert headers["content-disposition"] == f"attachment; filename={sent['dataset_id']}_v{version['version_number']}.parquet"
        table = pq.read_table(io.BytesIO(data))
        page = client.get(f"{here}/data?limit=2")
        assert page["headers"] == table.column_names
        assert len(page["rows"]) == min(2, table.num_rows)
        assert page["has_more"] == (table.num_rows > 2)
        assert client.get(f"{here}/schema")["schema_data"]["row_count"] == table.num_rows
        client.get(f"{here}/sheets")
    assert client.get(f"{at}/versions/{sent['version_id']}/data")["rows"] == [
        {"id": 1, "city": "Rome", "price": 2.5},
        {"id": 2, "city": "Oslo", "price": 3.75},
        {"id": 3, "city": "Bonn", "price": None},
    ]
    assert client.get(f"{at}/versions/{sent['version_id']}/sheets") == sent["sheets"]
    assert {"raw", "checked"} <= {tag["name"] for tag in client.get("/api/datasets/tags")}
    changed = client.send("PATCH", at, {"tags": ["checked"], "description": "All of them"})
    assert ([tag["name"] for tag in changed["tags"]], changed["description"]) == (["checked"], "All of them")
    assert sent["dataset_id"] in [one["id"] for one in client.get("/api/datasets?tags=checked")]
    searched = client.get(f"/api/datasets/search?{urlencode({'query': name})}")
    assert sent["dataset_id"] in [one["id"] for one in searched["results"]]
    assert client.get(f"/api/datasets/search/suggest?{urlencode({'query': name[:3]})}")["suggestions"]


def test_an_old_clients_day(api: tuple[Served, str, int]) -> None:
    running, soeid, dataset = api
    client = OldClient(running)
    tokens = client.log_in(soeid, PASSWORD)
    client.refresh(tokens["refresh_token"])
    day(client, dataset, client.get(f"/api/datasets/{dataset}")["name"])
    day(client, None, "my own")
