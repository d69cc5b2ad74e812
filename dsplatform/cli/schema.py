"""`schema`: the columns of a version, what their values are like, what changed, and the same for other systems."""

from base64 import b64encode
from enum import StrEnum
from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated

import typer

from dsplatform.cli.render import AsJson, emit, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dsplatform.cli.session import Session
    from dsplatform.schemas.comparing.changes import Comparison
    from dsplatform.schemas.comparing.evolution import Step
    from dsplatform.schemas.model import Column, ColumnProfile, ComponentSchema, Table, VersionSchema

    Profiles = Mapping[tuple[str, str | None], Sequence[ColumnProfile]]
    _Values = tuple[str, Table, int | None, Sequence[tuple[Column, ColumnProfile | None]]]


class Form(StrEnum):
    """What the columns of a table can be had as."""

    ARROW = "arrow"
    JSON_SCHEMA = "json-schema"
    DDL = "ddl"


def schema(
    dataset: Annotated[str, typer.Argument(metavar="DATASET[@REF]", help="A dataset, or one of its versions.")],
    stats: Annotated[bool, typer.Option("--stats", help="What the values of each column are like, over all rows.")] = False,
    compare: Annotated[
        str | None, typer.Option("--compare", metavar="REF", help="The earlier version: a REF of the same dataset, or DATASET@REF.")
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="The versions that changed the schema, with number and verdict.")] = False,
    form: Annotated[Form | None, typer.Option("--as", help="One table's columns for another system; ddl is PostgreSQL's.")] = None,
    component: Annotated[str | None, typer.Option("--component", help="With --stats and --as: of this file only.")] = None,
    sheet: Annotated[str | None, typer.Option("--sheet", help="With --stats and --as: of this sheet only.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the captured schema of a version: the columns of each layout, from all rows.

    --stats, --history, --compare and --as show something else instead. A verdict is `identical`, `compatible` (who asks for the old
    columns by name finds them, with types that hold the old values) or `breaking`; docs/schema-changes.md has them all.

    `dsplatform schema shop --compare 1`, `dsplatform schema shop@main --history`, `dsplatform schema shop --as ddl > shop.sql`.
    """
    from dsplatform.cli.session import opened
    from dsplatform.core.errors import Invalid, NotFound

    if sum((stats, history, compare is not None, form is not None)) > 1:
        raise Invalid("--stats, --history, --compare and --as are answers of their own: give one of them")
    if (component is not None or sheet is not None) and not stats and form is None:
        raise Invalid("--component and --sheet choose a table for --stats and --as: give one of those, too")
    with opened() as session:
        platform = session.platform
        actor = platform.actor()
        if history:
            _show_history(session, dataset, as_json=as_json)
            return
        ref, version, _ = platform.versions.find(actor, dataset)
        if compare is not None:
            of, earlier, _ = platform.versions.find(actor, compare if "@" in compare else f"#{ref.id}@{compare}")
            _show_changes(platform.schemas.compare(actor, ref, earlier.id, version.id, before_in=of), as_json=as_json)
            return
        captured = platform.schemas.schema_of(actor, ref, version.id)
        if form is not None:
            _show_export(captured, form, ref.slug, component, sheet, as_json=as_json)
        elif stats:
            chosen = _chosen(captured, component, every=as_json)
            profiles = platform.schemas.profiles(actor, ref, version.id, of=[item.name for item in chosen])
            found = list(_values(captured, chosen, sheet, profiles))
            if sheet is not None and not found:
                raise NotFound(f"no sheet {sheet!r} was read: `dsplatform schema` lists what there is")
            read = sum(item.layout is not None for item in captured.components)
            _show_stats(found, more=0 if component else read - len(chosen), as_json=as_json)
        else:
            if not as_json:
                step = platform.schemas.semver(actor, ref, version.id)
                typer.echo(f"{ref.slug}@{version.number}, data version {_number(step)}")
            _show_schema(captured, as_json=as_json)


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
            hidden = next((f", {mark}" for mark in ("very hidden", "hidden") if sheet.details.get(mark.replace(" ", "_"))), "")
            typer.echo(f"{sheet.name or 'rows'}: {rows:,} row(s), {len(sheet.columns):,} column(s){hidden}")
            table("", ["column", "type", "empty values"], [(c.name, _typed(c), "yes" if c.nullable else "no") for c in sheet.columns])
    for component in captured.components:
        if component.reason:
            typer.echo(f"{component.name}: {component.status}: {component.reason}")
        for note, value in component.notes.items():
            typer.echo(f"{component.name}: {note.replace('_', ' ')}: {value}")


def _number(step: "Step") -> str:
    """MAJOR.MINOR.PATCH, with a question mark while a version before is not captured."""
    return step.semver if step.certain else f"{step.semver} ?"


def _typed(column: "Column") -> str:
    return column.type if column.format is None else f"{column.type} ({column.format})"


def _chosen(captured: "VersionSchema", component: str | None, *, every: bool) -> "list[ComponentSchema]":
    """The components whose values are shown: the one that was named, or all, or the first of each layout."""
    from dsplatform.core.errors import NotFound

    read = [item for item in captured.components if item.layout is not None and component in {None, item.name}]
    if component is not None and not read:
        raise NotFound(f"no component {component!r} was read: `dsplatform schema` lists what there is")
    return read if every else list({item.layout: item for item in reversed(read)}.values())[::-1]


def _show_stats(found: "Sequence[_Values]", *, more: int, as_json: bool) -> None:
    if as_json:
        emit(
            [
                {
                    "component": name,
                    "sheet": sheet.name,
                    "rows": rows,
                    "columns": [{**column.plain(), "profile": profile and profile.plain()} for column, profile in columns],
                }
                for name, sheet, rows, columns in found
            ]
        )
        return
    for name, sheet, rows, columns in found:
        typer.echo(f"{name if sheet.name is None else f'{name}/{sheet.name}'}: {'?' if rows is None else f'{rows:,}'} row(s)")
        table(
            "",
            ["column", "type", "empty", "values", "range", "mean", "frequent"],
            [_figures(column, profile, rows) for column, profile in columns],
            right=["empty", "values"],
        )
    if more:
        typer.echo(f"{more} more file(s) of these layouts: --component NAME shows one, --json all")


def _values(captured: "VersionSchema", chosen: "Sequence[ComponentSchema]", sheet: str | None, profiles: "Profiles") -> "Iterator[_Values]":
    """The tables of these components with the profiles of their columns, None where there is none."""
    for item in chosen:
        layout = captured.layouts[item.layout or 0]
        for each, rows in zip(layout.tables, item.rows, strict=True):
            if sheet in {None, each.name}:
                known = profiles.get((item.name, each.name), ())
                yield item.name, each, rows, list(zip_longest(each.columns, known))


def _figures(column: "Column", profile: "ColumnProfile | None", rows: int | None) -> "list[str]":
    """One line of the statistics, narrow enough for a window of 80 letters."""
    if profile is None:
        return [column.name, _short(column.type, 20), *["-"] * 5]
    mean = "-" if profile.mean is None else f"{profile.mean:.6g}"
    if profile.lengths is not None:
        least, greatest, _ = profile.lengths
        mean = f"{least:,} long" if least == greatest else f"{least:,}-{greatest:,} long"
    return [
        column.name,
        _short(column.type, 20),
        "-" if profile.nulls is None else f"{profile.nulls:,}" + (f" ({profile.nulls / rows:.0%})" if rows and profile.nulls else ""),
        "-" if profile.distinct is None else f"{'' if profile.distinct_exact else '~'}{profile.distinct:,}",
        "-" if profile.low is None else f"{_short(str(profile.low), 20)} … {_short(str(profile.high), 20)}",
        mean,
        ", ".join(f"{_short(value, 12)} {count:,}x" for value, count in profile.top[:2]) or "-",
    ]


def _short(text: str, size: int) -> str:
    return text if len(text) <= size else f"{text[: size - 1]}…"


def _show_history(session: "Session", dataset: str, *, as_json: bool) -> None:
    from dsplatform.versioning.model import parse_reference

    platform = session.platform
    actor = platform.actor()
    name, ref = parse_reference(dataset)
    steps = platform.schemas.history(actor, platform.datasets.open(actor, name), ref)
    if as_json:
        emit(list(steps))
        return
    table("", ["version", "when", "number", "verdict", "what changed"], [_step(step) for step in steps], right=["version"])


def _step(step: "Step") -> "tuple[object, ...]":
    told = [*step.sentences[:10], *([f"and {len(step.sentences) - 10} more"] if len(step.sentences) > 10 else [])]
    number = _number(step)
    return step.version, step.created_at, number, step.verdict or "-", "\n".join(told) or "the first version"


def _show_export(captured: "VersionSchema", form: Form, slug: str, component: str | None, sheet: str | None, *, as_json: bool) -> None:
    from dsplatform.schemas import exports

    columns = exports.table_of(captured, component, sheet)
    match form:
        case Form.ARROW:
            made = exports.arrow_schema(columns)
            emit({"arrow_ipc_base64": b64encode(made.serialize()).decode()}) if as_json else typer.echo(made.to_string())
        case Form.JSON_SCHEMA:
            emit(exports.json_schema(columns, slug))
        case Form.DDL:
            made = exports.ddl(columns, slug)
            emit({"ddl": made}) if as_json else typer.echo(made, nl=False)


def _show_changes(changes: "Comparison", *, as_json: bool) -> None:
    if as_json:
        emit({**changes.plain(), "sentences": changes.sentences()})
        return
    typer.echo(f"verdict: {changes.verdict}")
    same: dict[tuple[str, str, str], list[str]] = {}
    for where, *rest in _changed(changes):
        same.setdefault((rest[0], rest[1], rest[2]), []).append(where)
    if same:
        rows = [(names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more", *rest) for rest, names in same.items()]
        table("", ["where", "what", "change", "how"], rows)


def _changed(changes: "Comparison") -> "Iterator[tuple[str, str, str, str]]":
    """(where, what, change, how) of all that changed."""
    followed = dict(changes.components_followed)
    yield from ((name, "component", "added", "") for name in changes.components_added)
    yield from (
        (name, "component", "removed", f"{followed[name]} stands for it" if name in followed else "") for name in changes.components_removed
    )
    yield from ((name, "component", "unreadable", "cannot be read any more") for name in changes.components_lost)
    yield from ((name, "component", "readable", "can be read again") for name in changes.components_restored)
    yield from ((name, "component", "unreadable", "") for name in changes.components_unread)
    for layout in changes.layouts:
        yield layout.component, layout.what, "changed", layout.sentence()
    for sheets in changes.sheets:
        for pair in sheets.renamed:
            yield (
                sheets.component,
                f"sheet {pair.before}",
                "renamed",
                f"to {pair.after} ({pair.confidence:.0%} of the columns are the same)",
            )
        told = {name for pair in sheets.renamed for name in (pair.before, pair.after)}
        for change in ("added", "removed", "hidden", "shown"):
            yield from ((sheets.component, f"sheet {name}", change, "") for name in getattr(sheets, change) if name not in told)
        if sheets.reordered:
            yield sheets.component, "sheets", "reordered", "they stand in another order"
    for item in changes.tables:
        where = item.component if item.table is None else f"{item.component}/{item.table}"
        told = {column.name for pair in item.renamed for column in (pair.before, pair.after)}
        for renamed in item.renamed:
            yield where, renamed.before.name, "renamed", f"to {renamed.after.name} ({renamed.after.type}, {renamed.confidence:.0%} sure)"
        yield from ((where, column.name, "removed", column.type) for column in item.removed if column.name not in told)
        yield from ((where, column.name, "added", column.type) for column in item.added if column.name not in told)
        for retyped in item.retyped:
            yield where, retyped.name, retyped.kind or ("rewritten" if retyped.rewritten else "nullability"), "; ".join(retyped.sentences())
        if item.reordered:
            yield where, "columns", "reordered", "they stand in another order"
