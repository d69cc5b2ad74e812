"""Rights on files: by themselves, and by the datasets whose versions name them."""

from collections.abc import Callable

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor, Scope
from dsplatform.core.errors import Denied, DsplatformError, NotFound
from dsplatform.core.types import FileId, PermissionType
from dsplatform.files.model import FileMissing
from dsplatform.permissions.model import EVERYONE, FileUnseen, Grantee, GrantMissing, MissingRight
from dsplatform_tests import make

READ, WRITE, ADMIN = PermissionType


@pytest.fixture
def file(platform: Platform, ann: Actor) -> FileId:
    """In a dataset of ann's."""
    dataset = make.dataset(platform, "sales", ann)
    make.commit(platform, dataset, {"a": b"secret"}, actor=ann)
    return platform.versions.get_version(ann, dataset)[1][0].file_id


def refusal(platform: Platform, actor: Actor, right: PermissionType, file: FileId) -> DsplatformError | None:
    try:
        with platform.db.transaction() as tx:
            platform.permissions.require_file(tx, actor, right, file)
    except (Denied, NotFound) as err:
        return err
    return None


def test_who_may_not_read_a_file_is_told_what_is_told_of_none(platform: Platform, ben: Actor, file: FileId) -> None:
    errors = [refusal(platform, ben, READ, one) for one in (file, FileId(999))]
    assert [type(error) for error in errors] == [FileUnseen] * 2
    assert [str(error) for error in errors] == [f"file {file} does not exist", "file 999 does not exist"]
    assert FileUnseen.code == FileMissing.code


def test_a_content_that_is_known_opens_nothing(platform: Platform, ann: Actor, ben: Actor, file: FileId) -> None:
    own = make.dataset(platform, "own", ben)
    make.commit(platform, own, {"a": b"other"}, actor=ben)
    assert isinstance(refusal(platform, ben, READ, file), FileUnseen)
    make.commit(platform, own, {"b": b"secret"}, actor=ben)  # who has the bytes may keep them, and then reads her own
    assert refusal(platform, ben, READ, file) is None
    assert refusal(platform, ben, ADMIN, file) is None


def test_a_file_is_granted_by_who_administers_a_dataset_that_names_it(platform: Platform, ann: Actor, ben: Actor, file: FileId) -> None:
    everything = platform.permissions
    made = everything.grant_file(ann, Grantee("user", name="ben"), READ, file)
    assert refusal(platform, ben, READ, file) is None
    error = refusal(platform, ben, WRITE, file)
    assert isinstance(error, MissingRight)
    assert error.missing == "write"
    assert list(everything.file_grants(ann, file)) == [made]
    assert everything.revoke_file_grant(ann, file, made.id) == made
    assert isinstance(refusal(platform, ben, READ, file), FileUnseen)
    with pytest.raises(GrantMissing):
        everything.revoke_file_grant(ann, file, made.id)


@pytest.mark.parametrize("right", [None, READ, WRITE])
def test_who_does_not_administer_it_grants_nothing(
    right: PermissionType | None, platform: Platform, ann: Actor, ben: Actor, file: FileId
) -> None:
    everything, sales = platform.permissions, platform.datasets.open(ann, "sales")
    made = everything.grant_file(ann, Grantee("user", name="ann"), READ, file)
    if right:
        everything.grant_permission(ann, ben, right, sales.id)
    attempts: list[Callable[[], object]] = [
        lambda: everything.grant_file(ben, EVERYONE, READ, file),
        lambda: everything.revoke_file_grant(ben, file, made.id),
        lambda: everything.file_grants(ben, file),
        lambda: everything.can_file(ben, file, READ, "ann"),
    ]
    for attempt in attempts:
        with pytest.raises(MissingRight if right else FileUnseen):
            attempt()
    assert list(everything.file_grants(ann, file)) == [made]


def test_a_grant_outlives_the_versions_and_keeps_nothing(platform: Platform, system: Actor, ann: Actor, ben: Actor, file: FileId) -> None:
    platform.permissions.grant_file(ann, Grantee("user", name="ben"), READ, file)
    with platform.db.transaction() as tx:
        tx.execute("UPDATE datasets SET deleted_at = now()")
    assert refusal(platform, ben, READ, file) is None
    assert isinstance(refusal(platform, ann, READ, file), FileUnseen)
    with pytest.raises(FileUnseen):
        platform.permissions.grant_file(ann, EVERYONE, READ, file)
    with pytest.raises(NotFound, match="this file was deleted"):
        platform.permissions.grant_file(system, EVERYONE, READ, FileId(999))


def test_a_standing_on_a_file_says_by_what(platform: Platform, ann: Actor, ben: Actor, file: FileId) -> None:
    everything = platform.permissions
    assert everything.can_file(ann, file, READ).sentence == f"ann holds 'read' on file '{file}': by a dataset of which a version names it"
    assert not everything.can_file(ann, file, READ, "ben").allowed
    assert not everything.can_file(ann, file, READ, "nobody").allowed
    with pytest.raises(FileUnseen):
        everything.can_file(ben, file, READ)
    made = everything.grant_file(ann, EVERYONE, READ, file)
    assert everything.can_file(ann, file, READ, "ben").sentence.endswith(f"by the grant for everyone of 'read' (number {made.id})")
    assert not everything.can_file(ben, file, WRITE).allowed


def test_a_credential_for_some_datasets_reads_their_files_alone(platform: Platform, ann: Actor, file: FileId) -> None:
    sales, other = platform.datasets.open(ann, "sales"), make.dataset(platform, "other", ann)
    platform.permissions.grant_file(ann, Grantee("user", name="ann"), READ, file)

    def narrow(dataset_id: int) -> Actor:
        return Actor(ann.user_id, "ann", scope=Scope(ADMIN, (dataset_id,)))

    assert refusal(platform, narrow(sales.id), READ, file) is None
    assert isinstance(refusal(platform, narrow(other.id), READ, file), FileUnseen)
