"""Faults of what a legacy system keeps: files, versions, their components and sheets, and what points at them."""

from dsplatform_tests.migration.ground import Ground, Plant

_COPIED = "INSERT INTO dataset_version_files (version_id, component_name, component_type, component_index, file_id, metadata)"
_OF_MAIN = "FROM dataset_version_files WHERE version_id = :id AND component_name = 'main'"


def component(change: str, found: str, where: str = "true") -> Plant:
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


def sheet(change: str, found: str) -> Plant:
    def plant(ground: Ground) -> tuple[str, str, str, str]:
        legacy, new, _ = ground.pick("sheets")
        ground.run(
            "UPDATE dataset_version_files SET metadata = jsonb_set(metadata, '{legacy,sheets,0}', "
            f"(metadata->'legacy'->'sheets'->0) || {change}) WHERE version_id = :id AND metadata->'legacy' ? 'sheets'",
            id=new,
        )
        return "V2", "sheets", legacy, found

    return plant


def pointer(change: str, found: str, where: str = "true") -> Plant:
    def plant(ground: Ground) -> tuple[str, str, str, str]:
        legacy, new, (kept,) = ground.pick(
            "dataset_pointers", where, "JOIN dataset_pointers p ON p.dataset_id = m.new_id AND p.pointer_name = m.kept->>'pointer'"
        )
        ground.run(f"UPDATE dataset_pointers p SET {change} WHERE dataset_id = :id AND pointer_name = :name", id=new, name=kept["pointer"])
        return "V2", "dataset_pointers", legacy, found

    return plant


def file(check: str, change: str, found: str) -> Plant:
    def plant(ground: Ground) -> tuple[str, str, str, str]:
        legacy, new, _ = ground.pick("files")
        ground.run(f"UPDATE files SET {change} WHERE id = :id", id=new)
        return check, "files", legacy, found

    return plant


def other_hash(ground: Ground) -> tuple[str, str, str, str]:
    legacy, _, _ = ground.pick("files")
    ground.run(
        "UPDATE legacy_id_map SET kept = kept || jsonb_build_object('content_hash', repeat('0', 64)) "
        "WHERE entity = 'files' AND legacy_id = :id",
        id=legacy,
    )
    return "V3", "files", legacy, ""


def counted(ground: Ground) -> tuple[str, str, str, str]:
    legacy, new, _ = ground.pick("files")
    ground.run("INSERT INTO file_reference_deltas (file_id, delta) VALUES (:id, :delta)", id=new, delta=ground.rng.choice([-50, 50]))
    return "V5", "files", legacy, ""


def unreferred(ground: Ground) -> tuple[str, str, str, str]:
    legacy, new, _ = ground.pick("files")
    for table in ("staged_files", "dataset_version_files"):
        ground.run(f"DELETE FROM {table} WHERE file_id = :id", id=new)
    return "V5", "files", legacy, ""


def left_behind(ground: Ground) -> tuple[str, str, str, str]:
    legacy, _, _ = ground.pick("files")
    ground.run(
        "UPDATE legacy_id_map SET outcome = 'excluded', reason = 'orphan_file' WHERE entity = 'files' AND legacy_id = :id", id=legacy
    )
    return "V2", "files", legacy, "needed"


def version(check: str, change: str, found: str, where: str = "true") -> Plant:
    def plant(ground: Ground) -> tuple[str, str, str, str]:
        legacy, new, _ = ground.pick("dataset_versions", where, "JOIN dataset_versions t ON t.id = m.new_id")
        ground.run(f"UPDATE dataset_versions t SET {change} WHERE id = :id", id=new)
        return check, "dataset_versions", legacy, found

    return plant


def version_more(ground: Ground) -> tuple[str, str, str, str]:
    _, dataset, _ = ground.pick("datasets")
    id_ = ground.rng.randint(10**8, 10**9)
    ground.run(
        "INSERT INTO dataset_versions (id, dataset_id, version_number, message, overlay_file_id, component_count, total_bytes, created_by) "
        "OVERRIDING SYSTEM VALUE SELECT :id, :dataset, 9999, '', overlay_file_id, 0, 0, created_by FROM dataset_versions LIMIT 1",
        id=id_,
        dataset=dataset,
    )
    return "V6", "dataset_versions", f"here {id_}", ""


def component_more(ground: Ground) -> tuple[str, str, str, str]:
    _, version, _ = ground.pick("dataset_versions")
    ground.run(f"{_COPIED} SELECT version_id, 'zz-more', component_type, 99, file_id, '{{}}' {_OF_MAIN}", id=version)
    return "V6", "dataset_version_files", f"here {version} zz-more", ""


def component_twice(ground: Ground) -> tuple[str, str, str, str]:
    legacy, version, (kept,) = ground.pick("dataset_versions")
    ground.run(f"{_COPIED} SELECT version_id, 'zz-more', component_type, 99, file_id, metadata {_OF_MAIN}", id=version)
    return "V2", "dataset_version_files", f"{legacy}:{kept['file_id']}", "name"


def pointer_more(ground: Ground) -> tuple[str, str, str, str]:
    _, dataset, _ = ground.pick("datasets", "(SELECT count(*) FROM dataset_versions v WHERE v.dataset_id = m.new_id) > 0")
    ground.run(
        "INSERT INTO dataset_pointers (dataset_id, pointer_name, version_id, is_tag) SELECT dataset_id, 'zz-more', id, false "
        "FROM dataset_versions WHERE dataset_id = :id LIMIT 1",
        id=dataset,
    )
    return "V6", "dataset_pointers", f"here {dataset} zz-more", ""


def no_main(ground: Ground) -> tuple[str, str, str, str]:
    legacy, dataset, _ = ground.pick("datasets", "(SELECT count(*) FROM dataset_versions v WHERE v.dataset_id = m.new_id) > 0")
    ground.run("DELETE FROM dataset_pointers WHERE dataset_id = :id AND pointer_name = 'main'", id=dataset)
    return "V6", "datasets", legacy, ""


def opened(ground: Ground) -> tuple[str, str, str, str]:
    legacy, dataset, _ = ground.pick("datasets")
    ground.run("UPDATE datasets SET held = false WHERE id = :id", id=dataset)
    return "V6", "datasets", legacy, ""
