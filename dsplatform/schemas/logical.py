"""Logical types: the one vocabulary that every format is described in. A type is written as text, such as `list<decimal(10,2)>`.

docs/schemas.md says what each means and what each format's own types become.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

SIMPLE = frozenset(
    {
        "boolean",
        "int64",
        "uint64",
        "float64",
        "date",
        "time",
        "timestamp",
        "timestamp with zone",
        "duration",
        "string",
        "binary",
        "null",
    }
)
NESTED = frozenset({"list", "struct", "map", "union"})

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*")|(decimal)\((\d+),(-?\d+)\)|(timestamp with zone|[A-Za-z_][A-Za-z0-9_]*)|([<>,:]))')


@dataclass(frozen=True)
class LogicalType:
    """A parsed type. `digits` is (precision, scale) of a decimal; `fields` are the parts of a nested one: a list's item, a map's key and
    value, a union's members, and with their names a struct's."""

    name: str
    digits: tuple[int, int] | None = None
    fields: tuple[tuple[str, "LogicalType"], ...] = ()

    @classmethod
    def of(cls, name: str, *inner: "LogicalType") -> Self:
        """A type whose parts have no names."""
        return cls(name, fields=tuple(("", part) for part in inner))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The type that is written so. Raises `ValueError` for what is no logical type."""
        tokens = _tokens(text)
        found = cls._parse(tokens, text)
        if next(tokens, None) is not None:
            raise ValueError(f"{text!r} is not a logical type: it goes on after its end")
        return found

    @classmethod
    def _parse(cls, tokens: Iterator[re.Match[str]], text: str) -> Self:
        token = next(tokens, None)
        if token is not None and token[2]:
            return cls("decimal", (int(token[3]), int(token[4])))
        name = None if token is None else token[5]
        if name in SIMPLE:
            return cls(name)
        if name not in NESTED:
            raise ValueError(f"{text!r} is not a logical type")
        _expect(tokens, "<", text)
        fields: list[tuple[str, LogicalType]] = []
        mark = ","
        while mark == ",":
            field = ""
            if name == "struct":
                given = next(tokens, None)
                if given is not None and given[6] == ">" and not fields:
                    return cls(name)
                if given is None or not (given[1] or given[5]):
                    raise ValueError(f"{text!r} is not a logical type: a struct's field needs a name")
                field = json.loads(given[1]) if given[1] else given[5]
                _expect(tokens, ":", text)
            fields.append((field, cls._parse(tokens, text)))
            mark = _expect(tokens, ",>", text)
        return cls(name, fields=tuple(fields))

    @property
    def parts(self) -> tuple["LogicalType", ...]:
        """The types of the fields."""
        return tuple(part for _, part in self.fields)

    def __str__(self) -> str:
        """As it is written; `parse` reads it back."""
        if self.digits is not None:
            return f"decimal({self.digits[0]},{self.digits[1]})"
        if self.name not in NESTED:
            return self.name
        if self.name == "struct":
            return f"struct<{', '.join(f'{_name(name)}: {part}' for name, part in self.fields)}>"
        return f"{self.name}<{', '.join(map(str, self.parts))}>"


def _name(name: str) -> str:
    plain = _PLAIN_NAME.fullmatch(name) and name not in SIMPLE and name not in NESTED and name != "decimal"
    return name if plain else json.dumps(name)


def _tokens(text: str) -> Iterator[re.Match[str]]:
    at, text_end = 0, len(text.rstrip())
    while at < text_end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"{text!r} is not a logical type")
        yield match
        at = match.end()


def _expect(tokens: Iterator[re.Match[str]], marks: str, text: str) -> str:
    token = next(tokens, None)
    if token is None or not token[6] or token[6] not in marks:
        raise ValueError(f"{text!r} is not a logical type: {' or '.join(marks)} is missing")
    return token[6]
