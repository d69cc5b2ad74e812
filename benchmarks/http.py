"""Over HTTP, against the process that `dsplatform up` starts: large uploads and downloads, and many small questions."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import median, quantiles

import psutil

from benchmarks import access
from benchmarks.measure import MIB, spread, sync
from benchmarks.setting import home, table
from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.settings import Settings
from dsplatform.supervisor import answers, free_port

SIZE = int(os.environ.get("BENCH_HTTP_MIB", "1024")) * MIB
AT_ONCE = 8
RATE = 200
SECONDS = 15
CLIENTS = 16


def http_upload(scratch: Path, rounds: int) -> str:
    """One large file, and eight at once, beside a route that only writes the body to disk."""
    source = scratch / "body"
    _noise(source)
    written, durable, ours, ratios = [], [], [], []
    with _limits(scratch / "limits") as limit, api(scratch) as (port, token, process, _):
        for number in range(rounds):
            sync()
            written.append(_put(limit, "/body", source, {}))
            sync()
            durable.append(_put(limit, "/body?sync", source, {}))
            sync()
            with source.open("r+b") as changed:  # other bytes each time, or nothing would be written
                changed.write(os.urandom(1024))
            ours.append(_put(port, f"/api/v1/datasets/d/files/{number}?create=true", source, token))
            ratios.append(durable[-1] / ours[-1])
        sync()
        peak = _together(process, lambda number: _put(port, f"/api/v1/datasets/d/files/at-once-{number}", source, token))
    source.unlink()
    return table(
        f"Upload of {SIZE // MIB:,} MiB over HTTP, and {AT_ONCE} of them at once",
        ["route that writes, s", "and makes durable, s", "upload, s", "speed against the durable route", "memory with 8 at once, MiB"],
        [(spread(written), spread(durable), spread(ours), spread(ratios), f"{peak:.0f}")],
        "Bar: speed ≥ 0.6 of the route; memory ≤ 300 MiB. An upload is durable when it is answered.",
    )


def http_download(scratch: Path, rounds: int) -> str:
    """One large file, beside a static file of the framework."""
    folder = scratch / "limits"
    folder.mkdir(exist_ok=True)
    source = folder / "body"
    _noise(source)
    theirs, ours, ratios = [], [], []
    with _limits(folder) as limit, api(scratch) as (port, token, process, _):
        _put(port, "/api/v1/datasets/d/files/body?create=true", source, token)
        for _ in range(rounds):
            theirs.append(_get(limit, "/body", {}))
            ours.append(_get(port, "/api/v1/datasets/d/files/body", token))
            ratios.append(theirs[-1] / ours[-1])
        peak = _together(process, lambda _number: _get(port, "/api/v1/datasets/d/files/body", token))
    source.unlink()
    return table(
        f"Download of {SIZE // MIB:,} MiB over HTTP, and {AT_ONCE} of them at once",
        ["static file, s", "download, s", "speed against it", "memory with 8 at once, MiB"],
        [(spread(theirs), spread(ours), spread(ratios), f"{peak:.0f}")],
        "Bar: speed ≥ 0.6 of the static file. Every byte of a download is hashed on its way.",
    )


def http_get(scratch: Path, rounds: int) -> str:
    """One dataset, asked for at a steady rate whatever the answers take."""
    rows = []
    with api(scratch) as (port, token, _, platform):
        dataset = platform.datasets.create_dataset(platform.actor(), "sales")
        for _ in range(rounds):
            times = _steadily(port, f"/api/v1/datasets/{dataset.id}", token)
            rows.append((RATE, len(times), f"{median(times):.1f}", f"{quantiles(times, n=100)[98]:.1f}", f"{max(times):.1f}"))
    return table(
        "GET /api/v1/datasets/{id}, open loop, ms from when it was due",
        ["requests/s", "answers", "p50", "p99", "longest"],
        rows,
        "Bar: p50 ≤ 5, p99 ≤ 30.",
    )


def http_list(scratch: Path, rounds: int) -> str:
    """The first page of 100 among 100,000 datasets, for a user with 1,000 grants."""
    with api(scratch) as (port, _, _, platform):
        few = platform.permissions.create_user("few", "viewer")
        access.fill(platform, platform.actor(), few)
        token = credential(platform.accounts.create_token(few, "benchmark").secret)
        connection = HTTPConnection("127.0.0.1", port)
        times = [_asked(connection, "/api/v1/datasets?limit=100", token) * 1000 for _ in range(100 * rounds)]
    return table(
        f"GET /api/v1/datasets?limit=100 among {access.DATASETS:,}, with {access.GRANTS:,} grants, ms",
        ["requests", "p50", "p99"],
        [(len(times), f"{median(times):.1f}", f"{quantiles(times, n=100)[98]:.1f}")],
        "Bar: p50 ≤ 15.",
    )


def _noise(path: Path) -> None:
    with path.open("wb") as target:
        for _ in range(SIZE // MIB):
            target.write(os.urandom(MIB))


# --- processes -------------------------------------------------------------------------------------------------------------------


@contextmanager
def api(scratch: Path) -> Iterator[tuple[int, dict[str, str], psutil.Process, Platform]]:
    """The API's own process: (port, headers of an admin, process, the same platform here)."""
    with home(scratch) as (env, url), bootstrap(Settings.from_env(env), url) as platform:
        token = platform.accounts.create_token(platform.actor(), "benchmark").secret
        port = free_port()
        env = {**env, "DSPLATFORM_DATABASE_URL": url, "DSPLATFORM_RATE_LIMIT": "0", "DSPLATFORM_LOG_LEVEL": "error"}
        with _running([sys.executable, "-m", "dsplatform.api", "--port", str(port)], env, port, "/health/ready") as process:
            yield port, credential(token), process, platform


