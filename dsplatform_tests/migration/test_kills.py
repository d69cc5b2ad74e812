"""A migration is killed again and again, and ends as one that nobody disturbed: byte for byte the same, nothing lost, nothing left over.

CI kills 20 times, `make soak` 200 times.
"""

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.settings import Settings
from dsplatform.migration.model import Reason
from dsplatform_tests.journeys.crew import Crew
from dsplatform_tests.legacy.generator import Built, build
from dsplatform_tests.make import assert_sound
from dsplatform_tests.migration import make
from dsplatform_tests.migration.dumps import differing, dump


def run(crew: Crew, platform: Platform, url: str, ledger: Path, *, point: str = "", after: float | None = None) -> bool:
    """Lets a process migrate, and kills it after some seconds; whether it was killed."""
    pid = crew.start("dsplatform_tests.migration.works:migrate", platform.settings.home, url, ledger, point=point)
    until = time.monotonic() + (3600 if after is None else after)
    while (code := crew.ended(pid, wait=False)) is None:
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            code = crew.ended(pid)
            break
        time.sleep(0.002)
    assert code in {0, -signal.SIGKILL}
    return code != 0


@pytest.fixture
def built(platform: Platform, legacy_url: str, legacy_folder: Path, kills: int) -> Built:
    built = build(legacy_url, legacy_folder, "G1a", datasets=kills // 2)
    mounts = [(old, str(new)) for old, new in built.mounts]
    (platform.settings.home / "legacy.json").write_text(json.dumps({"url": built.url, "folder": str(built.folder), "mounts": mounts}))
    return built


@pytest.fixture
def undisturbed(built: Built, tmp_path: Path, other_database_url: str) -> dict[str, Any]:
    """What one run leaves that nobody kills, with batches of another size."""
    with bootstrap(Settings.from_env({"DSPLATFORM_HOME": str(tmp_path / "undisturbed")}), other_database_url) as platform:
        migration = make.migration(platform, built.url, built.folder, base=built.folder, mounts=built.mounts)
        migration.migrate(platform.system(), accept=list(Reason))
        return dump(platform.db)


def assert_as_undisturbed(platform: Platform, built: Built, undisturbed: dict[str, Any]) -> None:
    assert differing(dump(platform.db), undisturbed) == {}
    migration = make.migration(platform, built.url, built.folder, base=built.folder, mounts=built.mounts)
    assert all(account.holds for account in migration.status(platform.system()).accounts)
    assert migration.migrate(platform.system()).written == 0
    assert differing(dump(platform.db), undisturbed) == {}
    with platform.db.transaction() as tx:
        tx.execute("UPDATE upload_intents SET expires_at = now() - interval '1 second'")
    platform.gc.collect(platform.system())
    assert_sound(platform)


POINTS = ["legacy.begun", "legacy.landed", "legacy.committed"]


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.soak)])
def test_kills_at_any_moment_change_nothing(
    kills: int, platform: Platform, database_url: str, crew: Crew, built: Built, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    """Every third at one of the named points, in the first batches from where the one before was killed; the others at any time, from
    before the first statement on. When all has landed, they hit the pass that looks for changes."""
    rng = random.Random(kills)
    killed = 0
    while killed < kills:
        if killed % 3 == 0:
            point = POINTS[killed // 3 % 3]
            assert run(crew, platform, database_url, tmp_path / "ledger", point=f"{point}:kill:{rng.randint(1, 4)}"), "not reached"
            killed += 1
        else:
            killed += run(crew, platform, database_url, tmp_path / "ledger", after=rng.uniform(0.0, 0.25))
    assert not run(crew, platform, database_url, tmp_path / "ledger")
    assert_as_undisturbed(platform, built, undisturbed)
