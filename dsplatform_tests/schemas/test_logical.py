import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.schemas.logical import SIMPLE, LogicalType

decimals = st.integers(1, 76).flatmap(lambda p: st.builds(lambda s: LogicalType("decimal", (p, s)), st.integers(-5, p)))
types = st.recursive(
    st.sampled_from(sorted(SIMPLE)).map(LogicalType) | decimals,
    lambda inner: st.one_of(
        inner.map(lambda item: LogicalType.of("list", item)),
        st.tuples(inner, inner).map(lambda pair: LogicalType.of("map", *pair)),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: LogicalType.of("union", *parts)),
        st.lists(st.tuples(st.text(max_size=8), inner), max_size=3).map(lambda fields: LogicalType("struct", fields=tuple(fields))),
    ),
    max_leaves=8,
)


@given(types)
def test_what_is_written_reads_back(type_: LogicalType) -> None:
    assert LogicalType.parse(str(type_)) == type_


@pytest.mark.parametrize(
    "text",
    [
        "",
        "text",
        "list",
        "list<",
        "list<int64",
        "list<int64>>",
        "struct<int64>",
        "struct<a int64>",
        "decimal(3)",
        "int64,",
        "list<>",
        "int64 %",
    ],
)
def test_what_is_no_type_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a logical type"):
        LogicalType.parse(text)
