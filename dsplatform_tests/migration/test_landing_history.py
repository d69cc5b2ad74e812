"""Whatever history the legacy system has, it comes along with the relations that a naive reading of the rules gives it."""

import hashlib
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dsplatform.bootstrap import Platform
from dsplatform.migration.model import Entity
from dsplatform_tests.migration import histories
from dsplatform_tests.migration.histories import History
from dsplatform_tests.migration.legacy_side import Legacy, empty

BASES = count(1_000, 1_000)

property_of_a_database = settings(
    phases=[Phase.generate], max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
"""Each example has ids of its own in the same two databases."""


@pytest.fixture
def legacy(platform: Platform, legacy_url: str, legacy_folder: Path) -> Legacy:
    return empty(platform, legacy_url, legacy_folder, "G1b")


def must_be_as_the_rules_say(legacy: Legacy, history: History) -> None:
    """Compares relations and rights with the naive model."""
    people = {int(old): new for old, (_, _, new) in legacy.outcomes(Entity.USERS).items()}
    found = histories.found(legacy, history)
    assert found["versions"] == [
        (one.id, one.dataset_id, one.number, histories.parent_of(one), people[one.author], one.message or "")
        for one in sorted(history.versions, key=lambda one: one.id)
    ]
    assert found["parts"] == {
        (one.id, name, hashlib.sha256(data).hexdigest()) for one in history.versions for name, data in histories.components_of(one).items()
    }
    assert found["pointers"] == {
        (dataset, name, *where) for dataset in history.datasets for name, where in histories.pointers_of(history, dataset).items()
    }
    nobody_gains(legacy, history, people)


def nobody_gains(legacy: Legacy, history: History, people: dict[int, int | None]) -> None:
    """On datasets everybody has what she had, on files at most that."""
    held = {
        row[:3]: histories.RIGHTS.index(row[3])
        for row in sorted(
            legacy.ask(
                "SELECT h.resource_type, coalesce(f.content_hash, CAST(h.resource_id AS text)), h.user_id, h.permission_type "
                "FROM rights_held h LEFT JOIN files f ON h.resource_type = 'file' AND f.id = h.resource_id"
            ),
            key=lambda row: histories.RIGHTS.index(row[3]),
        )
    }
    for user in histories.USERS:
        for dataset in history.datasets:
            right = histories.strongest(history.rights, "dataset", dataset, user)
            assert held.get(("dataset", str(dataset), people[user])) == (None if right is None else histories.RIGHTS.index(right))
        for data in {file.data for file in history.files} - {None}:
            had = [histories.strongest(history.rights, "file", file.id, user) for file in history.files if file.data == data]
            most = max((histories.RIGHTS.index(right) for right in had if right), default=-1)
            hashed = hashlib.sha256(data or b"").hexdigest()
            assert held.get(("file", hashed, people[user]), -1) <= most


@property_of_a_database
@given(data=st.data())
def test_histories_come_along_as_the_rules_say(legacy: Legacy, data: st.DataObject) -> None:
    drawn = [data.draw(histories.histories(next(BASES))) for _ in range(5)]
    with legacy.writing():
        for history in drawn:
            histories.write(legacy, history)
    legacy.migrate()
    for history in drawn:
        must_be_as_the_rules_say(legacy, history)
    assert legacy.problems() == []
