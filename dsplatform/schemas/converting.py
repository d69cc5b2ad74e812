"""Stored tables as Parquet, for those who know nothing else: made when first asked for, in a child process, and kept by content."""

import atexit
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from dsplatform.core.access import checks_permission
from dsplatform.core.database import Database
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Invalid, Unavailable
from dsplatform.core.interfaces import AccessControl, FileKeeper, VersionReader
from dsplatform.core.turnstile import Turnstile
from dsplatform.core.types import FilePath, PermissionType
from dsplatform.core.values import Component, DatasetRef
from dsplatform.schemas.capturing import Captures, Request, key_of
from dsplatform.schemas.contract_rows import ReadingHints
from dsplatform.schemas.conversions.model import CONVERTER_VERSION, Conversion
from dsplatform.schemas.model import READER_VERSION, Column, FileCapture, Hints, NoSuchTable, Status, Table
from dsplatform.schemas.parquet_cache import ParquetCache
from dsplatform.schemas.previews.model import Cut, Form, Look, fine_columns
from dsplatform.schemas.sandbox import Sandbox

PARQUET = "parquet"
CHUNK = 1 << 20
MOST_BYTES = 16 << 20
"""Of a page of rows."""
BUSY = "other files are being converted, as many as may at a time: try again in a minute"
CHILDREN, WAITING, PATIENCE = 2, 6, 600.0
"""Conversions at a time; that wait besides; and seconds that one waits for its turn."""


class NotConvertible(Invalid):
    """The file has no rows that could be Parquet; the sentence says why."""

    code = "not_convertible"


class ConversionFailed(Unavailable):
    """Converting ended before its end, although the file can be read."""

    code = "conversion_failed"


class TooManyConversions(Unavailable):
    """Others have files converted, as many as may at a time."""

    code = "too_many_conversions"


@dataclass(frozen=True)
class ParquetBytes:
    """Parquet on its way out."""

    size: int
    chunks: Iterator[bytes]


@dataclass(frozen=True)
class RowPage:
    """Some rows of a table, in the order of the file."""

    columns: tuple[Column, ...]
    body: bytes
    """A JSON array of rows, each an array of values, as previews have them."""
    rows: int
    total: int | None
    """Of the whole table."""
    cut: Cut | None
    """Why there are fewer rows than were asked for, although there are more."""


@dataclass(frozen=True)
class _Asked:
    """The table that is meant: the first one of the file."""

    item: Component
    hints: Hints
    capture: FileCapture

    @property
    def table(self) -> Table:
        """Raises `NotConvertible`."""
        if self.capture.status is not Status.OK or not self.capture.tables:
            raise NotConvertible(f"{self.item.name!r} has no rows: {self.capture.reason or 'there is no table in it'}")
        return self.capture.tables[0]

    @property
    def reading(self) -> str:
        """What the Parquet depends on besides the bytes."""
        return f"{CONVERTER_VERSION} {READER_VERSION} {key_of(self.item.content_hash, self.item.name, self.hints)[1]}"


