"""Merging on component names: what two versions made of what they have in common. Pure.

A component is taken as a whole. What only one side changed, added or removed since the base is taken over; where both did and ended
with different contents, somebody has to choose. The base is the best common ancestor. After a criss-cross there are several: a
component on which they agree has that base, one on which they disagree has none, and then every difference of the sides asks for a
choice, because either side may have decided against the other's content already.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dsplatform.core.domain import Actor, ValueObject
from dsplatform.core.errors import Conflict, Invalid
from dsplatform.core.types import FilePath, PointerName, VersionId
from dsplatform.core.values import Component, Content, DatasetRef, VersionChange
from dsplatform.versioning.model import Head, Pair

SHOWN = 20
"""Contested components that the sentence of an error names."""


class Choice(StrEnum):
    """Whose state of a contested component is taken, its absence as well."""

    OURS = "ours"
    THEIRS = "theirs"
    BASE = "base"


class MergeKind(StrEnum):
    """How a merge ended."""

    MERGED = "merged"
    """A new version with two parents."""
    FAST_FORWARDED = "fast-forwarded"
    """The branch was behind, and moved; no version was made."""
    ALREADY_MERGED = "already merged"
    """The branch had it already; nothing was done."""


@dataclass(frozen=True)
class Merged(ValueObject):
    """The outcome of a merge: where the branch is now."""

    kind: MergeKind
    branch: str
    version_id: VersionId
    version_number: int
    added: int = 0
    updated: int = 0
    removed: int = 0


@dataclass(frozen=True)
class Contested(ValueObject):
    """A component that both sides changed, each in its own way; None where a side does not have it."""

    name: FilePath
    base: Component | None
    base_known: bool
    """False where the common ancestors disagree, or are deleted."""
    ours: Component | None
    theirs: Component | None

    def __str__(self) -> str:
        base = _short(self.base) if self.base_known else "unclear"
        return f"{self.name!r} (base {base}, ours {_short(self.ours)}, theirs {_short(self.theirs)})"


class MergeConflict(Conflict):
    """Both sides changed the same components. `components` holds all of them."""

    code = "merge_conflict"

    def __init__(self, components: Sequence[Contested]) -> None:
        self.components = tuple(components)
        named = ", ".join(map(str, self.components[:SHOWN]))
        more = f" and {len(self.components) - SHOWN} more" if len(self.components) > SHOWN else ""
        super().__init__(
            f"both sides changed {len(self.components)} component(s): {named}{more}; "
            "take one side with --strategy ours|theirs, or choose for each with --choose NAME=ours|theirs|base"
        )


def merge(
    differing: Sequence[Pair],
    bases: Sequence[Mapping[FilePath, Component]],
    strategy: Choice | None = None,
    choices: Mapping[FilePath, Choice] | None = None,
) -> Mapping[FilePath, Component | None]:
    """What has to change in ours, by name; None: it goes.

    `differing` holds the names under which ours (`before`) and theirs (`after`) differ; `bases` what the best common ancestors have
    under those names. `choices` decides about contested components, `strategy` about those that it does not name. Raises
    `MergeConflict` for the others, and `Invalid` for a choice about what is not contested.
    """
    choices = choices or {}
    result: dict[FilePath, Component | None] = {}
    undecided = []
    unused = set(choices)
    for pair in differing:
        contested = _contested(pair, bases)
        if contested is None:
            if not _is(pair.before, bases[0].get(pair.name)):
                continue  # only we changed it
            result[pair.name] = pair.after
            continue
        unused.discard(pair.name)
        choice = choices.get(pair.name, strategy)
        if choice is None:
            undecided.append(contested)
        elif choice is not Choice.OURS:
            result[pair.name] = _chosen(contested, choice)
    if unused:
        raise Invalid(f"there is nothing to choose for {', '.join(map(repr, sorted(unused)))}: only one side changed it, or none")
    if undecided:
        raise MergeConflict(undecided)
    return result


def _contested(pair: Pair, bases: Sequence[Mapping[FilePath, Component]]) -> Contested | None:
    """None where one of the sides still has what all bases have."""
    states = [base.get(pair.name) for base in bases]
    known = bool(states) and all(_is(state, states[0]) for state in states)
    base = states[0] if known else None
    if known and (_is(pair.before, base) or _is(pair.after, base)):
        return None
    return Contested(pair.name, base, known, pair.before, pair.after)


def _chosen(contested: Contested, choice: Choice) -> Component | None:
    if choice is Choice.THEIRS:
        return contested.theirs
    if not contested.base_known:
        raise Invalid(f"component {contested.name!r} has no clear base to go back to: choose ours or theirs")
    return contested.base


def _is(one: Component | None, other: Component | None) -> bool:
    """Whether both are the same content, or both nothing."""
    return (one.file_id if one else None) == (other.file_id if other else None)


def _short(component: Component | None) -> str:
    return "nothing" if component is None else component.content_hash[:12]


def change(
    actor: Actor,
    dataset: DatasetRef,
    branch: PointerName,
    ours: Head,
    theirs: VersionId,
    changed: Mapping[FilePath, Component | None],
    message: str,
) -> VersionChange:
    """What the branch has to be told, that a merge comes from there."""
    put = {name: content(component) for name, component in changed.items() if component is not None}
    remove = tuple(name for name, component in changed.items() if component is None)
    return VersionChange(actor, dataset, put, remove, branch, message, expected_head=ours.version_id, merge_parent=theirs)


def content(component: Component) -> Content:
    """The bytes of a component, which are stored already."""
    return Content(component.content_hash, component.file_size, component.file_type, is_new=False)
