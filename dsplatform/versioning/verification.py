"""What must hold of versions and pointers (I5 and I7), each as a question whose answers are the faults.

What can be checked is less than what is promised: that an acknowledged commit was reachable from its branch at that moment leaves no
trace once the branch is moved or deleted. What lasts: a branch can only name a version that is there, `main` is always there, no number
is missing above those of imported versions (which have the gaps that they came with), and each overlay holds its parent's hash, so that
no version can vanish or change from the middle of a history unnoticed. A deleted version keeps its row for the DAG; a deleted dataset is
left out, because its reaper works in steps.
"""

import json
from collections.abc import Mapping, Sequence

from dsplatform.core.database import Database, Transaction
from dsplatform.core.errors import Unavailable
from dsplatform.core.interfaces import FileKeeper
from dsplatform.core.types import FileId
from dsplatform.core.values import FileUse
from dsplatform.core.verification import Verification

PAGE = 1_000

POINTERS = (
    """
    SELECT coalesce(d.slug, 'dataset ' || p.dataset_id) || ' ' || p.pointer_name, 'it names no version of its dataset'
    FROM dataset_pointers p LEFT JOIN datasets d ON d.id = p.dataset_id
    WHERE NOT EXISTS (SELECT 1 FROM dataset_versions v WHERE v.id = p.version_id AND v.dataset_id = p.dataset_id)
    """,
    """
    SELECT d.slug || ' ' || p.pointer_name, 'it names version ' || v.version_number || ', which was deleted'
    FROM dataset_pointers p JOIN dataset_versions v ON v.id = p.version_id JOIN datasets d ON d.id = p.dataset_id
    WHERE v.purged_at IS NOT NULL AND d.deleted_at IS NULL
    """,
    """
    SELECT d.slug, 'it has versions, and no branch main'
    FROM datasets d WHERE d.deleted_at IS NULL
    AND EXISTS (SELECT 1 FROM dataset_versions v WHERE v.dataset_id = d.id AND (v.purged_at IS NULL OR NOT v.imported))
    AND NOT EXISTS (SELECT 1 FROM dataset_pointers p WHERE p.dataset_id = d.id AND p.pointer_name = 'main' AND NOT p.is_tag)
    """,
    """
    SELECT d.slug || '@' || v.version_number, 'it has ' || coalesce(h.components, 0) || ' component(s) with ' || coalesce(h.bytes, 0)
           || ' bytes, not ' || v.component_count || ' with ' || v.total_bytes
    FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id
    LEFT JOIN (SELECT c.version_id, count(*) AS components, sum(f.file_size) AS bytes
               FROM dataset_version_files c LEFT JOIN files f ON f.id = c.file_id GROUP BY c.version_id) h ON h.version_id = v.id
    WHERE v.purged_at IS NULL AND d.deleted_at IS NULL
    AND (coalesce(h.components, 0), coalesce(h.bytes, 0)) <> (v.component_count, v.total_bytes)
    """,
)

HISTORY = (
    """
    SELECT d.slug, 'it has ' || count(*) || ' version(s)' || CASE WHEN h.highest > 0 THEN ' above the imported ones' ELSE '' END
           || ', numbered ' || min(v.version_number) || ' to ' || max(v.version_number)
    FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id
    JOIN (SELECT dataset_id, coalesce(max(version_number) FILTER (WHERE imported), 0) AS highest
          FROM dataset_versions GROUP BY dataset_id) h ON h.dataset_id = v.dataset_id
    WHERE d.deleted_at IS NULL AND v.version_number > h.highest GROUP BY d.id, d.slug, h.highest
    HAVING min(v.version_number) <> h.highest + 1 OR max(v.version_number) <> h.highest + count(*)
           OR count(DISTINCT v.version_number) <> count(*)
    """,
    # Along every edge the number falls, so there is no cycle: one would need an edge along which it rises.
    """
    SELECT coalesce(d.slug, 'dataset ' || v.dataset_id) || '@' || v.version_number,
           CASE WHEN p.id IS NULL THEN 'its parent (id ' || e.parent || ') does not exist'
                WHEN p.dataset_id <> v.dataset_id THEN 'its parent (id ' || e.parent || ') belongs to another dataset'
                ELSE 'its parent ' || p.version_number || ' is no older one' END
    FROM dataset_versions v CROSS JOIN LATERAL (VALUES (v.parent_version_id), (v.merge_parent_version_id)) e (parent)
    LEFT JOIN datasets d ON d.id = v.dataset_id LEFT JOIN dataset_versions p ON p.id = e.parent
    WHERE e.parent IS NOT NULL
    AND (p.id IS NULL OR p.dataset_id <> v.dataset_id OR p.version_number >= v.version_number OR p.id >= v.id)
    """,
)

