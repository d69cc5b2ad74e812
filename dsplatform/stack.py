"""Everything of `dsplatform up`: which processes, on which ports, with which environment and folders."""

import contextlib
import hashlib
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from dsplatform.bootstrap import bootstrap
from dsplatform.core.errors import Unavailable
from dsplatform.core.paths import instance_home
from dsplatform.core.settings import Settings
from dsplatform.local import Databases, database_for, upgrade
from dsplatform.supervisor import Service, Show, Supervisor, answers, free_port, only_one

LOCATION, MODULE = "dsplatform", "dsplatform.definitions"
NOISE = "No cursor for event type"
UNFINISHED = "{ runsOrError(filter: {statuses: [QUEUED, NOT_STARTED, STARTING, STARTED, CANCELING]}, limit: 1) { ... on Runs { count } } }"


@dataclass(frozen=True)
class Stack:
    """What is up."""

    supervisor: Supervisor
    database_url: str
    api_port: int
    dagster_port: int | None

    def has_unfinished_runs(self) -> bool:
        """Whether Dagster has runs that wait or work; yes when it does not answer."""
        if self.dagster_port is None:
            return False
        connection = http.client.HTTPConnection("127.0.0.1", self.dagster_port, timeout=10)
        with contextlib.closing(connection):
            try:
                connection.request("POST", "/graphql", json.dumps({"query": UNFINISHED}), {"Content-Type": "application/json"})
                answer = json.load(connection.getresponse())
                return bool(answer["data"]["runsOrError"]["count"] > 0)
            except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
                return True


@contextmanager
def running(settings: Settings, step: Callable[[str], None], show: Show, *, dagster: bool, verbose: bool) -> Iterator[Stack]:
    """Starts all of it, keeps it for the block, and stops all of it. `step` hears what has been done, `show` what processes say."""
    with only_one(settings.home), contextlib.ExitStack() as at_the_end, database_for(settings) as databases:
        where = "the server of DSPLATFORM_DATABASE_URL" if settings.database_url else f"in {settings.home / 'postgres'}"
        step(f"database is up ({where})")
        upgrade(databases.owner)
        step("migrations are applied")
        with bootstrap(settings, databases.services) as platform:
            if token_file := platform.first_admin():
                step(f"user admin is made; its token is in {token_file}")
        settings.drop_dir.mkdir(parents=True, exist_ok=True)
        dagster_port = free_port(settings.dagster_port) if dagster else None
        env = _environment(settings, databases, dagster_port)
        with Supervisor(settings.home / "logs", env, _without_noise(show), verbose=verbose) as supervisor:
            api_port = free_port(settings.api_port)
            supervisor.start(_api(api_port, settings.shutdown_seconds))
            if dagster_port is not None:
                _start_dagster(supervisor, step, Path(env["DAGSTER_HOME"]), env, dagster_port)
            supervisor.wait(on_ready=lambda name: step(f"{name} is ready"))
            at_the_end.callback(step, "stopped")
            try:
                yield Stack(supervisor, databases.services, api_port, dagster_port)
            finally:
                step("stopping")


def _without_noise(show: Show) -> Show:
    """Without the warnings of a first start that mean nothing to a person."""
    return lambda name, line: None if NOISE in line else show(name, line)


def _environment(settings: Settings, databases: Databases, dagster_port: int | None) -> dict[str, str]:
    """Of the children: ours, with the databases named, so that they start none themselves. None of them changes the schema."""
    return os.environ | {
        "DSPLATFORM_HOME": str(settings.home),
        "DSPLATFORM_DATABASE_URL": databases.services,
        "DSPLATFORM_OWNER_DATABASE_URL": "",
        "DSPLATFORM_TOKEN": "",  # of the person who starts them, as whom they do not act
        "DSPLATFORM_DAGSTER_DATABASE_URL": databases.dagster,
        "DSPLATFORM_DAGSTER_URL": settings.dagster_url or ("" if dagster_port is None else f"http://127.0.0.1:{dagster_port}"),
        "DAGSTER_HOME": str(settings.home / "dagster"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # a file in the current folder that is called like a package must not become one
    }


def _api(port: int, shutdown_seconds: float) -> Service:
    """It ends uploads under way before it ends itself, and so may take longer than the others."""
    command = [sys.executable, "-m", "dsplatform.api", "--port", str(port)]
    return Service("api", command, lambda: answers(port, "/health/ready"), stop_seconds=shutdown_seconds + 5)


def _start_dagster(supervisor: Supervisor, step: Callable[[str], None], home: Path, env: Mapping[str, str], port: int) -> None:
    """One code server for the webserver and the daemon, which would each start their own otherwise; then these two."""
    instance_home(home)
    if _prepare_tables(home, env):
        step("Dagster's tables are made")
    code_port = free_port()
    server = {"grpc_server": {"host": "127.0.0.1", "port": code_port, "location_name": LOCATION}}
    workspace = home / "workspace.yaml"
    workspace.write_text(json.dumps({"load_from": [server]}, indent=2) + "\n")  # JSON is YAML
    python = [sys.executable, "-m"]
    grpc = ["dagster", "api", "grpc", "-h", "127.0.0.1", "-p", str(code_port), "-m", MODULE, "--location-name", LOCATION]
    supervisor.start(
        Service("code", [*python, *grpc, "--use-python-environment-entry-point", "--empty-working-directory"], lambda: answers(code_port))
    )
    supervisor.wait(on_ready=lambda name: step(f"{name} is ready"))
    web = ["dagster_webserver", "-w", str(workspace), "-h", "127.0.0.1", "-p", str(port), "--db-pool-max-overflow", "5"]
    supervisor.start(
        Service("webserver", [*python, *web], lambda: answers(port, "/server_info")),
        Service("daemon", [*python, "dagster._daemon", "run", "-w", str(workspace)]),
    )


def _prepare_tables(home: Path, env: Mapping[str, str]) -> bool:
    """Dagster's own tables, once per release and database: its processes would make them at once and trip over each other."""
    mark = home / "tables"
    current = f"{version('dagster')} {hashlib.sha256(env['DSPLATFORM_DAGSTER_DATABASE_URL'].encode()).hexdigest()}\n"
    if mark.exists() and mark.read_text() == current:
        return False
    done = subprocess.run([sys.executable, "-m", "dagster", "instance", "migrate"], env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable("Dagster's tables cannot be made:\n" + "\n".join(done.stderr.strip().splitlines()[-10:]))
    mark.write_text(current)
    return True
