"""docs/schema_json.schema.json describes what `dsp schema --json` prints, and nothing else."""

import copy
import gzip
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from jsonschema import Draft202012Validator

from dsplatform.core.paths import shipped
from dsplatform.schemas.comparing.changes import Verdict
from dsplatform.schemas.comparing.comparison import compare
from dsplatform.schemas.model import SCHEMA_VERSION, FileCapture, VersionSchema, storable
from dsplatform.schemas.readers import extract
from dsplatform_tests.schemas.comparing.notation import schema
from dsplatform_tests.schemas.comparing.test_schema_changes import CHANGES

ROOT = Path(__file__).parents[2]
PUBLISHED = json.loads(shipped("docs/schema_json.schema.json").read_text())
CHECKER = Draft202012Validator(PUBLISHED)


def _files(folder: Path) -> list[Path]:
    """One of each format, one that is broken, one that is not read."""
    table = pa.table({"a": [1, None], "n": [{"b": [1.5]}, None], "when": pa.array([0, 1], pa.timestamp("us", "UTC"))})
    texts = {
        "plain.csv": "id,day,name,name\n007,31/01/2024,x,y\n008,28/02/2024,,z\n",
        "other.tsv": "a\tb\n1\t2\n",
        "records.json": '[{"a": 1, "s": {"b": [1, null]}}, {"a": "x"}]',
        "lines.jsonl": '{"a": 1}\n{"a": 2.5, "b": null}\n',
        "empty.csv": "a,b\n",
        "nothing.csv": "",
        "broken.parquet": "PAR1 this is none",
        "paper.pdf": "%PDF-1.7 …",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "packed.csv.gz").write_bytes(gzip.compress(b"a;b\n1;2\n"))
    (folder / "latin.csv").write_bytes("name,town\nJosé,Málaga\n".encode("cp1252"))
    pq.write_table(table, folder / "table.parquet", compression="zstd")
    with pa.OSFile(str(folder / "table.arrow"), "wb") as sink, pyarrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    book = openpyxl.Workbook()
    book.active.append(["a", "b"])
    book.active.append([1, "x"])
    for state in ("visible", "hidden", "veryHidden"):
        sheet = book.create_sheet(f"sheet {state}")
        sheet.append(["c"])
        sheet.append([2.5])
        sheet.sheet_state = state
    book.create_sheet("blank")
    book.save(folder / "book.xlsx")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FileCapture]:
    return {path.name: extract(path, path.suffix[1:], path.name) for path in _files(tmp_path_factory.mktemp("formats"))}


def test_it_is_a_json_schema_of_our_version() -> None:
    Draft202012Validator.check_schema(PUBLISHED)
    assert PUBLISHED["properties"]["schema_version"]["const"] == SCHEMA_VERSION


def test_captures_of_all_formats_are_valid(captured: dict[str, FileCapture]) -> None:
    assert {capture.format for capture in captured.values()} >= {"csv", "tsv", "json", "jsonl", "parquet", "arrow", "xlsx"}
    assert {capture.status for capture in captured.values()} == {"ok", "unreadable", "opaque"}
    plain = json.loads(json.dumps(storable(VersionSchema.compose(captured).plain())))
    assert list(CHECKER.iter_errors(plain)) == []
    assert VersionSchema.read(plain) == VersionSchema.compose(captured)


def test_schemas_without_components_and_those_of_the_agreed_changes_are_valid() -> None:
    for text in ("-", *(cell for row in CHANGES for cell in row[1:3])):
        assert list(CHECKER.iter_errors(schema(text).plain())) == []


def test_a_captured_schema_is_identical_to_itself(captured: dict[str, FileCapture]) -> None:
    assert compare(VersionSchema.compose(captured), VersionSchema.compose(captured)).verdict is Verdict.IDENTICAL


def _set(*path: str | int, to: object) -> Callable[[Any], None]:
    def change(plain: Any) -> None:
        for step in path[:-1]:
            plain = plain[step]
        plain[path[-1]] = to

    return change


def _without(*path: str | int) -> Callable[[Any], None]:
    def change(plain: Any) -> None:
        for step in path[:-1]:
            plain = plain[step]
        del plain[path[-1]]

    return change


@pytest.mark.parametrize(
    "damage",
    [
        _set("schema_version", to=2),
        _without("schema_version"),
        _without("layouts"),
        _set("more", to=1),
        _set("layouts", 0, "rows", to=1),
        _set("layouts", 0, "format", to=5),
        _without("layouts", 0, "details"),
        _set("layouts", 0, "details", "delimiter", to=[","]),
        _set("layouts", 0, "tables", 0, "rows", to=5),
        _set("layouts", 0, "tables", 0, "profile", to=[{}]),
        _set("layouts", 0, "tables", 0, "columns", 0, "type", to="varchar"),
        _set("layouts", 0, "tables", 0, "columns", 0, "type", to="int64 "),
        _set("layouts", 0, "tables", 0, "columns", 0, "type", to="list"),
        _set("layouts", 0, "tables", 0, "columns", 0, "nullable", to="yes"),
        _set("layouts", 0, "tables", 0, "columns", 0, "comment", to="x"),
        _without("layouts", 0, "tables", 0, "columns", 0, "nullable"),
        _set("components", 0, "layout", to=-1),
        _set("components", 0, "layout", to=None),
        _set("components", 0, "layout", to="csv"),
        _set("components", 0, "status", to="fine"),
        _set("components", 0, "status", to="unreadable"),
        _set("components", 0, "reason", to="it was read"),
        _set("components", 0, "rows", to=[-1]),
        _set("components", 0, "name", to=""),
        _set("components", 1, "status", to="ok"),
        _set("components", 1, "reason", to=None),
        _set("components", 1, "layout", to=0),
        _without("components", 0, "notes"),
    ],
)
def test_what_is_damaged_is_not_valid(damage: Callable[[Any], None]) -> None:
    plain = schema("x: a int64, b decimal(9,2); y: unreadable").plain()
    assert CHECKER.is_valid(plain)
    damaged = copy.deepcopy(plain)
    damage(damaged)
    assert not CHECKER.is_valid(damaged)


def test_an_installed_wheel_has_it() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"]["docs/schema_json.schema.json"] == "dsplatform/_shipped/docs/schema_json.schema.json"
