"""JSON and JSON lines: the shape of all records."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from dsplatform.schemas.json_files import records as json_records
from dsplatform.schemas.model import NO_HINTS, FileCapture, Status
from dsplatform.schemas.readers import NoRows, extract, rows


def _read(folder: Path, text: str | bytes, name: str = "x.jsonl") -> FileCapture:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return extract(path, "", name)


def _columns(capture: FileCapture) -> list[tuple[str, str, bool]]:
    assert capture.status is Status.OK, capture.reason
    (table,) = capture.tables
    return [(column.name, column.type, column.nullable) for column in table.columns]


def test_every_record_counts(tmp_path: Path) -> None:
    lines = [{"id": number, "price": 1.5, "on": "2026-01-31"} for number in range(30_000)] + [{"id": "x", "extra": True}]
    capture = _read(tmp_path, "\n".join(map(json.dumps, lines)))
    assert capture.rows == 30_001
    assert _columns(capture) == [
        ("id", "union<int64, string>", False),
        ("price", "float64", True),
        ("on", "string", True),
        ("extra", "boolean", True),
    ]


def test_nested_values_have_nested_types(tmp_path: Path) -> None:
    capture = _read(tmp_path, '{"o": {"k": 1, "l": [1, 2.5]}, "n": null}\n{"o": {"m": "x"}, "n": null}\n')
    assert _columns(capture) == [("o", "struct<k: int64, l: list<float64>, m: string>", False), ("n", "null", True)]


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ('{"a": 9223372036854775807}', "int64"),
        ('{"a": 9223372036854775808}', "uint64"),
        ('{"a": 1, "b": "1234567890123456789"}', "int64"),
        ('{"a": -1}\n{"a": 5}', "int64"),
        ('{"a": 1}\n{"a": 0.5}', "float64"),
        ('{"a": {}}\n{"a": {"b": 1}}', "struct<b: int64>"),
        ('{"a": 1}\n{"a": [1]}', "union<int64, list<int64>>"),
    ],
)
def test_numbers_and_shapes_widen(tmp_path: Path, text: str, type_: str) -> None:
    assert _columns(_read(tmp_path, text))[0] == ("a", type_, False)


def test_odd_names_are_kept(tmp_path: Path) -> None:
    capture = _read(tmp_path, '{"a/b~c": 18446744073709551615, "\\"quoted\\"": 1}')
    assert _columns(capture) == [("a/b~c", "uint64", False), ('"quoted"', "int64", False)]


@pytest.mark.parametrize("text", ['[{"a": 1},\n {"a": null}]', '\ufeff[{"a": 1}, {"a": null}]'])
def test_an_array_has_a_row_per_element(tmp_path: Path, text: str) -> None:
    capture = _read(tmp_path, text, "x.json")
    assert (_columns(capture), capture.rows, capture.format) == ([("a", "int64", True)], 2, "json")


def test_a_single_object_over_many_lines_is_one_row(tmp_path: Path) -> None:
    assert _read(tmp_path, '{\n "a": 1,\n "b": [1]\n}', "x.json").rows == 1


def test_lists_as_lines_are_one_column(tmp_path: Path) -> None:
    capture = _read(tmp_path, "[1, 2]\n[3]\n")
    assert (_columns(capture), capture.rows) == ([("value", "list<int64>", False)], 2)


def test_compressed_lines_are_read(tmp_path: Path) -> None:
    capture = _read(tmp_path, gzip.compress(b'{"a": 1}\n' * 9), "x.jsonl.gz")
    assert (capture.rows, capture.details["compression"]) == (9, "gzip")


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        ('{"a": 1}\n{"a":\n{"a": 3}\n', "x.jsonl", "line 2"),
        ('[{"a": 1},', "x.json", "cut off"),
        ('[{"a": 1} {"a": 2}]', "x.json", "a comma or the end of the array is missing"),
        ('{"a": 1} and more', "x.json", "line 1 is no JSON"),
    ],
)
def test_broken_json_is_unreadable_and_says_where(tmp_path: Path, text: str, name: str, reason: str) -> None:
    capture = _read(tmp_path, text, name)
    assert capture.status is Status.UNREADABLE
    assert reason in (capture.reason or "")
    assert str(tmp_path) not in (capture.reason or "")


def test_a_path_that_looks_like_a_pattern_is_one_file(tmp_path: Path) -> None:
    _read(tmp_path, '{"b": 1}', "x1.jsonl")
    assert _columns(_read(tmp_path, '{"a": 1}', "x[1]*?.jsonl")) == [("a", "int64", False)]


def test_a_name_that_stands_twice_in_a_record_is_noted_and_the_last_counts(tmp_path: Path) -> None:
    capture = _read(tmp_path, '{"a": 1}\n\n{"a": 1, "b": {"x": 1, "x": 2}, "a": "z"}\n')
    assert _columns(capture) == [("a", "union<int64, string>", False), ("b", "struct<x: int64>", True)]
    assert capture.notes == {"duplicate_names": 1, "duplicate_examples": [{"record": 2, "name": "x"}]}


def test_numbers_that_json_has_not_are_noted(tmp_path: Path) -> None:
    capture = _read(tmp_path, '{"a": NaN, "b": 1.5}\n{"a": -Infinity, "b": 1e999}\n')
    assert _columns(capture) == [("a", "float64", False), ("b", "float64", False)]
    assert capture.notes == {"not_finite_numbers": 2, "numbers_beyond_float64": 1}


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ('1\n"x"\n', [("value", "union<int64, string>", False)]),
        ('1\n{"a": null}\n', [("value", "union<int64, struct<a: null>>", False)]),
        ('null\n{"a": 1}\n', [("a", "int64", True)]),
        ("null\n", [("value", "null", True)]),
        ("{}\n{}\n", []),
        ('{"value": 1}\n{"value": {"value": 2}}\n', [("value", "union<int64, struct<value: int64>>", False)]),
    ],
)
def test_records_of_any_shape_are_rows(tmp_path: Path, text: str, columns: list[tuple[str, str, bool]]) -> None:
    capture = _read(tmp_path, text)
    assert (_columns(capture), capture.rows) == (columns, text.count("\n"))
    batches = list(rows(tmp_path / "x.jsonl", "", "x.jsonl", NO_HINTS, None))
    assert sum(batch.num_rows for batch in batches) == text.count("\n")


@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_every_encoding_of_json_is_read(tmp_path: Path, encoding: str, name: str) -> None:
    capture = _read(tmp_path, '{"é": "漢"}\n{"é": "\U0001f600"}\n'.encode(encoding), name)
    assert (_columns(capture), capture.rows) == ([("é", "string", False)], 2)
    assert capture.details["encoding"] == encoding.removesuffix("-sig")


@pytest.mark.parametrize(
    ("compress", "ending"), [(gzip.compress, "gz"), (bz2.compress, "bz2"), (lzma.compress, "xz"), (pa.Codec("zstd").compress, "zst")]
)
def test_compressed_json_is_read_and_cut_off_refused(tmp_path: Path, compress: Callable[[bytes], bytes], ending: str) -> None:
    lines = b"".join(b'{"a": %d}\n' % number for number in range(20_000))
    data = bytes(compress(lines))
    capture = _read(tmp_path, data, f"x.jsonl.{ending}")
    assert (capture.rows, _columns(capture)) == (20_000, [("a", "int64", False)])
    cut = _read(tmp_path, data[: len(data) // 2], f"x.jsonl.{ending}")
    assert cut.status is Status.UNREADABLE
    assert cut.reason


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        ('{"a": 1}\n{"a": 2', "x.jsonl", "line 2 is no JSON: the file ends inside a record, it seems to be cut off"),
        ('{"a": 1}\n{"a": "2', "x.jsonl", "cut off"),
        ('{"a": 1}\n{"a": 2}}\n', "x.jsonl", "line 2 holds more than one record, or something after it: character 9"),
        ('{"a": 1,}\n', "x.jsonl", "line 1 is no JSON: expecting property name"),
        ('[{"a": 1}', "x.json", "the array is not closed"),
        ('[{"a": 1},\n{"a"', "x.json", "line 2 is no JSON: the file ends inside a record"),
        ('[{"a": 1}]\n[]', "x.json", "line 2: something follows the end of the array"),
        ('{"a": 1}\n\n{"b": tru}', "x.json", "line 3 is no JSON: expecting value (character 7)"),
        (b'{"a": "\xff"}', "x.jsonl", "the text is not UTF-8, as JSON must be: byte 8"),
        ('{"a": 1}'.encode("utf-16")[:-1], "x.jsonl", "ends inside a character"),
        (b'{"a": ' + b"[" * 101 + b"]" * 101 + b"}", "x.jsonl", "nested deeper than 100 levels"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "x.jsonl", "line 1: values are nested deeper than 100 levels"),
        (b"[" * 100_000, "x.json", "values are nested deeper than 100 levels"),
        ('{"a": 1' + "0" * 5000 + "}", "x.jsonl", "line 1: a number has more digits than a reader takes"),
        ("  \n\n", "x.json", "nothing but blanks"),
        ("<html></html>", "x.json", "line 1 is no JSON"),
    ],
)
def test_a_file_that_is_no_json_says_where(tmp_path: Path, data: str | bytes, name: str, reason: str) -> None:
    capture = _read(tmp_path, data, name)
    assert capture.status is Status.UNREADABLE
    assert reason in (capture.reason or "")


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        ('{"a": 1}\n{"a": "' + "x" * 3000 + '"}', "x.jsonl", "line 2 is longer than"),
        ('[{"a": 1},\n{"a": "' + "x" * 3000 + '"}]', "x.json", "the record that begins in line 2 is longer than"),
    ],
)
def test_a_record_has_a_greatest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, name: str, reason: str) -> None:
    monkeypatch.setattr(json_records, "CHUNK_BYTES", 64)
    assert _read(tmp_path, data, name).rows == 2
    monkeypatch.setattr(json_records, "MAX_RECORD_CHARS", 2000)
    assert reason in (_read(tmp_path, data, name).reason or "")


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_it_does_not_matter_where_a_portion_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    texts = {
        "x.json": '[{"a": 12, "é": "x\\u00e9\U0001f600"}, {"a": 3.5e1, "é": null},\r\n {"a": -7}]\n',
        "y.json": '{"a": 12}{"a": true}\n\n12 "x" [1,\n2] null',
        "x.jsonl": '{"a": 12, "é": "漢\\n"}\r\n\n{"a": 3}\n{"a": "\u2028"}',
    }
    whole = {name: _read(tmp_path, text, name) for name, text in texts.items()}
    assert [capture.rows for capture in whole.values()] == [3, 6, 3]
    monkeypatch.setattr(json_records, "CHUNK_BYTES", chunk)
    for name, text in texts.items():
        assert _columns(_read(tmp_path, text, name)) == _columns(whole[name])
        assert _read(tmp_path, text, name).rows == whole[name].rows


def test_the_profile_counts_all_rows_also_where_the_first_ones_look_otherwise(tmp_path: Path) -> None:
    lines: list[dict[str, object]] = [
        {"id": number, "late": number, "big": number, "text": "x", "list": [number], "gone": None} for number in range(20_000)
    ]
    lines += [{"id": -5, "late": 0.5, "big": 2**63, "text": None, "list": None}, {"id": 7}]
    capture = _read(tmp_path, "\n".join(map(json.dumps, lines)))
    (table,) = capture.tables
    profile = dict(zip([column.name for column in table.columns], table.profile, strict=True))
    assert {name: found.nulls for name, found in profile.items()} == {"id": 0, "late": 1, "big": 1, "text": 2, "list": 2, "gone": 20_002}
    assert (profile["id"].low, profile["id"].high) == (-5, 19_999)
    assert (profile["late"].low, profile["late"].high) == (0, 19_999)
    assert (profile["big"].low, profile["big"].high) == (0, 2**63)
    assert profile["text"].top == (("x", 20_000),)
    assert profile["list"].examples == ("[0]", "[1]", "[2]")


def test_rows_come_under_the_captured_names_and_types(tmp_path: Path) -> None:
    lines = [{"a": 1, "b": [1], "c": 2**64, "d": "x", "e": None}, {"a": 0.5, "b": {"k": None}, "c": -1, "f": "\ud800"}]
    capture = _read(tmp_path, "\n".join(map(json.dumps, lines)))
    found = pa.Table.from_batches(rows(tmp_path / "x.jsonl", "", "x.jsonl", NO_HINTS, None))
    assert found.schema.names == [column.name for column in capture.tables[0].columns]
    assert found.to_pylist() == [
        {"a": 1.0, "b": "[1]", "c": Decimal(2**64), "d": "x", "e": None, "f": None},
        {"a": 0.5, "b": '{"k": null}', "c": Decimal(-1), "d": None, "e": None, "f": "\ufffd"},
    ]


def test_a_table_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    _read(tmp_path, '{"a": 1}')
    with pytest.raises(NoRows, match="none named 'x'"):
        rows(tmp_path / "x.jsonl", "", "x.jsonl", NO_HINTS, "x")
