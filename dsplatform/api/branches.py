"""Names of versions: branches, tags, and merging."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Path
from pydantic import Field

from dsplatform.api.bodies import Input, Output
from dsplatform.api.caller import Caller, Dataset, Services
from dsplatform.api.pages import After, Limit, Page, Total, page_of
from dsplatform.core.errors import Invalid
from dsplatform.core.types import VersionId
from dsplatform.versioning.merging import Choice
from dsplatform.versioning.model import Pointer as Found

router = APIRouter(prefix="/datasets/{dataset}", tags=["branches"])

BranchName = Annotated[str, Path(max_length=300, description="Of a branch; it may hold slashes", examples=["main", "feature/prices"])]
TagName = Annotated[str, Path(max_length=300, description="Of a tag; it may hold slashes", examples=["v1.0"])]
NewName = Annotated[str, Field(min_length=1, max_length=255, description="Unique among branches and tags", examples=["feature/prices"])]
At = Annotated[
    str | None,
    Field(max_length=300, description="The version: its number, `latest`, a branch or a tag; else the head of `main`", examples=["3"]),
]
Head = Annotated[int | None, Field(ge=1, le=999_999_999, description="Number of the version where the branch has to be", examples=[3])]
IfMatch = Annotated[
    str | None, Header(max_length=100, description='The same as `expected_head`, in quotation marks: `"3"`', examples=['"3"'])
]
Side = Literal["ours", "theirs", "base"]


class Pointer(Output):
    """A branch or a tag."""

    name: str = Field(description="Unique among the branches and tags of the dataset", examples=["main"])
    is_tag: bool = Field(description="Tags never move")
    version_id: int = Field(description="Id of the version", examples=[93])
    version_number: int = Field(description="Its number", examples=[3])
    created_by: str | None = Field(description="Who made the name", examples=["ada"])
    created_at: datetime = Field(description="When")
    moved_at: datetime = Field(description="When it came to point where it does")


class Pointers(Page):
    """A page of branches, or of tags."""

    items: list[Pointer] = Field(description="By name")


class NewPointer(Input):
    """A branch or a tag to be made."""

    name: NewName
    at: At = None


class BranchChange(Input):
    """A new place or a new name: one of them."""

    to: At = None
    expected_head: Head = None
    name: NewName | None = None


class Merge(Input):
    """What is to be merged, and how."""

    theirs: str = Field(
        max_length=300, description="The version to be merged: number, `latest`, branch or tag", examples=["feature/prices"]
    )
    into: str = Field("main", max_length=300, description="The branch that gets it", examples=["main"])
    strategy: Side | None = Field(None, description="Whose component is taken where both sides changed it")
    choices: dict[str, Side] = Field(
        {}, description="The same for single components, by name; it goes before `strategy`", examples=[{"prices.csv": "theirs"}]
    )
    message: str = Field("", max_length=10_000, description="Of the version that is made", examples=["prices of January"])


class Merged(Output):
    """How a merge ended."""

    kind: Literal["merged", "fast-forwarded", "already merged"] = Field(
        description="`merged`: a version with two parents; `fast-forwarded`: the branch was behind, and moved; else nothing was to be done"
    )
    branch: str = Field(description="The branch", examples=["main"])
    version_id: int = Field(description="Id of the version where it is now", examples=[94])
    version_number: int = Field(description="Its number", examples=[4])
    added: int = Field(description="Components that came", examples=[1])
    updated: int = Field(description="Components that changed", examples=[2])
    removed: int = Field(description="Components that went", examples=[0])


@router.get("/branches", summary="List branches")
def list_branches(
    services: Services, caller: Caller, dataset: Dataset, after: After = "", limit: Limit = 100, *, total: Total = False
) -> Pointers:
    """By name."""
    return _page(services.branches.list_branches(caller, dataset), after, limit, total=total)


@router.post("/branches", summary="Make a branch", status_code=201)
def create_branch(services: Services, caller: Caller, dataset: Dataset, body: NewPointer) -> Pointer:
    """It takes the right `write`. 409 where a branch or a tag has the name."""
    return Pointer.model_validate(services.branches.create_branch(caller, dataset, body.name, body.at))


@router.patch("/branches/{branch:path}", summary="Move or rename a branch")
def update_branch(
    services: Services, caller: Caller, dataset: Dataset, branch: BranchName, body: BranchChange, if_match: IfMatch = None
) -> Pointer:
    """A branch moves only from where it was expected: give `expected_head` or `If-Match`. It takes the right `write`."""
    if (body.name is None) == (body.to is None):
        raise Invalid("give `to` to move the branch, or `name` to rename it")
    if body.name is not None:
        return Pointer.model_validate(services.branches.rename_branch(caller, dataset, branch, body.name))
    head = _expected(services, caller, dataset, body.expected_head, if_match)
    if head is None or body.to is None:
        raise Invalid("say from where the branch moves: give `expected_head` or the header If-Match")
    return Pointer.model_validate(services.branches.update_branch(caller, dataset, branch, body.to, expected_head=head))


@router.delete("/branches/{branch:path}", summary="Delete a branch")
def delete_branch(services: Services, caller: Caller, dataset: Dataset, branch: BranchName, if_match: IfMatch = None) -> Pointer:
    """The name goes, its versions stay; the answer is what it was. `main` stays. It takes the right `write`."""
    head = _expected(services, caller, dataset, None, if_match)
    return Pointer.model_validate(services.branches.delete_branch(caller, dataset, branch, expected_head=head))


@router.get("/tags", summary="List tags")
def list_tags(
    services: Services, caller: Caller, dataset: Dataset, after: After = "", limit: Limit = 100, *, total: Total = False
) -> Pointers:
    """By name."""
    return _page(services.branches.list_tags(caller, dataset), after, limit, total=total)


@router.post("/tags", summary="Make a tag", status_code=201)
def create_tag(services: Services, caller: Caller, dataset: Dataset, body: NewPointer) -> Pointer:
    """It stays at its version until it is deleted. It takes the right `write`. 409 where a branch or a tag has the name."""
    return Pointer.model_validate(services.branches.create_tag(caller, dataset, body.name, body.at))


@router.delete("/tags/{tag:path}", summary="Delete a tag")
def delete_tag(services: Services, caller: Caller, dataset: Dataset, tag: TagName) -> Pointer:
    """The name goes, its version stays; the answer is what it was. It takes the right `write`."""
    return Pointer.model_validate(services.branches.delete_tag(caller, dataset, tag))


@router.post("/merges", summary="Merge a version into a branch")
def merge(services: Services, caller: Caller, dataset: Dataset, body: Merge) -> Merged:
    """Brings what a version changed since the common ancestor into a branch, component by component. It takes the right `write`.

    409 `merge_conflict` lists in `contested` the components that both sides changed: repeat it with `strategy` or `choices`.
    """
    merged = services.branches.merge(
        caller,
        dataset,
        body.theirs,
        into=body.into,
        strategy=None if body.strategy is None else Choice(body.strategy),
        choices={name: Choice(side) for name, side in body.choices.items()},
        message=body.message,
    )
    return Merged.model_validate(merged)


def _page(found: Sequence[Found], after: str, limit: int, *, total: bool) -> Pointers:
    items, following = page_of(found, lambda one: one.name, after, limit)
    return Pointers(items=[Pointer.model_validate(one) for one in items], next=following, total=len(found) if total else None)


def _expected(services: Services, caller: Caller, dataset: Dataset, field: int | None, header: str | None) -> VersionId | None:
    """The version that the body or `If-Match` names by its number; None where neither does."""
    if header is not None and header != "*":
        digits = header.strip('"')
        if not digits.isascii() or not digits.isdecimal() or len(digits) > 9 or field not in {None, int(digits)}:
            raise Invalid(f'If-Match is {header!r}: give the number of a version, as in If-Match: "3"')
        field = int(digits)
    return None if field is None else services.versions.id_of(caller, dataset, str(field))
