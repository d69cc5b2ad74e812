"""What is odd about datasets, their versions, and what names versions."""

from dsplatform.migration.oddities import Question, Severity

BLOCKS, DECIDE, NOTE = Severity

_NO_RIGHT_G1 = """
    NOT EXISTS (SELECT FROM dataset_permissions p JOIN users u ON u.id = p.user_id WHERE p.dataset_id = d.id)
    AND NOT EXISTS (SELECT FROM permissions p JOIN users u ON u.id = p.user_id WHERE p.resource_type = 'dataset' AND p.resource_id = d.id
                    AND p.permission_type IN ('read', 'write', 'admin'))
"""
_LATER = "SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY name, created_by ORDER BY id) AS nth FROM datasets) same WHERE nth > 1"

DATASETS = (
    Question(
        "D1",
        "several datasets of one owner with the same name",
        NOTE,
        "datasets",
        "SELECT id FROM (SELECT id, count(*) OVER (PARTITION BY name, created_by) AS same FROM datasets) d WHERE same > 1",
        "each keeps its id; the oldest keeps the name, the others get `-` and their id behind it, and their old name is kept as a fact",
    ),
    Question(
        "D2",
        "new versions that became datasets of their own: nobody has a right to them, or their parent is in the older one of that name",
        NOTE,
        "datasets",
        f"""SELECT d.id FROM ({_LATER}) d WHERE {_NO_RIGHT_G1}
            UNION SELECT d.id FROM dataset_versions v JOIN dataset_versions p ON p.id = v.parent_version_id
            JOIN datasets d ON d.id = v.dataset_id JOIN datasets o ON o.id = p.dataset_id
            WHERE o.id < d.id AND o.name = d.name AND o.created_by IS NOT DISTINCT FROM d.created_by""",  # noqa: S608
        "they stay datasets of their own: nothing is joined that the legacy system did not join",
        needs=("dataset_permissions", "permissions", "dataset_versions.parent_version_id"),
    ),
    Question(
        "D3",
        "datasets that nobody may read",
        NOTE,
        "datasets",
        f"SELECT d.id FROM datasets d WHERE {_NO_RIGHT_G1}",  # noqa: S608
        "nobody gets a right; admins see them, and can grant some",
        needs=("dataset_permissions", "permissions"),
    ),
    Question(
        "D3",
        "datasets that nobody may read",
        NOTE,
        "datasets",
        "SELECT id FROM datasets d "
        "WHERE NOT EXISTS (SELECT FROM dataset_permissions p JOIN users u ON u.id = p.user_id WHERE p.dataset_id = d.id)",
        "nobody gets a right; admins see them, and can grant some",
        needs=("dataset_permissions",),
        lacks=("permissions",),
    ),
    Question(
        "D5",
        "datasets without any version",
        NOTE,
        "datasets",
        "SELECT id FROM datasets d WHERE NOT EXISTS (SELECT FROM dataset_versions v WHERE v.dataset_id = d.id)",
        "they come along, empty",
    ),
    Question(
        "D24.dataset",
        "datasets whose owner was deleted",
        NOTE,
        "datasets",
        "SELECT id FROM datasets WHERE created_by IS NULL",
        "they belong to the inactive user `legacy-unknown`",
    ),
    Question(
        "D27.dataset",
        "datasets with very long or odd names",
        NOTE,
        "datasets",
        "SELECT id FROM datasets WHERE name !~ '^[A-Za-z0-9]([A-Za-z0-9 _.-]{{0,98}}[A-Za-z0-9])?$'",
        "names that our rule takes stay; others are made safe, and the old name is kept as a fact",
    ),
)

