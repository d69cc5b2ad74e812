"""Given rows landed as they are now, by the same steps as all others: what a delta pass, a retry and the accounting do."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from dsplatform.core.database import Database, Transaction
from dsplatform.migration.landed_rows import IdMap
from dsplatform.migration.lander import Lander
from dsplatform.migration.model import Entity, Group, Key, Outcome
from dsplatform.migration.source import LegacyDatabase, Snapshot
from dsplatform.migration.step import Step

PORTION = 1_000


class Settling:
    """Brings given rows to where they are in the legacy database at one moment."""

    def __init__(self, db: Database, legacy: LegacyDatabase, steps: Sequence[Step[Any]], lander: Lander) -> None:
        self._db = db
        self._legacy = legacy
        self._steps = steps
        self._lander = lander

    def settle(self, changes: Mapping[Entity, Collection[Key]], *, force: bool = False) -> None:
        """The rows of these keys land, and those that depend on them; what is gone ends here, too. Rows that are as they were cost a
        look, unless `force` has them land again."""
        with self._legacy.snapshot() as source:
            _Round(self._db, source, self._steps, self._lander).settle(changes, force=force)

    def needed(self, source: Snapshot, step: Step[Any], groups: Sequence[Group]) -> None:
        """Lands what these groups refer to and a rule had left behind, or nobody had read."""
        _Round(self._db, source, self._steps, self._lander).needed(step, groups)

    def follow(self, source: Snapshot, step: Step[Any], keys: Sequence[Key]) -> None:
        """These rows of the table changed: what depends on them and had landed before lands again."""
        changes: dict[Entity, Collection[Key]] = {}
        for entity, dependent in step.dependents(source, keys).items():
            with self._db.autocommit() as tx:
                changes[entity] = IdMap(tx).which_live(entity, sorted(dependent))
        if any(changes.values()):
            self.settle(changes)


class _Round:
    """The settling of one moment."""

    def __init__(self, db: Database, source: Snapshot, steps: Sequence[Step[Any]], lander: Lander) -> None:
        self._db = db
        self._source = source
        self._steps = [step for step in steps if source.has(step.entity)]
        self._lander = lander
        self._version = source.version

    def settle(self, changes: Mapping[Entity, Collection[Key]], *, force: bool) -> None:
        wanted = {entity: dict.fromkeys(sorted(keys), force) for entity, keys in changes.items() if self._source.has(entity)}
        for step in self._steps:  # a row of an attached table lands with its owner
            attached = [(entity, key) for entity in step.attached for key in wanted.get(entity, ())]
            if attached:
                with self._db.autocommit() as tx:
                    owners = step.owners(tx, self._source, attached)
                wanted.setdefault(step.entity, {}).update(dict.fromkeys(owners, True))
        gone: list[tuple[Step[Any], Sequence[Key]]] = []
        for step in self._steps:
            keys = wanted.pop(step.entity, {})
            attached_keys = {entity: list(wanted.pop(entity)) for entity in step.attached if entity in wanted}
            if not keys and not attached_keys:
                continue
            lost = self._lost(step.entity, keys)
            if step.leaf:
                self._bury(step, lost)
            else:
                gone.append((step, lost))
            for entity, dependent in self._landed(step, keys).items():
                wanted[entity] = dict.fromkeys(dependent, False) | wanted.get(entity, {})
            for entity, of_table in attached_keys.items():
                self._attached(entity, of_table)
            self._lander.commit(partial(self._finish, step))
        for step, lost in reversed(gone):
            self._bury(step, lost)

    def _finish(self, step: Step[Any], tx: Transaction) -> None:
        step.finish(tx, self._source)

    def _lost(self, entity: Entity, keys: Collection[Key]) -> Sequence[Key]:
        there = {row.key for part in _parts(list(keys)) for row in self._source.rows(entity, part)}
        return [key for key in keys if key not in there]

    def _landed(self, step: Step[Any], keys: Mapping[Key, bool]) -> dict[Entity, set[Key]]:
        """Lands those that are there; answers with what has to land again after them."""
        dependents: dict[Entity, set[Key]] = {}
        for forced in (False, True):
            for part in _parts([key for key, is_forced in keys.items() if is_forced is forced]):
                groups = step.gather(self._source, list({row.key: row for row in self._source.rows(step.entity, part)}.values()))
                if not groups:
                    continue
                self.needed(step, groups)
                self._lander.landed.clear()
                self._lander.land(step, self._source, groups, force=forced)
                for entity, more in step.dependents(self._source, [group.row.key for group in groups]).items():
                    dependents.setdefault(entity, set()).update(more)
        return dependents

    def needed(self, step: Step[Any], groups: Sequence[Group]) -> None:
        """See `Settling.needed`."""
        for entity, keys in step.needs(groups).items():
            with self._db.autocommit() as tx:
                known = IdMap(tx).known(entity, keys)
            left = [key for key in keys if key not in known or known[key].is_gone or known[key].outcome is Outcome.EXCLUDED]
            earlier = next(one for one in self._steps if one.entity is entity)
            for part in _parts(sorted(left)):
                found = earlier.gather(self._source, self._source.rows(entity, part))
                self._lander.land(earlier, self._source, found, force=True)

    def _attached(self, entity: Entity, keys: Sequence[Key]) -> None:
        """What of the table did not come with its owner: it is gone, or has none."""
        rows = [row for part in _parts(keys) for row in self._source.rows(entity, part)]
        there = {row.key for row in rows}
        for part in _parts([key for key in keys if key not in there]):
            self._lander.bury(None, entity, part, self._version)
        with self._db.autocommit() as tx:
            known = {key: one for part in _parts(sorted(there)) for key, one in IdMap(tx).known(entity, part).items()}
        orphans = [row for row in rows if row.key not in known or known[row.key].is_gone]
        for start in range(0, len(orphans), PORTION):
            self._lander.orphans(entity, orphans[start : start + PORTION], self._version)

    def _bury(self, step: Step[Any], keys: Sequence[Key]) -> None:
        for part in _parts(keys):
            self._lander.bury(step, step.entity, part, self._version)


def _parts(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    for start in range(0, len(keys), PORTION):
        yield keys[start : start + PORTION]
