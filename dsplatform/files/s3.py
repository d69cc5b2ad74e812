"""Objects in a bucket of an S3-compatible store: `<prefix>objects/<2 digits>/<hash>.<upload>`, beside them `STORE_ID` and `quarantine/`.

A write is durable when it is answered. Streams are spooled to a local folder first, because their key is not known before their end.
"""

import base64
import hashlib
import io
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Lock
from typing import BinaryIO
from uuid import UUID, uuid4

from dsplatform.core.errors import Unavailable
from dsplatform.core.failpoints import reach
from dsplatform.core.s3 import CONNECTIONS, AlreadyThere, Bucket, Refusal, checksum
from dsplatform.core.s3_address import S3Address
from dsplatform.core.s3_reading import ObjectReader
from dsplatform.files.stores import StoredObject

MULTIPART_BYTES = 64 * 1024 * 1024
"""From this size on an object is written in parts, each checked and repeated by itself."""
PART_BYTES = 16 * 1024 * 1024
MOST_PARTS = 10_000
PARTS_AT_ONCE = 4
COMPLETIONS = 3
CHUNK_BYTES = 1024 * 1024
IDENTITY = "STORE_ID"


class S3Storage:
    """See `stores.StorageBackend`. Connects at the first use, so that what needs no bytes needs no store."""

    kind = "s3"
    parallel = CONNECTIONS

    def __init__(self, address: S3Address, spool: Path) -> None:
        self._address = address
        self._spool = spool
        self._lock = Lock()
        self._connected: Bucket | None = None
        self._identity: str | None = None

    @property
    def _bucket(self) -> Bucket:
        with self._lock:
            if self._connected is None:
                self._connected = Bucket(self._address)
            return self._connected

    # --- writing ---------------------------------------------------------------------------------------------------------------

    def put(self, key: str, data: bytes) -> None:
        self._identify()
        self._write(key, data, len(data), checksum(data))

    def spool(self, upload_id: UUID) -> Path:
        try:
            self._spool.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise Unavailable(f"{self._spool} cannot be made, where uploads wait for their key: {err.strerror}") from err
        return self._spool / f"{upload_id.hex}.{uuid4().hex}"

    def place(self, spooled: Path, key: str) -> None:
        self._identify()
        try:
            size = spooled.stat().st_size
            if size < MULTIPART_BYTES:
                self._write(key, spooled, size, _encoded(_digest(spooled)))
            else:
                self._write_parts(key, spooled, size)
            spooled.unlink()
        except OSError as err:
            raise Unavailable(f"the spooled upload {spooled} cannot be read: {err.strerror}; nothing was recorded") from err

    def _write(self, key: str, data: bytes | Path, size: int, sha256: str) -> None:
        try:
            self._bucket.put(f"objects/{key}", data, sha256)
        except AlreadyThere:  # our own key: an earlier try arrived, although its answer did not
            if not self._arrived(key, size, sha256, data):
                raise Unavailable(
                    f"{self._address.name} has other bytes under {key}, and objects are never overwritten; nothing was recorded"
                ) from None

    def _arrived(self, key: str, size: int, sha256: str, data: bytes | Path) -> bool:
        """Whether the object is there with exactly these bytes. A store that keeps no checksums is asked for the bytes."""
        found = self._bucket.stat(f"objects/{key}")
        if found is None or found.size != size:
            return False
        if found.checksum is not None:
            return found.checksum == sha256
        with self.open(key) as stored:
            ours = hashlib.sha256(data).digest() if isinstance(data, bytes) else _digest(data)
            return _hashed(stored) == ours

    def _write_parts(self, key: str, spooled: Path, size: int) -> None:
        """In parts that have their own upload id each time: what a conflict leaves of one cannot be continued."""
        part_size = max(PART_BYTES, -(-size // MOST_PARTS))
        sections = [
            _Section(number, spooled, start, min(part_size, size - start)) for number, start in enumerate(range(0, size, part_size), 1)
        ]
        problem: Refusal | None = None
        for _ in range(COMPLETIONS):
            upload = partial(self._bucket.ask, "create_multipart_upload", f"objects/{key}", ChecksumAlgorithm="SHA256")
            upload_id = str(self._bucket.call(f"begin to write {key}", upload)["UploadId"])
            reach("s3.parts_begun")
            try:
                digests = self._complete(key, upload_id, sections)
                return
            except _NotCompleted as err:
                problem, digests = err.refusal, err.digests
            except BaseException:
                self._abort(key, upload_id)
                raise
            whole = f"{_encoded(hashlib.sha256(b''.join(digests)).digest())}-{len(digests)}"
            if self._arrived(key, size, whole, spooled):
                return
            self._abort(key, upload_id)
        raise Unavailable(f"{self._address.name} did not put the parts of {key} together: {problem}; nothing was recorded") from problem

    def _complete(self, key: str, upload_id: str, sections: Sequence["_Section"]) -> list[bytes]:
        with ThreadPoolExecutor(min(PARTS_AT_ONCE, len(sections)), thread_name_prefix="part") as pool:
            sent = list(pool.map(partial(self._send_part, key, upload_id), sections))
        parts = {"Parts": [{"PartNumber": n, "ETag": etag, "ChecksumSHA256": _encoded(digest)} for n, (etag, digest) in enumerate(sent, 1)]}
        completion = partial(
            self._bucket.ask, "complete_multipart_upload", f"objects/{key}", UploadId=upload_id, MultipartUpload=parts, IfNoneMatch="*"
        )
        digests = [digest for _, digest in sent]
        try:
            self._bucket.call(f"put the parts of {key} together", completion, expected=[400, 404, 409, 412])
        except Refusal as err:
            raise _NotCompleted(err, digests) from err
        reach("s3.parts_joined")
        return digests

    def _send_part(self, key: str, upload_id: str, section: "_Section") -> tuple[str, bytes]:
        with section.opened() as reader:
            digest = _hashed(reader)

        def attempt() -> str:
            with section.opened() as body:
                answer = self._bucket.ask(
                    "upload_part",
                    f"objects/{key}",
                    UploadId=upload_id,
                    PartNumber=section.number,
                    Body=body,
                    ContentLength=section.size,
                    ChecksumSHA256=_encoded(digest),
                )
                return str(answer["ETag"])

        return self._bucket.call(f"write part {section.number} of {key}", attempt), digest

    def _abort(self, key: str, upload_id: str) -> None:
        """Gives the parts back. What fails here is left to the bucket's lifecycle rule."""
        with suppress(Unavailable, Refusal):
            abort = partial(self._bucket.ask, "abort_multipart_upload", f"objects/{key}", UploadId=upload_id)
            self._bucket.call(f"give up writing {key}", abort, expected=[404])

    def sync(self, keys: Collection[str]) -> None:
        """Nothing is left to do: every write was durable when it was answered."""

    # --- reading ---------------------------------------------------------------------------------------------------------------

    def size(self, key: str) -> int | None:
        found = self._bucket.stat(f"objects/{key}")
        return None if found is None else found.size

    def open(self, key: str) -> BinaryIO:
        return ObjectReader(self._bucket, f"objects/{key}")

    @contextmanager
    def local_path(self, key: str) -> Iterator[Path]:
        path = self.spool(uuid4())
        try:
            with self.open(key) as source, path.open("xb") as target:
                while chunk := source.read(CHUNK_BYTES):
                    target.write(chunk)
            path.chmod(0o444)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def download_url(self, key: str, seconds: int, filename: str) -> str | None:
        return self._bucket.download_url(f"objects/{key}", seconds, filename)

    # --- spooled files ---------------------------------------------------------------------------------------------------------

    def discard_spooled(self, upload_id: UUID) -> None:
        with suppress(OSError):
            for spooled in self._spool.glob(f"{upload_id.hex}.*"):
                spooled.unlink(missing_ok=True)

    def spooled(self) -> Mapping[UUID, datetime]:
        """Those of this machine."""
        ages: dict[UUID, float] = {}
        if self._spool.is_dir():
            with os.scandir(self._spool) as entries:
                for entry in entries:
                    with suppress(ValueError, FileNotFoundError):
                        upload_id = UUID(entry.name.partition(".")[0])
                        age = time.time() - entry.stat(follow_symlinks=False).st_mtime
                        ages[upload_id] = min(age, ages.get(upload_id, age))
        if not ages:
            return {}
        now = self.now()
        return {upload_id: now - timedelta(seconds=age) for upload_id, age in ages.items()}

    # --- the store itself ------------------------------------------------------------------------------------------------------

    def delete(self, keys: Collection[str]) -> Mapping[str, str]:
        left = self._bucket.delete([f"objects/{key}" for key in keys])
        return {name.removeprefix("objects/"): reason for name, reason in left.items()}

    def quarantine(self, key: str) -> bool:
        if self._bucket.stat(f"quarantine/{key}") is not None:
            return True
        found = self._bucket.stat(f"objects/{key}")
        return found is not None and self._bucket.copy(found, f"quarantine/{key}")

    def list(self, prefix: str = "", after: str = "") -> Iterator[Sequence[StoredObject]]:
        start = len("objects/")
        for page in self._bucket.list(f"objects/{prefix}", f"objects/{after}" if after else ""):
            yield [StoredObject(found.key[start:], found.size, found.modified_at) for found in page]

    def store_id(self) -> str:
        self._identify()
        found = self._bucket.read(IDENTITY)
        if not found:
            raise Unavailable(f"{self._address.name} has lost its {IDENTITY}: check that it is the right bucket and prefix")
        return found.decode().strip()

    def now(self) -> datetime:
        return self._bucket.now()

    def _identify(self) -> None:
        """Before its first object a store gets an identity, and shows that it keeps to "only if the key is new"."""
        if self._identity is not None:
            return
        bucket = self._bucket
        found = bucket.read(IDENTITY)
        if found is None:
            ours = f"{uuid4()}\n".encode()
            with suppress(AlreadyThere):  # another process named it first
                bucket.put(IDENTITY, ours, checksum(ours))
            found = bucket.read(IDENTITY) or ours
            try:
                bucket.put(IDENTITY, found, checksum(found))
            except AlreadyThere:
                pass
            else:
                raise Unavailable(
                    f"{self._address.name} overwrites objects although asked not to (If-None-Match): it cannot be used safely"
                )
        self._identity = found.decode().strip()


class _NotCompleted(Exception):
    """The store did not put the parts together, or had done so before."""

    def __init__(self, refusal: Refusal, digests: list[bytes]) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal
        self.digests = digests


@dataclass(frozen=True)
class _Section:
    """One part of a spooled file."""

    number: int
    path: Path
    start: int
    size: int

    def opened(self) -> BinaryIO:
        return io.BufferedReader(_SectionReader(self), buffer_size=CHUNK_BYTES)


class _SectionReader(io.RawIOBase):
    def __init__(self, section: _Section) -> None:
        self._section = section
        self._file = section.path.open("rb", buffering=0)
        self._file.seek(section.start)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # narrower than any buffer
        return self._file.readinto(buffer[: max(0, self._section.size - self.tell())])

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self._section.size}[whence]
        self._file.seek(self._section.start + base + offset)
        return self.tell()

    def tell(self) -> int:
        return self._file.tell() - self._section.start

    def close(self) -> None:
        self._file.close()
        super().close()


def _hashed(reader: BinaryIO) -> bytes:
    digest = hashlib.sha256()
    while chunk := reader.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.digest()


def _digest(path: Path) -> bytes:
    with path.open("rb", buffering=0) as reader:
        return _hashed(reader)


def _encoded(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
