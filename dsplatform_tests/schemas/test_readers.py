"""What a file is: by its bytes, with the name as a hint. And the formats that carry their schema."""

import datetime as dt
import decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from dsplatform.schemas.model import FileCapture, Status
from dsplatform.schemas.readers import arrow_type, extract

TABLE = pa.table(
    {
        "id": pa.array([1, 2], pa.int32()),
        "big": pa.array([1, 2], pa.uint64()),
        "price": pa.array([decimal.Decimal("1.50"), None], pa.decimal128(9, 2)),
        "at": pa.array([dt.datetime(2026, 1, 31, tzinfo=dt.UTC)] * 2, pa.timestamp("us", "UTC")),
        "tags": pa.array([["x"], []], pa.list_(pa.string())),
        "kind": pa.array(["a", "b"]).dictionary_encode(),
    }
)
TYPES = ["int64", "uint64", "decimal(9,2)", "timestamp with zone", "list<string>", "string"]


def _write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _types(capture: FileCapture) -> list[str]:
    assert capture.status is Status.OK, capture.reason
    return [column.type for column in capture.tables[0].columns]


@pytest.mark.parametrize("name", ["x.parquet", "x.csv", "x"])
def test_parquet_is_known_by_its_bytes(tmp_path: Path, name: str) -> None:
    pq.write_table(TABLE, tmp_path / name, compression="zstd")
    capture = extract(tmp_path / name, "", name)
    assert (capture.format, capture.rows, capture.details) == ("parquet", 2, {"compression": "zstd"})
    assert _types(capture) == TYPES


@pytest.mark.parametrize("codec", [None, "zstd"])
def test_arrow_files_are_read(tmp_path: Path, codec: str | None) -> None:
    path = tmp_path / "x.feather"
    with pyarrow.ipc.new_file(path, TABLE.schema, options=pyarrow.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(TABLE, max_chunksize=1)
    capture = extract(path, "", "x.feather")
    assert (capture.format, capture.rows) == ("arrow", 2)
    assert _types(capture) == TYPES


def test_nullability_comes_from_the_declared_schema(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False), pa.field("b", pa.int64())])
    pq.write_table(pa.table({"a": [1], "b": [2]}, schema=schema), tmp_path / "x.parquet")
    assert [column.nullable for column in extract(tmp_path / "x.parquet", "", "x.parquet").tables[0].columns] == [False, True]


@pytest.mark.parametrize(
    ("type_", "logical"),
    [
        (pa.bool_(), "boolean"),
        (pa.float16(), "float64"),
        (pa.date64(), "date"),
        (pa.time32("s"), "time"),
        (pa.timestamp("ns"), "timestamp"),
        (pa.duration("s"), "duration"),
        (pa.large_string(), "string"),
        (pa.string_view(), "string"),
        (pa.binary(4), "binary"),
        (pa.large_binary(), "binary"),
        (pa.null(), "null"),
        (pa.list_(pa.int8(), 3), "list<int64>"),
        (pa.map_(pa.string(), pa.float32()), "map<string, float64>"),
        (pa.struct([("a", pa.int8()), ("b", pa.list_(pa.date32()))]), "struct<a: int64, b: list<date>>"),
        (pa.dense_union([pa.field("a", pa.int8()), pa.field("b", pa.string())]), "union<a: int64, b: string>"),
        (pa.run_end_encoded(pa.int32(), pa.bool_()), "boolean"),
        (pa.uuid(), "binary"),
    ],
)
def test_an_arrow_type_has_this_logical_type(type_: pa.DataType, logical: str) -> None:
    assert arrow_type(type_) == logical


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("x.pdf", b"%PDF-1.7\n%\xe2\xe3", "pdf"),
        ("x.csv", b"%PDF-1.7\n%\xe2\xe3", "pdf"),
        ("x.db", b"SQLite format 3\x00\x10\x00", "sqlite"),
        ("x.zip", b"PK\x05\x06" + bytes(18), "zip"),
        ("x.bin", bytes(range(256)), "binary"),
        ("notes.md", b"# Notes\n\nDear all, we met.\n", "text"),
        ("x.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "ole"),
    ],
)
def test_kinds_that_are_not_read_are_opaque(tmp_path: Path, name: str, data: bytes, kind: str) -> None:
    capture = extract(_write(tmp_path, name, data), "binary" if kind == "binary" else "", name)
    assert (capture.status, capture.format) == (Status.OPAQUE, kind)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("x.csv", b"", "the file is empty"),
        ("x.parquet", b"PAR1 and nothing more", "Parquet"),
        ("x.arrow", b"ARROW1\x00\x00 and nothing more", ""),
        ("x.feather", b"FEA1 and nothing more", "version 1 is outdated"),
        ("x.csv.gz", b"\x1f\x8b\x08\x00 and nothing more", ""),
        ("x.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), ""),
    ],
)
def test_a_damaged_file_is_unreadable_with_a_reason(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    capture = extract(_write(tmp_path, name, data), "", name)
    assert capture.status is Status.UNREADABLE
    assert capture.reason
    assert reason in capture.reason
    assert str(tmp_path) not in capture.reason


def test_tables_of_text_need_no_ending_when_they_are_regular(tmp_path: Path) -> None:
    capture = extract(_write(tmp_path, "export", b"a;b\n1;x\n2;y\n"), "csv", "export")
    assert (capture.format, capture.rows) == ("csv", 2)


def test_tabs_make_it_tsv(tmp_path: Path) -> None:
    assert extract(_write(tmp_path, "x.tsv", b"a\tb\n1\tx, y, z\n"), "tsv", "x.tsv").format == "tsv"


def test_a_want_of_memory_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def starve(*_: object, **__: object) -> FileCapture:
        raise MemoryError

    monkeypatch.setattr("dsplatform.schemas.readers.read_delimited", starve)
    capture = extract(_write(tmp_path, "x.csv", b"a,b\n"), "csv", "x.csv")
    assert (capture.status, capture.reason) == (Status.UNREADABLE, "reading needs more memory than a reader may use")
