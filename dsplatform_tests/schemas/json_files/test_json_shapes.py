"""The shapes of JSON values: the least type that holds them all, in whatever order they come."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.schemas.json_files import shapes as json_shapes
from dsplatform.schemas.json_files.shapes import Shape, TooDeep, TooManyNames
from dsplatform.schemas.logical import LogicalType

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64, 10**37, 10**38, 10**400]),
    st.floats(),
    st.text(max_size=3),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "a b", ""]), inner, max_size=3),
    max_leaves=8,
)


def _type(*added: Any) -> str:
    shape = Shape()
    shape.add(added)
    return str(shape.type())


@pytest.mark.parametrize(
    ("added", "type_"),
    [
        ([], "null"),
        ([None], "null"),
        ([1, None], "int64"),
        ([-(2**63), 2**63 - 1], "int64"),
        ([0, 2**63], "uint64"),
        ([-1, 2**63], "decimal(19,0)"),
        ([-1, 2**64 - 1], "decimal(20,0)"),
        ([2**64], "decimal(20,0)"),
        ([-(2**63) - 1], "decimal(19,0)"),
        ([10**38 - 1, 1], "decimal(38,0)"),
        ([10**38, 1], "string"),
        ([10**38, "x"], "string"),
        ([10**38, 0.5], "float64"),
        ([10**400, 0.5], "string"),
        ([1, 0.5], "float64"),
        ([1, "x"], "union<int64, string>"),
        (["x", 0.5, True, 1], "union<boolean, float64, string>"),
        ([1, {"a": "x"}], "union<int64, struct<a: string>>"),
        ([[1], "x", {"a": None}], "union<string, list<int64>, struct<a: null>>"),
        ([[1, [2]], [{"b": 2**63}]], "list<union<int64, list<int64>, struct<b: uint64>>>"),
        ([{}], "struct<>"),
        ([{}, {"a b": 1}, {"a b": 2**63}], 'struct<"a b": uint64>'),
        ([{"a": [{"x": 2**70}, {"y": None}]}], "struct<a: list<struct<x: decimal(22,0), y: null>>>"),
    ],
)
def test_shapes_widen_and_unite(added: list[Any], type_: str) -> None:
    assert _type(*added) == type_


@given(st.lists(values, max_size=6), st.randoms(use_true_random=False))
def test_neither_order_nor_portions_matter(added: list[Any], generator: random.Random) -> None:
    whole = Shape()
    whole.add(added)
    parts, shuffled = Shape(), list(added)
    generator.shuffle(shuffled)
    while shuffled:
        size = generator.randint(1, len(shuffled))
        parts.add(shuffled[:size])
        del shuffled[:size]
    assert _sorted(parts.type()) == _sorted(whole.type())
    assert LogicalType.parse(str(whole.type())) == whole.type()


def _sorted(type_: LogicalType) -> LogicalType:
    """Names in a struct stand in the order in which they were met first."""
    fields = tuple((name, _sorted(part)) for name, part in type_.fields)
    return LogicalType(type_.name, type_.digits, tuple(sorted(fields, key=lambda field: field[0])) if type_.name == "struct" else fields)


@given(st.lists(values, min_size=1, max_size=6))
def test_every_value_has_the_type_of_all(added: list[Any]) -> None:
    shape = Shape()
    shape.add(added)
    before = shape.type()
    for value in added:
        shape.add([value])
    assert shape.type() == before


def test_depth_has_an_end() -> None:
    deep: Any = 1
    for _ in range(json_shapes.MAX_DEPTH):
        deep = [deep]
    assert _type(deep).count("list<") == json_shapes.MAX_DEPTH
    with pytest.raises(TooDeep, match="deeper than 100 levels"):
        _type([deep])


def test_names_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_shapes, "MAX_NAMES", 10)
    assert _type(*[{f"k{number}": 1} for number in range(10)]).count("int64") == 10
    with pytest.raises(TooManyNames):
        _type(*[{f"k{number}": {"inner": 1}} for number in range(6)])
