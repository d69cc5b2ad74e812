"""Rows of a table, to look at: as JSON, CSV or Arrow."""

import json
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import BaseModel, Field

from dsplatform.api.bodies import Ref
from dsplatform.api.caller import Caller, Dataset, Services
from dsplatform.schemas.previewing import MOST_ROWS, Preview
from dsplatform.schemas.previews.conditions import names
from dsplatform.schemas.previews.model import Form

router = APIRouter(prefix="/datasets/{dataset}", tags=["previews"])

MEDIA = {Form.JSON: "application/json", Form.CSV: "text/csv", Form.ARROW: "application/vnd.apache.arrow.stream"}

Text = Annotated[str, Field(max_length=4000)]


class PreviewColumn(BaseModel):
    """A column as the captured schema has it."""

    name: str = Field(description="Unique in the table", examples=["amount"])
    type: str = Field(description="Logical type, which says how its values are written in `rows`", examples=["decimal(10,2)"])
    nullable: bool = Field(description="Whether a value may be null", examples=[False])
    format: str | None = Field(description="How the file writes dates that are not ISO 8601; in `rows` they are", examples=["DD/MM/YYYY"])


class PreviewPage(BaseModel):
    """A page of rows."""

    component: str = Field(description="The file that the rows are from", examples=["orders.csv"])
    sheet: str | None = Field(description="Its sheet, of a workbook", examples=[None])
    columns: list[PreviewColumn] = Field(description="Of the rows, in the order of their values")
    rows: list[list[Any]] = Field(
        description="Each row as its values. Whole numbers beyond 2^53 and all decimals are texts, dates and times are ISO 8601, bytes are "
        "base64, and floating numbers that are none are `NaN`, `Infinity` or `-Infinity`",
        examples=[[[17, "12.50", "2024-01-31"]]],
    )
    next: str | None = Field(description="Give it as `cursor` for the next page; null: this was the last", examples=[None])
    cut: str | None = Field(
        description="Why the page has fewer than `limit` rows although there may be more: `size` (it has 16 MiB) or `time` (few rows "
        "fulfil the conditions; the next page goes on searching)",
        examples=[None],
    )


@router.get(
    "/preview",
    summary="Look at rows of a table",
    response_class=Response,
    responses={
        200: {
            "model": PreviewPage,
            "description": "A page of rows. `X-Next-Cursor` and `X-Preview-Cut` are what `next` and `cut` are in JSON",
            "content": {
                MEDIA[Form.CSV]: {"schema": {"type": "string"}},
                MEDIA[Form.ARROW]: {"schema": {"type": "string", "format": "binary"}},
            },
        },
        406: {"description": "Rows can be had in none of the forms of `Accept`"},
    },
)
def preview_rows(
    request: Request,
    services: Services,
    caller: Caller,
    dataset: Dataset,
    ref: Ref = None,
    component: Annotated[
        str | None, Query(description="The file; needed where the version has several", max_length=1024, examples=["orders.csv"])
    ] = None,
    sheet: Annotated[
        str | None, Query(description="The sheet; needed where a workbook has several", max_length=1024, examples=["January"])
    ] = None,
    columns: Annotated[
        list[Text] | None, Query(description="Names with commas between them; all without it", max_length=100, examples=[["id,amount"]])
    ] = None,
    where: Annotated[
        list[Text] | None,
        Query(
            description="`column operator value` with one of `= != < <= > >= contains startswith`, or `column is [not] null`. "
            'Names and values that hold blanks or signs stand in double quotes, in which a quote is doubled: `"order id" >= 17`. '
            "Given several times, a row fulfils all",
            max_length=20,
            examples=[["amount >= 10"]],
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS, description="Rows of a page, at most")] = 100,
    cursor: Annotated[str | None, Query(description="`next` of the page before", max_length=100, examples=["eyJyb3ciOjEwMH0"])] = None,
    form: Annotated[Form | None, Query(alias="format", description="The form; without it the one that `Accept` likes best")] = None,
    *,
    spreadsheet: Annotated[
        bool, Query(description="In CSV, put a quote before texts that a spreadsheet would take for a formula; they are then not exact")
    ] = False,
) -> Response:
    """Rows in the order of the file, as they were captured. Pages of one question put together are the whole, and never change."""
    form = form or _accepted(request.headers.get("accept", "*/*"))
    page = services.previews.preview(
        caller,
        dataset,
        ref,
        component=component,
        sheet=sheet,
        columns=names(columns or ()),
        where=where or (),
        limit=limit,
        cursor=cursor,
        form=form,
        spreadsheet=spreadsheet,
    )
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-cache", "Vary": "Accept, Authorization"}
    if page.next is not None:
        headers["X-Next-Cursor"] = page.next
    if page.cut is not None:
        headers["X-Preview-Cut"] = page.cut
    if form is not Form.JSON:
        headers["Content-Disposition"] = f'attachment; filename="preview.{form}"'
    return Response(document(page) if form is Form.JSON else page.body, headers=headers, media_type=_media(form))


def document(page: Preview) -> bytes:
    """The page as `PreviewPage` says. The rows are JSON already."""
    around = {
        "component": page.component,
        "sheet": page.sheet,
        "columns": [column.plain() for column in page.columns],
        "next": page.next,
        "cut": page.cut,
    }
    return json.dumps(around).encode()[:-1] + b', "rows": ' + page.body + b"}"


def _media(form: Form) -> str:
    return f"{MEDIA[form]}; charset=utf-8; header=present" if form is Form.CSV else MEDIA[form]


def _accepted(accept: str) -> Form:
    """The form that the caller likes best; of several, the first of JSON, CSV, Arrow."""
    liked = {form: max((quality for media, quality in _ranges(accept) if _covers(media, MEDIA[form])), default=0.0) for form in MEDIA}
    best = max(liked, key=lambda form: liked[form])
    if not liked[best]:
        raise HTTPException(HTTPStatus.NOT_ACCEPTABLE, f"rows can be had as {', '.join(MEDIA.values())}: accept one, or give `format`")
    return best


def _ranges(accept: str) -> list[tuple[str, float]]:
    found = []
    for part in accept.split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        try:
            found.append((media, float(quality)))
        except ValueError:
            found.append((media, 0.0))
    return found


def _covers(wide: str, media: str) -> bool:
    return wide in {"*/*", media, f"{media.partition('/')[0]}/*"}
