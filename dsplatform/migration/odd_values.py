"""What is odd about values, whatever table they are in: references to nothing, texts that are none, times that no clock showed."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias
from zoneinfo import ZoneInfo

from dsplatform.migration.oddities import EXAMPLES, Oddity, Severity, known, shown
from dsplatform.migration.source import Snapshot

REFERENCES = (
    ("users", "role_id", "roles", Severity.NOTE, "they have the role of those who only read"),
    ("datasets", "created_by", "users", Severity.NOTE, "they belong to the inactive user `legacy-unknown`"),
    ("dataset_versions", "dataset_id", "datasets", Severity.DECIDE, "they are quarantined as `orphan_parent`, and left behind"),
    ("dataset_versions", "file_id", "files", Severity.DECIDE, "the version stays with the files that it has, as `missing_bytes`"),
    ("dataset_versions", "parent_version_id", "dataset_versions", Severity.DECIDE, "they come along without it, as `orphan_parent`"),
    ("dataset_versions", "uploaded_by", "users", Severity.NOTE, "their author is the inactive user `legacy-unknown`"),
    ("dataset_versions", "created_by", "users", Severity.NOTE, "their author is the inactive user `legacy-unknown`"),
    ("dataset_version_files", "version_id", "dataset_versions", Severity.DECIDE, "they are quarantined as `orphan_parent`"),
    ("dataset_version_files", "file_id", "files", Severity.DECIDE, "the version stays with the files that it has, as `orphan_parent`"),
    ("sheets", "dataset_version_id", "dataset_versions", Severity.DECIDE, "they are quarantined as `orphan_parent`"),
    ("sheet_metadata", "sheet_id", "sheets", Severity.DECIDE, "they are quarantined as `orphan_parent`"),
    ("dataset_tags", "dataset_id", "datasets", Severity.DECIDE, "they are quarantined as `orphan_parent`"),
    ("dataset_tags", "tag_id", "tags", Severity.DECIDE, "they are quarantined as `orphan_parent`"),
    ("dataset_pointers", "dataset_id", "datasets", Severity.DECIDE, "they are quarantined as `orphan_parent`"),
    ("dataset_pointers", "dataset_version_id", "dataset_versions", Severity.DECIDE, "they are quarantined as `orphan_parent`"),
    ("version_tags", "dataset_id", "datasets", Severity.DECIDE, "they are quarantined as `orphan_parent`"),
    ("version_tags", "dataset_version_id", "dataset_versions", Severity.DECIDE, "they are quarantined as `orphan_parent`"),
    ("permissions", "user_id", "users", Severity.DECIDE, "they give no right, and are quarantined as `unknown_user`"),
    ("dataset_permissions", "user_id", "users", Severity.DECIDE, "they give no right, and are quarantined as `unknown_user`"),
    ("dataset_permissions", "dataset_id", "datasets", Severity.DECIDE, "they give no right, and are quarantined as `unknown_resource`"),
    ("file_permissions", "user_id", "users", Severity.DECIDE, "they give no right, and are quarantined as `unknown_user`"),
    ("file_permissions", "file_id", "files", Severity.DECIDE, "they give no right, and are quarantined as `unknown_resource`"),
    ("dataset_schema_versions", "dataset_version_id", "dataset_versions", Severity.NOTE, "schemas are captured anew"),
)
"""What refers to what, and what becomes of a reference to nothing. Deployed databases may lack the keys that would hold it."""

_TEXTS = {"text", "character varying", "character", "json", "jsonb"}
_LOCAL, _AWARE = "timestamp without time zone", "timestamp with time zone"
OLDEST = datetime(1990, 1, 1)  # noqa: DTZ001 - as the legacy system stores times
"""Nothing of the legacy system is older."""


def dangling(source: Snapshot) -> Iterator[Oddity]:
    """References to rows that do not exist."""
    for table, column, target, severity, becomes in REFERENCES:
        if source.has(table, column) and source.has(target):
            keys, names = _key(source, table)
            rows = source.tuples(
                f"SELECT count(*) OVER (), {keys} FROM {{table}} t WHERE {{column}} IS NOT NULL "  # noqa: S608 - names go as identifiers
                f"AND NOT EXISTS (SELECT FROM {{target}} o WHERE o.id = t.{{column}}) ORDER BY {keys} LIMIT {EXAMPLES}",
                table=table,
                column=column,
                target=target,
                **names,
            )
            if rows:
                title = f"rows of {table} whose {column} names no row of {target}"
                yield Oddity(f"orphan.{column}", title, severity, table, rows[0][0], shown(row[1:] for row in rows), becomes)


def undecodable(source: Snapshot) -> Iterator[Oddity]:
    """Texts that are no UTF-8. Only a database of SQL_ASCII takes such; there, what is not plain ASCII is read and decoded."""
    if source.encoding != "SQL_ASCII":
        return
    for table in known(source):
        keys, names = _key(source, table)
        for column, kind in source.columns(table).items():
            if kind in _TEXTS:
                found: list[tuple[object, ...]] = []
                count = 0
                for portion in source.stream(
                    f"SELECT {{column}}::text, {keys} FROM {{table}} WHERE {{column}}::text !~ '^[\\x01-\\x7f]*$' ORDER BY {keys}",  # noqa: S608
                    table=table,
                    column=column,
                    **names,
                ):
                    broken = [key for value, *key in portion if isinstance(value, bytes)]
                    found += map(tuple, broken[: EXAMPLES - len(found)])
                    count += len(broken)
                if count:
                    yield Oddity(
                        "encoding",
                        f"texts in {table}.{column} that are no valid UTF-8",
                        Severity.DECIDE,
                        table,
                        count,
                        shown(found),
                        "they are read as Windows-1252, quarantined as `bad_encoding`; the bytes are kept",
                    )


def mistimed(source: Snapshot, zone: ZoneInfo, now: datetime) -> Iterator[Oddity]:
    """Rows with times that do not exist, exist twice, lie in the future, or are none."""
    for table in known(source):
        columns = {column: kind for column, kind in source.columns(table).items() if kind in {_LOCAL, _AWARE}}
        if columns:
            yield from _mistimed(source, table, columns, zone, now)


def _mistimed(source: Snapshot, table: str, columns: dict[str, str], zone: ZoneInfo, now: datetime) -> Iterator[Oddity]:
    local = [column for column, kind in columns.items() if kind == _LOCAL]
    gaps, twice = changes(zone, *_years(source, table, local, now)) if local else ([], [])
    late = (now.astimezone(zone) + timedelta(days=1)).replace(tzinfo=None)
    for code, title, part, of, becomes in (
        (
            "D26.gap",
            "times that no clock of the server's zone showed",
            _within(gaps),
            local,
            "what a clock that was not set forward would have shown is meant; recorded as `bad_time`",
        ),
        (
            "D26.twice",
            "times that the clocks of the server's zone showed two times",
            _within(twice),
            local,
            "the first of the two is meant; recorded as `bad_time`",
        ),
        ("D26.future", "times in the future", f"{{c}} > '{late}' AND {{c}} <> 'infinity'", [*columns], "they are kept as they are"),
        (
            "D26.none",
            "times that are none: infinite, or long before the legacy system",
            f"{{c}} < '{OLDEST}' OR {{c}} = 'infinity'",
            [*columns],
            "they are kept as far as the calendar reaches; recorded as `bad_time`",
        ),
    ):
        if part and of:
            keys, names = _key(source, table)
            marked = {f"c{at}": column for at, column in enumerate(of)}
            any_of = " OR ".join(f"({part.replace('{c}', f'{{{mark}}}')})" for mark in marked)
            rows = source.tuples(
                f"SELECT count(*) OVER (), {keys} FROM {{table}} WHERE {any_of} ORDER BY {keys} LIMIT {EXAMPLES}",  # noqa: S608 - as above
                table=table,
                **names,
                **marked,
            )
            if rows:
                yield Oddity(code, title, Severity.NOTE, table, rows[0][0], shown(row[1:] for row in rows), becomes)


def _years(source: Snapshot, table: str, columns: Sequence[str], now: datetime) -> tuple[int, int]:
    """The years that the table's times lie in, as far as they are in the past."""
    marked = {f"c{at}": column for at, column in enumerate(columns)}
    spans = []
    for mark in marked:
        past = f"FILTER (WHERE {{{mark}}} >= '{OLDEST}' AND {{{mark}}} < '{now.year + 1}-01-01')"
        spans.append(f"min({{{mark}}}) {past}, max({{{mark}}}) {past}")
    (found,) = source.tuples(f"SELECT {', '.join(spans)} FROM {{table}}", table=table, **marked)  # noqa: S608 - as above
    years = [at.year for at in found if at is not None]
    return (min(years), max(years)) if years else (now.year, now.year)


