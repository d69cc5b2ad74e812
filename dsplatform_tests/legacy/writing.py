"""What the old server writes for each request of a client, with its commits in the middle of an upload or a deletion."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Composed, Identifier
from psycopg.types.json import Jsonb

from dsplatform_tests.legacy import content
from dsplatform_tests.legacy.rows import PASSWORD_HASH, key_columns

_numbers = count(1)


class Change(NamedTuple):
    """A row that a committed transaction wrote."""

    op: str
    """`insert`, `update` or `delete`."""
    table: str
    key: tuple[int, ...]


class Gone(Exception):
    """What was to be changed is not there any more; or somebody else was quicker."""


class Session:
    """One connection of the old server, in a G1b database. `paused` is called before each commit."""

    def __init__(self, connection: psycopg.Connection[Any], folder: Path, rng: Random, paused: Callable[[], None]) -> None:
        self.connection = connection
        self.folder = folder
        self.rng = rng
        self._paused = paused
        self._open: list[Change] = []
        self.committed: list[list[Change]] = []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction; its changes are in `committed` when, and only when, it was committed."""
        self._open, done = [], []
        with self.connection.transaction():
            yield
            self._paused()
            done = self._open  # not reached where the block takes all back
        if done:
            self.committed.append(done)

    def one(self, statement: str | Composed, *values: object) -> Any:
        """The first column of the first row. Raises `Gone` when there is none."""
        found = self.rows(statement, *values)
        if not found:
            raise Gone(statement)
        return found[0][0]

    def rows(self, statement: str | Composed, *values: object) -> list[tuple[Any, ...]]:
        """The answer to a query."""
        query = statement.encode() if isinstance(statement, str) else statement
        return self.connection.cursor(row_factory=tuple_row).execute(query, values).fetchall()

    def insert(self, table: str, key: tuple[str, ...] = ("id",), /, **columns: object) -> int:
        """A row; answers the first column of its key."""
        names = SQL(", ").join(map(Identifier, columns))
        marks = SQL(", ").join([SQL("%s")] * len(columns))
        statement = SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING {}").format(Identifier(table), names, marks, _names(key))
        return self._change("insert", table, statement, list(columns.values()))[0][0]

    def update(self, table: str, where: dict[str, object], /, **columns: object) -> None:
        """Those rows; a value may be `SQL`."""
        given = {name: value for name, value in columns.items() if not isinstance(value, SQL)}
        parts = [SQL("{} = {}").format(Identifier(name), value if isinstance(value, SQL) else SQL("%s")) for name, value in columns.items()]
        statement = SQL("UPDATE {} SET {} WHERE {} RETURNING {}").format(
            Identifier(table), SQL(", ").join(parts), _where(where), _names(key_columns(table))
        )
        if not self._change("update", table, statement, [*given.values(), *where.values()]):
            raise Gone(table)

    def delete(self, table: str, where: dict[str, object], /) -> None:
        """Those rows, were there any."""
        statement = SQL("DELETE FROM {} WHERE {} RETURNING {}").format(Identifier(table), _where(where), _names(key_columns(table)))
        self._change("delete", table, statement, list(where.values()))

    def _change(self, op: str, table: str, statement: Composed, values: list[object]) -> list[tuple[int, ...]]:
        found = self.rows(statement, *values)
        self._open += [Change(op, table, tuple(row)) for row in found]
        return found

    # What clients ask for

    def upload(self, dataset_id: int | None = None) -> None:
        """POST /api/datasets/upload. The dataset is committed before the file is there, and the file's row before the file moved."""
        with self.transaction():
            user = self.someone()
            is_new = dataset_id is None
            if dataset_id is None:
                dataset_id = self.insert("datasets", name=f"written {next(_numbers)}", description="new", created_by=user)
                self.grant(dataset_id, user, "admin")
            else:
                self.update("datasets", {"id": dataset_id}, updated_at=SQL("now()"))
        temporary, size = self.file_on_disk(dataset_id, content.parquet(10**9 + next(_numbers)))
        with self.transaction():
            # Two uploads at once would take the same number, and the old server would answer 500: here one waits.
            self.one("SELECT id FROM datasets WHERE id = %s FOR UPDATE", dataset_id)
            newest = "SELECT id, version_number FROM dataset_versions WHERE dataset_id = %s ORDER BY version_number DESC LIMIT 1"
            parent, number = next(iter(self.rows(newest, dataset_id)), (None, 0))
            file_id = self.file_row(temporary, size)
            version_id = self.insert(
                "dataset_versions",
                dataset_id=dataset_id,
                version_number=number + 1,
                file_id=file_id,
                uploaded_by=user,
                parent_version_id=parent,
                message=f"upload {next(_numbers)}",
            )
            self.component(version_id, file_id, "primary", "main")
            if is_new or self.rng.random() < 0.2:
                self.label(dataset_id, f"written label {self.rng.randrange(20)}")
        self.move(temporary, dataset_id, version_id, file_id)
        with self.transaction():
            self.point(dataset_id, "main", version_id)

    def attach(self, version_id: int) -> None:
        """POST /api/datasets/{id}/versions/{v}/files."""
        dataset_id = self.one("SELECT dataset_id FROM dataset_versions WHERE id = %s", version_id)
        temporary, size = self.file_on_disk(dataset_id, content.parquet(10**9 + next(_numbers)))
        with self.transaction():
            file_id = self.file_row(temporary, size)
            self.component(version_id, file_id, "attachment", f"attached {next(_numbers)}", {"original_filename": "attached.csv"})
        self.move(temporary, dataset_id, version_id, file_id)

    def patch(self, dataset_id: int) -> None:
        """PATCH /api/datasets/{id}: name, description, and the labels all anew."""
        with self.transaction():
            self.update("datasets", {"id": dataset_id}, name=f"renamed {next(_numbers)}", description="patched", updated_at=SQL("now()"))
            self.delete("dataset_tags", {"dataset_id": dataset_id})
            self.label(dataset_id, f"written label {self.rng.randrange(20)}")

    def branch(self, version_id: int, *, tag: bool = False) -> None:
        """POST /api/datasets/{id}/branches or /tags. A branch that exists is moved."""
        with self.transaction():
            dataset_id = self.one("SELECT dataset_id FROM dataset_versions WHERE id = %s", version_id)
            if tag:
                number = next(_numbers)
                self.insert(
                    "dataset_pointers", dataset_id=dataset_id, pointer_name=f"v{number}", dataset_version_id=version_id, is_tag=True
                )
            else:
                self.point(dataset_id, self.rng.choice(("develop", "next", "hotfix")), version_id)

    def unpoint(self, dataset_id: int) -> None:
        """DELETE /api/datasets/{id}/pointers/{name}."""
        with self.transaction():
            pointer = self.one(
                "SELECT id FROM dataset_pointers WHERE dataset_id = %s AND lower(pointer_name) <> 'main' LIMIT 1", dataset_id
            )
            self.delete("dataset_pointers", {"id": pointer})

    def permit(self, dataset_id: int) -> None:
        """POST or DELETE /api/datasets/{id}/permissions, and the other table of rights."""
        with self.transaction():
            user = self.someone()
            if self.rng.random() < 0.3:
                self.delete("dataset_permissions", {"dataset_id": dataset_id, "user_id": user})
                self.delete("permissions", {"resource_id": dataset_id, "user_id": user})
            elif self.rng.random() < 0.3:
                right = self.rng.choice(("read", "write"))
                given = {"resource_type": "dataset", "resource_id": dataset_id, "user_id": user, "permission_type": right}
                self.delete("permissions", {"resource_id": dataset_id, "user_id": user})
                self.insert("permissions", granted_by=user, **given)
            else:
                self.grant(dataset_id, user, self.rng.choice(("read", "write", "admin")))

    def person(self) -> None:
        """POST /api/users, or an administrator's change of a role."""
        with self.transaction():
            role = self.one("SELECT id FROM roles ORDER BY random() LIMIT 1")
            if self.rng.random() < 0.5:
                self.insert("users", soeid=f"w{next(_numbers):06d}", password_hash=PASSWORD_HASH, role_id=role)
            else:
                self.update("users", {"id": self.someone()}, role_id=role, updated_at=SQL("now()"))

    def drop_version(self, version_id: int) -> None:
        """DELETE /api/datasets/{id}/versions/{v}: its file rows are gone and committed first, and stay so when the rest fails."""
        with self.transaction():
            self.one("SELECT id FROM dataset_versions WHERE id = %s", version_id)
            self.delete("dataset_version_files", {"version_id": version_id})
        with self.transaction():
            self.delete("dataset_schema_versions", {"dataset_version_id": version_id})
            self.delete("dataset_pointers", {"dataset_version_id": version_id})
            self.delete("dataset_versions", {"id": version_id})

    def drop_dataset(self, dataset_id: int) -> None:
        """DELETE /api/datasets/{id}, as it was meant to work. Files and their rows stay."""
        with self.transaction():
            self.one("SELECT id FROM datasets WHERE id = %s FOR UPDATE", dataset_id)
            versions = self.rows("SELECT id FROM dataset_versions WHERE dataset_id = %s", dataset_id)
            self.delete("dataset_pointers", {"dataset_id": dataset_id})
            for (version_id,) in versions:
                self.delete("dataset_version_files", {"version_id": version_id})
                self.delete("dataset_schema_versions", {"dataset_version_id": version_id})
            # One statement: the parents are checked at its end.
            self.delete("dataset_versions", {"dataset_id": dataset_id})
            self.delete("dataset_tags", {"dataset_id": dataset_id})
            self.delete("dataset_permissions", {"dataset_id": dataset_id})
            self.delete("permissions", {"resource_type": "dataset", "resource_id": dataset_id})
            self.delete("datasets", {"id": dataset_id})

    def think_again(self, dataset_id: int) -> None:
        """A request that fails after it wrote: nothing of it may ever be seen."""
        with self.transaction():
            self.update("datasets", {"id": dataset_id}, name="never committed")
            self.insert("datasets", name="never committed", created_by=self.someone())
            self._paused()
            raise psycopg.Rollback

    # Parts of them

    def someone(self) -> int:
        return int(self.one("SELECT id FROM users ORDER BY random() LIMIT 1"))

    def any_dataset(self) -> int:
        return int(self.one("SELECT id FROM datasets ORDER BY random() LIMIT 1"))

    def any_version(self) -> int:
        return int(self.one("SELECT id FROM dataset_versions ORDER BY random() LIMIT 1"))

    def grant(self, dataset_id: int, user_id: int, right: str) -> None:
        self.delete("dataset_permissions", {"dataset_id": dataset_id, "user_id": user_id})
        self.insert(
            "dataset_permissions", key_columns("dataset_permissions"), dataset_id=dataset_id, user_id=user_id, permission_type=right
        )

    def label(self, dataset_id: int, name: str) -> None:
        """A label, which is made where there is none of the name, and loses its description where there is (D21)."""
        self.connection.execute("INSERT INTO tags (name) VALUES (%s) ON CONFLICT DO NOTHING", [name])
        tag = self.one("UPDATE tags SET description = NULL WHERE name = %s RETURNING id", name)
        self._open.append(Change("update", "tags", (tag,)))
        self.delete("dataset_tags", {"dataset_id": dataset_id, "tag_id": tag})
        self.insert("dataset_tags", key_columns("dataset_tags"), dataset_id=dataset_id, tag_id=tag)

    def point(self, dataset_id: int, name: str, version_id: int) -> None:
        where = {"dataset_id": dataset_id, "pointer_name": name}
        try:
            self.update("dataset_pointers", where, dataset_version_id=version_id, updated_at=SQL("now()"))
        except Gone:
            self.insert("dataset_pointers", dataset_version_id=version_id, **where)

    def head(self, dataset_id: int, name: str) -> int | None:
        """The version that a branch or a tag names."""
        found = self.rows("SELECT dataset_version_id FROM dataset_pointers WHERE (dataset_id, pointer_name) = (%s, %s)", dataset_id, name)
        return found[0][0] if found else None

    def tag(self, dataset_id: int, name: str) -> bool:
        """Whether a tag has the name."""
        return bool(
            self.rows("SELECT id FROM dataset_pointers WHERE (dataset_id, pointer_name, is_tag) = (%s, %s, true)", dataset_id, name)
        )

    def component(self, version_id: int, file_id: int, kind: str, name: str, about: dict[str, str] | None = None) -> None:
        """A row of a version's files; `about` is its metadata."""
        row = {"version_id": version_id, "file_id": file_id, "component_type": kind, "component_name": name}
        self.insert("dataset_version_files", key_columns("dataset_version_files"), **row, metadata=about and Jsonb(about))

    def file_on_disk(self, dataset_id: int, data: bytes) -> tuple[Path, int]:
        """Writes the converted upload to its temporary place; answers that and the size."""
        path = (
            self.folder
            / "datasets"
            / str(dataset_id)
            / "temp"
            / f"{dataset_id}_temp_{UUID(int=self.rng.getrandbits(128), version=4)}.parquet"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path, len(data)

    def file_row(self, path: Path, size: int) -> int:
        kind = {"storage_type": "filesystem", "file_type": "parquet", "mime_type": "application/parquet"}
        return self.insert("files", **kind, file_path=str(path), file_size=size)

    def move(self, path: Path, dataset_id: int, version_id: int, file_id: int) -> None:
        """To its place, and then in its row: between the two the row names no file."""
        name = path.name.replace("_temp_", f"_{version_id}_")
        target = self.folder / "datasets" / str(dataset_id) / str(version_id) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
        with self.transaction():
            self.update("files", {"id": file_id}, file_path=str(target))


def _names(columns: tuple[str, ...]) -> Composed:
    return SQL(", ").join(map(Identifier, columns))


def _where(columns: dict[str, object]) -> Composed:
    return SQL(" AND ").join(SQL("{} = %s").format(Identifier(name)) for name in columns)
