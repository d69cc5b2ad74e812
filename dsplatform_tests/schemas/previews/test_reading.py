"""Looking at rows: the same as an evaluation of our own in Python, on any page, in any format."""

# ruff: noqa: DTZ001 - timestamps without a zone are part of what is tested

import csv
import json
import math
import operator
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsplatform.schemas.model import Column, Hints
from dsplatform.schemas.previews.values import SAFE
from dsplatform_tests.schemas.previews.pages import captured, listed, paged

COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "contains": lambda value, wanted: wanted in value,
    "startswith": lambda value, wanted: value.startswith(wanted),
}
slowly = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

letters = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), min_size=1, max_size=6)
names = st.text(st.sampled_from("ab c,\"=<>'é;|"), min_size=1, max_size=5).filter(lambda name: name.strip() == name)
days = st.dates(date(1, 1, 1), date(9999, 12, 31))
moments = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))

TEXTS: dict[str, st.SearchStrategy[str]] = {
    "whole": st.integers(-(2**63), 2**64).map(str),
    "small": st.integers(-3, 3).map(str),
    "fraction": st.decimals(-999, 999, places=2).map(str).filter(lambda text: text != "-0"),
    "long": st.decimals(-(10**20), 10**20, places=6).map(lambda number: f"{number:f}"),
    "word": letters,
    "truth": st.sampled_from(["true", "false", "TRUE"]),
    "day": days.map(str),
    "german": days.map(lambda day: f"{day.day}.{day.month}.{day.year:04d}"),
    "slashed": days.map(lambda day: f"{day.year:04d}/{day.month:02d}/{day.day:02d}"),
    "clock": st.times().map(lambda time: time.isoformat()),
    "moment": moments.map(lambda moment: moment.isoformat(" ")),
    "instant": moments.map(lambda moment: f"{moment.isoformat()}Z"),
    "nothing": st.just(""),
}


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def value_of(text: str, column: Column) -> Any:
    """What a text of a delimited file is, by the docs."""
    match column.type:
        case "int64" | "uint64":
            return int(text)
        case "float64":
            return float(text)
        case "boolean":
            return text.lower() == "true"
        case "date":
            if column.format is None:
                return date.fromisoformat(text)
            mark = next(sign for sign in "/.-" if sign in column.format)
            parts = dict(zip(column.format.split(mark), map(int, text.split(mark)), strict=True))
            return date(parts["YYYY"], parts["MM"], parts["DD"])
        case "time":
            return datetime.fromisoformat(f"1970-01-01T{text}").time()
        case "timestamp":
            return datetime.fromisoformat(text)
        case "timestamp with zone":
            return datetime.fromisoformat(text).astimezone(UTC)
    return Decimal(text) if column.type.startswith("decimal") else text


def in_json(value: Any, column: Column) -> Any:
    """How the docs want a value in JSON."""
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return str(value) if abs(value) > SAFE else value
    if isinstance(value, Decimal):
        return f"{value:.{column.type.partition(',')[2].rstrip(')')}f}"
    if isinstance(value, datetime):
        text = value.replace(tzinfo=None).isoformat()
        return (text.rstrip("0") if "." in text else text) + ("Z" if value.tzinfo else "")
    if isinstance(value, str):
        return value
    text = str(value.isoformat())
    return text.rstrip("0") if "." in text else text