Span: TypeAlias = tuple[datetime, datetime]


def changes(zone: ZoneInfo, first_year: int, last_year: int) -> tuple[list[Span], list[Span]]:
    """The local times that do not exist, and those that exist twice, each as [from, to), in these years."""
    gaps: list[Span] = []
    twice: list[Span] = []
    day = timedelta(days=1)
    at = datetime(first_year, 1, 1, tzinfo=UTC) - day
    while at.year <= last_year:
        before, after = _offset(zone, at), _offset(zone, at + day)
        if before != after:
            moments = [at + timedelta(minutes=minute) for minute in range(24 * 60 + 1)]
            changed = moments[bisect_left(moments, 1, key=lambda moment: _offset(zone, moment) == after)]
            one, other = ((changed + offset).replace(tzinfo=None) for offset in (before, after))
            (gaps if after > before else twice).append((min(one, other), max(one, other)))
        at += day
    return gaps, twice


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()


def _within(spans: Sequence[Span]) -> str:
    return " OR ".join(f"{{c}} >= '{start}' AND {{c}} < '{end}'" for start, end in spans)


def _key(source: Snapshot, table: str) -> tuple[str, dict[str, str]]:
    """The columns of the key, as marks and as what these stand for."""
    names = {f"k{at}": column for at, column in enumerate(source.key_of(table))}
    return ", ".join(f"{{{mark}}}" for mark in names), names