class ConversionService:
    """The first table of a stored file as Parquet: the bytes, and pages of its rows."""

    def __init__(self, db: Database, files: FileKeeper, versions: VersionReader, access: AccessControl, kept: ParquetCache) -> None:
        self._db = db
        self._files = files
        self._versions = versions
        self._access = access
        self._captures = Captures(db)
        self._kept = kept
        self._turnstile = Turnstile(CHILDREN, WAITING, PATIENCE, partial(TooManyConversions, BUSY))

    @checks_permission(PermissionType.READ)
    @contextmanager
    def parquet(self, actor: Actor, dataset: DatasetRef, ref: str | None, *, component: FilePath) -> Iterator[ParquetBytes]:
        """The component as Parquet: its own bytes where it is Parquet, else its first table, converted when it is first asked for.

        The same content gives the same bytes. Two who ask at once have it converted once. Raises `NotConvertible` with the reason,
        `ConversionFailed`, after which nothing is kept, `TooManyConversions`, `NoSuchTable`, and what `VersionReader.resolve` raises.
        """
        item, hints = self._find(actor, dataset, ref, component)
        if item.file_type == PARQUET:
            with self._files.verified_chunks(item.file_id) as chunks:
                yield ParquetBytes(item.file_size, chunks)
            return
        with self._made(_Asked(item, hints, self._capture(item, hints))) as file:
            yield ParquetBytes(os.fstat(file.fileno()).st_size, iter(lambda: file.read(CHUNK), b""))

    @checks_permission(PermissionType.READ)
    def page(self, actor: Actor, dataset: DatasetRef, ref: str | None, *, component: FilePath, offset: int, limit: int) -> RowPage:
        """Up to `limit` rows of the component's first table from `offset` on, as its Parquet has them; of more than 16 MiB what fits.
        Raises as `parquet` does."""
        item, hints = self._find(actor, dataset, ref, component)
        asked = _Asked(item, hints, self._capture(item, hints))
        columns = asked.table.columns
        if not columns:
            return RowPage((), b"[]", 0, 0, None)
        with TemporaryDirectory(prefix="dsplatform-page-") as folder, ExitStack() as held:
            target = Path(folder, "rows")
            names = tuple(column.name for column in columns)
            look = Look(str(target), Form.JSON, None, columns, names, (), offset, limit, MOST_BYTES, PATIENCE)
            if item.file_type == PARQUET:
                (path,) = held.enter_context(self._files.local_paths([item.file_id]))
            else:
                held.enter_context(self._made(asked))
                path = self._kept.path(item.content_hash, asked.reading)
            found = _pages().look(Request(path, PARQUET, "table.parquet", look=look))
            if found.reason is not None:
                raise NotConvertible(f"the rows of {item.name!r} cannot be read: {found.reason}")
            return RowPage(columns, target.read_bytes(), found.rows, asked.table.rows, found.cut)

    def _find(self, actor: Actor, dataset: DatasetRef, ref: str | None, component: FilePath) -> tuple[Component, Hints]:
        with self._db.transaction() as tx:
            self._access.require(tx, actor, PermissionType.READ, dataset.id)
            components = self._versions.components(tx, self._versions.resolve(tx, dataset, ref))
            hints = ReadingHints(tx).get(dataset.id)
        item = next((item for item in components if item.name == component), None)
        if item is None:
            raise NoSuchTable(f"the version has no component {component[:200]!r}")
        return item, hints

    def _capture(self, item: Component, hints: Hints) -> FileCapture:
        """What is in the file, read now where nobody has read it yet, however large it is."""
        key = key_of(item.content_hash, item.name, hints)
        with self._db.transaction() as tx:
            known = self._captures.known(tx, [key]).get(key)
        if known is not None:
            return known
        with self._turnstile.place_and_turn(), self._files.local_paths([item.file_id]) as (path,):
            return self._captures.read({key: Request(path, item.file_type, item.name, hints)})[key]

    @contextmanager
    def _made(self, asked: _Asked) -> Iterator[BinaryIO]:
        """The Parquet, opened."""
        with self._kept.find(asked.item.content_hash, asked.reading) or self._make(asked) as file:
            yield file

    def _make(self, asked: _Asked) -> BinaryIO:
        key, table = (asked.item.content_hash, asked.reading), asked.table
        with self._turnstile.place(), self._kept.making(*key) as target:
            if made := self._kept.find(*key):
                return made  # somebody else was quicker
            wanted = Conversion(
                str(target), table.name, table.columns, table.rows, self._kept.most_bytes, asked.capture.details, fine_columns(table)
            )
            # Who waits for others to make the same has no turn meanwhile.
            with self._turnstile.turn(), self._files.local_paths([asked.item.file_id]) as (path,):
                found = _converters().convert(Request(path, asked.item.file_type, asked.item.name, asked.hints, conversion=wanted))
            if found.reason is not None:
                target.unlink(missing_ok=True)
                raise ConversionFailed(f"{asked.item.name!r} could not be converted to Parquet: {found.reason}")
            return target.open("rb")


@cache
def _converters() -> Sandbox:
    """The children of this process that convert: what they hold up are other conversions alone."""
    sandbox = Sandbox(CHILDREN)
    atexit.register(sandbox.close)
    return sandbox


@cache
def _pages() -> Sandbox:
    """The children of this process that read pages of Parquet."""
    sandbox = Sandbox(CHILDREN)
    atexit.register(sandbox.close)
    return sandbox
