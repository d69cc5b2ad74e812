"""`log`, `diff`, `merge`, `branch` and `tag`: how versions hang together."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from dsplatform.cli.render import AsJson, emit, size, table, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dsplatform.core.domain import Actor
    from dsplatform.core.values import DatasetRef
    from dsplatform.versioning.branches import BranchService
    from dsplatform.versioning.comparison import ComponentChange
    from dsplatform.versioning.graph import Node
    from dsplatform.versioning.merging import Choice
    from dsplatform.versioning.model import Pointer, Version

branch = typer.Typer(
    help="Branches: names that move to each new version. `main` is always there, and new branches begin at it unless you say where.",
    no_args_is_help=True,
)
tag = typer.Typer(help="Tags: names that never move. A version that a tag names is never deleted.", no_args_is_help=True)

Dataset = Annotated[str, typer.Argument(metavar="DATASET", help="A dataset.")]
At = Annotated[
    str, typer.Argument(metavar="DATASET[@REF]", help="Where it begins: number, latest, branch or tag; without REF at the head of main.")
]
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="Slashes are fine; no spaces, '..', '@', leading '-'; no plain number, not 'latest'; 255 bytes at most."
    ),
]
Reference = Annotated[str, typer.Argument(metavar="DATASET[@REF]", help="A dataset, or one of its versions: number, latest, branch, tag.")]


@contextmanager
def _opened(dataset: str) -> "Iterator[tuple[BranchService, Actor, DatasetRef]]":
    from dsplatform.cli.session import opened

    with opened() as session:
        platform = session.platform
        actor = platform.actor()
        yield platform.branches, actor, platform.datasets.open(actor, dataset)


def log(
    dataset: Reference,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many, at most.")] = 20,
    before: Annotated[int | None, typer.Option("--before", help="Of a whole dataset: only versions with a lower number.")] = None,
    first_parent: Annotated[bool, typer.Option("--first-parent", help="With REF: leave out what was merged in.")] = False,
    graph: Annotated[bool, typer.Option("--graph", help="Draw how the versions hang together.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the versions of a dataset, newest first; with @REF those that this version stands on, each before its parents.

    --graph draws them: `*` is a version, lines lead to its parents. With --json it gives nodes, edges and the number of lanes: a node's
    row is its place in the list, an edge's path the points (row, lane) that its line connects.
    """
    from dsplatform.cli.session import opened
    from dsplatform.core.errors import Invalid
    from dsplatform.versioning.model import parse_reference

    name, ref = parse_reference(dataset)
    if before is not None and (ref is not None or graph):
        raise Invalid("--before pages through a whole dataset: leave out @REF and --graph")
    if first_parent and (ref is None or graph):
        raise Invalid("--first-parent follows one version: name it as DATASET@REF, without --graph")
    with opened() as session:
        platform = session.platform
        actor = platform.actor()
        of = platform.datasets.open(actor, name)
        if graph:
            picture = platform.branches.picture(actor, of, ref, limit=limit)
            emit(picture) if as_json else _draw(picture.nodes)
            return
        if ref is None:
            versions = platform.versions.list_versions(actor, of, before=before, limit=limit)
        else:
            versions = platform.branches.history(actor, of, ref, first_parent=first_parent, limit=limit)
    if as_json:
        emit(list(versions))
        return
    _versions(versions)
    if ref is None and versions and versions[-1].number > 1:
        typer.echo(f"older ones: --before {versions[-1].number}")


def _versions(versions: "Sequence[Version]") -> None:
    table(
        "",
        ["version", "parent", "when", "author", "files", "size", "pointers", "message"],
        [
            (
                v.number,
                v.parent_number if v.merge_parent_number is None else f"{v.parent_number}, {v.merge_parent_number}",
                v.created_at,
                v.author,
                v.components,
                size(v.total_bytes),
                ", ".join(v.pointers),
                v.message if v.purged_at is None else f"(deleted {v.purged_at:%Y-%m-%d}) {v.message}",
            )
            for v in versions
        ],
        right=["version", "parent", "files", "size"],
    )


def _draw(nodes: "Sequence[Node]") -> None:
    for node in nodes:
        first, *others = node.drawing
        version = node.version
        names = ", ".join([*node.branches, *(f"tag: {name}" for name in node.tags), *(["deleted"] if version.purged_at else [])])
        title = (version.message.splitlines() or [""])[0]
        parts = [first, str(version.number), f"({names})" if names else "", f"{version.created_at.astimezone():%Y-%m-%d %H:%M}"]
        typer.echo(" ".join(part for part in [*parts, version.author, title] if part))
        for line in others:
            typer.echo(line)


