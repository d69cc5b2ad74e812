"""Processes that are made to be killed: a warm parent, which has imported everything and opened nothing, forks one for each job.

`python -m dsplatform_tests.journeys.crew` reads one order per line and answers each with one line. A job is a function
`work(platform, seed, ledger)`, named `module:function`; a process that is killed costs a fork and a connection, not a second of imports.
"""

import ctypes
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3  # noqa: F401 - imported by the platform when it is needed, and here before anything is forked

from dsplatform.bootstrap import bootstrap
from dsplatform.core import failpoints
from dsplatform.core.settings import Settings

DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
FAILED = 1


class Ledger:
    """What was acknowledged, one line each, written after the acknowledgement. Outlives its writer, whatever kills it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)

    def write(self, what: str, **facts: object) -> None:
        os.write(self._file, b"\n" + json.dumps({"what": what, **facts}).encode() + b"\n")


def entries(path: Path) -> list[dict[str, Any]]:
    """What a ledger holds. A line that a kill has torn was never written."""
    whole = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        with suppress(ValueError):
            whole.append(json.loads(line))
    return whole


@dataclass(frozen=True)
class Crew:
    """The warm parent, as the test sees it."""

    parent: "subprocess.Popen[str]"
    _ledgers: dict[int, Path] = field(default_factory=dict)

    def start(self, job: str, home: Path, url: str, ledger: Path, *, seed: int = 0, point: str = "", storage: str = "") -> int:
        """Lets a child do the job, with that failpoint set; its process id."""
        bucket = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        pid = int(
            self._ask(job=job, home=str(home), url=url, ledger=str(ledger), seed=seed, point=point, storage=storage, environment=bucket)
        )
        self._ledgers[pid] = ledger
        return pid

    def ended(self, pid: int, *, wait: bool = True) -> int | None:
        """How the child ended: 0, or minus the signal. None: it has not. Raises AssertionError with its traceback when it failed."""
        code: int | None = self._ask(reap=pid, wait=wait)
        if code == FAILED:
            raise AssertionError(_report(self._ledgers[pid], pid).read_text())
        return code

    def _ask(self, **order: object) -> Any:
        if self.parent.stdin is None or self.parent.stdout is None:
            raise AssertionError("the crew is made with pipes")
        self.parent.stdin.write(json.dumps(order) + "\n")
        self.parent.stdin.flush()
        return json.loads(self.parent.stdout.readline())


@contextmanager
def hired() -> Iterator[Crew]:
    """A crew; whoever of it is left goes with it."""
    with subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        try:
            yield Crew(parent)
        finally:
            parent.kill()


# --- in the crew's own process -------------------------------------------------------------------------------------------------


def _serve() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(_reap(**order) if "reap" in order else _fork(order)), flush=True)


def _reap(reap: int, *, wait: bool) -> int | None:
    pid, status = os.waitpid(reap, 0 if wait else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if pid else None


def _report(ledger: Path, pid: int) -> Path:
    """Where a child that fails says why."""
    return ledger.with_name(f"{ledger.name}.{pid}")


def _fork(order: dict[str, Any]) -> int:
    module, _, name = order["job"].partition(":")
    work = getattr(importlib.import_module(module), name)
    if len(os.listdir("/proc/self/task")) > 1:
        raise AssertionError("a process with threads must not be forked")
    child = os.fork()
    if child:
        return child
    status = FAILED
    try:
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(2, 1)
        os.environ.update(order["environment"])
        random.seed()
        env = {"DSPLATFORM_HOME": order["home"], "DSPLATFORM_SETTLE_SECONDS": "0", "DSPLATFORM_GC_GRACE_DAYS": "0"}
        settings = Settings.from_env({**env, "DSPLATFORM_STORAGE_URL": order["storage"]})
        with bootstrap(settings, order["url"]) as platform:
            failpoints.arm(order["point"])
            work(platform, order["seed"], Ledger(Path(order["ledger"])))
        status = 0
    except BaseException:  # noqa: BLE001 - the child is told apart from its parent here, and ends below
        _report(Path(order["ledger"]), os.getpid()).write_text(traceback.format_exc())
    finally:
        os._exit(status)


if __name__ == "__main__":
    _serve()
