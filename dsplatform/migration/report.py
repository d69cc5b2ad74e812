"""An analysis as Markdown, for Dagster's page and for a terminal. Its plain form is `Analysis.plain`."""

from collections.abc import Iterable, Sequence

from dsplatform.migration.analysis import Analysis
from dsplatform.migration.model import Generation
from dsplatform.migration.oddities import Oddity, Severity

_HEADINGS = {
    Severity.BLOCKS: "What stands in the way",
    Severity.DECIDE: "What waits for a decision",
    Severity.NOTE: "What rules decide",
}

_UNSEEN = (
    "D20: which rows of CSV files the conversion dropped: they are in no stored file. That some were shows where a number was kept.",
    "D19: all but the first sheet of each workbook that was uploaded: only that one was ever stored.",
)
_UNSEEN_G0 = "D2: which datasets of one name were meant as versions of one: without rights and parents nothing tells."


def markdown(analysis: Analysis) -> str:
    """The whole analysis."""
    parts = [
        "# Analysis of the legacy system",
        f"**{verdict(analysis)}**",
        _facts(analysis),
        *(part for severity in Severity for part in _section(severity, [o for o in analysis.oddities if o.severity is severity])),
        "## Tables",
        _table(
            ("table", "rows", "MiB", "ids", "ids missing"),
            (
                (one.name, f"{one.rows:,}", f"{one.bytes / 1024**2:,.1f}", _span(one.lowest, one.highest), _or_blank(one.missing_ids))
                for one in analysis.tables
            ),
            right=(1, 2, 4),
        ),
        "## Largest values",
        _table(("column", "bytes"), ((f"{one.table}.{one.column}", f"{one.bytes:,}") for one in analysis.largest), right=(1,)),
        "## What nothing can tell",
        "\n".join(f"- {one}" for one in (*_UNSEEN, *([_UNSEEN_G0] if analysis.generation == Generation.G0 else []))),
    ]
    return "\n\n".join(parts) + "\n"


def verdict(analysis: Analysis) -> str:
    """Whether migration may start, in a sentence."""
    blocking = sum(oddity.severity is Severity.BLOCKS for oddity in analysis.oddities)
    return "Migration may start." if not blocking else f"Migration may not start: {blocking} finding(s) stand in the way."


def facts(analysis: Analysis) -> list[tuple[str, str]]:
    """What there is, what it takes, and how it was looked at: (what, how much)."""
    files, need, activity = analysis.files, analysis.need, analysis.activity
    unknown = "not known"
    rate, longest = activity.rows_written_a_second, activity.longest_transaction_seconds
    read = f"{files.read:,} ({files.bytes_read:,} bytes)"
    return [
        ("generation", analysis.generation),
        ("server", f"PostgreSQL {analysis.server_version}, {analysis.encoding}"),
        ("taken at", f"{analysis.taken_at}, in {analysis.seconds:,.1f} s"),
        ("times are read in", analysis.timezone),
        ("rows", f"{sum(table.rows for table in analysis.tables):,}"),
        ("files that versions name", f"{files.rows:,}, of which {files.located:,} are there ({files.inline:,} in the table)"),
        ("their bytes", f"{files.bytes:,}"),
        ("of different contents", unknown if files.distinct_bytes is None else f"{files.distinct_bytes:,}"),
        ("files read and hashed", f"{read}, all of them" if files.distinct_bytes is not None else f"{read}, a sample"),
        ("room that the store needs", f"{need.bytes:,} bytes at most, of {unknown if need.free is None else f'{need.free:,}'} free"),
        ("migration takes about", f"{need.seconds:,.0f} s"),
        ("rows written there", unknown if rate is None else f"{rate:,.2f} a second on average"),
        ("longest open transaction", "none seen" if longest is None else f"{longest:,.0f} s"),
    ]


def _facts(analysis: Analysis) -> str:
    return _table(("what", "figure"), facts(analysis))


def _section(severity: Severity, oddities: Sequence[Oddity]) -> list[str]:
    if not oddities:
        return []
    rows = ((o.code, o.title, o.entity, f"{o.count:,}", ", ".join(o.examples), o.becomes) for o in oddities)
    return [f"## {_HEADINGS[severity]}", _table(("code", "finding", "table", "count", "examples", "what becomes of it"), rows, right=(3,))]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    rule = ["---:" if at in right else "---" for at in range(len(columns))]
    return "\n".join("| " + " | ".join(_cell(value) for value in row) + " |" for row in (columns, rule, *rows))


def _cell(value: str) -> str:
    """Text that ends neither its cell nor its line, and begins no markup of HTML."""
    return value.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _span(lowest: int | None, highest: int | None) -> str:
    return "" if lowest is None else f"{lowest} to {highest}"


def _or_blank(number: int | None) -> str:
    return "" if number is None else f"{number:,}"
