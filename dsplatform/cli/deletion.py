"""`rm`, `restore` and `retention`: what goes, when, and how it comes back."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from dsplatform.cli.render import AsJson, emit, size, table, tell
from dsplatform.core.errors import Invalid

if TYPE_CHECKING:
    from dsplatform.versioning.retention import Freed, Removal, RetentionPlan, RetentionReport

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")]


def rm(
    reference: Annotated[str, typer.Argument(metavar="DATASET[@REF]", help="A version, or without REF the whole dataset.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Delete a version, or a dataset.

    A version loses its files for good; its line in the history stays. What a branch or tag points at is refused. A dataset is hidden at
    once, and can be brought back for 30 days with `dsplatform restore`. The bytes go with the garbage collection, where nothing else
    names them.
    """
    from dsplatform.cli.session import opened
    from dsplatform.versioning.model import parse_reference

    name, ref = parse_reference(reference)
    with opened() as session:
        platform = session.platform
        actor = platform.actor()
        preview = platform.deletion.preview_dataset(actor, name) if ref is None else platform.deletion.preview_version(actor, reference)
        what = preview.dataset if ref is None else f"{preview.dataset}@{preview.versions[0]}"
        if dry_run:
            tell(_sentence(what, preview, "would go"), preview, as_json=as_json)
            return
        if not yes:
            _ask(what, preview)
        if ref is None:
            deleted = platform.datasets.delete_dataset(actor, name)
            until = f"{deleted.restorable_until.astimezone():%Y-%m-%d %H:%M}"
            tell(f"{what} is deleted; `dsplatform restore {what}` brings it back until {until}", deleted, as_json=as_json)
        else:
            gone = platform.deletion.delete_version(actor, reference)
            tell(_sentence(what, gone, "are deleted"), gone, as_json=as_json)


def _at_a_terminal() -> bool:
    return sys.stdin.isatty()


def _ask(what: str, preview: "Removal") -> None:
    if not _at_a_terminal():
        raise Invalid(f"{what} is not deleted: nobody can be asked here; look with --dry-run and repeat with --yes")
    typer.confirm(f"{_sentence(what, preview, 'go')}. Delete?", abort=True, err=True)


def _sentence(what: str, removal: "Removal", verb: str) -> str:
    versions = f"{len(removal.versions)} version(s) with " if "@" not in what else ""
    return f"{what}: {versions}{removal.components} component(s) {verb}; {_freed(removal.freed)}"


def _freed(freed: "Freed") -> str:
    return f"{size(freed.bytes)} in {freed.files} file(s) that nothing else names"


def restore(
    dataset: Annotated[str | None, typer.Argument(help="A deleted dataset; without it, those that can be restored are listed.")] = None,
    as_name: Annotated[str | None, typer.Option("--as", metavar="NAME", help="Restore it under another name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a deleted dataset back, or list those of the last 30 days."""
    from dsplatform.cli.session import opened

    with opened() as session:
        platform = session.platform
        actor = platform.actor()
        if dataset is None:
            deleted = platform.datasets.restorable(actor)
        else:
            back = platform.datasets.restore_dataset(actor, dataset, new_name=as_name)
    if dataset is not None:
        tell(f"{back.slug} is back" + ("" if back.name == back.slug else f", as {back.name!r}"), back, as_json=as_json)
    elif as_json:
        emit(list(deleted))
    elif deleted:
        rows = [(d.slug, d.name, d.owner, d.versions, d.deleted_at, d.restorable_until) for d in deleted]
        table("", ["dataset", "name", "owner", "versions", "deleted", "restorable until"], rows, right=["versions"])
    else:
        typer.echo("no dataset was deleted in the last 30 days")


def retention(
    dataset: Annotated[str | None, typer.Argument(help="A dataset; without it, what the rules of all let go.")] = None,
    keep_last: Annotated[int | None, typer.Option("--keep-last", metavar="N", help="Keep the newest N versions.")] = None,
    keep_days: Annotated[int | None, typer.Option("--keep-days", metavar="D", help="Keep versions younger than D days.")] = None,
    off: Annotated[bool, typer.Option("--off", help="Drop the rule: everything stays.")] = False,
    dry_run: DryRun = False,
    apply: Annotated[bool, typer.Option("--apply", help="Without DATASET: delete now, as the nightly job does.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show or set which old versions of a dataset go by themselves, every night.

    A version goes when neither part of the rule keeps it: it is not among the newest N, and not younger than D days. What a branch or a
    tag points at always stays. Setting a rule replaces the earlier one; --dry-run tries it without setting it.
    """
    from dsplatform.cli.session import opened
    from dsplatform.versioning.retention import Rule

    rule = None if keep_last is None and keep_days is None else Rule(keep_last, keep_days)
    if dataset is None and (rule or off):
        raise Invalid("a retention rule belongs to a dataset: name it")
    if (rule is not None) + off + apply > 1 or (apply and (dataset is not None or dry_run)):
        raise Invalid("these options exclude each other: see `dsplatform retention --help`")
    with opened() as session:
        deletion, actor = session.platform.deletion, session.platform.actor()
        if dataset is None:
            report = deletion.apply_retention(actor, dry_run=not apply)
            reaped = deletion.reap(actor) if apply else []
        elif (rule or off) and not dry_run:
            plan = deletion.set_retention(actor, dataset, rule)
        else:
            plan = deletion.retention(actor, dataset, rule)
    if dataset is not None:
        _plan(plan, as_json=as_json)
    elif as_json:
        emit({**report.plain(), "reaped": [ref.slug for ref in reaped]})
    else:
        _report(report, "were deleted" if apply else "would go")
        for ref in reaped:
            typer.echo(f"{ref.slug}, deleted 30 days ago, is gone for good")


def _plan(plan: "RetentionPlan", *, as_json: bool) -> None:
    if as_json:
        emit(plan)
    elif plan.rule is None:
        typer.echo(f"{plan.dataset} has no retention rule: every version stays until it is deleted")
    else:
        typer.echo(f"{plan.dataset} keeps {plan.rule}")
        shown = ", ".join(map(str, plan.removal.versions[:20])) + (", …" if len(plan.removal.versions) > 20 else "")
        typer.echo(f"goes now: {f'version(s) {shown}: {_freed(plan.removal.freed)}' if plan.removal.versions else 'nothing'}")


def _report(report: "RetentionReport", verb: str) -> None:
    if report.removals:
        rows = [(r.dataset, len(r.versions), r.components, r.freed.files, size(r.freed.bytes)) for r in report.removals]
        columns = ["dataset", "versions", "components", "files freed", "bytes freed"]
        table("", columns, rows, right=columns[1:])
    total = sum(len(removal.versions) for removal in report.removals)
    typer.echo(f"{total} version(s) {verb}; {_freed(report.freed)}")
