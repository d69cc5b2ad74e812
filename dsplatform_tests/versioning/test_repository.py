import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.database import ConstraintViolated
from dsplatform.core.types import MAIN, PointerName, VersionId
from dsplatform.versioning.pointers import Pointers
from dsplatform.versioning.repository import Versions
from dsplatform_tests import make


def test_a_branch_moves_only_from_where_it_was_seen(platform: Platform, system: object) -> None:
    dataset = make.dataset(platform)
    first, second = (make.commit(platform, dataset, {"a": data}).version_id for data in (b"1", b"2"))
    with platform.db.transaction() as tx:
        pointers = Pointers(tx)
        assert not pointers.move(dataset.id, MAIN, first, first)
        assert pointers.move(dataset.id, MAIN, second, first)
        assert not pointers.move(dataset.id, PointerName("other"), second, first)
        assert not pointers.create(dataset.id, MAIN, second, dataset.created_by)
        head = pointers.head(dataset.id, MAIN)
        assert head is not None
        assert head.version_id == first


def test_a_tag_is_not_moved(platform: Platform) -> None:
    dataset = make.dataset(platform)
    first = make.commit(platform, dataset, {"a": b"1"}).version_id
    with platform.db.transaction() as tx:
        tx.execute("UPDATE dataset_pointers SET is_tag = true")
        assert not Pointers(tx).move(dataset.id, MAIN, first, first)


@pytest.mark.parametrize(
    ("column", "constraint"),
    [("parent_version_id", "fk_dataset_versions_parent"), ("merge_parent_version_id", "fk_dataset_versions_merge_parent")],
)
def test_a_parent_of_another_dataset_is_refused_by_the_database(column: str, constraint: str, platform: Platform) -> None:
    one, other = make.dataset(platform, "one"), make.dataset(platform, "other")
    foreign = make.commit(platform, one, {"a": b"1"}).version_id
    mine = make.commit(platform, other, {"a": b"1"}).version_id
    with pytest.raises(ConstraintViolated) as caught, make.tampering(platform.db) as tx:
        tx.execute(f"UPDATE dataset_versions SET {column} = :parent WHERE id = :id", parent=foreign, id=mine)
    assert caught.value.constraint == constraint


def test_a_version_is_never_its_own_or_an_older_ones_child(platform: Platform) -> None:
    dataset = make.dataset(platform)
    first = make.commit(platform, dataset, {"a": b"1"}).version_id
    second = make.commit(platform, dataset, {"a": b"2"}).version_id
    for parent in (first, second):
        with pytest.raises(ConstraintViolated) as caught, make.tampering(platform.db) as tx:
            tx.execute("UPDATE dataset_versions SET parent_version_id = :parent WHERE id = :id", parent=parent, id=first)
        assert caught.value.constraint == "ck_dataset_versions_parents_are_older"


def test_questions_about_versions_that_were_not_found_are_mistakes(platform: Platform) -> None:
    with platform.db.transaction() as tx:
        with pytest.raises(AssertionError, match="found before"):
            Versions(tx).get(VersionId(99))
        with pytest.raises(AssertionError, match="does not exist"):
            Versions(tx).label(VersionId(99))
