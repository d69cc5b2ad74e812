"""Every answer says that its endpoint is to go, and who still uses it is counted."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dsplatform.api.app import create_app
from dsplatform.api.legacy import succession
from dsplatform.api.legacy.app import write_down
from dsplatform.api.legacy.succession import Usage
from dsplatform.bootstrap import Platform
from dsplatform.core.errors import Unavailable
from dsplatform.core.settings import Settings
from dsplatform.migration.usage_rows import Used
from dsplatform.permissions.model import MissingRight
from dsplatform_tests import make
from dsplatform_tests.api.legacy.conftest import Old, actor

DEPRECATED = "@1795392000"


def test_each_answer_names_its_successor(old: Old) -> None:
    """RFC 9745 and RFC 8288; also of an answer that is an error, and of one without any token."""
    for client, status in ((old.ada, 200), (old.eve, 403), (old.nobody, 401)):
        answer = client.get(old.url)
        assert answer.status_code == status
        assert answer.headers["deprecation"] == DEPRECATED
        assert answer.headers["link"] == f'</api/v1/datasets/{old.dataset.id}>; rel="successor-version"'
        assert "sunset" not in answer.headers
    with_slash = old.ada.get(f"{old.url}/branches/a/b/head").headers["link"]
    assert with_slash == f'</api/v1/datasets/{old.dataset.id}/branches/a%2Fb>; rel="successor-version"'
    odd = old.ada.get(f'{old.url}/pointers/%3E%0D%0AX-Y: 1"')
    assert odd.headers["link"].startswith(f"</api/v1/datasets/{old.dataset.id}/branches/%3E%0D%0AX-Y%3A%201%22>")
    assert "x-y" not in odd.headers
    assert "deprecation" not in old.nobody.get("/api/v1/datasets").headers
    assert datetime.fromtimestamp(int(DEPRECATED[1:]), UTC).year == 2026


def test_the_end_is_told_where_it_is_known(old_settings: Settings, database_url: str) -> None:
    """RFC 8594."""
    known = replace(old_settings, database_url=database_url, legacy_sunset=date(2027, 6, 30))
    with TestClient(create_app(known)) as client:
        assert client.get("/api/datasets").headers["sunset"] == "Wed, 30 Jun 2027 00:00:00 GMT"


def test_use_is_counted_by_endpoint_client_and_program(app: FastAPI, platform: Platform, old: Old) -> None:
    root = platform.permissions.create_user("root", "admin")
    before = _told(platform, root)
    for client, agent, times in ((old.ada, "python-requests/2.31", 3), (old.rita, "", 1), (old.nobody, "evil/1", 2)):
        for _ in range(times):
            client.get(old.url, headers={"user-agent": agent})
    old.ada.get("/api/datasets/x/y/z")
    old.ada.request("BREW", old.url)
    assert _told(platform, root) == before  # nothing is written for a request
    write_down(app.state.legacy, platform)
    endpoint = "GET /api/datasets/{dataset_id}"
    assert _told(platform, root) - before == Counter(
        {(endpoint, "ada", "python-requests"): 3, (endpoint, "rita", "other"): 1, (endpoint, "unknown", "other"): 2}
    )
    old.ada.get(old.url, headers={"user-agent": "python-requests/2.32"})
    write_down(app.state.legacy, platform)
    assert _told(platform, root)[endpoint, "ada", "python-requests"] == 4
    figures = app.state.metrics.text(platform).decode()
    assert f'dsplatform_legacy_requests_total{{endpoint="{endpoint}",program="python-requests"}} 4.0' in figures
    assert "evil" not in figures
    assert f'dsplatform_http_requests_total{{method="GET",route="{endpoint[4:]}",status="200"}} 5.0' in figures
    with pytest.raises(MissingRight):
        platform.legacy.usage(actor(platform, "ada"))


def test_what_was_counted_is_written_when_the_server_stops(old_settings: Settings, database_url: str) -> None:
    app = create_app(replace(old_settings, database_url=database_url))
    with TestClient(app) as client:
        client.get("/api/datasets")
        db = app.state.platform.db
    assert make.column(db, "SELECT requests FROM legacy_usage WHERE endpoint = 'GET /api/datasets'") == [1]


def test_what_could_not_be_written_is_kept() -> None:
    usage = Usage()
    usage.count("GET /x", "ada", "curl/8")
    taken = usage.take()
    assert usage.take() == {}
    usage.count("GET /x", "ada", "curl/8")
    usage.give_back(taken)
    assert usage.take() == {("GET /x", "ada", "curl"): 2}


def test_programs_and_figures_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = Usage()
    named = {usage.count("GET /x", "ada", f"program{number}/1") for number in range(200)}
    assert len(named) == succession.MOST_PROGRAMS + 1
    assert usage.count("GET /x", "ada", "program0/2") == "program0"
    for odd in ("", "/", "1st", "a" * 41, "é", "<script>"):
        assert usage.count("GET /x", "ada", odd) == "other"
    monkeypatch.setattr(succession, "MOST_WAITING", 3)
    small = Usage()
    for number in range(10):
        small.count("GET /x", f"user{number}", "curl/8")
    small.count("GET /x", "user0", "curl/8")
    assert sorted(small.take().values()) == [1, 1, 2]


def test_a_database_that_is_away_costs_no_figures(platform: Platform, app: FastAPI, old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    usage: Usage = app.state.legacy.state.usage
    usage.take()
    usage.count("GET /x", "ada", "curl/8")

    def away(*_: object) -> None:
        raise Unavailable("it does not answer")

    monkeypatch.setattr(type(platform.legacy), "note_usage", away)
    write_down(app.state.legacy, platform)
    assert usage.take() == {("GET /x", "ada", "curl"): 1}


def _told(platform: Platform, root: object) -> Counter[tuple[str, str, str]]:
    found: list[Used] = list(platform.legacy.usage(root))  # type: ignore[arg-type]
    return Counter({(used.endpoint, used.client, used.program): used.requests for used in found})
