"""`audit`: who did what, and whether the log of it is as it was written."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from dsplatform.cli.render import AsJson, emit, table, tell

app = typer.Typer(help="Who did what, and who was refused what: a log that only grows, and tells of changes to it.", no_args_is_help=True)
FINDINGS = 1
FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]


@app.command()
def log(
    by: Annotated[str | None, typer.Option("--by", metavar="USER", help="Only of this user.")] = None,
    action: Annotated[
        str | None, typer.Option("--action", metavar="ACTION", help="Only this action (`branch.create`), or all of a noun (`branch`).")
    ] = None,
    object_: Annotated[
        str | None, typer.Option("--object", metavar="TYPE[:ID]", help="Only what was done to these: `dataset`, or `dataset:17`.")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option("--since", formats=FORMATS, help="Not before; without a zone, by this machine's.")
    ] = None,
    until: Annotated[datetime | None, typer.Option("--until", formats=FORMATS, help="Only before.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many, at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show the log, the newest first."""
    from dsplatform.cli.session import opened

    with opened() as session:
        audit, actor = session.platform.audit, session.platform.actor()
        entries = audit.entries(actor, by=by, action=action, object=object_, since=_aware(since), until=_aware(until), limit=limit)
    if as_json:
        emit([entry.plain() for entry in entries])
        return
    table(
        "",
        ["row", "at (UTC)", "by", "action", "on", "result", "what"],
        [
            (
                entry.id,
                entry.at[:19].replace("T", " "),
                entry.actor,
                entry.action,
                f"{entry.object_type} {entry.object_id or ''}".strip(),
                entry.result,
                _changed(entry.before, entry.after),
            )
            for entry in entries
        ],
        right=["row"],
    )


@app.command()
def verify(
    head: Annotated[
        str | None, typer.Option("--head", metavar="POSITION:HASH", help="A seal that you noted earlier: what led to it must be the same.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compute every hash of the log again. Exit code 1 when something is not as it was sealed.

    Changed, removed and inserted rows are named, also where the database's owner made them. That its end was cut off, or that the whole
    chain was made anew, only a head tells that was noted elsewhere (`dsplatform audit seal` prints it).
    """
    from dsplatform.cli.session import opened
    from dsplatform.permissions.audit_chain import Head

    noted = Head.parse(head) if head else None
    with opened() as session:
        report = session.platform.audit.verify(session.platform.actor(), noted=noted)
    if as_json:
        emit(report.plain() | {"sound": report.sound})
    else:
        for finding in report.findings:
            typer.echo(finding.sentence)
        typer.echo(f"{report.rows} sealed row(s) checked: {report.found} finding(s); the head is {report.head or 'not there yet'}")
    if not report.sound:
        raise typer.Exit(FINDINGS)


@app.command()
def export(
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write here instead of standard output.")] = None,
    after: Annotated[int, typer.Option("--after", min=0, metavar="POSITION", help="Only what was sealed after that.")] = 0,
) -> None:
    """Write the log as lines of JSON, the oldest first, with the hashes that prove it (docs/audit.md)."""
    from dsplatform.cli.session import opened

    with opened() as session:
        lines = session.platform.audit.export(session.platform.actor(), after=after or None)
        if output is None:
            for line in lines:
                sys.stdout.buffer.write(line.encode() + b"\n")
            return
        with output.open("w", encoding="utf-8", newline="\n") as file:
            count = sum(1 for line in lines if file.write(line + "\n"))
    typer.echo(f"{count} row(s) in {output}")


@app.command()
def seal(
    whole: Annotated[
        bool, typer.Option("--whole", help="Look at the whole log for rows without a seal, and not only at its last day.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Seal what has no seal yet, and print the head. Dagster does it every minute."""
    from dsplatform.cli.session import opened

    with opened() as session:
        sealed = session.platform.audit.seal(whole=whole)
    tell(f"{sealed.rows} row(s) sealed; the head is {sealed.head or 'not there yet'}", sealed, as_json=as_json)


def _aware(moment: datetime | None) -> datetime | None:
    """Without a zone it is this machine's time."""
    return moment and moment.astimezone()


def _changed(before: object, after: object) -> str:
    shown = [json.dumps(value, ensure_ascii=False) for value in (before, after) if value is not None]
    return " → ".join(shown)
