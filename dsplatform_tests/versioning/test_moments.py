from datetime import UTC, datetime, timedelta, timezone
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsplatform.bootstrap import Platform
from dsplatform.core.types import pointer_name
from dsplatform.versioning.model import VersionMissing
from dsplatform.versioning.moments import moment
from dsplatform_tests import make

numbers = count()
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ref", "at"),
    [
        ("2026-11-01", datetime(2026, 11, 1, 23, 59, 59, 999_999, UTC)),
        ("2026-11-01T12:00Z", datetime(2026, 11, 1, 12, tzinfo=UTC)),
        ("2026-11-01T12:00", datetime(2026, 11, 1, 12, tzinfo=UTC)),
        ("2026-11-01T12:00:30.5+02:00", datetime(2026, 11, 1, 10, 0, 30, 500_000, UTC)),
        ("9999-12-31", datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)),
        ("0001-01-01", datetime(1, 1, 1, 23, 59, 59, 999_999, UTC)),
    ],
)
def test_a_reference_by_time_is_an_instant(ref: str, at: datetime) -> None:
    assert moment(ref) == at


@pytest.mark.parametrize(
    "ref",
    [
        *("", "main", "2026", "20261101", "2026-11", "2026-13-01", "2026-02-30", "2026-11-01Z", "2026-11-01T12", "2026-11-01T25:00Z"),
        *("2026-W01-1", "0001-01-01T00:00+14:00", "2026-11-01 12:00Z", "v2026-11-01", "2026-11-0\u0661"),
    ],
)
def test_anything_else_is_none(ref: str) -> None:
    assert moment(ref) is None


@given(st.text(max_size=30))
def test_no_text_is_unforeseen(ref: str) -> None:
    moment(ref)


@given(st.datetimes(datetime(1000, 1, 1), datetime(9000, 1, 1)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001 - the offset comes after
def test_an_instant_that_was_written_is_read_again(naive: datetime, offset: int) -> None:
    at = naive.replace(tzinfo=timezone(timedelta(minutes=offset)))
    assert moment(at.isoformat()) == at


def test_main_at_a_time_is_the_newest_version_of_its_line_by_then(platform: Platform) -> None:
    """Versions of other branches, and what a merge brought in, are not in the line."""
    sales, system = make.dataset(platform), platform.actor()
    made = [make.commit(platform, sales, {"a": b"%d" % number}) for number in range(3)]
    make.commit(platform, sales, {"b": b"1"}, branch="side")
    make.commit(platform, sales, {"a": b"3"})
    platform.branches.merge(system, sales, "side", into="main")
    with make.tampering(platform.db) as tx:
        for number in range(1, 7):  # one a day; 4 is of the other branch, 6 the merge
            tx.execute(
                "UPDATE dataset_versions SET created_at = :at WHERE version_number = :number",
                at=START + timedelta(days=number, hours=12),
                number=number,
            )
    assert made[2].version_number == 3
    seen: dict[int, int | None] = {}
    for day in range(1, 9):
        try:
            seen[day] = platform.versions.get_version(system, sales, f"2026-01-{day:02}")[0].number
        except VersionMissing:
            seen[day] = None
    assert seen == {1: None, 2: 1, 3: 2, 4: 3, 5: 3, 6: 5, 7: 6, 8: 6}
    with pytest.raises(VersionMissing, match="had no version by 2026-01-01"):
        platform.versions.get_version(system, sales, "2026-01-01")
    for ref, number in (("2026-01-03T12:00Z", 2), ("2026-01-03T11:59:59Z", 1), ("2026-01-03T13:00+01:00", 2)):
        assert platform.versions.get_version(system, sales, ref)[0].number == number
    assert platform.versions.find(system, "sales@2026-01-03")[1].number == 2


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_it_agrees_with_a_walk(data: st.DataObject, platform: Platform) -> None:
    system = platform.actor()
    sales = platform.datasets.create_dataset(system, f"d{next(numbers)}")
    hours = data.draw(st.lists(st.integers(0, 100), min_size=1, max_size=4))
    for number, hour in enumerate(hours, 1):
        made = make.commit(platform, sales, {"a": b"%d" % number})
        with make.tampering(platform.db) as tx:
            tx.execute("UPDATE dataset_versions SET created_at = :at WHERE id = :id", at=START + timedelta(hours=hour), id=made.version_id)
    asked = data.draw(st.integers(0, 100))
    expected = next((number for number in range(len(hours), 0, -1) if hours[number - 1] <= asked), None)
    try:
        found = platform.versions.get_version(system, sales, (START + timedelta(hours=asked)).isoformat())[0].number
    except VersionMissing:
        found = None
    assert found == expected


def test_a_pointer_whose_name_looks_like_a_time_stays_what_it_is(platform: Platform) -> None:
    sales, system = make.dataset(platform), platform.actor()
    first = make.commit(platform, sales, {"a": b"1"})
    make.commit(platform, sales, {"a": b"2"})
    name = pointer_name(f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}")
    assert platform.versions.get_version(system, sales, name)[0].number == 2
    make.point(platform, sales, name, first.version_id)
    assert platform.versions.get_version(system, sales, name)[0].number == 1
