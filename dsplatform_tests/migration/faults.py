"""Faults that are planted into a copy of a legacy system, each with the finding that must tell of it."""

import random
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from dsplatform.core.database import Transaction


class Fault(NamedTuple):
    """What must be found."""

    kind: str
    check: str
    entity: str
    key: str
    column: str


class Ground:
    """The copy, and which of its rows have a fault already."""

    def __init__(self, tx: Transaction, rng: random.Random) -> None:
        self.tx = tx
        self.rng = rng
        self._used: set[tuple[str, str]] = set()

    def run(self, statement: str, **params: object) -> None:
        assert self.tx.execute(statement, **params), f"nothing was changed: {statement}"

    def pick(self, entity: str, where: str = "true", join: str = "") -> tuple[str, int, tuple[Any, ...]]:
        """(legacy id, our id, the id map's kept) of a row that has no fault yet."""
        rows = [
            row
            for row in self.tx.tuples(
                f"SELECT m.legacy_id, m.new_id, m.kept FROM legacy_id_map m {join} WHERE m.entity = :entity AND m.new_id IS NOT NULL "
                f"AND m.outcome = 'migrated' AND m.deleted_at IS NULL AND {where} ORDER BY m.legacy_id",
                entity=entity,
            )
            if (entity, row[0]) not in self._used
        ]
        legacy, new, *rest = self.rng.choice(rows)
        self._used.add((entity, legacy))
        return legacy, new, tuple(rest)


Plant = Callable[[Ground], tuple[str, str, str, str]]
"""Plants one; answers (check, table, key, column)."""


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


def _component(change: str, found: str, where: str = "true") -> Plant:
    def plant(ground: Ground) -> tuple[str, str, str, str]:
        legacy, new, _ = ground.pick(
            "dataset_version_files",
            where,
            "JOIN dataset_version_files c ON c.version_id = m.new_id "
            "AND c.metadata->'legacy'->>'file_id' = split_part(m.legacy_id, ':', 2)",
        )
        ground.run(
            f"UPDATE dataset_version_files c SET {change} WHERE version_id = :id AND metadata->'legacy'->>'file_id' = :file",
            id=new,
            file=legacy.split(":")[1],
        )
        return "V2", "dataset_version_files", legacy, found

    return plant


def _sheet(change: str, found: str) -> Plant:
    def plant(ground: Ground) -> tuple[str, str, str, str]:
        legacy, new, _ = ground.pick("sheets")
        ground.run(
            "UPDATE dataset_version_files SET metadata = jsonb_set(metadata, '{legacy,sheets,0}', "
            f"(metadata->'legacy'->'sheets'->0) || {change}) WHERE version_id = :id AND metadata->'legacy' ? 'sheets'",
            id=new,
        )
        return "V2", "sheets", legacy, found

    return plant


def _pointer(change: str, found: str, where: str = "true") -> Plant:
    def plant(ground: Ground) -> tuple[str, str, str, str]:
        legacy, new, (kept,) = ground.pick(
            "dataset_pointers", where, "JOIN dataset_pointers p ON p.dataset_id = m.new_id AND p.pointer_name = m.kept->>'pointer'"
        )
        ground.run(f"UPDATE dataset_pointers p SET {change} WHERE dataset_id = :id AND pointer_name = :name", id=new, name=kept["pointer"])
        return "V2", "dataset_pointers", legacy, found

    return plant


ANOTHER = "SELECT v.id FROM dataset_versions v WHERE v.dataset_id = {of}.dataset_id AND v.id <> {of}.version_id ORDER BY v.id LIMIT 1"
_SEVERAL = "(SELECT count(*) FROM dataset_versions v WHERE v.dataset_id = m.new_id) > 1"


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


def _left_behind(ground: Ground) -> tuple[str, str, str, str]:
    legacy, _, _ = ground.pick("files")
    ground.run(
        "UPDATE legacy_id_map SET outcome = 'excluded', reason = 'orphan_file' WHERE entity = 'files' AND legacy_id = :id", id=legacy
    )
    return "V2", "files", legacy, "needed"


