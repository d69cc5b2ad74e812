"""Of what a legacy version consists: its rows of `dataset_version_files`, made into components with a name each."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dsplatform.core.types import MAIN
from dsplatform.migration.model import Finding, Key, Reason, SourceRow
from dsplatform.migration.naming import free_component_name, safe_component_name
from dsplatform.migration.overlays import Stored

PRIMARY = "primary"
"""The type of the row that the old system reads data from."""


class Part(NamedTuple):
    """One component of a version."""

    name: str
    component_type: str
    stored: Stored
    legacy: dict[str, Any]
    """What the legacy row says, for the component's metadata."""


class Composition(NamedTuple):
    """The components of a version in their order, and what became of each row."""

    parts: tuple[Part, ...]
    rows: Mapping[Key, tuple[Finding, ...]]
    """By key: why a row did not become a component, or what was changed about it; empty for one that simply did."""
    lost: frozenset[Key]
    """The rows that became no component."""
    lacks_main: bool
    """Whether no row, and no file of the version itself, gave the data that the old system would have answered with."""


def compose(version: SourceRow, rows: Sequence[SourceRow], stored: Mapping[int, Stored | None]) -> Composition:
    """The components: the primary one first, then by index and file. Every one whose bytes are there becomes one.

    `stored` has the files that the rows name, None for one without bytes; one that is not in it does not exist. A version without a
    primary row has the file of its own row as `main`.
    """
    taken: set[str] = set()
    parts: list[Part] = []
    findings: dict[Key, tuple[Finding, ...]] = {}
    lost: set[Key] = set()
    ordered = sorted(rows, key=_place)
    own = version.values.get("file_id")
    if not any(_is_primary(row) or row.values.get("component_name") == MAIN for row in rows) and (file := stored.get(own or 0)):
        taken.add(MAIN)
        parts.append(Part(MAIN, PRIMARY, file, {"file_id": own, "type": PRIMARY}))
    for row in ordered:
        key, file_id = row.key, row.key[1]
        file = stored.get(file_id)
        if file is None:
            lost.add(key)
            reason = Reason.MISSING_BYTES if file_id in stored else Reason.ORPHAN_PARENT
            findings[key] = (Finding(reason, {"file_id": file_id}),)
            continue
        part, odd = _part(row, file, taken)
        taken.add(part.name)
        parts.append(part)
        findings[key] = odd
    return Composition(
        tuple(parts), findings, frozenset(lost), not any(part.component_type == PRIMARY or part.name == MAIN for part in parts)
    )


def _is_primary(row: SourceRow) -> bool:
    return row.values.get("component_type") == PRIMARY


def _place(row: SourceRow) -> tuple[bool, bool, int, int]:
    index = row.values.get("component_index")
    return not _is_primary(row), index is None, index or 0, row.key[1]


def _part(row: SourceRow, file: Stored, taken: set[str]) -> tuple[Part, tuple[Finding, ...]]:
    values, file_id = row.values, row.key[1]
    findings = [Finding(Reason.BAD_ENCODING, {"column": column}) for column in sorted(row.broken)]
    raw, kind, index = values.get("component_name"), values.get("component_type") or "file", values.get("component_index")
    if raw is None and "component_name" in row.broken:
        raw = row.broken["component_name"].decode("cp1252", errors="replace")
    unnamed = MAIN if kind == PRIMARY else kind if index is None else f"{kind}-{index}"
    safe = safe_component_name(raw or unnamed)
    name = free_component_name(safe, file_id, taken)
    if raw and name != raw:
        findings.append(Finding(Reason.BAD_NAME if safe != raw else Reason.DUPLICATE_KEY, {"name": raw, "became": name}))
    facts = {"file_id": file_id, "type": values.get("component_type"), "index": index, "metadata": values.get("metadata")}
    if name != values.get("component_name"):
        facts["name"] = raw
    return Part(name, kind, file, {key: value for key, value in facts.items() if value is not None}), tuple(findings)
