"""Counting different and frequent values in bounded memory: exact up to the limit, then within the stated error."""

import random
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.schemas.profiles.frequencies import COUNTERS, HASHES, LIMIT, LONG, Frequencies, hashes_of


def _found(values: Sequence[str], batch: int = 20_000, limit: int = LIMIT) -> Frequencies:
    found = Frequencies(limit)
    for start in range(0, len(values), batch):
        found.take(pa.array(values[start : start + batch], pa.string()))
    return found


KINDS = {
    "numbers in order": lambda number: str(number),
    "padded": lambda number: f"{number:012d}",
    "words": lambda number: f"customer {number} of the eastern region",
    "days and more": lambda number: f"2026-01-{number % 28:02d} {number}",
    "long": lambda number: "x" * 70 + str(number),
    "longer than kept": lambda number: "x" * LONG + str(number),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [10_001, 60_000])
def test_the_estimate_is_within_five_standard_errors(kind: str, count: int) -> None:
    found = _found([KINDS[kind](number) for number in range(count)])
    assert not found.exact
    assert found.distinct == pytest.approx(count, rel=5 / (HASHES - 2) ** 0.5)
    assert found.top == ()


def test_the_estimate_depends_neither_on_order_nor_on_batches() -> None:
    values = [f"v{number}" for number in range(30_000)] * 2
    shuffled = random.Random(1).sample(values, len(values))
    estimates = {_found(values).distinct, _found(shuffled).distinct, _found(shuffled, batch=77).distinct, _found(values, limit=50).distinct}
    assert len(estimates) == 1


def test_at_the_limit_all_is_exact_and_one_more_is_estimated() -> None:
    values = [f"v{number}" for number in range(LIMIT)]
    assert (_found(values).distinct, _found(values).exact) == (LIMIT, True)
    assert not _found([*values, "one more"]).exact


@pytest.mark.parametrize("batch", [500, 20_000, 10**6])
def test_counts_beyond_the_limit_are_lower_bounds_within_the_stated_error(batch: int) -> None:
    generator = random.Random(2)
    values = [f"v{int(generator.paretovariate(0.3)) % 100_000}" for _ in range(200_000)]
    found, truth = _found(values, batch), Counter(values)
    assert not found.exact
    assert [text for text, _ in found.top] == [text for text, _ in truth.most_common(5)]
    for text, count in found.top:
        assert truth[text] - len(values) / 900 <= count <= truth[text]


def test_what_is_held_does_not_grow_with_the_values() -> None:
    found = Frequencies()
    for start in range(0, 400_000, 50_000):
        texts = pa.array([f"{number}" + "x" * 250 for number in range(start, start + 50_000)])
        found.add(texts, pa.array([1 + start % 3] * 50_000))
    assert found._exact is None
    assert (len(found._smallest), len(found._counters) <= 2 * COUNTERS) == (HASHES, True)


@given(st.lists(st.text(max_size=20), unique=True), st.integers(1, 5))
def test_a_hash_depends_on_its_text_alone(texts: list[str], size: int) -> None:
    if not texts:
        return
    one_by_one = [hashes_of(pa.array([text], pa.string()))[0].as_py() for text in texts]
    by_text = dict(zip(texts, one_by_one, strict=True))
    assert len(set(one_by_one)) == len(texts)
    for start in range(0, len(texts), size):
        some = texts[start : start + size]
        sliced = pa.array(["ahead", *some], pa.string())[1:]
        assert sorted(hashes_of(sliced).to_pylist()) == sorted(by_text[text] for text in some)


@given(st.lists(st.lists(st.text(max_size=2) | st.just("x" * 201)), max_size=4))
def test_few_values_are_counted_as_many_are(batches: list[list[str]]) -> None:
    for limit in (3, 100):
        few, many = Frequencies(limit), Frequencies(limit)
        for batch in batches:
            counts = Counter(batch)
            few.add_counts(counts, max(map(len, counts), default=0))
            many.add(pa.array(counts.keys(), pa.string()), pa.array(counts.values(), pa.int64()))
        assert (few.distinct, few.exact, few.top, few.examples) == (many.distinct, many.exact, many.top, many.examples)


def test_frequent_values_among_many_that_stand_once_are_found() -> None:
    values = [f"often {number % 3}" if number % 40 < number % 3 + 1 else f"v{number}" for number in range(300_000)]
    found, truth = _found(values), Counter(values)
    assert found._diverse
    assert [text for text, _ in found.top] == [text for text, count in truth.most_common(5) if count > len(values) / 900]
    for text, count in found.top:
        assert truth[text] - len(values) / 900 <= count <= truth[text]
