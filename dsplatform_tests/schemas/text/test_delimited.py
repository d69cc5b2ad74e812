"""Delimited text: the dialect, the encoding, and that no row is lost."""

import bz2
import csv
import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsplatform.schemas.model import FileCapture, Status
from dsplatform.schemas.text import delimited
from dsplatform.schemas.text.delimited import NotDelimited, read_delimited, unique_names


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., FileCapture]:
    """Reads a text as a file named `x.csv`."""

    def run(text: str | bytes, *, encoding: str = "utf-8", hint: str = "csv", certain: bool = True) -> FileCapture:
        path = tmp_path / "x.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return read_delimited(path, hint, "none", certain=certain)

    return run


def _columns(capture: FileCapture) -> list[tuple[str, str]]:
    assert capture.status is Status.OK, capture.reason
    (table,) = capture.tables
    return [(column.name, column.type) for column in table.columns]


def test_leading_zeros_stay_text_and_empty_fields_are_null(read: Callable[..., FileCapture]) -> None:
    capture = read("customer_id,amount,on\n00042,1.50,2026-01-31\n17,,2026-02-01\n")
    assert _columns(capture) == [("customer_id", "string"), ("amount", "float64"), ("on", "date")]
    assert [column.nullable for column in capture.tables[0].columns] == [False, True, False]
    assert capture.rows == 2


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(read: Callable[..., FileCapture], delimiter: str) -> None:
    capture = read(f"name{delimiter}price{delimiter}city\nx{delimiter}1{delimiter}y\n")
    assert capture.details["delimiter"] == delimiter
    assert [name for name, _ in _columns(capture)] == ["name", "price", "city"]


def test_decimal_commas_do_not_pass_for_delimiters(read: Callable[..., FileCapture]) -> None:
    capture = read("low;high\n1,5;2,5\n3,5;4,5\n")
    assert _columns(capture) == [("low", "string"), ("high", "string")]


def test_quoted_cells_may_hold_delimiters_quotes_and_lines(read: Callable[..., FileCapture]) -> None:
    capture = read('a,b\n"x,y","say ""hi"""\n"two\nlines",3\n')
    assert (_columns(capture), capture.rows, capture.notes) == ([("a", "string"), ("b", "string")], 2, {})


@pytest.mark.parametrize("text", ["a,b\n'x,y',1\n'z',2\n", "'a','b'\n'x','1'\n"])
def test_single_quotes_are_found(read: Callable[..., FileCapture], text: str) -> None:
    capture = read(text)
    assert (capture.details["quote"], _columns(capture)) == ("'", [("a", "string"), ("b", "int64")])


def test_an_apostrophe_is_no_quote(read: Callable[..., FileCapture]) -> None:
    assert read("a,b\n't Hooft,1\nO'Neill,2\n").details["quote"] == '"'


@pytest.mark.parametrize(
    ("encoding", "told", "bom"),
    [
        ("utf-8", "utf-8", False),
        ("utf-8-sig", "utf-8", True),
        ("utf-16", "utf-16", True),
        ("utf-16-le", "utf-16-le", False),
        ("utf-16-be", "utf-16-be", False),
        ("windows-1252", "windows-1252", False),
    ],
)
@pytest.mark.parametrize("rows", [2, 30_000])
def test_the_encoding_is_found(read: Callable[..., FileCapture], encoding: str, told: str, bom: bool, rows: int) -> None:
    capture = read("straße,n\n" + "Düsseldorf,12\n" * rows, encoding=encoding)
    assert _columns(capture) == [("straße", "string"), ("n", "int64")]
    assert (capture.details["encoding"], capture.details["bom"], capture.rows) == (told, bom, rows)


def test_a_first_invalid_byte_far_down_changes_the_encoding_of_all(read: Callable[..., FileCapture]) -> None:
    capture = read(b"a,b\n" + b"x,1\n" * 100_000 + b"\xe4,2\n")
    assert (capture.details["encoding"], capture.rows) == ("windows-1252", 100_001)


def test_bytes_of_no_known_encoding_are_read_as_latin_1(read: Callable[..., FileCapture]) -> None:
    assert read(b"a,b\n\x81\xe4,2\n").details["encoding"] == "latin-1"


