"""Real files that broke other readers go the whole way: each ends accepted or refused with a reason, and its bytes come back exactly.

What each is read as stands in corpus.md; `python -m dsplatform_tests.journeys.corpus` writes it anew.
"""

import difflib
import hashlib
import shutil
from collections.abc import Mapping

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.ingestion.model import InboxState
from dsplatform.schemas.model import FileCapture, Status
from dsplatform.schemas.sandbox import Request
from dsplatform_tests import make
from dsplatform_tests.journeys import corpus, second_opinions

pytestmark = pytest.mark.skipif(
    not corpus.CORPUS.is_dir(), reason="the folder of ugly files, shared/corpus beside the checkout, is not there"
)


@pytest.fixture(scope="module")
def captures() -> Mapping[str, FileCapture]:
    """Of all files. A file that takes longer than ten seconds fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Request, "seconds", lambda _: 10.0)
        return corpus.captures()


def test_every_ugly_file_ends_accepted_or_refused_with_a_reason(platform: Platform) -> None:
    dropped = {}
    for source in sorted(path for folder in corpus.CORPUS.iterdir() if folder.is_dir() for path in folder.iterdir()):
        target = platform.settings.drop_dir / source.parent.name / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.with_name(target.name + ".done").touch()
        dropped[f"{source.parent.name}/{source.name}"] = source
    assert len(dropped) > 200
    platform.ingestion.discover()
    report = platform.ingestion.ingest_ready()

    assert {outcome.path for outcome in report.outcomes} == set(dropped)
    refused = {outcome.path: outcome.reason for outcome in report.rejected}
    assert set(refused) == {path for path, source in dropped.items() if source.stat().st_size == 0}
    assert all(refused.values())
    for outcome in report.outcomes:
        if outcome.state is not InboxState.REJECTED:
            assert outcome.content_hash == hashlib.sha256(dropped[outcome.path].read_bytes()).hexdigest()

    platform.deliver()
    for version_id in platform.schemas.pending(100):
        platform.schemas.capture_version_schema(version_id)
    captured = {
        entry.source_path: entry for entry in platform.ingestion.outcomes(platform.system(), limit=1_000) if entry.state != "rejected"
    }
    assert all(entry.schema_captured for entry in captured.values())
    for version in report.versions:
        for component in platform.schemas.schema_of(platform.system(), version.dataset, version.version_id).components:
            assert component.layout is not None or component.reason, component.name
    assert make.problems(platform) == []


def test_every_ugly_file_is_read_as_the_table_says(captures: Mapping[str, FileCapture]) -> None:
    found, expected = corpus.rendered(captures), corpus.GOLDEN.read_text(encoding="utf-8")
    changes = "\n".join(difflib.unified_diff(expected.splitlines(), found.splitlines(), "corpus.md", "found", lineterm="", n=0))
    assert not changes, f"look at each line; `python -m dsplatform_tests.journeys.corpus` writes them down:\n{changes}"


def test_no_ugly_file_kills_or_holds_up_its_reader(captures: Mapping[str, FileCapture]) -> None:
    assert len(captures) == 263
    for path, capture in captures.items():
        assert capture.status is Status.OK or capture.reason, path
        assert "took longer" not in (capture.reason or ""), path
        assert "the reader crashed" not in (capture.reason or ""), path
        assert str(corpus.CORPUS) not in (capture.reason or ""), path


def test_another_reader_sees_the_same_tables_names_and_rows(captures: Mapping[str, FileCapture]) -> None:
    said = {}
    for path, capture in captures.items():
        if capture.status is Status.OK:
            try:
                said[path] = corpus.opinion(path, capture)
            except Exception as err:  # noqa: BLE001 - foreign readers raise anything
                said[path] = f"it cannot read the file: {err!r}"
    against = {path: opinion for path, opinion in said.items() if opinion is not None}
    assert {path: opinion for path, opinion in against.items() if path not in second_opinions.DIFFERENT} == {}
    assert set(against) == set(second_opinions.DIFFERENT), "it agrees by now: take it off the list"
    assert len(said) - len(against) > 240
    for path in against:
        if path.endswith(".parquet"):
            assert second_opinions.rows_of_parquet(corpus.CORPUS / path) == captures[path].rows


def test_rows_are_handed_out_as_they_were_counted(captures: Mapping[str, FileCapture]) -> None:
    differing = {}
    for path, capture in captures.items():
        for table in capture.tables:
            found = corpus.handed_out(path, table)
            if found != (table.rows, [column.name for column in table.columns]):
                differing[path] = found
    damaged = {path for path, why in second_opinions.DIFFERENT.items() if why == second_opinions.DAMAGED_PAGES}
    assert set(differing) == damaged
    assert all("Error: " in str(why) for why in differing.values()), "whoever reads damaged rows is told"
