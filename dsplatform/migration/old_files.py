"""What a version holds as old clients know it: its file, what was attached to it, its sheets.

A component that came along says in its metadata what it was there. What is attached here lies under `attached/TYPE/NAME/FILE`, so that its
name tells all of it, and its ending how it is to be read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dsplatform.core.access import SEEN, seen_by
from dsplatform.core.database import Transaction
from dsplatform.core.domain import Actor, ValueObject
from dsplatform.core.types import FilePath
from dsplatform.migration.naming import safe_component_name

ATTACHED = "attached/"
MOST = 10_000
"""Components of one version that are told."""


@dataclass(frozen=True)
class OldFile(ValueObject):
    """A component as old clients know it."""

    component: FilePath
    """What it is called here."""
    component_type: str
    component_name: str | None
    component_index: int | None
    metadata: Mapping[str, Any] | None
    file_number: int | None
    """In the legacy system; None: it did not come from there."""
    file_size: int
    created_at: datetime
    sheets: Sequence[Mapping[str, Any]] | None
    """As they were kept there; None: nothing was."""

    @property
    def file_name(self) -> str:
        """What the file was called."""
        return self.component.rpartition("/")[2]


@dataclass(frozen=True)
class FilePlace(ValueObject):
    """Where a version names a file."""

    dataset_id: int
    version_number: int
    component: str


def attached(component_type: str, name: str, file_name: str) -> FilePath:
    """What a file is called here that is attached under a type and a name."""
    kind = component_type.replace("/", "-").replace("\\", "-")
    return FilePath(safe_component_name(f"{ATTACHED}{kind}/{name}/{file_name.rpartition('/')[2]}"))


class OldFiles:
    """Questions about what versions hold."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def of(self, dataset_id: int, version_id: int, primary: str | None) -> Sequence[OldFile]:
        """The components of a version of the dataset, in their order; `primary` is *the* file of the version."""
        rows = self._tx.rows(
            "SELECT c.component_name, c.component_type, c.component_index, c.metadata -> 'legacy' AS legacy, f.file_size, f.created_at "
            "FROM dataset_version_files c JOIN dataset_versions v ON v.id = c.version_id JOIN files f ON f.id = c.file_id "
            "WHERE v.id = :version AND v.dataset_id = :dataset ORDER BY c.component_index, c.component_name LIMIT :most",
            version=version_id,
            dataset=dataset_id,
            most=MOST,
        )
        return [_file(row, primary) for row in rows]

    def place(self, actor: Actor, number: int, subject: str | None) -> FilePlace | None:
        """A version that the actor may read and that names the file which old clients know by the number; `subject` is what our own number
        stands for, `VERSION:COMPONENT`."""
        if subject is not None:
            version, _, component = subject.partition(":")
            where, params = "v.id = :version AND c.component_name = :component", {"version": int(version), "component": component}
        else:
            where = "c.file_id = (SELECT new_id FROM legacy_id_map WHERE entity = 'files' AND legacy_id = CAST(:number AS text))"
            params = {"number": number}
        row = self._tx.row(
            "SELECT d.id, v.version_number, c.component_name FROM dataset_version_files c JOIN dataset_versions v ON v.id = c.version_id "  # noqa: S608 - constants
            f"JOIN datasets d ON d.id = v.dataset_id WHERE {where} AND v.purged_at IS NULL AND d.deleted_at IS NULL AND {SEEN} "
            "ORDER BY v.id DESC LIMIT 1",
            **params,
            **seen_by(actor),
        )
        return None if row is None else FilePlace(row["id"], row["version_number"], row["component_name"])


def _file(row: Mapping[str, Any], primary: str | None) -> OldFile:
    name, legacy = row["component_name"], row["legacy"]
    if legacy is not None:
        told = legacy.get("type") or row["component_type"], legacy.get("name", name), legacy.get("index"), legacy.get("metadata")
    elif name.startswith(ATTACHED) and name.count("/") > 2:
        kind, _, rest = name.removeprefix(ATTACHED).partition("/")
        inner, _, file_name = rest.rpartition("/")
        told = kind, inner, None, {"original_filename": file_name}
    elif name == primary:
        told = "primary", "main", None, None
    else:
        told = row["component_type"], name, row["component_index"], None
    number = None if legacy is None else legacy.get("file_id")
    return OldFile(FilePath(name), *told, number, row["file_size"], row["created_at"], None if legacy is None else legacy.get("sheets"))
