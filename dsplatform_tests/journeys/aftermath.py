"""What must hold after faults: what was acknowledged is there, and when everything expired was collected, nothing is left over."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.errors import Gone
from dsplatform_tests import make

LONG_AGO = 3 * 86_400
"""Seconds: older than whatever counts as young."""


def lost(platform: Platform, acknowledged: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the acknowledged versions that are not there with these contents under these names."""
    held: dict[tuple[str, int], dict[str, str]] = {}
    with platform.db.transaction() as tx:
        for slug, number, name, content_hash in tx.tuples(
            "SELECT d.slug, v.version_number, c.component_name, f.content_hash FROM dataset_version_files c "
            "JOIN dataset_versions v ON v.id = c.version_id JOIN datasets d ON d.id = v.dataset_id JOIN files f ON f.id = c.file_id"
        ):
            held.setdefault((slug, number), {})[name] = content_hash
    return [
        entry
        for entry in acknowledged
        if entry["what"] == "version" and not entry["parts"].items() <= held.get((entry["dataset"], entry["number"]), {}).items()
    ]


def unreachable(platform: Platform) -> list[str]:
    """I5: versions on no branch, of datasets whose only branch is `main` and that nobody deleted."""
    return make.column(
        platform.db,
        "WITH RECURSIVE reached AS (SELECT p.version_id AS id FROM dataset_pointers p WHERE NOT p.is_tag "
        "UNION SELECT e.parent FROM reached r JOIN dataset_versions v ON v.id = r.id "
        "CROSS JOIN LATERAL (VALUES (v.parent_version_id), (v.merge_parent_version_id)) e (parent) WHERE e.parent IS NOT NULL) "
        "SELECT d.slug || '@' || v.version_number FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id "
        "WHERE d.deleted_at IS NULL AND v.id NOT IN (SELECT id FROM reached)",
    )


def unstaged(platform: Platform, acknowledged: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the acknowledged references that are not there."""
    with platform.db.transaction() as tx:
        held = {
            (str(session), path): content_hash
            for session, path, content_hash in tx.tuples(
                "SELECT s.session_id, s.path, f.content_hash FROM staged_files s JOIN files f ON f.id = s.file_id"
            )
        }
    return [entry for entry in acknowledged if entry["what"] == "staged" and held.get((entry["session"], entry["path"])) != entry["hash"]]


def left_over(platform: Platform) -> dict[str, object]:
    """Lets everything that can expire be expired and collects it, strays included. What is there afterwards and should not be."""
    then = time.time() - LONG_AGO
    storage = Path(platform.settings.storage_url)
    for path in [*storage.glob("objects/*/*"), *storage.glob("tmp/*")]:
        os.utime(path, (then, then))
    for sweep in (False, True, True, False):
        make.overdue(platform.db)
        platform.gc.collect(platform.system(), sweep=sweep)
        make.drained(platform)
    platform.gc.fold()
    rows = {
        table: count
        for table in ("upload_intents", "upload_sessions", "staged_files", "gc_queue", "tombstones", "file_reference_deltas")
        if (count := make.column(platform.db, f"SELECT count(*) FROM {table}")[0])
    }
    named = set(make.column(platform.db, "SELECT file_path FROM files"))
    found = {
        "rows": rows,
        "objects that no file names": make.objects(platform) - named,
        "files without an object": named - make.objects(platform),
        "files that nothing names": make.unnamed(platform)[0],
        "temporary files": make.spooled(platform),
        "miscounts": platform.gc.audit().miscounts,
    }
    return {what: left for what, left in found.items() if left}


def settled(platform: Platform) -> None:
    """Works again as if nothing had been: one more version is made, read and deleted with all it held."""
    dataset = make.dataset(platform, "afterwards")
    make.commit(platform, dataset, {"a": b"afterwards 1", "b": b"kept"})
    make.commit(platform, dataset, {"a": b"afterwards 2"})
    assert make.held(platform, dataset) == {"a": b"afterwards 2", "b": b"kept"}
    platform.deletion.delete_version(platform.actor(), "afterwards@1")
    with pytest.raises(Gone):
        platform.versions.find(platform.actor(), "afterwards@1")
