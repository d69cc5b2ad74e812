"""Everything that one module may ask of another. Services satisfy these by having the methods; mypy checks it in `bootstrap.py`.

A method that takes `tx` works inside the caller's transaction. The methods without one move bytes, which never happens while a
transaction is open; they open short transactions of their own.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from dsplatform.core.database import Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.errors import DsplatformError
from dsplatform.core.types import ContentHash, DatasetId, FileId, FilePath, PermissionType, PlatformRight, PointerName, VersionId
from dsplatform.core.values import (
    Arrival,
    ColumnChange,
    Committed,
    Component,
    Content,
    DatasetRef,
    EnforcedRule,
    FileUse,
    Refusal,
    Refused,
    SchemaSummary,
    Source,
    VersionChange,
)

# --- files ---------------------------------------------------------------------------------------------------------------------


class Upload(Protocol):
    """Bytes on their way into the store: add, seal, record. What is not recorded is given back by the garbage collector."""

    def add(self, sources: Sequence[Source], *, surely_new: bool = False) -> Sequence[Content | Refused]:
        """Hashes every source and writes what the store lacks. One answer per source, in their order.

        `surely_new` spares the question whether the store has them; where it has, `record` raises `UploadOvertaken`.
        """
        ...

    def adopt(self, hashes: Collection[ContentHash]) -> None:
        """Holds contents that some version has, without their bytes. `record` gives their ids, keeps them from the collector as it does
        all others, and raises `Gone` when one of them is stored no longer."""
        ...

    def seal(self) -> None:
        """Makes all that was added durable, with one barrier."""
        ...

    def record(self, tx: Transaction, hashes: Collection[ContentHash]) -> Mapping[ContentHash, FileId]:
        """The ids of the sealed contents, recorded where they are new. Keeps them from the collector until `tx` ends.

        Everything that was added and whose stored object is damaged is healed, asked for or not.
        Raises `UploadOvertaken` when another writer or the collector came between: roll back, call `reconcile`, and repeat.
        """
        ...

    def reconcile(self) -> None:
        """After `UploadOvertaken`: looks at the store again and writes what it lacks now, durably."""
        ...

    def local_paths(self, hashes: Collection[ContentHash]) -> AbstractContextManager[Mapping[ContentHash, Path]]:
        """Local files with the exact bytes of contents that were added and sealed, or that the store has: to read and not to change, for
        as long as the block lasts. Raises `Gone` for what is neither."""
        ...


class FileKeeper(Protocol):
    """The content-addressed store."""

    def upload(self, on_behalf_of: Actor | None = None) -> AbstractContextManager[Upload]:
        """Begins an upload. On behalf of somebody, what she may not read is as new to her: in the answers, and in the work that is done
        (None: of the platform itself, which knows everything)."""
        ...

    def local_paths(self, file_ids: Sequence[FileId]) -> AbstractContextManager[Sequence[Path]]:
        """Local files with the exact bytes, in the order asked for, to read and not to change, for as long as the block lasts."""
        ...

    def verified_chunks(self, file_id: FileId) -> AbstractContextManager["VerifiedChunks"]:
        """The bytes in order; the iteration raises before its last chunk when they are not what was stored."""
        ...


class VerifiedChunks(Protocol):
    """An iterator over chunks of bytes whose digest is checked as they pass."""

    def __iter__(self) -> "VerifiedChunks": ...
    def __next__(self) -> bytes: ...


# --- datasets and permissions --------------------------------------------------------------------------------------------------


class DatasetDirectory(Protocol):
    """Names to datasets."""

    def find(self, tx: Transaction, actor: Actor, name: str) -> DatasetRef:
        """The living dataset of that name which the actor may see: her own, else the one with that slug. Raises `NotFound`, the same for
        one that she may not see as for one that does not exist."""
        ...

    def ensure(self, tx: Transaction, actor: Actor, name: str) -> DatasetRef:
        """`find`, or a new dataset owned by the actor. Raises `Invalid` for a name against the rule, `Denied`."""
        ...

    def lock(self, tx: Transaction, dataset_id: DatasetId) -> None:
        """Keeps other commits to the dataset and its deletion waiting until `tx` ends. Raises `NotFound`."""
        ...

    def expired(self, tx: Transaction) -> Sequence[DatasetRef]:
        """Deleted datasets that can no longer be restored, in the order of their deletion."""
        ...

    def lock_expired(self, tx: Transaction, dataset_id: DatasetId) -> bool:
        """Keeps others away from what is left of a dataset; False unless it was deleted and can no longer be restored."""
        ...

    def forget(self, tx: Transaction, dataset_id: DatasetId) -> None:
        """The end of a dataset that holds nothing any more. The caller holds `lock_expired`."""
        ...


class AccessControl(Protocol):
    """Who may do what."""

    def actor(self, tx: Transaction, username: str) -> Actor:
        """The active user of that name. Raises `NotFound`."""
        ...

    def require(self, tx: Transaction, actor: Actor, permission: PermissionType, dataset_id: DatasetId) -> None:
        """Raises `Denied`, naming the missing right, unless the actor holds it on the dataset."""
        ...

    def require_right(self, actor: Actor, right: PlatformRight) -> None:
        """Raises `Denied`, naming the missing right, unless the actor's role gives it."""
        ...

    def require_file(self, tx: Transaction, actor: Actor, permission: PermissionType, file_id: FileId) -> None:
        """Raises `Denied` unless the actor holds the right on the file by itself, or on a dataset of which a living version names it, and
        `NotFound` where she may not even read it."""
        ...

    def files_seen(self, tx: Transaction, actor: Actor, file_ids: Collection[FileId]) -> Collection[FileId]:
        """Those of the files that the actor may read because a version names them."""
        ...

    def own(self, tx: Transaction, actor: Actor, dataset_id: DatasetId) -> None:
        """Gives the creator of a new dataset `admin` on it."""
        ...

    def disown(self, tx: Transaction, dataset_id: DatasetId) -> None:
        """Takes back every right on a dataset that is about to be no more."""
        ...