def test_ragged_rows_are_counted_and_named(read: Callable[..., FileCapture]) -> None:
    capture = read("a,b\n1,2\n3\n4,5,6\n7,8\n9,10\n")
    assert capture.rows == 3
    assert capture.notes == {"ragged_rows": 2, "ragged_examples": [{"line": 3, "cells": 1}, {"line": 4, "cells": 3}]}


def test_ragged_rows_of_a_big_file_are_counted_and_named(read: Callable[..., FileCapture]) -> None:
    capture = read("a,b\n" + "1,2\n" * 600_000 + "3\n" + "1,2\n" * 5)
    assert capture.rows == 600_005
    assert capture.notes == {"ragged_rows": 1, "ragged_examples": [{"line": 600_002, "cells": 1}]}


def test_a_file_of_mostly_ragged_rows_is_unreadable(read: Callable[..., FileCapture]) -> None:
    capture = read("a,b,c\n1,2\n1,2,3,4\n")
    assert capture.status is Status.UNREADABLE
    assert "2 of 2 rows do not have 3 cells" in (capture.reason or "")


@pytest.mark.parametrize("filler", [0, 100_000])
def test_a_quote_that_is_never_closed_is_unreadable(read: Callable[..., FileCapture], filler: int) -> None:
    capture = read("a,b\n" + "1,2\n" * filler + '3,"open\nfoo,bar\n')
    assert capture.status is Status.UNREADABLE
    assert capture.reason == f"a quote is opened in line {filler + 2} and never closed"


def test_an_open_quote_before_more_than_a_block_is_unreadable(read: Callable[..., FileCapture], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "BLOCKS", (1 << 16, 1 << 18))
    monkeypatch.setattr(delimited, "LARGE_BLOCK", 1 << 16)
    capture = read('a,b\n1,2\n3,"open\n' + "foo,bar\n" * 100_000)
    assert (capture.status, capture.reason) == (
        Status.UNREADABLE,
        "a quote is opened in line 3 and not closed: the row is longer than 0 MiB",
    )


def test_a_row_longer_than_a_block_is_read(read: Callable[..., FileCapture]) -> None:
    capture = read("a,b\n1," + "x" * (9 << 20) + "\n2,y\n")
    assert (_columns(capture), capture.rows) == ([("a", "int64"), ("b", "string")], 2)


def test_a_value_in_the_last_of_many_rows_decides_the_type(read: Callable[..., FileCapture]) -> None:
    capture = read("a,b\n" + "1,2\n" * 500_000 + "1,x\n")
    assert (_columns(capture), capture.rows) == ([("a", "int64"), ("b", "string")], 500_001)


def test_blank_lines_are_no_rows(read: Callable[..., FileCapture]) -> None:
    capture = read("a,b\n\n1,2\n\n\n3,4\n\n")
    assert (capture.rows, capture.notes) == (2, {"blank_lines": 4})


@pytest.mark.parametrize("text", ["\n", " \r\n", "\ufeff", "\x00\x00", "\n" * 200_000])
def test_a_file_of_blanks_is_unreadable(read: Callable[..., FileCapture], text: str) -> None:
    capture = read(text)
    assert capture.status is Status.UNREADABLE
    assert "nothing but blanks" in (capture.reason or "")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_line_end_will_do(read: Callable[..., FileCapture], end: str) -> None:
    capture = read(end.join(["a,b", "1,2", "3,4"]))
    assert (_columns(capture), capture.rows) == ([("a", "int64"), ("b", "int64")], 2)


@pytest.mark.parametrize(
    ("text", "header", "rows"),
    [
        ("1,english\n2,deutsch\n", False, 2),
        ("id,name\n1,english\n", True, 1),
        ("country,1990,1991\nDE,1.5,x\nFR,2.5,y\n", False, 3),
        ("id,2024-01-01\n1,x\n", True, 1),
        ("id,name\n", True, 0),
        ("1,2\n", False, 1),
        ("a\nb\n", True, 1),
    ],
)
def test_a_first_row_that_looks_like_the_others_is_no_header(read: Callable[..., FileCapture], text: str, header: bool, rows: int) -> None:
    capture = read(text)
    assert (capture.details["header"], capture.rows) == (header, rows)
    if not header:
        assert [name for name, _ in _columns(capture)] == ["column_1", "column_2", "column_3"][: len(_columns(capture))]


