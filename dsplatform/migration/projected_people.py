"""Roles, users, files, labels and datasets on both sides, and what was left behind."""

from collections.abc import Sequence

from dsplatform.migration.projection import HIDDEN, JSON, Column, Old, Pair, here, mapped, table_pair, taken_back

UNKNOWN = "legacy-unknown"
"""To whom belongs what belonged to somebody who does not exist."""
LEFT = {
    "data_exploration_configs": "no_home",
    "data_exploration_runs": "no_home",
    "exploration_outputs": "no_home",
    "sampling_runs": "no_home",
    "sampling_outputs": "no_home",
    "analysis_configurations": "no_home",
    "analysis_runs": "no_home",
    "dataset_statistics": "no_home",
    "dataset_schema_versions": "captured_anew",
}
"""Tables whose rows stay behind, and the rule."""
_BCRYPT = r"^[$]2[abxy][$](0[4-9]|1[0-5])[$][./A-Za-z0-9]{53}$"
_PLAIN = {"integer", "bigint", "smallint", "text", "character varying", "boolean"}


def person(alias: str, user: str) -> str:
    """Who it is there: her legacy id; NULL for the one who stands for those who do not exist."""
    return f"CASE WHEN {user}.username = '{UNKNOWN}' THEN NULL ELSE coalesce({alias}.legacy_id, '~' || {user}.username) END"


def roles(old: Old) -> Pair:
    """Roles. What they may do is looked at with the rights."""
    described = Column("description", f"coalesce({old.text('roles', 'description')}, '')", "t.description")
    return table_pair(
        "roles", [here(), _folded("name", "t.role_name", "t.role_name"), described], new_joins="LEFT JOIN roles t ON t.id = m.new_id"
    )


def users(old: Old) -> Pair:
    """Users. Of a password only the salt is compared, of a bcrypt hash alone: it says nothing of the password."""
    columns = [
        here(),
        _folded("name", "t.soeid", "t.username"),
        Column("kept soeid", "t.soeid::text", "m.kept->>'soeid'"),
        Column("role", "t.role_id::text", "mr.legacy_id", new_shown="coalesce(mr.legacy_id, '~' || r.role_name)"),
        Column("active", "'true'", "t.is_active::text"),
        old.time("created_at", "users", "created_at", "t.created_at"),
        old.fact("users", "updated_at"),
        Column(
            "password",
            f"CASE WHEN t.password_hash ~ '{_BCRYPT}' THEN left(encode(sha256(textsend(left(t.password_hash, 29))), 'hex'), 16) END",
            "CASE WHEN t.password_hash LIKE '$2%' THEN left(encode(sha256(textsend(left(t.password_hash, 29))), 'hex'), 16) "
            "WHEN t.password_hash IS NOT NULL THEN m.kept->>'password' END",
            HIDDEN,
        ),
    ]
    joins = "LEFT JOIN users t ON t.id = m.new_id LEFT JOIN roles r ON r.id = t.role_id " + mapped("mr", "roles", "t.role_id")
    return table_pair("users", columns, new_joins=joins)


def files(old: Old) -> Pair:
    """Files: what the rows say, and the size and hash of the contents that are here."""
    names = (
        "storage_type",
        "file_type",
        "mime_type",
        "file_path",
        "file_size",
        "content_hash",
        "compression_type",
        "metadata",
        "created_at",
    )
    stored = "m.new_id IS NOT NULL AND m.kept ? "
    columns = [
        *(old.fact("files", name) for name in names if old.has("files", name)),
        Column("content", "'as said'", "CASE WHEN m.new_id IS NOT NULL AND f.id IS NULL THEN 'missing' ELSE 'as said' END"),
        Column(
            "size", old.text("files", "file_size"), f"CASE WHEN {stored} 'file_size' THEN f.file_size::text ELSE m.kept->>'file_size' END"
        ),
    ]
    if old.has("files", "content_hash"):
        said = "nullif(lower(btrim(m.kept->>'content_hash')), '')"
        columns.append(
            Column(
                "hash",
                "nullif(lower(btrim(t.content_hash)), '')",
                f"CASE WHEN {stored} 'content_hash' AND {said} IS NOT NULL THEN f.content_hash ELSE {said} END",
            )
        )
    needed = [
        f"SELECT {column} AS id FROM {table}"
        for table, column in (("dataset_versions", "file_id"), ("dataset_version_files", "file_id"))
        if old.has(table, column)
    ]
    joins = f"LEFT JOIN ({' UNION '.join(needed)}) needed ON needed.id = t.id" if needed else "LEFT JOIN files needed ON false"
    columns.append(
        Column(
            "needed",
            "CASE WHEN needed.id IS NULL THEN 'no' ELSE 'yes' END",
            "CASE WHEN m.outcome = 'excluded' THEN 'no' ELSE 'yes' END",
        )
    )
    return table_pair("files", columns, old_joins=joins, new_joins="LEFT JOIN files f ON f.id = m.new_id")


