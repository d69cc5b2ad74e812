"""`schema`: the columns of a version, and what changed between two."""

from typing import TYPE_CHECKING, Annotated

import typer

from dsplatform.cli.render import AsJson, emit, table

if TYPE_CHECKING:
    from dsplatform.schemas.comparison import Comparison
    from dsplatform.schemas.model import VersionSchema


def schema(
    dataset: Annotated[str, typer.Argument(metavar="DATASET[@REF]", help="A dataset, or one of its versions.")],
    compare: Annotated[
        str | None, typer.Option("--compare", metavar="REF", help="The earlier version: a REF of the same dataset, or DATASET@REF.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the captured schema of a version, or what changed since another one."""
    from dsplatform.cli.session import opened

    with opened() as session:
        platform = session.platform
        actor = platform.actor()
        ref, version, _ = platform.versions.find(actor, dataset)
        if compare is not None:
            _, earlier, _ = platform.versions.find(actor, compare if "@" in compare else f"{ref.slug}@{compare}")
            _show_changes(platform.schemas.compare(earlier.id, version.id), as_json=as_json)
        else:
            _show_schema(platform.schemas.schema_of(version.id), as_json=as_json)


def _show_schema(captured: "VersionSchema", *, as_json: bool) -> None:
    if as_json:
        emit(captured)
        return
    for index, layout in enumerate(captured.layouts):
        members = [component for component in captured.components if component.layout == index]
        names = ", ".join(component.name for component in members[:5]) + (f" and {len(members) - 5} more" if len(members) > 5 else "")
        details = ", ".join(f"{key} {value!r}" for key, value in layout.details.items() if value not in (None, ""))
        typer.echo(f"{names}: {layout.format}" + (f" ({details})" if details else ""))
        for position, sheet in enumerate(layout.tables):
            rows = sum(component.rows[position] or 0 for component in members)
            table(
                f"{sheet.name or 'rows'}: {rows:,} row(s), {len(sheet.columns)} column(s)",
                ["column", "type", "empty values"],
                [(column.name, column.type, "yes" if column.nullable else "no") for column in sheet.columns],
            )
    for component in captured.components:
        if component.reason:
            typer.echo(f"{component.name}: {component.status}: {component.reason}")
        for note, value in component.notes.items():
            typer.echo(f"{component.name}: {note.replace('_', ' ')}: {value}")


def _show_changes(changes: "Comparison", *, as_json: bool) -> None:
    if as_json:
        emit(changes)
        return
    typer.echo(f"verdict: {changes.verdict}")
    rows = [(name, "", "component added", "") for name in changes.components_added]
    rows += [(name, "", "component removed", "") for name in changes.components_removed]
    rows += [(name, "", "cannot be read any more", "") for name in changes.components_lost]
    for change in changes.tables:
        where = change.component if change.table is None else f"{change.component}/{change.table}"
        rows += [(where, column.name, "added", column.type) for column in change.added]
        rows += [(where, column.name, "removed", column.type) for column in change.removed]
        rows += [(where, retyped.name, "changed", retyped.sentence()) for retyped in change.retyped]
        rows += [(where, "", "order changed", "")] * change.reordered
    if rows:
        table("", ["component", "column", "change", "type"], rows)
