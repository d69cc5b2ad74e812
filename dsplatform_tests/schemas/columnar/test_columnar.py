"""Parquet and Arrow: the schema that a file carries, and footers that lie."""

import datetime as dt
import decimal
import struct
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from dsplatform.schemas.columnar import parquet_footer
from dsplatform.schemas.columnar.reading import logical_type
from dsplatform.schemas.logical import LogicalType
from dsplatform.schemas.model import NO_HINTS, ColumnProfile, FileCapture, Status
from dsplatform.schemas.readers import extract, rows

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


def _capture(path: Path) -> FileCapture:
    return extract(path, "", path.name)


def _types(capture: FileCapture) -> list[str]:
    assert capture.status is Status.OK, capture.reason
    return [column.type for column in capture.tables[0].columns]


def _profile(capture: FileCapture, name: str) -> ColumnProfile:
    (table,) = capture.tables
    return table.profile[[column.name for column in table.columns].index(name)]


def _parquet(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _arrow(table: pa.Table, *, stream: bool, codec: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    opened = pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file
    with opened(sink, table.schema, options=pyarrow.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(table, max_chunksize=1)
    data: bytes = sink.getvalue().to_pybytes()
    return data


@pytest.mark.parametrize(
    ("type_", "logical"),
    [
        (pa.bool_(), "boolean"),
        (pa.uint8(), "int64"),
        (pa.uint32(), "int64"),
        (pa.uint64(), "uint64"),
        (pa.float16(), "float64"),
        (pa.decimal32(5, 2), "decimal(5,2)"),
        (pa.decimal256(50, -2), "decimal(50,-2)"),
        (pa.date64(), "date"),
        (pa.time32("s"), "time"),
        (pa.timestamp("ns"), "timestamp"),
        (pa.timestamp("ns", "Europe/Berlin"), "timestamp with zone"),
        (pa.duration("s"), "duration"),
        (pa.month_day_nano_interval(), "duration"),
        (pa.large_string(), "string"),
        (pa.string_view(), "string"),
        (pa.binary(4), "binary"),
        (pa.large_binary(), "binary"),
        (pa.binary_view(), "binary"),
        (pa.null(), "null"),
        (pa.list_(pa.int8(), 3), "list<int64>"),
        (pa.large_list(pa.int8()), "list<int64>"),
        (pa.list_view(pa.int8()), "list<int64>"),
        (pa.map_(pa.string(), pa.float32()), "map<string, float64>"),
        (pa.struct([("a", pa.int8()), ("b", pa.list_(pa.date32()))]), "struct<a: int64, b: list<date>>"),
        (pa.struct([("a b", pa.int8()), ("list", pa.int8())]), 'struct<"a b": int64, "list": int64>'),
        (pa.struct([]), "struct<>"),
        (pa.dense_union([pa.field("a", pa.int8()), pa.field("b", pa.string())]), "union<int64, string>"),
        (pa.run_end_encoded(pa.int32(), pa.bool_()), "boolean"),
        (pa.dictionary(pa.int8(), pa.list_(pa.int8())), "list<int64>"),
        (pa.uuid(), "string"),
        (pa.json_(), "string"),
        (pa.opaque(pa.binary(), "geometry", "x"), "binary"),
    ],
)
def test_an_arrow_type_has_this_logical_type(type_: pa.DataType, logical: str) -> None:
    assert str(logical_type(type_)) == logical
    assert LogicalType.parse(logical) == logical_type(type_)


@pytest.mark.parametrize("codec", [None, "zstd", "lz4"])
@pytest.mark.parametrize("stream", [False, True])
def test_arrow_files_and_streams_are_read(tmp_path: Path, codec: str | None, *, stream: bool) -> None:
    path = tmp_path / "x.feather"
    path.write_bytes(_arrow(TABLE, stream=stream, codec=codec))
    capture = _capture(path)
    assert (capture.format, capture.rows) == ("arrow", 2)
    assert capture.details == {"layout": "stream" if stream else "file"}
    assert _types(capture) == TYPES
    assert "end_marker" not in capture.notes
    assert pa.Table.from_batches(rows(path, "", "x.feather", NO_HINTS, None)) == TABLE


def test_an_arrow_file_without_columns_has_rows(tmp_path: Path) -> None:
    path = tmp_path / "x.arrow"
    with pyarrow.ipc.new_file(path, pa.schema([])) as writer:
        writer.write_batch(pa.RecordBatch.from_struct_array(pa.array([{}] * 5, pa.struct([]))))
    assert (_capture(path).rows, _types(_capture(path))) == (5, [])


def test_nullability_comes_from_the_declared_schema(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False), pa.field("b", pa.int64())])
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [1], "b": [2]}, schema=schema), path)
    assert [column.nullable for column in _capture(path).tables[0].columns] == [False, True]