def asked_of(value: Any) -> str:
    """A value as a condition may write it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def signs_of(type_: str) -> list[str]:
    """The operators that a value of the type may be compared by."""
    return [*COMPARED][: {"string": 8, "boolean": 2}.get(type_, 6)]


@st.composite
def written(draw: st.DrawFn) -> tuple[list[str], list[list[str]], list[tuple[int, str, int]]]:
    """Names, rows of texts, and conditions as (column, operator, row whose value is asked for)."""
    kinds = draw(st.lists(st.sampled_from(sorted(TEXTS)), min_size=1, max_size=4))
    header = ["id", *draw(st.lists(names, min_size=len(kinds), max_size=len(kinds), unique=True).filter(lambda given: "id" not in given))]
    cells = [st.just("") | TEXTS[kind] | TEXTS[kind] for kind in kinds]
    rows = draw(st.lists(st.tuples(*cells).map(list), min_size=1, max_size=12))
    asked = st.tuples(st.integers(0, len(kinds)), st.sampled_from([*COMPARED, "is null", "is not null"]), st.integers(0, len(rows) - 1))
    return header, [[f"r{number}", *row] for number, row in enumerate(rows)], draw(st.lists(asked, max_size=3))


@slowly
@given(written(), st.integers(1, 5))
def test_a_text_file_gives_the_rows_that_an_evaluation_in_python_gives(
    table: tuple[list[str], list[list[str]], list[tuple[int, str, int]]], limit: int
) -> None:
    header, texts, asked = table
    with TemporaryDirectory() as folder:
        path = Path(folder, "t.csv")
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerows([header, *texts])
        capture = captured(path, Hints(date_order="dmy"))
        columns = capture.tables[0].columns
        if capture.details["header"] is not True or capture.tables[0].rows != len(texts) or capture.notes.get("lines_above_header"):
            return  # other tests are about what counts as a header
        names_ = [column.name for column in columns]
        values = [[None if not text else value_of(text, column) for text, column in zip(row, columns, strict=True)] for row in texts]
        where, rules = [], []
        for place, sign, row in asked:
            column, wanted = columns[place], values[row][place]
            if sign in {"is null", "is not null"}:
                where.append(f"{quoted(column.name)} {sign}")
                rules.append((place, sign, None))
            elif wanted is not None and sign in signs_of(column.type):
                where.append(f"{quoted(column.name)} {sign} {quoted(asked_of(wanted))}")
                rules.append((place, sign, wanted))

        def holds(row: list[Any]) -> bool:
            return all(
                (row[place] is None) == (sign == "is null")
                if sign.startswith("is ")
                else row[place] is not None and COMPARED[sign](row[place], wanted)
                for place, sign, wanted in rules
            )

        expected = [[in_json(value, column) for value, column in zip(row, columns, strict=True)] for row in values if holds(row)]
        hints = Hints(date_order="dmy")
        assert listed(path, capture, where, hints=hints) == expected
        assert paged(path, capture, where, limit=limit, hints=hints) == expected
        assert paged(path, capture, where, seconds=-1, hints=hints) == expected
        chosen = names_[::-1]
        assert listed(path, capture, where, columns=chosen, hints=hints) == [row[::-1] for row in expected]


ARROW: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.int8(), st.integers(-128, 127)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.float32(), st.floats(allow_nan=False, width=32)),
    (pa.decimal128(10, 2), st.decimals(-(10**7), 10**7, places=2)),
    (pa.decimal256(50, 3), st.decimals(-(10**7), 10**7, places=3)),
    (pa.string(), letters),
    (pa.large_string(), letters),
    (pa.dictionary(pa.int8(), pa.string()), st.sampled_from("abc")),
    (pa.bool_(), st.booleans()),
    (pa.date32(), days),
    (pa.time64("us"), st.times()),
    (pa.timestamp("ms"), moments.map(lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000))),
    (pa.timestamp("us", "UTC"), st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))),
]


@st.composite
def typed(draw: st.DrawFn) -> tuple[pa.Table, list[tuple[str, str, Any]]]:
    """A table, and conditions."""
    kinds = draw(st.lists(st.sampled_from(ARROW), min_size=1, max_size=4))
    rows = draw(st.integers(0, 12))
    lists = [draw(st.lists(st.none() | values, min_size=rows, max_size=rows)) for _, values in kinds]
    table = pa.table({f"c{n}": pa.array(values, type_) for n, (values, (type_, _)) in enumerate(zip(lists, kinds, strict=True))})
    asked = []
    for number, (_, values) in enumerate(kinds):
        if draw(st.booleans()):
            wanted = draw(values)
            signs = signs_of({bool: "boolean", str: "string"}.get(type(wanted), ""))
            asked.append((f"c{number}", draw(st.sampled_from(signs)), wanted))
    return table, asked


@slowly
@given(typed(), st.sampled_from(["parquet", "arrow", "stream"]), st.integers(1, 5))
def test_a_columnar_file_gives_the_rows_that_an_evaluation_in_python_gives(
    made: tuple[pa.Table, list[tuple[str, str, Any]]], kind: str, limit: int
) -> None:
    table, asked = made
    with TemporaryDirectory() as folder:
        path = Path(folder, f"t.{kind}")
        if kind == "parquet":
            pq.write_table(table, path, row_group_size=3)
        else:
            opened = pyarrow.ipc.new_file if kind == "arrow" else pyarrow.ipc.new_stream
            with opened(str(path), table.schema) as file:
                file.write_table(table.unify_dictionaries(), max_chunksize=3)
        capture = captured(path)
        columns = {column.name: column for column in capture.tables[0].columns}
        rows = [
            [in_json(row[name], column) for name, column in columns.items()]
            for row in table.to_pylist()
            if all(row[name] is not None and COMPARED[sign](row[name], wanted) for name, sign, wanted in asked)
        ]
        where = [f"{name} {sign} {quoted(asked_of(wanted))}" for name, sign, wanted in asked]
        assert listed(path, capture, where) == rows
        assert paged(path, capture, where, limit=limit) == rows


@slowly
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "a": st.none() | st.integers(-(2**64), 2**65),
                "b": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9),
                "c": st.none() | letters | st.lists(st.integers(-9, 2**60), max_size=2),
                "value": st.none() | st.booleans() | st.just({"value": 1}),
            },
        )
        | st.none(),
        min_size=1,
        max_size=9,
    ),
    st.sampled_from(["json", "jsonl"]),
    st.integers(1, 4),
)
def test_a_json_file_gives_its_records(records: list[dict[str, Any] | None], kind: str, limit: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, f"t.{kind}")
        path.write_text(json.dumps(records) if kind == "json" else "\n".join(map(json.dumps, records)) + "\n")
        capture = captured(path)
        columns = capture.tables[0].columns
        if not columns:
            return
        types = {column.name: column.type for column in columns}

        def shown(value: Any, type_: str) -> Any:
            if isinstance(value, list):
                return [shown(item, "") for item in value]
            if value is None or isinstance(value, (bool, str, dict)):
                return value
            if type_ == "float64":
                return float(value)
            return str(value) if abs(value) > SAFE or type_.startswith("decimal") or type_ == "string" else value

        if any(record for record in records):
            expected = [[shown((record or {}).get(name), type_) for name, type_ in types.items()] for record in records]
        else:
            expected = [[None] for _ in records]
        assert listed(path, capture) == expected
        assert paged(path, capture, limit=limit) == expected


@pytest.mark.parametrize(
    "records", [[{"value": 5}, {"value": {"value": 3}}], [{"value": 5}, 3], [1, None, 2], [{"value": [1]}], [[1], [2]]]
)
def test_one_column_of_the_name_value_may_be_the_records_or_a_field(records: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps(records))
    capture = captured(path)
    assert [column.name for column in capture.tables[0].columns] == ["value"]
    alone = not all(isinstance(record, dict) for record in records)
    assert listed(path, capture) == [[record if alone else record["value"]] for record in records]


def test_a_sheet_of_a_workbook(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["other"])
    book.active.append([1])
    sheet = book.create_sheet("Orders")
    for row in [["id", "when", "mixed", "gap"], [1, datetime(2024, 1, 31, 10, 0), "a", timedelta(hours=30)], [2, None, 5, None]]:
        sheet.append(row)
    path = tmp_path / "b.xlsx"
    book.save(path)
    capture = captured(path)
    assert listed(path, capture, table=1) == [[1, "2024-01-31T10:00:00", "a", "PT108000S"], [2, None, "5", None]]
    assert listed(path, capture, ["when >= 2024-01-31", "gap > 3600"], table=1, columns=["id"]) == [[1]]
