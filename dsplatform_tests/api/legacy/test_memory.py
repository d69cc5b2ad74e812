"""What came along is known by its old numbers, names and times; what is new here stays apart from it."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsplatform.bootstrap import Platform
from dsplatform.core.database import Database, Transaction
from dsplatform.migration.old_model import OldVersionMissing, VersionElsewhere
from dsplatform.migration.old_numbers import APART, NOTHING, OldNumbers, shown
from dsplatform_tests import make
from dsplatform_tests.api.legacy.conftest import LogIn, Old, actor, signed

RUN = UUID(int=1)


def remember(tx: Transaction, entity: str, legacy_id: int | str, new_id: int | None, **kept: object) -> None:
    """A row of the id map, as the migration writes it."""
    tx.execute(
        "INSERT INTO legacy_id_map (entity, legacy_id, new_id, outcome, reason, kept, source_hash, first_run, last_run) "
        "VALUES (:entity, :legacy, :new, :outcome, 'x', CAST(:kept AS jsonb), '', :run, :run)",
        entity=entity,
        legacy=str(legacy_id),
        new=new_id,
        outcome="migrated" if new_id else "quarantined",
        kept=json.dumps(kept),
        run=RUN,
    )


def moved(tx: Transaction, old: Old) -> None:
    """Ada's dataset came along as number 1 of the legacy system, whose number was taken here by another one."""
    tx.execute(
        "INSERT INTO datasets (id, name, slug, created_by, description, labels) SELECT id + :apart, 'a-b', 'a-b', created_by, '', "
        "'{Daily}' FROM datasets WHERE id = :id",
        apart=APART,
        id=old.dataset.id,
    )
    tx.execute(
        "INSERT INTO permissions (resource_type, resource_id, user_id, permission_type) SELECT 'dataset', :id, id, 'admin' FROM users "
        "WHERE username = 'ada'",
        id=old.dataset.id + APART,
    )


def test_an_old_number_means_what_it_meant(old: Old) -> None:
    """2.3 GET /api/datasets/{dataset_id}: the one that came along has its number, the one that had it here is 2^31 further."""
    number = old.dataset.id
    with old.platform.db.transaction() as tx:
        moved(tx, old)
        remember(tx, "datasets", number, number + APART, name="a/b", given_name="a-b", updated_at="2999-03-04T05:06:07.000008")
        remember(tx, "datasets", 777, None)
        tx.execute("INSERT INTO legacy_numbers (kind, subject, number) VALUES ('label', 'Daily', 5)")
        remember(tx, "tags", 5, None, name="Daily", description="each day")
    came = old.ada.get(f"/api/datasets/{number}").json()
    assert (came["id"], came["name"], came["updated_at"]) == (number, "a/b", "2999-03-04T05:06:07.000008")
    assert came["tags"] == [{"name": "Daily", "description": None, "id": 5, "usage_count": None}]
    ours = old.ada.get(f"/api/datasets/{number + APART}").json()
    assert (ours["id"], ours["name"], len(ours["versions"])) == (number + APART, "sales", 2)
    assert {version["dataset_id"] for version in ours["versions"]} == {number + APART}
    assert {each["id"]: each["name"] for each in old.ada.get("/api/datasets").json()} == {number: "a/b", number + APART: "sales"}
    assert old.ada.get("/api/datasets?name=a/b").json()[0]["id"] == number
    assert [tag["description"] for tag in old.ada.get("/api/datasets/tags").json() if tag["name"] == "Daily"] == ["each day"]
    assert old.rita.get(f"/api/datasets/{number}").status_code == 403  # she may read ours alone
    assert old.rita.get(f"/api/datasets/{number + APART}").status_code == 200
    assert old.ada.get("/api/datasets/777").status_code == 403
    renamed = old.ada.patch(f"/api/datasets/{number}", json={"name": "c"}).json()
    assert (renamed["id"], renamed["name"]) == (number, "c")
    assert old.ada.delete(f"/api/datasets/{number}").status_code == 204
    assert [each["name"] for each in old.ada.get("/api/datasets").json()] == ["sales"]


