"""What the way back brings beside versions and datasets, and what it says of the rest: rights on files, sheets, odd texts."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.types import FileId, PermissionType
from dsplatform.core.values import CommitMode
from dsplatform.local import EmbeddedPostgres
from dsplatform.migration.reverse_rows import NotHeld
from dsplatform.migration.routing_rows import Master
from dsplatform.permissions.model import Grantee
from dsplatform_tests import make
from dsplatform_tests.migration.there_and_back import ANY, Side, said

CSV = b"id,word\n1,x\n"


def rights_on_files(side: Side) -> set[tuple[int, str, str]]:
    """(file, user, right), by both tables."""
    found: set[tuple[int, str, str]] = set()
    for table, file in (("file_permissions", "file_id"), ("permissions", "resource_id")):
        if side.ask("SELECT to_regclass(%s)", table)[0][0]:
            where = "true" if table == "file_permissions" else "resource_type = 'file'"
            found |= set(
                side.ask(f"SELECT {file}, u.soeid, permission_type::text FROM {table} p JOIN users u ON u.id = p.user_id WHERE {where}")
            )
    return found


def nothing_is_new(side: Side) -> None:
    """Following the legacy system finds all of it accounted for, and the checks of a switch have nothing against it."""
    assert side.migration.migrate(side.actor, accept=ANY).written == 0
    assert not side.validation.against(side.actor)


def somebody_else(side: Side, dataset: int) -> str:
    question = "SELECT soeid FROM users WHERE id <> (SELECT created_by FROM datasets WHERE id = %s) ORDER BY id LIMIT 1"
    return str(side.ask(question, dataset)[0][0])


# --- rights on single files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_table", [True, False])
def test_rights_on_single_files_come_back(has_table: bool, platform: Platform, legacy_url: str, legacy_folder: Path) -> None:
    """Of a file that came along, and of one that was made here; what was taken back goes, and what came along and stays is not written."""
    side = Side(platform, legacy_url, legacy_folder, "G1b")
    if not has_table:
        side.run("DROP TABLE file_permissions")  # older systems have the table `permissions` alone
    first, second, _ = side.datasets()
    who = somebody_else(side, first.id)
    grantee = Grantee("user", None, who.lower())
    _, (old, *_) = platform.versions.get_version(side.actor, first, "1")
    made = make.commit(platform, second, {"a.csv": CSV}, mode=CommitMode.REPLACE)
    _, (new, *_) = platform.versions.get_version(side.actor, second, str(made.version_number))
    before = rights_on_files(side)
    kept = platform.permissions.grant_file(side.actor, grantee, PermissionType.READ, FileId(old.file_id))
    platform.permissions.grant_file(side.actor, grantee, PermissionType.WRITE, FileId(new.file_id))
    side.service.bring_back(side.actor)
    added = rights_on_files(side) - before
    assert sorted(right for _, user, right in added if user == who) == ["read", "write"]
    (place,) = [file for file, _, right in added if right == "read"]
    assert side.migration_of(place) == old.file_id
    (place,) = [file for file, _, right in added if right == "write"]
    assert side.migration_of(place) == new.file_id
    assert before <= rights_on_files(side), "what nobody touched stays"
    dump = side.dump()
    side.reverse.bring(side.actor, [first.id, second.id], [], [old.file_id, new.file_id])
    assert side.dump() == dump
    platform.permissions.revoke_file_grant(side.actor, FileId(old.file_id), kept.id)
    assert side.service.rollback(side.actor).routing.master is Master.LEGACY
    assert sorted(right for _, user, right in rights_on_files(side) - before if user == who) == ["write"]
    if has_table:
        nothing_is_new(side)


def test_a_right_that_came_along_is_said_by_its_own_row_and_goes_with_it(platform: Platform, legacy_url: str, legacy_folder: Path) -> None:
    side = Side(platform, legacy_url, legacy_folder, "G1b", datasets=8)
    (file, user, right), *_ = sorted(rights_on_files(side))
    content = side.migration_of(file)
    side.service.rollback(side.actor)
    ((also, other),) = side.ask("SELECT file_id, uploaded_by FROM dataset_versions WHERE file_id <> %s ORDER BY id LIMIT 1", file)
    side.run(
        "INSERT INTO permissions (resource_type, resource_id, user_id, permission_type, granted_by) VALUES ('file', %s, %s, 'write', %s)",
        also, other, other,
    )  # fmt: skip
    side.service.follow(side.actor)
    side.service.switch(side.actor)
    dump = side.dump()
    side.reverse.bring(side.actor, [], [], [content, side.migration_of(also)])
    assert side.dump() == dump, "it is said already, by one table or the other"
    (grant,) = [one for one in platform.permissions.file_grants(side.actor, FileId(content)) if one.grantee.name == user.lower()]
    stronger = PermissionType.ADMIN
    platform.permissions.grant_file(side.actor, Grantee("user", None, user.lower()), stronger, FileId(content))
    side.service.bring_back(side.actor)
    assert {(place, level) for place, who, level in rights_on_files(side) if who == user} >= {(file, "admin")}
    for one in platform.permissions.file_grants(side.actor, FileId(content)):
        if one.grantee.name == user.lower():
            platform.permissions.revoke_file_grant(side.actor, FileId(content), one.id)
    side.service.rollback(side.actor)
    assert (file, user) not in {(place, who) for place, who, _ in rights_on_files(side)}
    assert grant.right == right
    nothing_is_new(side)


def test_a_right_that_has_no_place_there_is_told(platform: Platform, legacy_url: str, legacy_folder: Path) -> None:
    side = Side(platform, legacy_url, legacy_folder, "G0")
    dataset, *_ = side.datasets()
    _, (component, *_) = platform.versions.get_version(side.actor, dataset, "1")
    platform.people.create_user(side.actor, "a-name-that-is-much-too-long-there")
    long = Grantee("user", None, "a-name-that-is-much-too-long-there")
    platform.permissions.grant_file(side.actor, long, PermissionType.READ, FileId(component.file_id))
    platform.permissions.grant_permission(side.actor, long, PermissionType.WRITE, dataset.id)
    left = "\n".join(side.service.rollback(side.actor).left)
    assert f"the right 'read' of user 'a-name-that-is-much-too-long-there' on file {component.file_id}" in left
    assert f"the right 'write' of user 'a-name-that-is-much-too-long-there' on dataset {dataset.name!r}: she has no place there" in left


def test_rights_on_files_of_who_has_no_place_there_and_of_everyone_are_told(
    platform: Platform, legacy_url: str, legacy_folder: Path
) -> None:
    side = Side(platform, legacy_url, legacy_folder, "G1a")
    dataset, *_ = side.datasets()
    _, (component, *_) = platform.versions.get_version(side.actor, dataset, "1")
    platform.people.create_user(side.actor, "a-name-that-is-much-too-long-there")
    before = rights_on_files(side)
    for grantee in (Grantee("user", None, "a-name-that-is-much-too-long-there"), Grantee("everyone", None, "")):
        platform.permissions.grant_file(side.actor, grantee, PermissionType.READ, FileId(component.file_id))
    left = side.service.rollback(side.actor).left
    assert any("much-too-long-there' on file" in sentence and "no place there" in sentence for sentence in left)
    assert f"rights of groups, or of everyone, on file {component.file_id}" in left
    assert rights_on_files(side) == before


# --- sheets ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", ["G0", "G1a"])
def test_sheets_come_back_with_their_versions(generation: str, platform: Platform, legacy_url: str, legacy_folder: Path) -> None:
    side = Side(platform, legacy_url, legacy_folder, generation)
    question = (
        "SELECT s.id, dataset_version_id, name, sheet_index, description, m.metadata FROM sheets s "
        "LEFT JOIN sheet_metadata m ON m.sheet_id = s.id ORDER BY s.id"
    )
    before, facts = side.ask(question), said(side)
    *_, last = side.datasets()
    assert any(row[1] in {version.id for version in platform.versions.list_versions(side.actor, last)} for row in before)
    platform.datasets.delete_dataset(side.actor, f"#{last.id}")
    side.service.bring_back(side.actor)
    assert len(side.ask(question)) < len(before)
    platform.datasets.restore_dataset(side.actor, last.name)
    side.service.rollback(side.actor)
    assert said(side) == facts
    assert side.ask(question) == before
    nothing_is_new(side)


# --- texts -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def latin_url(server: EmbeddedPostgres) -> Iterator[str]:
    """An empty database that knows the characters of western Europe alone."""
    name = f"latin_{uuid4().hex}"
    with psycopg.connect(server.url("postgres", ""), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'".encode())
        yield server.url(name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_a_text_that_the_legacy_database_cannot_hold_is_named_and_nothing_else_waits_for_it(
    platform: Platform, latin_url: str, legacy_folder: Path
) -> None:
    side = Side(platform, latin_url, legacy_folder, "G1b")
    first, second, third = side.datasets()
    for dataset, name in ((first, "łódź"), (second, "grün")):
        platform.datasets.update_dataset(side.actor, f"#{dataset.id}", new_name=name)
    made = make.commit(platform, third, {"a.csv": CSV}, mode=CommitMode.REPLACE, message="5 € each")
    with pytest.raises(NotHeld) as caught:
        side.service.rollback(side.actor)
    told = str(caught.value)
    assert f"id {first.id} of its table datasets" in told
    assert "name 'łódź'" in told
    assert f"id {made.version_id} of its table dataset_versions" in told
    assert "message '5 € each'" in told
    assert "2 in all" in told
    assert side.service.routing().master is Master.NEW, "nothing turned"
    assert side.ask("SELECT name FROM datasets WHERE id = %s", second.id) == [("grün",)], "the others are there"
    platform.datasets.update_dataset(side.actor, f"#{first.id}", new_name="lodz", tags=["żółty"])
    platform.branches.create_tag(side.actor, second, "ß")
    platform.branches.create_branch(side.actor, second, "ő")
    with pytest.raises(NotHeld, match=r"name 'żółty'.*pointer_name 'ő'"):
        side.service.rollback(side.actor)
    platform.datasets.update_dataset(side.actor, f"#{first.id}", tags=["yellow"])
    platform.branches.delete_branch(side.actor, second, "ő")
    platform.datasets.delete_dataset(side.actor, f"#{third.id}")
    assert side.service.rollback(side.actor).routing.master is Master.LEGACY
    assert side.ask("SELECT pointer_name FROM dataset_pointers WHERE dataset_id = %s AND is_tag", second.id)[-1] == ("ß",)
    nothing_is_new(side)
