"""The analysis of a legacy system: what it holds, what is odd about it, and whether migration may start. Nothing of it is changed."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from dsplatform.core.access import requires_right
from dsplatform.core.database import Database
from dsplatform.core.domain import Actor, ValueObject
from dsplatform.core.interfaces import AccessControl
from dsplatform.core.settings import Settings
from dsplatform.core.types import PlatformRight
from dsplatform.migration.disk import Disk, DiskFigures, Progress
from dsplatform.migration.figures import Activity, Largest, Need, TableFigures, activity_of, figures_of, largest_of, need_of, obstacles
from dsplatform.migration.footers import Footers
from dsplatform.migration.locating import Locator
from dsplatform.migration.odd_files import about_files
from dsplatform.migration.odd_history import DATASETS, VERSIONS
from dsplatform.migration.odd_names import LABELS, PEOPLE, POINTERS
from dsplatform.migration.odd_values import dangling, mistimed, undecodable
from dsplatform.migration.oddities import Oddity, Severity
from dsplatform.migration.source import LegacyDatabase, Snapshot

FORMAT = 1
"""Of the plain form of an analysis. A higher number has other fields."""


@dataclass(frozen=True)
class Analysis(ValueObject):
    """What one analysis found. All of it is of one moment of the database; the files were looked at after that moment."""

    generation: str
    server_version: str
    encoding: str
    timezone: str
    """In which its times are read."""
    taken_at: str
    """As ISO 8601, in UTC."""
    seconds: float
    """That it took."""
    tables: tuple[TableFigures, ...]
    files: DiskFigures
    largest: tuple[Largest, ...]
    activity: Activity
    need: Need
    oddities: tuple[Oddity, ...]
    """What blocks comes first, then what is to be decided, then what rules decide; by code."""

    @property
    def may_start(self) -> bool:
        """Whether nothing blocks migration."""
        return not any(oddity.severity is Severity.BLOCKS for oddity in self.oddities)

    def plain(self) -> dict[str, Any]:
        """As `docs/legacy_analysis.schema.json` describes it."""
        return {"format": FORMAT, "may_start": self.may_start, **super().plain()}


class AnalysisService:
    """Looks at the legacy system that the settings name."""

    def __init__(self, db: Database, access: AccessControl, settings: Settings) -> None:
        self._db = db
        self._access = access
        self._settings = settings

    @requires_right(PlatformRight.OPERATE)
    def analyse(self, _actor: Actor, *, read_all: bool = False, progress: Progress | None = None) -> Analysis:
        """Asks the database, looks for every file, and reads a sample of the files, or all.

        Writes nothing, here or there; SELECT on the legacy tables suffices. Raises `LegacyUnsupported` for a database that is none of
        the legacy system's, or of a generation that cannot come along, and `Unavailable` when the server does not answer.
        """
        began = time.monotonic()
        taken_at = datetime.now(UTC)
        settings = self._settings
        zone = ZoneInfo(settings.legacy_timezone)
        hear = progress or (lambda *_: None)
        store = None if settings.storage_url.startswith("s3://") else Path(settings.storage_url)
        with LegacyDatabase(settings.legacy_database_url).snapshot() as source:
            generation = source.generation
            tables = tuple(figures_of(source))
            oddities = list(self._asked(source, zone, taken_at, hear))
            locator = Locator(settings.legacy_roots, settings.legacy_base, settings.legacy_mounts)
            disk = Disk(source, locator, read_all=read_all, progress=hear)
            disk.look()
            oddities += disk.oddities
            oddities += Footers(source, locator).look(read_all=read_all, hear=hear)
            stray = disk.strays(settings.legacy_roots)
            need = need_of(tables, disk.figures, store)
            oddities += [*([stray] if stray else []), *obstacles(source, tables, need, settings.legacy_roots, zone)]
            largest, activity = tuple(largest_of(source)), activity_of(source)
            encoding, version = source.encoding, source.server_version
        order = list(Severity)
        return Analysis(
            generation=generation,
            server_version=version,
            encoding=encoding,
            timezone=zone.key,
            taken_at=taken_at.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - began, 1),
            tables=tables,
            files=disk.figures,
            largest=largest,
            activity=activity,
            need=need,
            oddities=tuple(sorted(oddities, key=lambda oddity: (order.index(oddity.severity), oddity.code, oddity.entity))),
        )

    def _asked(self, source: Snapshot, zone: ZoneInfo, now: datetime, hear: Progress) -> Iterator[Oddity]:
        questions = [*PEOPLE, *DATASETS, *VERSIONS, *POINTERS, *LABELS, *about_files(source, self._settings.legacy_mounts)]
        for number, question in enumerate(questions, 1):
            hear("questions", number, len(questions))
            found = question.ask(source)
            if found:
                yield found
        yield from dangling(source)
        yield from undecodable(source)
        yield from mistimed(source, zone, now)
