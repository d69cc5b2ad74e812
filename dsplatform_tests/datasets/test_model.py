import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.core.errors import Invalid
from dsplatform.core.events import DatasetCreated
from dsplatform.core.types import dataset_name
from dsplatform.datasets.model import MAX_LABELS, Dataset, labels


def test_labels_are_trimmed_and_kept_once_in_the_given_order() -> None:
    assert labels(["  b  c ", "A", "a", "B C", "straße", "STRASSE"]) == ["b c", "A", "straße"]


@pytest.mark.parametrize("bad", ["", " \t", "x" * 101])
def test_a_label_has_1_to_100_characters(bad: str) -> None:
    with pytest.raises(Invalid, match="must have 1 to 100 characters"):
        labels(["good", bad])
    assert labels(["x" * 100]) == ["x" * 100]


def test_there_is_a_limit_to_the_number_of_labels() -> None:
    assert len(labels(map(str, range(MAX_LABELS)))) == MAX_LABELS
    with pytest.raises(Invalid, match="101 labels are too many: 100 at most"):
        labels(map(str, range(MAX_LABELS + 1)))


@given(st.lists(st.text(max_size=20), max_size=10))
def test_accepted_labels_stay_as_they_are(values: list[str]) -> None:
    try:
        accepted = labels(values)
    except Invalid:
        return
    assert labels(accepted) == accepted
    assert len({label.casefold() for label in accepted}) == len(accepted)


def test_a_rename_leaves_the_slug() -> None:
    dataset = Dataset(name="a", slug="a", created_by=1)
    dataset.rename(dataset_name("b"))
    assert (dataset.name, dataset.slug) == ("b", "a")


def test_relabelling_follows_the_rule_of_labels() -> None:
    dataset = Dataset(name="a", slug="a", created_by=1)
    dataset.relabel([" x ", "X"])
    assert dataset.labels == ["x"]


def test_a_dataset_is_announced_once_it_has_an_id() -> None:
    dataset = Dataset(name="a", slug="a", created_by=7)
    with pytest.raises(AssertionError, match="announced after it was stored"):
        dataset.created()
    dataset.id = 3
    dataset.created()
    assert dataset.release() == [DatasetCreated(dataset_id=3, created_by=7)]
