import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from dsplatform import supervisor
from dsplatform.core.errors import Conflict, Unavailable
from dsplatform.supervisor import GaveUp, Service, Supervisor, answers, free_port, only_one


class Shown:
    """What a person would have seen."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __call__(self, name: str, line: str) -> None:
        self.lines.append((name, line))

    def __contains__(self, words: str) -> bool:
        return any(words in line for _, line in self.lines)


@pytest.fixture
def shown() -> Shown:
    return Shown()


def script(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", textwrap.dedent(code)]


SLEEPER = script("import time; print('up'); time.sleep(600)")


def alive(pid: int) -> bool:
    try:
        return str(psutil.Process(pid).status()) != "zombie"
    except psutil.NoSuchProcess:
        return False


def eventually(claim: Callable[[], bool], seconds: float = 15, turn: Callable[[], None] = lambda: None) -> bool:
    deadline = time.monotonic() + seconds
    while not claim():
        turn()
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_all_output_is_logged_and_only_what_is_loud_is_shown(tmp_path: Path, shown: Shown) -> None:
    chatty = script(
        """
        import time
        print("INFO: all is well")
        print("2026-01-01 - thing - \\x1b[31mERROR\\x1b[0m - it broke")
        print("  because of that")
        print("INFO: well again")
        time.sleep(600)
        """
    )
    with Supervisor(tmp_path, os.environ, shown) as processes:
        processes.start(Service("chatty", chatty))
        assert eventually(lambda: len(lines(tmp_path / "chatty.log")) == 4)
    assert shown.lines == [("chatty", "2026-01-01 - thing - ERROR - it broke"), ("chatty", "  because of that")]


def test_verbose_shows_every_line(tmp_path: Path, shown: Shown) -> None:
    with Supervisor(tmp_path, os.environ, shown, verbose=True) as processes:
        processes.start(Service("sleeper", SLEEPER))
        assert eventually(lambda: "up" in shown)


def test_a_process_that_dies_starts_again(tmp_path: Path, shown: Shown) -> None:
    pids = tmp_path / "pids"
    code = script(f"import os, time; print(os.getpid(), file=open({str(pids)!r}, 'a')); time.sleep(600)")
    with Supervisor(tmp_path, os.environ, shown) as processes:
        processes.start(Service("victim", code))
        assert eventually(lambda: len(lines(pids)) == 1, turn=processes.check)
        os.kill(int(lines(pids)[0]), signal.SIGKILL)
        assert eventually(lambda: len(lines(pids)) == 2, turn=processes.check)
        assert "was killed by SIGKILL; it starts again in 1 s" in shown


def test_a_process_that_keeps_dying_is_given_up_with_its_last_words(tmp_path: Path, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "PAUSES", (0.0, 0.1, 0.1, 0.1))
    with Supervisor(tmp_path, os.environ, shown) as processes:
        processes.start(Service("other", SLEEPER), Service("broken", script("print('no such file'); raise SystemExit(3)")))
        with pytest.raises(GaveUp, match=r"broken died 5 times within a minute, at last ended with code 3.*\n  no such file"):
            eventually(lambda: False, turn=processes.check)
    assert len(lines(tmp_path / "broken.log")) == 5


def test_pauses_grow() -> None:
    assert supervisor.PAUSES == (1.0, 2.0, 4.0, 8.0)


def test_waiting_ends_when_all_are_ready(tmp_path: Path, shown: Shown) -> None:
    mark = tmp_path / "mark"
    ready: list[str] = []
    code = script(f"import time; time.sleep(0.3); open({str(mark)!r}, 'w'); time.sleep(600)")
    with Supervisor(tmp_path, os.environ, shown) as processes:
        processes.start(Service("slow", code, mark.exists), Service("quick", SLEEPER))
        processes.wait(on_ready=ready.append)
    assert ready == ["quick", "slow"]


def test_waiting_ends_with_the_reason_when_one_is_not_ready_in_time(tmp_path: Path, shown: Shown) -> None:
    with Supervisor(tmp_path, os.environ, shown) as processes:
        processes.start(Service("never", SLEEPER, lambda: False))
        assert eventually(lambda: lines(tmp_path / "never.log") == ["up"])
        with pytest.raises(GaveUp, match=r"never is not ready after 0.2 s; its last lines:\n  up"):
            processes.wait(0.2)


def test_leaving_stops_children_and_what_they_started(tmp_path: Path, shown: Shown) -> None:
    pids = tmp_path / "pids"
    code = script(
        f"""
        import os, subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(f"{{os.getpid()}}\\n{{child.pid}}", file=open({str(pids)!r}, "w"), flush=True)
        time.sleep(600)
        """
    )
    with Supervisor(tmp_path, os.environ, shown) as processes:
        processes.start(Service("parent", code))
        assert eventually(lambda: len(lines(pids)) == 2)
        parent, child = map(int, lines(pids))
        assert os.getsid(parent) != os.getsid(0)
    assert not alive(parent)
    assert not alive(child)


def test_who_ignores_the_request_is_killed(tmp_path: Path, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.5)
    stubborn = script("import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid()); time.sleep(600)")
    with Supervisor(tmp_path, os.environ, shown) as processes:
        processes.start(Service("stubborn", stubborn))
        assert eventually(lambda: lines(tmp_path / "stubborn.log") != [])
    assert not alive(int(lines(tmp_path / "stubborn.log")[0]))


SUPERVISED = """
import os, sys, time
from pathlib import Path
from dsplatform.supervisor import Service, Supervisor
home = Path(sys.argv[1])
code = "import os, subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\\n" \\
    f"print(os.getpid(), child.pid, file=open({str(home / 'pids')!r}, 'w'), flush=True); time.sleep(600)"
