"""T16: every system call that the local store makes for an upload fails once, or writes less than it was asked to.

Only calls that concern the store count. Whatever fails, the caller hears a clean error or the work is whole; nothing is half there, and
the same upload succeeds afterwards.
"""

import ctypes
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.errors import Unavailable
from dsplatform.core.values import DatasetRef
from dsplatform.files import reading, stores
from dsplatform.files.stores import SYNC_ONE_BY_ONE
from dsplatform.files.upload import SMALL_BYTES
from dsplatform_tests import make

SPOOLED = SMALL_BYTES + 1024 * 1024
SHORT = -1
"""Stands for no error: the write takes half of the bytes."""

ON_PATHS = ("open", "stat", "link", "unlink", "chmod", "mkdir", "rename", "replace", "scandir", "listdir")
ON_DESCRIPTORS = ("write", "fsync", "close")


class Calls:
    """Counts the calls that concern the store, and lets the n-th fail, in whichever thread it is made."""

    def __init__(self, root: Path, nth: int, code: int) -> None:
        self._root = str(root)
        self._left = nth
        self._code = code
        self._descriptors: set[int] = set()
        self.made: list[str] = []
        self.failed: str | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as monkeypatch:
            for name in ON_PATHS:
                monkeypatch.setattr(os, name, self._path_call(name, getattr(os, name)))
            for name in ON_DESCRIPTORS:
                monkeypatch.setattr(os, name, self._descriptor_call(name, getattr(os, name)))
            monkeypatch.setattr(stores, "_libc", SimpleNamespace(syncfs=self._syncfs))
            monkeypatch.setattr(reading, "open", self._spool, raising=False)
            yield

    def fails(self, name: str) -> bool:
        """Counts a call; whether it is the one."""
        self.made.append(name)
        self._left -= 1
        if self._left or (self._code == SHORT and name != "write"):
            return False
        self.failed = name
        return True

    def error(self) -> OSError:
        return OSError(self._code, os.strerror(self._code))

    def _path_call(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            ours = not isinstance(path, int) and str(path).startswith(self._root)
            if ours and self.fails(name):
                raise self.error()
            answer = real(path, *args, **kwargs)
            if ours and name == "open":
                self._descriptors.add(answer)
            return answer

        return call

    def _descriptor_call(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(descriptor: int, *args: Any) -> Any:
            if descriptor not in self._descriptors:
                return real(descriptor, *args)
            if name == "close":
                self._descriptors.discard(descriptor)
            if not self.fails(name):
                return real(descriptor, *args)
            if self._code == SHORT:
                return real(descriptor, bytes(args[0])[: len(args[0]) // 2 or 1])
            if name == "close":
                real(descriptor)  # one that fails has closed all the same
            raise self.error()

        return call

    def _syncfs(self, _descriptor: int) -> int:
        if not self.fails("syncfs") or self._code == SHORT:
            return 0
        ctypes.set_errno(self._code)
        return -1

    def _spool(self, path: Any, mode: str = "r", **kwargs: Any) -> Any:
        calls = self

        class Spooled(io.FileIO):
            def write(self, data: Any) -> int:
                if not calls.fails("write"):
                    return super().write(data)
                if calls._code == SHORT:
                    return super().write(bytes(data)[: len(data) // 2])
                raise calls.error()

            def close(self) -> None:
                was_open = not self.closed
                super().close()
                if was_open and calls.fails("close"):
                    raise calls.error()

        if isinstance(path, int):  # a source
            return open(path, mode, **kwargs)
        if self.fails("open") and self._code != SHORT:
            raise self.error()
        return Spooled(path, mode)


# --- what is uploaded ----------------------------------------------------------------------------------------------------------

Upload = Callable[[Platform, DatasetRef, int], dict[str, bytes]]
"""Stores something that belongs to the number, and answers what the dataset holds then."""


def small(platform: Platform, dataset: DatasetRef, number: int) -> dict[str, bytes]:
    return _committed(platform, dataset, {"a": b"%d" % number})


def spooled(platform: Platform, dataset: DatasetRef, number: int) -> dict[str, bytes]:
    return _committed(platform, dataset, {"a": b"%08d" % number * (SPOOLED // 8)})


def few(platform: Platform, dataset: DatasetRef, number: int) -> dict[str, bytes]:
    """So many that each is synced by itself, with the version's overlay."""
    return _committed(platform, dataset, {str(which): b"%d %d" % (number, which) for which in range(3)})


def many(platform: Platform, dataset: DatasetRef, number: int) -> dict[str, bytes]:
    """So many that the file system is synced."""
    return _committed(platform, dataset, {str(which): b"%d %d" % (number, which) for which in range(SYNC_ONE_BY_ONE)})


def known(platform: Platform, dataset: DatasetRef, number: int) -> dict[str, bytes]:
    """What the store has is looked at, and not written."""
    return _committed(platform, dataset, {"a": b"known", "b": b"%d" % number})


def _committed(platform: Platform, dataset: DatasetRef, tree: dict[str, bytes]) -> dict[str, bytes]:
    make.commit(platform, dataset, tree)
    return tree


ALL = {
    "full": errno.ENOSPC,
    "broken": errno.EIO,
    "quota": errno.EDQUOT,
    "interrupted": errno.EINTR,
    "forbidden": errno.EACCES,
    "short": SHORT,
}


def _cases() -> Iterator[Any]:
    for upload, faults in (
        (small, ALL),
        (spooled, ALL),
        (known, ["broken"]),
        (few, ["full", "broken", "short"]),
        (many, ["full", "broken"]),
    ):
        for fault in faults:
            yield pytest.param(upload, ALL[fault], id=f"{upload.__name__}-{fault}")


def _kinds(upload: Upload) -> set[str]:
    kinds = {"open", "write", "close", "syncfs" if upload is many else "fsync"}
    return kinds | ({"link", "chmod", "unlink"} if upload is spooled else {"stat"} if upload is known else set())


@pytest.mark.parametrize(("upload", "code"), list(_cases()))
def test_any_system_call_of_the_store_may_fail(upload: Upload, code: int, platform: Platform) -> None:
    dataset = make.dataset(platform)
    make.commit(platform, dataset, {"base": b"known"})
    root = Path(platform.settings.storage_url)
    seen: set[str] = set()
    refused = 0
    for nth in range(1, 300):
        calls = Calls(root, nth, code)
        before = _state(platform)
        refusal = None
        try:
            with calls.watched():
                upload(platform, dataset, nth)
        except Unavailable as err:
            refusal = err
        seen |= set(calls.made)
        if refusal:
            refused += 1
            assert os.strerror(code) in str(refusal) or "no space left" in str(refusal)
            assert isinstance(refusal.__cause__, OSError)
            assert _state(platform) == before
            assert make.spooled(platform) == []
        else:
            # A short write is no failure, and what was placed may be left in the spool for the collector.
            assert calls.failed in {None, "write", "unlink", "scandir", "stat"}
            assert calls.failed != "write" or code == SHORT
        assert make.problems(platform) == []
        tree = upload(platform, dataset, nth)  # once more
        assert make.held(platform, dataset) == {"base": b"known", **tree}
        if len(calls.made) < nth:
            break
    else:
        raise AssertionError("the upload has more system calls than that")
    assert seen >= _kinds(upload)
    assert (refused > 0) == (code != SHORT)
    make.assert_sound(platform)
    make.drained(platform)
    assert make.objects(platform) == set(make.column(platform.db, "SELECT file_path FROM files"))


def _state(platform: Platform) -> list[int]:
    """How much there is of what an upload records."""
    with platform.db.autocommit() as tx:
        counted = [
            tx.scalar(f"SELECT count(*) FROM {table}")
            for table in ("files", "dataset_versions", "dataset_version_files", "upload_intents", "upload_sessions", "deliveries")
        ]
    return [int(count) for count in counted]


def test_the_claim_fails_when_a_failed_write_is_swallowed(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def swallowed(_path: str) -> Iterator[None]:
        try:
            yield
        except OSError:
            return

    monkeypatch.setattr(stores, "_storage_errors", swallowed)
    with pytest.raises(AssertionError):
        test_any_system_call_of_the_store_may_fail(small, errno.EIO, platform)


def test_the_claim_fails_when_a_short_write_counts_as_whole(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    def put(self: stores.LocalStorage, key: str, data: bytes) -> None:
        descriptor = os.open(self._path(key), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o444)
        os.write(descriptor, data)
        os.close(descriptor)

    monkeypatch.setattr(stores.LocalStorage, "put", put)
    with pytest.raises(AssertionError):
        test_any_system_call_of_the_store_may_fail(few, SHORT, platform)
