"""Storing and reading files."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, TypeVar
from uuid import UUID, uuid4

from dsplatform.core.access import checks_permission, internal, requires_right
from dsplatform.core.database import Database, SerializationFailed, back_off
from dsplatform.core.domain import Actor, Scope
from dsplatform.core.errors import Conflict, DsplatformError, Invalid, Unavailable
from dsplatform.core.failpoints import reach
from dsplatform.core.interfaces import AccessControl
from dsplatform.core.types import ContentHash, FileId, FilePath, PermissionType, PlatformRight
from dsplatform.core.values import Refused, Source, UploadOvertaken
from dsplatform.core.verification import Verification
from dsplatform.files import verification
from dsplatform.files.chunks import Chunks, HashingReader, PartReader, damaged
from dsplatform.files.condition import Placed
from dsplatform.files.model import FileDamaged, FileMissing, FileReference, SessionEnded, StoredFile
from dsplatform.files.repository import Files, Staged
from dsplatform.files.scrub import mark_damaged
from dsplatform.files.stores import StorageBackend
from dsplatform.files.upload import Shown, StagedUpload

logger = logging.getLogger(__name__)

C = TypeVar("C", bound=Chunks)

MAX_ATTEMPTS = 20
"""How often a recording that others keep overtaking is repeated."""
URL_SECONDS = 300
"""How long an address of a download is good."""


class FileService:
    """The content-addressed store: the exact bytes of each content once."""

    def __init__(
        self,
        db: Database,
        storage: StorageBackend,
        access: AccessControl,
        *,
        workers: int = 2,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._db = db
        self._storage = storage
        self._access = access
        self._workers = workers
        self._progress = progress or _unheard

    @internal("whoever brings bytes to a dataset is asked for the right to write it there")
    def upload(self, on_behalf_of: Actor | None = None) -> AbstractContextManager[StagedUpload]:
        """Begins an upload of any number of sources: `add`, `seal`, then `record` in a transaction. See `core.interfaces.FileKeeper`."""
        return StagedUpload(self._db, self._storage, self._workers, self._progress, self._shown(on_behalf_of))

    def _shown(self, actor: Actor | None) -> Shown | None:
        if actor is None or (actor.scope == Scope() and actor.holds_everywhere(PermissionType.READ)):
            return None
        who = actor
        return lambda tx, file_ids: self._access.files_seen(tx, who, file_ids)

    @requires_right(PlatformRight.CREATE)
    def store_file(self, actor: Actor, source: Source, *, name: str = "file", session: UUID | None = None) -> FileReference:
        """Stores the bytes of one source and stages them under `name`, so that they stay until the reference is deleted or, after a
        day, expires. Memory does not grow with the source. Raises `Invalid` for a source that cannot be taken, `SessionEnded`."""
        with self.upload(actor) as upload:
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

    @internal("no door offers it: what is staged expires by itself")
    def delete_reference(self, reference: FileReference) -> None:
        """Gives up a staged file. The content goes when nothing else names it, and never before its grace period ends."""
        with self._db.transaction() as tx:
            if not Staged(tx).remove(reference.session_id, reference.path):
                raise FileMissing(f"reference {reference.path!r} of session {reference.session_id} does not exist (any more)")

    @checks_permission(PermissionType.READ)
    def describe(self, actor: Actor, file_id: FileId) -> StoredFile:
        """What is known of a file. Raises `NotFound`, the same for one that the actor may not read as for one that does not exist."""
        with self._db.autocommit() as tx:
            self._access.require_file(tx, actor, PermissionType.READ, file_id)
        return self.get_file(file_id)

    @internal("modules ask it of files that their callers may read")
    def get_file(self, file_id: FileId) -> StoredFile:
        """What is known of a file. Raises `FileMissing`."""
        with self._db.transaction() as tx:
            row = Files(tx).one(file_id)
        if row is None:
            raise _missing(file_id)
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

    @internal("modules ask it of files that their callers may read")
    def open(self, file_id: FileId) -> BinaryIO:
        """The bytes, for reading. Raises `FileDamaged` when the object is lost; `verified_chunks` also checks what it reads."""
        return self._opened(self.get_file(file_id))

    def _opened(self, file: StoredFile) -> BinaryIO:
        try:
            return self._storage.open(file.storage_key)
        except FileNotFoundError as err:
            self._doubt(file)
            raise damaged(file, "its bytes are missing") from err

    def _doubt(self, file: StoredFile) -> None:
        """A reader met other bytes than were stored, or none: when a second reading does, too, the file is marked as damaged."""
        placed = Placed(file.id, file.content_hash, file.file_size, file.storage_key, file.state)
        try:
            if finding := verification.examine(self._storage, placed):
                mark_damaged(self._db, self._storage, [(placed, finding)])
        except DsplatformError as err:  # the reader hears of the damage all the same
            logger.warning("%s could not be marked as damaged: %s", placed.label, err)

    @internal("modules ask it of files that their callers may read")
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
                    raise _missing(file_id)
                try:
                    opened.append(paths.enter_context(self._storage.local_path(keys[file_id])))
                except FileNotFoundError as err:
                    raise FileDamaged(
                        f"file {file_id} is damaged: its bytes are missing; upload the same content again to heal it"
                    ) from err
            yield opened

    @internal("modules ask it of files that their callers may read")
    @contextmanager
    def verified_chunks(self, file_id: FileId) -> Iterator[HashingReader]:
        """The bytes in chunks of 1 MiB; raises `FileDamaged` before the last chunk when they are not what was stored."""
        file = self.get_file(file_id)
        with self._opened(file) as reader, self._doubting(file, HashingReader(reader, file)) as chunks:
            yield chunks

    @checks_permission(PermissionType.READ)
    @contextmanager
    def download(self, actor: Actor, file_id: FileId, *, offset: int = 0, length: int | None = None) -> Iterator[Chunks]:
        """The bytes from `offset` on, `length` of them (None: all that follow), in chunks of 1 MiB.

        Of the whole file the iteration raises `FileDamaged` before the last chunk when they are not what was stored; a part cannot be
        told to be right, only to be there. Raises `Invalid` for a part that is not within the file, `FileMissing`, `MissingRight`.
        """
        with self._db.autocommit() as tx:
            self._access.require_file(tx, actor, PermissionType.READ, file_id)
        file = self.get_file(file_id)
        length = file.file_size - offset if length is None else length
        if offset < 0 or length < 0 or offset + length > file.file_size:
            raise Invalid(f"file {file_id} has {file.file_size} bytes: {length} from byte {offset} on are not within it")
        with self._opened(file) as reader:
            whole = length == file.file_size
            with self._doubting(file, HashingReader(reader, file) if whole else PartReader(reader, file, offset, length)) as chunks:
                yield chunks

    @contextmanager
    def _doubting(self, file: StoredFile, chunks: C) -> Iterator[C]:
        try:
            yield chunks
        finally:
            if chunks.damaged:
                self._doubt(file)

    @checks_permission(PermissionType.READ)
    def download_url(self, actor: Actor, file_id: FileId, *, filename: str, seconds: int = URL_SECONDS) -> str | None:
        """An address from which anybody may read the bytes, and nothing else, for that long, as a download of that name; None where the
        storage has no addresses. Treat it as a password. What is read from it was not verified by us."""
        with self._db.autocommit() as tx:
            self._access.require_file(tx, actor, PermissionType.READ, file_id)
        return self._storage.download_url(self.get_file(file_id).storage_key, seconds, filename)

    @checks_permission(PermissionType.READ)
    def write_to(self, actor: Actor, file_id: FileId, folder: Path, name: FilePath, *, overwrite: bool = False) -> Path:
        """Writes the exact bytes to `folder/name`, complete and verified or not at all. Raises `Conflict` when the file is there."""
        target = folder / name
        if os.path.lexists(target) and not overwrite:
            raise Conflict(f"{target} exists already: write into another folder, or overwrite it with --force")
        draft = target.with_name(f".{uuid4().hex}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with self.download(actor, file_id) as chunks, draft.open("xb") as output:
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

    @internal("it says nothing about what is stored")
    def answers(self) -> None:
        """Raises `Unavailable` unless the store answers as itself."""
        self._storage.store_id()

    @internal("`Platform.verify` asks it")
    def verify(self, found: Verification, *, contents: bool, minimum_age: timedelta | None = None) -> None:
        """Adds to `found` what is against I1 to I4 and I6; with `contents` every object is read. See `Platform.verify`."""
        verification.verify(
            self._db, self._storage, found, contents=contents, minimum_age=verification.MINIMUM_AGE if minimum_age is None else minimum_age
        )


def _unheard(_count: int) -> None: ...


def _missing(file_id: FileId) -> FileMissing:
    return FileMissing(f"file {file_id} does not exist")
