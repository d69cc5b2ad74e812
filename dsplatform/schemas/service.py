"""Captures the schemas of versions, reading each content once, and compares them."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TypeAlias, TypeGuard

from dsplatform.core.access import checks_permission, internal, requires_permission
from dsplatform.core.database import Database, Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Gone, NotFound
from dsplatform.core.events import VersionCommitted
from dsplatform.core.interfaces import AccessControl, FileKeeper, VersionReader
from dsplatform.core.types import ContentHash, FilePath, PermissionType, VersionId
from dsplatform.core.values import ColumnChange, Component, DatasetRef, SchemaSummary
from dsplatform.schemas.capturing import Captures, Request, SchemaNotCaptured, key_of
from dsplatform.schemas.comparing import comparison, evolution
from dsplatform.schemas.comparing.comparison import Comparison, TableChange
from dsplatform.schemas.comparing.evolution import Step
from dsplatform.schemas.model import NO_HINTS, READER_VERSION, Column, ColumnProfile, FileCapture, Hints, Status, VersionSchema
from dsplatform.schemas.parquet_cache import ParquetCache
from dsplatform.schemas.repository import FileSchemas, Key, SchemaVersions

TableKey: TypeAlias = tuple[str, str | None]
"""A component's name, and the name of one of its tables."""

CHUNK = 512
"""Files that are read before their captures are stored: what an interrupted capture does again, at most."""
AT_ONCE = 100
"""Components of a version whose schema somebody waits for, at most."""


