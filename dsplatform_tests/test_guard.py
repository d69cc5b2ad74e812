"""The guard's loops, in this process; that they work beside real servers is shown in test_local.py and test_supervisor.py."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsplatform import guard

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)",
]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(guard, "TERM_SECONDS", 1.0)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose server is a file, and whose stop command removes it."""
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "postmaster.pid").write_text("1\n")
    return tmp_path


STOP = ["rm", "postgres/postmaster.pid"]


def alone(home: Path) -> int:
    handle = guard.try_lock(home / "postgres.guard")
    assert handle is not None
    return handle


def test_a_server_without_users_is_stopped_and_the_guard_leaves(home: Path) -> None:
    guard.guard_database(home, alone(home), STOP, None)
    assert not (home / "postgres" / "postmaster.pid").exists()
    os.close(alone(home))  # its place is free


def test_a_server_with_a_user_is_left_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = guard.join(home / "postgres.users")
    looks: list[bool] = []

    def sleep(_: float) -> None:
        looks.append((home / "postgres" / "postmaster.pid").exists())
        if len(looks) == 3:
            os.close(user)

    monkeypatch.setattr("dsplatform.guard.time.sleep", sleep)
    guard.guard_database(home, alone(home), STOP, None)
    assert looks == [True, True, True]


def test_a_home_that_is_gone_ends_the_guard(tmp_path: Path) -> None:
    place = alone(tmp_path)
    guard.guard_database(tmp_path / "gone", place, STOP, None)
    os.close(place)


def test_a_second_guard_leaves_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = alone(home)
    monkeypatch.setattr(sys, "argv", ["guard.py", "database", str(home), "-1", "-1", *STOP])
    guard.main()
    assert (home / "postgres" / "postmaster.pid").exists()
    os.close(first)


def test_what_a_dead_supervisor_left_is_ended_and_what_it_forgot_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        subprocess.Popen(SLEEPER, start_new_session=True) as left,
        subprocess.Popen(STUBBORN, start_new_session=True, stdout=subprocess.PIPE) as stubborn,
        subprocess.Popen(SLEEPER, start_new_session=True) as forgotten,
    ):
        assert stubborn.stdout is not None
        stubborn.stdout.readline()

        def news() -> Iterator[str]:
            yield from (f"+{process.pid}\n" for process in (left, stubborn, forgotten))
            yield f"-{forgotten.pid}\n"

        monkeypatch.setattr(sys, "argv", ["guard.py", "processes"])
        monkeypatch.setattr(sys, "stdin", news())
        guard.main()
        assert forgotten.poll() is None
        forgotten.kill()
    assert (left.returncode, stubborn.returncode) == (-signal.SIGTERM, -signal.SIGKILL)


def test_a_group_of_nobody_does_not_live() -> None:
    with subprocess.Popen(["true"], start_new_session=True) as process:
        process.wait()
    assert not guard.group_lives(process.pid)
