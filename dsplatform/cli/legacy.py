"""`legacy`: the legacy system comes along."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dsplatform.cli.maintenance import PROBLEMS_FOUND
from dsplatform.cli.render import AsJson, emit, table

if TYPE_CHECKING:
    from dsplatform.migration.accounting import Account
    from dsplatform.migration.analysis import Analysis
    from dsplatform.migration.landed_rows import Quarantined

STOPPED = 8

app = typer.Typer(help="The legacy system comes along: analyse it, and migrate its data while it runs.", no_args_is_help=True)
quarantine = typer.Typer(help="Legacy rows about which something waits for a decision.", no_args_is_help=True)
app.add_typer(quarantine, name="quarantine")

Number = Annotated[int, typer.Argument(help="Number in the quarantine, as `quarantine list` shows it.")]
OfNumber = Annotated[int | None, typer.Option("--number", help="Only this one.")]
OfEntity = Annotated[str | None, typer.Option("--entity", help="Only rows of this legacy table.")]
OfReason = Annotated[str | None, typer.Option("--reason", help="Only rows with this reason.")]


@app.command()
def analyse(
    read_all: Annotated[
        bool, typer.Option("--hash", help="Read every file, not only a sample, and compare it with its row; this takes as long as reading.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the report to this file: Markdown, or JSON with --json.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at the legacy system and say what migration would meet: changes nothing, there or here.

    Asks its database, which may go on working, for every oddity that is known of it, and looks for each file. SELECT on its tables is all
    the login needs. What it finds blocks migration, waits for a decision, or is decided by a rule; each finding says what becomes of the
    rows. Set DSPLATFORM_LEGACY_DATABASE_URL and DSPLATFORM_LEGACY_ROOTS before. Exit code 1 when something blocks, so that migration may
    not start.
    """
    from dsplatform.cli.session import opened
    from dsplatform.migration.report import markdown

    with _progress(quiet=as_json) as progress, opened() as session:
        found = session.platform.legacy_analysis.analyse(session.platform.actor(), read_all=read_all, progress=progress)
    if output is not None:
        text = json.dumps(found.plain(), indent=2, ensure_ascii=False) + "\n" if as_json else markdown(found)
        output.write_text(text, encoding="utf-8")
        typer.echo(f"written to {output}")
    elif as_json:
        emit(found.plain())
    else:
        _show_analysis(found)
    if not found.may_start:
        raise typer.Exit(PROBLEMS_FOUND)


