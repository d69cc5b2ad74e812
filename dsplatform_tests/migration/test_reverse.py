"""The way back: the legacy system has what was done here since the switch, and everything goes on from there."""

import csv
from collections.abc import Iterator
from io import BytesIO, StringIO
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core import failpoints
from dsplatform.core.types import PermissionType
from dsplatform.core.values import DatasetRef
from dsplatform.migration.changes import ChangeLog
from dsplatform.migration.locating import Locator
from dsplatform.migration.model import Entity, Reason
from dsplatform.migration.reverse import Reverse
from dsplatform.migration.routing_rows import Master
from dsplatform.migration.source import LegacyDatabase
from dsplatform.migration.switching import SwitchService
from dsplatform_tests import make
from dsplatform_tests.legacy import content, generator
from dsplatform_tests.legacy.ddl import connected
from dsplatform_tests.migration.make import migration, validation

ANY = tuple(Reason)
TABLES = ("users", "files", "datasets", "dataset_tags", "tags", "dataset_versions", "dataset_version_files", "dataset_pointers")
TABLES += ("version_tags", "permissions", "dataset_permissions", "dataset_schema_versions", "sampling_runs", "roles")


class Side:
    """Both systems, and what joins them."""

    def __init__(self, platform: Platform, url: str, folder: Path, generation: str, **wanted: Any) -> None:
        built = generator.build(url, folder, generation, **{"datasets": 3, "oddities": False, **wanted})
        self.platform, self.url, self.folder = platform, url, folder
        self.actor = platform.actor()
        self.log = ChangeLog(url, list(Entity))
        self.migration = migration(platform, url, folder, base=folder, mounts=built.mounts, zone=generator.TIMEZONE)
        self.validation = validation(platform, url, folder, mounts=built.mounts, zone=generator.TIMEZONE)
        locator = Locator((folder,), folder, built.mounts)
        self.reverse = Reverse(
            platform.db, self.log, LegacyDatabase(url), locator, platform.files, platform.conversions, folder,
            ZoneInfo(generator.TIMEZONE), platform.system,
        )  # fmt: skip
        self.service = SwitchService(platform.db, platform.permissions, self.migration, self.log, self.validation.against, self.reverse)
        self.service.capture(self.actor)
        self.migration.migrate(self.actor, accept=ANY)
        for reason in Reason:
            self.migration.resolve(self.actor, "accepted by a test", reason=reason)
        self.service.switch(self.actor)

    def ask(self, statement: str, *params: object) -> list[tuple[Any, ...]]:
        with connected(self.url) as connection:
            return connection.execute(statement.encode(), params).fetchall()

    def run(self, statement: str, *params: object) -> None:
        with connected(self.url) as connection:
            connection.execute(statement.encode(), params)

    def dump(self) -> dict[str, list[str]]:
        found = {}
        for table in TABLES:
            if self.ask("SELECT to_regclass(%s)", table)[0][0]:
                found[table] = sorted(row[0] for row in self.ask(f"SELECT ctid::text || xmin::text || t::text FROM {table} t"))
        return found

    def datasets(self) -> list[DatasetRef]:
        return [self.platform.datasets.open(self.actor, f"#{one.id}") for one in self.platform.datasets.list_datasets(self.actor)]

    def commit(self, dataset: DatasetRef, name: str, data: bytes, **more: Any) -> int:
        return int(make.commit(self.platform, dataset, {name: data}, **more).version_id)

    def rows(self, version: int) -> list[dict[str, Any]]:
        """Of the primary file, as the old server reads them."""
        ((path, size),) = self.ask(
            "SELECT f.file_path, f.file_size FROM files f JOIN dataset_versions v ON v.file_id = f.id WHERE v.id = %s", version
        )
        data = Path(path).read_bytes()
        assert len(data) == size
        return list(pq.read_table(BytesIO(data)).to_pylist())


@pytest.fixture
def side(platform: Platform, legacy_url: str, legacy_folder: Path) -> Iterator[Side]:
    yield Side(platform, legacy_url, legacy_folder, "G1b")
    failpoints.arm("")


def table_csv(rng: Random) -> bytes:
    out = StringIO()
    writer = csv.writer(out)
    writer.writerow(["id", "word"])
    writer.writerows((number, rng.choice(("north", "grün", "a,b"))) for number in range(rng.randint(1, 9)))
    return out.getvalue().encode()


def test_smoke(side: Side) -> None:
    first, second, third = side.datasets()
    made = side.commit(first, "a.csv", b"id,word\n1,x\n2,y\n", message="by hand")
    back = side.service.rollback(side.actor)
    assert back.routing.master is Master.LEGACY, back
    assert side.rows(made) == [{"id": 1, "word": "x"}, {"id": 2, "word": "y"}]
    print(back.left)
