"""Contracts as people write them: YAML in and out. What is wrong with it is said with its line and the way out."""

import difflib
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import date, datetime
from typing import Any

import yaml

from dsplatform.core.errors import Invalid
from dsplatform.schemas.contracts.model import NUMBERS, TIMES, Contract, measure
from dsplatform.schemas.logical import LogicalType
from dsplatform.schemas.model import storable

LONGEST = 1_000_000
"""Characters of a contract."""

DEEPEST = 20
"""Lists and mappings in each other."""

TABLE_KEYS = ("component", "sheet", "required", "columns", "unique", "rows", "extra_columns")
COLUMN_KEYS = ("required", "type", "nullable", "allowed", "min", "max")

_Path = tuple[str | int, ...]


class ContractUnclear(Invalid):
    """The text is no contract."""

    code = "contract_unclear"


def dump(contract: Contract) -> str:
    """The contract as YAML; `parse` reads it back."""
    text = _written(contract, readable=True)
    # PyYAML writes some line ends of Unicode as they are, and reads them back as blanks.
    return text if parse(text) == contract else _written(contract, readable=False)


def _written(contract: Contract, *, readable: bool) -> str:
    text: str = yaml.safe_dump(contract.plain(), sort_keys=False, allow_unicode=readable, width=120)
    return text


def parse(text: str) -> Contract:
    """The contract that the YAML says. Raises `ContractUnclear` with line, place and way out."""
    if len(text) > LONGEST:
        raise ContractUnclear(f"the contract has {len(text):,} characters: {LONGEST:,} at most")
    try:
        _must_be_flat(text)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        line = "" if mark is None else f"line {mark.line + 1}: "
        raise ContractUnclear(f"{line}this is no YAML: {getattr(err, 'problem', None) or err}") from err
    except ValueError as err:  # such as 2024-02-31, which YAML takes for a date
        raise ContractUnclear(f"a value cannot be read: {err}; write it in quotes if it is text") from err
    lines = dict(_lines(root, ())) if root is not None else {}
    return Contract.read(_Check(lines).document(document))


def of_document(document: Mapping[str, Any]) -> Contract:
    """The contract that was given as JSON. Raises `ContractUnclear`, with the place."""
    try:
        return parse(yaml.safe_dump(document, sort_keys=False))
    except RecursionError as err:
        raise ContractUnclear(f"the contract is nested too deeply: {DEEPEST} lists and mappings in each other at most") from err


