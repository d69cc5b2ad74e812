"""Both sides of a pair held against each other: checksums of ranges first, then of rows, then the values of the rows that differ.

Each side hashes its own rows (SHA-256), and then the ordered hashes of each range of 10,000 keys. So what is equal costs one statement on
each side, and nothing but differences ever moves.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dsplatform.core.database import Transaction
from dsplatform.migration.projection import Pair
from dsplatform.migration.source import Snapshot

RANGE = 10_000
"""Keys of one range."""
AT_ONCE = 20
"""Ranges, and 1,000 times as many rows, that are looked into with one statement."""

Key: TypeAlias = tuple[int, int]
Cells: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True)
class Line:
    """What was recorded of a legacy row: how it ended, and what was found about it."""

    new_id: int | None
    outcome: str
    kept: Mapping[str, Any]
    found: Mapping[str, Any]
    """Reason to detail."""


@dataclass
class Differing:
    """A row that is not the same on both sides."""

    key: Key
    old: list[Cells] = field(default_factory=list)
    """Its values there: none, one, or several where the key is not unique."""
    new: list[Cells] = field(default_factory=list)
    line: Line | None = None


class Comparing:
    """Compares pairs, the legacy side in a thread of its own."""

    def __init__(self, source: Snapshot, tx: Transaction) -> None:
        self._source = source
        self._tx = tx
        self.rows = 0
        """Rows of the legacy side that were compared."""

    def differing(self, pair: Pair) -> Iterator[Differing]:
        """The rows that differ, in the order of their ranges."""
        ranges = self._ranges(pair)
        for start in range(0, len(ranges), AT_ONCE):
            keys = self._keys(pair, ranges[start : start + AT_ONCE])
            for first in range(0, len(keys), 1_000 * AT_ONCE):
                yield from self._rows(pair, keys[first : first + 1_000 * AT_ONCE])

    def _ranges(self, pair: Pair) -> list[int]:
        statement = (
            f"SELECT k1 / {RANGE}, count(*), encode(sha256(string_agg(h, ''::bytea ORDER BY k1, k2, h)), 'hex') "
            "FROM (SELECT {k1} AS k1, {k2} AS k2, sha256(textsend(ROW({columns})::text)) AS h FROM {source}) r GROUP BY 1"
        )
        old, new = self._both(_filled(statement, pair, old=True), _filled(statement, pair, old=False))
        self.rows += sum(count for _, count, _ in old)
        before, after = ({place: rest for place, *rest in rows} for rows in (old, new))
        return sorted(place for place in before.keys() | after.keys() if before.get(place) != after.get(place))

    def _keys(self, pair: Pair, ranges: Sequence[int]) -> list[Key]:
        wanted = ", ".join(map(str, ranges))
        statement = (
            "SELECT k1, k2, string_agg(h, ''::bytea ORDER BY h) FROM (SELECT {k1} AS k1, {k2} AS k2, "
            f"sha256(textsend(ROW({{columns}})::text)) AS h FROM {{source}}) r WHERE k1 / {RANGE} IN ({wanted}) GROUP BY k1, k2"
        )
        old, new = self._both(_filled(statement, pair, old=True), _filled(statement, pair, old=False))
        before, after = ({(k1, k2): bytes(hashed) for k1, k2, hashed in rows} for rows in (old, new))
        return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))

    def _rows(self, pair: Pair, keys: Sequence[Key]) -> list[Differing]:
        if not keys:
            return []
        firsts, seconds = (", ".join(str(key[at]) for key in keys) for at in (0, 1))
        statement = (
            "SELECT * FROM (SELECT {k1} AS k1, {k2} AS k2{shown} FROM {source}) r WHERE (k1, k2) IN "
            f"(SELECT * FROM unnest(ARRAY[{firsts}]::bigint[], ARRAY[{seconds}]::bigint[]))"
        )
        old, new = self._both(_filled(statement, pair, old=True), _filled(statement, pair, old=False))
        found = {key: Differing(key) for key in keys}
        for k1, k2, *cells in old:
            found[k1, k2].old.append(tuple(cells))
        for k1, k2, *cells in new:
            one = found[k1, k2]
            if pair.has_line:
                *cells, new_id, outcome, kept, remarks = cells
                one.line = Line(new_id, outcome, kept or {}, remarks or {})
            one.new.append(tuple(cells))
        return list(found.values())

    def _both(self, old: str, new: str) -> tuple[list[Cells], list[Cells]]:
        with ThreadPoolExecutor(1) as pool:
            theirs = pool.submit(self._source.tuples, old)
            ours = list(self._tx.tuples(new))
            return theirs.result(), ours


def _filled(statement: str, pair: Pair, *, old: bool) -> str:
    side = 0 if old else 1
    key, source = (pair.old_key, pair.old_from) if old else (pair.new_key, pair.new_from)
    columns = ", ".join(column.old if old else column.new for column in pair.columns) or "1"
    shown = "".join(f", ({column.shown[side]})::text AS c{at}" for at, column in enumerate(pair.columns))
    if not old and pair.has_line:
        shown += ", m.new_id, m.outcome, m.kept, q.found"
    for name, value in (("k1", key[0]), ("k2", key[1]), ("columns", columns), ("shown", shown), ("source", source)):
        statement = statement.replace(f"{{{name}}}", value)
    return statement