def test_types_that_arrow_has_not_are_called_as_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    duckdb.sql(
        f"COPY (SELECT INTERVAL 1 DAY a, uuid() b, '{{}}'::JSON c, {{'x y': 1::UTINYINT}} d, MAP{{'k': DATE '2026-01-31'}} e)"
        f" TO '{path}' (FORMAT parquet)"
    )
    assert _types(_capture(path)) == ["duration", "string", "string", 'struct<"x y": int64>', "map<string, date>"]


def test_two_columns_of_one_name_get_two(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), path)
    capture = _capture(path)
    assert [column.name for column in capture.tables[0].columns] == ["a", "a_2"]
    assert capture.notes["renamed_columns"] == {"2": "a_2"}
    assert [batch.to_pylist() for batch in rows(path, "", "x.parquet", NO_HINTS, None)] == [[{"a": 1, "a_2": 2}]]


def test_metadata_is_shown_in_short(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    metadata = {"source": "sensor 7", "long": "x" * 100_000, "pandas": "{}" * 100, b"\xff": b"\x00\xff"}
    pq.write_table(TABLE.replace_schema_metadata(metadata), path)
    shown = _capture(path).notes["metadata"]
    assert isinstance(shown, dict)
    assert (shown["source"], shown["pandas"], shown["\ufffd"]) == ("sensor 7", "(200 bytes)", "\x00\ufffd")
    assert str(shown["long"]).endswith("x… (100000 bytes)")
    assert sum(len(str(value)) for value in shown.values()) < 1000
    pq.write_table(TABLE.replace_schema_metadata({f"k{number}": "v" for number in range(60)}), path)
    shown = _capture(path).notes["metadata"]
    assert isinstance(shown, dict)
    assert (len(shown), shown["…"]) == (51, "and 11 more")


def test_the_profile_is_what_the_row_groups_say_together(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    columns = {
        "number": pa.array([3, None, -1, 2**62]),
        "unsigned": pa.array([1, 2**64 - 1, None, None], pa.uint64()),
        "float": pa.array([0.5, -0.5, None, 7.0]),
        "nan": pa.array([1.0, 2.0, float("nan"), float("nan")]),
        "infinite": pa.array([1.0, 2.0, 3.0, float("inf")]),
        "text": pa.array(["b", "é", None, "a"]),
        "day": pa.array([dt.date(2026, 1, 31), dt.date(1, 1, 1), None, None]),
        "at": pa.array([1, None, 1_700_000_000_123_456_789, None], pa.timestamp("ns")),
        "zoned": pa.array([0, 1, 2, 3], pa.timestamp("ms", "Asia/Tokyo")),
        "clock": pa.array([1, 2, 3, 4], pa.time32("ms")),
        "price": pa.array([decimal.Decimal("1.50"), decimal.Decimal(-2), None, None], pa.decimal128(9, 2)),
        "flag": pa.array([True, False, None, True]),
        "none": pa.array([None] * 4, pa.int64()),
        "far": pa.array([2**61, 0, 0, 0], pa.timestamp("us")),
        "bytes": pa.array([b"a", None, b"b", b"c"]),
        "list": pa.array([[1], None, [], [2]]),
    }
    pq.write_table(pa.table(columns), path, row_group_size=2)
    capture = _capture(path)
    assert capture.notes["row_groups"] == 2
    found = {name: (_profile(capture, name).nulls, _profile(capture, name).low, _profile(capture, name).high) for name in columns}
    assert found == {
        "number": (1, -1, 2**62),
        "unsigned": (2, 1, 2**64 - 1),
        "float": (1, -0.5, 7.0),
        "nan": (0, None, None),
        "infinite": (0, None, None),
        "text": (1, "a", "é"),
        "day": (2, "0001-01-01", "2026-01-31"),
        "at": (2, "1970-01-01 00:00:00.000000001", "2023-11-14 22:13:20.123456789"),
        "zoned": (0, "1970-01-01 00:00:00.000Z", "1970-01-01 00:00:00.003Z"),
        "clock": (0, "00:00:00.001", "00:00:00.004"),
        "price": (2, "-2.00", "1.50"),
        "flag": (1, "false", "true"),
        "none": (4, None, None),
        "far": (0, None, None),
        "bytes": (1, None, None),
        "list": (None, None, None),
    }
    assert _profile(capture, "number").distinct is None


def test_statistics_of_one_row_group_that_lack_leave_the_column_without(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": ["x", "y" * 5000], "b": [1, 2]}), path, row_group_size=1)  # of long texts none are written
    assert _profile(_capture(path), "a") == ColumnProfile(nulls=0)
    pq.write_table(pa.table({"a": ["x", None], "b": [1, 2]}), path, write_statistics=["b"])
    assert _profile(_capture(path), "a") == ColumnProfile()
    assert _profile(_capture(path), "b") == ColumnProfile(nulls=0, low=1, high=2)


def test_texts_of_writers_that_cut_them_are_no_extremes(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": ["x", "y"]}), path)
    assert _profile(_capture(path), "a").low == "x"
    path.write_bytes(path.read_bytes().replace(b"parquet-cpp-arrow", b"parquet-rs  arrow"))
    assert _profile(_capture(path), "a") == ColumnProfile(nulls=0)


def test_old_timestamps_of_96_bits_have_no_extremes(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": pa.array([1, None], pa.timestamp("ns"))}), path, use_deprecated_int96_timestamps=True)
    assert _types(_capture(path)) == ["timestamp"]
    assert _profile(_capture(path), "a").low is None


def test_a_very_long_footer_has_no_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [1, 2]}), path, row_group_size=1)
    monkeypatch.setattr(parquet_footer, "STATISTICS_CHUNKS", 1)
    assert _capture(path).tables[0].profile == ()
    assert _capture(path).rows == 2


SMALL = _parquet(pa.table({"a": [1, 2, 3]}))
OTHER = _parquet(TABLE, row_group_size=1, write_page_index=True)
LARGE = _parquet(pa.table({"a": range(5000)}), compression="none", use_dictionary=False)


def _said(data: bytes, before: bytes, after: bytes) -> bytes:
    """The same with another footer."""
    length = struct.unpack("<I", data[-8:-4])[0]
    footer = data[-8 - length : -8]
    assert footer.count(before) >= 1
    return data[: -8 - length] + footer.replace(before, after) + data[-8:]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (SMALL[:-1], "it was cut off"),
        (SMALL[: len(SMALL) // 2], "it was cut off"),
        (SMALL + b"\n", "something was appended"),
        (SMALL[:-4] + b"PARE", "it is encrypted"),
        (b"PARE" + SMALL[4:], "it is encrypted"),
        (SMALL[:-8] + b"\xff\xff\xff\x7fPAR1", "claims a footer of 2147483647 bytes"),
        (b"PAR1" + SMALL[len(SMALL) // 2 :], ""),
        (SMALL + SMALL, "put together"),
        (LARGE + SMALL, "put together"),
        (SMALL + LARGE, "put together"),
        (OTHER + OTHER, "put together"),
        (SMALL + OTHER, "put together"),
    ],
)
def test_a_parquet_file_that_is_not_whole_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(data)
    capture = _capture(path)
    assert capture.status is Status.UNREADABLE
    assert reason in (capture.reason or "")
    assert str(tmp_path) not in (capture.reason or "")


def test_what_only_looks_like_a_seam_is_none(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [b"PAR1PAR1" * 100]}), path, compression="none", use_dictionary=False, write_page_index=True)
    assert _capture(path).rows == 1


def test_a_footer_that_contradicts_its_row_groups_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(SMALL)
    rows_ = pq.read_metadata(path).num_rows
    assert rows_ == 3
    path.write_bytes(_said(SMALL, b"\x16\x06\x19\x1c\x19", b"\x16\x08\x19\x1c\x19"))  # num_rows: 4 instead of 3, zigzag
    assert _capture(path).reason == "its footer contradicts itself: 4 rows in all, 3 in its row groups"


def test_chunks_beyond_the_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    length = struct.unpack("<I", LARGE[-8:-4])[0]
    path.write_bytes(b"PAR1" + LARGE[-8 - length :])
    assert "its footer lies: column 1 of row group 1 would be the bytes" in (_capture(path).reason or "")


def test_a_summary_of_other_files_has_no_rows_of_its_own(tmp_path: Path) -> None:
    collected: list[pq.FileMetaData] = []
    pq.write_to_dataset(TABLE, tmp_path / "parts", metadata_collector=collected)
    pq.write_metadata(TABLE.schema, tmp_path / "_metadata", collected)
    capture = _capture(tmp_path / "_metadata")
    assert capture.status is Status.UNREADABLE
    assert "it is a summary of other files, such as" in (capture.reason or "")
    pq.write_metadata(TABLE.schema, tmp_path / "_common_metadata")
    assert (_capture(tmp_path / "_common_metadata").rows, _types(_capture(tmp_path / "_common_metadata"))) == (0, TYPES)


@pytest.mark.parametrize("plaintext", [False, True])
def test_encrypted_parquet_is_refused(tmp_path: Path, *, plaintext: bool) -> None:
    encryption = pytest.importorskip("pyarrow.parquet.encryption")

    class NoSecret(encryption.KmsClient):  # type: ignore[misc, name-defined]
        def __init__(self, _: object) -> None:
            super().__init__()

        def wrap_key(self, key_bytes: bytes, _: str) -> bytes:
            return key_bytes.hex().encode()

    factory = encryption.CryptoFactory(NoSecret)
    configuration = encryption.EncryptionConfiguration(footer_key="f", column_keys={"c": ["id"]}, plaintext_footer=plaintext)
    properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), configuration)
    path = tmp_path / "x.parquet"
    with pq.ParquetWriter(path, TABLE.schema, encryption_properties=properties) as writer:
        writer.write_table(TABLE)
    capture = _capture(path)
    assert capture.status is Status.UNREADABLE
    assert "encrypted" in (capture.reason or "")
    assert "write it without encryption" in (capture.reason or "")


