"""Shadow mode against a stand-in of the legacy server whose data came along: who answers, what is compared, what is kept of it."""

import http.client
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from dsplatform.api.app import create_app
from dsplatform.api.legacy import shadow as shadow_mode
from dsplatform.api.legacy.forwarding import OldServer
from dsplatform.api.legacy.mirror import write_comparisons
from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.errors import Invalid
from dsplatform.core.settings import Settings
from dsplatform.migration import shadow
from dsplatform.migration.shadow import Difference, Outcome, Summary
from dsplatform.permissions.access_tokens import AccessTokens
from dsplatform_tests import make
from dsplatform_tests.api.legacy.conftest import signed
from dsplatform_tests.copies import Copies, Place
from dsplatform_tests.legacy import server as old_server
from dsplatform_tests.legacy.generator import TIMEZONE
from dsplatform_tests.migration import legacy_side
from dsplatform_tests.migration.legacy_side import Legacy

OF_DATASETS = ("", "/versions", "/versions/tree", "/pointers", "/branches", "/branches/main/head", "/branches/main/history", "/permissions")
OF_VERSIONS = ("", "/download", "/data", "/data?limit=2&offset=1", "/data?sheet=none", "/schema", "/files", "/files/primary", "/sheets")


@dataclass
class Beside:
    """Both systems, and an old client that asks."""

    platform: Platform
    legacy: Legacy
    client: TestClient

    def ask(self, method: str, path: str, soeid: str | None = None, **more: Any) -> Any:
        token = signed(old_server.SECRET, sub=soeid or self.owner(), role_id=1)
        told = {"Authorization": f"Bearer {token}", "User-Agent": "notebook/1.0", **more.pop("headers", {})}
        return self.client.request(method, path, headers=told, **more)

    def owner(self, dataset: int = 1) -> str:
        return str(self.legacy.run("SELECT soeid FROM datasets d JOIN users u ON u.id = d.created_by WHERE d.id = %s", dataset)[0][0])

    def found(self) -> Summary:
        """What was compared, once it is written."""
        write_comparisons(self.client.app.state.legacy, self.platform)  # type: ignore[attr-defined]
        return self.platform.shadow.summary(self.platform.actor())

    def switched(self) -> None:
        """What the switch does, as far as requests are concerned."""
        with make.tampering(self.platform.db) as tx:
            tx.execute("UPDATE legacy_routing SET master = 'new'")
            tx.execute("UPDATE datasets SET held = false")

    def versions(self) -> int:
        return int(self.legacy.run("SELECT count(*) FROM dataset_versions")[0][0])


@contextmanager
def asking(settings: Settings, database_url: str, url: str, legacy: Legacy) -> Iterator[Beside]:
    told = {"legacy_api": "on", "legacy_url": url, "legacy_secret": old_server.SECRET, "legacy_timezone": TIMEZONE, "rate_limit": 0}
    app = create_app(replace(settings, database_url=database_url, **told))  # type: ignore[arg-type]
    with TestClient(app) as client:
        yield Beside(app.state.platform, legacy, client)


def came_along(place: Place[None]) -> Legacy:
    """A small legacy system that came along."""
    with bootstrap(place.settings, place.database_url) as platform:
        made, _ = legacy_side.built(platform, place.legacy_url, place.legacy_folder, "G1b", datasets=2, versions=2, oddities=False)
        made.migrate()
        return made


@pytest.fixture
def copied(copies: Copies) -> Iterator[Place[Legacy]]:
    with copies.of(came_along) as place:
        yield place


@pytest.fixture
def legacy(copied: Place[Legacy]) -> Legacy:
    """The legacy side of it."""
    return replace(copied.made, url=copied.legacy_url)


@pytest.fixture
def beside(settings: Settings, database_url: str, legacy: Legacy) -> Iterator[Beside]:
    """Both systems at work."""
    with old_server.running(legacy.url, legacy.folder) as url, asking(settings, database_url, url, legacy) as made:
        yield made


def read_everything(beside: Beside) -> int:
    """Asks for all there is; answers how often."""
    asked = 0
    for (dataset,) in beside.legacy.run("SELECT id FROM datasets ORDER BY id"):
        for path in OF_DATASETS:
            beside.ask("GET", f"/api/datasets/{dataset}{path}", beside.owner(dataset))
            asked += 1
    for version, dataset in beside.legacy.run("SELECT id, dataset_id FROM dataset_versions ORDER BY id"):
        for path in OF_VERSIONS:
            beside.ask("GET", f"/api/datasets/{dataset}/versions/{version}{path}", beside.owner(dataset))
            asked += 1
    for path in ("/api/datasets", "/api/datasets/tags", "/api/datasets?sort_by=name&sort_order=asc"):
        beside.ask("GET", path)
        asked += 1
    return asked


