import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.core.errors import Invalid
from dsplatform.ingestion.model import InboxState, IngestReport, Outcome, Sighting, is_ignored, place_of, stored_path


@pytest.mark.parametrize("name", [".hidden", "a.csv.part", "a.csv.PART", "a.tmp", "a.csv.done"])
def test_unfinished_and_hidden_names_are_ignored(name: str) -> None:
    assert is_ignored(name)


@pytest.mark.parametrize("name", ["a.csv", "part", "tmp.csv", "done", "a.part.csv"])
def test_other_names_are_not_ignored(name: str) -> None:
    assert not is_ignored(name)


def test_a_path_means_a_dataset_and_main() -> None:
    place = place_of("sales/orders.csv")
    assert (place.dataset, place.branch, place.component) == ("sales", "main", "orders.csv")


def test_a_folder_between_means_a_branch() -> None:
    place = place_of("sales/next/orders.csv")
    assert (place.dataset, place.branch, place.component) == ("sales", "next", "orders.csv")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("orders.csv", "no dataset's folder"),
        ("a/b/c/d.csv", "too deep"),
        ("-bad/x.csv", "no valid dataset name"),
        ("sales/12/x.csv", "already name versions"),
        ("sales/x\n.csv", "U+000A"),
        ("sales/a\\b.csv", "backslash"),
        ("bytes:sales/%FF.csv", "no valid UTF-8"),
    ],
)
def test_what_a_path_cannot_mean_is_said(path: str, why: str) -> None:
    with pytest.raises(Invalid, match=why.replace("+", r"\+")):
        place_of(path)


@given(st.binary(min_size=1, max_size=40).filter(lambda raw: b"\0" not in raw))
def test_any_file_name_survives_the_database(raw: bytes) -> None:
    path = os.fsdecode(raw)
    stored = stored_path(path)
    stored.encode()  # what PostgreSQL can hold
    assert Sighting(stored, 1, 1, 1, marked=False).real_path == path


def test_a_report_counts_what_happened() -> None:
    report = IngestReport(
        outcomes=[
            Outcome("a", InboxState.ACCEPTED, size=10, stored=True),
            Outcome("b", InboxState.ACCEPTED, size=30, stored=False),
            Outcome("c", InboxState.DUPLICATE, size=5, stored=False),
            Outcome("d", InboxState.REJECTED, size=0, reason="no"),
        ]
    )
    figures = report.figures()
    assert (figures["files_stored"], figures["files_duplicate"], figures["files_rejected"]) == (1, 2, 1)
    assert (figures["bytes_in"], figures["bytes_stored"]) == (45, 10)
    assert figures["dedup_ratio"] == pytest.approx(1 - 10 / 45, abs=1e-4)


def test_an_empty_report_has_figures() -> None:
    assert IngestReport().figures()["dedup_ratio"] == 0
