"""Both systems after a switch, and a model of what is done here from then on."""

import csv
from collections.abc import Sequence
from io import BytesIO, StringIO
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq

from dsplatform.bootstrap import Platform
from dsplatform.core.types import PermissionType
from dsplatform.core.values import CommitMode, DatasetRef
from dsplatform.migration.changes import ChangeLog
from dsplatform.migration.model import Entity, Reason
from dsplatform.migration.reverse import Reverse
from dsplatform.migration.source import LegacyDatabase
from dsplatform.migration.switching import SwitchService
from dsplatform.permissions.model import Grantee
from dsplatform_tests import make
from dsplatform_tests.legacy import content, generator
from dsplatform_tests.legacy.ddl import connected
from dsplatform_tests.legacy.generator import Built
from dsplatform_tests.migration.make import migration, validation

ANY = tuple(Reason)
TABLES = (
    *("users", "roles", "files", "datasets", "dataset_tags", "tags", "dataset_versions", "dataset_version_files", "dataset_pointers"),
    *("version_tags", "permissions", "dataset_permissions", "file_permissions", "dataset_schema_versions", "sampling_runs"),
)


class Side:
    """Both systems, and what joins them."""

    def __init__(self, platform: Platform, url: str, folder: Path, generation: str, switched: Built | None = None, **wanted: Any) -> None:
        """`switched`: what another one built there, whose copy this is."""
        built = switched or generator.build(url, folder, generation, **{"datasets": 3, "oddities": False, **wanted})
        self.platform, self.url, self.folder, self.generation = platform, url, folder, generation
        self.actor = platform.actor()
        self.log = ChangeLog(url, list(Entity))
        self.migration = migration(platform, url, folder, base=folder, mounts=built.mounts, zone=generator.TIMEZONE)
        self.validation = validation(platform, url, folder, mounts=built.mounts, zone=generator.TIMEZONE)
        self.reverse = Reverse(
            platform.db, self.log, LegacyDatabase(url), self.migration, platform.files, platform.conversions, folder,
            ZoneInfo(generator.TIMEZONE), platform.system,
        )  # fmt: skip
        self.service = SwitchService(platform.db, platform.permissions, self.migration, self.log, self.validation.against, self.reverse)
        self.built = built
        if switched is None:
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

    def migration_of(self, file: int) -> int:
        """Our content of a legacy file."""
        with self.platform.db.autocommit() as tx:
            return int(tx.scalar("SELECT new_id FROM legacy_id_map WHERE entity = 'files' AND legacy_id = :id", id=str(file)))

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


def table_csv(rng: Random) -> bytes:
    out = StringIO()
    writer = csv.writer(out)
    writer.writerow(["id", "word"])
    writer.writerows((number, rng.choice(("north", "grün", "a,b"))) for number in range(rng.randint(1, 9)))
    return out.getvalue().encode()


# --- a model of what is done -----------------------------------------------------------------------------------------------------


