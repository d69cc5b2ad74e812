"""The questions that one side can answer by itself, or that compare figures: counts, hashes, references, relations, accounting.

Each question selects (legacy table, key, what is wrong). What is asked of our side alone is asked of all that came along.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from dsplatform.core.database import Transaction
from dsplatform.migration.judging import Difference
from dsplatform.migration.projected_history import PARTS
from dsplatform.migration.projection import SETTLED
from dsplatform.migration.source import Snapshot

TABLES = (
    "roles",
    "users",
    "files",
    "tags",
    "datasets",
    "dataset_tags",
    "dataset_versions",
    "dataset_version_files",
    "sheets",
    "sheet_metadata",
    "dataset_pointers",
    "version_tags",
    "permissions",
    "dataset_permissions",
    "file_permissions",
    "dataset_schema_versions",
    "data_exploration_configs",
    "data_exploration_runs",
    "exploration_outputs",
    "sampling_runs",
    "sampling_outputs",
    "analysis_configurations",
    "analysis_runs",
    "dataset_statistics",
)
"""Every legacy table that is accounted for."""
RANKS = {"read": 1, "write": 2, "admin": 3}


@dataclass(frozen=True)
class Both:
    """Both sides, at one moment each."""

    source: Snapshot
    tx: Transaction
    zone: ZoneInfo
    """Of the legacy system's times."""


Check = Callable[[Both], Iterator[Difference | int]]
"""Gives what is wrong, and numbers: how many rows were looked at."""

HASHED = """
    SELECT 'files', m.legacy_id, CASE
        WHEN f.id IS NULL THEN 'has no content here'
        WHEN f.content_hash !~ '^[0-9a-f]{64}$' THEN 'has a content without a hash'
        WHEN m.kept ? 'file_size' AND f.file_size::text <> m.kept->>'file_size'
            THEN 'has another size than its row says, which nothing records'
        ELSE 'has another hash than its row says, which nothing records' END
    FROM legacy_id_map m LEFT JOIN files f ON f.id = m.new_id
    LEFT JOIN (SELECT legacy_id, array_agg(reason) AS found FROM legacy_quarantine WHERE entity = 'files' GROUP BY legacy_id) q
        ON q.legacy_id = m.legacy_id
    WHERE m.entity = 'files' AND m.deleted_at IS NULL AND m.outcome <> 'excluded' AND (
        (m.new_id IS NULL AND m.outcome = 'migrated') OR (m.new_id IS NOT NULL AND (
            f.id IS NULL OR f.content_hash !~ '^[0-9a-f]{64}$'
            OR (m.kept ? 'file_size' AND f.file_size::text <> m.kept->>'file_size' AND NOT coalesce('size_mismatch' = ANY(q.found), false))
            OR (btrim(m.kept->>'content_hash') <> '' AND f.content_hash <> lower(btrim(m.kept->>'content_hash'))
                AND NOT coalesce('hash_mismatch' = ANY(q.found), false)))))
"""

REFERENCES = (
    """
    SELECT 'files', m.legacy_id, 'its content, file ' || m.new_id || ' here, ' || CASE WHEN f.id IS NULL THEN 'does not exist'
        WHEN f.state <> 'ok' THEN 'is marked as damaged' ELSE 'lies under a tombstone' END
    FROM legacy_id_map m LEFT JOIN files f ON f.id = m.new_id LEFT JOIN tombstones t ON t.storage_key = f.file_path
    WHERE m.entity = 'files' AND m.deleted_at IS NULL AND m.new_id IS NOT NULL
        AND (f.id IS NULL OR f.state <> 'ok' OR t.storage_key IS NOT NULL)
    """,
    """
    WITH named AS (SELECT file_id, count(*) AS times FROM (SELECT file_id FROM dataset_version_files UNION ALL
        SELECT file_id FROM staged_files UNION ALL SELECT overlay_file_id FROM dataset_versions) r GROUP BY file_id),
    pending AS (SELECT file_id, sum(delta) AS delta FROM file_reference_deltas GROUP BY file_id)
    SELECT 'files', m.legacy_id, CASE WHEN coalesce(n.times, 0) = 0 THEN 'nothing refers to its content: the collector may take it'
        ELSE 'its content has ' || n.times || ' references, and ' || (f.reference_count + coalesce(p.delta, 0)) || ' are counted' END
    FROM legacy_id_map m JOIN files f ON f.id = m.new_id LEFT JOIN named n ON n.file_id = f.id LEFT JOIN pending p ON p.file_id = f.id
    WHERE m.entity = 'files' AND m.deleted_at IS NULL
        AND (coalesce(n.times, 0) = 0 OR f.reference_count + coalesce(p.delta, 0) <> n.times)
    """,
    """
    SELECT 'dataset_versions', m.legacy_id, 'its overlay, file ' || v.overlay_file_id || ' here, does not exist'
    FROM legacy_id_map m JOIN dataset_versions v ON v.id = m.new_id LEFT JOIN files f ON f.id = v.overlay_file_id
    WHERE m.entity = 'dataset_versions' AND m.deleted_at IS NULL AND f.id IS NULL
    """,
)

