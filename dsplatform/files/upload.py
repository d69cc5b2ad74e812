"""One upload: sources are hashed, bytes the store lacks are written and made durable, then recorded in the caller's transaction.

The order of the storage protocol: the intent names every key before an object is written under it; one barrier makes all objects
durable; only then does a row name them. A crash anywhere leaves an intent whose keys the collector finds. A content that the store
has already is not written again, but its object is looked at, so that a lost or damaged one is healed by the bytes at hand.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from uuid import UUID, uuid4

from dsplatform.core.database import Database, Transaction
from dsplatform.core.errors import Gone, Unavailable
from dsplatform.core.failpoints import reach
from dsplatform.core.types import ContentHash, FileId
from dsplatform.core.values import Content, Refused, Source, UploadOvertaken
from dsplatform.files.model import COMPRESSIONS, MIME_TYPES, UploadExpired, storage_key
from dsplatform.files.reading import SourceRefused, Taken, take, windows
from dsplatform.files.repository import Files, Intents, NewFile
from dsplatform.files.stores import StorageBackend

A = TypeVar("A")
B = TypeVar("B")

Shown = Callable[[Transaction, Collection[FileId]], Collection[FileId]]
"""Which of these files of the store the uploader may know of."""

SMALL_BYTES = 256 * 1024
"""Files up to this size are hashed in memory before anything is written, so that a duplicate costs no write."""
WINDOW_BYTES = 64 * 1024 * 1024
"""How much of them is held in memory at once."""
RENEW_SECONDS = 60
SLICE = 64


@dataclass
class _Held:
    """What the upload knows of one content."""

    taken: Taken
    source: Source
    key: str | None = None
    """Our own copy's key, where we wrote one."""
    file_id: FileId | None = None
    """The row that the store has."""
    bad_key: str | None = None
    """The object of that row, where it must be healed."""
    hidden: bool = False
    """Whether the uploader may not know of that row: her bytes are written all the same, so that neither answer nor time tell of it."""
    handed_over: Transaction | None = None
    """Which transaction gave our copy to a file or to the collector."""

    @property
    def is_new(self) -> bool:
        return self.file_id is None

    @property
    def is_spent(self) -> bool:
        """Whether the key is not ours to give any more: what it names may be deleted at any time."""
        return self.handed_over is not None and self.handed_over.committed


