"""What is to become Parquet, and what became of it: the two messages between us and the child that writes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from dsplatform.core.domain import ValueObject
from dsplatform.schemas.model import Column, Json

CONVERTER_VERSION = 1
"""Part of the name under which what was written is kept: raise it when the same bytes would become other Parquet."""


@dataclass(frozen=True)
class Conversion(ValueObject):
    """One table of a file, and where its Parquet goes."""

    target: str
    """Path of the file that is written."""
    table: str | None
    columns: tuple[Column, ...]
    """As captured."""
    rows: int | None
    """As captured; None: not counted."""
    most_bytes: int
    """What may be written, at most."""
    details: Mapping[str, Json] = field(default_factory=dict)
    """Of the file's layout, as captured."""
    fine: tuple[str, ...] = ()
    """Columns of timestamps whose values all fit into nanoseconds."""

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """The conversion that `plain()` was called on."""
        columns = tuple(Column(**column) for column in plain["columns"])
        return cls(**{**plain, "columns": columns, "fine": tuple(plain["fine"])})


@dataclass(frozen=True)
class Converted(ValueObject):
    """What became of it."""

    reason: str | None
    """Why there is no Parquet; None: it was written."""
    rows: int = 0

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """The answer that `plain()` was called on."""
        return cls(**plain)
