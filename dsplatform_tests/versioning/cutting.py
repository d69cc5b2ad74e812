"""A way to the database that ends at a chosen moment: a relay between two sockets."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote, unquote

READY = b"Z\x00\x00\x00\x05"
"""How the server says that an answer is complete."""


COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""The message that ends a transaction."""


class Where(StrEnum):
    BEFORE = "the message does not reach the server"
    AFTER = "the server answers, and nothing of it comes back"
    TORN = "the server answers, and a part of it comes back"
    AT_ONCE = "the message is on its way when the connection ends"


class Relay:
    """Relays every connection, until one is to be cut."""

    def __init__(self, folder: Path, server: Path) -> None:
        self._server = str(server)
        self._lock = threading.Lock()
        self._cut: tuple[Where, bytes, int] | None = None
        self.cuts = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / server.name))
        self._listener.listen()
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._accepting = self._start(self._accept)

    def cut(self, where: Where, message: bytes = b"", nth: int = 1) -> None:
        """Cuts the connection at the n-th message that holds the bytes."""
        with self._lock:
            self._cut = where, message, nth

    def spare(self) -> None:
        with self._lock:
            self._cut = None

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in list(self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _start(self, work: object, *args: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=args)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                self._start(self._relay, client, server)

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        self._open |= {client, server}
        with client, server, suppress(OSError):
            while True:
                ready, _, _ = select.select([client, server], [], [])
                if server in ready:
                    if not (answer := server.recv(1 << 20)):
                        break
                    client.sendall(answer)
                elif not (message := client.recv(1 << 20)):
                    break
                elif where := self._is_cut(message):
                    self._end(where, message, client, server)
                    break
                else:
                    server.sendall(message)
        self._open -= {client, server}

    def _end(self, where: Where, message: bytes, client: socket.socket, server: socket.socket) -> None:
        if where is Where.BEFORE:
            return
        server.sendall(message)
        if where is Where.AT_ONCE:
            return
        answer = b""
        while READY not in answer and (more := server.recv(1 << 20)):
            answer += more
        if where is Where.TORN:
            client.sendall(answer[:3])

    def _is_cut(self, message: bytes) -> Where | None:
        with self._lock:
            if self._cut is None or self._cut[1] not in message:
                return None
            where, wanted, nth = self._cut
            self._cut = (where, wanted, nth - 1) if nth > 1 else None
            self.cuts += nth == 1
            return where if nth == 1 else None


@contextmanager
def relayed(url: str) -> Iterator[tuple[Relay, str]]:
    """A relay, and the address that leads through it."""
    address, _, folder = url.partition("?host=")
    with TemporaryDirectory() as own:
        relay = Relay(Path(own), Path(unquote(folder)) / ".s.PGSQL.5432")
        try:
            yield relay, f"{address}?host={quote(own, safe='')}"
        finally:
            relay.close()
