"""One batch of legacy rows, from what was read to what is committed.

Everything about a batch is one transaction: the platform's rows, the id map, the quarantine, and whatever the caller adds, such as the
checkpoint. So a process that is killed loses at most the work of a batch, and never its accounting. What is unchanged since it landed is
not written again.
"""

import logging
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias
from uuid import UUID

from dsplatform.core.database import Database, SerializationFailed, Transaction, back_off
from dsplatform.core.errors import Unavailable
from dsplatform.core.failpoints import reach
from dsplatform.core.values import UploadOvertaken
from dsplatform.migration.canonical import as_json, group_hash, raw, row_hash, without_secret
from dsplatform.migration.landed_rows import BY_RULE, IdMap, Known, Line, Quarantine, Remark
from dsplatform.migration.model import (
    KEPT_WHOLE,
    Entity,
    Finding,
    Gone,
    Group,
    Key,
    Landed,
    Outcome,
    Reason,
    SourceRow,
    legacy_id,
    meaning,
)
from dsplatform.migration.run_rows import RunEnded, Runs
from dsplatform.migration.source import Snapshot
from dsplatform.migration.step import Step

logger = logging.getLogger(__name__)

OVERTAKEN = 20
"""How often a batch is repeated whose contents others store or remove at the same time."""
LINES = 6
"""Of a traceback that are kept."""

Figures: TypeAlias = Counter[Outcome]
Within: TypeAlias = Callable[[Transaction, Sequence[Group], Figures], None]
"""What else belongs to the transaction: the groups that it accounts for, and how many ended how, of the step's own table."""


class Lander:
    """Lands batches for one run."""

    def __init__(self, db: Database, run_id: UUID) -> None:
        self._db = db
        self.run_id = run_id
        self.found = 0
        """How often this run found something that waits for a decision."""
        self.landed: list[Key] = []
        """Rows of the step's own table that landed since somebody emptied the list."""
        self.written = 0
        """Rows of legacy tables that this run has written anew."""

    def land(
        self, step: Step[Any], source: Snapshot, groups: Sequence[Group], *, force: bool = False, within: Within | None = None
    ) -> None:
        """Lands what is new or changed of the groups, or all of them. A row on which the step fails is quarantined by itself.

        Raises `Unavailable` when database, store or legacy database do not answer: what was committed before is kept, and counted.
        """
        for portion in step.portions(groups):
            self._land(step, source, portion, force=force, within=within)

    def _land(self, step: Step[Any], source: Snapshot, groups: Sequence[Group], *, force: bool, within: Within | None) -> None:
        hashes = {group.row.key: group_hash(group) for group in groups}
        with self._db.autocommit() as tx:
            known = IdMap(tx).known(step.entity, hashes)
        changed = [group for group in groups if force or _differs(known.get(group.row.key), hashes[group.row.key])]
        unchanged = Counter(known[group.row.key].outcome for group in groups) if not changed else None
        if unchanged is not None:
            self.commit(lambda tx: within(tx, groups, unchanged) if within else None)
            return
        batch = _Batch(self, source, groups, changed, hashes, known, within)
        try:
            batch.land(step)
        except (Unavailable, UploadOvertaken, RunEnded):
            raise
        except Exception as err:  # noqa: BLE001 - an error of one row, whatever it is
            if len(groups) > 1:
                half = len(groups) // 2
                self._land(step, source, groups[:half], force=force, within=within)
                self._land(step, source, groups[half:], force=force, within=within)
            else:
                logger.warning("%s %s cannot be migrated: %s", step.entity, legacy_id(groups[0].row.key), type(err).__name__)
                batch.give_up(step, err)

    def commit(self, work: Callable[[Transaction], None]) -> None:
        """A transaction of this run, again when the server asks to repeat it. Raises `RunEnded` when another run has taken over."""
        for attempt in range(1, OVERTAKEN + 1):
            try:
                with self._db.transaction() as tx:
                    Runs(tx).hold(self.run_id)
                    work(tx)
                return
            except SerializationFailed:
                if attempt == OVERTAKEN:
                    raise
                back_off(attempt)

    def orphans(self, entity: Entity, rows: Sequence[SourceRow], version: int) -> None:
        """Rows of an attached table that belong to nothing: quarantined as they are."""
        detail = {"why": "the row that it belongs to does not exist"}
        landed = [Landed(entity, row.key, Outcome.QUARANTINED, findings=(Finding(Reason.ORPHAN_PARENT, detail),)) for row in rows]
        by_key = {(entity, row.key): row for row in rows}
        self.commit(lambda tx: self.write(tx, landed, by_key, {one: row_hash(row) for one, row in by_key.items()}, version, ()))

    def bury(self, step: Step[Any] | None, entity: Entity, keys: Sequence[Key], version: int) -> int:
        """These rows of the table do not exist any more; answers how many of them had come along. No step: a row of an attached table,
        whose end its owner has seen to."""
        found: list[Gone] = []

        def work(tx: Transaction) -> None:
            found[:] = IdMap(tx).living(entity, keys)
            if found and step is not None:
                step.remove(tx, [gone for gone in found if gone.new_id is not None])
            IdMap(tx).bury(self.run_id, version, found)
            Quarantine(tx).settle(entity, [gone.key for gone in found], ())

        self.commit(work)
        return len(found)

    def write(
        self,
        tx: Transaction,
        landed: Sequence[Landed],
        rows: Mapping[tuple[Entity, Key], SourceRow],
        hashes: Mapping[tuple[Entity, Key], bytes],
        version: int,
        again: Collection[tuple[Entity, Key]],
    ) -> None:
        """Keeps the accounting of rows that landed. Those of `again` had landed before: what was found about them then may have ended."""
        lines, remarks = [], []
        for one in landed:
            key = legacy_id(one.key)
            reason = one.findings[0].reason if one.findings and one.outcome is not Outcome.MIGRATED else None
            kept = None if one.kept is None else as_json(one.kept)
            lines.append(Line(one.entity, key, one.new_id, one.outcome, reason, kept, hashes[one.entity, one.key].hex()))
            if one.findings and not (one.outcome is Outcome.EXCLUDED and reason not in KEPT_WHOLE):
                whole = as_json(raw(rows[one.entity, one.key]))
                remarks += [
                    Remark(one.entity, key, str(why), as_json(detail), whole, None if meaning(why).needs_decision else BY_RULE)
                    for why, detail in {finding.reason: finding.detail for finding in one.findings}.items()
                ]
        self.written += IdMap(tx).write(self.run_id, version, lines)
        quarantine = Quarantine(tx)
        quarantine.write(self.run_id, remarks)
        for entity in {one[0] for one in again}:
            found = [(remark.legacy_id, remark.reason) for remark in remarks if remark.entity == entity]
            quarantine.settle(entity, [key for name, key in again if name == entity], found)


