"""Rows that a working legacy system could not have written: each is accounted for, with the right reason, and nothing of them leaks."""

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.migration.model import Reason, legacy_id
from dsplatform_tests.legacy.bad_rows import KINDS, build_bad
from dsplatform_tests.legacy.generator import TIMEZONE
from dsplatform_tests.legacy.hostile import SECRET
from dsplatform_tests.migration import make


def _ask(platform: Platform, question: str, **values: object) -> list[tuple[Any, ...]]:
    with platform.db.transaction() as tx:
        return list(tx.tuples(question, **values))


@pytest.mark.parametrize("each", [5, pytest.param(100, marks=pytest.mark.soak)])
def test_every_bad_row_is_accounted_for_with_its_reason(platform: Platform, legacy_ascii_url: str, legacy_folder: Path, each: int) -> None:
    """T29. By hand with 100 of each kind: `pytest -m soak`."""
    built = build_bad(legacy_ascii_url, legacy_folder, each=each)
    service = make.migration(platform, legacy_ascii_url, legacy_folder, base=legacy_folder, mounts=built.mounts, zone=TIMEZONE)
    service.migrate(platform.actor(), accept=tuple(Reason))
    reasons: dict[tuple[str, str], set[str]] = defaultdict(set)
    for entity, id_, reason in _ask(platform, "SELECT entity, legacy_id, reason FROM legacy_quarantine"):
        reasons[entity, id_].add(reason)
    accounted = set(_ask(platform, "SELECT entity, legacy_id FROM legacy_id_map WHERE outcome IN ('migrated', 'quarantined')"))
    right = 0
    for name, kind in KINDS.items():
        for key in built.planted[name]:
            row = (kind.table, legacy_id(key.id))
            assert row in accounted, (name, row)
            assert reasons[row] & kind.reasons if kind.reasons else not reasons[row] - {Reason.MAIN_CREATED}, (name, row, reasons[row])
            right += 1
    assert right == each * len(KINDS)
    for table, count in built.counts.items():
        (known,) = _ask(platform, "SELECT count(*) FROM legacy_id_map WHERE entity = :entity", entity=table)
        assert known == (count,), table

    # No file outside the folder was read, and no plain password is kept anywhere.
    passwords = "SELECT count(*) FROM {} t WHERE t::text LIKE '%Secret-Summer%'"
    assert _ask(platform, "SELECT count(*) FROM files WHERE content_hash = :digest", digest=hashlib.sha256(SECRET).hexdigest()) == [(0,)]
    for table in ("legacy_quarantine", "legacy_id_map", "users", "audit_log", "legacy_runs"):
        assert _ask(platform, passwords.format(table)) == [(0,)], table
