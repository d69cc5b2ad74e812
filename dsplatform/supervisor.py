"""Keeps a handful of processes running: starts them, restarts what dies, gives up with the reason, stops all of them.

Each child has a session of its own, so the terminal's Ctrl-C reaches only us and we stop them in order. Whatever they
print goes to `HOME/logs/<name>.log`, and to `show` what a person should see. A guard ends them when we are killed.
"""

import contextlib
import http.client
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from dsplatform import guard
from dsplatform.core.errors import Conflict, Unavailable

logger = logging.getLogger(__name__)

PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Before a process starts again, after its first, second … death within a minute; after one more it is given up."""

WITHIN_SECONDS = 60.0
STOP_SECONDS = 10.0
LOG_BYTES = 10_000_000
_LEVEL = re.compile(r"\b(DEBUG|INFO|WARNING|ERROR|CRITICAL|FATAL)\b|^Traceback ")
_COLOR = re.compile(rb"\x1b\[[0-9;]*m")
_LOUD = {"WARNING", "ERROR", "CRITICAL", "FATAL", None}

Show = Callable[[str, str], None]
"""(name of the process, line)."""


class GaveUp(Unavailable):
    """A process cannot be kept running, or does not become ready."""

    code = "process_gave_up"


@dataclass(frozen=True)
class Service:
    """A process to keep running. `ready` asks it once; without, it is ready when it runs."""

    name: str
    command: Sequence[str]
    ready: Callable[[], bool] = lambda: True
    stop_seconds: float = 0
    """How long it may take to end by itself, if that is more than the usual 10 s."""


@dataclass
class _Child:
    service: Service
    process: "subprocess.Popen[bytes]"
    reader: threading.Thread
    is_ready: bool = False
    due: float | None = None
    """When to start it again; None: it runs."""
    deaths: deque[float] = field(default_factory=deque)
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=10))


class Supervisor:
    """The processes of one `with` block. Call `check` often: it notices who died, and raises `GaveUp`."""

    def __init__(self, logs: Path, env: Mapping[str, str], show: Show, *, verbose: bool = False) -> None:
        self._logs = logs
        self._env = dict(env)
        self._show = show
        self._verbose = verbose
        self._stopping = False
        self._children: dict[str, _Child] = {}
        self._groups: set[int] = set()

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, "processes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        with contextlib.suppress(OSError):
            self._guard.communicate(timeout=STOP_SECONDS)

    def start(self, *services: Service) -> None:
        """Starts them; `wait` says when they are ready."""
        for service in services:
            self._children[service.name] = child = _Child(service, *self._spawn(service))
            child.reader.start()

    def wait(self, seconds: float = 120, on_ready: Callable[[str], None] = lambda _: None) -> None:
        """Returns when every service is ready; raises `GaveUp` with the last lines of one that is not in time."""
        deadline = time.monotonic() + seconds
        while waiting := [child for child in self._children.values() if not child.is_ready]:
            self.check()
            for child in waiting:
                if child.due is None and child.service.ready():
                    child.is_ready = True
                    on_ready(child.service.name)
            if time.monotonic() > deadline:
                raise GaveUp(f"{waiting[0].service.name} is not ready after {seconds:g} s{self._last_words(waiting[0])}")
            time.sleep(0.05)

    def check(self) -> None:
        """Notices who died, and starts again who has waited: 1 s after the first death, then 2, 4, 8.

        Raises `GaveUp` after 5 deaths of one process within a minute.
        """
        now = time.monotonic()
        for group in {group for group in self._groups if not guard.group_lives(group)}:
            self._forget(group)
        for child in self._children.values():
            name = child.service.name
            if child.due is not None and now >= child.due:
                child.due = None
                child.process, child.reader = self._spawn(child.service)
                child.reader.start()
            elif child.due is None and child.process.poll() is not None:
                child.reader.join(timeout=1)
                child.deaths.append(now)
                while child.deaths[0] < now - WITHIN_SECONDS:
                    child.deaths.popleft()
                how = _how_it_ended(child.process.returncode)
                if len(child.deaths) > len(PAUSES):
                    raise GaveUp(f"{name} died {len(child.deaths)} times within a minute, at last {how}{self._last_words(child)}")
                pause = PAUSES[len(child.deaths) - 1]
                child.due = now + pause
                self._show(name, f"{how}; it starts again in {pause:g} s")

    # --- one process --------------------------------------------------------------------------------------------------

    def _spawn(self, service: Service) -> tuple["subprocess.Popen[bytes]", threading.Thread]:
        process = subprocess.Popen(
            service.command,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._groups.add(process.pid)
        self._tell_guard(f"+{process.pid}")
        reader = threading.Thread(target=self._read, args=(service.name, process), name=f"log of {service.name}", daemon=True)
        return process, reader

    def _read(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        child, is_loud = self._children[name], False
        log = _LogFile(self._logs / f"{name}.log")
        with log, process.stdout or contextlib.nullcontext(()) as output:
            for colored in output:
                raw = _COLOR.sub(b"", colored)
                log.write(raw)
                line = raw.decode(errors="replace").rstrip()
                child.tail.append(line)
                if found := _LEVEL.search(line):
                    is_loud = found[1] in _LOUD
                if (is_loud or self._verbose) and not self._stopping:
                    self._show(name, line)

    @staticmethod
    def _last_words(child: _Child) -> str:
        return "; its last lines:\n" + "\n".join(f"  {line}" for line in child.tail)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """SIGTERM to all, SIGKILL to who is left after its time or at a second Ctrl-C."""
        self._stopping = True
        self._signal(signal.SIGTERM)
        began = time.monotonic()
        with contextlib.suppress(KeyboardInterrupt):
            while self._running() and time.monotonic() < began + self._patience():
                time.sleep(0.05)
        self._signal(signal.SIGKILL)
        for child in self._children.values():
            child.process.wait()
            child.reader.join(timeout=1)
        for group in set(self._groups):
            self._forget(group)

    def _patience(self) -> float:
        """How long we wait for those of our own processes that still run."""
        return max([STOP_SECONDS, *(child.service.stop_seconds for child in self._children.values() if child.process.poll() is None)])

    def _running(self) -> bool:
        """Whether a process of ours or of their making is left, other than as an entry that its parent has to collect."""
        if any(child.process.poll() is None for child in self._children.values()):
            return True
        for process in psutil.process_iter(["status"]):
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(process.pid) in self._groups and process.info["status"] != psutil.STATUS_ZOMBIE:
                    return True
        return False

    def _signal(self, word: signal.Signals) -> None:
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, word)

    def _forget(self, group: int) -> None:
        self._groups.discard(group)
        self._tell_guard(f"-{group}")

    def _tell_guard(self, news: str) -> None:
        with contextlib.suppress(OSError):  # without its guard the platform still works
            if self._guard.stdin is not None:
                self._guard.stdin.write(f"{news}\n".encode())
                self._guard.stdin.flush()


class _LogFile:
    """A file that begins anew at 10 MB and keeps the one before. A full disk loses lines, never the reader."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open()

    def _open(self) -> None:
        self._file = None
        with contextlib.suppress(OSError):
            if self._path.exists() and self._path.stat().st_size > LOG_BYTES:
                self._path.replace(self._path.with_suffix(".log.1"))
            self._file = self._path.open("ab", buffering=0)

    def write(self, line: bytes) -> None:
        """Appends one line."""
        with contextlib.suppress(OSError):
            if self._file is not None:
                self._file.write(line)
                if self._file.tell() > LOG_BYTES:
                    self._file.close()
                    self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"


def free_port(preferred: int = 0) -> int:
    """`preferred` if nobody listens on it, else one that the system picks."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            return free_port() if preferred else preferred
        return int(probe.getsockname()[1])


def answers(port: int, path: str = "") -> bool:
    """Whether that port of this machine accepts connections or, with a path, answers it with 200."""
    try:
        if not path:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Refuses a second supervisor of the same home, with the process number of the first."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / "up.lock"
    lock = guard.try_lock(path)
    if lock is None:
        raise Conflict(f"dsplatform is already up in {home} (process {path.read_text().strip() or '?'}): use it, or stop it")
    try:
        path.write_text(f"{os.getpid()}\n")
        yield
    finally:
        os.close(lock)
