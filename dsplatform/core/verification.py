"""What a verification reports: the invariants, what was looked at, and what is against them.

Each module verifies what it owns and adds to one `Verification`; `Platform.verify` asks them all. Nothing is changed by it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dsplatform.core.database import Transaction
from dsplatform.core.domain import ValueObject

INVARIANTS = {
    "I1": "every reference names a file",
    "I2": "every file has an object of its size at its key, with the bytes that its hash says",
    "I3": "every object is named by a file, an upload intent or a tombstone, or is too young; no file's object is under a tombstone",
    "I4": "every key holds its file's hash and the upload that wrote it, and belongs to one file",
    "I5": "every pointer names a living version of its dataset, and every living version has all its components",
    "I6": "the shown reference counts are the numbers of references",
    "I7": "versions are numbered without gaps, their parents are older ones of the same dataset, and their overlays say the same",
}

KEPT = 1_000
"""How many problems are kept in words; all are counted."""


@dataclass(frozen=True)
class Problem(ValueObject):
    """One thing that is against an invariant."""

    invariant: str
    subject: str
    """What it is about: a file with its hash, an object with its key, DATASET@NUMBER."""
    finding: str


class Verification:
    """Collects what one verification looks at and finds."""

    def __init__(self) -> None:
        self.checked: Counter[str] = Counter()
        """How many of what was looked at: files, objects, versions, bytes."""
        self.found: Counter[str] = Counter()
        """How many problems there are by invariant."""
        self.problems: list[Problem] = []
        """The first of them."""

    @property
    def sound(self) -> bool:
        """Whether every invariant holds."""
        return not self.found

    def add(self, invariant: str, subject: str, finding: str) -> None:
        """Takes a problem in."""
        self.found[invariant] += 1
        if len(self.problems) < KEPT:
            self.problems.append(Problem(invariant, subject, finding))

    def ask(self, tx: Transaction, invariant: str, questions: Sequence[str]) -> None:
        """Asks for what is against the invariant. A question is a SELECT of (subject, finding) and sees one moment, whatever others do."""
        for question in questions:
            rows = tx.tuples(f"SELECT q.*, count(*) OVER () FROM ({question}) q LIMIT {KEPT}")  # noqa: S608 - constants of the code
            for subject, finding, _ in rows:
                self.add(invariant, subject, finding)
            if rows:
                self.found[invariant] += rows[0][2] - len(rows)

    def plain(self) -> dict[str, object]:
        """As JSON can hold it."""
        return {
            "sound": self.sound,
            "checked": dict(self.checked),
            "found": dict(self.found),
            "problems": [problem.plain() for problem in self.problems],
        }
