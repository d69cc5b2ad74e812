"""Versions of what arrives over a wire: parts are stored one after the other, as they come, and committed together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from dsplatform.core.access import checks_permission
from dsplatform.core.database import Database, Transaction
from dsplatform.core.domain import Actor, ValueObject
from dsplatform.core.errors import DsplatformError, Invalid
from dsplatform.core.interfaces import AccessControl, FileKeeper, VersionWriter
from dsplatform.core.types import MAIN, ContentHash, FilePath, PermissionType, file_path, pointer_name
from dsplatform.core.values import CommitMode, Committed, Content, DatasetRef, Refused, VersionChange
from dsplatform.versioning import model
from dsplatform.versioning.model import DigestMismatch
from dsplatform.versioning.repository import Versions


@dataclass(frozen=True)
class Part:
    """One component on its way."""

    name: str
    source: BinaryIO
    """Read to its end before the next part is asked for."""
    content_hash: ContentHash | None = None
    """What the sender says that it is."""


@dataclass(frozen=True)
class Received(ValueObject):
    """A component as it arrived."""

    name: FilePath
    content_hash: ContentHash
    file_size: int
    file_type: str
    duplicate: bool
    """Whether the store had these bytes, in something that the actor may read; what only others have is as new to her."""


@dataclass(frozen=True)
class Uploaded(ValueObject):
    """What became of an upload."""

    committed: Committed
    components: tuple[Received, ...]


class UploadService:
    """Takes files that are sent, in any number and of any size, while they are sent."""

    def __init__(self, db: Database, files: FileKeeper, access: AccessControl, versions: VersionWriter) -> None:
        self._db = db
        self._files = files
        self._access = access
        self._versions = versions

    @checks_permission(PermissionType.WRITE)
    def upload(
        self,
        actor: Actor,
        dataset: DatasetRef,
        parts: Iterable[Part],
        *,
        branch: str = MAIN,
        message: str = "",
        mode: CommitMode = CommitMode.PATCH,
        expected_head: int | None = None,
        expected: Mapping[str, ContentHash | None] | None = None,
        idempotency_key: str | None = None,
    ) -> Uploaded:
        """Stores the parts and commits them as one version, or not at all. Means what `VersionService.create_version` means.

        The right to write is asked for before the first byte is read, and a name is checked before its bytes are. Memory does not grow
        with the parts. `expected_head` is the number of a version; `expected`
        says what the branch has to hold under a name (None: nothing). Whatever iterating or reading raises ends the upload, and nothing is
        committed. Raises `DigestMismatch` for other bytes than the sender said, `Invalid`, `Conflict`, `Denied`.
        """
        target, note = pointer_name(branch), model.message(message)
        present = {file_path(name): content_hash for name, content_hash in (expected or {}).items()}
        with self._db.autocommit() as tx:
            self._access.require(tx, actor, PermissionType.WRITE, dataset.id)
            head = None if expected_head is None else Versions(tx).named(dataset, str(expected_head))
        with self._files.upload(actor) as upload:
            put: dict[FilePath, Content] = {}
            for part in parts:
                name = file_path(part.name)
                if name in put:
                    raise Invalid(f"two components are called {name!r} (after Unicode normalization): rename one")
                (content,) = upload.add([part.source])
                if isinstance(content, Refused):
                    raise Invalid(f"{name!r} cannot be stored: {content.reason}")
                if part.content_hash not in (None, content.content_hash):
                    raise DigestMismatch(
                        f"{name!r} arrived as {content.content_hash}, not {part.content_hash} as was announced: send it again"
                    )
                put[name] = content
            change = VersionChange(actor, dataset, put, (), target, note, mode, head, idempotency_key, expected=present)
            (outcome,) = self._versions.publish(upload, [change], _nothing)
        if isinstance(outcome, DsplatformError):
            raise outcome
        received = (Received(name, one.content_hash, one.file_size, one.file_type, not one.is_new) for name, one in put.items())
        return Uploaded(outcome, tuple(received))


def _nothing(_tx: Transaction, _index: int, _committed: Committed) -> None: ...
