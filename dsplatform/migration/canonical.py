"""A legacy row as bytes to hash, and as JSON to keep. The column `password_hash` is in neither.

What is stored there may be a plain password. So a row's hash, and what is kept to look at, never have it. Of a bcrypt hash the salt, which
is drawn anew for each password and says nothing of it, tells that the password changed.
"""

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from dsplatform.migration.model import Group, SourceRow
from dsplatform.migration.source import Inline

SECRET = "password_hash"  # noqa: S105 - the name of a column
HIDDEN = "(left out)"
_BCRYPT = re.compile(r"\$2[abxy]\$(?:0[4-9]|1[0-5])\$[./A-Za-z0-9]{53}")
SALT = 29
"""Characters of a bcrypt hash up to the end of its salt."""


def is_bcrypt(kept: object) -> bool:
    """Whether the text is a bcrypt hash, of a cost that a login may have."""
    return isinstance(kept, str) and _BCRYPT.fullmatch(kept) is not None


def row_hash(row: SourceRow) -> bytes:
    """SHA-256 of what the row says. Two rows have the same when nothing about them differs."""
    return _digest([row])


def group_hash(group: Group) -> bytes:
    """The same of a row with those that land together with it, whatever their order."""
    if not group.more:
        return _digest([group.row])
    return _digest([group.row, *sorted(group.more, key=lambda row: (row.entity, row.key))])


def _digest(rows: Iterable[SourceRow]) -> bytes:
    digest = hashlib.sha256()
    for row in rows:
        values: Iterable[Any] = row.values.values() if SECRET not in row.values else _without_secret(row).values()
        digest.update(repr((row.entity, row.key, list(values), sorted(row.broken.items()) if SECRET not in row.broken else None)).encode())
    return digest.digest()


def _without_secret(row: SourceRow) -> dict[str, Any]:
    kept = row.values[SECRET]
    return {**row.values, SECRET: kept[:SALT] if is_bcrypt(kept) else None}


def raw(row: SourceRow) -> dict[str, Any]:
    """The row as JSON: what no text of JSON or of the database can hold is in base64."""
    shown = {name: plain(value) for name, value in row.values.items()}
    shown |= {name: {"base64": base64.b64encode(value).decode()} for name, value in row.broken.items()}
    if SECRET in shown:
        shown[SECRET] = HIDDEN
    return shown


def plain(value: Any) -> Any:
    """One value as JSON."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return value if _holdable(value) else {"base64": base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()}
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {_key(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (bytes, memoryview)):
        return {"base64": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, Inline):
        return {"bytes": value.size, "digest": value.digest}
    if isinstance(value, (Decimal, UUID, timedelta)):
        return str(value)
    return repr(value)


def _key(name: object) -> str:
    text = str(name)
    return text if _holdable(text) else repr(text)


def _holdable(text: str) -> bool:
    """Whether PostgreSQL takes it: no NUL, no lone surrogate."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
    return "\0" not in text


_CAREFUL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
_QUICK = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False, default=plain)


def as_json(value: Any) -> str:
    """The value as a text that the database takes for jsonb; always the same for the same value."""
    try:  # nearly every value is one that JSON has
        text = _QUICK.encode(value)
        if _holdable(text) and "\\u0000" not in text:
            return text
    except (ValueError, TypeError):
        pass
    return _CAREFUL.encode(plain(value))


def without_secret(text: str, row: SourceRow) -> str:
    """The text with the row's password taken out, wherever it stands in it."""
    kept = row.values.get(SECRET)
    for secret in (kept, (row.broken.get(SECRET) or b"").decode("utf-8", "replace")):
        if isinstance(secret, str) and secret:
            text = text.replace(secret, HIDDEN).replace(repr(secret)[1:-1], HIDDEN)
    return text
