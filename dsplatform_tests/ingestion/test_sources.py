import json
import os
import socket
from pathlib import Path

import pytest

from dsplatform.core.errors import NotFound
from dsplatform.ingestion.model import InboxState, Outcome, Sighting
from dsplatform.ingestion.sources import DropFolder, sources_below


@pytest.fixture
def folder(tmp_path: Path) -> DropFolder:
    made = DropFolder(tmp_path / "drop", tmp_path / "processed", tmp_path / "rejected")
    (made.root / "sales").mkdir(parents=True)
    return made


def drop(folder: DropFolder, path: str, content: str = "a,b\n1,2\n") -> Path:
    target = folder.root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content)
    return target


def seen(folder: DropFolder, path: str) -> Sighting:
    return next(s for s in folder.look().sightings if s.path == path)


def test_a_look_sees_files_with_their_markers_and_nothing_else(folder: DropFolder) -> None:
    drop(folder, "sales/a.csv")
    drop(folder, "sales/b.csv")
    for ignored in ("sales/b.csv.done", "sales/.hidden", "sales/c.csv.part", "sales/d.tmp", ".git/x.csv"):
        drop(folder, ignored)
    look = folder.look()
    assert look.complete
    assert {(s.path, s.marked, s.refusal) for s in look.sightings} == {("sales/a.csv", False, None), ("sales/b.csv", True, None)}


