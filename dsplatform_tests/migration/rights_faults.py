"""Faults of rights: somebody may do more than in the legacy system."""

from dsplatform_tests.migration.ground import Ground


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


def right_more(ground: Ground) -> tuple[str, str, str, str]:
    legacy, dataset, user, id_ = _stranger(ground)
    ground.run(
        "INSERT INTO permissions (resource_type, resource_id, user_id, permission_type) VALUES ('dataset', :dataset, :id, :given)",
        dataset=dataset,
        id=id_,
        given=ground.rng.choice(["read", "write", "admin"]),
    )
    return "V7", "rights", f"{legacy}:{user}", ""


def right_for_all(ground: Ground) -> tuple[str, str, str, str]:
    legacy, dataset, user, _ = _stranger(ground)
    ground.run(
        "INSERT INTO permissions (resource_type, resource_id, permission_type) VALUES ('dataset', :dataset, 'read')", dataset=dataset
    )
    return "V7", "rights", f"{legacy}:{user}", ""


def right_by_group(ground: Ground) -> tuple[str, str, str, str]:
    legacy, dataset, user, id_ = _stranger(ground)
    group = ground.tx.tuples("INSERT INTO groups (group_name) VALUES (:name) RETURNING id", name=f"g{ground.rng.getrandbits(40)}")[0][0]
    ground.run("INSERT INTO group_members (group_id, user_id) VALUES (:group, :id)", group=group, id=id_)
    ground.run(
        "INSERT INTO permissions (resource_type, resource_id, group_id, permission_type) VALUES ('dataset', :dataset, :group, 'write')",
        dataset=dataset,
        group=group,
    )
    return "V7", "rights", f"{legacy}:{user}", ""


def right_on_file(ground: Ground) -> tuple[str, str, str, str]:
    _, file, _ = ground.pick("files")
    user, id_, _ = ground.pick("users")
    ground.run(
        "INSERT INTO permissions (resource_type, resource_id, user_id, permission_type) VALUES ('file', :file, :id, 'admin')",
        file=file,
        id=id_,
    )
    return "V7", "rights", user, ""


def stronger(ground: Ground) -> tuple[str, str, str, str]:
    legacy, id_, _ = ground.pick("dataset_permissions", "p.permission_type = 'read'", "JOIN permissions p ON p.id = m.new_id")
    ground.run("UPDATE permissions SET permission_type = 'admin' WHERE id = :id", id=id_)
    return "V7", "rights", legacy, ""


def administers(ground: Ground) -> tuple[str, str, str, str]:
    legacy, id_, _ = ground.pick("users")
    ground.run("UPDATE users SET role_id = (SELECT id FROM roles WHERE role_name = 'admin') WHERE id = :id", id=id_)
    return "V7", "users", legacy, ""
