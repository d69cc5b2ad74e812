"""What only the rows can tell, of every format, in bounded memory."""

import random
import resource
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsplatform.schemas import sandbox
from dsplatform.schemas.contracts import rowchecks
from dsplatform.schemas.contracts.contract_yaml import parse
from dsplatform.schemas.contracts.judging import Answer, ColumnQuestion, Found, Question, key_name
from dsplatform.schemas.model import NO_HINTS, Hints
from dsplatform.schemas.readers import extract
from dsplatform.schemas.sandbox import Request


def asked(path: Path, question: Question, batches: Sequence[pa.RecordBatch]) -> dict[tuple[str, str], Found]:
    answer = rowchecks.answer(path, "", path.name, NO_HINTS, question, lambda *_: iter(batches))
    assert answer.reason is None, answer
    return {(rule, name): found for rule, name, found in answer.found}


def batches(rows: Sequence[Sequence[object]], names: Sequence[str], type_: pa.DataType, size: int = 3) -> list[pa.RecordBatch]:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    schema = pa.schema([(name, type_) for name in names])
    whole = pa.table([pa.array(column, type_) for column in columns], schema=schema)
    return list(whole.to_batches(max_chunksize=size))


KEYS = st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 3)), st.one_of(st.none(), st.integers(0, 2))), max_size=12)


@settings(deadline=None, max_examples=40)
@given(KEYS)
def test_keys_agree_with_counting_in_memory(rows: list[tuple[int | None, int | None]]) -> None:
    types = (("a", "int64", None), ("b", "int64", None))
    question = Question(None, types, (), (("a",), ("a", "b")))
    found = asked(Path("x"), question, batches(rows, ["a", "b"], pa.int64()))
    for key, values in ((("a",), [(a,) for a, _ in rows]), (("a", "b"), rows)):
        twice = {value: count for value, count in Counter(value for value in values if None not in value).items() if count > 1}
        mine = found.get(("unique", key_name(key)))
        assert (mine.values if mine else 0, mine.rows if mine else 0) == (len(twice), sum(twice.values()))
        if mine:
            value, count, first = mine.examples[0]
            assert count == max(twice.values())
            assert ", ".join(str(part) for part in values[first - 1]) == value


@settings(deadline=None, max_examples=40)
@given(st.lists(st.one_of(st.none(), st.integers(-5, 5)), max_size=12))
def test_values_nulls_and_ranges_agree_with_looking_at_each_row(values: list[int | None]) -> None:
    column = ColumnQuestion("int64", nulls=True, allowed=(1, 2, 3), low=0, high=2)
    found = asked(
        Path("x"), Question(None, (("a", "int64", None),), (("a", column),), ()), batches([(v,) for v in values], ["a"], pa.int64())
    )
    expected = {
        "nullable": [at for at, value in enumerate(values, 1) if value is None],
        "allowed": [at for at, value in enumerate(values, 1) if value is not None and value not in {1, 2, 3}],
        "range": [at for at, value in enumerate(values, 1) if value is not None and not 0 <= value <= 2],
    }
    for rule, rows in expected.items():
        mine = found.get((rule, "a"))
        assert (mine.rows if mine else 0) == len(rows), rule
        assert mine is None or all(first in rows for _, _, first in mine.examples)


@pytest.mark.parametrize(
    ("type_", "format_", "one", "other"),
    [
        ("float64", None, "1.5", "1.50"),
        ("decimal(9,3)", None, "1.5", "1.500"),
        ("boolean", None, "true", "TRUE"),
        ("float64", None, "0", "-0.0"),
    ],
)
def test_a_key_is_equal_where_its_values_are(type_: str, format_: str | None, one: str, other: str) -> None:
    question = Question(None, (("a", type_, format_),), (), (("a",),))
    assert asked(Path("x"), question, batches([(one,), (other,)], ["a"], pa.string()))["unique", '["a"]'].rows == 2


