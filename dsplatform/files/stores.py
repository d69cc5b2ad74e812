"""Where objects lie. One interface; `LocalStorage` keeps them in a folder.

Objects are written once under their key and never changed. Writing makes them visible to this process only; `sync` makes them
durable, and only after it may a row name them. No transaction is open during any call here.
"""

import ctypes
import errno
import os
import shutil
import stat
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar
from uuid import UUID, uuid4

from dsplatform.core.errors import Unavailable
from dsplatform.core.failpoints import reach

T = TypeVar("T")

SYNC_ONE_BY_ONE = 8
"""Up to this many objects are synced one by one; above, the whole file system at once. On ext4 one `syncfs` after 8,000 small
writes costs about 0.1 s, an fsync each about 4 s; for 15 objects 2 ms against 10, and on a busy disk 5 against 17 to 100. Of a very few
objects an fsync each may be quicker, because it does not wait for what others write."""

DELETERS = 8
"""Threads of a deletion. A disk works on several at a time: of 5,000 small objects on a slow one, one after the other took 3.4 s, in
the order of their folders 1.9 s, and so with eight threads 0.6 s."""
DELETED_AT_ONCE = 64

PAGE = 1_000
"""Objects that a page of a listing has, at most."""


@dataclass(frozen=True)
class StoredObject:
    """An object, as a listing shows it."""

    key: str
    size: int
    modified_at: datetime
    """By the store's clock."""


class StorageBackend(Protocol):
    """A place for objects. Failures of the place itself are `Unavailable`."""

    kind: str
    parallel: int
    """How many calls should be in flight at once; 1: no more than there are threads that hash."""

    def put(self, key: str, data: bytes) -> None:
        """Writes a small object, not yet durable. The key must be new."""
        ...

    def spool(self, upload_id: UUID) -> Path:
        """A new temporary file's path, where a stream is written whose key is not known yet."""
        ...

    def place(self, spooled: Path, key: str) -> None:
        """Gives a complete spooled file its key, not yet durable. The key must be new."""
        ...

    def sync(self, keys: Collection[str]) -> None:
        """Makes the objects durable, with their names. Raises `Unavailable` when that failed: they must then not be named."""
        ...

    def size(self, key: str) -> int | None:
        """The object's size in bytes; None when there is no such object."""
        ...

    def open(self, key: str) -> BinaryIO:
        """The object, for reading. Raises FileNotFoundError."""
        ...

    def local_path(self, key: str) -> AbstractContextManager[Path]:
        """A local, readable file with the object's bytes for the length of the block. Raises FileNotFoundError."""
        ...

    def download_url(self, key: str, seconds: int, filename: str) -> str | None:
        """An address from which anybody may read this object for that long, saved under that name; None where the place has none."""
        ...

    def discard_spooled(self, upload_id: UUID) -> None:
        """Removes what the upload spooled and did not place. What does not go now is left to the collector: the upload has its outcome."""
        ...

    def spooled(self) -> Mapping[UUID, datetime]:
        """The uploads that have spooled files here, each with when its newest one was last written, by the store's clock."""
        ...

    # What collection and scrubbing need.

    def delete(self, keys: Collection[str]) -> Mapping[str, str]:
        """Removes objects; one that is not there counts as removed. Answers with those that may still be there, and why.

        Raises `Unavailable` when the place does not answer: then any of them may be gone or there.
        """
        ...

    def quarantine(self, key: str) -> bool:
        """Copies the object aside as it is, for who wants to know what happened to it; the first copy is the one that is kept.

        False when there is no object to copy.
        """
        ...

    def list(self, prefix: str = "", after: str = "") -> Iterator[Sequence[StoredObject]]:
        """The objects whose keys begin with `prefix` and come after `after`, in the order of their keys, in pages.

        The iteration ends only after the last object: it raises `Unavailable` when the list cannot be had in full.
        """
        ...

    def store_id(self) -> str:
        """What tells this store from every other one, for as long as it exists. Raises `Unavailable` where it cannot be read."""
        ...

    def now(self) -> datetime:
        """The store's clock, which dates its objects."""
        ...


