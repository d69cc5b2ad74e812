"""History, with networkx as the opponent that knows graphs."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.core.types import ContentHash, DatasetId, VersionId
from dsplatform.versioning import graph
from dsplatform.versioning.graph import Parents
from dsplatform.versioning.model import Version


@st.composite
def histories(draw: st.DrawFn, *, most: int = 14) -> Parents:
    """Any history that the database admits: parents are older, two at most; ids have gaps; usually one root, sometimes several."""
    ids = sorted(draw(st.sets(st.integers(1, 1000), min_size=1, max_size=most)))
    parents: dict[VersionId, tuple[VersionId, ...]] = {}
    for at, version in enumerate(ids):
        older = st.sampled_from(ids[:at]) if at else st.nothing()
        fewest = 0 if not at or draw(st.integers(0, 9)) == 0 else 1
        chosen = draw(st.lists(older, unique=True, min_size=fewest, max_size=min(at, 2)))
        parents[VersionId(version)] = tuple(VersionId(parent) for parent in chosen)
    return parents


def version(number: int, parent: int | None, merged: int | None, *pointers: str) -> Version:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Version(VersionId(number * 10), DatasetId(1), number, "", parent, merged, "me", at, 1, 1, ContentHash("0" * 64), pointers, None)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Parents, VersionId, VersionId]:
    parents = draw(histories())
    version = st.sampled_from(sorted(parents))
    return parents, draw(version), draw(version)


def oracle(parents: Parents) -> "nx.DiGraph[int]":
    """Edges from children to parents."""
    made: nx.DiGraph[int] = nx.DiGraph()
    made.add_nodes_from(parents)
    made.add_edges_from((version, parent) for version, chosen in parents.items() for parent in chosen)
    return made


@given(pairs())
def test_ancestors_are_what_is_reachable_and_the_version_itself(drawn: tuple[Parents, VersionId, VersionId]) -> None:
    parents, one, other = drawn
    known = oracle(parents)
    assert graph.ancestors(parents, one) == nx.descendants(known, one) | {one}
    assert graph.ancestors(parents, one, other) == nx.descendants(known, one) | nx.descendants(known, other) | {one, other}


@given(pairs())
def test_is_ancestor_is_reachability(drawn: tuple[Parents, VersionId, VersionId]) -> None:
    parents, one, other = drawn
    assert graph.is_ancestor(parents, one, other) == nx.has_path(oracle(parents), other, one)


@given(pairs())
def test_merge_bases_are_all_lowest_common_ancestors(drawn: tuple[Parents, VersionId, VersionId]) -> None:
    parents, ours, theirs = drawn
    known = oracle(parents)
    common = (nx.descendants(known, ours) | {ours}) & (nx.descendants(known, theirs) | {theirs})
    best = {one for one in common if not any(one in nx.descendants(known, other) for other in common)}
    bases = graph.merge_bases(parents, ours, theirs)
    assert bases == sorted(best, reverse=True)
    assert graph.merge_bases(parents, theirs, ours) == bases


@given(histories())
def test_a_history_is_in_topological_order(parents: Parents) -> None:
    order = graph.topological(parents, list(parents))
    assert sorted(order) == sorted(parents)
    place = {version: at for at, version in enumerate(order)}
    assert all(place[version] < place[parent] for version, chosen in parents.items() for parent in chosen)


@given(pairs())
def test_the_history_of_some_versions_is_their_ancestors(drawn: tuple[Parents, VersionId, VersionId]) -> None:
    parents, one, other = drawn
    assert set(graph.topological(parents, [one, other])) == graph.ancestors(parents, one, other)
    assert graph.topological(parents, [one])[0] == one


@given(pairs())
def test_the_first_parents_are_one_line_to_a_root(drawn: tuple[Parents, VersionId, VersionId]) -> None:
    parents, head, _ = drawn
    line = list(graph.first_parents(parents, head))
    assert line[0] == head
    assert [parents[version][:1] for version in line] == [*((version,) for version in line[1:]), ()]


@given(histories(), st.data())
def test_lines_lead_from_versions_to_their_parents_and_never_share_a_place(parents: Parents, data: st.DataObject) -> None:
    order = graph.topological(parents, list(parents))
    shown = order[: data.draw(st.integers(1, len(order)))]
    rows = graph.layout(parents, shown)
    numbers = [(*parents[one], None, None)[:2] for one in shown]
    picture = graph.picture(rows, [version(one, first, second) for one, (first, second) in zip(shown, numbers, strict=True)], set())
    row = {one: at for at, one in enumerate(shown)}
    assert [node.version.number for node in picture.nodes] == shown
    assert {(edge.child, edge.parent, edge.merge) for edge in picture.edges} == {
        (one, parent, at == 1) for one in shown for at, parent in enumerate(parents[one])
    }
    places: dict[tuple[int, int], int] = {}  # (row, lane) to the parent whom the line there leads to
    for edge in picture.edges:
        (top, lane), *_, (bottom, end) = edge.path
        assert (top, lane) == (row[VersionId(edge.child)], rows[top].lane)
        if VersionId(edge.parent) in row:
            assert (bottom, end) == (row[VersionId(edge.parent)], rows[bottom].lane)
        else:
            assert bottom == len(rows)
        for (above, one), (below, other) in pairwise(edge.path):
            assert below == above + 1 if one != other else below > above
            for at in range(above, below):
                if at > top:
                    assert places.setdefault((at, one), edge.parent) == edge.parent
    for at, shown_row in enumerate(rows):
        assert set(shown_row.passing) == {lane for height, lane in places if height == at}
        assert shown_row.lane not in shown_row.passing
    used = {node.lane for node in picture.nodes} | {lane for edge in picture.edges for _, lane in edge.path}
    assert picture.lanes == 1 + max(used)


def drawn(parents: Mapping[int, Sequence[int]], limit: int | None = None) -> str:
    real = {VersionId(version): [VersionId(parent) for parent in chosen] for version, chosen in parents.items()}
    rows = graph.layout(real, graph.topological(real, list(real))[:limit])
    lines = []
    for row in rows:
        first, *others = graph.text(row)
        lines += [f"{first} {row.version_id}", *others]
    return "\n" + "\n".join(lines) + "\n"


def test_a_line_is_drawn_as_a_line() -> None:
    assert drawn({1: [], 2: [1], 3: [2]}) == "\n* 3\n* 2\n* 1\n"


def test_a_branch_that_was_merged_parts_and_meets() -> None:
    picture = r"""
