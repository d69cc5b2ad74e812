"""Child processes that read foreign files: bounded in memory and time, replaced when one dies, so that no file takes us along.

A child is a plain `python -m dsplatform.schemas.sandbox`, not a fork and not multiprocessing: it imports nothing of the program that
called, and works the same from a Dagster run, a web server and a test. It is asked in JSON lines, a batch at a time, and answers each
file in turn; the first unanswered file is the one that killed it. It ends by itself when its parent is gone or has not asked for a
while. It knows no setting and no secret of ours.
"""

import atexit
import contextlib
import json
import logging
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from queue import LifoQueue
from typing import Any, TypeVar

import psutil

from dsplatform.core.domain import ValueObject
from dsplatform.schemas.contracts.judging import Answer, Question
from dsplatform.schemas.conversions.model import Conversion, Converted
from dsplatform.schemas.model import COMPRESSED_ENDINGS, NO_HINTS, FileCapture, Hints, hint_of
from dsplatform.schemas.previews.model import Look, Looked

logger = logging.getLogger(__name__)
A = TypeVar("A")

COMMAND = [sys.executable, "-P", "-m", "dsplatform.schemas.sandbox"]
MEMORY_BYTES = 1280 << 20
"""Address space of a child; the libraries alone map half of it. What a child holds in memory stays below 600 MB."""
RETIRE_RSS, RETIRE_ADDRESSES = 256 << 20, 900 << 20
IDLE_SECONDS = 60.0
LOOK_SECONDS = 60.0
BATCH = 32


@dataclass(frozen=True)
class Request(ValueObject):
    """A file to read, with the hints that `readers.extract` takes."""

    path: Path
    file_type: str
    name: str
    hints: Hints = NO_HINTS
    question: Question | None = None
    """What a contract asks of the rows."""
    look: Look | None = None
    """Which rows somebody wants to see."""
    conversion: Conversion | None = None
    """What is to become Parquet. Without it, a look and a question, the file is captured."""

    def seconds(self) -> float:
        """How long reading may take: a minute, and one more for each 512 MiB, of which a compressed file holds ten times its size; five
        times that where rows are compared or converted. Who looks at rows waits for them: she has `LOOK_SECONDS`."""
        if self.look is not None:
            return LOOK_SECONDS
        size = self.path.stat().st_size * (10 if hint_of(self.name).rpartition(".")[2] in COMPRESSED_ENDINGS else 1)
        return (60 if self.question is None and self.conversion is None else 300) * (1 + size / (512 << 20))

    def line(self) -> list[object]:
        """As a child is asked."""
        asked = self.question and self.question.plain()
        looked, converted = self.look and self.look.plain(), self.conversion and self.conversion.plain()
        return [str(self.path), self.file_type, self.name, self.hints.plain(), asked, looked, converted]


class ChildDied(Exception):
    """The child ended, or was ended, with files unanswered."""


class Sandbox:
    """Reads files in up to `children` processes, which start when first needed. Safe to share between threads."""

    def __init__(self, children: int = 2) -> None:
        self._children = [_Child() for _ in range(children)]
        self._free: LifoQueue[_Child] = LifoQueue()
        for child in self._children:
            self._free.put(child)

    def extract(self, requests: Sequence[Request]) -> list[FileCapture]:
        """One capture per request, in their order. Never raises for what a file does to its reader."""
        return self._each(requests, FileCapture.read, FileCapture.unreadable)

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """One answer per request, each of which has a question, in their order. Never raises for what a file does to its reader."""
        return self._each(requests, Answer.read, Answer)

    def look(self, request: Request) -> Looked:
        """What became of looking at the rows that the request names. Never raises for what a file does to its reader."""
        return self._each([request], Looked.read, Looked)[0]

    def convert(self, request: Request) -> Converted:
        """What became of the Parquet that the request asks for. Never raises for what a file does to its reader, who may have begun to
        write the target."""
        return self._each([request], Converted.read, Converted)[0]

    def _each(self, requests: Sequence[Request], read: Callable[[Mapping[str, Any]], A], died: Callable[[str], A]) -> list[A]:
        batches = [requests[start : start + BATCH] for start in range(0, len(requests), BATCH)]
        if len(batches) == 1:
            return self._batch(batches[0], read, died)
        with ThreadPoolExecutor(len(self._children)) as threads:
            return [one for found in threads.map(lambda batch: self._batch(batch, read, died), batches) for one in found]

    def _batch(self, requests: Sequence[Request], read: Callable[[Mapping[str, Any]], A], died: Callable[[str], A]) -> list[A]:
        found: list[A] = []
        child = self._free.get()
        try:
            while len(found) < len(requests):
                try:
                    for plain in child.ask(requests[len(found) :]):
                        found.append(read(plain))  # noqa: PERF401 - what came before a death is kept
                except ChildDied as err:
                    logger.warning("a reader died on %s: %s", requests[len(found)].name, err)
                    found.append(died(str(err)))
        finally:
            self._free.put(child)
        return found

    def close(self) -> None:
        """Ends the children; the next request starts new ones."""
        for child in self._children:
            child.end()


