"""T10: 32 writers in two processes on one branch. What was acknowledged is in its history, which has no fork and no gap."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.settings import Settings
from dsplatform.core.values import DatasetRef
from dsplatform.versioning.pointers import Pointers
from dsplatform.versioning.publishing import Publisher
from dsplatform.versioning.turns import Turns
from dsplatform_tests import make

PROCESSES, THREADS = 2, 16


@dataclass(frozen=True)
class Task:
    """What a process does, and how."""

    home: str
    url: str
    dataset: DatasetRef
    process: int
    each: int
    take_turns: bool
    """Whether the threads of the process wait for each other, as the product has it; else each is a process by itself."""
    blind: bool
    """Whether the branch is moved without being compared."""


@dataclass
class Done:
    acknowledged: list[tuple[int, str]]
    """(number of the version, name of the component that it added)."""
    collisions: int


def write(task: Task) -> Done:
    """Sixteen threads of a process of its own."""
    done = Done([], 0)
    collided = count(1)
    rebase = Publisher._rebase

    def counted(self: Publisher, *args: Any) -> Any:
        done.collisions = next(collided)
        return rebase(self, *args)

    settings = Settings.from_env({"DSPLATFORM_HOME": task.home})
    with pytest.MonkeyPatch.context() as monkeypatch, make.crowded(settings, task.url, THREADS + 1) as platform:
        monkeypatch.setattr(Publisher, "_rebase", counted)
        if not task.take_turns:
            monkeypatch.setattr(Turns, "taken", lambda *_: False)
            monkeypatch.setattr(Turns, "on", lambda *_: nullcontext())
        if task.blind:
            monkeypatch.setattr(Pointers, "move", make.moved_blindly)

        def commits(thread: int) -> None:
            for number in range(task.each):
                name = f"{task.process}/{thread}/{number}"
                committed = make.commit(platform, task.dataset, {name: name.encode()})
                done.acknowledged.append((committed.version_number, name))

        make.at_once(*[lambda thread=thread: commits(thread) for thread in range(THREADS)])
    return done


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def _written(processes: ProcessPoolExecutor, platform: Platform, url: str, **how: Any) -> tuple[DatasetRef, list[tuple[int, str]], int]:
    """(the dataset, what was acknowledged, how many commits met)."""
    dataset = make.dataset(platform)
    make.commit(platform, dataset, {"base": b"0"})
    tasks = [Task(str(platform.settings.home), url, dataset, process, **how) for process in range(PROCESSES)]
    done = list(processes.map(write, tasks))
    return dataset, [one for some in done for one in some.acknowledged], sum(some.collisions for some in done)


def _lost(platform: Platform, dataset: DatasetRef, acknowledged: list[tuple[int, str]]) -> set[tuple[int, str]]:
    """Acknowledged commits that are not in the history of the branch, or whose component is not in its head."""
    line = platform.branches.history(platform.actor(), dataset, limit=100_000)
    reachable = {version.number for version in line}
    _, components = platform.versions.get_version(platform.actor(), dataset)
    there = {component.name for component in components}
    return {(number, name) for number, name in acknowledged if number not in reachable or name not in there}


def _all_is_kept(processes: ProcessPoolExecutor, platform: Platform, url: str, *, each: int, take_turns: bool) -> None:
    dataset, acknowledged, collisions = _written(processes, platform, url, each=each, take_turns=take_turns, blind=False)
    made = PROCESSES * THREADS * each + 1
    print(f"{made - 1} commits, {collisions} collisions")
    assert collisions > 0
    assert len(acknowledged) == made - 1
    assert _lost(platform, dataset, acknowledged) == set()
    line = platform.branches.history(platform.actor(), dataset, limit=100_000)
    assert [version.number for version in line] == list(range(made, 0, -1))
    assert [version.parent_number for version in line] == [*range(made - 1, 0, -1), None]
    assert sorted(number for number, _ in acknowledged) == list(range(2, made + 1))
    make.assert_sound(platform)


@pytest.mark.parametrize("take_turns", [True, False], ids=["in-turns", "all-apart"])
def test_every_acknowledged_commit_is_in_the_history(
    take_turns: bool, processes: ProcessPoolExecutor, platform: Platform, database_url: str
) -> None:
    _all_is_kept(processes, platform, database_url, each=5, take_turns=take_turns)


@pytest.mark.soak
def test_3_200_commits(processes: ProcessPoolExecutor, platform: Platform, database_url: str) -> None:
    _all_is_kept(processes, platform, database_url, each=100, take_turns=False)


def test_a_branch_that_is_moved_blindly_loses_some(processes: ProcessPoolExecutor, platform: Platform, database_url: str) -> None:
    dataset, acknowledged, _ = _written(processes, platform, database_url, each=3, take_turns=False, blind=True)
    lost = _lost(platform, dataset, acknowledged)
    print(f"{len(lost)} of {len(acknowledged)} lost")
    assert len(lost) > len(acknowledged) // 4