def test_links_fifos_and_sockets_are_seen_but_never_followed(folder: DropFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = tmp_path / "secret"
    outside.mkdir()
    (outside / "x.csv").write_text("secret")
    (folder.root / "sales" / "file-link.csv").symlink_to(outside / "x.csv")
    (folder.root / "linked").symlink_to(outside)
    os.mkfifo(folder.root / "sales" / "fifo.csv")
    monkeypatch.chdir(folder.root / "sales")  # a socket's path may have 107 bytes only
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("sock.csv")
    refusals = {s.path: s.refusal or "" for s in folder.look().sightings}
    assert set(refusals) == {"sales/file-link.csv", "linked", "sales/fifo.csv", "sales/sock.csv"}
    assert "link" in refusals["sales/file-link.csv"]
    assert "link" in refusals["linked"]
    assert "regular file" in refusals["sales/fifo.csv"]
    assert "regular file" in refusals["sales/sock.csv"]


def test_a_look_that_runs_out_of_time_says_so(folder: DropFolder) -> None:
    for number in range(3):
        drop(folder, f"sales/{number}.csv")
    look = folder.look(budget=-1)
    assert not look.complete
    assert len(look.sightings) == 1


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    assert DropFolder(tmp_path / "new" / "drop", None, None).look().sightings == []
    assert (tmp_path / "new" / "drop").is_dir()


def test_a_taken_file_goes_to_processed_and_its_marker_goes(folder: DropFolder) -> None:
    drop(folder, "sales/a.csv", "content")
    drop(folder, "sales/a.csv.done", "")
    assert folder.put_away(seen(folder, "sales/a.csv"), Outcome("sales/a.csv", InboxState.ACCEPTED, "sales"))
    (moved,) = (folder.root.parent / "processed" / "sales").glob("*/a.csv")
    assert moved.read_text() == "content"
    assert list((folder.root / "sales").iterdir()) == []


def test_the_marker_of_a_file_that_a_killed_run_had_moved_goes_too(folder: DropFolder) -> None:
    drop(folder, "sales/a.csv", "content")
    marker = drop(folder, "sales/a.csv.done", "")
    sighting = seen(folder, "sales/a.csv")
    (folder.root / "sales" / "a.csv").unlink()
    assert not folder.put_away(sighting, Outcome("sales/a.csv", InboxState.ACCEPTED, "sales"))
    assert not marker.exists()


def test_a_refused_file_lies_beside_its_reason(folder: DropFolder) -> None:
    drop(folder, "sales/a.csv", "")
    assert folder.put_away(seen(folder, "sales/a.csv"), Outcome("sales/a.csv", InboxState.REJECTED, reason="it is empty"))
    rejected = folder.root.parent / "rejected" / "sales"
    assert (rejected / "a.csv").exists()
    assert json.loads((rejected / "a.csv.reason.json").read_text())["reason"] == "it is empty"


def test_nothing_in_processed_is_overwritten(folder: DropFolder) -> None:
    outcome = Outcome("sales/a.csv", InboxState.ACCEPTED, "sales")
    for content in ("one", "two", "three"):
        drop(folder, "sales/a.csv", content)
        folder.put_away(seen(folder, "sales/a.csv"), outcome)
    moved = (folder.root.parent / "processed" / "sales").glob("*/*")
    assert {path.read_text() for path in moved} == {"one", "two", "three"}


def test_a_file_that_took_the_path_meanwhile_stays(folder: DropFolder) -> None:
    drop(folder, "sales/a.csv", "old")
    old = seen(folder, "sales/a.csv")
    drop(folder, "sales/a.csv", "newer")
    assert not folder.put_away(old, Outcome("sales/a.csv", InboxState.ACCEPTED, "sales"))
    assert (folder.root / "sales" / "a.csv").read_text() == "newer"


def test_a_file_that_takes_the_path_in_the_last_moment_is_put_back(folder: DropFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    path = drop(folder, "sales/a.csv", "old")
    old = seen(folder, "sales/a.csv")
    rename = os.rename

    def racing(source: Path, target: Path) -> None:
        if Path(source) == path and path.read_text() == "old":
            path.unlink()
            path.write_text("newer")
        rename(source, target)

    monkeypatch.setattr(os, "rename", racing)
    assert not folder.put_away(old, Outcome("sales/a.csv", InboxState.ACCEPTED, "sales"))
    assert path.read_text() == "newer"


def test_moves_can_be_turned_off(tmp_path: Path) -> None:
    folder = DropFolder(tmp_path / "drop", None, None)
    drop(folder, "sales/a.csv")
    assert folder.moves == frozenset()
    assert not folder.put_away(seen(folder, "sales/a.csv"), Outcome("sales/a.csv", InboxState.ACCEPTED, "sales"))
    assert (folder.root / "sales" / "a.csv").exists()


def test_another_file_system_gets_a_complete_copy(folder: DropFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    drop(folder, "sales/a.csv", "content")
    sighting = seen(folder, "sales/a.csv")
    rename = os.rename

    def across(source: Path, target: Path) -> None:
        if "processed" in str(target) and "processed" not in str(source):
            raise OSError(18, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(os, "rename", across)
    assert folder.put_away(sighting, Outcome("sales/a.csv", InboxState.ACCEPTED, "sales"))
    (moved,) = (folder.root.parent / "processed" / "sales").glob("*/a.csv")
    assert moved.read_text() == "content"
    assert not (folder.root / "sales" / "a.csv").exists()


def test_a_name_that_is_no_utf8_can_be_put_away(folder: DropFolder) -> None:
    raw = os.fsencode(folder.root) + b"/sales/\xff.csv"
    with open(raw, "wb") as file:
        file.write(b"x")
    (sighting,) = folder.look().sightings
    assert sighting.path.startswith("bytes:")
    assert folder.put_away(sighting, Outcome(sighting.path, InboxState.REJECTED, reason="its name is no valid UTF-8"))
    assert not os.path.exists(raw)


def test_named_folders_give_relative_names_and_named_files_their_own(tmp_path: Path) -> None:
    (tmp_path / "in" / "2026").mkdir(parents=True)
    (tmp_path / "in" / "2026" / "a.csv").write_text("x")
    (tmp_path / "in" / "b.csv").write_text("x")
    (tmp_path / "c.csv").write_text("x")
    found = list(sources_below([tmp_path / "in", tmp_path / "c.csv"]))
    assert [source.name for source in found] == ["2026/a.csv", "b.csv", "c.csv"]
    assert all(Path(source.file).is_absolute() for source in found)


def test_a_named_link_is_followed_but_not_one_inside_a_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "real.csv").write_text("x")
    (tmp_path / "in" / "link.csv").symlink_to(tmp_path / "real.csv")
    (named,) = sources_below([tmp_path / "in" / "link.csv"])
    assert (named.name, named.file, named.refusal) == ("link.csv", str(tmp_path / "real.csv"), None)
    (inside,) = sources_below([tmp_path / "in"])
    assert inside.refusal is not None


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"nothing\.csv does not exist"):
        list(sources_below([tmp_path / "nothing.csv"]))
