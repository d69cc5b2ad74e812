"""`dsp preview`: rows for people and for programs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from dsplatform.core.errors import Invalid

Run = Callable[..., Result]


@pytest.fixture
def shop(run: Run, tmp_path: Path) -> Run:
    """`run`, where dataset `shop` has a table of orders."""
    (tmp_path / "orders.jsonl").write_text(
        "".join(json.dumps({"order id": n, "paid": n % 2 == 0, "items": [n] * n, "name": None}) + "\n" for n in range(5))
    )
    run("ingest", tmp_path / "orders.jsonl", "-d", "shop", "--no-dagster")
    return run


def test_rows_are_shown_as_a_table(shop: Run) -> None:
    shown = shop(
        "preview", "shop@1", "--where", '"order id" > 1', "--where", "paid = true", "--columns", "order id,paid", "--columns", "items"
    )
    lines = [line.split() for line in shown.stdout.splitlines() if line.strip()]
    assert lines == [["order", "id", "paid", "items"], ["2", "true", "[2,", "2]"], ["4", "true", "[4,", "4,", "4,", "4]"]]


def test_more_is_told_and_had_with_the_cursor(shop: Run) -> None:
    first = shop("preview", "shop", "-n", 3, "--json")
    page = json.loads(first.stdout)
    assert [row[0] for row in page["rows"]] == [0, 1, 2]
    assert f"there is more: --cursor {page['next']}" in first.stderr
    rest = json.loads(shop("preview", "shop", "--cursor", page["next"], "--json").stdout)
    assert ([row[0] for row in rest["rows"]], rest["next"]) == ([3, 4], None)


def test_csv_is_csv(shop: Run) -> None:
    assert shop("preview", "shop", "--csv", "-n", 1).stdout == "order id,paid,items,name\n0,true,[],\n"
    with pytest.raises(Invalid, match="give one of them"):
        shop("preview", "shop", "--csv", "--json")
