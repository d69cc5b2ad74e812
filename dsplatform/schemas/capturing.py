"""Captures of contents: what was read before is known, the rest is read in the sandbox and kept."""

from collections.abc import Collection, Mapping
from typing import TypeAlias

from dsplatform.core.database import Database, Transaction
from dsplatform.core.errors import Unavailable
from dsplatform.core.types import ContentHash
from dsplatform.schemas import sandbox
from dsplatform.schemas.model import READER_VERSION, FileCapture, Hints, hint_of
from dsplatform.schemas.repository import FileSchemas, Key

Request: TypeAlias = sandbox.Request


class SchemaNotCaptured(Unavailable):
    """The version exists; its files were not read yet."""

    code = "schema_not_captured"


def key_of(content_hash: ContentHash, name: str, hints: Hints) -> Key:
    """What the capture of these bytes under this name depends on."""
    return content_hash, hint_of(name) + hints.suffix


class Captures:
    """What the platform's readers find in contents."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._sandbox = sandbox.shared()

    def known(self, tx: Transaction, keys: Collection[Key]) -> dict[Key, FileCapture]:
        """Those that were read before."""
        return FileSchemas(tx, READER_VERSION).find(list(set(keys)))

    def read(self, requests: Mapping[Key, Request]) -> dict[Key, FileCapture]:
        """Reads these and keeps what was found. Never raises for what a file holds. No transaction is open meanwhile."""
        found = dict(zip(requests, self._sandbox.extract(list(requests.values())), strict=True))
        with self._db.transaction() as tx:
            FileSchemas(tx, READER_VERSION).add(found)
        return found

    def try_out(self, request: Request) -> FileCapture:
        """Reads one file and keeps nothing."""
        return self._sandbox.extract([request])[0]