FILE, STREAM = _arrow(TABLE, stream=False), _arrow(TABLE, stream=True)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (FILE[:-1], "it was cut off"),
        (FILE[:-300], "it was cut off"),
        (FILE + b"\n", "something was appended"),
        (FILE + FILE, "several files were put together"),
        (FILE[:-10] + b"\xff\xff\xff\x7fARROW1", "claims a footer of 2147483647 bytes"),
        (STREAM + STREAM, "bytes follow the end of the stream"),
        (STREAM[: len(STREAM) - 20], ""),
        (STREAM[:100], ""),
        (b"FEA1" + bytes(100), "Feather version 1 is outdated"),
    ],
)
def test_an_arrow_file_that_is_not_whole_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "x.arrow"
    path.write_bytes(data)
    capture = _capture(path)
    assert capture.status is Status.UNREADABLE
    assert reason in (capture.reason or "")


def test_a_stream_without_its_end_marker_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.arrows"
    path.write_bytes(STREAM[:-8])
    capture = _capture(path)
    assert capture.rows == 2
    assert "cut off" in str(capture.notes["end_marker"])


def test_an_arrow_footer_that_leaves_out_a_batch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.arrow"
    two, three = (_arrow(pa.concat_tables([TABLE[:1]] * count), stream=False) for count in (2, 3))
    footers = [struct.unpack("<i", data[-10:-6])[0] + 10 for data in (two, three)]
    path.write_bytes(three[: -footers[1]] + two[-footers[0] :])
    assert _capture(path).reason == "its footer tells of 2 rows in 2 batches, the file begins with 3 in 3"


@pytest.mark.parametrize("searched", [True, False])
def test_without_the_search_for_a_seam_rows_are_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, searched: bool) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(SMALL + SMALL)
    if not searched:
        monkeypatch.setattr(parquet_footer, "_seam", lambda *_: False)
    assert _capture(path).rows == (None if searched else 3)
