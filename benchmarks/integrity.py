"""Verifying a large store: what `dsplatform verify` and the scrubber take when nothing is wrong."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from benchmarks.measure import spread
from benchmarks.setting import fresh_platform, owner, table
from dsplatform.bootstrap import Platform
from dsplatform.files.model import storage_key

FILES = 100_000
VERSIONS = 100


def verify(scratch: Path, rounds: int) -> str:
    """100,000 tiny files in 100 versions, made behind the services' backs."""
    with fresh_platform(scratch) as platform:
        _fill(platform)
        looks = [_seconds(lambda: _sound(platform, contents=False)) for _ in range(rounds)]
        reads = [_seconds(lambda: _sound(platform, contents=True)) for _ in range(rounds)]
        presences = [_seconds(lambda: platform.scrub.presence(platform.system())) for _ in range(rounds)]
        scrubs = [_seconds(lambda: platform.scrub.contents(platform.system())) for _ in range(rounds)]
    return table(
        f"Verifying {FILES:,} files of a few bytes in {VERSIONS} versions",
        ["what", "seconds", "bar"],
        [
            ("`verify`: every invariant, presence and sizes", spread(looks), "≤ 10"),
            ("`verify --contents`: and every byte", spread(reads), ""),
            ("`scrub`, presence pass", spread(presences), ""),
            ("`scrub`, content pass", spread(scrubs), ""),
        ],
    )


def _sound(platform: Platform, *, contents: bool) -> None:
    found = platform.verify(platform.system(), contents=contents)
    if found.problems or found.checked["files"] != FILES + VERSIONS:
        raise AssertionError(f"{found.checked}: {found.problems[:3]}")


def _fill(platform: Platform) -> None:
    objects = Path(platform.settings.storage_url) / "objects"
    dataset = platform.datasets.create_dataset(platform.actor(), "large").id
    hashes, keys, sizes = [], [], []
    contents = [b"%d" % number for number in range(FILES)]
    previous = None
    for number in range(1, VERSIONS + 1):
        parent = None if previous is None else {"number": number - 1, "overlay": previous}
        overlay = _document(parent)
        previous = hashlib.sha256(overlay).hexdigest()
        contents.append(overlay)
    for content in contents:
        content_hash = hashlib.sha256(content).hexdigest()
        keys.append(storage_key(content_hash, uuid4()))  # type: ignore[arg-type]
        hashes.append(content_hash)
        sizes.append(len(content))
        (objects / keys[-1]).write_bytes(content)
    with platform.db.transaction() as tx:
        tx.execute(
            "INSERT INTO files (content_hash, file_size, storage_type, file_path, file_type) SELECT h, s, 'local', k, 'text' "
            "FROM unnest(CAST(:hashes AS text[]), CAST(:sizes AS bigint[]), CAST(:keys AS text[])) n (h, s, k)",
            hashes=hashes,
            sizes=sizes,
            keys=keys,
        )
        tx.execute(
            "INSERT INTO dataset_versions (id, dataset_id, version_number, parent_version_id, overlay_file_id, component_count, "
            "total_bytes, created_by) SELECT n, :dataset, n, nullif(n - 1, 0), :files + n, :each, (SELECT sum(file_size) FROM files "
            "WHERE id > (n - 1) * :each AND id <= n * :each), 1 FROM generate_series(1, :versions) n",
            dataset=dataset,
            files=FILES,
            each=FILES // VERSIONS,
            versions=VERSIONS,
        )
        tx.execute(
            "INSERT INTO dataset_version_files (version_id, component_name, component_index, file_id) "
            "SELECT 1 + (id - 1) / :each, id, id, id FROM files WHERE id <= :files",
            each=FILES // VERSIONS,
            files=FILES,
        )
        tx.execute(
            "INSERT INTO dataset_pointers (dataset_id, pointer_name, version_id) VALUES (:dataset, 'main', :version)",
            dataset=dataset,
            version=VERSIONS,
        )
    with owner(platform) as tx:
        tx.execute("ANALYZE")


def _document(parent: object) -> bytes:
    return json.dumps({"dataset": "large", "parent": parent}).encode()


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


ALL: dict[str, Callable[[Path, int], str]] = {"verify": verify}
