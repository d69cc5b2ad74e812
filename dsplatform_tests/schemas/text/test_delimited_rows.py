"""Delimited text that is not as it should be: nothing is dropped without a word, and the rows that come are the rows that were counted."""

import csv
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsplatform.schemas import compression
from dsplatform.schemas.compression import Bomb, only_member, opened
from dsplatform.schemas.model import NO_HINTS, FileCapture, Hints, Json, Status
from dsplatform.schemas.readers import extract
from dsplatform.schemas.text import delimited
from dsplatform.schemas.text.delimited import delimited_rows, read_delimited

anyhow = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def _read(folder: Path, text: str | bytes, hints: Hints = NO_HINTS) -> FileCapture:
    path = folder / "x.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_delimited(path, "csv", "none", hints, certain=True)


def _as_big(folder: Path, text: str, patch: pytest.MonkeyPatch) -> FileCapture:
    """The same by way of pyarrow; the sample still holds all, so that the dialect is the same."""
    with patch.context() as patched:
        patched.setattr(delimited, "SAMPLE_BYTES", len(text.encode()))
        return _read(folder, text)


def _rows(folder: Path, hints: Hints = NO_HINTS) -> Iterator[dict[str, str | None]]:
    for batch in delimited_rows(folder / "x.csv", "csv", "none", hints):
        yield from batch.to_pylist()


def test_the_first_twenty_rows_that_do_not_fit_are_named(tmp_path: Path) -> None:
    odd = {number: [1, 3][number % 2] for number in range(2, 90, 3)}
    lines = [",".join("x" * odd.get(number, 2)) for number in range(1, 101)]
    capture = _read(tmp_path, "\n".join(["h,i", *lines]))
    expected: list[Json] = [{"line": number + 1, "cells": cells} for number, cells in odd.items()]
    assert (capture.rows, capture.notes["ragged_rows"]) == (100 - len(odd), len(odd))
    assert capture.notes["ragged_examples"] == expected[:20]


def test_lines_are_those_of_the_file_also_behind_cells_of_several_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'title\n\nh,i\n"two\nlines",1\n\n3\n' + "1,2\n" * 30
    for capture in (_read(tmp_path, text), _as_big(tmp_path, text, monkeypatch)):
        assert capture.notes == {
            "lines_above_header": 1,
            "blank_lines": 1,
            "ragged_rows": 1,
            "ragged_examples": [{"line": 7, "cells": 1}],
        }


pieces = st.sampled_from(["a", "1", ",", ",", "\n", '"', '""', ',"', '",', "\r\n", "\r", " ", "é", "\x00"])


@given(st.lists(pieces, max_size=30).map("".join))
@anyhow
def test_whatever_the_text_small_and_big_files_are_read_alike_and_no_row_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    text = f"h1,h2\n{body}\n"
    capture = _read(tmp_path, text)
    assert capture == _as_big(tmp_path, text, monkeypatch)
    rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    if capture.status is Status.OK:
        ragged = capture.notes.get("ragged_rows", 0)
        assert isinstance(ragged, int)
        assert isinstance(capture.rows, int)
        if "lines_above_header" not in capture.notes:
            assert capture.rows + ragged + bool(capture.details["header"]) == len(rows)
        assert len(list(_rows(tmp_path))) == capture.rows
    else:
        assert capture.reason


@given(st.lists(st.lists(st.text("ab,\"\n\r'é ", max_size=4), min_size=2, max_size=2).filter(any), max_size=8))
@anyhow
def test_the_rows_are_those_that_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: list[list[str]]) -> None:
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL).writerows([["name", ""], *table])
    text = written.getvalue()
    capture = _read(tmp_path, text)
    expected = [{"name": first or None, "column_2": second or None} for first, second in table]
    assert list(_rows(tmp_path)) == expected
    with monkeypatch.context() as patched:
        patched.setattr(delimited, "SAMPLE_BYTES", len(text.encode()))
        assert list(_rows(tmp_path)) == expected
    assert capture.rows == len(table)


def test_rows_of_a_big_file_come_in_their_order_without_those_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "BLOCKS", (1 << 16, 1 << 20))
    long = "y" * (1 << 17)  # the second block is needed when many rows have been given already
    lines = [f"{number},x" for number in range(40_000)]
    lines[30_000] = f"30000,{long}"
    lines[20_000] = "one cell"
    capture = _read(tmp_path, "n,t\n" + "\n".join(lines))
    assert [row["n"] for row in _rows(tmp_path)] == [str(number) for number in range(40_000) if number != 20_000]
    assert (capture.rows, capture.notes["ragged_rows"]) == (39_999, 1)
    assert capture.tables[0].profile[0].distinct == pytest.approx(39_999, rel=0.08)
    assert capture.tables[0].profile[1].top == (("x", 39_998), ("y" * 100, 1))


def test_mixed_line_ends_are_noted(tmp_path: Path) -> None:
    capture = _read(tmp_path, "a,b\r\n1,2\n3,4\r")
    assert (capture.rows, capture.notes) == (2, {"line_ends": {"CRLF": 1, "LF": 1, "CR": 1}})
    assert _read(tmp_path, "a,b\r\n1,2\r\n").notes == {}


