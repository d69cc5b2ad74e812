"""Before the switch, where nobody says how to reach the legacy server."""

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from dsplatform.api.app import create_app
from dsplatform.core.settings import Settings
from dsplatform_tests import make

BODY = {"soeid": "abc1234", "password": "correct horse battery", "role_id": 1}


@pytest.mark.parametrize("named", ["postgresql://nobody@127.0.0.1:1/none", ""])
def test_what_changes_something_waits_for_the_switch_and_who_reads_does_not(named: str, settings: Settings, database_url: str) -> None:
    told = replace(settings, database_url=database_url, legacy_api="on", legacy_database_url=named, rate_limit=0)
    with TestClient(create_app(told)) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/api/datasets").status_code == 401, "it is ours that answers"
        refused = client.post("/api/users/token", data={"username": "nobody", "password": "wrong"})
        assert refused.status_code == 401, "a login changes nothing"
        sent = client.post("/api/users/register", json=BODY)
        assert (sent.status_code == 503) == bool(named), "without a legacy system there is nothing to wait for"
        if named:
            assert sent.json()["detail"].startswith("the data still lives in the legacy system")
            assert sent.headers["retry-after"] == "60"
        with make.tampering(client.app.state.platform.db) as tx:  # type: ignore[attr-defined]
            tx.execute("UPDATE legacy_routing SET master = 'new'")
        assert client.post("/api/users/register", json=BODY).status_code != 503, "from the next request on"
