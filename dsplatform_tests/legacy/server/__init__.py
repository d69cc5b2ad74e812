"""A small server that answers as the legacy system of generation G1b did (sections 2 and 3 of its specification), its errors included."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import uvicorn
from fastapi.testclient import TestClient

from dsplatform_tests.legacy.server.app import create
from dsplatform_tests.legacy.server.old import SECRET

__all__ = ["running", "SECRET"]


@contextmanager
def running(url: str, folder: Path, *, secret: str = SECRET) -> Iterator[str]:
    """The server on a stand-in's database and files; gives its address, `http://127.0.0.1:PORT`. It signs tokens with `secret`."""
    listening = socket.create_server(("127.0.0.1", 0))
    app = create(url, folder, secret)
    TestClient(app).get("/")  # its routes are made at the first request, which must not meet another application's in another thread
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=5))
    thread = Thread(target=lambda: asyncio.run(server.serve([listening])))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
        app.state.old.close()
