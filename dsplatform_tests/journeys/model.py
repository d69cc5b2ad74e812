"""What the platform must be like, as dictionaries in memory: the model that `machine.py` holds against it.

Written from the documentation and not from the code, and as plainly as can be: sets where the product has clever walks.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from uuid import UUID

from dsplatform.core.types import VersionId
from dsplatform.core.values import DatasetRef

Tree = dict[str, str]
"""Component names and the hashes of their contents."""


class Expected(Exception):
    """The model says that the platform refuses this; the name of its error."""


@dataclass
class Version:
    number: int
    id: VersionId
    tree: Tree
    parents: tuple[int, ...]
    overlay: str
    purged: bool = False


@dataclass
class Dataset:
    ref: DatasetRef
    versions: dict[int, Version] = field(default_factory=dict)
    branches: dict[str, int] = field(default_factory=dict)
    tags: dict[str, int] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    keep_last: int | None = None
    deleted: bool = False

    @property
    def name(self) -> str:
        return self.ref.name

    @property
    def names(self) -> dict[str, int]:
        return {**self.branches, **self.tags}

    def ancestors(self, number: int) -> set[int]:
        found = {number}
        for parent in self.versions[number].parents:
            found |= self.ancestors(parent)
        return found

    def bases(self, ours: int, theirs: int) -> set[int]:
        """The common ancestors that are no ancestor of another one."""
        common = self.ancestors(ours) & self.ancestors(theirs)
        return {one for one in common if not any(one in self.ancestors(other) for other in common - {one})}

    def living(self, number: int) -> Version:
        if self.versions[number].purged:
            raise Expected("Gone")
        return self.versions[number]


@dataclass
class Contested:
    """Names that both sides of a merge changed, with what the bases agree on, where they do."""

    base: dict[str, str | None]
    unclear: set[str]

    @property
    def names(self) -> set[str]:
        return set(self.base) | self.unclear


def contested(dataset: Dataset, ours: int, theirs: int) -> Contested:
    mine, other = dataset.versions[ours].tree, dataset.living(theirs).tree
    bases = [dataset.versions[base] for base in dataset.bases(ours, theirs)]
    trees = [] if any(base.purged for base in bases) else [base.tree for base in bases]
    found = Contested({}, set())
    for name in mine.keys() | other.keys():
        if mine.get(name) == other.get(name):
            continue
        states = {tree.get(name) for tree in trees}
        if len(states) != 1:
            found.unclear.add(name)
        elif not states & {mine.get(name), other.get(name)}:
            found.base[name] = states.pop()
    return found


def merged(dataset: Dataset, ours: int, theirs: int, strategy: str | None, choices: Mapping[str, str]) -> Tree:
    """The components of the merge. Raises `Expected`."""
    mine, other = dataset.versions[ours].tree, dataset.living(theirs).tree
    fought = contested(dataset, ours, theirs)
    if set(choices) - fought.names or any(choices.get(name) == "base" for name in fought.unclear):
        raise Expected("Invalid")
    if fought.names - set(choices) and strategy is None:
        raise Expected("MergeConflict")
    base = {name: state for number in dataset.bases(ours, theirs) for name, state in dataset.versions[number].tree.items()}
    result: dict[str, str | None] = {}
    for name in mine.keys() | other.keys():
        sides = {"ours": mine.get(name), "theirs": other.get(name), "base": fought.base.get(name)}
        if name in fought.names:
            result[name] = sides[choices.get(name, strategy or "")]
        else:  # one side at most has changed it
            result[name] = sides["theirs"] if sides["ours"] == base.get(name) else sides["ours"]
    tree = {name: content for name, content in result.items() if content is not None}
    if not tree:
        raise Expected("EmptyVersion")
    return tree


@dataclass
class Session:
    files: dict[str, str]
    expired: bool = False


@dataclass
class World:
    datasets: list[Dataset] = field(default_factory=list)
    sessions: dict[UUID, Session] = field(default_factory=dict)
    rows: set[str] = field(default_factory=set)
    """Contents that the platform knows, whether something names them or not yet collected."""
    queue: dict[str, bool] = field(default_factory=dict)
    """What is to be reviewed, and whether its time has come."""
    bad: dict[str, str] = field(default_factory=dict)
    """Objects that are not what was stored: `flipped`, `cut`, `grown` or `lost`."""
    marked: set[str] = field(default_factory=set)
    """Files that are marked as damaged."""
    strays: dict[str, bool] = field(default_factory=dict)
    """Old objects that nothing names, and whether a sweep has seen them."""
    crashed: int = 0
    """Uploads that were left, and have not expired."""
    expired: int = 0
    """Those that have."""

    # --- references ------------------------------------------------------------------------------------------------------------

    def references(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for dataset in self.datasets:
            for version in dataset.versions.values():
                counts[version.overlay] += 1
                if not version.purged:
                    counts.update(version.tree.values())
        for session in self.sessions.values():
            counts.update(session.files.values())
        return counts

    def counts(self) -> dict[str, int]:
        """What the platform must show."""
        references = self.references()
        return {content: references[content] for content in self.rows}

    def release(self, contents: Iterable[str]) -> None:
        """References went."""
        self.queue.update(dict.fromkeys(contents, False))

    def stored(self, contents: Iterable[str]) -> int:
        """Contents were recorded; answers how many objects that healed."""
        healed = 0
        for content in set(contents):
            self.rows.add(content)
            if content in self.marked or self.bad.get(content, "flipped") != "flipped":
                self.bad.pop(content, None)
                self.marked.discard(content)
                healed += 1
        return healed

    # --- commits ---------------------------------------------------------------------------------------------------------------

    def changed(
        self,
        dataset: Dataset,
        branch: str,
        put: Tree,
        remove: Iterable[str],
        *,
        replace: bool,
        expected: VersionId | None,
    ) -> tuple[int | None, Tree]:
        """What a commit makes: (the head it stands on, its components). Raises `Expected`."""
        if branch in dataset.tags:
            raise Expected("TagsNeverMove")
        number = dataset.branches.get(branch, dataset.branches.get("main"))
        head = None if number is None else dataset.versions[number]
        if expected is not None and (head is None or head.id != expected):
            raise Expected("HeadMoved")
        before = {} if head is None else head.tree
        if any(name in put or name not in before for name in remove):
            raise Expected("Invalid")
        kept = {} if replace else {name: content for name, content in before.items() if name not in set(remove)}
        tree = {**kept, **put}
        if not tree or (not put and not remove and not replace):
            raise Expected("EmptyVersion")
        return number, tree

    # --- deletion --------------------------------------------------------------------------------------------------------------

    def purge(self, version: Version) -> None:
        version.purged = True
        self.release(version.tree.values())

    def let_go(self, dataset: Dataset) -> list[Version]:
        """What the dataset's retention rule deletes now."""
        if dataset.deleted or dataset.keep_last is None:
            return []
        living = sorted((version for version in dataset.versions.values() if not version.purged), key=lambda version: version.number)
        return [version for version in living[: -dataset.keep_last] if version.number not in dataset.names.values()]

    def freed(self, versions: Iterable[Version]) -> set[str]:
        """Contents that only these versions name."""
        references = self.references()
        gone = Counter(content for version in versions for content in version.tree.values())
        return {content for content, count in gone.items() if references[content] == count}

    def reap(self, dataset: Dataset) -> None:
        self.datasets.remove(dataset)
        for version in dataset.versions.values():
            self.release([version.overlay, *(() if version.purged else version.tree.values())])

    # --- collection ------------------------------------------------------------------------------------------------------------

    def unreferenced(self) -> set[str]:
        """What a collection takes now. A session that has expired still counts: its files are reviewed a day after it ends."""
        references = self.references()
        return {content for content, due in self.queue.items() if due and not references[content]}

    def collect(self) -> tuple[int, int, int]:
        """(sessions, uploads, files) that go."""
        dead = self.unreferenced()
        over = [key for key, session in self.sessions.items() if session.expired]
        for content in [content for content, due in self.queue.items() if due]:
            ended = any(content in self.sessions[key].files.values() for key in over)
            if not ended:
                del self.queue[content]
        for key in over:
            self.release(self.sessions.pop(key).files.values())
        self.rows -= dead
        self.marked -= dead
        for content in dead:
            self.bad.pop(content, None)
        uploads, self.expired = self.expired, 0
        return len(over), uploads, len(dead)

    def forgotten(self) -> set[str]:
        """What nothing names and nobody reviews."""
        references = self.references()
        return {content for content in self.rows if not references[content] and content not in self.queue}


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()
