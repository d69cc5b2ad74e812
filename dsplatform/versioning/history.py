"""Statements about the history as a whole: parents, branches and tags as lists show them, and what differs between two versions."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dsplatform.core.database import Row, Transaction
from dsplatform.core.types import DatasetId, FilePath, PointerName, VersionId
from dsplatform.core.values import Component
from dsplatform.versioning.model import Pair, Pointer
from dsplatform.versioning.repository import Versions

_POINTER = """
    SELECT p.pointer_name, p.is_tag, p.version_id, v.version_number, u.username, p.created_at, p.moved_at
    FROM dataset_pointers p JOIN dataset_versions v ON v.id = p.version_id LEFT JOIN users u ON u.id = p.created_by
"""


class History:
    """Questions about all versions of a dataset, and about two of them."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def parents(self, dataset_id: DatasetId) -> dict[VersionId, tuple[VersionId, ...]]:
        """The parents of every version, the first one first. Of 10,000 versions that takes half as long as walking them by a recursive
        statement (`benchmarks history`), and answers every question about them."""
        rows = self._tx.tuples(
            "SELECT id, parent_version_id, merge_parent_version_id FROM dataset_versions WHERE dataset_id = :dataset", dataset=dataset_id
        )
        return {row[0]: tuple(parent for parent in row[1:] if parent is not None) for row in rows}

    def differing(self, before: VersionId, after: VersionId) -> Sequence[Pair]:
        """Names under which the two versions have different contents, in their order. Equal contents are one file, so that only what
        differs is looked up and travels. Raises `Gone` for a version that was deleted."""
        rows = self._tx.tuples(
            """
            SELECT name, b.id, b.content_hash, b.file_size, b.file_type, old_type, a.id, a.content_hash, a.file_size, a.file_type, new_type
            FROM (SELECT component_name AS name, file_id AS old_id, component_type AS old_type
                  FROM dataset_version_files WHERE version_id = :before) o
            FULL JOIN (SELECT component_name AS name, file_id AS new_id, component_type AS new_type
                       FROM dataset_version_files WHERE version_id = :after) n USING (name)
            LEFT JOIN files b ON b.id = old_id LEFT JOIN files a ON a.id = new_id
            WHERE old_id IS DISTINCT FROM new_id ORDER BY name
            """,
            before=before,
            after=after,
        )
        Versions(self._tx).living(before)
        Versions(self._tx).living(after)
        return [Pair(row[0], _component(row[0], row[1:6]), _component(row[0], row[6:11])) for row in rows]

    def named(self, version_id: VersionId, names: Collection[FilePath]) -> Mapping[FilePath, Component]:
        """Those of the names that the version has. Raises `Gone`."""
        rows = self._tx.tuples(
            "SELECT c.component_name, f.id, f.content_hash, f.file_size, f.file_type, c.component_type FROM dataset_version_files c "
            "JOIN files f ON f.id = c.file_id WHERE c.version_id = :version AND c.component_name = ANY(CAST(:names AS text[]))",
            version=version_id,
            names=list(names),
        )
        Versions(self._tx).living(version_id)
        return {component.name: component for row in rows if (component := _component(row[0], row[1:]))}


class Names:
    """Statements about branches and tags by name. Whoever changes one holds the dataset's lock."""

    def __init__(self, tx: Transaction, dataset_id: DatasetId) -> None:
        self._tx = tx
        self._dataset_id = dataset_id

    def all(self) -> Sequence[Pointer]:
        """Branches, then tags, each in the order of their names."""
        rows = self._tx.rows(_POINTER + "WHERE p.dataset_id = :dataset ORDER BY p.is_tag, p.pointer_name", dataset=self._dataset_id)
        return [_pointer(row) for row in rows]

    def get(self, name: PointerName) -> Pointer | None:
        """The branch or tag of that name."""
        row = self._tx.row(_POINTER + "WHERE p.dataset_id = :dataset AND p.pointer_name = :name", dataset=self._dataset_id, name=name)
        return None if row is None else _pointer(row)

    def read(self, name: PointerName) -> Pointer:
        """The branch or tag of that name, which the caller has just made or moved."""
        found = self.get(name)
        if found is None:
            raise AssertionError("a name that this transaction wrote cannot be missing in it")
        return found

    def add(self, name: PointerName, version_id: VersionId, user_id: int, *, is_tag: bool) -> bool:
        """A new branch or tag; False when the name is taken."""
        return self._changed(
            "INSERT INTO dataset_pointers (dataset_id, pointer_name, version_id, is_tag, created_by) "
            "VALUES (:dataset, :name, :version, :tag, :user) ON CONFLICT (dataset_id, pointer_name) DO NOTHING",
            name=name,
            version=version_id,
            tag=is_tag,
            user=user_id,
        )

    def rename(self, name: PointerName, new_name: PointerName) -> bool:
        """False when the new name is taken. The caller has seen the old one."""
        return self._changed(
            "UPDATE dataset_pointers SET pointer_name = :new WHERE dataset_id = :dataset AND pointer_name = :name "
            "AND NOT EXISTS (SELECT 1 FROM dataset_pointers WHERE dataset_id = :dataset AND pointer_name = :new)",
            name=name,
            new=new_name,
        )

    def remove(self, name: PointerName, seen: VersionId) -> bool:
        """False when the name is not at `seen` any more."""
        return self._changed(
            "DELETE FROM dataset_pointers WHERE dataset_id = :dataset AND pointer_name = :name AND version_id = :seen",
            name=name,
            seen=seen,
        )

    def _changed(self, sql: str, **params: object) -> bool:
        return self._tx.execute(sql, dataset=self._dataset_id, **params) == 1


def _component(name: FilePath, row: Sequence[Any]) -> Component | None:
    file_id, content_hash, size, file_type, component_type = row
    return None if file_id is None else Component(name, component_type, file_id, content_hash, size, file_type)


def _pointer(row: Row) -> Pointer:
    return Pointer(
        PointerName(row["pointer_name"]),
        row["is_tag"],
        VersionId(row["version_id"]),
        row["version_number"],
        row["username"],
        row["created_at"],
        row["moved_at"],
    )
