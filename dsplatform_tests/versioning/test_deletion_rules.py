"""Retention rules on datasets, and what a preview promises: exactly what goes afterwards."""

from collections.abc import Sequence
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.core.types import PointerName
from dsplatform.core.values import Committed, DatasetRef
from dsplatform.versioning import deletion as module
from dsplatform.versioning.pointers import Pointers
from dsplatform.versioning.retention import Freed, Removal, Rule
from dsplatform_tests import make


@pytest.fixture
def sales(platform: Platform) -> DatasetRef:
    return make.dataset(platform)


@pytest.fixture
def five(platform: Platform, sales: DatasetRef) -> list[Committed]:
    """Versions 1 to 5 on main, made 50, 40, 30, 20 and 10 days ago; each replaces the only component by one of as many bytes."""
    made = [make.commit(platform, sales, {"new": b"x" * number}) for number in (1, 2, 3, 4, 5)]
    for days, version in zip((50, 40, 30, 20, 10), made, strict=True):
        age(platform, version, days)
    return made


def age(platform: Platform, version: Committed, days: int) -> None:
    with make.tampering(platform.db) as tx:
        tx.execute(
            "UPDATE dataset_versions SET created_at = now() - make_interval(days => :days) WHERE id = :id",
            days=days,
            id=version.version_id,
        )


def living(platform: Platform, dataset: DatasetRef) -> list[int]:
    versions = platform.versions.list_versions(platform.actor(), dataset)
    return sorted(version.number for version in versions if version.purged_at is None)


# --- rules ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        (Rule(2, None), [4, 5]),
        (Rule(None, 25), [4, 5]),
        (Rule(None, 0), [5]),
        (Rule(3, 15), [3, 4, 5]),
        (Rule(1, 45), [2, 3, 4, 5]),
        (Rule(9, None), [1, 2, 3, 4, 5]),
    ],
    ids=str,
)
def test_a_rule_leaves_what_it_keeps(
    platform: Platform, system: Actor, sales: DatasetRef, five: list[Committed], rule: Rule, left: list[int]
) -> None:
    plan = platform.deletion.set_retention(system, "sales", rule)
    going = tuple(number for number in (1, 2, 3, 4, 5) if number not in left)
    assert plan.removal == Removal("sales", going, len(going), Freed(len(going), sum(going)))
    assert living(platform, sales) == [1, 2, 3, 4, 5]

    report = platform.deletion.apply_retention(platform.system(), dry_run=False)
    assert report.freed == plan.removal.freed
    assert list(report.removals) == ([plan.removal] if going else [])
    assert living(platform, sales) == left
    assert make.unnamed(platform) == (len(going), sum(going))
    make.assert_sound(platform)


def test_tags_and_heads_stay_whatever_the_rule(platform: Platform, system: Actor, sales: DatasetRef, five: list[Committed]) -> None:
    make.point(platform, sales, "v1", five[0].version_id)
    make.point(platform, sales, "dev", five[2].version_id, tag=False)
    platform.deletion.set_retention(system, "sales", Rule(1, 0))
    platform.deletion.apply_retention(platform.system(), dry_run=False)
    assert living(platform, sales) == [1, 3, 5]
    assert platform.deletion.apply_retention(platform.system(), dry_run=False).removals == ()


def test_a_dry_run_changes_nothing_and_says_what_will_go(
    platform: Platform, system: Actor, sales: DatasetRef, five: list[Committed]
) -> None:
    platform.deletion.set_retention(system, "sales", Rule(2, None))
    planned = platform.deletion.apply_retention(platform.system(), dry_run=True)
    assert living(platform, sales) == [1, 2, 3, 4, 5]
    assert platform.deletion.apply_retention(platform.system(), dry_run=False) == planned


def test_without_a_rule_everything_stays(platform: Platform, system: Actor, sales: DatasetRef, five: list[Committed]) -> None:
    platform.deletion.set_retention(system, "sales", Rule(1, None))
    plan = platform.deletion.set_retention(system, "sales", None)
    assert (plan.rule, plan.removal.versions) == (None, ())
    assert platform.deletion.retention(system, "sales").rule is None
    assert platform.deletion.apply_retention(platform.system(), dry_run=False).removals == ()
    assert living(platform, sales) == [1, 2, 3, 4, 5]


def test_a_rule_can_be_tried_before_it_is_set(platform: Platform, system: Actor, five: list[Committed]) -> None:
    assert platform.deletion.retention(system, "sales", Rule(4, None)).removal.versions == (1,)
    assert platform.deletion.retention(system, "sales").rule is None


def test_setting_a_rule_replaces_the_earlier_one(platform: Platform, system: Actor, sales: DatasetRef) -> None:
    platform.deletion.set_retention(system, "sales", Rule(1, 7))
    platform.deletion.set_retention(system, "sales", Rule(None, 3))
    assert platform.deletion.retention(system, "sales").rule == Rule(None, 3)


def test_each_dataset_has_its_own_rule(platform: Platform, system: Actor, sales: DatasetRef, five: list[Committed]) -> None:
    other = make.dataset(platform, "other")
    for number in (1, 2, 3):
        make.commit(platform, other, {"o": b"other" * number})
    platform.deletion.set_retention(system, "sales", Rule(3, None))
    assert [removal.dataset for removal in platform.deletion.apply_retention(platform.system(), dry_run=False).removals] == ["sales"]
    assert living(platform, other) == [1, 2, 3]


