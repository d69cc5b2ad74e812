"""Cleans up after processes that were killed and could not do it themselves: the embedded database, and `dsplatform up`.

Every user of the database holds a shared lock on `postgres.users`; the kernel gives it back when the user dies, however
it dies. Who gets the exclusive lock knows that nobody is left. All of that happens while `postgres.lock` is held, so a
stop never meets a start.

Runs as a file by itself, isolated, on the standard library alone: it stays beside what it guards, and must be small.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PAUSE_SECONDS = 1.0
TERM_SECONDS = 5.0


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock of that file, alone, for the block; waits for it as long as it takes."""
    handle = _open(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def try_lock(path: Path) -> int | None:
    """Takes the lock of that file until the answer, a descriptor, is closed; None when another has it."""
    handle = _open(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def join(users: Path) -> int:
    """Declares this process a user until the answer, a descriptor, is closed. Call it with `postgres.lock` held."""
    handle = _open(users)
    fcntl.flock(handle, fcntl.LOCK_SH)
    return handle


def anyone(users: Path) -> bool:
    """Whether somebody uses the server. Call it with `postgres.lock` held."""
    if (handle := try_lock(users)) is None:
        return True
    os.close(handle)
    return False


def run(command: Sequence[str], home: Path, account: tuple[int, int] | None) -> "subprocess.CompletedProcess[str]":
    """Runs a program of Postgres in `home`, as (uid, gid) `account` or as ourselves. Its output is one text."""
    uid, gid = account or (None, None)
    return subprocess.run(
        command,
        cwd=home,
        user=uid,
        group=gid,
        extra_groups=None if account is None else [],
        env={name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        start_new_session=True,  # a Ctrl-C is for us, not for the server
    )


def guard_database(home: Path, alone: int, stop: Sequence[str], account: tuple[int, int] | None) -> None:
    """Looks once a second until the server is gone, and stops it when nobody uses it. `alone`: the guards' lock."""
    with contextlib.suppress(OSError):  # the home folder was removed
        while True:
            time.sleep(PAUSE_SECONDS)
            with locked(home / "postgres.lock"):
                if (home / "postgres" / "postmaster.pid").exists() and not anyone(home / "postgres.users"):
                    run(stop, home, account)
                if not (home / "postgres" / "postmaster.pid").exists():
                    os.close(alone)  # before the other lock: who starts the next server finds the place free
                    return


def group_lives(group: int) -> bool:
    """Whether any process of that group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def guard_processes(news: Iterable[str]) -> None:
    """Reads `+GROUP` and `-GROUP`, one a line, until their writer dies; then ends the groups that it left."""
    groups: set[int] = set()
    for line in news:
        group = int(line[1:])
        groups = groups | {group} if line.startswith("+") else groups - {group}
    for word in (signal.SIGTERM, signal.SIGKILL):
        for group in groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, word)
        deadline = time.monotonic() + TERM_SECONDS
        while time.monotonic() < deadline and any(map(group_lives, groups)):
            time.sleep(0.05)


def main() -> None:
    """`guard.py processes < NEWS`, or `guard.py database HOME UID GID STOP...`, which leaves its parent at once."""
    if sys.argv[1] == "processes":
        guard_processes(sys.stdin)
        return
    home, uid, gid, *stop = sys.argv[2:]
    alone = try_lock(Path(home) / "postgres.guard")
    if alone is not None and os.fork() == 0:
        os.setsid()
        guard_database(Path(home), alone, stop, None if int(uid) < 0 else (int(uid), int(gid)))


if __name__ == "__main__":
    main()
