"""How the rows of one legacy table come along: what the service asks of a step.

The service reads the table in the order of its key, asks the id map which rows are new or changed, and gives these to the step. One
transaction then holds what the step writes to the platform's tables, the id map, the quarantine and the checkpoint. So a step needs to
know nothing of runs, checkpoints and repetitions. It keeps three promises:

- The same rows give the same result, however often they land: what is there already is changed or left, never made twice.
- It works on all rows of a batch with a few statements, and opens no transaction of its own while one is open.
- For each row of its groups that it accounts for (its own table's, and those of `attached`) it answers with exactly one `Landed`.

An exception of the step is an error of one row: the service divides the batch until the row is alone, and quarantines it as
`transform_error`. `Unavailable` and `UploadOvertaken` are none of these: the batch is repeated.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Generic, TypeVar
from zoneinfo import ZoneInfo

from dsplatform.core.database import Database, Transaction
from dsplatform.core.domain import Actor
from dsplatform.core.interfaces import FileKeeper, Upload
from dsplatform.migration.locating import Locator
from dsplatform.migration.model import Entity, Generation, Gone, Group, Key, Landed, SourceRow
from dsplatform.migration.source import LegacyDatabase, Snapshot

P = TypeVar("P")


@dataclass(frozen=True)
class Surroundings:
    """What steps are made with, once for each run."""

    db: Database
    """For questions of `prepare`, while no transaction is open."""
    legacy: LegacyDatabase
    generation: Generation
    files: FileKeeper
    locator: Locator
    zone: ZoneInfo
    """Of the legacy system's times."""
    actor: Actor
    """Who runs the migration."""


@dataclass(frozen=True)
class Prepared(Generic[P]):
    """What was worked out while no transaction was open."""

    work: P
    upload: Upload | None = None
    """The bytes that `land` records. The service has it reconciled when others overtook it, and lands again."""


class Step(Generic[P]):
    """The way of one table. The defaults are those of a table whose rows stand for themselves."""

    entity: Entity
    attached: tuple[Entity, ...] = ()
    """Tables whose rows come with rows of this one, as `Group.more`, and are accounted for by this step. A row of theirs that comes with
    none is quarantined as `orphan_parent` by the service."""
    leaf = False
    """Whether nothing refers to what came of its rows, so that `settle` ends what is gone before anything else takes its name. The rows of
    other tables end after all that refers to them has landed."""
    batch = 1_000
    """Rows that are read at once."""

    def begin(self, tx: Transaction, highest: Key | None) -> None:
        """Before the first row of each pass, with the table's highest key; also of one that goes on after a crash."""

    def gather(self, source: Snapshot, rows: Sequence[SourceRow]) -> Sequence[Group]:
        """The rows with those that land together with them, in the same order."""
        return [Group(row) for row in rows]

    def portions(self, groups: Sequence[Group]) -> Iterable[Sequence[Group]]:
        """The groups divided, in order, into what is worth a transaction: where some rows mean far more work than others."""
        return [groups]

    def needs(self, groups: Sequence[Group]) -> Mapping[Entity, Collection[Key]]:
        """Rows of earlier tables that these refer to. `settle` lands those of them first that were left behind by a rule."""
        return {}

    def prepare(self, source: Snapshot, groups: Sequence[Group]) -> AbstractContextManager[Prepared[P]]:
        """Whatever takes long or moves bytes; no transaction is open. The block lasts until the batch is committed. By default there is
        nothing to prepare, and `Prepared.work` is None."""
        return nullcontext(Prepared(None))  # type: ignore[arg-type]  # of a `Step[None]`

    def land(self, tx: Transaction, groups: Sequence[Group], prepared: Prepared[P]) -> Iterable[Landed]:
        """Writes the groups that were prepared to the platform's tables. May be called again with the same, after a rollback."""
        raise NotImplementedError

    def remove(self, tx: Transaction, gone: Sequence[Gone]) -> None:
        """These rows do not exist any more: gives what came of them the soft end that the platform has for it. The service marks the id
        map."""

    def owners(self, tx: Transaction, source: Snapshot, attached: Sequence[tuple[Entity, Key]]) -> Collection[Key]:
        """The rows of this table that rows of attached tables belong to, or belonged to when they landed."""
        return ()

    def dependents(self, source: Snapshot, keys: Sequence[Key]) -> Mapping[Entity, Collection[Key]]:
        """Rows that have to land again after these changed, though they did not change themselves. `settle` sees to it."""
        return {}

    def finish(self, tx: Transaction, source: Snapshot) -> None:
        """After the last row of each pass, and after each `settle` that landed rows of this step."""


def unprepared(work: P) -> AbstractContextManager[Prepared[P]]:
    """For a step that has nothing to prepare, or has it at once."""
    return nullcontext(Prepared(work))
