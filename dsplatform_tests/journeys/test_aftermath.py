"""What the fault tests ask in the end sees what is lost and what is left."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.types import ContentHash
from dsplatform.files.gc import GarbageCollector
from dsplatform.files.model import storage_key
from dsplatform_tests import make
from dsplatform_tests.journeys import aftermath
from dsplatform_tests.journeys.crew import Ledger, entries
from dsplatform_tests.journeys.works import digest

A, B = digest(b"a"), digest(b"b")


def acknowledged(**parts: str) -> list[dict[str, Any]]:
    return [{"what": "version", "dataset": "sales", "number": 1, "parts": parts}]


@pytest.fixture
def kept(platform: Platform) -> Platform:
    make.commit(platform, make.dataset(platform), {"a": b"a"})
    return platform


def test_a_version_is_lost_when_it_has_not_all_that_was_acknowledged(kept: Platform) -> None:
    assert aftermath.lost(kept, acknowledged(a=A)) == []
    for parts in ({"a": B}, {"b": A}, {"a": A, "b": B}):
        assert len(aftermath.lost(kept, acknowledged(**parts))) == 1
    assert len(aftermath.lost(kept, [{**acknowledged(a=A)[0], "number": 2}])) == 1


def test_a_reference_is_lost_when_it_is_gone_or_names_another_content(kept: Platform) -> None:
    reference = make.stored(kept, b"b")
    entry = {"what": "staged", "session": str(reference.session_id), "path": reference.path, "hash": B}
    assert aftermath.unstaged(kept, [entry]) == []
    assert aftermath.unstaged(kept, [{**entry, "hash": A}]) != []
    kept.files.delete_reference(reference)
    assert aftermath.unstaged(kept, [entry]) != []


def test_a_version_is_unreachable_when_its_branch_was_moved_past_it(kept: Platform) -> None:
    make.commit(kept, make.dataset(kept, "other"), {"a": b"a"})
    assert aftermath.unreachable(kept) == []
    with kept.db.transaction() as tx:
        tx.execute("DELETE FROM dataset_pointers WHERE dataset_id = (SELECT id FROM datasets WHERE slug = 'sales')")
    assert aftermath.unreachable(kept) == ["sales@1"]


def test_what_a_drain_takes_is_not_left_over(kept: Platform) -> None:
    make.stored(kept, b"b")
    key = storage_key(ContentHash(B), uuid4())
    kept.gc._storage.put(key, b"b")
    kept.gc._storage.spool(uuid4()).write_bytes(b"half")
    assert aftermath.left_over(kept) == {}
    assert len(make.objects(kept)) == 2, "the content and the overlay"


def test_what_a_drain_does_not_take_is_left_over(kept: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    with make.tampering(kept.db) as tx:
        tx.execute("ALTER TABLE staged_files DISABLE TRIGGER ALL")
    make.stored(kept, b"b")
    (Path(kept.settings.storage_url) / "objects" / "00" / "foreign").touch()
    monkeypatch.setattr(GarbageCollector, "_discard_spooled", lambda _: None)
    kept.gc._storage.spool(uuid4()).write_bytes(b"half")
    left = aftermath.left_over(kept)
    assert set(left) == {"objects that no file names", "files that nothing names", "temporary files"}


def test_a_torn_line_of_a_ledger_is_none(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    Ledger(path).write("first", number=1)
    with path.open("ab") as torn:
        torn.write(b'\n{"what": "sec')
    Ledger(path).write("third")
    assert entries(path) == [{"what": "first", "number": 1}, {"what": "third"}]
