"""Users, groups and roles. All of it takes the right `users`, and nobody gives more than she has."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from dsplatform.api.bodies import Input, Output
from dsplatform.api.caller import Caller, Services
from dsplatform.api.pages import Limit, Page, Total, cut
from dsplatform.api.sessions import NewPassword
from dsplatform.core.types import PlatformRight

router = APIRouter(tags=["people"])

_RULE = "1 to 64 letters and digits of any script, `.`, `_`, `-`, `@`, `+` and single inner spaces; kept in lower case"
After = Annotated[str, Query(description="`next` of the page before", max_length=64, examples=["ada"])]
UserName = Annotated[str, Path(description="Name of a user", max_length=64, examples=["ada"])]
GroupName = Annotated[str, Path(description="Name of a group", max_length=64, examples=["analysts"])]
RoleName = Annotated[str, Path(description=f"Name of a role: {_RULE}", max_length=64, examples=["auditor"])]
Description = Annotated[str, Field(max_length=500, description="What it is for, for people", examples=["Who looks at sales"])]
Rights = Annotated[
    list[Annotated[PlatformRight, Field(strict=False)]],  # a word in JSON
    Field(max_length=50, description="What its users may do", examples=[["create", "audit"]]),
]


class User(Output):
    """A person, or a program with an account of its own."""

    id: int = Field(description="Never changes", examples=[2])
    username: str = Field(description="Never changes", examples=["ada"])
    role: str = Field(description="Name of the role", examples=["editor"])
    is_active: bool = Field(description="False: she may do nothing")
    is_service: bool = Field(description="A service account: it has no password, only tokens")
    has_password: bool = Field(description="Whether she can log in")
    groups: list[str] = Field(description="The groups that she belongs to", examples=[["analysts"]])
    created_at: datetime = Field(description="When the account was made")


class Users(Page):
    """A page of users."""

    items: list[User] = Field(description="By name")


class NewUser(Input):
    """A user to be made."""

    username: str = Field(min_length=1, max_length=64, description=_RULE, examples=["ada"])
    role: str = Field("viewer", max_length=64, description="Name of a role, of which you need every right", examples=["editor"])
    is_service: bool = Field(False, description="A service account, for a program")
    password: NewPassword | None = Field(None, description="Null: an admin sets one later")


class UserChange(Input):
    """What is to be different. What is not named stays as it is."""

    role: str | None = Field(None, max_length=64, description="Name of another role, of which you need every right", examples=["editor"])
    is_active: bool | None = Field(None, description="False ends her sessions and revokes her tokens, for good")


class PasswordSetting(Input):
    """Another password for somebody."""

    password: NewPassword


class Group(Output):
    """Users who are granted rights together."""

    id: int = Field(description="Never changes", examples=[3])
    name: str = Field(description="Unique among groups", examples=["analysts"])
    description: Description
    members: int = Field(description="How many users belong to it", examples=[4])


class Groups(Page):
    """A page of groups."""

    items: list[Group] = Field(description="By name")


class NewGroup(Input):
    """A group to be made."""

    name: str = Field(min_length=1, max_length=64, description=_RULE, examples=["analysts"])
    description: Description = ""


class Role(Output):
    """What its users may do beyond what is granted to them on single datasets."""

    id: int = Field(description="Never changes", examples=[4])
    name: str = Field(description="Unique among roles", examples=["auditor"])
    description: Description
    rights: Rights
    is_built_in: bool = Field(description="Such a role stays as it is. `admin` may do everything")
    users: int = Field(description="How many users have it", examples=[2])


class Roles(Page):
    """A page of roles."""

    items: list[Role] = Field(description="By name")


class RoleRights(Input):
    """What a role is to be."""

    rights: Rights
    description: Description = ""


@router.get("/users", summary="List users")
def list_users(services: Services, caller: Caller, after: After = "", limit: Limit = 100, *, total: Total = False) -> Users:
    """All of them, by name, also those that are not active."""
    found = services.people.list_users(caller, after=after, limit=limit + 1)
    items, following = cut(found, lambda user: user.username, limit)
    return Users(
        items=[User.model_validate(user) for user in items],
        next=following,
        total=services.people.count_users(caller) if total else None,
    )


@router.post("/users", summary="Make a user", status_code=201)
def create_user(services: Services, caller: Caller, body: NewUser, response: Response) -> User:
    """A new user. Without a password nobody can log in as her until an admin sets one. 409 for a taken name."""
    password = None if body.password is None else body.password.get_secret_value()
    made = services.people.create_user(caller, body.username, role=body.role, is_service=body.is_service, password=password)
    response.headers["Cache-Control"] = "no-store"
    return User.model_validate(made)


@router.get("/users/{username}", summary="Get a user")
def get_user(services: Services, caller: Caller, username: UserName) -> User:
    """One user, with her groups."""
    return User.model_validate(services.people.get_user(caller, username))


@router.patch("/users/{username}", summary="Change a user")
def change_user(services: Services, caller: Caller, username: UserName, body: UserChange) -> User:
    """Role, and whether she is active, as one change. Only an admin changes an admin; 409 for the last active one."""
    return User.model_validate(services.people.change_user(caller, username, role=body.role, active=body.is_active))


@router.put("/users/{username}/password", summary="Set a user's password", status_code=204)
def set_password(services: Services, caller: Caller, username: UserName, body: PasswordSetting) -> None:
    """Her sessions end. Only an admin may."""
    services.people.set_password(caller, username, body.password.get_secret_value())


@router.get("/groups", summary="List groups")
def list_groups(services: Services, caller: Caller, after: After = "", limit: Limit = 100, *, total: Total = False) -> Groups:
    """All of them, by name."""
    found = services.people.list_groups(caller, after=after, limit=limit + 1)
    items, following = cut(found, lambda group: group.name, limit)
    return Groups(
        items=[Group.model_validate(group) for group in items],
        next=following,
        total=services.people.count_groups(caller) if total else None,
    )


@router.post("/groups", summary="Make a group", status_code=201)
def create_group(services: Services, caller: Caller, body: NewGroup) -> Group:
    """A new group, of nobody and without grants. 409 for a taken name."""
    return Group.model_validate(services.people.create_group(caller, body.name, body.description))


@router.get("/groups/{group}", summary="Get a group")
def get_group(services: Services, caller: Caller, group: GroupName) -> Group:
    """One group."""
    return Group.model_validate(services.people.get_group(caller, group))


@router.delete("/groups/{group}", summary="Delete a group", status_code=204)
def delete_group(services: Services, caller: Caller, group: GroupName) -> None:
    """All that was granted to it goes with it."""
    services.people.delete_group(caller, group)


@router.get("/groups/{group}/members", summary="List the members of a group")
def list_members(
    services: Services, caller: Caller, group: GroupName, after: After = "", limit: Limit = 100, *, total: Total = False
) -> Users:
    """Who belongs to it, by name."""
    found = services.people.list_members(caller, group, after=after, limit=limit + 1)
    items, following = cut(found, lambda user: user.username, limit)
    return Users(
        items=[User.model_validate(user) for user in items],
        next=following,
        total=services.people.get_group(caller, group).members if total else None,
    )


@router.put("/groups/{group}/members/{username}", summary="Add a member to a group", status_code=204)
def add_member(services: Services, caller: Caller, group: GroupName, username: UserName) -> None:
    """It takes every right that the group holds. Nothing happens where she belongs to it already."""
    services.people.add_member(caller, group, username)


@router.delete("/groups/{group}/members/{username}", summary="Remove a member from a group", status_code=204)
def remove_member(services: Services, caller: Caller, group: GroupName, username: UserName) -> None:
    """Nothing happens where she does not belong to it."""
    services.people.remove_member(caller, group, username)


@router.get("/roles", summary="List roles")
def list_roles(services: Services, caller: Caller, after: After = "", limit: Limit = 100, *, total: Total = False) -> Roles:
    """All of them, by name."""
    found = services.people.list_roles(caller, after=after, limit=limit + 1)
    items, following = cut(found, lambda role: role.name, limit)
    return Roles(
        items=[Role.model_validate(role) for role in items],
        next=following,
        total=services.people.count_roles(caller) if total else None,
    )


@router.put("/roles/{role}", summary="Make or change a role")
def set_role_rights(services: Services, caller: Caller, role: RoleName, body: RoleRights) -> Role:
    """It takes every right that the role has and gets. 409 for a built-in one."""
    return Role.model_validate(services.people.set_role_rights(caller, role, body.rights, body.description))


@router.delete("/roles/{role}", summary="Delete a role", status_code=204)
def delete_role(services: Services, caller: Caller, role: RoleName) -> None:
    """409 for a built-in one, and while somebody has it."""
    services.people.delete_role(caller, role)
