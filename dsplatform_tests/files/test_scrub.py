"""Rot of every kind is found, named and healed; what is good is never called damaged."""

import errno
import os
import random
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.errors import Invalid, Unavailable
from dsplatform.core.types import FileId
from dsplatform.core.values import FileUse
from dsplatform.files import scrub as scrubbing
from dsplatform.files import verification
from dsplatform.files.condition import Placed
from dsplatform.files.model import FileDamaged
from dsplatform.files.scrub import PATIENCE, Scrub, Scrubbed
from dsplatform.files.stores import LocalStorage
from dsplatform_tests import make


def _open(path: Path) -> Path:
    path.chmod(0o600)
    return path


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    _open(path).write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(_open(path), path.stat().st_size - 1)


def zero_a_page(path: Path) -> None:
    data = path.read_bytes()
    _open(path).write_bytes(data[:4096] + bytes(4096) + data[8192:])


ROT: dict[str, Callable[[Path], None]] = {"flip": flip, "truncate": truncate, "zero": zero_a_page, "lose": Path.unlink}


def path_of(platform: Platform, file_id: int) -> Path:
    return make.object_path(platform, FileId(file_id))


def states(platform: Platform) -> Counter[str]:
    return Counter(make.column(platform.db, "SELECT state FROM files"))


def everything(platform: Platform) -> list[Scrubbed]:
    return [platform.scrub.presence(platform.system()), platform.scrub.contents(platform.system())]


# --- rot (T19) -----------------------------------------------------------------------------------------------------------------


def test_all_rot_among_a_thousand_objects_is_found_with_its_versions_and_no_more(platform: Platform) -> None:
    chance = random.Random(19)
    dataset = make.dataset(platform)
    make.commit(platform, dataset, {f"{number}": chance.randbytes(9000) for number in range(1000)})
    ids = dict(_rows(platform, "SELECT component_name, file_id FROM dataset_version_files"))
    rotten = chance.sample(sorted(ids), 50)
    for at, name in enumerate(rotten[:40]):
        list(ROT.values())[at % 4](path_of(platform, ids[name]))
    for one, other in zip(rotten[40:45], rotten[45:], strict=True):
        first, second = path_of(platform, ids[one]), path_of(platform, ids[other])
        left, right = first.read_bytes(), second.read_bytes()
        _open(first).write_bytes(right)
        _open(second).write_bytes(left)
    presence, contents = everything(platform)
    assert (presence.files, contents.files) == (1001, 1001)
    assert presence.damaged_files == 20  # lost or cut
    assert {damage.file_id for damage in contents.damages} == {ids[name] for name in rotten}
    assert {use for damage in contents.damages for use in damage.uses} == {FileUse(FileId(ids[n]), "sales", 1, n) for n in rotten}  # type: ignore[arg-type]
    assert {d.file_id for d in contents.damages if not d.quarantined} == {ids[n] for at, n in enumerate(rotten[:40]) if at % 4 == 3}
    assert states(platform) == {"ok": 951, "damaged": 50}
    assert len(make.problems(platform)) == 50


def _rows(platform: Platform, sql: str) -> list[tuple[str, int]]:
    with platform.db.autocommit() as tx:
        return [(name, file_id) for name, file_id in tx.tuples(sql)]


def test_a_thousand_good_objects_raise_no_alarm(platform: Platform) -> None:
    make.commit(platform, make.dataset(platform), {f"{number}": b"%d" % number for number in range(1000)})
    presence, contents = everything(platform)
    assert (presence.damages, contents.damages, contents.unreadable, contents.cleared) == ([], [], [], [])
    assert contents.files == make.column(platform.db, "SELECT count(*) FROM files WHERE verified_at IS NOT NULL")[0] == 1001
    assert not list(Path(platform.settings.storage_url).glob("quarantine/*/*"))


def test_damage_names_each_version_that_it_touches(platform: Platform) -> None:
    dataset = make.dataset(platform)
    make.commit(platform, dataset, {"a": b"shared", "b": b"1"})
    make.commit(platform, dataset, {"b": b"2"})
    make.commit(platform, make.dataset(platform, "other"), {"copy": b"shared"})
    (damaged,) = set(make.column(platform.db, "SELECT file_id FROM dataset_version_files WHERE component_name IN ('a', 'copy')"))
    flip(path_of(platform, damaged))
    (damage,) = platform.scrub.contents(platform.system()).damages
    assert [(use.dataset, use.version_number, use.component) for use in damage.uses] == [
        ("other", 1, "copy"),
        ("sales", 2, "a"),
        ("sales", 1, "a"),
    ]
    (overlay,) = make.column(platform.db, "SELECT overlay_file_id FROM dataset_versions WHERE version_number = 2")
    flip(path_of(platform, overlay))
    uses = {damage.file_id: damage.uses for damage in platform.scrub.contents(platform.system()).damages}
    assert uses[overlay] == (FileUse(overlay, "sales", 2, None),)
    assert len(uses) == 2  # what was found before is damaged still, and said again


