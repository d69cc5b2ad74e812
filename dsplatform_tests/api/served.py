"""The HTTP door as it is shipped: a process of its own. With some routes of the tests, which read and write as slowly as they are told."""

import contextlib
import http.client
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

PATIENCE = 60


class Served:
    """A running process, and how to ask it."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body) of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def memory(self) -> int:
        """Bytes of memory that the process holds."""
        return int(psutil.Process(self.process.pid).memory_info().rss)


@contextmanager
def served(database_url: str, home: Path, settings: Mapping[str, object], *, probes: bool = True) -> Iterator[Served]:
    """The API as a process, on a free port. `probes`: with the routes below; else exactly `python -m dsplatform.api`."""
    from dsplatform.supervisor import answers, free_port

    port = free_port()
    home.mkdir(parents=True, exist_ok=True)
    log = home / "api.log"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DSPLATFORM_", "COV_"))}
    env = {**kept, "DSPLATFORM_HOME": str(home), "DSPLATFORM_DATABASE_URL": database_url, "PYTHONUNBUFFERED": "1"}
    env |= {f"DSPLATFORM_{name.upper()}": str(value) for name, value in settings.items()}
    module = "dsplatform_tests.api.served" if probes else "dsplatform.api"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", module, "--port", str(port)], env=env, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + PATIENCE
        while not answers(port, "/health/ready"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield Served(process, port, log)
    finally:
        process.kill()
        process.wait()


def _main() -> None:
    import asyncio
    from unittest.mock import patch

    from fastapi import FastAPI, Request
    from fastapi.responses import StreamingResponse

    from dsplatform.api import app as made
    from dsplatform.api import server
    from dsplatform.core.settings import Settings

    def with_probes(settings: Settings | None = None) -> FastAPI:
        app = made.create_app(settings)

        @app.put("/probe/read")
        async def read(request: Request, before: float = 0, between: float = 0) -> int:
            await asyncio.sleep(before)
            size = 0
            async for chunk in request.stream():
                size += len(chunk)
                if between and chunk:
                    await asyncio.sleep(between)
                    between = 0
            return size

        @app.put("/probe/ignore")
        async def ignore() -> str:
            return "not read"

        @app.get("/probe/write")
        async def write(size: int = 0) -> StreamingResponse:
            async def chunks() -> AsyncIterator[bytes]:
                for _ in range(size):
                    await asyncio.sleep(0)  # as every route of ours does, which reads its bytes in another thread
                    yield bytes(65536)

            return StreamingResponse(chunks())

        @app.get("/probe/fail")
        async def fail() -> None:
            raise RuntimeError("unforeseen")

        probes = [route for route in app.router.routes if getattr(route, "path", "").startswith("/probe/")]
        app.router.routes[:] = [
            *probes,
            *(route for route in app.router.routes if route not in probes),
        ]  # found at once, as they cost no more
        return app

    with patch("dsplatform.api.server.create_app", with_probes):
        server.main()


if __name__ == "__main__":
    _main()
