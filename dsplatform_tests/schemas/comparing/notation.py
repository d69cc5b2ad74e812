"""Schemas as docs/schema-changes.md writes them, with the profiles of what stands behind `=`."""

import re
from collections import Counter, defaultdict

from dsplatform.schemas.comparing.comparison import Profiles
from dsplatform.schemas.model import Column, ColumnProfile, FileCapture, Json, Table, VersionSchema

_COMPONENT = re.compile(r"\s*(?P<name>[\w./-]+)(\[(?P<sheet>[^\]]*)\])?(\{(?P<details>[^}]*)\})?:(?P<rest>.*)", re.DOTALL)
_COLUMN = re.compile(
    r'\s*(?P<name>"[^"]*"|[^\s"]+)\s+(?P<type>[^?@=]+?)\s*(?P<null>\?)?(@(?P<format>\S+))?\s*(=(?P<values>.*))?', re.DOTALL
)
TEXT: dict[str, Json] = {"delimiter": ",", "encoding": "utf-8", "header": True, "compression": None}
_WORDS: dict[str, Json] = {"tab": "\t", "yes": True, "no": False}


def schema(text: str) -> VersionSchema:
    """The schema that is written so."""
    return parsed(text)[0]


def parsed(text: str) -> tuple[VersionSchema, Profiles]:
    """The schema and the profiles of the tables that have values."""
    tables: dict[str, list[Table]] = defaultdict(list)
    captures: dict[str, FileCapture] = {}
    profiles = {}
    for part in text.split(";") if text.strip() not in {"", "-"} else []:
        match = _COMPONENT.fullmatch(part) or _COMPONENT.fullmatch(f"x: {part}")
        assert match, part
        name, rest = match["name"], match["rest"].strip()
        if rest in {"unreadable", "opaque"}:
            captures[name] = getattr(FileCapture, rest)("pdf")
            continue
        details: dict[str, Json] = {"format": "csv" if match["sheet"] is None else "xlsx", "rows": 4}
        for item in (match["details"] or "").split():
            key, _, word = item.partition("=")
            details[key] = int(word) if word.isdigit() else _WORDS.get(word, word)
        columns = [_column(item) for item in _split(rest)]
        sheet, _, hidden = (match["sheet"] or "").partition(" ")
        rows = int(str(details.pop("rows")))
        of_table: dict[str, Json] = {"hidden": True} if hidden else {}
        table = Table(sheet or None, tuple(column for column, _ in columns), rows, of_table)
        tables[name].append(table)
        if any(values for _, values in columns):
            profiles[name, table.name] = tuple(profile(column.type, values) for column, values in columns)
        format_ = str(details.pop("format"))
        notes = {"note": details.pop("notes")} if "notes" in details else {}
        if format_ == "csv":
            details = {**TEXT, **details}
        captures[name] = FileCapture.ok(format_, tuple(tables[name]), details, notes)
    return VersionSchema.compose(captures), profiles


def _split(text: str) -> list[str]:
    """At the commas that stand in no brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "<(") - (letter in ">)")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part.strip()]


def _column(text: str) -> tuple[Column, list[str]]:
    match = _COLUMN.fullmatch(text)
    assert match, text
    column = Column(match["name"].strip('"'), match["type"].strip(), nullable=bool(match["null"]), format=match["format"])
    return column, (match["values"] or "").split()


def profile(type_: str, values: list[str]) -> ColumnProfile:
    """What a profiler says of these values."""
    if not values:
        return ColumnProfile()
    numbers = [float(value) for value in values] if type_ in {"int64", "float64"} else []
    lengths = (min(map(len, values)), max(map(len, values)), sum(map(len, values)) / len(values)) if type_ == "string" else None
    counts = Counter(values).most_common(5)
    return ColumnProfile(
        nulls=0,
        distinct=len(set(values)),
        distinct_exact=True,
        low=min(numbers or values),
        high=max(numbers or values),
        mean=sum(numbers) / len(numbers) if numbers else None,
        lengths=lengths,
        top=tuple(counts) if counts[0][1] > 1 else (),
        examples=tuple(dict.fromkeys(values))[:3],
    )
