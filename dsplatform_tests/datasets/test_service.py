from collections.abc import Callable, Iterator
from unicodedata import normalize

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Denied, Invalid
from dsplatform.core.settings import Settings
from dsplatform.core.types import DatasetId, PermissionType
from dsplatform.core.values import DatasetRef
from dsplatform.datasets.model import DatasetMissing, DatasetNameTaken
from dsplatform.datasets.repository import Datasets
from dsplatform_tests import make


def find(platform: Platform, actor: Actor, name: str) -> DatasetRef:
    with platform.db.transaction() as tx:
        return platform.datasets.find(tx, actor, name)


def ensure(platform: Platform, actor: Actor, name: str) -> DatasetRef:
    with platform.db.transaction() as tx:
        return platform.datasets.ensure(tx, actor, name)


def delete(platform: Platform, dataset: DatasetRef) -> None:
    with platform.db.transaction() as tx:
        tx.execute("UPDATE datasets SET deleted_at = now() WHERE id = :id", id=dataset.id)


# --- creating ----------------------------------------------------------------------------------------------------------------------


def test_a_new_dataset_is_empty_and_its_creators(platform: Platform, ann: Actor) -> None:
    created = platform.datasets.create_dataset(ann, "sales", description="all of it", tags=["raw", "Raw", "daily"])
    summary = platform.datasets.get(ann, "sales")
    assert (created.name, created.slug, created.created_by) == ("sales", "sales", ann.user_id)
    assert (summary.id, summary.owner, summary.description, summary.labels) == (created.id, "ann", "all of it", ("raw", "daily"))
    assert (summary.versions, summary.latest_version, summary.latest_at) == (0, None, None)
    assert platform.permissions.check_permission(ann, PermissionType.ADMIN, created.id)


def test_a_summary_counts_the_versions(platform: Platform, system: Actor) -> None:
    dataset = make.dataset(platform)
    make.commit(platform, dataset, {"a": b"1"})
    make.commit(platform, dataset, {"a": b"2"})
    summary = platform.datasets.get(system, "sales")
    assert (summary.versions, summary.latest_version) == (2, 2)
    assert summary.latest_at is not None


@pytest.mark.parametrize("name", ["", "a/b", "a@b", "../x"])
def test_a_name_against_the_rule_makes_no_dataset(name: str, platform: Platform, system: Actor) -> None:
    with pytest.raises(Invalid):
        platform.datasets.create_dataset(system, name)
    with pytest.raises(Invalid):
        ensure(platform, system, name)
    assert platform.datasets.list_datasets(platform.actor()) == []


def test_a_label_against_the_rule_makes_no_dataset(platform: Platform, system: Actor) -> None:
    with pytest.raises(Invalid, match="label"):
        platform.datasets.create_dataset(system, "sales", tags=[""])
    assert platform.datasets.list_datasets(platform.actor()) == []


def test_an_owner_has_a_name_once(platform: Platform, ann: Actor) -> None:
    platform.datasets.create_dataset(ann, "sales")
    with pytest.raises(DatasetNameTaken, match="you have a dataset 'sales' already"):
        platform.datasets.create_dataset(ann, "sales")
    assert len(platform.datasets.list_datasets(platform.actor())) == 1


def test_a_name_is_one_name_however_it_is_spelled(platform: Platform, ann: Actor) -> None:
    composed, decomposed = normalize("NFC", "café"), normalize("NFD", "café")
    created = ensure(platform, ann, decomposed)
    assert created.name == composed
    assert ensure(platform, ann, decomposed) == ensure(platform, ann, composed) == find(platform, ann, decomposed) == created
    with pytest.raises(DatasetNameTaken):
        platform.datasets.create_dataset(ann, decomposed)


def test_later_owners_of_a_name_get_a_numbered_slug(platform: Platform, ann: Actor, ben: Actor, system: Actor) -> None:
    slugs = [platform.datasets.create_dataset(actor, "sales").slug for actor in (ann, ben, system)]
    assert slugs == ["sales", "sales~2", "sales~3"]