* 5
* 4
|\
* | 3
| * 2
|/
* 1
"""
    assert drawn({1: [], 2: [1], 3: [1], 4: [3, 2], 5: [4]}) == picture


def test_branches_that_were_not_merged_stand_side_by_side() -> None:
    picture = r"""
* 4
| * 3
|/
| * 2
|/
* 1
"""
    assert drawn({1: [], 2: [1], 3: [1], 4: [1]}) == picture


def test_a_criss_cross_is_drawn() -> None:
    picture = r"""
* 5
|\
| | * 4
| |/|
| |/
|/|
| * 2
* | 3
|/
* 1
"""
    assert drawn({1: [], 2: [1], 3: [1], 4: [2, 3], 5: [3, 2]}) == picture


def test_a_line_that_is_awaited_further_right_comes_over() -> None:
    picture = r"""
* 5
|\
* | 3
|\|
| |\
| * | 4
| |/
| * 2
|/
* 1
"""
    assert drawn({1: [], 2: [1], 3: [1, 2], 4: [2], 5: [3, 4]}) == picture


def test_an_end_before_the_roots_leaves_lines_open() -> None:
    assert drawn({1: [], 2: [1], 3: [1], 4: [3, 2]}, limit=1) == "\n* 4\n|\\\n"


@pytest.mark.parametrize("step", [1, 2, 3])
def test_ten_thousand_versions_in_a_row_are_no_recursion(step: int) -> None:
    parents = {VersionId(at): (VersionId(at - 1), *([VersionId(at - step)] if step > 1 and at > step else [])) for at in range(2, 10_001)}
    parents[VersionId(1)] = ()
    assert len(graph.topological(parents, [VersionId(10_000)])) == 10_000
    assert graph.merge_bases(parents, VersionId(10_000), VersionId(1)) == [1]
    assert graph.is_ancestor(parents, VersionId(1), VersionId(10_000))


def test_a_picture_names_versions_by_number_and_tells_tags_from_branches() -> None:
    parents = {VersionId(10): (), VersionId(20): (VersionId(10),), VersionId(30): (VersionId(10), VersionId(20))}
    rows = graph.layout(parents, graph.topological(parents, [VersionId(30)]))
    versions = [version(3, 1, 2, "main", "v1"), version(2, 1, None), version(1, None, None, "v0")]
    picture = graph.picture(rows, versions, {"v0", "v1"})
    assert [(node.version.number, node.lane, node.branches, node.tags) for node in picture.nodes] == [
        (3, 0, ("main",), ("v1",)),
        (2, 1, (), ()),
        (1, 0, (), ("v0",)),
    ]
    assert [(edge.child, edge.parent, edge.merge, edge.path) for edge in picture.edges] == [
        (3, 1, False, ((0, 0), (1, 0), (2, 0))),
        (3, 2, True, ((0, 0), (1, 1))),
        (2, 1, False, ((1, 1), (2, 0))),
    ]
    assert picture.lanes == 2
    assert [node.drawing for node in picture.nodes] == [("*", "|\\"), ("| *", "|/"), ("*",)]
