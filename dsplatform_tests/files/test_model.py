from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.core.types import ContentHash
from dsplatform.files.model import COMPRESSIONS, HEAD_BYTES, MIME_TYPES, sniff, storage_key

HASH = ContentHash("ab" * 32)


def test_a_key_is_the_contents_hash_and_the_uploads_id_in_a_folder_of_256() -> None:
    assert storage_key(HASH, UUID(int=7)) == f"ab/{HASH}.00000000000000000000000000000007"


def test_two_uploads_of_one_content_have_two_keys() -> None:
    assert storage_key(HASH, uuid4()) != storage_key(HASH, uuid4())


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", "empty"),
        (b"PAR1\x15\x04", "parquet"),
        (b"PARE\x15\x04", "parquet"),
        (b"ARROW1\x00\x00", "arrow"),
        (b"FEA1", "feather"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00", "ole"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\x28\xb5\x2f\xfd\x00", "zstd"),
        (b"BZh91AY", "bzip2"),
        (b"\xfd7zXZ\x00", "xz"),
        (b"SQLite format 3\x00", "sqlite"),
        (b"%PDF-1.7", "pdf"),
        (b"\x89PNG\r\n\x1a\n", "binary"),
        (b"a,b\x00c", "binary"),
        (b"PK\x03\x04....[Content_Types].xml", "xlsx"),
        (b"PK\x03\x04....xl/workbook.xml", "xlsx"),
        (b"PK\x03\x04....mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "ods"),
        (b"PK\x03\x04....notes.txt", "zip"),
        (b'[{"a": 1}]', "json"),
        (b'{"a": 1}\n{"a": 2}\n', "jsonl"),
        (b'{"a": 1}', "jsonl"),
        (b'{\n  "a": 1\n}', "json"),
        (b'{"a": 1}\nrest', "json"),
        (b"a,b\n1,2\n", "csv"),
        (b"a;b\n", "csv"),
        (b"a|b\n", "csv"),
        (b"a\tb\n", "tsv"),
        (b"a\tb,c,d\n", "csv"),
        (b"hello\n1,2\n", "text"),
        (b"\xef\xbb\xbfa,b\n", "csv"),
        ("a,b\n".encode("utf-16"), "csv"),
        ("a\tb\n".encode("utf-16-be").join([b"\xfe\xff", b""]), "tsv"),
        (b"\xff\xfe\x00", "text"),
        ("müde,b\n".encode("latin-1"), "csv"),
        ("名前,値\n".encode("shift-jis"), "csv"),
    ],
)
def test_the_first_bytes_show_the_kind(head: bytes, kind: str) -> None:
    assert sniff(head) == kind


@given(st.one_of(st.binary(max_size=HEAD_BYTES), st.text(max_size=200).map(lambda text: text.encode(errors="replace"))))
def test_any_beginning_has_some_kind(head: bytes) -> None:
    kind = sniff(head)
    assert (kind == "empty") == (head == b"")
    assert kind in {*MIME_TYPES, "empty", "binary"}


def test_every_compression_has_a_mime_type() -> None:
    assert set(MIME_TYPES) >= COMPRESSIONS
