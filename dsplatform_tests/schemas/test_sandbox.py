"""The sandbox: whatever a file does to its reader, the caller gets an answer for it and for all others."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import psutil
import pytest

from dsplatform.schemas import sandbox
from dsplatform.schemas.sandbox import Request, Sandbox
from dsplatform_tests import make

STUB = """
import json, os, signal, sys, time
for question in sys.stdin:
    for path, kind, name, *_ in json.loads(question):
        if name == "crash": os.kill(os.getpid(), signal.SIGSEGV)
        if name == "fail": sys.exit(3)
        if name == "hang": time.sleep(600)
        answer = {"status": "ok", "reason": None, "format": name, "details": {"pid": os.getpid()}, "tables": [], "notes": {}}
        print(json.dumps(answer), flush=True)
        if name == "retire": sys.exit(0)
"""


@pytest.fixture
def readers() -> Iterator[Sandbox]:
    """A sandbox of its own."""
    box = Sandbox(2)
    yield box
    box.close()


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children that do what the name of the file says."""
    monkeypatch.setattr(sandbox, "COMMAND", [sys.executable, "-c", STUB])


def _requests(folder: Path, *names: str) -> list[Request]:
    path = folder / "file"
    path.touch()
    return [Request(path, "", name) for name in names]


def _children() -> set[psutil.Process]:
    """Other tests of this process have some, too."""
    return set(psutil.Process().children())


@pytest.mark.usefixtures("stub")
def test_a_crash_costs_only_the_file_that_caused_it(readers: Sandbox, tmp_path: Path) -> None:
    captures = readers.extract(_requests(tmp_path, "a", "crash", "b", "fail", "crash", "c"))
    assert [capture.status.value for capture in captures] == ["ok", "unreadable", "ok", "unreadable", "unreadable", "ok"]
    assert "SIGSEGV" in (captures[1].reason or "")
    assert "exit code 3" in (captures[3].reason or "")


@pytest.mark.usefixtures("stub")
def test_a_hang_ends_at_the_time_limit(readers: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Request, "seconds", lambda _: 1.0)
    captures = readers.extract(_requests(tmp_path, "a", "hang", "b"))
    assert [capture.format for capture in captures] == ["a", None, "b"]
    assert captures[1].reason == "reading took longer than 1 seconds"


def test_a_compressed_file_has_ten_times_as_long(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    os.truncate(path, 512 << 20)
    assert [Request(path, "", name).seconds() for name in ("x.jsonl", "x.jsonl.gz", "gz")] == [120, 660, 120]


@pytest.mark.usefixtures("stub")
def test_a_child_that_retires_is_replaced_without_a_trace(readers: Sandbox, tmp_path: Path) -> None:
    captures = readers.extract(_requests(tmp_path, "a", "retire", "b", "retire"))
    assert [capture.format for capture in captures] == ["a", "retire", "b", "retire"]
    assert readers.extract(_requests(tmp_path, "c"))[0].format == "c"


@pytest.mark.usefixtures("stub")
def test_many_files_are_answered_in_their_order_by_few_children(readers: Sandbox, tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(500)]
    captures = readers.extract(_requests(tmp_path, *names))
    assert [capture.format for capture in captures] == names
    assert len({capture.details["pid"] for capture in captures}) <= 2


@pytest.mark.usefixtures("stub")
def test_threads_share_the_children(readers: Sandbox, tmp_path: Path) -> None:
    found: dict[int, list[str | None]] = {}

    def ask(thread: int) -> None:
        found[thread] = [capture.format for capture in readers.extract(_requests(tmp_path, *[f"{thread}-{n}" for n in range(50)]))]

    threads = [Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [f"{number}-{n}" for n in range(50)] for number in range(6)}


def test_no_file_needs_no_child(readers: Sandbox) -> None:
    before = _children()
    assert readers.extract([]) == []
    assert _children() == before


def test_a_file_that_is_not_there_is_the_callers_mistake(readers: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        readers.extract([Request(tmp_path / "missing", "", "missing.csv")])


def test_a_child_knows_no_secret(monkeypatch: pytest.MonkeyPatch, readers: Sandbox, tmp_path: Path) -> None:
    monkeypatch.setenv("DSPLATFORM_DATABASE_URL", "postgresql://u:secret@h/d")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    before = _children()
    readers.extract([Request(path, "csv", "x.csv")])
    (child,) = _children() - before
    assert "secret" not in " ".join(child.environ().values())


def test_a_child_goes_when_its_parent_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    program = (
        "import os, sys, pathlib, psutil\n"
        "from dsplatform.schemas.sandbox import Request, Sandbox\n"
        f"Sandbox(1).extract([Request(pathlib.Path({str(path)!r}), 'csv', 'x.csv')])\n"
        "print(psutil.Process().children()[0].pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    parent = psutil.Popen([sys.executable, "-c", program], stdout=-1, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    child_pid = int(parent.communicate(timeout=60)[0])
    make.until(
        lambda: not psutil.pid_exists(child_pid) or psutil.Process(child_pid).status() == psutil.STATUS_ZOMBIE, "the child is still there"
    )
