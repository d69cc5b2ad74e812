"""Local times become instants; those that mean none or two are told."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.migration.moments import EARLIEST, LATEST, extreme, instant

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