def diff(
    before: Annotated[str, typer.Argument(metavar="DATASET[@REF]", help="The version to compare with.")],
    after: Annotated[str, typer.Argument(metavar="DATASET[@REF]", help="The other version, of the same or of another dataset.")],
    as_json: AsJson = False,
) -> None:
    """Show what differs from one version to another: components added, removed, changed and renamed, and the columns of changed ones.

    `dsplatform diff sales@1 sales@latest`, `dsplatform diff sales@main sales@try`, or across datasets: `dsplatform diff sales archive`.
    """
    from dsplatform.cli.session import opened

    with opened() as session:
        found = session.platform.branches.diff(session.platform.actor(), before, after)
    if as_json:
        emit(found)
        return
    if found.changes:
        table(
            "",
            ["change", "component", "size", "growth", "SHA-256"],
            [_changed(change) for change in found.changes],
            right=["size", "growth"],
        )
    if found.columns:
        rows = [(f"{c.component}/{c.table}" if c.table else c.component, c.column, c.before, c.after) for c in found.columns]
        table("", ["component", "column", "type before", "type after"], rows)
    growth = found.after.total_bytes - found.before.total_bytes
    kinds = [change.kind for change in found.changes]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)) or "nothing differs"
    typer.echo(f"{found.before.dataset}@{found.before.number} to {found.after.dataset}@{found.after.number}: {counts}, {_signed(growth)}")


def _changed(change: "ComponentChange") -> tuple[object, ...]:
    old, new = change.before, change.after
    here = new or old
    if here is None:
        raise AssertionError("a difference has at least one side")
    renamed = old and new and old.name != new.name
    hashes = [part.content_hash[:12] for part in (old, new) if part]
    return (
        change.kind,
        f"{old.name} → {new.name}" if old and new and renamed else here.name,
        size(here.file_size),
        _signed(change.growth),
        " → ".join(dict.fromkeys(hashes)),
    )


def _signed(count: int) -> str:
    return f"{'+' if count >= 0 else '-'}{size(abs(count))}"


def merge(
    theirs: Annotated[str, typer.Argument(metavar="DATASET@REF", help="What to merge: a branch, a tag or a number.")],
    into: Annotated[str, typer.Option("--into", "-i", metavar="BRANCH", help="The branch that takes it.")] = "main",
    strategy: Annotated[
        str | None, typer.Option("--strategy", "-s", metavar="ours|theirs", help="Who wins where both changed a component; ours is --into.")
    ] = None,
    choose: Annotated[
        list[str] | None,
        typer.Option("--choose", "-c", metavar="NAME=ours|theirs|base", help="Whose state of one contested component to take. Repeatable."),
    ] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="What the new version says.")] = "",
    as_json: AsJson = False,
) -> None:
    """Bring what another branch changed into a branch, component by component.

    What only one side changed since their common ancestor is taken over. Where both changed the same component, nothing is merged and
    the conflict names each: decide with --strategy or --choose. A branch that is only behind is moved, without a new version.
    """
    from dsplatform.core.errors import Invalid
    from dsplatform.versioning.model import parse_reference

    name, ref = parse_reference(theirs)
    if ref is None:
        raise Invalid(f"{theirs!r} names a dataset: write {theirs}@REF for the branch, tag or number to merge")
    if strategy not in {None, "ours", "theirs"}:
        raise Invalid(f"--strategy {strategy!r} is unknown: ours or theirs")
    from dsplatform.versioning.merging import Choice

    choices = dict(_choice(raw) for raw in choose or ())
    with _opened(name) as (service, actor, dataset):
        done = service.merge(
            actor, dataset, ref, into=into, strategy=Choice(strategy) if strategy else None, choices=choices, message=message
        )
    if as_json:
        emit(done)
    elif done.kind == "merged":
        counts = f"{done.added} added, {done.updated} updated, {done.removed} removed"
        typer.echo(f"merged {ref} into {done.branch}: {dataset.slug}@{done.version_number}, {counts}")
    elif done.kind == "fast-forwarded":
        typer.echo(f"{done.branch} was behind {ref} and moved to version {done.version_number}")
    else:
        typer.echo(f"already merged: {done.branch} at version {done.version_number} holds {ref}")


