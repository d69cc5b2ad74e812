"""Texts that are days, times, timestamps or truth values."""

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from dsplatform.schemas.model import Json

TIME = r"^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?$"
DAY = re.compile(r"([0-9]{1,2})([/.-])([0-9]{1,2})[/.-]([0-9]{4})")
BOOLEANS = frozenset({"true", "false", "True", "False", "TRUE", "FALSE"})
KNOWN_DAYS = 50_000

_dates = re.compile(r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}(?:\n|$))*")
_timestamps = re.compile(r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\n|$))*")
_time = re.compile(TIME)


class Truths:
    """Booleans."""

    type = "boolean"
    against: str | None = None
    reason: str | None = None
    mean: float | None = None

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def take(self, texts: pa.Array, counts: pa.Array) -> bool:  # noqa: ARG002 - every form is asked in one way
        """Whether all of them are."""
        return len(texts) <= len(BOOLEANS) and self.take_few(dict.fromkeys(texts.to_pylist(), 1))

    def take_few(self, counts: Mapping[str, int]) -> bool:
        """The same for few."""
        self._seen |= counts.keys()
        return BOOLEANS.issuperset(counts)

    @property
    def bounds(self) -> tuple[Json, Json]:
        """False before true."""
        seen = {text.lower() for text in self._seen}
        return min(seen), max(seen)


class Times:
    """Times of day. Their texts are in their order."""

    type = "time"
    against: str | None = None
    reason: str | None = None
    mean: float | None = None

    def __init__(self) -> None:
        self._ends: list[str] = []

    def take(self, texts: pa.Array, counts: pa.Array) -> bool:  # noqa: ARG002
        """Whether all of them are."""
        if not pc.all(pc.match_substring_regex(texts, TIME)).as_py():
            return False
        ends = pc.min_max(texts)
        self._ends = _ends([*self._ends, ends["min"].as_py(), ends["max"].as_py()])
        return True

    def take_few(self, counts: Mapping[str, int]) -> bool:
        """The same for few."""
        if not all(map(_time.match, counts)) or any(text[-1] == "\n" for text in counts):
            return False
        self._ends = _ends([*self._ends, *counts])
        return True

    @property
    def bounds(self) -> tuple[Json, Json]:
        """The earliest and the latest."""
        return self._ends[0], self._ends[1]


class Moments:
    """Days and timestamps as ISO 8601 has them: a `date` is a timestamp at midnight, where others have a time."""

    against: str | None = None
    reason: str | None = None
    mean: float | None = None

    def __init__(self, kind: str) -> None:
        self.type = kind
        self._ends: list[int] = []  # nanoseconds since 1970

    def take(self, texts: pa.Array, counts: pa.Array) -> bool:  # noqa: ARG002
        """Whether all of them are, with a zone or without."""
        if self.type == "date":
            days = _cast(texts, pa.date32())
            if days is not None:
                self._add(pc.cast(pc.cast(days, pa.timestamp("us")), pa.int64()), 1000)
                return True
            self.type = "timestamp"
        zone = "UTC" if self.type == "timestamp with zone" else None
        for unit, factor in (("us", 1000), ("ns", 1)):
            found = _cast(texts, pa.timestamp(unit, zone))
            if found is not None:
                self._add(pc.cast(found, pa.int64()), factor)
                return True
        return False

    def take_few(self, counts: Mapping[str, int]) -> bool:
        """The same for few: plain forms in Python."""
        joined = "\n".join(counts)
        plain = {"date": _dates, "timestamp": _timestamps}.get(self.type)
        if plain is None or joined.count("\n") != len(counts) - 1 or not plain.fullmatch(joined):
            return self.take(pa.array(counts.keys(), pa.string()), pa.array(counts.values(), pa.int64()))
        convert = date.fromisoformat if self.type == "date" else datetime.fromisoformat
        try:
            found = list(map(convert, counts))
        except ValueError:
            return self.take(pa.array(counts.keys(), pa.string()), pa.array(counts.values(), pa.int64()))
        for moment in (min(found), max(found)):
            at = (moment.toordinal() - _EPOCH) * 86_400
            if isinstance(moment, datetime):
                at += moment.hour * 3600 + moment.minute * 60 + moment.second
            self._ends = _ends([*self._ends, at * 10**9])
        return True

    def _add(self, moments: pa.Array, factor: int) -> None:
        ends = pc.min_max(moments)
        self._ends = _ends([*self._ends, ends["min"].as_py() * factor, ends["max"].as_py() * factor])

    @property
    def bounds(self) -> tuple[Json, Json]:
        """The earliest and the latest, without zeros at the end of the fraction."""
        return self._text(self._ends[0]), self._text(self._ends[1])

    def _text(self, nanoseconds: int) -> str:
        seconds, rest = divmod(nanoseconds, 10**9)
        try:
            text = str(_UNIX + timedelta(seconds=seconds))
        except OverflowError:  # the year 0
            text = pc.cast(pa.scalar(seconds, pa.timestamp("s")), pa.string()).as_py()
        if self.type == "date":
            return text[:10]
        fraction = f".{rest:09d}".rstrip("0") if rest else ""
        return text + fraction + ("Z" if self.type == "timestamp with zone" else "")


