"""Captures the schemas of versions, reading each content once, and compares them."""

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeAlias, TypeGuard

from dsplatform.core.database import Database, Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.errors import NotFound, Unavailable
from dsplatform.core.events import VersionCommitted
from dsplatform.core.interfaces import AccessControl, FileKeeper, VersionReader
from dsplatform.core.types import ContentHash, FilePath, PermissionType, VersionId
from dsplatform.core.values import ColumnChange, Component, DatasetRef, SchemaSummary
from dsplatform.schemas.capturing import Captures, Request, key_of
from dsplatform.schemas.comparing import comparison, evolution
from dsplatform.schemas.comparing.comparison import Comparison, TableChange
from dsplatform.schemas.comparing.evolution import Step
from dsplatform.schemas.model import NO_HINTS, READER_VERSION, Column, ColumnProfile, FileCapture, Hints, Status, VersionSchema
from dsplatform.schemas.repository import FileSchemas, Key, SchemaVersions

TableKey: TypeAlias = tuple[str, str | None]
"""A component's name, and the name of one of its tables."""

CHUNK = 512
"""Files that are read before their captures are stored: what an interrupted capture does again, at most."""


class SchemaNotCaptured(Unavailable):
    """The version exists; its files were not read yet."""

    code = "schema_not_captured"