class StagedUpload:
    """See `core.interfaces.Upload`. Used as a context manager; leaving it gives back what was not recorded."""

    def __init__(
        self, db: Database, storage: StorageBackend, workers: int, progress: Callable[[int], None], shown: Shown | None = None
    ) -> None:
        self._db = db
        self._storage = storage
        self._progress = progress
        self._shown = shown
        self._id = uuid4()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="upload")
        self._storing = ThreadPoolExecutor(storage.parallel, thread_name_prefix="store") if storage.parallel > 1 else self._pool
        self._held: dict[ContentHash, _Held] = {}
        self._adopted: set[ContentHash] = set()
        self._unwritten: list[_Held] = []
        self._unwritten_bytes = 0
        self._unsealed: list[str] = []
        self._spooled = False
        self._intent_lock = threading.Lock()
        self._intent_open = False
        self._closed_by: Transaction | None = None
        self._broken = False
        self._renewed_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._storing.shutdown(cancel_futures=True)
        if self._intent_alive:
            with self._db.transaction() as tx:
                Intents(tx).abandon(self._id)
        if self._spooled:
            self._storage.discard_spooled(self._id)

    # --- add -------------------------------------------------------------------------------------------------------------------

    def add(self, sources: Sequence[Source], *, surely_new: bool = False) -> Sequence[Content | Refused]:
        """Hashes every source and writes what the store lacks. One answer per source, in their order.

        `surely_new` spares the question whether the store has them; where it has, recording is overtaken and `reconcile` asks.
        """
        answers: list[Content | Refused] = []
        for window, large in windows(sources, small=SMALL_BYTES, held=WINDOW_BYTES):
            answers += self._add_window(window, large, surely_new=surely_new)
        return answers

    def _add_window(self, sources: Sequence[Source], large: Sequence[int], *, surely_new: bool) -> list[Content | Refused]:
        results = self._take_all(sources, large)
        fresh: list[_Held] = []
        for source, result in zip(sources, results, strict=True):
            if isinstance(result, Taken) and result.content_hash not in self._held:
                held = _Held(result, source)
                self._held[result.content_hash] = held
                fresh.append(held)
        (self._keep if surely_new else self._settle)(fresh)
        new = {held.taken.content_hash for held in fresh if held.is_new or held.hidden}
        answers: list[Content | Refused] = []
        for result in results:
            if isinstance(result, Refused):
                answers.append(result)
                continue
            file_type = self._held[result.content_hash].taken.file_type
            answers.append(Content(result.content_hash, result.size, file_type, is_new=result.content_hash in new))
            new.discard(result.content_hash)  # the second source with these bytes is a duplicate of the first
        return answers

    def _take_all(self, sources: Sequence[Source], large: Sequence[int]) -> list[Taken | Refused]:
        """Large sources in the pool's threads, small ones here: hashing them in threads costs more than it saves."""
        if len(large) <= 1:
            return [self._take(source) for source in sources]
        running = {at: self._pool.submit(self._take, sources[at]) for at in large}
        return [running[at].result() if at in running else self._take(source) for at, source in enumerate(sources)]

    def _take(self, source: Source) -> Taken | Refused:
        try:
            taken = take(source, self._spool, SMALL_BYTES, self._chunk_taken)
        except SourceRefused as err:
            return Refused(str(err), may_retry=err.may_retry)
        if taken.spooled:
            reach("upload.spooled")
        return taken

    def _spool(self) -> Path:
        """Where a stream goes whose key is not known yet. The intent comes before its first byte."""
        with self._intent_lock:
            if not self._intent_alive:
                self._open_intent()
            self._spooled = True
        return self._storage.spool(self._id)

    def _settle(self, contents: Sequence[_Held]) -> None:
        """Looks each content up, and writes those that the store lacks or has lost."""
        with self._db.autocommit() as tx:
            placed = Files(tx).placed([held.taken.content_hash for held in contents])
            ids = {row[0] for row in placed.values()}
            shown = ids if self._shown is None or not ids else self._shown(tx, ids)
        hits = [held for held in contents if held.taken.content_hash in placed]
        sizes = self._each([placed[held.taken.content_hash][1] for held in hits], self._storage.size)
        for held, size in zip(hits, sizes, strict=True):
            held.file_id, key, state, held.taken.known_type = placed[held.taken.content_hash]
            held.hidden = held.file_id not in shown
            held.bad_key = None if size == held.taken.size and state == "ok" else key
            if key == held.key:  # our own row: its commit arrived though its answer did not
                held.key = held.bad_key = None
        if any(held.is_new and held.is_spent for held in contents):
            raise Unavailable("a content of this upload was recorded and deleted again before all was: upload it again")
        self._keep([held for held in contents if held.key is None and (held.is_new or held.hidden or held.bad_key is not None)])
        for held in contents:
            if held.key is None and isinstance(held.source, (str, Path)):  # can be read again
                held.taken.data = None

    def _keep(self, missing: Sequence[_Held]) -> None:
        """Gives contents that the store lacks their keys, and writes when enough of them are held."""
        for held in missing:
            held.key = storage_key(held.taken.content_hash, self._id)
        self._unwritten += missing
        self._unwritten_bytes += sum(len(held.taken.data or b"") for held in missing)
        if self._unwritten_bytes > WINDOW_BYTES:
            self._write_out()

    def _write_out(self) -> None:
        """Names the keys of what is held in the intent, then writes it."""
        writing, self._unwritten, self._unwritten_bytes = self._unwritten, [], 0
        if not writing:
            return
        keys = [held.key for held in writing if held.key]
        with self._all_or_nothing():
            self._open_intent(keys)
            reach("upload.keys_named")
            self._each(writing, self._write)
            reach("upload.written")
            self._unsealed += keys
        for held in writing:
            held.taken.data = None

    def _write(self, held: _Held) -> None:
        if held.key is None:
            raise AssertionError("a content is written under a key")
        taken = held.taken
        if taken.data is None and taken.spooled is None:  # forgotten because the store had it, and then it had not
            try:
                taken = take(held.source, self._spool, SMALL_BYTES, self._chunk_taken)
            except SourceRefused as err:
                raise Unavailable(f"{held.source} is needed again, and {err}: upload it again") from err
            if taken.content_hash != held.taken.content_hash:
                raise Unavailable(f"{held.source} changed while it was uploaded: upload it again")
        if taken.data is not None:
            self._storage.put(held.key, taken.data)
        elif taken.spooled is not None:
            self._storage.place(taken.spooled, held.key)
            taken.spooled = None

    def _each(self, items: Sequence[A], work: Callable[[A], B]) -> list[B]:
        """Asks the storage about each item. Where asking means waiting, each in a thread of its own; else a few in this thread and many
        in the pool's, a slice at a time, because handing one tiny file to another thread costs more than the file."""
        slice_ = 1 if self._storage.parallel > 1 else SLICE
        if len(items) <= slice_:
            return [work(item) for item in items]
        slices = [items[start : start + slice_] for start in range(0, len(items), slice_)]
        return [answer for part in self._storing.map(lambda part: [work(item) for item in part], slices) for answer in part]

    # --- the intent ------------------------------------------------------------------------------------------------------------

    @property
    def _intent_alive(self) -> bool:
        """Whether our intent is open, as far as we know: a transaction that closed it may have been rolled back."""
        return self._intent_open and not (self._closed_by and self._closed_by.committed)

    def _open_intent(self, keys: Sequence[str] = ()) -> None:
        with self._db.autocommit() as tx:
            if not self._intent_open:
                Intents(tx).open(self._id, self._storage.kind, keys)
            elif self._closed_by and Intents(tx).reopen(
                self._id, self._storage.kind, keys, written=() if self._closed_by.committed else self._written(keys)
            ):
                self._closed_by = None
            elif not Intents(tx).extend(self._id, keys):
                raise _expired()
        self._intent_open = True
        self._renewed_at = time.monotonic()
        reach("upload.intent_open")

    def _written(self, but: Collection[str]) -> list[str]:
        """The keys under which we wrote objects, or tried to."""
        waiting = {*but, *(held.key for held in self._unwritten)}
        return [held.key for held in self._held.values() if held.key is not None and held.key not in waiting]

    def _chunk_taken(self, count: int) -> None:
        """Hears of each chunk of a stream; a long one keeps its intent alive."""
        self._progress(count)
        if self._spooled:
            reach("upload.spooling")
        if self._intent_open and time.monotonic() - self._renewed_at > RENEW_SECONDS:
            with self._intent_lock:
                self._open_intent()

    def adopt(self, hashes: Collection[ContentHash]) -> None:
        """See `core.interfaces.Upload.adopt`."""
        self._adopted.update(hashes)

    # --- seal and record -------------------------------------------------------------------------------------------------------

    def seal(self) -> None:
        """Writes what is still held, and makes all that was added durable, with one barrier."""
        self._write_out()
        with self._all_or_nothing():
            self._storage.sync(self._unsealed)
            self._unsealed = []
        reach("upload.sealed")

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """A write or a barrier that fails ends the upload: rows must not name what was not written, and a second `fsync` may answer
        well although the bytes are gone."""
        self._must_be_whole()
        self._broken = True
        yield
        self._broken = False

    def _must_be_whole(self) -> None:
        if self._broken:
            raise Unavailable("an earlier write of this upload failed, so nothing more of it is recorded: start it again")

    def record(self, tx: Transaction, hashes: Collection[ContentHash]) -> Mapping[ContentHash, FileId]:
        """See `core.interfaces.Upload.record`."""
        self._must_be_whole()
        if self._unsealed or self._unwritten:
            raise AssertionError("seal() comes before record(): a row must never name bytes that a power cut can take")
        adopted = self._adopted.difference(self._held).intersection(hashes)
        damaged = [content_hash for content_hash, held in self._held.items() if held.bad_key]  # healed whether they are asked for or not
        wanted = [self._held[content_hash] for content_hash in dict.fromkeys((*hashes, *damaged)) if content_hash not in adopted]
        ids: dict[ContentHash, FileId] = {}
        new = [held for held in wanted if held.is_new]
        if any(held.is_spent for held in new):
            raise UploadOvertaken("an earlier transaction recorded some of these contents")
        ending = self._keep_intent(tx, wanted, ends=bool(new)) if self._intent_alive else None
        if new:
            ids.update(Files(tx).insert([_row(held) for held in new], self._storage.kind, ending=ending))
            if not ids:
                raise _expired()
            for held in new:
                held.handed_over = tx
        ids.update(self._pin(tx, [held for held in wanted if not held.is_new]))
        ids.update(self._pin_adopted(tx, adopted))
        reach("upload.recorded")
        return ids

    def _keep_intent(self, tx: Transaction, wanted: Sequence[_Held], *, ends: bool) -> UUID | None:
        """With the last of our own objects the intent ends in the same transaction, together with the insertion of new contents where
        `ends` says that there is one: the answer is its id. Before, it is held against expiry."""
        ours = {held.taken.content_hash for held in self._held.values() if held.key is not None}
        last = ours <= {held.taken.content_hash for held in wanted}
        self._closed_by = tx if last else None
        if last and ends:
            return self._id
        if not (Intents(tx).close(self._id) if last else Intents(tx).hold(self._id)):
            raise _expired()
        return None

    def _pin(self, tx: Transaction, known: Sequence[_Held]) -> dict[ContentHash, FileId]:
        """Contents that the store has: pinned, healed where their object is bad, our spare copies given to the collector."""
        files = Files(tx)
        ids = {held.taken.content_hash: held.file_id for held in known if held.file_id is not None}
        if not ids:
            return {}
        for held in sorted((held for held in known if held.bad_key), key=lambda held: held.file_id or 0):
            if not files.heal(held.file_id or FileId(0), held.bad_key or "", held.key or "", held.taken.size):
                raise UploadOvertaken("somebody else healed this file")
            reach("upload.healed")
        rows = files.pin(ids.values())
        for held in known:
            row = rows.get(held.file_id or FileId(0))
            if row is None or row["state"] != "ok":
                raise UploadOvertaken("a content that was stored is gone or damaged by now")
            held.handed_over = tx if held.key else held.handed_over
        spare = [held.key for held in known if held.key and not held.bad_key]
        if spare:
            files.bury(spare, "duplicate", "1 hour")
            reach("upload.spare_buried")
        return ids

    def _pin_adopted(self, tx: Transaction, hashes: Collection[ContentHash]) -> dict[ContentHash, FileId]:
        """A damaged one is taken as well: the version that it comes from has it, too, and both are healed together."""
        if not hashes:
            return {}
        files = Files(tx)
        ids = {content_hash: row[0] for content_hash, row in files.placed(hashes).items()}
        rows = files.pin(ids.values())
        for content_hash in hashes:
            if ids.get(content_hash) not in rows:
                raise Gone(f"content {content_hash} is stored no longer: the version that held it was deleted meanwhile")
        return ids

    @contextmanager
    def local_paths(self, hashes: Collection[ContentHash]) -> Iterator[Mapping[ContentHash, Path]]:
        """See `core.interfaces.Upload.local_paths`. Our own copies come first: what the store has may be what they heal."""
        if self._unsealed or self._unwritten:
            raise AssertionError("seal() comes before local_paths(): what is held in memory has no path")
        own = {content_hash: held.key for content_hash in hashes if (held := self._held.get(content_hash)) and held.key}
        with self._db.autocommit() as tx:
            keys = {content_hash: row[1] for content_hash, row in Files(tx).placed(set(hashes).difference(own)).items()} | own
        with ExitStack() as paths:
            found: dict[ContentHash, Path] = {}
            for content_hash in hashes:
                try:
                    found[content_hash] = paths.enter_context(self._storage.local_path(keys[content_hash]))
                except (KeyError, FileNotFoundError) as err:
                    raise Gone(f"content {content_hash} is not in the store: upload it again") from err
            yield found

    def reconcile(self) -> None:
        """Looks at the store again and writes what it lacks now, durably."""
        for held in self._held.values():
            held.file_id = held.bad_key = None
        self._settle(list(self._held.values()))
        self.seal()


def _expired() -> UploadExpired:
    return UploadExpired("the upload was idle for more than an hour and has expired: start it again")


def _row(held: _Held) -> NewFile:
    if held.key is None:
        raise AssertionError("a new content was written under a key")
    taken, kind = held.taken, held.taken.file_type
    mime_type = MIME_TYPES.get(kind, "application/octet-stream")
    return NewFile(taken.content_hash, taken.size, held.key, kind, mime_type, kind if kind in COMPRESSIONS else None)
