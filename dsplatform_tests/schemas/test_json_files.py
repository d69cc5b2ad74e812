"""JSON and JSON lines: the shape of all records."""

import gzip
import json
from pathlib import Path

import pytest

from dsplatform.schemas.model import FileCapture, Status
from dsplatform.schemas.readers import extract


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