def test_what_is_left_is_kept_in_quarantine_and_in_its_place(platform: Platform) -> None:
    reference = make.stored(platform, b"content")
    path = path_of(platform, reference.file_id)
    _open(path).write_bytes(b"c0ntent")
    platform.scrub.contents(platform.system())
    copy = Path(platform.settings.storage_url) / "quarantine" / path.parent.name / path.name
    assert (copy.read_bytes(), path.read_bytes()) == (b"c0ntent", b"c0ntent")
    path.write_bytes(b"c00tent")
    platform.scrub.contents(platform.system())
    assert copy.read_bytes() == b"c0ntent"  # what was found first
    assert make.spooled(platform) == []


def test_damage_is_reported_although_there_is_no_room_for_quarantine(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    flip(path_of(platform, make.stored(platform, b"x").file_id))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dsplatform.files.stores.shutil.copyfile", full)
    (damage,) = platform.scrub.contents(platform.system()).damages
    assert not damage.quarantined
    monkeypatch.undo()
    (damage,) = platform.scrub.contents(platform.system()).damages
    assert damage.quarantined


# --- healing (T14) -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["healing", "main"])  # on main nothing changes, and it is healed all the same
@pytest.mark.parametrize("rot", ROT)
def test_a_new_upload_heals_every_version(rot: str, where: str, platform: Platform) -> None:
    chance = random.Random(14)
    dataset = make.dataset(platform)
    contents = {f"{number}": chance.randbytes(9000) for number in range(20)}
    make.commit(platform, dataset, contents)
    make.commit(platform, dataset, {"one more": b"1"})
    old = {path_of(platform, id_) for id_ in make.column(platform.db, "SELECT file_id FROM dataset_version_files WHERE version_id = 1")}
    for path in old:
        ROT[rot](path)
    if rot in {"flip", "zero"}:  # an upload looks at presence and size; what only a reading shows must have been read
        assert platform.scrub.contents(platform.system()).damaged_files == 20
        assert states(platform)["damaged"] == 20
    with pytest.raises(FileDamaged):
        make.held(platform, dataset, "1")
    make.commit(platform, dataset, contents, branch=where)
    assert make.held(platform, dataset, "1") == contents
    assert make.held(platform, dataset, "2") == {**contents, "one more": b"1"}
    assert states(platform) == {"ok": 23}
    assert make.buried(platform) == {f"{path.parent.name}/{path.name}" for path in old}
    make.assert_sound(platform)
    assert platform.scrub.contents(platform.system()).damages == []


def test_what_an_operator_restored_is_cleared_after_a_full_reading(platform: Platform) -> None:
    reference = make.stored(platform, b"content")
    path = _open(path_of(platform, reference.file_id))
    path.write_bytes(b"c0ntent")
    platform.scrub.contents(platform.system())
    path.write_bytes(b"content")
    assert platform.scrub.presence(platform.system()).cleared == []
    assert states(platform) == {"damaged": 1}
    assert platform.scrub.contents(platform.system()).cleared == [reference.content_hash]
    make.assert_sound(platform)


def test_a_heal_while_the_old_object_is_read_is_not_undone(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    flip(path_of(platform, make.stored(platform, b"content").file_id))
    make_damaged = "UPDATE files SET state = 'damaged'"
    real = verification._read_once

    def healed_meanwhile(storage: LocalStorage, *arguments: object) -> str | None:
        finding = real(storage, *arguments)  # type: ignore[arg-type]
        if finding and not make.buried(platform):
            with platform.db.transaction() as tx:
                tx.execute(make_damaged)
            make.stored(platform, b"content")
        return finding

    monkeypatch.setattr(verification, "_read_once", healed_meanwhile)
    assert platform.scrub.contents(platform.system()).damages == []
    assert states(platform) == {"ok": 1}
    assert make.buried(platform)


def test_a_good_reading_does_not_clear_a_mark_that_came_after_it(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    make.stored(platform, b"content")
    real = verification._read_once

    def marked_meanwhile(storage: LocalStorage, *arguments: object) -> str | None:
        finding = real(storage, *arguments)  # type: ignore[arg-type]
        with platform.db.transaction() as tx:
            tx.execute("UPDATE files SET state = 'damaged'")
        return finding

    monkeypatch.setattr(verification, "_read_once", marked_meanwhile)
    platform.scrub.contents(platform.system())
    assert states(platform) == {"damaged": 1}


# --- errors that pass (T20) ----------------------------------------------------------------------------------------------------


class _Failing(BytesIO):
    def __init__(self, number: int) -> None:
        super().__init__(b"")
        self._number = number

    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError(self._number, os.strerror(self._number))


def failing(monkeypatch: pytest.MonkeyPatch, reader: Callable[[], BytesIO], times: int) -> list[str]:
    """The first `times` readings of each object get `reader`."""
    real, seen = LocalStorage.open, Counter[str]()
    failed: list[str] = []

    def open_(self: LocalStorage, key: str) -> object:
        seen[key] += 1
        if seen[key] <= times:
            failed.append(key)
            return reader()
        return real(self, key)

    monkeypatch.setattr(LocalStorage, "open", open_)
    return failed


READERS: dict[str, Callable[[], BytesIO]] = {
    "an input error": lambda: _Failing(errno.EIO),
    "a timeout": lambda: _Failing(errno.ETIMEDOUT),
    "other bytes": lambda: BytesIO(b"other"),
    "fewer bytes": BytesIO,
}


@pytest.mark.parametrize("reader", READERS)
def test_a_reading_that_fails_once_marks_nothing(reader: str, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = make.stored(platform, b"bytes")
    failed = failing(monkeypatch, READERS[reader], 1)
    outcome = platform.scrub.contents(platform.system())
    assert (len(failed), outcome.damages, outcome.unreadable) == (1, [], [])
    assert states(platform) == {"ok": 1}
    assert make.column(platform.db, "SELECT verified_at FROM files") != [None]
    failing(monkeypatch, READERS[reader], 1)
    with pytest.raises(Unavailable):
        make.content(platform, reference.file_id)
    assert states(platform) == {"ok": 1}


def test_that_claim_fails_when_there_is_no_second_reading(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    make.stored(platform, b"bytes")
    failing(monkeypatch, READERS["other bytes"], 1)
    monkeypatch.setattr(verification, "range", lambda _: [0], raising=False)
    assert platform.scrub.contents(platform.system()).damaged_files == 1


def test_bytes_that_cannot_be_read_are_damage_and_a_silent_store_is_none(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    make.stored(platform, b"bytes")
    with monkeypatch.context() as patched:
        failing(patched, READERS["a timeout"], 2)
        outcome = platform.scrub.contents(platform.system())
        assert (outcome.damages, len(outcome.unreadable), states(platform)) == ([], 1, {"ok": 1})
        assert make.column(platform.db, "SELECT verified_at FROM files") == [None]  # first in the next pass
    failing(monkeypatch, READERS["an input error"], 2)
    (damage,) = platform.scrub.contents(platform.system()).damages
    assert damage.finding == "it cannot be read: Input/output error"


def test_a_store_that_answers_no_more_ends_the_pass(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(PATIENCE + 5):
        make.stored(platform, b"%d" % number)
    failed = failing(monkeypatch, READERS["a timeout"], 1_000)
    with pytest.raises(Unavailable, match="does not let file"):
        platform.scrub.contents(platform.system())
    assert len(set(failed)) == PATIENCE
    assert states(platform) == {"ok": PATIENCE + 5}


# --- progress, bounds, shards --------------------------------------------------------------------------------------------------


def _reads(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hashes that are read from now on, in order."""
    real, read = LocalStorage.open, []

    def open_(self: LocalStorage, key: str) -> object:
        read.append(key[3:67])
        return real(self, key)

    monkeypatch.setattr(LocalStorage, "open", open_)
    return read


def test_bounded_passes_go_on_where_the_last_one_ended(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubbing, "PAGE", 3)
    hashes = [make.stored(platform, b"%04d" % number).content_hash for number in range(10)]
    read = _reads(platform, monkeypatch)
    outcomes = [platform.scrub.contents(platform.system(), max_bytes=16) for _ in range(5)]
    assert {(outcome.files, outcome.bytes_read, outcome.finished) for outcome in outcomes} == {(4, 16, False)}
    assert read[:10] == hashes  # those that were never read, in the order of their ids
    assert read[10:18] == hashes[:8]  # then the longest unread; those that were recorded together are equally old
    with platform.db.transaction() as tx:
        tx.execute("UPDATE files SET verified_at = now() - id * interval '1 hour'")
    new = make.stored(platform, b"new").content_hash
    del read[:]
    assert platform.scrub.contents(platform.system()).finished
    assert read == [new, *reversed(hashes)]


def test_a_file_larger_than_the_bound_is_read_all_the_same(platform: Platform) -> None:
    make.stored(platform, bytes(1000))
    make.stored(platform, b"small")
    assert [platform.scrub.contents(platform.system(), max_bytes=10).bytes_read for _ in range(2)] == [1000, 5]


def test_a_damaged_file_does_not_keep_the_others_from_being_read(platform: Platform) -> None:
    flip(path_of(platform, make.stored(platform, bytes(100)).file_id))
    make.stored(platform, b"1" * 100)
    outcomes = [platform.scrub.contents(platform.system(), max_bytes=100) for _ in range(3)]
    assert [outcome.damaged_files for outcome in outcomes] == [1, 0, 1]


def test_a_pass_that_was_killed_keeps_what_was_recorded(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubbing, "PAGE", 2)
    for number in range(5):
        make.stored(platform, b"%d" % number)
    real = verification.examine

    def dies(storage: LocalStorage, file: Placed, passed: Callable[[int], None]) -> str | None:
        if file.id == 4:
            raise KeyboardInterrupt
        return real(storage, file, passed)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(scrubbing, "examine", dies)
        platform.scrub.contents(platform.system())
    assert make.column(platform.db, "SELECT id FROM files WHERE verified_at IS NOT NULL ORDER BY id") == [1, 2]
    read = _reads(platform, monkeypatch)
    platform.scrub.contents(platform.system(), max_bytes=3)
    assert len(read) == 3


def test_256_shards_together_read_every_file_once(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = sorted(make.stored(platform, b"%d" % number).content_hash for number in range(60))
    read = _reads(platform, monkeypatch)
    shards = {content_hash[:2] for content_hash in hashes} | {"00", "ff"}
    assert sum(platform.scrub.presence(platform.system(), shard).files for shard in shards) == 60
    for shard in shards:
        platform.scrub.contents(platform.system(), shard)
    assert sorted(read) == hashes
    for prefix in (hashes[0][:1], hashes[0][:5], hashes[0]):
        path_of(platform, make.column(platform.db, "SELECT id FROM files WHERE content_hash = :h", h=hashes[0])[0]).unlink(missing_ok=True)
        assert platform.scrub.presence(platform.system(), prefix).damaged_files == 1
    for bad in ("G", "AB", "0" * 65, "a\n", "%"):
        with pytest.raises(Invalid, match="hexadecimal"):
            platform.scrub.contents(platform.system(), bad)


def test_no_more_bytes_per_second_are_read_than_allowed(platform: Platform) -> None:
    now = 0.0
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        waits.append(seconds)

    for number in range(8):
        make.stored(platform, bytes([number]) * 1_000)
    scrub = Scrub(platform.db, platform.files._storage, platform.versions, platform.permissions, clock=lambda: now, sleep=sleep)
    assert scrub.contents(platform.system(), bytes_per_second=500).bytes_read == 8_000
    assert sum(waits) == pytest.approx(16)
    assert max(waits) == pytest.approx(2)


def test_two_scrubbers_at_once_agree(platform: Platform, settings: object) -> None:
    ids = [make.stored(platform, b"%d" % number).file_id for number in range(300)]
    for file_id in ids[::3]:
        flip(path_of(platform, file_id))
    outcomes = make.at_once(*[lambda: platform.scrub.contents(platform.system())] * 2)
    assert [outcome.damaged_files for outcome in outcomes] == [100, 100]
    assert states(platform) == {"ok": 200, "damaged": 100}


# --- others that meet damage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rot", ROT)
def test_a_download_that_meets_damage_marks_it(rot: str, platform: Platform) -> None:
    reference = make.stored(platform, os.urandom(9000))
    path = path_of(platform, reference.file_id)
    ROT[rot](path)
    with pytest.raises(FileDamaged):
        make.content(platform, reference.file_id)
    assert states(platform) == {"damaged": 1}
    assert (Path(platform.settings.storage_url) / "quarantine" / path.parent.name / path.name).exists() == (rot != "lose")


def test_a_download_that_is_given_up_marks_nothing(platform: Platform) -> None:
    reference = make.stored(platform, bytes(5_000_000))
    with platform.files.verified_chunks(reference.file_id) as chunks:
        next(chunks)
    assert states(platform) == {"ok": 1}


def test_a_sample_reads_back_within_its_bounds(platform: Platform) -> None:
    references = [make.stored(platform, bytes([number]) * 10) for number in range(6)]
    flip(path_of(platform, references[0].file_id))
    hashes = [reference.content_hash for reference in references]
    everything_ = platform.scrub.sample(hashes, max_files=100, max_bytes=1000)
    assert everything_.files == 6
    assert [damage.file_id for damage in everything_.damages] == [references[0].file_id]
    assert platform.scrub.sample(hashes[1:], max_files=2, max_bytes=1000).files == 2
    bounded = platform.scrub.sample(hashes[1:], max_files=100, max_bytes=25)
    assert (bounded.files, bounded.bytes_read, bounded.damages) == (2, 20, [])
    assert platform.scrub.sample([], max_files=5, max_bytes=5).files == 0
