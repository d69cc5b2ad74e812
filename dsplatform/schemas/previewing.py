"""Rows of a stored table for a person to look at: read in a child process, a page at a time, nothing written down."""

import atexit
import hashlib
import json
import tempfile
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from dsplatform.core.access import checks_permission
from dsplatform.core.database import Database
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Invalid, Unavailable
from dsplatform.core.interfaces import AccessControl, FileKeeper, VersionReader
from dsplatform.core.turnstile import Turnstile
from dsplatform.core.types import PermissionType
from dsplatform.core.values import Component, DatasetRef
from dsplatform.schemas.capturing import Captures, Request, SchemaNotCaptured, key_of
from dsplatform.schemas.contract_rows import ReadingHints
from dsplatform.schemas.model import READER_VERSION, Column, FileCapture, Hints, NoSuchTable, SeveralTables, Status, Table
from dsplatform.schemas.previews.conditions import column_of, parse
from dsplatform.schemas.previews.model import Condition, Cut, Form, Look, fine_columns
from dsplatform.schemas.repository import Key
from dsplatform.schemas.sandbox import Sandbox

MOST_ROWS, MOST_BYTES = 10_000, 16 << 20
SEEK_SECONDS = 5.0
"""How long matching rows are sought until a page ends with what was found."""
READ_AT_ONCE = 16 << 20
"""Bytes of a file that is captured when somebody looks at it before its turn has come."""
BUSY = "others are looking at rows, as many as may at a time: try again in a few seconds"
CHILDREN, WAITING, PATIENCE = 2, 6, 10.0
"""Previews at a time; that wait besides; and seconds that one waits."""


class NotPreviewable(Invalid):
    """The rows of the file cannot be read; the sentence says why."""

    code = "not_previewable"


class WrongCursor(Invalid):
    """The cursor is not of this content, table, condition and choice of columns."""

    code = "wrong_cursor"


class TooManyPreviews(Unavailable):
    """Others look at rows, as many as may at a time."""

    code = "too_many_previews"


@dataclass(frozen=True)
class Preview:
    """A page of rows. `body` holds them in the form that was asked for."""

    component: str
    sheet: str | None
    columns: tuple[Column, ...]
    """Those of the rows, in their order."""
    rows: int
    body: bytes
    next: str | None
    """The cursor of the next page; None: this was the last."""
    cut: Cut | None
    """Why the page has fewer rows than were asked for, although there may be more."""


class PreviewService:
    """Pages of rows."""

    def __init__(self, db: Database, files: FileKeeper, versions: VersionReader, access: AccessControl) -> None:
        self._db = db
        self._files = files
        self._versions = versions
        self._access = access
        self._captures = Captures(db)
        self._turnstile = Turnstile(CHILDREN, WAITING, PATIENCE, partial(TooManyPreviews, BUSY))

    @checks_permission(PermissionType.READ)
    def preview(
        self,
        actor: Actor,
        dataset: DatasetRef,
        ref: str | None = None,
        *,
        component: str | None = None,
        sheet: str | None = None,
        columns: Sequence[str] = (),
        where: Sequence[str] = (),
        limit: int = 100,
        cursor: str | None = None,
        form: Form = Form.JSON,
        spreadsheet: bool = False,
        seconds: float = SEEK_SECONDS,
    ) -> Preview:
        """Rows of one table of a version in the order of the file, those that fulfil every condition of `where`.

        A page holds at most `limit` rows (10,000) and 16 MiB. Pages never change, since contents do not. Who gives no component or sheet
        means the only one. Raises `NotPreviewable` with the reason that the file's capture gave, `SchemaNotCaptured` for a large file that
        nobody has read yet, `NoSuchTable`, `SeveralTables`, `ColumnMissing`, `WrongCondition`, `WrongCursor`, `TooManyPreviews`, and what
        `VersionReader.resolve` raises.
        """
        if not 1 <= limit <= MOST_ROWS:
            raise Invalid(f"a page has 1 to {MOST_ROWS:,} rows, not {limit:,}: ask for more with the cursor")
        with self._db.transaction() as tx:
            self._access.require(tx, actor, PermissionType.READ, dataset.id)
            version_id = self._versions.resolve(tx, dataset, ref)
            item = _component(self._versions.components(tx, version_id), component)
            hints = ReadingHints(tx).get(dataset.id)
            key = key_of(item.content_hash, item.name, hints)
            capture = self._captures.known(tx, [key]).get(key)
        capture = capture or self._capture(key, item, hints)
        table = _table(item, capture, sheet)
        known = {column.name: column for column in table.columns}
        chosen = tuple(dict.fromkeys(column_of(name, known).name for name in columns)) or tuple(known)
        conditions = parse(where, known)
        marks = _Marks(key, table.name, chosen, conditions)
        start = 0 if cursor is None else marks.position(cursor)
        with tempfile.TemporaryDirectory(prefix="dsplatform-preview-") as folder, self._turnstile.place_and_turn():
            target = Path(folder, "rows")
            look = Look(
                str(target),
                form,
                table.name,
                table.columns,
                chosen,
                conditions,
                start,
                limit,
                MOST_BYTES,
                seconds,
                capture.details,
                fine_columns(table),
                spreadsheet,
            )
            with self._files.local_paths([item.file_id]) as (path,):
                found = _sandbox().look(Request(path, item.file_type, item.name, hints, look=look))
            if found.reason is not None:
                raise NotPreviewable(f"the rows of {item.name!r} cannot be shown: {found.reason}")
            with target.open("rb") as file:
                body = file.read(MOST_BYTES + 1)
        ended = found.ended or found.position == table.rows
        return Preview(
            item.name,
            table.name,
            tuple(known[name] for name in chosen),
            found.rows,
            body,
            None if ended else marks.cursor(found.position),
            None if ended else found.cut,
        )

    def _capture(self, key: Key, item: Component, hints: Hints) -> FileCapture:
        if item.file_size > READ_AT_ONCE:
            raise SchemaNotCaptured(f"{item.name!r} is being read for the first time: try again in a moment")
        with self._files.local_paths([item.file_id]) as (path,):
            return self._captures.read({key: Request(path, item.file_type, item.name, hints)})[key]


