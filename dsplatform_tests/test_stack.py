import http.client
import json
import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from dsplatform import stack
from dsplatform.api.runs import _REASON, Run, Runs
from dsplatform.core.errors import Conflict, Unavailable
from dsplatform.core.settings import Settings

LAUNCH = """mutation { launchRun(executionParams: {runConfigData: {}, selector: {
    repositoryLocationName: "dsplatform", repositoryName: "__repository__", jobName: "capture_schemas"}})
    { __typename ... on LaunchRunSuccess { run { runId } } } }"""
STATUS = "query($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"
PORTS = {"DSPLATFORM_API_PORT": "18080", "DSPLATFORM_DAGSTER_PORT": "13030"}


def settings_in(home: Path) -> Settings:
    return Settings.from_env({"DSPLATFORM_HOME": str(home), **PORTS})


def ask(port: int, query: str, **variables: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = json.dumps({"query": query, "variables": variables})
    connection.request("POST", "/graphql", body, {"Content-Type": "application/json"})
    answer = json.load(connection.getresponse())
    connection.close()
    assert "errors" not in answer, answer
    return dict(answer["data"])


def test_the_whole_stack_runs_a_job_through_its_one_code_server_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(psutil.Process().children(recursive=True))  # children of other tests of this process
    steps: list[str] = []
    shown: list[tuple[str, str]] = []
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "gql.py").write_text("raise SystemExit('not this one')")  # a name that dagster imports
    monkeypatch.chdir(tmp_path / "here")
    show = lambda name, line: shown.append((name, line))  # noqa: E731 - one line, used once
    with stack.running(settings_in(tmp_path / "home"), steps.append, show, dagster=True, verbose=False) as up:
        assert up.dagster_port is not None
        commands = [" ".join(process.cmdline()) for process in set(psutil.Process().children(recursive=True)) - before]
        assert sum("dagster api grpc" in command for command in commands) == 1
        run = ask(up.dagster_port, LAUNCH)["launchRun"]["run"]["runId"]
        assert up.has_unfinished_runs()
        deadline = time.monotonic() + 60
        while (status := ask(up.dagster_port, STATUS, run=run)["runOrError"]["status"]) not in {"SUCCESS", "FAILURE"}:
            up.supervisor.check()
            assert time.monotonic() < deadline, status
            time.sleep(0.2)
        assert status == "SUCCESS"
        runs = Runs(f"http://127.0.0.1:{up.dagster_port}")
        assert runs.tagged("dsplatform/kind", "capture") == Run(run, "SUCCESS", f"http://127.0.0.1:{up.dagster_port}/runs/{run}")
        assert runs.tagged("dsplatform/kind", "no such kind") is None
        assert "eventConnection" in runs._ask(_REASON, run=run, limit=10)["runOrError"]
        with pytest.raises(Conflict, match=f"process {os.getpid()}"):
            stack.running(settings_in(tmp_path / "home"), steps.append, show, dagster=False, verbose=False).__enter__()
        children = set(psutil.Process().children(recursive=True)) - before
    assert [step for step in steps if "ready" in step] == [f"{name} is ready" for name in ("api", "code", "daemon", "webserver")]
    assert steps[-2:] == ["stopping", "stopped"]
    assert not [process for process in children if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert not (tmp_path / "home" / "postgres" / "postmaster.pid").exists()
    assert shown == []


def test_without_dagster_there_is_the_api_alone(tmp_path: Path) -> None:
    steps: list[str] = []
    settings = settings_in(tmp_path)
    with stack.running(settings, steps.append, lambda *_: None, dagster=False, verbose=False) as up:
        assert up.dagster_port is None
        assert not up.has_unfinished_runs()
        assert settings.drop_dir.is_dir()
    assert "api is ready" in steps
    assert f"user admin is made; its token is in {tmp_path / 'admin-token'}" in steps
    assert not (tmp_path / "dagster").exists()


def test_dagster_s_tables_that_cannot_be_made_are_explained(tmp_path: Path) -> None:
    env = os.environ | {
        "DAGSTER_HOME": str(tmp_path),
        "DSPLATFORM_DAGSTER_DATABASE_URL": "postgresql+psycopg2://x@127.0.0.1:1/x",
    }
    (tmp_path / "dagster.yaml").write_text("no_such_block: 1\n")
    with pytest.raises(Unavailable, match="Dagster's tables cannot be made"):
        stack._prepare_tables(tmp_path, env)
    assert not (tmp_path / "tables").exists()


def test_unfinished_runs_are_assumed_when_dagster_does_not_answer() -> None:
    assert stack.Stack(None, "", 0, 1).has_unfinished_runs()  # type: ignore[arg-type]  # not needed for the question


def test_meaningless_warnings_of_a_first_start_are_not_shown() -> None:
    shown: list[str] = []
    show = stack._without_noise(lambda _, line: shown.append(line))
    show("daemon", "WARNING - No cursor for event type DagsterEventType.RUN_FAILURE, ignoring older events")
    show("daemon", "WARNING - disk almost full")
    assert shown == ["WARNING - disk almost full"]
