"""What changed between two schemas, as the API answers it."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from dsplatform.api.bodies import Output

Verdict = Annotated[
    Literal["identical", "compatible", "breaking"],
    Field(description="`compatible`: who asks for the old columns by name finds them, with types that hold the old values"),
]
ComponentName = Annotated[str, Field(description="Name of the component", examples=["prices.csv"])]
SheetName = Annotated[str | None, Field(description="The sheet of a workbook; null: the only table")]
Names = Annotated[list[str], Field(examples=[["prices.csv"]])]


class Column(Output):
    """A column, as the rows show it."""

    name: str = Field(description="As the file has it", examples=["price"])
    type: str = Field(description="Logical type; `null` where no row has a value", examples=["decimal(10,2)"])
    nullable: bool = Field(description="Whether there are rows without a value")
    format: str | None = Field(description="How dates are written, where it is not ISO 8601", examples=["DD/MM/YYYY"])


class RenamedColumn(Output):
    """A column that went and one that came, which are likely one. Both are in `removed` and `added`, too."""

    before: Column
    after: Column
    confidence: float = Field(description="0 to 1", examples=[0.93])


class RetypedColumn(Output):
    """A column whose type, date format or nullability changed."""

    name: str = Field(description="Of the column", examples=["price"])
    before: Column
    after: Column
    kind: str | None = Field(description="How the type changed; null: it is the same", examples=["widened"])
    verdict: Verdict


class TableChange(Output):
    """What changed in one table, by the names of its columns."""

    component: ComponentName
    table: SheetName
    added: list[Column] = Field(description="Columns that came")
    removed: list[Column] = Field(description="Columns that went")
    renamed: list[RenamedColumn] = Field(description="Of those, the ones that are likely one column")
    retyped: list[RetypedColumn] = Field(description="Columns that changed")
    reordered: bool = Field(description="Whether columns stand in another order")
    verdict: Verdict


class RenamedSheet(Output):
    """A sheet that went and one that came in its place."""

    before: str = Field(description="Its name", examples=["January"])
    after: str = Field(description="Its name", examples=["February"])
    confidence: float = Field(description="The share of the columns that both have", examples=[1.0])
    change: TableChange


class SheetsChange(Output):
    """What changed in the sheets of one workbook, by their names."""

    component: ComponentName
    added: Names = Field(description="Sheets that came")
    removed: Names = Field(description="Sheets that went")
    renamed: list[RenamedSheet] = Field(description="Of those, the ones that are likely one sheet")
    hidden: Names = Field(description="Sheets that are hidden now")
    shown: Names = Field(description="Sheets that are shown now")
    reordered: bool = Field(description="Whether sheets stand in another order")
    verdict: Verdict


class LayoutChange(Output):
    """A property of how a component holds its columns: format, header, encoding, delimiter or compression."""

    component: ComponentName
    table: SheetName
    what: str = Field(description="Which property", examples=["delimiter"])
    before: Any = Field(description="What it was", examples=[","])
    after: Any = Field(description="What it is", examples=[";"])


class Comparison(Output):
    """What changed from one schema to another. Only what changed is listed."""

    verdict: Verdict
    components_added: Names = Field(description="Components that came")
    components_removed: Names = Field(description="Components that went")
    components_lost: Names = Field(description="Could be read before, and cannot be now")
    components_restored: Names = Field(description="Can be read again")
    components_followed: list[tuple[str, str]] = Field(
        description="Of those removed, the ones that another of their series stands for", examples=[[["2025.csv", "2026.csv"]]]
    )
    components_unlike: Names = Field(description="Of those added, the ones with columns that no other had before")
    components_unread: Names = Field(description="Should be readable and are not")
    layouts: list[LayoutChange] = Field(description="Other ways of holding the columns")
    sheets: list[SheetsChange] = Field(description="Workbooks whose sheets changed")
    tables: list[TableChange] = Field(description="Tables whose columns changed")


class SchemaDiff(Output):
    """What changed from one version's schema to another's, for programs and for people."""

    comparison: Comparison
    sentences: list[str] = Field(description="The same in words", examples=[["prices.csv: column 'price' was int64 and is float64"]])


class Step(Output):
    """A version that changed the schema."""

    version: int = Field(description="Its number", examples=[3])
    created_at: datetime = Field(description="When it was made")
    semver: str = Field(description="MAJOR.MINOR.PATCH, as readers of the columns see it", examples=["1.1.0"])
    certain: bool = Field(description="Whether every version up to this one is captured; until then the number may change")
    verdict: Verdict | None = Field(description="null: it is a first one, or is not captured")
    sentences: list[str] = Field(description="What changed", examples=[["prices.csv: column 'vat' (float64) was added"]])
    comparison: Comparison | None = Field(description="What changed, for programs; null where `verdict` is")


class SchemaHistory(Output):
    """How the schema came to be what it is."""

    items: list[Step] = Field(description="From the first version on; versions that changed nothing are left out")
