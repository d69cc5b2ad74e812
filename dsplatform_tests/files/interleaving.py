"""What the races of collection share: contents that are due for review, and work that happens between two statements of another."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.database import Database
from dsplatform.files import gc
from dsplatform.files.gc import GarbageCollector
from dsplatform.files.model import FileReference
from dsplatform_tests import make

DATA = b"the same bytes"


def due(db: Database) -> None:
    with db.transaction() as tx:
        tx.execute("UPDATE gc_queue SET review_after = now() - interval '1 second'")


def collector(platform: Platform, grace: timedelta = gc.GRACE) -> GarbageCollector:
    return GarbageCollector(platform.db, platform.gc._storage, platform.schemas, platform.permissions, grace=grace)


def review(platform: Platform) -> int:
    """One step of a collection, with nobody asking whether it is the only one; answers how many files it buried."""
    with platform.db.transaction() as tx:
        amount = platform.gc._review(tx)
    return amount.count if amount else 0


def after(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, action: Callable[[], object]) -> None:
    """Lets `action` happen right after the first call of the method."""
    original = getattr(owner, method)
    todo = [action]

    def hooked(self: object, *args: Any, **kwargs: Any) -> Any:
        answer = original(self, *args, **kwargs)
        if todo:
            todo.pop()()
        return answer

    monkeypatch.setattr(owner, method, hooked)


def meanwhile(
    platform: Platform, pool: ThreadPoolExecutor, work: Callable[[], object], started: list[Future[object]]
) -> Callable[[], None]:
    """Starts the work on another connection, and goes on when it is done or waits for a lock."""

    def start() -> None:
        started.append(pool.submit(work))
        make.until_blocked(platform.db, or_done=started[0].done)

    return start


def orphan(platform: Platform) -> FileReference:
    """A content without a reference, due for review."""
    reference = make.stored(platform, DATA)
    platform.files.delete_reference(reference)
    due(platform.db)
    return reference


def nearly_orphan(platform: Platform) -> FileReference:
    """A content with one reference left, due for review."""
    reference = make.stored(platform, DATA)
    platform.files.delete_reference(make.stored(platform, DATA))
    due(platform.db)
    return reference