_MINE = "JOIN legacy_id_map md ON md.entity = 'datasets' AND md.new_id = {} AND md.deleted_at IS NULL"
RELATIONS = (
    """
    SELECT 'dataset_versions', m.legacy_id, 'its parent, ' || v.parent_version_id || ' here, ' || CASE
        WHEN p.id IS NULL THEN 'does not exist' WHEN p.dataset_id <> v.dataset_id THEN 'is in another dataset' ELSE 'is not older' END
    FROM legacy_id_map m JOIN dataset_versions v ON v.id = m.new_id LEFT JOIN dataset_versions p ON p.id = v.parent_version_id
    WHERE m.entity = 'dataset_versions' AND m.deleted_at IS NULL AND v.parent_version_id IS NOT NULL
        AND (p.id IS NULL OR p.dataset_id <> v.dataset_id OR p.version_number >= v.version_number OR p.id >= v.id)
    """,
    f"""
    SELECT 'dataset_versions', 'here ' || v.id, 'the legacy system knows nothing of it'
    FROM dataset_versions v {_MINE.format("v.dataset_id")}
    LEFT JOIN legacy_id_map m ON m.entity = 'dataset_versions' AND m.new_id = v.id WHERE m.legacy_id IS NULL AND v.purged_at IS NULL
    """,
    """
    SELECT 'datasets', 'here ' || d.id, 'the legacy system knows nothing of it'
    FROM datasets d LEFT JOIN legacy_id_map m ON m.entity = 'datasets' AND m.new_id = d.id WHERE d.held AND m.legacy_id IS NULL
    """,
    f"""
    SELECT 'dataset_version_files', 'here ' || p.version_id || ' ' || p.component_name, 'no legacy row is this component'
    FROM {PARTS} p JOIN legacy_id_map v ON v.entity = 'dataset_versions' AND v.new_id = p.version_id AND v.deleted_at IS NULL
    LEFT JOIN legacy_id_map x ON x.entity = 'dataset_version_files' AND x.new_id = p.version_id AND x.deleted_at IS NULL
        AND split_part(x.legacy_id, ':', 1) = v.legacy_id AND split_part(x.legacy_id, ':', 2) = p.legacy_file
    WHERE EXISTS (SELECT FROM dataset_versions o WHERE o.id = p.version_id AND o.imported) AND (p.legacy_file IS NULL
        OR (NOT (x.legacy_id IS NOT NULL AND p.place = 1)
        AND NOT (p.component_name = 'main' AND p.component_type = 'primary' AND p.legacy_file = v.kept->>'file_id')))
    """,
    """
    SELECT 'dataset_versions', m.legacy_id, 'it says ' || v.component_count || ' components of ' || v.total_bytes || ' bytes, and has '
        || coalesce(c.files, 0) || ' of ' || coalesce(c.bytes, 0)
    FROM legacy_id_map m JOIN dataset_versions v ON v.id = m.new_id LEFT JOIN (SELECT c.version_id, count(*) AS files,
        sum(f.file_size) AS bytes FROM dataset_version_files c JOIN files f ON f.id = c.file_id GROUP BY c.version_id) c
        ON c.version_id = v.id
    WHERE m.entity = 'dataset_versions' AND m.deleted_at IS NULL AND v.purged_at IS NULL
        AND (v.component_count, v.total_bytes) IS DISTINCT FROM (coalesce(c.files, 0), coalesce(c.bytes, 0))
    """,
)
GONE = """
    SELECT m.entity, m.legacy_id, 'the legacy system has it no more, and it is still here' FROM legacy_id_map m
    LEFT JOIN datasets d ON m.entity = 'datasets' AND d.id = m.new_id AND d.deleted_at IS NULL
    LEFT JOIN dataset_versions v ON m.entity = 'dataset_versions' AND v.id = m.new_id AND v.purged_at IS NULL
        AND EXISTS (SELECT FROM datasets o WHERE o.id = v.dataset_id AND o.deleted_at IS NULL)
    LEFT JOIN users u ON m.entity = 'users' AND u.id = m.new_id AND u.is_active
    WHERE m.deleted_at IS NOT NULL AND (d.id IS NOT NULL OR v.id IS NOT NULL OR u.id IS NOT NULL)
"""
OPEN = """
    SELECT 'datasets', m.legacy_id, 'it can be written to here, while the legacy system is written to'
    FROM legacy_id_map m JOIN datasets d ON d.id = m.new_id
    WHERE m.entity = 'datasets' AND m.deleted_at IS NULL AND NOT d.held AND (SELECT master FROM legacy_routing) = 'legacy'
"""
HEADS = (
    f"""
    SELECT 'datasets', md.legacy_id, 'it has versions and no branch `main`' FROM (SELECT DISTINCT dataset_id FROM dataset_versions
        WHERE purged_at IS NULL) v {_MINE.format("v.dataset_id")}
    LEFT JOIN dataset_pointers p ON p.dataset_id = v.dataset_id AND p.pointer_name = 'main' AND NOT p.is_tag WHERE p.dataset_id IS NULL
    """,
    f"""
    SELECT 'dataset_pointers', 'here ' || p.dataset_id || ' ' || p.pointer_name, CASE WHEN v.id IS NULL OR v.dataset_id <> p.dataset_id
        OR v.purged_at IS NOT NULL THEN 'points at no living version of its dataset' WHEN p.pointer_name = 'main'
        THEN 'we made it, and it is not at the highest version' ELSE 'no legacy row is this pointer' END
    FROM dataset_pointers p {_MINE.format("p.dataset_id")}
    LEFT JOIN dataset_versions v ON v.id = p.version_id
    LEFT JOIN legacy_id_map m ON m.entity IN ('dataset_pointers', 'version_tags') AND m.new_id = p.dataset_id AND m.deleted_at IS NULL
        AND m.kept->>'pointer' = p.pointer_name
    LEFT JOIN (SELECT dataset_id, max(version_number) AS number FROM dataset_versions WHERE purged_at IS NULL GROUP BY dataset_id) top
        ON top.dataset_id = p.dataset_id
    WHERE v.id IS NULL OR v.dataset_id <> p.dataset_id OR v.purged_at IS NOT NULL
        OR (m.legacy_id IS NULL AND NOT (p.pointer_name = 'main' AND NOT p.is_tag AND v.version_number = top.number) AND KNOWN_THERE)
    """,
)
ROLES = """
    SELECT 'users', m.legacy_id, 'her role ' || r.role_name || ' here gives more than the right to make datasets'
    FROM legacy_id_map m JOIN users u ON u.id = m.new_id JOIN roles r ON r.id = u.role_id
    WHERE m.entity = 'users' AND m.deleted_at IS NULL AND m.reason IS DISTINCT FROM 'made_here'
        AND (r.role_name = 'admin' OR NOT r.rights <@ '{create}'::text[])
"""
DECIDED = f"""
    SELECT entity, legacy_id, 'waits for a decision: ' || reason FROM legacy_quarantine
    WHERE resolution IS NULL
    UNION ALL
    SELECT m.entity, m.legacy_id, 'is quarantined for ' || m.reason || ', and nothing says why' FROM legacy_id_map m
    LEFT JOIN legacy_quarantine q ON q.entity = m.entity AND q.legacy_id = m.legacy_id AND q.resolution IS DISTINCT FROM '{SETTLED}'
    WHERE m.outcome = 'quarantined' AND m.deleted_at IS NULL AND q.id IS NULL
"""


