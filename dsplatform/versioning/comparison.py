"""What differs between two versions. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from dsplatform.core.domain import ValueObject
from dsplatform.core.values import ColumnChange, Component
from dsplatform.versioning.model import Pair


class Kind(StrEnum):
    """What became of a component."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    RENAMED = "renamed"
    """The same bytes under another name, which was not there before."""


@dataclass(frozen=True)
class ComponentChange(ValueObject):
    """One difference, with what was there before and after. Their names are the same unless it was renamed."""

    kind: Kind
    before: Component | None
    after: Component | None

    @property
    def growth(self) -> int:
        """By how many bytes the version grew."""
        return (self.after.file_size if self.after else 0) - (self.before.file_size if self.before else 0)


@dataclass(frozen=True)
class Side(ValueObject):
    """One of the two versions."""

    dataset: str
    number: int
    components: int
    total_bytes: int


@dataclass(frozen=True)
class VersionDiff(ValueObject):
    """All differences from one version to another."""

    before: Side
    after: Side
    changes: tuple[ComponentChange, ...]
    """In the order of the names that they have afterwards."""
    columns: tuple[ColumnChange, ...]
    """Of changed components whose columns were captured in both versions."""


def changes(differing: Sequence[Pair]) -> tuple[ComponentChange, ...]:
    """Tells additions and removals from renamings: each removed name is paired with at most one added name of the same content, both
    taken in the order of names."""
    gone: dict[int, list[Component]] = {}
    for pair in sorted(differing, key=lambda pair: pair.name, reverse=True):
        if pair.before is not None and pair.after is None:
            gone.setdefault(pair.before.file_id, []).append(pair.before)
    found = []
    for pair in sorted(differing, key=lambda pair: pair.name):
        if pair.after is None:
            continue
        if pair.before is not None:
            found.append(ComponentChange(Kind.CHANGED, pair.before, pair.after))
        elif same := gone.get(pair.after.file_id):
            found.append(ComponentChange(Kind.RENAMED, same.pop(), pair.after))
        else:
            found.append(ComponentChange(Kind.ADDED, None, pair.after))
    found += [ComponentChange(Kind.REMOVED, component, None) for components in gone.values() for component in components]
    return tuple(sorted(found, key=_name))


def _name(change: ComponentChange) -> str:
    component = change.after or change.before
    return "" if component is None else component.name
