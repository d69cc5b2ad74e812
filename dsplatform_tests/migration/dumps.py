"""What a migration left behind, in a form that is the same whenever the same came along, however often it was interrupted.

Our ids of files and of grants, the moments of our own work and the runs are left out: a file is its content.
"""

from typing import Any

from dsplatform.core.database import Database

QUESTIONS = {
    "roles": "SELECT id, role_name, description, rights FROM roles ORDER BY id",
    "users": "SELECT id, username, password_hash, role_id, is_active, is_service, "
    "CASE WHEN created_at < now() - interval '1 day' THEN created_at END AS created_at FROM users ORDER BY id",
    "files": "SELECT content_hash, file_size, storage_type, file_type, mime_type, compression_type, state, c.reference_count "
    "FROM files f JOIN file_reference_counts c ON c.file_id = f.id ORDER BY content_hash",
    "staged_files": "SELECT s.session_id, s.path, f.content_hash FROM staged_files s JOIN files f ON f.id = s.file_id ORDER BY 1, 2",
    "datasets": "SELECT to_jsonb(d) AS row FROM datasets d ORDER BY id",
    "dataset_versions": "SELECT to_jsonb(v) - 'overlay_file_id' AS row, f.content_hash AS overlay "
    "FROM dataset_versions v JOIN files f ON f.id = v.overlay_file_id ORDER BY v.id",
    "dataset_version_files": "SELECT to_jsonb(c) - 'file_id' AS row, f.content_hash FROM dataset_version_files c JOIN files f "
    "ON f.id = c.file_id ORDER BY c.version_id, c.component_name",
    "dataset_pointers": "SELECT to_jsonb(p) AS row FROM dataset_pointers p ORDER BY dataset_id, pointer_name",
    "permissions": "SELECT to_jsonb(p) - 'id' - CASE WHEN p.granted_at > now() - interval '1 day' THEN 'granted_at' ELSE '' END || "
    "CASE WHEN p.resource_type = 'file' THEN "
    "jsonb_build_object('resource_id', (SELECT content_hash FROM files f WHERE f.id = p.resource_id)) ELSE '{}' END AS row "
    "FROM permissions p ORDER BY 1",
    "dataset_schema_versions": "SELECT version_id, state FROM dataset_schema_versions ORDER BY version_id",
    "legacy_id_map": "SELECT m.entity, m.legacy_id, CASE WHEN m.entity = 'files' THEN f.content_hash "
    "WHEN m.entity LIKE '%permissions' THEN (m.new_id IS NOT NULL)::text ELSE m.new_id::text END AS new_id, "
    "m.outcome, m.reason, m.kept, encode(m.source_hash, 'hex') AS hashed, m.deleted_at IS NOT NULL AS is_gone "
    "FROM legacy_id_map m LEFT JOIN files f ON m.entity = 'files' AND f.id = m.new_id ORDER BY 1, 2",
    "legacy_quarantine": "SELECT entity, legacy_id, reason, detail, raw, resolution FROM legacy_quarantine ORDER BY 1, 2, 3",
    "legacy_numbers": "SELECT kind, subject, number FROM legacy_numbers ORDER BY 1, 2",
    "tombstones": "SELECT count(*) AS unexpected FROM tombstones t JOIN files f ON f.file_path = t.storage_key",
}


def dump(db: Database) -> dict[str, list[dict[str, Any]]]:
    """Every table that a migration writes."""
    with db.transaction() as tx:
        return {name: [dict(row) for row in tx.rows(question)] for name, question in QUESTIONS.items()}


def differing(one: dict[str, list[dict[str, Any]]], other: dict[str, list[dict[str, Any]]]) -> dict[str, tuple[Any, Any]]:
    """Tables whose dumps differ, with the rows that only one has: what an assertion shows."""
    found = {}
    for name in one.keys() | other.keys():
        here, there = one.get(name, []), other.get(name, [])
        if here != there:
            found[name] = ([row for row in here if row not in there][:3], [row for row in there if row not in here][:3])
    return found
