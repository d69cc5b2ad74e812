"""`datasets`, `show`, `files`, `get`: what there is, and getting it back."""

from pathlib import Path
from typing import Annotated

import typer

from dsplatform.cli.render import AsJson, emit, size, table, tell

Reference = Annotated[str, typer.Argument(metavar="DATASET[@REF]", help="A dataset, or one of its versions: number, latest, branch, tag.")]


def list_datasets(
    search: Annotated[str | None, typer.Argument(help="Words of the name or the description.")] = None,
    label: Annotated[str | None, typer.Option("--label", help="Only datasets with this label.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many, at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List the datasets."""
    from dsplatform.cli.session import opened

    with opened() as session:
        service = session.platform.datasets
        found = service.list_datasets(session.platform.actor(), search=search, label=label, limit=limit)
    if as_json:
        emit(list(found))
        return
    table(
        "",
        ["dataset", "owner", "versions", "latest", "when", "labels", "description"],
        [(d.slug, d.owner, d.versions, d.latest_version, d.latest_at, ", ".join(d.labels), d.description) for d in found],
        right=["versions", "latest"],
    )
    if not found:
        typer.echo("there is no dataset yet: drop a file, or `dsplatform ingest FILE --dataset NAME`")


def show(dataset: Reference, as_json: AsJson = False) -> None:
    """Show a dataset and one of its versions."""
    from dsplatform.cli.session import opened

    with opened() as session:
        actor = session.platform.actor()
        ref, version, components = session.platform.versions.find(actor, dataset)
        summary = session.platform.datasets.get(actor, ref.slug)
    if as_json:
        emit({"dataset": summary, "version": version, "components": list(components)})
        return
    lines = [
        ("dataset", summary.slug if summary.slug == summary.name else f"{summary.name} ({summary.slug})"),
        ("owner", summary.owner),
        ("description", summary.description),
        ("labels", ", ".join(summary.labels)),
        ("versions", summary.versions),
        ("shown", f"version {version.number} of {version.created_at.astimezone():%Y-%m-%d %H:%M:%S} by {version.author}"),
        ("message", version.message),
        ("pointers", ", ".join(version.pointers)),
        ("overlay", version.overlay_hash),
        ("content", f"{version.components} component(s), {size(version.total_bytes)}"),
    ]
    table("", ["", ""], [line for line in lines if line[1] not in ("", None)])
    _components(components)


def files(dataset: Reference, as_json: AsJson = False) -> None:
    """List the components of a version."""
    from dsplatform.cli.session import opened

    with opened() as session:
        _, _, components = session.platform.versions.find(session.platform.actor(), dataset)
    if as_json:
        emit(list(components))
    else:
        _components(components)


def _components(components: object) -> None:
    rows = [(c.name, c.file_type, size(c.file_size), c.content_hash) for c in components]  # type: ignore[attr-defined]
    table("", ["component", "type", "size", "SHA-256"], rows, right=["size"])


def get(
    dataset: Reference,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write into; made where it is missing.")],
    name: Annotated[str | None, typer.Option("--name", help="Only this component.")] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite files that are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the exact bytes of a version into a folder, verified while they are written."""
    from dsplatform.cli.session import opened
    from dsplatform.core.errors import NotFound

    with opened() as session:
        actor = session.platform.actor()
        ref, version, components = session.platform.versions.find(actor, dataset)
        wanted = [component for component in components if name in (None, component.name)]
        if not wanted:
            raise NotFound(f"{ref.slug}@{version.number} has no component {name!r}: `dsplatform files {dataset}` lists them")
        written = [
            session.platform.files.write_to(actor, component.file_id, output, component.name, overwrite=force) for component in wanted
        ]
    said = f"{len(written)} file(s) of {ref.slug}@{version.number} written to {output}, every hash verified"
    tell(said, [str(path) for path in written], as_json=as_json)
