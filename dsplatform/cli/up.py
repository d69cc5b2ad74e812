"""`dsplatform up`: the whole platform on this machine, until Ctrl-C."""

import contextlib
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from dsplatform.core.errors import DsplatformError, Invalid, NotFound
from dsplatform.core.paths import shipped
from dsplatform.core.settings import Settings

if TYPE_CHECKING:  # these take half a second to import, which `--help` need not wait for
    from dsplatform.bootstrap import Platform
    from dsplatform.ingestion.model import InboxEntry
    from dsplatform.stack import Stack

PAUSE_SECONDS = 0.5
SEAL_SECONDS = 60
COLORS = {"api": "cyan", "code": "magenta", "webserver": "blue", "daemon": "green"}
SHOWN = 20
CAPTURES = 100
ENTRIES = 10_000


def up(
    *,
    demo: Annotated[bool, typer.Option("--demo", help="Drop the sample files, and show what becomes of them.")] = False,
    exit_when_idle: Annotated[bool, typer.Option("--exit-when-idle", help="Stop once everything dropped has its outcome.")] = False,
    no_dagster: Annotated[bool, typer.Option("--no-dagster", help="Do the daemon's work in this process, without Dagster.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every line that the processes print.")] = False,
) -> None:
    """Start the database, the API and Dagster, watch the drop folder; stop all of it at Ctrl-C."""
    from dsplatform.bootstrap import bootstrap
    from dsplatform.stack import running

    settings = Settings.from_env()
    if demo and settings.drop_url:
        raise Invalid(f"--demo drops its samples into a folder, but {settings.drop_url} is watched: unset DSPLATFORM_DROP_URL")
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)

    def step(what: str) -> None:
        console.print(f"[green]✓[/] {escape(what)}", highlight=False)

    def show(name: str, line: str) -> None:
        console.print(f"[{COLORS.get(name, 'white')}]{name:>9} │[/] {escape(line)}", highlight=False, soft_wrap=True)

    with (
        _stopped_by_signals(),
        running(settings, step, show, dagster=not no_dagster, verbose=verbose) as stack,
        bootstrap(settings, stack.database_url) as platform,
    ):
        session = _Session(console, settings, stack, platform)
        session.begin(demo=demo)
        if demo or exit_when_idle:
            session.until_idle()
        session.report()
        if not exit_when_idle:
            console.print("Stop with Ctrl-C.")
            session.until_interrupted()


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal all end the block in order, and count as success."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    words = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(word, interrupt) for word in words]
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        for word, handler in zip(words, before, strict=True):
            signal.signal(word, handler)