@dataclass(frozen=True)
class _Marks:
    """Cursors of one question. A cursor is a position with a digest of it and of the question, so that one of another question, or a broken
    one, is told. It gives access to nothing."""

    key: Key
    table: str | None
    chosen: tuple[str, ...]
    conditions: tuple[Condition, ...]

    def cursor(self, position: int) -> str:
        """Of the page that begins behind so many rows of the table."""
        raw = position.to_bytes(8, "big")
        return urlsafe_b64encode(raw + self._digest(raw)).decode()

    def position(self, cursor: str) -> int:
        """What `cursor` was made from. Raises `WrongCursor`."""
        try:
            raw = urlsafe_b64decode(cursor.encode("ascii"))
        except ValueError:
            raw = b""
        if len(raw) != 24 or self._digest(raw[:8]) != raw[8:] or raw[0] > 127:
            raise WrongCursor(
                "this cursor belongs to another question: give `next` as it was answered, with the same table, columns and conditions"
            )
        return int.from_bytes(raw[:8], "big")

    def _digest(self, raw: bytes) -> bytes:
        asked = [READER_VERSION, *self.key, self.table, self.chosen, [condition.plain() for condition in self.conditions]]
        return hashlib.sha256(raw + json.dumps(asked).encode()).digest()[:16]


@cache
def _sandbox() -> Sandbox:
    """The children of this process that look at rows. Captures have their own, which so never wait for a person."""
    sandbox = Sandbox(CHILDREN)
    atexit.register(sandbox.close)
    return sandbox


def _component(components: Sequence[Component], wanted: str | None) -> Component:
    found = [item for item in components if wanted in {None, item.name}]
    if not found:
        raise NoSuchTable("the version has no file" if wanted is None else f"the version has no component {wanted[:200]!r}")
    if len(found) > 1:
        raise SeveralTables(f"the version has {len(found):,} files, {_some([item.name for item in found])}: choose one as `component`")
    return found[0]


def _table(item: Component, capture: FileCapture, sheet: str | None) -> Table:
    if capture.status is not Status.OK:
        raise NotPreviewable(f"{item.name!r} has no rows to show: {capture.reason}")
    found = [table for table in capture.tables if sheet in {None, table.name}]
    if not found:
        raise NoSuchTable(f"{item.name!r} has no sheet {sheet!r}" if sheet is not None else f"{item.name!r} has no table")
    if len(found) > 1:
        names = [table.name or "" for table in found]
        raise SeveralTables(f"{item.name!r} has {len(found):,} sheets, {_some(names)}: choose one as `sheet`")
    if not found[0].columns:
        raise NotPreviewable(f"{item.name!r} has no rows to show: the table has no columns")
    return found[0]


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
