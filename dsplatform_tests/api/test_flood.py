"""2,000 clients that take their time, and the others that are served meanwhile."""

import asyncio
import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from dsplatform_tests.api.served import served

SECONDS = 6
SLOW = 2_000
FILES = 3 * SLOW


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """As many open files as the test needs, and the process that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES), max(hard, FILES)))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, max(hard, FILES)))


async def slow(port: int, first: bytes, drop: bytes, *, reads: bool) -> float:
    """Opens a connection, sends `first` and then one byte a second, until the server cuts it off; after how many seconds it did."""
    loop = asyncio.get_running_loop()
    connection = socket.socket()
    connection.setblocking(False)
    if not reads:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    began = time.monotonic()
    await loop.sock_connect(connection, ("127.0.0.1", port))
    with connection, contextlib.suppress(ConnectionError):
        await loop.sock_sendall(connection, first)
        while True:
            if reads:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        if not await loop.sock_recv(connection, 65536):
                            return time.monotonic() - began
            else:
                await asyncio.sleep(1)
                if not _is_open(connection):
                    return time.monotonic() - began
            if drop:
                await loop.sock_sendall(connection, drop)
    return time.monotonic() - began


def _is_open(connection: socket.socket) -> bool:
    """Whether the other side still holds the connection, without reading what it sent."""
    state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state == 1  # TCP_ESTABLISHED


HEADER = b"GET /version HTTP/1.1\r\nX-Slow: "
BODY = b"PUT /probe/read HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
ANSWER = b"GET /probe/write?size=200 HTTP/1.1\r\nHost: x\r\n\r\n"


def flood(port: int) -> list[float]:
    """All slow clients at once; after how many seconds each was cut off."""

    async def together() -> list[float]:
        third = SLOW // 3
        return await asyncio.gather(
            *(slow(port, HEADER, b"x", reads=True) for _ in range(third)),
            *(slow(port, BODY, b"x", reads=True) for _ in range(third)),
            *(slow(port, ANSWER, b"", reads=False) for _ in range(SLOW - 2 * third)),
        )

    return asyncio.run(together())


def test_2000_slow_clients_are_cut_off_and_the_others_served(database_url: str, tmp_path: Path) -> None:
    times = {"header_seconds": SECONDS, "body_seconds": SECONDS, "answer_seconds": SECONDS, "rate_limit": 0}
    with served(database_url, tmp_path, times) as api, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as elsewhere:
        before = api.memory()
        slow_ones = elsewhere.submit(flood, api.port)
        taken = []
        while not slow_ones.done():
            began = time.monotonic()
            assert api.ask("GET", "/health/ready")[0] == 200
            taken.append(time.monotonic() - began)
            time.sleep(0.1)
        cut = slow_ones.result()
        grown = api.memory() - before
        log = api.log.read_text()
    print(f"cut off after {min(cut):.1f} to {max(cut):.1f} s; {len(taken)} others in {max(taken):.2f} s at most; {grown / 1e6:.0f} MB more")
    assert len(cut) == SLOW
    assert min(cut) > SECONDS * 0.7  # nobody before its time
    assert len(taken) > 3  # had they waited for the slow ones to be gone, it were one
    assert grown < 300_000_000
    assert '"level": "ERROR"' not in log
    for reason in ("request_timeout", "a body comes too slowly", "the answer is not read"):
        assert log.count(reason) >= SLOW // 3, reason
