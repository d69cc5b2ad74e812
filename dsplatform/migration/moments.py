"""Times of the legacy system, most of which have no zone, as instants."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

EARLIEST, LATEST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
_FIRST, _LAST = EARLIEST.replace(tzinfo=None), LATEST.replace(tzinfo=None)


def instant(local: datetime, zone: ZoneInfo) -> tuple[datetime, bool]:
    """The instant that a local time means, in UTC, and whether it means exactly one.

    Where clocks go back a time exists twice: the first is meant. Where they go forward some do not exist: what a clock that was not set
    forward would have shown is meant. At the ends of the calendar a time is moved inside by a day. A time with a zone of its own is the
    instant that it is.
    """
    if local.tzinfo is not None and _FIRST <= local.replace(tzinfo=None) <= _LAST:
        return local.astimezone(UTC), True
    naive = local.replace(tzinfo=None, fold=0)
    if not _FIRST <= naive <= _LAST:
        return (EARLIEST if naive.year == 1 else LATEST), False
    if zone.key == "UTC":  # the usual one: every row has a time or two
        return naive.replace(tzinfo=UTC), True
    first, second = naive.replace(tzinfo=zone), naive.replace(tzinfo=zone, fold=1)
    return first.astimezone(UTC), first.utcoffset() == second.utcoffset()


def extreme(raw: bytes) -> datetime:
    """What stands for a time that Python cannot hold: `-infinity` and years before Christ, or `infinity` and years after 9999."""
    return EARLIEST if raw.startswith(b"-") or raw.rstrip().endswith(b"BC") else LATEST
