"""Uploads and downloads over real sockets: who breaks off, who is slow, who is many, and what is damaged on the way."""

import hashlib
import http.client
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from dsplatform.api import incoming, uploads
from dsplatform.core.settings import Settings
from dsplatform.core.types import PermissionType
from dsplatform.core.values import DatasetRef
from dsplatform_tests import make
from dsplatform_tests.api.sockets import Listening, answer, listening

BLOCK = 1024 * 1024
FILE = "/api/v1/datasets/sales/files/a"


@pytest.fixture
def server(settings: Settings, database_url: str) -> Iterator[Listening]:
    with listening(replace(settings, database_url=database_url)) as running:
        yield running


@pytest.fixture
def sales(server: Listening) -> DatasetRef:
    return make.dataset(server.platform)


def status(connection: socket.socket) -> int:
    return int(answer(connection).split()[1])


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when an upload has come to its end, whichever it was."""
    event = threading.Event()
    original = incoming.read_in_thread

    async def watched(*given: Any) -> Any:
        try:
            return await original(*given)
        finally:
            event.set()

    monkeypatch.setattr(uploads, "read_in_thread", watched)
    return event


# --- uploads ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["Content-Length: 8388608", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("sent", [0, 10, BLOCK // 2, 3 * BLOCK + 1])
def test_a_client_that_goes_away_leaves_nothing(
    framing: str, sent: int, server: Listening, sales: DatasetRef, ended: threading.Event
) -> None:
    connection = server.begin("PUT", FILE, framing)
    data = os.urandom(sent)
    connection.sendall(data if "Length" in framing or not sent else b"%x\r\n%s\r\n" % (sent, data))
    connection.close()
    assert ended.wait(make.PATIENCE)
    assert server.platform.versions.list_versions(server.platform.actor(), sales) == []
    make.drained(server.platform)
    assert make.objects(server.platform) == set()
    make.assert_sound(server.platform)


def test_nobody_is_told_to_go_on_who_may_not_write(server: Listening, sales: DatasetRef) -> None:
    """A client that asks before it sends its body hears of the refusal instead: nothing of it was waited for."""
    head = ("Content-Length: 1000000", "Expect: 100-continue", "Connection: close")
    assert answer(server.begin("PUT", "/api/v1/datasets/nothing/files/a", *head)).startswith(b"HTTP/1.1 404 ")
    assert answer(server.begin("PUT", "/api/v1/datasets/sales/files/..", *head)).startswith(b"HTTP/1.1 4")
    assert answer(server.begin("PUT", FILE + "?branch=a..b", *head)).startswith(b"HTTP/1.1 422 ")
    platform = server.platform
    reader = platform.permissions.create_user("eve")
    platform.permissions.grant_permission(platform.actor(), reader, PermissionType.READ, sales.id)
    eve = replace(server, token=platform.accounts.create_token(reader, "tests").secret)
    assert answer(eve.begin("PUT", FILE, *head)).startswith(b"HTTP/1.1 403 ")
    welcome = server.begin("PUT", FILE, *head)
    assert welcome.recv(100).startswith(b"HTTP/1.1 100 ")
    welcome.close()


def test_eight_at_once_are_eight_versions(server: Listening, sales: DatasetRef) -> None:
    bodies = [os.urandom(2 * BLOCK + number) for number in range(8)]

    def upload(number: int) -> int:
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=make.PATIENCE)) as client:
            body = iter([bodies[number][:BLOCK], bodies[number][BLOCK:]])
            client.request("PUT", f"{FILE}{number}", body, {"Authorization": f"Bearer {server.token}"}, encode_chunked=True)
            return client.getresponse().status

    assert make.at_once(*[lambda number=number: upload(number) for number in range(8)]) == [201] * 8
    assert make.held(server.platform, sales) == {f"a{number}": body for number, body in enumerate(bodies)}
    make.assert_sound(server.platform)


def test_who_sends_faster_than_is_read_has_to_wait(server: Listening, sales: DatasetRef, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store takes nothing, only what fits into buffers is taken off the client's hands."""
    go_on = threading.Event()
    original = server.platform.files.upload

    def slow(*given: object) -> object:
        go_on.wait(make.PATIENCE)
        return original(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(server.platform.files, "upload", slow)
    size = 256 * BLOCK
    connection = server.begin("PUT", FILE, f"Content-Length: {size}", "Connection: close")
    connection.settimeout(1)
    sent = 0
    block = bytes(BLOCK)
    with pytest.raises(TimeoutError):
        while sent < size:
            sent += connection.send(block)
    assert sent < 64 * BLOCK
    go_on.set()
    connection.settimeout(make.PATIENCE)
    while sent < size:
        sent += connection.send(block[: size - sent])
    assert status(connection) == 201


# --- downloads -------------------------------------------------------------------------------------------------------------------


def put(server: Listening, data: bytes) -> None:
    connection = server.begin("PUT", FILE, f"Content-Length: {len(data)}", "Connection: close")
    connection.sendall(data)
    assert status(connection) == 201


def the_object(server: Listening) -> str:
    (component,) = server.platform.versions.get_version(server.platform.actor(), sales_of(server))[1]
    return str(make.object_path(server.platform, component.file_id))


def sales_of(server: Listening) -> DatasetRef:
    return server.platform.datasets.open(server.platform.actor(), "sales")


def damage(path: str, at: int) -> None:
    os.chmod(path, 0o644)
    with open(path, "r+b") as target:
        target.seek(at)
        byte = target.read(1)
        target.seek(at)
        target.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("path", [FILE, "/api/v1/datasets/sales/archive", "/api/v1/datasets/sales/archive?format=tar"])
@pytest.mark.parametrize(("size", "at"), [(100, 50), (3 * BLOCK + 5, 0), (3 * BLOCK + 5, 3 * BLOCK + 4)])
def test_damage_breaks_the_answer_off(path: str, size: int, at: int, server: Listening, sales: DatasetRef) -> None:
    put(server, os.urandom(size))
    damage(the_object(server), at)
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=make.PATIENCE)) as client:
        client.request("GET", path, headers={"Authorization": f"Bearer {server.token}"})
        with closing(client.getresponse()) as response, pytest.raises(http.client.IncompleteRead):
            response.read()
    assert make.column(server.platform.db, "SELECT count(*) FROM files WHERE state = 'damaged'") == [1]


