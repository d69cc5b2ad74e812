"""What changes in the legacy system after it came along: landed again it is as if it had come along just now."""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.errors import Unavailable
from dsplatform.core.settings import Settings
from dsplatform.core.types import VersionId
from dsplatform.migration.model import Entity
from dsplatform.migration.settling import Settling, _Round
from dsplatform_tests import make
from dsplatform_tests.copies import Copies, Place
from dsplatform_tests.migration import histories
from dsplatform_tests.migration.histories import OldFile, OldPart, OldVersion
from dsplatform_tests.migration.legacy_side import TIME, Legacy, empty

VERSIONS, PARTS = Entity.VERSIONS, Entity.VERSION_FILES

RELATIONS = {
    "datasets": "SELECT id, name, description, labels, created_by, created_at FROM datasets WHERE deleted_at IS NULL ORDER BY id",
    "versions": "SELECT v.id, v.dataset_id, v.version_number, v.message, v.parent_version_id, v.component_count, v.total_bytes, "
    "v.created_by, v.created_at, o.content_hash FROM dataset_versions v JOIN files o ON o.id = v.overlay_file_id "
    "WHERE v.purged_at IS NULL ORDER BY v.id",
    "components": "SELECT c.version_id, c.component_name, c.component_type, c.component_index, c.metadata, f.content_hash "
    "FROM dataset_version_files c JOIN files f ON f.id = c.file_id ORDER BY 1, 2",
    "pointers": "SELECT dataset_id, pointer_name, version_id, is_tag, created_at, moved_at FROM dataset_pointers ORDER BY 1, 2",
    "rights": "SELECT p.resource_type, coalesce(f.content_hash, CAST(p.resource_id AS text)), p.user_id, p.permission_type "
    "FROM permissions p LEFT JOIN files f ON p.resource_type = 'file' AND f.id = p.resource_id ORDER BY 1, 2, 3, 4",
    "accounting": "SELECT entity, legacy_id, outcome, reason, kept FROM legacy_id_map "
    "WHERE deleted_at IS NULL AND entity <> 'files' ORDER BY 1, 2",  # a file that nothing names any more came along once all the same
}


@pytest.fixture
def copied(copies: Copies) -> Iterator[Place[None]]:
    with copies.of(landed) as place:
        yield place


@pytest.fixture
def legacy(platform: Platform, copied: Place[None]) -> Legacy:
    """What came along."""
    return Legacy(copied.legacy_url, copied.legacy_folder, platform)


def landed(place: Place[None]) -> None:
    """Two datasets: three versions in a line and one beside them; another with a single one."""
    with bootstrap(place.settings, place.database_url) as platform:
        write(empty(platform, place.legacy_url, place.legacy_folder, "G1b")).migrate()


def write(legacy: Legacy) -> Legacy:
    with legacy.writing():
        for id_, data in ((1, b"one"), (2, b"two"), (3, b"three"), (4, None), (5, b"unused")):
            legacy.file(id_, data)
        for id_ in (11, 12):
            legacy.put("datasets", id=id_, name=f"dataset {id_}", created_by=2, created_at=TIME, updated_at=TIME)
        first = version(legacy, 21, 11, 1, None, {1: "main", 2: "notes"})
        second = version(legacy, 22, 11, 2, first, {1: "main", 3: "notes"})
        version(legacy, 23, 11, 3, second, {4: "main", 3: "notes"})
        version(legacy, 24, 11, 4, first, {2: "main"})
        version(legacy, 31, 12, 2, None, {3: "main"})
        legacy.put(
            "dataset_pointers",
            id=41,
            dataset_id=11,
            pointer_name="dev",
            dataset_version_id=23,
            is_tag=False,
            created_at=TIME,
            updated_at=TIME,
        )
        legacy.put("dataset_permissions", dataset_id=11, user_id=2, permission_type="admin")
        legacy.put("tags", id=51, name="Finance")
        legacy.put("dataset_tags", dataset_id=11, tag_id=51)
    return legacy


