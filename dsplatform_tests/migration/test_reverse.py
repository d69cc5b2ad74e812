"""The way back: the legacy system has what was done here since the switch, and everything goes on from there."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import bcrypt
import pyarrow.parquet as pq
import pytest
from psycopg import errors as pg

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core.types import PermissionType
from dsplatform.core.values import CommitMode
from dsplatform.migration.model import Reason
from dsplatform.migration.reverse import _Work
from dsplatform.migration.routing_rows import Master
from dsplatform.permissions.model import Grantee
from dsplatform.versioning.retention import Rule
from dsplatform_tests import make
from dsplatform_tests.copies import Copies, Place
from dsplatform_tests.legacy import content
from dsplatform_tests.legacy.generator import Built
from dsplatform_tests.migration.there_and_back import ANY, Model, Side, is_as_done, said, work


def switched(place: Place[None]) -> Built:
    with bootstrap(place.settings, place.database_url) as platform:
        return Side(platform, place.legacy_url, place.legacy_folder, "G1b").built


@pytest.fixture
def copied(copies: Copies, request: pytest.FixtureRequest) -> Iterator[Place[Built] | None]:
    if "side" not in request.fixturenames:
        yield None
        return
    with copies.of(switched) as place:
        yield place


@pytest.fixture
def side(platform: Platform, copied: Place[Built]) -> Side:
    return Side(platform, copied.legacy_url, copied.legacy_folder, "G1b", copied.made)


# --- there and back --------------------------------------------------------------------------------------------------------------


def test_what_was_done_here_is_there_and_all_goes_on_from_there(side: Side) -> None:
    """Switch, work, way back; then the legacy system is followed, the next switch works, and so does the next way back."""
    model = Model(side)
    work(model, Random(1), "one")
    side.service.bring_back(side.actor)
    is_as_done(model)
    before = side.dump()
    changed = [dataset.id for dataset in side.datasets()]
    side.reverse.bring(side.actor, changed, [])
    assert side.dump() == before, "what is so already is not written"
    assert side.service.rollback(side.actor).routing.master is Master.LEGACY
    is_as_done(model)
    assert side.log.state().waiting == 0, "what was brought is not followed"
    assert side.migration.migrate(side.actor, accept=ANY).written == 0, "all of it is accounted for"
    assert not side.validation.against(side.actor)
    problems = side.platform.verify(side.actor, contents=True).problems
    assert [str(problem) for problem in problems] == []
    goes_on(side, model)


def goes_on(side: Side, model: Model) -> None:
    """An old client works there on what was made here; then everything comes here again."""
    (dataset, head), *_ = [(key[0], version) for key, (version, _) in model.found["pointers"].items() if key == (1, "main")]
    file = side.ask("SELECT file_id, uploaded_by FROM dataset_versions WHERE id = %s", head)[0]
    ((made,),) = side.ask(
        "INSERT INTO dataset_versions (dataset_id, version_number, file_id, uploaded_by, parent_version_id, message) "
        "SELECT %s, max(version_number) + 1, %s, %s, %s, 'by an old client' FROM dataset_versions WHERE dataset_id = %s RETURNING id",
        dataset, *file, head, dataset,
    )  # fmt: skip
    side.run("UPDATE dataset_pointers SET dataset_version_id = %s WHERE dataset_id = %s AND pointer_name = 'main'", made, dataset)
    assert made > head, "ids go on above those that were given here"
    side.service.follow(side.actor)
    with side.platform.db.autocommit() as tx:
        assert tx.tuples("SELECT parent_version_id, message FROM dataset_versions WHERE id = :id", id=made) == [(head, "by an old client")]
        assert tx.scalar("SELECT count(*) FROM dataset_versions WHERE dataset_id = 1 AND purged_at IS NULL") == len(
            [1 for row in said(side)["versions"].values() if row[0] == 1]
        )
    assert side.service.status(side.actor).obstacles == ()
    assert side.service.switch(side.actor).routing.epoch == 3
    again = Model(side)
    work(again, Random(2), "two")
    side.service.rollback(side.actor)
    is_as_done(again)


class Died(Exception):
    """A process did, as far as the databases can tell."""


@pytest.mark.parametrize("method", ["dataset", "_account_for"])
def test_a_crash_between_two_datasets_or_within_one_loses_nothing_on_repetition(
    method: str, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies before the second, and within it when the rows there are written and not accounted for here."""
    model = Model(side)
    work(model, Random(3), "one")
    whole, calls = getattr(_Work, method), count(1)

    def dying(*args: Any) -> Any:
        if next(calls) == 2:
            raise Died
        return whole(*args)

    with monkeypatch.context() as patch:
        patch.setattr(_Work, method, dying)
        with pytest.raises(Died):
            side.service.rollback(side.actor)
    assert side.service.routing().master is Master.NEW
    with pytest.raises(pg.ReadOnlySqlTransaction):
        side.run("UPDATE datasets SET description = 'too early'")
    side.service.rollback(side.actor)
    is_as_done(model)
    assert side.migration.migrate(side.actor, accept=ANY).written == 0
    assert not side.validation.against(side.actor)


