"""What must hold of stored files (I1 to I4 and I6), and the reading of an object that all who doubt one share.

What the database knows alone is a question whose answers are the faults. Store and database are compared by walking the listing and
the rows side by side, in the order of the keys, with a page of each in memory. They are seen at moments apart and others work
meanwhile, so every difference is looked at again before it counts: an object first, then the row that names it.
"""

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import islice
from typing import BinaryIO, TypeVar

from dsplatform.core.database import Database
from dsplatform.core.errors import Unavailable
from dsplatform.core.verification import Verification
from dsplatform.files.condition import Condition, Placed, every_placed
from dsplatform.files.reading import CHUNK_BYTES
from dsplatform.files.stores import StorageBackend, StoredObject

T = TypeVar("T")

MINIMUM_AGE = timedelta(hours=48)
"""An object that nothing names is judged only when it is older: as the sweep does, which would bury it."""

BATCH = 1_000

REFERENCES = (
    """
    SELECT coalesce(d.slug || '@' || v.version_number, 'version ' || c.version_id) || ' ' || c.component_name,
           'file ' || c.file_id || ' does not exist'
    FROM dataset_version_files c LEFT JOIN dataset_versions v ON v.id = c.version_id LEFT JOIN datasets d ON d.id = v.dataset_id
    WHERE NOT EXISTS (SELECT 1 FROM files f WHERE f.id = c.file_id)
    """,
    """
    SELECT 'session ' || s.session_id || ' ' || s.path, 'file ' || s.file_id || ' does not exist'
    FROM staged_files s WHERE NOT EXISTS (SELECT 1 FROM files f WHERE f.id = s.file_id)
    """,
    """
    SELECT coalesce(d.slug, 'dataset ' || v.dataset_id) || '@' || v.version_number,
           'its overlay, file ' || v.overlay_file_id || ', does not exist'
    FROM dataset_versions v LEFT JOIN datasets d ON d.id = v.dataset_id
    WHERE NOT EXISTS (SELECT 1 FROM files f WHERE f.id = v.overlay_file_id)
    """,
)

DAMAGED = (
    """
    SELECT 'file ' || f.id || ' (' || f.content_hash || ')', 'it is marked as damaged' FROM files f WHERE f.state <> 'ok'
    """,
)

BURIED = (
    """
    SELECT 'file ' || f.id || ' (' || f.content_hash || ')', 'a tombstone names its object: ' || t.reason
    FROM files f JOIN tombstones t ON t.storage_key = f.file_path
    """,
)

KEYS = (
    """
    SELECT 'file ' || f.id || ' (' || f.content_hash || ')', 'its key does not hold its hash and an upload: ' || f.file_path
    FROM files f WHERE left(f.file_path, 68) <> left(f.content_hash, 2) || '/' || f.content_hash || '.'
    OR substr(f.file_path, 69) !~ '^[0-9a-f]{32}$'
    """,
    """
    SELECT 'object ' || f.file_path, 'it belongs to ' || count(*) || ' files' FROM files f GROUP BY f.file_path HAVING count(*) > 1
    """,
    """
    SELECT 'content ' || f.content_hash, 'it is recorded ' || count(*) || ' times'
    FROM files f GROUP BY f.content_hash HAVING count(*) > 1
    """,
)

COUNTS = (
    """
    SELECT 'file ' || f.id || ' (' || f.content_hash || ')',
           'it has ' || coalesce(r.n, 0) || ' reference(s), and ' || c.reference_count || ' are shown'
    FROM files f JOIN file_reference_counts c ON c.file_id = f.id
    LEFT JOIN (SELECT u.file_id, count(*) AS n FROM (
                   SELECT file_id FROM dataset_version_files UNION ALL SELECT file_id FROM staged_files
                   UNION ALL SELECT overlay_file_id FROM dataset_versions
               ) u GROUP BY u.file_id) r ON r.file_id = f.id
    WHERE c.reference_count <> coalesce(r.n, 0)
    """,
)


class WrongStore(Unavailable):
    """The store at hand is not the one that this database's keys point into."""

    code = "wrong_store"


def verify(db: Database, storage: StorageBackend, found: Verification, *, contents: bool, minimum_age: timedelta) -> None:
    """Adds to `found` what is against I1 to I4 and I6. With `contents` every object is read; without, presence and size count.

    Raises `Unavailable` when the store cannot be listed, and `WrongStore`.
    """
    must_be_ours(db, storage)
    with db.autocommit() as tx:
        for invariant, questions in (("I1", REFERENCES), ("I2", DAMAGED), ("I3", BURIED), ("I4", KEYS), ("I6", COUNTS)):
            found.ask(tx, invariant, questions)
    judged_before = storage.now() - minimum_age
    rows = _counted(found, "files", every_placed(db))
    for batch in batches(differences(rows, _counted(found, "objects", listed_objects(storage)))):
        if not contents:  # else they are all read below
            for file, finding in absences(db, storage, [item for item in batch if isinstance(item, Placed) and item.state == "ok"]):
                found.add("I2", file.label, finding)
        strangers = [item.key for item in batch if isinstance(item, StoredObject) and item.modified_at <= judged_before]
        for key in _unnamed(db, storage, strangers):
            found.add("I3", f"object {key}", "nothing names it")
    if contents:
        _verify_contents(db, storage, found)


