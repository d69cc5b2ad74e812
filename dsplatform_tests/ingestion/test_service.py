import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Denied, Invalid, NotFound, Unavailable
from dsplatform.core.settings import Settings
from dsplatform.core.types import PermissionType
from dsplatform.ingestion.model import InboxState, IngestReport, Sighting
from dsplatform.ingestion.repository import Inbox
from dsplatform.versioning.pointers import Pointers
from dsplatform_tests import make


def drop(platform: Platform, path: str, content: str = "id,name\n1,ann\n", *, done: bool = True) -> Path:
    """A file in the drop folder, complete unless said otherwise."""
    target = platform.settings.drop_dir / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content)
    if done:
        target.with_name(target.name + ".done").touch()
    return target


def ingest(platform: Platform) -> IngestReport:
    platform.ingestion.discover()
    return platform.ingestion.ingest_ready()


def states(report: IngestReport) -> dict[str, InboxState]:
    return {outcome.path: outcome.state for outcome in report.outcomes}


def reasons(report: IngestReport) -> dict[str, str]:
    return {outcome.path: outcome.reason or "" for outcome in report.rejected}


def content(platform: Platform, reference: str) -> dict[str, bytes]:
    """What a version holds: name to bytes."""
    _, _, components = platform.versions.find(platform.actor(), reference)
    held = {}
    for component in components:
        with platform.files.verified_chunks(component.file_id) as chunks:
            held[str(component.name)] = b"".join(chunks)
    return held


def left_in_drop(platform: Platform) -> list[str]:
    root = platform.settings.drop_dir
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


# --- the way of a file -----------------------------------------------------------------------------------------------------------


def test_a_dropped_file_becomes_a_version_and_leaves_the_folder(platform: Platform) -> None:
    drop(platform, "sales/orders.csv", "id\n1\n")
    report = ingest(platform)
    assert states(report) == {"sales/orders.csv": InboxState.ACCEPTED}
    assert content(platform, "sales@1") == {"orders.csv": b"id\n1\n"}
    assert left_in_drop(platform) == []
    assert platform.ingestion.discover().files == 0


def test_a_file_is_taken_after_two_looks_and_the_settle_time(settings: Settings, database_url: str) -> None:
    with bootstrap(replace(settings, settle_seconds=3600), database_url) as slow:
        drop(slow, "sales/a.csv", done=False)
        for _ in range(3):
            assert slow.ingestion.discover().ready == 0
    with bootstrap(settings, database_url) as quick:
        assert quick.ingestion.discover().ready == 1


def test_one_look_is_not_enough_without_a_marker(platform: Platform) -> None:
    drop(platform, "sales/a.csv", done=False)
    assert platform.ingestion.discover().ready == 0
    assert platform.ingestion.discover().ready == 1


def test_a_file_that_grows_between_looks_starts_anew(platform: Platform) -> None:
    path = drop(platform, "sales/a.csv", done=False)
    platform.ingestion.discover()
    path.write_text("id,name\n1,ann\n2,bob\n")
    assert platform.ingestion.discover().ready == 0
    assert platform.ingestion.discover().ready == 1


def test_a_file_that_grows_after_it_was_complete_is_not_taken_half(platform: Platform) -> None:
    path = drop(platform, "sales/a.csv")
    assert platform.ingestion.discover().ready == 1
    path.write_text("id,name\n1,ann\n2,b")  # somebody begins to write it again
    report = platform.ingestion.ingest_ready()
    assert report.outcomes == []
    assert "changed" in (report.postponed[0].reason or "")
    path.write_text("id,name\n1,ann\n2,bob\n")
    assert states(ingest(platform)) == {"sales/a.csv": InboxState.ACCEPTED}
    assert content(platform, "sales") == {"a.csv": b"id,name\n1,ann\n2,bob\n"}


def test_several_files_of_one_dataset_are_one_version(platform: Platform) -> None:
    for name in ("a", "b", "c"):
        drop(platform, f"sales/{name}.csv", name)
    report = ingest(platform)
    assert [version.version_number for version in report.versions] == [1]
    assert set(content(platform, "sales@1")) == {"a.csv", "b.csv", "c.csv"}


def test_a_second_snapshot_of_a_name_starts_the_next_version(platform: Platform) -> None:
    for number in (1, 2, 3):
        drop(platform, "sales/a.csv", f"snapshot {number}")
        ingest(platform)
    assert [content(platform, f"sales@{number}")["a.csv"] for number in (1, 2, 3)] == [b"snapshot 1", b"snapshot 2", b"snapshot 3"]


