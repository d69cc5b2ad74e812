"""`verify` and `db`: is everything there, and is the database as this release wants it?"""

from typing import Annotated

import typer

from dsplatform.cli.render import AsJson, emit, table

db = typer.Typer(help="The database's schema.", no_args_is_help=True)
PROBLEMS_FOUND = 1


def verify(
    quick: Annotated[bool, typer.Option("--quick", help="Look at presence and size only, without reading the bytes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check that every stored file is there and has the bytes that its hash says."""
    from dsplatform.cli.session import opened

    problems = []
    checked = 0
    with opened() as session:
        for finding in session.platform.files.verify(contents=not quick):
            checked += 1
            if finding is not None:
                problems.append(finding)
    if as_json:
        emit({"files": checked, "problems": problems})
    else:
        if problems:
            table("", ["file", "SHA-256", "finding"], [(p.file_id, p.content_hash, p.finding) for p in problems])
        typer.echo(f"{checked} file(s) checked, {len(problems)} problem(s)")
    if problems:
        raise typer.Exit(PROBLEMS_FOUND)


@db.command()
def upgrade(as_json: AsJson = False) -> None:
    """Bring the database to the newest revision."""
    from dsplatform.core.settings import Settings
    from dsplatform.local import database_for, schema_status
    from dsplatform.local import upgrade as apply

    with database_for(Settings.from_env()) as (url, _):
        before, _ = schema_status(url)
        apply(url)
        after, _ = schema_status(url)
    if as_json:
        emit({"before": before, "after": after})
    else:
        typer.echo(f"the database is at revision {after}" + ("" if before == after else f" (was {before or 'empty'})"))


@db.command()
def status(as_json: AsJson = False) -> None:
    """Show the database's revision, and the newest one."""
    from dsplatform.core.settings import Settings
    from dsplatform.local import database_for, schema_status

    with database_for(Settings.from_env()) as (url, _):
        current, newest = schema_status(url)
    if as_json:
        emit({"current": current, "newest": newest})
    else:
        typer.echo(f"revision {current or 'none'}; newest is {newest}" + ("" if current == newest else ": run `dsplatform db upgrade`"))


@db.command(hidden=True)
def check() -> None:
    """Apply the migrations to an empty database, and compare the result with the tables that the code declares."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from dsplatform.core.migrations import check as compare
    from dsplatform.local import EmbeddedPostgres
    from dsplatform.local import upgrade as apply

    with TemporaryDirectory() as home, EmbeddedPostgres(Path(home)).running() as server:
        apply(server.url("postgres"))
        compare(server.url("postgres"))
    typer.echo("the migrations make what the code declares")
