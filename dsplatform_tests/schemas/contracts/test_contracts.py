"""Contracts as text and as rules: what is written is read back, mistakes are named, and a version keeps what was learnt from it."""

from datetime import date
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dsplatform.schemas.contracts.contract_yaml import ContractUnclear, dump, parse
from dsplatform.schemas.contracts.judging import Question, breaches, missing, questions
from dsplatform.schemas.contracts.learning import learn
from dsplatform.schemas.contracts.model import ColumnRule, Contract, TableRule, measure
from dsplatform.schemas.model import Column, ColumnProfile, FileCapture, Table

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=12)
NAMES = st.one_of(TEXTS, st.sampled_from(["no", "007", "1e5", "null", "2024-01-31", "~", "a: b", "- x", "#", "'", '"', "\u2028", "*"]))


def ordered(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    bound = st.one_of(st.none(), values)
    return st.tuples(bound, bound).map(lambda pair: pair if None in pair else tuple(sorted(pair)))


def column(type_: str | None, values: st.SearchStrategy[Any], *, bounds: bool = True) -> st.SearchStrategy[ColumnRule]:
    allowed = st.one_of(st.none(), st.lists(values, min_size=1, max_size=4).map(tuple))
    ends = ordered(values) if bounds else st.just((None, None))
    return st.builds(
        lambda required, nullable, one_of, pair: ColumnRule(required, type_, nullable, one_of, *pair),
        st.booleans(),
        st.booleans(),
        allowed,
        ends,
    )


INTEGERS = st.integers(-(2**70), 2**70)
COLUMNS = st.one_of(
    column("int64", INTEGERS),
    column(None, INTEGERS),
    column("float64", st.floats(allow_nan=False, allow_infinity=False)),
    column("string", NAMES),
    column("date", st.dates(date(1000, 1, 1)).map(date.isoformat)),
    column("boolean", st.booleans(), bounds=False),
    st.builds(ColumnRule, type=st.sampled_from(["decimal(10,2)", "list<int64>", "struct<a: string>", "timestamp with zone"])),
)
ROWS = ordered(st.integers(0, 2**62))
TABLES = st.builds(
    lambda component, sheet, required, columns, unique, rows, extra: TableRule(
        component, sheet, required, columns, unique, rows[0], rows[1], extra or columns is None
    ),
    NAMES,
    st.one_of(st.none(), NAMES),
    st.booleans(),
    st.one_of(st.none(), st.dictionaries(NAMES, COLUMNS, max_size=4)),
    st.lists(st.lists(NAMES, min_size=1, max_size=3, unique=True).map(tuple), max_size=2).map(tuple),
    ROWS,
    st.booleans(),
)
CONTRACTS = st.lists(TABLES, max_size=3).map(lambda tables: Contract(tuple(tables)))


@settings(deadline=None, max_examples=60)
@example(Contract((TableRule(component="\x85a"),)))
@given(CONTRACTS)
def test_a_contract_reads_back_from_its_yaml_and_from_its_plain_form(contract: Contract) -> None:
    assert parse(dump(contract)) == contract
    assert Contract.read(contract.plain()) == contract


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_contract_or_is_refused_with_a_sentence(text: str) -> None:
    try:
        parse(text)
    except ContractUnclear as err:
        assert str(err)  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "nothing stands where a mapping belongs (of tables)"),
        ("tables: {}", "line 1: tables: {} stands where a list of tables belongs"),
        ("tables: [\n", "this is no YAML"),
        ("tabels: []", "line 1: tabels: this is not known; did you mean 'tables'?"),
        ("tables:\n- component: a\n  zzz: red", "line 3: tables[0].zzz: this is not known: use component, sheet"),
        ("tables:\n- columns:\n    a: {typ: int64}", "line 3: tables[0].columns.a.typ: this is not known; did you mean 'type'?"),
        ("tables:\n- columns:\n    a: {type: int}", "line 3: tables[0].columns.a.type: 'int' is not a logical type; types are int64"),
        ("tables:\n- columns:\n    no: {}", "the name False is no text to YAML: write it in quotes"),
        ("tables:\n- columns:\n    a: {}\n    a: {}", "line 4: 'a' stands here for the second time, after line 3"),
        ("tables:\n- columns:\n    a: {min: 5, max: 1}", "nothing lies between 5 and 1"),
        ("tables:\n- columns:\n    a: {min: 5, max: x}", "'min' and 'max' are not of one kind"),
        ("tables:\n- columns:\n    a: {type: date, min: 5}", "5 is no value of the type date"),
        ("tables:\n- columns:\n    a: {type: string, allowed: [007]}", "7 is no value of the type string; write it in quotes"),
        ("tables:\n- columns:\n    a: {allowed: []}", "no value at all is allowed"),
        ("tables:\n- columns:\n    a: {allowed: [[1]]}", "[1] is no single value"),
        ("tables:\n- columns:\n    a: {max: .nan}", "nan is no value to compare with"),
        ("tables:\n- columns:\n    a: {max: true}", "true and false have no order"),
        ("tables:\n- columns:\n    a: {nullable: maybe}", "'maybe' stands where true or false belongs"),
        ("tables:\n- rows: {min: -1}", "-1 is no number of rows"),
        ("tables:\n- rows: {min: 2, max: 1}", "no table has 2 rows at least and 1 at most"),
        ("tables:\n- extra_columns: false", "no other columns are allowed, but none are named"),
        ("tables:\n- unique: [[a, a]]", "none of them twice"),
        ("tables:\n- component: 5", "5 is no text: write it in quotes"),
        ("tables: &x []\nmore: *x", "holds a reference"),
        ("tables:\n- columns:\n    a: {min: 2024-02-31}", "a value cannot be read"),
        ('tables:\n- component: "a\\0"', "NUL"),
        ("tables: !!python/object:os.system []", "this is no YAML"),
        ("[" * 5_000 + "]" * 5_000, "nested too deeply"),
        ("a" * 1_000_001, "1,000,000 at most"),
    ],
)
def test_a_mistake_is_refused_with_its_place_and_the_way_out(text: str, sentence: str) -> None:
    with pytest.raises(ContractUnclear) as refused:
        parse(text)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("type_", "one", "other"),
    [
        ("float64", "1.50", 1.5),
        ("int64", "5", 5),
        ("decimal(5,2)", "0.10", "0.1"),
        ("date", "2024/01/31", "2024-01-31"),
        ("timestamp", "2024-01-31", "2024-01-31T00:00:00"),
        ("timestamp with zone", "2024-01-31T12:00:00Z", "2024-01-31 14:00:00 +02:00"),
        ("time", "10:00", "10:00:00"),
        ("boolean", "TRUE", True),
    ],
)
def test_values_are_equal_as_values_of_their_type(type_: str, one: object, other: object) -> None:
    assert measure(type_, one) == measure(type_, other)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("int64", True),
        ("int64", "x"),
        ("float64", "NaN"),
        ("string", 7),
        ("date", "2024-01-31T10:00"),
        ("timestamp", "2024-01-31T10:00Z"),
        ("list<int64>", 1),
    ],
)
def test_what_is_no_value_of_a_type_has_no_measure(type_: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        measure(type_, value)


# --- judging -------------------------------------------------------------------------------------------------------------------


def capture(*columns: tuple[Column, ColumnProfile], rows: int = 3, sheet: str | None = None) -> FileCapture:
    return FileCapture.ok("csv", (Table(sheet, tuple(each for each, _ in columns), rows, {}, tuple(profile for _, profile in columns)),))


def sentences(contract: str, file: FileCapture, name: str = "a.csv") -> list[str]:
    return [breach.sentence for breach in breaches(parse(f"tables: [{contract}]"), name, file, {})]


ID = Column("id", "int64", nullable=False), ColumnProfile(0, 3, distinct_exact=True, low=1, high=9)


@pytest.mark.parametrize(
    ("contract", "expected"),
    [
        ("{columns: {id: {type: float64}}}", []),
        ("{columns: {id: {type: string}}}", ["a.csv: column 'id' is int64, and the contract asks for string"]),
        ("{columns: {id: {min: 1, max: 9}}}", []),
        ("{columns: {id: {min: 2}}}", ["a.csv: the least value of column 'id' is 1, and the contract asks for 2 at least"]),
        ("{columns: {other: }}", ["a.csv: column 'other' is missing"]),
        ("{columns: {other: {required: false}}}", []),
        ("{columns: {}, extra_columns: false}", ["a.csv: column 'id' (int64) is not in the contract, which allows no other columns"]),
        ("{unique: [id]}", []),
        ("{unique: [id, [id, more]]}", ["a.csv: column 'more' is missing"]),
        ("{rows: {min: 4}}", ["a.csv: it has 3 rows, and the contract asks for 4 at least"]),
        ("{component: 'b*', columns: {other: }}", []),
        ("{sheet: 'one'}", ["a.csv: there is no sheet 'one'"]),
    ],
)
def test_the_capture_alone_decides_what_it_can(contract: str, expected: list[str]) -> None:
    file = capture(ID)
    assert questions(parse(f"tables: [{contract}]"), "a.csv", file) == {}
    assert sentences(contract, file) == expected


def test_only_what_the_profile_leaves_open_is_asked_of_the_rows() -> None:
    unsure = Column("id", "int64", nullable=True), ColumnProfile()
    asked = questions(parse("tables: [{columns: {id: {nullable: false, min: 1, allowed: [1, 2]}}, unique: [id]}]"), "a", capture(unsure))
    (question,) = asked.values()
    assert question.unique == (("id",),)
    assert (question.columns[0][1].nulls, question.columns[0][1].low, question.columns[0][1].allowed) == (True, 1, (1, 2))
    assert Question.read(question.plain()) == question


def test_a_column_of_another_type_is_not_asked_about() -> None:
    text = Column("id", "string"), ColumnProfile()
    assert questions(parse("tables: [{columns: {id: {type: int64, min: 1, allowed: [1]}}}]"), "a", capture(text)) == {}


def test_what_no_reader_reads_breaks_the_rule_that_names_it() -> None:
    assert sentences("{component: a.csv}", FileCapture.unreadable("it is torn")) == ["a.csv cannot be read: it is torn"]
    assert sentences("{component: a.csv}", FileCapture.opaque("pdf"))[0].startswith("a.csv is no table")
    assert sentences("{component: b.csv}", FileCapture.unreadable("it is torn")) == []


def test_a_required_component_is_missed_and_an_optional_one_is_not() -> None:
    contract = parse("tables: [{component: 'a*.csv'}, {component: b.csv, required: false}]")
    assert [breach.component for breach in missing(contract, ["b.csv"])] == ["a*.csv"]
    assert missing(contract, ["a1.csv"]) == []


# --- learning ------------------------------------------------------------------------------------------------------------------


def profile(values: list[int | None]) -> ColumnProfile:
    there = [value for value in values if value is not None]
    return ColumnProfile(
        len(values) - len(there), len(set(there)), distinct_exact=True, low=min(there, default=None), high=max(there, default=None)
    )


@settings(deadline=None)
@given(
    st.dictionaries(
        NAMES.filter(lambda name: "/" not in name), st.lists(st.one_of(st.none(), st.integers(-99, 99)), max_size=6), min_size=1, max_size=4
    ),
    st.booleans(),
)
def test_a_version_keeps_what_was_learnt_from_it(files: dict[str, list[int | None]], ranges: bool) -> None:
    captures = {
        name: capture(
            (Column("n", "int64" if any(value is not None for value in values) else "null", None in values), profile(values)),
            rows=len(values),
        )
        for name, values in files.items()
    }
    contract = learn(captures, ranges=ranges)
    assert parse(dump(contract)) == contract
    assert all(questions(contract, name, file) == {} for name, file in captures.items())
    assert [breach for name, file in captures.items() for breach in breaches(contract, name, file, {})] == []
    assert missing(contract, list(captures)) == []


def test_files_of_one_layout_share_a_rule_where_a_glob_tells_them_from_the_others() -> None:
    alike = {f"orders-{day}.csv": capture(ID, rows=day * 100) for day in (1, 2, 3)}
    (rule,) = learn(alike).tables
    assert (rule.component, rule.rows_low, rule.rows_high) == ("orders-*.csv", 10, 3000)
    other = Column("x", "string"), ColumnProfile()
    mixed = learn({**alike, "orders-x.csv": capture(other)})
    assert [rule.component for rule in mixed.tables] == ["orders-1.csv", "orders-2.csv", "orders-3.csv", "orders-x.csv"]


def test_allowed_values_are_learnt_only_where_all_are_known() -> None:
    few = ColumnProfile(0, 2, distinct_exact=True, top=(("open", 5), ("paid", 4)))
    many = ColumnProfile(0, 9, distinct_exact=True, top=(("open", 5), ("paid", 4)))
    for seen, expected in ((few, ("open", "paid")), (many, None)):
        (rule,) = learn({"a.csv": capture((Column("s", "string", nullable=False), seen), rows=9)}).tables
        assert rule.rules["s"] == ColumnRule(type="string", nullable=False, allowed=expected)