def counts(both: Both) -> Iterator[Difference | int]:
    """V1: each table's rows are as many as ended in some way."""
    ended = dict(both.tx.tuples("SELECT entity, count(*) FROM legacy_id_map WHERE deleted_at IS NULL GROUP BY entity"))
    for table in TABLES:
        there = both.source.count(table) if both.source.has(table) else 0
        yield there
        if there != ended.get(table, 0):
            yield Difference(table, "", "", f"has {there} rows, and {ended.get(table, 0)} are accounted for")


def hashed(both: Both) -> Iterator[Difference | int]:
    """V3: each file that came along has a hash, and is as long as its row says, or it is recorded that it is not."""
    yield _figure(both, "SELECT count(*) FROM legacy_id_map WHERE entity = 'files' AND deleted_at IS NULL AND outcome <> 'excluded'")
    yield from _asked(both, [HASHED])


def references(both: Both) -> Iterator[Difference | int]:
    """V5: what files refer to exists, what came along is referred to, and the references are counted right."""
    yield _figure(both, "SELECT count(DISTINCT new_id) FROM legacy_id_map WHERE entity = 'files' AND new_id IS NOT NULL")
    yield from _asked(both, REFERENCES)


def relations(both: Both) -> Iterator[Difference | int]:
    """V6: the history is a graph of older and newer versions, and nothing here is without a legacy row."""
    yield _figure(both, "SELECT count(*) FROM legacy_id_map WHERE entity = 'dataset_versions' AND deleted_at IS NULL")
    # What was made here after a switch may have no place there.
    known = "true" if both.source.has("dataset_pointers") else "p.is_tag" if both.source.has("version_tags") else "false"
    yield from _asked(both, [*RELATIONS, *(head.replace("KNOWN_THERE", known) for head in HEADS), GONE, OPEN])


