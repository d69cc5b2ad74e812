"""A platform that serves many examples: what lies there, and how to begin again."""

import os
from pathlib import Path

from dsplatform.bootstrap import Platform
from dsplatform_tests import make

TABLES = (
    "dataset_pointers", "dataset_version_files", "retention_rules", "dataset_versions", "datasets", "staged_files",
    "upload_sessions", "upload_intents", "files", "tombstones", "gc_queue", "file_reference_deltas", "sweep_candidates",
)  # fmt: skip


def wipe(platform: Platform) -> None:
    """An empty platform, quicker than by its own means and whatever state it is in: no trigger and no foreign key has a say."""
    with make.tampering(platform.db) as tx:
        tx.execute("SET LOCAL session_replication_role = replica")
        for table in TABLES:
            tx.execute(f"DELETE FROM {table}")
    storage = Path(platform.settings.storage_url)
    for key in objects(platform):
        (storage / "objects" / key).unlink()
    for path in (storage / "tmp").iterdir():
        path.unlink()


def objects(platform: Platform) -> set[str]:
    """The keys of all that is stored."""
    root = f"{platform.settings.storage_url}/objects"
    return {f"{folder}/{name}" for folder in os.listdir(root) for name in os.listdir(f"{root}/{folder}")}
