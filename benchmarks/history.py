"""Questions about history: what differs between two large versions, and how 10,000 versions hang together."""

import io
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import spread
from benchmarks.setting import fresh_platform, owner, table
from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.core.types import VersionId
from dsplatform.core.values import DatasetRef
from dsplatform.versioning import graph
from dsplatform.versioning.history import History
from dsplatform.versioning.repository import Versions

FILES = 10_000
VERSIONS = 10_000


def diff(scratch: Path, rounds: int) -> str:
    """Two versions of 10,000 files with 100 differences: 70 changed, 15 added, 15 removed."""
    with fresh_platform(scratch) as platform:
        actor = platform.actor()
        dataset = platform.datasets.create_dataset(actor, "large")
        part = "part/{:05}.csv".format
        platform.versions.create_version(actor, dataset, {part(number): _body(number) for number in range(FILES)})
        changed = {part(number * 100): _body(FILES + number) for number in range(70)}
        added = {f"new/{number:05}.csv": _body(2 * FILES + number) for number in range(15)}
        platform.versions.create_version(actor, dataset, changed | added, remove=[part(number) for number in range(1, 16)])
        one, other = (platform.versions.get_version(actor, dataset, ref)[0].id for ref in "12")
        rows = [
            ("counting the rows of both lists, ms (limit)", _median(lambda: _count(platform, one, other), rounds), ""),
            ("reading both lists and comparing them here, ms", _median(lambda: _by_hand(platform, one, other), rounds), ""),
            ("`diff`, ms", _median(lambda: len(platform.branches.diff(actor, "large@1", "large@2").changes), rounds), "≤ 50"),
            ("`diff` of a version with itself, ms", _median(lambda: platform.branches.diff(actor, "large@2", "large@2"), rounds), ""),
        ]
    return table(f"Two versions of {FILES:,} files, 100 differences", ["what", "figure", "bar"], rows)


def history(scratch: Path, rounds: int) -> str:
    """10,000 versions in a line with a merge in every tenth."""
    with fresh_platform(scratch) as platform:
        actor = platform.actor()
        dataset = platform.datasets.create_dataset(actor, "long")
        _long(platform, actor, dataset)
        with platform.db.transaction() as tx:
            parents = History(tx).parents(dataset.id)
        head, middle = max(parents), VersionId(max(parents) - VERSIONS // 2)
        branches = platform.branches
        rows = [
            ("reading the parents of all versions, ms", _median(lambda: _parents(platform, dataset), rounds)),
            ("the same ancestors by one recursive statement, ms", _median(lambda: _recursive(platform, head), rounds)),
            ("all in topological order, once read, ms", _median(lambda: graph.topological(parents, [head]), rounds)),
            ("a merge base 5,000 versions back, once read, ms", _median(lambda: graph.merge_bases(parents, head, middle), rounds)),
            ("newest 50 of a branch, ms", _median(lambda: branches.history(actor, dataset, limit=50), rounds)),
            ("newest 50 as a drawing, ms", _median(lambda: branches.picture(actor, dataset, limit=50), rounds)),
        ]
    return table(f"{VERSIONS:,} versions with {VERSIONS // 10:,} merges", ["what", "figure"], rows)


def _body(number: int) -> io.BytesIO:
    return io.BytesIO(b"id\n%d\n" % number)


def _median(work: Callable[[], object], rounds: int) -> str:
    milliseconds = []
    for _ in range(5 * rounds):
        started = time.perf_counter()
        work()
        milliseconds.append((time.perf_counter() - started) * 1000)
    return spread(milliseconds)


def _count(platform: Platform, one: VersionId, other: VersionId) -> int:
    with platform.db.transaction() as tx:
        return int(
            tx.scalar("SELECT count(component_name) FROM dataset_version_files WHERE version_id IN (:one, :two)", one=one, two=other)
        )


def _by_hand(platform: Platform, one: VersionId, other: VersionId) -> int:
    with platform.db.transaction() as tx:
        old, new = ({part.name: part.content_hash for part in Versions(tx).components(version)} for version in (one, other))
    return sum(old.get(name) != new.get(name) for name in old | new)


def _parents(platform: Platform, dataset: DatasetRef) -> int:
    with platform.db.transaction() as tx:
        return len(History(tx).parents(dataset.id))


def _recursive(platform: Platform, head: VersionId) -> int:
    with platform.db.transaction() as tx:
        return len(
            tx.tuples(
                "WITH RECURSIVE up (id) AS (SELECT CAST(:head AS bigint) UNION SELECT p.id FROM up JOIN dataset_versions v ON v.id = up.id "
                "CROSS JOIN LATERAL (VALUES (v.parent_version_id), (v.merge_parent_version_id)) p (id) WHERE p.id IS NOT NULL) "
                "SELECT id FROM up",
                head=head,
            )
        )


def _long(platform: Platform, actor: Actor, dataset: DatasetRef) -> None:
    """Rows alone: what the questions read."""
    platform.versions.create_version(actor, dataset, {"a": _body(1)})
    with platform.db.transaction() as tx:
        first = tx.scalar("SELECT id FROM dataset_versions WHERE dataset_id = :dataset", dataset=dataset.id)
        tx.execute(
            "INSERT INTO dataset_versions (id, dataset_id, version_number, parent_version_id, merge_parent_version_id, overlay_file_id, "
            "component_count, total_bytes, created_by) OVERRIDING SYSTEM VALUE "
            "SELECT :first + n - 1, v.dataset_id, n, :first + n - 2, CASE WHEN n % 10 = 0 THEN :first + n - 8 END, v.overlay_file_id, "
            "1, 1, v.created_by FROM dataset_versions v, generate_series(2, CAST(:count AS integer)) n WHERE v.id = :first",
            first=first,
            count=VERSIONS,
        )
        tx.execute(
            "UPDATE dataset_pointers SET version_id = :head WHERE dataset_id = :dataset", head=first + VERSIONS - 1, dataset=dataset.id
        )
    with owner(platform) as tx:
        tx.execute("ANALYZE dataset_versions")


ALL: dict[str, Callable[[Path, int], str]] = {"diff": diff, "history": history}
