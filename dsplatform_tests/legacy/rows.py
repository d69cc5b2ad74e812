"""Rows of a legacy system in the making: what uploads, grants and pointers would have left behind, with ids and times in order."""

import datetime as dt
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

from dsplatform_tests.legacy import content
from dsplatform_tests.legacy.ddl import Generation

PASSWORD = "legacy password"
PASSWORD_HASH = "$2b$04$a8y/K3d2c.CvcOypf064NeMVFLg30O.taYunTr.64vBhNAd.uT0Wq"  # bcrypt of PASSWORD, at the lowest cost
TIMEZONE = "Europe/Berlin"
"""The zone of the server whose local times the tables hold."""
OLD_MOUNT = "/mnt/oldshare/dsa"
"""Where the file tree was mounted once."""

Row = dict[str, Any]


class Key(NamedTuple):
    """A row: its table and its primary key."""

    table: str
    id: tuple[int, ...]


_KEYS = {
    "dataset_version_files": ("version_id", "file_id"),
    "dataset_tags": ("dataset_id", "tag_id"),
    "dataset_permissions": ("dataset_id", "user_id"),
    "file_permissions": ("file_id", "user_id"),
}


def key_columns(table: str) -> tuple[str, ...]:
    """The primary key of a table."""
    return _KEYS.get(table, ("id",))


