"""The shipped server in a thread of the test, which so reaches the platform behind it, and plain sockets to speak to it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from fastapi import FastAPI

from dsplatform.api.server import Server, server
from dsplatform.bootstrap import Platform
from dsplatform.core.settings import Settings
from dsplatform_tests.make import PATIENCE


@dataclass(frozen=True)
class Listening:
    """A server that answers."""

    port: int
    platform: Platform
    token: str

    def begin(self, method: str, path: str, *headers: str) -> socket.socket:
        """A connection on which the head of a request has been sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        lines = [f"{method} {path} HTTP/1.1", "Host: test", f"Authorization: Bearer {self.token}", *headers, "", ""]
        connection.sendall("\r\n".join(lines).encode())
        return connection


def answer(connection: socket.socket) -> bytes:
    """All that comes until the server closes; ask with `Connection: close`."""
    parts = []
    with connection, suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


@contextmanager
def listening(settings: Settings) -> Iterator[Listening]:
    """The server on a free port of loopback; the platform's built-in user has a token."""
    made: Server = server(settings, "127.0.0.1", 0)
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        while not made.started:
            if not thread.is_alive():
                raise AssertionError("the server did not start")
            thread.join(0.01)
        app = made.config.app
        assert isinstance(app, FastAPI)
        platform: Platform = app.state.platform
        port = made.servers[0].sockets[0].getsockname()[1]
        yield Listening(port, platform, platform.accounts.create_token(platform.actor(), "tests").secret)
    finally:
        made.should_exit = True
        thread.join(PATIENCE)