def test_a_number_that_did_not_come_along_is_nobodys(old: Old) -> None:
    number = old.dataset.id
    with old.platform.db.transaction() as tx:
        remember(tx, "datasets", number, None)
    assert old.ada.get(f"/api/datasets/{number}").status_code == 403
    assert old.ada.get(f"/api/datasets/{number + APART}").json()["name"] == "sales"


def test_versions_keep_their_numbers_times_and_status(old: Old) -> None:
    first, second = old.first.version_id, old.second.version_id
    with old.platform.db.transaction() as tx:
        remember(tx, "dataset_versions", 501, first, last_updated_timestamp="2020-07-01T12:00:00", status="archived", overlay_file_id=88)
        remember(tx, "dataset_versions", second, None)
    with make.tampering(old.platform.db) as tx:
        legacy = json.dumps({"legacy": {"file_id": 99}})
        tx.execute("UPDATE dataset_version_files SET metadata = CAST(:legacy AS jsonb) WHERE version_id = :id", id=first, legacy=legacy)
    newest, oldest = old.ada.get(old.url).json()["versions"]
    assert (oldest["id"], oldest["file_id"], oldest["last_updated_timestamp"]) == (501, 99, "2020-07-01T12:00:00")
    assert (newest["id"], newest["parent_version_id"]) == (second + APART, 501)
    by_number = old.ada.get(f"{old.url}/versions/number/1").json()
    assert (by_number["id"], by_number["status"], by_number["overlay_file_id"]) == (501, "archived", 88)
    made = old.ada.post(f"{old.url}/branches", json={"branch_name": "b", "from_version_id": 501})
    assert made.json()["dataset_version_id"] == 501
    assert old.ada.post(f"{old.url}/branches", json={"branch_name": "c", "from_version_id": second}).status_code == 404
    moved = old.ada.patch(f"{old.url}/branches/b", json={"to_version_id": second + APART})
    assert moved.json() == {"message": f"Branch 'b' updated to version {second + APART}"}


def test_times_are_told_as_they_were_written(old: Old) -> None:
    """Also one that no clock showed, which stands here as another instant; what came along does not make its dataset newer."""
    first, second = old.first.version_id, old.second.version_id
    with old.platform.db.transaction() as tx:
        remember(tx, "datasets", old.dataset.id, old.dataset.id, created_at="2020-03-08T02:30:00", updated_at="2020-03-08T02:31:00")
        remember(tx, "dataset_versions", first, first, ingestion_timestamp="2020-03-08T02:32:00.000001")
        remember(tx, "dataset_versions", second, second, ingestion_timestamp="0044-03-15 00:00:00 BC", last_updated_timestamp="infinity")
    with make.tampering(old.platform.db) as tx:
        tx.execute("UPDATE datasets SET created_at = '2020-01-01Z' WHERE id = :id", id=old.dataset.id)
        tx.execute("UPDATE dataset_versions SET imported = true WHERE dataset_id = :id", id=old.dataset.id)
    found = old.ada.get(old.url).json()
    assert (found["created_at"], found["updated_at"]) == ("2020-03-08T02:30:00", "2020-03-08T02:31:00")
    newest, oldest = found["versions"]
    assert oldest["ingestion_timestamp"] == oldest["last_updated_timestamp"] == "2020-03-08T02:32:00.000001"
    assert newest["ingestion_timestamp"] == newest["last_updated_timestamp"] > "2026"
    assert old.ada.patch(old.url, json={"description": "new"}).json()["updated_at"] > "2026"
    make.commit(old.platform, old.dataset, {"main": b"id\n7\n"}, actor=actor(old.platform, "ada"))
    third = old.ada.get(old.url).json()
    assert third["updated_at"] == third["versions"][0]["ingestion_timestamp"]


