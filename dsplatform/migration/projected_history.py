"""Versions, their components and sheets, branches and tags, and rights on both sides."""

from collections.abc import Sequence

from dsplatform.migration.projected_people import person
from dsplatform.migration.projection import JSON, SETTLED, Column, Old, Pair, here, mapped, table_pair, taken_back

PARTS = (
    "(SELECT c.version_id, c.component_name, c.component_type, c.file_id, c.metadata->'legacy' AS said, "
    "c.metadata->'legacy'->>'file_id' AS legacy_file, row_number() OVER (PARTITION BY c.version_id, c.metadata->'legacy'->>'file_id' "
    "ORDER BY c.component_name = 'main', c.component_index) AS place FROM dataset_version_files c)"
)
"""The components with what they say of their legacy rows. Of two with one file, the one called `main` is the version's own, and comes
second."""
OWN = (
    f"(SELECT p.version_id, min(p.legacy_file) AS legacy_file FROM {PARTS} p "
    "JOIN legacy_id_map mf ON mf.entity = 'files' AND mf.legacy_id = p.legacy_file AND mf.new_id = p.file_id "
    "LEFT JOIN legacy_id_map x ON x.entity = 'dataset_version_files' AND x.new_id = p.version_id AND x.deleted_at IS NULL "
    "AND split_part(x.legacy_id, ':', 2) = p.legacy_file "
    "WHERE p.component_name = 'main' AND p.component_type = 'primary' AND (x.legacy_id IS NULL OR p.place = 2) GROUP BY p.version_id)"
)
"""The versions whose `main` is the file of their own row, and that file."""
_LIVING = (
    "(WITH RECURSIVE line AS (SELECT a.id, a.parent_version_id, a.purged_at FROM dataset_versions a WHERE a.id = t.parent_version_id "
    "UNION ALL SELECT a.id, a.parent_version_id, a.purged_at FROM line l JOIN dataset_versions a ON a.id = l.parent_version_id "
    "WHERE l.purged_at IS NOT NULL) SELECT k.legacy_id FROM line l JOIN legacy_id_map k ON k.entity = 'dataset_versions' "
    "AND k.new_id = l.id WHERE l.purged_at IS NULL)"
)
"""The legacy id of the nearest living ancestor of the version `t`."""
_REFUSED = (
    f"EXISTS (SELECT FROM legacy_quarantine u WHERE u.reason = 'unsupported' AND u.resolution IS DISTINCT FROM '{SETTLED}' AND "
    "((u.entity = 'dataset_versions' AND u.legacy_id = m.legacy_id) "
    "OR (u.entity = 'dataset_version_files' AND split_part(u.legacy_id, ':', 1) = m.legacy_id)))"
)
"""Whether it is recorded that a legacy row of what was made here changed there later, which has no place here."""
_RANK = "CASE {}::text WHEN 'admin' THEN 3 WHEN 'write' THEN 2 WHEN 'read' THEN 1 END"


def versions(old: Old) -> Pair:
    """Versions. Their components are rows of their own, but the one that only the version's own row names."""
    author = old.first("dataset_versions", "uploaded_by", "created_by")
    at = old.first("dataset_versions", "ingestion_timestamp", "created_at")
    own, joins = old.text("dataset_versions", "file_id"), ""
    if old.has("dataset_version_files"):
        joins = (
            "LEFT JOIN (SELECT DISTINCT r.version_id FROM dataset_version_files r WHERE r.component_type = 'primary' "
            "OR r.component_name = 'main') prime ON prime.version_id = t.id"
        )
        own = f"CASE WHEN prime.version_id IS NULL THEN {own} END"
    # What was made here has what the legacy system has a place for.
    message = "t.message" if old.has("dataset_versions", "message") else "CASE WHEN t.imported THEN t.message ELSE '' END"
    has_parents = old.has("dataset_versions", "parent_version_id")
    parent = f"CASE WHEN t.imported THEN mp.legacy_id ELSE {_LIVING if has_parents else 'NULL'} END"
    kept = ("file_id", "overlay_file_id", "status", "last_updated_timestamp", "updated_at")
    columns = [
        here(),
        Column("dataset", "t.dataset_id::text", "md.legacy_id"),
        Column("number", "t.version_number::text", "t.version_number::text"),
        Column("message", f"coalesce({old.text('dataset_versions', 'message')}, '')", message),
        # Of what was made here the way back writes the nearest ancestor that lives.
        Column("parent", old.text("dataset_versions", "parent_version_id"), parent),
        Column("author", f"t.{author}::text", person("mu", "u"), new_shown="coalesce(mu.legacy_id, '~' || u.username)"),
        old.time("created_at", "dataset_versions", at, "t.created_at"),
        Column("own file", own, "own.legacy_file"),
        Column(
            "state",
            "'living'",
            "CASE WHEN t.purged_at IS NOT NULL THEN 'purged' WHEN NOT t.imported THEN 'made here' || "
            f"CASE WHEN {_REFUSED} THEN ', refused' ELSE '' END "
            "WHEN t.merge_parent_version_id IS NOT NULL THEN 'merged' ELSE 'living' END",
        ),
        *(old.fact("dataset_versions", name) for name in kept if old.has("dataset_versions", name)),
    ]
    new_joins = (
        "LEFT JOIN dataset_versions t ON t.id = m.new_id LEFT JOIN users u ON u.id = t.created_by "
        f"LEFT JOIN {OWN} own ON own.version_id = m.new_id "
        + mapped("md", "datasets", "t.dataset_id")
        + mapped("mp", "dataset_versions", "t.parent_version_id")
        + mapped("mu", "users", "t.created_by")
    )
    return table_pair("dataset_versions", columns, old_joins=joins, new_joins=new_joins)


