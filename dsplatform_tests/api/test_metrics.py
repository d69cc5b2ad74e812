import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from dsplatform.api.app import create_app
from dsplatform.bootstrap import Platform
from dsplatform.core.settings import Settings
from dsplatform_tests import make
from dsplatform_tests.api.conftest import AsUser

DOCS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def figures(client: TestClient) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def value(client: TestClient, name: str, **labels: str) -> float:
    return figures(client)[name, tuple(sorted(labels.items()))]


def test_figures_are_for_operators(client: TestClient, as_user: AsUser, operator: TestClient) -> None:
    assert client.get("/metrics").status_code == 401
    refused = as_user("ada").get("/metrics")
    assert (refused.status_code, refused.json()["missing"]) == (403, "operate")
    assert operator.get("/metrics").status_code == 200


@contextmanager
def public(settings: Settings, database_url: str) -> Iterator[TestClient]:
    with TestClient(create_app(replace(settings, database_url=database_url, metrics_public="on"))) as client:
        yield client


def test_they_are_for_everybody_where_a_setting_says_so(settings: Settings, database_url: str) -> None:
    with public(settings, database_url) as client:
        assert value(client, "dsplatform_database_up") == 1


def test_without_a_database_there_are_those_of_the_process(settings: Settings) -> None:
    with public(settings, "postgresql+psycopg://nobody@127.0.0.1:1/x") as client:
        found = figures(client)
    assert found["dsplatform_database_up", ()] == 0
    assert found["dsplatform_uploads_under_way", ()] == 0
    assert ("dsplatform_stored_bytes", ()) not in found


def test_answers_are_counted_by_route_and_status(client: TestClient, operator: TestClient) -> None:
    operator.get("/api/v1/datasets/17")
    operator.get("/api/v1/datasets/18")
    client.get("/nowhere/a")
    client.get("/nowhere/b")
    client.request("WHATEVER", "/version")
    found = figures(operator)
    labels = (("method", "GET"), ("route", "/api/v1/datasets/{dataset}"), ("status", "404"))
    assert found["dsplatform_http_requests_total", labels] == 2
    assert found["dsplatform_http_requests_total", (("method", "GET"), ("route", ""), ("status", "404"))] == 2
    assert found["dsplatform_http_requests_total", (("method", "other"), ("route", "/version"), ("status", "405"))] == 1
    assert found["dsplatform_http_request_seconds_count", labels[:2]] == 2
    assert found["dsplatform_http_requests_under_way", ()] == 1


def test_bodies_are_counted_both_ways(operator: TestClient) -> None:
    received, sent = (value(operator, f"dsplatform_http_{way}_bytes_total") for way in ("received", "sent"))
    answer = operator.post("/api/v1/datasets", content=b'{"name": "sales"}', headers={"Content-Type": "application/json"})
    assert value(operator, "dsplatform_http_received_bytes_total") == received + 17
    assert value(operator, "dsplatform_http_sent_bytes_total") > sent + len(answer.content)


def test_what_is_stored_and_what_waits_is_told(app: FastAPI, operator: TestClient, platform: Platform) -> None:
    dataset = make.dataset(platform)
    make.commit(platform, dataset, {"a.csv": b"id\n1\n"})
    found = figures(operator)
    assert found["dsplatform_stored_files", ()] == 2  # the component and the version's overlay
    assert found["dsplatform_stored_bytes", ()] > 5
    assert found["dsplatform_damaged_files", ()] == 0
    queues = {labels[0][1]: amount for (name, labels), amount in found.items() if name == "dsplatform_queue"}
    assert queues == {"inbox": 0, "deliveries": 1, "captures": 0, "reviews": 0}
    assert found["dsplatform_database_connections", ()] == platform.settings.pool_size
    assert 0 <= found["dsplatform_database_connections_used", ()] <= platform.settings.pool_size


def test_the_database_is_not_asked_each_time(app: FastAPI, operator: TestClient, platform: Platform) -> None:
    assert value(operator, "dsplatform_stored_files") == 0
    make.commit(platform, make.dataset(platform), {"a.csv": b"id\n1\n"})
    assert value(operator, "dsplatform_stored_files") == 0
    app.state.metrics._state._known.clear()
    assert value(operator, "dsplatform_stored_files") == 2


def test_uploads_and_clients_that_were_cut_off_are_told(app: FastAPI, operator: TestClient, platform: Platform) -> None:
    app.state.cuts.note("the answer is not read", "10.0.0.1")
    with app.state.limits.upload(platform.actor()):
        found = figures(operator)
    assert found["dsplatform_uploads_under_way", ()] == 1
    assert found["dsplatform_http_cut_off_total", (("reason", "the answer is not read"),)] == 1


def test_applications_count_for_themselves(client: TestClient, operator: TestClient, settings: Settings, database_url: str) -> None:
    client.get("/version")
    with public(settings, database_url) as other:
        assert not [name for name, labels in figures(other) if dict(labels).get("route") == "/version"]


def test_every_figure_is_documented(app: FastAPI, operator: TestClient, platform: Platform) -> None:
    app.state.cuts.note("the answer is not read", "10.0.0.1")
    families = {family.name: family for family in text_string_to_metric_families(operator.get("/metrics").text)}
    documented = dict(re.findall(r"^\| `(dsplatform_\w+)` \| ([^|]+) \|", DOCS, re.MULTILINE))
    written = {name + ("_total" if family.type == "counter" else ""): family.documentation for name, family in families.items()}
    assert documented == written