def test_text_that_looks_alike_is_no_equal_key() -> None:
    question = Question(None, (("a", "string", None),), (), (("a",),))
    assert asked(Path("x"), question, batches([("1",), ("1.0",), ("01",), (" 1",)], ["a"], pa.string())) == {}


def test_dates_are_compared_by_the_format_of_their_column() -> None:
    column = ColumnQuestion("date", low="2024-01-01", high="2024-12-31")
    question = Question(None, (("d", "date", "DD/MM/YYYY"),), (("d", column),), ())
    found = asked(Path("x"), question, batches([("31/01/2024",), ("31/12/2023",)], ["d"], pa.string()))
    assert found["range", "d"] == Found(1, 1, (("31/12/2023", 1, 2),))


def test_names_are_never_read_as_statements() -> None:
    name = "a\"; DROP TABLE rows; --'"
    question = Question(None, ((name, "int64", None),), ((name, ColumnQuestion("int64", nulls=True)),), ((name,),))
    found = asked(Path("x"), question, batches([(1,), (1,), (None,)], [name], pa.int64()))
    assert {rule for rule, _ in found} == {"nullable", "unique"}


def test_a_reader_that_fails_is_an_answer_with_the_reason(tmp_path: Path) -> None:
    def broken(*_: object) -> object:
        raise ValueError("torn in row 7")

    answer = rowchecks.answer(tmp_path / "x", "", "x", NO_HINTS, Question(None, (), (), ()), broken)  # type: ignore[arg-type]
    assert answer == Answer("torn in row 7")


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl", "xlsx"])
def test_a_child_answers_for_every_format(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"orders.{kind}"
    rows = [(1, "open"), (2, "paid"), (2, "lost")]
    if kind == "csv":
        path.write_text("id,status\n" + "".join(f"{number},{status}\n" for number, status in rows))
    elif kind == "jsonl":
        path.write_text("".join(f'{{"id": {number}, "status": "{status}"}}\n' for number, status in rows))
    elif kind == "parquet":
        pq.write_table(pa.table({"id": [number for number, _ in rows], "status": [status for _, status in rows]}), path)
    else:
        from openpyxl import Workbook

        book = Workbook()
        assert book.active is not None
        for row in [("id", "status"), *rows]:
            book.active.append(row)
        book.save(path)
    contract = parse("tables: [{columns: {status: {allowed: [open, paid]}}, unique: [[id]]}]")
    capture = extract(path, "", path.name)
    table = capture.tables[0].name
    question = Question(
        table,
        tuple((column.name, column.type, column.format) for column in capture.tables[0].columns),
        (("status", ColumnQuestion("string", allowed=contract.tables[0].rules["status"].allowed)),),
        contract.tables[0].unique,
    )
    (answer,) = sandbox.shared().answer([Request(path, "", path.name, NO_HINTS, question)])
    assert answer.reason is None
    assert {(rule, found.rows, found.examples[0]) for rule, _, found in answer.found} == {
        ("allowed", 1, ("lost", 1, 3)),
        ("unique", 2, ("2", 2, 2)),
    }


def test_a_child_that_dies_is_an_answer_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "COMMAND", ["/bin/false"])
    readers = sandbox.Sandbox(1)
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n")
    (answer,) = readers.answer([Request(path, "", "a.csv", NO_HINTS, Question(None, (), (), ()))])
    readers.close()
    assert "crashed" in (answer.reason or "")


def test_memory_does_not_follow_the_rows(tmp_path: Path) -> None:
    """A million different keys of 60 characters; the database on disk holds them, within its limit."""
    rng = random.Random(7)

    def many() -> object:
        for _ in range(20):
            yield pa.record_batch({"k": pa.array([f"{rng.getrandbits(240):060x}" for _ in range(50_000)])})

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    question = Question(None, (("k", "string", None),), (), (("k",),))
    answer = rowchecks.answer(tmp_path / "x", "", "x", Hints(), question, lambda *_: many())  # type: ignore[arg-type]
    assert answer == Answer(None)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 << 10  # KiB
