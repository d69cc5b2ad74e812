"""Reference counts: exact at any instant, folded, audited."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsplatform.bootstrap import Platform
from dsplatform.core.types import FileId
from dsplatform.files import gc, ledger
from dsplatform.files.gc import Audit, Miscount
from dsplatform.files.ledger import Ledger
from dsplatform.files.model import FileReference
from dsplatform_tests import make


def folded(platform: Platform, file_id: FileId) -> int:
    """What is in the row itself."""
    (count,) = make.column(platform.db, "SELECT reference_count FROM files WHERE id = :id", id=file_id)
    return int(count)


def shown(platform: Platform, file_id: FileId) -> int:
    return platform.files.get_file(file_id).reference_count


def pending(platform: Platform) -> int:
    return int(make.column(platform.db, "SELECT count(*) FROM file_reference_deltas")[0])


def test_a_count_is_exact_before_and_after_it_is_folded(platform: Platform) -> None:
    references = [make.stored(platform, b"same") for _ in range(3)]
    platform.files.delete_reference(references[0])
    file_id = references[0].file_id
    assert (shown(platform, file_id), folded(platform, file_id), pending(platform)) == (2, 0, 4)
    assert platform.gc.fold() == 4
    assert (shown(platform, file_id), folded(platform, file_id), pending(platform)) == (2, 2, 0)
    assert platform.gc.fold() == 0
    platform.files.delete_reference(references[1])
    assert (shown(platform, file_id), folded(platform, file_id)) == (1, 2)


def test_a_version_its_overlay_and_a_session_count_alike(platform: Platform) -> None:
    reference = make.stored(platform, b"shared")
    make.commit(platform, make.dataset(platform), {"a": b"shared", "b": b"shared"})
    assert shown(platform, reference.file_id) == 3
    (overlay,) = make.column(platform.db, "SELECT overlay_file_id FROM dataset_versions")
    assert shown(platform, overlay) == 1
    platform.gc.fold()
    assert shown(platform, reference.file_id) == 3


def test_a_fold_takes_all_there_is_in_steps(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "FOLD", 2)
    monkeypatch.setattr(ledger, "FOLD", 2)
    for number in range(5):
        make.stored(platform, b"%d" % number)
    assert platform.gc.fold() == 5
    assert make.miscounted_files(platform) == set()


def test_a_delta_of_a_file_that_is_gone_disturbs_nobody(platform: Platform) -> None:
    """Ids are never used again, so a late delta of a dead file cannot meet the content's next life."""
    platform.files.delete_reference(make.stored(platform, b"dies"))
    make.drained(platform)
    assert pending(platform) == 2
    again = make.stored(platform, b"dies")
    assert platform.gc.fold() == 3
    assert shown(platform, again.file_id) == 1


def test_one_process_folds_at_a_time(platform: Platform) -> None:
    make.stored(platform, b"a")
    with platform.db.transaction() as tx:
        assert Ledger(tx).alone()
        assert platform.gc.fold() == 0
    assert platform.gc.fold() == 1


def test_a_fold_that_ends_before_its_commit_changes_nothing(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """F1."""
    reference = make.stored(platform, b"a")

    def fail(_name: str) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(gc, "reach", fail)
        platform.gc.fold()
    assert (folded(platform, reference.file_id), pending(platform)) == (0, 1)
    assert platform.gc.fold() == 1
    assert shown(platform, reference.file_id) == 1


def _writing_while_folding(platform: Platform, fold: Callable[[], object]) -> None:
    """Two writers of shared and own contents beside somebody who folds without pause."""

    def writer() -> None:
        for number in range(15):
            references = [make.stored(platform, data) for data in (b"shared", b"own %d" % number)]
            platform.files.delete_reference(references[number % 2])

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(make.at_once, writer, writer)
        while not writing.done():
            fold()
        writing.result()


def test_counts_stay_exact_while_others_write(platform: Platform) -> None:
    _writing_while_folding(platform, platform.gc.fold)
    assert platform.gc.audit().miscounts == ()
    platform.gc.fold()
    assert platform.gc.audit().miscounts == ()


def test_a_fold_in_two_statements_would_lose_what_comes_between(platform: Platform) -> None:
    """Mutant: sums first, deletes after, in two snapshots."""

    def careless() -> None:
        with platform.db.transaction() as tx:
            tx.execute(
                "UPDATE files f SET reference_count = f.reference_count + s.change "
                "FROM (SELECT file_id, sum(delta) AS change FROM file_reference_deltas GROUP BY file_id) s WHERE f.id = s.file_id"
            )
            make.stored(platform, b"between")
            tx.execute("DELETE FROM file_reference_deltas")

    make.stored(platform, b"a")
    careless()
    assert platform.gc.audit().miscounts != ()


# --- the audit -------------------------------------------------------------------------------------------------------------------


def test_an_audit_finds_a_wrong_count_says_so_and_changes_nothing(
    platform: Platform, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "PAGE", 2)
    ids = [make.stored(platform, b"%d" % number).file_id for number in range(5)]
    assert platform.gc.audit() == Audit(5, ())
    with platform.db.transaction() as tx:
        tx.execute("UPDATE files SET reference_count = 7 WHERE id = :id", id=ids[1])
        tx.execute("INSERT INTO file_reference_deltas (file_id, delta) VALUES (:id, -1)", id=ids[4])
    wrong = (Miscount(ids[1], 8, 1), Miscount(ids[4], 0, 1))
    with caplog.at_level(logging.ERROR):
        assert platform.gc.audit() == Audit(5, wrong)
    assert f"file {ids[1]} is shown with 8 reference(s) and has 1" in caplog.text
    assert platform.gc.audit() == Audit(5, wrong)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(st.sampled_from(["store", "store other", "delete", "fold", "collect"]), max_size=12))
def test_whatever_is_done_in_whatever_order_counts_are_exact(actions: list[str], platform: Platform) -> None:
    references: list[FileReference] = []
    for action in actions:
        match action:
            case "store":
                references.append(make.stored(platform, b"same"))
            case "store other":
                references.append(make.stored(platform, b"other"))
            case "delete" if references:
                platform.files.delete_reference(references.pop(0))
            case "fold":
                platform.gc.fold()
            case "collect":
                with platform.db.transaction() as tx:
                    tx.execute("UPDATE gc_queue SET review_after = now() - interval '1 second'")
                platform.gc.collect(platform.system())
        assert platform.gc.audit().miscounts == ()
        assert len({reference.file_id for reference in references}) <= len(make.column(platform.db, "SELECT 1 FROM files"))
    for reference in references:
        platform.files.delete_reference(reference)
