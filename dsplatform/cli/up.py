"""`dsplatform up`: the whole platform on this machine, until Ctrl-C."""

import contextlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dsplatform.bootstrap import Platform
    from dsplatform.stack import Stack

PAUSE_SECONDS = 0.5


def up(
    demo: Annotated[bool, typer.Option("--demo", help="Drop the sample files, and show what becomes of them.")] = False,
    exit_when_idle: Annotated[
        bool, typer.Option("--exit-when-idle", help="Stop once everything dropped has its outcome.")
    ] = False,
    no_dagster: Annotated[
        bool, typer.Option("--no-dagster", help="Without Dagster: this process itself does the daemon's work.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every line that the processes print.")] = False,
) -> None:
    """Start database, API, Dagster and its daemon; watch the drop folder; stop all of it at Ctrl-C."""
    from dsplatform.bootstrap import bootstrap
    from dsplatform.cli.screen import Screen
    from dsplatform.core.settings import Settings
    from dsplatform.stack import running
