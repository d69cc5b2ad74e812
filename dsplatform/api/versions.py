"""Versions of a dataset: list, get, compare, change without bytes, delete; and how they hang together."""

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import Field

from dsplatform.api.bodies import Component, DryRun, Input, Output, Ref, Removal, Version
from dsplatform.api.caller import Caller, Dataset, DatasetName, Services, by_id
from dsplatform.api.pages import Limit, Page, Total, cut
from dsplatform.core.values import CommitMode
from dsplatform.versioning.composition import Taken

router = APIRouter(prefix="/datasets/{dataset}", tags=["versions"])

VersionRef = Annotated[
    str, Path(max_length=300, description="Number, `latest`, a branch or a tag; names may hold slashes", examples=["3", "main"])
]
NeededRef = Annotated[str, Query(max_length=300, description="Number, `latest`, a branch or a tag", examples=["main"])]
From = Annotated[
    str, Query(alias="from", max_length=300, description="The earlier version: number, `latest`, branch or tag", examples=["2"])
]
FromDataset = Annotated[
    str | None,
    Query(max_length=300, description="Where the earlier version is of another dataset: its id, slug or name", examples=["sales-2025"]),
]


class Versions(Page):
    """A page of versions."""

    items: list[Version] = Field(description="Newest first")


class VersionContent(Output):
    """A version and what it holds."""

    version: Version
    components: list[Component] = Field(description="In their order")


class Side(Output):
    """One of two versions that are compared."""

    dataset: str = Field(description="Slug of its dataset", examples=["sales"])
    number: int = Field(description="Its number", examples=[2])
    components: int = Field(description="How many it has", examples=[12])
    total_bytes: int = Field(description="Their size", examples=[629772])


class ComponentChange(Output):
    """One difference."""

    kind: Literal["added", "removed", "changed", "renamed"] = Field(description="`renamed`: the same bytes under another name")
    before: Component | None = Field(description="null: it was not there")
    after: Component | None = Field(description="null: it is not there any more")


class ColumnChange(Output):
    """A column that came (`before` is null), went (`after` is null) or changed its type."""

    component: str = Field(description="Name of the component", examples=["prices.csv"])
    table: str | None = Field(description="The sheet of a workbook")
    column: str = Field(description="Name of the column", examples=["price"])
    before: str | None = Field(description="Its type", examples=["int64"])
    after: str | None = Field(description="Its type", examples=["decimal(10,2)"])


class Diff(Output):
    """All differences from one version to another."""

    before: Side
    after: Side
    changes: list[ComponentChange] = Field(description="By the names that components have afterwards")
    columns: list[ColumnChange] = Field(description="Of changed components whose columns were captured in both versions")


class History(Output):
    """A version and what it stands on."""

    items: list[Version] = Field(description="Each before its parents")


class Node(Output):
    """A version with its place in a drawing. Its row is its position in the list."""

    lane: int = Field(description="Column, from 0 on the left", examples=[0])
    branches: list[str] = Field(description="Those that point here", examples=[["main"]])
    tags: list[str] = Field(description="Those that point here", examples=[["v1.0"]])
    version: Version


class Edge(Output):
    """A line from a version down to a parent."""

    child: int = Field(description="Number of the version", examples=[3])
    parent: int = Field(description="Number of the parent, which may lie below the end of the drawing", examples=[2])
    merge: bool = Field(description="Whether the parent was merged in")
    path: list[tuple[int, int]] = Field(description="The points (row, lane) that the line connects", examples=[[[0, 0], [1, 0]]])


class Graph(Output):
    """A history, ready to be drawn."""

    nodes: list[Node] = Field(description="From the top down, each before its parents")
    edges: list[Edge]
    lanes: int = Field(description="How wide the drawing is", examples=[2])


class MergeBases(Output):
    """The best common ancestors of two versions."""

    items: list[Version] = Field(description="Usually one; several after branches merged each other crosswise; none: nothing in common")


class Ancestry(Output):
    """How two versions are related."""

    is_ancestor: bool = Field(description="Whether the younger version stands on the older one, or is it")


class Source(Input):
    """A component of a version that you may read."""

    dataset: str | None = Field(None, max_length=300, description="Id, slug or name; else the same dataset", examples=["sales-2025"])
    ref: str | None = Field(None, max_length=300, description="The version; else the head of `main`", examples=["3"])
    name: str = Field(max_length=1024, description="The component's name there", examples=["prices.csv"])


class Change(Input):
    """What a new version is to be, made of what is stored already."""

    take: dict[str, Source] = Field(
        {},
        max_length=100_000,
        description="Components to be there afterwards, by the name that they get",
        examples=[{"prices.csv": {"ref": "3", "name": "prices.csv"}}],
    )
    remove: list[str] = Field([], max_length=100_000, description="Names of components that go", examples=[["old.csv"]])
    branch: str = Field(
        "main", max_length=255, description="The branch that moves; a new one begins at the head of `main`", examples=["main"]
    )
    message: str = Field("", max_length=10_000, description="About the version", examples=["prices as they were in version 3"])
    mode: Literal["patch", "replace"] = Field("patch", description="`patch` keeps components that are not named, `replace` leaves them out")
    expected_head: int | None = Field(
        None, ge=1, le=999_999_999, description="Number of the version where the branch has to be", examples=[3]
    )