def test_a_slug_is_not_given_again(platform: Platform, ann: Actor, ben: Actor) -> None:
    delete(platform, platform.datasets.create_dataset(ann, "sales"))
    assert platform.datasets.create_dataset(ben, "sales").slug == "sales~2"
    assert platform.datasets.create_dataset(ann, "sales").slug == "sales~3"  # the name is free again, for its owner too


def test_names_that_begin_alike_do_not_share_numbers(platform: Platform, ann: Actor, ben: Actor) -> None:
    for actor in (ann, ben):
        platform.datasets.create_dataset(actor, "sales 2024")
    assert platform.datasets.create_dataset(ann, "sales").slug == "sales"
    assert platform.datasets.create_dataset(ben, "sales").slug == "sales~2"


def test_creators_of_one_name_at_once_all_get_a_slug(settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    meet = make.meeting(8)
    questions: list[str] = []
    real = Datasets.free_slug

    def free_slug(self: Datasets, name: str) -> str:
        slug = real(self, name)
        questions.append(slug)
        meet()  # all have been told the same
        return slug

    monkeypatch.setattr(Datasets, "free_slug", free_slug)
    with make.crowded(settings, database_url, 8) as platform:
        users = [platform.permissions.create_user(f"user{number}") for number in range(8)]
        works: list[Callable[[], DatasetRef]] = [lambda user=user: platform.datasets.create_dataset(user, "sales") for user in users]  # type: ignore[misc]  # mypy cannot infer a lambda's default
        created = make.at_once(*works)
        assert questions.count("sales") == 8  # the collisions did happen
        assert len(questions) > 8
        assert {dataset.slug for dataset in created} == {"sales", *(f"sales~{number}" for number in range(2, 9))}
        assert all(
            platform.permissions.check_permission(user, PermissionType.ADMIN, ref.id) for user, ref in zip(users, created, strict=True)
        )


def _ensured_at_once(settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch) -> list[DatasetRef]:
    meet = make.meeting(4)
    real = Datasets.free_slug

    def free_slug(self: Datasets, name: str) -> str:
        meet()  # all have seen that there is no such dataset
        return real(self, name)

    monkeypatch.setattr(Datasets, "free_slug", free_slug)
    with make.crowded(settings, database_url, 4) as platform:
        ann = platform.permissions.create_user("ann")
        return make.at_once(*[lambda: ensure(platform, ann, "sales")] * 4)


def test_one_user_who_needs_a_dataset_at_once_gets_one(settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(set(_ensured_at_once(settings, database_url, monkeypatch))) == 1


def test_ensuring_finds_before_it_creates(platform: Platform, ann: Actor) -> None:
    created = ensure(platform, ann, "sales")
    assert ensure(platform, ann, "sales") == created
    assert len(platform.datasets.list_datasets(platform.actor())) == 1


# --- finding -----------------------------------------------------------------------------------------------------------------------


def test_a_name_means_ones_own_dataset_and_else_the_slug(platform: Platform, ann: Actor, ben: Actor, system: Actor) -> None:
    of_ann = platform.datasets.create_dataset(ann, "sales")
    of_ben = platform.datasets.create_dataset(ben, "sales")
    assert find(platform, ann, "sales") == of_ann
    assert find(platform, ben, "sales") == of_ben
    assert find(platform, system, "sales") == of_ann
    with pytest.raises(DatasetMissing):
        find(platform, ann, "sales~2")
    platform.permissions.grant_permission(ben, ann, PermissionType.READ, of_ben.id)
    assert find(platform, ann, "sales~2") == of_ben


@pytest.mark.parametrize("name", ["nothing", "", "sales~9", "' OR 1=1 --", "Sales"])
def test_a_dataset_that_does_not_exist_is_named_with_a_way_out(name: str, platform: Platform, ann: Actor) -> None:
    platform.datasets.create_dataset(ann, "sales")
    with pytest.raises(DatasetMissing, match="does not exist: `dsplatform datasets` lists what there is"):
        find(platform, ann, name)


def test_a_deleted_dataset_is_not_found(platform: Platform, ann: Actor) -> None:
    dataset = platform.datasets.create_dataset(ann, "sales")
    delete(platform, dataset)
    with pytest.raises(DatasetMissing):
        platform.datasets.get(ann, "sales")
    assert platform.datasets.list_datasets(platform.actor()) == []
    with pytest.raises(DatasetMissing, match="was deleted"), platform.db.transaction() as tx:
        platform.datasets.lock(tx, dataset.id)


# --- changing ----------------------------------------------------------------------------------------------------------------------


def test_a_rename_keeps_the_slug_so_that_links_go_on_working(platform: Platform, ann: Actor) -> None:
    before = platform.datasets.create_dataset(ann, "sales")
    after = platform.datasets.update_dataset(ann, "sales", new_name="turnover")
    assert (after.id, after.name, after.slug) == (before.id, "turnover", "sales")
    assert find(platform, ann, "sales") == find(platform, ann, "turnover") == after


def test_a_name_that_was_given_up_may_be_used_again(platform: Platform, ann: Actor) -> None:
    platform.datasets.create_dataset(ann, "sales")
    platform.datasets.update_dataset(ann, "sales", new_name="turnover")
    second = platform.datasets.create_dataset(ann, "sales")
    assert second.slug == "sales~2"
    assert find(platform, ann, "sales") == second  # an own name comes before another's slug


def test_a_rename_to_a_taken_name_changes_nothing(platform: Platform, ann: Actor) -> None:
    platform.datasets.create_dataset(ann, "a")
    platform.datasets.create_dataset(ann, "b")
    with pytest.raises(DatasetNameTaken, match="you have a dataset 'b' already"):
        platform.datasets.update_dataset(ann, "a", new_name="b", description="changed")
    assert platform.datasets.get(ann, "a").description == ""


def test_what_is_not_given_stays(platform: Platform, ann: Actor) -> None:
    platform.datasets.create_dataset(ann, "sales", description="old", tags=["x"])
    platform.datasets.update_dataset(ann, "sales", description="new")
    assert platform.datasets.get(ann, "sales").labels == ("x",)
    platform.datasets.update_dataset(ann, "sales", tags=["y", "z"])
    summary = platform.datasets.get(ann, "sales")
    assert (summary.name, summary.description, summary.labels) == ("sales", "new", ("y", "z"))
    platform.datasets.update_dataset(ann, "sales", description="", tags=[])
    summary = platform.datasets.get(ann, "sales")
    assert (summary.description, summary.labels) == ("", ())


def test_a_new_name_follows_the_rule_of_names(platform: Platform, ann: Actor) -> None:
    platform.datasets.create_dataset(ann, "sales")
    with pytest.raises(Invalid):
        platform.datasets.update_dataset(ann, "sales", new_name="a/b")


# --- rights ------------------------------------------------------------------------------------------------------------------------


def test_another_user_needs_a_grant(platform: Platform, ann: Actor, ben: Actor) -> None:
    dataset = platform.datasets.create_dataset(ann, "sales")
    with pytest.raises(DatasetMissing, match="'sales' does not exist"):
        platform.datasets.get(ben, "sales")
    platform.permissions.grant_permission(ann, ben, PermissionType.READ, dataset.id)
    assert platform.datasets.get(ben, "sales").id == dataset.id
    for right in (PermissionType.READ, PermissionType.WRITE):
        platform.permissions.grant_permission(ann, ben, right, dataset.id)
        with pytest.raises(Denied, match="lacks the right 'admin'"):
            platform.datasets.update_dataset(ben, "sales", description="mine")
    platform.permissions.grant_permission(ann, ben, PermissionType.ADMIN, dataset.id)
    platform.datasets.update_dataset(ben, "sales", description="mine")
    assert platform.datasets.get(ann, "sales").description == "mine"


# --- listing and searching -----------------------------------------------------------------------------------------------------------


def names(platform: Platform, words: str, **more: str) -> list[str]:
    return [summary.name for summary in platform.datasets.list_datasets(platform.actor(), search=words, **more)]  # type: ignore[arg-type]  # label or after


def test_a_search_looks_into_names_and_descriptions_in_either_case(platform: Platform, ann: Actor) -> None:
    platform.datasets.create_dataset(ann, "Sales")
    platform.datasets.create_dataset(ann, "stock", description="what the SALES force has")
    platform.datasets.create_dataset(ann, "weather")
    assert names(platform, "sales") == names(platform, "ALES") == ["Sales", "stock"]
    assert names(platform, "snow") == []
    assert len(names(platform, "")) == 3


@pytest.mark.parametrize(
    ("words", "found"),
    [("100%", ["a"]), ("a_b", ["b"]), ("%", ["a"]), ("_", ["b"]), ("back\\slash", ["c"]), ("\\", ["c"]), ("'", ["d"]), ("a%b", [])],
)
def test_what_means_something_in_a_pattern_means_itself(words: str, found: list[str], platform: Platform, ann: Actor) -> None:
    for name, description in {"a": "100% sure", "b": "a_b", "c": "back\\slash", "d": "it's", "e": "plain axb"}.items():
        platform.datasets.create_dataset(ann, name, description=description)
    assert names(platform, words) == found


def test_a_label_selects_in_either_case_and_as_a_whole(platform: Platform, ann: Actor) -> None:
    platform.datasets.create_dataset(ann, "a", tags=["Raw"])
    platform.datasets.create_dataset(ann, "b", tags=["raw data"])
    platform.datasets.create_dataset(ann, "ab", tags=["RAW", "x"])
    assert [summary.name for summary in platform.datasets.list_datasets(platform.actor(), label="raw")] == ["a", "ab"]
    assert names(platform, "b", label="raw") == ["ab"]


def _pages(read: Callable[[str], list[str]]) -> Iterator[list[str]]:
    after = ""
    while page := read(after):
        yield page
        after = page[-1]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=st.sets(st.text("abzAZé漢_- .09", min_size=1, max_size=5), min_size=1, max_size=7), limit=st.integers(1, 4))
def test_pages_hold_every_dataset_exactly_once_in_order(wanted: set[str], limit: int, platform: Platform) -> None:
    with make.tampering(platform.db) as tx:
        tx.execute("TRUNCATE datasets CASCADE")
    system = platform.actor()
    made: list[str] = []
    for name in sorted(wanted):
        try:
            made.append(platform.datasets.create_dataset(system, name).slug)
        except Invalid:
            continue
    pages = list(
        _pages(lambda after: [summary.slug for summary in platform.datasets.list_datasets(platform.actor(), after=after, limit=limit)])
    )
    assert all(len(page) <= limit for page in pages)
    assert sorted(slug for page in pages for slug in page) == sorted(made)
    assert [slug for page in pages for slug in page] == [summary.slug for summary in platform.datasets.list_datasets(platform.actor())]


# --- locking -----------------------------------------------------------------------------------------------------------------------


def test_a_locked_dataset_keeps_others_waiting(settings: Settings, database_url: str) -> None:
    order: list[str] = []
    with make.crowded(settings, database_url, 3) as platform:
        dataset = make.dataset(platform)
        locked = make.meeting(2)

        def first() -> None:
            with platform.db.transaction() as tx:
                platform.datasets.lock(tx, dataset.id)
                locked()
                assert make.until_blocked(platform.db, or_done=lambda: bool(order))
                order.append("first")

        def second() -> None:
            locked()
            with platform.db.transaction() as tx:
                platform.datasets.lock(tx, dataset.id)
                order.append("second")

        make.at_once(first, second)
    assert order == ["first", "second"]


def test_rows_that_refer_to_a_locked_dataset_are_written_meanwhile(platform: Platform, system: Actor) -> None:
    dataset = make.dataset(platform)
    with platform.db.transaction() as tx:
        platform.datasets.lock(tx, DatasetId(dataset.id))
        with platform.db.transaction() as other:
            other.execute("SET LOCAL lock_timeout = '5s'")
            other.execute(
                "INSERT INTO upload_sessions (id, dataset_id, owner_id, expires_at) VALUES (gen_random_uuid(), :dataset, :user, now())",
                dataset=dataset.id,
                user=system.user_id,
            )
