"""Values of the legacy database, as far as Python can hold them."""

import json
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import pq
from psycopg.abc import Transformer

_DECODE = json.JSONDecoder().decode
_BYTEA = psycopg.adapters.types["bytea"].oid


def one_by_one(
    result: pq.abc.PGresult, columns: Sequence[str], transformer: Transformer
) -> tuple[list[tuple[Any, ...]], dict[int, dict[str, bytes]]]:
    """The cells of an answer, and those that cannot be held."""
    loaders = [transformer.get_loader(result.ftype(at), pq.Format.TEXT).load for at in range(len(columns))]
    rows: list[tuple[Any, ...]] = []
    broken: dict[int, dict[str, bytes]] = {}
    for number in range(result.ntuples):
        row: list[Any] = []
        for at, load in enumerate(loaders):
            raw = result.get_value(number, at)
            value: Any = None
            if raw is not None:
                try:
                    value = load(raw)
                    if type(value) is bytes and result.ftype(at) != _BYTEA:
                        value = value.decode()
                except (ValueError, RecursionError, psycopg.DataError):
                    value = None
                    broken.setdefault(number, {})[columns[at]] = bytes(raw)
            row.append(value)
        rows.append(tuple(row))
    return rows, broken


def as_json(data: bytes | str) -> Any:
    """As `json.loads`; raises ValueError for text with NUL or half a surrogate pair, which no column of ours takes."""
    written = data.decode() if isinstance(data, bytes) else data
    value = _DECODE(written)
    if "\\u" in written:
        json.dumps(value, ensure_ascii=False).encode()
        if "\\u0000" in json.dumps(value).replace("\\\\", ""):
            raise ValueError("text with NUL")
    return value