def _file(check: str, change: str, found: str) -> Plant:
    def plant(ground: Ground) -> tuple[str, str, str, str]:
        legacy, new, _ = ground.pick("files")
        ground.run(f"UPDATE files SET {change} WHERE id = :id", id=new)
        return check, "files", legacy, found

    return plant


def _other_hash(ground: Ground) -> tuple[str, str, str, str]:
    legacy, _, _ = ground.pick("files")
    ground.run(
        "UPDATE legacy_id_map SET kept = kept || jsonb_build_object('content_hash', repeat('0', 64)) "
        "WHERE entity = 'files' AND legacy_id = :id",
        id=legacy,
    )
    return "V3", "files", legacy, ""


def _counted(ground: Ground) -> tuple[str, str, str, str]:
    legacy, new, _ = ground.pick("files")
    ground.run("INSERT INTO file_reference_deltas (file_id, delta) VALUES (:id, :delta)", id=new, delta=ground.rng.choice([-50, 50]))
    return "V5", "files", legacy, ""


def _unreferred(ground: Ground) -> tuple[str, str, str, str]:
    legacy, new, _ = ground.pick("files")
    for table in ("staged_files", "dataset_version_files"):
        ground.run(f"DELETE FROM {table} WHERE file_id = :id", id=new)
    return "V5", "files", legacy, ""


def _version(check: str, change: str, found: str, where: str = "true") -> Plant:
    def plant(ground: Ground) -> tuple[str, str, str, str]:
        legacy, new, _ = ground.pick("dataset_versions", where, "JOIN dataset_versions t ON t.id = m.new_id")
        ground.run(f"UPDATE dataset_versions t SET {change} WHERE id = :id", id=new)
        return check, "dataset_versions", legacy, found

    return plant


def _version_more(ground: Ground) -> tuple[str, str, str, str]:
    _, dataset, _ = ground.pick("datasets")
    id_ = ground.rng.randint(10**8, 10**9)
    ground.run(
        "INSERT INTO dataset_versions (id, dataset_id, version_number, message, overlay_file_id, component_count, total_bytes, created_by) "
        "OVERRIDING SYSTEM VALUE SELECT :id, :dataset, 9999, '', overlay_file_id, 0, 0, created_by FROM dataset_versions LIMIT 1",
        id=id_,
        dataset=dataset,
    )
    return "V6", "dataset_versions", f"here {id_}", ""


def _component_more(ground: Ground) -> tuple[str, str, str, str]:
    _, version, _ = ground.pick("dataset_versions")
    ground.run(f"{_COPIED} SELECT version_id, 'zz-more', component_type, 99, file_id, '{{}}' {_OF_MAIN}", id=version)
    return "V6", "dataset_version_files", f"here {version} zz-more", ""


def _component_twice(ground: Ground) -> tuple[str, str, str, str]:
    legacy, version, (kept,) = ground.pick("dataset_versions")
    ground.run(f"{_COPIED} SELECT version_id, 'zz-more', component_type, 99, file_id, metadata {_OF_MAIN}", id=version)
    return "V2", "dataset_version_files", f"{legacy}:{kept['file_id']}", "name"


_COPIED = "INSERT INTO dataset_version_files (version_id, component_name, component_type, component_index, file_id, metadata)"
_OF_MAIN = "FROM dataset_version_files WHERE version_id = :id AND component_name = 'main'"


def _pointer_more(ground: Ground) -> tuple[str, str, str, str]:
    _, dataset, _ = ground.pick("datasets", "(SELECT count(*) FROM dataset_versions v WHERE v.dataset_id = m.new_id) > 0")
    ground.run(
        "INSERT INTO dataset_pointers (dataset_id, pointer_name, version_id, is_tag) SELECT dataset_id, 'zz-more', id, false "
        "FROM dataset_versions WHERE dataset_id = :id LIMIT 1",
        id=dataset,
    )
    return "V6", "dataset_pointers", f"here {dataset} zz-more", ""


