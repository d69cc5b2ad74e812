"""What is odd about people, rights, labels, sheets, branches and tags."""

from dsplatform.migration.oddities import Question, Severity

BLOCKS, DECIDE, NOTE = Severity

PEOPLE = (
    Question(
        "U1",
        "users whose stored password is no bcrypt hash, and may be a plain password",
        DECIDE,
        "users",
        r"SELECT id FROM users WHERE password_hash IS NULL OR password_hash !~ '^\$2[abxy]\$[0-9]{{2}}\$[./A-Za-z0-9]{{53}}$'",
        "the value is copied nowhere: they come along without a password, quarantined as `bad_password_hash`, and need a new one",
    ),
    Question(
        "same_login",
        "users whose logins differ in case or blanks alone",
        NOTE,
        "users",
        "SELECT id FROM (SELECT id, count(*) OVER (PARTITION BY lower(btrim(soeid))) AS same FROM users) u WHERE same > 1",
        "the oldest keeps the login, the others get `-` and their id behind it",
    ),
    Question(
        "our_login",
        "users named as one of our built-in users",
        NOTE,
        "users",
        "SELECT id FROM users WHERE lower(btrim(soeid)) IN ('admin', 'system')",
        "they get `-` and their id behind their login",
    ),
    Question(
        "admins",
        "users with the role `admin`, which opened no dataset in the legacy system",
        NOTE,
        "users",
        "SELECT u.id FROM users u LEFT JOIN roles r ON r.id = u.role_id WHERE u.role_id = 1 OR lower(r.role_name) = 'admin'",
        "the role gives them the right to make datasets and no more: make admins of those who shall be some",
    ),
    Question(
        "D22.resource",
        "rights on something that does not exist",
        DECIDE,
        "permissions",
        "SELECT p.id FROM permissions p LEFT JOIN datasets d ON d.id = p.resource_id AND p.resource_type = 'dataset' "
        "LEFT JOIN files f ON f.id = p.resource_id AND p.resource_type = 'file' WHERE d.id IS NULL AND f.id IS NULL",
        "they give no right, and are quarantined as `unknown_resource`",
    ),
    Question(
        "D22.type",
        "rights that are none of read, write and admin",
        DECIDE,
        "permissions",
        "SELECT id FROM permissions WHERE permission_type IS NULL OR permission_type NOT IN ('read', 'write', 'admin')",
        "they give no right, and are quarantined as `unknown_right`",
    ),
    Question(
        "D23.levels",
        "several rights of one user on one thing",
        NOTE,
        "permissions",
        "SELECT id FROM (SELECT id, count(*) OVER (PARTITION BY resource_type, resource_id, user_id) AS same FROM permissions) p "
        "WHERE same > 1",
        "the strongest counts",
    ),
    Question(
        "D23.tables",
        "rights of users who have one on the same dataset in the other table",
        NOTE,
        "permissions",
        "SELECT p.id FROM permissions p JOIN dataset_permissions d ON d.dataset_id = p.resource_id AND d.user_id = p.user_id "
        "WHERE p.resource_type = 'dataset'",
        "the strongest counts",
        needs=("dataset_permissions",),
    ),
)

