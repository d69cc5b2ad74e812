"""A process is killed at every step of the crash matrix, many times, each time with other work: nothing is lost, nothing is left over.

`make soak` does 500 at each step; CI does 20. The list of steps, the calls in the code and the matrix in ARCHITECTURE.md are the same.
"""

import ast
import os
import random
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core import failpoints
from dsplatform.core.failpoints import POINTS
from dsplatform.core.s3 import Bucket
from dsplatform.core.s3_address import S3Address
from dsplatform.core.settings import Settings
from dsplatform.core.types import ContentHash
from dsplatform.core.verification import Problem
from dsplatform.files.model import storage_key
from dsplatform.files.repository import Intents
from dsplatform_tests import make
from dsplatform_tests.journeys import aftermath, works
from dsplatform_tests.journeys.crew import Crew, entries

ROOT = Path(__file__).parents[2]

# --- the list, the code and the matrix -----------------------------------------------------------------------------------------


def reached() -> set[str]:
    """The point of every `reach("…")` in the package."""
    found = set()
    for path in (ROOT / "dsplatform").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "reach" and len(node.args) == 1:
                (argument,) = node.args
                assert isinstance(argument, ast.Constant), f"{path}:{node.lineno}: a point is named by a constant"
                found.add(str(argument.value))
    return found


def matrix() -> dict[str, tuple[str, str]]:
    """The crash matrix of ARCHITECTURE.md: row -> (the whole line, its last column)."""
    section = (ROOT / "ARCHITECTURE.md").read_text().partition("## Crash matrix")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if re.match(r"\| [A-Z]\d+ \|", line)]
    assert len({line.split("|")[1] for line in lines}) == len(lines), "a row is there twice"
    return {line.split("|")[1].strip(): (line, line.rstrip("| ").rpartition("|")[2]) for line in lines}


def test_every_point_is_reached_and_every_reach_is_a_point() -> None:
    assert reached() == set(POINTS)


def test_the_matrix_names_every_point_in_its_row() -> None:
    named = {point: row for row, (_, proof) in matrix().items() for point in re.findall(r"`([a-z0-9]+\.[a-z_]+)`", proof)}
    assert named == POINTS