def tags(old: Old) -> Pair:
    """The catalogue's tags, of which the id map keeps all."""
    name = old.first("tags", "tag_name", "name")
    return table_pair(
        "tags",
        [
            Column("kept name", f"t.{name}::text", "m.kept->>'name'"),
            Column("kept description", old.text("tags", "description"), "m.kept->>'description'"),
        ],
    )


def dataset_tags(_old: Old) -> Pair:
    """Which dataset a row of labels belongs to. The labels themselves are columns of the datasets."""
    return table_pair(
        "dataset_tags", [Column("dataset", "t.dataset_id::text", "md.legacy_id")], new_joins=mapped("md", "datasets", "m.new_id")
    )


def datasets(old: Old) -> Pair:
    """Datasets with their labels."""
    columns = [
        here(),
        Column("name", "t.name::text", taken_back("t.name")),
        Column(
            "description",
            old.text("datasets", "description"),
            "CASE WHEN t.description = '' AND m.kept->>'description' IS DISTINCT FROM '' THEN NULL ELSE t.description END",
        ),
        Column("owner", "t.created_by::text", person("mu", "u"), new_shown="coalesce(mu.legacy_id, '~' || u.username)"),
        old.time("created_at", "datasets", "created_at", "t.created_at"),
        old.fact("datasets", "updated_at"),
        Column("state", "'living'", "CASE WHEN t.deleted_at IS NULL THEN 'living' ELSE 'deleted' END"),
    ]
    joins = ""
    if old.has("dataset_tags") and old.has("tags"):
        name = old.first("tags", "tag_name", "name")
        clean = f"left(btrim(regexp_replace(g.{name}, '\\s+', ' ', 'g')), 100)"
        joins = (
            "LEFT JOIN (SELECT o.dataset_id, json_agg(o.label ORDER BY o.tag_id)::text AS labels, "
            "json_agg(json_build_array(o.tag_id, o.label) ORDER BY o.tag_id)::text AS shown FROM ("
            f"SELECT l.dataset_id, l.tag_id, {clean} AS label, "
            f"row_number() OVER (PARTITION BY l.dataset_id, lower({clean}) ORDER BY l.tag_id) AS place "
            f"FROM dataset_tags l JOIN tags g ON g.id = l.tag_id) o WHERE o.place = 1 AND o.label <> '' GROUP BY o.dataset_id) labels "
            "ON labels.dataset_id = t.id"
        )
        columns.append(
            Column(
                "labels",
                "coalesce(labels.labels, '[]')",
                "CASE WHEN coalesce(array_length(t.labels, 1), 0) = 0 THEN '[]' ELSE (SELECT json_agg(x.label ORDER BY x.place)::text "
                "FROM unnest(t.labels) WITH ORDINALITY x(label, place)) END",
                old_shown="coalesce(labels.shown, '[]')",
            )
        )
    new_joins = "LEFT JOIN datasets t ON t.id = m.new_id LEFT JOIN users u ON u.id = t.created_by " + mapped("mu", "users", "t.created_by")
    return table_pair("datasets", columns, old_joins=joins, new_joins=new_joins)


def left_behind(old: Old) -> Sequence[Pair]:
    """Tables whose rows stay behind by a rule; what is kept of them must be all."""
    found = []
    for entity, rule in LEFT.items():
        if not old.has(entity):
            continue
        columns = [Column("rule", f"'{rule}'", "CASE WHEN m.outcome = 'excluded' THEN m.reason ELSE m.outcome END")]
        joins = ""
        if rule == "no_home":
            joins = f"LEFT JOIN legacy_quarantine w ON w.entity = '{entity}' AND w.legacy_id = m.legacy_id AND w.reason = m.reason"
            # Whoever owns the legacy database names its columns: a name that would have to be quoted is no name of its.
            known = {column: kind for column, kind in old.columns(entity).items() if column.isidentifier() and column.islower()}
            columns += [_cell(old, entity, column, kind) for column, kind in known.items()]
        found.append(table_pair(entity, columns, new_joins=joins))
    return found


def _cell(old: Old, entity: str, column: str, kind: str) -> Column:
    if kind.startswith("timestamp"):
        return Column(column, old.iso(entity, column), f"w.raw->>'{column}'")
    if kind == "jsonb":
        return Column(column, f"t.{column}::text", f"nullif((w.raw->'{column}')::text, 'null')", JSON)
    if kind in _PLAIN:
        return Column(column, f"t.{column}::text", f"w.raw->>'{column}'")
    return Column(column, f"(t.{column} IS NULL)::text", f"(w.raw->>'{column}' IS NULL)::text")


def _folded(name: str, old: str, new: str) -> Column:
    """A name that is kept in lower case; one that was made safe is what it was."""
    back = taken_back(new)
    folded = f"CASE WHEN q.found ? 'bad_name' THEN lower({back}) ELSE {back} END"
    return Column(name, f"lower({old})", folded, old_shown=f"{old}::text", new_shown=back)