def version_files(old: Old) -> Pair:
    """Components, each with the file that its row names."""
    table = "dataset_version_files"
    unnamed = (
        "CASE WHEN t.component_type = 'primary' THEN 'main' WHEN t.component_index IS NULL THEN t.component_type::text "
        "ELSE t.component_type::text || '-' || t.component_index END"
    )
    columns = [
        here("p", "version_id"),
        Column("version", "t.version_id::text", "mv.legacy_id"),
        Column("file", "t.file_id::text", "CASE WHEN p.file_id = mf.new_id THEN mf.legacy_id ELSE 'another' END"),
        Column(
            "name",
            f"coalesce(nullif(t.component_name::text, ''), {unnamed})",
            taken_back("p.component_name"),
            old_shown=f"CASE WHEN coalesce(t.component_name::text, '') = '' THEN '~' || ({unnamed}) ELSE t.component_name::text END",
        ),
        Column("type", "t.component_type::text", "p.component_type"),
        Column("kept type", "t.component_type::text", "p.said->>'type'"),
        Column("kept index", old.text(table, "component_index"), "p.said->>'index'"),
        Column("kept metadata", old.text(table, "metadata"), "(p.said->'metadata')::text", JSON),
    ]
    joins = (
        f"LEFT JOIN {PARTS} p ON p.version_id = m.new_id AND p.legacy_file = split_part(m.legacy_id, ':', 2) AND p.place = 1 "
        "LEFT JOIN legacy_id_map mf ON mf.entity = 'files' AND mf.legacy_id = p.legacy_file "
    )
    return table_pair(table, columns, new_joins=joins + mapped("mv", "dataset_versions", "m.new_id"))


def sheets(old: Old) -> Pair:
    """Sheets, which are kept with the first component of their version."""
    columns = [
        here("s", "version_id"),
        Column("version", "t.dataset_version_id::text", "mv.legacy_id"),
        Column("name", "t.name::text", "s.said->>'name'"),
        Column("index", "t.sheet_index::text", "s.said->>'index'"),
        Column("description", old.text("sheets", "description"), "s.said->>'description'"),
    ]
    joins = ""
    if old.has("sheet_metadata"):
        joins = (
            "LEFT JOIN (SELECT DISTINCT ON (sheet_id) sheet_id, metadata FROM sheet_metadata ORDER BY sheet_id, id) x ON x.sheet_id = t.id"
        )
        columns.append(Column("metadata", "x.metadata::text", "(s.said->'metadata')::text", JSON))
    new_joins = (
        "LEFT JOIN (SELECT c.version_id, e AS said FROM dataset_version_files c "
        "CROSS JOIN LATERAL jsonb_array_elements(c.metadata->'legacy'->'sheets') e WHERE c.metadata->'legacy' ? 'sheets' "
        "UNION ALL SELECT k.new_id, e FROM legacy_id_map k CROSS JOIN LATERAL jsonb_array_elements(k.kept->'sheets') e "
        "WHERE k.entity = 'dataset_versions' AND k.kept ? 'sheets') s ON s.version_id = m.new_id AND s.said->>'id' = m.legacy_id "
    )
    return table_pair("sheets", columns, old_joins=joins, new_joins=new_joins + mapped("mv", "dataset_versions", "m.new_id"))


def sheet_metadata(old: Old) -> Pair:
    """Which version the facts about a sheet are with; what they say is a column of the sheets."""
    columns = [Column("version", "s.dataset_version_id::text", "mv.legacy_id")]
    if old.has("sheet_metadata", "profiling_report_file_id"):
        columns.append(old.fact("sheet_metadata", "profiling_report_file_id"))
    return table_pair(
        "sheet_metadata",
        columns,
        old_joins="LEFT JOIN sheets s ON s.id = t.sheet_id",
        new_joins=mapped("mv", "dataset_versions", "m.new_id"),
    )


