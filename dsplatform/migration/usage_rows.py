"""Figures about who still uses the legacy system's paths."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from dsplatform.core.database import Transaction
from dsplatform.core.domain import ValueObject


@dataclass(frozen=True)
class Used(ValueObject):
    """How often somebody used an endpoint."""

    endpoint: str
    client: str
    """A user's name; `unknown`: without a good token."""
    program: str
    """As it called itself; `other`: not at all, or one of too many."""
    requests: int
    last_day: date


class UsageRows:
    """Requests by day, endpoint, client and program."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def add(self, counts: Mapping[tuple[str, str, str], int]) -> None:
        """Adds to today's figures. In the order of the keys, so that two who write at once wait for each other and do not deadlock."""
        keys = sorted(counts)
        self._tx.execute(
            "INSERT INTO legacy_usage (day, endpoint, client, program, requests) "
            "SELECT current_date, e, c, p, n FROM unnest(CAST(:endpoints AS text[]), CAST(:clients AS text[]), CAST(:programs AS text[]), "
            "CAST(:counts AS bigint[])) u(e, c, p, n) "
            "ON CONFLICT (day, endpoint, client, program) DO UPDATE SET requests = legacy_usage.requests + excluded.requests",
            endpoints=[key[0] for key in keys],
            clients=[key[1] for key in keys],
            programs=[key[2] for key in keys],
            counts=[counts[key] for key in keys],
        )

    def forget(self, days: int) -> int:
        """Takes away the figures of days before the last so many; answers how many rows."""
        return self._tx.execute("DELETE FROM legacy_usage WHERE day <= current_date - CAST(:days AS integer)", days=days)

    def since(self, days: int) -> Sequence[Used]:
        """Of the last days, the most used first."""
        rows = self._tx.rows(
            "SELECT endpoint, client, program, sum(requests)::bigint AS requests, max(day) AS last_day FROM legacy_usage "
            "WHERE day > current_date - CAST(:days AS integer) GROUP BY endpoint, client, program "
            "ORDER BY sum(requests) DESC, endpoint, client, program",
            days=days,
        )
        return [Used(**row) for row in rows]