class _Batch:
    """The groups of one transaction."""

    def __init__(
        self,
        lander: Lander,
        source: Snapshot,
        groups: Sequence[Group],
        changed: Sequence[Group],
        hashes: Mapping[Key, bytes],
        known: Mapping[Key, Known],
        within: Within | None,
    ) -> None:
        self._lander = lander
        self._source = source
        self._groups = groups
        self._changed = changed
        self._hashes = hashes
        self._known = known
        self._within = within

    def land(self, step: Step[Any]) -> None:
        """Prepares the changed groups and commits them, as often as others come between."""
        with step.prepare(self._source, self._changed) as prepared:
            for attempt in range(1, OVERTAKEN + 1):
                try:
                    self._commit(step.entity, step.attached, lambda tx: list(step.land(tx, self._changed, prepared)), step)
                    return
                except UploadOvertaken as err:
                    if attempt == OVERTAKEN or prepared.upload is None:
                        raise Unavailable("the contents of a batch are being stored and removed by many at once: repeat it") from err
                    prepared.upload.reconcile()

    def give_up(self, step: Step[Any], err: Exception) -> None:
        """The only group of this batch cannot land: it is quarantined with what went wrong, and so are the rows that come with it."""
        (group,) = self._changed
        lines = "".join(traceback.format_exception(err)).rstrip().splitlines()[-LINES:]
        text = without_secret("\n".join(lines), group.row)[-4_000:]
        rows = [group.row, *(row for row in group.more if row.entity in step.attached)]
        landed = [
            Landed(Entity(row.entity), row.key, Outcome.QUARANTINED, findings=(Finding(Reason.TRANSFORM_ERROR, {"traceback": text}),))
            for row in rows
        ]
        self._commit(step.entity, step.attached, lambda _: landed)

    def _commit(
        self, entity: Entity, attached: Sequence[Entity], land: Callable[[Transaction], Sequence[Landed]], step: Step[Any] | None = None
    ) -> None:
        dependents = step.dependents(self._source, [group.row.key for group in self._changed]) if step and self._known else {}
        rows = {(entity, group.row.key): group.row for group in self._changed}
        hashes = {(entity, key): hashed for key, hashed in self._hashes.items()}
        for group in self._changed:
            for row in group.more:
                if row.entity in attached:
                    one = (Entity(row.entity), row.key)
                    rows[one], hashes[one] = row, row_hash(row)
        again = [one for one in rows if one[0] is not entity or one[1] in self._known] if self._known else []
        figures: Figures = Counter(self._known[group.row.key].outcome for group in self._groups if (entity, group.row.key) not in rows)
        done: list[Landed] = []

        def work(tx: Transaction) -> None:
            reach("legacy.begun")
            done[:] = land(tx)
            missing = rows.keys() ^ {(one.entity, one.key) for one in done}
            if missing or len(done) != len(rows):
                raise AssertionError(f"a step accounts for each of its rows once: see {sorted(missing)[:3]}")
            if self._known:
                IdMap(tx).sure(entity, [group.row.key for group in self._changed])
            self._lander.write(tx, done, rows, hashes, self._source.version, again)
            for other, keys in dependents.items():
                IdMap(tx).doubt(other, keys)
            if self._within:
                self._within(tx, self._groups, figures + Counter(one.outcome for one in done if one.entity is entity))
            reach("legacy.landed")

        self._lander.commit(work)
        reach("legacy.committed")
        self._lander.landed += [group.row.key for group in self._changed]
        self._lander.found += sum(meaning(finding.reason).needs_decision for one in done for finding in one.findings)


def _differs(known: Known | None, hashed: bytes) -> bool:
    return known is None or known.is_gone or known.source_hash != hashed


def wait(seconds: float, is_over: Callable[[], bool]) -> None:
    """Sleeps, and looks every now and then whether it has to."""
    until = time.monotonic() + seconds
    while not is_over() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.2))
