"""`dsplatform`, or short `dsp`: the commands, and what becomes of errors."""

import atexit
import gc
import json
import sys
from typing import Annotated

import typer

from dsplatform.cli import (
    audit,
    contract,
    credentials,
    datasets,
    deletion,
    history,
    ingest,
    legacy_switch,
    maintenance,
    people,
    permissions,
    preview,
    schema,
    storage,
)
from dsplatform.cli.up import up
from dsplatform.core.errors import Conflict, Denied, DsplatformError, Invalid, NotFound, Unavailable

EXIT_CODES = {Invalid: 2, Denied: 3, NotFound: 4, Conflict: 5, Unavailable: 6}
"""By kind of error. 0: done; 1: something that should not happen; 7: done, but some files were refused."""

app = typer.Typer(
    name="dsplatform",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Keeps every file that arrives, once, as versions of datasets.\n\n"
    "Start with `dsplatform up --demo`, or take a file in with `dsplatform ingest FILE --dataset NAME`. "
    "A version is named DATASET@REF: a number, `latest`, a branch or a tag; DATASET alone is the head of `main`.",
    epilog="Exit codes: 0 done, 2 invalid input, 3 denied, 4 not found, 5 conflict, 6 something we need does not answer, "
    "7 done but some files were refused. Settings: environment variables DSPLATFORM_*, see the README.",
)
app.command()(up)
app.command()(ingest.ingest)
app.command()(ingest.inbox)
app.command("datasets")(datasets.list_datasets)
app.command()(datasets.show)
app.command()(history.log)
app.command()(datasets.files)
app.command()(datasets.get)
app.command()(schema.schema)
app.command()(preview.preview)
app.command()(storage.usage)
app.command()(storage.why)
app.command()(storage.gc)
app.command()(deletion.rm)
app.command()(deletion.restore)
app.command()(deletion.retention)
app.command()(maintenance.verify)
app.command()(maintenance.scrub)
app.command()(history.diff)
app.command()(history.merge)
app.command()(permissions.grant)
app.command()(permissions.revoke)
app.command()(permissions.grants)
app.command()(permissions.can)
app.command("who-can")(permissions.who_can)
app.command()(credentials.login)
app.command()(credentials.logout)
app.command()(credentials.whoami)
app.add_typer(credentials.app, name="tokens")
app.add_typer(people.users, name="users")
app.add_typer(people.groups, name="groups")
app.add_typer(people.roles, name="roles")
app.add_typer(audit.app, name="audit")
app.add_typer(permissions.file, name="file")
app.add_typer(history.branch, name="branch")
app.add_typer(history.tag, name="tag")
app.add_typer(contract.app, name="contract")
app.add_typer(legacy_switch.app, name="legacy")
app.add_typer(maintenance.db, name="db")


def _version(wanted: bool) -> None:
    if wanted:
        from dsplatform import __version__

        typer.echo(f"dsplatform {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None: ...


def exit_code(error: DsplatformError) -> int:
    """The exit code of an error's kind."""
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)


def main() -> None:
    """The console script: an error of ours becomes one sentence and an exit code."""
    # A command lives for seconds and makes no cycles to speak of; looking for them takes a sixth of its time, and at its end as much.
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)
    try:
        app()
    except DsplatformError as err:
        if "--json" in sys.argv:
            print(json.dumps({"error": {"code": err.code, "message": str(err)}}), file=sys.stderr)
        else:
            print(f"dsplatform: {err}", file=sys.stderr)
        sys.exit(exit_code(err))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