def _choice(raw: str) -> tuple[str, "Choice"]:
    from dsplatform.core.errors import Invalid
    from dsplatform.versioning.merging import Choice

    name, mark, side = raw.rpartition("=")
    if not name or not mark or side not in set(Choice):
        raise Invalid(f"--choose {raw!r} is not NAME=ours, NAME=theirs or NAME=base")
    return name, Choice(side)


# --- branches and tags -----------------------------------------------------------------------------------------------------------


def _pointers(pointers: "Sequence[Pointer]", none: str, *, as_json: bool) -> None:
    if as_json:
        emit(list(pointers))
    elif pointers:
        rows = [(p.name, p.version_number, p.moved_at, p.created_by) for p in pointers]
        table("", ["name", "version", "since", "made by"], rows, right=["version"])
    else:
        typer.echo(none)


def _pointer(said: str, pointer: "Pointer", *, as_json: bool) -> None:
    tell(f"{'tag' if pointer.is_tag else 'branch'} {pointer.name} {said} version {pointer.version_number}", pointer, as_json=as_json)


@branch.command("list")
def list_branches(dataset: Dataset, as_json: AsJson = False) -> None:
    """List the branches of a dataset and where they are."""
    with _opened(dataset) as (service, actor, ref):
        found = service.list_branches(actor, ref)
    _pointers(found, "no branch yet: the first version makes main", as_json=as_json)


@branch.command("create")
def create_branch(at: At, name: Name, as_json: AsJson = False) -> None:
    """Make a branch. Commits to it are made with `dsplatform ingest --branch NAME`."""
    from dsplatform.versioning.model import parse_reference

    dataset, place = parse_reference(at)
    with _opened(dataset) as (service, actor, ref):
        made = service.create_branch(actor, ref, name, place)
    _pointer("begins at", made, as_json=as_json)


@branch.command("move")
def move_branch(
    dataset: Dataset,
    name: Name,
    to: Annotated[str, typer.Argument(metavar="REF", help="Where to: number, latest, branch or tag.")],
    seen: Annotated[int, typer.Option("--from", metavar="NUMBER", help="The version that it is at. If it has moved on, nothing is done.")],
    as_json: AsJson = False,
) -> None:
    """Move a branch to any version, forward or back, provided that it still is where you saw it. No version is lost."""
    from dsplatform.cli.session import opened

    with opened() as session:
        platform = session.platform
        actor = platform.actor()
        ref = platform.datasets.open(actor, dataset)
        expected = platform.versions.id_of(actor, ref, str(seen))
        moved = platform.branches.update_branch(actor, ref, name, to, expected_head=expected)
    _pointer("is at", moved, as_json=as_json)


@branch.command("rename")
def rename_branch(
    dataset: Dataset, name: Name, new_name: Annotated[str, typer.Argument(metavar="NEW", help="The new name.")], as_json: AsJson = False
) -> None:
    """Give a branch another name; not main."""
    with _opened(dataset) as (service, actor, ref):
        renamed = service.rename_branch(actor, ref, name, new_name)
    _pointer("is at", renamed, as_json=as_json)


@branch.command("delete")
def delete_branch(dataset: Dataset, name: Name, as_json: AsJson = False) -> None:
    """Delete a branch; not main. Its versions stay and keep their numbers, until retention or `rm` takes them."""
    with _opened(dataset) as (service, actor, ref):
        deleted = service.delete_branch(actor, ref, name)
    _pointer("is deleted; it was at", deleted, as_json=as_json)


@tag.command("list")
def list_tags(dataset: Dataset, as_json: AsJson = False) -> None:
    """List the tags of a dataset."""
    with _opened(dataset) as (service, actor, ref):
        found = service.list_tags(actor, ref)
    _pointers(found, "no tag", as_json=as_json)


@tag.command("create")
def create_tag(at: At, name: Name, as_json: AsJson = False) -> None:
    """Give a version a name that never moves."""
    from dsplatform.versioning.model import parse_reference

    dataset, place = parse_reference(at)
    with _opened(dataset) as (service, actor, ref):
        made = service.create_tag(actor, ref, name, place)
    _pointer("names", made, as_json=as_json)


@tag.command("delete")
def delete_tag(dataset: Dataset, name: Name, as_json: AsJson = False) -> None:
    """Delete a tag. Its version stays, until retention or `rm` takes it."""
    with _opened(dataset) as (service, actor, ref):
        deleted = service.delete_tag(actor, ref, name)
    _pointer("is deleted; it named", deleted, as_json=as_json)