class Days:
    """Days that are not ISO 8601: `2024/01/31`, or day and month before the year, in one of two orders. One separator in the column."""

    mean: float | None = None

    def __init__(self, mark: str, *, year_first: bool) -> None:
        self._mark = mark
        self._ends: dict[str, list[date]] = {"ymd": []} if year_first else {"dmy": [], "mdy": []}
        self._known: set[str] = set()
        self._date_order: str | None = None
        self._mixed = False
        self.against: str | None = None

    def take(self, texts: pa.Array, counts: pa.Array) -> bool:  # noqa: ARG002
        """Whether at least one order makes days of all of them."""
        return self._take(texts.to_pylist())

    def take_few(self, counts: Mapping[str, int]) -> bool:
        """The same for few."""
        return self._take(counts)

    def decide(self, date_order: str | None) -> None:
        """What a person said that decides where both orders fit."""
        self._date_order = date_order

    def _take(self, texts: Iterable[str]) -> bool:
        new = [text for text in texts if text not in self._known]
        for text in new:
            days = self._days(text)
            fitting = {order: ends for order, ends in self._ends.items() if order in days}
            if not fitting:
                self._mixed, self.against = bool(days), text
                return False
            self._ends = {order: _ends([*ends, days[order]]) for order, ends in fitting.items()}
        if len(self._known) < KNOWN_DAYS:
            self._known.update(new)
        return True

    def _days(self, text: str) -> dict[str, date]:
        if "ymd" in self._ends:
            day = _day(*text.split("/")) if year_first(text) else None
            return {"ymd": day} if day else {}
        match = DAY.fullmatch(text)
        if match is None or text.count(self._mark) != 2:
            return {}
        first, _, second, year = match.groups()
        found = {"dmy": _day(year, second, first), "mdy": _day(year, first, second)}
        return {order: day for order, day in found.items() if day}

    @property
    def _order(self) -> str | None:
        if len(self._ends) == 1:
            return next(iter(self._ends))
        return self._date_order if self._date_order in self._ends else None

    @property
    def type(self) -> str:
        """date, or string where the values leave open which of two days they are."""
        return "date" if self._order else "string"

    @property
    def format(self) -> str | None:
        """How the text of the date is to be read."""
        return None if self._order is None else self._mark.join({"d": "DD", "m": "MM", "y": "YYYY"}[part] for part in self._order)

    @property
    def reason(self) -> str | None:
        """Why it is no date."""
        if self._mixed:
            return f"mixed orders: some are DD{self._mark}MM{self._mark}YYYY and some MM{self._mark}DD{self._mark}YYYY"
        if self.against is not None or self._order:
            return None
        return f"ambiguous: all values are days as DD{self._mark}MM{self._mark}YYYY and as MM{self._mark}DD{self._mark}YYYY"

    @property
    def bounds(self) -> tuple[Json, Json]:
        """The earliest and the latest, as ISO 8601."""
        assert self._order
        ends = self._ends[self._order]
        return str(ends[0]), str(ends[1])


def year_first(text: str) -> bool:
    """Whether it has the form `2024/01/31`."""
    return len(text) == 10 and text[4] == text[7] == "/" and (text[:4] + text[5:7] + text[8:]).isdecimal() and text.isascii()


_UNIX = datetime(1970, 1, 1)  # noqa: DTZ001 - a timestamp without a zone, or one in UTC
_EPOCH = _UNIX.toordinal()


def _day(year: str, month: str, day: str) -> date | None:
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


def _ends(values: list) -> list:  # type: ignore[type-arg]
    return [min(values), max(values)]


def _cast(values: pa.Array, to: pa.DataType) -> pa.Array | None:
    try:
        return pc.cast(values, to)
    except pa.ArrowInvalid:
        return None