def _no_main(ground: Ground) -> tuple[str, str, str, str]:
    legacy, dataset, _ = ground.pick("datasets", "(SELECT count(*) FROM dataset_versions v WHERE v.dataset_id = m.new_id) > 0")
    ground.run("DELETE FROM dataset_pointers WHERE dataset_id = :id AND pointer_name = 'main'", id=dataset)
    return "V6", "datasets", legacy, ""


def _open(ground: Ground) -> tuple[str, str, str, str]:
    legacy, dataset, _ = ground.pick("datasets")
    ground.run("UPDATE datasets SET held = false WHERE id = :id", id=dataset)
    return "V6", "datasets", legacy, ""


def _not_followed(ground: Ground) -> tuple[str, str, str, str]:
    entity = ground.rng.choice(["datasets", "dataset_versions", "users"])
    legacy, _, _ = ground.pick(entity)
    ground.run("UPDATE legacy_id_map SET deleted_at = now() WHERE entity = :entity AND legacy_id = :id", entity=entity, id=legacy)
    return "V6", entity, legacy, ""


def _stranger(ground: Ground) -> tuple[str, int, str, int]:
    """A dataset, and a user without any right on it."""
    legacy, dataset, _ = ground.pick("datasets")
    people = ground.tx.tuples(
        "SELECT m.legacy_id, m.new_id FROM legacy_id_map m WHERE m.entity = 'users' AND NOT EXISTS (SELECT FROM permissions p "
        "WHERE p.resource_type = 'dataset' AND p.resource_id = :id AND p.user_id = m.new_id) ORDER BY m.legacy_id",
        id=dataset,
    )
    user, id_ = ground.rng.choice(people)
    return legacy, dataset, user, id_


def _right_more(ground: Ground) -> tuple[str, str, str, str]:
    legacy, dataset, user, id_ = _stranger(ground)
    ground.run(
        "INSERT INTO permissions (resource_type, resource_id, user_id, permission_type) VALUES ('dataset', :dataset, :id, :given)",
        dataset=dataset,
        id=id_,
        given=ground.rng.choice(["read", "write", "admin"]),
    )
    return "V7", "rights", f"{legacy}:{user}", ""


def _right_for_all(ground: Ground) -> tuple[str, str, str, str]:
    legacy, dataset, user, _ = _stranger(ground)
    ground.run(
        "INSERT INTO permissions (resource_type, resource_id, permission_type) VALUES ('dataset', :dataset, 'read')", dataset=dataset
    )
    return "V7", "rights", f"{legacy}:{user}", ""


def _right_by_group(ground: Ground) -> tuple[str, str, str, str]:
    legacy, dataset, user, id_ = _stranger(ground)
    group = ground.tx.tuples("INSERT INTO groups (group_name) VALUES (:name) RETURNING id", name=f"g{ground.rng.getrandbits(40)}")[0][0]
    ground.run("INSERT INTO group_members (group_id, user_id) VALUES (:group, :id)", group=group, id=id_)
    ground.run(
        "INSERT INTO permissions (resource_type, resource_id, group_id, permission_type) VALUES ('dataset', :dataset, :group, 'write')",
        dataset=dataset,
        group=group,
    )
    return "V7", "rights", f"{legacy}:{user}", ""


def _right_on_file(ground: Ground) -> tuple[str, str, str, str]:
    _, file, _ = ground.pick("files")
    user, id_, _ = ground.pick("users")
    ground.run(
        "INSERT INTO permissions (resource_type, resource_id, user_id, permission_type) VALUES ('file', :file, :id, 'admin')",
        file=file,
        id=id_,
    )
    return "V7", "rights", user, ""


def _stronger(ground: Ground) -> tuple[str, str, str, str]:
    legacy, id_, _ = ground.pick("dataset_permissions", "p.permission_type = 'read'", "JOIN permissions p ON p.id = m.new_id")
    ground.run("UPDATE permissions SET permission_type = 'admin' WHERE id = :id", id=id_)
    return "V7", "rights", legacy, ""


