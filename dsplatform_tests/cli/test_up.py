import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from dsplatform.bootstrap import Platform
from dsplatform.cli.up import drop_samples, outcome_table, up
from dsplatform.core.errors import Invalid
from dsplatform.core.settings import Settings
from dsplatform.ingestion.model import InboxEntry


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    for name, content in {"sales/orders.csv": "id,total\n1,2\n", "sales/again.csv": "id,total\n1,2\n", "staff/empty.csv": ""}.items():
        path = tmp_path / "samples" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "samples"


def entry(number: int, **more: object) -> InboxEntry:
    fields: dict[str, object] = {
        "id": number,
        "source_path": f"sales/{number}.csv",
        "dataset": "sales",
        "branch": "main",
        "state": "accepted",
        "reason": None,
        "version_number": 1,
        "rows": 1200,
        "columns": 3,
        "stored": True,
        "file_size": 10,
        "schema_captured": True,
        "decided_at": "2026-01-01T00:00:00+00:00",
    }
    return InboxEntry(**(fields | more))  # type: ignore[arg-type]  # the names are checked when it is called


def printed(entries: list[InboxEntry]) -> list[str]:
    console = Console(width=140, file=open(os.devnull, "w"), record=True)  # noqa: SIM115 - closed below
    with console.file:
        console.print(outcome_table(entries))
    return [" ".join(line.replace("│", " ").split()) for line in console.export_text().splitlines()]


def test_a_demo_whose_samples_nobody_would_see_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSPLATFORM_DROP_URL", "s3://bucket/drop")
    with pytest.raises(Invalid, match="but s3://bucket/drop is watched: unset DSPLATFORM_DROP_URL"):
        up(demo=True)


def test_samples_are_dropped_whole_and_marked_complete(platform: Platform, settings: Settings, samples: Path) -> None:
    dropped = drop_samples(platform, samples, settings.drop_dir)
    assert dropped == ["sales/again.csv", "sales/orders.csv", "staff/empty.csv"]
    names = sorted(path.relative_to(settings.drop_dir).as_posix() for path in settings.drop_dir.rglob("*") if path.is_file())
    assert names == sorted([*dropped, *(f"{name}.done" for name in dropped)])
    assert platform.ingestion.discover().ready == 3


def test_samples_of_a_dataset_that_exists_stay_away(platform: Platform, settings: Settings, samples: Path) -> None:
    platform.datasets.create_dataset(platform.actor(), "sales")
    assert drop_samples(platform, samples, settings.drop_dir) == ["staff/empty.csv"]


def test_the_table_tells_of_each_file_what_became_of_it() -> None:
    lines = printed(
        [
            entry(3, state="rejected", stored=None, version_number=None, rows=None, columns=None, reason="it is [empty]"),
            entry(2, stored=False, state="duplicate"),
            entry(1),
            entry(4, state="ready", stored=None, version_number=None, rows=None, columns=None),
        ]
    )
    assert [line for line in lines if line.startswith("sales/")] == [
        "sales/1.csv sales 1 1,200 3 stored",
        "sales/2.csv sales 1 1,200 3 duplicate",
        "sales/3.csv sales refused: it is [empty]",
        "sales/4.csv sales ready",
    ]


def environment(home: Path) -> dict[str, str]:
    ports = {"DSPLATFORM_API_PORT": "18090", "DSPLATFORM_DAGSTER_PORT": "13090"}
    return os.environ | {"DSPLATFORM_HOME": str(home), "DSPLATFORM_SETTLE_SECONDS": "0", **ports}


UP = [sys.executable, "-m", "dsplatform", "up", "--no-dagster"]


def test_up_takes_what_lies_in_the_drop_folder_and_exits_when_idle(
    tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("dsplatform.cli.up.shipped", lambda _: samples)
    before = signal.getsignal(signal.SIGTERM)
    up(demo=True, exit_when_idle=True, no_dagster=True)
    first = capsys.readouterr().out
    up(demo=True, exit_when_idle=True, no_dagster=True)
    second = capsys.readouterr().out
    for output in (first, second):
        assert re.search(r"sales/orders.csv +│ sales +│ +1 │ +1 │ +2 │ (stored|duplicate)", output)
        assert re.search(r"staff/empty.csv +│ staff +│ +│ +│ +│ refused: it is empty", output)
        assert re.search(r"API +http://127.0.0.1:\d+/docs", output)
    assert "Dropped 3 sample file(s)" in first
    assert "Continuing with the data" not in first
    assert "Continuing with the data" in second
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM])
def test_up_stops_in_order_when_asked_and_refuses_a_second_one(word: signal.Signals, tmp_path: Path) -> None:
    lines: list[str] = []
    with subprocess.Popen(UP, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
        reader.start()
        deadline = time.monotonic() + 60
        try:
            while not any("Ctrl-C" in line for line in lines):
                assert process.poll() is None, lines
                assert time.monotonic() < deadline, lines
                time.sleep(0.1)
            second = subprocess.run(UP, env=environment(tmp_path), capture_output=True, text=True, timeout=60)
            process.send_signal(word)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()  # or its end would be waited for
        reader.join()
    assert second.returncode == 5
    assert f"already up in {tmp_path} (process {process.pid})" in second.stderr
    assert lines[-1] == "✓ stopped\n"
    assert not (tmp_path / "postgres" / "postmaster.pid").exists()
