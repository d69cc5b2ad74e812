"""A dataset that follows the legacy system changes there and nowhere else."""

from collections.abc import Callable

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.core.values import DatasetRef
from dsplatform.datasets.model import DatasetHeld
from dsplatform.versioning.retention import Rule
from dsplatform_tests import make

CHANGES: dict[str, Callable[[Platform, Actor, DatasetRef], object]] = {
    "commit": lambda platform, actor, dataset: make.commit(platform, dataset, {"a.csv": b"x\n9\n"}, actor=actor),
    "branch": lambda platform, actor, dataset: platform.branches.create_branch(actor, dataset, "work", "1"),
    "tag": lambda platform, actor, dataset: platform.branches.create_tag(actor, dataset, "v1", "1"),
    "rename": lambda platform, actor, _: platform.datasets.update_dataset(actor, "sales", new_name="other"),
    "delete": lambda platform, actor, _: platform.datasets.delete_dataset(actor, "sales"),
    "delete a version": lambda platform, actor, _: platform.deletion.delete_version(actor, "sales@1"),
}


@pytest.fixture
def held(platform: Platform, system: Actor) -> DatasetRef:
    """With two versions."""
    dataset = make.dataset(platform)
    for data in (b"x\n1\n", b"x\n2\n"):
        make.commit(platform, dataset, {"a.csv": data})
    with platform.db.transaction() as tx:
        tx.execute("UPDATE datasets SET held = true")
    return dataset


@pytest.mark.parametrize("change", CHANGES)
def test_it_cannot_be_changed_until_it_is_let_go(change: str, platform: Platform, system: Actor, held: DatasetRef) -> None:
    with pytest.raises(DatasetHeld, match="legacy system"):
        CHANGES[change](platform, system, held)
    with platform.db.transaction() as tx:
        tx.execute("UPDATE datasets SET held = false")
    CHANGES[change](platform, system, held)


def test_it_can_be_read(platform: Platform, system: Actor, held: DatasetRef) -> None:
    assert platform.datasets.get(system, "sales").versions == 2


def test_a_retention_rule_leaves_it_alone(platform: Platform, system: Actor, held: DatasetRef) -> None:
    other = make.dataset(platform, "other")
    for data in (b"x\n1\n", b"x\n2\n"):
        make.commit(platform, other, {"a.csv": data})
    for name in ("sales", "other"):
        platform.deletion.set_retention(system, name, Rule(keep_last=1, keep_days=None))
    platform.deletion.apply_retention(system, dry_run=False)
    assert [platform.datasets.get(system, name).versions for name in ("sales", "other")] == [2, 1]