def test_all_that_came_along_is_answered_alike(beside: Beside) -> None:
    """The old server's answers to every read are ours, but for what the documentation says."""
    asked = read_everything(beside)
    found = beside.found()
    assert [(one.path, one.status_old, one.status_new, one.difference) for one in found.unexplained] == []
    assert found.compared == asked
    assert found.counts[Outcome.SAME] > asked / 2
    assert set(found.explanations) <= {
        "files have our numbers and times, and nobody learns where they lie",
        "schemas are captured anew",
        "the old server failed",
        "who may write may read",
        "rights of both tables count",
    }


def test_before_the_switch_the_old_server_answers(beside: Beside) -> None:
    files = beside.ask("GET", "/api/datasets/1/versions/1/files")
    assert files.json()[0]["file"]["file_path"] is not None, "ours tells nobody"
    assert files.headers["deprecation"].startswith("@")
    assert 'rel="successor-version"' in files.headers["link"]
    sent = beside.ask("GET", "/api/datasets/1/versions/1/download")
    (path,) = beside.legacy.run("SELECT file_path FROM files f JOIN dataset_versions v ON v.file_id = f.id WHERE v.id = 1")[0]
    assert sent.content == Path(path).read_bytes()
    assert beside.ask("GET", "/api/datasets/999/versions").status_code == 500, "as it always was"
    assert beside.client.get("/api/datasets").json() == {"detail": "Not authenticated"}
    assert beside.found().compared == 4


def test_after_the_switch_ours_does_and_the_old_one_is_asked_all_the_same(beside: Beside) -> None:
    beside.switched()
    files = beside.ask("GET", "/api/datasets/1/versions/1/files")
    assert files.json()[0]["file"]["file_path"] is None
    before = beside.versions()
    sent = beside.ask("POST", "/api/datasets/upload", data={"name": "new", "dataset_id": "1"}, files={"file": ("a.csv", b"a,b\n1,2\n")})
    assert sent.status_code == 200, sent.text
    assert beside.versions() == before
    changed = beside.ask("GET", "/api/datasets/1")
    assert changed.json()["name"] == "new"
    found = beside.found()
    assert found.compared == 2
    assert {one["at"] for one in found.unexplained[0].difference} >= {"/name", "/current_version"}


def test_what_is_written_before_the_switch_is_heard_by_the_old_server_alone(beside: Beside) -> None:
    before = beside.versions()
    mine = beside.ask("GET", "/api/datasets/1/versions").json()
    sent = beside.ask("POST", "/api/datasets/upload", data={"name": "new"}, files={"file": ("a.csv", b"a,b\n1,2\n" * 5_000)})
    assert sent.status_code == 200, sent.text
    assert beside.versions() == before + 1
    assert beside.ask("DELETE", "/api/datasets/1/versions/999999").status_code == 404
    ours = beside.platform.datasets.list_datasets(beside.platform.actor())
    assert "new" not in [one.name for one in ours]
    assert beside.ask("GET", "/api/datasets/1/versions").json() == mine
    assert beside.found().compared == 2, "what changes something is compared with nothing"
    counted = beside.client.app.state.legacy.state.usage.take()  # type: ignore[attr-defined]
    assert counted["POST /api/datasets/upload", beside.owner().lower(), "notebook"] == 1


def test_a_body_of_unknown_length_goes_on_as_it_comes(beside: Beside) -> None:
    def parts() -> Iterator[bytes]:
        yield b'{"branch_name": "side", '
        yield b'"from_version_id": 1}'

    made = beside.ask("POST", "/api/datasets/1/branches", content=parts(), headers={"Content-Type": "application/json"})
    assert made.status_code == 200, made.text
    assert beside.legacy.run("SELECT dataset_version_id FROM dataset_pointers WHERE pointer_name = 'side' AND dataset_id = 1") == [(1,)]


def test_a_login_is_the_old_servers_and_its_token_is_good_for_both(beside: Beside) -> None:
    refused = beside.client.post("/api/users/token", data={"username": beside.owner(), "password": "wrong"})
    assert (refused.status_code, refused.json()) == (401, {"detail": "Incorrect username or password"})
    assert beside.found().compared == 0


def test_nothing_of_what_was_said_is_kept(beside: Beside) -> None:
    with make.tampering(beside.platform.db) as tx:
        tx.execute("UPDATE datasets SET name = 'changed behind our back', description = 'quiet' WHERE id = 1")
    ((name, description),) = beside.legacy.run("SELECT name, description FROM datasets WHERE id = 1")
    token = signed(old_server.SECRET, sub=beside.owner(), role_id=1)
    beside.client.get("/api/datasets/1?token=hidden", headers={"Authorization": f"Bearer {token}"})
    beside.client.get("/api/datasets/1/versions/1/data", headers={"Authorization": f"Bearer {token}"})
    (one,) = beside.found().unexplained
    assert {(place["at"], place["kind"]) for place in one.difference} >= {("/name", "value")}
    assert (one.method, one.path, one.status_old, one.status_new) == ("GET", "/api/datasets/1", 200, 200)
    with beside.platform.db.transaction() as tx:
        kept = str(tx.rows("SELECT * FROM legacy_shadow")) + str(tx.rows("SELECT * FROM legacy_shadow_counts"))
    for said in (token, "hidden", "behind our back", "quiet", beside.owner(), name, description or name):
        assert said not in kept