def test_what_lost_its_bytes_is_told_as_it_was(old: Old) -> None:
    second = old.second.version_id
    with old.platform.db.transaction() as tx:
        remember(tx, "dataset_versions", second, second, file_id=41)
        remember(tx, "files", 41, None, file_type="parquet", file_size=12345)
    with make.tampering(old.platform.db) as tx:
        tx.execute("DELETE FROM dataset_version_files WHERE version_id = :id", id=second)
    found = old.ada.get(old.url).json()
    assert (found["file_type"], found["file_size"]) == ("parquet", 12345)
    newest = found["versions"][0]
    assert (newest["file_id"], newest["file_type"], newest["file_size"]) == (41, "parquet", 12345)


def test_a_version_is_said_to_lie_elsewhere_where_that_may_be_seen(old: Old) -> None:
    ada, rita = actor(old.platform, "ada"), actor(old.platform, "rita")
    other = old.platform.datasets.create_dataset(ada, "other")
    version = make.commit(old.platform, other, {"main": b"id\n1\n"}, actor=ada).version_id
    for who, raised in ((ada, VersionElsewhere), (rita, OldVersionMissing)):
        with pytest.raises(OldVersionMissing) as caught:
            old.platform.legacy.version(who, old.dataset, version)
        assert type(caught.value) is raised
    old.platform.datasets.delete_dataset(ada, "other")
    with pytest.raises(OldVersionMissing) as caught:
        old.platform.legacy.version(ada, old.dataset, version)
    assert type(caught.value) is OldVersionMissing
    old.ada.patch(f"{old.url}/branches/main", json={"to_version_id": old.first.version_id})
    old.platform.deletion.delete_version(ada, "sales@2")
    with pytest.raises(OldVersionMissing):
        old.platform.legacy.version(ada, old.dataset, old.second.version_id)
    assert [each["version_number"] for each in old.ada.get(old.url).json()["versions"]] == [1]
    assert old.ada.get(old.url).json()["current_version"] == 1