def test_a_lost_object_is_told_before_the_answer_begins(server: Listening, sales: DatasetRef) -> None:
    put(server, b"some")
    os.unlink(the_object(server))
    assert answer(server.begin("GET", FILE, "Connection: close")).startswith(b"HTTP/1.1 503 ")


def test_a_client_that_goes_away_lets_the_file_go(server: Listening, sales: DatasetRef) -> None:
    """Who reads nothing more is noticed, and what was open is closed."""
    put(server, os.urandom(64 * BLOCK))
    connection = server.begin("GET", FILE)
    assert connection.recv(1000)
    assert open_objects()
    connection.close()
    wait, left = threading.Event(), make.PATIENCE * 20
    while open_objects() and (left := left - 1):
        wait.wait(0.05)
    assert not open_objects()


def open_objects() -> list[str]:
    return [name for name in open_files() if "/objects/" in name]


def open_files() -> list[str]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("path", [FILE, "/api/v1/datasets/sales/archive?format=tar"])
def test_head_is_what_get_says_without_the_bytes(path: str, server: Listening, sales: DatasetRef) -> None:
    data = os.urandom(BLOCK + 1)
    put(server, data)
    heads = {}
    for method in ("GET", "HEAD"):
        head, _, body = answer(server.begin(method, path, "Connection: close")).partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"date:", b"x-request-id:", b"transfer-encoding:"))]
        heads[method] = sorted(lines)
        assert b"HTTP/1.1 200" in head
        assert bool(body) is (method == "GET")
    assert heads["GET"] == heads["HEAD"]
    assert hashlib.sha256(data).hexdigest().encode() in b"".join(heads["HEAD"]) or "archive" in path
