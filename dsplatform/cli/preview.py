"""`preview`: rows of a table, to look at."""

from typing import Annotated

import typer

from dsplatform.cli.render import AsJson, table


def preview(
    dataset: Annotated[str, typer.Argument(metavar="DATASET[@REF]", help="A dataset, or one of its versions.")],
    component: Annotated[str | None, typer.Option("--component", help="The file; needed where the version has several.")] = None,
    sheet: Annotated[str | None, typer.Option("--sheet", help="The sheet; needed where a workbook has several.")] = None,
    columns: Annotated[list[str] | None, typer.Option("--columns", help="Names with commas between them; all without it.")] = None,
    where: Annotated[
        list[str] | None, typer.Option("--where", help="`column operator value`, or `column is null`. Given several times, all must hold.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="Rows, at most.")] = 20,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Where the page before ended.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show rows of a version's table, read from the stored file.

    Operators are = != < <= > >= contains startswith; names that hold blanks or signs stand in double quotes. docs/preview.md has them all.

    `dsplatform preview shop --where 'amount >= 10' --columns id,amount`.
    """
    import json

    from dsplatform.cli.session import opened
    from dsplatform.core.errors import Invalid
    from dsplatform.schemas.previews.conditions import names
    from dsplatform.schemas.previews.model import Form
    from dsplatform.versioning.model import parse_reference

    if as_csv and as_json:
        raise Invalid("--csv and --json are two forms: give one of them")
    name, ref = parse_reference(dataset)
    with opened() as session:
        platform = session.platform
        actor = platform.actor()
        page = platform.previews.preview(
            actor,
            platform.datasets.open(actor, name),
            ref,
            component=component,
            sheet=sheet,
            columns=names(columns or ()),
            where=where or (),
            limit=limit,
            cursor=cursor,
            form=Form.CSV if as_csv else Form.JSON,
        )
    if as_csv:
        typer.echo(page.body.decode(), nl=False)
    elif as_json:
        around = {"component": page.component, "sheet": page.sheet, "columns": [column.plain() for column in page.columns]}
        typer.echo(json.dumps({**around, "rows": json.loads(page.body), "next": page.next, "cut": page.cut}, ensure_ascii=False))
    else:
        right = [column.name for column in page.columns if column.type.startswith(("int64", "uint64", "float64", "decimal"))]
        rows = [[_cell(value) for value in row] for row in json.loads(page.body)]
        table("", [column.name for column in page.columns], rows, right=right)
    if page.next is not None:
        typer.echo(f"there is more: --cursor {page.next}" + ("" if page.cut is None else f" (cut by {page.cut})"), err=True)


def _cell(value: object) -> object:
    import json

    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