def test_a_list_costs_the_same_statements_however_long_it_is(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    run = Transaction._run

    def counting(self: Transaction, sql: str, params: Mapping[str, object]) -> Any:
        asked.append(sql)
        return run(self, sql, params)

    monkeypatch.setattr(Transaction, "_run", counting)

    def counted() -> int:
        asked.clear()
        assert old.ada.get("/api/datasets").status_code == 200
        return len(asked)

    counted()
    one = counted()
    for number in range(5):
        made = old.platform.datasets.create_dataset(actor(old.platform, "ada"), f"d{number}", tags=[f"t{number}"])
        make.commit(old.platform, made, {"main": b"%d" % number})
    counted()  # numbers of the new labels are invented here
    assert counted() == one <= 5


def test_branches_and_tags_keep_their_names_and_numbers(old: Old) -> None:
    old.ada.post(f"{old.url}/tags", json={"tag_name": "v-1", "version_id": old.first.version_id})
    with old.platform.db.transaction() as tx:
        tx.execute("DELETE FROM legacy_numbers WHERE kind = 'pointer'")
        tx.execute("INSERT INTO legacy_numbers (kind, subject, number) VALUES ('pointer', :subject, 7)", subject=f"{old.dataset.id}:v-1")
        remember(tx, "dataset_pointers", 7, old.dataset.id, name="v 1")
    tag = old.rita.get(f"{old.url}/pointers/v 1").json()
    assert (tag["pointer_name"], tag["id"]) == ("v 1", 7)
    assert old.rita.get(f"{old.url}/pointers/v-1").json() == tag
    assert old.rita.get(f"{old.url}/branches/v 1/head").json()["id"] == old.first.version_id
    assert len(old.rita.get(f"{old.url}/branches/v 1/history").json()) == 1
    assert old.ada.delete(f"{old.url}/pointers/v 1").status_code == 200
    assert [each["pointer_name"] for each in old.rita.get(f"{old.url}/pointers").json()] == ["main"]


def test_people_keep_their_soeid_role_and_number(client: TestClient, platform: Platform, log_in: LogIn) -> None:
    """3 GET /api/users: a user whose name had to change logs in, and is shown, as before; two names that differ by case are two."""
    root = log_in("root", "admin")
    first, second = platform.permissions.create_user("ab12345"), platform.permissions.create_user("ab12345-2")
    with platform.db.transaction() as tx:
        role = tx.scalar("INSERT INTO roles (role_name, rights) VALUES ('legacy-admin', '{create}') RETURNING id")
        tx.execute("UPDATE users SET role_id = :role WHERE id = :id", role=role, id=second.user_id)
        remember(tx, "roles", 1, role, role_name="admin")
        remember(tx, "users", 1, first.user_id, soeid="AB12345", updated_at="2021-01-02T03:04:05")
        remember(tx, "users", 2, second.user_id, soeid="ab12345")
    users = {user["soeid"]: user for user in root.get("/api/users").json()}
    assert (users["AB12345"]["id"], users["ab12345"]["id"]) == (1, 2)
    assert users["AB12345"]["updated_at"] == "2021-01-02T03:04:05"
    assert (users["ab12345"]["role_id"], users["ab12345"]["role_name"]) == (1, "admin")
    assert (users["system"]["id"], users["system"]["role_id"], users["system"]["role_name"]) == (1 + APART, 1 + APART, "admin")
    made = platform.datasets.create_dataset(second, "theirs")
    for soeid, status in (("ab12345", 200), ("AB12345", 403)):
        token = {"Authorization": f"Bearer {signed(sub=soeid, role_id=1, role_name='admin')}"}  # opens nothing by itself
        assert client.get(f"/api/datasets/{made.id}", headers=token).status_code == status
    token = {"Authorization": f"Bearer {signed(sub='ab12345', role_id=1)}"}
    given = client.post(f"/api/datasets/{made.id}/permissions", json={"user_id": 1, "permission_type": "read"}, headers=token)
    assert given.json() == {"dataset_id": made.id, "user_id": 1, "permission_type": "read"}
    rights = client.get(f"/api/datasets/{made.id}/permissions", headers=token).json()
    assert [(each["user_id"], each["permission_type"]) for each in rights] == [(1, "read"), (2, "admin")]
    assert platform.permissions.check_permission(first, platform.permissions.grants(platform.system(), made)[1].right, made.id)
    assert client.get("/api/datasets?created_by=2", headers=token).json()[0]["created_by"] == 2
    assert actor(platform, "ab12345-2").rights == ("create",)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    came=st.dictionaries(st.integers(1, 12), st.booleans(), max_size=8),
    taken=st.sets(st.integers(1, 12), max_size=8),
    lost=st.sets(st.integers(1, 12), max_size=4),
)
def test_every_number_means_one_thing(db: Database, came: dict[int, bool], taken: set[int], lost: set[int]) -> None:
    """Whatever came along and whatever was here before: what is shown leads back to what it was shown for."""
    with db.transaction() as tx:
        ids = {old: old + APART if old in taken else old for old in came if old not in lost}
        for old, new in ids.items():
            remember(tx, "datasets", old, new)
        for old in lost:
            remember(tx, "datasets", old, None)
        here = {*ids.values(), *taken, *range(50, 53)}
        numbers = {id_: tx.scalar(f"SELECT {shown('datasets', 'd.id')} FROM (SELECT CAST(:id AS bigint) AS id) d", id=id_) for id_ in here}
        assert len(set(numbers.values())) == len(here)
        assert {numbers[new]: new for new in ids.values()} == ids
        for id_, number in numbers.items():
            assert OldNumbers(tx).new_id("datasets", number) == id_
        assert {OldNumbers(tx).new_id("datasets", number) for number in lost} <= {NOTHING}
        assert OldNumbers(tx).new_id("datasets", 2**70) == NOTHING
        tx.execute("DELETE FROM legacy_id_map")
