"""A stand-in of the legacy system beside a platform, and the migration between them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from dsplatform.bootstrap import Platform
from dsplatform.migration.model import Entity, Reason
from dsplatform.migration.service import Migrated, MigrationService
from dsplatform_tests.legacy import ddl, generator
from dsplatform_tests.legacy.ddl import Generation
from dsplatform_tests.legacy.generator import Built
from dsplatform_tests.migration.make import migration

TIME = "2024-03-01 10:00:00"


@dataclass
class Legacy:
    """The legacy database, which a test writes to, and its migration to the platform."""

    url: str
    folder: Path
    platform: Platform
    mounts: tuple[tuple[str, Path], ...] = ()
    _open: psycopg.Connection | None = None

    @property
    def service(self) -> MigrationService:
        return migration(self.platform, self.url, self.folder, base=self.folder, mounts=self.mounts, zone=generator.TIMEZONE)

    def migrate(self, accept: Sequence[str] = tuple(Reason)) -> Migrated:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.service.migrate(self.platform.actor(), accept=accept)

    def settle(self, changes: Mapping[Entity, Sequence[tuple[int, ...]]]) -> None:
        with self.service.session(self.platform.actor(), "delta") as session:
            session.settle(changes)

    @contextmanager
    def writing(self) -> Iterator[psycopg.Connection]:
        """One transaction of the legacy system's, for all that is written in the block."""
        if self._open is not None:
            yield self._open
            return
        with ddl.connected(self.url) as self._open:
            try:
                yield self._open
            finally:
                self._open = None

    def put(self, table: str, **columns: Any) -> None:
        """One row."""
        names = ", ".join(columns)
        marks = ", ".join(["%s"] * len(columns))
        values = [Jsonb(value) if isinstance(value, (dict, list)) else value for value in columns.values()]
        self.run(f"INSERT INTO {table} ({names}) VALUES ({marks})", *values)

    def run(self, statement: str, *params: object) -> list[tuple[Any, ...]]:
        with self.writing() as connection:
            cursor = connection.execute(statement.encode(), params)
            return cursor.fetchall() if cursor.description else []

    def file(self, id_: int, data: bytes | None) -> None:
        """A row of `files`, with its bytes on disk; None: nothing is there."""
        path = self.folder / f"{id_}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        if data is not None:
            path.write_bytes(data)
        self.put(
            "files",
            id=id_,
            storage_type="filesystem",
            file_type="parquet",
            file_path=str(path),
            file_size=len(data or b""),
            created_at=TIME,
        )

    # --- what came of it -------------------------------------------------------------------------------------------------------

    def ask(self, question: str, **params: object) -> list[tuple[Any, ...]]:
        with self.platform.db.transaction() as tx:
            return list(tx.tuples(question, **params))

    def outcomes(self, entity: Entity) -> dict[str, tuple[str, str | None, int | None]]:
        """By legacy id: how the row ended, why, and what it is here."""
        rows = self.ask(
            "SELECT legacy_id, outcome, reason, new_id FROM legacy_id_map WHERE entity = :entity AND deleted_at IS NULL", entity=entity
        )
        return {legacy: (outcome, reason, new_id) for legacy, outcome, reason, new_id in rows}

    def kept(self, entity: Entity, legacy_id: object) -> dict[str, Any]:
        rows = self.ask("SELECT kept FROM legacy_id_map WHERE entity = :entity AND legacy_id = :id", entity=entity, id=str(legacy_id))
        return rows[0][0] or {}

    def remarks(self, entity: Entity, legacy_id: object) -> set[str]:
        rows = self.ask(
            "SELECT reason FROM legacy_quarantine WHERE entity = :entity AND legacy_id = :id "
            "AND resolution IS DISTINCT FROM 'no longer so'",
            entity=entity,
            id=str(legacy_id),
        )
        return {reason for (reason,) in rows}

    def problems(self) -> list[str]:
        """What `verify` finds, all bytes and overlays read."""
        return [str(problem) for problem in self.platform.verify(self.platform.actor(), contents=True).problems]


def built(platform: Platform, url: str, folder: Path, generation: str, **wanted: Any) -> tuple[Legacy, Built]:
    """A generated legacy system."""
    made = generator.build(url, folder, generation, **wanted)
    return Legacy(url, folder, platform, made.mounts), made


def empty(platform: Platform, url: str, folder: Path, generation: str, *, loose: bool = False) -> Legacy:
    """Tables, two roles and two users."""
    legacy = Legacy(url, folder, platform)
    with legacy.writing() as connection:
        connection.execute(ddl.create(Generation(generation)).encode())
        if loose:
            ddl.loosen(connection)
    legacy.put("roles", id=1, role_name="admin")
    for id_, soeid in enumerate(("ann0001", "ben0002", "cyd0003"), 1):
        legacy.put("users", id=id_, soeid=soeid, password_hash=f"$2b$04${'a' * 53}", role_id=1, created_at=TIME, updated_at=TIME)
    return legacy
