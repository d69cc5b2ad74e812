"""Conditions: what is taken, what is refused and with which words."""

import operator
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.core.errors import Invalid
from dsplatform.schemas.model import Column
from dsplatform.schemas.previews.conditions import LONGEST, MOST, Bound, ColumnMissing, WrongCondition, bound, literal, names, parse
from dsplatform.schemas.previews.model import Condition

TYPES = {
    "n": "int64",
    "u": "uint64",
    "f": "float64",
    "d": "decimal(5,2)",
    "s": "string",
    "b": "boolean",
    "day": "date",
    "t": "time",
    "ts": "timestamp",
    "tz": "timestamp with zone",
    "gap": "duration",
    "raw": "binary",
    "none": "null",
    "list": "list<int64>",
    "record": "struct<a: int64>",
    "order id": "int64",
    'a"b': "int64",
    "is": "int64",
    "x=y": "int64",
}
COLUMNS = {name: Column(name, type_) for name, type_ in TYPES.items()}
COMPARED = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def one(text: str) -> Condition:
    (found,) = parse([text], COLUMNS)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n = 5", Condition("n", "=", "5")),
        ("n=5", Condition("n", "=", "5")),
        ("n<=-5", Condition("n", "<=", "-5")),
        ("  n   >   5  ", Condition("n", ">", "5")),
        ('"order id" != 7', Condition("order id", "!=", "7")),
        ('"a""b" < 7', Condition('a"b', "<", "7")),
        ('"x=y" = 1', Condition("x=y", "=", "1")),
        ("s = a b  c", Condition("s", "=", "a b  c")),
        ('s = " a "', Condition("s", "=", " a ")),
        ("s = ' a '' b '", Condition("s", "=", " a ' b ")),
        ('s = "say ""no"""', Condition("s", "=", 'say "no"')),
        ('s = ""', Condition("s", "=", "")),
        ("s contains x = y", Condition("s", "contains", "x = y")),
        ("s STARTSWITH x", Condition("s", "startswith", "x")),
        ("s is null", Condition("s", "is null")),
        ("list Is  Not\tNull", Condition("list", "is not null")),
        ("is is null", Condition("is", "is null")),
        ("s = is null", Condition("s", "=", "is null")),
        ("s == a", Condition("s", "=", "= a")),
    ],
)
def test_a_condition_is_column_operator_and_value(text: str, expected: Condition) -> None:
    assert one(text) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no condition"),
        ("n", "no condition"),
        ("= 5", "no condition"),
        ("n ~ 5", "no condition"),
        ("n like 5", "no condition"),
        ("order id = 5", "no condition"),
        ('"n = 5', "no condition"),
        ("n is nullable", "no condition"),
        ("n =", "a value is missing"),
        ("n is null or true", "nothing may follow"),
        ("n = five", "write one such as 17"),
        ("n = 1e9999", "write one such as 17"),
        ("n = ٣", "write one such as 17"),
        ("n contains 5", "of the type int64: it can be asked =, !=, <, <=, >, >=, is null, is not null"),
        ("d = nan", "write one such as 17"),
        ("f = nan", "write one such as 17"),
        ("f = 1e400", "more than a float64 holds"),
        ("b = yes", "neither true nor false"),
        ("b < true", "it can be asked =, !="),
        ("day = 31/01/2024", "write one such as 2024-01-31"),
        ("day = 2024-02-30", "write one such as 2024-01-31"),
        ("day = 2024-W05-1", "write one such as 2024-01-31"),
        ("t = 25:00", "write one such as 17:30"),
        ("ts = 2024-01-31T10:00Z", "without a zone"),
        ("ts = tomorrow", "without a zone"),
        ("tz = 2024-01-31T10:00", "with its zone"),
        ("tz = 2024-01-31Z", "with its zone"),
        ("gap = long", "write its seconds"),
        ("raw = abc", "it can be asked is null, is not null"),
        ("list = 1", "it can be asked is null, is not null"),
        ("record contains a", "it can be asked is null, is not null"),
        ("none = 1", "it can be asked is null, is not null"),
        ("s = 'a' or 'b'='b'", "is not closed, or something follows"),
        ('s = "a', "is not closed"),
    ],
)
def test_what_is_refused_says_what_would_be_right(text: str, says: str) -> None:
    with pytest.raises(WrongCondition) as caught:
        one(text)
    assert says in str(caught.value)


def test_a_column_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(ColumnMissing, match=r"no column 'm'.*columns are n, u, f.* and 9 more"):
        one("m = 1")


def test_long_and_many_conditions_are_refused() -> None:
    with pytest.raises(WrongCondition, match="characters"):
        one("s = " + "x" * LONGEST)
    assert len(parse(["s = x"] * MOST, COLUMNS)) == MOST
    with pytest.raises(WrongCondition, match="too many"):
        parse(["s = x"] * (MOST + 1), COLUMNS)


@given(st.text(max_size=40))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    try:
        found = one(text)
    except Invalid:
        return
    assert found.column in COLUMNS


@given(st.sampled_from(sorted(name for name, type_ in TYPES.items() if type_ == "string")), st.text(max_size=30))
def test_a_quoted_value_is_exactly_that(name: str, value: str) -> None:
    doubled = value.replace('"', '""')
    assert one(f'"{name}" = "{doubled}"') == Condition(name, "=", value)
    single = value.replace("'", "''")
    assert one(f"{name} startswith '{single}'") == Condition(name, "startswith", value)


@pytest.mark.parametrize("sign", sorted(COMPARED))
def test_a_bound_means_what_the_exact_comparison_means(sign: str) -> None:
    for value in (Fraction(number, parts) for number in range(-36, 37) for parts in (1, 2, 3)):
        asked = bound(sign, value, -10, 10)
        assert not isinstance(asked, Bound) or -10 <= asked.number <= 10
        for number in range(-10, 11):
            meant = COMPARED[asked.operator](number, asked.number) if isinstance(asked, Bound) else asked
            assert meant == COMPARED[sign](Fraction(number), value), (number, value)


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        ("int64", "1.5", Fraction(3, 2)),
        ("decimal(5,2)", "-.5e1", Fraction(-5)),
        ("float64", "0.1", 0.1),
        ("float64", "-inf", float("-inf")),
        ("boolean", "TRUE", True),
        ("date", "1970-01-02", Fraction(1)),
        ("date", "0001-01-01", Fraction(-719162)),
        ("time", "00:01", Fraction(60)),
        ("time", "00:00:00.000000001", Fraction(1, 10**9)),
        ("timestamp", "1970-01-02", Fraction(86400)),
        ("timestamp", "1970-01-01T00:00:01.5", Fraction(3, 2)),
        ("timestamp with zone", "1970-01-01T00:00Z", Fraction(0)),
        ("timestamp with zone", "1970-01-01 00:00+01:30", Fraction(-5400)),
        ("timestamp with zone", "1970-01-01T00:00:00-02", Fraction(7200)),
        ("duration", "90", Fraction(90)),
        ("duration", "-PT1.5S", Fraction(-3, 2)),
    ],
)
def test_a_value_is_typed_as_its_column(type_: str, text: str, value: object) -> None:
    assert literal(Column("x", type_), text) == value


def test_names_are_listed_with_commas_or_apart() -> None:
    assert names(["a,b", '"c, d","e""f"']) == ("a", "b", "c, d", 'e"f')
    with pytest.raises(Invalid, match="comma-separated"):
        names(['"a'])
