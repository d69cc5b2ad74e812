"""What a stored file is, how its object is named, and what kind its first bytes show."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from dsplatform.core.domain import ValueObject
from dsplatform.core.errors import Conflict, NotFound, Unavailable
from dsplatform.core.types import ContentHash, FileId

HEAD_BYTES = 4096
"""How much of the beginning `sniff` wants to see."""


class FileMissing(NotFound):
    """No such file."""


class SessionEnded(NotFound):
    """No such upload session, or not this user's, or its day is over."""

    code = "session_ended"


class FileDamaged(Unavailable):
    """The stored bytes are not those that were given. Uploading the same content again heals the file."""

    code = "file_damaged"


class UploadExpired(Conflict):
    """The upload took longer than it said it was alive; what it wrote is left to the garbage collector."""

    code = "upload_expired"


@dataclass(frozen=True)
class StoredFile(ValueObject):
    """A file as the store knows it."""

    id: FileId
    content_hash: ContentHash
    file_size: int
    storage_key: str
    file_type: str
    state: str
    created_at: datetime
    reference_count: int
    """Exact at the moment of reading."""


@dataclass(frozen=True)
class FileReference(ValueObject):
    """A staged file: keeps the content from the collector until it is deleted or expires."""

    session_id: UUID
    path: str
    file_id: FileId
    content_hash: ContentHash
    is_new: bool


def storage_key(content_hash: ContentHash, upload_id: UUID) -> str:
    """The key of an object: unique per upload, so that no later write or delayed delete can meet it again.

    One level of 256 folders: a second level costs a new folder for almost every file of a batch (a third more time for 8,000
    small files), and file systems with hashed directories hold millions of names in one folder.
    """
    return f"{content_hash[:2]}/{content_hash}.{upload_id.hex}"


_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PAR1", "parquet"),
    (b"PARE", "parquet"),
    (b"ARROW1", "arrow"),
    (b"FEA1", "feather"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"SQLite format 3\x00", "sqlite"),
    (b"%PDF-", "pdf"),
    (b"\x89PNG\r\n\x1a\n", "binary"),
)

_FIRST_BYTES = frozenset(magic[0] for magic, _ in _MAGIC)

COMPRESSIONS = frozenset({"gzip", "zstd", "bzip2", "xz"})

MIME_TYPES = {
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.file",
    "feather": "application/octet-stream",
    "ole": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "zip": "application/zip",
    "gzip": "application/gzip",
    "zstd": "application/zstd",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "sqlite": "application/vnd.sqlite3",
    "pdf": "application/pdf",
    "json": "application/json",
    "jsonl": "application/x-ndjson",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "text": "text/plain",
}


def sniff(head: bytes) -> str:
    """The kind of content that its first bytes show. Names play no part: the same bytes are the same kind under any name."""
    if not head:
        return "empty"
    if head[0] in _FIRST_BYTES:
        for magic, kind in _MAGIC:
            if head.startswith(magic):
                return kind
    if head.startswith(b"PK\x03\x04"):
        return _sniff_zip(head)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _sniff_text(head.decode("utf-16", errors="ignore"))
    if b"\x00" in head:
        return "binary"
    return _sniff_text(head.decode("utf-8-sig", errors="replace"))


def _sniff_zip(head: bytes) -> str:
    if b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet" in head[:128]:
        return "ods"
    return "xlsx" if b"[Content_Types].xml" in head or b"xl/" in head or b"_rels/.rels" in head else "zip"


def _sniff_text(text: str) -> str:
    start = text.lstrip()[:1]
    if start == "[":
        return "json"
    first, _, rest = text.lstrip().partition("\n")
    if start == "{":
        return "jsonl" if first.rstrip().endswith("}") and (not rest.strip() or rest.lstrip().startswith("{")) else "json"
    if "\t" in first and first.count("\t") >= first.count(","):
        return "tsv"
    return "csv" if any(mark in first for mark in ",;|") else "text"
