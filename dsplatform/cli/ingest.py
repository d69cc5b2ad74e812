"""`ingest` and `inbox`: taking files in, and what became of those that were dropped."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dsplatform.cli.render import AsJson, emit, size, table

if TYPE_CHECKING:
    from dsplatform.cli.session import Session
    from dsplatform.ingestion.model import IngestReport

SOME_REFUSED = 7


def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders, which are taken with everything below them.")],
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="The dataset that gets a version; made where it is missing.")],
    branch: Annotated[str, typer.Option("--branch", "-b", help="The branch that the version goes to.")] = "main",
    message: Annotated[str, typer.Option("--message", "-m", help="Why this version was made.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Leave out what the version before had and PATH has not.")] = False,
    no_dagster: Annotated[bool, typer.Option("--no-dagster", help="Do it without a Dagster run.")] = False,
    no_schema: Annotated[bool, typer.Option("--no-schema", help="Leave the schema to the next sensor tick of `dsplatform up`.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take files into one new version of a dataset.

    The files stay where they are. Names of components are the file names, or the relative paths below a named folder. What changes
    nothing makes no version. By default the work is a Dagster run, which the UI shows.
    """
    from dsplatform.cli.session import opened

    with _progress(quiet=as_json) as progress, opened(progress) as session:
        if no_dagster:
            report, run_id = _without_dagster(session, paths, dataset, branch, message, replace=replace, capture=not no_schema), None
        else:
            report, run_id = _with_dagster(session, paths, dataset, branch, message, replace=replace, capture=not no_schema)
        captured = _figures(session, report)
    _show(report, captured, run_id, as_json=as_json)
    if report.rejected or report.postponed:
        raise typer.Exit(SOME_REFUSED)


def _without_dagster(
    session: "Session", paths: list[Path], dataset: str, branch: str, message: str, *, replace: bool, capture: bool
) -> "IngestReport":
    platform = session.platform
    report = platform.ingestion.ingest_paths(platform.actor(), paths, dataset, branch=branch, message=message, replace_all=replace)
    platform.deliver()
    if capture:
        for version in report.versions:
            if version.created:
                platform.schemas.capture_version_schema(version.version_id)
    return report


def _with_dagster(
    session: "Session", paths: list[Path], dataset: str, branch: str, message: str, *, replace: bool, capture: bool
) -> tuple["IngestReport", str]:
    from dsplatform.defs.assets import IngestConfig
    from dsplatform.defs.inprocess import run_ingest

    config = IngestConfig(
        paths=[str(path.absolute()) for path in paths],
        dataset=dataset,
        branch=branch,
        message=message,
        replace=replace,
        capture_schemas=capture,
    )
    return run_ingest(session.platform, session.dagster_home, session.dagster_database_url, config)


def _figures(session: "Session", report: "IngestReport") -> dict[tuple[int | None, str], tuple[int | None, int]]:
    from dsplatform.core.errors import Gone, Unavailable

    found: dict[tuple[int | None, str], tuple[int | None, int]] = {}
    actor = session.platform.actor()
    for version in report.versions:
        with suppress(Unavailable, Gone):  # not captured yet, or deleted since
            schema = session.platform.schemas.schema_of(actor, version.dataset, version.version_id)
            found |= {(version.version_id, name): figures for name, figures in schema.figures().items()}
    return found


def _show(
    report: "IngestReport", captured: dict[tuple[int | None, str], tuple[int | None, int]], run_id: str | None, *, as_json: bool
) -> None:
    if as_json:
        files = [
            {**outcome.plain(), "rows": figures[0], "columns": figures[1]}
            for outcome in [*report.outcomes, *report.postponed]
            for figures in [captured.get((outcome.version_id, outcome.component), (None, None))]
        ]
        emit({**report.figures(), "run_id": run_id, "versions_made": report.versions, "files": files})
        return
    shown = [*report.rejected, *report.postponed, *(outcome for outcome in report.outcomes if outcome.reason is None)]
    rows = []
    for outcome in shown[:50]:
        row_count, columns = captured.get((outcome.version_id, outcome.component), (None, None))
        what = outcome.reason or outcome.note or ("stored" if outcome.stored else "duplicate")
        rows.append(
            (outcome.component or outcome.path, outcome.dataset, outcome.version_number, row_count, columns, size(outcome.size), what)
        )
    table("", ["file", "dataset", "version", "rows", "columns", "size", "outcome"], rows, right=["version", "rows", "columns", "size"])
    if len(shown) > 50:
        typer.echo(f"... and {len(shown) - 50} more")
    for version in report.versions:
        name = f"{version.dataset.slug}@{version.version_number}"
        if version.quarantined_from:
            typer.echo(f"{name} was kept from {version.quarantined_from} by its contract and is on {version.branch}:")
            for sentence in version.breaches[:20]:
                typer.echo(f"  {sentence}")
            typer.echo(
                f"take it: `dsplatform contract accept {name} --reason WHY`; or leave it: `dsplatform contract dismiss {name} --reason WHY`"
            )
        elif version.created:
            typer.echo(f"{name} on {version.branch}: {version.added} added, {version.updated} updated, {version.removed} removed")
        else:
            typer.echo(f"{name} on {version.branch}: nothing changed, so there is no new version")


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int], None] | None]:
    """A counter of the bytes that were read, on a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

    columns = (TextColumn("reading"), DownloadColumn(), TransferSpeedColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda count: bar.advance(task, count)


def inbox(
    failed: Annotated[bool, typer.Option("--failed", help="Only the files that were refused.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many, at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show what was dropped, and what became of it."""
    from dsplatform.cli.session import opened
    from dsplatform.ingestion.model import InboxState

    with opened() as session:
        entries = session.platform.ingestion.outcomes(session.platform.actor(), limit=limit, only=InboxState.REJECTED if failed else None)
    if as_json:
        emit(list(entries))
        return
    table(
        "",
        ["file", "dataset", "version", "rows", "columns", "size", "outcome"],
        [(e.source_path, e.dataset, e.version_number, e.rows, e.columns, size(e.file_size), e.reason or e.state) for e in entries],
        right=["version", "rows", "columns", "size"],
    )
    if not entries:
        typer.echo("nothing was refused" if failed else "nothing was dropped yet")