@dataclass
class Rows:
    """Rows by table. A row may have columns that the generation does not have; they are left out when it is written."""

    generation: Generation
    folder: Path
    seed: int
    shared_files: int | None = None
    """With a number, so many physical files serve every row; with 0, no file is on disk. None: each row has its own."""
    odd: bool = False
    """Overlays are not on disk, and schemas are kept for few versions."""
    phase_1: bool = False
    """G0 and G1 have the planned columns of `files`."""
    step: float = 600.0
    """Seconds that lie between two things that happened, at most."""
    tables: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    planted: dict[str, list[Key]] = field(default_factory=lambda: defaultdict(list))
    raw: list[tuple[str, Row, str, bytes]] = field(default_factory=list)
    """Texts of any bytes: table, row, column, bytes. Only a database of encoding SQL_ASCII takes all."""
    stray: list[Path] = field(default_factory=list)
    """Files on disk that no row names."""

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        self._last_id: dict[str, int] = defaultdict(int)
        self._clock = dt.datetime(2019, 1, 7, 9)  # noqa: DTZ001  naive, as the legacy system stores times
        self._contents = 0
        self._made: set[Path] = set()
        self._few: dict[int, tuple[str, bytes]] = {}
        self._hashes: set[str] = set()
        self._data: dict[int, bytes] = {}
        self._numbers: dict[int, int] = defaultdict(int)

    @property
    def branching(self) -> bool:
        """Whether versions have parents, and datasets branches."""
        return self.generation in {Generation.G1A, Generation.G1B}

    @property
    def sheets(self) -> bool:
        """Whether sheets are rows."""
        return self.generation in {Generation.G0, Generation.G1A}

    def now(self) -> dt.datetime:
        """The next moment of the server's clock: between 6 and 22 o'clock, so never within a clock change."""
        self._clock += dt.timedelta(seconds=self.rng.uniform(0.001, self.step))
        if not 6 <= self._clock.hour < 22:
            self._clock = (self._clock + dt.timedelta(hours=2)).replace(hour=6)
        return self._clock

    def add(self, table: str, **columns: Any) -> Row:
        """A row with the next id of its table. Ids have gaps, as those of a sequence do."""
        if "id" not in columns:
            self._last_id[table] += 1 + (self.rng.random() < 0.05 and self._last_id[table] > 0)
            columns["id"] = self._last_id[table]
        self.tables[table].append(columns)
        return columns

    def plant(self, oddity: str, table: str, *rows: Row) -> None:
        """Notes that these rows are the oddity."""
        self.planted[oddity] += [Key(table, tuple(row[name] for name in key_columns(table))) for row in rows]

    # People

    def user(self, role: Row, soeid: str | None = None, password_hash: str = PASSWORD_HASH) -> Row:
        at = self.now()
        number = len(self.tables["users"]) + 1
        soeid = soeid or f"{chr(97 + number % 26)}{chr(97 + number // 26 % 26)}{number:05d}"
        return self.add("users", soeid=soeid, password_hash=password_hash, role_id=role["id"], created_at=at, updated_at=at)

    def anyone(self) -> Row:
        return self.rng.choice(self.tables["users"][:6])

    # Files

    def next_bytes(self) -> bytes:
        """Bytes for the next file: every tenth time those of an earlier file, but not in G2, where hashes are unique."""
        self._contents += 1
        number = self._contents
        if number % 10 == 0 and self.generation != Generation.G2:
            number = self.rng.randrange(1, number)
        return content.parquet(self.seed * 1_000_003 + number)

    def file(
        self, dataset_id: int, version_id: int, data: bytes | None = None, *, temp: bool = False, write: bool = True, **columns: Any
    ) -> Row:
        """A file of a version, on disk too, under the path that the legacy system gives it."""
        if data is None and self.shared_files:
            path, data = self._shared()
        else:
            data = self.next_bytes() if data is None else data
            unique = UUID(int=self.rng.getrandbits(128), version=4)
            name = (
                f"{dataset_id}/temp/{dataset_id}_temp_{unique}" if temp else f"{dataset_id}/{version_id}/{dataset_id}_{version_id}_{unique}"
            )
            path = f"{self.folder}/datasets/{name}.parquet"
            if write and self.shared_files != 0:
                self.store(Path(path), data)
        row: Row = {
            "storage_type": "filesystem",
            "file_type": "parquet",
            "mime_type": "application/parquet",
            "file_data": None,
            "file_path": path,
            "file_size": len(data),
            "created_at": self._clock,
            "content_hash": None,
            "reference_count": 0,
            "compression_type": None,
            "metadata": None,
        }
        if self.generation == Generation.G2:
            row["content_hash"] = self._unique_hash(data)
            row["reference_count"] = 1
        row = self.add("files", **row | columns)
        self._data[row["id"]] = data
        return row

    def _shared(self) -> tuple[str, bytes]:
        """One of the few files that serve all rows."""
        self._contents += 1
        number = self._contents % (self.shared_files or 1)
        if number not in self._few:
            data = content.parquet(self.seed * 1_000_003 + number)
            path = self.folder / "datasets" / "shared" / f"{number}.parquet"
            self.store(path, data)
            self._few[number] = str(path), data
        return self._few[number]

    def _unique_hash(self, data: bytes) -> str | None:
        """The column is unique, so a second row of the same bytes has none."""
        digest = hashlib.sha256(data).hexdigest()
        if digest in self._hashes:
            return None
        self._hashes.add(digest)
        return digest

    def store(self, path: Path, data: bytes) -> None:
        if path not in self._made:
            self._made.add(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    # Datasets and their history

    def dataset(
        self, name: str | None = None, owner: Row | None = None, *, description: str | None = "as uploaded", admin: bool = True
    ) -> Row:
        """A dataset; whoever made it is its admin unless told otherwise."""
        owner = owner or self.anyone()
        at = self.now()
        number = len(self.tables["datasets"]) + 1
        row = self.add(
            "datasets", name=name or f"dataset {number}", description=description, created_by=owner["id"], created_at=at, updated_at=at
        )
        if admin:
            self.grant(row, owner, "admin")
        return row

    def grant(self, dataset: Row, user: Row, right: str) -> Row:
        """A right in the table that the legacy code reads."""
        return self.add("dataset_permissions", id=None, dataset_id=dataset["id"], user_id=user["id"], permission_type=right)

    def permission(self, resource_id: int, user: Row, right: str, kind: str = "dataset") -> Row:
        """A right in the table `permissions`, which has no foreign key to the resource."""
        return self.add(
            "permissions",
            resource_type=kind,
            resource_id=resource_id,
            user_id=user["id"],
            permission_type=right,
            granted_at=self.now(),
            granted_by=self.anyone()["id"],
        )

    def version(
        self,
        dataset: Row,
        parent: Row | None = None,
        *,
        number: int | None = None,
        file: Row | None = None,
        main: bool = True,
        schema: bool = True,
        attachments: int = 0,
        sheet: bool = True,
        make_file: Callable[..., Row] | None = None,
        **columns: Any,
    ) -> Row:
        """An upload: the file, the version row, its `primary` row, a sheet and a schema as the generation keeps them."""
        at = self.now()
        number = number or self._numbers[dataset["id"]] + 1
        self._numbers[dataset["id"]] = max(number, self._numbers[dataset["id"]])
        author = self.anyone()["id"]
        version_id = self.next_version_id
        self._last_id["dataset_versions"] = version_id
        file = file or (make_file or self.file)(dataset["id"], version_id)
        row: Row = {
            "id": version_id,
            "dataset_id": dataset["id"],
            "version_number": number,
            "file_id": file["id"],
            "ingestion_timestamp": at,
            "last_updated_timestamp": at,
            "uploaded_by": author,
            "created_by": author,
            "created_at": at,
            "updated_at": at,
            "status": "active",
            "parent_version_id": parent["id"] if parent else None,
            "message": f"upload {number}",
            "overlay_file_id": None,
        }
        if self.generation == Generation.G2:
            row["overlay_file_id"] = self.overlay(row, file)["id"]
        row = self.add("dataset_versions", **row | columns)
        dataset["updated_at"] = at
        if main:
            self.component(row, file, "primary", "main")
        for index in range(1, attachments + 1 if self.generation != Generation.G0 else 1):
            self.component(
                row,
                self.file(dataset["id"], version_id),
                "attachment",
                f"notes {index}",
                index,
                {"original_filename": f"notes {index}.csv"},
            )
        if self.sheets and sheet:
            self.sheet(row, f"upload_{number}", "csv")
        if schema and (not self.odd or version_id % 12 == 0):
            self.schema(row)
        return row

    @property
    def next_version_id(self) -> int:
        return self._last_id["dataset_versions"] + 1

    def component(
        self, version: Row, file: Row, kind: str, name: str | None, index: int | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Row:
        return self.add(
            "dataset_version_files",
            id=None,
            version_id=version["id"],
            file_id=file["id"],
            component_type=kind,
            component_name=name,
            component_index=index,
            metadata=metadata,
        )

    def overlay(self, version: Row, file: Row) -> Row:
        """The row of an overlay; the file itself only in a system without oddities, for the legacy code never wrote it."""
        number = version["version_number"]
        document = {
            "parent_version": number - 1,
            "version_number": number,
            "created_at": version["created_at"].isoformat(),
            "created_by": version["created_by"],
            "message": version["message"],
            "actions": [
                {"operation": "add", "file_id": file["id"], "component_name": "main", "component_type": "primary", "metadata": None}
            ],
        }
        data = json.dumps(document).encode()
        path = (Path("/data") if self.odd else self.folder) / "overlays" / hashlib.sha256(data).hexdigest()
        if self.shared_files != 0 and not self.odd:
            self.store(path, data)
        return self.add(
            "files",
            storage_type="filesystem",
            file_type="json",
            mime_type="application/json",
            file_path=f"file://{path}",
            file_size=len(data),
            content_hash=path.name,
            reference_count=1,
            compression_type=None,
            metadata={"overlay_version": number},
            created_at=version["created_at"],
        )

    def sheet(self, version: Row, name: str, original: str, index: int = 0) -> Row:
        row = self.add("sheets", dataset_version_id=version["id"], name=name, sheet_index=index, description=None)
        columns, count = content.columns(self._data[version["file_id"]])
        about = {
            "columns": len(columns),
            "rows": count,
            "column_names": list(columns),
            "file_format": "parquet",
            "original_format": original,
        }
        self.add("sheet_metadata", sheet_id=row["id"], metadata=about, profiling_report_file_id=None)
        return row

    def row_count(self, version: Row) -> int:
        """Of the version's file."""
        return content.columns(self._data[version["file_id"]])[1]

    def schema(self, version: Row) -> Row:
        """What the capture stored, where it worked: the columns of the version's file."""
        document = content.schema_json(self._data[version["file_id"]])
        return self.add("dataset_schema_versions", dataset_version_id=version["id"], schema_json=document, created_at=self._clock)

    def pointer(self, dataset: Row, name: str, version: Row, *, tag: bool = False) -> Row:
        """A branch or a version tag. G2 has tags alone, G0 neither."""
        at = self.now()
        table = "version_tags" if self.generation == Generation.G2 else "dataset_pointers"
        return self.add(
            table,
            dataset_id=dataset["id"],
            pointer_name=name,
            tag_name=name,
            dataset_version_id=version["id"],
            is_tag=tag,
            created_at=at,
            updated_at=at,
        )

    def label(self, name: str, description: str | None = "of the catalogue") -> Row:
        return self.add("tags", name=name, tag_name=name, description=description)

    def labelled(self, dataset: Row, tag: Row) -> Row:
        return self.add("dataset_tags", id=None, dataset_id=dataset["id"], tag_id=tag["id"])

    def plain(
        self, name: str | None = None, owner: Row | None = None, *, versions: int = 1, attachments: int = 0, schema: bool = True
    ) -> tuple[Row, list[Row]]:
        """A dataset with nothing odd: versions in a line, `main` at the last."""
        dataset = self.dataset(name, owner)
        made: list[Row] = []
        for _ in range(versions):
            made.append(self.version(dataset, made[-1] if made and self.branching else None, attachments=attachments, schema=schema))
        if self.branching:
            self.pointer(dataset, "main", made[-1])
        return dataset, made
