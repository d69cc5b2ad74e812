import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dsplatform.api.runs import Runs
from dsplatform.bootstrap import Platform
from dsplatform_tests import make
from dsplatform_tests.api.conftest import AsUser

RUN = "0b9f1c2e-5d0f-4b57-9c59-1f6f2d2f4a11"


class Dagster:
    """Answers as the web server does, with one run."""

    def __init__(self) -> None:
        self.status = "STARTED"
        self.events: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.broken: bytes | None = None

    def answer(self, question: dict[str, Any]) -> bytes:
        self.asked.append(question["variables"])
        if self.broken is not None:
            return self.broken
        if "runOrError" in question["query"]:
            return json.dumps({"data": {"runOrError": {"eventConnection": {"events": self.events}}}}).encode()
        return json.dumps({"data": {"runsOrError": {"results": [{"runId": RUN, "status": self.status}]}}}).encode()


@pytest.fixture
def dagster(app: FastAPI) -> Iterator[Dagster]:
    there = Dagster()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = there.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    app.state.runs = Runs(f"http://127.0.0.1:{server.server_port}", "http://dagster.example/ui")
    yield there
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def version_id(platform: Platform) -> int:
    """A version of `sales` that waits for its schema."""
    committed = make.commit(platform, make.dataset(platform), {"a.csv": b"id\n1\n"})
    platform.deliver()
    return committed.version_id


JOB = "/api/v1/datasets/sales/versions/1/job"


def test_without_dagster_the_database_tells(operator: TestClient, platform: Platform, version_id: int) -> None:
    nothing = {"run_id": None, "url": None, "reason": None, "unreadable": None}
    assert operator.get(JOB).json() == {**nothing, "state": "waiting"}
    platform.schemas.capture_version_schema(platform.schemas.pending(1)[0])
    assert operator.get(JOB).json() == {**nothing, "state": "succeeded", "unreadable": 0}


@pytest.mark.parametrize(
    ("status", "state"),
    [("QUEUED", "waiting"), ("STARTING", "waiting"), ("STARTED", "running"), ("CANCELED", "failed"), ("SUCCESS", "waiting")],
)
def test_a_run_tells_where_the_version_stands(status: str, state: str, operator: TestClient, dagster: Dagster, version_id: int) -> None:
    dagster.status = status
    job = operator.get(JOB).json()
    assert (job["state"], job["run_id"]) == (state, RUN)
    assert job["url"] == f"http://dagster.example/ui/runs/{RUN}"
    assert dagster.asked[0] == {"filter": {"tags": [{"key": f"dsplatform/version.{version_id}", "value": "sales@1"}]}}


def test_a_failure_has_its_reason_for_operators_alone(
    operator: TestClient, as_user: AsUser, platform: Platform, dagster: Dagster, version_id: int
) -> None:
    dagster.status = "FAILURE"
    dagster.events = [{}, {"failureMetadata": {"description": "the store of 'payroll' is damaged"}, "error": {"message": "x"}}]
    assert operator.get(JOB).json()["reason"] == "the store of 'payroll' is damaged"
    reader = as_user("rita", "viewer")
    from dsplatform.core.types import PermissionType

    dataset = platform.datasets.open(platform.actor(), "sales")
    with platform.db.transaction() as tx:
        rita = platform.permissions.actor(tx, "rita")
    platform.permissions.grant_permission(platform.actor(), rita, PermissionType.READ, dataset.id)
    told = reader.get(JOB).json()
    assert (told["state"], told["run_id"]) == ("failed", RUN)
    assert "payroll" not in told["reason"]


@pytest.mark.parametrize("broken", [b"", b"<html>", b"[]", b'{"data": null}', b'{"data": {"runsOrError": {}}}'])
def test_a_dagster_that_talks_nonsense_is_as_none(broken: bytes, operator: TestClient, dagster: Dagster, version_id: int) -> None:
    dagster.broken = broken
    assert operator.get(JOB).json()["state"] == "waiting"


def test_a_dagster_that_is_gone_is_as_none(app: FastAPI, operator: TestClient, version_id: int) -> None:
    app.state.runs = Runs("http://127.0.0.1:1")
    assert operator.get(JOB).json()["state"] == "waiting"


def test_a_version_that_does_not_exist_has_no_job(operator: TestClient, as_user: AsUser, version_id: int) -> None:
    assert operator.get("/api/v1/datasets/sales/versions/2/job").status_code == 404
    assert as_user("eve").get(JOB).status_code == 404
