"""The three forms: what is written reads back, and never more than may be."""

import csv
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsplatform.schemas.model import Column
from dsplatform.schemas.previews.model import Cut, Form
from dsplatform.schemas.previews.writing import ArrowRows, CsvRows, JsonRows, Writer
from dsplatform_tests.schemas.previews.pages import captured, page

COLUMNS = [Column("n", "int64"), Column('s, "t"', "string")]
texts = st.text(st.characters(codec="utf-8"), max_size=8)
tables = st.lists(st.tuples(st.none() | st.integers(-(2**63), 2**63 - 1), st.none() | texts), max_size=12)


def arrays(rows: list[tuple[int | None, str | None]]) -> list[pa.Array]:
    return [pa.array([row[0] for row in rows], pa.int64()), pa.array([row[1] for row in rows], pa.string())]


@given(tables)
def test_csv_reads_back_as_what_it_was(rows: list[tuple[int | None, str | None]]) -> None:
    made = CsvRows(COLUMNS, 1 << 20, spreadsheet=False)
    assert made.add(arrays(rows)) == made.rows == len(rows)
    body = made.finish()
    header, *found = csv.reader(io.StringIO(body.decode(), newline=""), strict=True)
    assert header == ["n", 's, "t"']
    assert found == [["" if number is None else str(number), text or ""] for number, text in rows]
    assert body.endswith(b"\r\n")


def test_csv_tells_no_value_from_an_empty_text_and_never_writes_an_empty_line() -> None:
    made = CsvRows(COLUMNS, 1 << 20, spreadsheet=False)
    made.add(arrays([(None, ""), (None, None)]))
    assert made.finish().splitlines()[1:] == [b',""', b","]
    alone = CsvRows(COLUMNS[:1], 1 << 20, spreadsheet=False)
    alone.add(arrays([(None, None)])[:1])
    assert alone.finish().splitlines() == [b"n", b'""']


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "=cmd|' /C calc'!A0"])
def test_no_spreadsheet_takes_a_text_for_a_formula_where_that_is_asked(text: str) -> None:
    made = CsvRows([Column(text, "string"), Column("n", "int64")], 1 << 20, spreadsheet=True)
    made.add([pa.array([text]), pa.array([-5])])
    assert list(csv.reader(io.StringIO(made.finish().decode(), newline=""))) == [[f"'{text}", "n"], [f"'{text}", "-5"]]
    exact = CsvRows([Column(text, "string"), Column("n", "int64")], 1 << 20, spreadsheet=False)
    exact.add([pa.array([text]), pa.array([-5])])
    assert next(csv.reader(io.StringIO(exact.finish().decode(), newline=""))) == [text, "n"]


@settings(deadline=None)
@given(tables, st.sampled_from(list(Form)), st.integers(0, 2_000))
def test_no_form_is_larger_than_asked_and_what_fits_is_a_beginning(
    rows: list[tuple[int | None, str | None]], form: Form, size: int
) -> None:
    made: Writer
    least = {Form.JSON: 2, Form.CSV: 15, Form.ARROW: 1_000}[form]
    if form is Form.JSON:
        made = JsonRows(COLUMNS, least + size)
    elif form is Form.CSV:
        made = CsvRows(COLUMNS, least + size, spreadsheet=False)
    else:
        made = ArrowRows(COLUMNS, least + size)
    half = len(rows) // 2
    taken = made.add(arrays(rows[:half]))
    if taken == half:
        taken += made.add(arrays(rows[half:]))
    assert taken == made.rows
    body = made.finish()
    assert len(body) <= least + size
    assert len(read(form, body)) == taken
    if size == 2_000 and len(rows) == 1:
        assert taken == 1


def read(form: Form, body: bytes) -> list[Any]:
    match form:
        case Form.JSON:
            return json.loads(body)  # type: ignore[no-any-return]
        case Form.CSV:
            return list(csv.reader(io.StringIO(body.decode(), newline="")))[1:]
    with pyarrow.ipc.open_stream(body) as stream:
        return stream.read_all().to_pylist()  # type: ignore[no-any-return]


def test_arrow_has_the_types_of_the_schema_and_says_so() -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "t.csv")
        path.write_text("n,d,day,t,ts,s,f,b,u\n-1,1.00000000000000001,31/01/2024,10:00,2024-01-31 10:00,x,1.5,true,18446744073709551615\n")
        capture = captured(path)
        looked, body = page(path, capture, form=Form.ARROW, fine=("ts",))
        assert looked.rows == 1
        with pyarrow.ipc.open_stream(body) as stream:
            table = stream.read_all()
    assert table.schema.types == [
        pa.int64(),
        pa.decimal128(18, 17),
        pa.date32(),
        pa.time64("ns"),
        pa.timestamp("ns"),
        pa.string(),
        pa.float64(),
        pa.bool_(),
        pa.uint64(),
    ]
    assert [field.metadata[b"type"].decode() for field in table.schema] == [column.type for column in capture.tables[0].columns]
    assert table.column("day").cast(pa.string()).to_pylist() == ["2024-01-31"]


@pytest.mark.parametrize("form", list(Form))
def test_no_row_is_an_answer_too(form: Form, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("n,s\n1,a\n")
    capture = captured(path)
    for where, start in (["n = 2"], 0), ([], 1):
        looked, body = page(path, capture, where, start=start, form=form)
        assert (looked.reason, looked.rows, looked.ended) == (None, 0, True)
        assert read(form, body) == []


def test_arrow_cuts_like_the_others(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("n,s\n" + "".join(f"{n},{'x' * 100}\n" for n in range(1000)))
    capture = captured(path)
    looked, body = page(path, capture, form=Form.ARROW, size=20_000)
    assert looked.cut is Cut.SIZE
    assert len(body) <= 20_000
    assert [row["n"] for row in read(Form.ARROW, body)] == list(range(looked.rows))
    assert looked.position == looked.rows > 100


def test_nested_values_of_json_are_json_texts_in_arrow(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": {"b": 12345678901234567890}, "c": "{}"}\n')
    capture = captured(path)
    _, body = page(path, capture, form=Form.ARROW)
    with pyarrow.ipc.open_stream(body) as stream:
        table = stream.read_all()
    assert table.to_pylist() == [{"a": '{"b": 12345678901234567890}', "c": "{}"}]
    assert [b"json" in field.metadata for field in table.schema] == [True, False]
    assert json.loads(page(path, capture)[1]) == [[{"b": "12345678901234567890"}, "{}"]]
    assert page(path, capture, form=Form.CSV)[1].splitlines()[1] == b'"{""b"": ""12345678901234567890""}",{}'
