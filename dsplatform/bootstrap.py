"""Settings and a database in, a platform out: builds every service once and lists who hears which event."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dsplatform.core import private_files
from dsplatform.core.access import internal, requires_right
from dsplatform.core.database import Database
from dsplatform.core.domain import Actor, Origin
from dsplatform.core.events import VersionCommitted
from dsplatform.core.interfaces import (
    AccessControl,
    ArrivalGate,
    CaptureKeeper,
    DatasetDirectory,
    FileKeeper,
    Merger,
    SchemaCapturer,
    SchemaReader,
    VersionReader,
    VersionWriter,
)
from dsplatform.core.outbox import Outbox
from dsplatform.core.s3_address import S3Address
from dsplatform.core.settings import Settings
from dsplatform.core.types import PlatformRight
from dsplatform.core.verification import Verification
from dsplatform.datasets.service import DatasetService
from dsplatform.files.gc import GarbageCollector
from dsplatform.files.inventory import Inventory
from dsplatform.files.s3 import S3Storage
from dsplatform.files.scrub import Scrub
from dsplatform.files.service import FileService
from dsplatform.files.stores import LocalStorage, StorageBackend
from dsplatform.ingestion.s3_source import S3Drop
from dsplatform.ingestion.service import IngestionService
from dsplatform.ingestion.sources import Drop, DropFolder
from dsplatform.permissions.accounts import AccountService
from dsplatform.permissions.attempts import Attempts
from dsplatform.permissions.audit import AuditService
from dsplatform.permissions.passwords import Passwords
from dsplatform.permissions.people import PeopleService
from dsplatform.permissions.secret_key import SecretKey
from dsplatform.permissions.service import PermissionService, keep
from dsplatform.permissions.sessions import SessionService
from dsplatform.schemas.contracting import ContractService
from dsplatform.schemas.converting import ConversionService
from dsplatform.schemas.gate import Gate
from dsplatform.schemas.parquet_cache import ParquetCache
from dsplatform.schemas.previewing import PreviewService
from dsplatform.schemas.service import SchemaService
from dsplatform.versioning.branches import BranchService
from dsplatform.versioning.composition import CompositionService
from dsplatform.versioning.deletion import DeletionService
from dsplatform.versioning.protection import ProtectionService
from dsplatform.versioning.service import VersionService
from dsplatform.versioning.uploads import UploadService

if TYPE_CHECKING:
    from dsplatform.migration.analysis import AnalysisService
    from dsplatform.migration.remembered import LegacyService
    from dsplatform.migration.service import MigrationService
    from dsplatform.migration.shadow import ShadowService
    from dsplatform.migration.switching import SwitchService
    from dsplatform.migration.validation import ValidationService
    from dsplatform.migration.wiring import LegacySide

SYSTEM = "system"
"""The built-in user."""
PARQUET_BYTES = 20 << 30
"""What `HOME/parquet` may hold: tables that were converted for clients of the legacy API."""


@dataclass(frozen=True)
class Platform:
    """Every service, wired."""

    settings: Settings
    db: Database
    outbox: Outbox
    permissions: PermissionService
    accounts: AccountService
    sessions: SessionService
    people: PeopleService
    audit: AuditService
    files: FileService
    gc: GarbageCollector
    inventory: Inventory
    scrub: Scrub
    datasets: DatasetService
    versions: VersionService
    uploads: UploadService
    deletion: DeletionService
    branches: BranchService
    composition: CompositionService
    protection: ProtectionService
    schemas: SchemaService
    previews: PreviewService
    conversions: ConversionService
    contracts: ContractService
    ingestion: IngestionService
    credential: str = field(default="", repr=False)
    """API token with which the command line acts; empty: as the user of the settings, without any."""

    @property
    def _db(self) -> Database:
        return self.db

    @property
    def _access(self) -> AccessControl:
        return self.permissions

    # --- for a legacy system ---------------------------------------------------------------------------------------------------

    @cached_property
    def legacy_side(self) -> "LegacySide":
        """Imported when it is asked for: every command would wait for it, and few need it."""
        from dsplatform.migration.wiring import legacy_side

        return legacy_side(self.settings, self.db, self.files, self.permissions, self.conversions, self.system)

    @property
    def legacy(self) -> "LegacyService":
        """What old clients' programs know."""
        return self.legacy_side.legacy

    @property
    def shadow(self) -> "ShadowService":
        """How the legacy server's answers and ours compare."""
        return self.legacy_side.shadow

    @property
    def migration(self) -> "MigrationService":
        """Brings its data over."""
        return self.legacy_side.migration

    @property
    def legacy_analysis(self) -> "AnalysisService":
        """What it holds, and what is odd about it."""
        return self.legacy_side.legacy_analysis

    @property
    def validation(self) -> "ValidationService":
        """Compares it with its copy."""
        return self.legacy_side.validation

    @property
    def switching(self) -> "SwitchService":
        """Follows it, takes over from it, and gives back."""
        return self.legacy_side.switching

    # --- who acts, and what concerns all of it ---------------------------------------------------------------------------------

    @internal("it says who acts, before anything is asked for")
    def actor(self) -> Actor:
        """On whose behalf the command line acts. Raises `Unauthenticated` for a credential that is no longer good."""
        if self.credential:
            return self.accounts.authenticate(self.credential, Origin())
        with self.db.transaction() as tx:
            return self.permissions.actor(tx, self.settings.user)

    @internal("the platform itself, and no person")
    def system(self) -> Actor:
        """The built-in user, as whom scheduled jobs act: its role is `admin`."""
        with self.db.autocommit() as tx:
            return self.permissions.actor(tx, SYSTEM)

    @internal("part of the first start, before there is anybody who could ask")
    def first_admin(self) -> Path | None:
        """Makes the user `admin` where nobody can administer yet. Answers with the file that holds its token and only its owner can read;
        None: there is an admin already, or was."""
        path = self.settings.home / "admin-token"
        made = self.accounts.first_admin(lambda secret: private_files.write(path, f"{secret}\n"))
        return path if made else None

    @requires_right(PlatformRight.OPERATE)
    def verify(self, _actor: Actor, *, contents: bool = False, minimum_age: timedelta | None = None) -> Verification:
        """Whether the invariants hold, without changing anything. Others may work meanwhile: what they do is no fault.

        Without `contents` the objects' presence and sizes count, and nothing is read; with it every byte is, and every overlay is
        compared with its parent's. Objects that nothing names are judged when they are older than `minimum_age` (48 hours, as the
        sweep has it). Raises `Unavailable` when store or database do not answer.
        """
        found = Verification()
        self.files.verify(found, contents=contents, minimum_age=minimum_age)
        self.versions.verify(found, contents=contents)
        return found

    @internal("for the sensor that asks for captures")
    def captures_waiting(self) -> int:
        """How many versions wait for their schema, or for being announced to who captures it."""
        with self.db.transaction() as tx:
            undelivered = self.outbox.pending(tx)
        return undelivered + len(self.schemas.pending(1_000))

    @internal("what is announced is delivered whoever asks for it")
    def deliver(self) -> int:
        """Delivers the events that are due; answers how many."""
        return self.outbox.deliver(self.db)


