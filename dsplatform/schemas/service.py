"""Captures the schemas of versions, reading each content once, and compares them."""

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path

from dsplatform.core.database import Database, Transaction
from dsplatform.core.errors import NotFound, Unavailable
from dsplatform.core.events import VersionCommitted
from dsplatform.core.interfaces import FileKeeper, VersionReader
from dsplatform.core.types import ContentHash, FilePath, VersionId
from dsplatform.core.values import ColumnChange, Component, SchemaSummary
from dsplatform.schemas import comparison, sandbox
from dsplatform.schemas.comparison import Comparison, TableChange
from dsplatform.schemas.model import READER_VERSION, FileCapture, Status, VersionSchema, hint_of
from dsplatform.schemas.repository import FileSchemas, Key, SchemaVersions

CHUNK = 512
"""Files that are read before their captures are stored: what an interrupted capture does again, at most."""


class SchemaNotCaptured(Unavailable):
    """The version exists; its files were not read yet."""

    code = "schema_not_captured"


class SchemaService:
    """Schemas of files and versions."""

    def __init__(self, db: Database, files: FileKeeper, versions: VersionReader) -> None:
        self._db = db
        self._files = files
        self._versions = versions
        self._sandbox = sandbox.shared()

    def extract_schema(self, path: Path, name: str) -> FileCapture:
        """Reads one file and stores nothing. Never raises for what the file holds."""
        return self._sandbox.extract([sandbox.Request(path, "", name)])[0]

    def on_version_committed(self, tx: Transaction, event: VersionCommitted) -> None:
        """Puts the version on the list of those to capture."""
        SchemaVersions(tx).request(VersionId(event.version_id))

    def forget(self, tx: Transaction, hashes: Collection[ContentHash]) -> None:
        """Forgets what was found in these contents, because they are no longer stored."""
        FileSchemas(tx, READER_VERSION).forget(hashes)

    def pending(self, limit: int) -> Sequence[VersionId]:
        """Versions without a schema, oldest first. One that nobody announced is among them a minute after its commit."""
        with self._db.transaction() as tx:
            return SchemaVersions(tx).pending(limit)

    def capture_version_schema(self, version_id: VersionId) -> SchemaSummary:
        """Reads every component that was not read before, and stores the version's schema. Repeating it is harmless.

        Raises `Gone` for a version that was deleted; such a one does not wait any more.
        """
        with self._db.transaction() as tx:
            self._versions.living(tx, version_id)
            if done := SchemaVersions(tx).summary(version_id, READER_VERSION):
                return done
            parent = self._parent(tx, version_id)
            components = self._versions.components(tx, version_id)
            keys = {component.name: _key(component) for component in components}
            captures = FileSchemas(tx, READER_VERSION).find(list(set(keys.values())))
        missing = iter({keys[item.name]: item for item in components if keys[item.name] not in captures}.items())
        while chunk := dict(islice(missing, CHUNK)):
            captures |= self._read(chunk)
        schema = VersionSchema.compose({name: captures[key] for name, key in keys.items()})
        with self._db.transaction() as tx:
            before = None if parent is None else SchemaVersions(tx).get(parent)
            changed = before is None or bool(comparison.drift(before, schema))
            summary = SchemaSummary(version_id, schema.rows, schema.columns, schema.unreadable, changed)
            SchemaVersions(tx).store(schema, summary, READER_VERSION)
        return summary

    def schema_of(self, version_id: VersionId) -> VersionSchema:
        """The captured schema. Raises `NotFound` for a version that does not exist, `Gone` for one that was deleted,
        `SchemaNotCaptured` for one that waits."""
        with self._db.transaction() as tx:
            return self._schema(tx, version_id)

    def compare(self, before: VersionId, after: VersionId) -> Comparison:
        """What changed from the first version to the second. Raises as `schema_of` does."""
        with self._db.transaction() as tx:
            return comparison.compare(self._schema(tx, before), self._schema(tx, after))

    def drift(self, version_id: VersionId) -> list[str]:
        """How the columns differ from those of the parent version, in sentences; none where either is not captured or has no parent."""
        with self._db.transaction() as tx:
            parent = self._parent(tx, version_id)
            before, after = (None if one is None else SchemaVersions(tx).get(one) for one in (parent, version_id))
        return [] if before is None or after is None else comparison.drift(before, after)

    def columns(self, version_id: VersionId) -> list[tuple[str, str, bool]]:
        """(name, type, nullable) of the columns of every distinct table; where there are several, names begin with the table's."""
        return self.schema_of(version_id).flat()

    def figures(self, tx: Transaction, version_id: VersionId) -> Mapping[FilePath, tuple[int | None, int]] | None:
        """(rows, columns) per component, over all of its tables; rows is None where it could not be read. None: not captured yet."""
        schema = SchemaVersions(tx).get(version_id)
        return None if schema is None else {FilePath(name): figures for name, figures in schema.figures().items()}

    def column_changes(self, tx: Transaction, changed: Sequence[tuple[Component, Component]]) -> Sequence[ColumnChange]:
        """See `core.interfaces.SchemaReader.column_changes`. What it costs follows the pairs, not the versions that they are from."""
        keys = {_key(component) for pair in changed for component in pair}
        captures = FileSchemas(tx, READER_VERSION).find(list(keys))
        readable = [
            (after.name, captures[_key(before)], captures[_key(after)])
            for before, after in changed
            if _is_read(captures.get(_key(before))) and _is_read(captures.get(_key(after)))
        ]
        old = VersionSchema.compose({name: capture for name, capture, _ in readable})
        new = VersionSchema.compose({name: capture for name, _, capture in readable})
        return [change for table in comparison.compare(old, new).tables for change in _columns(table)]

    def _schema(self, tx: Transaction, version_id: VersionId) -> VersionSchema:
        self._parent(tx, version_id)
        self._versions.living(tx, version_id)
        schema = SchemaVersions(tx).get(version_id)
        if schema is None:
            raise SchemaNotCaptured(f"the schema of version {version_id} is not captured yet: try again in a moment")
        return schema

    def _parent(self, tx: Transaction, version_id: VersionId) -> VersionId | None:
        row = SchemaVersions(tx).parent(version_id)
        if row is None:
            raise NotFound(f"version {version_id} does not exist")
        return None if row["parent_version_id"] is None else VersionId(row["parent_version_id"])

    def _read(self, components: Mapping[Key, Component]) -> dict[Key, FileCapture]:
        items = list(components.values())
        with self._files.local_paths([item.file_id for item in items]) as paths:
            requests = [sandbox.Request(path, item.file_type, item.name) for path, item in zip(paths, items, strict=True)]
            captures = dict(zip(components, self._sandbox.extract(requests), strict=True))
        with self._db.transaction() as tx:
            FileSchemas(tx, READER_VERSION).add(captures)
        return captures


def _key(component: Component) -> Key:
    return component.content_hash, hint_of(component.name)


def _is_read(capture: FileCapture | None) -> bool:
    return capture is not None and capture.status is Status.OK


def _columns(change: TableChange) -> list[ColumnChange]:
    where = FilePath(change.component), change.table
    return [
        *(ColumnChange(*where, column.name, None, column.type) for column in change.added),
        *(ColumnChange(*where, column.name, column.type, None) for column in change.removed),
        *(
            ColumnChange(*where, retyped.name, retyped.before.type, retyped.after.type)
            for retyped in change.retyped
            if retyped.before.type != retyped.after.type
        ),
    ]
