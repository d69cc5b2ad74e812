"""`verify`, `scrub` and `db`: is everything there, is it what was stored, and is the database as this release wants it?"""

from typing import Annotated

import typer

from dsplatform.cli.render import AsJson, emit, size, table

db = typer.Typer(help="The database's schema.", no_args_is_help=True)
PROBLEMS_FOUND = 1
MIB = 1024 * 1024


def verify(
    contents: Annotated[bool, typer.Option("--contents", help="Read every stored byte, too, and compare it with its hash.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check that history and storage are whole. Changes nothing; others may work meanwhile.

    Looks at every file, version and pointer in the database and at every object in the store: references, presence and sizes, keys,
    counts, branches, numbers and parents. With --contents it also reads every object and every overlay, which takes as long as reading
    the whole store; `dsplatform scrub` does that in portions, and marks what is damaged. Exit code 1 when something is wrong.
    """
    from dsplatform.cli.session import opened

    with opened() as session:
        found = session.platform.verify(session.platform.actor(), contents=contents)
    if as_json:
        emit(found.plain())
    else:
        if found.problems:
            table("", ["rule", "what", "finding"], [(p.invariant, p.subject, p.finding) for p in found.problems])
        checked = ", ".join(f"{count} {what}" for what, count in found.checked.items() if what != "bytes")
        read = f"{size(found.checked['bytes'])} read" if contents else "contents not read (--contents reads them)"
        typer.echo(f"{checked} checked, {read}: {found.found.total()} problem(s)")
    if not found.sound:
        raise typer.Exit(PROBLEMS_FOUND)


def scrub(
    prefix: Annotated[
        str, typer.Option("--prefix", help="Only files whose SHA-256 begins with these digits: `00` to `ff` are shards.")
    ] = "",
    max_mib: Annotated[int | None, typer.Option("--max-mib", min=1, help="Stop after so much was read; the next call goes on.")] = None,
    rate: Annotated[int | None, typer.Option("--rate", min=1, help="Read so many MiB per second, at most.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read stored files back, the longest unread first, and mark what is damaged.

    First all files are looked for in the store's listing, then contents are read. A damaged file is never deleted: it is marked, a copy
    of what is left goes into `quarantine` in the store, and the versions that it touches are listed. Uploading the same content again
    heals it. Exit code 1 when something is damaged.
    """
    from dataclasses import asdict

    from dsplatform.cli.session import opened

    with opened() as session:
        scrubber, actor = session.platform.scrub, session.platform.actor()
        presence = scrubber.presence(actor, prefix)
        contents = scrubber.contents(
            actor, prefix, max_bytes=max_mib * MIB if max_mib else None, bytes_per_second=rate * MIB if rate else None
        )
    damages = {damage.file_id: damage for damage in (*presence.damages, *contents.damages)}.values()
    if as_json:
        emit({"presence": asdict(presence), "contents": asdict(contents)})
    else:
        if damages:
            table(
                "", ["file", "SHA-256", "finding", "versions"], [(d.file_id, d.content_hash, d.finding, _touched(d.uses)) for d in damages]
            )
        for line in contents.unreadable:
            typer.echo(f"not read: {line}")
        more = "" if contents.finished else "; more is left for the next call"
        typer.echo(
            f"{presence.files} file(s) looked for, {contents.files} read ({size(contents.bytes_read)}): "
            f"{len(damages)} damaged, {len(contents.cleared)} right again{more}"
        )
    if damages or contents.unreadable:
        raise typer.Exit(PROBLEMS_FOUND)


def _touched(uses: object) -> str:
    return ", ".join(f"{use.dataset}@{use.version_number} {use.component or '(overlay)'}" for use in uses)  # type: ignore[attr-defined]


@db.command()
def upgrade(as_json: AsJson = False) -> None:
    """Bring the database to the newest revision, and give the role of the services its rights."""
    from dataclasses import asdict

    from dsplatform.core.settings import Settings
    from dsplatform.local import database_for, schema_status, services_role
    from dsplatform.local import upgrade as apply

    with database_for(Settings.from_env()) as databases:
        before, _ = schema_status(databases.owner)
        apply(databases.owner)
        after, _ = schema_status(databases.owner)
        standing = services_role(databases.services)
    if as_json:
        emit({"before": before, "after": after, "services_role": asdict(standing)})
    else:
        typer.echo(f"the database is at revision {after}" + ("" if before == after else f" (was {before or 'empty'})"))
        typer.echo(str(standing))


@db.command()
def status(as_json: AsJson = False) -> None:
    """Show the database's revision, and the newest one, and as whom the services work."""
    from dataclasses import asdict

    from dsplatform.core.settings import Settings
    from dsplatform.local import database_for, schema_status, services_role

    with database_for(Settings.from_env()) as databases:
        current, newest = schema_status(databases.owner)
        standing = services_role(databases.services)
    if as_json:
        emit({"current": current, "newest": newest, "services_role": asdict(standing)})
    else:
        typer.echo(str(standing))
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