@app.command()
def migrate(
    accept: Annotated[list[str] | None, typer.Option("--accept", help="Go on though many rows have this reason; may be repeated.")] = None,
    pause_ms: Annotated[int, typer.Option("--pause-ms", min=0, help="Wait so long after each batch, for the legacy server's sake.")] = 0,
    only: Annotated[str | None, typer.Option("--only", help="Only this legacy table.")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring over what is new or changed in the legacy database, and the files that its versions name.

    The legacy system may go on working, and is only read. Each batch of rows is one transaction with its accounting, so that the command
    may be stopped at any time and goes on where it was: Ctrl-C ends it after the batch, with exit code 8. When all was read, the next
    call looks for changes from the beginning. It ends with exit code 5 when too many rows of a table have one reason; look at them, then
    go on with --accept.
    """
    from dsplatform.cli.session import opened
    from dsplatform.core.errors import Invalid
    from dsplatform.migration.model import Entity

    if only is not None and only not in set(Entity):
        raise Invalid(f"{only!r} is no legacy table: it is one of {', '.join(Entity)}")
    with until_asked() as asked, _progress(quiet=as_json) as progress, opened() as session:
        migration, actor = session.platform.migration, session.platform.actor()
        done = migration.migrate(
            actor,
            accept=accept or (),
            pause_seconds=pause_ms / 1000,
            only=None if only is None else [Entity(only)],
            progress=progress,
            is_over=lambda: bool(asked),
        )
        waiting = migration.status(actor, ask_source=False).waiting
    if as_json:
        emit({"run_id": done.run_id, "state": done.state, "written": done.written, "accounts": done.accounts, "waiting": waiting})
    else:
        _show_accounts(done.accounts)
        typer.echo(f"{done.state}: {done.written} row(s) written{_waiting(waiting)}")
        if done.state != "done":
            typer.echo("the same command goes on where it stopped")
    if done.state != "done":
        raise typer.Exit(STOPPED)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show how far the migration is: rows of each legacy table and how they ended, and what waits for a decision."""
    from dsplatform.cli.session import opened

    with opened() as session:
        found = session.platform.migration.status(session.platform.actor())
    if as_json:
        emit({**found.plain(), "accounts": [{**account.plain(), "holds": account.holds} for account in found.accounts]})
        return
    if found.run is None:
        typer.echo("nothing was migrated yet: `dsplatform legacy migrate` begins")
        return
    _show_accounts(found.accounts)
    now = "running now" if found.is_running else f"{found.run.state} at {found.run.ended_at or found.run.started_at:%Y-%m-%d %H:%M} UTC"
    left = f"; not read to the end: {', '.join(found.unfinished)}" if found.unfinished else ""
    typer.echo(f"generation {found.run.generation}; last run: {found.run.kind}, {now}{left}{_waiting(found.waiting)}")


@app.command()
def usage(
    days: Annotated[int, typer.Option("--days", min=1, max=3_660, help="Of the last days, today among them.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Show who still uses the legacy system's paths, so that one can see when they may go. It takes the right `operate`.

    Figures are written every ten seconds. A program is as it called itself; `unknown` asked without a good token.
    """
    from dsplatform.cli.session import opened

    with opened() as session:
        used = session.platform.legacy.usage(session.platform.actor(), days=days)
    if as_json:
        emit([one.plain() for one in used])
        return
    table(
        "",
        ["endpoint", "client", "program", "requests", "last on (UTC)"],
        [(one.endpoint, one.client, one.program, one.requests, one.last_day) for one in used],
        right=["requests"],
    )


@app.command()
def shadow(
    limit: Annotated[int, typer.Option("--limit", min=0, max=1_000, help="Show so many of the newest differences.")] = 20,
    reset: Annotated[bool, typer.Option("--reset", help="Forget what was found, after something was mended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how the legacy server's answers and ours compare. It takes the right `operate`.

    With DSPLATFORM_LEGACY_URL the API asks both servers for whatever is read, and compares what they say; docs/legacy-api.md lists why
    they may differ. Figures are written every ten seconds. Exit code 1 while there are differences that nothing explains.
    """
    from dsplatform.cli.session import opened

    with opened() as session:
        actor = session.platform.actor()
        if reset:
            session.platform.shadow.begin_anew(actor)
        found = session.platform.shadow.summary(actor, limit=limit)
    if as_json:
        emit({"compared": found.compared, "unexplained": found.different, **found.plain()})
    else:
        typer.echo(f"{found.compared:,} answer(s) compared, {found.different:,} differ and nothing explains it")
        table("", ["outcome", "answers"], list(found.counts.items()), right=["answers"])
        table("", ["why they may differ", "of the newest"], list(found.explanations.items()), right=["of the newest"])
        table(
            "",
            ["when", "request", "old", "new", "where"],
            [
                (
                    one.at,
                    f"{one.method} {one.path}",
                    one.status_old,
                    one.status_new,
                    ", ".join(f"{at['at']} ({at['kind']})" for at in one.difference),
                )
                for one in found.unexplained
            ],
        )
    if found.different:
        raise typer.Exit(PROBLEMS_FOUND)


@quarantine.command("list")
def list_quarantine(
    entity: OfEntity = None,
    reason: OfReason = None,
    decided: Annotated[bool, typer.Option("--all", help="Also what was decided, by a person or by a rule.")] = False,
    after: Annotated[int, typer.Option("--after", min=0, help="Go on behind this number.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="So many at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List legacy rows about which something waits for a decision."""
    from dsplatform.cli.session import opened

    with opened() as session:
        found = session.platform.migration.quarantine(
            session.platform.actor(), entity=entity, reason=reason, open_only=not decided, after=after, limit=limit
        )
    if as_json:
        emit([one.plain() for one in found])
        return
    table("", ["number", "table", "row", "reason", "what", "decision"], [_row(one) for one in found], right=["number"])
    if len(found) == limit:
        typer.echo(f"... there may be more: --after {found[-1].id}")


@quarantine.command("show")
def show_quarantine(number: Number, as_json: AsJson = False) -> None:
    """Show one legacy row as it was, why it is there, and what can be done."""
    from dsplatform.cli.session import opened
    from dsplatform.migration.model import meaning

    with opened() as session:
        found = session.platform.migration.finding(session.platform.actor(), number)
    if as_json:
        emit(found.plain())
        return
    said = meaning(found.reason)
    typer.echo(f"{found.entity} {found.legacy_id}: {found.reason}: {said.sentence}")
    typer.echo(f"what to do: {said.remedy}")
    typer.echo(f"decision: {found.resolution or 'none yet'}{f' by {found.resolved_by}' if found.resolved_by else ''}")
    table("", ["detail", "value"], list(found.detail.items()))
    table("", ["column", "value"], list(found.raw.items()))


@quarantine.command()
def resolve(
    resolution: Annotated[str, typer.Argument(help="The decision, in words.")],
    number: OfNumber = None,
    entity: OfEntity = None,
    reason: OfReason = None,
    as_json: AsJson = False,
) -> None:
    """Write down a decision about one row, or about all of a table or a reason that wait for one."""
    from dsplatform.cli.session import opened

    with opened() as session:
        count = session.platform.migration.resolve(session.platform.actor(), resolution, number=number, entity=entity, reason=reason)
    if as_json:
        emit({"decided": count})
    else:
        typer.echo(f"{count} row(s) decided")


@quarantine.command()
def retry(
    number: OfNumber = None,
    entity: OfEntity = None,
    reason: OfReason = None,
    as_json: AsJson = False,
) -> None:
    """Bring rows over again that wait for a decision: what was repaired in the legacy system, or in its files, waits no more."""
    from dsplatform.cli.session import opened

    with opened() as session:
        tried, left = session.platform.migration.retry(session.platform.actor(), number=number, entity=entity, reason=reason)
    if as_json:
        emit({"tried": tried, "waiting": left})
    else:
        typer.echo(f"{tried} row(s) tried again, {left} still wait for a decision")


def _show_analysis(found: "Analysis") -> None:
    from dsplatform.migration.report import facts, verdict

    table("", ["what", "figure"], facts(found))
    table(
        "", ["table", "rows", "ids missing"], [(one.name, one.rows, one.missing_ids) for one in found.tables], right=["rows", "ids missing"]
    )
    rows = [(o.severity, o.code, o.title, o.entity, o.count, ", ".join(o.examples), o.becomes) for o in found.oddities]
    table("", ["", "code", "finding", "table", "count", "examples", "what becomes of it"], rows, right=["count"])
    typer.echo(verdict(found))


def _row(one: "Quarantined") -> tuple[object, ...]:
    what = ", ".join(f"{name}: {value}" for name, value in one.detail.items() if name != "traceback")[:200]
    return one.id, one.entity, one.legacy_id, one.reason, what, one.resolution


def _show_accounts(accounts: "tuple[Account, ...]") -> None:
    rows = [
        (account.entity, account.source, account.migrated, account.quarantined, account.excluded, "yes" if account.holds else "NO")
        for account in accounts
    ]
    figures = ["in the legacy table", "migrated", "quarantined", "excluded"]
    table("", ["table", *figures, "accounted for"], rows, right=figures)


def _waiting(waiting: object) -> str:
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(dict(waiting).items()))  # type: ignore[call-overload]
    return f"; waiting for a decision: {listed} (`dsplatform legacy quarantine list`)" if listed else ""


@contextmanager
def until_asked() -> Iterator[list[int]]:
    """The list is empty until somebody asks the process to end; asked twice, it ends at once."""
    asked: list[int] = []

    def ask(number: int, _frame: object) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt
        print("dsplatform: ends after this batch", file=sys.stderr)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar for each table with the rows of a second and the time that is left, where somebody looks."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(elapsed_when_finished=True))
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def hear(entity: str, done: int, total: int) -> None:
            if entity not in tasks:
                tasks[entity] = bars.add_task(entity, total=total)
            bars.update(tasks[entity], completed=done, total=total)

        yield hear
