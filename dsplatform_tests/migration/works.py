"""What is done in processes that are killed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dsplatform.bootstrap import Platform
from dsplatform.migration.model import Reason
from dsplatform.migration.step import Step, Surroundings
from dsplatform.migration.steps import every_step
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