def test_what_was_deleted_and_brought_and_restored_comes_back(side: Side) -> None:
    before = said(side)
    *_, last = side.datasets()
    side.platform.datasets.delete_dataset(side.actor, f"#{last.id}")
    side.service.bring_back(side.actor)
    assert last.id not in said(side)["datasets"]
    assert not side.ask(
        "SELECT 1 FROM dataset_schema_versions s LEFT JOIN dataset_versions v ON v.id = dataset_version_id WHERE v.id IS NULL"
    )
    files = sorted(side.folder.rglob("*.parquet"))
    side.platform.datasets.restore_dataset(side.actor, last.name)
    side.service.rollback(side.actor)
    assert said(side) == before
    assert sorted(side.folder.rglob("*.parquet")) == files, "files of the legacy tree stay, and serve again"
    assert side.migration.migrate(side.actor, accept=ANY).written == 0
    assert not side.validation.against(side.actor)


def test_people_gain_nothing_by_the_way_back(side: Side) -> None:
    people, platform = side.platform.people, side.platform
    ((soeid, before),) = side.ask("SELECT soeid, password_hash FROM users ORDER BY id DESC LIMIT 1")
    people.change_user(side.actor, soeid, active=False)
    people.create_user(side.actor, "new-one", role="admin", password="correct horse battery")
    people.create_user(side.actor, "a-name-that-is-much-too-long-there")
    dataset, *_ = side.datasets()
    platform.permissions.grant_permission(side.actor, Grantee("everyone", None, ""), PermissionType.READ, dataset.id)
    until = datetime.now(UTC) + timedelta(days=1)
    ((guest,),) = side.ask("SELECT soeid FROM users WHERE id <> (SELECT created_by FROM datasets WHERE id = %s) LIMIT 1", dataset.id)
    platform.permissions.grant_permission(side.actor, Grantee("user", None, guest.lower()), PermissionType.ADMIN, dataset.id, until=until)
    platform.deletion.set_retention(side.actor, f"#{dataset.id}", Rule(5, None))
    rights = said(side)["rights"]
    left = "\n".join(side.service.rollback(side.actor).left)
    for told in ("everyone", "end date", "retention", "much-too-long", "is not active", "password of user 'new-one'", "'admin'"):
        assert told in left, told
    assert said(side)["rights"] == rights
    ((after,),) = side.ask("SELECT password_hash FROM users WHERE soeid = %s", soeid)
    assert after != before, "who is not active here gets in there no more"
    ((hashed, role),) = side.ask(
        "SELECT u.password_hash, r.role_name FROM users u JOIN roles r ON r.id = u.role_id WHERE soeid = 'new-one'"
    )
    assert not bcrypt.checkpw(b"correct horse battery", hashed.encode())
    assert role not in {"admin", "manager"}, "roles there open everything"
    assert not side.ask("SELECT 1 FROM users WHERE length(soeid) > 20 OR soeid LIKE %s", "a-name%")


