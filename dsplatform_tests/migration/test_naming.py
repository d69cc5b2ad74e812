"""Any text becomes a name that the platform takes."""

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dsplatform.core.types import dataset_name, file_path, pointer_name
from dsplatform.datasets.model import labels
from dsplatform.migration import naming
from dsplatform_tests.strategies import words

RULES = {
    "dataset": (naming.safe_dataset_name, dataset_name, naming.free_dataset_name),
    "pointer": (naming.safe_pointer_name, pointer_name, naming.free_pointer_name),
    "tag": (naming.safe_tag_name, pointer_name, naming.free_pointer_name),
    "component": (naming.safe_component_name, file_path, naming.free_component_name),
}

long_words = st.one_of(words, st.builds(lambda word, times: word * times, words, st.integers(1, 80)))


of_each_kind = pytest.mark.parametrize("rules", RULES.values(), ids=RULES)


@of_each_kind
@given(raw=long_words)
@example(raw="")
@example(raw="\x00")
@example(raw="..")
@example(raw="\ud800")
@example(raw="/" * 300)
@example(raw="a." * 64 + "..")
@example(raw="x" * 127 + ". ")
@example(raw="latest ")
@example(raw=" 12")
@example(raw="-/-a")
@example(raw="é" * 127 + "\u0301")
def test_a_safe_name_is_one_of_ours_and_stays_what_it_is(rules: tuple[Callable[[str], str], ...], raw: str) -> None:
    safe, rule, _ = rules
    name = safe(raw)
    assert name
    assert rule(name) == name
    assert safe(name) == name == safe(raw)


@of_each_kind
@given(raw=st.text(alphabet="abé_漢字", min_size=1, max_size=30))
def test_a_name_that_the_rule_takes_is_kept(rules: tuple[Callable[[str], str], ...], raw: str) -> None:
    safe, rule, _ = rules
    assert safe(raw) == rule(raw) == unicodedata.normalize("NFC", raw)


@of_each_kind
@given(raws=st.lists(long_words, min_size=2, max_size=6))
@example(raws=["a", "a-3", "a"])
@example(raws=["a", "a-4-2", "a-4", "a"])
@example(raws=["x" * 300, "x" * 301, "x" * 302])
@example(raws=["p/" * 400 + "n" * 255, "p/" * 400 + "n" * 255])
def test_names_that_would_clash_get_apart_and_stay_ours(rules: tuple[Callable[..., str], ...], raws: list[str]) -> None:
    safe, rule, free = rules
    taken: set[str] = set()
    for legacy_id, raw in enumerate(raws, 1):
        name = free(safe(raw), legacy_id, taken)
        assert name not in taken
        assert rule(name) == name
        taken.add(name)


@pytest.mark.parametrize(
    ("safe", "raw", "name"),
    [
        (naming.safe_dataset_name, "Sales 2025", "Sales 2025"),
        (naming.safe_dataset_name, " Sales/Q1: final?. ", "Sales-Q1- final-"),
        (naming.safe_dataset_name, "@@", "legacy-dataset"),
        (naming.safe_pointer_name, "feature/new join", "feature/new-join"),
        (naming.safe_pointer_name, "2024", "legacy-2024"),
        (naming.safe_pointer_name, "latest", "legacy-latest"),
        (naming.safe_pointer_name, "Main", "Main"),
        (naming.safe_tag_name, "main", "legacy-main"),
        (naming.safe_component_name, "C:\\data\\..\\x.csv", "C:/data/x.csv"),
        (naming.safe_component_name, "/etc/passwd", "etc/passwd"),
        (naming.safe_component_name, "tab\there", "tab_here"),
    ],
)
def test_what_a_safe_name_keeps_of_the_old_one(safe: Callable[[str], str], raw: str, name: str) -> None:
    assert safe(raw) == name


@given(raw=words)
def test_a_label_is_one_that_datasets_take(raw: str) -> None:
    label = naming.safe_label(raw)
    if label is None:
        assert not raw.strip()
    else:
        assert labels([label]) == [label]
        assert naming.safe_label(label) == label
