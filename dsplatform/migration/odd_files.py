"""What the table of files says about itself: which rows nothing names, where their bytes are said to lie, which hashes are there."""

from collections.abc import Sequence
from pathlib import Path

from dsplatform.migration.oddities import Question, Severity
from dsplatform.migration.source import Snapshot

VERSIONS_FILES = (
    ("dataset_versions", "file_id"),
    ("dataset_versions", "materialized_file_id"),
    ("dataset_version_files", "file_id"),
)
"""Where versions name their files."""
OVERLAYS = ("dataset_versions", "overlay_file_id")
RESULTS = (
    ("sampling_outputs", "file_id"),
    ("exploration_outputs", "file_id"),
    ("analysis_runs", "output_file_id"),
    ("sheet_metadata", "profiling_report_file_id"),
)
"""Where files are named that do not come along."""


def of_versions(source: Snapshot) -> str:
    """A query for the ids of all files that versions name, each once."""
    return " UNION ".join(f"SELECT {column} AS id FROM {table}" for table, column in VERSIONS_FILES if source.has(table, column))  # noqa: S608


def overlays(source: Snapshot) -> str:
    """A query for the ids of all overlays, each once. A version's own file is none."""
    table, column = OVERLAYS
    named = f"SELECT {column} AS id FROM {table}" if source.has(table, column) else "SELECT NULL::int AS id"  # noqa: S608
    return f"({named} EXCEPT ({of_versions(source)}))"


def about_files(source: Snapshot, mounts: Sequence[tuple[str, Path]]) -> list[Question]:
    """The questions; which there are depends on the tables and on the mounts that are set."""
    inline = "f.file_data IS NOT NULL" if source.has("files", "file_data") else "false"
    results = " UNION ALL ".join(f"SELECT {column} AS id FROM {table}" for table, column in RESULTS if source.has(table, column))  # noqa: S608
    own = f"NOT EXISTS (SELECT FROM {overlays(source)} o WHERE o.id = f.id)"
    unused = f"SELECT f.id FROM files f WHERE NOT EXISTS (SELECT FROM ({of_versions(source)}) u WHERE u.id = f.id) AND {own}"  # noqa: S608
    by_results = f"EXISTS (SELECT FROM ({results or 'SELECT NULL::int AS id'}) r WHERE r.id = f.id)"
    orphans = f"{unused} AND NOT {by_results}"
    left = "nothing refers to them: they are left behind as `orphan_file`, and their bytes stay where they are"
    located = f"SELECT f.id FROM files f WHERE {own} AND NOT ({inline}) AND "  # noqa: S608 - names of ours, here as elsewhere
    # A portable way of "begins with": no character of the old folder is a pattern.
    mounted = " OR ".join(["left(f.file_path, length(%s)) = %s"] * len(mounts)) or "false"
    folders = tuple(f"{old.rstrip('/')}/" for old, _ in mounts for _ in range(2))
    temporary = "coalesce(position('/temp/' IN f.file_path), 0) > 0"
    note = Severity.NOTE
    return [
        Question("D12.row", "files that nothing refers to", note, "files", f"{orphans} AND NOT {temporary}", left),
        Question("D12.temp", "files in a temporary folder that nothing refers to", note, "files", f"{orphans} AND {temporary}", left),
        Question(
            "results",
            "files that only samplings, explorations and analyses refer to",
            note,
            "files",
            f"{unused} AND {by_results}",
            "these have no place here: they are left behind as `orphan_file`, and their bytes stay where they are",
        ),
        Question(
            "D13.uri",
            "paths that are URIs",
            note,
            "files",
            located + "f.file_path ~* '^[a-z][a-z0-9+.-]*://'",
            "of a file:// URI the path counts, decoded once",
        ),
        Question(
            "D13.relative",
            "paths that are relative",
            note,
            "files",
            located + "f.file_path !~ '^/' AND f.file_path !~* '^[a-z][a-z0-9+.-]*://'",
            "they begin at DSPLATFORM_LEGACY_BASE",
        ),
        Question(
            "D13.old_mount",
            "paths in folders that lie elsewhere today",
            note,
            "files",
            located + f"({mounted})",
            "they are looked for where DSPLATFORM_LEGACY_MOUNTS says",
            params=folders,
        ),
        Question(
            "D14.neither",
            "files with neither bytes nor a path",
            Severity.DECIDE,
            "files",
            located + "f.file_path IS NULL",
            "their versions come along without them, as `missing_bytes`",
        ),
        Question(
            "D14.inline",
            "files whose bytes are in the table",
            note,
            "files",
            f"SELECT f.id FROM files f WHERE {inline} AND f.file_path IS NULL",  # noqa: S608
            "the bytes come along from there",
        ),
        Question(
            "D14.both",
            "files with bytes in the table and a path",
            note,
            "files",
            f"SELECT f.id FROM files f WHERE {inline} AND f.file_path IS NOT NULL",  # noqa: S608
            "the bytes in the table count",
        ),
        Question(
            "D15.null",
            "files without a hash",
            note,
            "files",
            "SELECT id FROM files WHERE content_hash IS NULL",
            "every file gets the SHA-256 of its bytes",
            needs=("files.content_hash",),
        ),
        Question(
            "D15.count",
            "files whose count of references is 0",
            note,
            "files",
            "SELECT id FROM files WHERE reference_count = 0",
            "references are counted anew",
            needs=("files.reference_count",),
        ),
    ]
