"""`gc`, `why` and `usage`: what is stored, why it is still there, and how it goes."""

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated

import typer

from dsplatform.cli.render import AsJson, emit, size, table, tell

if TYPE_CHECKING:  # loading them takes time that `--help` does not have
    from dsplatform.files.gc import Garbage
    from dsplatform.files.inventory import DatasetUsage, Reasons


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")] = False,
    sweep: Annotated[bool, typer.Option("--sweep", help="Also list the whole store for objects that nothing names.")] = False,
    mark: Annotated[bool, typer.Option("--mark", help="First look at every file for some that no trigger reported.")] = False,
    restored: Annotated[
        bool, typer.Option("--restored", help="Only note that the database was restored: nothing is deleted then.")
    ] = False,
    clear_restore_flag: Annotated[bool, typer.Option("--clear-restore-flag", help="Only allow deleting again after a restore.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete what nothing names any more.

    A file whose last reference went is reviewed a day later, and its bytes are deleted after a grace period of eight days
    (DSPLATFORM_GC_GRACE_DAYS). It is safe to run at any time beside everything else. A sweep buries only what an earlier sweep has found,
    too: run it twice, some days apart.
    """
    from dsplatform.cli.session import opened

    with opened() as session:
        collector, actor = session.platform.gc, session.platform.actor()
        if restored:
            collector.restored(actor)
            said = "nothing is deleted until `dsplatform gc --clear-restore-flag`"
            tell(said, {"message": said}, as_json=as_json)
            return
        if clear_restore_flag:
            spared = collector.clear_restore_flag(actor)
            said = f"deleting is allowed again; {spared} object(s) that were to go are named by files again and stay"
            tell(said, {"message": said}, as_json=as_json)
            return
        if not dry_run:
            if mark:
                collector.mark(actor)
            collector.fold()
        garbage = collector.plan(actor, sweep=sweep) if dry_run else collector.collect(actor, sweep=sweep)
    if as_json:
        emit(garbage)
    else:
        _garbage(garbage)


def _garbage(garbage: "Garbage") -> None:
    kinds = [(field.metadata["meaning"], getattr(garbage, field.name)) for field in fields(garbage) if "meaning" in field.metadata]
    rows = [(meaning, amount.count, size(amount.bytes)) for meaning, amount in kinds if amount is not None]
    table("would be done" if garbage.dry_run else "done", ["what", "count", "bytes"], rows, right=["count", "bytes"])
    if garbage.failed:
        typer.echo(f"{garbage.failed} object(s) could not be deleted; they are tried again in ten minutes")
    if garbage.refusal:
        typer.echo(f"but a real run would refuse: {garbage.refusal}")


def why(
    file: Annotated[str, typer.Argument(metavar="HASH|FILE", help="A SHA-256 or its first digits (8 at least), or the id of a file.")],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="References of each kind to show, at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show why a content is stored: everything that names it, or how long it is still here without."""
    from dsplatform.cli.session import opened

    with opened() as session:
        reasons = session.platform.inventory.why(session.platform.actor(), file, limit=limit)
    if as_json:
        emit(reasons)
    else:
        _reasons(reasons)


def _reasons(reasons: "Reasons") -> None:
    if reasons.file_id is None:
        typer.echo(f"{reasons.content_hash} is not stored any more")
    else:
        damaged = "" if reasons.state == "ok" else f", {reasons.state}"
        typer.echo(
            f"file {reasons.file_id}, {reasons.content_hash}, {size(reasons.file_size or 0)}{damaged}: {reasons.references} reference(s)"
        )
    rows: list[tuple[object, ...]] = [
        ("component", f"{one.dataset}@{one.version_number}", one.component, None) for one in reasons.components
    ]
    rows += [("overlay", f"{one.dataset}@{one.version_number}", None, None) for one in reasons.overlays]
    rows += [("staged", f"by {one.user}", one.path, one.until) for one in reasons.staged]
    if reasons.review_after:
        rows.append(("waits for review", "it lost a reference", None, reasons.review_after))
    rows += [("upload under way", None, None, until) for until in reasons.uploads]
    rows += [("bytes to be deleted", one.reason, one.storage_key, one.until) for one in reasons.buried]
    if rows:
        table("", ["why", "by what", "name", "until"], rows)
    elif reasons.references == 0:
        typer.echo("nothing names it, and it is not on the list for review: `dsplatform gc --mark` puts it there")


def usage(
    dataset: Annotated[str | None, typer.Argument(metavar="[DATASET]", help="A dataset; without one, the whole store.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what takes how much space.

    Live: heads of branches, and tags. Historical: other versions. Pending: waits to be deleted. Shared: named by other datasets, too.
    """
    from dsplatform.cli.session import opened

    with opened() as session:
        platform = session.platform
        actor = platform.actor()
        if dataset is not None:
            one = platform.inventory.usage_of(actor, platform.datasets.open(actor, dataset))
        else:
            whole = platform.inventory.usage(actor)
    if as_json:
        emit(one if dataset is not None else whole)
        return
    if dataset is not None:
        _datasets([one])
        return
    parts = ("stored", "live", "historical", "staged", "pending", "buried", "named")
    table("", ["", "bytes"], [(part, size(getattr(whole, part))) for part in parts], right=["bytes"])
    _datasets(whole.datasets)


def _datasets(rows: "list[DatasetUsage] | tuple[DatasetUsage, ...]") -> None:
    columns = ["files", "live", "historical", "pending", "shared"]
    table(
        "",
        ["dataset", *columns],
        [(one.dataset, one.files, *(size(number) for number in (one.live, one.historical, one.pending, one.shared))) for one in rows],
        right=columns,
    )
