"""What the footers of Parquet files say: how many rows there are, and traces of what the old conversion did to a CSV file (D20).

The rows that it dropped are in no file. But where the legacy system wrote down how many there were, the file can be held against it. A
footer is read and nothing else; it is hostile input, so that long ones are passed over.
"""

import os
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from dsplatform.core.errors import Unavailable
from dsplatform.migration.locating import Locator, NotLocated
from dsplatform.migration.odd_files import of_versions
from dsplatform.migration.oddities import EXAMPLES, Oddity, Severity
from dsplatform.migration.source import Snapshot

MOST = 20_000
"""Files whose footers are read unless all are to be."""
FOOTER_BYTES = 16 * 1024**2
MAGIC = b"PAR1"
_STRINGS, _PARTS, _DEPTH = 1_000_000, 1_000_000, 100
"""What may be in a footer."""
_KINDS = {
    "D20.rows": (
        "files with another number of rows than was written down of them",
        "the bytes come along as they are: compare them with their source, of which the conversion may have dropped rows",
    ),
    "D20.empty": ("files with one column `column0` and no row, as the conversion makes of an empty file", "they come along as they are"),
    "D20.doubled": (
        "files with columns as `name` and `name_1`, as the conversion makes of a header that names a column twice",
        "they come along as they are",
    ),
}
_RECORDED = (
    # What was written down of the file that a version's rows are read from.
    (
        ("sheets", "sheet_metadata", "dataset_versions.file_id"),
        """
        SELECT v.file_id, m.metadata->>'rows' FROM sheets s JOIN sheet_metadata m ON m.sheet_id = s.id
        JOIN dataset_versions v ON v.id = s.dataset_version_id WHERE jsonb_typeof(m.metadata->'rows') = 'number'
        """,
    ),
    (
        ("dataset_schema_versions", "dataset_versions.file_id"),
        """
        SELECT v.file_id, c.schema_json->>'row_count' FROM dataset_schema_versions c JOIN dataset_versions v
        ON v.id = c.dataset_version_id WHERE jsonb_typeof(c.schema_json->'row_count') = 'number'
        """,
    ),
    (
        ("dataset_statistics", "dataset_version_files"),
        """
        SELECT p.file_id, t.row_count::text FROM dataset_statistics t JOIN dataset_version_files p ON p.version_id = t.version_id
        AND p.component_type = 'primary' WHERE t.row_count IS NOT NULL
        """,
    ),
)


class Footers:
    """One look at the footers of the files that versions name."""

    def __init__(self, source: Snapshot, locator: Locator) -> None:
        self._source = source
        self._locator = locator
        self._found: dict[str, list[int]] = {code: [] for code in _KINDS}

    def look(self, *, read_all: bool, hear: Callable[[str, int, int], None]) -> Iterator[Oddity]:
        """What is odd about them. At most `MOST` are read, in no order, or all."""
        done = 0
        for portion in self._source.stream(self._question(None if read_all else MOST)):
            for id_, path, recorded in portion:
                self._look_at(id_, os.fsdecode(path) if isinstance(path, bytes) else path, set(recorded or ()))
            done += len(portion)
            hear("footers", done, done)
        for code, (title, becomes) in _KINDS.items():
            if found := sorted(self._found[code]):
                yield Oddity(code, title, Severity.NOTE, "files", len(found), tuple(map(str, found[:EXAMPLES])), becomes)

    def _question(self, most: int | None) -> str:
        known = [query for needs, query in _RECORDED if all(self._source.has(*need.split(".")) for need in needs)]
        recorded = " UNION ALL ".join(known) or "SELECT NULL::int AS id, NULL::text AS rows"
        inline = "f.file_data IS NULL" if self._source.has("files", "file_data") else "true"
        return (
            f"SELECT f.id, f.file_path, r.rows FROM files f JOIN ({of_versions(self._source)}) u ON u.id = f.id "  # noqa: S608 - of ours
            f"LEFT JOIN (SELECT w.id, array_agg(DISTINCT w.rows) AS rows FROM ({recorded}) w(id, rows) GROUP BY w.id) r ON r.id = f.id "
            f"WHERE f.file_path IS NOT NULL AND {inline}" + ("" if most is None else f" ORDER BY md5(f.id::text) LIMIT {most}")
        )

    def _look_at(self, id_: int, path: str, recorded: set[str]) -> None:
        try:
            with self._locator.open(path) as file:
                read = footer(file)
        except (NotLocated, Unavailable, OSError):
            return  # it was told of the file by itself
        if read is None:
            return
        rows, names = read
        if recorded and str(rows) not in recorded:
            self._found["D20.rows"].append(id_)
        if names == ["column0"] and rows == 0:
            self._found["D20.empty"].append(id_)
        elif any((match := re.fullmatch(r"(.+)_[0-9]+", name)) and match[1] in names for name in names):
            self._found["D20.doubled"].append(id_)


def footer(file: BinaryIO) -> tuple[int, list[str]] | None:
    """The number of rows, and the names of the columns; None: it is no Parquet, or one whose footer says too much."""
    size = file.seek(0, os.SEEK_END)
    if size < 12:
        return None
    file.seek(size - 8)
    tail = file.read(8)
    if tail[4:] != MAGIC or int.from_bytes(tail[:4], "little") > min(FOOTER_BYTES, size - 8):
        return None
    import pyarrow as pa  # it takes longer than most commands
    import pyarrow.parquet as pq

    try:
        read = pq.ParquetFile(
            file, thrift_string_size_limit=_STRINGS, thrift_container_size_limit=_PARTS, schema_depth_limit=_DEPTH, pre_buffer=False
        ).metadata
        return int(read.num_rows), [read.schema.column(at).path for at in range(read.num_columns)]
    except (pa.ArrowException, OSError, ValueError, TypeError, IndexError, UnicodeDecodeError):
        return None