def test_the_same_bytes_again_are_a_duplicate_and_make_no_version(platform: Platform) -> None:
    for _ in range(2):
        drop(platform, "sales/a.csv")
        report = ingest(platform)
    assert states(report) == {"sales/a.csv": InboxState.DUPLICATE}
    assert report.outcomes[0].version_number == 1
    assert left_in_drop(platform) == []


def test_the_same_bytes_in_another_dataset_are_stored_once(platform: Platform) -> None:
    drop(platform, "a/x.csv")
    drop(platform, "b/y.csv")
    report = ingest(platform)
    assert sorted(str(outcome.stored) for outcome in report.outcomes) == ["False", "True"]
    assert content(platform, "a")["x.csv"] == content(platform, "b")["y.csv"]


def test_a_folder_below_the_dataset_is_a_branch(platform: Platform) -> None:
    drop(platform, "sales/a.csv", "one")
    ingest(platform)
    drop(platform, "sales/next/a.csv", "two")
    ingest(platform)
    assert content(platform, "sales@main") == {"a.csv": b"one"}
    assert content(platform, "sales@next") == {"a.csv": b"two"}


def test_two_paths_for_one_component_are_two_versions_in_order(platform: Platform) -> None:
    drop(platform, "sales/a.csv", "first")
    drop(platform, "sales/main/a.csv", "second")
    report = ingest(platform)
    assert sorted(version.version_number for version in report.versions) == [1, 2]
    assert {content(platform, "sales@1")["a.csv"], content(platform, "sales@2")["a.csv"]} == {b"first", b"second"}


def test_two_names_that_are_equal_in_nfc_conflict(platform: Platform) -> None:
    drop(platform, "sales/caf\u00e9.csv", "one")
    drop(platform, "sales/cafe\u0301.csv", "two")
    report = ingest(platform)
    assert sorted(states(report).values()) == [InboxState.ACCEPTED, InboxState.REJECTED]
    assert "NFC" in next(iter(reasons(report).values()))


def test_a_file_that_was_removed_before_it_was_taken_is_forgotten(platform: Platform) -> None:
    drop(platform, "sales/a.csv").unlink()
    drop(platform, "sales/b.csv", done=False)
    platform.ingestion.discover()
    (platform.settings.drop_dir / "sales" / "b.csv").unlink()
    assert platform.ingestion.discover().files == 0


def test_looking_twice_at_once_changes_nothing(platform: Platform) -> None:
    drop(platform, "sales/a.csv")
    first, second = platform.ingestion.discover(), platform.ingestion.discover()
    assert replace(first, oldest_age_s=0.0) == replace(second, oldest_age_s=0.0)
    assert len(ingest(platform).versions) == 1


# --- refused, with a reason --------------------------------------------------------------------------------------------------------


def test_what_cannot_be_taken_is_refused_with_its_reason_and_the_rest_goes_in(platform: Platform, tmp_path: Path) -> None:
    root = platform.settings.drop_dir
    drop(platform, "sales/good.csv")
    drop(platform, "sales/empty.csv", "")
    drop(platform, "lost.csv")
    drop(platform, "a/b/c/deep.csv")
    drop(platform, "-bad/x.csv")
    drop(platform, "sales/new\nline.csv")
    (tmp_path / "secret").write_text("secret")
    (root / "sales" / "link.csv").symlink_to(tmp_path / "secret")
    os.mkfifo(root / "sales" / "fifo.csv")
    report = ingest(platform)
    assert states(report)["sales/good.csv"] is InboxState.ACCEPTED
    said = reasons(report)
    expected = {
        "sales/empty.csv": "empty",
        "lost.csv": "no dataset's folder",
        "a/b/c/deep.csv": "too deep",
        "-bad/x.csv": "no valid dataset name",
        "sales/new\nline.csv": "U+000A",
        "sales/link.csv": "link",
        "sales/fifo.csv": "regular file",
    }
    assert {path: word in said[path] for path, word in expected.items()} == dict.fromkeys(expected, True)
    assert len(said) == len(expected)
    assert left_in_drop(platform) == []
    rejected = platform.settings.rejected_dir
    assert rejected is not None
    assert (rejected / "sales" / "empty.csv.reason.json").exists()
    assert set(content(platform, "sales")) == {"good.csv"}
    assert sorted(entry.source_path for entry in platform.ingestion.outcomes(platform.system(), only=InboxState.REJECTED)) == sorted(said)


