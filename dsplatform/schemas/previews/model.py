"""What somebody wants to see of a table, and what became of it: the two messages between us and the child that looks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from dsplatform.core.domain import ValueObject
from dsplatform.schemas.model import Column, Json, Table

NANOSECONDS = ("1677-09-22", "2262-04-11")
"""Days between which a timestamp fits into nanoseconds of 64 bits."""


class Form(StrEnum):
    """What rows are answered as."""

    JSON = "json"
    CSV = "csv"
    ARROW = "arrow"
    """An Arrow IPC stream."""


class Cut(StrEnum):
    """Why a page ends before its limit of rows, although there may be more."""

    SIZE = "size"
    TIME = "time"


@dataclass(frozen=True)
class Condition(ValueObject):
    """`column operator value`; the value is None where the operator asks for null."""

    column: str
    operator: str
    value: str | None = None


@dataclass(frozen=True)
class Look(ValueObject):
    """Rows of one table that are wanted, and where their bytes go."""

    target: str
    """Path of the file that the answer is written to."""
    form: Form
    table: str | None
    columns: tuple[Column, ...]
    """All of the table's, as captured."""
    chosen: tuple[str, ...]
    """Names of those that are answered, in that order."""
    conditions: tuple[Condition, ...]
    start: int
    """Rows of the table before the first one that is looked at."""
    limit: int
    """Rows that are answered, at most."""
    size: int
    """Bytes that are answered, at most."""
    seconds: float
    """How long matching rows are sought, from the first one that is looked at, until the page ends with what was found."""
    details: Mapping[str, Json] = field(default_factory=dict)
    """Of the file's layout, as captured."""
    fine: tuple[str, ...] = ()
    """Columns of timestamps whose values all fit into nanoseconds."""
    spreadsheet: bool = False
    """Whether CSV is written so that no spreadsheet takes a text for a formula."""

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """The look that `plain()` was called on."""
        return cls(
            **{
                **plain,
                "form": Form(plain["form"]),
                "columns": tuple(Column(**column) for column in plain["columns"]),
                "chosen": tuple(plain["chosen"]),
                "conditions": tuple(Condition(**condition) for condition in plain["conditions"]),
                "fine": tuple(plain["fine"]),
            }
        )


@dataclass(frozen=True)
class Looked(ValueObject):
    """What was found."""

    reason: str | None
    """Why nothing could be answered; None: it was."""
    rows: int = 0
    position: int = 0
    """Rows of the table before the first one that was not looked at, or did not fit."""
    ended: bool = False
    """Whether that is the end of the table."""
    cut: Cut | None = None

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """The answer that `plain()` was called on."""
        return cls(**{**plain, "cut": None if plain["cut"] is None else Cut(plain["cut"])})


def fine_columns(table: Table) -> tuple[str, ...]:
    """The columns of timestamps that all fit into nanoseconds, as their profile says."""
    return tuple(
        column.name
        for column, profile in zip(table.columns, table.profile, strict=False)
        if column.type.startswith("timestamp")
        and isinstance(profile.low, str)
        and isinstance(profile.high, str)
        and NANOSECONDS[0] <= profile.low
        and profile.high < NANOSECONDS[1]
    )
