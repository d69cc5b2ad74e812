import hashlib
import os
import socket
from collections.abc import Callable
from io import BytesIO, FileIO, RawIOBase
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsplatform.core.errors import Unavailable
from dsplatform.core.values import Source
from dsplatform.files import reading
from dsplatform.files.model import HEAD_BYTES
from dsplatform.files.reading import CHUNK_BYTES, SourceRefused, Taken, take, windows

SMALL = 1000


class Spools:
    """Counts up temporary files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = count(1)
        folder.mkdir()

    def __call__(self) -> Path:
        return self.folder / f"spool{next(self._numbers)}"

    def left(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def spools(tmp_path: Path) -> Spools:
    return Spools(tmp_path / "spools")


class Dribble(RawIOBase):
    """A reader of unknown size that gives a few bytes at a time, and perhaps fails in the end."""

    def __init__(self, data: bytes, step: int, failure: Exception | None = None) -> None:
        self._source = BytesIO(data)
        self._step = step
        self._failure = failure

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._source.read(min(size, self._step))
        if not chunk and self._failure:
            raise self._failure
        return chunk


def dribble(data: bytes, step: int, failure: Exception | None = None) -> BinaryIO:
    return cast("BinaryIO", Dribble(data, step, failure))


def taken(source: Path | BinaryIO, spools: Spools, alive: Callable[[int], None] = lambda _: None) -> Taken:
    return take(source, spools, SMALL, alive)


def bytes_of(found: Taken) -> bytes:
    assert (found.data is None) != (found.spooled is None)
    return found.data if found.data is not None else cast("Path", found.spooled).read_bytes()


def written(folder: Path, data: bytes) -> Path:
    path = folder / "source"
    path.write_bytes(data)
    return path


SIZES = [
    0,
    1,
    SMALL - 1,
    SMALL,
    SMALL + 1,
    HEAD_BYTES - 1,
    HEAD_BYTES + 1,
    CHUNK_BYTES - 1,
    CHUNK_BYTES,
    CHUNK_BYTES + 1,
    2 * CHUNK_BYTES + 7,
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", ["path", "stream", "dribble"])
def test_the_bytes_and_their_hash_are_exact_at_every_boundary(size: int, how: str, spools: Spools, tmp_path: Path) -> None:
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    heard: list[int] = []
    source = written(tmp_path, data) if how == "path" else BytesIO(data) if how == "stream" else dribble(data, 100_003)
    found = taken(source, spools, heard.append)
    assert bytes_of(found) == data
    assert (found.size, found.content_hash) == (size, hashlib.sha256(data).hexdigest())
    assert (found.spooled is not None) == (size > SMALL)
    if how == "path" or size > SMALL:
        assert sum(heard) == size


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=3 * SMALL), step=st.integers(1, 2 * SMALL))
def test_a_reader_of_unknown_size_is_taken_exactly(data: bytes, step: int, spools: Spools) -> None:
    found = taken(dribble(data, step), spools)
    assert bytes_of(found) == data
    assert found.content_hash == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("size", [SMALL, 300 * 1024])
@pytest.mark.parametrize("how", ["path", "stream"])
def test_the_kind_is_seen_whatever_the_size_and_the_source(size: int, how: str, spools: Spools, tmp_path: Path) -> None:
    data = b"PAR1" + bytes(size - 4)
    assert taken(written(tmp_path, data) if how == "path" else BytesIO(data), spools).file_type == "parquet"


# --- what is not taken ---------------------------------------------------------------------------------------------------------


def refusal(source: Path | BinaryIO, spools: Spools) -> SourceRefused:
    with pytest.raises(SourceRefused) as caught:
        taken(source, spools)
    assert spools.left() == []
    return caught.value


def test_a_fifo_is_refused_and_not_waited_for(spools: Spools, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "a FIFO, not a regular file" in str(refusal(tmp_path / "fifo", spools))


def test_a_socket_is_refused(spools: Spools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert "a socket or a device, not a regular file" in str(refusal(Path("socket"), spools))


def test_a_folder_is_refused(spools: Spools, tmp_path: Path) -> None:
    assert "it is a folder" in str(refusal(tmp_path, spools))


def test_a_device_is_refused(spools: Spools) -> None:
    assert "a character device" in str(refusal(Path("/dev/zero"), spools))


@pytest.mark.parametrize("target", ["source", "nowhere", "."])
def test_a_link_is_not_followed(target: str, spools: Spools, tmp_path: Path) -> None:
    written(tmp_path, b"secret")
    (tmp_path / "link").symlink_to(tmp_path / target)
    assert "links are not followed" in str(refusal(tmp_path / "link", spools))


def test_what_vanished_is_refused_for_good(spools: Spools, tmp_path: Path) -> None:
    error = refusal(tmp_path / "nothing", spools)
    assert (str(error), error.may_retry) == ("it is gone", False)


def _failing(monkeypatch: pytest.MonkeyPatch, name: str, error: OSError) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise error

    monkeypatch.setattr(os, name, fail)


def test_what_may_not_be_read_is_refused_with_what_to_do(spools: Spools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = written(tmp_path, b"x")
    _failing(monkeypatch, "open", PermissionError(13, "Permission denied"))
    assert "make it readable" in str(refusal(source, spools))


def test_a_source_that_fails_while_it_is_opened_may_be_tried_again(spools: Spools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = written(tmp_path, b"x")
    _failing(monkeypatch, "open", OSError(5, "Input/output error"))
    error = refusal(source, spools)
    assert (str(error), error.may_retry) == ("it cannot be read: Input/output error", True)


def test_a_small_source_that_fails_while_it_is_read_may_be_tried_again(
    spools: Spools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = written(tmp_path, b"x")
    _failing(monkeypatch, "read", OSError(5, "Input/output error"))
    assert refusal(source, spools).may_retry


@pytest.mark.parametrize("size", [0, SMALL, SMALL + 1, CHUNK_BYTES])
def test_a_reader_that_fails_is_refused_and_leaves_nothing(size: int, spools: Spools) -> None:
    error = refusal(dribble(bytes(size), 999, OSError(5, "Input/output error")), spools)
    assert (str(error), error.may_retry) == ("it cannot be read: Input/output error", True)


def test_a_reader_that_breaks_leaves_nothing(spools: Spools) -> None:
    with pytest.raises(ZeroDivisionError):
        taken(dribble(bytes(5000), 999, ZeroDivisionError()), spools)
    assert spools.left() == []


# --- sources that do not stand still ---------------------------------------------------------------------------------------------


def _grow(path: Path) -> None:
    with path.open("ab") as more:
        more.write(b"more")


def _rewrite(path: Path) -> None:
    status = path.stat()
    with path.open("r+b") as changed:
        changed.write(b"X")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def _truncate(path: Path) -> None:
    os.truncate(path, 10)


@pytest.mark.parametrize("change", [_grow, _rewrite, _truncate])
@pytest.mark.parametrize("size", [SMALL, 3 * CHUNK_BYTES])
def test_a_source_that_changes_while_it_is_read_is_refused_for_now(
    change: Callable[[Path], None], size: int, spools: Spools, tmp_path: Path
) -> None:
    source = written(tmp_path, bytes(size))

    def meanwhile(_count: int) -> None:
        if source.stat().st_size == size:
            change(source)

    with pytest.raises(SourceRefused, match="it changed while it was read") as caught:
        taken(source, spools, meanwhile)
    assert caught.value.may_retry
    assert spools.left() == []


@pytest.mark.parametrize("size", [SMALL, 3 * CHUNK_BYTES])
def test_a_source_that_vanishes_while_it_is_read_is_still_complete(size: int, spools: Spools, tmp_path: Path) -> None:
    source = written(tmp_path, bytes(size))
    found = taken(source, spools, lambda _: source.unlink(missing_ok=True))
    assert bytes_of(found) == bytes(size)


def test_a_read_that_came_short_is_refused_for_now(spools: Spools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = written(tmp_path, b"0123456789")
    real = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, _size: real(descriptor, 4))
    assert refusal(source, spools).may_retry


# --- the spool fails -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "words"), [(28, "no space left"), (122, "no space left"), (5, "the storage failed")])
@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_a_spool_that_cannot_be_written_is_the_storages_failure(
    number: int, words: str, chunk: int, spools: Spools, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count(1)
    real = reading._write_all

    def failing(target: BinaryIO, data: bytes) -> None:
        if next(calls) == chunk:
            raise OSError(number, os.strerror(number))
        real(target, data)

    monkeypatch.setattr("dsplatform.files.reading._write_all", failing)
    with pytest.raises(Unavailable, match=words):
        taken(BytesIO(bytes(3 * CHUNK_BYTES)), spools)
    assert spools.left() == []


def test_a_spool_that_writes_a_few_bytes_at_a_time_is_complete(spools: Spools, monkeypatch: pytest.MonkeyPatch) -> None:
    class Narrow(FileIO):
        def write(self, data: Any, /) -> int:
            return super().write(data[:4097])

    monkeypatch.setattr("dsplatform.files.reading.open", lambda path, _mode, **_: Narrow(path, "x"), raising=False)
    data = bytes(range(256)) * 8192
    assert bytes_of(taken(BytesIO(data), spools)) == data


def test_a_reader_that_does_not_wait_is_refused_and_not_cut_short(tmp_path: Path) -> None:
    class Impatient(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(3) or None  # type: ignore[return-value]  # as a raw non-blocking reader does

    with pytest.raises(SourceRefused, match="does not wait"):
        take(Impatient(b"abcdef"), lambda: tmp_path / "spool", 1024, lambda _: None)


def test_windows_hold_so_many_bytes_and_know_what_is_large(tmp_path: Path) -> None:
    """A reader whose size nobody knows is taken for large; what is in memory is not."""
    path = tmp_path / "large"
    path.write_bytes(b"x" * 11)
    with path.open("rb") as opened:
        sources: list[Source] = [BytesIO(b"x" * 10), path, BytesIO(b"x" * 11), dribble(b"x", 1), opened, BytesIO(b"")]
        assert list(windows(sources, small=10, held=1000)) == [(sources, [1, 2, 3, 4])]
        assert [len(part) for part, _ in windows(sources, small=10, held=25)] == [2, 2, 2]