class LocalStorage:
    """Objects as read-only files `<root>/objects/<2 digits>/<hash>.<upload>`; streams wait in `<root>/tmp`, on the same file system."""

    kind = "local"
    parallel = 1

    def __init__(self, root: Path) -> None:
        self.root = root
        self._objects = root / "objects"
        self._temporary = root / "tmp"
        self._durable_folders: set[str] = set()
        try:
            self._objects.mkdir(parents=True, exist_ok=True)
            self._temporary.mkdir(exist_ok=True)
            self._identify()
            _sync_path(self._objects)
            self._durable_folders.update(os.listdir(self._objects))
        except OSError as err:
            raise Unavailable(f"storage folder {root} cannot be used: {err.strerror}; check DSPLATFORM_STORAGE_URL") from err

    def _identify(self) -> None:
        """A store has an identity, written once, so that a job that deletes can tell whether it is at the right one.

        Before it the folders are made, durably and all at once: making one on the way costs a small commit twice its time. One that
        is missing later is made when it is needed.
        """
        identity = self.root / "STORE_ID"
        if not identity.exists():
            for number in range(256):
                (self._objects / f"{number:02x}").mkdir(exist_ok=True)
            _sync_path(self._objects)
            draft = self._temporary / f"STORE_ID.{uuid4().hex}"
            draft.write_text(f"{uuid4()}\n")
            try:
                os.link(draft, identity)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
            _sync_path(self.root)
            _sync_path(self.root.parent)

    def _path(self, key: str) -> str:
        return f"{self._objects}/{key}"

    def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with _storage_errors(path):
            descriptor = self._making_folder(path, lambda: os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o444))
            try:
                reach("object.begun")
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
            finally:
                os.close(descriptor)

    def spool(self, upload_id: UUID) -> Path:
        return self._temporary / f"{upload_id.hex}.{uuid4().hex}"

    def place(self, spooled: Path, key: str) -> None:
        path = self._path(key)
        with _storage_errors(path):
            spooled.chmod(0o444)
            self._making_folder(path, lambda: os.link(spooled, path))  # a rename would overwrite
            reach("object.linked")
            spooled.unlink()

    def _making_folder(self, path: str, action: Callable[[], T]) -> T:
        try:
            return action()
        except FileNotFoundError:
            Path(path).parent.mkdir(exist_ok=True)
            return action()

    def sync(self, keys: Collection[str]) -> None:
        if not keys:
            return
        with _storage_errors(str(self.root)):
            if len(keys) > SYNC_ONE_BY_ONE and sync_file_system(self.root):
                return
            for key in keys:
                _sync_path(Path(self._path(key)))
            folders = {key[:2] for key in keys}
            for folder in folders:
                _sync_path(self._objects / folder)
            if not folders <= self._durable_folders:
                _sync_path(self._objects)
                self._durable_folders |= folders

    def size(self, key: str) -> int | None:
        with self._answering():
            try:
                return os.stat(self._path(key)).st_size
            except FileNotFoundError:
                return None

    def open(self, key: str) -> BinaryIO:
        try:
            return open(self._path(key), "rb")
        except FileNotFoundError:
            raise
        except OSError as err:
            raise Unavailable(f"storage folder {self.root} does not answer: {err.strerror}") from err

    @contextmanager
    def local_path(self, key: str) -> Iterator[Path]:
        path = Path(self._path(key))
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        yield path

    def download_url(self, key: str, seconds: int, filename: str) -> str | None:  # noqa: ARG002 - a folder has no addresses
        return None

    def discard_spooled(self, upload_id: UUID) -> None:
        with suppress(OSError):
            for spooled in self._temporary.glob(f"{upload_id.hex}.*"):
                spooled.unlink(missing_ok=True)

    def spooled(self) -> Mapping[UUID, datetime]:
        newest: dict[UUID, datetime] = {}
        with self._answering(), os.scandir(self._temporary) as entries:
            for entry in entries:
                with suppress(ValueError, FileNotFoundError):  # not an upload's name; placed meanwhile
                    upload_id = UUID(entry.name.partition(".")[0])
                    written = _aware(entry.stat(follow_symlinks=False).st_mtime)
                    newest[upload_id] = max(written, newest.get(upload_id, written))
        return newest

    def delete(self, keys: Collection[str]) -> Mapping[str, str]:
        ordered = sorted(keys)
        step = max(DELETED_AT_ONCE, -(-len(ordered) // DELETERS))
        parts = [ordered[start : start + step] for start in range(0, len(ordered), step)]
        with ThreadPoolExecutor(DELETERS, thread_name_prefix="delete") as pool:
            return {key: reason for left in pool.map(self._unlink, parts) for key, reason in left.items()}

    def _unlink(self, keys: Sequence[str]) -> Mapping[str, str]:
        left: dict[str, str] = {}
        for key in keys:
            try:
                os.unlink(self._path(key))
            except FileNotFoundError:
                pass
            except OSError as err:
                left[key] = err.strerror or str(err)
        return left

    def quarantine(self, key: str) -> bool:
        """A copy and no second name: an operator may write the right bytes into the object."""
        target = self.root / "quarantine" / key
        draft = self.spool(uuid4())  # what a crash leaves of it goes as any upload's spool does
        with self._answering():
            if target.exists():
                return True
            try:
                shutil.copyfile(self._path(key), draft)
                target.parent.mkdir(parents=True, exist_ok=True)
                draft.replace(target)
            except FileNotFoundError:
                return False
            finally:
                draft.unlink(missing_ok=True)
        return True

    def list(self, prefix: str = "", after: str = "") -> Iterator[Sequence[StoredObject]]:
        return _pages(found for found in self._walk(prefix, after) if found.key > after and found.key.startswith(prefix))

    def _walk(self, prefix: str, after: str) -> Iterator[StoredObject]:
        with self._answering():
            folders = sorted(os.listdir(self._objects))
        for folder in folders:
            start = f"{folder}/"
            if start >= after[: len(start)] and (start.startswith(prefix) or prefix.startswith(start)):
                yield from self._listed(folder)

    def _listed(self, folder: str) -> Iterator[StoredObject]:
        """A folder's objects in the order of their names; one that is deleted meanwhile is left out."""
        path = f"{self._objects}/{folder}"  # text: joining `Path`s costs more than looking at the files
        with self._answering():
            try:
                names = sorted(os.listdir(path))
            except NotADirectoryError:
                return  # nothing of ours
            for name in names:
                try:
                    status = os.stat(f"{path}/{name}", follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield StoredObject(f"{folder}/{name}", status.st_size, _aware(status.st_mtime))

    def store_id(self) -> str:
        with self._answering():
            identity = (self.root / "STORE_ID").read_text().strip()
        if not identity:
            raise Unavailable(f"{self.root}/STORE_ID is empty: put back what it held, so that the store is known again")
        return identity

    def now(self) -> datetime:
        probe = self.spool(uuid4())  # what a crash leaves of it goes as any upload's spool does
        with self._answering():
            try:
                probe.touch(exist_ok=False)
                return _aware(probe.stat().st_mtime)
            finally:
                probe.unlink(missing_ok=True)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            raise Unavailable(f"storage folder {self.root} does not answer: {err.strerror}") from err


def _pages(objects: Iterator[StoredObject]) -> Iterator[Sequence[StoredObject]]:
    while page := list(islice(objects, PAGE)):
        yield page


def _aware(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@contextmanager
def _storage_errors(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        if err.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise Unavailable(f"the storage has no space left at {path}: free space and repeat; nothing was recorded") from err
        raise Unavailable(f"the storage failed at {path}: {err.strerror}; nothing was recorded") from err


def _sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_libc = ctypes.CDLL(None, use_errno=True)


def sync_file_system(path: Path) -> bool:
    """Makes everything written to the file system of `path` durable; False where the system can't do that for one file system.

    Linux `syncfs(2)`, which reports write errors since 5.8. Raises OSError when a write failed.
    """
    if not sys.platform.startswith("linux") or not hasattr(_libc, "syncfs"):
        return False
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if _libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)
    return True
