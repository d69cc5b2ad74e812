"""Each invariant of stored files is broken on purpose, and `verify` must say so, and nothing else."""

import os
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.bootstrap import Platform
from dsplatform.core.types import ContentHash, FileId
from dsplatform.core.verification import INVARIANTS, KEPT, Verification
from dsplatform.files.condition import Placed
from dsplatform.files.stores import LocalStorage, StoredObject
from dsplatform.files.verification import WrongStore, differences
from dsplatform_tests import make


@pytest.fixture
def kept(platform: Platform) -> Platform:
    """A platform with a bit of everything: versions, a staged file, a tombstone, an open intent."""
    dataset = make.dataset(platform)
    make.commit(platform, dataset, {"a": b"1", "b": b"22"})
    make.commit(platform, dataset, {"a": b"333"})
    make.stored(platform, b"staged")
    platform.files.delete_reference(make.stored(platform, b"given up"))
    with platform.files.upload() as abandoned:
        abandoned.add([BytesIO(b"abandoned")])
        abandoned.seal()
    assert make.problems(platform) == []
    return platform


def change(platform: Platform, *statements: str) -> None:
    """Changes rows behind the constraints' and the triggers' backs, as a bad disk or a bad restore does."""
    with make.tampering(platform.db) as tx:
        tx.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            tx.execute(statement)


def found(platform: Platform, *, contents: bool = False) -> set[tuple[str, str]]:
    return {(problem.invariant, problem.finding) for problem in make.problems(platform, contents=contents)}


FIRST = "(SELECT min(file_id) FROM dataset_version_files)"

