"""Schemas of versions: columns, what their values are like, what changed; the same for other systems; and reading hints."""

from base64 import b64encode
from itertools import zip_longest
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse
from pydantic import Field

from dsplatform.api.bodies import Input, Output, Ref
from dsplatform.api.caller import Caller, Dataset, Services, by_id
from dsplatform.api.schema_changes import Column, Comparison, SchemaDiff, SchemaHistory, Step
from dsplatform.core.types import VersionId
from dsplatform.core.values import DatasetRef
from dsplatform.schemas import exports
from dsplatform.schemas.model import Column as Found

router = APIRouter(prefix="/datasets/{dataset}", tags=["schemas"])

OneComponent = Annotated[str | None, Query(max_length=1024, description="Only this component", examples=["prices.csv"])]
Sheet = Annotated[str | None, Query(max_length=1024, description="Only this sheet of a workbook", examples=["January"])]
Details = Annotated[dict[str, Any], Field(examples=[{"delimiter": ","}])]
ARROW = "application/vnd.apache.arrow.stream"


class Table(Output):
    """The columns of a table in their order."""

    name: str | None = Field(description="The sheet's, in a workbook")
    columns: list[Column]
    details: Details = Field(description="How the table lies in the file")


class Layout(Output):
    """What files that look alike have in common."""

    format: str | None = Field(description="csv, json, parquet, xlsx and others", examples=["csv"])
    details: Details = Field(description="Delimiter, encoding, header, compression")
    tables: list[Table] = Field(description="One; of a workbook one per sheet")


class ComponentSchema(Output):
    """How reading one component ended."""

    name: str = Field(description="Of the component", examples=["prices.csv"])
    layout: int | None = Field(description="Position of its layout in the list; null: it was not read", examples=[0])
    status: Literal["ok", "unreadable", "opaque"] = Field(description="`opaque`: of a kind that is stored and not read")
    reason: str | None = Field(description="Why it was not read")
    rows: list[int | None] = Field(description="Of each of its tables", examples=[[365]])
    notes: dict[str, Any] = Field(description="What is true of this file alone, as rows that did not fit")


class SchemaJson(Output):
    """Each distinct layout once; docs/schema_json.schema.json describes it."""

    schema_version: int = Field(description="Raised when a reader of this document has to change", examples=[1])
    layouts: list[Layout]
    components: list[ComponentSchema]


class Schema(Output):
    """The captured schema of a version."""

    dataset: str = Field(description="Slug of the dataset", examples=["sales"])
    version_id: int = Field(description="Id of the version", examples=[93])
    content: SchemaJson = Field(alias="schema")


class ArrowField(Output):
    """A column in Arrow."""

    name: str = Field(description="Of the column", examples=["price"])
    type: str = Field(description="Arrow's name for the type", examples=["decimal128(10, 2)"])
    nullable: bool = Field(description="Whether there are rows without a value")


class ArrowSchema(Output):
    """The columns of a table in Arrow."""

    fields: list[ArrowField]
    ipc_base64: str = Field(description="The schema as an IPC message, in base64", examples=["/////3gAAAAQAAAA"])


class Profile(Output):
    """What the values of one column are like, over all rows. null: the file does not tell without its rows being read."""

    nulls: int | None = Field(description="Rows without a value", examples=[0])
    distinct: int | None = Field(description="Different values; an estimate unless `distinct_exact`", examples=[12])
    distinct_exact: bool = Field(description="Whether `distinct`, and the counts of `top`, are exact")
    low: Any = Field(description="The smallest value: a number, else its text", examples=[1.5])
    high: Any = Field(description="The greatest value", examples=[99.9])
    mean: float | None = Field(description="Of numbers", examples=[42.1])
    lengths: tuple[int, int, float] | None = Field(description="Least, greatest and mean number of characters", examples=[[1, 12, 5.5]])
    top: list[tuple[str, int]] = Field(description="The most frequent values with their counts", examples=[[["red", 31]]])
    examples: list[str] = Field(description="The first different values", examples=[["red", "green"]])


class ProfiledColumn(Column):
    """A column and what its values are like."""

    profile: Profile | None = Field(description="null: not captured by the present readers")


class TableStats(Output):
    """A table, column by column."""

    component: str = Field(description="Name of the component", examples=["prices.csv"])
    sheet: str | None = Field(description="The sheet, in a workbook")
    rows: int | None = Field(description="How many", examples=[365])
    columns: list[ProfiledColumn]


class Stats(Output):
    """What the values of a version are like."""

    items: list[TableStats] = Field(description="In the order of the components")


class Hints(Input, Output):
    """How a dataset's files are to be read, where their bytes leave it open. null: nothing is said."""

    date_order: Literal["dmy", "mdy"] | None = Field(None, description="What 01/02/2024 is: day or month first", examples=["dmy"])
    encoding: str | None = Field(None, max_length=100, description="Of text that is not UTF-8", examples=["windows-1252"])
    delimiter: str | None = Field(None, max_length=1, description="Between fields: one character", examples=[";"])


@router.get("/schema", summary="Get the schema of a version")
def get_schema(services: Services, caller: Caller, dataset: Dataset, ref: Ref = None) -> Schema:
    """The columns of each layout, from all rows. 503 with `schema_not_captured` while the files are still being read."""
    version_id = services.versions.id_of(caller, dataset, ref)
    found = services.schemas.schema_of(caller, dataset, version_id)
    return Schema(dataset=dataset.slug, version_id=version_id, schema=SchemaJson.model_validate(found))