@pytest.mark.parametrize("generation", ["G0", "G1a", "G2"])
def test_each_generation_gets_what_it_has_a_place_for(generation: str, platform: Platform, legacy_url: str, legacy_folder: Path) -> None:
    side = Side(platform, legacy_url, legacy_folder, generation)
    first, second, third = side.datasets()
    data = b"id,word\n1,x\n2,y\n"
    made = make.commit(platform, first, {"a.csv": data}, mode=CommitMode.REPLACE)
    new = side.platform.datasets.create_dataset(side.actor, "made here")
    also = make.commit(platform, new, {"b.parquet": content.parquet(7), "more.csv": data})
    platform.branches.create_tag(side.actor, first, "kept")
    platform.branches.create_branch(side.actor, first, "side")
    platform.datasets.delete_dataset(side.actor, f"#{third.id}")
    platform.datasets.update_dataset(side.actor, f"#{second.id}", new_name="renamed", tags=["labelled"])
    side.reverse.bring(side.actor, [first.id, second.id, third.id, new.id], [])
    left = side.service.rollback(side.actor).left  # brings them again
    versions = dict(side.ask("SELECT id, version_number FROM dataset_versions WHERE dataset_id IN (%s, %s)", first.id, new.id))
    assert versions[made.version_id] == made.version_number
    assert versions[also.version_id] == 1
    assert side.ask("SELECT name FROM datasets WHERE id = ANY(%s) ORDER BY id", [second.id, third.id]) == [("renamed",)]
    assert len(side.ask("SELECT 1 FROM dataset_tags WHERE dataset_id = %s", second.id)) == 1
    if generation == "G2":
        assert side.ask("SELECT dataset_version_id FROM version_tags WHERE tag_name = 'kept'") == [(made.version_id,)]
        assert any("branch 'side'" in sentence for sentence in left)
        paths = side.ask(
            "SELECT f.file_path FROM dataset_version_files c JOIN files f ON f.id = c.file_id WHERE version_id = %s "
            "AND component_type = 'primary'", made.version_id,
        )  # fmt: skip
        assert pq.read_table(paths[0][0]).num_rows == 2
    else:
        assert side.rows(made.version_id) == [{"id": 1, "word": "x"}, {"id": 2, "word": "y"}]
    assert side.migration.migrate(side.actor, accept=ANY).written == 0
    assert not side.validation.against(side.actor)


def test_a_version_that_was_made_here_stays_as_it_was_made(side: Side) -> None:
    """An old client attaches a file to it there, later: that finds no place, and is told."""
    dataset, *_ = side.datasets()
    made = side.commit(dataset, "a.csv", b"id,word\n1,x\n", mode=CommitMode.REPLACE)
    side.service.rollback(side.actor)
    ((file,),) = side.ask("SELECT file_id FROM dataset_versions WHERE dataset_id = %s ORDER BY id LIMIT 1", dataset.id)
    side.run("INSERT INTO dataset_version_files VALUES (%s, %s, 'file', 'late', NULL, NULL)", made, file)
    side.run("UPDATE files SET mime_type = 'changed' WHERE id = (SELECT file_id FROM dataset_versions WHERE id = %s)", made)
    side.service.follow(side.actor)
    _, components = side.platform.versions.get_version(side.actor, dataset, str(made_number(side, made)))
    assert [component.name for component in components] == ["a.csv"]
    assert side.migration.status(side.actor).waiting == {"unsupported": 1}
    side.run("UPDATE dataset_versions SET message = 'said there later' WHERE id = %s", made)
    side.service.follow(side.actor)
    assert side.migration.status(side.actor).waiting == {"unsupported": 2}
    problems = side.platform.verify(side.actor, contents=True).problems
    assert [str(problem) for problem in problems] == []


def made_number(side: Side, version: int) -> int:
    return int(side.ask("SELECT version_number FROM dataset_versions WHERE id = %s", version)[0][0])


@pytest.mark.parametrize("both", [False, True])
def test_what_was_made_here_follows_an_ancestor_that_changes_there(side: Side, both: bool) -> None:
    """The hashes of the parents in its overlay, and nothing that it says itself; also of a merge."""
    dataset, *_ = side.datasets()
    ((head,),) = side.ask("SELECT dataset_version_id FROM dataset_pointers WHERE dataset_id = %s AND pointer_name = 'main'", dataset.id)
    side.platform.branches.create_branch(side.actor, dataset, "side")
    made = side.commit(dataset, "a.csv", b"id\n1\n")
    side.commit(dataset, "b.csv", b"id\n1\n", branch="side")
    side.platform.branches.merge(side.actor, dataset, "side", into="main")
    side.service.rollback(side.actor)
    side.run("UPDATE dataset_versions SET message = 'changed there' WHERE id = %s", head)
    if both:
        side.run("UPDATE dataset_versions SET message = 'refused' WHERE id = %s", made)
    side.service.follow(side.actor)
    problems = side.platform.verify(side.actor, contents=True).problems
    assert [str(problem) for problem in problems] == []
    side.migration.resolve(side.actor, "accepted by a test", reason=Reason.UNSUPPORTED)
    assert side.migration.migrate(side.actor, accept=ANY).written == 0
    assert not side.validation.against(side.actor)