def _administers(ground: Ground) -> tuple[str, str, str, str]:
    legacy, id_, _ = ground.pick("users")
    ground.run("UPDATE users SET role_id = (SELECT id FROM roles WHERE role_name = 'admin') WHERE id = :id", id=id_)
    return "V7", "users", legacy, ""


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
    "one byte of a message": _version("V2", "message = message || ' '", "message"),
    "a swapped parent": _version("V2", "parent_version_id = (SELECT v.id FROM dataset_versions v WHERE v.dataset_id = t.dataset_id "
                                 "AND v.id < t.id AND v.id IS DISTINCT FROM t.parent_version_id LIMIT 1)", "parent",
                                 "t.parent_version_id IS NOT NULL"),
    "a number": _version("V2", "version_number = version_number + 1000", "number"),
    "an author": _version("V2", f"created_by = ({_SOMEBODY})", "author"),
    "a microsecond of a version": _version("V2", "created_at = created_at - interval '1 microsecond'", "created_at"),
    "a version purged": _version("V2", "purged_at = now()", "state"),
    "a version missing": _gone("dataset_versions", "dataset_versions"),
    "a component renamed": _component("component_name = component_name || '-2'", "name"),
    "a component's type": _component("component_type = 'other'", "type"),
    "a component's other file": _component("file_id = (SELECT f.id FROM files f WHERE f.id <> c.file_id LIMIT 1)", "file"),
    "a component's metadata": _component("""metadata = jsonb_set(metadata, '{legacy,metadata}', '{"a": 1}')""", "kept metadata"),
    "a component's index": _component("""metadata = jsonb_set(metadata, '{legacy,index}', '77')""", "kept index"),
    "a component missing": _component("metadata = '{}'", "here"),
    "a sheet's name": _sheet("""'{"name": "other"}'""", "name"),
    "a sheet's figures": _sheet("""'{"metadata": {"rows": 1}}'""", "metadata"),
    "a sheet's description": _sheet("""'{"description": ""}'""", "description"),
    "a branch moved": _pointer(f"version_id = ({ANOTHER.format(of='p')})", "version", _SEVERAL),
    "a branch that is a tag": _pointer("is_tag = NOT is_tag", "is_tag"),
    "a branch renamed": _pointer("pointer_name = pointer_name || '2'", "here"),
    "a microsecond of a branch": _pointer(f"moved_at = {_MICRO.format(x='moved_at')}", "moved_at"),
    "a right that is weaker": _column("dataset_permissions", "permissions", "permission_type", "'read'", "right",
                                      "t.permission_type <> 'read'"),
    "a right missing": _gone("dataset_permissions", "permissions"),
    "a right that ends": _column("dataset_permissions", "permissions", "expires_at", "now() + interval '1 year'", "state"),
    "a row nobody accounts for": _line_gone,
    "a row too many": _line_more,
    "a count": _unaccounted,
    "what was left behind": _raw,
    "a needed file left behind": _left_behind,
    "a file's size": _file("V3", "file_size = file_size + 1", ""),
    "a hash": _other_hash,
    "a damaged file": _file("V5", "state = 'damaged'", ""),
    "a reference count": _file("V5", "reference_count = reference_count + 70", ""),
    "a reference counted twice": _counted,
    "nothing refers to a file": _unreferred,
    "an overlay missing": _version("V5", "overlay_file_id = -t.id", ""),
    "a parent elsewhere": _version("V6", f"parent_version_id = ({_ELSEWHERE})", "", f"t.id > ({_ELSEWHERE})"),
    "a wrong count of components": _version("V6", "component_count = component_count + 1", ""),
    "a wrong sum of bytes": _version("V6", "total_bytes = total_bytes + 1", ""),
    "a version too many": _version_more,
    "a component too many": _component_more,
    "a component twice": _component_twice,
    "a branch too many": _pointer_more,
    "a dataset without main": _no_main,
    "a dataset open to writers": _open,
    "an end that was not followed": _not_followed,
    "a right too many": _right_more,
    "a right for everyone": _right_for_all,
    "a right by a group": _right_by_group,
    "a right on a file": _right_on_file,
    "a right that is stronger": _stronger,
    "an admin": _administers,
    "a finding nobody decided": _undecided,
    "answers that differ": _shadowed,
}  # fmt: skip
