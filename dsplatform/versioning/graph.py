"""Questions about the history of versions: pure functions on parents.

`parents` maps every version of one dataset to its parents, the first one first. A parent has the lower id (the database checks it), so
whoever goes from the highest id down meets every child before its parents. A version counts among its own ancestors.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from dsplatform.core.domain import ValueObject
from dsplatform.core.types import VersionId
from dsplatform.versioning.model import Version

Parents = Mapping[VersionId, Sequence[VersionId]]

_OURS, _THEIRS, _COVERED = 1, 2, 4


@dataclass(frozen=True)
class Row(ValueObject):
    """One version in the picture of a history: lanes are columns, counted from 0 on the left, rows follow each other downwards.

    A line to a parent leaves the version and runs down in the lane of `lines` until it meets the parent. Lines to the same parent share
    their lane. Where the first parent is awaited further right, that lane ends here and comes over: `bend`.
    """

    version_id: VersionId
    lane: int
    passing: tuple[int, ...]
    """Lanes whose line passes by, between a version above and one below."""
    lines: tuple[tuple[VersionId, int], ...]
    """(parent, lane), the first parent first."""
    bend: int | None
    """The lane whose line comes over into this version's lane, below it."""


@dataclass(frozen=True)
class Node(ValueObject):
    """A version with its place in the picture. Its row is its position in the list of nodes."""

    lane: int
    branches: tuple[str, ...]
    tags: tuple[str, ...]
    version: Version
    drawing: tuple[str, ...]
    """The row as characters, as `text` gives them."""


@dataclass(frozen=True)
class Edge(ValueObject):
    """A line of the picture from a version down to a parent, both named by number. The parent may lie below the picture's end."""

    child: int
    parent: int
    merge: bool
    """Whether the parent was merged in."""
    path: tuple[tuple[int, int], ...]
    """The points (row, lane) that the line connects; the last row is the one after the end where the parent is not in the picture."""