def test_what_two_datasets_lose_together_is_freed_though_neither_frees_it_alone(
    platform: Platform, system: Actor, sales: DatasetRef
) -> None:
    for dataset in (sales, make.dataset(platform, "other")):
        make.commit(platform, dataset, {"a": b"both"})
        make.commit(platform, dataset, {"a": dataset.slug.encode()})
        platform.deletion.set_retention(system, dataset.slug, Rule(1, None))
    planned = platform.deletion.apply_retention(platform.system(), dry_run=True)
    assert [removal.freed for removal in planned.removals] == [Freed(0, 0), Freed(0, 0)]
    assert planned.freed == Freed(1, 4)
    platform.deletion.apply_retention(platform.system(), dry_run=False)
    assert make.unnamed(platform) == (1, 4)


def test_a_dataset_that_is_deleted_meanwhile_is_left_alone(
    platform: Platform, system: Actor, sales: DatasetRef, five: list[Committed]
) -> None:
    platform.deletion.set_retention(system, "sales", Rule(1, None))
    platform.datasets.delete_dataset(system, "sales")
    assert platform.deletion.apply_retention(platform.system(), dry_run=False).removals == ()
    assert platform.deletion._mark(system, sales.id, {five[0].version_id: 1}) == {}
    platform.datasets.restore_dataset(system, "sales")
    assert living(platform, sales) == [1, 2, 3, 4, 5]


def test_a_rule_that_is_dropped_meanwhile_lets_nothing_go(
    platform: Platform, system: Actor, sales: DatasetRef, five: list[Committed]
) -> None:
    assert platform.deletion._mark(system, sales.id, {five[0].version_id: 1}) == {}
    assert living(platform, sales) == [1, 2, 3, 4, 5]


def test_a_crash_of_the_nightly_run_is_finished_by_the_next(
    platform: Platform, system: Actor, sales: DatasetRef, five: list[Committed], monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.deletion.set_retention(system, "sales", Rule(1, None))

    def die(_name: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "BATCH", 1)
        patched.setattr(module, "reach", die)
        with pytest.raises(KeyboardInterrupt):
            platform.deletion.apply_retention(platform.system(), dry_run=False)
    assert living(platform, sales) == [5]
    assert platform.deletion.apply_retention(platform.system(), dry_run=False).removals == ()
    assert make.unnamed(platform) == (4, 10)


# --- previews ------------------------------------------------------------------------------------------------------------------

NAMES = ("sales", "other")
puts = st.dictionaries(st.sampled_from("abcd"), st.sampled_from([b"1", b"22", b"333", b"4444", b"55555"]), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    commits=st.lists(st.tuples(st.sampled_from(NAMES), puts), min_size=2, max_size=9),
    picks=st.lists(st.integers(0, 8), max_size=4),
    staged=st.booleans(),
    reaped=st.booleans(),
)
def test_a_preview_is_exactly_what_becomes_unnamed(
    platform: Platform, commits: Sequence[tuple[str, dict[str, bytes]]], picks: list[int], staged: bool, reaped: bool
) -> None:
    system = platform.actor()
    suffix = uuid4().hex
    datasets = {name: make.dataset(platform, f"{name}-{suffix}") for name in NAMES}
    made = [
        make.commit(platform, datasets[name], {key + suffix: value + suffix.encode() for key, value in put.items()})
        for name, put in commits
    ]
    if staged:
        stage(platform, datasets["sales"], made[0])
    before = make.unnamed(platform)
    for pick in picks:
        version = made[pick % len(made)]
        reference = f"{version.dataset.slug}@{version.version_number}"
        (purged,) = make.column(platform.db, "SELECT purged_at FROM dataset_versions WHERE id = :id", id=version.version_id)
        if purged or make.column(platform.db, "SELECT 1 FROM dataset_pointers WHERE version_id = :id", id=version.version_id):
            continue
        promised = platform.deletion.preview_version(system, reference)
        assert platform.deletion.delete_version(system, reference) == promised
        after = make.unnamed(platform)
        assert promised.freed == Freed(after[0] - before[0], after[1] - before[1])
        before = after
    if reaped:
        promised = platform.deletion.preview_dataset(system, datasets["sales"].slug)
        platform.datasets.delete_dataset(system, datasets["sales"].slug)
        with platform.db.transaction() as tx:
            tx.execute("UPDATE datasets SET deleted_at = now() - interval '31 days' WHERE id = :id", id=datasets["sales"].id)
        assert [dataset.id for dataset in platform.deletion.reap(platform.system())] == [datasets["sales"].id]
        after = make.unnamed(platform)
        assert promised.freed == Freed(after[0] - before[0], after[1] - before[1])
    make.assert_sound(platform)


def stage(platform: Platform, dataset: DatasetRef, version: Committed) -> None:
    """An upload session of the dataset holds the first file of the version."""
    with platform.db.transaction() as tx:
        session = uuid4()
        tx.execute(
            "INSERT INTO upload_sessions (id, dataset_id, owner_id, expires_at) VALUES (:id, :dataset, :owner, now() + interval '1 hour')",
            id=session,
            dataset=dataset.id,
            owner=platform.actor().user_id,
        )
        tx.execute(
            "INSERT INTO staged_files (session_id, path, file_id) SELECT :id, 'x', file_id FROM dataset_version_files "
            "WHERE version_id = :version ORDER BY component_name LIMIT 1",
            id=session,
            version=version.version_id,
        )


def test_a_version_that_main_left_can_go_and_its_content_counts(
    platform: Platform, system: Actor, sales: DatasetRef, five: list[Committed]
) -> None:
    with platform.db.transaction() as tx:
        Pointers(tx).move(sales.id, PointerName("main"), five[4].version_id, five[0].version_id)
    assert platform.deletion.delete_version(system, "sales@5").freed == Freed(1, 5)
