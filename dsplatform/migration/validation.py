"""Whether what came along is what was there: by a program that knows nothing of how it was brought.

Both databases are asked by SQL of its own, the bytes are read again on both sides, and only what was recorded explains a difference.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol
from zoneinfo import ZoneInfo

from dsplatform.core.access import requires_right
from dsplatform.core.database import Database, Transaction
from dsplatform.core.domain import Actor, ValueObject
from dsplatform.core.interfaces import AccessControl, FileKeeper
from dsplatform.core.types import PlatformRight
from dsplatform.core.verification import Verification
from dsplatform.migration import bytes_check, checks
from dsplatform.migration.checks import Both
from dsplatform.migration.checksums import Comparing
from dsplatform.migration.judging import Difference, Judge
from dsplatform.migration.locating import Locator
from dsplatform.migration.made_here_check import made_here
from dsplatform.migration.projected_history import held, history
from dsplatform.migration.projected_people import dataset_tags, datasets, files, left_behind, roles, tags, users
from dsplatform.migration.projection import Old, Pair
from dsplatform.migration.source import LegacyDatabase, LegacyUnsupported

OPERATE = PlatformRight.OPERATE
SHOWN = 50
"""Differences of a check that are told in words; all are counted."""
SAMPLE = 30_000
"""Files that are read again: when none of so many is bad, fewer than 1 in 10,000 are, with 95 percent certainty."""
TITLES = {
    "V1": "counts",
    "V2": "row checksums",
    "V3": "hashes and sizes of files",
    "V4": "bytes of files",
    "V5": "references",
    "V6": "relations",
    "V7": "rights",
    "V8": "shadow reads",
    "V9": "accounting",
    "V10": "repetition",
}
AT_SWITCH = ("V1", "V2", "V5", "V6", "V7")
"""What has to hold while writers wait."""
PLANS = {"enable_nestloop": "off", "jit": "off", "work_mem": "64MB"}
"""Whole tables are compared with whole tables, also where a server has not counted its rows yet and would guess that there are few."""
Progress = Callable[[str, int, int], None]
"""Hears of (check, how much of it is done, of how much)."""


class Store(FileKeeper, Protocol):
    """The content store, which can be verified."""

    def verify(self, found: Verification, *, contents: bool) -> None:
        """Adds to `found` what is against the store's invariants."""
        ...


@dataclass(frozen=True)
class Checked(ValueObject):
    """What came of one check."""

    code: str
    title: str
    passed: bool | None
    """None: it was not done."""
    compared: int
    """Rows, files or answers that were looked at."""
    found: int
    """Differences that nothing explains."""
    differences: tuple[Difference, ...]
    """The first of them. Never with a password, nor its hash."""
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Validation(ValueObject):
    """What came of all of them."""

    generation: str
    checks: tuple[Checked, ...]

    @property
    def passed(self) -> bool:
        """Whether no check that was done has found anything."""
        return all(check.passed is not False for check in self.checks)


class ValidationService:
    """Compares the legacy system with its copy."""

    def __init__(
        self,
        db: Database,
        files: Store,
        access: AccessControl,
        legacy: LegacyDatabase,
        locator: Locator,
        zone: ZoneInfo,
        repeat: Callable[[Actor], int],
    ) -> None:
        """`repeat` runs the whole migration again and answers how many rows it wrote."""
        self._db = db
        self._files = files
        self._access = access
        self._legacy = legacy
        self._locator = locator
        self._zone = zone
        self._repeat = repeat

    @requires_right(OPERATE)
    def validate(
        self,
        actor: Actor,
        *,
        fast: bool = False,
        sample: int | None = SAMPLE,
        seed: int = 1,
        repeat: bool = False,
        progress: Progress = lambda _check, _done, _total: None,
    ) -> Validation:
        """Makes the checks V1 to V9; with `repeat` V10 too, which writes what is new in the legacy system.

        `fast` leaves out whatever reads files. `sample` is how many files are read again, drawn by `seed`; None: all. While the legacy
        system is written to, what was not followed yet differs. Raises `Unavailable`, `LegacyUnsupported`.
        """
        wanted = [code for code in TITLES if code not in {"V4", "V10"}]
        found: list[Checked] = []
        total = len(wanted) + (0 if fast else 2) + repeat
        with self._legacy.snapshot() as source:
            generation = str(source.generation)
            with self._reading() as tx:
                chosen = () if fast else bytes_check.drawn(tx, sample, seed)
                for check in examine(Both(source, tx, self._zone), wanted):
                    found.append(check)
                    progress(check.code, len(found), total)
            if not fast:
                found.append(_timed("V4", lambda: bytes_check.contents(source, self._files, self._locator, chosen)))
                progress("V4", len(found), total)
        if not fast:
            at = next(at for at, check in enumerate(found) if check.code == "V5")
            found[at] = _joined(found[at], _timed("V5", self._objects))
            progress("V5", len(found) + 1, total)
        if repeat:
            found.append(_timed("V10", lambda: self._again(actor)))
            progress("V10", total, total)
        return Validation(generation, tuple(sorted(found, key=lambda check: int(check.code[1:]))))

    @requires_right(OPERATE)
    def against(self, _actor: Actor) -> Sequence[str]:
        """What the checks of a switch have against the copy, in sentences; nothing when all is as it was. Raises `Unavailable`."""
        with self._legacy.snapshot() as source, self._reading() as tx:
            return [_sentence(check) for check in examine(Both(source, tx, self._zone), AT_SWITCH) if check.passed is False]

    @contextmanager
    def _reading(self) -> Iterator[Transaction]:
        """One moment of our database."""
        with self._db.transaction() as tx:
            tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            tx.execute("SET LOCAL datestyle = 'ISO'")
            yield tx

    def _objects(self) -> Iterator[Difference | int]:
        """Whether every content of the store has its object."""
        found = Verification()
        self._files.verify(found, contents=False)
        yield found.checked["files"]
        for problem in found.problems:
            yield Difference("files", problem.subject, "", problem.finding)

    def _again(self, actor: Actor) -> Iterator[Difference | int]:
        """Whether a second migration has nothing to write."""
        written = self._repeat(actor)
        yield 1
        if written:
            yield Difference("", "", "", f"a second run wrote {written} row(s) anew")


