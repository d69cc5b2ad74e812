"""A prefix in a bucket as the drop folder."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core import s3 as calls
from dsplatform.core.errors import Unavailable
from dsplatform.core.s3 import Bucket, checksum
from dsplatform.core.s3_address import S3Address
from dsplatform.core.settings import Settings
from dsplatform.ingestion.model import InboxState, Outcome, Sighting
from dsplatform.ingestion.s3_source import S3Drop
from dsplatform_tests import make, s3

ACCEPTED = Outcome("sales/a.csv", InboxState.ACCEPTED, "sales")
REFUSED = Outcome("sales/a.csv", InboxState.REJECTED, reason="it is empty")


@pytest.fixture
def bucket(s3_address: S3Address) -> Bucket:
    """Where the drop prefix lies, with what is beside it."""
    return Bucket(s3_address)


@pytest.fixture
def folder(s3_address: S3Address) -> S3Drop:
    return S3Drop(replace(s3_address, prefix=f"{s3_address.prefix}drop/"), keep_taken=False, keep_refused=False)


def drop(bucket: Bucket, path: str, content: bytes = b"a,b\n1,2\n") -> None:
    bucket.delete([f"drop/{path}"])
    bucket.put(f"drop/{path}", content, checksum(content))


def keys(bucket: Bucket, prefix: str = "") -> set[str]:
    return {stat.key for page in bucket.list(prefix, in_order=False) for stat in page}


def seen(folder: S3Drop, path: str) -> Sighting:
    return next(sighting for sighting in folder.look().sightings if sighting.path == path)


def read(folder: S3Drop, sighting: Sighting) -> bytes:
    with folder.source(sighting) as reader:
        return reader.read()


def test_a_look_sees_objects_with_their_markers_and_nothing_else(folder: S3Drop, bucket: Bucket) -> None:
    for path in ("sales/a.csv", "sales/b.csv", "sales/b.csv.done", "sales/.hidden", "sales/c.csv.part", "sales/d.tmp", ".git/x.csv"):
        drop(bucket, path)
    drop(bucket, "sales.csv")  # beside a folder of the same name, where stores differ in the order of their listings
    bucket.put("dropped/not.csv", b"x", checksum(b"x"))
    look = folder.look()
    assert look.complete
    expected = {("sales/a.csv", False), ("sales/b.csv", True), ("sales.csv", False)}
    assert {(sighting.path, sighting.marked) for sighting in look.sightings} == expected


@pytest.mark.parametrize("name", ["ä ö+%&?#.csv", "名前.csv", "with 'quotes\".csv", "a:b=c;d,e~f.csv"])
def test_any_name_is_listed_read_and_moved(name: str, folder: S3Drop, bucket: Bucket) -> None:
    drop(bucket, f"sales/{name}", name.encode())
    sighting = seen(folder, f"sales/{name}")
    assert read(folder, sighting) == name.encode()
    assert folder.put_away(sighting, ACCEPTED)
    assert {key.rpartition("/")[2] for key in keys(bucket)} == {name}


def test_what_stands_still_keeps_its_identity_and_what_changed_has_another(folder: S3Drop, bucket: Bucket) -> None:
    drop(bucket, "sales/a.csv", b"1")
    first = seen(folder, "sales/a.csv")
    assert seen(folder, "sales/a.csv") == first
    drop(bucket, "sales/a.csv", b"2")  # the same size, perhaps the same second
    assert seen(folder, "sales/a.csv").identity != first.identity


def test_only_the_object_that_was_seen_is_read_and_moved(folder: S3Drop, bucket: Bucket) -> None:
    drop(bucket, "sales/a.csv", b"1")
    sighting = seen(folder, "sales/a.csv")
    drop(bucket, "sales/a.csv", b"2")
    with pytest.raises(OSError, match="another object has taken its place"):
        read(folder, sighting)
    assert not folder.put_away(sighting, ACCEPTED)
    assert keys(bucket) == {"drop/sales/a.csv"}


def test_an_object_that_takes_the_key_in_the_last_moment_stays(folder: S3Drop, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between copy and deletion: the deletion names what it deletes."""
    drop(bucket, "sales/a.csv", b"1")
    sighting = seen(folder, "sales/a.csv")
    _replacing_after_the_copy(bucket, monkeypatch)
    assert not folder.put_away(sighting, ACCEPTED)
    assert bucket.read("drop/sales/a.csv") == b"2"