class SchemaService:
    """Schemas of files and versions."""

    def __init__(self, db: Database, files: FileKeeper, versions: VersionReader, access: AccessControl, kept: ParquetCache) -> None:
        self._db = db
        self._files = files
        self._versions = versions
        self._access = access
        self._captures = Captures(db)
        self._kept = kept

    @internal("it reads a file that the caller has, and nothing of the platform")
    def extract_schema(self, path: Path, name: str, hints: Hints = NO_HINTS) -> FileCapture:
        """Reads one file and stores nothing. Never raises for what the file holds."""
        return self._captures.try_out(Request(path, "", name, hints))

    @internal("the outbox delivers")
    def on_version_committed(self, tx: Transaction, event: VersionCommitted) -> None:
        """Puts the version on the list of those to capture."""
        SchemaVersions(tx).request(VersionId(event.version_id))

    @internal("part of collecting garbage")
    def forget(self, tx: Transaction, hashes: Collection[ContentHash]) -> None:
        """Forgets what was found in these contents, and made of them, because they are no longer stored."""
        FileSchemas(tx, READER_VERSION).forget(hashes)
        self._kept.forget(hashes)

    @internal("jobs capture whatever waits")
    def pending(self, limit: int) -> Sequence[VersionId]:
        """Versions without a schema, oldest first. One that nobody announced is among them a minute after its commit."""
        with self._db.transaction() as tx:
            return SchemaVersions(tx).pending(limit)

    @internal("jobs capture whatever waits; the answer holds figures alone")
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

    @checks_permission(PermissionType.READ)
    def capture_at_once(self, actor: Actor, dataset: DatasetRef, version_id: VersionId, *, most_bytes: int) -> VersionSchema | None:
        """The schema of a version, captured now where it brought no more than so many bytes, no more have to be read for it, and it has
        100 components at most; None: who captures what waits will do it. What it brought counts in full, or the answer would tell who has
        these bytes elsewhere. Raises `NotFound` for a version that is none of the dataset's, `Gone`."""
        with self._db.autocommit() as tx:
            self._access.require(tx, actor, PermissionType.READ, dataset.id)
            self._versions.belongs(tx, dataset, version_id)
            components = self._versions.components(tx, version_id)
            hints = SchemaVersions(tx).hints(version_id)
            if len(components) > AT_ONCE:
                return None
            known = self._captures.known(tx, {_key(item, hints) for item in components})
            had: set[ContentHash] = set()
            with suppress(Gone):
                parent = self._parent(tx, version_id)
                had.update(item.content_hash for item in (self._versions.components(tx, parent) if parent else ()))
        if sum(item.file_size for item in components if item.content_hash not in had or _key(item, hints) not in known) > most_bytes:
            return None
        self.capture_version_schema(version_id)
        return self.schema_of(actor, dataset, version_id)

    @internal("jobs capture whatever is outdated")
    def outdated(self, dataset_slug: str | None, limit: int) -> Sequence[VersionId]:
        """Versions that older readers captured, or under other hints: `capture_version_schema` reads them again. None: of all datasets."""
        with self._db.transaction() as tx:
            return SchemaVersions(tx).outdated(READER_VERSION, dataset_slug, limit)

    @requires_permission(PermissionType.READ)
    def profiles(
        self, tx: Transaction, _actor: Actor, dataset: DatasetRef, version_id: VersionId, *, of: Collection[str] | None = None
    ) -> Mapping[TableKey, tuple[ColumnProfile, ...]]:
        """What the values of each column are like, by component and table: `of` these components, or of all.

        What was not captured by the present readers is left out. Raises `NotFound` for a version that is none of the dataset's, `Gone` for
        one that was deleted.
        """
        self._versions.belongs(tx, dataset, version_id)
        return self._profiles(tx, version_id, of)

    @requires_permission(PermissionType.READ)
    def profile_of_each_layout(
        self, tx: Transaction, _actor: Actor, dataset: DatasetRef, version_id: VersionId, limit: int
    ) -> list[tuple[TableKey, Column, ColumnProfile]]:
        """The profiles of at most `limit` columns, from the first component of each layout. Raises as `schema_of` does."""
        schema = self._schema(tx, dataset, version_id)
        first = {item.layout: item.name for item in reversed(schema.components) if item.layout is not None}
        found = self._profiles(tx, version_id, set(list(first.values())[:limit]))
        tables = schema.tables()
        rows = [(key, *pair) for key, profiles in found.items() for pair in zip(tables[key], profiles, strict=True)]
        return rows[:limit]

    @requires_permission(PermissionType.READ)
    def schema_of(self, tx: Transaction, _actor: Actor, dataset: DatasetRef, version_id: VersionId) -> VersionSchema:
        """The captured schema. Raises `NotFound` for a version that is none of the dataset's, `Gone` for one that was deleted,
        `SchemaNotCaptured` for one that waits."""
        return self._schema(tx, dataset, version_id)

    @requires_permission(PermissionType.READ)
    def compare(
        self,
        tx: Transaction,
        actor: Actor,
        dataset: DatasetRef,
        before: VersionId,
        after: VersionId,
        *,
        before_in: DatasetRef | None = None,
    ) -> Comparison:
        """What changed from the first version to the second. `before_in`: the dataset of the first, where it is another one; that needs
        `read`, too. Raises as `schema_of` does."""
        if before_in is not None:
            self._access.require(tx, actor, PermissionType.READ, before_in.id)
        old, new = self._schema(tx, before_in or dataset, before), self._schema(tx, dataset, after)
        return self._compared(tx, (before, old), (after, new))

    @requires_permission(PermissionType.READ)
    def change(self, tx: Transaction, _actor: Actor, dataset: DatasetRef, version_id: VersionId) -> Comparison | None:
        """What changed from the parent version to this one; None where either is not captured or there is no parent. Raises `NotFound`."""
        self._versions.belongs(tx, dataset, version_id)
        parent = self._parent(tx, version_id)
        before, after = (None if one is None else SchemaVersions(tx).get(one) for one in (parent, version_id))
        if parent is None or before is None or after is None:
            return None
        return self._compared(tx, (parent, before), (version_id, after))

    @requires_permission(PermissionType.READ)
    def history(self, tx: Transaction, _actor: Actor, dataset: DatasetRef, ref: str | None = None) -> list[Step]:
        """What each version changed, from the first one to `ref` (None: the head of `main`) along first parents; those that changed nothing
        are left out. Raises `VersionMissing`."""
        return evolution.changes(SchemaVersions(tx).line(self._versions.resolve(tx, dataset, ref)))

    @requires_permission(PermissionType.READ)
    def semver(self, tx: Transaction, _actor: Actor, dataset: DatasetRef, version_id: VersionId) -> Step:
        """The version with its MAJOR.MINOR.PATCH. Costs follow the number of versions before it. Raises `NotFound`."""
        self._versions.belongs(tx, dataset, version_id)
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

    @requires_permission(PermissionType.READ)
    def columns(self, tx: Transaction, _actor: Actor, dataset: DatasetRef, version_id: VersionId) -> list[tuple[str, str, bool]]:
        """(name, type, nullable) of the columns of every distinct table; where there are several, names begin with the table's. Raises as
        `schema_of` does."""
        return self._schema(tx, dataset, version_id).flat()

    @internal("part of what asks for a right before")
    def figures(self, tx: Transaction, version_id: VersionId) -> Mapping[FilePath, tuple[int | None, int]] | None:
        """(rows, columns) per component, over all of its tables; rows is None where it could not be read. None: not captured yet."""
        schema = SchemaVersions(tx).get(version_id)
        return None if schema is None else {FilePath(name): figures for name, figures in schema.figures().items()}

    @requires_permission(PermissionType.READ)
    def unreadable(self, tx: Transaction, _actor: Actor, dataset: DatasetRef, version_id: VersionId) -> list[tuple[str, str]]:
        """(component, reason) of those that should have been readable. Raises as `schema_of` does."""
        components = self._schema(tx, dataset, version_id).components
        return [(item.name, item.reason or "") for item in components if item.status is Status.UNREADABLE]

    @internal("part of what asks for a right before")
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

    def _schema(self, tx: Transaction, dataset: DatasetRef, version_id: VersionId) -> VersionSchema:
        self._versions.belongs(tx, dataset, version_id)
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