_CHAIN = """
    SELECT v.id, d.slug || '@' || v.version_number, d.slug, v.overlay_file_id, p.version_number, f.content_hash, m.version_number,
           g.content_hash
    FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id
    LEFT JOIN dataset_versions p ON p.id = v.parent_version_id LEFT JOIN files f ON f.id = p.overlay_file_id
    LEFT JOIN dataset_versions m ON m.id = v.merge_parent_version_id LEFT JOIN files g ON g.id = m.overlay_file_id
    WHERE v.id > :after AND d.deleted_at IS NULL ORDER BY v.id LIMIT :limit
"""


def verify(db: Database, files: FileKeeper, found: Verification, *, contents: bool) -> None:
    """Adds to `found` what is against I5 and I7; with `contents` every overlay is read and compared with its version and its parent."""
    with db.autocommit() as tx:
        found.checked["versions"] += tx.scalar("SELECT count(*) FROM dataset_versions")
        found.ask(tx, "I5", POINTERS)
        found.ask(tx, "I7", HISTORY)
    if contents:
        _verify_overlays(db, files, found)


def _verify_overlays(db: Database, files: FileKeeper, found: Verification) -> None:
    last = 0
    while True:
        with db.autocommit() as tx:
            rows = tx.tuples(_CHAIN, after=last, limit=PAGE)
        if not rows:
            return
        last = rows[-1][0]
        for _, subject, slug, overlay, *both in rows:
            parent, merged = (None if number is None else {"number": number, "overlay": seen} for number, seen in (both[:2], both[2:]))
            if finding := _overlay_says_otherwise(files, overlay, {"dataset": slug, "parent": parent, "merge_parent": merged}):
                found.add("I7", subject, finding)


def _overlay_says_otherwise(files: FileKeeper, overlay: FileId, expected: Mapping[str, object]) -> str | None:
    try:
        with files.local_paths([overlay]) as (path,):  # not `verified_chunks`, which marks what is damaged: nothing is changed here
            document = json.loads(path.read_bytes())
    except Unavailable as err:
        return f"its overlay cannot be read: {err}"
    except ValueError:
        return "its overlay is no JSON document"
    if not isinstance(document, dict):
        return "its overlay is no document of a version"
    for name, value in expected.items():
        if document.get(name) != value:
            return f"its overlay says {name} {json.dumps(document.get(name))}, not {json.dumps(value)}"
    return None


def uses(tx: Transaction, file_ids: Sequence[FileId]) -> Sequence[FileUse]:
    """Where living versions name these files, as a component or as their overlay; the newest 100 of each file."""
    rows = tx.tuples(
        """
        SELECT w.file_id, d.slug, u.version_number, u.component_name FROM unnest(CAST(:ids AS bigint[])) w (file_id)
        CROSS JOIN LATERAL (
            SELECT v.id, v.dataset_id, v.version_number, c.component_name FROM dataset_version_files c
            JOIN dataset_versions v ON v.id = c.version_id WHERE c.file_id = w.file_id AND v.purged_at IS NULL
            UNION ALL
            SELECT v.id, v.dataset_id, v.version_number, NULL FROM dataset_versions v WHERE v.overlay_file_id = w.file_id
            ORDER BY 1 DESC, 4 LIMIT 100
        ) u JOIN datasets d ON d.id = u.dataset_id ORDER BY w.file_id, u.id DESC, u.component_name
        """,
        ids=list(file_ids),
    )
    return [FileUse(*row) for row in rows]
