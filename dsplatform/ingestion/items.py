"""Files on their way into versions: what becomes of each, and which of them make one version."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dsplatform.core.errors import Invalid
from dsplatform.core.types import FilePath, PointerName
from dsplatform.core.values import Committed, Content, Source
from dsplatform.ingestion.model import InboxState, IngestReport, Outcome, Place

TOLD = 10
"""Sentences of a quarantined version's report that stand with each of its files."""


@dataclass(frozen=True)
class Item:
    """One file on its way into a version."""

    path: str
    source: Source
    place: Place
    inbox_id: int | None = None

    def outcome(self, state: InboxState, reason: str) -> Outcome:
        """Without a version, for that reason."""
        place = self.place
        return Outcome(self.path, state, place.dataset, place.branch, place.component, reason=reason, inbox_id=self.inbox_id)

    def decided(self, content: Content, committed: Committed) -> Outcome:
        """With the version that holds it."""
        return Outcome(
            self.path,
            InboxState.ACCEPTED if committed.created else InboxState.DUPLICATE,
            committed.dataset.slug,
            committed.branch,
            self.place.component,
            content.file_size,
            content.content_hash,
            stored=content.is_new,
            version_id=committed.version_id,
            version_number=committed.version_number,
            inbox_id=self.inbox_id,
            note=_quarantined(committed),
        )


def _quarantined(committed: Committed) -> str | None:
    """What a person has to know of a version that a contract kept from its branch."""
    if committed.quarantined_from is None:
        return None
    return (
        f"kept from {committed.quarantined_from} by its contract, and stored on {committed.branch}: {'; '.join(committed.breaches[:TOLD])}"
        f"{f'; and {len(committed.breaches) - TOLD} more' if len(committed.breaches) > TOLD else ''}"
    )


def no_twins(items: Sequence[Item]) -> None:
    """Raises `Invalid` when two files would be the same component of one version."""
    seen: dict[FilePath, Item] = {}
    for item in items:
        twin = seen.setdefault(item.place.component, item)
        if twin is not item:
            raise Invalid(f"{twin.path} and {item.path} would both be component {item.place.component!r}: ingest them one after the other")


def groups_of(taken: Iterable[tuple[Item, Content]], report: IngestReport) -> Iterator[list[tuple[Item, Content]]]:
    """One group per dataset and branch. Two files that mean the same component make two groups, the later after the earlier."""
    open_groups: dict[tuple[str, PointerName], dict[FilePath, tuple[Item, Content]]] = {}
    full: list[list[tuple[Item, Content]]] = []
    for item, content in taken:
        place = item.place
        group = open_groups.setdefault((place.dataset, place.branch), {})
        twin = group.get(place.component)
        if twin is not None and os.path.basename(twin[0].path) != os.path.basename(item.path):
            reason = f"its name equals that of {twin[0].path!r} in Unicode's normal form NFC: rename one of them"
            report.outcomes.append(item.outcome(InboxState.REJECTED, reason))
            continue
        if twin is not None:
            full.append(list(group.values()))
            group = open_groups[place.dataset, place.branch] = {}
        group[place.component] = (item, content)
    yield from full
    yield from (list(group.values()) for group in open_groups.values())
