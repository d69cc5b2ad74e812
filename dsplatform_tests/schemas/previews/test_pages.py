"""What a page costs, where it ends, and what damaged files and times of any size do to it."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dsplatform.schemas.previews.model import Cut
from dsplatform.schemas.text import delimited
from dsplatform_tests.schemas.previews.pages import captured, listed, page, paged


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "csv.zst"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "shift_jis"])
def test_a_text_in_any_encoding_is_read_without_a_second_survey(
    ending: str, encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "日本" if encoding == "shift_jis" else "Müller"
    text = "id,name\r\n" + "".join(f"{number},{name}\r\n" for number in range(30_000))
    data = text.encode(encoding)
    packed = {"gz": gzip.compress, "zst": lambda raw: pa.Codec("zstd").compress(raw, asbytes=True)}.get(ending[4:], bytes)(data)
    path = tmp_path / f"t.{ending}"
    path.write_bytes(packed)
    capture = captured(path)
    monkeypatch.setattr("dsplatform.schemas.text.delimited.survey", None)
    assert listed(path, capture, ["id >= 29999"]) == [[29_999, name]]


def test_the_first_rows_of_a_large_file_cost_the_first_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,word\n" + "".join(f"{number},x{number}\n" for number in range(500_000)))
    capture = captured(path)
    read = 0

    class Counting(delimited._Marked):
        def read(self, size: int = -1, /) -> bytes:
            nonlocal read
            part = super().read(size)
            read += len(part)
            return part

    monkeypatch.setattr(delimited, "_Marked", Counting)
    monkeypatch.setattr(delimited, "BLOCKS", (64 << 10, 48 << 20))
    assert listed(path, capture, limit=2) == [[0, "x0"], [1, "x1"]]
    assert read < path.stat().st_size // 2


def test_row_groups_before_a_page_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"n": range(40), "s": [f"x{n}" for n in range(40)]}), path, row_group_size=10, compression="none")
    capture = captured(path)
    data = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(0).column(0).data_page_offset
    end = pq.ParquetFile(path).metadata.row_group(3).column(0).dictionary_page_offset
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    assert page(path, capture)[0].reason is not None
    assert listed(path, capture, start=33, limit=2) == [[33, "x33"], [34, "x34"]]


def test_nanoseconds_and_times_beyond_them_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("fine,far\n2024-01-31 10:00:00.123456789,0001-01-01 00:00:00.5\n2024-01-31,9999-12-31 23:59:59.999999\n")
    capture = captured(path)
    rows = [["2024-01-31T10:00:00.123456789", "0001-01-01T00:00:00.5"], ["2024-01-31T00:00:00", "9999-12-31T23:59:59.999999"]]
    assert listed(path, capture, fine=("fine",)) == rows
    assert listed(path, capture, ["fine > 2024-01-31T10:00:00.123456788"], fine=("fine",)) == rows[:1]
    assert listed(path, capture, ["far > 9999-12-31T23:59:59.9999985"], fine=("fine",)) == rows[1:]


def test_numbers_are_compared_exactly(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("n,d\n9223372036854775807,12345678901234567.25\n9223372036854775806,12345678901234567.26\n")
    capture = captured(path)
    assert [column.type for column in capture.tables[0].columns] == ["int64", "decimal(19,2)"]
    assert len(listed(path, capture, ["n = 9223372036854775807"])) == 1
    assert len(listed(path, capture, ["n > 9223372036854775806.5"])) == 1
    assert len(listed(path, capture, ["n < 1e300", "d < 1e300"])) == 2
    assert len(listed(path, capture, ["d <= 12345678901234567.255"])) == 1
    assert listed(path, capture, ["n = 1.5"]) == listed(path, capture, ["d > 1e30"]) == []
    assert len(listed(path, capture, ["d != 0.001"])) == 2


def test_a_page_that_is_full_of_bytes_says_so_and_the_next_one_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps({"n": n, "s": "x" * n}) + "\n" for n in range(200)))
    capture = captured(path)
    looked, body = page(path, capture, size=2_000)
    assert (looked.cut, looked.ended, looked.reason) == (Cut.SIZE, False, None)
    assert 0 < len(body) <= 2_000
    assert looked.position == looked.rows
    assert paged(path, capture, size=2_000) == [[n, "x" * n] for n in range(200)]
    assert paged(path, capture, ["n >= 100"], size=2_000) == [[n, "x" * n] for n in range(100, 200)]


def test_a_row_that_is_larger_than_a_page_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps({"n": n, "s": "x" * n}) + "\n" for n in range(1, 300, 100)))
    looked, _ = page(path, captured(path), ["n > 150"], size=150)
    assert looked.reason is not None
    assert looked.reason.startswith("row 3 alone is larger than")


def test_a_search_that_finds_little_ends_in_time_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"n": range(50_000)}), path)
    capture = captured(path)
    looked, body = page(path, capture, ["n = 49999"], seconds=-1)
    assert (looked.rows, looked.cut, looked.ended, body) == (0, Cut.TIME, False, b"[]")
    assert 0 < looked.position < 50_000
    assert paged(path, capture, ["n = 49999"], seconds=-1) == [[49_999]]


def test_a_file_whose_pages_are_damaged_gives_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"n": range(1000)}), path, compression="snappy")
    capture = captured(path)
    data = bytearray(path.read_bytes())
    data[20:400] = bytes(380)
    path.write_bytes(data)
    looked, body = page(path, capture)
    assert looked.reason
    assert str(path) not in looked.reason
    assert body == b""


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl"])
def test_rows_before_a_page_are_left_out(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{kind}"
    records = [{"n": n, "s": f"x{n}"} for n in range(30)]
    written = {"csv": "n,s\n" + "".join(f"{n},x{n}\n" for n in range(30)), "json": json.dumps(records)}
    path.write_text(written.get(kind, "\n\n".join(map(json.dumps, records))))
    capture = captured(path)
    for start in (0, 1, 7, 29, 30, 31):
        assert listed(path, capture, start=start) == [[n, f"x{n}"] for n in range(start, 30)]
