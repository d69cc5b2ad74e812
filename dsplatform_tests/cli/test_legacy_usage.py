"""`legacy usage` as a person types it."""

import json
from collections.abc import Callable

from typer.testing import Result

from dsplatform.core.database import Database
from dsplatform.migration.usage_rows import UsageRows


def test_who_uses_the_old_paths_is_shown_the_most_used_first(run: Callable[..., Result], database_url: str) -> None:
    with Database(database_url) as db, db.transaction() as tx:
        UsageRows(tx).add({("GET /api/datasets", "ada", "curl"): 2, ("GET /api/users", "[red]bob", "other"): 7})
        UsageRows(tx).add({("GET /api/datasets", "ada", "curl"): 1})
        tx.execute("INSERT INTO legacy_usage VALUES (current_date - 30, 'GET /old', 'ada', 'curl', 1)")
    lines = run("legacy", "usage").stdout.splitlines()
    assert "GET /api/users" in lines[1]
    assert "[red]bob" in lines[1]
    assert len(lines) == 3
    told = json.loads(run("legacy", "usage", "--days", "31", "--json").stdout)
    assert [(one["endpoint"], one["requests"]) for one in told] == [("GET /api/users", 7), ("GET /api/datasets", 3), ("GET /old", 1)]