class Model:
    """What the legacy rows are to say: made of what they said at the switch, and of what a test did since."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.found = said(side)
        self.tables: dict[int, bytes] = {}
        """Version to the rows of its file, as they were written."""

    def commit(self, dataset: DatasetRef, name: str, data: bytes, branch: str = "main") -> int:
        parent = self.found["pointers"].get((dataset.id, branch), (None,))[0]
        made = make.commit(self.side.platform, dataset, {name: data}, mode=CommitMode.REPLACE, branch=branch, message=f"of {branch}")
        self.found["versions"][made.version_id] = (dataset.id, made.version_number, parent, f"of {branch}")
        self.found["pointers"][dataset.id, branch] = (made.version_id, False)
        self.tables[made.version_id] = data
        return int(made.version_id)

    def point(self, dataset: DatasetRef, name: str, *, is_tag: bool) -> None:
        branches = self.side.platform.branches
        (branches.create_tag if is_tag else branches.create_branch)(self.side.actor, dataset, name)
        self.found["pointers"][dataset.id, name] = (self.found["pointers"][dataset.id, "main"][0], is_tag)

    def unpoint(self, dataset: DatasetRef, name: str) -> int:
        self.side.platform.branches.delete_branch(self.side.actor, dataset, name)
        return int(self.found["pointers"].pop((dataset.id, name))[0])

    def delete_version(self, dataset: DatasetRef, version: int) -> None:
        _, number, parent, _ = self.found["versions"].pop(version)
        self.side.platform.deletion.delete_version(self.side.actor, f"#{dataset.id}@{number}")
        for other, (of, its_number, above, message) in self.found["versions"].items():
            if above == version:
                self.found["versions"][other] = (of, its_number, parent, message)

    def rename(self, dataset: DatasetRef, name: str, description: str, labels: Sequence[str]) -> None:
        self.side.platform.datasets.update_dataset(self.side.actor, f"#{dataset.id}", new_name=name, description=description, tags=labels)
        self.found["datasets"][dataset.id] = (name, description, tuple(sorted(labels)))

    def create(self, name: str) -> DatasetRef:
        dataset = self.side.platform.datasets.create_dataset(self.side.actor, name)
        self.found["datasets"][dataset.id] = (name, None, ())
        self.found["rights"][dataset.id, self.side.actor.username] = "admin"
        return dataset

    def delete(self, dataset: DatasetRef) -> None:
        self.side.platform.datasets.delete_dataset(self.side.actor, f"#{dataset.id}")
        del self.found["datasets"][dataset.id]
        self.found["versions"] = {id_: row for id_, row in self.found["versions"].items() if row[0] != dataset.id}
        for kind in ("pointers", "rights"):
            self.found[kind] = {key: value for key, value in self.found[kind].items() if key[0] != dataset.id}

    def grant(self, dataset: DatasetRef, who: str, right: PermissionType) -> None:
        self.side.platform.permissions.set_permission(self.side.actor, dataset, Grantee("user", None, who), right)
        self.found["rights"][dataset.id, who] = str(right)

    def hire(self, name: str) -> None:
        self.side.platform.people.create_user(self.side.actor, name, role="editor", password="correct horse battery")


def said(side: Side) -> dict[str, dict[Any, Any]]:
    """What the legacy rows say, as plain facts."""
    has_parents = bool(side.ask("SELECT 1 FROM information_schema.columns WHERE column_name = 'parent_version_id'"))
    found: dict[str, dict[Any, Any]] = {"datasets": {}, "versions": {}, "pointers": {}, "rights": {}}
    column = "tag_name" if side.generation == "G2" else "name"
    for id_, name, description in side.ask("SELECT id, name, description FROM datasets"):
        labels = side.ask(f"SELECT t.{column} FROM dataset_tags d JOIN tags t ON t.id = d.tag_id WHERE d.dataset_id = %s", id_)
        found["datasets"][id_] = (name, description, tuple(sorted(label for (label,) in labels)))
    if has_parents:
        rows = side.ask("SELECT id, dataset_id, version_number, parent_version_id, message FROM dataset_versions")
        found["versions"] = {id_: tuple(rest) for id_, *rest in rows}
        rows = side.ask("SELECT dataset_id, pointer_name, dataset_version_id, is_tag FROM dataset_pointers")
        found["pointers"] = {(dataset, name): (version, is_tag) for dataset, name, version, is_tag in rows}
        for table, dataset in (("permissions", "resource_id"), ("dataset_permissions", "dataset_id")):
            rows = side.ask(f"SELECT p.{dataset}, u.soeid, p.permission_type::text FROM {table} p JOIN users u ON u.id = p.user_id")
            for key, who, right in rows:
                before = found["rights"].get((key, who.lower()), "read")
                found["rights"][key, who.lower()] = max(before, right, key=("read", "write", "admin").index)
    return found


def parquet(rng: Random) -> bytes:
    return content.parquet(rng.randint(1, 1_000))


def work(model: Model, rng: Random, name: str) -> None:
    """Some of everything that can be done."""
    side = model.side
    first, second, third = side.datasets()[:3]
    model.hire(f"{name}-new")
    for dataset in (first, second):
        for _ in range(rng.randint(1, 3)):
            model.commit(dataset, "a.csv" if rng.random() < 0.5 else "main", table_csv(rng))
    model.commit(first, "b.parquet", parquet(rng))
    made = model.create(f"{name} made here")
    model.commit(made, "one.csv", table_csv(rng))
    model.point(made, f"{name}-side", is_tag=False)
    lost = model.commit(made, "two.csv", table_csv(rng), branch=f"{name}-side")
    model.commit(made, "three.csv", table_csv(rng), branch=f"{name}-side")
    model.point(first, f"{name}-tag", is_tag=True)
    model.point(second, f"{name}-gone", is_tag=False)
    model.commit(second, "c.csv", table_csv(rng), branch=f"{name}-gone")
    model.delete_version(second, model.unpoint(second, f"{name}-gone"))
    model.delete_version(made, lost)  # its child lives
    model.rename(first, f"{name} renamed", "said here", [f"{name} label", "Grün"])
    who = min(who for _, who in model.found["rights"] if who != side.actor.username)
    model.grant(second, who, rng.choice(list(PermissionType)))
    model.grant(made, f"{name}-new", PermissionType.WRITE)
    model.delete(third)


def is_as_done(model: Model) -> None:
    """The legacy rows equal the model, and its files can be read."""
    found = said(model.side)
    for kind, expected in model.found.items():
        assert found[kind] == expected, kind
    for version, data in model.tables.items():
        if version in found["versions"]:
            rows = model.side.rows(version)
            if data[:4] == b"PAR1":
                assert rows == pq.read_table(BytesIO(data)).to_pylist()
            else:
                assert [[str(value) for value in row.values()] for row in rows] == list(csv.reader(StringIO(data.decode())))[1:]