def _must_be_flat(text: str) -> None:
    """Raises `ContractUnclear` for what would make much of little: references, and nesting without end."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ContractUnclear("the contract holds a reference (*name): write out what it stands for")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ContractUnclear(f"the contract is nested too deeply: {DEEPEST} lists and mappings in each other at most")


def _lines(node: yaml.Node, path: _Path) -> Iterator[tuple[_Path, int]]:
    """The line of every place, from 1. Raises `ContractUnclear` for a key that stands twice, which YAML would drop."""
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                raise ContractUnclear(f"line {line}: {key.value!r} stands here for the second time, after line {seen[key.value]}: keep one")
            if isinstance(key, yaml.ScalarNode):
                seen[key.value] = line
                yield (*path, key.value), line
                yield from _lines(value, (*path, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for place, item in enumerate(node.value):
            yield from _lines(item, (*path, place))


class _Check:
    """Goes through the document, and answers with its plain form."""

    def __init__(self, lines: Mapping[_Path, int]) -> None:
        self._lines = lines

    def _wrong(self, path: _Path, sentence: str) -> ContractUnclear:
        known = path
        while known and known not in self._lines:
            known = known[:-1]
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
        line = f"line {self._lines[known]}: " if known in self._lines else ""
        return ContractUnclear(f"{line}{f'{where}: ' if where else ''}{sentence}")

    def document(self, document: object) -> dict[str, Any]:
        root = self._mapping((), document, ("tables",))
        tables = self._list(("tables",), root.get("tables", []), "a list of tables")
        return {"tables": [self._table(("tables", place), table) for place, table in enumerate(tables)]}

    def _table(self, path: _Path, value: object) -> dict[str, Any]:
        table = self._mapping(path, value, TABLE_KEYS)
        plain: dict[str, Any] = {"component": self._text((*path, "component"), table.get("component", "*"))}
        if table.get("sheet") is not None:
            plain["sheet"] = self._text((*path, "sheet"), table["sheet"])
        for key in ("required", "extra_columns"):
            if key in table:
                plain[key] = self._flag((*path, key), table[key])
        if "columns" in table:
            at = (*path, "columns")
            columns = self._mapping(at, table["columns"], None)
            plain["columns"] = {name: self._column((*at, name), rule) for name, rule in columns.items()}
        elif plain.get("extra_columns") is False:
            raise self._wrong((*path, "extra_columns"), "no other columns are allowed, but none are named: name them under 'columns'")
        if "unique" in table:
            plain["unique"] = self._keys((*path, "unique"), table["unique"])
        if "rows" in table:
            plain["rows"] = self._rows((*path, "rows"), table["rows"])
        return plain

    def _column(self, path: _Path, value: object) -> dict[str, Any]:
        rule = self._mapping(path, {} if value is None else value, COLUMN_KEYS)
        plain: dict[str, Any] = {key: self._flag((*path, key), rule[key]) for key in ("required", "nullable") if key in rule}
        type_ = None
        if rule.get("type") is not None:
            type_ = plain["type"] = self._type((*path, "type"), rule["type"])
        if "allowed" in rule:
            at = (*path, "allowed")
            values = self._list(at, rule["allowed"], "a list of values")
            if not values:
                raise self._wrong(at, "no value at all is allowed: name some, or leave it out")
            plain["allowed"] = [self._scalar((*at, place), item, type_) for place, item in enumerate(values)]
        for key in ("min", "max"):
            if key in rule:
                plain[key] = self._scalar((*path, key), rule[key], type_)
                if isinstance(plain[key], bool):
                    raise self._wrong((*path, key), "true and false have no order: list them under 'allowed'")
        self._in_order(path, plain, type_ or _type_of(plain.get("min")))
        return plain

    def _in_order(self, path: _Path, plain: Mapping[str, Any], type_: str) -> None:
        if "min" not in plain or "max" not in plain:
            return
        try:
            upside_down = measure(type_, plain["min"]) > measure(type_, plain["max"])  # type: ignore[operator]  # both of one type
        except ValueError as err:
            raise self._wrong((*path, "max"), f"'min' and 'max' are not of one kind: {err}") from err
        if upside_down:
            raise self._wrong((*path, "min"), f"nothing lies between {plain['min']!r} and {plain['max']!r}: 'min' is the smaller one")

    def _rows(self, path: _Path, value: object) -> dict[str, int]:
        rows = self._mapping(path, value, ("min", "max"))
        for key, bound in rows.items():
            if not isinstance(bound, int) or isinstance(bound, bool) or not 0 <= bound < 2**63:
                raise self._wrong((*path, key), f"{bound!r} is no number of rows: write a whole number from 0 on")
        if rows.get("min", 0) > rows.get("max", math.inf):
            raise self._wrong(path, f"no table has {rows['min']:,} rows at least and {rows['max']:,} at most: 'min' is the smaller one")
        return rows

    def _keys(self, path: _Path, value: object) -> list[list[str]]:
        keys = []
        for place, key in enumerate(self._list(path, value, "a list of keys, each a column or a list of columns")):
            columns = self._list((*path, place), [key] if isinstance(key, str) else key, "a column or a list of columns")
            names = [self._text((*path, place), name) for name in columns]
            if not names or len(set(names)) < len(names):
                raise self._wrong((*path, place), "a key has one column at least, and none of them twice")
            keys.append(names)
        return keys

    def _type(self, path: _Path, value: object) -> str:
        try:
            return str(LogicalType.parse(self._text(path, value)))
        except ValueError as err:
            raise self._wrong(
                path, f"{err}; types are {', '.join((*NUMBERS[:3], 'decimal(p,s)', 'boolean', *TIMES, 'string'))}, …"
            ) from err

    def _scalar(self, path: _Path, value: object, type_: str | None) -> bool | int | float | str:
        if isinstance(value, (date, datetime)):
            value = value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
        if isinstance(value, float) and not math.isfinite(value):
            raise self._wrong(path, f"{value!r} is no value to compare with: leave it out")
        if isinstance(value, str):
            self._text(path, value, empty=True)
        elif not isinstance(value, (bool, int, float)):
            raise self._wrong(path, f"{_shown(value)} is no single value: write a number, a text, true or false")
        if type_ is not None:
            try:
                measure(type_, value)
            except ValueError as err:
                hint = "; write it in quotes" if type_ == "string" else ""
                raise self._wrong(path, f"{err}{hint}") from err
        return value

    def _mapping(self, path: _Path, value: object, keys: tuple[str, ...] | None) -> dict[str, Any]:
        if not isinstance(value, dict):
            expected = "names with rules" if keys is None else ", ".join(keys)
            raise self._wrong(path, f"{_shown(value)} stands where a mapping belongs (of {expected})")
        for key in value:
            if not isinstance(key, str):
                raise self._wrong(path, f"the name {key!r} is no text to YAML: write it in quotes")
            if keys is not None and key not in keys:
                meant = difflib.get_close_matches(key, keys, 1)
                raise self._wrong(
                    (*path, key), f"this is not known; did you mean {meant[0]!r}?" if meant else f"this is not known: use {', '.join(keys)}"
                )
            self._text((*path, key), key)
        return dict(value)

    def _list(self, path: _Path, value: object, expected: str) -> list[Any]:
        if not isinstance(value, list):
            raise self._wrong(path, f"{_shown(value)} stands where {expected} belongs")
        return value

    def _text(self, path: _Path, value: object, *, empty: bool = False) -> str:
        if not isinstance(value, str) or not (value or empty):
            raise self._wrong(path, f"{_shown(value)} is no text: write it in quotes")
        if storable(value) != value:
            raise self._wrong(path, "this holds a NUL or a broken character: remove it")
        return value

    def _flag(self, path: _Path, value: object) -> bool:
        if not isinstance(value, bool):
            raise self._wrong(path, f"{_shown(value)} stands where true or false belongs")
        return value


def _type_of(value: object) -> str:
    """What an undeclared bound can be compared as."""
    for kind in ("float64", "timestamp", "timestamp with zone", "time"):
        if kind == "float64" and isinstance(value, str):
            continue
        with suppress(ValueError):
            measure(kind, value)
            return kind
    return "string"


def _shown(value: object) -> str:
    return "nothing" if value is None else repr(value)[:60]
