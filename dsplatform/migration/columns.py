"""What the columns of one legacy row say, and what is odd about them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from dsplatform.migration.model import Entity, Finding, Key, Landed, Outcome, Reason, SourceRow, meaning
from dsplatform.migration.moments import extreme, instant


class Columns:
    """Reads a row, and notes in `findings` what cannot be kept as it is, and in `kept` what it was."""

    def __init__(self, row: SourceRow, zone: ZoneInfo) -> None:
        self._row = row
        self._zone = zone
        self.findings: list[Finding] = []
        self.kept: dict[str, Any] = {}

    def text(self, column: str) -> str | None:
        """A text; one that is no UTF-8 as Windows would read it, which takes all but five bytes."""
        raw = self._row.broken.get(column)
        if raw is None:
            value = self._row.values.get(column)
            return None if value is None else str(value)
        self._find(Reason.BAD_ENCODING, column)
        try:
            return raw.decode("cp1252").replace("\x00", "\ufffd")
        except UnicodeDecodeError:
            return raw.decode(errors="replace").replace("\x00", "\ufffd")

    def at(self, column: str) -> datetime:
        """The instant of a local time. None means the beginning of the calendar."""
        raw = self._row.broken.get(column)
        if raw is not None:
            self._inexact(column, raw.decode("ascii", errors="replace"))
            return extreme(raw)
        value = self._row.values.get(column)
        if not isinstance(value, datetime):
            self._inexact(column, None)
            return extreme(b"-infinity")
        meant, exact = instant(value, self._zone)
        if not exact:
            self._inexact(column, value.isoformat())
        return meant

    def has(self, column: str) -> bool:
        """Whether the table has the column."""
        return column in self._row.values

    def value(self, column: str) -> Any:
        """The value as it is."""
        return self._row.values.get(column)

    def document(self, column: str) -> Any:
        """A JSON value; None for one that cannot be kept."""
        if column in self._row.broken:
            self._find(Reason.BAD_ENCODING, column)
            return None
        return self._row.values.get(column)

    def number(self, column: str) -> int | None:
        """A whole number."""
        value = self._row.values.get(column)
        return value if isinstance(value, int) else None

    def keep(self, **facts: Any) -> None:
        """Facts that our tables have no place for; those that are None are left out."""
        for name, value in facts.items():
            if value is not None:
                self.kept[name] = value.isoformat() if isinstance(value, datetime) else value

    def find(self, reason: Reason, **detail: Any) -> None:
        """Notes why the row is not simply migrated."""
        self.findings.append(Finding(reason, detail))

    def landed(self, entity: Entity, key: Key, new_id: int | None) -> Landed:
        """What became of the row, by what was noted: it waits for a decision where one of its findings needs one."""
        if not self.findings:
            return Landed(entity, key, Outcome.MIGRATED, new_id, (), self.kept or None)
        waiting = [finding for finding in self.findings if meaning(finding.reason).needs_decision]
        others = [finding for finding in self.findings if finding not in waiting]
        outcome = Outcome.QUARANTINED if waiting else Outcome.MIGRATED
        return Landed(entity, key, outcome, new_id, (*waiting, *others), self.kept or None)

    def _inexact(self, column: str, raw: str | None) -> None:
        self.keep(**{column: raw})
        self.find(Reason.BAD_TIME, column=column, value=raw)

    def _find(self, reason: Reason, column: str) -> None:
        self.find(reason, column=column)


def plain(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Some columns as facts to keep, times as they were written; those that are null are left out."""
    facts = {}
    for name in names:
        value = values.get(name)
        if value is not None:
            facts[name] = value.isoformat() if isinstance(value, datetime) else value
    return facts