@pytest.fixture
def afresh(legacy: Legacy, other_database_url: str, tmp_path: Path) -> Iterator[Legacy]:
    """Another platform, to which the same legacy system can come."""
    with bootstrap(Settings.from_env({"DSPLATFORM_HOME": str(tmp_path / "other")}), other_database_url) as platform:
        yield Legacy(legacy.url, legacy.folder, platform)


def version(legacy: Legacy, id_: int, dataset: int, number: int, parent: OldVersion | None, parts: dict[int, str]) -> OldVersion:
    own = OldFile(next(iter(parts)), None)
    made = OldVersion(
        id_, dataset, number, 2, "upload", parent, own,
        [OldPart(OldFile(file, None), "primary" if name == "main" else "attachment", name, None) for file, name in parts.items()],
    )  # fmt: skip
    histories.put_version(legacy, made)
    return made


def differences(one: Legacy, other: Legacy) -> dict[str, tuple[list[object], list[object]]]:
    """What only one of them has, and what only the other."""
    here, there = relations(one), relations(other)
    return {
        name: ([row for row in here[name] if row not in there[name]], [row for row in there[name] if row not in here[name]])
        for name in RELATIONS
        if here[name] != there[name]
    }


def relations(legacy: Legacy) -> dict[str, list[tuple[object, ...]]]:
    return {name: legacy.ask(question) for name, question in RELATIONS.items()}


OFF_24 = "UPDATE dataset_pointers SET dataset_version_id = 23 WHERE dataset_version_id = 24"

