"""A text column: its type and its profile, from all its values, batch by batch. The outcome does not depend on the order of the rows.

A column becomes typed only when each value converts and back without loss, as docs/schemas.md lists. What a value is depends on its text
alone, so each batch is first reduced to its different texts and how often each stands.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from operator import mul
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from dsplatform.schemas.model import NO_HINTS, PROFILE_TEXT, Column, ColumnProfile, Hints, Json
from dsplatform.schemas.profiles.frequencies import LIMIT, Frequencies
from dsplatform.schemas.profiles.profiling import Lengths, lengths_with, mean_length, text_lengths
from dsplatform.schemas.text.moments import BOOLEANS, DAY, TIME, Days, Moments, Times, Truths, year_first
from dsplatform.schemas.text.numbers import NUMBER, Numbers

LOOKED_AT = 20
"""Different values at the top of a column that show what it looks like."""

_number, _time = re.compile(NUMBER), re.compile(TIME)
_zone, _date = re.compile(r"(Z|[+-]\d\d:?(\d\d)?)$"), re.compile(r"\d{4}-\d\d-\d\d")


class Form(Protocol):
    """What all values of a column may have in common. It knows the type when it took all of them; `against` is the value it refused
    where that is not the first that it would not take alone."""

    def take(self, texts: pa.Array, counts: pa.Array) -> bool: ...
    def take_few(self, counts: Mapping[str, int]) -> bool: ...
    @property
    def against(self) -> str | None: ...
    @property
    def mean(self) -> float | None: ...
    @property
    def type(self) -> str: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def bounds(self) -> tuple[Json, Json]: ...


def kind_of(value: str) -> str:
    """What one value looks like: boolean, number, date, time, timestamp, timestamp with zone, `2024/`, a day such as `day/`, or string."""
    if not value or (value[0] not in "-0123456789" and value not in BOOLEANS):
        return "string"
    if value in BOOLEANS:
        return "boolean"
    if _number.match(value) and value != "-0" and value[-1] != "\n":
        return "number"
    if value.isdigit():
        return "string"
    if _date.match(value):
        if len(value) == 10:
            return "date"
        return "timestamp with zone" if _zone.search(value[10:]) else "timestamp"
    if year_first(value):
        return "2024/"
    if (day := DAY.fullmatch(value)) and value.count(day[2]) == 2:
        return f"day{day[2]}"
    return "time" if _time.match(value) and value[-1] != "\n" else "string"


def form_of(kind: str) -> Form | None:
    """The form of a column whose values look like this; none for strings."""
    match kind:
        case "number":
            return Numbers()
        case "boolean":
            return Truths()
        case "time":
            return Times()
        case "date" | "timestamp" | "timestamp with zone":
            return Moments(kind)
        case "string":
            return None
    return Days(kind[-1], year_first=kind == "2024/")


class TextColumn:
    """Takes the batches of one column; knows its type and profile when all have been added."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.nulls = 0
        self._rows = 0
        self._frequencies = Frequencies(limit)
        self._ends: tuple[str, str] | None = None
        self._lengths: Lengths | None = None
        self._kind: str | None = None  # what the first values look like
        self._form: Form | None = None  # none once a value spoke against it
        self._against: dict[str, Json] = {}

    def add(self, values: pa.StringArray) -> None:
        """The next rows; null where the field was empty."""
        self.nulls += values.null_count
        if values.null_count < len(values):
            texts, counts = self._frequencies.take(values)
            ends = pc.min_max(texts)
            self._extend(ends["min"].as_py(), ends["max"].as_py())
            self._lengths = lengths_with(self._lengths, text_lengths(texts), counts)
            if self._kind is None:
                self._look_at(texts[:LOOKED_AT].to_pylist())
            if self._form is not None and not self._form.take(texts, counts):
                self._speak_against(texts.to_pylist(), lambda text: int(pc.index(values, pa.scalar(text, pa.string())).as_py()))
        self._rows += len(values)

    def add_texts(self, values: Sequence[str]) -> None:
        """The same for few rows, an empty text being null. Python takes them in a tenth of Arrow's time."""
        counts: Mapping[str, int] = Counter(values)
        before = self.nulls
        if "" in counts:
            self.nulls += counts[""]
            counts = {text: count for text, count in counts.items() if text}
        if counts:
            lengths = list(map(len, counts))
            low, high, number = min(lengths), max(lengths), len(values) - self.nulls + before
            self._frequencies.add_counts(counts, high)
            self._extend(min(counts), max(counts))
            total = sum(lengths) if number == len(counts) else sum(map(mul, lengths, counts.values()))
            if self._lengths is not None:
                known = self._lengths
                low, high, total, number = min(low, known[0]), max(high, known[1]), total + known[2], number + known[3]
            self._lengths = low, high, total, number
            if self._kind is not None or not self._take_first(counts):
                if self._kind is None:
                    self._look_at(islice(counts, LOOKED_AT))
                if self._form is not None and not self._form.take_few(counts):
                    self._speak_against(list(counts), values.index)
        self._rows += len(values)

    @property
    def type(self) -> str:
        """The logical type without hints: null when there was no value."""
        return self.column("", NO_HINTS).type

    def column(self, name: str, hints: Hints) -> Column:
        """The column, where `hints` decides what its values leave open."""
        if isinstance(self._form, Days):
            self._form.decide(hints.date_order)
        type_ = "null" if self._kind is None else self._form.type if self._form is not None else "string"
        format_ = self._form.format if isinstance(self._form, Days) else None
        return Column(name, type_, self.nulls > 0 or self._rows == 0, format_)

    def untyped(self) -> dict[str, Json] | None:
        """Why a column that looks typed is a string: the first row (from 1) and value that spoke against it, or a reason."""
        if self._against:
            return self._against
        if self._form is None or self._form.type != "string":
            return None
        return {"looks_like": _LOOKS.get(self._kind or "", self._kind), "reason": self._form.reason}

    def profile(self) -> ColumnProfile:
        """What the values are like: text by text, but the extremes in the order of the type; after `column`."""
        typed = self._form is not None and self._form.type != "string"
        found = self._frequencies
        low, high = self._form.bounds if self._form is not None and typed else self._ends or (None, None)
        return ColumnProfile(
            nulls=self.nulls,
            distinct=found.distinct,
            distinct_exact=found.exact,
            low=low,
            high=high,
            mean=self._form.mean if self._form is not None and typed else None,
            lengths=None if typed else mean_length(self._lengths),
            top=found.top,
            examples=found.examples,
        )

    def _extend(self, low: str, high: str) -> None:
        if self._ends is not None:
            low, high = min(low, self._ends[0]), max(high, self._ends[1])
        # What is cut off is never missed: of two that begin alike, either is shown by its beginning.
        self._ends = low[:PROFILE_TEXT], high[:PROFILE_TEXT]

    def _take_first(self, counts: Mapping[str, int]) -> bool:
        """Mostly all look like the first: nothing else needs to be looked at then."""
        kind = kind_of(next(iter(counts)))
        form = form_of(kind)
        if form is None or not form.take_few(counts):
            return False
        self._kind, self._form = kind, form
        return True

    def _look_at(self, texts: Iterable[str]) -> None:
        kinds = Counter(map(kind_of, texts))
        kind, often = kinds.most_common(1)[0]
        self._kind = kind if often * 2 > kinds.total() else "string"
        if len(kinds) > 1 and kinds.keys() == {"date", "timestamp"}:
            self._kind = "timestamp"
        self._form = form_of(self._kind)

    def _speak_against(self, texts: Sequence[str], index: Callable[[str], int]) -> None:
        """The form refused some of these different texts, which are in the order of the rows: finds the first."""
        assert self._form is not None
        assert self._kind is not None
        text = self._form.against or next((text for text in texts if not _suits(text, self._kind)), None)
        self._against = {"looks_like": _LOOKS.get(self._kind, self._kind)}
        if text is not None:
            self._against |= {"row": self._rows + index(text) + 1, "value": text[:PROFILE_TEXT]}
        if self._form.reason and (text is None or self._form.against):
            self._against["reason"] = self._form.reason
        self._form = None


_LOOKS = {"2024/": "date", "day/": "date", "day.": "date", "day-": "date"}


def _suits(text: str, kind: str) -> bool:
    """Whether a column of this one value would have the kind."""
    form = form_of(kind)
    if form is None or not form.take_few({text: 1}):
        return False
    return not isinstance(form, Numbers) or form.type != "string"