class _Session:
    """What a person sees while the platform is up."""

    def __init__(self, console: Console, settings: Settings, stack: "Stack", platform: "Platform") -> None:
        self._console = console
        self._settings = settings
        self._stack = stack
        self._platform = platform
        self._dropped: list[str] = []
        self._first_new = 0
        self._seal_at = 0.0

    def begin(self, *, demo: bool) -> None:
        """Says what is there already, and drops the samples that are missing."""
        known = self._platform.ingestion.outcomes(self._platform.system(), limit=1)
        self._first_new = max((entry.id for entry in known), default=0) + 1
        if known:
            self._console.print(f"Continuing with the data in {self._settings.home}.", highlight=False)
        if demo:
            self._dropped = drop_samples(self._platform, shipped("samples"), self._settings.drop_dir)
            if self._dropped:
                self._console.print(f"Dropped {len(self._dropped)} sample file(s) into {self._settings.drop_dir}.", highlight=False)

    def until_idle(self) -> None:
        """Shows the progress until everything in the drop folder has its outcome and nothing is in work."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task("files become versions", total=None)
            while not self._is_idle():
                done = sum(entry.decided_at is not None for entry in self._new_entries())
                progress.update(task, completed=done, total=max(len(self._dropped), done) or None)
                self._turn()

    def until_interrupted(self) -> None:
        """Keeps the processes alive, and without Dagster the files flowing."""
        while True:
            self._turn()

    def report(self) -> None:
        """The table of what became of the files, and where to go from here."""
        if entries := self._platform.ingestion.outcomes(self._platform.system(), limit=SHOWN):
            self._console.print(outcome_table(entries))
        addresses = Table.grid(padding=(0, 2))
        if self._stack.dagster_port is not None:
            addresses.add_row("Dagster", f"http://127.0.0.1:{self._stack.dagster_port}")
        addresses.add_row("API", f"http://127.0.0.1:{self._stack.api_port}/docs")
        addresses.add_row("Drop folder", f"{self._settings.drop_url.partition('?')[0] or self._settings.drop_dir}/<dataset>/<file>")
        addresses.add_row("Logs", str(self._settings.home / "logs"))
        self._console.print(addresses, highlight=False, soft_wrap=True)

    def _turn(self) -> None:
        self._stack.supervisor.check()
        if self._stack.dagster_port is None:
            try:
                self._platform.ingestion.discover()
                self._platform.ingestion.ingest_ready()
                if self._platform.captures_waiting():
                    self._platform.deliver()
                    for version_id in self._platform.schemas.pending(CAPTURES):
                        self._platform.schemas.capture_version_schema(version_id)
                if time.monotonic() >= self._seal_at:
                    self._platform.audit.seal()
                    self._seal_at = time.monotonic() + SEAL_SECONDS
            except DsplatformError as err:
                self._console.print(f"[yellow]![/] {escape(str(err))}; trying again", highlight=False)
        time.sleep(PAUSE_SECONDS)

    def _new_entries(self) -> Sequence["InboxEntry"]:
        return [entry for entry in self._platform.ingestion.outcomes(self._platform.system(), limit=ENTRIES) if entry.id >= self._first_new]

    def _is_idle(self) -> bool:
        found = self._platform.ingestion.discover()
        if not found.complete or found.files or self._platform.captures_waiting():
            return False
        return not self._stack.has_unfinished_runs()


def drop_samples(platform: "Platform", samples: Path, drop: Path) -> list[str]:
    """Copies `samples/<dataset>/<file>`, as a sender should: aside, renamed, marked done. Not those of a dataset that exists, nor those
    that were refused before."""
    actor = platform.actor()
    seen = {entry.source_path for entry in platform.ingestion.outcomes(platform.system(), limit=ENTRIES)}
    dropped = []
    for folder in sorted(path for path in samples.iterdir() if path.is_dir()):
        with contextlib.suppress(NotFound):
            platform.datasets.get(actor, folder.name)
            continue
        target = drop / folder.name
        target.mkdir(parents=True, exist_ok=True)
        for sample in sorted(path for path in folder.iterdir() if path.is_file() and f"{folder.name}/{path.name}" not in seen):
            part = target / f"{sample.name}.part"
            shutil.copyfile(sample, part)
            part.rename(target / sample.name)
            (target / f"{sample.name}.done").touch()
            dropped.append(f"{folder.name}/{sample.name}")
    return dropped


def outcome_table(entries: Sequence["InboxEntry"]) -> Table:
    """One row per file, oldest first."""
    table = Table(title="What became of the files", title_justify="left")
    for name in ("file", "dataset"):
        table.add_column(name, overflow="fold")
    for name in ("version", "rows", "columns"):
        table.add_column(name, justify="right")
    table.add_column("outcome", overflow="fold")
    for entry in sorted(entries, key=lambda entry: entry.id):
        outcome = {True: "[green]stored[/]", False: "[cyan]duplicate[/]", None: f"[yellow]{entry.state}[/]"}[entry.stored]
        if entry.reason:
            outcome = f"[red]refused[/]: {escape(entry.reason)}" if entry.state == "rejected" else f"{outcome}: {escape(entry.reason)}"
        table.add_row(
            escape(entry.source_path),
            escape(entry.dataset),
            *("" if number is None else f"{number:,}" for number in (entry.version_number, entry.rows, entry.columns)),
            outcome,
        )
    return table