def pointers(old: Old, table: str) -> Pair:
    """Branches and tags: where they point, and what they are."""
    name = "pointer_name" if table == "dataset_pointers" else "tag_name"
    columns = [
        here("p", "dataset_id"),
        Column("dataset", "t.dataset_id::text", "md.legacy_id"),
        Column("name", f"t.{name}::text", taken_back("p.pointer_name")),
        Column("version", "t.dataset_version_id::text", "mv.legacy_id"),
        Column("is_tag", "t.is_tag::text" if old.has(table, "is_tag") else "'true'", "p.is_tag::text"),
    ]
    if old.has(table, "created_at"):
        columns.append(old.time("created_at", table, "created_at", "p.created_at"))
    if old.has(table, "updated_at"):
        columns.append(old.time("moved_at", table, "updated_at", "p.moved_at"))
    joins = "LEFT JOIN dataset_pointers p ON p.dataset_id = m.new_id AND p.pointer_name = m.kept->>'pointer' "
    return table_pair(
        table, columns, new_joins=joins + mapped("md", "datasets", "p.dataset_id") + mapped("mv", "dataset_versions", "p.version_id")
    )


def grants(old: Old, table: str) -> Pair:
    """Rows that give rights, each as a grant."""
    kind = {"dataset_permissions": "'dataset'", "file_permissions": "'file'"}.get(table, "t.resource_type::text")
    if table == "permissions":
        resource, ours = "CASE WHEN t.resource_type = 'dataset' THEN t.resource_id::text END", "md.legacy_id"
    elif table == "dataset_permissions":
        resource, ours = "t.dataset_id::text", "md.legacy_id"
    else:
        resource = "t.file_id::text"
        ours = "CASE WHEN mf.new_id = p.resource_id THEN mf.legacy_id ELSE 'another' END"
    columns = [
        here("p"),
        Column("kind", kind, "p.resource_type"),
        Column("resource", resource, ours),
        Column("user", old.text(table, "user_id"), "mu.legacy_id"),
        Column("right", "t.permission_type::text", "p.permission_type"),
        Column("state", "'for good'", "CASE WHEN p.expires_at IS NULL THEN 'for good' ELSE 'expires' END"),
    ]
    joins = (
        "LEFT JOIN permissions p ON p.id = m.new_id "
        "LEFT JOIN legacy_id_map mf ON mf.entity = 'files' AND mf.legacy_id = split_part(m.legacy_id, ':', 1) "
        "LEFT JOIN legacy_id_map md ON md.entity = 'datasets' AND md.new_id = p.resource_id AND p.resource_type = 'dataset' "
    )
    return table_pair(table, columns, new_joins=joins + mapped("mu", "users", "p.user_id"))


def held(old: Old) -> Pair:
    """The strongest right of each person on each dataset, whatever gives it: every pair of which one side knows a right."""
    given = []
    if old.has("permissions"):
        given.append(
            "SELECT resource_id AS dataset_id, user_id, permission_type::text AS right FROM permissions WHERE resource_type = 'dataset'"
        )
    if old.has("dataset_permissions"):
        given.append("SELECT dataset_id, user_id, permission_type::text AS right FROM dataset_permissions")
    if not given:  # nobody asked for rights: by the rule, who made a dataset administers it
        given.append("SELECT id AS dataset_id, created_by AS user_id, 'admin'::text AS right FROM datasets")
    rank = _RANK.format("g.right")
    old_from = (
        f"(SELECT g.dataset_id, g.user_id, max({rank})::text AS rank FROM ({' UNION ALL '.join(given)}) g "
        "JOIN datasets d ON d.id = g.dataset_id JOIN users u ON u.id = g.user_id WHERE g.right IN ('read', 'write', 'admin') "
        "GROUP BY 1, 2) t"
    )
    new_from = (
        "(SELECT split_part(md.legacy_id, ':', 1)::bigint AS dataset_id, coalesce(mu.legacy_id::bigint, -h.user_id) AS user_id, "
        f"max({_RANK.format('h.permission_type')})::text AS rank FROM rights_held h "
        "JOIN legacy_id_map md ON md.entity = 'datasets' AND md.new_id = h.resource_id AND md.deleted_at IS NULL "
        "LEFT JOIN legacy_id_map mu ON mu.entity = 'users' AND mu.new_id = h.user_id "
        "WHERE h.resource_type = 'dataset' GROUP BY 1, 2) m"
    )
    return Pair(
        "rights",
        ("t.dataset_id::bigint", "t.user_id::bigint"),
        old_from,
        ("m.dataset_id", "m.user_id"),
        new_from,
        (Column("rank", "t.rank", "m.rank"),),
        has_line=False,
    )


def history(old: Old) -> Sequence[Pair]:
    """The pairs of the tables that this generation has."""
    found = [versions(old)]
    if old.has("dataset_version_files"):
        found.append(version_files(old))
    if old.has("sheets"):
        found.append(sheets(old))
    if old.has("sheets") and old.has("sheet_metadata"):
        found.append(sheet_metadata(old))
    found += [pointers(old, table) for table in ("dataset_pointers", "version_tags") if old.has(table)]
    found += [grants(old, table) for table in ("permissions", "dataset_permissions", "file_permissions") if old.has(table)]
    return found