def decided(both: Both) -> Iterator[Difference | int]:
    """V9: each finding is decided, by a rule or by somebody."""
    yield _figure(both, "SELECT count(*) FROM legacy_quarantine")
    yield from _asked(both, [DECIDED])


def roles(both: Both) -> Iterator[Difference | int]:
    """Of V7: no role of ours opens what the legacy system did not."""
    yield from _asked(both, [ROLES])


def file_rights(both: Both) -> Iterator[Difference | int]:
    """Of V7: the same for rights on single files. Legacy files with the same bytes are one content here."""
    parts = []
    if both.source.has("permissions"):
        parts.append(
            "SELECT user_id, resource_id, permission_type::text FROM permissions WHERE resource_type = 'file' "
            "AND permission_type IN ('read', 'write', 'admin')"
        )
    if both.source.has("file_permissions"):
        parts.append("SELECT user_id, file_id, permission_type::text FROM file_permissions")
    before: dict[tuple[str, int], int] = {}
    contents: Mapping[str, int] = {}
    ours: Sequence[tuple[Any, ...]] = list(
        both.tx.tuples(
            "SELECT coalesce(mu.legacy_id, 'here ' || h.user_id), h.resource_id, h.permission_type FROM rights_held h "
            "LEFT JOIN legacy_id_map mu ON mu.entity = 'users' AND mu.new_id = h.user_id "
            "WHERE h.resource_type = 'file' "
            "AND EXISTS (SELECT FROM legacy_id_map mf WHERE mf.entity = 'files' AND mf.new_id = h.resource_id)"
        )
    )
    if parts and ours:
        contents = dict(
            both.tx.tuples(
                "SELECT legacy_id, new_id FROM legacy_id_map WHERE entity = 'files' AND new_id IS NOT NULL AND deleted_at IS NULL"
            )
        )
        for part in parts:
            for user, file, right in both.source.tuples(part):
                key = (str(user), contents.get(str(file), 0))
                before[key] = max(before.get(key, 0), RANKS[right])
    yield len(before)
    for user, file, right in ours:
        if RANKS[right] > before.get((user, file), 0):
            yield Difference("rights", user, "", f"gains {right} on file {file} here")


def shadowed(both: Both) -> Iterator[Difference | int]:
    """V8: what was compared of real reads is the same, or explained."""
    found = dict(both.tx.tuples("SELECT outcome, count FROM legacy_shadow_counts"))
    yield sum(found.get(outcome, 0) for outcome in ("same", "explained", "different"))
    if found.get("different"):
        yield Difference("", "", "", f"{found['different']} answers differ and nothing explains it (`dsplatform legacy shadow`)")


def _asked(both: Both, questions: Sequence[str]) -> Iterator[Difference]:
    for question in questions:
        for entity, key, told in both.tx.tuples(question):
            yield Difference(entity, key, "", told)


def _figure(both: Both, question: str) -> int:
    return int(both.tx.scalar(question))
