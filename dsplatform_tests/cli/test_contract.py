"""`dsplatform contract`, as a person types it: the walk of docs/contracts.md."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from dsplatform.core.errors import Invalid
from dsplatform.versioning.model import ContractBreached

Run = Callable[..., Result]


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    file = tmp_path / "orders.csv"
    file.write_text("id,status\n1,open\n2,paid\n3,open\n4,paid\n")
    return file


def ingest(run: Run, file: Path) -> Result:
    return run("ingest", file, "-d", "sales", "--no-dagster")


def test_a_contract_is_learnt_set_broken_and_the_version_accepted(run: Run, orders: Path, tmp_path: Path) -> None:
    ingest(run, orders)
    learnt = run("contract", "learn", "sales").stdout
    assert "type: int64" in learnt
    assert "- open" in learnt
    contract = tmp_path / "contract.yaml"
    contract.write_text(learnt)
    assert "the contract is kept" in run("contract", "check", "sales", "--file", contract).stdout
    done = run("contract", "set", "sales", "--policy", "enforce", "--file", contract)
    assert "policy enforce, on breach quarantine, 1 rule(s)" in done.stdout
    assert "type: int64" in run("contract", "show", "sales").stdout

    orders.write_text("id,status\n1,open\n2,lost\n")
    shown = ingest(run, orders)
    assert shown.exit_code == 0
    assert "sales@2 was kept from main by its contract and is on quarantine/" in shown.stdout
    assert "'lost'" in shown.stdout
    (waiting,) = json.loads(run("contract", "list", "sales", "--json").stdout)
    assert (waiting["version_number"], waiting["target_branch"], waiting["state"]) == (2, "main", "open")
    broken = run("contract", "check", "sales@2")
    assert broken.exit_code == 5
    assert "'lost'" in broken.stdout

    assert "main is at version 2" in run("contract", "accept", "sales@2", "--reason", "orders get lost").stdout
    assert "nothing waits" in run("contract", "list", "sales").stdout
    assert "orders get lost" in run("contract", "list", "sales", "--all").stdout


def test_what_is_dismissed_stays_where_it_is(run: Run, orders: Path) -> None:
    ingest(run, orders)
    run("contract", "set", "sales", "--policy", "enforce")
    orders.write_text("id\n1\n")
    ingest(run, orders)
    assert "is dismissed; it stays on quarantine/" in run("contract", "dismiss", "sales@2", "-m", "a test file").stdout
    assert json.loads(run("show", "sales", "--json").stdout)["version"]["number"] == 1


def test_reject_refuses_the_file_with_the_reason(run: Run, orders: Path) -> None:
    ingest(run, orders)
    run("contract", "set", "sales", "--policy", "enforce", "--on-breach", "reject")
    orders.write_text("id\n1\n")
    refused = ingest(run, orders)
    assert refused.exit_code == 7
    assert "column 'status'" in refused.stdout


def test_a_merge_that_breaks_the_contract_says_who_can_take_it(run: Run, orders: Path) -> None:
    ingest(run, orders)
    run("contract", "set", "sales", "--policy", "enforce")
    orders.write_text("id\n1\n")
    ingest(run, orders)
    with pytest.raises(ContractBreached, match="dsplatform contract"):
        run("merge", "sales@2")


def test_a_contract_with_a_mistake_names_file_line_and_way_out(run: Run, orders: Path, tmp_path: Path) -> None:
    ingest(run, orders)
    contract = tmp_path / "contract.yaml"
    contract.write_text("tables:\n  - component: orders.csv\n    colums: {}\n")
    with pytest.raises(Invalid, match=r"contract.yaml: line 3: .*did you mean 'columns'"):
        run("contract", "set", "sales", "--file", contract)
    with pytest.raises(Invalid, match="cannot be read"):
        run("contract", "set", "sales", "--file", tmp_path / "nowhere.yaml")


def test_hints_are_set_shown_and_cleared(run: Run, orders: Path) -> None:
    ingest(run, orders)
    run("contract", "hints", "sales", "--date-order", "dmy", "--delimiter", ";")
    assert "date_order 'dmy', delimiter ';'" in run("contract", "show", "sales").stdout
    cleared = run("contract", "hints", "sales", "--clear", "--encoding", "koi8-r", "--json").stdout
    assert json.loads(cleared) == {"date_order": None, "encoding": "koi8-r", "delimiter": None}


def test_every_answer_can_be_had_as_json(run: Run, orders: Path) -> None:
    ingest(run, orders)
    assert json.loads(run("contract", "learn", "sales", "--json").stdout)["tables"][0]["component"] == "orders.csv"
    assert json.loads(run("contract", "set", "sales", "--policy", "enforce", "--json").stdout)["policy"] == "enforce"
    assert json.loads(run("contract", "show", "sales", "--json").stdout)["terms"][0]["revision"] == 1
    assert json.loads(run("contract", "check", "sales", "--json").stdout)["breaches"] == []
    orders.write_text("id\n1\n")
    ingest(run, orders)
    dismissed = json.loads(run("contract", "dismiss", "sales@2", "-m", "no", "--json").stdout)
    assert dismissed["quarantined"]["state"] == "dismissed"