@contextmanager
def _limits(folder: Path) -> Iterator[int]:
    folder.mkdir(exist_ok=True)
    port = free_port()
    with _running([sys.executable, "-m", "benchmarks.http_limits", str(folder), str(port)], {}, port, None):
        yield port


@contextmanager
def _running(command: list[str], env: Mapping[str, str], port: int, path: str | None) -> Iterator[psutil.Process]:
    with subprocess.Popen(command, env={**os.environ, **env}) as process:
        try:
            while not (answers(port, path) if path else answers(port)):
                if process.poll() is not None:
                    raise subprocess.CalledProcessError(process.returncode, command)
                time.sleep(0.1)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


def credential(token: str) -> dict[str, str]:
    """The header that says who asks."""
    return {"Authorization": f"Bearer {token}"}


# --- requests --------------------------------------------------------------------------------------------------------------------


def _put(port: int, path: str, source: Path, headers: Mapping[str, str]) -> float:
    """Seconds to send a file, by the system's own copying, and to hear that it was taken."""
    head = [f"PUT {path} HTTP/1.1", "Host: x", f"Content-Length: {source.stat().st_size}", "Connection: close"]
    head += [f"{name}: {value}" for name, value in headers.items()]
    with socket.create_connection(("127.0.0.1", port)) as connection, source.open("rb") as body:
        started = time.perf_counter()
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        connection.sendfile(body)
        status = connection.recv(64)
        seconds = time.perf_counter() - started
    if b" 201 " not in status:
        raise AssertionError(status)
    return seconds


def _get(port: int, path: str, headers: Mapping[str, str]) -> float:
    """Seconds to receive a body, which is thrown away."""
    head = [f"GET {path} HTTP/1.1", "Host: x", "Connection: close", *(f"{name}: {value}" for name, value in headers.items())]
    buffer = bytearray(MIB)
    received = 0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        started = time.perf_counter()
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        while count := connection.recv_into(buffer):
            received += count
        seconds = time.perf_counter() - started
    if received < SIZE:
        raise AssertionError(f"{received} bytes came: {bytes(buffer[:300])!r}")
    return seconds


def _together(process: psutil.Process, work: Callable[[int], float]) -> float:
    """Runs the work eight times at once; answers with the peak of the process's memory, in MiB."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    peak = 0
    while any(thread.is_alive() for thread in threads):
        peak = max(peak, process.memory_info().rss)
        time.sleep(0.02)
    return peak / MIB


def _asked(connection: HTTPConnection, path: str, headers: Mapping[str, str]) -> float:
    started = time.perf_counter()
    connection.request("GET", path, headers=dict(headers))
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise AssertionError(answer.status)
    return time.perf_counter() - started


def _steadily(port: int, path: str, headers: Mapping[str, str]) -> list[float]:
    """Milliseconds from the moment that each request was due to its answer, waiting for a free client included."""
    times: list[float] = []
    start = time.perf_counter() + 0.5

    def client(first: int) -> None:
        connection = HTTPConnection("127.0.0.1", port)
        for number in range(first, RATE * SECONDS, CLIENTS):
            due = start + number / RATE
            time.sleep(max(0.0, due - time.perf_counter()))
            _asked(connection, path, headers)
            times.append((time.perf_counter() - due) * 1000)

    threads = [threading.Thread(target=client, args=(first,)) for first in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


ALL: dict[str, Callable[[Path, int], str]] = {
    "http-upload": http_upload,
    "http-download": http_download,
    "http-get": http_get,
    "http-list": http_list,
}
