"""Who may do what with datasets and files, and which branches are protected."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field

from dsplatform.api.bodies import Input, Moment, Output
from dsplatform.api.branches import BranchName
from dsplatform.api.caller import Caller, Dataset, Services, by_id
from dsplatform.api.pages import Limit, Page, cut
from dsplatform.core.errors import Invalid
from dsplatform.core.types import FileId, PermissionType
from dsplatform.permissions import model
from dsplatform.versioning.model import Demand

router = APIRouter(tags=["permissions"])

MAX_ID = 2**62

Right = Literal["read", "write", "admin"]
RightAsked = Annotated[Right, Query(description="The right; each includes those before it", examples=["write"])]
GrantId = Annotated[int, Path(ge=1, le=MAX_ID, description="Number of the grant", examples=[12])]
File = Annotated[int, Path(ge=1, le=MAX_ID, description="Id of a file", examples=[412])]
AfterGrant = Annotated[int, Query(ge=0, le=MAX_ID, description="`next` of the page before", examples=[12])]
AfterUser = Annotated[str, Query(max_length=1000, description="`next` of the page before", examples=["ada"])]
Username = Annotated[str | None, Query(max_length=200, description="Whom it is about; else yourself", examples=["ben"])]


class Grantee(Input, Output):
    """To whom a right is granted."""

    kind: Literal["user", "group", "everyone"] = Field(description="`everyone`: every active user, also those to come", examples=["user"])
    name: str = Field("everyone", max_length=200, description="Of the user or the group", examples=["ben"])


class NewGrant(Input):
    """A grant to be made."""

    grantee: Grantee = Field(description="Who gets it")
    right: Right = Field(description="Each right includes those before it", examples=["read"])
    expires_at: Annotated[Moment, Field(strict=False)] | None = Field(
        None, description="From then on it does not count, with its time zone; null: it has no end", examples=["2030-01-31T00:00:00Z"]
    )


class Grant(Output):
    """That somebody holds a right."""

    id: int = Field(description="Number of the grant", examples=[12])
    grantee: Grantee = Field(description="Who holds it")
    right: Right = Field(description="Each right includes those before it", examples=["read"])
    granted_by: str | None = Field(description="Who granted it; null: a user who is no more", examples=["ada"])
    granted_at: datetime = Field(description="When")
    expires_at: datetime | None = Field(description="From then on it does not count; null: it has no end")


class Grants(Page):
    """A page of grants."""

    items: list[Grant] = Field(description="By number; those that have ended included")
    next: int | None = Field(None, description="Give it as `after` for the next page; null: this is the last", examples=[12])  # type: ignore[assignment]  # a number as key


class Way(Output):
    """By what somebody holds a right."""

    kind: Literal["role", "user", "group", "everyone"] = Field(description="Her role, or a grant for her, her group or everyone")
    name: str | None = Field(description="Of the role or the group", examples=["analysts"])
    right: Right | None = Field(description="What was granted; null for a role", examples=["write"])
    grant_id: int | None = Field(description="Number of the grant; null for a role", examples=[12])
    expires_at: datetime | None = Field(description="From then on it does not count; null: it has no end")


class Holder(Output):
    """A user who holds a right, and by what."""

    username: str = Field(description="Of the user", examples=["ada"])
    ways: list[Way] = Field(description="All of them: what is left when one is taken back")


class Holders(Page):
    """A page of users."""

    items: list[Holder] = Field(description="By name")


class Holding(Output):
    """What a user holds by one grant."""

    object_type: Literal["dataset", "file"] = Field(description="On what")
    object_id: int = Field(description="Its id", examples=[17])
    slug: str | None = Field(description="Of a dataset", examples=["sales"])
    way: Way = Field(description="By which grant")


class Holdings(Page):
    """A page of what a user holds."""

    items: list[Holding] = Field(description="By the numbers of the grants")
    next: int | None = Field(None, description="Give it as `after` for the next page; null: this is the last", examples=[12])  # type: ignore[assignment]  # a number as key


class Standing(Output):
    """Whether somebody may do something, and why."""

    username: str = Field(description="Of the user", examples=["ben"])
    right: Right = Field(description="What was asked about", examples=["write"])
    object_type: Literal["dataset", "file"] = Field(description="On what")
    name: str = Field(description="Slug of the dataset, or id of the file", examples=["sales"])
    allowed: bool = Field(description="The answer")
    ways: list[Way] = Field(description="By what she holds it; none for what a dataset gives on its files")
    sentence: str = Field(description="The same for a person")


class Protection(Output):
    """That a branch is protected."""

    branch: str = Field(description="Its name", examples=["main"])
    demands: Literal["admin", "merge"] = Field(description="What it asks for")
    set_by: str = Field(description="Who protected it", examples=["ada"])
    set_at: datetime = Field(description="When")


class Protections(Page):
    """The protected branches."""

    items: list[Protection] = Field(description="By name")


class NewProtection(Input):
    """How a branch is to be protected."""

    demands: Literal["admin", "merge"] = Field(
        description="`admin`: who changes it needs this right. `merge`: it changes by merges and fast-forwards alone", examples=["merge"]
    )


# --- datasets ----------------------------------------------------------------------------------------------------------------------


@router.get("/datasets/{dataset}/permissions", summary="List the grants on a dataset")
def list_grants(services: Services, caller: Caller, dataset: Dataset, after: AfterGrant = 0, limit: Limit = 100) -> Grants:
    """It takes the right `admin`. What roles give is no grant: `who-can` tells everything."""
    return _grants(services.permissions.grants(caller, dataset, after=after, limit=limit + 1), limit)


@router.post("/datasets/{dataset}/permissions", summary="Grant a right on a dataset", status_code=201)
def grant(services: Services, caller: Caller, dataset: Dataset, body: NewGrant) -> Grant:
    """It counts at once. A grant of the same right that would end later stays as it is, and is answered. It takes the right `admin`."""
    right, until = PermissionType(body.right), body.expires_at
    return Grant.model_validate(services.permissions.grant_permission(caller, _grantee(body.grantee), right, dataset.id, until=until))


@router.get("/datasets/{dataset}/permissions/who-can", summary="List who holds a right on a dataset")
def who_can(
    services: Services, caller: Caller, dataset: Dataset, right: RightAsked = "read", after: AfterUser = "", limit: Limit = 100
) -> Holders:
    """Every active user who holds it, and by what: her role, a grant of her own, of a group, for everyone. It takes the right `admin`."""
    found = services.permissions.who_can(caller, dataset, PermissionType(right), after=after, limit=limit + 1)
    items, following = cut(found, lambda each: each.username, limit)
    return Holders(items=[Holder.model_validate(each) for each in items], next=following, total=None)


@router.delete("/datasets/{dataset}/permissions/{grant}", summary="Take back a grant on a dataset")
def revoke(services: Services, caller: Caller, dataset: Dataset, grant: GrantId) -> Grant:
    """It counts at once; the answer is what it was. It takes the right `admin`. 409 `last_admin` for the last grant of `admin` without an
    end, which takes the role `admin`."""
    return Grant.model_validate(services.permissions.revoke_grant(caller, dataset, grant))


# --- files -------------------------------------------------------------------------------------------------------------------------


@router.get("/files/{file}/permissions", summary="List the grants on a file")
def list_file_grants(services: Services, caller: Caller, file: File, after: AfterGrant = 0, limit: Limit = 100) -> Grants:
    """Those on the file by itself. It takes the right `admin` on it, or on a dataset of which a version names it."""
    return _grants(services.permissions.file_grants(caller, FileId(file), after=after, limit=limit + 1), limit)


@router.post("/files/{file}/permissions", summary="Grant a right on a file", status_code=201)
def grant_file(services: Services, caller: Caller, file: File, body: NewGrant) -> Grant:
    """On the file by itself, whatever names it. It takes the right `admin` on it, or on a dataset of which a version names it."""
    right, until = PermissionType(body.right), body.expires_at
    return Grant.model_validate(services.permissions.grant_file(caller, _grantee(body.grantee), right, FileId(file), until=until))


@router.delete("/files/{file}/permissions/{grant}", summary="Take back a grant on a file")
def revoke_file_grant(services: Services, caller: Caller, file: File, grant: GrantId) -> Grant:
    """It counts at once; the answer is what it was. It takes the right `admin` on the file, or on a dataset of which a version names it."""
    return Grant.model_validate(services.permissions.revoke_file_grant(caller, FileId(file), grant))


# --- users -------------------------------------------------------------------------------------------------------------------------


@router.get("/permissions", summary="List what a user holds")
def list_holdings(services: Services, caller: Caller, user: Username = None, after: AfterGrant = 0, limit: Limit = 100) -> Holdings:
    """By grants of her own, of her groups and for everyone, on what you may see. To ask about others takes the right `users`."""
    found = services.permissions.of_user(caller, user, after=after, limit=limit + 1)
    items, following = cut(found, lambda each: each.way.grant_id, limit)
    return Holdings(items=[Holding.model_validate(each) for each in items], next=following, total=None)


@router.get("/permissions/check", summary="Check whether a user holds a right")
def check_permission(
    services: Services,
    caller: Caller,
    right: RightAsked,
    dataset: Annotated[str | None, Query(max_length=300, description="Id, slug or name of a dataset", examples=["sales"])] = None,
    file: Annotated[int | None, Query(ge=1, le=MAX_ID, description="Or the id of a file", examples=[412])] = None,
    user: Username = None,
) -> Standing:
    """Yes or no, and by what. About yourself it takes the right `read`, and is answered as far as your credential goes; to ask about
    others takes `admin`."""
    if (dataset is None) == (file is None):
        raise Invalid("give `dataset` or `file`: one of them")
    wanted = PermissionType(right)
    if file is not None:
        return Standing.model_validate(services.permissions.can_file(caller, FileId(file), wanted, user))
    found = services.datasets.open(caller, by_id(str(dataset)))
    return Standing.model_validate(services.permissions.can(caller, found, wanted, user))


# --- branches ----------------------------------------------------------------------------------------------------------------------


@router.get("/datasets/{dataset}/protections", summary="List the protected branches")
def list_protections(services: Services, caller: Caller, dataset: Dataset) -> Protections:
    """By name. It takes the right `read`."""
    items = [Protection.model_validate(each) for each in services.protection.protections(caller, dataset)]
    return Protections(items=items, next=None, total=None)


@router.put("/datasets/{dataset}/protections/{branch:path}", summary="Protect a branch")
def protect_branch(services: Services, caller: Caller, dataset: Dataset, branch: BranchName, body: NewProtection) -> Protection:
    """Or change how it is protected. It counts at once, also for uploads that are under way. It takes the right `admin`."""
    return Protection.model_validate(services.protection.protect(caller, dataset, branch, Demand(body.demands)))


@router.delete("/datasets/{dataset}/protections/{branch:path}", summary="End the protection of a branch")
def unprotect_branch(services: Services, caller: Caller, dataset: Dataset, branch: BranchName) -> Protection:
    """The answer is what it was. It takes the right `admin`. 404 where it is not protected."""
    return Protection.model_validate(services.protection.unprotect(caller, dataset, branch))


def _grantee(body: Grantee) -> model.Grantee:
    return model.EVERYONE if body.kind == "everyone" else model.Grantee(body.kind, name=body.name)


def _grants(found: Sequence[model.Grant], limit: int) -> Grants:
    items, following = cut(found, lambda each: each.id, limit)
    return Grants(items=[Grant.model_validate(each) for each in items], next=following, total=None)