CHANGES: dict[str, tuple[list[str], dict[Entity, list[tuple[int, ...]]]]] = {
    "a message": (["UPDATE dataset_versions SET message = 'other' WHERE id = 21"], {VERSIONS: [(21,)]}),
    "a component of the first version": (
        ["UPDATE dataset_version_files SET file_id = 5 WHERE version_id = 21 AND file_id = 2"],
        {PARTS: [(21, 2), (21, 5)]},
    ),
    "a component's name": (
        ["UPDATE dataset_version_files SET component_name = 'a' WHERE version_id = 22 AND file_id = 3"],
        {PARTS: [(22, 3)]},
    ),
    "a component less": (["DELETE FROM dataset_version_files WHERE version_id = 22 AND file_id = 3"], {PARTS: [(22, 3)]}),
    "all components gone": (["DELETE FROM dataset_version_files WHERE version_id = 22"], {PARTS: [(22, 1), (22, 3)]}),
    "another parent": (["UPDATE dataset_versions SET parent_version_id = 22 WHERE id = 24"], {VERSIONS: [(24,)]}),
    "no parent": (["UPDATE dataset_versions SET parent_version_id = NULL WHERE id = 22"], {VERSIONS: [(22,)]}),
    "another author": (["UPDATE dataset_versions SET uploaded_by = 3 WHERE id = 21"], {VERSIONS: [(21,)]}),
    "a new version": (
        [
            f"INSERT INTO dataset_versions VALUES (25, 11, 5, 1, '{TIME}', '{TIME}', 2, 23, 'new', NULL) ON CONFLICT DO NOTHING",
            "INSERT INTO dataset_version_files VALUES (25, 1, 'primary', 'main') ON CONFLICT DO NOTHING",
        ],
        {VERSIONS: [(25,)], PARTS: [(25, 1)]},
    ),
    "a version less": (
        [OFF_24, "DELETE FROM dataset_version_files WHERE version_id = 24", "DELETE FROM dataset_versions WHERE id = 24"],
        {VERSIONS: [(24,)], PARTS: [(24, 2)], Entity.POINTERS: [(41,)]},
    ),
    "a number that another has now": (
        [
            OFF_24,
            "DELETE FROM dataset_version_files WHERE version_id = 24",
            "DELETE FROM dataset_versions WHERE id = 24",
            f"INSERT INTO dataset_versions VALUES (26, 11, 4, 1, '{TIME}', '{TIME}', 2, 21, 'again', NULL)",
            "INSERT INTO dataset_version_files VALUES (26, 1, 'primary', 'main')",
        ],
        {VERSIONS: [(24,), (26,)], PARTS: [(24, 2), (26, 1)], Entity.POINTERS: [(41,)]},
    ),
    "the only version": (
        ["DELETE FROM dataset_version_files WHERE version_id = 31", "DELETE FROM dataset_versions WHERE id = 31"],
        {VERSIONS: [(31,)], PARTS: [(31, 3)], Entity.DATASETS: [(12,)]},
    ),
    "a branch moved": (
        ["UPDATE dataset_pointers SET dataset_version_id = (SELECT max(id) FROM dataset_versions WHERE id IN (23, 24)) WHERE id = 41"],
        {Entity.POINTERS: [(41,)]},
    ),
    "a branch renamed": (["UPDATE dataset_pointers SET pointer_name = 'dev two' WHERE id = 41"], {Entity.POINTERS: [(41,)]}),
    "a branch that becomes main": (
        ["UPDATE dataset_pointers SET pointer_name = 'main' WHERE id = 41", "UPDATE datasets SET description = 'has main' WHERE id = 11"],
        {Entity.POINTERS: [(41,)], Entity.DATASETS: [(11,)]},
    ),
    "a branch less": (["DELETE FROM dataset_pointers WHERE id = 41"], {Entity.POINTERS: [(41,)]}),
    "a description": (["UPDATE datasets SET description = 'x' WHERE id = 11"], {Entity.DATASETS: [(11,)]}),
    "a label less": (["DELETE FROM dataset_tags"], {Entity.DATASET_TAGS: [(11, 51)]}),
    "a label renamed": (["UPDATE tags SET name = 'Money'"], {Entity.TAGS: [(51,)]}),
    "a lower right": (["UPDATE dataset_permissions SET permission_type = 'read'"], {Entity.DATASET_PERMISSIONS: [(11, 2)]}),
    "a right less": (["DELETE FROM dataset_permissions"], {Entity.DATASET_PERMISSIONS: [(11, 2)]}),
    "the same right twice, then once": (
        [
            f"INSERT INTO permissions VALUES (61, 'dataset', 11, 2, 'admin', '{TIME}', 1)",
            "UPDATE dataset_permissions SET permission_type = 'write'",
        ],
        {Entity.PERMISSIONS: [(61,)], Entity.DATASET_PERMISSIONS: [(11, 2)]},
    ),
}


@pytest.mark.parametrize("seed", range(2))
def test_changes_that_land_again_are_as_if_all_came_along_just_now(legacy: Legacy, afresh: Legacy, seed: int) -> None:
    """All of them, in some order, each by itself or with the next; at every moment the platform keeps its invariants."""
    random = Random(seed)
    waiting: dict[Entity, list[tuple[int, ...]]] = {}
    for change in random.sample(sorted(CHANGES), len(CHANGES)):
        statements, keys = CHANGES[change]
        with legacy.writing():
            for statement in statements:
                legacy.run(statement)
        for entity, changed in keys.items():
            waiting.setdefault(entity, []).extend(changed)
        if random.random() < 0.4:
            legacy.settle(waiting)
            waiting.clear()
            assert make.problems(legacy.platform, contents=True) == [], change
    legacy.settle(waiting)
    afresh.migrate()
    assert differences(legacy, afresh) == {}
    assert legacy.problems() == []
    assert legacy.migrate().written == 0


