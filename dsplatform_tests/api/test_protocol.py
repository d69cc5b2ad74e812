"""What clients may do to a connection, asked of the real process: T51, T52, and an end that lets uploads finish."""

import contextlib
import hashlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.roles import ROLE
from dsplatform.core.settings import Settings
from dsplatform.local import EmbeddedPostgres
from dsplatform_tests.api.served import PATIENCE, Served, served
from dsplatform_tests.conftest import _database

SHORT = {"header_seconds": 1, "body_seconds": 1, "answer_seconds": 1, "shutdown_seconds": 30, "rate_limit": 0}


@pytest.fixture(scope="module")
def api(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The process with little patience."""
    with _database(server, "template") as name, served(server.url(name, user=ROLE), tmp_path_factory.mktemp("api"), SHORT) as running:
        yield running


@pytest.fixture
def connection(api: Served) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", api.port), timeout=PATIENCE) as opened:
        yield opened


def everything(connection: socket.socket) -> bytes:
    """What comes until the server closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            received += chunk
    return received


def drip(connection: socket.socket, data: bytes, seconds: float = 0.1) -> None:
    """Sends bytes one by one until the server has had enough."""
    with contextlib.suppress(OSError):
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(seconds)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


# --- clients that take their time -----------------------------------------------------------------------------------


def test_headers_that_do_not_come_are_answered_with_408(connection: socket.socket) -> None:
    connection.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n")
    answer = everything(connection)
    assert status(answer) == 408
    assert b'"code":"request_timeout"' in answer


def test_headers_that_drip_have_no_more_time(connection: socket.socket) -> None:
    threading.Thread(target=drip, args=(connection, b"GET /version HTTP/1.1\r\nX: " + b"y" * 600), daemon=True).start()
    assert status(everything(connection)) == 408


def test_a_connection_on_which_nothing_comes_is_closed(connection: socket.socket) -> None:
    assert status(everything(connection)) == 408


def test_line_ends_between_requests_are_no_sign_of_life(connection: socket.socket) -> None:
    connection.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200 OK" in connection.recv(65536)
    threading.Thread(target=drip, args=(connection, b"\r\n" * 300), daemon=True).start()
    assert status(everything(connection)) == 408


def test_a_body_that_drips_is_cut_off(api: Served, connection: socket.socket) -> None:
    connection.sendall(b"PUT /probe/read HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
    threading.Thread(target=drip, args=(connection, bytes(600)), daemon=True).start()
    assert everything(connection) == b""
    assert b"a body comes too slowly" in api.log.read_bytes()


def test_a_body_that_was_quick_at_first_is_cut_off_when_it_drips(connection: socket.socket) -> None:
    connection.sendall(b"PUT /probe/read HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + bytes(1_000_000))
    threading.Thread(target=drip, args=(connection, bytes(600)), daemon=True).start()
    assert everything(connection) == b""


def test_a_steady_body_may_take_longer_than_any_of_the_times(connection: socket.socket) -> None:
    connection.sendall(b"PUT /probe/read HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 40000\r\n\r\n")
    for _ in range(10):
        connection.sendall(bytes(4000))
        time.sleep(0.4)
    answer = everything(connection)
    assert status(answer) == 200
    assert answer.endswith(b"40000")


def test_a_client_that_we_keep_waiting_is_not_slow(connection: socket.socket) -> None:
    connection.sendall(
        b"PUT /probe/read?between=4 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000)
    )
    answer = everything(connection)
    assert status(answer) == 200
    assert answer.endswith(b"1000000")


def test_a_client_that_waits_for_our_word_is_not_slow(connection: socket.socket) -> None:
    connection.sendall(
        b"PUT /probe/read?before=4 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    )
    assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
    connection.sendall(b"hello")
    assert everything(connection).endswith(b"5")


def test_a_body_that_goes_on_after_its_answer_is_cut_off(connection: socket.socket) -> None:
    connection.sendall(b"PUT /probe/ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + bytes(1000))
    assert b"200 OK" in connection.recv(65536)
    threading.Thread(target=drip, args=(connection, bytes(1000)), daemon=True).start()
    everything(connection)  # ends at all


def test_an_answer_that_is_not_read_is_cut_off(api: Served) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE)
        connection.connect(("127.0.0.1", api.port))
        connection.sendall(b"GET /probe/write?size=1000 HTTP/1.1\r\nHost: x\r\n\r\n")
        deadline = time.monotonic() + PATIENCE
        while b"the answer is not read" not in api.log.read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_an_answer_that_is_read_in_bits_is_not_cut_off(api: Served, connection: socket.socket) -> None:
    connection.sendall(b"GET /probe/write?size=400 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    received = 0
    for _ in range(25):
        time.sleep(0.2)
        received += len(connection.recv(500_000))
    received += len(everything(connection))
    assert received > 400 * 65536


# --- requests that are none (T52) -----------------------------------------------------------------------------------

CHUNKED = b"PUT /probe/read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
NONSENSE = {
    "nothing like it": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a header without an end": b"GET /version HTTP/1.1\r\nX: " + b"y" * 10_000_000,
    "a large header": b"GET /version HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    "a hundred thousand headers": b"GET /version HTTP/1.1\r\n" + b"a:b\r\n" * 100_000 + b"\r\n",
    "a header too many": b"GET /version HTTP/1.1\r\n" + b"a:b\r\n" * 101 + b"\r\n",
    "a long address": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "an address in other letters": "GET /ä HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "a negative length": b"PUT /probe/read HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "no number as length": b"PUT /probe/read HTTP/1.1\r\nContent-Length: ten\r\n\r\n",
    "an enormous length": b"PUT /probe/read HTTP/1.1\r\nContent-Length: 99999999999999999999999999\r\n\r\n",
    "two lengths": b"PUT /probe/read HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "a length and chunks": b"PUT /probe/read HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk of no size": CHUNKED + b"zz\r\nhello\r\n",
    "a chunk of a negative size": CHUNKED + b"-5\r\nhello\r\n",
    "a chunk of an enormous size": CHUNKED + b"ffffffffffffffffff\r\nhello\r\n",
    "a chunk without its end": CHUNKED + b"5\r\nhelloworld\r\n0\r\n\r\n",
    "extensions without an end": CHUNKED + b"5;" + b"x" * 1_000_000,
    "trailers without an end": CHUNKED + b"5\r\nhello\r\n0\r\n" + b"a:" + b"b" * 10_000_000,
    "a hundred thousand trailers": CHUNKED + b"5\r\nhello\r\n0\r\n" + b"a:b\r\n" * 100_000,
    "a thousand requests at once": b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n" * 1000,
    "spaces before the colon": b"GET /version HTTP/1.1\r\nHost : x\r\n\r\n",
    "a folded header": b"GET /version HTTP/1.1\r\nHost: x\r\n y\r\n\r\n",
}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a header without an end", "headers_too_large"),
        ("extensions without an end", "malformed_request"),
        ("trailers without an end", "malformed_request"),
    ],
)
def test_what_has_no_end_is_refused_at_once_and_not_when_its_time_is_over(
    name: str, reason: str, api: Served, connection: socket.socket
) -> None:
    said = f"cut off: {reason}".encode()
    before = api.log.read_bytes().count(said)
    with contextlib.suppress(OSError):
        connection.sendall(NONSENSE[name])
    everything(connection)
    assert api.log.read_bytes().count(said) == before + 1


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_refused_and_harms_nobody(name: str, api: Served, connection: socket.socket) -> None:
    before = api.memory()
    with contextlib.suppress(OSError):
        connection.sendall(NONSENSE[name])
    answer = everything(connection)
    assert all(400 <= code < 500 or code == 200 for code in _statuses(answer)), answer[:500]
    assert name == "a thousand requests at once" or 200 not in _statuses(answer), answer[:500]
    assert api.ask("GET", "/health/live")[0] == 200
    assert api.memory() - before < 30_000_000


def _statuses(answers: bytes) -> list[int]:
    return [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]


def test_what_is_refused_is_told_as_a_problem(connection: socket.socket) -> None:
    connection.sendall(NONSENSE["a large header"])
    answer = everything(connection)
    assert b"content-type: application/problem+json" in answer
    assert b'"code":"headers_too_large"' in answer


def test_more_body_than_its_length_costs_the_connection_and_not_the_answer(connection: socket.socket) -> None:
    connection.sendall(b"PUT /probe/read?before=0.5 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello and more")
    answer = everything(connection)
    assert _statuses(answer) == [200]
    assert answer.endswith(b"5")


def test_less_body_than_its_length_is_cut_off(connection: socket.socket) -> None:
    connection.sendall(b"PUT /probe/read HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nhello")
    connection.shutdown(socket.SHUT_WR)
    assert everything(connection) == b""


def test_an_offer_to_speak_another_protocol_is_passed_over(connection: socket.socket) -> None:
    connection.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert b"200 OK" in connection.recv(65536)


def test_requests_may_be_sent_ahead_of_their_answers(connection: socket.socket) -> None:
    connection.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n" * 4 + b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert _statuses(everything(connection)) == [200] * 5


PARTS = st.sampled_from(
    [
        b"GET ",
        b"PUT ",
        b"/version",
        b"/probe/read",
        b" HTTP/1.1",
        b"\r\n",
        b"\n",
        b"Host: x\r\n",
        b"Content-Length: 5\r\n",
        b":",
        b" ",
        b"\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 99\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"Connection: close\r\n",
        b"Expect: 100-continue\r\n",
        b"hello",
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PARTS | st.binary(max_size=20), max_size=12).map(b"".join))
def test_whatever_comes_nothing_of_ours_fails(api: Served, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", api.port), timeout=PATIENCE) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        assert not [code for code in _statuses(everything(connection)) if code >= 500]
    assert b'"level": "ERROR"' not in api.log.read_bytes()


# --- the end --------------------------------------------------------------------------------------------------------


def test_what_is_under_way_at_the_end_is_finished(database_url: str, tmp_path: Path) -> None:
    with (
        served(database_url, tmp_path, SHORT | {"body_seconds": 20}) as api,
        socket.create_connection(("127.0.0.1", api.port), timeout=PATIENCE) as busy,
        socket.create_connection(("127.0.0.1", api.port), timeout=PATIENCE) as idle,
    ):
        busy.sendall(b"PUT /probe/read HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello")
        idle.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        answered = b""
        while not answered.endswith(b"}"):
            answered += idle.recv(65536)
        os.kill(api.process.pid, signal.SIGTERM)
        assert everything(idle) == b""
        with pytest.raises(OSError):
            while True:
                socket.create_connection(("127.0.0.1", api.port), timeout=PATIENCE).close()
                time.sleep(0.05)
        busy.sendall(b"world")
        answer = everything(busy)
        assert status(answer) == 200
        assert answer.endswith(b"10")
        assert api.process.wait(PATIENCE) in {0, -signal.SIGTERM}


@pytest.fixture
def ada(database_url: str, tmp_path: Path) -> Iterator[tuple[Platform, str]]:
    """The platform beside the process, and a token."""
    with bootstrap(Settings.from_env({"DSPLATFORM_HOME": str(tmp_path)}), database_url) as platform:
        yield platform, platform.accounts.create_token(platform.permissions.create_user("ada"), "tests").secret


def test_an_upload_under_way_at_the_end_becomes_a_version(database_url: str, tmp_path: Path, ada: tuple[Platform, str]) -> None:
    platform, token = ada
    content = b"id\n" + b"1\n" * 2_000_000
    with (
        served(database_url, tmp_path, {"shutdown_seconds": 60}, probes=False) as api,
        socket.create_connection(("127.0.0.1", api.port), timeout=PATIENCE) as busy,
    ):
        head = f"PUT /api/v1/datasets/sales/files/a.csv?create=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        busy.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(content) + content[:3_000_000])
        while not list(Path(platform.settings.storage_url).glob("tmp/*")):
            time.sleep(0.05)
        os.kill(api.process.pid, signal.SIGTERM)
        while b"Shutting down" not in api.log.read_bytes():
            time.sleep(0.05)
        busy.sendall(content[3_000_000:])
        assert status(everything(busy)) == 201
        api.process.wait(PATIENCE)
        assert token.encode() not in api.log.read_bytes()
    version, (component,) = platform.versions.get_version(platform.system(), platform.datasets.open(platform.system(), "sales"))
    assert (version.number, component.content_hash) == (1, hashlib.sha256(content).hexdigest())


def test_an_upload_that_is_cut_off_becomes_nothing(database_url: str, tmp_path: Path, ada: tuple[Platform, str]) -> None:
    platform, token = ada
    with (
        served(database_url, tmp_path, {"body_seconds": 1}, probes=False) as api,
        socket.create_connection(("127.0.0.1", api.port), timeout=PATIENCE) as connection,
    ):
        head = f"PUT /api/v1/datasets/sales/files/a.csv?create=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        connection.sendall(head.encode() + b"Content-Length: 1000000\r\n\r\n" + bytes(300_000))
        assert everything(connection) == b""
        while b'"method": "PUT"' not in api.log.read_bytes():
            time.sleep(0.05)
        assert b"a body comes too slowly" in api.log.read_bytes()
        assert b'"level": "ERROR"' not in api.log.read_bytes()
    assert platform.inventory.figures().files == 0


def test_the_end_does_not_wait_for_ever(database_url: str, tmp_path: Path) -> None:
    patient = SHORT | {"body_seconds": 600, "shutdown_seconds": 1}
    with served(database_url, tmp_path, patient) as api, socket.create_connection(("127.0.0.1", api.port), timeout=PATIENCE) as busy:
        busy.sendall(b"PUT /probe/read HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello")
        time.sleep(0.3)
        os.kill(api.process.pid, signal.SIGTERM)
        assert api.process.wait(PATIENCE) in {0, -signal.SIGTERM}
