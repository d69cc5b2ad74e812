"""Storing and reading files."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Self
from uuid import UUID, uuid4

from dsplatform.core.database import Database, SerializationFailed, back_off
from dsplatform.core.domain import Actor
from dsplatform.core.errors import Conflict, DsplatformError, Invalid, Unavailable
from dsplatform.core.failpoints import reach
from dsplatform.core.types import ContentHash, FileId, FilePath
from dsplatform.core.values import Refused, Source, UploadOvertaken
from dsplatform.core.verification import Verification
from dsplatform.files import verification
from dsplatform.files.condition import Placed
from dsplatform.files.model import FileDamaged, FileMissing, FileReference, SessionEnded, StoredFile
from dsplatform.files.reading import CHUNK_BYTES
from dsplatform.files.repository import Files, Staged
from dsplatform.files.scrub import mark_damaged
from dsplatform.files.stores import StorageBackend
from dsplatform.files.upload import StagedUpload

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 20
"""How often a recording that others keep overtaking is repeated."""


class FileService:
    """The content-addressed store: the exact bytes of each content once."""

    def __init__(self, db: Database, storage: StorageBackend, *, workers: int = 2, progress: Callable[[int], None] | None = None) -> None:
        self._db = db
        self._storage = storage
        self._workers = workers
        self._progress = progress or _unheard

    def upload(self) -> AbstractContextManager[StagedUpload]:
        """Begins an upload of any number of sources: `add`, `seal`, then `record` in a transaction."""
        return StagedUpload(self._db, self._storage, self._workers, self._progress)

    def store_file(self, actor: Actor, source: Source, *, name: str = "file", session: UUID | None = None) -> FileReference:
        """Stores the bytes of one source and stages them under `name`, so that they stay until the reference is deleted or, after a
        day, expires. Memory does not grow with the source. Raises `Invalid` for a source that cannot be taken, `SessionEnded`."""
        with self.upload() as upload:
            (content,) = upload.add([source])
            if isinstance(content, Refused):
                raise Invalid(f"{source if isinstance(source, (str, Path)) else name} cannot be stored: {content.reason}")
            upload.seal()
            for attempt in range(1, MAX_ATTEMPTS + 1):
                try:
                    with self._db.transaction() as tx:
                        file_id = upload.record(tx, [content.content_hash])[content.content_hash]
                        staged = Staged(tx)
                        if session is None:
                            session_id = uuid4()
                            staged.open(session_id, actor.user_id)
                        else:
                            session_id = session
                            if not staged.hold(session, actor.user_id):
                                raise SessionEnded(f"upload session {session} does not exist (any more): store the file in a new one")
                        staged.put(session_id, name, file_id)
                    reach("file.staged")
                    break
                except (UploadOvertaken, SerializationFailed) as err:
                    if attempt == MAX_ATTEMPTS:
                        raise Conflict("the content is being stored and removed by many at once: try again") from err
                    if isinstance(err, SerializationFailed):
                        back_off(attempt)
                    else:
                        upload.reconcile()
        return FileReference(session_id, name, file_id, content.content_hash, content.is_new)

    def delete_reference(self, reference: FileReference) -> None:
        """Gives up a staged file. The content goes when nothing else names it, and never before its grace period ends."""
        with self._db.transaction() as tx:
            if not Staged(tx).remove(reference.session_id, reference.path):
                raise FileMissing(f"reference {reference.path!r} of session {reference.session_id} does not exist (any more)")

    def get_file(self, file_id: FileId) -> StoredFile:
        """What is known of a file. Raises `FileMissing`."""
        with self._db.transaction() as tx:
            row = Files(tx).one(file_id)
        if row is None:
            raise FileMissing(f"file {file_id} does not exist")
        return StoredFile(
            FileId(row["id"]),
            ContentHash(row["content_hash"]),
            row["file_size"],
            row["file_path"],
            row["file_type"],
            row["state"],
            row["created_at"],
            row["reference_count"],
        )

    def open(self, file_id: FileId) -> BinaryIO:
        """The bytes, for reading. Raises `FileDamaged` when the object is lost; `verified_chunks` also checks what it reads."""
        return self._opened(self.get_file(file_id))

    def _opened(self, file: StoredFile) -> BinaryIO:
        try:
            return self._storage.open(file.storage_key)
        except FileNotFoundError as err:
            self._doubt(file)
            raise _damaged(file, "its bytes are missing") from err

    def _doubt(self, file: StoredFile) -> None:
        """A reader met other bytes than were stored, or none: when a second reading does, too, the file is marked as damaged."""
        placed = Placed(file.id, file.content_hash, file.file_size, file.storage_key, file.state)
        try:
            if finding := verification.examine(self._storage, placed):
                mark_damaged(self._db, self._storage, [(placed, finding)])
        except DsplatformError as err:  # the reader hears of the damage all the same
            logger.warning("%s could not be marked as damaged: %s", placed.label, err)

    @contextmanager
    def local_paths(self, file_ids: Sequence[FileId]) -> Iterator[Sequence[Path]]:
        """Local files with the exact bytes, in the order asked for, to read and not to change, for as long as the block lasts.

        Raises `FileMissing` for an id that does not exist, `FileDamaged` when an object is lost.
        """
        with self._db.autocommit() as tx:
            keys = Files(tx).keys(file_ids)
        with ExitStack() as paths:
            opened = []
            for file_id in file_ids:
                if file_id not in keys:
                    raise FileMissing(f"file {file_id} does not exist")
                try:
                    opened.append(paths.enter_context(self._storage.local_path(keys[file_id])))
                except FileNotFoundError as err:
                    raise FileDamaged(
                        f"file {file_id} is damaged: its bytes are missing; upload the same content again to heal it"
                    ) from err
            yield opened

    @contextmanager
    def verified_chunks(self, file_id: FileId) -> Iterator["HashingReader"]:
        """The bytes in chunks of 1 MiB; raises `FileDamaged` before the last chunk when they are not what was stored."""
        file = self.get_file(file_id)
        with self._opened(file) as reader:
            chunks = HashingReader(reader, file)
            try:
                yield chunks
            finally:
                if chunks.damaged:
                    self._doubt(file)

    def write_to(self, file_id: FileId, folder: Path, name: FilePath, *, overwrite: bool = False) -> Path:
        """Writes the exact bytes to `folder/name`, complete and verified or not at all. Raises `Conflict` when the file is there."""
        target = folder / name
        if os.path.lexists(target) and not overwrite:
            raise Conflict(f"{target} exists already: write into another folder, or overwrite it with --force")
        draft = target.with_name(f".{uuid4().hex}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with self.verified_chunks(file_id) as chunks, draft.open("xb") as output:
                for chunk in chunks:
                    output.write(chunk)
                output.flush()
                os.fsync(output.fileno())
            draft.replace(target)
        except OSError as err:
            raise Unavailable(f"{target} cannot be written: {err.strerror}") from err
        finally:
            with suppress(OSError):
                draft.unlink()
        return target

    def verify(self, found: Verification, *, contents: bool, minimum_age: timedelta | None = None) -> None:
        """Adds to `found` what is against I1 to I4 and I6; with `contents` every object is read. See `Platform.verify`."""
        verification.verify(
            self._db, self._storage, found, contents=contents, minimum_age=verification.MINIMUM_AGE if minimum_age is None else minimum_age
        )


class HashingReader:
    """Chunks of a file, hashed as they pass. The last one is held back until the digest is known to be right."""

    def __init__(self, reader: BinaryIO, file: StoredFile) -> None:
        self._reader = reader
        self._file = file
        self._digest = hashlib.sha256()
        self._left = file.file_size
        self.damaged = False
        """Whether the bytes turned out not to be what was stored."""
        self._next = self._read()

    def _read(self) -> bytes:
        try:
            chunk = self._reader.read(CHUNK_BYTES)
        except OSError as err:
            raise Unavailable(f"file {self._file.id} cannot be read from the storage: {err.strerror}") from err
        self._digest.update(chunk)
        self._left -= len(chunk)
        return chunk

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        current, self._next = self._next, b""
        if current:
            self._next = self._read()
        if not self._next:
            if self._left != 0 or self._digest.hexdigest() != self._file.content_hash:
                self.damaged = True
                raise _damaged(self._file, "its bytes have changed")
            if not current:
                raise StopIteration
        return current


def _unheard(_count: int) -> None: ...


def _damaged(file: StoredFile, finding: str) -> FileDamaged:
    return FileDamaged(f"file {file.id} ({file.content_hash[:12]}…) is damaged: {finding}; upload the same content again to heal it")
