"""Where a workload runs, and how it answers."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.database import Database, Transaction
from dsplatform.core.settings import Settings
from dsplatform.local import database_for, upgrade

homes = count(1)
"""Numbers of the homes of this process."""


@contextmanager
def home(scratch: Path) -> Iterator[tuple[dict[str, str], str]]:
    """A fresh home with a running database, as `dsplatform up` has it: (environment of a command, URL)."""
    env = {"DSPLATFORM_HOME": str(scratch / f"home{next(homes)}")}
    with database_for(Settings.from_env(env)) as databases:
        upgrade(databases.owner)
        yield env, databases.services


@contextmanager
def fresh_platform(scratch: Path) -> Iterator[Platform]:
    gc.set_threshold(100_000, 50, 100)  # as the command line sets it
    with home(scratch) as (env, url), bootstrap(Settings.from_env(env), url) as platform:
        yield platform


@contextmanager
def owner(platform: Platform) -> Iterator[Transaction]:
    """For what the services may not do: statistics, checkpoints. Each statement is a transaction of its own."""
    with (
        database_for(platform.settings) as databases,
        Database(databases.owner, as_login=True) as database,
        database.autocommit() as tx,
    ):
        yield tx


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], note: str = "") -> str:
    lines = [f"## {title}", "", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(str(value) for value in row)} |" for row in rows]
    return "\n".join([*lines, "", note, ""] if note else [*lines, ""])
