"""Which of the columns that went is likely which of those that came. Pure.

How sure that is lies between 0 and 1:

- The candidates are pairs of the same type at the same place: the same number of unmatched columns lie between them and the column
  before (or after) that both tables have. Place and type alone are worth 0.3.
- With profiles of both it is 0.1 + 0.85 x how alike the values are (`likeness`): 0.95 where all figures agree, 0.1 where none does.
- Names that differ only in case, blanks and marks (`Order Date`, `order_date`) are worth 0.95, at any place; 0.8 where the type was
  widened, too.

From 0.7 on it is told as a rename: place and type alone never are, and no verdict depends on it.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from dsplatform.core.domain import ValueObject
from dsplatform.schemas.comparing.widening import Kind, kind_of_change
from dsplatform.schemas.model import Column, ColumnProfile, Json

TOLD_FROM = 0.7

Profiles = Mapping[str, ColumnProfile]
"""Of the columns of one table, by name."""


@dataclass(frozen=True)
class Renamed(ValueObject):
    """A column that went and one that came, which are likely one. Both are in `removed` and `added`, too."""

    before: Column
    after: Column
    confidence: float
    """0 to 1; the module says how it comes about."""

    def sentence(self) -> str:
        """The rename in words."""
        type_ = self.after.type if self.before.type == self.after.type else f"{self.before.type}, now {self.after.type}"
        return f"column {self.before.name!r} was renamed to {self.after.name!r} ({type_:.200}, {self.confidence:.0%} sure)"


def renames(
    before: Sequence[Column],
    after: Sequence[Column],
    profiles: tuple[Profiles, Profiles] = ({}, {}),
    rows: tuple[int | None, int | None] = (None, None),
) -> tuple[Renamed, ...]:
    """The likely renames between two lists of columns, in the order of `before`; each column is in one at most, the surest first."""
    kept = {column.name for column in before} & {column.name for column in after}
    if len(kept) in {len(before), len(after)}:
        return ()
    left, right = _unmatched(before, kept), _unmatched(after, kept)
    found = {
        (old.name, new.name): (_confidence(old, new, profiles, rows, same_place=same_place), old, new)
        for same_place, old, new in [*_alike(left, right), *_at_one_place(left, right)]
    }
    position = {column.name: index for index, column in enumerate(before)}
    taken: set[tuple[str, str]] = set()
    chosen = []
    for sure, old, new in sorted(found.values(), key=lambda item: (-item[0], position[item[1].name], item[2].name)):
        if sure >= TOLD_FROM and ("before", old.name) not in taken and ("after", new.name) not in taken:
            taken |= {("before", old.name), ("after", new.name)}
            chosen.append(Renamed(old, new, round(sure, 2)))
    return tuple(sorted(chosen, key=lambda renamed: position[renamed.before.name]))


_Place = tuple[str | None, int]
_Unmatched = list[tuple[Column, _Place, _Place]]


def _unmatched(columns: Sequence[Column], kept: set[str]) -> _Unmatched:
    """Each column that only one table has, with its place after the kept column before it and before the kept one after it."""
    forward = list(_places(columns, kept))
    backward = list(_places(list(reversed(columns)), kept))
    return [(column, place, other) for (column, place), (_, other) in zip(forward, reversed(backward), strict=True)]


def _places(columns: Sequence[Column], kept: set[str]) -> Iterator[tuple[Column, _Place]]:
    anchor, count = None, 0
    for column in columns:
        if column.name in kept:
            anchor, count = column.name, 0
        else:
            yield column, (anchor, count)
            count += 1


def _at_one_place(left: _Unmatched, right: _Unmatched) -> Iterator[tuple[bool, Column, Column]]:
    for side in (1, 2):
        places = {item[side]: item[0] for item in right}
        for item in left:
            new = places.get(item[side])
            if new is not None and new.type == item[0].type:
                yield True, item[0], new


def _alike(left: _Unmatched, right: _Unmatched) -> Iterator[tuple[bool, Column, Column]]:
    names: dict[str, Column] = {}
    for new, *_ in right:
        names.setdefault(folded(new.name), new)
    for old, *_ in left:
        if (match := names.get(folded(old.name))) is not None:
            yield False, old, match


def folded(name: str) -> str:
    """The letters and digits of a name, without case and width."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())


