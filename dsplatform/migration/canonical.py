"""What tells a legacy row from itself when it changes, and the row as JSON to keep. No password is in either: see `model.SECRET`."""

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from dsplatform.migration.model import BCRYPT, SECRET, Group, SourceRow
from dsplatform.migration.source import Inline

HIDDEN = "(left out)"
_BCRYPT = re.compile(BCRYPT[:-1])


def is_bcrypt(kept: object) -> bool:
    """Whether the text is a bcrypt hash, of a cost that a login may have."""
    return isinstance(kept, str) and _BCRYPT.fullmatch(kept) is not None


def row_hash(row: SourceRow) -> bytes:
    """What tells whether the row changed."""
    return bytes.fromhex(row.digest)


def group_hash(group: Group) -> bytes:
    """What tells whether the row changed, or one of those that land together with it; their order tells nothing."""
    if not group.more:
        return bytes.fromhex(group.row.digest)
    parts = sorted(f"{row.entity} {row.key} {row.digest}" for row in group.more)
    return hashlib.sha256("\n".join([group.row.digest, *parts]).encode()).digest()


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


_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False, default=plain)


def _holdable(text: str) -> bool:
    """Whether PostgreSQL takes it: no NUL, no lone surrogate."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
    return "\0" not in text


def as_json(value: Any) -> str:
    """The value as a text that the database takes for jsonb; always the same for the same value."""
    try:
        text = _ENCODER.encode(value)
        text.encode()
    except (ValueError, TypeError):  # NaN, a lone surrogate, a key that is no text
        return _ENCODER.encode(plain(value))
    return text if "\\u0000" not in text else _ENCODER.encode(plain(value))


def without_secret(text: str, row: SourceRow) -> str:
    """The text with the row's password taken out, wherever it stands in it."""
    kept = row.values.get(SECRET)
    for secret in (kept, (row.broken.get(SECRET) or b"").decode("utf-8", "replace")):
        if isinstance(secret, str) and secret:
            text = text.replace(secret, HIDDEN).replace(repr(secret)[1:-1], HIDDEN)
    return text
