"""What is done in processes that are killed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.migration.changes import ChangeLog
from dsplatform.migration.model import Entity, Reason
from dsplatform.migration.step import Step, Surroundings
from dsplatform.migration.steps import every_step
from dsplatform.migration.switching import SwitchService
from dsplatform_tests.journeys.crew import Ledger
from dsplatform_tests.migration import make

BATCH = 7


def small(around: Surroundings) -> Sequence[Step[Any]]:
    """The steps, with many batches."""
    steps = every_step(around)
    for step in steps:
        step.batch = BATCH
    return steps


def migrate(platform: Platform, seed: int, ledger: Ledger) -> None:
    """A whole run, from wherever the one before came."""
    about = json.loads((platform.settings.home / "legacy.json").read_text())
    folder = Path(about["folder"])
    mounts = [(old, Path(new)) for old, new in about["mounts"]]
    done = make.migration(platform, about["url"], folder, base=folder, mounts=mounts, steps=small).migrate(
        platform.system(), accept=list(Reason)
    )
    ledger.write("migrated", written=done.written)


class NothingBack:
    """A way back that has nothing to bring."""

    def bring(self, _actor: Actor, _datasets: Sequence[int], _users: Sequence[int], _files: Sequence[int] = ()) -> Sequence[str]:
        """Nothing."""
        return []


def switching(platform: Platform) -> SwitchService:
    """Both systems, of which the file in the home tells."""
    about = json.loads((platform.settings.home / "legacy.json").read_text())
    folder = Path(about["folder"])
    migration = make.migration(platform, about["url"], folder, base=folder, mounts=[(old, Path(new)) for old, new in about["mounts"]])
    log = ChangeLog(about["url"], list(Entity))
    return SwitchService(platform.db, platform.permissions, migration, log, lambda _: [], NothingBack())


def follow(platform: Platform, seed: int, ledger: Ledger) -> None:
    """One pass over the change log."""
    switching(platform).follow(platform.system())


def switch(platform: Platform, seed: int, ledger: Ledger) -> None:
    """Takes over."""
    switching(platform).switch(platform.system())


def rollback(platform: Platform, seed: int, ledger: Ledger) -> None:
    """Goes back."""
    switching(platform).rollback(platform.system())