def _confidence(
    old: Column, new: Column, profiles: tuple[Profiles, Profiles], rows: tuple[int | None, int | None], *, same_place: bool
) -> float:
    sure = 0.0
    if folded(old.name) and folded(old.name) == folded(new.name):
        sure = 0.95 if old.type == new.type else 0.8 * (kind_of_change(old.type, new.type) is Kind.WIDENED)
    if same_place and old.type == new.type:
        one, other = profiles[0].get(old.name), profiles[1].get(new.name)
        alike = None if one is None or other is None else likeness(one, other, rows)
        sure = max(sure, 0.3 if alike is None else 0.1 + 0.85 * alike)
    return sure


def likeness(one: ColumnProfile, other: ColumnProfile, rows: tuple[int | None, int | None] = (None, None)) -> float | None:
    """How alike the values of two columns of one type are, 0 to 1; None where there is nothing to compare.

    The mean of what both profiles tell, content counting three times: the share of rows without a value; the share of different values;
    the most frequent values of columns whose values repeat; the ranges of numbers and times (the quotient of their sizes, less the gap
    between them), and of texts whether bounds are the same; the least, greatest and mean length of texts (the mean of their quotients).
    """
    seen = [
        (1, _near(_share(one.nulls, rows[0]), _share(other.nulls, rows[1]))),
        (1, _near(_spread(one, rows[0]), _spread(other, rows[1]))),
        (3, _common(one, other, rows)),
        (3, _ranges(one, other)),
        (3, _lengths(one, other)),
    ]
    known = [(weight, value) for weight, value in seen if value is not None]
    if not any(weight > 1 for weight, _ in known):
        return None
    return sum(weight * value for weight, value in known) / sum(weight for weight, _ in known)


def _share(count: int | None, rows: int | None) -> float | None:
    if count is None or rows is None or rows <= 0:  # footers can tell of more empty values than rows
        return None
    return min(1.0, count / rows)


def _spread(profile: ColumnProfile, rows: int | None) -> float | None:
    """The share of different values among those that there are."""
    return None if rows is None or profile.nulls is None else _share(profile.distinct, rows - profile.nulls)


def _near(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else 1 - abs(one - other)


def _common(one: ColumnProfile, other: ColumnProfile, rows: tuple[int | None, int | None]) -> float | None:
    spreads = _spread(one, rows[0]), _spread(other, rows[1])
    if any(spread is None or spread > 0.5 for spread in spreads):
        return None
    mine, others = ({value for value, _ in profile.top} for profile in (one, other))
    return len(mine & others) / len(mine | others) if mine and others else None


def _ranges(one: ColumnProfile, other: ColumnProfile) -> float | None:
    bounds = [_number(bound) for bound in (one.low, one.high, other.low, other.high)]
    numbers = [bound for bound in bounds if bound is not None]
    if len(numbers) < 4:  # texts: that bounds are the same says something, that they are not says nothing
        same = [
            mine == others for mine, others in ((one.low, other.low), (one.high, other.high)) if mine is not None and others is not None
        ]
        return sum(same) / len(same) if any(same) else None
    (a, b), (c, d) = sorted(numbers[:2]), sorted(numbers[2:])  # texts of numbers do not stand in their order
    whole = max(b, d) - min(a, c)
    gap = max(0.0, max(a, c) - min(b, d))
    return _quotient(b - a, d - c) * (1 - (gap / whole if whole > 0 else 0.0))


def _lengths(one: ColumnProfile, other: ColumnProfile) -> float | None:
    if one.lengths is None or other.lengths is None:
        return None
    return _mean(_quotient(mine, others) for mine, others in zip(one.lengths, other.lengths, strict=True))


def _quotient(one: float, other: float) -> float:
    """The smaller by the greater, neither of them negative; 1 for two zeros."""
    return min(one, other) / max(one, other) if max(one, other) > 0 else 1.0


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def _number(bound: Json) -> float | None:
    """A bound of numbers or times as a number; None for other text."""
    if isinstance(bound, bool) or not isinstance(bound, (int, float, str)):
        return None
    try:
        number = float(bound)
    except OverflowError:
        return None
    except ValueError:
        try:
            number = _since_epoch(datetime.fromisoformat(str(bound)))
        except ValueError:
            return None
    return number if abs(number) < 1e300 else None  # so that distances are finite


def _since_epoch(moment: datetime) -> float:
    return (moment.replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()  # noqa: DTZ001 - both without a zone: only distances count
