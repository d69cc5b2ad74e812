"""The whole platform, driven at random and held against `model.py` after every step.

One platform serves all examples: each ends by deleting everything and collecting until the store is empty, so that the next one begins
with nothing. What a failed example leaves is wiped away.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dsplatform.bootstrap import Platform
from dsplatform.core.errors import DsplatformError
from dsplatform.core.values import CommitMode
from dsplatform.files.model import FileReference
from dsplatform.files.upload import SMALL_BYTES, StagedUpload
from dsplatform.versioning.merging import Choice, MergeConflict, MergeKind
from dsplatform_tests import make
from dsplatform_tests.journeys import model
from dsplatform_tests.journeys.model import Dataset, Expected, Session, Version, World, digest
from dsplatform_tests.journeys.wiping import wipe

POOL = {"empty": b"", "tiny": b"a", "table": b"b,c\n1,2\n", "small": b"d" * 300, "large": b"e" * (SMALL_BYTES + 1)}
"""Few contents, so that they meet each other; one of them is spooled. Drawn by name, because a failure shows what was drawn."""

contents = st.sampled_from(sorted(POOL))
components = st.sampled_from(["a", "b", "c/d"])
trees = st.dictionaries(components, contents, max_size=3)
names = st.sampled_from(["main", "side", "x/y", "z"])
chance = st.booleans()
usually = st.sampled_from([True, True, True, False])


class Journey(RuleBasedStateMachine):
    """Rules for what users and operators do, what time does, and what breaks."""

    platform: Platform
    happened: Counter[str]
    dirty = True

    def __init__(self) -> None:
        super().__init__()
        if type(self).dirty:
            wipe(self.platform)
        type(self).dirty = True  # until it has ended well
        self.world = World()
        self.actor = self.platform.actor()
        self.references: list[FileReference] = []
        self.bytes = {digest(content): content for content in (*POOL.values(), b"side", b"main")}
        self.made = 0
        self._conflict: set[str] = set()

    # --- helpers ---------------------------------------------------------------------------------------------------------------

    def _note(self, what: str) -> None:
        type(self).happened[what] += 1

    def _fresh(self) -> bytes:
        self.made += 1
        content = b"only once: %d" % self.made
        self.bytes[digest(content)] = content
        return content

    def _pick(self, data: st.DataObject, *, deleted: bool = False) -> Dataset | None:
        found = [dataset for dataset in self.world.datasets if dataset.deleted == deleted]
        return data.draw(st.sampled_from(found)) if found else None

    def _ref(self, data: st.DataObject, dataset: Dataset) -> tuple[str, int]:
        """A way to name a version, and its number."""
        named = {**dataset.names, **{str(number): number for number in dataset.versions}}
        ref = data.draw(st.sampled_from(sorted(named)))
        return ref, named[ref]

    def _agree(self, expected: Callable[[], Any], real: Callable[[], Any]) -> tuple[Any, Any] | None:
        """Both do it, or both refuse it with the same error."""
        refusal = error = answer = outcome = None
        try:
            answer = expected()
        except Expected as err:
            refusal = str(err)
        try:
            outcome = real()
        except DsplatformError as err:
            error = err
        assert (type(error).__name__ if error else None) == refusal, f"{error!r}; the model expected {refusal or answer}"
        if refusal is None:
            return answer, outcome
        if isinstance(error, MergeConflict):
            self._conflict = {found.name for found in error.components}
        self._note(f"refused: {refusal}")
        return None

    # --- files -----------------------------------------------------------------------------------------------------------------

    @rule(data=st.data(), content=contents, again=chance, own=chance)
    def stage(self, data: st.DataObject, content: str, again: bool, own: bool) -> None:
        session = data.draw(st.sampled_from(sorted(self.world.sessions))) if again and self.world.sessions else None
        self.store(self._fresh() if own else POOL[content], session)

    def store(self, content: bytes, session: UUID | None = None) -> None:
        hash_, name = digest(content), f"n{len(self.references)}.{self.made}"
        self.made += 1

        def expect() -> bool:
            if session is not None and self.world.sessions[session].expired:
                raise Expected("SessionEnded")
            return hash_ not in self.world.rows

        agreed = self._agree(expect, lambda: self.platform.files.store_file(self.actor, BytesIO(content), name=name, session=session))
        if agreed is None:
            return
        is_new, reference = agreed
        assert (reference.content_hash, reference.is_new) == (hash_, is_new)
        self.references.append(reference)
        self.world.sessions.setdefault(reference.session_id, Session({})).files[name] = hash_
        self._healed(self.world.stored([hash_]))

    def _healed(self, count: int) -> None:
        for _ in range(count):
            self._note("healed")

    @rule(data=st.data())
    def drop_reference(self, data: st.DataObject) -> None:
        if not self.references:
            return
        reference = self.references.pop(data.draw(st.integers(0, len(self.references) - 1)))
        session = self.world.sessions.get(reference.session_id)

        def forget() -> None:
            if session is None:
                raise Expected("FileMissing")
            self.world.release([session.files.pop(reference.path)])
            if not session.files:
                del self.world.sessions[reference.session_id]

        self._agree(forget, lambda: self.platform.files.delete_reference(reference))

    def crash(self) -> None:
        """An uploader dies after its objects are durable and before they are recorded."""
        upload: StagedUpload = self.platform.files.upload()  # type: ignore[assignment]
        upload.add([BytesIO(self._fresh()), BytesIO(POOL["small"])])
        upload.seal()
        upload._pool.shutdown()
        self.world.crashed += 1

    # --- datasets and commits --------------------------------------------------------------------------------------------------

    @initialize(
        tree=st.dictionaries(components, contents, min_size=1, max_size=3),
        how=st.sampled_from(["behind", "ahead", "apart", "fight", "fight"]),
    )
    def begin(self, tree: dict[str, str], how: str) -> None:
        """A dataset with a branch that is behind, ahead or went its own way, so that an example meets merges early."""
        dataset = self._created("d0")
        side = _contents(tree) if how == "behind" else {"a" if how == "fight" else "s": self._fresh()}
        commits = [("main", _contents(tree)), ("side", side), ("main", {"a" if how == "fight" else "m": self._fresh()})]
        for branch, data in commits[:2] if how == "ahead" else commits:
            self._commit(dataset, branch, data, [], CommitMode.PATCH, None, None)

    def _created(self, name: str) -> Dataset:
        dataset = Dataset(self.platform.datasets.create_dataset(self.actor, name))
        self.world.datasets.append(dataset)
        return dataset

    @rule(
        data=st.data(),
        branch=names,
        tree=trees,
        own=chance,
        remove=st.lists(components, max_size=1),
        replace=chance,
        head=st.sampled_from("--+xx"),
        key=st.sampled_from([None, None, "k1", "k2"]),
    )
    def commit(
        self,
        data: st.DataObject,
        branch: str,
        tree: dict[str, str],
        own: bool,
        remove: list[str],
        replace: bool,
        head: str,
        key: str | None,
    ) -> None:
        dataset = self._pick(data)
        if dataset is None:
            return
        put = {**_contents(tree), **({"own": self._fresh()} if own else {})}
        expected = None
        if head == "+" and "main" in dataset.branches:
            expected = dataset.branches.get(branch, dataset.branches["main"])
        elif head == "x" and dataset.versions:
            expected = data.draw(st.sampled_from(sorted(dataset.versions)))
        mode = CommitMode.REPLACE if replace else CommitMode.PATCH
        self._commit(dataset, branch, put, remove, mode, expected, key)

    def _commit(
        self,
        dataset: Dataset,
        branch: str,
        data: dict[str, bytes],
        remove: list[str],
        mode: CommitMode,
        expected: int | None,
        key: str | None,
    ) -> None:
        put = {name: digest(content) for name, content in data.items()}
        head = None if expected is None else dataset.versions[expected].id

        def expect() -> tuple[int | None, dict[str, str]]:
            if key in dataset.keys and branch not in dataset.tags:
                return dataset.keys[key], {}
            return self.world.changed(dataset, branch, put, remove, replace=mode is CommitMode.REPLACE, expected=head)

        real = partial(make.commit, self.platform, dataset.ref, data, actor=self.actor, remove=remove, branch=branch, mode=mode)
        agreed = self._agree(expect, lambda: real(expected_head=head, idempotency_key=key))
        if agreed is None:
            return
        (parent, tree), committed = agreed
        if key in dataset.keys:
            assert (committed.version_number, committed.created) == (parent, False)
            self._note("repeated by its key")
            return
        self._healed(self.world.stored(put.values()))
        before = None if parent is None else dataset.versions[parent].tree
        if before == tree:
            assert (committed.version_number, committed.created) == (parent, False)
            dataset.branches.setdefault(branch, parent)
            self._note("committed nothing")
            return
        old = before or {}
        updated = sum(name in old and old[name] != content for name, content in tree.items())
        counts = len(tree.keys() - old.keys()), updated, len(old.keys() - tree.keys())
        assert (committed.added, committed.updated, committed.removed) == counts
        assert committed.created
        self._grown(dataset, branch, tree, () if parent is None else (parent,), committed.version_number)
        if key is not None:
            dataset.keys[key] = committed.version_number

    def _grown(self, dataset: Dataset, branch: str, tree: dict[str, str], parents: tuple[int, ...], number: int) -> None:
        """A version was made. Numbers have no gaps."""
        assert number == len(dataset.versions) + 1
        (found,) = self.platform.versions.list_versions(self.actor, dataset.ref, limit=1)
        dataset.versions[number] = Version(number, found.id, tree, parents, found.overlay_hash)
        dataset.branches[branch] = number
        dataset.branches.setdefault("main", number)
        self.world.rows.add(found.overlay_hash)

    # --- branches and tags -----------------------------------------------------------------------------------------------------

    @rule(data=st.data(), what=st.sampled_from(["create", "create", "move", "rename", "delete"]), name=names, tag=chance)
    def change_names(self, data: st.DataObject, what: str, name: str, tag: bool) -> None:
        dataset = self._pick(data)
        if dataset is None or not dataset.versions:
            return
        if what == "create":
            self._create_name(dataset, name, *self._ref(data, dataset), tag=tag)
        elif what == "move":
            seen = data.draw(st.sampled_from(sorted(dataset.versions)))
            name = data.draw(st.sampled_from([name, *sorted(dataset.branches)]))  # most names are no branch, and cannot be moved
            self._move(dataset, name, *self._ref(data, dataset), dataset.branches.get(name, seen) if tag else seen)
        elif what == "rename":
            self._rename(dataset, name, data.draw(names))
        else:
            self._delete_name(dataset, name, tag=tag)

    def _create_name(self, dataset: Dataset, name: str, ref: str, number: int, *, tag: bool) -> None:
        def expect() -> None:
            dataset.living(number)
            if name in dataset.names:
                raise Expected("PointerTaken")
            (dataset.tags if tag else dataset.branches)[name] = number

        service = self.platform.branches
        self._agree(expect, lambda: (service.create_tag if tag else service.create_branch)(self.actor, dataset.ref, name, ref))

    def _move(self, dataset: Dataset, name: str, ref: str, number: int, seen: int) -> None:
        def expect() -> None:
            self._must_be_branch(dataset, name)
            dataset.living(number)
            if dataset.branches[name] != seen:
                raise Expected("HeadMoved")
            dataset.branches[name] = number
            self._note("moved a branch")

        head = dataset.versions[seen].id
        self._agree(expect, lambda: self.platform.branches.update_branch(self.actor, dataset.ref, name, ref, expected_head=head))

    def _must_be_branch(self, dataset: Dataset, name: str) -> None:
        if name in dataset.tags:
            raise Expected("TagsNeverMove")
        if name not in dataset.branches:
            raise Expected("PointerMissing")

    def _rename(self, dataset: Dataset, name: str, new: str) -> None:
        def expect() -> None:
            if name == "main":
                raise Expected("MainStays")
            self._must_be_branch(dataset, name)
            if new in dataset.names:
                raise Expected("PointerTaken")
            dataset.branches[new] = dataset.branches.pop(name)

        self._agree(expect, lambda: self.platform.branches.rename_branch(self.actor, dataset.ref, name, new))

    def _delete_name(self, dataset: Dataset, name: str, *, tag: bool) -> None:
        def expect() -> None:
            if tag:
                if dataset.tags.pop(name, None) is None:
                    raise Expected("PointerMissing")
                return
            if name == "main":
                raise Expected("MainStays")
            self._must_be_branch(dataset, name)
            del dataset.branches[name]

        service = self.platform.branches
        self._agree(expect, lambda: (service.delete_tag if tag else service.delete_branch)(self.actor, dataset.ref, name))

    @rule(data=st.data())
    def merge_into_main(self, data: st.DataObject) -> None:
        self.merge(data, "main", None, False)

    @rule(
        data=st.data(),
        into=st.sampled_from(["main", "main", "side", "z"]),
        strategy=st.sampled_from([None, None, "ours", "theirs"]),
        choosing=chance,
    )
    def merge(self, data: st.DataObject, into: str, strategy: str | None, choosing: bool) -> None:
        dataset = self._pick(data)
        if dataset is None or not dataset.versions:
            return
        done = dataset.ancestors(dataset.branches[into]) if into in dataset.branches else set()
        open_ = sorted((name, number) for name, number in dataset.names.items() if number not in done)
        not_yet = open_ and bool(data.draw(usually))
        ref, theirs = data.draw(st.sampled_from(open_)) if not_yet else self._ref(data, dataset)
        choices: dict[str, str] = {}
        if choosing and into in dataset.branches and not dataset.versions[theirs].purged:
            fought = sorted(model.contested(dataset, dataset.branches[into], theirs).names)
            choices = {name: data.draw(st.sampled_from(["ours", "theirs", "base"])) for name in fought}

        def expect() -> tuple[MergeKind, dict[str, str]]:
            self._must_be_branch(dataset, into)
            ours = dataset.branches[into]
            if theirs in dataset.ancestors(ours):
                return MergeKind.ALREADY_MERGED, {}
            dataset.living(theirs)
            if ours in dataset.ancestors(theirs):
                return MergeKind.FAST_FORWARDED, {}
            return MergeKind.MERGED, model.merged(dataset, ours, theirs, strategy, choices)

        chosen = {name: Choice(choice) for name, choice in choices.items()}
        real = partial(self.platform.branches.merge, self.actor, dataset.ref, ref, into=into, choices=chosen)
        before = self.happened["refused: MergeConflict"]
        agreed = self._agree(expect, lambda: real(strategy=Choice(strategy) if strategy else None))
        if agreed is None:
            if self.happened["refused: MergeConflict"] > before:
                assert self._conflict == model.contested(dataset, dataset.branches[into], theirs).names - set(choices)
            return
        (kind, tree), outcome = agreed
        assert outcome.kind is kind
        self._note(str(kind))
        if kind is MergeKind.MERGED:
            self._grown(dataset, into, tree, (dataset.branches[into], theirs), outcome.version_number)
        elif kind is MergeKind.FAST_FORWARDED:
            dataset.branches[into] = theirs
        assert outcome.version_number == dataset.branches[into]

    # --- invariants of every step ----------------------------------------------------------------------------------------------

    @invariant()
    def counts_and_names_agree(self) -> None:
        with self.platform.db.autocommit() as tx:
            shown = dict(
                tx.tuples("SELECT f.content_hash, c.reference_count FROM files f JOIN file_reference_counts c ON c.file_id = f.id")
            )
            named = tx.tuples(
                "SELECT p.dataset_id, p.pointer_name, v.version_number, p.is_tag FROM dataset_pointers p "
                "JOIN dataset_versions v ON v.id = p.version_id"
            )
            queued = {row[0] for row in tx.tuples("SELECT f.content_hash FROM gc_queue q JOIN files f ON f.id = q.file_id")}
        assert shown == self.world.counts()
        assert queued == set(self.world.queue)
        expected = {
            (dataset.ref.id, name, number, is_tag)
            for dataset in self.world.datasets
            for is_tag, some in ((False, dataset.branches), (True, dataset.tags))
            for name, number in some.items()
        }
        assert set(named) == expected


def _contents(tree: dict[str, str]) -> dict[str, bytes]:
    return {name: POOL[content] for name, content in tree.items()}
