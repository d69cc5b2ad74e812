"""Which logical type holds all values of which: what makes a changed type harmless or not. Pure."""

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache

from dsplatform.schemas.logical import LogicalType

Difference = tuple[str, LogicalType | None, LogicalType | None]
"""(path, before, after): None where the part is not there. The path goes on after the column's name: `.field`, `[]` for the items of a
list, `{key}` and `{}` for keys and values of a map; empty for the column itself."""

_WIDER = frozenset({("int64", "float64"), ("uint64", "float64"), ("date", "timestamp")})
_DIGITS = {"int64": 19, "uint64": 20}


class Kind(StrEnum):
    """How a type changed."""

    WIDENED = "widened"
    """Every value of the old type is one of the new."""
    EMPTIED = "emptied"
    """Widened or the same, but for parts in which no row has a value any more."""
    NARROWED = "narrowed"
    """Every value of the new type is one of the old, and not the other way round."""
    CHANGED = "changed"
    """None of these."""


def widens(before: str, after: str) -> bool:
    """Whether every value of the logical type `before` is a value of `after`, as readers take them: int64 to float64 counts, and a struct
    may gain fields. It is reflexive and transitive; two types that widen each other differ at most in the order of their parts, or in
    members of a union that another member holds."""
    if before == after:
        return True
    types = _parsed(before), _parsed(after)
    return types[0] is not None and types[1] is not None and _holds(types[1], types[0])


@lru_cache(16_384)
def kind_of_change(before: str, after: str) -> Kind:
    """How a type became another. What is no logical type (of a capture by an older reader) has only changed."""
    if widens(before, after):
        return Kind.WIDENED
    if widens(before, remembered(before, after)):
        return Kind.EMPTIED
    return Kind.NARROWED if widens(after, before) else Kind.CHANGED


def remembered(before: str, after: str) -> str:
    """`after`, with what `before` knew about the parts that have no values any more: `int64` for int64 and null."""
    old, new = _parsed(before), _parsed(after)
    return after if old is None or new is None else str(_remembered(old, new))


def differences(before: str, after: str) -> list[Difference]:
    """Where two types differ, as deep as they are built alike. Empty for equal types, and for what is no logical type."""
    old, new = _parsed(before), _parsed(after)
    return [] if old is None or new is None else list(_differences("", old, new))


@lru_cache(16_384)
def _parsed(text: str) -> LogicalType | None:
    try:
        return LogicalType.parse(text)
    except ValueError:
        return None


def _holds(wide: LogicalType, type_: LogicalType) -> bool:
    """Whether `wide` has all values of the type."""
    if type_.name == "null" or type_ == wide:
        return True
    if type_.name == "union":
        return all(_holds(wide, part) for part in type_.parts)
    if wide.name == "union":
        return any(_holds(part, type_) for part in wide.parts)
    if type_.name == wide.name and type_.fields:
        mine, others = _fields(type_), _fields(wide)
        return mine.keys() <= others.keys() and all(_holds(others[key], part) for key, part in mine.items())
    if wide.digits is not None:
        precision, scale = wide.digits
        if type_.digits is not None:
            return scale >= type_.digits[1] and precision - scale >= type_.digits[0] - type_.digits[1]
        return scale >= 0 and precision - scale >= _DIGITS.get(type_.name, precision + 1)
    return (type_.name, wide.name) in _WIDER or type_.name == wide.name == "struct"


def _fields(type_: LogicalType) -> dict[tuple[str, int], LogicalType]:
    """The parts by name, where it is given, and by which of that name it is."""
    seen: Counter[str] = Counter()
    found = {}
    for name, part in type_.fields:
        found[name, seen[name]] = part
        seen[name] += 1
    return found


def _remembered(old: LogicalType, new: LogicalType) -> LogicalType:
    if new.name == "null":
        return old
    if new.name != old.name or new.name == "union":
        return new
    known = _fields(old)
    parts = [_remembered(known[key], part) if key in known else part for key, part in _fields(new).items()]
    names = [name for name, _ in new.fields]
    return LogicalType(new.name, new.digits, tuple(zip(names, parts, strict=True)))


def _differences(path: str, old: LogicalType, new: LogicalType) -> Iterator[Difference]:
    if old == new:
        return
    if old.name != new.name or old.name not in {"list", "map", "struct"}:
        yield path, old, new
        return
    mine, others = _fields(old), _fields(new)
    found = [part for key in mine for part in _part(path, old.name, key, mine[key], others.get(key))]
    found += [part for key in others if key not in mine for part in _part(path, old.name, key, None, others[key])]
    yield from found or [(path, old, new)]  # the same fields in another order


def _part(path: str, parent: str, key: tuple[str, int], old: LogicalType | None, new: LogicalType | None) -> Iterator[Difference]:
    name, place = key
    step = f".{name}" if parent == "struct" else "[]" if parent == "list" else ("{key}", "{}")[place]
    if old is None or new is None:
        yield path + step, old, new
    else:
        yield from _differences(path + step, old, new)
