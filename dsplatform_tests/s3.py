"""A real S3 server (SeaweedFS) for tests, and a proxy before it that fails as S3 does."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from struct import pack
from urllib.error import URLError
from urllib.request import urlopen

import boto3

BUCKET = "dsplatform-tests"
ACCESS_KEY, SECRET_KEY = "dsplatform-tests", "dsplatform-tests-secret"
READY_SECONDS = 60


@contextmanager
def running_server() -> Iterator[str]:
    """The endpoint of a server of our own, which has `BUCKET`; its data and its processes are gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="weed"))
    identity = {"name": "tests", "actions": ["Admin"], "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    names = (
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "s3.port",
        "s3.port.grpc",
    )
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    command = [
        str(Path(sys.executable).with_name("weed")),
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-s3",
        f"-s3.config={folder / 's3.json'}",
        f"-s3.localSocket={folder / 's3.sock'}",
        f"-filer.localSocket={folder / 'filer.sock'}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.volumeSizeLimitMB=256",
        "-volume.max=0",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder) as process:
        try:
            _wait_until_ready(endpoint, process, folder / "log")
            _make_bucket(endpoint)
            yield endpoint
        finally:
            process.kill()
    shutil.rmtree(folder)


def _wait_until_ready(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        with suppress(URLError, OSError), urlopen(f"{endpoint}/healthz", timeout=2):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the S3 server did not start: {log.read_text()[-3_000:]}")
        time.sleep(0.05)


def _make_bucket(endpoint: str) -> None:
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY
    )
    client.create_bucket(Bucket=BUCKET)
    client.close()


def free_ports(number: int) -> list[int]:
    """Ports that nobody uses now."""
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What the server answered, or what stands in for it."""

    status: int
    headers: dict[str, str]
    body: bytes


Forward = Callable[[], Answer]
Fault = Callable[["_Handler", Request, Forward], Answer | None]
"""Answers instead of the server (which it may ask first); None: it broke the connection off."""


def error(status: int, code: str) -> Answer:
    """As S3 writes an error."""
    body = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>made up by a test</Message></Error>".encode()
    return Answer(status, {"Content-Type": "application/xml"}, body)


@dataclass
class Proxy:
    """Passes requests on to a server, but for those that a plan lets fail."""

    upstream: str
    port: int = 0
    seen: list[Request] = field(default_factory=list)
    failed: int = 0
    _plan: list[tuple[Callable[[Request], bool], Fault]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    chaos: Callable[[Request], Fault | None] = lambda _request: None
    """Asked for every request that no plan lets fail."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fail(self, fault: Fault, *, times: int = 1, when: Callable[[Request], bool] = lambda _request: True) -> None:
        """Lets the next `times` requests fail for which `when` holds."""
        with self._lock:
            self._plan += [(when, fault)] * times

    def clear(self) -> None:
        with self._lock:
            self._plan.clear()
            self.seen.clear()
            self.failed = 0

    def fault_for(self, request: Request) -> Fault | None:
        with self._lock:
            self.seen.append(request)
            for number, (when, fault) in enumerate(self._plan):
                if when(request):
                    del self._plan[number]
                    self.failed += 1
                    return fault
            fault_or_none = self.chaos(request)
            self.failed += fault_or_none is not None
            return fault_or_none


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def handle_one_request(self) -> None:
        with suppress(OSError):
            super().handle_one_request()
            return
        self.close_connection = True

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        request = Request(self.command, self.path, dict(self.headers.items()), body)
        fault = self.proxy.fault_for(request)
        answer = fault(self, request, lambda: self._forward(request)) if fault else self._forward(request)
        if answer is None:
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                self.send_header(name, value)
        length = answer.headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(answer.body))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(answer.body if self.command != "HEAD" else b"")

    def _forward(self, request: Request) -> Answer:
        connection = HTTPConnection(self.proxy.upstream.removeprefix("http://"), timeout=60)
        try:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in {"expect", "connection"}}
            connection.request(request.method, request.path, request.body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.headers.items()), answer.read())
        except HTTPException as err:
            raise OSError(str(err)) from err
        finally:
            connection.close()

    def log_message(self, *_arguments: object) -> None: ...

    def break_off(self) -> None:
        """Ends the connection with a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        self.connection.close()


for _method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
    setattr(_Handler, f"do_{_method}", _Handler._pass_on)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_arguments: object) -> None: ...


@contextmanager
def running_proxy(upstream: str) -> Iterator[Proxy]:
    """A proxy on a port of its own."""
    proxy = Proxy(upstream)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    with _Server(("127.0.0.1", 0), handler) as server:
        proxy.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()


# --- faults --------------------------------------------------------------------------------------------------------------------


def answering(answer: Answer, *, after: bool = False) -> Fault:
    """That answer; with `after` the action takes effect before."""

    def fault(_handler: _Handler, _request: Request, forward: Forward) -> Answer:
        if after:
            forward()
        return answer

    return fault


def reset(*, after: bool = False) -> Fault:
    """A connection that is reset."""

    def fault(handler: _Handler, _request: Request, forward: Forward) -> None:
        if after:
            forward()
        handler.break_off()

    return fault


def stall(seconds: float, *, after: bool = False) -> Fault:
    """Silence, then the end of the connection."""

    def fault(handler: _Handler, _request: Request, forward: Forward) -> None:
        if after:
            forward()
        time.sleep(seconds)
        handler.break_off()

    return fault


def partial_body(handler: _Handler, request: Request, forward: Forward) -> None:
    """Half of the answer: of its body, or else of its first line."""
    answer = forward()
    if not answer.body:
        handler.wfile.write(f"HTTP/1.1 {answer.status // 10}".encode())
        handler.break_off()
        return
    handler.send_response_only(answer.status)
    for name, value in answer.headers.items():
        if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
            handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(answer.body)))
    handler.end_headers()
    handler.wfile.write(answer.body[: len(answer.body) // 2])
    handler.wfile.flush()


def environment() -> dict[str, str]:
    """What AWS's own tools read."""
    nothing = os.devnull
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_CONFIG_FILE": nothing,
        "AWS_SHARED_CREDENTIALS_FILE": nothing,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