def test_without_naming_what_it_deletes_the_next_arrival_would_be_lost(
    folder: S3Drop, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant of the test above."""
    drop(bucket, "sales/a.csv", b"1")
    sighting = seen(folder, "sales/a.csv")
    _replacing_after_the_copy(bucket, monkeypatch)
    monkeypatch.setattr(Bucket, "delete_exactly", lambda self, stat: self.delete([stat.key]) == {})
    folder.put_away(sighting, ACCEPTED)
    assert bucket.read("drop/sales/a.csv") is None


def _replacing_after_the_copy(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Bucket.copy

    def copy(self: Bucket, *arguments: object) -> bool:
        done = real(self, *arguments)  # type: ignore[arg-type]
        drop(bucket, "sales/a.csv", b"2")
        return done

    monkeypatch.setattr(Bucket, "copy", copy)


def test_a_taken_object_goes_to_processed_and_its_marker_goes(folder: S3Drop, bucket: Bucket) -> None:
    drop(bucket, "sales/a.csv")
    drop(bucket, "sales/a.csv.done", b"")
    assert folder.put_away(seen(folder, "sales/a.csv"), ACCEPTED)
    (key,) = keys(bucket)
    assert key.startswith("processed/sales/20")
    assert key.endswith("/a.csv")
    assert not folder.put_away(Sighting("sales/a.csv", 8, 0, 0, marked=False), ACCEPTED)


def test_a_refused_object_lies_beside_its_reason(folder: S3Drop, bucket: Bucket) -> None:
    drop(bucket, "sales/a.csv")
    assert folder.put_away(seen(folder, "sales/a.csv"), REFUSED)
    assert keys(bucket) == {"rejected/sales/a.csv", "rejected/sales/a.csv.reason.json"}
    assert json.loads(bucket.read("rejected/sales/a.csv.reason.json") or b"")["reason"] == "it is empty"


def test_nothing_in_processed_is_overwritten(folder: S3Drop, bucket: Bucket) -> None:
    for content in (b"1", b"2", b"3"):
        drop(bucket, "sales/a.csv", content)
        assert folder.put_away(seen(folder, "sales/a.csv"), ACCEPTED)
    assert {key.rpartition("/")[2] for key in keys(bucket)} == {"a.csv", "a~2.csv", "a~3.csv"}
    assert {bucket.read(key) for key in keys(bucket)} == {b"1", b"2", b"3"}


def test_a_move_that_was_killed_between_copy_and_deletion_leaves_one_copy(
    folder: S3Drop, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(bucket, "sales/a.csv")
    sighting = seen(folder, "sales/a.csv")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Bucket, "delete_exactly", _killed)
        folder.put_away(sighting, REFUSED)
    assert folder.put_away(sighting, REFUSED)
    assert keys(bucket) == {"rejected/sales/a.csv", "rejected/sales/a.csv.reason.json"}


def _killed(*_: object) -> bool:
    raise KeyboardInterrupt


def test_moves_can_be_turned_off(s3_address: S3Address, bucket: Bucket) -> None:
    folder = S3Drop(replace(s3_address, prefix=f"{s3_address.prefix}drop/"), keep_taken=True, keep_refused=True)
    drop(bucket, "sales/a.csv")
    assert folder.moves == frozenset()
    assert not folder.put_away(seen(folder, "sales/a.csv"), ACCEPTED)
    assert keys(bucket) == {"drop/sales/a.csv"}


def test_a_look_that_runs_out_of_time_says_so(folder: S3Drop, bucket: Bucket) -> None:
    drop(bucket, "sales/a.csv")
    assert not folder.look(budget=-1).complete


def test_a_listing_that_fails_is_no_empty_folder(s3_address: S3Address, s3_proxy: s3.Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty look would take back arrivals that are still there."""
    monkeypatch.setattr(calls, "PAUSE_SECONDS", 0.001)
    folder = S3Drop(S3Address(s3_address.bucket, "drop/", s3_proxy.endpoint), keep_taken=False, keep_refused=False)
    s3_proxy.fail(s3.answering(s3.error(500, "InternalError")), times=calls.ATTEMPTS)
    with pytest.raises(Unavailable, match="does not answer"):
        folder.look()


# --- the whole platform in a bucket --------------------------------------------------------------------------------------------------


@pytest.fixture
def cloud(settings: Settings, s3_address: S3Address, database_url: str) -> Iterator[Platform]:
    """A platform whose store and whose drop folder are in the bucket."""
    store, arrivals = (str(replace(s3_address, prefix=s3_address.prefix + name)) for name in ("store/", "drop/"))
    with bootstrap(replace(settings, storage_url=store, drop_url=arrivals), database_url) as built:
        yield built


def ingest(platform: Platform) -> None:
    for _ in range(2):
        platform.ingestion.discover()
    report = platform.ingestion.ingest_ready()
    platform.deliver()
    for version in report.versions:
        platform.schemas.capture_version_schema(version.version_id)


def test_an_object_becomes_a_version_with_a_schema_and_can_be_read_back(cloud: Platform, bucket: Bucket, tmp_path: Path) -> None:
    drop(bucket, "sales/a.csv", b"id,amount\n1,2.5\n2,3.5\n")
    drop(bucket, "sales/empty.csv", b"")
    drop(bucket, "sales/too/deep/x.csv", b"x")
    large = random.randbytes(2 * 1024 * 1024)
    drop(bucket, "sales/large.bin", large)
    ingest(cloud)
    entries = {entry.source_path: entry for entry in cloud.ingestion.outcomes(cloud.system())}
    assert {path: entry.state for path, entry in entries.items()} == {
        "sales/a.csv": "accepted",
        "sales/large.bin": "accepted",
        "sales/empty.csv": "rejected",
        "sales/too/deep/x.csv": "rejected",
    }
    assert (entries["sales/a.csv"].rows, entries["sales/a.csv"].columns) == (2, 2)
    with cloud.db.transaction() as tx:
        sales = cloud.datasets.find(tx, cloud.actor(), "sales")
    assert make.held(cloud, sales) == {"a.csv": b"id,amount\n1,2.5\n2,3.5\n", "large.bin": large}
    assert keys(bucket, "drop/") == set()
    assert {key for key in keys(bucket, "rejected/") if not key.endswith(".reason.json")} == {
        "rejected/sales/empty.csv",
        "rejected/sales/too/deep/x.csv",
    }
    make.assert_sound(cloud)
    assert list((cloud.settings.home / "spool").glob("*")) == []


def test_the_same_content_again_is_a_duplicate_and_a_lost_object_is_healed(cloud: Platform, bucket: Bucket) -> None:
    drop(bucket, "sales/a.csv", b"id\n1\n")
    ingest(cloud)
    (key,) = [key for key in keys(bucket, "store/objects/") if bucket.read(key) == b"id\n1\n"]
    bucket.delete([key])
    assert [problem.invariant for problem in make.problems(cloud)] == ["I2"]
    drop(bucket, "sales/b.csv", b"id\n1\n")
    ingest(cloud)
    assert [entry.state for entry in cloud.ingestion.outcomes(cloud.system())] == ["accepted", "accepted"]
    assert make.problems(cloud) == []


def test_a_large_batch_does_not_wait_for_itself(cloud: Platform, tmp_path: Path) -> None:
    """More files than there are threads, of every kind: held, spooled, twice the same; read, sized and written in the same pools."""
    folder = tmp_path / "batch"
    folder.mkdir()
    for number in range(300):
        size = 300_000 if number % 25 == 0 else 100
        (folder / f"{number}.bin").write_bytes(random.Random(number % 250).randbytes(size))
    for _ in range(2):
        report = cloud.ingestion.ingest_paths(cloud.system(), [folder], "batch")
        assert report.postponed == []
        assert report.rejected == []
    assert report.files_duplicate == 300
    make.assert_sound(cloud)


def test_a_store_that_fails_in_the_middle_of_a_batch_records_nothing(
    settings: Settings, s3_address: S3Address, s3_proxy: s3.Proxy, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "PAUSE_SECONDS", 0.001)
    folder = tmp_path / "batch"
    folder.mkdir()
    for number in range(100):
        (folder / f"{number}.bin").write_bytes(random.randbytes(100))
    store = S3Address(s3_address.bucket, f"{s3_address.prefix}store/", s3_proxy.endpoint)
    with bootstrap(replace(settings, storage_url=str(store)), database_url) as platform:
        writes = iter(range(10_000))
        s3_proxy.chaos = lambda request: s3.reset() if request.method == "PUT" and next(writes) > 50 else None
        with pytest.raises(Unavailable, match="does not answer"):
            platform.ingestion.ingest_paths(platform.system(), [folder], "batch")
        s3_proxy.chaos = lambda _request: None
        assert make.column(platform.db, "SELECT id FROM dataset_versions") == []
        report = platform.ingestion.ingest_paths(platform.system(), [folder], "batch")
        assert report.files_stored == 100
        make.assert_sound(platform)
