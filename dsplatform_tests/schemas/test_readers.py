"""What a file is: by its bytes, with the name as a hint."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dsplatform.schemas.model import FileCapture, Status
from dsplatform.schemas.readers import extract

TABLE = pa.table({"id": [1, 2]})


def _write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["x.parquet", "x.csv", "x"])
def test_parquet_is_known_by_its_bytes(tmp_path: Path, name: str) -> None:
    pq.write_table(TABLE, tmp_path / name, compression="zstd")
    capture = extract(tmp_path / name, "", name)
    assert (capture.format, capture.rows, capture.details) == ("parquet", 2, {"compression": "zstd"})


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
        ("x.parquet", b"PAR1 and nothing more", "it begins as Parquet does and ends otherwise"),
        ("x.arrow", b"ARROW1\x00\x00 and nothing more", "it begins as an Arrow file does and ends otherwise"),
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
