"""What a dataset's tables have to be like, and how a version falls short of it. Pure: no file, no database, no clock.

A contract says nothing about what it does not mention. `contract_yaml.py` is how people write it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Self, TypeAlias

from dsplatform.core.domain import ValueObject
from dsplatform.core.errors import Conflict
from dsplatform.schemas.comparing.widening import widens

Scalar: TypeAlias = bool | int | float | str
Comparable: TypeAlias = Decimal | bool | str | date | datetime | time

NUMBERS = ("int64", "uint64", "float64", "decimal")
TIMES = ("date", "time", "timestamp", "timestamp with zone")


class Policy(StrEnum):
    """What becomes of a contract that is not kept."""

    OFF = "off"
    WARN = "warn"
    """The version is made, and the check `contract` says what is wrong with it."""
    ENFORCE = "enforce"
    """The branch does not move."""


class OnBreach(StrEnum):
    """Where an arrival goes that an enforced contract refuses."""

    QUARANTINE = "quarantine"
    """To a branch of its own, `quarantine/<date>`."""
    REJECT = "reject"
    """Nowhere: it is refused."""


class ContractBreached(Conflict):
    """The change would break a contract that is enforced."""

    code = "contract_breached"


@dataclass(frozen=True)
class ColumnRule(ValueObject):
    """What one column has to be like. `low` and `high` belong to the range."""

    required: bool = True
    type: str | None = None
    """A logical type that has to hold every value: a narrower one is fine."""
    nullable: bool = True
    allowed: tuple[Scalar, ...] | None = None
    low: Scalar | None = None
    high: Scalar | None = None


@dataclass(frozen=True)
class TableRule(ValueObject):
    """What the tables of some components have to be like."""

    component: str = "*"
    """A glob over the names of components; `*` goes through slashes, too."""
    sheet: str | None = None
    """A glob over the sheets of a workbook; None: every table."""
    required: bool = True
    """Whether some component has to match."""
    columns: Mapping[str, ColumnRule] | None = None
    unique: tuple[tuple[str, ...], ...] = ()
    """Keys: no two rows have the same values in these columns. A row that lacks one of them has no key."""
    rows_low: int | None = None
    rows_high: int | None = None
    extra_columns: bool = True

    @property
    def rules(self) -> Mapping[str, ColumnRule]:
        """The columns that are named."""
        return self.columns or {}


@dataclass(frozen=True)
class Contract(ValueObject):
    """Rules for the tables of a dataset. Each rule counts for every component that it matches."""

    tables: tuple[TableRule, ...] = ()

    def plain(self) -> dict[str, Any]:
        """The contract as its YAML says it: what is as usual is left out."""
        return {"tables": [_table_plain(table) for table in self.tables]}

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """The contract that `plain()` was called on."""
        return cls(tuple(_read_table(table) for table in plain.get("tables", ())))

    def about(self, component: str) -> list[TableRule]:
        """The rules that count for a component of this name."""
        return [table for table in self.tables if fnmatchcase(component, table.component)]


@dataclass(frozen=True)
class Breach(ValueObject):
    """One way in which a contract is not kept."""

    rule: str
    """`schema`, `unreadable`, `component`, `sheet`, `column`, `type`, `nullable`, `allowed`, `range`, `unique`, `rows`, `extra_columns`."""
    component: str
    table: str | None
    column: str | None
    sentence: str

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Self:
        """The breach that `plain()` was called on."""
        return cls(**{field.name: plain[field.name] for field in fields(cls)})


def _table_plain(table: TableRule) -> dict[str, Any]:
    plain: dict[str, Any] = {"component": table.component}
    plain |= {"sheet": table.sheet} if table.sheet is not None else {}
    plain |= {} if table.required else {"required": False}
    if table.columns is not None:
        plain["columns"] = {name: _column_plain(rule) for name, rule in table.columns.items()}
    plain |= {"unique": [list(key) for key in table.unique]} if table.unique else {}
    rows = _bounds_plain(table.rows_low, table.rows_high)
    plain |= {"rows": rows} if rows else {}
    return plain if table.extra_columns else {**plain, "extra_columns": False}


def _column_plain(rule: ColumnRule) -> dict[str, Any]:
    plain: dict[str, Any] = {} if rule.required else {"required": False}
    plain |= {} if rule.type is None else {"type": rule.type}
    plain |= {} if rule.nullable else {"nullable": False}
    plain |= {} if rule.allowed is None else {"allowed": list(rule.allowed)}
    return plain | _bounds_plain(rule.low, rule.high)


def _bounds_plain(low: Scalar | None, high: Scalar | None) -> dict[str, Scalar]:
    return {name: bound for name, bound in (("min", low), ("max", high)) if bound is not None}


def _read_table(plain: Mapping[str, Any]) -> TableRule:
    columns = plain.get("columns")
    rows = plain.get("rows", {})
    return TableRule(
        plain["component"],
        plain.get("sheet"),
        plain.get("required", True),
        None if columns is None else {name: _read_column(rule or {}) for name, rule in columns.items()},
        tuple(tuple(key) for key in plain.get("unique", ())),
        rows.get("min"),
        rows.get("max"),
        plain.get("extra_columns", True),
    )


def _read_column(plain: Mapping[str, Any]) -> ColumnRule:
    allowed = plain.get("allowed")
    return ColumnRule(
        plain.get("required", True),
        plain.get("type"),
        plain.get("nullable", True),
        None if allowed is None else tuple(allowed),
        plain.get("min"),
        plain.get("max"),
    )


# --- values --------------------------------------------------------------------------------------------------------------------


def family(type_: str) -> str:
    """Types whose values are compared with each other: `number`, `boolean`, `string`, each of the times, else the type itself."""
    return "number" if type_.startswith(NUMBERS) else type_


def measure(type_: str, value: object) -> Comparable:
    """The value as one of its type, to be compared. Raises `ValueError` where it is none, or has no order (`NaN`)."""
    kind = family(type_)
    if kind == "number" and not isinstance(value, bool):
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            raise ValueError(f"{value!r} is no number") from None
        if number.is_nan():
            raise ValueError("NaN is neither less nor greater than a number")
        return number
    if kind == "boolean" and str(value).lower() in {"true", "false"}:
        return str(value).lower() == "true"
    if kind in TIMES and isinstance(value, str):
        return _time(kind, value)
    if kind == "string" and isinstance(value, str):
        return value
    raise ValueError(f"{value!r} is no value of the type {type_}")


def _time(kind: str, value: str) -> Comparable:
    text = re.sub(r"^(\d{4})/(\d{2})/(\d{2})", r"\1-\2-\3", value)
    if kind == "time":
        return time.fromisoformat(text)
    moment = datetime.fromisoformat(text)
    if (moment.tzinfo is not None) is not (kind == "timestamp with zone"):
        raise ValueError(f"{value!r} is no value of the type {kind}: it {'lacks' if moment.tzinfo is None else 'has'} a zone")
    if kind == "date" and moment.time() != time():
        raise ValueError(f"{value!r} is no day")
    return moment


def holds(contract_type: str, type_: str) -> bool:
    """Whether a column of this type has the type that the contract asks for."""
    return widens(type_, contract_type)
