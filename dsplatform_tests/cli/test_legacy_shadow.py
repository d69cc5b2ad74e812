"""`legacy shadow` as a person types it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

from typer.testing import Result

from dsplatform.bootstrap import bootstrap
from dsplatform.core.settings import Settings
from dsplatform.migration.shadow import Difference, Outcome

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_what_differs_is_shown_until_it_is_forgotten(run: Callable[..., Result], settings: Settings, database_url: str) -> None:
    assert "0 answer(s) compared, 0 differ" in run("legacy", "shadow").stdout
    why = "schemas are captured anew"
    with bootstrap(settings, database_url) as platform:
        platform.shadow.note(
            {Outcome.SAME: 1_200, Outcome.EXPLAINED: 1, Outcome.DIFFERENT: 1, Outcome.SKIPPED: 3},
            [
                Difference(AT, "GET", "/api/datasets/7", 200, 200, [{"at": "/name[red]", "kind": "value"}]),
                Difference(AT, "GET", "/api/datasets/7/versions/9/schema", 200, 200, [{"at": "/id", "kind": "value"}], why),
            ],
        )
    result = run("legacy", "shadow")
    assert result.exit_code == 1
    shown = result.stdout
    assert "1,202 answer(s) compared, 1 differ and nothing explains it" in shown
    assert "GET /api/datasets/7 " in shown
    assert "/name[red] (value)" in shown
    assert why in shown
    told = json.loads(run("legacy", "shadow", "--json").stdout)
    assert (told["compared"], told["unexplained"], told["counts"]["skipped"], told["explanations"]) == (1_202, 1, 3, {why: 1})
    assert [one["path"] for one in told["differences"]] == ["/api/datasets/7"]
    assert "0 answer(s) compared, 0 differ" in run("legacy", "shadow", "--reset").stdout
