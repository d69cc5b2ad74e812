"""What bytes are: the encoding in the order of the specification, line ends, NUL bytes, lines too long to read."""

import codecs
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.schemas.model import NO_HINTS, Hints
from dsplatform.schemas.text import encodings
from dsplatform.schemas.text.encodings import Survey, display, in_utf8, survey

JAPANESE = "名前,年齢,都市\n山田太郎,25,東京\n鈴木花子,31,大阪\n"
CHINESE = "姓名,年龄,城市\n张伟,25,北京\n王芳,31,上海\n李娜,28,广州\n"
KOREAN = "이름,나이,도시\n김철수,25,서울\n이영희,31,부산\n"
# ruff: noqa: RUF001 - letters of other scripts are what this is about
RUSSIAN = "имя,возраст,город\nИван,25,Москва\nМария,31,Казань\n"
GREEK = "όνομα,πόλη\nΓιώργος,Αθήνα\nΜαρία,Πάτρα\n"


def _survey(data: bytes, hints: Hints = NO_HINTS, limit: int = 1 << 20) -> Survey:
    return survey(lambda: io.BytesIO(data), hints, limit)


@pytest.mark.parametrize(
    ("text", "encoding", "told", "bom", "guessed"),
    [
        ("a,é\n", "utf-8", "utf-8", False, False),
        ("a,é\n", "utf-8-sig", "utf-8", True, False),
        ("a,é\n", "utf-16", "utf-16", True, False),
        ("a,é\n", "utf-32", "utf-32", True, False),
        ("abc,def\n", "utf-16-le", "utf-16-le", False, False),
        ("abc,def\n", "utf-16-be", "utf-16-be", False, False),
        (JAPANESE, "shift_jis", "shift_jis", False, True),
        (JAPANESE, "euc_jp", "euc_jp", False, True),
        (CHINESE, "gb18030", "gb18030", False, True),
        (KOREAN, "euc_kr", "euc_kr", False, True),
        (RUSSIAN, "windows-1251", "windows-1251", False, True),
        (RUSSIAN, "koi8-r", "koi8-r", False, True),
        (GREEK, "windows-1253", "windows-1253", False, True),
        ("straße,n\nDüsseldorf,12\n", "windows-1252", "windows-1252", False, True),
        ("nom,prénom\nFrançois,é\n", "latin-1", "windows-1252", False, True),
        ("name\nÅngström\n", "windows-1252", "windows-1252", False, True),
    ],
)
@pytest.mark.parametrize("times", [1, 40])
def test_the_encoding_is_found(text: str, encoding: str, told: str, bom: bool, guessed: bool, times: int) -> None:
    found = _survey((text * times).encode(encoding))
    assert (display(found.encoding), found.bom, found.guessed) == (told, bom, guessed)


def test_every_byte_is_read_before_an_encoding_is_believed() -> None:
    text = RUSSIAN * 20_000
    assert _survey(text.encode() + b"\xff").encoding != "utf-8"
    sample = ("a" * 100 + "\n") * 20_000
    assert display(_survey(sample.encode() + RUSSIAN.encode("koi8-r")).encoding) == "koi8-r"


@pytest.mark.parametrize("data", [b"a,\x81\x8d\n", bytes(range(256)), bytes(range(250, 0, -1)) * 300])
def test_any_bytes_are_read_somehow(data: bytes) -> None:
    found = _survey(data)
    b"".join(in_utf8(io.BytesIO(data), found.encoding)).decode()


@pytest.mark.parametrize(
    ("hint", "told", "guessed"),
    [("iso8859-15", "iso8859-15", False), ("ascii", "windows-1252", True), ("no such encoding", "windows-1252", True)],
)
def test_a_hint_decides_where_bytes_leave_it_open_and_never_against_them(hint: str, told: str, guessed: bool) -> None:
    found = _survey("Düsseldorf €\n".encode("windows-1252"), Hints(encoding=hint))
    assert (display(found.encoding), found.guessed) == (told, guessed)
    assert _survey("Düsseldorf\n".encode(), Hints(encoding=hint)).encoding == "utf-8"


@pytest.mark.parametrize("data", [codecs.BOM_UTF8 + b"a,\xff\n", codecs.BOM_UTF16_LE + b"a\x00b"])
def test_a_mark_that_lies_is_named(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"the file says that it is UTF-(8|16), but not all of its bytes are"):
        _survey(data)


def test_trailing_nul_bytes_do_not_make_utf_16() -> None:
    found = _survey(b"a,b\n1,2\n" + bytes(1000))
    assert (found.encoding, found.nul_bytes) == ("utf-8", 1000)


@given(st.text("ab\r\n\0é", max_size=60), st.integers(1, 7))
def test_line_ends_and_nul_bytes_are_counted_whatever_the_chunks(text: str, chunk: int) -> None:
    before = encodings.CHUNK
    encodings.CHUNK = chunk
    try:
        found = _survey(text.encode())
    finally:
        encodings.CHUNK = before
    assert found.encoding == "utf-8" or "\0" in text
    if found.encoding == "utf-8":
        both = text.count("\r\n")
        counts = {"CRLF": both, "LF": text.count("\n") - both, "CR": text.count("\r") - both}
        assert found.line_ends == {name: count for name, count in counts.items() if count}
        assert found.nul_bytes == text.count("\0")


@pytest.mark.parametrize(("line", "end"), [(1, b""), (3, b"\n"), (3, b"\nmore\n"), (2, b"\r")])
def test_a_line_beyond_the_limit_is_named_and_nothing_behind_it_is_read(line: int, end: bytes) -> None:
    class Counted(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1, /) -> bytes:
            part = super().read(size)
            Counted.taken += len(part)
            return part

    data = b"a,b\n" * (line - 1) + b"x" * (40 << 20) + end
    found = survey(lambda: Counted(data), NO_HINTS, 1 << 20)
    assert found.long_line == line
    assert Counted.taken < 3 << 20
    assert _survey(b"a,b\n" + b"x" * (1 << 19) + b"\n").long_line is None