class Made(Output):
    """What became of a change."""

    version_id: int = Field(description="Id of the version where the branch is now", examples=[94])
    version_number: int = Field(description="Its number", examples=[4])
    branch: str = Field(description="The branch that it is on", examples=["main"])
    created: bool = Field(description="False: nothing was different, or the idempotency key was used before")
    added: int = Field(description="Components that came", examples=[1])
    updated: int = Field(description="Components that changed", examples=[0])
    removed: int = Field(description="Components that went", examples=[0])
    quarantined_from: str | None = Field(description="The branch that it was meant for, where a contract kept it from there")
    breaches: list[str] = Field(description="Why, in sentences")


@router.get("/versions", summary="List versions")
def list_versions(
    services: Services,
    caller: Caller,
    dataset: Dataset,
    after: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="`next` of the page before", examples=[3])] = None,
    limit: Limit = 100,
    *,
    total: Total = False,
) -> Versions:
    """Newest first, those that were deleted included."""
    found = services.versions.list_versions(caller, dataset, before=after, limit=limit + 1)
    items, following = cut(found, lambda one: str(one.number), limit)
    return Versions(
        items=[Version.model_validate(one) for one in items],
        next=following,
        total=_newest(services, caller, dataset) if total else None,
    )


@router.post(
    "/changes",
    summary="Make a version without bytes",
    responses={
        200: {"description": "Nothing changed, or the idempotency key was used before"},
        201: {"model": Made, "description": "Made"},
    },
)
def make_version(
    services: Services,
    caller: Caller,
    dataset: Dataset,
    body: Change,
    response: Response,
    idempotency_key: Annotated[
        str | None,
        Header(max_length=200, description="The same key answers with the version that the first request made", examples=["7c3e"]),
    ] = None,
) -> Made:
    """Removes components, and takes over components of versions that you may read, also of other datasets. It takes the right `write`.

    Nothing is sent twice: what is stored is named by dataset, version and name. Answers 201 with a new version, 200 where nothing changed.
    """
    made = services.composition.make_version(
        caller,
        dataset,
        {
            name: Taken(source.name, source.ref, None if source.dataset is None else by_id(source.dataset))
            for name, source in body.take.items()
        },
        remove=body.remove,
        branch=body.branch,
        message=body.message,
        mode=CommitMode(body.mode),
        expected_head=body.expected_head,
        idempotency_key=idempotency_key,
    )
    response.status_code = 201 if made.created else 200
    response.headers["Location"] = f"/api/v1/datasets/{dataset.id}/versions/{made.version_number}"
    return Made.model_validate(made)


@router.get("/diff", summary="Compare two versions")
def diff(
    services: Services, caller: Caller, dataset: Dataset, from_: From, to: NeededRef = "main", from_dataset: FromDataset = None
) -> Diff:
    """What differs from one version to another, also of another dataset, with columns where they were captured."""
    before = f"{dataset.key if from_dataset is None else by_id(from_dataset)}@{from_}"
    return Diff.model_validate(services.branches.diff(caller, before, f"{dataset.key}@{to}"))


@router.get("/history", summary="Get the history of a version")
def history(
    services: Services,
    caller: Caller,
    dataset: Dataset,
    ref: Ref = None,
    limit: Limit = 100,
    *,
    first_parent: Annotated[bool, Query(description="Leave out what was merged in", examples=[True])] = False,
) -> History:
    """The version and what it stands on, each before its parents. Where it has more than `limit`, go on from the last one's parents."""
    found = services.branches.history(caller, dataset, ref, first_parent=first_parent, limit=limit)
    return History(items=[Version.model_validate(one) for one in found])


@router.get("/graph", summary="Get the history for a drawing")
def graph(services: Services, caller: Caller, dataset: Dataset, ref: Ref = None, limit: Limit = 100) -> Graph:
    """Versions with their places, and the lines between them: of one version's history, or (without `ref`) of the whole dataset."""
    return Graph.model_validate(services.branches.picture(caller, dataset, ref, limit=limit))


@router.get("/merge-bases", summary="Get the best common ancestors")
def merge_bases(services: Services, caller: Caller, dataset: Dataset, ours: NeededRef, theirs: NeededRef) -> MergeBases:
    """What a merge of the two would compare both with."""
    return MergeBases(items=[Version.model_validate(one) for one in services.branches.merge_bases(caller, dataset, ours, theirs)])


@router.get("/ancestry", summary="Ask whether one version stands on another")
def ancestry(services: Services, caller: Caller, dataset: Dataset, older: NeededRef, younger: NeededRef) -> Ancestry:
    """A version counts among its own ancestors."""
    return Ancestry(is_ancestor=services.branches.is_ancestor(caller, dataset, older, younger))


@router.get("/versions/{ref:path}", summary="Get a version")
def get_version(services: Services, caller: Caller, dataset: Dataset, ref: VersionRef) -> VersionContent:
    """The version and its components. 410 for one that was deleted."""
    version, components = services.versions.get_version(caller, dataset, ref)
    return VersionContent(
        version=Version.model_validate(version), components=[Component.model_validate(component) for component in components]
    )


@router.delete("/versions/{ref:path}", summary="Delete a version")
def delete_version(services: Services, caller: Caller, dataset: DatasetName, ref: VersionRef, *, dry_run: DryRun = False) -> Removal:
    """Deletes its files at once; the history keeps its place. 409 while a branch or a tag points at it. It takes the right `admin`."""
    act = services.deletion.preview_version if dry_run else services.deletion.delete_version
    return Removal.model_validate(act(caller, f"{dataset}@{ref}"))


def _newest(services: Services, caller: Caller, dataset: Dataset) -> int:
    """The highest number, which is how many there are: numbers have no gaps."""
    return next((one.number for one in services.versions.list_versions(caller, dataset, limit=1)), 0)
