"""Statements on what comparing the legacy server's answers with ours has shown."""

import json
from collections.abc import Mapping, Sequence

from dsplatform.core.database import Row, Transaction


class ShadowRows:
    """Counts of comparisons, and the newest of those that differed."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def count(self, outcomes: Mapping[str, int]) -> None:
        """Adds to the counts, in one order, so that two who count cannot deadlock."""
        names = sorted(outcomes)
        self._tx.execute(
            "INSERT INTO legacy_shadow_counts (outcome, count) "
            "SELECT outcome, count FROM unnest(CAST(:names AS text[]), CAST(:counts AS bigint[])) o (outcome, count) ORDER BY outcome "
            "ON CONFLICT (outcome) DO UPDATE SET count = legacy_shadow_counts.count + excluded.count",
            names=names,
            counts=[outcomes[name] for name in names],
        )

    def add(self, differences: Sequence[Mapping[str, object]]) -> None:
        """Keeps them."""
        self._tx.execute(
            "INSERT INTO legacy_shadow (at, method, path, status_old, status_new, difference, explanation) "
            "SELECT CAST(d ->> 'at' AS timestamptz), d ->> 'method', d ->> 'path', CAST(d ->> 'status_old' AS integer), "
            "CAST(d ->> 'status_new' AS integer), d -> 'difference', d ->> 'explanation' "
            "FROM jsonb_array_elements(CAST(:found AS jsonb)) d",
            found=json.dumps(list(differences)),
        )

    def cut(self, most: int) -> None:
        """Gives up all but the newest."""
        self._tx.execute(
            "DELETE FROM legacy_shadow WHERE id <= (SELECT id FROM legacy_shadow ORDER BY id DESC LIMIT 1 OFFSET :most)", most=most
        )

    def counts(self) -> dict[str, int]:
        """How often a comparison came out so."""
        return {row["outcome"]: row["count"] for row in self._tx.rows("SELECT outcome, count FROM legacy_shadow_counts ORDER BY outcome")}

    def newest(self, limit: int) -> Sequence[Row]:
        """Those that nothing explains, newest first."""
        return self._tx.rows(
            "SELECT at, method, path, status_old, status_new, difference FROM legacy_shadow WHERE explanation IS NULL "
            "ORDER BY id DESC LIMIT :limit",
            limit=limit,
        )

    def explanations(self) -> dict[str, int]:
        """How many of those that are kept have which explanation."""
        rows = self._tx.rows(
            "SELECT explanation, count(*) AS count FROM legacy_shadow WHERE explanation IS NOT NULL "
            "GROUP BY explanation ORDER BY explanation"
        )
        return {row["explanation"]: row["count"] for row in rows}

    def forget(self) -> None:
        """Begins anew."""
        self._tx.execute("DELETE FROM legacy_shadow")
        self._tx.execute("DELETE FROM legacy_shadow_counts")
