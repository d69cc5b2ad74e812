"""Files come along: the bytes of those that a version names, hashed, and stored once whatever the number of rows.

Bytes in the column `file_data` come before any path. What is stored is referred to at once, by a session that does not expire, so that
the collector cannot take it before the versions are there; `release` gives these references up when the legacy system is no more.
What the rows say of size and hash is compared with the bytes, which count.
"""

import io
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from uuid import UUID, uuid5

from dsplatform.core.database import Transaction
from dsplatform.core.interfaces import Upload
from dsplatform.core.types import ContentHash, FileId
from dsplatform.core.values import Content, Refused
from dsplatform.migration.columns import Columns, plain
from dsplatform.migration.lander import wait
from dsplatform.migration.locating import NotLocated
from dsplatform.migration.model import Entity, Finding, Gone, Group, Key, Landed, Outcome, Reason, Rule, SourceRow, legacy_id
from dsplatform.migration.purposes import Purposes
from dsplatform.migration.source import Inline, Snapshot
from dsplatform.migration.step import Prepared, Step, Surroundings

SESSION = uuid5(UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8"), "dsplatform legacy files")
"""The session that refers to what came along."""
AT_ONCE = 64
"""Files that are open at the same time."""
PORTION_BYTES = 1024 * 1024 * 1024
"""Bytes of a batch, by what the rows say: what a process that is killed has to do again at most."""
YOUNG = "1 hour"
"""A file whose row is younger may still be on its way to where the row will say."""
PAUSE, ATTEMPTS = 60.0, 3
"""Seconds between looks at a young row whose file is missing, and how many."""
FACTS = ("storage_type", "file_type", "mime_type", "file_path", "file_size", "content_hash", "compression_type", "metadata", "created_at")


@dataclass
class _Taken:
    """What became of the bytes of each row."""

    contents: dict[Key, Content] = field(default_factory=dict)
    missing: dict[Key, Finding] = field(default_factory=dict)
    left: dict[Key, Rule] = field(default_factory=dict)
    """Rows whose bytes nobody needs."""
    fresh: dict[Key, SourceRow] = field(default_factory=dict)
    """Rows that were read again, because their file was not there."""


class FilesStep(Step[_Taken]):
    """Files."""

    entity = Entity.FILES
    batch = 512

    def __init__(self, around: Surroundings) -> None:
        self._legacy = around.legacy
        self._files = around.files
        self._locator = around.locator
        self._zone = around.zone
        self._owner = around.actor.user_id
        self._purposes = Purposes()

    def begin(self, tx: Transaction, highest: Key | None) -> None:
        """The session that refers to what is stored."""
        self._purposes = Purposes(up_to=highest)
        tx.execute(
            "INSERT INTO upload_sessions (id, owner_id, expires_at) VALUES (:id, :owner, now() + interval '100 years') "
            "ON CONFLICT DO NOTHING",
            id=SESSION,
            owner=self._owner,
        )

    def portions(self, groups: Sequence[Group]) -> Iterator[Sequence[Group]]:
        """So many that their bytes are worth a transaction."""
        start = total = 0
        for at, group in enumerate(groups):
            size = _size(group.row)
            if at > start and total + size > PORTION_BYTES:
                yield groups[start:at]
                start, total = at, 0
            total += size
        if start < len(groups):
            yield groups[start:]

    @contextmanager
    def prepare(self, source: Snapshot, groups: Sequence[Group]) -> Iterator[Prepared[_Taken]]:
        """Stores the bytes of what versions name."""
        taken = _Taken(left=self._purposes.left(source, [group.row.key for group in groups]))
        rows = [group.row for group in groups if group.row.key not in taken.left]
        with ExitStack() as stack:
            upload = stack.enter_context(self._files.upload()) if rows else None
            if upload is not None:
                self._take(source, rows, upload, taken)
                self._look_again(rows, upload, taken)
                upload.seal()
            yield Prepared(taken, upload if taken.contents else None)

    def _look_again(self, rows: Sequence[SourceRow], upload: Upload, taken: _Taken) -> None:
        """What is missing is looked for again with a fresh row, at once, and then where the row is young."""
        for attempt in range(1 + ATTEMPTS):
            lost = [row.key for row in rows if row.key in taken.missing]
            if not lost:
                return
            with self._legacy.snapshot() as source:
                fresh = source.rows(Entity.FILES, lost)
                if attempt:
                    young = _young(source, lost)
                    fresh = [row for row in fresh if row.key in young]
            if attempt and fresh:
                wait(PAUSE, lambda: False)
                with self._legacy.snapshot() as source:
                    fresh = source.rows(Entity.FILES, [row.key for row in fresh])
                    self._take(source, fresh, upload, taken)
            elif fresh and not attempt:
                with self._legacy.snapshot() as source:
                    self._take(source, fresh, upload, taken)
            taken.fresh.update((row.key, row) for row in fresh)
            if attempt and not fresh:
                return

    def _take(self, source: Snapshot, rows: Sequence[SourceRow], upload: Upload, taken: _Taken) -> None:
        """Hashes and stores what can be found, some files at a time."""
        for start in range(0, len(rows), AT_ONCE):
            opened: list[tuple[Key, BinaryIO]] = []
            with ExitStack() as stack:
                for row in rows[start : start + AT_ONCE]:
                    try:
                        opened.append((row.key, stack.enter_context(self._opened(source, row))))
                        taken.missing.pop(row.key, None)
                    except NotLocated as err:
                        taken.missing[row.key] = Finding(err.reason, {"why": str(err)})
                before = [_standing(reader) for _, reader in opened]
                answers = upload.add([reader for _, reader in opened]) if opened else ()
                after = [_standing(reader) for _, reader in opened]
            for (key, _), answer, was, now in zip(opened, answers, before, after, strict=True):
                if isinstance(answer, Refused):
                    taken.missing[key] = Finding(Reason.MISSING_BYTES, {"why": answer.reason})
                elif was != now:
                    taken.missing[key] = Finding(Reason.MISSING_BYTES, {"why": "it changed while it was read"})
                else:
                    taken.contents[key] = answer

    def _opened(self, source: Snapshot, row: SourceRow) -> BinaryIO:
        if isinstance(row.values.get("file_data"), Inline):
            return io.BufferedReader(_Column(source, row.key))
        path = Columns(row, self._zone).text("file_path")
        if path is None:
            raise NotLocated(Reason.MISSING_BYTES, "the row has neither bytes nor a path")
        if "file_path" in row.broken:
            path = os.fsdecode(row.broken["file_path"])
        return self._locator.open(path)

    def land(self, tx: Transaction, groups: Sequence[Group], prepared: Prepared[_Taken]) -> Iterable[Landed]:
        """Records what was stored, and refers to it."""
        work = prepared.work
        hashes = {work.contents[group.row.key].content_hash for group in groups if group.row.key in work.contents}
        ids = prepared.upload.record(tx, hashes) if prepared.upload and hashes else {}
        landed = [self._landed(group.row, work, ids) for group in groups]
        _refer(tx, {legacy_id(one.key): one.new_id for one in landed if one.new_id is not None})
        return landed

    def _landed(self, row: SourceRow, work: _Taken, ids: Mapping[ContentHash, FileId]) -> Landed:
        rule = work.left.get(row.key)
        columns = Columns(row, self._zone)
        columns.keep(**plain(row.values, *FACTS))
        if rule is not None:
            return Landed(Entity.FILES, row.key, Outcome.EXCLUDED, None, (Finding(rule, {}),), columns.kept)
        for name in row.broken:
            columns.find(Reason.BAD_ENCODING, column=name)
        content = work.contents.get(row.key)
        if content is None:
            finding = work.missing.get(row.key, Finding(Reason.MISSING_BYTES, {"why": "the row is gone"}))
            columns.findings.insert(0, finding)
            return columns.landed(Entity.FILES, row.key, None)
        said_size, said_hash = columns.number("file_size"), _said_hash(columns)
        if said_size is not None and said_size != content.file_size:
            columns.find(Reason.SIZE_MISMATCH, said=said_size, true=content.file_size)
        if said_hash is not None and said_hash != content.content_hash:
            columns.find(Reason.HASH_MISMATCH, said=said_hash, true=content.content_hash)
        return columns.landed(Entity.FILES, row.key, ids[content.content_hash])

    def finish(self, tx: Transaction, source: Snapshot) -> None:
        """What names files is asked anew from here on."""
        self._purposes = Purposes()

    def remove(self, tx: Transaction, gone: Sequence[Gone]) -> None:
        """They are referred to by nothing but versions any more."""
        _refer(tx, dict.fromkeys((legacy_id(one.key) for one in gone), None))

    def dependents(self, source: Snapshot, keys: Sequence[Key]) -> Mapping[Entity, Collection[Key]]:
        """The versions that have these files."""
        ids = [key[0] for key in keys]
        found: set[Key] = set()
        if source.has("dataset_versions", "file_id"):
            found |= {row.key for row in source.where("dataset_versions", "file_id", ids)}
        if source.has("dataset_version_files"):
            found |= {(row.values["version_id"],) for row in source.where("dataset_version_files", "file_id", ids)}
        return {Entity.VERSIONS: found}


class _Column(io.RawIOBase):
    """The bytes that a row holds itself, read a piece at a time."""

    def __init__(self, source: Snapshot, key: Key) -> None:
        self._pieces = source.inline(Entity.FILES, "file_data", key)
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._piece = memoryview(piece)
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count


def _standing(reader: BinaryIO) -> tuple[int, int] | None:
    """What tells that a file was changed; None for what is no file."""
    try:
        status = os.fstat(reader.fileno())
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _size(row: SourceRow) -> int:
    inline = row.values.get("file_data")
    said = inline.size if isinstance(inline, Inline) else row.values.get("file_size")
    return said if isinstance(said, int) and said > 0 else 0


def _said_hash(columns: Columns) -> str | None:
    said = (columns.text("content_hash") or "").strip().lower()
    return said or None


def _young(source: Snapshot, keys: Sequence[Key]) -> set[Key]:
    """Those that were made within the last hour, by the legacy server's clock."""
    found = source.tuples(
        "SELECT id FROM files WHERE id = ANY(%s) AND created_at > now()::timestamp - %s::interval", [key[0] for key in keys], YOUNG
    )
    return {(id_,) for (id_,) in found}


def _refer(tx: Transaction, files: Mapping[str, int | None]) -> None:
    """Rows by legacy id refer to these files, and to no other."""
    if not files:
        return
    names, ids = list(files), [files[name] for name in files]
    tx.execute(
        "DELETE FROM staged_files s USING unnest(CAST(:names AS text[]), CAST(:ids AS bigint[])) n(name, id) "
        "WHERE s.session_id = :session AND s.path = n.name AND s.file_id IS DISTINCT FROM n.id",
        session=SESSION,
        names=names,
        ids=ids,
    )
    tx.execute(
        "INSERT INTO staged_files (session_id, path, file_id) SELECT :session, n.name, n.id "
        "FROM unnest(CAST(:names AS text[]), CAST(:ids AS bigint[])) n(name, id) WHERE n.id IS NOT NULL ON CONFLICT DO NOTHING",
        session=SESSION,
        names=names,
        ids=ids,
    )


def release(tx: Transaction) -> int:
    """Gives up the references to all that came along; answers how many. What versions name stays."""
    released = tx.execute("DELETE FROM staged_files WHERE session_id = :session", session=SESSION)
    tx.execute("DELETE FROM upload_sessions WHERE id = :session", session=SESSION)
    return released
