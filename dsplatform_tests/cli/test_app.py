"""The commands as a person types them, on a real database."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from dsplatform.cli.app import EXIT_CODES, exit_code, main
from dsplatform.core.errors import Conflict, Denied, DsplatformError, Invalid, NotFound, Unavailable

Run = Callable[..., Result]


@pytest.fixture
def delivery(tmp_path: Path) -> Path:
    folder = tmp_path / "delivery"
    folder.mkdir()
    (folder / "orders.csv").write_text("id,amount\n007,1.50\n008,2.25\n")
    (folder / "copy.csv").write_text("id,amount\n007,1.50\n008,2.25\n")
    return folder


def test_help_names_every_command_and_says_what_it_does(run: Run) -> None:
    shown = run("--help").stdout
    for name in ("up", "ingest", "inbox", "datasets", "show", "log", "files", "get", "schema", "verify", "db"):
        assert f" {name} " in shown
        assert "Usage" in run(name, "--help").stdout


def test_ingest_is_a_dagster_run_and_says_what_became_of_each_file(run: Run, delivery: Path) -> None:
    shown = json.loads(run("ingest", delivery, "-d", "shop", "-m", "first", "--json").stdout)
    assert shown["run_id"]
    assert shown["versions_made"][0]["version_number"] == 1
    files = {entry["component"]: entry for entry in shown["files"]}
    assert {name: (entry["state"], entry["rows"], entry["columns"]) for name, entry in files.items()} == {
        "orders.csv": ("accepted", 2, 2),
        "copy.csv": ("accepted", 2, 2),
    }
    assert sorted(entry["stored"] for entry in files.values()) == [False, True]


def test_ingest_works_without_dagster(run: Run, delivery: Path) -> None:
    shown = run("ingest", delivery / "orders.csv", "-d", "shop", "--no-dagster")
    assert "shop@1 on main: 1 added, 0 updated, 0 removed" in shown.stdout
    assert "stored" in shown.stdout


def test_ingesting_the_same_again_says_that_nothing_changed(run: Run, delivery: Path) -> None:
    run("ingest", delivery, "-d", "shop", "--no-dagster")
    assert "nothing changed" in run("ingest", delivery, "-d", "shop", "--no-dagster").stdout


def test_a_refused_file_shows_in_the_exit_code(run: Run, delivery: Path) -> None:
    (delivery / "empty.csv").write_text("")
    result = run("ingest", delivery, "-d", "shop", "--no-dagster")
    assert result.exit_code == 7
    assert "it is empty" in " ".join(result.stdout.split())


def test_replace_and_branch_reach_the_version(run: Run, delivery: Path) -> None:
    run("ingest", delivery, "-d", "shop", "--no-dagster")
    run("ingest", delivery / "orders.csv", "-d", "shop", "--no-dagster", "--replace", "-b", "slim")
    names = [component["name"] for component in json.loads(run("files", "shop@slim", "--json").stdout)]
    assert names == ["orders.csv"]
    assert len(json.loads(run("files", "shop", "--json").stdout)) == 2


def test_the_schema_can_wait(run: Run, delivery: Path) -> None:
    run("ingest", delivery, "-d", "shop", "--no-dagster", "--no-schema")
    with pytest.raises(Unavailable, match="not captured yet"):
        run("schema", "shop")


def test_what_was_ingested_can_be_listed_shown_and_got_back(run: Run, delivery: Path, tmp_path: Path) -> None:
    run("ingest", delivery, "-d", "shop", "-m", "first delivery", "--no-dagster")
    assert json.loads(run("datasets", "--json").stdout)[0]["slug"] == "shop"
    assert "shop" in run("datasets", "sho").stdout
    assert "first delivery" in run("show", "shop").stdout
    assert json.loads(run("show", "shop@1", "--json").stdout)["version"]["message"] == "first delivery"
    assert json.loads(run("log", "shop", "--json").stdout)[0]["pointers"] == ["main"]
    assert "main" in run("log", "shop").stdout
    assert "orders.csv" in run("files", "shop@latest").stdout
    run("get", "shop", "-o", tmp_path / "out")
    assert (tmp_path / "out" / "orders.csv").read_bytes() == (delivery / "orders.csv").read_bytes()
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_get_writes_one_component_and_overwrites_only_when_told(run: Run, delivery: Path, tmp_path: Path) -> None:
    run("ingest", delivery, "-d", "shop", "--no-dagster")
    out = tmp_path / "out"
    assert json.loads(run("get", "shop", "-o", out, "--name", "copy.csv", "--json").stdout) == [str(out / "copy.csv")]
    (out / "copy.csv").write_text("mine")
    with pytest.raises(Conflict, match="exists already"):
        run("get", "shop", "-o", out, "--name", "copy.csv")
    assert (out / "copy.csv").read_text() == "mine"
    run("get", "shop", "-o", out, "--name", "copy.csv", "--force")
    assert (out / "copy.csv").read_text().startswith("id,amount")
    with pytest.raises(NotFound, match="no component 'other'"):
        run("get", "shop", "-o", out, "--name", "other")


def test_the_schema_shows_columns_and_what_changed(run: Run, delivery: Path) -> None:
    run("ingest", delivery / "orders.csv", "-d", "shop", "--no-dagster")
    shown = run("schema", "shop").stdout
    assert "amount" in shown
    assert "string" in shown  # ids with leading zeros stay text
    (delivery / "orders.csv").write_text("id,total\n007,1.50\n")
    run("ingest", delivery / "orders.csv", "-d", "shop", "--no-dagster")
    changes = json.loads(run("schema", "shop", "--compare", "1", "--json").stdout)
    assert changes["verdict"] == "breaking"
    assert "removed" in run("schema", "shop@2", "--compare", "shop@1").stdout
    assert json.loads(run("schema", "shop", "--json").stdout)["layouts"][0]["format"] == "csv"


def test_a_file_that_cannot_be_read_is_versioned_and_says_why(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 this is no parquet")
    run("ingest", tmp_path / "broken.parquet", "-d", "shop", "--no-dagster")
    assert "unreadable" in run("schema", "shop").stdout


def test_the_inbox_shows_what_was_dropped(run: Run, tmp_path: Path) -> None:
    assert "nothing was dropped yet" in run("inbox").stdout
    assert "nothing was refused" in run("inbox", "--failed").stdout
    drop = tmp_path / "home" / "drop" / "shop"
    drop.mkdir(parents=True)
    (drop / "a.csv").write_text("id\n1\n")
    from dsplatform.cli.session import opened

    with opened() as session:
        session.platform.ingestion.discover()
    assert json.loads(run("inbox", "--json").stdout)[0]["source_path"] == "shop/a.csv"
    assert "shop/a.csv" in run("inbox").stdout


def test_verify_finds_what_is_damaged(run: Run, delivery: Path, tmp_path: Path) -> None:
    run("ingest", delivery, "-d", "shop", "--no-dagster")
    assert "2 files, 2 objects, 1 versions checked" in run("verify").stdout  # the content and the overlay
    stored = max((tmp_path / "home" / "storage" / "objects").glob("*/*"), key=lambda path: path.stat().st_size)
    stored.chmod(0o600)
    stored.write_bytes(stored.read_bytes()[:-1] + b"!")
    assert run("verify").exit_code == 0
    result = run("verify", "--contents", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["problems"][0]["finding"] == "its bytes have changed"
    assert "its bytes have changed" in run("verify", "--contents").stdout


def test_scrub_marks_damage_names_its_versions_and_sees_it_healed(run: Run, delivery: Path, tmp_path: Path) -> None:
    run("ingest", delivery, "-d", "shop", "--no-dagster")
    assert "2 file(s) looked for, 2 read" in run("scrub", "--max-mib", "5", "--rate", "100").stdout
    storage = tmp_path / "home" / "storage"
    stored = max((storage / "objects").glob("*/*"), key=lambda path: path.stat().st_size)
    stored.chmod(0o600)
    stored.write_bytes(stored.read_bytes()[:-1] + b"!")
    result = run("scrub", "--prefix", stored.name[:2])
    assert result.exit_code == 1
    assert "its bytes have changed" in result.stdout
    assert "shop@1" in result.stdout
    assert (storage / "quarantine" / stored.parent.name / stored.name).read_bytes() == stored.read_bytes()
    assert "it is marked as damaged" in run("verify").stdout
    stored.write_bytes(stored.read_bytes()[:-1] + b"}")  # an overlay
    assert len(json.loads(run("scrub", "--json").stdout)["contents"]["cleared"]) == 1
    assert run("verify").exit_code == 0


def test_the_database_can_be_brought_up_to_date(run: Run, empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSPLATFORM_DATABASE_URL", empty_database_url)
    with pytest.raises(Unavailable, match="run `dsplatform db upgrade`"):
        run("datasets")
    assert json.loads(run("db", "status", "--json").stdout)["current"] is None
    assert "dsplatform db upgrade" in run("db", "status").stdout
    assert "was empty" in run("db", "upgrade").stdout
    assert json.loads(run("db", "upgrade", "--json").stdout)["before"] is not None
    assert "there is no dataset yet" in run("datasets").stdout


def test_an_unknown_dataset_or_reference_says_where_to_look(run: Run, delivery: Path) -> None:
    with pytest.raises(NotFound, match="`dsplatform datasets` lists"):
        run("show", "nothing")
    run("ingest", delivery, "-d", "shop", "--no-dagster")
    with pytest.raises(NotFound, match="`dsplatform log shop` lists"):
        run("show", "shop@9")
    with pytest.raises(Invalid, match="DATASET@REF"):
        run("show", "shop@")


@pytest.mark.parametrize("kind", [Invalid, Denied, NotFound, Conflict, Unavailable])
def test_each_kind_of_error_has_its_exit_code(kind: type[DsplatformError]) -> None:
    subclass = type("Special", (kind,), {})
    assert exit_code(subclass("x")) == EXIT_CODES[kind]


def test_other_errors_end_with_one() -> None:
    assert exit_code(DsplatformError("x")) == 1


@pytest.mark.parametrize("as_json", [False, True])
def test_an_error_is_one_sentence_on_standard_error(
    run: Run, as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["dsplatform", "show", "nothing", *(["--json"] if as_json else [])])
    monkeypatch.setattr("dsplatform.cli.app.atexit.register", lambda _: None)  # this process goes on, and is no command
    monkeypatch.setattr("dsplatform.cli.app.gc.set_threshold", lambda *_: None)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 4
    said = capsys.readouterr()
    assert said.out == ""
    if as_json:
        assert json.loads(said.err)["error"]["code"] == "dataset_missing"
    else:
        assert said.err.startswith("dsplatform: dataset 'nothing' does not exist")
        assert said.err.count("\n") == 1


def test_the_command_starts_the_embedded_database_by_itself(tmp_path: Path) -> None:
    env = {"DSPLATFORM_HOME": str(tmp_path / "home"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run([sys.executable, "-m", "dsplatform", "datasets"], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "there is no dataset yet" in done.stdout
    assert not (tmp_path / "home" / "postgres" / "postmaster.pid").exists()


def test_help_loads_nothing_heavy() -> None:
    heavy = ("sqlalchemy", "dagster", "duckdb", "pyarrow", "psycopg", "alembic", "fastapi")
    code = f"import sys; from dsplatform.cli.app import app; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_platform_loads_nothing_for_a_legacy_system_unless_asked() -> None:
    code = "import sys, dsplatform.bootstrap; print([name for name in sys.modules if name.startswith('dsplatform.migration')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_version_can_be_asked(run: Run) -> None:
    assert run("--version").stdout.startswith("dsplatform 0.")