def examine(both: Both, wanted: Collection[str]) -> Iterator[Checked]:
    """Those of the checks that databases alone can answer. Raises `LegacyUnsupported` for a legacy server that has no SHA-256."""
    if int(both.source.server_version.split(".")[0]) < 11:
        raise LegacyUnsupported(f"the legacy database's server is {both.source.server_version}: checksums of rows take version 11 or newer")
    for name, value in PLANS.items():
        both.tx.tuples("SELECT set_config(:name, :value, true)", name=name, value=value)
        both.source.tuples("SELECT set_config(%s, %s, true)", name, value)
    for code, check in _CHECKS.items():
        if code in wanted:
            yield _timed(code, lambda check=check: check(both))  # type: ignore[misc]  # bound at once


def every_pair(both: Both) -> Sequence[Pair]:
    """What is compared row by row: every table that this generation has."""
    old = Old(both.source, both.zone.key)
    pairs = [roles(old), users(old), files(old), datasets(old)]
    pairs += [make(old) for table, make in (("tags", tags), ("dataset_tags", dataset_tags)) if old.has(table)]
    return [*pairs, *history(old), *left_behind(old)]


def _rows(both: Both) -> Iterator[Difference | int]:
    """V2: each row, column by column, but what is recorded."""
    judge = Judge(both.zone)
    for pair in every_pair(both):
        comparing = Comparing(both.source, both.tx)
        for row in comparing.differing(pair):
            yield from judge.judge(pair, row)
        yield comparing.rows
    yield from made_here(both)


def _rights(both: Both) -> Iterator[Difference | int | str]:
    """V7: nobody has a right here that she had not there. Who lost one is told, and nothing is against it."""
    comparing = Comparing(both.source, both.tx)
    names = {0: "no right", 1: "read", 2: "write", 3: "admin"}
    for row in comparing.differing(held(Old(both.source, both.zone.key))):
        old, new = (max((int(cells[0]) for cells in side), default=0) for side in (row.old, row.new))
        who = f"user {row.key[1]}" if row.key[1] > 0 else f"user {-row.key[1]} of ours"
        told = f"{who} had {names[old]} on dataset {row.key[0]} and has {names[new]}"
        yield Difference("rights", f"{row.key[0]}:{row.key[1]}", "", told) if new > old else f"lost: {told}"
    yield comparing.rows
    yield from checks.roles(both)
    yield from checks.file_rights(both)


_CHECKS: Mapping[str, Callable[[Both], Iterator[Difference | int | str]]] = {
    "V1": checks.counts,
    "V2": _rows,
    "V3": checks.hashed,
    "V5": checks.references,
    "V6": checks.relations,
    "V7": _rights,
    "V8": checks.shadowed,
    "V9": checks.decided,
}


def _timed(code: str, make: Callable[[], Iterator[Difference | int | str]]) -> Checked:
    """Makes a check, and counts what it gives: differences, how much was compared, and notes."""
    began = time.monotonic()
    compared = found = 0
    shown: list[Difference] = []
    notes: list[str] = []
    for one in make():
        if isinstance(one, Difference):
            found += 1
            if len(shown) < SHOWN:
                shown.append(one)
        elif isinstance(one, str):
            if len(notes) < SHOWN:
                notes.append(one)
        else:
            compared += one
    passed: bool | None = not found
    if code == "V8" and not compared:
        passed = None
        notes.append("nothing was compared: set DSPLATFORM_LEGACY_URL, and have both systems answer for a while")
    return Checked(code, TITLES[code], passed, compared, found, tuple(shown), round(time.monotonic() - began, 3), tuple(notes))


def _joined(one: Checked, more: Checked) -> Checked:
    return replace(
        one,
        passed=one.passed and more.passed,
        compared=one.compared + more.compared,
        found=one.found + more.found,
        differences=(one.differences + more.differences)[:SHOWN],
        seconds=one.seconds + more.seconds,
    )


def _sentence(check: Checked) -> str:
    examples = "; ".join(" ".join(filter(None, (one.entity, one.key, one.column, one.sentence))) for one in check.differences[:3])
    return f"{check.code} {check.title}: {check.found} difference(s) that nothing explains, as {examples}"
