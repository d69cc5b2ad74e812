"""How answers look: a table for people, JSON for programs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def emit(data: object) -> None:
    """JSON on standard output."""
    typer.echo(json.dumps(data, default=_plain, indent=2, ensure_ascii=False))


def tell(sentence: str, data: object, *, as_json: bool) -> None:
    """What came of a command: the sentence for people, the data for programs."""
    if as_json:
        emit(data)
    else:
        typer.echo(sentence)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "plain"):
        return value.plain()
    return str(value)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """A table; columns named in `right` are aligned to the right. Values are shown as they are, never read as markup."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(_shown(value)) for value in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # nobody's window: wide enough for what is looked at later
    console.print(made)


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return str(value)


def size(count: int) -> str:
    """Bytes for people: 1.5 MiB."""
    number = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
