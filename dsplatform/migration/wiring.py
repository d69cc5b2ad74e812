"""The services of the migration, built on those of the platform: all at once, and apart from them, since few processes need them."""

from collections.abc import Callable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from dsplatform.core.database import Database
from dsplatform.core.domain import Actor
from dsplatform.core.interfaces import AccessControl
from dsplatform.core.settings import Settings
from dsplatform.migration.analysis import AnalysisService
from dsplatform.migration.changes import ChangeLog
from dsplatform.migration.locating import Locator
from dsplatform.migration.model import Entity
from dsplatform.migration.remembered import LegacyService
from dsplatform.migration.reverse import Reverse
from dsplatform.migration.reverse_files import Tables
from dsplatform.migration.service import MigrationService
from dsplatform.migration.shadow import ShadowService
from dsplatform.migration.source import LegacyDatabase
from dsplatform.migration.switching import SwitchService
from dsplatform.migration.validation import Store, ValidationService


@dataclass(frozen=True)
class LegacySide:
    """What the platform has for a legacy system."""

    legacy: LegacyService
    shadow: ShadowService
    migration: MigrationService
    legacy_analysis: AnalysisService
    validation: ValidationService
    switching: SwitchService


def legacy_side(
    settings: Settings, db: Database, files: Store, access: AccessControl, tables: Tables, system: Callable[[], Actor]
) -> LegacySide:
    """For the legacy system of the settings. `tables` gives Parquet of what is stored, `system` who may read everything."""
    locator = Locator(settings.legacy_roots, settings.legacy_base, settings.legacy_mounts)
    legacy, zone = LegacyDatabase(settings.legacy_database_url), ZoneInfo(settings.legacy_timezone)
    log = ChangeLog(settings.legacy_database_url, list(Entity))
    migration = MigrationService(db, files, access, legacy, locator, zone)
    validation = ValidationService(db, files, access, legacy, locator, zone, lambda actor: migration.migrate(actor).written)
    folder = settings.legacy_base or next(iter(settings.legacy_roots), None)
    reverse = Reverse(db, log, legacy, migration, files, tables, folder, zone, system)
    return LegacySide(
        LegacyService(db, access, settings.legacy_timezone),
        ShadowService(db, access),
        migration,
        AnalysisService(db, access, settings),
        validation,
        SwitchService(db, access, migration, log, validation.against, reverse),
    )
