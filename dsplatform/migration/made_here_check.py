"""What the way back wrote is no copy of a legacy row, but a legacy row of what was made here: it is held against that, and nothing more.

Such a row is exempt from the comparison as far as its form differs, and only while it is what the way back wrote, of something that was
made here and is as it was.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from dsplatform.migration.checks import Both
from dsplatform.migration.judging import Difference
from dsplatform.migration.projection import SETTLED

PORTION = 1_000
_FOUND = (
    "FROM legacy_id_map m JOIN legacy_quarantine q ON q.entity = m.entity AND q.legacy_id = m.legacy_id AND q.reason = 'made_here' "
    f"AND q.resolution IS DISTINCT FROM '{SETTLED}' "
)
_FOUND_OR_UNSUPPORTED = _FOUND.replace("= 'made_here'", "IN ('made_here', 'unsupported')")
_WRITTEN = (
    f"SELECT m.legacy_id, encode(m.source_hash, 'hex') {_FOUND} LEFT JOIN dataset_versions v "
    "ON m.entity = 'dataset_versions' AND v.id = m.new_id WHERE m.entity = :entity AND m.deleted_at IS NULL AND v.imported IS NOT TRUE"
)
_CONTENT = (
    f"(f.new_id = c.file_id OR EXISTS (SELECT FROM legacy_quarantine z WHERE z.entity = 'files' AND z.legacy_id = f.legacy_id "
    f"AND z.reason = 'made_here' AND z.resolution = '{SETTLED}'))"
)
"""The component `c` has the content of the file's row `f`; or that row was made here, changed there later, and came along as it is now."""
_MADE = (
    # A component's row names a content that the version holds, and the version was made here.
    f"""
    SELECT m.entity, m.legacy_id, 'is said to be made here, and no version that was holds its content' {_FOUND}
    LEFT JOIN legacy_id_map f ON f.entity = 'files' AND f.legacy_id = split_part(m.legacy_id, ':', 2)
    WHERE m.entity = 'dataset_version_files' AND m.deleted_at IS NULL AND NOT EXISTS (
        SELECT FROM dataset_version_files c JOIN dataset_versions v ON v.id = c.version_id
        WHERE v.id = m.new_id AND NOT v.imported AND {_CONTENT})
    """,
    f"""
    SELECT m.entity, m.legacy_id, 'is said to be made here, and no version that was holds it' {_FOUND}
    WHERE m.entity = 'files' AND m.deleted_at IS NULL AND m.outcome = 'migrated' AND m.new_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM dataset_version_files c JOIN dataset_versions v ON v.id = c.version_id WHERE c.file_id = m.new_id AND NOT v.imported)
    """,
)
_HELD = f"""
    SELECT 'dataset_version_files', 'here ' || c.version_id || ' ' || c.component_name, 'no legacy row is this component'
    FROM legacy_id_map w JOIN dataset_versions v ON v.id = w.new_id AND NOT v.imported AND v.purged_at IS NULL
    JOIN dataset_version_files c ON c.version_id = v.id
    WHERE w.entity = 'dataset_versions' AND w.deleted_at IS NULL AND NOT EXISTS (
        SELECT FROM legacy_quarantine u WHERE u.entity = w.entity AND u.legacy_id = w.legacy_id AND u.reason = 'unsupported'
        AND u.resolution IS DISTINCT FROM 'no longer so') AND NOT EXISTS (
        SELECT 1 {_FOUND_OR_UNSUPPORTED}
        JOIN legacy_id_map f ON f.entity = 'files' AND f.legacy_id = split_part(m.legacy_id, ':', 2)
        WHERE m.entity = 'dataset_version_files' AND m.new_id = v.id AND {_CONTENT} AND m.deleted_at IS NULL)
"""
"""Where the legacy system has a row for each component."""


def made_here(both: Both) -> Iterator[Difference]:
    """Of V2: whether such rows are as they were written, and what they stand for was made here."""
    if not both.tx.scalar("SELECT EXISTS (SELECT FROM legacy_quarantine WHERE reason = 'made_here')"):
        return  # before the first way back, while writers wait
    for entity in ("files", "dataset_versions", "dataset_version_files"):
        if both.source.has(entity):
            yield from _changed(both, entity)
    for question in [*_MADE, *([_HELD] if both.source.has("dataset_version_files") else [])]:
        for table, key, sentence in both.tx.tuples(question):
            yield Difference(table, key, "", sentence)


def _changed(both: Both, entity: str) -> Iterator[Difference]:
    written = [(tuple(map(int, key.split(":"))), key, hashed) for key, hashed in both.tx.tuples(_WRITTEN, entity=entity)]
    for start in range(0, len(written), PORTION):
        part = written[start : start + PORTION]
        keys = [key for key, _, _ in part]
        digests = {row.key: row.digest for row in both.source.rows(entity, keys)}
        if entity == "dataset_versions":
            digests = _whole(both, digests)
        for key, shown, hashed in part:
            if key in digests and digests[key] != hashed:
                yield Difference(entity, shown, "", "was made here, and is not as it was written there, which nothing records")


def _whole(both: Both, digests: Mapping[tuple[int, ...], str]) -> dict[tuple[int, ...], str]:
    """Of versions with the rows that say what they hold."""
    parts: dict[tuple[int, ...], list[str]] = {key: [] for key in digests}
    ids: Sequence[int] = [key[0] for key in digests]
    if both.source.has("dataset_version_files"):
        for row in both.source.where("dataset_version_files", "version_id", ids):
            parts[row.key[:1]].append(f"{row.entity} {row.key} {row.digest}")
    if both.source.has("sheets"):
        owner: dict[int, tuple[int, ...]] = {}
        for row in both.source.where("sheets", "dataset_version_id", ids):
            owner[row.key[0]] = (row.values["dataset_version_id"],)
            parts[owner[row.key[0]]].append(f"{row.entity} {row.key} {row.digest}")
        if both.source.has("sheet_metadata"):
            for row in both.source.where("sheet_metadata", "sheet_id", list(owner)):
                parts[owner[row.values["sheet_id"]]].append(f"{row.entity} {row.key} {row.digest}")
    return {
        key: hashlib.sha256("\n".join([digest, *sorted(parts[key])]).encode()).hexdigest() if parts[key] else digest
        for key, digest in digests.items()
    }