def test_every_row_of_the_matrix_says_all_and_has_a_proof() -> None:
    tests = {name for path in (ROOT / "dsplatform_tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())}
    rows = matrix()
    assert len(rows) >= 30
    for row, (line, proof) in rows.items():
        columns = [column.strip() for column in line.strip("| ").split(" | ")]
        assert len(columns) == 6, row
        assert all(columns), row
        proofs = re.findall(r"`([^`]+)`", proof)
        assert proofs, row
        assert {name for name in proofs if name not in POINTS} <= tests, row


@pytest.mark.parametrize("text", ["nowhere:kill", "gc.locked", "gc.locked:explode", "gc.locked:kill:x"])
def test_what_is_no_point_and_action_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        failpoints.arm(text)


def test_a_point_acts_at_its_passage_and_only_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_name", "_action", "_left"):
        monkeypatch.setattr(failpoints, name, getattr(failpoints, name))
    failpoints.arm("gc.locked:raise:2")
    failpoints.reach("gc.locked")
    failpoints.reach("gc.buried")
    with pytest.raises(failpoints.FailpointReached):
        failpoints.reach("gc.locked")
    failpoints.reach("gc.locked")


# --- what lies there before a kill, and what is mended after it ----------------------------------------------------------------

Step = Callable[[Platform, int], None]


def nothing(_platform: Platform, _seed: int) -> None: ...


def damage(platform: Platform, seed: int) -> None:
    """A common content is lost, cut short or changed, in place."""
    make.commit(platform, works.dataset(platform, "kept"), {f"part-{seed}": works.common(seed), "seed": b"%d" % seed})
    (file_id,) = make.column(platform.db, "SELECT id FROM files WHERE content_hash = :hash", hash=works.digest(works.common(seed)))
    path = make.object_path(platform, file_id)
    path.chmod(0o644)
    if seed % 3 == 0:
        path.unlink()
    else:
        path.write_bytes(b"" if seed % 3 == 1 else bytes(path.stat().st_size))
    if seed % 3 == 2:
        assert platform.scrub.contents(platform.system()).damaged_files == 1, "a size that is right shows no damage to an upload"


def damage_unseen(platform: Platform, seed: int) -> None:
    """The same, and nobody knows of it."""
    damage(platform, seed - seed % 3 + seed % 2)


def mend(platform: Platform, seed: int) -> None:
    """Whoever sends the right bytes heals them."""
    platform.files.delete_reference(make.stored(platform, works.common(seed)))
    platform.files.delete_reference(make.stored(platform, works.common(seed - seed % 3 + seed % 2)))
    platform.scrub.contents(platform.system())


def garbage(platform: Platform, seed: int) -> None:
    """All kinds of it, due now: references given up, sessions and uploads whose time is over, a version that was deleted."""
    for number in range(3):
        platform.files.delete_reference(make.stored(platform, b"given up %d %d" % (seed, number)))
    make.stored(platform, works.invented(random.Random(seed)))
    key = storage_key(ContentHash(works.digest(b"%d" % seed)), uuid4())
    with platform.db.transaction() as tx:
        Intents(tx).open(uuid4(), "local", [key])
    if seed % 2:
        platform.gc._storage.put(key, b"%d" % seed)
    two_versions(platform, seed)
    platform.deletion.delete_version(platform.actor(), f"old{seed}@1")
    make.overdue(platform.db)
    with platform.db.transaction() as tx:  # some of it was reviewed before
        platform.gc._review(tx) if seed % 3 == 0 else None
    make.overdue(platform.db)


def strays(platform: Platform, seed: int) -> None:
    """Objects that nothing names, old enough to be judged."""
    for number in range(3):
        data = b"stray %d %d" % (seed, number)
        key = storage_key(ContentHash(works.digest(data)), uuid4())
        platform.gc._storage.put(key, data)
        os.utime(Path(platform.settings.storage_url) / "objects" / key, (0, 0))


def two_versions(platform: Platform, seed: int) -> None:
    """A dataset whose first version nobody points at. It shares a content with others."""
    old = works.dataset(platform, f"old{seed}")
    make.commit(platform, old, {"common": works.common(seed), "own": b"own %d" % seed, "more": b"more %d" % seed})
    make.commit(platform, old, {"own": b"new %d" % seed})


def past_restoring(platform: Platform, seed: int) -> None:
    """A dataset that was deleted long ago."""
    two_versions(platform, seed)
    platform.datasets.delete_dataset(platform.actor(), f"old{seed}")
    with platform.db.transaction() as tx:
        tx.execute("UPDATE datasets SET deleted_at = now() - interval '31 days' WHERE deleted_at IS NOT NULL")


def dropped(platform: Platform, seed: int) -> None:
    """Files for two datasets in the drop folder; some have contents of others."""
    for number in range(4):
        path = platform.settings.drop_dir / f"drop{number % 2}" / f"{seed}-{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(works.common(seed) if number == 3 else b"dropped %d %d" % (seed, number))
        path.with_name(f"{path.name}.done").touch()


JOBS: dict[str, tuple[Step, str, Step]] = {
    **dict.fromkeys(POINTS, (nothing, "publish", nothing)),
    "file.staged": (nothing, "stage", nothing),
    "upload.spare_buried": (nothing, "overtaken", nothing),
    "upload.healed": (damage, "heal", mend),
    "scrub.marked": (damage_unseen, "scrub", mend),
    **dict.fromkeys(("expiry.sessions", "expiry.uploads"), (garbage, "collect", nothing)),
    **dict.fromkeys(("gc.locked", "gc.buried", "purge.leased", "purge.deleted"), (garbage, "collect", nothing)),
    **dict.fromkeys(("sweep.listed", "sweep.buried"), (strays, "sweep", nothing)),
    "fold.folded": (nothing, "fold", nothing),
    "version.emptying": (two_versions, "delete_version", nothing),
    "dataset.reaping": (past_restoring, "reap", nothing),
    **dict.fromkeys(("inbox.claimed", "inbox.decided", "inbox.put_away"), (dropped, "ingest", nothing)),
}
"""What happens before, in, and after the process that is killed at the point."""

IN_A_BUCKET = {point for point in POINTS if point.startswith("s3.")}
OF_A_LEGACY_SYSTEM = {point for point in POINTS if point.partition(".")[0] in {"legacy", "follow", "switch", "rollback", "reverse"}}
"""`dsplatform_tests.migration` kills there."""


# --- kills ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kills", [20, pytest.param(500, marks=pytest.mark.soak)])
@pytest.mark.parametrize("point", sorted(set(POINTS) - IN_A_BUCKET - OF_A_LEGACY_SYSTEM))
def test_a_kill_loses_nothing_and_leaves_nothing(
    point: str, kills: int, platform: Platform, database_url: str, crew: Crew, tmp_path: Path
) -> None:
    before, job, after = JOBS[point]
    ledger = tmp_path / "ledger"
    make.commit(platform, works.dataset(platform, "keeper"), {"kept": b"kept"})
    killed = 0
    for seed in range(2 * kills):
        before(platform, seed)
        passage = 2 if job == "publish" and seed % 4 == 3 else 1  # which not all have: those commit, and must be there in the end
        pid = crew.start(
            f"dsplatform_tests.journeys.works:{job}",
            platform.settings.home,
            database_url,
            ledger,
            seed=seed,
            point=f"{point}:kill:{passage}",
        )
        ended = crew.ended(pid)
        assert ended in {0, -signal.SIGKILL}
        killed += ended != 0
        after(platform, seed)
        if seed % 5 == 4:
            assert broken(platform, job) == []
            forget_some(platform, seed)
        if killed == kills:
            break
    assert killed == kills, "the point is not reached"

    if job == "ingest":
        every_dropped_file_is_in(platform, seed + 1)
    acknowledged = entries(ledger)
    assert broken(platform, job) == []
    assert aftermath.lost(platform, still_there(platform, acknowledged)) == []
    assert aftermath.unstaged(platform, acknowledged) == [] or job in {"collect", "sweep"}
    assert aftermath.unreachable(platform) == []
    platform.deletion.resume()
    platform.deletion.reap(platform.system())
    assert aftermath.left_over(platform) == {}
    assert aftermath.lost(platform, still_there(platform, acknowledged)) == []
    aftermath.settled(platform)
    make.assert_sound(platform)


def broken(platform: Platform, job: str) -> list[Problem]:
    """What is against an invariant, apart from what the scenario itself laid there: strays are what a sweep is for."""
    return [problem for problem in make.problems(platform, contents=False) if job != "sweep" or problem.invariant != "I3"]


def forget_some(platform: Platform, seed: int) -> None:
    """A version with contents that others share is deleted, and collected with what it alone had."""
    for slug in ("set0", "set1", "set2"):
        numbers = make.column(
            platform.db,
            "SELECT v.version_number FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id WHERE d.slug = :slug "
            "AND v.purged_at IS NULL AND NOT EXISTS (SELECT 1 FROM dataset_pointers p WHERE p.version_id = v.id) ORDER BY 1",
            slug=slug,
        )
        if numbers:
            platform.deletion.delete_version(platform.actor(), f"{slug}@{numbers[seed % len(numbers)]}")
    with platform.db.transaction() as tx:
        tx.execute("UPDATE gc_queue SET review_after = now() - interval '1 second'")
    platform.gc.collect(platform.system())


def still_there(platform: Platform, acknowledged: list[dict[str, object]]) -> list[dict[str, object]]:
    """What was acknowledged and not deleted since."""
    gone = set(
        make.column(
            platform.db,
            "SELECT d.slug || '@' || v.version_number FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id "
            "WHERE v.purged_at IS NOT NULL",
        )
    )
    return [entry for entry in acknowledged if f"{entry.get('dataset')}@{entry.get('number')}" not in gone]


def every_dropped_file_is_in(platform: Platform, seeds: int) -> None:
    platform.ingestion.discover()
    platform.ingestion.ingest_ready()
    for number in range(2):
        _, _, components = platform.versions.find(platform.actor(), f"drop{number}")
        assert {component.name for component in components} == {f"{s}-{n}.bin" for s in range(seeds) for n in (number, number + 2)}
    assert [path for path in platform.settings.drop_dir.rglob("*") if path.is_file()] == []


@pytest.mark.long
@pytest.mark.parametrize("kills", [20, pytest.param(500, marks=pytest.mark.soak)])
@pytest.mark.parametrize("point", sorted(IN_A_BUCKET))
def test_a_kill_amid_a_write_in_parts_loses_nothing_and_leaves_nothing(
    point: str, kills: int, settings: Settings, database_url: str, s3_address: S3Address, crew: Crew, tmp_path: Path
) -> None:
    """What is left of parts that were never put together is shown by no listing; here we do what the bucket's lifecycle rule does."""
    ledger = tmp_path / "ledger"
    with bootstrap(replace(settings, storage_url=str(s3_address), gc_grace_days=0), database_url) as platform:
        make.commit(platform, works.dataset(platform, "keeper"), {"kept": b"kept"})
        for seed in range(kills):
            job = "dsplatform_tests.journeys.works:publish_in_parts"
            point_ = f"{point}:kill:{1 + seed % 2}"
            pid = crew.start(job, settings.home, database_url, ledger, seed=seed, point=point_, storage=str(s3_address))
            if crew.ended(pid) == 0:  # it wrote only one object in parts
                pid = crew.start(
                    job, settings.home, database_url, ledger, seed=10**6 + seed, point=f"{point}:kill", storage=str(s3_address)
                )
                assert crew.ended(pid) == -signal.SIGKILL
        bucket = Bucket(s3_address)
        every = bucket.ask("list_multipart_uploads").get("Uploads", [])
        begun = [upload for upload in every if upload["Key"].startswith(s3_address.prefix)]
        assert (len(begun) >= kills) == (point == "s3.parts_begun")
        for upload in begun:
            bucket.ask("abort_multipart_upload", upload["Key"].removeprefix(s3_address.prefix), UploadId=upload["UploadId"])
        assert make.problems(platform) == []
        assert aftermath.lost(platform, entries(ledger)) == []
        make.drained(platform)
        named = set(make.column(platform.db, "SELECT file_path FROM files"))
        assert {item.key for page in platform.gc._storage.list() for item in page} == named
        assert make.buried(platform) == set()
        assert aftermath.lost(platform, entries(ledger)) == []
        assert make.problems(platform) == []


# --- pauses --------------------------------------------------------------------------------------------------------------------


def asleep(pid: int) -> None:
    """Waits until the process has stopped itself."""
    make.until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, "it does not reach its point")


@pytest.mark.parametrize("point", ["upload.keys_named", "upload.written", "upload.sealed", "version.committed"])
def test_an_uploader_that_sleeps_longer_than_its_upload_lives_is_refused_and_its_objects_are_swept(
    point: str, platform: Platform, database_url: str, crew: Crew, tmp_path: Path
) -> None:
    """U9 and U10: what it was going to write is buried and purged before it writes."""
    make.commit(platform, works.dataset(platform, "keeper"), {"kept": b"kept"})
    ledger = tmp_path / "ledger"
    refused = 0
    for seed in range(5):
        job = "dsplatform_tests.journeys.works:publish_slowly"
        pid = crew.start(job, platform.settings.home, database_url, ledger, seed=seed, point=f"{point}:pause")
        asleep(pid)
        make.drained(platform)
        os.kill(pid, signal.SIGCONT)
        assert crew.ended(pid) == 0
        refused += entries(ledger)[-1]["what"] == "expired"
        assert {problem.invariant for problem in make.problems(platform)} <= {"I3"}, "strays, which the sweep finds"
    assert refused == 5 or (point == "version.committed" and refused < 5)
    if point == "upload.keys_named":
        assert make.problems(platform), "it wrote what nothing names"
    assert aftermath.left_over(platform) == {}
    assert aftermath.lost(platform, entries(ledger)) == []
    make.assert_sound(platform)


@pytest.mark.parametrize("point", ["expiry.uploads", "gc.locked", "gc.buried", "purge.leased", "purge.deleted", "sweep.buried"])
def test_a_collector_that_sleeps_and_loses_its_connection_harms_nothing_when_it_wakes(
    point: str, platform: Platform, database_url: str, crew: Crew, tmp_path: Path
) -> None:
    """G5 and G6: meanwhile another one does its work, and everything that it collected is stored again."""
    backends = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    job = f"dsplatform_tests.journeys.works:{'sweep' if point.startswith('sweep') else 'collect'}_interrupted"
    for seed in (1, 2, 4):
        garbage(platform, seed)
        strays(platform, seed)
        others = make.column(platform.db, backends)
        pid = crew.start(job, platform.settings.home, database_url, tmp_path / "ledger", seed=seed, point=f"{point}:pause")
        asleep(pid)
        cut = make.column(
            platform.db,
            f"SELECT pg_terminate_backend(b.pid, 5000) FROM ({backends}) b WHERE b.pid <> ALL(CAST(:others AS int[]))",
            others=others,
        )
        assert cut.count(True) >= 1
        make.drained(platform)
        again = {b"given up %d %d" % (seed, number) for number in range(3)}
        make.commit(platform, works.dataset(platform, "again"), {works.digest(data): data for data in again})
        os.kill(pid, signal.SIGCONT)
        assert crew.ended(pid) == 0
        assert again <= set(make.held(platform, works.dataset(platform, "again")).values())
    assert aftermath.left_over(platform) == {}
    make.assert_sound(platform)
