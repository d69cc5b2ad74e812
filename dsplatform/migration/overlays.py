"""The overlay documents of imported versions: what each changed against its parent, as every version of ours has one.

The form is that of `versioning`, with no branch, because nobody knows on which a version was made, and with the id by which the legacy
system knows it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from dsplatform.core.domain import ValueObject
from dsplatform.core.types import ContentHash

FORMAT = "dsplatform.overlay/1"
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class Stored(NamedTuple):
    """A content of the store."""

    file_id: int
    content_hash: ContentHash
    size: int
    file_type: str


@dataclass(frozen=True)
class Ancestor(ValueObject):
    """The parent of a version, as far as its children need it."""

    version_id: int
    dataset_id: int
    number: int
    overlay_hash: str
    components: Mapping[str, Stored]


def overlay(
    *,
    slug: str,
    legacy_id: int,
    author: str,
    at: datetime,
    message: str,
    parent: Ancestor | None,
    components: Mapping[str, Stored],
) -> bytes:
    """The canonical document: UTF-8 JSON, keys sorted, no blanks; the same version gives the same bytes."""
    before = parent.components if parent else {}
    changes: list[dict[str, object]] = []
    for name in sorted(before.keys() | components.keys()):
        old, new = before.get(name), components.get(name)
        if new is None:
            changes.append({"op": "remove", "name": name})
        elif old is None or old.content_hash != new.content_hash:
            op = "add" if old is None else "update"
            changes.append({"op": op, "name": name, "hash": new.content_hash, "size": new.size, "type": new.file_type})
    document = {
        "format": FORMAT,
        "dataset": slug,
        "branch": None,
        "parent": None if parent is None else {"number": parent.number, "overlay": parent.overlay_hash},
        "author": author,
        "at": at.isoformat(),
        "message": message,
        "changes": changes,
        "imported": {"version_id": legacy_id},
    }
    return _ENCODER.encode(document).encode()


def rechained(document: bytes, parents: Mapping[str, str]) -> bytes:
    """The document of a version that was made here, with other hashes of its parents; all else is as it was."""
    found = json.loads(document)
    for name, hashed in parents.items():
        found[name]["overlay"] = hashed
    return _ENCODER.encode(found).encode()


def digest(document: bytes) -> ContentHash:
    """The hash under which the store keeps the document."""
    return ContentHash(hashlib.sha256(document).hexdigest())
