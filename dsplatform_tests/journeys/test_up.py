"""The whole platform as `dsplatform up` starts it: database, API, webserver, code location and daemon as real processes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

PATIENCE = 150
EVENTS = """
{ assetNodeOrError(assetKey: {path: ["dataset_versions"]}) { ... on AssetNode { assetMaterializations(limit: 20) {
  partition runOrError { ... on Run { status jobName } } metadataEntries { label ... on IntMetadataEntry { intValue } } } } } }
"""


class Up:
    """A running `dsplatform up` and its home."""

    def __init__(self, home: Path, process: subprocess.Popen[str], log: Path) -> None:
        self.home = home
        self.process = process
        self.log = log

    def wait(self, what: str, found: Callable[[], Any]) -> Any:
        """What `found` answers, once it is something."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if answer := found():
                return answer
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.2)
        raise AssertionError(f"{what} did not come; the log says:\n{self.log.read_text()}")

    def address(self, name: str) -> str:
        """Where a service listens, as the terminal shows it."""
        match = re.search(rf"{name}\s+(http://127\.0\.0\.1:\d+)", self.log.read_text())
        assert match, self.log.read_text()
        return match[1]

    def cli(self, *arguments: str) -> Any:
        """The JSON that a command prints, beside the running platform."""
        done = subprocess.run(
            [sys.executable, "-m", "dsplatform", *arguments, "--json"], env=_env(self.home), capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)

    def graphql(self, query: str) -> Any:
        request = urllib.request.Request(
            f"{self.address('Dagster')}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]


def _env(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DSPLATFORM_", "DAGSTER_", "COV_"))}
    return {**kept, "DSPLATFORM_HOME": str(home), "DSPLATFORM_SETTLE_SECONDS": "1"}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    home = tmp_path_factory.mktemp("up")
    log = home / "terminal.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dsplatform", "up"],
            env=_env(home),
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started = Up(home, process, log)
        try:
            started.wait("the platform", lambda: "Stop with Ctrl-C" in log.read_text())
            yield started
        finally:
            children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, log.read_text()
            _, alive = psutil.wait_procs(children, timeout=10)
            assert alive == [], "processes were left behind"


def test_dropped_files_become_versions_that_the_cli_and_dagster_show(up: Up) -> None:
    drop = up.home / "drop" / "sales"
    drop.mkdir(parents=True, exist_ok=True)
    (drop / "orders.csv").write_text("id,amount\n007,1.5\n008,2.5\n")
    (drop / "orders.csv.done").touch()
    (drop / "customers.csv").write_text("id,name\n1,ann\n")  # without a marker: taken when it has stood still
    (drop / "empty.csv").write_text("")

    def outcomes() -> dict[str, dict[str, Any]] | None:
        entries = {entry["source_path"]: entry for entry in up.cli("inbox")}
        decided = [entry for entry in entries.values() if entry["decided_at"] and (entry["schema_captured"] or entry["reason"])]
        return entries if len(decided) == 3 else None

    entries = up.wait("the outcome of every file", outcomes)
    assert entries["sales/orders.csv"]["state"] == "accepted"
    assert (entries["sales/orders.csv"]["rows"], entries["sales/orders.csv"]["columns"]) == (2, 2)
    assert entries["sales/empty.csv"]["state"] == "rejected"
    assert {component["name"] for component in up.cli("files", "sales")} == {"orders.csv", "customers.csv"}
    assert list(drop.iterdir()) == []

    def events() -> list[dict[str, Any]] | None:
        node = up.graphql(EVENTS)["assetNodeOrError"]["assetMaterializations"]
        sales = [event for event in node if event["partition"] == "sales"]
        newest = max((entry["intValue"] for event in sales for entry in event["metadataEntries"] if entry["label"] == "version"), default=0)
        return sales if newest == up.cli("log", "sales")[0]["number"] else None

    for event in up.wait("the events of the versions", events):
        assert event["runOrError"]["jobName"] == "ingest_files"


def test_the_api_answers(up: Up) -> None:
    with urllib.request.urlopen(f"{up.address('API')}/health/ready", timeout=30) as answer:
        assert answer.status == 200


def test_a_second_platform_on_the_same_home_is_refused(up: Up) -> None:
    done = subprocess.run([sys.executable, "-m", "dsplatform", "up"], env=_env(up.home), capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert str(up.process.pid) in done.stderr


def test_an_ingest_beside_the_running_platform_shows_as_a_run(up: Up, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id\n1\n")
    run_id = up.cli("ingest", str(tmp_path / "a.csv"), "--dataset", "byhand")["run_id"]
    run = up.graphql(f'{{ runOrError(runId: "{run_id}") {{ ... on Run {{ status jobName }} }} }}')["runOrError"]
    assert run == {"status": "SUCCESS", "jobName": "ingest_files"}
