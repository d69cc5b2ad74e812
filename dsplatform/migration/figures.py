"""How much there is in a legacy database, how busy it is, and what stands in the way of bringing it along."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dsplatform.core.domain import ValueObject
from dsplatform.migration.disk import DiskFigures
from dsplatform.migration.oddities import EXAMPLES, Oddity, Severity, known, shown
from dsplatform.migration.source import Snapshot

HIGHEST_ID = 2**31 - 1
ROWS_A_SECOND = 15_000
BYTES_A_SECOND = 100 * 1000**2
"""How fast bytes are taken to come along where too few were read to tell."""
TELLING_BYTES = 64 * 1024**2
LARGEST = 12
"""Columns that are named with their largest value."""

_TEXTS = {"text", "character varying", "character"}
_DOCUMENTS = {"json", "jsonb"}


@dataclass(frozen=True)
class TableFigures(ValueObject):
    """One table."""

    name: str
    rows: int
    bytes: int
    """On the server's disk, with indexes."""
    lowest: int | None
    highest: int | None
    """Ids. None for a table without, or without rows."""
    missing_ids: int | None
    """Ids between these that no row has."""


@dataclass(frozen=True)
class Largest(ValueObject):
    """The largest value of a column."""

    table: str
    column: str
    bytes: int
    """Of text, its bytes; of JSON, as it is kept, which may be compressed."""


@dataclass(frozen=True)
class Activity(ValueObject):
    """How busy the server is with this database, as far as the login may see it."""

    rows_written_a_second: float | None
    """On average since the statistics begin. None: they do not say."""
    longest_transaction_seconds: float | None
    """Of the others that are open now. None: there is none, or the login may not see it."""


@dataclass(frozen=True)
class Need(ValueObject):
    """What migration takes."""

    bytes: int
    """In the store, at most: equal contents are kept once."""
    free: int | None
    """There now. None: the store is no folder."""
    seconds: float
    """Estimated, for all rows and bytes once."""


def figures_of(source: Snapshot) -> Iterator[TableFigures]:
    """Of each table of the legacy system."""
    for table in known(source):
        size = "pg_total_relation_size(to_regclass(quote_ident(%s)))"
        if source.key_of(table) == ("id",):
            (rows, bytes_, lowest, highest) = source.tuples(
                f"SELECT count(*), {size}, min(id), max(id) FROM {{table}}",  # noqa: S608 - a text of ours
                table,
                table=table,
            )[0]
            missing = highest - lowest + 1 - rows if rows and source.single(table) else None
            yield TableFigures(table, rows, bytes_, lowest, highest, missing)
        else:
            rows, bytes_ = source.tuples(f"SELECT count(*), {size} FROM {{table}}", table, table=table)[0]  # noqa: S608 - a text of ours
            yield TableFigures(table, rows, bytes_, None, None, None)


def largest_of(source: Snapshot) -> list[Largest]:
    """The columns with the largest values, the largest first."""
    found = []
    for table in known(source):
        marks: dict[str, tuple[str, str]] = {}
        for column, kind in source.columns(table).items():
            if kind in _TEXTS | _DOCUMENTS and column != "password_hash":
                marks[f"c{len(marks)}"] = column, "octet_length" if kind in _TEXTS else "pg_column_size"
        if marks:
            asked = ", ".join(f"max({function}({{{mark}}}))" for mark, (_, function) in marks.items())
            names = {mark: column for mark, (column, _) in marks.items()}
            (sizes,) = source.tuples(f"SELECT {asked} FROM {{table}}", table=table, **names)  # noqa: S608 - names go as identifiers
            found += [Largest(table, column, size) for (column, _), size in zip(marks.values(), sizes, strict=True) if size]
    return sorted(found, key=lambda one: (-one.bytes, one.table, one.column))[:LARGEST]


