"""A deletion is killed after every single batch (D1 of the crash matrix); the next run goes on, and nothing is lost or left."""

import os
import signal
from collections.abc import Callable

import pytest

from dsplatform.bootstrap import Platform, bootstrap
from dsplatform.core import failpoints
from dsplatform.core.errors import Gone
from dsplatform.versioning import deletion
from dsplatform.versioning.retention import Rule
from dsplatform_tests import make


def killed(platform: Platform, url: str, point: str, work: Callable[[Platform], object]) -> bool:
    """Does the work in a process of its own that is killed when it first passes the point; False when it ended without."""
    child = os.fork()
    if child == 0:
        failpoints.arm(f"{point}:kill")
        status = 1
        try:
            with bootstrap(platform.settings, url) as own:
                work(own)
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    if os.WIFEXITED(ended):
        assert os.WEXITSTATUS(ended) == 0
        return False
    assert os.WTERMSIG(ended) == signal.SIGKILL
    return True


def test_a_version_is_gone_at_once_and_entirely_in_the_end(platform: Platform, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sales = make.dataset(platform)
    make.commit(platform, sales, {f"file-{number}": b"old %d" % number for number in range(25)})
    make.commit(platform, sales, {f"file-{number}": b"new %d" % number for number in range(20)})
    promised = platform.deletion.preview_version(platform.actor(), "sales@1").freed
    monkeypatch.setattr(deletion, "BATCH", 1)
    kills = int(killed(platform, database_url, "version.emptying", lambda own: own.deletion.delete_version(own.actor(), "sales@1")))
    while killed(platform, database_url, "version.emptying", lambda own: own.deletion.resume()):
        kills += 1
        with pytest.raises(Gone):
            platform.versions.find(platform.actor(), "sales@1")
        assert len(make.held(platform, sales)) == 25
        make.assert_sound(platform)
    assert kills == 25
    assert make.unnamed(platform) == (promised.files, promised.bytes) == (20, 110)
    assert make.drained(platform) == 20
    make.assert_sound(platform)


def test_a_dataset_is_reaped_entirely_and_nothing_else(platform: Platform, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sales, other = make.dataset(platform), make.dataset(platform, "other")
    shared = {f"file-{number}": b"%d" % number for number in range(5)}
    make.commit(platform, other, shared)
    first = make.commit(platform, sales, {**shared, "own": b"own"})
    for number in range(3):
        make.commit(platform, sales, {"own": b"own %d" % number})
    make.point(platform, sales, "v1", first.version_id)
    platform.deletion.set_retention(platform.actor(), "sales", Rule(1, None))
    promised = platform.deletion.preview_dataset(platform.actor(), "sales").freed
    platform.datasets.delete_dataset(platform.actor(), "sales")
    with platform.db.transaction() as tx:
        tx.execute("UPDATE datasets SET deleted_at = now() - interval '30 days' WHERE id = :id", id=sales.id)
    monkeypatch.setattr(deletion, "BATCH", 1)
    kills = 0
    while killed(platform, database_url, "dataset.reaping", lambda own: own.deletion.reap(own.system())):
        kills += 1
        make.assert_sound(platform)
    assert kills == 2 + 24 + 4  # pointers, components, versions
    assert make.column(platform.db, "SELECT slug FROM datasets") == ["other"]
    assert make.held(platform, other) == shared
    assert make.unnamed(platform) == (promised.files, promised.bytes)
    assert make.drained(platform) == promised.files == 8
    make.assert_sound(platform)
