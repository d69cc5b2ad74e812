"""Faults that are planted into a copy of a legacy system, each with the finding that must tell of it."""

from collections.abc import Mapping

from dsplatform_tests.migration import history_faults as history
from dsplatform_tests.migration import rights_faults as rights
from dsplatform_tests.migration.ground import Ground, Plant


def _column(entity: str, table: str, column: str, change: str, found: str, where: str = "true") -> Plant:
    """Changes a column of ours. `change` is SQL with the column as `x`."""

    def plant(ground: Ground) -> tuple[str, str, str, str]:
        legacy, new, _ = ground.pick(entity, where, f"JOIN {table} t ON t.id = m.new_id")
        ground.run(f"UPDATE {table} t SET {column} = ({change.replace('{x}', column)}) WHERE id = :id", id=new)
        return "V2", entity, legacy, found

    return plant


def _kept(entity: str, change: str, found: str) -> Plant:
    """Changes what is kept beside the id map."""

    def plant(ground: Ground) -> tuple[str, str, str, str]:
        legacy, _, _ = ground.pick(entity) if entity != "tags" else (_tag(ground), 0, ())
        ground.run(f"UPDATE legacy_id_map SET kept = {change} WHERE entity = :entity AND legacy_id = :id", entity=entity, id=legacy)
        return "V2", entity, legacy, found

    return plant


def _tag(ground: Ground) -> str:
    ids = [text for (text,) in ground.tx.tuples("SELECT legacy_id FROM legacy_id_map WHERE entity = 'tags' ORDER BY legacy_id")]
    return str(ground.rng.choice(ids))


def _gone(entity: str, table: str) -> Plant:
    def plant(ground: Ground) -> tuple[str, str, str, str]:
        legacy, new, _ = ground.pick(entity)
        ground.run(f"DELETE FROM {table} WHERE id = :id", id=new)
        return "V2", entity, legacy, "here"

    return plant


def _line_gone(ground: Ground) -> tuple[str, str, str, str]:
    entity = ground.rng.choice(["users", "dataset_versions", "dataset_version_files", "sheets", "permissions"])
    legacy, _, _ = ground.pick(entity)
    ground.run("DELETE FROM legacy_id_map WHERE entity = :entity AND legacy_id = :id", entity=entity, id=legacy)
    return "V2", entity, legacy, ""


def _line_more(ground: Ground) -> tuple[str, str, str, str]:
    entity, legacy = ground.rng.choice(["users", "datasets", "dataset_versions", "files"]), str(ground.rng.randint(10**6, 10**7))
    ground.run(
        "INSERT INTO legacy_id_map (entity, legacy_id, new_id, outcome, source_hash, first_run, last_run) "
        "SELECT entity, :id, new_id, outcome, source_hash, first_run, last_run FROM legacy_id_map WHERE entity = :entity LIMIT 1",
        id=legacy,
        entity=entity,
    )
    return "V2", entity, legacy, ""


def _unaccounted(ground: Ground) -> tuple[str, str, str, str]:
    ground.run("DELETE FROM legacy_id_map WHERE entity = 'roles' AND legacy_id = (SELECT max(legacy_id) FROM legacy_id_map "
               "WHERE entity = 'roles')")  # fmt: skip
    return "V1", "roles", "", ""


def _raw(ground: Ground) -> tuple[str, str, str, str]:
    (legacy,) = ground.rng.choice(
        ground.tx.tuples("SELECT legacy_id FROM legacy_quarantine WHERE entity = 'data_exploration_configs' ORDER BY legacy_id")
    )
    ground.run(
        """UPDATE legacy_quarantine SET raw = jsonb_set(raw, '{config}', '{"n": 6}') WHERE entity = 'data_exploration_configs' """
        "AND legacy_id = :id",
        id=legacy,
    )
    return "V2", "data_exploration_configs", legacy, "config"


def _not_followed(ground: Ground) -> tuple[str, str, str, str]:
    entity = ground.rng.choice(["datasets", "dataset_versions", "users"])
    legacy, _, _ = ground.pick(entity)
    ground.run("UPDATE legacy_id_map SET deleted_at = now() WHERE entity = :entity AND legacy_id = :id", entity=entity, id=legacy)
    return "V6", entity, legacy, ""


