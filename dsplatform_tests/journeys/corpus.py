"""What becomes of each of the ugly files in shared/corpus beside the checkout, as a table, and a second opinion on each that is read.

`python -m dsplatform_tests.journeys.corpus` writes the table anew; look at every line that changed before you commit it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from dsplatform.schemas.model import NO_HINTS, FileCapture, Status, Table
from dsplatform.schemas.readers import rows
from dsplatform.schemas.sandbox import Request, Sandbox
from dsplatform_tests.journeys import second_opinions

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus"
GOLDEN = Path(__file__).with_name("corpus.md")
WIDEST = 400
"""Characters of a table's columns."""

HEAD = """# The ugly files

What dsplatform makes of each file in shared/corpus. `python -m dsplatform_tests.journeys.corpus` writes this table,
`test_corpus.py` holds the readers to it, and lets another reader look at each file: it agrees on the sheets, names and
rows of every table here, but for those at the end.

`?` marks a column with rows that have no value.
"""


def captures() -> Mapping[str, FileCapture]:
    """Every file of the corpus, by its path in it, read in a sandbox."""
    paths = sorted(path for path in CORPUS.rglob("*") if path.is_file() and path.parent != CORPUS)
    sandbox = Sandbox(2)
    try:
        found = sandbox.extract([Request(path, "", path.name) for path in paths])
    finally:
        sandbox.close()
    return {path.relative_to(CORPUS).as_posix(): capture for path, capture in zip(paths, found, strict=True)}


def rendered(found: Mapping[str, FileCapture]) -> str:
    """The whole page."""
    counts = [sum(capture.status is status for capture in found.values()) for status in Status]
    lines = [HEAD, f"{len(found)} files: {counts[0]} read, {counts[1]} refused with a reason, {counts[2]} stored unread.", ""]
    folder = None
    for path, capture in found.items():
        if path.partition("/")[0] != folder:
            folder = path.partition("/")[0]
            lines += [f"## {folder}", "", "| file | format | table | rows | columns | notes, or the reason |", "|---|---|---|---|---|---|"]
        lines += [f"| {' | '.join(map(_cell, row))} |" for row in _rows(path.partition("/")[2], capture)]
        if path == [other for other in found if other.startswith(f"{folder}/")][-1]:
            lines.append("")
    lines += ["## Where the other reader does not agree", "", "| file | why ours is right |", "|---|---|"]
    lines += [f"| {_cell(path)} | {_cell(why)} |" for path, why in sorted(second_opinions.DIFFERENT.items())]
    return "\n".join([*lines, ""])


def _rows(name: str, capture: FileCapture) -> Iterator[Sequence[str]]:
    if capture.status is not Status.OK:
        yield name, capture.format or "", "", "", "", f"{capture.status}: {capture.reason}"
    for index, table in enumerate(capture.tables):
        told = [*(_told(capture.details, capture.notes) if not index else []), *_told(table.details)]
        columns = [
            f"{column.name}: {column.type}{f' as {column.format}' if column.format else ''}{'?' if column.nullable else ''}"
            for column in table.columns
        ]
        yield name if not index else "", capture.format or "", table.name or "", str(table.rows), _cut(columns), "; ".join(told)


USUAL = {"delimiter": ",", "quote": '"', "encoding": "utf-8", "header": True, "row_groups": 1}


def _told(*said: Mapping[str, object]) -> list[str]:
    """What is not as in most files."""
    items = [(key, value) for part in said for key, value in part.items() if key not in {"created_by", "metadata"}]
    return [f"{key}: {_short(value)}" for key, value in items if value != USUAL.get(key, value if not value else None)]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 160 else f"{text[:160]}…"


def _cut(columns: Sequence[str]) -> str:
    kept = list(columns)
    while len(", ".join(kept)) > WIDEST and len(kept) > 1:
        kept.pop()
    rest = len(columns) - len(kept)
    return ", ".join(kept)[: 2 * WIDEST] + (f", … {rest} more" if rest else "")


def _cell(text: str) -> str:
    """As it may stand in a cell: controls and bars escaped."""
    return re.sub(r"[\x00-\x1f\x7f\u2028\u2029]", lambda match: repr(match[0])[1:-1], text).replace("|", "\\|")


def opinion(path: str, capture: FileCapture) -> str | None:
    """What another reader says against the capture of a file that was read; None where it agrees."""
    said = second_opinions.read(CORPUS / path, capture)
    ours = [_seen(table) for table in capture.tables]
    pairs = zip_longest(ours, said)
    return "; ".join(f"we say {mine}, it says {theirs}" for mine, theirs in pairs if mine != theirs) or None


def handed_out(path: str, table: Table) -> tuple[int, list[str]] | str:
    """The number of rows that `readers.rows` gives for a table, and their names; or why it gives none."""
    try:
        batches = list(rows(CORPUS / path, "", path, NO_HINTS, table.name))
    except Exception as err:  # noqa: BLE001 - parsers of foreign bytes raise anything
        return f"{type(err).__name__}: {err}"
    names = {tuple(batch.schema.names) for batch in batches} or {tuple(column.name for column in table.columns)}
    return sum(batch.num_rows for batch in batches), list(*names)


def _seen(table: Table) -> second_opinions.Seen:
    return second_opinions.Seen(table.name, tuple(column.name for column in table.columns), table.rows)


if __name__ == "__main__":
    GOLDEN.write_text(rendered(captures()), encoding="utf-8")