try:
    with Supervisor(home, os.environ, print) as processes:
        processes.start(Service("child", [sys.executable, "-c", code]))
        while True:
            processes.check()
            time.sleep(0.05)
except KeyboardInterrupt:
    print("stopped in order")
"""


@pytest.mark.parametrize(("word", "code"), [(signal.SIGINT, 0), (signal.SIGKILL, -9)])
def test_no_process_outlives_its_supervisor(word: signal.Signals, code: int, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with subprocess.Popen([sys.executable, "-c", SUPERVISED, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert eventually(lambda: bool(lines(pids)))
        ours = [int(pid) for pid in lines(pids)[0].split()]
        assert all(map(alive, ours))
        process.send_signal(word)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == code
    assert eventually(lambda: not any(map(alive, ours)))
    assert output == ("stopped in order\n" if word == signal.SIGINT else "")


def test_a_long_log_begins_anew_and_keeps_the_one_before(tmp_path: Path, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOG_BYTES", 100)
    code = script("import time; [print(f'line {number:03}') for number in range(30)]; time.sleep(600)")
    with Supervisor(tmp_path, os.environ, shown) as processes:
        processes.start(Service("talker", code))
        assert eventually(lambda: (lines(tmp_path / "talker.log.1") + lines(tmp_path / "talker.log"))[-1:] == ["line 029"])
    assert (tmp_path / "talker.log.1").stat().st_size < 200


def test_a_process_that_asked_for_more_time_to_end_gets_it(tmp_path: Path, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.1)
    code = """
        import pathlib, signal, sys, time
        def end(*_):
            time.sleep(1)
            pathlib.Path(sys.argv[1]).write_text("ended")
            sys.exit()
        signal.signal(signal.SIGTERM, end)
        print("up", flush=True)
        time.sleep(600)
    """
    ended = tmp_path / "ended"
    with Supervisor(tmp_path / "logs", dict(os.environ), shown, verbose=True) as running:
        running.start(Service("slow", [*script(code), str(ended)], stop_seconds=60))
        assert eventually(lambda: "up" in shown)
    assert ended.exists()


def test_a_disk_that_takes_no_log_does_not_stop_the_process(tmp_path: Path, shown: Shown) -> None:
    (tmp_path / "talker.log").symlink_to("/dev/full")
    with Supervisor(tmp_path, os.environ, shown, verbose=True) as processes:
        processes.start(Service("talker", script("print('one'); print('two'); import time; time.sleep(600)")))
        assert eventually(lambda: "two" in shown)


def test_a_taken_port_is_replaced_by_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        other = free_port(port)
        assert other != port
        assert answers(port)
    assert free_port(other) == other


def test_a_service_answers_when_its_page_is_there() -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/ready" else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert answers(server.server_port, "/ready")
        assert not answers(server.server_port, "/else")
        server.shutdown()
        thread.join()
    assert not answers(server.server_port, "/ready")


def test_a_second_supervisor_of_a_home_is_refused_with_the_number_of_the_first(tmp_path: Path) -> None:
    with only_one(tmp_path), pytest.raises(Conflict, match=rf"already up in .* \(process {os.getpid()}\)"), only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass


def test_giving_up_is_a_kind_of_unavailable() -> None:
    assert issubclass(GaveUp, Unavailable)
