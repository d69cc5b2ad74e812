"""Real files that broke other readers go the whole way: each ends accepted or refused with a reason, and its bytes come back exactly."""

import hashlib
import shutil
from pathlib import Path

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.ingestion.model import InboxState
from dsplatform_tests import make

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus"


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the folder of ugly files, shared/corpus beside the checkout, is not there")
def test_every_ugly_file_ends_accepted_or_refused_with_a_reason(platform: Platform) -> None:
    dropped = {}
    for source in sorted(path for folder in CORPUS.iterdir() if folder.is_dir() for path in folder.iterdir()):
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
    captured = {entry.source_path: entry for entry in platform.ingestion.outcomes(limit=1_000) if entry.state != "rejected"}
    assert all(entry.schema_captured for entry in captured.values())
    for version in report.versions:
        for component in platform.schemas.schema_of(version.version_id).components:
            assert component.layout is not None or component.reason, component.name
    assert make.problems(platform) == []
