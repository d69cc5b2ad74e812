"""`dsp schema`: what a person sees of columns, values, changes and the history, and what programs get."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pyarrow as pa
import pytest
from jsonschema import Draft202012Validator
from typer.testing import Result

from dsplatform.core.database import Database
from dsplatform.core.errors import Invalid, NotFound

Run = Callable[..., Result]
ORDERS = "id,day,city,amount\n007,2024-01-31,Rome,1.50\n008,2024-02-01,Oslo,2.25\n009,2024-02-02,Rome,\n"


@pytest.fixture
def shop(run: Run, tmp_path: Path) -> Callable[[str], int]:
    """Ingests `orders.csv` with this text as the next version of `shop`."""
    number = 0

    def arrive(text: str) -> int:
        nonlocal number
        (tmp_path / "orders.csv").write_text(text)
        run("ingest", tmp_path / "orders.csv", "-d", "shop", "--no-dagster")
        number += 1
        return number

    return arrive


@pytest.fixture
def book(run: Run, tmp_path: Path) -> Run:
    """`run`, where dataset `shop` has a CSV file and a workbook with two sheets, one of them hidden."""
    workbook = openpyxl.Workbook()
    workbook.active.title = "North"
    for sheet, name in ((workbook["North"], "a"), (workbook.create_sheet("South"), "b")):
        sheet.append([name])
        sheet.append([5])
    workbook["South"].sheet_state = "hidden"
    workbook.save(tmp_path / "book.xlsx")
    (tmp_path / "orders.csv").write_text(ORDERS)
    run("ingest", tmp_path / "book.xlsx", tmp_path / "orders.csv", "-d", "shop", "--no-dagster")
    return run


def test_stats_say_what_the_values_are_like(run: Run, shop: Callable[[str], int]) -> None:
    shop(ORDERS)
    shown = run("schema", "shop", "--stats").stdout
    assert "orders.csv: 3 row(s)" in shown
    amount = next(line for line in shown.splitlines() if line.startswith("amount"))
    assert amount.split() == ["amount", "float64", "1", "(33%)", "2", "1.5", "…", "2.25", "1.875", "-"]
    assert "Rome 2x" in next(line for line in shown.splitlines() if line.startswith("city"))
    (table,) = json.loads(run("schema", "shop", "--stats", "--json").stdout)
    assert (table["component"], table["sheet"], table["rows"]) == ("orders.csv", None, 3)
    profiles = {column["name"]: column["profile"] for column in table["columns"]}
    assert (profiles["amount"]["nulls"], profiles["id"]["distinct"], profiles["city"]["top"][0]) == (1, 3, ["Rome", 2])


def test_stats_of_eighty_columns_with_long_texts_stay_readable(run: Run, shop: Callable[[str], int]) -> None:
    names = [f"a_rather_long_name_of_a_column_{index}" for index in range(80)]
    shop(",".join(names) + "\n" + ",".join(["some longer text that goes on and on " * 5] * 80) + "\n")
    lines = run("schema", "shop", "--stats").stdout.splitlines()
    assert max(map(len, lines)) <= 160
    assert [line.split()[0] for line in lines[2:]] == names  # one line each


def test_stats_show_one_file_of_each_layout_or_the_one_that_was_asked_for(run: Run, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        (tmp_path / name).write_text(f"id\n{len(name) + ord(name[0])}\n")
    run("ingest", *sorted(tmp_path.glob("*.csv")), "-d", "shop", "--no-dagster")
    shown = run("schema", "shop", "--stats").stdout
    assert ("a.csv" in shown, "b.csv" in shown) == (True, False)
    assert "2 more file(s)" in shown
    alone = run("schema", "shop", "--stats", "--component", "b.csv").stdout
    assert ("a.csv" in alone, "b.csv" in alone, "more file" in alone) == (False, True, False)
    assert len(json.loads(run("schema", "shop", "--stats", "--json").stdout)) == 3


def test_the_history_lists_the_versions_that_changed_something(run: Run, shop: Callable[[str], int]) -> None:
    for text in ("id,a\n1,2\n", "id,a\n3,4\n", "id,a,b\n1,2,x\n", "id,A,b\n1,2,x\n"):
        shop(text)
    steps = json.loads(run("schema", "shop", "--history", "--json").stdout)
    assert [(step["version"], step["semver"], step["verdict"]) for step in steps] == [
        (1, "1.0.0", None),
        (3, "1.1.0", "compatible"),
        (4, "2.0.0", "breaking"),
    ]
    assert steps[1]["sentences"] == ["orders.csv: column 'b' (string) was added"]
    shown = run("schema", "shop", "--history").stdout
    assert "the first version" in shown
    assert "was renamed to 'A' (int64, 95% sure)" in shown
    assert [step["version"] for step in json.loads(run("schema", "shop@3", "--history", "--json").stdout)] == [1, 3]


def test_a_version_that_is_not_captured_makes_the_numbers_after_it_uncertain(run: Run, shop: Callable[[str], int], tmp_path: Path) -> None:
    shop("id\n1\n")
    (tmp_path / "orders.csv").write_text("other\n1\n")
    run("ingest", tmp_path / "orders.csv", "-d", "shop", "--no-dagster", "--no-schema")
    shop("id,a\n1,2\n")
    lines = [" ".join(line.split()) for line in run("schema", "shop", "--history").stdout.splitlines()]
    for line, end in zip(lines[1:], ["the first version", "its schema is not captured", "was added"], strict=True):
        assert line.endswith(end)
    assert ["1.0.1 ? -" in lines[2], "1.1.0 ? compatible" in lines[3]] == [True, True]


def test_values_that_no_present_reader_has_seen_are_left_out(run: Run, shop: Callable[[str], int], db: Database) -> None:
    shop(ORDERS)
    with db.transaction() as tx:
        tx.execute("UPDATE file_schemas SET reader_version = 'older'")
    lines = run("schema", "shop", "--stats").stdout.splitlines()
    assert [line.split()[2:] for line in lines[2:]] == [["-"] * 5] * 4
    (table,) = json.loads(run("schema", "shop", "--stats", "--json").stdout)
    assert {column["profile"] for column in table["columns"]} == {None}


def test_compare_shows_renames_kinds_and_sheets(book: Run, tmp_path: Path) -> None:
    workbook = openpyxl.load_workbook(tmp_path / "book.xlsx")
    workbook["South"].title = "Sud"
    workbook["North"].append([2.5])
    workbook.save(tmp_path / "book.xlsx")
    (tmp_path / "orders.csv").write_text(ORDERS.replace("city", "City").replace("2024-02-01,", "2024-02-01 10:00,"))
    book("ingest", tmp_path / "book.xlsx", tmp_path / "orders.csv", "-d", "shop", "--no-dagster")
    lines = [" ".join(line.split()) for line in book("schema", "shop", "--compare", "1").stdout.splitlines()]
    assert lines[0] == "verdict: breaking"
    assert "book.xlsx sheet South renamed to Sud (100% of the columns are the same)" in lines
    assert "book.xlsx/North a widened column 'a' was int64 and is float64" in lines
    assert "orders.csv city renamed to City (string, 95% sure)" in lines
    assert "orders.csv day widened column 'day' was date and is timestamp" in lines
    changes = json.loads(book("schema", "shop", "--compare", "1", "--json").stdout)
    assert (changes["verdict"], changes["sheets"][0]["renamed"][0]["after"]) == ("breaking", "Sud")
    assert "orders.csv: column 'day' was date and is timestamp" in changes["sentences"]
    assert "identical" in book("schema", "shop", "--compare", "2").stdout


def test_a_table_can_be_had_as_arrow_json_schema_and_ddl(run: Run, shop: Callable[[str], int]) -> None:
    shop(ORDERS)
    assert "amount: double" in run("schema", "shop", "--as", "arrow").stdout
    packed = json.loads(run("schema", "shop", "--as", "arrow", "--json").stdout)["arrow_ipc_base64"]
    assert pa.ipc.read_schema(pa.py_buffer(base64.b64decode(packed))).names == ["id", "day", "city", "amount"]
    made = json.loads(run("schema", "shop", "--as", "json-schema").stdout)
    assert Draft202012Validator(made).is_valid({"id": "007", "day": "2024-01-31", "city": "Rome"})
    assert not Draft202012Validator(made).is_valid({"id": 7, "day": "2024-01-31", "city": "Rome"})
    ddl = run("schema", "shop", "--as", "ddl").stdout
    assert ddl.startswith('CREATE TABLE "shop" (\n    "id" text NOT NULL,\n    "day" date NOT NULL,')
    assert json.loads(run("schema", "shop", "--as", "ddl", "--json").stdout) == {"ddl": ddl}


def test_one_of_several_tables_is_chosen_by_file_and_sheet(book: Run) -> None:
    with pytest.raises(Invalid, match=r"3 tables with columns of their own \(book.xlsx/North, book.xlsx/South, orders.csv\)"):
        book("schema", "shop", "--as", "ddl")
    with pytest.raises(Invalid, match="2 tables"):
        book("schema", "shop", "--as", "ddl", "--component", "book.xlsx")
    assert '"b" bigint' in book("schema", "shop", "--as", "ddl", "--component", "book.xlsx", "--sheet", "South").stdout
    assert '"b" bigint' in book("schema", "shop", "--as", "ddl", "--sheet", "South").stdout
    for arguments in (("--as", "ddl", "--component", "none"), ("--as", "ddl", "--sheet", "none"), ("--stats", "--sheet", "none")):
        with pytest.raises(NotFound, match="'none'"):
            book("schema", "shop", *arguments)
    with pytest.raises(NotFound, match="'none'"):
        book("schema", "shop", "--stats", "--component", "none")
    shown = book("schema", "shop", "--stats", "--sheet", "South").stdout
    assert ("book.xlsx/South: 1 row(s)" in shown, "North" in shown) == (True, False)
    assert "South: 1 row(s), 1 column(s), hidden" in book("schema", "shop").stdout


@pytest.mark.parametrize(
    "arguments",
    [("--stats", "--history"), ("--as", "ddl", "--compare", "1"), ("--history", "--as", "arrow"), ("--component", "x"), ("--sheet", "x")],
)
def test_answers_that_exclude_each_other_are_refused(run: Run, arguments: tuple[str, ...]) -> None:
    with pytest.raises(Invalid, match="give one of"):
        run("schema", "shop", *arguments)
