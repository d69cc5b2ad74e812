"""Rules of what may go: which versions a retention rule lets go, and what a deletion takes."""

from collections.abc import Sequence
from dataclasses import dataclass

from dsplatform.core.domain import ValueObject
from dsplatform.core.errors import Invalid
from dsplatform.core.types import VersionId


@dataclass(frozen=True)
class Rule(ValueObject):
    """What a dataset keeps. A version goes when neither part keeps it and no branch or tag names it."""

    keep_last: int | None
    """So many of the newest versions stay; None: being new alone keeps none."""
    keep_days: int | None
    """Versions younger than so many days stay; None: being young alone keeps none."""

    def __post_init__(self) -> None:
        if self.keep_last is None and self.keep_days is None:
            raise Invalid("a retention rule says how many versions to keep, for how many days, or both")
        if self.keep_last is not None and not 1 <= self.keep_last <= 1_000_000:
            raise Invalid(f"a retention rule cannot keep the last {self.keep_last} versions: 1 to 1,000,000")
        if self.keep_days is not None and not 0 <= self.keep_days <= 36_500:
            raise Invalid(f"a retention rule cannot keep versions for {self.keep_days} days: 0 to 36,500")

    def __str__(self) -> str:
        parts = []
        if self.keep_last is not None:
            parts.append(f"the last {self.keep_last}")
        if self.keep_days is not None:
            parts.append(f"those of the last {self.keep_days} days")
        return " and ".join(["what branches and tags name", *parts])


@dataclass(frozen=True)
class Candidate(ValueObject):
    """A version that has its files, as the rule sees it."""

    id: VersionId
    number: int
    age_days: float
    """By the database's clock."""
    named: bool
    """Whether a branch or tag points here."""


def let_go(rule: Rule, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that the rule does not keep, oldest first. The named ones count among the last and the young."""
    in_order = sorted(candidates, key=lambda candidate: candidate.number)
    newest = {candidate.id for candidate in in_order[-rule.keep_last :]} if rule.keep_last else set()
    return [
        candidate
        for candidate in in_order
        if not (candidate.named or candidate.id in newest or (rule.keep_days is not None and candidate.age_days < rule.keep_days))
    ]


@dataclass(frozen=True)
class Freed(ValueObject):
    """Contents that nothing names any more after a deletion. The collector takes them after its grace period."""

    files: int
    bytes: int


@dataclass(frozen=True)
class Removal(ValueObject):
    """What a deletion takes from one dataset, or has taken."""

    dataset: str
    """Its slug."""
    versions: tuple[int, ...]
    """Numbers of the versions that go."""
    components: int
    """How many components they have in all."""
    freed: Freed


@dataclass(frozen=True)
class RetentionPlan(ValueObject):
    """A dataset's rule, and what it lets go now. Without a rule everything stays."""

    dataset: str
    rule: Rule | None
    removal: Removal


@dataclass(frozen=True)
class RetentionReport(ValueObject):
    """What all rules let go."""

    removals: tuple[Removal, ...]
    """Of the datasets that lose a version."""
    freed: Freed
    """By all of them together: more than the sum where two datasets lose the same content."""