@cache
def shared() -> Sandbox:
    """The sandbox of this process."""
    sandbox = Sandbox()
    atexit.register(sandbox.close)
    return sandbox


class _Child:
    """One process at a time, used by one thread at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""

    def ask(self, requests: Sequence[Request]) -> Iterator[Mapping[str, Any]]:
        """The answers as they come, in their plain form. Raises `ChildDied` at the file that ends the child, and ends early if it had
        just retired."""
        limits = [request.seconds() for request in requests]
        process = self._running()
        question = [request.line() for request in requests]
        try:
            try:
                assert process.stdin
                process.stdin.write(json.dumps(question).encode() + b"\n")
                process.stdin.flush()
            except BrokenPipeError:
                self.end()
                return
            for limit in limits:
                line = self._line(process, limit)
                if line is None:
                    return
                yield json.loads(line)
        except BaseException:  # the thread that asked is going away or the child has failed: its next answers belong to nobody
            self.end()
            raise

    def end(self) -> None:
        """Kills the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process, self._buffer = None, b""

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.end()
            self._process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
            )
        return self._process

    def _line(self, process: subprocess.Popen[bytes], seconds: float) -> bytes | None:
        """The next answer; None when the child retired before the question reached it."""
        assert process.stdout
        deadline = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise ChildDied(f"reading took longer than {seconds:.0f} seconds")
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                code = process.wait()
                if code == 0:
                    self.end()
                    return None
                name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                raise ChildDied(f"the reader crashed on it ({name}), perhaps for want of memory")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line


def _environment() -> dict[str, str]:
    """What a child needs to start, and nothing that gives access to anything."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    # glibc's arenas keep what a big file needed. Of each column of a CSV block Arrow sets aside the whole block and gives most of it back:
    # with glibc or mimalloc that leaves holes, for 9,000 columns a gigabyte of addresses; jemalloc leaves none.
    frugal = {"ARROW_DEFAULT_MEMORY_POOL": "jemalloc", "MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1"}
    return {**kept, **frugal, "PYTHONPATH": os.pathsep.join(sys.path), "TZ": "UTC"}


def serve() -> None:
    """What a child does: answer batches until there is no parent or nothing to do."""
    with contextlib.suppress(ValueError, OSError):  # not every system limits address space
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it then closes our input
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a library that prints must not answer in our place
    from dsplatform.schemas.readers import extract  # slow to import: the parent need not

    this = psutil.Process()
    while select.select([sys.stdin], [], [], IDLE_SECONDS)[0]:
        question = sys.stdin.readline()
        if not question:
            break
        for path, file_type, name, hints, asked, looked, converted in json.loads(question):
            file = Path(path), file_type, name, Hints(**hints)
            found: FileCapture | Answer | Looked | Converted
            if asked is not None:
                found = _judge(*file, asked)
            elif looked is not None:
                found = _look(*file, looked)
            else:
                found = extract(*file) if converted is None else _convert(*file, converted)
            answers.write(json.dumps(found.plain()) + "\n")
            answers.flush()
            used = this.memory_info()
            if used.rss > RETIRE_RSS or used.vms > RETIRE_ADDRESSES:
                return  # what a big file leaves behind must not be missing for the next: a fresh child goes on


def _judge(path: Path, file_type: str, name: str, hints: Hints, asked: Mapping[str, Any]) -> Answer:
    from dsplatform.schemas.contracts.rowchecks import answer
    from dsplatform.schemas.readers import rows

    return answer(path, file_type, name, hints, Question.read(asked), rows)


def _look(path: Path, file_type: str, name: str, hints: Hints, asked: Mapping[str, Any]) -> Looked:
    from dsplatform.schemas.previews.reading import look
    from dsplatform.schemas.readers import Known, rows

    wanted = Look.read(asked)
    only = {*wanted.chosen, *(condition.column for condition in wanted.conditions)}
    known = Known(wanted.details, wanted.columns, only, wanted.start)
    return look(path, wanted, lambda: rows(path, file_type, name, hints, wanted.table, known))


def _convert(path: Path, file_type: str, name: str, hints: Hints, asked: Mapping[str, Any]) -> Converted:
    from dsplatform.schemas.conversions.writing import convert
    from dsplatform.schemas.readers import Known, rows

    wanted = Conversion.read(asked)
    known = Known(wanted.details, wanted.columns, {column.name for column in wanted.columns})
    return convert(path, wanted, lambda: rows(path, file_type, name, hints, wanted.table, known))


def _leave_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    serve()