def test_a_file_without_read_permission_is_refused(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    path = drop(platform, "sales/a.csv")
    really_open = os.open

    def denied(file: object, *args: int, **more: int) -> int:
        if str(file) == str(path):
            raise PermissionError(13, "Permission denied")
        return really_open(file, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", denied)  # root may read anything, so the mode bits alone show nothing
    assert "permission" in reasons(ingest(platform))["sales/a.csv"]


def test_a_dataset_of_somebody_else_takes_files_only_with_her_leave(settings: Settings, database_url: str) -> None:
    with bootstrap(replace(settings, drop_user="ben"), database_url) as platform:
        ann, ben = platform.permissions.create_user("ann"), platform.permissions.create_user("ben")
        theirs = platform.datasets.create_dataset(ann, "sales")
        drop(platform, "sales/a.csv")
        (unseen,) = ingest(platform).outcomes
        assert unseen.dataset == "sales~2", "what Ben may not see is as what does not exist"
        platform.datasets.delete_dataset(ben, "sales")
        platform.permissions.grant_permission(ann, ben, PermissionType.READ, theirs.id)
        drop(platform, "sales/a.csv")
        assert "lacks the right 'write'" in reasons(ingest(platform))["sales/a.csv"]
        platform.permissions.grant_permission(ann, ben, PermissionType.WRITE, theirs.id)
        drop(platform, "sales/a.csv")
        assert states(ingest(platform)) == {"sales/a.csv": InboxState.ACCEPTED}
        assert platform.datasets.get(ann, "sales").versions == 1


def test_a_refused_file_leaves_no_dataset_behind(platform: Platform) -> None:
    drop(platform, "sales/empty.csv", "")
    ingest(platform)
    assert platform.datasets.list_datasets(platform.actor()) == []


def test_with_moves_off_a_file_stays_and_is_taken_once(settings: Settings, database_url: str) -> None:
    with bootstrap(replace(settings, processed_dir=None, rejected_dir=None), database_url) as still:
        path = drop(still, "sales/a.csv", "one")
        drop(still, "sales/bad.csv", "")
        assert len(ingest(still).outcomes) == 2
        assert path.exists()
        assert ingest(still).outcomes == []
        assert still.ingestion.discover().files == 0
        path.unlink()
        drop(still, "sales/a.csv", "two")
        assert len(ingest(still).versions) == 1
        assert content(still, "sales@2") == {"a.csv": b"two"}


# --- crashes and rivals --------------------------------------------------------------------------------------------------------------


def _claim(platform: Platform, claimer: str) -> int:
    with platform.db.transaction() as tx:
        inbox = Inbox(tx, str(platform.settings.drop_dir))
        inbox.free_dead_claims()
        return len(inbox.claim(claimer, None, 100))


def test_what_a_dead_run_had_claimed_is_taken_up(platform: Platform) -> None:
    drop(platform, "sales/a.csv")
    platform.ingestion.discover()
    assert _claim(platform, "inbox:dead") == 1  # its session, which would hold the lock, is gone
    assert states(platform.ingestion.ingest_ready()) == {"sales/a.csv": InboxState.ACCEPTED}


def test_what_a_living_run_has_claimed_is_left_to_it(platform: Platform) -> None:
    drop(platform, "sales/a.csv")
    platform.ingestion.discover()
    with platform.db.advisory_lock("inbox:alive") as held:
        assert held
        assert _claim(platform, "inbox:alive") == 1
        assert platform.ingestion.ingest_ready().outcomes == []
        assert platform.ingestion.discover().claimed == 1
    assert len(platform.ingestion.ingest_ready().outcomes) == 1


def test_a_version_is_not_made_when_the_claim_was_lost(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outcome of a file and its version are one transaction."""
    drop(platform, "sales/a.csv")
    platform.ingestion.discover()

    def stolen(self: Inbox, claimer: str, outcomes: object) -> int:
        return 0

    monkeypatch.setattr(Inbox, "decide", stolen)
    report = platform.ingestion.ingest_ready()
    assert report.versions == []
    monkeypatch.undo()
    with pytest.raises(NotFound):
        content(platform, "sales")
    assert states(ingest(platform)) == {"sales/a.csv": InboxState.ACCEPTED}


def test_a_crash_after_the_commit_moves_the_file_next_time(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    path = drop(platform, "sales/a.csv")

    def power_cut(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr("dsplatform.ingestion.sources.DropFolder.put_away", power_cut)
    with pytest.raises(KeyboardInterrupt):
        ingest(platform)
    monkeypatch.undo()
    assert path.exists()
    assert platform.ingestion.discover().files == 0  # it has its outcome and is no new arrival
    assert platform.ingestion.ingest_ready().outcomes == []
    assert not path.exists()
    assert content(platform, "sales@latest") == {"a.csv": b"id,name\n1,ann\n"}


def test_a_failing_batch_gives_its_files_back(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    drop(platform, "sales/a.csv")

    def full(*_: object) -> None:
        raise Unavailable("the storage has no space left")

    monkeypatch.setattr("dsplatform.files.stores.LocalStorage.put", full)
    with pytest.raises(Unavailable, match="no space left"):
        ingest(platform)
    monkeypatch.undo()
    platform.ingestion.discover()
    assert states(ingest(platform)) == {"sales/a.csv": InboxState.ACCEPTED}


def test_a_file_that_cannot_be_moved_has_its_version_all_the_same(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    drop(platform, "sales/a.csv")

    def readonly(*_: object) -> bool:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("dsplatform.ingestion.sources.DropFolder.put_away", readonly)
    assert states(ingest(platform)) == {"sales/a.csv": InboxState.ACCEPTED}
    assert ingest(platform).outcomes == []


@contextmanager
def _moving_head(platform: Platform, before_commit: Callable[[], None]) -> Iterator[None]:
    """Runs something between the draft of a version and its commit."""
    seal = "dsplatform.files.upload.StagedUpload.seal"
    patch = pytest.MonkeyPatch()
    from dsplatform.files.upload import StagedUpload

    original = StagedUpload.seal

    def sealing(self: StagedUpload) -> None:
        original(self)
        patch.undo()
        before_commit()

    patch.setattr(seal, sealing)
    try:
        yield
    finally:
        patch.undo()


@pytest.mark.usefixtures("apart")
def test_a_commit_that_is_overtaken_is_worked_out_again(platform: Platform, tmp_path: Path) -> None:
    drop(platform, "sales/a.csv", "from the folder")
    (tmp_path / "b.csv").write_text("by hand")
    with _moving_head(platform, lambda: _by_hand(platform, tmp_path / "b.csv")):
        ingest(platform)
    assert content(platform, "sales@main") == {"a.csv": b"from the folder", "b.csv": b"by hand"}


@pytest.mark.usefixtures("apart")
def test_without_compare_and_swap_an_overtaken_commit_loses_the_other(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant of the test above: a head that is never compared loses what came between."""
    drop(platform, "sales/z.csv", "so that main exists")
    ingest(platform)
    drop(platform, "sales/a.csv", "from the folder")
    (tmp_path / "b.csv").write_text("by hand")
    stale: list[object] = []
    real = Pointers.head

    def blind(self: Pointers, dataset_id: object, branch: object) -> object:
        found = real(self, dataset_id, branch)  # type: ignore[arg-type]
        stale.append(found)
        return stale[0]

    def moved(self: Pointers, dataset_id: int, branch: str, seen: int, to: int, *_: object) -> bool:
        self._tx.execute(
            "UPDATE dataset_pointers SET version_id = :to WHERE dataset_id = :d AND pointer_name = :n", to=to, d=dataset_id, n=branch
        )
        return True

    def by_hand_then_blind() -> None:
        patch.undo()
        _by_hand(platform, tmp_path / "b.csv")
        monkeypatch.setattr(Pointers, "head", lambda *_: stale[0])
        monkeypatch.setattr(Pointers, "move", moved)

    patch = pytest.MonkeyPatch()
    patch.setattr(Pointers, "head", blind)
    with _moving_head(platform, by_hand_then_blind):
        ingest(platform)
    monkeypatch.undo()
    assert "b.csv" not in content(platform, "sales@main")


def _by_hand(platform: Platform, path: Path) -> None:
    platform.ingestion.ingest_paths(platform.system(), [path], "sales")


# --- named files ---------------------------------------------------------------------------------------------------------------------


def test_named_files_and_folders_become_one_version(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "in" / "2026").mkdir(parents=True)
    (tmp_path / "in" / "2026" / "a.csv").write_text("a")
    (tmp_path / "b.csv").write_text("b")
    report = platform.ingestion.ingest_paths(platform.system(), [tmp_path / "in", tmp_path / "b.csv"], "sales", message="by hand")
    assert content(platform, "sales@1") == {"2026/a.csv": b"a", "b.csv": b"b"}
    assert (tmp_path / "b.csv").exists()
    assert report.versions[0].added == 2
    assert platform.versions.find(platform.actor(), "sales")[1].message == "by hand"


def test_named_files_report_what_was_refused(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("a")
    (tmp_path / "in" / "empty.csv").write_text("")
    os.mkfifo(tmp_path / "in" / "fifo.csv")
    report = platform.ingestion.ingest_paths(platform.system(), [tmp_path / "in"], "sales")
    assert {Path(path).name for path in reasons(report)} == {"empty.csv", "fifo.csv"}
    assert set(content(platform, "sales")) == {"a.csv"}


def test_replacing_with_a_file_that_cannot_be_taken_changes_nothing(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("a")
    platform.ingestion.ingest_paths(platform.system(), [tmp_path / "in"], "sales")
    (tmp_path / "in" / "b.csv").write_text("")
    with pytest.raises(Invalid, match="nothing was changed"):
        platform.ingestion.ingest_paths(platform.system(), [tmp_path / "in"], "sales", replace_all=True)
    os.mkfifo(tmp_path / "in" / "c.csv")
    with pytest.raises(Invalid, match="nothing was changed"):
        platform.ingestion.ingest_paths(platform.system(), [tmp_path / "in"], "sales", replace_all=True)
    assert set(content(platform, "sales@latest")) == {"a.csv"}
    assert platform.versions.find(platform.actor(), "sales@latest")[1].number == 1


def test_replacing_leaves_out_what_is_not_named(platform: Platform, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(name)
        platform.ingestion.ingest_paths(platform.system(), [tmp_path / name], "sales")
    platform.ingestion.ingest_paths(platform.system(), [tmp_path / "b.csv"], "sales", replace_all=True)
    assert set(content(platform, "sales")) == {"b.csv"}


def test_two_named_files_of_one_name_are_refused(platform: Platform, tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.csv").write_text(folder)
    with pytest.raises(Invalid, match="would both be component"):
        platform.ingestion.ingest_paths(platform.system(), [tmp_path / "x" / "a.csv", tmp_path / "y" / "a.csv"], "sales")


def test_a_dataset_can_be_named_by_its_slug(platform: Platform, tmp_path: Path) -> None:
    platform.datasets.create_dataset(platform.permissions.create_user("ann"), "sales")
    mine = platform.datasets.create_dataset(platform.actor(), "sales")
    assert mine.slug == "sales~2"
    (tmp_path / "a.csv").write_text("a")
    report = platform.ingestion.ingest_paths(platform.system(), [tmp_path / "a.csv"], "sales~2")
    assert report.versions[0].dataset.id == mine.id


def test_who_may_not_write_is_told_so_and_nothing_is_stored(platform: Platform, system: Actor, tmp_path: Path) -> None:
    ben = platform.permissions.create_user("ben")
    sales = platform.datasets.create_dataset(system, "sales")
    platform.permissions.grant_permission(system, ben, PermissionType.READ, sales.id)
    (tmp_path / "a.csv").write_text("a")
    with pytest.raises(Denied, match="lacks the right 'write'"):
        platform.ingestion.ingest_paths(ben, [tmp_path / "a.csv"], "sales")
    assert make.column(platform.db, "SELECT count(*) FROM files") == [0]
    platform.permissions.grant_permission(system, ben, PermissionType.WRITE, sales.id)
    (committed,) = platform.ingestion.ingest_paths(ben, [tmp_path / "a.csv"], "sales").versions
    assert (committed.dataset, committed.version_number) == (sales, 1)


def test_an_entry_shows_what_became_of_its_file(platform: Platform) -> None:
    drop(platform, "sales/a.csv", "id,name\n1,ann\n2,bob\n")
    drop(platform, "sales/waits.csv", done=False)
    report = ingest(platform)
    platform.schemas.capture_version_schema(report.versions[0].version_id)
    waiting, taken = platform.ingestion.outcomes(platform.system())
    assert (waiting.source_path, waiting.state) == ("sales/waits.csv", "seen")
    assert (taken.source_path, taken.dataset, taken.version_number) == ("sales/a.csv", "sales", 1)
    assert (taken.rows, taken.columns, taken.stored, taken.schema_captured) == (2, 2, True, True)


def test_sightings_of_many_files_are_one_statement_each(platform: Platform) -> None:
    sightings = [Sighting(f"sales/{number}.csv", number, 1, number, marked=True) for number in range(10_000)]
    with platform.db.transaction() as tx:
        inbox = Inbox(tx, "elsewhere")
        inbox.sight(sightings, 0, complete=True)
        assert inbox.standing(complete=True).ready == 10_000