BROKEN = {
    "a component without its file": (
        f"UPDATE dataset_version_files SET file_id = 999 WHERE version_id = 1 AND file_id = {FIRST}",
        {("I1", "file 999 does not exist"), ("I5", "it has 2 component(s) with 2 bytes, not 2 with 3")},
    ),
    "a staged file without its file": ("UPDATE staged_files SET file_id = 999", {("I1", "file 999 does not exist")}),
    "an overlay without its file": (
        "UPDATE dataset_versions SET overlay_file_id = 999 WHERE version_number = 2",
        {("I1", "its overlay, file 999, does not exist")},
    ),
    "a wrong size": (
        "UPDATE files SET file_size = 7 WHERE id = (SELECT file_id FROM staged_files)",
        {("I2", "it has 6 bytes instead of 7")},
    ),
    "a mark": (f"UPDATE files SET state = 'damaged' WHERE id = {FIRST}", {("I2", "it is marked as damaged")}),
    "a tombstone on a live object": (
        f"INSERT INTO tombstones (storage_key, reason, purge_after) SELECT file_path, 'slip', now() FROM files WHERE id = {FIRST}",
        {("I3", "a tombstone names its object: slip")},
    ),
    "a tombstone that is forgotten": ("DELETE FROM tombstones", {("I3", "nothing names it")}),
    "a count that was lost": (
        "DELETE FROM file_reference_deltas WHERE file_id = (SELECT file_id FROM staged_files)",
        {("I6", "it has 1 reference(s), and 0 are shown")},
    ),
    "a count that is kept too high": (
        "UPDATE files SET reference_count = 5 WHERE id = (SELECT file_id FROM staged_files)",
        {("I6", "it has 1 reference(s), and 6 are shown")},
    ),
    "an overlay that is not counted": (
        "INSERT INTO file_reference_deltas SELECT overlay_file_id, -1 FROM dataset_versions WHERE version_number = 1",
        {("I6", "it has 1 reference(s), and 0 are shown")},
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_in_the_rows_is_found(case: str, kept: Platform) -> None:
    statement, expected = BROKEN[case]
    change(kept, statement)
    seen = {(rule, finding) for rule, finding in found(kept) if rule != "I6" or case.startswith(("a count", "an overlay that is not"))}
    assert expected <= seen
    assert {rule for rule, _ in seen} == {rule for rule, _ in expected}


def test_a_key_that_is_not_the_files_own_is_found(kept: Platform) -> None:
    first = make.column(kept.db, f"SELECT file_path FROM files WHERE id = {FIRST}")[0]
    objects = Path(kept.settings.storage_url) / "objects"
    for bad in (f"{'ff' if first[:2] != 'ff' else '00'}{first[2:]}", f"{first[:-1]}z", f"{first[:3]}{'0' * 64}{first[67:]}"):
        (objects / bad).parent.mkdir(exist_ok=True)
        os.link(objects / first, objects / bad)
        change(kept, f"UPDATE files SET file_path = '{bad}' WHERE file_path = '{first}'")
        seen = {rule for rule, _ in found(kept)}
        assert seen == {"I3", "I4"}  # the object under its right key is nobody's now
        change(kept, f"UPDATE files SET file_path = '{first}' WHERE file_path = '{bad}'")
        (objects / bad).unlink()
        assert found(kept) == set()


def test_a_key_and_a_content_that_stand_twice_are_found(kept: Platform) -> None:
    columns = "file_size, storage_type, file_path, file_type, reference_count"
    change(
        kept,
        "ALTER TABLE files DROP CONSTRAINT uq_files_file_path",
        "ALTER TABLE files DROP CONSTRAINT uq_files_content_hash",
        f"INSERT INTO files (content_hash, {columns}) SELECT content_hash, {columns} FROM files WHERE id = {FIRST}",
    )
    seen = found(kept)
    assert {("I4", "it belongs to 2 files"), ("I4", "it is recorded 2 times")} <= seen


def test_a_lost_and_a_cut_object_are_found_without_reading(kept: Platform) -> None:
    lost, cut = (make.object_path(kept, FileId(id_)) for id_ in make.column(kept.db, "SELECT file_id FROM dataset_version_files LIMIT 2"))
    lost.unlink()
    cut.chmod(0o600)
    size = cut.stat().st_size
    os.truncate(cut, size + 5)
    expected = {("I2", "its bytes are missing"), ("I2", f"it has {size + 5} bytes instead of {size}")}
    assert found(kept) == expected
    assert found(kept, contents=True) == expected


def test_changed_bytes_are_found_by_reading_alone_and_nothing_is_marked(kept: Platform) -> None:
    for id_ in make.column(kept.db, "SELECT id FROM files WHERE file_size > 0"):
        path = make.object_path(kept, FileId(id_))
        path.chmod(0o600)
        path.write_bytes(bytes(path.stat().st_size))
    assert found(kept) == set()
    assert ("I2", "its bytes have changed") in found(kept, contents=True)
    assert ("I7", "its overlay is no JSON document") in found(kept, contents=True)
    assert set(make.column(kept.db, "SELECT state FROM files")) == {"ok"}
    assert make.column(kept.db, "SELECT id FROM files WHERE verified_at IS NOT NULL") == []


def test_an_object_that_nothing_names_is_judged_when_it_is_old_enough(kept: Platform) -> None:
    stranger = Path(kept.settings.storage_url) / "objects" / "ab" / "stranger"
    stranger.write_bytes(b"?")
    assert found(kept) == {("I3", "nothing names it")}
    assert kept.verify(kept.system()).sound
    old = stranger.stat().st_mtime - timedelta(hours=49).total_seconds()
    os.utime(stranger, (old, old))
    assert kept.verify(kept.system()).found == {"I3": 1}


def test_a_store_that_is_not_ours_is_refused_and_not_called_lost(kept: Platform, settings: object, database_url: str) -> None:
    with kept.db.transaction() as tx:
        tx.execute("INSERT INTO store_binding (store_id) VALUES ('another')")
    with pytest.raises(WrongStore, match="mount that one"):
        kept.verify(kept.system())
    for pass_ in (kept.scrub.presence, kept.scrub.contents):
        with pytest.raises(WrongStore):
            pass_(kept.system())


def test_more_problems_than_are_kept_are_counted(kept: Platform) -> None:
    change(
        kept,
        "INSERT INTO file_reference_deltas SELECT id, 1 FROM files",
        "INSERT INTO files (content_hash, file_size, storage_type, file_path, file_type, reference_count) "
        "SELECT lpad(to_hex(n), 64, '0'), 1, 'local', '00/' || lpad(to_hex(n), 64, '0') || '.' || repeat('0', 32), 'text', 3 "
        f"FROM generate_series(1, {KEPT}) n",
    )
    verified = kept.verify(kept.system())
    files = make.column(kept.db, "SELECT count(*) FROM files")[0]
    assert verified.found == {"I6": files, "I2": KEPT}
    assert len(verified.problems) == KEPT
    assert verified.checked["files"] == files


def test_every_invariant_of_the_protocol_has_its_sentence() -> None:
    assert list(INVARIANTS) == ["I1", "I2", "I3", "I4", "I5", "I6", "I7"]
    with pytest.raises(KeyError):
        INVARIANTS["I8"]
    verification = Verification()
    assert verification.sound
    verification.add("I1", "x", "y")
    assert not verification.sound


# --- while others work ---------------------------------------------------------------------------------------------------------


def _listed_before(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the store's listing shows what lies there at this moment."""
    pages = list(LocalStorage(Path(platform.settings.storage_url)).list())
    monkeypatch.setattr(LocalStorage, "list", lambda *_: iter(pages))


def test_what_others_store_and_purge_meanwhile_is_no_fault(kept: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    _listed_before(kept, monkeypatch)
    make.stored(kept, b"stored after the listing")
    buried = make.buried(kept)
    assert buried
    with kept.db.transaction() as tx:
        tx.execute("DELETE FROM tombstones")
    for key in buried:
        (Path(kept.settings.storage_url) / "objects" / key).unlink()
    assert found(kept) == set()


def test_that_claim_fails_when_the_object_is_not_looked_at_again(kept: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    _listed_before(kept, monkeypatch)
    make.stored(kept, b"stored after the listing")
    monkeypatch.setattr(LocalStorage, "size", lambda *_: None)  # as the listing saw it
    assert found(kept) == {("I2", "its bytes are missing")}


def test_that_claim_fails_when_the_purged_object_is_not_looked_at_again(kept: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    _listed_before(kept, monkeypatch)
    for key in make.buried(kept):
        (Path(kept.settings.storage_url) / "objects" / key).unlink()
    with kept.db.transaction() as tx:
        tx.execute("DELETE FROM tombstones")
    monkeypatch.setattr(LocalStorage, "size", lambda *_: 1)  # as the listing saw it
    assert found(kept) == {("I3", "nothing names it")}


def test_a_file_that_is_healed_while_it_is_doubted_is_no_fault(kept: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    (id_,) = make.column(kept.db, "SELECT file_id FROM staged_files")
    make.object_path(kept, FileId(id_)).unlink()
    assert found(kept) == {("I2", "its bytes are missing")}
    real = LocalStorage.size
    healed: list[str] = []

    def size(self: LocalStorage, key: str) -> int | None:
        answer = real(self, key)
        if answer is None and not healed:
            healed.append(key)
            make.stored(kept, b"staged")
        return answer

    monkeypatch.setattr(LocalStorage, "size", size)
    assert found(kept) == set()
    assert healed


# --- the walk ------------------------------------------------------------------------------------------------------------------

keys = st.tuples(st.sampled_from(["00", "01", "0f", "f0", "ff"]), st.integers(0, 3), st.integers(0, 2))


def _key(shape: tuple[str, int, int]) -> str:
    folder, content, upload = shape
    return f"{folder}/{folder}{content:062x}.{upload:032x}"


@given(rows=st.dictionaries(st.tuples(st.sampled_from(["00", "01", "0f", "f0", "ff"]), st.integers(0, 3)), st.integers(0, 2)),
       listed=st.sets(keys), strange=st.sets(st.sampled_from(["00/notes", "ff/zz", "0f/ff", "zz/x"])), cut=st.booleans())  # fmt: skip
def test_the_walk_finds_exactly_what_sets_find(
    rows: dict[tuple[str, int], int], listed: set[tuple[str, int, int]], strange: set[str], cut: bool
) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    placed = [
        Placed(FileId(at), ContentHash(_key((*row, 0))[3:67]), 1, _key((*row, upload)), "ok")
        for at, (row, upload) in enumerate(sorted(rows.items()))
    ]
    objects = [StoredObject(key, 2 if cut else 1, now) for key in sorted({_key(shape) for shape in listed} | strange)]
    answer = list(differences(iter(placed), objects))
    stored, named = {listed_.key for listed_ in objects}, {file.key for file in placed}
    assert {item.key for item in answer if isinstance(item, Placed)} == (named if cut else named - stored)
    assert {item.key for item in answer if isinstance(item, StoredObject)} == stored - named
    assert len(answer) == len({(type(item), item.key) for item in answer})
