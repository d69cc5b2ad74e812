"""Local times become instants; those that mean none or two are told."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.bootstrap import Platform
from dsplatform.migration.moments import EARLIEST, LATEST, extreme, instant
from dsplatform.migration.old_model import Wanted
from dsplatform_tests import make
from dsplatform_tests.migration.there_and_back import ANY, Side

BERLIN = ZoneInfo("Europe/Berlin")


def local_time(*parts: int) -> datetime:
    """As the legacy system keeps times: without a zone."""
    return datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001


@pytest.mark.parametrize(
    ("local", "meant", "exact"),
    [
        (local_time(2025, 7, 1, 12, 0, 0, 5), datetime(2025, 7, 1, 10, 0, 0, 5, UTC), True),
        (local_time(2025, 3, 30, 1, 59, 59), datetime(2025, 3, 30, 0, 59, 59, tzinfo=UTC), True),
        (local_time(2025, 3, 30, 2, 30), datetime(2025, 3, 30, 1, 30, tzinfo=UTC), False),
        (local_time(2025, 3, 30, 3, 0), datetime(2025, 3, 30, 1, 0, tzinfo=UTC), True),
        (local_time(2025, 10, 26, 2, 30), datetime(2025, 10, 26, 0, 30, tzinfo=UTC), False),
        (local_time(2025, 10, 26, 3, 0), datetime(2025, 10, 26, 2, 0, tzinfo=UTC), True),
        (local_time(1, 1, 1), EARLIEST, False),
        (local_time(9999, 12, 31, 23), LATEST, False),
    ],
)
def test_a_local_time_means_an_instant(local: datetime, meant: datetime, exact: bool) -> None:
    assert instant(local, BERLIN) == (meant, exact)


@given(
    st.datetimes(min_value=local_time(1950, 1, 1), max_value=local_time(2100, 1, 1)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
)
def test_an_exact_instant_shows_the_same_local_time_again_and_no_other_does(local: datetime, name: str) -> None:
    zone = ZoneInfo(name)
    meant, exact = instant(local, zone)
    showing = [
        at
        for at in (meant + timedelta(minutes=shift) for shift in range(-180, 181, 30))
        if at.astimezone(zone).replace(tzinfo=None, fold=0) == local
    ]
    assert (showing == [meant]) == exact


@pytest.mark.parametrize(
    ("raw", "stands"),
    [(b"infinity", LATEST), (b"-infinity", EARLIEST), (b"20000-01-01 00:00:00", LATEST), (b"0044-03-15 00:00:00 BC", EARLIEST)],
)
def test_a_time_beyond_the_calendar_is_at_its_end(raw: bytes, stands: datetime) -> None:
    assert extreme(raw) == stands


@given(st.datetimes(min_value=local_time(1, 1, 3), max_value=local_time(9999, 12, 29)), st.sampled_from(["UTC", "Asia/Kolkata"]))
def test_a_time_with_a_zone_is_the_instant_that_it_is(at: datetime, name: str) -> None:
    aware = at.replace(tzinfo=ZoneInfo(name))
    assert instant(aware, BERLIN) == (aware, True)


def test_times_with_a_zone_come_along_and_go_back_as_the_instants_that_they_are(
    platform: Platform, legacy_url: str, legacy_folder: Path
) -> None:
    """Also of an hour that the legacy system's clock showed twice."""
    side = Side(platform, legacy_url, legacy_folder, "G1b", aware=True)
    there = dict(side.ask("SELECT id, ingestion_timestamp FROM dataset_versions"))
    with platform.db.autocommit() as tx:
        here = dict(tx.tuples("SELECT id, created_at FROM dataset_versions"))
    assert all(at.utcoffset() is not None for at in there.values())
    assert here == there
    updated = dict(side.ask("SELECT id, updated_at FROM datasets"))
    shown = platform.legacy.datasets(side.actor, Wanted())[0]
    assert {one.id: one.updated_at for one in shown} == updated, "old clients are shown them"
    assert not side.validation.against(side.actor)
    dataset, *_ = side.datasets()
    made = make.commit(platform, dataset, {"a.csv": b"id\n1\n"})
    twice = datetime(2025, 10, 26, 1, 30, tzinfo=UTC)  # 2:30 in Berlin, the second time
    with make.tampering(platform.db) as tx:
        tx.execute("UPDATE dataset_versions SET created_at = :at WHERE id = :id", at=twice, id=made.version_id)
    side.service.rollback(side.actor)
    assert side.ask("SELECT ingestion_timestamp FROM dataset_versions WHERE id = %s", made.version_id) == [(twice,)]
    assert side.migration.migrate(side.actor, accept=ANY).written == 0
    assert not side.validation.against(side.actor)
