"""How the audit log tells of changes to it: the canonical form of a row, the chain of hashes over the rows, and what breaks it.

Each row has one seal. A seal holds the SHA-256 of the row in its canonical form, and the SHA-256 of the seal's before it and its own:
who changes a row, takes one out or puts one in has to change every seal from there on, up to a head that was noted elsewhere.
`docs/audit.md` describes the form for those who verify an export by themselves.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from dsplatform.core.domain import ValueObject
from dsplatform.core.errors import Invalid

GENESIS = "0" * 64
"""What stands before the first seal."""

BACKDATED = timedelta(hours=1)
"""A row may be sealed so much after a younger one: it was written then, and committed late."""

KEPT = 1_000
"""How many findings are kept in words; all are counted."""

_BRACKETS = 500
_HEAD = re.compile(r"[1-9][0-9]{0,17}:[0-9a-f]{64}")

Row = Mapping[str, Any]
"""A row of the log by columns: `at` in ISO 8601, `before` and `after` as JSON text."""


@dataclass(frozen=True)
class Head(ValueObject):
    """The newest seal: what to note elsewhere, so that even who owns the database can rewrite nothing unnoticed."""

    position: int
    chain_hash: str

    def __str__(self) -> str:
        return f"{self.position}:{self.chain_hash}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Reads POSITION:HASH. Raises `Invalid`."""
        position, _, digits = text.strip().partition(":")
        if not _HEAD.fullmatch(text.strip()):
            raise Invalid("a head of the audit log is written POSITION:HASH, as `dsplatform audit seal` prints it")
        return cls(int(position), digits)


@dataclass(frozen=True)
class Seal:
    """One link of the chain, with the row that it names as the log has it now."""

    position: int
    audit_id: int
    row_hash: str
    chain_hash: str
    row: Row | None
    """None: the row is gone."""


@dataclass(frozen=True)
class Finding(ValueObject):
    """One thing that is not as it was sealed."""

    kind: str
    """`changed`, `removed`, `seal`, `gap`, `backdated`, `head`, `unsealed`."""
    position: int | None
    audit_id: int | None
    sentence: str


def plain(row: Row) -> dict[str, Any]:
    """The row as it is exported and hashed: without what is null, with `before` and `after` unfolded."""
    return {name: _unfolded(value) if name in {"before", "after"} else value for name, value in row.items() if value is not None}


def _unfolded(text: str) -> object:
    if text.count("{") + text.count("[") > _BRACKETS:
        return text  # too deep for readers; nothing of ours writes such a thing
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def canonical(value: object) -> str:
    """JSON in one way only: keys in the order of their code points, no spaces, nothing escaped that need not be, numbers in full."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{canonical(name)}:{canonical(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, Decimal):
        return format(value, "f")
    return json.dumps(value, ensure_ascii=False)


def row_hash(row: Row) -> str:
    """The SHA-256 of a row in its canonical form."""
    return hashlib.sha256(canonical(plain(row)).encode()).hexdigest()


def link(before: str, sealed: str) -> str:
    """The hash of a seal: of the one before it, and of its row."""
    return hashlib.sha256((before + sealed).encode()).hexdigest()


class ChainCheck:
    """Takes the seals in, in the order of their positions, and says what is wrong with them and their rows."""

    def __init__(self, noted: Head | None = None) -> None:
        self.rows = 0
        self.found = 0
        self.findings: list[Finding] = []
        """The first of them."""
        self.head: Head | None = None
        self._noted = noted
        self._before = {GENESIS}
        self._moment: datetime | None = None

    def add(self, kind: str, position: int | None, audit_id: int | None, sentence: str) -> None:
        """Takes a finding in."""
        self.found += 1
        if len(self.findings) < KEPT:
            self.findings.append(Finding(kind, position, audit_id, sentence))

    def see(self, seal: Seal) -> None:
        """The next seal."""
        self.rows += 1
        expected, before = (1, GENESIS) if self.head is None else (self.head.position + 1, self.head.chain_hash)
        actual = None if seal.row is None else row_hash(seal.row)
        follows = any(link(one, seal.row_hash) == seal.chain_hash for one in self._before)
        was_right = actual is not None and any(link(one, actual) == seal.chain_hash for one in self._before)
        if seal.position != expected:
            self.add(
                "gap",
                seal.position,
                None,
                f"after seal {expected - 1} comes seal {seal.position}: the seals in between are gone, or were numbered anew",
            )
        elif not follows:
            self.add("seal", seal.position, seal.audit_id, f"seal {seal.position} does not follow from the one before it: it was changed")
        if seal.row is None:
            self.add("removed", seal.position, seal.audit_id, f"row {seal.audit_id}, sealed at position {seal.position}, is gone")
        elif actual == seal.row_hash or was_right:
            self._in_time(seal, seal.row)
        else:
            self.add("changed", seal.position, seal.audit_id, f"row {seal.audit_id} is not what was sealed at position {seal.position}")
        # The next seal may follow from this one as it stands, or as it should: then it is this one alone that was changed.
        self._before = {seal.chain_hash} if follows else {seal.chain_hash, link(before, seal.row_hash)}
        self.head = Head(seal.position, seal.chain_hash)
        if self._noted and self._noted.position == seal.position and self._noted != self.head:
            self.add("head", seal.position, None, f"seal {seal.position} is not the one that was noted: what led to it was rewritten")

    def end(self) -> None:
        """There are no more seals."""
        last = self.head.position if self.head else 0
        if self._noted and self._noted.position > last:
            self.add("head", last, None, f"the log ends at seal {last}, before the noted {self._noted.position}: its end was cut off")

    def _in_time(self, seal: Seal, row: Row) -> None:
        moment = _moment(row["at"])
        if moment and self._moment and moment < self._moment - BACKDATED:
            self.add(
                "backdated",
                seal.position,
                seal.audit_id,
                f"row {seal.audit_id} says {row['at']}, but was sealed after one of {self._moment.isoformat()}: it was put in later, "
                "or the clock was set back",
            )
        self._moment = moment or self._moment


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