LABELS = (
    Question(
        "D21.case",
        "labels that differ in case or blanks alone",
        NOTE,
        "tags",
        "SELECT id FROM (SELECT id, count(*) OVER (PARTITION BY lower(btrim({label}))) AS same FROM tags) t WHERE same > 1",
        "blanks around them go, case stays; those that are then equal are one label",
    ),
    Question(
        "D21.null",
        "labels without a description",
        NOTE,
        "tags",
        "SELECT id FROM tags WHERE description IS NULL",
        "nothing: labels have no description here; what some have is kept as a fact",
        needs=("tags.description",),
    ),
    Question(
        "D19",
        "sheets of workbooks, of which the conversion kept the first sheet only",
        NOTE,
        "sheets",
        "SELECT DISTINCT sheet_id FROM sheet_metadata WHERE lower(metadata->>'original_format') IN ('xls', 'xlsx', 'xlsm')",
        "what was lost before cannot be brought back: upload the workbooks again if they are still there",
        needs=("sheet_metadata",),
    ),
    Question(
        "D19",
        "files that were made of workbooks, of which the conversion kept the first sheet only",
        NOTE,
        "dataset_version_files",
        r"SELECT version_id, file_id FROM dataset_version_files WHERE metadata->>'original_filename' ~* '\.(xls|xlsx|xlsm)$'",
        "what was lost before cannot be brought back: upload the workbooks again if they are still there",
    ),
    Question(
        "sheet_error",
        "sheets that could not be parsed",
        NOTE,
        "sheets",
        "SELECT id FROM sheets WHERE description = 'Error parsing file'",
        "what the row says is kept as a fact",
    ),
    Question(
        "D24.run",
        "analyses of users who were deleted",
        NOTE,
        "analysis_runs",
        "SELECT id FROM analysis_runs WHERE user_id IS NULL",
        "analyses have no place here: the row is kept as it was",
    ),
)

POINTERS = (
    Question(
        "D8.none",
        "datasets without any branch or tag",
        NOTE,
        "datasets",
        "SELECT DISTINCT dataset_id FROM dataset_versions v "
        "WHERE NOT EXISTS (SELECT FROM dataset_pointers p WHERE p.dataset_id = v.dataset_id)",
        "they get a branch `main` at their highest version, recorded as `main_created`",
        needs=("dataset_pointers",),
    ),
    Question(
        "D8.other",
        "datasets with branches or tags, and no branch `main`",
        NOTE,
        "datasets",
        "SELECT p.dataset_id FROM dataset_pointers p WHERE p.dataset_id IN (SELECT dataset_id FROM dataset_versions) "
        "GROUP BY p.dataset_id HAVING NOT bool_or(p.pointer_name = 'main' AND NOT p.is_tag)",
        "they get a branch `main` at their highest version, recorded as `main_created`; a tag of that name gets another one",
        needs=("dataset_pointers",),
    ),
    Question(
        "D9",
        "branches and tags that point at a version of another dataset",
        DECIDE,
        "dataset_pointers",
        "SELECT p.id FROM dataset_pointers p JOIN dataset_versions v ON v.id = p.dataset_version_id WHERE v.dataset_id <> p.dataset_id",
        "they are quarantined as `foreign_pointer`, and not made",
    ),
    Question(
        "D9",
        "tags that point at a version of another dataset",
        DECIDE,
        "version_tags",
        "SELECT p.id FROM version_tags p JOIN dataset_versions v ON v.id = p.dataset_version_id WHERE v.dataset_id <> p.dataset_id",
        "they are quarantined as `foreign_pointer`, and not made",
    ),
    Question(
        "D27.pointer",
        "branches and tags with very long or odd names, or with a `/`",
        NOTE,
        "dataset_pointers",
        "SELECT id FROM dataset_pointers WHERE pointer_name !~ '^[A-Za-z0-9][A-Za-z0-9._-]{{0,99}}$'",
        "names that our rule takes stay; others are made safe, and the old name is kept as a fact",
    ),
    Question(
        "D27.pointer",
        "tags with very long or odd names, or with a `/`",
        NOTE,
        "version_tags",
        "SELECT id FROM version_tags WHERE tag_name !~ '^[A-Za-z0-9][A-Za-z0-9._-]{{0,99}}$'",
        "names that our rule takes stay; others are made safe, and the old name is kept as a fact",
    ),
    Question(
        "same_pointer",
        "branches and tags of one dataset with the same name",
        DECIDE,
        "dataset_pointers",
        "SELECT id FROM (SELECT id, count(*) OVER (PARTITION BY dataset_id, pointer_name) AS same FROM dataset_pointers) p WHERE same > 1",
        "the one at the highest version stays, the others are quarantined as `two_heads`",
    ),
)