# --- versions ------------------------------------------------------------------------------------------------------------------


class VersionWriter(Protocol):
    """Makes versions of what an upload holds."""

    def publish(
        self,
        upload: Upload,
        changes: Sequence[VersionChange],
        within: Callable[[Transaction, int, Committed], None],
    ) -> Sequence[Committed | DsplatformError]:
        """Commits each change with its bytes in one transaction, behind one durability barrier for all of them.

        `within(tx, index, outcome)` runs in the transaction of the change at `index`, once per attempt. One change's failure
        leaves the others alone and is answered in its place.
        """
        ...


class VersionReader(Protocol):
    """Reads what versions hold."""

    def components(self, tx: Transaction, version_id: VersionId) -> Sequence[Component]:
        """The components in their order. Raises `Gone` for a version whose files were deleted."""
        ...

    def resolve(self, tx: Transaction, dataset: DatasetRef, ref: str | None) -> VersionId:
        """The version that `ref` (a number, `latest`, a branch or a tag; None: the head of `main`) names. Raises `NotFound`."""
        ...

    def belongs(self, tx: Transaction, dataset: DatasetRef, version_id: VersionId) -> None:
        """Raises `NotFound` unless the version is one of the dataset, or was."""
        ...

    def living(self, tx: Transaction, version_id: VersionId) -> None:
        """Raises `Gone` for a version whose files were deleted."""
        ...

    def uses(self, tx: Transaction, file_ids: Sequence[FileId]) -> Sequence[FileUse]:
        """Where versions name these files, the newest 100 versions of each."""
        ...


class Merger(Protocol):
    """Brings versions onto branches, past any contract."""

    def accept(
        self,
        actor: Actor,
        dataset: DatasetRef,
        version_number: int,
        into: PointerName,
        *,
        strategy: str | None,
        message: str,
        within: Callable[[Transaction, int], None],
    ) -> int:
        """Merges the version into the branch, which is made where it is missing; answers with the number of the version that the branch
        is at. `within(tx, number)` runs in the transaction that moves the branch, and writes down what was decided. Raises what a merge
        raises."""
        ...


# --- schemas -------------------------------------------------------------------------------------------------------------------


class Inspection(Protocol):
    """Judges arrivals of one upload, and remembers what it has read of them."""

    def judge(self, tx: Transaction, arrival: Arrival) -> Refusal | None:
        """Why the enforced terms keep the arrival from its branch; None: it may go there. Reads rows of the database alone: raises
        `NotRead` where contents have to be read before."""
        ...

    def read(self, arrival: Arrival) -> None:
        """After `NotRead`: reads what is needed, while no transaction is open. The upload is sealed."""
        ...


class ArrivalGate(Protocol):
    """Keeps contracts, where they are enforced."""

    def enforced(self, tx: Transaction, dataset_id: DatasetId, branch: PointerName) -> EnforcedRule | None:
        """Which terms are enforced for the branch at this moment. Who sets them holds the dataset's lock."""
        ...

    def inspect(self, upload: Upload) -> Inspection:
        """Begins to judge what the upload brings."""
        ...

    def renamed(self, tx: Transaction, dataset_id: DatasetId, old: PointerName, new: PointerName) -> None:
        """A branch has another name: its terms, and what waits for it in quarantine or lies on it, go with it."""
        ...

    def put_aside(self, tx: Transaction, committed: Committed) -> None:
        """Writes down that a version was committed to quarantine instead of the branch that it was meant for, and why."""
        ...

    def aside(self, tx: Transaction, version_id: VersionId) -> tuple[PointerName, Sequence[str]] | None:
        """The quarantine branch that the version was committed to, and why; None for any other version."""
        ...


class SchemaCapturer(Protocol):
    """Captures the schemas of versions."""

    def capture_version_schema(self, version_id: VersionId) -> SchemaSummary:
        """Reads every component that was not read before, and stores the version's schema. Repeating it is harmless."""
        ...


class CaptureKeeper(Protocol):
    """Keeps what captures found, per content."""

    def forget(self, tx: Transaction, hashes: Collection[ContentHash]) -> None:
        """Forgets what was found in these contents: they are no longer stored."""
        ...


class SchemaReader(Protocol):
    """Reads what captures found."""

    def figures(self, tx: Transaction, version_id: VersionId) -> Mapping[FilePath, tuple[int | None, int]] | None:
        """(rows, columns) per component, over all of its tables; rows is None where it could not be read. None: not captured yet."""
        ...

    def column_changes(
        self, tx: Transaction, before: VersionId, after: VersionId, changed: Sequence[tuple[Component, Component]]
    ) -> Sequence[ColumnChange]:
        """What changed in the columns from the first of each pair, a component of `before`, to the second, one of `after`.

        Pairs of which a content was not captured yet, or can't be read, are left out.
        """
        ...