def test_nul_bytes_are_counted_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a,b\n1,x\x00y\n2,\x00\n"
    for capture in (_read(tmp_path, text), _as_big(tmp_path, text, monkeypatch)):
        assert (capture.rows, capture.notes) == (2, {"nul_bytes": 2})
        assert capture.tables[0].profile[1].examples == ("x\x00y", "\x00")


def test_a_file_that_trails_off_into_nul_bytes_says_so(tmp_path: Path) -> None:
    capture = _read(tmp_path, b"a,b\n1,2\n3,4\n" + bytes(4096))
    assert (capture.rows, capture.notes["nul_bytes"], capture.notes["ragged_rows"]) == (2, 4096, 1)


@pytest.mark.parametrize("lines_before", [0, 3])
def test_a_line_that_is_too_long_is_refused_by_its_number(tmp_path: Path, lines_before: int) -> None:
    capture = _read(tmp_path, b"a,b\n" * lines_before + b"x" * (60 << 20))
    assert (capture.status, capture.reason) == (Status.UNREADABLE, f"line {lines_before + 1} is longer than 48 MiB")


def test_an_open_quote_is_found_behind_cells_that_were_closed(tmp_path: Path) -> None:
    capture = _read(tmp_path, 'a,b\n"1\n2","""3"\n"4\n5","open\nx,y\n')
    assert capture.reason == "a quote is opened in line 5 and never closed"


@pytest.mark.parametrize("rows", [5, 20_000])
def test_blank_lines_are_counted_but_not_those_inside_of_quotes(tmp_path: Path, rows: int) -> None:
    for quoted, width in ((True, 1), (False, 1), (True, 2), (False, 2)):
        cell = '"x\n\ny"' if quoted else "x"
        text = ("h,i\n" if width == 2 else "h\n") + (f"{cell}{',1' * (width - 1)}\n" * rows + "\n") * 2
        capture = _read(tmp_path, text)
        assert (capture.rows, capture.notes) == (2 * rows, {"blank_lines": 2})


def test_hints_name_the_delimiter_the_encoding_and_the_order_of_dates(tmp_path: Path) -> None:
    text = "größe^am\n1^01/02/2024\n"
    capture = _read(tmp_path, text.encode("cp850"), Hints(delimiter="^", encoding="cp850", date_order="dmy"))
    assert [(column.name, column.type, column.format) for column in capture.tables[0].columns] == [
        ("größe", "int64", None),
        ("am", "date", "DD/MM/YYYY"),
    ]
    assert (capture.details["delimiter"], capture.details["encoding"], capture.notes) == ("^", "cp850", {})


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("rows", [2, 50_000])
def test_a_zip_with_one_table_is_read_as_that_table(tmp_path: Path, rows: int) -> None:
    path = _zip(tmp_path / "x.zip", {"folder/": b"", "folder/data.tsv": b"a\tb,c\n" + b"1\t2\n" * rows, "__MACOSX/._data.tsv": b"?"})
    assert only_member(path) == "folder/data.tsv"
    capture = extract(path, "zip", "x.zip")
    assert (capture.status, capture.format, capture.rows) == (Status.OK, "tsv", rows)
    assert capture.details["compression"] == "zip"


@pytest.mark.parametrize("members", [{}, {"a.csv": b"a,b\n1,2\n", "b.csv": b"a,b\n1,2\n"}, {"x.exe": b"MZ\x00\x01\x02" * 50}])
def test_other_zips_are_stored_and_not_read(tmp_path: Path, members: dict[str, bytes]) -> None:
    assert extract(_zip(tmp_path / "x.zip", members), "zip", "x.zip").status is Status.OPAQUE


def test_what_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "FREE_BYTES", 1 << 20)
    monkeypatch.setattr(compression, "MOST_TIMES", 100)
    path = _zip(tmp_path / "x.zip", {"x.csv": b"a,b\n" + b"1,2\n" * 2_000_000})
    capture = extract(path, "zip", "x.zip")
    assert (capture.status, "unpacks to more than" in (capture.reason or "")) == (Status.UNREADABLE, True)
    with pytest.raises(Bomb), opened(path, "zip") as stream:
        while stream.read(1 << 16):
            pass


def test_a_table_of_many_columns_is_read_as_others_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [",".join(map(str, range(number, number + 300))) for number in range(700)]
    lines[300], lines[500] = "ragged", ""
    text = ",".join(f"c{number}" for number in range(300)) + "\n" + "\n".join(lines)
    monkeypatch.setattr(delimited, "CELLS", 3000)
    capture = _read(tmp_path, text)
    assert (capture.rows, capture.notes["blank_lines"], capture.notes["ragged_rows"]) == (698, 1, 1)
    assert capture.notes["ragged_examples"] == [{"line": 302, "cells": 1}]
    assert [row["c1"] for row in _rows(tmp_path)] == [str(number + 1) for number in range(700) if number not in {300, 500}]
    monkeypatch.setattr(delimited, "WIDE", 1000)
    other = _read(tmp_path, text)
    assert (other.rows, other.notes, other.tables[0].columns) == (capture.rows, capture.notes, capture.tables[0].columns)
    assert other.tables[0].profile[7].distinct == capture.tables[0].profile[7].distinct == 698
    monkeypatch.undo()
    assert _read(tmp_path, text + '\n"open\n' + "x\n" * 10).reason == "a quote is opened in line 702 and never closed"
