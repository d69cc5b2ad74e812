"""The second half of the machine: what operators do, what time does, what breaks, and how an example ends."""

import os
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import rule

from dsplatform.core.errors import DsplatformError
from dsplatform.core.types import VersionId
from dsplatform.files.binding import CollectionRefused
from dsplatform.files.gc import Audit, Garbage
from dsplatform.files.model import FileDamaged
from dsplatform.versioning.retention import Rule
from dsplatform_tests import make
from dsplatform_tests.journeys.machine import Journey, chance
from dsplatform_tests.journeys.model import Dataset, Expected
from dsplatform_tests.journeys.wiping import objects

TIMES = ("sessions", "uploads", "queue", "tombstones")


class Upkeep(Journey):
    """Everything that can happen."""

    # --- deletion --------------------------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def delete_version(self, data: st.DataObject) -> None:
        dataset = self._pick(data)
        if dataset is None or not dataset.versions:
            return
        ref, number = self._ref(data, dataset)
        freed = self.world.freed([dataset.versions[number]])

        def expect() -> None:
            version = dataset.living(number)
            if number in dataset.names.values():
                raise Expected("VersionNamed")
            self.world.purge(version)

        agreed = self._agree(expect, lambda: self.platform.deletion.delete_version(self.actor, f"{dataset.name}@{ref}"))
        if agreed is not None:
            assert (agreed[1].versions, agreed[1].freed.files) == ((number,), len(freed))
            self._note("deleted a version")

    @rule(data=st.data(), keep=st.sampled_from([None, 1, 2]))
    def retain(self, data: st.DataObject, keep: int | None) -> None:
        """A rule is set, or those that are set are applied."""
        if keep is None:
            self.apply_retention()
        elif dataset := self._pick(data):
            dataset.keep_last = keep
            plan = self.platform.deletion.set_retention(self.actor, dataset.name, Rule(keep, None))
            assert plan.removal.versions == tuple(version.number for version in self.world.let_go(dataset))

    def apply_retention(self) -> None:
        going = {dataset.ref.slug: self.world.let_go(dataset) for dataset in self.world.datasets}
        expected = [(slug, tuple(version.number for version in versions)) for slug, versions in sorted(going.items()) if versions]
        everything = [version for versions in going.values() for version in versions]
        freed = len(self.world.freed(everything))
        for dry_run in (True, False):
            report = self.platform.deletion.apply_retention(self.platform.system(), dry_run=dry_run)
            assert [(removal.dataset, removal.versions) for removal in report.removals] == expected
            assert report.freed.files == freed
        for version in everything:
            self.world.purge(version)
            self._note("let go by a rule")

    @rule(data=st.data(), what=st.sampled_from(["create", "delete", "write", "restore", "restore", "reap"]), other=chance)
    def change_datasets(self, data: st.DataObject, what: str, other: bool) -> None:
        if what == "create":
            self.create_dataset("d1" if other else "d0")
        elif what == "delete" or not any(dataset.deleted for dataset in self.world.datasets):
            if dataset := self._pick(data):
                self.platform.datasets.delete_dataset(self.actor, dataset.name)
                dataset.deleted = True
        elif what == "write":
            self.write_to_a_deleted_dataset(data, "side" if other else "main")
        elif what == "restore":
            self.restore(data, other)
        else:
            self.a_month_passes(data)

    def create_dataset(self, name: str) -> None:
        if any(dataset.name == name and not dataset.deleted for dataset in self.world.datasets):
            self._agree(_refusing("DatasetNameTaken"), lambda: self.platform.datasets.create_dataset(self.actor, name))
        else:
            self._created(name)

    def write_to_a_deleted_dataset(self, data: st.DataObject, branch: str) -> None:
        if dataset := self._pick(data, deleted=True):
            try:
                make.commit(self.platform, dataset.ref, {"a": self._fresh()}, actor=self.actor, branch=branch)
            except DsplatformError:
                return
            raise AssertionError("a deleted dataset took a version")

    def restore(self, data: st.DataObject, renamed: bool) -> None:
        if (dataset := self._pick(data, deleted=True)) is None:
            return
        name = f"r{self.made}" if renamed else dataset.name
        self.made += 1

        def expect() -> None:
            if any(other.name == name and not other.deleted for other in self.world.datasets):
                raise Expected("DatasetNameTaken")
            dataset.deleted = False
            self._note("restored")

        agreed = self._agree(expect, lambda: self.platform.datasets.restore_dataset(self.actor, dataset.ref.slug, new_name=name))
        if agreed is not None:
            dataset.ref = agreed[1]

    def a_month_passes(self, data: st.DataObject) -> None:
        if dataset := self._pick(data, deleted=True):
            self._execute("UPDATE datasets SET deleted_at = now() - interval '31 days' WHERE id = :id", id=dataset.ref.id)
            self._agree(
                _refusing("NothingToRestore"),
                lambda: self.platform.datasets.restore_dataset(self.actor, dataset.ref.slug, new_name="too late"),
            )
            assert [reaped.id for reaped in self.platform.deletion.reap(self.platform.system())] == [dataset.ref.id]
            self.world.reap(dataset)
            self._note("reaped")

    # --- time and collection ---------------------------------------------------------------------------------------------------

    def _execute(self, sql: str, **params: object) -> int:
        with self.platform.db.transaction() as tx:
            return tx.execute(sql, **params)

    def time_passes(self, what: set[str]) -> None:
        if "sessions" in what:
            self._execute("UPDATE upload_sessions SET expires_at = now() - interval '1 second'")
            for session in self.world.sessions.values():
                session.expired = True
        if "uploads" in what:
            self._execute("UPDATE upload_intents SET expires_at = now() - interval '1 second'")
            self.world.expired, self.world.crashed = self.world.expired + self.world.crashed, 0
        if "queue" in what:
            self._execute("UPDATE gc_queue SET review_after = now() - interval '1 second'")
            self.world.queue.update(dict.fromkeys(self.world.queue, True))
        if "tombstones" in what:
            self._execute("UPDATE tombstones SET purge_after = now() - interval '1 second'")

    @rule(passed=st.sets(st.sampled_from(TIMES)), sweep=st.sampled_from([False, False, True]))
    def collect(self, passed: set[str], sweep: bool) -> None:
        self.time_passes(passed)
        plan = self.platform.gc.plan(self.platform.system(), sweep=sweep)
        if sweep and self.world.rows and not any(dataset.versions for dataset in self.world.datasets):
            assert plan.refusal is not None
            try:
                self.platform.gc.collect(self.platform.system(), sweep=True)
            except CollectionRefused:
                return
            raise AssertionError("files without versions were swept")
        agreed = self.platform.gc.collect(self.platform.system(), sweep=sweep)
        assert self._amounts(agreed) == self._amounts(plan)
        assert (agreed.sessions.count, agreed.uploads.count, agreed.unreferenced.count) == self.world.collect()
        assert not agreed.failed
        if sweep:
            again = [key for key, seen in self.world.strays.items() if seen]
            assert plan.strays is not None
            assert agreed.strays is not None
            assert (plan.strays.count, agreed.strays.count) == (len(self.world.strays), len(again))
            self.world.strays = {key: True for key in self.world.strays if key not in again}
            self.happened["swept"] += len(again)
        self.happened["purged"] += agreed.purged.count
        self.happened["collected"] += agreed.unreferenced.count

    def _amounts(self, garbage: Garbage) -> tuple[Any, ...]:
        return garbage.sessions, garbage.uploads, garbage.unreferenced, garbage.purged

    @rule(data=st.data(), what=st.sampled_from(["fold", "mark", "forget and mark", "crash", "stray", "stray"]))
    def seldom(self, data: st.DataObject, what: str) -> None:
        if what == "fold":
            self.happened["folded"] += self.platform.gc.fold()
        elif what == "crash":
            self.crash()
        elif what == "stray":
            self.stray()
        else:
            self.mark(data, what != "mark")

    def mark(self, data: st.DataObject, forgets: bool) -> None:
        """A trigger that was disabled may have forgotten a file."""
        dead = sorted(self.world.queue.keys() - {content for content, count in self.world.counts().items() if count})
        if forgets and dead:
            content = data.draw(st.sampled_from(dead))
            self._execute("DELETE FROM gc_queue q USING files f WHERE f.id = q.file_id AND f.content_hash = :hash", hash=content)
            del self.world.queue[content]
        forgotten = self.world.forgotten()
        assert self.platform.gc.mark(self.platform.system()) == len(forgotten)
        self.world.release(forgotten)
        self.happened["marked by looking at all"] += len(forgotten)

    def stray(self) -> None:
        """An object that nothing names, three days old."""
        key = f"00/{'0' * 64}.{uuid4().hex}"
        path = self._root() / key
        path.write_bytes(b"stray")
        old = path.stat().st_mtime - timedelta(days=3).total_seconds()
        os.utime(path, (old, old))
        self.world.strays[key] = False

    # --- damage ----------------------------------------------------------------------------------------------------------------

    def _root(self) -> Path:
        return Path(self.platform.settings.storage_url) / "objects"

    def _path(self, content: str) -> Path:
        (key,) = make.column(self.platform.db, "SELECT file_path FROM files WHERE content_hash = :hash", hash=content)
        return self._root() / str(key)

    def _known(self) -> dict[str, bytes]:
        overlays = {version.overlay for dataset in self.world.datasets for version in dataset.versions.values()}
        return {content: self.bytes[content] for content in self.world.rows - overlays if content in self.bytes}

    @rule(data=st.data(), how=st.sampled_from(["lost", "cut", "flipped", "grown"]))
    def damage(self, data: st.DataObject, how: str) -> None:
        good = sorted(
            content
            for content, original in self._known().items()
            if content not in self.world.bad and (original or how in {"lost", "grown"})
        )
        if not good:
            return
        content = data.draw(st.sampled_from(good))
        path, original = self._path(content), self.bytes[content]
        path.unlink()
        if how != "lost":
            path.write_bytes(
                {"cut": original[:-1], "grown": original + b"x", "flipped": original[:-1] + bytes([original[-1:] != b"!"])}[how]
            )
        self.world.bad[content] = how
        self._note(f"damaged: {how}")

    @rule(data=st.data(), how=st.sampled_from(["read", "compare", "upload", "upload", "put back"]))
    def mend(self, data: st.DataObject, how: str) -> None:
        if how in {"read", "compare"}:
            self.scrub(how == "read")
        elif self.world.bad:
            content = data.draw(st.sampled_from(sorted(self.world.bad)))
            if how == "upload":
                self.store(self.bytes[content])
                return
            path = self._path(content)
            path.unlink(missing_ok=True)
            path.write_bytes(self.bytes[content])
            del self.world.bad[content]

    def scrub(self, reading: bool) -> None:
        if reading:
            found = self.platform.scrub.contents(self.platform.system())
            assert set(found.cleared) == self.world.marked - set(self.world.bad)
            assert {damage.content_hash for damage in found.damages} == set(self.world.bad)
            self.world.marked = set(self.world.bad)
        else:
            found = self.platform.scrub.presence(self.platform.system())
            seen = {content for content, how in self.world.bad.items() if how != "flipped"}
            assert {damage.content_hash for damage in found.damages} == seen
            self.world.marked |= seen
        self.happened["found by scrubbing"] += found.damaged_files

    # --- reading ---------------------------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        dataset = self._pick(data)
        if dataset is None or not dataset.versions:
            return
        ref, number = self._ref(data, dataset)
        agreed = self._agree(lambda: dataset.living(number), lambda: self.platform.versions.get_version(self.actor, dataset.ref, ref))
        if agreed is None:
            return
        version, (_, found) = agreed
        assert {component.name: component.content_hash for component in found} == version.tree
        for component in found:
            try:
                assert make.content(self.platform, component.file_id) == self.bytes[component.content_hash]
                assert component.content_hash not in self.world.bad
            except FileDamaged:
                assert component.content_hash in self.world.bad
                self.world.marked.add(component.content_hash)
                self._note("damage met by a reader")

    @rule()
    def look(self) -> None:
        """All that can be asked, at once."""
        for dataset in self.world.datasets:
            if not dataset.deleted:
                self._look_at(dataset)
        found = self.platform.verify(self.platform.system(), contents=True)
        expected = {("I2", content) for content in (*self.world.bad, *self.world.marked)} | {("I3", key) for key in self.world.strays}
        assert {(problem.invariant, _subject(problem.subject)) for problem in found.problems} == expected
        assert self.platform.gc.audit() == Audit(len(self.world.rows), ())

    def _look_at(self, dataset: Dataset) -> None:
        versions = self.platform.versions.list_versions(self.actor, dataset.ref, limit=1_000)
        assert [version.number for version in versions] == sorted(dataset.versions, reverse=True)
        for shown in versions:
            expected = dataset.versions[shown.number]
            parents = tuple(number for number in (shown.parent_number, shown.merge_parent_number) if number is not None)
            assert (shown.id, parents, shown.overlay_hash) == (expected.id, expected.parents, expected.overlay)
            assert (shown.purged_at is not None) == expected.purged
            assert set(shown.pointers) == {name for name, number in dataset.names.items() if number == shown.number}
            agreed = self._agree(partial(dataset.living, shown.number), partial(self._components, shown.id))
            if agreed is not None:
                assert agreed[1] == agreed[0].tree
        for name, number in dataset.branches.items():
            line = [version.number for version in self.platform.branches.history(self.actor, dataset.ref, name, limit=1_000)]
            assert set(line) == dataset.ancestors(number)
            assert all(line.index(child) < line.index(parent) for child in line for parent in dataset.versions[child].parents)
            bases = self.platform.branches.merge_bases(self.actor, dataset.ref, name, "main")
            assert {version.number for version in bases} == dataset.bases(number, dataset.branches["main"])

    def _components(self, version_id: VersionId) -> dict[str, str]:
        with self.platform.db.transaction() as tx:
            found = self.platform.versions.components(tx, version_id)
        return {component.name: component.content_hash for component in found}

    # --- the end ---------------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not self.world.datasets and not self.world.rows:
            return  # it has not begun
        self.look()
        if self.world.bad:
            self.scrub(reading=True)
            for content in sorted(self.world.bad):  # all are marked now, so that all are healed
                self.store(self.bytes[content])
        assert not self.world.bad
        self._drained()
        keys = dict(make.column(self.platform.db, "SELECT ARRAY[content_hash, file_path] FROM files"))
        assert keys.keys() == {content for content, count in self.world.references().items() if count}
        assert objects(self.platform) == set(keys.values()) | set(self.world.strays)
        if self.made % 4 == 0:
            self._emptied()
            type(self).dirty = False

    def _drained(self) -> None:
        self.time_passes(set(TIMES))
        while self.world.queue or self.world.sessions or self.world.expired:
            self.collect(set(TIMES), False)
        self.collect(set(TIMES), False)

    def _emptied(self) -> None:
        """When everything is deleted and its time is over, nothing is left."""
        for key in self.world.strays:
            (self._root() / key).unlink()
        self.world.strays.clear()
        for dataset in self.world.datasets:
            if not dataset.deleted:
                self.platform.datasets.delete_dataset(self.actor, dataset.name)
                dataset.ref = self.platform.datasets.restore_dataset(self.actor, dataset.ref.slug)
                self._note("restored")
                self.platform.deletion.set_retention(self.actor, dataset.name, Rule(1, None))
                dataset.keep_last = 1
        self.apply_retention()
        self.look()
        for dataset in self.world.datasets:
            if not dataset.deleted:
                self.platform.datasets.delete_dataset(self.actor, dataset.name)
        self._execute("UPDATE datasets SET deleted_at = now() - interval '31 days'")
        assert len(self.platform.deletion.reap(self.platform.system())) == len(self.world.datasets)
        make.drained(self.platform)
        assert make.column(self.platform.db, "SELECT id FROM files") == []
        assert objects(self.platform) == set()
        assert make.spooled(self.platform) == []
        self._note("emptied")


def _refusing(error: str) -> Callable[[], None]:
    def refuse() -> None:
        raise Expected(error)

    return refuse


def _subject(subject: str) -> str:
    return subject.removeprefix("object ").rpartition("(")[2].removesuffix(")")
