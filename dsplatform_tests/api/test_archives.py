import io
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.api.archives import Member, tarred, zipped
from dsplatform.core.errors import Invalid
from dsplatform.core.types import file_path
from dsplatform_tests import strategies

AT = datetime(2026, 11, 1, 12, 30, 10, tzinfo=UTC)

Make = Callable[[Iterable[Member], datetime], Iterator[bytes]]


def member(name: str, content: bytes, step: int = 7) -> Member:
    chunks: Any = iter([content[at : at + step] for at in range(0, len(content), step)])
    return Member(name, len(content), opening(chunks))


def opening(chunks: Any) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: nullcontext(chunks)


def archive(make: Make, files: dict[str, bytes], at: datetime = AT) -> bytes:
    return b"".join(make([member(name, content) for name, content in files.items()], at))


def read_zip(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.testzip() is None
        return {info.filename: opened.read(info) for info in opened.infolist()}


def read_tar(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as opened:
        return {info.name: opened.extractfile(info).read() for info in opened.getmembers()}  # type: ignore[union-attr]  # regular files


def is_name(text: str) -> bool:
    try:
        file_path(text)
    except Invalid:
        return False
    return True


names = st.one_of(strategies.component_names, strategies.words.filter(is_name)).map(file_path)
contents = st.dictionaries(names, st.binary(max_size=1500), max_size=6)


@given(contents)
def test_what_is_packed_is_what_others_unpack(files: dict[str, bytes]) -> None:
    assert read_zip(archive(zipped, files)) == files
    assert read_tar(archive(tarred, files)) == files


@pytest.mark.parametrize("make", [zipped, tarred])
def test_the_same_files_are_the_same_archive(make: Make) -> None:
    files = {"ä/b.csv": b"1", "c": b""}
    assert archive(make, files) == archive(make, files)
    assert archive(make, files) != archive(make, files, AT.replace(year=2027))


def test_files_have_the_date_of_the_version() -> None:
    with zipfile.ZipFile(io.BytesIO(archive(zipped, {"a": b"1"}))) as opened:
        (info,) = opened.infolist()
    assert info.date_time == (2026, 11, 1, 12, 30, 10)
    assert info.compress_type == zipfile.ZIP_STORED
    with tarfile.open(fileobj=io.BytesIO(archive(tarred, {"a": b"1"}))) as tar:
        (entry,) = tar.getmembers()
    assert entry.mtime == int(AT.timestamp())


@pytest.mark.parametrize("make", [zipped, tarred])
def test_one_chunk_at_a_time_is_held(make: Make) -> None:
    pulled = 0

    def chunks() -> Iterator[bytes]:
        nonlocal pulled
        for _ in range(100):
            pulled += 1
            yield b"x" * 100

    sizes = []
    for number, piece in enumerate(make([Member("a", 10_000, opening(chunks()))], AT)):
        assert pulled <= number + 1
        sizes.append(len(piece))
    assert max(sizes) < 11_000


@pytest.mark.parametrize("make", [zipped, tarred])
def test_a_file_that_fails_ends_the_archive(make: Make) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x"
        raise ValueError("damaged")

    out: list[bytes] = []
    with pytest.raises(ValueError, match="damaged"):
        out.extend(make([Member("a", 2, opening(chunks()))], AT))
    with pytest.raises((zipfile.BadZipFile, tarfile.ReadError)):
        (read_zip if make is zipped else read_tar)(b"".join(out))
