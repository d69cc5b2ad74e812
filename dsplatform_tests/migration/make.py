"""A platform beside a legacy system, and what brings it over."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from dsplatform.bootstrap import Platform
from dsplatform.migration.locating import Locator
from dsplatform.migration.service import MigrationService
from dsplatform.migration.source import LegacyDatabase
from dsplatform.migration.step import Step, Surroundings
from dsplatform.migration.steps import every_step
from dsplatform.migration.validation import ValidationService

StepsOf = Callable[[Surroundings], Sequence[Step[Any]]]


def migration(
    platform: Platform,
    url: str,
    *roots: Path,
    base: Path | None = None,
    mounts: Sequence[tuple[str, Path]] = (),
    zone: str = "UTC",
    steps: StepsOf = every_step,
) -> MigrationService:
    """What brings the legacy system in this database over to the platform."""
    locator = Locator(roots, base, mounts)
    return MigrationService(platform.db, platform.files, platform.permissions, LegacyDatabase(url), locator, ZoneInfo(zone), steps)


def validation(platform: Platform, url: str, *roots: Path, mounts: Sequence[tuple[str, Path]] = (), zone: str = "UTC") -> ValidationService:
    """What compares the legacy system in this database with its copy."""
    locator = Locator(roots, roots[0], mounts)
    brought = migration(platform, url, *roots, base=roots[0], mounts=mounts, zone=zone)
    return ValidationService(
        platform.db,
        platform.files,
        platform.permissions,
        LegacyDatabase(url),
        locator,
        ZoneInfo(zone),
        lambda actor: brought.migrate(actor).written,
    )
