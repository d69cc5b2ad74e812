"""What is odd about a legacy system, and a question to its database that finds all rows which are odd in one way."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import LiteralString

from dsplatform.core.domain import ValueObject
from dsplatform.migration.model import Entity
from dsplatform.migration.source import KEYS, Snapshot

EXAMPLES = 5
"""Rows that an oddity names."""


class Severity(StrEnum):
    """What an oddity asks of people."""

    BLOCKS = "blocks"
    """Migration may not start."""
    DECIDE = "decide"
    """The rows come along as far as they can, and wait in quarantine for somebody who looks at them."""
    NOTE = "note"
    """A rule decides, and what it did is recorded."""


@dataclass(frozen=True)
class Oddity(ValueObject):
    """One kind of odd rows, all of them counted."""

    code: str
    """The number that the description of the legacy system gives it, as `D4.parent`, else a word."""
    title: str
    severity: Severity
    entity: str
    """The table; empty: it is about no rows."""
    count: int
    examples: tuple[str, ...]
    """The first few keys: ids, or `12:34`. Never what a row holds."""
    becomes: str
    """What migration does about it, or what must be done before it."""


@dataclass(frozen=True)
class Question:
    """Finds odd rows. `keys` asks for the keys of exactly the rows that are odd in this way, each once.

    It may name `{label}`, `{author}` and `{made}`: columns that the generations call differently.
    """

    code: str
    title: str
    severity: Severity
    entity: str
    keys: LiteralString
    becomes: str
    needs: tuple[str, ...] = ()
    """Tables, and columns as `files.content_hash`, without which there is nothing to ask."""
    lacks: tuple[str, ...] = ()
    """Tables and columns with which there is nothing to ask."""
    params: tuple[object, ...] = ()

    def ask(self, source: Snapshot) -> Oddity | None:
        """None: nothing is odd in this way, or nothing can be in this database."""
        if not all(_there(source, name) for name in (self.entity, *self.needs)) or any(_there(source, name) for name in self.lacks):
            return None
        order = ", ".join(str(at) for at in range(2, 2 + len(KEYS.get(self.entity, ("id",)))))
        statement = f"SELECT count(*) OVER (), found.* FROM ({self.keys}) found ORDER BY {order} LIMIT %s"  # noqa: S608 - texts of ours
        rows = source.tuples(statement, *self.params, EXAMPLES, **_names(source))
        if not rows:
            return None
        return Oddity(self.code, self.title, self.severity, self.entity, rows[0][0], shown(row[1:] for row in rows), self.becomes)


def shown(keys: Iterable[Sequence[object]]) -> tuple[str, ...]:
    """The first few keys as text."""
    return tuple(":".join(map(str, key)) for _, key in zip(range(EXAMPLES), keys, strict=False))


def known(source: Snapshot) -> list[str]:
    """The tables of the legacy system that are there. Others may lie beside them, and are nobody's business."""
    return [entity for entity in Entity if source.has(entity)]


def _there(source: Snapshot, name: str) -> bool:
    table, _, column = name.partition(".")
    return source.has(table, column or None)


def _names(source: Snapshot) -> dict[str, str]:
    names = {
        "label": ("tags", "tag_name", "name"),
        "author": ("dataset_versions", "uploaded_by", "created_by"),
        "made": ("dataset_versions", "ingestion_timestamp", "created_at"),
    }
    return {name: first if source.has(table, first) else second for name, (table, first, second) in names.items()}
