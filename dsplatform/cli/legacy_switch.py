"""`legacy`, second half: staying in step with the legacy system, the switch, and the way back."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from dsplatform.cli.legacy import app, until_asked
from dsplatform.cli.maintenance import PROBLEMS_FOUND
from dsplatform.cli.render import AsJson, emit, table

if TYPE_CHECKING:
    from dsplatform.migration.switching import Followed, Switched
    from dsplatform.migration.validation import Validation

__all__ = ["app"]


@app.command()
def capture(
    script: Annotated[bool, typer.Option("--script", help="Print the statements instead, for who owns the legacy database.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take everything away again: for the end, or for starting over.")] = False,
    as_json: AsJson = False,
) -> None:
    """Begin to note what changes in the legacy database: do this before the first `migrate`.

    It adds a schema `dsplatform_capture` there, with a log of changed keys and a gate, and triggers on the legacy tables; nothing else of
    the legacy system is changed. The login of DSPLATFORM_LEGACY_DATABASE_URL has to own the tables, or their owner runs what --script
    prints. Each table waits for the writers that are at it. Repeating the command covers tables that came later.
    """
    from dsplatform.cli.session import opened

    with opened() as session:
        switching, actor = session.platform.switching, session.platform.actor()
        if script:
            typer.echo(switching.capture_script(actor), nl=False)
            return
        covered = [] if remove else list(switching.capture(actor))
        if remove:
            switching.release(actor)
    if as_json:
        emit({"removed": remove, "covered": covered})
    elif remove:
        typer.echo("taken away: the legacy database is as it was")
    else:
        typer.echo(f"changes are noted in {len(covered)} more table(s)" if covered else "changes were noted in every table already")


@app.command()
def follow(
    watch: Annotated[bool, typer.Option("--watch", help="Go on until it is stopped (Ctrl-C), looking every two seconds.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring over what changed in the legacy system since `migrate`, or since the last time; deletions, too.

    Dagster does the same while its sensor `legacy_changes` is on.
    """
    from dsplatform.cli.session import opened

    with until_asked() as asked, opened() as session:
        switching, actor = session.platform.switching, session.platform.actor()
        while True:
            done = switching.follow(actor, is_over=lambda: bool(asked))
            _tell_followed(done, as_json=as_json)
            if not watch or asked:
                return
            for _ in range(20):
                if not asked:
                    time.sleep(0.1)


@app.command()
def validate(
    fast: Annotated[bool, typer.Option("--fast", help="Read no file: rows, references, history and rights alone.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Read every file again on both sides, not only a sample.")] = False,
    sample: Annotated[int, typer.Option("--sample", min=1, help="Read so many files again, of all sizes.")] = 30_000,
    seed: Annotated[int, typer.Option("--seed", help="Draw another sample.")] = 1,
    repeat: Annotated[bool, typer.Option("--repeat", help="Migrate once more, which must write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the legacy system with what came along, by a program that shares nothing with the migration.

    Every row of every table is compared by checksums, then references, history, rights and accounting, and the bytes of a sample of the
    files. Only what was recorded explains a difference. While the legacy system is written to, `follow` first: what waits there differs.
    Exit code 1 when anything is found.
    """
    from dsplatform.cli.session import opened

    with opened() as session:
        service, actor = session.platform.validation, session.platform.actor()
        found = service.validate(actor, fast=fast, sample=None if every else sample, seed=seed, repeat=repeat)
    if as_json:
        emit({"passed": found.passed, **found.plain()})
    else:
        _tell_validated(found)
    if not found.passed:
        raise typer.Exit(PROBLEMS_FOUND)


@app.command()
def switch(as_json: AsJson = False) -> None:
    """Take over: writes come here from now on, and the legacy database refuses them.

    First everything that could be in the way is looked at, and nothing is stopped while something is. Then the legacy database's gate
    closes, the last changes come over, the fast checks run, and the routing turns: writers wait or are refused for seconds, readers never.
    If a check fails the gate opens again and nothing has changed. Repeating the command is harmless. The legacy system's own clean-up jobs
    have to be off before, and its folder should be made read-only.
    """
    from dsplatform.cli.session import opened

    with opened() as session:
        done = session.platform.switching.switch(session.platform.actor())
    _tell_switched(done, "writes come here", as_json=as_json)


@app.command()
def rollback(as_json: AsJson = False) -> None:
    """Go back: the legacy system gets what was written here since the switch, and is written to again.

    What it cannot express is listed. A switch that died half way is undone, too. If the command fails, what is held stays held, nothing
    is lost, and repeating it goes on.
    """
    from dsplatform.cli.session import opened

    with opened() as session:
        done = session.platform.switching.rollback(session.platform.actor())
    _tell_switched(done, "writes go to the legacy system", as_json=as_json)


@app.command("bring-back")
def bring_back(as_json: AsJson = False) -> None:
    """After the switch: write into the legacy system what changed here, so that `rollback` would be short."""
    from dsplatform.cli.session import opened

    with opened() as session:
        left = session.platform.switching.bring_back(session.platform.actor())
    if as_json:
        emit({"cannot_be_expressed": left})
        return
    typer.echo("the legacy system has what was written here" + (", except:" if left else ""))
    for sentence in left:
        typer.echo(f"  {sentence}")


def _tell_validated(found: "Validation") -> None:
    results = {True: "passed", False: "FAILED", None: "not done"}
    rows = [(one.code, one.title, results[one.passed], one.compared, one.found, f"{one.seconds:.1f}") for one in found.checks]
    table("", ["", "check", "result", "compared", "differences", "seconds"], rows, right=["compared", "differences", "seconds"])
    told = [(one.code, at.entity, at.key, at.column, at.sentence) for one in found.checks for at in one.differences]
    if told:
        table("", ["", "table", "row", "column", "what nothing explains"], told)
    for one in found.checks:
        for note in one.notes:
            typer.echo(f"{one.code}: {note}")


def _tell_followed(done: "Followed", *, as_json: bool) -> None:
    if as_json:
        emit(done)
        return
    left = f"; {done.capture.waiting} wait, the oldest for {done.capture.lag_seconds:.0f} s" if done.capture.waiting else ""
    typer.echo(f"{done.changes} change(s) brought over, {done.written} row(s) written{left}")


def _tell_switched(done: "Switched", what: str, *, as_json: bool) -> None:
    if as_json:
        emit(done)
        return
    took = f"; they were refused for {done.refused_seconds:.1f} s" if done.refused_seconds else " (as before)"
    typer.echo(f"{what} since {done.routing.switched_at:%Y-%m-%d %H:%M:%S} UTC, epoch {done.routing.epoch}{took}")
    for sentence in done.left:
        typer.echo(f"the legacy system cannot express: {sentence}")
