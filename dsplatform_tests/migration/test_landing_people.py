"""Roles and users: names that are free, roles that open nothing, passwords that go on working or stay behind."""

from typing import Any

import bcrypt
import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor, Origin
from dsplatform.migration.service import MigrationService
from dsplatform_tests.legacy.generator import Built, build
from dsplatform_tests.migration import make
from dsplatform_tests.migration.test_migrate import legacy, rows

pytestmark = pytest.mark.usefixtures("quick")
FAR = 2**31


@pytest.fixture
def built(quick: None, legacy_url: str, legacy_folder: Any) -> Built:
    return build(legacy_url, legacy_folder, "G0", datasets=0, oddities=False)


@pytest.fixture
def migration(platform: Platform, built: Built) -> MigrationService:
    return make.migration(platform, built.url, built.folder, zone="Europe/Berlin")


def user(built: Built, id_: int, soeid: str, password: str = "x", role: int = 2) -> None:
    legacy(built, "INSERT INTO users (id, soeid, password_hash, role_id) VALUES (%s, %s, %s, %s)", id_, soeid, password, role)


def named(platform: Platform, id_: int) -> tuple[str, set[str]]:
    """The user's name, and what was found about her."""
    found = rows(platform, "SELECT reason FROM legacy_quarantine WHERE entity = 'users' AND legacy_id = :id", id=str(id_))
    ((name,),) = rows(
        platform,
        "SELECT u.username FROM legacy_id_map m JOIN users u ON u.id = m.new_id WHERE m.entity = 'users' AND m.legacy_id = :id",
        id=str(id_),
    )
    return name, {reason for (reason,) in found} - {"bad_password_hash"}


def test_ids_are_kept_where_they_are_free(platform: Platform, system: Actor, migration: MigrationService, built: Built) -> None:
    user(built, 500, "ab12345")
    migration.migrate(system)
    found = dict(rows(platform, "SELECT legacy_id, new_id FROM legacy_id_map WHERE entity = 'users'"))
    assert found["1"] == FAR + 1, "ours is `system`"
    assert found["500"] == 500
    assert platform.permissions.create_user("next", "viewer").user_id > 1_000_000
    assert rows(platform, "SELECT kept ->> 'soeid' FROM legacy_id_map WHERE entity = 'users' AND legacy_id = '500'") == [("ab12345",)]


def test_a_legacy_role_opens_nothing(platform: Platform, system: Actor, migration: MigrationService) -> None:
    migration.migrate(system)
    found = rows(platform, "SELECT role_name, rights FROM roles WHERE id IN (SELECT new_id FROM legacy_id_map WHERE entity = 'roles')")
    assert dict(found) == {"legacy-admin": ["create"], "manager": ["create"], "analyst": ["create"]}
    assert rows(platform, "SELECT count(*) FROM users u JOIN roles r ON r.id = u.role_id WHERE r.role_name = 'admin'") == [(1,)]


@pytest.mark.parametrize(
    ("soeid", "name", "reasons"),
    [
        ("AB12345", "ab12345", set()),
        (" ab1 ", "ab1", {"bad_name"}),
        ("a/b", "legacy-700", {"bad_name"}),
        ("", "legacy-700", {"bad_name"}),
        ("system", "system-700", {"duplicate_key"}),
        ("SYSTEM", "system-700", {"duplicate_key"}),
        ("\uff33ystem", "system-700", {"duplicate_key"}),
        ("legacy-unknown", "legacy-unknown-700", {"duplicate_key"}),
    ],
)
def test_names(
    soeid: str, name: str, reasons: set[str], platform: Platform, system: Actor, migration: MigrationService, built: Built
) -> None:
    user(built, 700, soeid)
    migration.migrate(system)
    assert named(platform, 700) == (name, reasons)


def test_who_was_first_keeps_the_name_whatever_comes(platform: Platform, system: Actor, migration: MigrationService, built: Built) -> None:
    for id_, soeid in ((701, "twin"), (702, "TWIN"), (703, "Twin")):
        user(built, id_, soeid)
    migration.migrate(system)
    assert [named(platform, id_)[0] for id_ in (701, 702, 703)] == ["twin", "twin-702", "twin-703"]
    legacy(built, "DELETE FROM users WHERE id = 701")
    legacy(built, "UPDATE users SET updated_at = now() WHERE id > 700")
    migration.migrate(system)
    assert [named(platform, id_)[0] for id_ in (702, 703)] == ["twin-702", "twin-703"]
    legacy(built, "UPDATE users SET soeid = 'other' WHERE id = 702")
    migration.migrate(system)
    assert named(platform, 702) == ("other", {"duplicate_key"})
    assert migration.quarantine(system, entity="users", reason="duplicate_key") == []


def test_a_role_that_does_not_exist_gives_nothing(platform: Platform, system: Actor, migration: MigrationService, built: Built) -> None:
    legacy(built, "ALTER TABLE users DROP CONSTRAINT users_role_id_fkey")
    user(built, 700, "lost", role=99)
    migration.migrate(system)
    assert named(platform, 700) == ("lost", {"unknown_role"})
    assert rows(platform, "SELECT r.role_name FROM users u JOIN roles r ON r.id = u.role_id WHERE u.id = 700") == [("viewer",)]
    legacy(built, "INSERT INTO roles (id, role_name) VALUES (99, 'found')")
    migration.migrate(system)
    assert rows(platform, "SELECT r.role_name FROM users u JOIN roles r ON r.id = u.role_id WHERE u.id = 700") == [("found",)]


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


def test_a_password_goes_on_working_and_is_not_undone_by_the_next_run(
    platform: Platform, system: Actor, migration: MigrationService, built: Built
) -> None:
    def kept() -> str:
        return str(rows(platform, "SELECT password_hash FROM users WHERE id = 700")[0][0])

    user(built, 700, "ab12345", hashed("Summer24"))
    migration.migrate(system)
    platform.sessions.login("AB12345", "Summer24", Origin())
    made_anew = kept()
    assert made_anew.startswith("$argon2id$")
    legacy(built, "UPDATE users SET updated_at = now() WHERE id = 700")
    assert migration.migrate(system).written == 1
    assert kept() == made_anew
    legacy(built, "UPDATE users SET password_hash = %s WHERE id = 700", hashed("Winter25"))
    migration.migrate(system)
    platform.sessions.login("ab12345", "Winter25", Origin())


@pytest.mark.parametrize("stored", ["hunter2", "", "$2b$04$short", "$2b$31$" + "." * 53, "$2$04$" + "." * 53, "x" * 60])
def test_what_is_no_hash_is_kept_nowhere(stored: str, platform: Platform, system: Actor, migration: MigrationService, built: Built) -> None:
    user(built, 700, "ab12345", stored)
    migration.migrate(system)
    assert rows(platform, "SELECT password_hash FROM users WHERE id = 700") == [(None,)]
    (finding,) = (one for one in migration.quarantine(system) if one.legacy_id == "700")
    assert (finding.reason, finding.raw["password_hash"]) == ("bad_password_hash", "(left out)")
    legacy(built, "UPDATE users SET password_hash = %s WHERE id = 700", "Another plain one")
    assert migration.migrate(system).written == 0, "nothing of it is in what tells a change"


def test_times_are_of_the_legacy_server_s_zone(platform: Platform, system: Actor, migration: MigrationService, built: Built) -> None:
    user(built, 700, "ab12345")
    legacy(built, "UPDATE users SET created_at = '2024-07-01 12:00' WHERE id = 700")
    migration.migrate(system)
    assert rows(platform, "SELECT created_at = '2024-07-01 10:00+00' FROM users WHERE id = 700") == [(True,)]