def test_lines_above_the_header_are_left_out_and_counted(read: Callable[..., FileCapture]) -> None:
    capture = read("Report of January\n\nid,name\n1,x\n2,y\n")
    assert _columns(capture) == [("id", "int64"), ("name", "string")]
    assert capture.notes == {"lines_above_header": 1}


def test_empty_and_repeated_names_are_made_unique_and_told(read: Callable[..., FileCapture]) -> None:
    capture = read("a,,a,a_2\n1,2,3,4\n")
    assert [name for name, _ in _columns(capture)] == ["a", "column_2", "a_3", "a_2"]
    assert capture.notes == {"renamed_columns": {"2": "column_2", "3": "a_3"}}


@given(st.lists(st.sampled_from(["", "a", "a_2", "a_3", "column_2", "column_1"]), max_size=8))
def test_names_become_unique_and_those_that_were_stay(given_names: list[str]) -> None:
    names, renamed = unique_names(given_names)
    assert len(set(names)) == len(names) == len(given_names)
    for position, (before, after) in enumerate(zip(given_names, names, strict=True), 1):
        assert (str(position) in renamed) == (before != after)
        if given_names.count(before) == 1 and before:
            assert before == after


def test_ten_thousand_columns_are_read(read: Callable[..., FileCapture]) -> None:
    capture = read(",".join(f"c{i}" for i in range(10_000)) + "\n" + (",".join(["7"] * 10_000) + "\n") * 20)
    assert (len(_columns(capture)), capture.rows, {type_ for _, type_ in _columns(capture)}) == (10_000, 20, {"int64"})


@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("gzip", gzip.compress),
        ("bzip2", bz2.compress),
        ("xz", lzma.compress),
        ("zstd", lambda data: pa.Codec("zstd").compress(data, asbytes=True)),
    ],
)
@pytest.mark.parametrize("rows", [3, 100_000])
def test_compressed_text_is_read(tmp_path: Path, name: str, compress: Callable[[bytes], bytes], rows: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(compress(b"a,b\n" + b"1,x\n" * rows))
    capture = read_delimited(path, "csv", name, certain=True)
    assert (capture.rows, capture.details["compression"]) == (rows, name)


@pytest.mark.parametrize("text", ["Dear all, we met.\nNothing else.\nBye, then, you.\n", "only one column\nof words\n"])
def test_prose_is_not_a_table(read: Callable[..., FileCapture], text: str) -> None:
    with pytest.raises(NotDelimited):
        read(text, hint="", certain=False)


cells = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\x00\ufeff"), max_size=6) | st.sampled_from(
    ["", "1", "-2.5", "007", "2026-01-31", "true", 'say "x"', "a,b", "two\nlines", "\u2028", "\x85"]
)


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    """Rows of equal width, at least two cells, the first of them never empty."""
    width = draw(st.integers(2, 4))
    row = st.tuples(cells.filter(bool), *[cells] * (width - 1)).map(list)
    return draw(st.lists(row, min_size=1, max_size=8))


@given(tables())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_small_file_is_read_as_a_big_one_would_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: list[list[str]]) -> None:
    written = io.StringIO()
    csv.writer(written).writerows(table)
    path = tmp_path / "x.csv"
    path.write_bytes(written.getvalue().encode())
    with monkeypatch.context() as patched:
        small = read_delimited(path, "csv", "none", certain=True)
        size = path.stat().st_size
        patched.setattr(delimited, "SAMPLE_BYTES", size)  # the sample still holds all, so that the dialect is the same
        big = read_delimited(path, "csv", "none", certain=True)
    assert small == big


@given(tables())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_rows_in_are_rows_captured_and_rows_reported(tmp_path: Path, table: list[list[str]]) -> None:
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL).writerows([[f"name {index}" for index in range(len(table[0]))], *table])
    path = tmp_path / "x.csv"
    path.write_bytes(written.getvalue().encode())
    capture = read_delimited(path, "csv", "none", certain=True)
    assert capture.status is Status.OK
    assert (capture.rows, capture.details["header"], capture.notes.keys() - {"line_ends", "untyped_columns"}) == (len(table), True, set())