class SchemaService:
    """Schemas of files and versions."""

    def __init__(self, db: Database, files: FileKeeper, versions: VersionReader, access: AccessControl) -> None:
        self._db = db
        self._files = files
        self._versions = versions
        self._access = access
        self._captures = Captures(db)

    def extract_schema(self, path: Path, name: str, hints: Hints = NO_HINTS) -> FileCapture:
        """Reads one file and stores nothing. Never raises for what the file holds."""
        return self._captures.try_out(Request(path, "", name, hints))

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
            parent = self._parent(tx, version_id)
            self._versions.living(tx, version_id)
            hints = SchemaVersions(tx).hints(version_id)
            readers = READER_VERSION + hints.suffix
            if done := SchemaVersions(tx).summary(version_id, readers):
                return done
            components = self._versions.components(tx, version_id)
            keys = {component.name: _key(component, hints) for component in components}
            captures = self._captures.known(tx, keys.values())
        missing = iter({keys[item.name]: item for item in components if keys[item.name] not in captures}.items())
        while chunk := dict(islice(missing, CHUNK)):
            captures |= self._read(chunk, hints)
        schema = VersionSchema.compose({name: captures[key] for name, key in keys.items()})
        with self._db.transaction() as tx:
            before = None if parent is None else SchemaVersions(tx).get(parent)
            changed = before is None or bool(comparison.compare(before, schema).sentences())
            summary = SchemaSummary(version_id, schema.rows, schema.columns, schema.unreadable, changed)
            SchemaVersions(tx).store(schema, summary, readers)
        return summary

    def outdated(self, dataset_slug: str | None, limit: int) -> Sequence[VersionId]:
        """Versions that older readers captured, or under other hints: `capture_version_schema` reads them again. None: of all datasets."""
        with self._db.transaction() as tx:
            return SchemaVersions(tx).outdated(READER_VERSION, dataset_slug, limit)

    def profiles(
        self, actor: Actor, dataset: DatasetRef, version_id: VersionId, *, of: Collection[str] | None = None
    ) -> Mapping[TableKey, tuple[ColumnProfile, ...]]:
        """What the values of each column are like, by component and table: `of` these components, or of all.

        What was not captured by the present readers is left out.
        """
        with self._db.transaction() as tx:
            self._access.require(tx, actor, PermissionType.READ, dataset.id)
            return self._profiles(tx, version_id, of)

    def profile_of_each_layout(self, version_id: VersionId, limit: int) -> list[tuple[TableKey, Column, ColumnProfile]]:
        """The profiles of at most `limit` columns, from the first component of each layout. Raises as `schema_of` does."""
        schema = self.schema_of(version_id)
        first = {item.layout: item.name for item in reversed(schema.components) if item.layout is not None}
        with self._db.transaction() as tx:
            found = self._profiles(tx, version_id, set(list(first.values())[:limit]))
        tables = schema.tables()
        rows = [(key, *pair) for key, profiles in found.items() for pair in zip(tables[key], profiles, strict=True)]
        return rows[:limit]

    def schema_of(self, version_id: VersionId) -> VersionSchema:
        """The captured schema. Raises `NotFound` for a version that does not exist, `Gone` for one that was deleted,
        `SchemaNotCaptured` for one that waits."""
        with self._db.transaction() as tx:
            return self._schema(tx, version_id)

    def compare(self, before: VersionId, after: VersionId) -> Comparison:
        """What changed from the first version to the second. Raises as `schema_of` does."""
        with self._db.transaction() as tx:
            return self._compared(tx, (before, self._schema(tx, before)), (after, self._schema(tx, after)))

    def change(self, version_id: VersionId) -> Comparison | None:
        """What changed from the parent version to this one; None where either is not captured or there is no parent."""
        with self._db.transaction() as tx:
            parent = self._parent(tx, version_id)
            before, after = (None if one is None else SchemaVersions(tx).get(one) for one in (parent, version_id))
            if parent is None or before is None or after is None:
                return None
            return self._compared(tx, (parent, before), (version_id, after))

    def history(self, actor: Actor, dataset: DatasetRef, ref: str | None = None) -> list[Step]:
        """What each version changed, from the first one to `ref` (None: the head of `main`) along first parents; those that changed nothing
        are left out. Raises `VersionMissing`."""
        with self._db.transaction() as tx:
            self._access.require(tx, actor, PermissionType.READ, dataset.id)
            return evolution.changes(SchemaVersions(tx).line(self._versions.resolve(tx, dataset, ref)))

    def semver(self, version_id: VersionId) -> Step:
        """The version with its MAJOR.MINOR.PATCH. Costs follow the number of versions before it. Raises `NotFound`."""
        with self._db.transaction() as tx:
            self._parent(tx, version_id)
            return evolution.steps(SchemaVersions(tx).line(version_id))[-1]

    def _compared(self, tx: Transaction, before: tuple[VersionId, VersionSchema], after: tuple[VersionId, VersionSchema]) -> Comparison:
        """Columns that went are searched among those that came by what their values are like; for others no profile is looked up."""
        found = comparison.compare(before[1], after[1])
        where = {table.component for table in found.tables if table.added and table.removed}
        if not where:
            return found
        earlier = {name for name, heir in found.components_followed if heir in where}
        old, new = self._profiles(tx, before[0], where | earlier), self._profiles(tx, after[0], where)
        return comparison.compare(before[1], after[1], (old, new))

    def columns(self, version_id: VersionId) -> list[tuple[str, str, bool]]:
        """(name, type, nullable) of the columns of every distinct table; where there are several, names begin with the table's."""
        return self.schema_of(version_id).flat()

    def figures(self, tx: Transaction, version_id: VersionId) -> Mapping[FilePath, tuple[int | None, int]] | None:
        """(rows, columns) per component, over all of its tables; rows is None where it could not be read. None: not captured yet."""
        schema = SchemaVersions(tx).get(version_id)
        return None if schema is None else {FilePath(name): figures for name, figures in schema.figures().items()}

    def unreadable(self, version_id: VersionId) -> list[tuple[str, str]]:
        """(component, reason) of those that should have been readable. Raises as `schema_of` does."""
        return [(item.name, item.reason or "") for item in self.schema_of(version_id).components if item.status is Status.UNREADABLE]

    def column_changes(
        self, tx: Transaction, before: VersionId, after: VersionId, changed: Sequence[tuple[Component, Component]]
    ) -> Sequence[ColumnChange]:
        """See `core.interfaces.SchemaReader.column_changes`. What it costs follows the pairs, not the versions that they are from."""
        old_hints, new_hints = (SchemaVersions(tx).hints(version) for version in (before, after))
        keys = [(new.name, _key(old, old_hints), _key(new, new_hints)) for old, new in changed]
        captures = self._captures.known(tx, {key for _, *pair in keys for key in pair})
        pairs = [(name, captures.get(old), captures.get(new)) for name, old, new in keys]
        readable = [(name, one, other) for name, one, other in pairs if _is_read(one) and _is_read(other)]
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

    def _profiles(
        self, tx: Transaction, version_id: VersionId, of: Collection[str] | None = None
    ) -> Mapping[TableKey, tuple[ColumnProfile, ...]]:
        hints = SchemaVersions(tx).hints(version_id)
        components = [item for item in self._versions.components(tx, version_id) if of is None or item.name in of]
        keys = {component.name: _key(component, hints) for component in components}
        captures = self._captures.known(tx, keys.values())
        return {
            (name, table.name): table.profile
            for name, key in keys.items()
            if key in captures
            for table in captures[key].tables
            if table.profile
        }

    def _parent(self, tx: Transaction, version_id: VersionId) -> VersionId | None:
        row = SchemaVersions(tx).parent(version_id)
        if row is None:
            raise NotFound(f"version {version_id} does not exist")
        return None if row["parent_version_id"] is None else VersionId(row["parent_version_id"])

    def _read(self, components: Mapping[Key, Component], hints: Hints) -> dict[Key, FileCapture]:
        items = list(components.values())
        with self._files.local_paths([item.file_id for item in items]) as paths:
            requests = [Request(path, item.file_type, item.name, hints) for path, item in zip(paths, items, strict=True)]
            return self._captures.read(dict(zip(components, requests, strict=True)))


def _key(component: Component, hints: Hints) -> Key:
    return key_of(component.content_hash, component.name, hints)


def _is_read(capture: FileCapture | None) -> TypeGuard[FileCapture]:
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