def _undecided(ground: Ground) -> tuple[str, str, str, str]:
    legacy, _, _ = ground.pick("datasets")
    ground.run(
        "INSERT INTO legacy_quarantine (run_id, entity, legacy_id, reason, detail, raw) "
        "SELECT id, 'datasets', :id, 'bad_value', '{}', '{}' FROM legacy_runs LIMIT 1",
        id=legacy,
    )
    return "V9", "datasets", legacy, ""


def _shadowed(ground: Ground) -> tuple[str, str, str, str]:
    ground.run("INSERT INTO legacy_shadow_counts VALUES ('different', 1), ('same', 1) ON CONFLICT (outcome) DO UPDATE SET count = 2")
    return "V8", "", "", ""


_ANOTHER = "SELECT v.id FROM dataset_versions v WHERE v.dataset_id = {of}.dataset_id AND v.id <> {of}.version_id ORDER BY v.id LIMIT 1"
_SEVERAL = "(SELECT count(*) FROM dataset_versions v WHERE v.dataset_id = m.new_id) > 1"
_ELSEWHERE = "SELECT min(v.id) FROM dataset_versions v WHERE v.dataset_id <> t.dataset_id"
_MICRO = "{x} + interval '1 microsecond'"
_SOMEBODY = "SELECT id FROM users WHERE username = 'system'"
KINDS: Mapping[str, Plant] = {
    "one byte of a description": _column("datasets", "datasets", "description", "overlay({x} placing '~' from 1 for 1)", "description",
                                         "length(t.description) > 0"),
    "one byte of a dataset's name": _column("datasets", "datasets", "name", "{x} || '.x'", "name"),
    "a microsecond of a dataset": _column("datasets", "datasets", "created_at", _MICRO, "created_at"),
    "a wrong owner": _column("datasets", "datasets", "created_by", _SOMEBODY, "owner"),
    "a label more": _column("datasets", "datasets", "labels", "{x} || '{zz}'::text[]", "labels"),
    "a label lost": _column("datasets", "datasets", "labels", "{x}[2:]", "labels", "coalesce(array_length(t.labels, 1), 0) > 0"),
    "a label changed": _column("datasets", "datasets", "labels", "array_replace({x}, {x}[1], upper({x}[1]))", "labels",
                               "coalesce(array_length(t.labels, 1), 0) > 0"),
    "a dataset deleted": _column("datasets", "datasets", "deleted_at", "now()", "state"),
    "a dataset missing": _gone("datasets", "datasets"),
    "NULL for an empty text": _kept("files", """kept || '{"compression_type": ""}'""", "kept compression_type"),
    "a path": _kept("files", """jsonb_set(kept, '{file_path}', '"/elsewhere"')""", "kept file_path"),
    "a time that is kept": _kept("datasets", """jsonb_set(kept, '{updated_at}', '"2020-01-01T00:00:00"')""", "kept updated_at"),
    "a fact lost": _kept("users", "kept - 'soeid'", "kept soeid"),
    "a tag's name": _kept("tags", """kept || '{"name": "other"}'""", "kept name"),
    "a version's file": _kept("dataset_versions", """kept || '{"file_id": 1000001}'""", "kept file_id"),
    "a user's name": _column("users", "users", "username", "{x} || 'x'", "name"),
    "a user's role": _column("users", "users", "role_id", "SELECT id FROM roles WHERE role_name = 'viewer'", "role"),
    "a user who may not": _column("users", "users", "is_active", "false", "active"),
    "another's password": _column("users", "users", "password_hash", "overlay({x} placing 'zzz' from 10)", "password"),
    "a password lost": _column("users", "users", "password_hash", "NULL", "password"),
    "a microsecond of a user": _column("users", "users", "created_at", _MICRO, "created_at"),
    "a user missing": _gone("users", "users"),
    "a role's description": _column("roles", "roles", "description", "'other'", "description"),
    "one byte of a message": history.version("V2", "message = message || ' '", "message"),
    "a swapped parent": history.version("V2", "parent_version_id = (SELECT v.id FROM dataset_versions v WHERE v.dataset_id = t.dataset_id "
                                        "AND v.id < t.id AND v.id IS DISTINCT FROM t.parent_version_id LIMIT 1)", "parent",
                                        "t.parent_version_id IS NOT NULL"),
    "a number": history.version("V2", "version_number = version_number + 1000", "number"),
    "an author": history.version("V2", f"created_by = ({_SOMEBODY})", "author"),
    "a microsecond of a version": history.version("V2", "created_at = created_at - interval '1 microsecond'", "created_at"),
    "a version purged": history.version("V2", "purged_at = now()", "state"),
    "a version missing": _gone("dataset_versions", "dataset_versions"),
    "a component renamed": history.component("component_name = component_name || '-2'", "name"),
    "a component's type": history.component("component_type = 'other'", "type"),
    "a component's other file": history.component("file_id = (SELECT f.id FROM files f WHERE f.id <> c.file_id LIMIT 1)", "file"),
    "a component's metadata": history.component("""metadata = jsonb_set(metadata, '{legacy,metadata}', '{"a": 1}')""", "kept metadata"),
    "a component's index": history.component("""metadata = jsonb_set(metadata, '{legacy,index}', '77')""", "kept index"),
    "a component missing": history.component("metadata = '{}'", "here"),
    "a sheet's name": history.sheet("""'{"name": "other"}'""", "name"),
    "a sheet's figures": history.sheet("""'{"metadata": {"rows": 1}}'""", "metadata"),
    "a sheet's description": history.sheet("""'{"description": ""}'""", "description"),
    "a branch moved": history.pointer(f"version_id = ({_ANOTHER.format(of='p')})", "version", _SEVERAL),
    "a branch that is a tag": history.pointer("is_tag = NOT is_tag", "is_tag"),
    "a branch renamed": history.pointer("pointer_name = pointer_name || '2'", "here"),
    "a microsecond of a branch": history.pointer(f"moved_at = {_MICRO.format(x='moved_at')}", "moved_at"),
    "a right that is weaker": _column("dataset_permissions", "permissions", "permission_type", "'read'", "right",
                                      "t.permission_type <> 'read'"),
    "a right missing": _gone("dataset_permissions", "permissions"),
    "a right that ends": _column("dataset_permissions", "permissions", "expires_at", "now() + interval '1 year'", "state"),
    "a row nobody accounts for": _line_gone,
    "a row too many": _line_more,
    "a count": _unaccounted,
    "what was left behind": _raw,
    "a needed file left behind": history.left_behind,
    "a file's size": history.file("V3", "file_size = file_size + 1", ""),
    "a hash": history.other_hash,
    "a damaged file": history.file("V5", "state = 'damaged'", ""),
    "a reference count": history.file("V5", "reference_count = reference_count + 70", ""),
    "a reference counted twice": history.counted,
    "nothing refers to a file": history.unreferred,
    "an overlay missing": history.version("V5", "overlay_file_id = -t.id", ""),
    "a parent elsewhere": history.version("V6", f"parent_version_id = ({_ELSEWHERE})", "", f"t.id > ({_ELSEWHERE})"),
    "a wrong count of components": history.version("V6", "component_count = component_count + 1", ""),
    "a wrong sum of bytes": history.version("V6", "total_bytes = total_bytes + 1", ""),
    "a version too many": history.version_more,
    "a component too many": history.component_more,
    "a component twice": history.component_twice,
    "a branch too many": history.pointer_more,
    "a dataset without main": history.no_main,
    "a dataset open to writers": history.opened,
    "an end that was not followed": _not_followed,
    "a right too many": rights.right_more,
    "a right for everyone": rights.right_for_all,
    "a right by a group": rights.right_by_group,
    "a right on a file": rights.right_on_file,
    "a right that is stronger": rights.stronger,
    "an admin": rights.administers,
    "a finding nobody decided": _undecided,
    "answers that differ": _shadowed,
}  # fmt: skip