def activity_of(source: Snapshot) -> Activity:
    """As the server's statistics have it."""
    ((written, since),) = source.tuples(
        "SELECT (SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint FROM pg_stat_user_tables), "
        "extract(epoch FROM now() - stats_reset)::float FROM pg_stat_database WHERE datname = current_database()"
    )
    ((longest,),) = source.tuples(
        "SELECT extract(epoch FROM max(clock_timestamp() - xact_start))::float FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    rate = round(written / since, 3) if written is not None and since and since > 0 else None
    return Activity(rate, None if longest is None else round(max(0.0, longest), 1))


def need_of(tables: Sequence[TableFigures], files: DiskFigures, store: Path | None) -> Need:
    """What it takes, as far as it can be told beforehand."""
    needed = files.bytes if files.distinct_bytes is None else files.distinct_bytes
    rate = files.bytes_read / files.seconds_reading if files.bytes_read >= TELLING_BYTES and files.seconds_reading else BYTES_A_SECOND
    free = None
    if store is not None:
        free = shutil.disk_usage(next(place for place in (store, *store.parents) if place.exists())).free
    return Need(needed, free, round(sum(table.rows for table in tables) / ROWS_A_SECOND + files.bytes / rate, 1))


def obstacles(source: Snapshot, tables: Sequence[TableFigures], need: Need, roots: Sequence[Path], zone: ZoneInfo) -> Iterator[Oddity]:
    """What has to be seen to before anything is migrated, and what the settings may have wrong."""
    blocks = Severity.BLOCKS
    for figures in tables:
        if figures.highest is not None and figures.lowest is not None and (figures.highest > HIGHEST_ID or figures.lowest < 1):
            rows = source.tuples(
                "SELECT count(*) OVER (), id FROM {table} WHERE id NOT BETWEEN 1 AND %s ORDER BY id LIMIT %s",
                HIGHEST_ID,
                EXAMPLES,
                table=figures.name,
            )
            title = f"ids of {figures.name} that are not between 1 and {HIGHEST_ID}"
            yield Oddity("id_range", title, blocks, figures.name, rows[0][0], shown(row[1:] for row in rows), "give these rows other ids")
        if not source.single(figures.name):
            yield from _doubled(source, figures.name)
    paths = source.tuples("SELECT count(*) FROM files WHERE file_path IS NOT NULL")[0][0]
    if paths and not roots:
        yield Oddity(
            "no_roots",
            "no folder is named in which files may lie",
            blocks,
            "files",
            paths,
            (),
            "set DSPLATFORM_LEGACY_ROOTS to the old data folders",
        )
    missing = [root for root in roots if not os.path.isdir(root)]
    if missing:
        title = "folders of DSPLATFORM_LEGACY_ROOTS that are not there"
        yield Oddity("root_missing", title, blocks, "", len(missing), tuple(map(str, missing[:EXAMPLES])), "mount them, or name others")
    if need.free is not None and need.bytes > need.free:
        yield Oddity(
            "space", "bytes that the store has no room for", blocks, "", need.bytes - need.free, (), "make room, or choose another store"
        )
    theirs = source.tuples("SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'")[0][0]
    if _differ(theirs, zone):
        yield Oddity(
            "D26.zone",
            f"times have no zone; the server's is {theirs}, and DSPLATFORM_LEGACY_TIMEZONE says {zone.key}",
            Severity.DECIDE,
            "",
            1,
            (),
            f"all times are read as those of {zone.key}: set the other zone unless you know that this one is right",
        )


def _doubled(source: Snapshot, table: str) -> Iterator[Oddity]:
    """Rows that have one key, where the table lacks the index that forbids it."""
    names = {f"k{at}": column for at, column in enumerate(source.key_of(table))}
    keys = ", ".join(f"{{{mark}}}" for mark in names)
    rows = source.tuples(
        f"SELECT count(*) OVER (), {keys} FROM {{table}} GROUP BY {keys} HAVING count(*) > 1 ORDER BY {keys} LIMIT {EXAMPLES}",  # noqa: S608
        table=table,
        **names,
    )
    if rows:
        title = f"several rows of {table} with the same {', '.join(names.values())}"
        becomes = "nothing tells these rows apart: delete or change all but one of each"
        yield Oddity("same_key", title, Severity.BLOCKS, table, rows[0][0], shown(row[1:] for row in rows), becomes)


def _differ(name: str, zone: ZoneInfo) -> bool:
    """Whether clocks of the two zones showed different times at any month's beginning since 2000."""
    try:
        other = ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        return False  # a name that only the server knows
    moments = [datetime(year, month, 1, tzinfo=UTC) for year in range(2000, datetime.now(UTC).year + 1) for month in range(1, 13)]
    return any(moment.astimezone(other).utcoffset() != moment.astimezone(zone).utcoffset() for moment in moments)
