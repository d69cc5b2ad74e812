"""The copy of a legacy system into which faults are planted."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from dsplatform.core.database import Transaction


class Fault(NamedTuple):
    """What must be found."""

    kind: str
    check: str
    entity: str
    key: str
    column: str


class Ground:
    """The copy, and which of its rows have a fault already."""

    def __init__(self, tx: Transaction, rng: random.Random) -> None:
        self.tx = tx
        self.rng = rng
        self._used: set[tuple[str, str]] = set()

    def run(self, statement: str, **params: object) -> None:
        assert self.tx.execute(statement, **params), f"nothing was changed: {statement}"

    def pick(self, entity: str, where: str = "true", join: str = "") -> tuple[str, int, tuple[Any, ...]]:
        """(legacy id, our id, the id map's kept) of a row that has no fault yet."""
        rows = [
            row
            for row in self.tx.tuples(
                f"SELECT m.legacy_id, m.new_id, m.kept FROM legacy_id_map m {join} WHERE m.entity = :entity AND m.new_id IS NOT NULL "
                f"AND m.outcome = 'migrated' AND m.deleted_at IS NULL AND {where} ORDER BY m.legacy_id",
                entity=entity,
            )
            if (entity, row[0]) not in self._used
        ]
        legacy, new, *rest = self.rng.choice(rows)
        self._used.add((entity, legacy))
        return legacy, new, tuple(rest)


Plant = Callable[[Ground], tuple[str, str, str, str]]
"""Plants one; answers (check, table, key, column)."""