def _verify_contents(db: Database, storage: StorageBackend, found: Verification) -> None:
    def passed(count: int) -> None:
        found.checked["bytes"] += count

    def judged(file: Placed) -> str | None:
        try:
            return examine(storage, file, passed)
        except Unavailable as err:
            return f"it cannot be read: {err}"

    for batch in batches(every_placed(db)):
        doubted = [(file, finding) for file in batch if file.state == "ok" and (finding := judged(file))]
        for file, finding in _where_they_were(db, doubted):
            found.add("I2", file.label, finding)


def must_be_ours(db: Database, storage: StorageBackend) -> None:
    """Raises `WrongStore`: with a disk that is not mounted every file would seem to be lost."""
    with db.autocommit() as tx:
        bound = Condition(tx).store_id()
    if bound is not None and bound != (found := storage.store_id()):
        raise WrongStore(f"the store is {found}, and this database's files lie in {bound}: mount that one, or check DSPLATFORM_STORAGE_URL")


# --- the store and the rows, side by side --------------------------------------------------------------------------------------


def differences(rows: Iterator[Placed], objects: Iterable[StoredObject]) -> Iterator[Placed | StoredObject]:
    """Files whose object is not in the listing with its size, and objects that are no file's. Both come in the order of the keys."""
    row = next(rows, None)
    for listed in objects:
        named = _KEY.fullmatch(listed.key)
        while row is not None and named and row.content_hash < named[2]:
            yield row
            row = next(rows, None)
        if row is None or row.key != listed.key:
            yield listed
            continue
        if row.file_size != listed.size:
            yield row
        row = next(rows, None)
    if row is not None:
        yield row
    yield from rows


_KEY = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{62})\.[0-9a-f]{32}")


def absences(db: Database, storage: StorageBackend, files: Sequence[Placed]) -> list[tuple[Placed, str]]:
    """Those files whose object is missing or has another size, with what is wrong."""
    doubted = []
    for file in files:
        size = storage.size(file.key)
        if size != file.file_size:
            doubted.append((file, "its bytes are missing" if size is None else f"it has {size} bytes instead of {file.file_size}"))
    return list(_where_they_were(db, doubted))


def _where_they_were(db: Database, doubted: Sequence[tuple[Placed, str]]) -> Iterator[tuple[Placed, str]]:
    """Only those that were not healed or collected since: their object was looked at between two looks at the row."""
    if doubted:
        with db.autocommit() as tx:
            still = Condition(tx).still([file for file, _ in doubted])
        yield from ((file, finding) for file, finding in doubted if file.id in still)


def _unnamed(db: Database, storage: StorageBackend, keys: Sequence[str]) -> list[str]:
    """Asked after they were listed: what writes an object names it before, and what purges one forgets it after."""
    if not keys:
        return []
    with db.autocommit() as tx:
        unnamed = Condition(tx).unnamed(keys)
    return [key for key in unnamed if storage.size(key) is not None]


def listed_objects(storage: StorageBackend, prefix: str = "") -> Iterator[StoredObject]:
    """Every object under keys of hashes that begin with `prefix`, in the order of the keys."""
    for page in storage.list(prefix if len(prefix) < 2 else f"{prefix[:2]}/{prefix}"):
        yield from page


def _counted(found: Verification, what: str, items: Iterable[T]) -> Iterator[T]:
    count = 0
    for count, item in enumerate(items, 1):  # noqa: B007 - its last value is the count
        yield item
    found.checked[what] += count


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """The items, many at a time."""
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch


# --- one object ----------------------------------------------------------------------------------------------------------------


def examine(storage: StorageBackend, file: Placed, passed: Callable[[int], None] = lambda _: None) -> str | None:
    """Reads the object and says what is wrong with it, if a second reading says so, too: a disk or a network may err once.

    `passed` hears of every chunk. Raises `Unavailable` when the store does not let it be read.
    """
    for _ in range(2):
        try:
            unreadable, finding = None, _read_once(storage, file, passed)
        except Unavailable as err:
            unreadable, finding = err, None
        if unreadable is None and finding is None:
            return None
    if unreadable:
        raise unreadable
    return finding


def _read_once(storage: StorageBackend, file: Placed, passed: Callable[[int], None]) -> str | None:
    digest, size = hashlib.sha256(), 0
    try:
        with storage.open(file.key) as reader:
            _forget_cached(reader)
            while chunk := reader.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                passed(len(chunk))
    except FileNotFoundError:
        return "its bytes are missing"
    except OSError as err:
        if err.errno == errno.EIO:  # these bytes cannot be read, whatever becomes of the others
            return f"it cannot be read: {err.strerror}"
        raise Unavailable(f"the storage does not let {file.label} be read: {err.strerror or err}") from err
    if size != file.file_size:
        return f"it has {size} bytes instead of {file.file_size}"
    return None if digest.hexdigest() == file.content_hash else "its bytes have changed"


def _forget_cached(reader: BinaryIO) -> None:
    """What is read shall come from the disk and not from memory, where it may be still what was written."""
    try:
        os.posix_fadvise(reader.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    except (AttributeError, OSError):
        return  # not on this system, or no file of it