def test_who_may_not_read_here_differs_for_a_reason(beside: Beside) -> None:
    beside.legacy.run("INSERT INTO users (soeid, password_hash, role_id, created_at, updated_at) VALUES ('zed0009', 'x', 1, now(), now())")
    with make.tampering(beside.platform.db) as tx:
        role = tx.scalar("SELECT role_id FROM users WHERE id = (SELECT created_by FROM datasets WHERE id = 1)")
        tx.execute("INSERT INTO users (username, role_id) VALUES ('zed0009', :role)", role=role)
    assert beside.ask("GET", "/api/datasets/1/versions", "zed0009").status_code == 200, "the old server asked for no right"
    assert beside.found().explanations == {"reading needs the right to read": 1}


def test_a_download_that_the_old_server_breaks_off_breaks_off(beside: Beside) -> None:
    (path,) = beside.legacy.run("SELECT file_path FROM files f JOIN dataset_versions v ON v.file_id = f.id WHERE v.id = 1")[0]
    Path(path).unlink()
    sent = beside.ask("GET", "/api/datasets/1/versions/1/download")
    assert sent.content == b""
    assert beside.found().explanations == {"the old server broke its answer off": 1}


def test_a_server_that_is_gone_is_told_and_ours_goes_on_after_the_switch(settings: Settings, database_url: str, legacy: Legacy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with asking(settings, database_url, url, legacy) as beside:
        for method, path in (("GET", "/api/datasets/1"), ("DELETE", "/api/datasets/1")):
            refused = beside.ask(method, path)
            assert (refused.status_code, refused.json()) == (502, {"detail": "the legacy server does not answer"})
        assert beside.client.get("/health").json() == {"status": "healthy"}
        beside.switched()
        assert beside.ask("GET", "/api/datasets/1").status_code == 200
        found = beside.found()
        assert found.counts[Outcome.UNANSWERED] == 2
        assert (found.compared, found.unexplained) == (0, [])


def test_an_answer_that_fails_to_be_compared_is_sent_all_the_same(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise RuntimeError("ours is broken")

    monkeypatch.setattr(beside.platform.legacy, "versions", failing)
    assert beside.ask("GET", "/api/datasets/1/versions").status_code == 200
    assert beside.found().counts[Outcome.SAME] == 0


def test_too_many_at_once_are_not_compared(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_mode, "COMPARED_AT_ONCE", 0)
    assert beside.ask("GET", "/api/datasets/1").status_code == 200
    assert beside.found().counts[Outcome.SKIPPED] == 1


def test_our_own_credentials_are_not_shown_to_the_old_server(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str | None] = []
    real = http.client.HTTPConnection.request

    def listening(self: http.client.HTTPConnection, method: str, url: str, body: Any, headers: Any, **more: Any) -> None:
        sent.append(next((value for name, value in headers.items() if name.lower() == "authorization"), None))
        real(self, method, url, body, headers, **more)

    monkeypatch.setattr(http.client.HTTPConnection, "request", listening)
    mine = beside.platform.accounts.create_token(beside.platform.actor(), "mine").secret
    session = AccessTokens(lambda: b"k" * 32).issue(UUID(int=1), 1)
    theirs = signed(old_server.SECRET, sub=beside.owner(), role_id=1)
    for credential in (mine, session, theirs):
        for method in ("GET", "DELETE"):
            beside.client.request(method, "/api/datasets/999", headers={"authorization": f"Bearer {credential}"})
    assert sent == [None, None, None, None, f"Bearer {theirs}", f"Bearer {theirs}"]


def test_a_path_does_not_leave_its_folder() -> None:
    for path in ("/api/datasets/../../admin", "/api/datasets/%2e%2e/admin", "/api/datasets/.%2E/x?y=1"):
        with pytest.raises(Invalid):
            OldServer("http://127.0.0.1:1").ask("GET", path, {}, None)


def test_the_newest_differences_are_kept(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "MOST_KEPT", 5)
    actor = platform.actor()
    with platform.db.transaction() as tx:
        now = tx.scalar("SELECT now()")
    for start in range(0, 12, 3):
        found = [Difference(now, "GET", f"/{n}", 200, 200, [{"at": "/", "kind": "value"}], None) for n in range(start, start + 3)]
        platform.shadow.note({Outcome.DIFFERENT: 3, Outcome.SAME: 1}, found)
    summary = platform.shadow.summary(actor)
    assert [one.path for one in summary.unexplained] == ["/11", "/10", "/9", "/8", "/7"]
    assert (summary.compared, summary.different) == (16, 12)
    platform.shadow.begin_anew(actor)
    assert platform.shadow.summary(actor).compared == 0
