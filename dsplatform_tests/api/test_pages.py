from hypothesis import given
from hypothesis import strategies as st

from dsplatform.api.pages import page_of


@given(st.sets(st.text(max_size=5).filter(bool), max_size=20), st.integers(1, 7))
def test_pages_one_after_the_other_are_the_whole_list(names: set[str], limit: int) -> None:
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        items, after = page_of(list(names), str, after, limit)
        assert len(items) == limit or after is None
        seen += items
    assert seen == sorted(names)


@given(st.sets(st.integers(1, 50), min_size=3, max_size=20), st.integers(1, 5))
def test_what_goes_between_two_pages_moves_nothing_else(numbers: set[int], limit: int) -> None:
    first, after = page_of(list(numbers), int, 0, limit)
    if after is not None:
        rest, _ = page_of([number for number in numbers if number not in first], int, after, len(numbers))
        assert first + rest == sorted(numbers)