@router.get(
    "/schema/arrow",
    summary="Get the columns of a table for Arrow",
    response_model=ArrowSchema,
    responses={200: {"content": {ARROW: {"schema": {"type": "string", "format": "binary"}}}}},
)
def get_arrow_schema(
    services: Services,
    caller: Caller,
    dataset: Dataset,
    ref: Ref = None,
    component: OneComponent = None,
    sheet: Sheet = None,
    format: Annotated[Literal["json", "ipc"], Query(description="`ipc`: the IPC message alone", examples=["json"])] = "json",  # noqa: A002
) -> Response:
    """Of the one table that there is, or of the one that `component` and `sheet` choose."""
    made = exports.arrow_schema(_columns(services, caller, dataset, ref, component, sheet))
    message = made.serialize().to_pybytes()
    if format == "ipc":
        return Response(message, media_type=ARROW)
    fields = [ArrowField(name=field.name, type=str(field.type), nullable=field.nullable) for field in made]
    return Response(ArrowSchema(fields=fields, ipc_base64=b64encode(message).decode()).model_dump_json(), media_type="application/json")


@router.get("/schema/json-schema", summary="Get the columns of a table as JSON Schema")
def get_json_schema(
    services: Services, caller: Caller, dataset: Dataset, ref: Ref = None, component: OneComponent = None, sheet: Sheet = None
) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one row."""
    return exports.json_schema(_columns(services, caller, dataset, ref, component, sheet), dataset.slug)


@router.get("/schema/ddl", summary="Get the columns of a table as DDL", response_class=PlainTextResponse)
def get_ddl(
    services: Services, caller: Caller, dataset: Dataset, ref: Ref = None, component: OneComponent = None, sheet: Sheet = None
) -> PlainTextResponse:
    """A `CREATE TABLE` for PostgreSQL that holds the rows."""
    return PlainTextResponse(exports.ddl(_columns(services, caller, dataset, ref, component, sheet), dataset.slug))


@router.get("/schema/stats", summary="Get what the values of a version are like")
def get_stats(
    services: Services, caller: Caller, dataset: Dataset, ref: Ref = None, component: OneComponent = None, sheet: Sheet = None
) -> Stats:
    """Over all rows: empty and different values, least and greatest, the most frequent ones."""
    version_id = services.versions.id_of(caller, dataset, ref)
    schema = services.schemas.schema_of(caller, dataset, version_id)
    profiles = services.schemas.profiles(caller, dataset, version_id, of=None if component is None else [component])
    items = [
        TableStats(
            component=item.name,
            sheet=table.name,
            rows=rows,
            columns=[
                ProfiledColumn(**column.plain(), profile=None if profile is None else Profile.model_validate(profile))
                for column, profile in zip_longest(table.columns, profiles.get((item.name, table.name), ()))
            ],
        )
        for item in schema.components
        if item.layout is not None and component in {None, item.name}
        for table, rows in zip(schema.layouts[item.layout].tables, item.rows, strict=True)
        if sheet in {None, table.name}
    ]
    return Stats(items=items)


@router.get("/schema/diff", summary="Compare the schemas of two versions")
def compare_schemas(
    services: Services,
    caller: Caller,
    dataset: Dataset,
    from_: Annotated[str, Query(alias="from", max_length=300, description="The earlier version", examples=["2"])],
    to: Annotated[str, Query(max_length=300, description="The later version", examples=["main"])] = "main",
    from_dataset: Annotated[
        str | None, Query(max_length=300, description="Where the earlier version is of another dataset", examples=["sales-2025"])
    ] = None,
) -> SchemaDiff:
    """What changed for those who read the columns; docs/schema-changes.md has all verdicts."""
    earlier = dataset if from_dataset is None else services.datasets.open(caller, by_id(from_dataset))
    before, after = services.versions.id_of(caller, earlier, from_), services.versions.id_of(caller, dataset, to)
    found = services.schemas.compare(caller, dataset, before, after, before_in=earlier)
    return SchemaDiff(comparison=Comparison.model_validate(found), sentences=found.sentences())


@router.get("/schema/history", summary="Get the history of a schema")
def get_schema_history(services: Services, caller: Caller, dataset: Dataset, ref: Ref = None) -> SchemaHistory:
    """The versions that changed it, each with its number MAJOR.MINOR.PATCH and a verdict."""
    return SchemaHistory(items=[Step.model_validate(step) for step in services.schemas.history(caller, dataset, ref)])


@router.get("/hints", summary="Get the reading hints")
def get_hints(services: Services, caller: Caller, dataset: Dataset) -> Hints:
    """How the dataset's files are to be read."""
    return Hints.model_validate(services.contracts.hints(caller, dataset), strict=False)


@router.put("/hints", summary="Set the reading hints")
def set_hints(services: Services, caller: Caller, dataset: Dataset, body: Hints) -> Hints:
    """In place of earlier ones; they count for files that are read from now on. It takes the right `admin`."""
    return Hints.model_validate(services.contracts.set_hints(caller, dataset, body.model_dump()), strict=False)


def _columns(
    services: Services, caller: Caller, dataset: DatasetRef, ref: str | None, component: str | None, sheet: str | None
) -> tuple[Found, ...]:
    version_id: VersionId = services.versions.id_of(caller, dataset, ref)
    return exports.table_of(services.schemas.schema_of(caller, dataset, version_id), component, sheet)
