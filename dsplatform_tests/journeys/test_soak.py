"""Everybody at work at once, while processes are killed and stopped at random moments and the database dies: 0 lost, 0 leaked.

A short one runs in CI; `make soak` runs 1,000 kills, 300 pauses and 20 restarts. SOAK="kills pauses restarts seconds" sets the figures.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.settings import Settings
from dsplatform.embedded import EmbeddedPostgres
from dsplatform_tests import make
from dsplatform_tests.journeys import aftermath, toil
from dsplatform_tests.journeys.conftest import kill
from dsplatform_tests.journeys.crew import Crew, entries

SHORT = "40 10 2 30"
LONG = os.environ.get("SOAK", "1000 300 20 900")

Entries = list[dict[str, Any]]


@dataclass
class Conductor:
    """Keeps every role filled, and does harm."""

    crew: Crew
    server: EmbeddedPostgres
    home: Path
    ledger: Path
    generator: random.Random = field(default_factory=lambda: random.Random(20261123))
    members: dict[int, str] = field(default_factory=dict)
    asleep: dict[int, float] = field(default_factory=dict)
    """Until when, by the monotonic clock."""
    done: Counter[str] = field(default_factory=Counter)

    def begin(self, role: str) -> None:
        self.done["started"] += 1
        job = f"dsplatform_tests.journeys.toil:{role}"
        pid = self.crew.start(job, self.home, self.server.url("dsplatform"), self.ledger, seed=self.done["started"])
        self.members[pid] = role

    def kill(self) -> None:
        """One that sleeps may be killed, too."""
        self.begin(self.end(self.generator.choice(list(self.members))))

    def end(self, pid: int) -> str:
        os.kill(pid, signal.SIGKILL)
        assert self.crew.ended(pid) == -signal.SIGKILL
        self.asleep.pop(pid, None)
        return self.members.pop(pid)

    def pause(self) -> None:
        """For less than an upload lives, or for longer."""
        pid = self.generator.choice([pid for pid in self.members if pid not in self.asleep] or list(self.members))
        os.kill(pid, signal.SIGSTOP)
        self.asleep[pid] = time.monotonic() + self.generator.uniform(0.2, 2.5)

    def restart(self) -> None:
        kill(self.server)

    def wait(self, seconds: float) -> None:
        """Lets them work, and wakes whose time has come."""
        until = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            for pid in [pid for pid, wake in self.asleep.items() if wake <= now]:
                os.kill(pid, signal.SIGCONT)
                del self.asleep[pid]
            if now >= until:
                return
            time.sleep(max(0.0, min([until, *self.asleep.values()]) - now))

    def conduct(self, figures: Sequence[int], seconds: int) -> None:
        harm = [what for what, times in zip(("kill", "pause", "restart"), figures, strict=True) for _ in range(times)]
        self.generator.shuffle(harm)
        for role, number in toil.ROLES.items():
            for _ in range(number):
                self.begin(role)
        for what in harm:
            self.wait(self.generator.uniform(0, 2 * seconds / len(harm)))
            getattr(self, what)()
            self.done[what] += 1
        self.wait(5)
        for pid in list(self.members):
            self.end(pid)


@pytest.mark.long
@pytest.mark.parametrize("figures", [SHORT, pytest.param(LONG, marks=pytest.mark.soak)])
def test_nothing_is_lost_or_leaked_whoever_dies(
    figures: str, settings: Settings, mortal: EmbeddedPostgres, crew: Crew, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    *harm, seconds = map(int, figures.split())
    conductor = Conductor(crew, mortal, settings.home, tmp_path / "ledger")
    with bootstrap(settings, mortal.url("dsplatform")) as platform:
        make.commit(platform, make.dataset(platform, "keeper"), {"kept": b"kept"})
    conductor.conduct(harm, seconds)

    ledger = entries(tmp_path / "ledger")
    with bootstrap(settings, mortal.url("dsplatform")) as platform:
        _until_alone(platform)
        figures_ = _figures(ledger) | conductor.done
        figures_["strays"] = len(make.unaccounted_objects(platform))
        with capsys.disabled():
            print("\nsoak:", ", ".join(f"{what} {count}" for what, count in figures_.items()))
        assert [entry["trace"] for entry in ledger if entry["what"] == "failed"][:3] == []
        assert "deadlock detected" not in mortal.log.read_text()
        _they_met(figures_)
        assert aftermath.unstaged(platform, _kept(ledger)) == []
        assert aftermath.lost(platform, _kept(ledger)) == []
        assert aftermath.unreachable(platform) == []
        assert platform.verify(platform.system(), contents=True).problems == [], (
            "strays of those who slept too long are young, and the sweep's"
        )
        platform.deletion.resume()
        platform.deletion.reap(platform.system())
        assert aftermath.left_over(platform) == {}
        assert aftermath.lost(platform, _kept(ledger)) == []
        aftermath.settled(platform)
        make.assert_sound(platform)


def _until_alone(platform: Platform) -> None:
    """The server notices the death of a client when it next speaks to it."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state IS NOT NULL"
    make.until(lambda: make.column(platform.db, others) == [0], "a dead client's transaction goes on")


def _kept(ledger: Entries) -> Entries:
    """What was acknowledged, and nobody has announced that it would be deleted."""
    announced = {
        entry.get("session") or entry.get("version") or entry["dataset"] for entry in ledger if entry["what"] in {"gives up", "deletes"}
    }

    def gone(entry: dict[str, Any]) -> bool:
        names = {entry.get("session"), entry.get("dataset"), f"{entry.get('dataset')}@{entry.get('number')}"}
        return bool(announced & names)

    return [entry for entry in ledger if entry["what"] in {"version", "staged"} and not gone(entry)]


def _figures(ledger: Entries) -> Counter[str]:
    found: Counter[str] = Counter()
    for entry in ledger:
        found[entry["what"]] += 1
        if entry["what"] == "refused":
            found[f"refused: {entry['error']}"] += 1
        elif entry["what"] == "met":
            found[f"met: {entry['how']}"] += 1
        elif entry["what"] == "collected":
            for what in ("sessions", "uploads", "unreferenced", "purged"):
                found[f"collected: {what}"] += entry[what]
            found["files passed by"] = max(found["files passed by"], entry["skipped"])
        elif entry["what"] == "folded":
            found["deltas folded"] += entry["deltas"]
    found["kept"] = len(_kept(ledger))
    return found


def _they_met(figures: Counter[str]) -> None:
    """A race in which nobody met anybody proves nothing."""
    for what in (
        "met: overtaken",
        "met: head moved",
        "refused: Unavailable",
        "collected: sessions",
        "collected: uploads",
        "collected: unreferenced",
        "collected: purged",
        "deltas folded",
        "verified",
        "scrubbed",
        "deletes",
        "kept",
    ):
        assert figures[what] > 0, f"never: {what}"
