"""Measuring: limits, child processes, and the machine."""

import contextlib
import hashlib
import os
import platform
import re
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Self

import psutil

MIB = 1024 * 1024


@dataclass(frozen=True)
class Run:
    """One process: seconds on the clock, seconds of CPU, peak of resident memory in MiB (of its children's where one has more)."""

    wall: float
    cpu: float
    rss: float


def run(command: Sequence[str], env: Mapping[str, str]) -> Run:
    """Runs a command to its end; raises when it fails."""
    started = time.perf_counter()
    with subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.DEVNULL) as process, _Peak(process.pid) as peak:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - started
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Run(wall, usage.ru_utime + usage.ru_stime, peak.kib / 1024)


class _Peak:
    """The high-water mark of a process and those it starts, read every 50 ms.

    What `wait4` tells is no use: it begins with the memory of the process that forked, so that a large benchmark makes each command large.
    """

    def __init__(self, pid: int) -> None:
        self.kib = 0
        self._process = psutil.Process(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            with contextlib.suppress(psutil.Error):
                for process in [self._process, *self._process.children(recursive=True)]:
                    with contextlib.suppress(OSError, TypeError):
                        status = Path(f"/proc/{process.pid}/status").read_text()
                        self.kib = max(self.kib, int(re.search(r"VmHWM:\s+(\d+)", status)[1]))  # type: ignore[index]  # a zombie has none


def hash_only(paths: Sequence[Path]) -> float:
    """Seconds to read and hash."""
    started = time.perf_counter()
    for path in paths:
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as source:
            while chunk := source.read(MIB):
                digest.update(chunk)
    return time.perf_counter() - started


def hash_copy_sync(path: Path, target: Path) -> float:
    """Seconds to hash and copy a file in one pass, and to fsync the copy, which is a new file each time."""
    target.unlink(missing_ok=True)
    started = time.perf_counter()
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as source, target.open("wb", buffering=0) as copy:
        while chunk := source.read(MIB):
            digest.update(chunk)
            copy.write(chunk)
        os.fsync(copy.fileno())
    return time.perf_counter() - started


def two_durable_files(folder: Path, number: int) -> float:
    """Seconds to write two tiny files and make them and their folder durable: what the store does for a version and its overlay."""
    started = time.perf_counter()
    for name in (f"{number}.a", f"{number}.b"):
        descriptor = os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        os.write(descriptor, name.encode())
        os.fsync(descriptor)
        os.close(descriptor)
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    return time.perf_counter() - started


def loose_files(paths: Sequence[Path], target: Path) -> float:
    """Seconds to hash each file and write those that are new, one object each in 256 folders, without a sync or a database."""
    target.mkdir()
    started = time.perf_counter()
    for path in paths:
        data = path.read_bytes()
        name = hashlib.sha256(data).hexdigest()
        folder = target / name[:2]
        folder.mkdir(exist_ok=True)
        if not (folder / name).exists():
            (folder / name).write_bytes(data)
    return time.perf_counter() - started


def sync() -> None:
    """Lets the disk come to rest, so that no measurement pays for the one before."""
    os.sync()
    time.sleep(1)


def spread(values: Sequence[float]) -> str:
    """Median, and the range behind it."""
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def machine() -> str:
    """What this ran on."""
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB of memory, {system}"
