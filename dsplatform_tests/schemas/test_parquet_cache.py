"""The folder of Parquet: what is asked for stays, what is too much or half made goes."""

import os
import time
from pathlib import Path

import pytest

from dsplatform.core.types import ContentHash
from dsplatform.schemas.parquet_cache import KEEP, ParquetCache

A, B = ContentHash("a" * 64), ContentHash("b" * 64)


def put(cache: ParquetCache, content_hash: ContentHash, data: bytes, *, age: float = 0) -> None:
    with cache.making(content_hash, "r") as draft:
        draft.write_bytes(data)
    if age:
        os.utime(cache.path(content_hash, "r"), (time.time() - age,) * 2)


def has(cache: ParquetCache, content_hash: ContentHash) -> bool:
    return cache.path(content_hash, "r").exists()


def test_a_folder_that_is_full_gives_up_what_was_asked_for_longest_ago(tmp_path: Path) -> None:
    cache = ParquetCache(tmp_path / "p", 10)
    put(cache, A, b"12345", age=200)
    put(cache, B, b"12345", age=100)
    found = cache.find(A, "r")
    assert found
    with found:
        put(cache, ContentHash("c" * 64), b"1")
        assert has(cache, A)
        assert not has(cache, B), "A was asked for after it"
        put(cache, B, b"1234567890")
        assert not has(cache, A)
        assert found.read() == b"12345", "who has it open reads it to its end"


def test_what_nobody_asks_for_goes_and_drafts_of_the_dead(tmp_path: Path) -> None:
    cache = ParquetCache(tmp_path / "p", 1_000)
    put(cache, A, b"1", age=KEEP.total_seconds() + 60)
    put(cache, B, b"1", age=KEEP.total_seconds() - 60)
    draft = cache.path(A, "r").with_name(".dead.draft")
    draft.touch()
    cache.tidy()
    assert not has(cache, A)
    assert has(cache, B)
    assert draft.exists(), "its writer may live"
    os.utime(draft, (0, 0))
    cache.tidy()
    assert not draft.exists()


def test_a_maker_that_fails_leaves_nothing(tmp_path: Path) -> None:
    cache = ParquetCache(tmp_path / "p", 1_000)

    def failing() -> None:
        with cache.making(A, "r") as draft:
            draft.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    with cache.making(B, "r"):
        pass
    assert not list((tmp_path / "p").glob("*/*"))
    assert cache.find(A, "r") is None