@contextmanager
def bootstrap(settings: Settings, database_url: str, *, progress: Callable[[int], None] | None = None) -> Iterator[Platform]:
    """The platform on this database, for the length of the block. `progress` hears of the bytes that are read, from several threads."""
    subscribers: dict[type, dict[str, object]] = {}
    outbox = Outbox(subscribers)  # type: ignore[arg-type]  # filled below: the handlers are methods of services that need the database
    with Database(database_url, pool_size=settings.pool_size, outbox=outbox.store, audit=keep) as db:
        permissions = PermissionService(db)
        passwords = Passwords()
        secret_key = SecretKey(settings.secret_key, settings.home / "secret_key")
        sessions = SessionService(db, passwords, Attempts(), lambda: secret_key.of("sessions"))
        accounts = AccountService(db, permissions, sessions)
        people = PeopleService(db, permissions, passwords)
        audit = AuditService(db, permissions)
        storage = _storage(settings)
        files = FileService(db, storage, permissions, workers=settings.workers, progress=progress)
        datasets = DatasetService(db, permissions)
        gate = Gate(db)
        versions = VersionService(db, files, datasets, permissions, gate)
        uploads = UploadService(db, files, permissions, versions)
        deletion = DeletionService(db, datasets, permissions)
        parquet = ParquetCache(settings.home / "parquet", PARQUET_BYTES)
        schemas = SchemaService(db, files, versions, permissions, parquet)
        previews = PreviewService(db, files, versions, permissions)
        conversions = ConversionService(db, files, versions, permissions, parquet)
        branches = BranchService(db, files, datasets, permissions, versions, schemas, gate)
        protection = ProtectionService(db, datasets, permissions)
        composition = CompositionService(db, files, datasets, permissions, versions)
        contracts = ContractService(db, files, datasets, versions, permissions, branches)
        gc = GarbageCollector(db, storage, schemas, permissions, grace=timedelta(days=settings.gc_grace_days))
        inventory = Inventory(db, permissions)
        ingestion = IngestionService(
            db,
            files,
            datasets,
            versions,
            schemas,
            permissions,
            _drop(settings),
            drop_user=settings.drop_user,
            settle_seconds=settings.settle_seconds,
            batch_files=settings.batch_files,
        )
        subscribers[VersionCommitted] = {"schemas": schemas.on_version_committed}
        scrub = Scrub(db, storage, versions, permissions)
        yield Platform(
            settings,
            db,
            outbox,
            permissions,
            accounts,
            sessions,
            people,
            audit,
            files,
            gc,
            inventory,
            scrub,
            datasets,
            versions,
            uploads,
            deletion,
            branches,
            composition,
            protection,
            schemas,
            previews,
            conversions,
            contracts,
            ingestion,
        )


def _storage(settings: Settings) -> StorageBackend:
    """Where the settings say that the bytes lie."""
    if settings.storage_url.startswith("s3://"):
        return S3Storage(S3Address.parse(settings.storage_url), settings.home / "spool")
    return LocalStorage(Path(settings.storage_url))


def _drop(settings: Settings) -> Drop:
    """Where the settings say that files arrive."""
    if settings.drop_url:
        address = S3Address.parse(settings.drop_url)
        return S3Drop(address, keep_taken=settings.processed_dir is None, keep_refused=settings.rejected_dir is None)
    return DropFolder(settings.drop_dir, settings.processed_dir, settings.rejected_dir)


def _interfaces_hold(platform: Platform) -> None:
    """Never called: mypy checks here that each service has what other modules ask of it."""
    _access: AccessControl = platform.permissions
    _keeper: FileKeeper = platform.files
    _directory: DatasetDirectory = platform.datasets
    _writer: VersionWriter = platform.versions
    _reader: VersionReader = platform.versions
    _capturer: SchemaCapturer = platform.schemas
    _captures: CaptureKeeper = platform.schemas
    _figures: SchemaReader = platform.schemas
    _gate: ArrivalGate = Gate(platform.db)
    _merger: Merger = platform.branches