@dataclass(frozen=True)
class Picture(ValueObject):
    """A history, ready to be drawn: nodes from the top down, edges, and how many lanes there are."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    lanes: int


def ancestors(parents: Parents, *versions: VersionId) -> set[VersionId]:
    """Everything that the versions stand on, and they themselves."""
    found = set(versions)
    waiting = list(found)
    while waiting:
        for parent in parents[waiting.pop()]:
            if parent not in found:
                found.add(parent)
                waiting.append(parent)
    return found


def is_ancestor(parents: Parents, older: VersionId, younger: VersionId) -> bool:
    """Whether `younger` stands on `older` or is it."""
    found = {younger}
    waiting = [younger]
    while waiting:
        version = waiting.pop()
        if version == older:
            return True
        fresh = [parent for parent in parents[version] if parent >= older and parent not in found]
        found.update(fresh)
        waiting += fresh
    return False


def merge_bases(parents: Parents, ours: VersionId, theirs: VersionId) -> list[VersionId]:
    """The best common ancestors, newest first: those that no other common ancestor stands on.

    Usually one. After a criss-cross, where each of two branches merged an older head of the other, there are several, and none is better
    than the others. None at all: the histories have nothing in common.
    """
    seen: dict[VersionId, int] = {}
    queue: list[int] = []

    def reach(version: VersionId, mark: int) -> None:
        if version not in seen:
            heappush(queue, -version)
        seen[version] = seen.get(version, 0) | mark

    reach(ours, _OURS)
    reach(theirs, _THEIRS)
    bases = []
    while any(not seen[VersionId(-entry)] & _COVERED for entry in queue):
        version = VersionId(-heappop(queue))  # every child of it came before, so its marks are complete
        mark = seen[version]
        if mark == _OURS | _THEIRS:
            bases.append(version)
            mark |= _COVERED
        for parent in parents[version]:
            reach(parent, mark)
    return bases


def first_parents(parents: Parents, head: VersionId) -> Iterator[VersionId]:
    """The versions that a branch with this head held one after the other, newest first; what was merged into them is left out."""
    version = head
    yield version
    while parents[version]:
        version = parents[version][0]
        yield version


def topological(parents: Parents, heads: Sequence[VersionId]) -> list[VersionId]:
    """All ancestors of the heads: each before its parents, newest heads first, and each line shown to its end before another begins,
    that of the first parent before what was merged."""
    reached = ancestors(parents, *heads)
    awaited = Counter(parent for version in reached for parent in parents[version])
    ready = sorted(version for version in reached if not awaited[version])
    order = []
    while ready:
        version = ready.pop()
        order.append(version)
        for parent in reversed(parents[version]):
            awaited[parent] -= 1
            if not awaited[parent]:
                ready.append(parent)
    return order


def layout(parents: Parents, order: Sequence[VersionId]) -> list[Row]:
    """Where each version and each line stands in a picture, for an order that shows children before parents.

    One lane at a time leads to a version, so no two lines share one. The order may end early: lines then lead out of the picture.
    """
    lanes: list[VersionId | None] = []  # what each lane leads to
    rows = []
    for version in order:
        lane = lanes.index(version) if version in lanes else _free(lanes)
        lanes[lane] = None
        passing = tuple(at for at, target in enumerate(lanes) if target is not None)
        lines: list[tuple[VersionId, int]] = []
        bend = None
        for parent in parents[version]:
            to = lanes.index(parent) if parent in lanes else lane if lanes[lane] is None else _free(lanes)
            if to > lane and not lines:
                lanes[to], bend, to = None, to, lane
            lanes[to] = parent
            lines.append((parent, to))
        rows.append(Row(version, lane, passing, tuple(lines), bend))
    return rows


def _free(lanes: list[VersionId | None]) -> int:
    """The first lane that leads nowhere, made where there is none."""
    if None not in lanes:
        lanes.append(None)
    return lanes.index(None)


def text(row: Row) -> list[str]:
    """The row as characters: first the line with `*` for the version, then the lines in which lanes part and meet."""
    standing = set(row.passing)
    drawn = [_line({**{2 * lane: "|" for lane in standing}, 2 * row.lane: "*"})]
    moves = [(row.lane, to) for _, to in row.lines if to != row.lane]
    if row.bend is not None:
        moves.insert(0, (row.bend, row.lane))
    straight = len(row.lines) > sum(start == row.lane for start, _ in moves)
    for index, (start, to) in enumerate(moves):
        standing.discard(start)
        if straight or any(later == row.lane for later, _ in moves[index + 1 :]):
            standing.add(row.lane)
        step, sign = (1, "\\") if to > start else (-1, "/")
        beside = {2 * lane: "|" for lane in standing}
        drawn += [_line({**beside, 2 * lane + step: sign}) for lane in range(start, to, step)]
        standing.add(to)
    return drawn


def picture(rows: Sequence[Row], versions: Sequence[Version], tags: Collection[str]) -> Picture:
    """Puts the rows and their versions together; `tags` says which pointers are tags."""
    nodes, edges = [], []
    paths: dict[int, list[list[tuple[int, int]]]] = {}  # of the lines that have not met their parent yet, by lane
    for at, (row, version) in enumerate(zip(rows, versions, strict=True)):
        branches = tuple(name for name in version.pointers if name not in tags)
        nodes.append(Node(row.lane, branches, tuple(name for name in version.pointers if name in tags), version, tuple(text(row))))
        _lead(paths.pop(row.lane, []), (at, row.lane))
        if row.bend is not None:
            coming = paths.pop(row.bend)
            _lead(coming, (at, row.bend), (at + 1, row.lane))
            paths[row.lane] = coming
        for (_, to), number, merge in zip(row.lines, (version.parent_number, version.merge_parent_number), (False, True), strict=False):
            path = [(at, row.lane), (at + 1, to)]
            paths.setdefault(to, []).append(path)
            edges.append((version.number, number or 0, merge, path))
    for lane, leading in paths.items():
        _lead(leading, (len(rows), lane))
    lanes = 1 + max((lane for row in rows for lane in (row.lane, *row.passing, *(to for _, to in row.lines))), default=-1)
    return Picture(tuple(nodes), tuple(Edge(child, parent, merge, tuple(path)) for child, parent, merge, path in edges), lanes)


def _lead(paths: Sequence[list[tuple[int, int]]], *points: tuple[int, int]) -> None:
    for path in paths:
        path += [point for point in points if point != path[-1]]


def _line(signs: Mapping[int, str]) -> str:
    return "".join(signs.get(at, " ") for at in range(max(signs) + 1))