VERSIONS = (
    Question(
        "D4.parent",
        "versions whose parent is in another dataset",
        DECIDE,
        "dataset_versions",
        "SELECT v.id FROM dataset_versions v JOIN dataset_versions p ON p.id = v.parent_version_id WHERE p.dataset_id <> v.dataset_id",
        "they come along without this parent, quarantined as `cross_dataset_parent`; no edge is invented",
        needs=("dataset_versions.parent_version_id",),
    ),
    Question(
        "D4.first",
        "first versions with a number above 1",
        NOTE,
        "dataset_versions",
        "SELECT id FROM (SELECT id, version_number, min(version_number) OVER (PARTITION BY dataset_id) AS first FROM dataset_versions) v "
        "WHERE version_number = first AND first > 1",
        "they keep their number",
    ),
    Question(
        "cycle",
        "versions whose parent is not older than they are: their own ancestors, some of them",
        DECIDE,
        "dataset_versions",
        "SELECT v.id FROM dataset_versions v JOIN dataset_versions p ON p.id = v.parent_version_id "
        "WHERE p.dataset_id = v.dataset_id AND (p.id >= v.id OR p.version_number >= v.version_number)",
        "they come along without this parent, quarantined as `cycle`",
        needs=("dataset_versions.parent_version_id",),
    ),
    Question(
        "D6",
        "datasets with gaps in their version numbers",
        NOTE,
        "datasets",
        "SELECT dataset_id FROM dataset_versions GROUP BY dataset_id HAVING max(version_number) - min(version_number) + 1 <> count(*)",
        "the numbers stay as they are",
    ),
    Question(
        "D7",
        "datasets with several versions without a parent",
        NOTE,
        "datasets",
        "SELECT dataset_id FROM dataset_versions WHERE parent_version_id IS NULL GROUP BY dataset_id HAVING count(*) > 1",
        "each stays a root; no parent is invented",
        needs=("dataset_versions.parent_version_id",),
    ),
    Question(
        "same_number",
        "versions of one dataset with the same number",
        DECIDE,
        "dataset_versions",
        "SELECT id FROM (SELECT id, count(*) OVER (PARTITION BY dataset_id, version_number) AS same FROM dataset_versions) v "
        "WHERE same > 1",
        "the oldest keeps the number, the others are quarantined as `duplicate_key`, and left behind",
    ),
    Question(
        "D24.version",
        "versions whose author was deleted",
        NOTE,
        "dataset_versions",
        "SELECT id FROM dataset_versions WHERE {author} IS NULL",
        "their author is the inactive user `legacy-unknown`",
    ),
    Question(
        "D25.archived",
        "versions that were archived",
        NOTE,
        "dataset_versions",
        "SELECT id FROM dataset_versions WHERE status::text = 'archived'",
        "they come along; the state is kept as a fact",
        needs=("dataset_versions.status",),
    ),
    Question(
        "D25.deleted",
        "versions that were marked deleted, and that the legacy system still lists",
        NOTE,
        "dataset_versions",
        "SELECT id FROM dataset_versions WHERE status::text = 'deleted'",
        "they come along; the state is kept as a fact, and they are not deleted for good",
        needs=("dataset_versions.status",),
    ),
    Question(
        "D10.attached",
        "versions with files, of which none is the primary one",
        NOTE,
        "dataset_versions",
        "SELECT version_id FROM dataset_version_files GROUP BY version_id HAVING NOT bool_or(component_type = 'primary')",
        "the version's own file becomes `main`, where it has one",
        needs=("dataset_version_files",),
    ),
    Question(
        "D10.named",
        "versions whose primary file is not called `main`",
        NOTE,
        "dataset_versions",
        "SELECT version_id FROM dataset_version_files GROUP BY version_id "
        "HAVING bool_or(component_type = 'primary') "
        "AND NOT coalesce(bool_or(component_type = 'primary' AND component_name = 'main'), false)",
        "the file keeps its name, or gets its type as a name where it has none",
        needs=("dataset_version_files",),
    ),
    Question(
        "D11",
        "versions without any row of files: half deleted, or older than that table",
        NOTE,
        "dataset_versions",
        "SELECT id FROM dataset_versions v WHERE NOT EXISTS (SELECT FROM dataset_version_files f WHERE f.version_id = v.id)",
        "the version's own file becomes `main`; where it has none that can be read the version stays, empty, as `missing_bytes`",
        needs=("dataset_version_files",),
    ),
    Question(
        "D17",
        "versions without a captured schema",
        NOTE,
        "dataset_versions",
        "SELECT id FROM dataset_versions v WHERE NOT EXISTS (SELECT FROM dataset_schema_versions s WHERE s.dataset_version_id = v.id)",
        "nothing is lost: schemas of all versions are captured anew from the bytes",
        needs=("dataset_schema_versions",),
    ),
    Question(
        "D18",
        "versions without sheets",
        NOTE,
        "dataset_versions",
        "SELECT id FROM dataset_versions v WHERE NOT EXISTS (SELECT FROM sheets s WHERE s.dataset_version_id = v.id)",
        "the old API answers for their one file",
        needs=("sheets",),
    ),
    Question(
        "D18",
        "versions without sheets",
        NOTE,
        "dataset_versions",
        "SELECT id FROM dataset_versions",
        "the old API answers for their one file",
        lacks=("sheets",),
    ),
)