def test_bytes_that_are_found_again_come_into_all_versions_that_lack_them(legacy: Legacy, afresh: Legacy) -> None:
    actor = legacy.platform.actor()
    captured = {id_: legacy.platform.schemas.capture_version_schema(VersionId(id_)) for id_ in (21, 23)}
    assert captured[23].version_id in set(legacy.platform.schemas.pending(100)) ^ {23}
    (legacy.folder / "4.parquet").write_bytes(b"four")
    legacy.run("UPDATE files SET file_size = 4 WHERE id = 4")
    assert legacy.service.retry(actor, reason="missing_bytes")[1] == 0
    afresh.migrate()
    assert differences(legacy, afresh) == {}
    assert set(legacy.platform.schemas.pending(100)) & {21, 23} == {23}
    assert legacy.problems() == []


def test_a_branch_that_moves_stays_protected(legacy: Legacy) -> None:
    platform = legacy.platform
    with platform.db.transaction() as tx:
        tx.execute("INSERT INTO branch_protections (dataset_id, branch, demands, set_by) SELECT 11, 'dev', 'admin', min(id) FROM users")
    legacy.run("UPDATE dataset_pointers SET dataset_version_id = 22 WHERE id = 41")
    legacy.settle({Entity.POINTERS: [(41,)]})
    assert legacy.ask("SELECT version_id FROM dataset_pointers WHERE pointer_name = 'dev'") == [(22,)]
    assert legacy.ask("SELECT branch FROM branch_protections") == [("dev",)]


def test_only_imported_versions_can_be_landed_again(legacy: Legacy) -> None:
    """The services may change no version; by the function for imported ones they cannot reach any other."""
    made = make.commit(legacy.platform, make.dataset(legacy.platform), {"a": b"1"})
    again = (
        "SELECT legacy_land_again(v.id, v.version_number, 'changed', v.parent_version_id, v.overlay_file_id, 0, 0, v.created_by, "
        "v.created_at) FROM dataset_versions v WHERE v.id = :id"
    )
    with pytest.raises(Exception, match="was not imported"):
        legacy.ask(again, id=made.version_id)
    with pytest.raises(Unavailable, match="permission denied"):
        legacy.ask("UPDATE dataset_versions SET imported = true WHERE id = :id RETURNING id", id=made.version_id)
    assert legacy.ask(again, id=21) == [("",)]
    assert legacy.ask("SELECT message FROM dataset_versions WHERE id = 21") == [("changed",)]


def test_a_name_in_another_schema_misleads_the_function_not(legacy: Legacy) -> None:
    """It works on our tables whatever tables the caller has."""
    with legacy.platform.db.transaction() as tx:
        tx.execute("CREATE TEMPORARY TABLE dataset_versions (LIKE public.dataset_versions)")
        tx.execute(
            "SELECT legacy_land_again(21, 1, 'ours', NULL, v.overlay_file_id, 0, 0, v.created_by, v.created_at) "
            "FROM public.dataset_versions v WHERE v.id = 21"
        )
        tx.execute("DROP TABLE pg_temp.dataset_versions")
    assert legacy.ask("SELECT message FROM dataset_versions WHERE id = 21") == [("ours",)]


def _migrate(legacy: Legacy) -> None:
    legacy.migrate()


def _settle(legacy: Legacy) -> None:
    legacy.settle({Entity.FILES: [(4,)]})


@pytest.mark.parametrize(("owner", "name", "run"), [(Settling, "follow", _migrate), (_Round, "_finish", _settle)])
def test_what_depends_on_a_change_lands_though_the_run_died_between_them(
    owner: type, name: str, run: Callable[[Legacy], None], legacy: Legacy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a version would stay without a file that was found again, because nothing else about it changes."""

    class Died(BaseException): ...

    def die(*_: object, **__: object) -> None:
        raise Died

    (legacy.folder / "4.parquet").write_bytes(b"found again")
    legacy.run("UPDATE files SET mime_type = 'found' WHERE id = 4")
    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(owner, name, die)
        run(legacy)
    run(legacy)
    assert legacy.ask("SELECT count(*) FROM dataset_version_files WHERE component_name = 'main' AND version_id = 23") == [(1,)]
    assert legacy.migrate().written == 0
