"""T07: what users, operators, time and faults do in any order, against real PostgreSQL and beside a model in memory; and what breaks
when a rule of the protocol is taken out."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.errors import DsplatformError
from dsplatform.core.roles import ROLE
from dsplatform.core.settings import Settings
from dsplatform.core.values import CommitMode
from dsplatform.files import refuse
from dsplatform.files.repository import Files
from dsplatform.local import EmbeddedPostgres
from dsplatform.versioning import deletion, merging, retention
from dsplatform.versioning.pointers import Pointers
from dsplatform.versioning.publishing import Publisher
from dsplatform_tests import conftest, make
from dsplatform_tests.journeys.upkeep import Upkeep

MEMORY = Path("/dev/shm")
ROUNDS = 4
"""How often the examples are made at most: those of one round resemble each other, and may leave out what usually happens."""
EXAMPLES = settings(
    max_examples=100,
    stateful_step_count=25,
    deadline=None,
    report_multiple_bugs=False,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def shared(server: EmbeddedPostgres) -> Iterator[Platform]:
    """One platform for all examples, with its objects in memory: nothing here asks what a power cut leaves."""
    with (
        tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as home,
        conftest._database(server, "template") as name,
        bootstrap(Settings.from_env({"DSPLATFORM_HOME": home}), server.url(name, user=ROLE)) as platform,
    ):
        with make.tampering(platform.db) as tx:
            tx.execute("DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET synchronous_commit = off'; END $$")
        platform.gc.collect(platform.system())  # the database is bound to its store
        yield platform


def run(platform: Platform, limits: settings) -> Counter[str]:
    """Runs examples; answers what happened in them, and how often."""

    class Machine(Upkeep):
        pass

    Machine.platform = platform
    Machine.happened = Counter()
    run_state_machine_as_test(Machine, settings=limits)
    return Machine.happened


MUST_HAPPEN = (
    "merged",
    "fast-forwarded",
    "already merged",
    "refused: MergeConflict",
    "refused: HeadMoved",
    "refused: VersionNamed",
    "refused: Gone",
    "committed nothing",
    "let go by a rule",
    "restored",
    "collected",
    "purged",
    "healed",
    "found by scrubbing",
)


@pytest.mark.long
@pytest.mark.no_cover  # other tests cover the same; tracing would double its minutes
@pytest.mark.timeout(900)  # a failure is made small before it is shown
@pytest.mark.parametrize("part", range(2))
def test_whatever_happens_the_platform_is_what_the_model_says(part: int, shared: Platform) -> None:
    happened: Counter[str] = Counter()
    for _ in range(ROUNDS):
        happened += run(shared, EXAMPLES)
        if all(happened[what] for what in MUST_HAPPEN):
            break
    print(dict(sorted(happened.items())))
    assert [what for what in MUST_HAPPEN if not happened[what]] == []


@pytest.mark.soak
def test_for_hours(shared: Platform) -> None:
    happened = run(shared, settings(EXAMPLES, max_examples=20_000, stateful_step_count=50))
    print(dict(sorted(happened.items())))
    assert [what for what in MUST_HAPPEN if not happened[what]] == []


# --- mutants -------------------------------------------------------------------------------------------------------------------


def forget_overlays(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "dataset_versions")


def forget_staged_files(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "staged_files")


def _without(monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    """A collector that does not ask one of the three kinds of reference."""
    parts = refuse.UNREFERENCED.strip().split("\n    AND ")
    kept = [part for part in parts if f"FROM {table} " not in part]
    assert len(kept) == 2
    monkeypatch.setattr(refuse, "UNREFERENCED", " AND ".join(kept))


def commit_wherever_the_branch_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Publisher, "_expect", lambda *_: None)


def move_without_comparing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pointers, "move", make.moved_blindly)


def merge_only_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge that drops the components which neither side touched."""
    real = merging.change
    monkeypatch.setattr(merging, "change", lambda *args: replace(real(*args), mode=CommitMode.REPLACE))


def let_go_what_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = retention.let_go
    unnamed = lambda rule, candidates: real(rule, [replace(candidate, named=False) for candidate in candidates])  # noqa: E731
    monkeypatch.setattr(deletion, "let_go", unnamed)


def heal_and_forget_the_old_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Files, "bury", lambda *_: None)


@pytest.mark.long
@pytest.mark.parametrize(
    "mutant",
    [
        forget_overlays,
        forget_staged_files,
        commit_wherever_the_branch_is,
        move_without_comparing,
        merge_only_what_changed,
        let_go_what_is_named,
        heal_and_forget_the_old_object,
    ],
)
def test_the_model_finds(mutant: Callable[[pytest.MonkeyPatch], None], shared: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    with pytest.raises((AssertionError, DsplatformError)):
        run(shared, settings(EXAMPLES, max_examples=300, phases=[Phase.generate]))
