"""`users`, `groups`, `roles`: who there is, and what they may do beyond single datasets."""

from typing import TYPE_CHECKING, Annotated

import typer

from dsplatform.cli.credentials import PasswordFromInput, read_password
from dsplatform.cli.render import AsJson, emit, table, tell

if TYPE_CHECKING:
    from dsplatform.permissions.principals import Group, Role, User

users = typer.Typer(no_args_is_help=True, help="Users and service accounts. It takes the right `users`; nobody gives more than she has.")
groups = typer.Typer(no_args_is_help=True, help="Groups of users, who are granted rights together. It takes the right `users`.")
roles = typer.Typer(no_args_is_help=True, help="Roles: what their users may do beyond what is granted to them. It takes the right `users`.")

UserName = Annotated[str, typer.Argument(metavar="USER", help="Name of a user, in any case of letters.")]
GroupName = Annotated[str, typer.Argument(metavar="GROUP", help="Name of a group.")]
RoleName = Annotated[str, typer.Argument(metavar="ROLE", help="Name of a role.")]
About = Annotated[str, typer.Option("--description", help="What it is for, for people.")]
ALL = 1_000_000


@users.command("list")
def list_users(as_json: AsJson = False) -> None:
    """List the users, also those that are not active."""
    from dsplatform.cli.session import opened

    with opened() as session:
        found = session.platform.people.list_users(session.platform.actor(), limit=ALL)
    if as_json:
        emit(list(found))
        return
    rows = [(u.username, u.role, _state(u), ", ".join(u.groups), u.created_at) for u in found]
    table("", ["user", "role", "state", "groups", "made"], rows)


@users.command("add")
def add_user(
    name: UserName,
    role: Annotated[str, typer.Option("--role", "-r", help="One of `roles list`.")] = "viewer",
    service: Annotated[bool, typer.Option("--service", help="A service account: without a password, only with tokens.")] = False,
    password: Annotated[bool, typer.Option("--password", help="Ask for a first password.")] = False,
    password_stdin: PasswordFromInput = False,
    as_json: AsJson = False,
) -> None:
    """Make a user."""
    from dsplatform.cli.session import opened

    given = read_password(from_input=password_stdin, twice=True) if password or password_stdin else None
    with opened() as session:
        made = session.platform.people.create_user(session.platform.actor(), name, role=role, is_service=service, password=given)
    _tell_user(made, as_json=as_json)


@users.command("show")
def show_user(name: UserName, as_json: AsJson = False) -> None:
    """Show one user."""
    from dsplatform.cli.session import opened

    with opened() as session:
        found = session.platform.people.get_user(session.platform.actor(), name)
    _tell_user(found, as_json=as_json)


@users.command("role")
def set_role(name: UserName, role: RoleName, as_json: AsJson = False) -> None:
    """Give a user another role."""
    _change(name, role=role, as_json=as_json)


@users.command()
def deactivate(name: UserName, as_json: AsJson = False) -> None:
    """Let a user do nothing any more. Her sessions end and her tokens are revoked, for good."""
    _change(name, active=False, as_json=as_json)


@users.command()
def reactivate(name: UserName, as_json: AsJson = False) -> None:
    """Let a user act again."""
    _change(name, active=True, as_json=as_json)


@users.command()
def password(name: UserName, password_stdin: PasswordFromInput = False, as_json: AsJson = False) -> None:
    """Set somebody's password. Her sessions end. Only an admin may."""
    from dsplatform.cli.session import opened

    given = read_password(from_input=password_stdin, twice=True)
    with opened() as session:
        session.platform.people.set_password(session.platform.actor(), name, given)
    tell(f"{name} has another password", {"username": name}, as_json=as_json)


@users.command("first-admin")
def first_admin(as_json: AsJson = False) -> None:
    """Make the user `admin`, with a token in `HOME/admin-token`, where nobody can administer yet. `dsplatform up` does it by itself."""
    from dsplatform.cli.session import opened

    with opened() as session:
        path = session.platform.first_admin()
    if path is None:
        tell("there is an admin already, or was: nothing is changed", {"made": False}, as_json=as_json)
    else:
        tell(f"user admin is made; its token is in {path}", {"made": True, "token_file": str(path)}, as_json=as_json)


@groups.command("list")
def list_groups(as_json: AsJson = False) -> None:
    """List the groups."""
    from dsplatform.cli.session import opened

    with opened() as session:
        found = session.platform.people.list_groups(session.platform.actor(), limit=ALL)
    if as_json:
        emit(list(found))
    else:
        table("", ["group", "members", "description"], [(g.name, g.members, g.description) for g in found], right=["members"])


@groups.command("add")
def add_group(name: GroupName, description: About = "", as_json: AsJson = False) -> None:
    """Make a group."""
    from dsplatform.cli.session import opened

    with opened() as session:
        made: Group = session.platform.people.create_group(session.platform.actor(), name, description)
    tell(f"group {made.name} is made", made, as_json=as_json)


@groups.command("rm")
def remove_group(name: GroupName, as_json: AsJson = False) -> None:
    """Take a group away, and with it all that was granted to it."""
    from dsplatform.cli.session import opened

    with opened() as session:
        session.platform.people.delete_group(session.platform.actor(), name)
    tell(f"group {name} is gone", {"group": name}, as_json=as_json)


@groups.command()
def members(name: GroupName, as_json: AsJson = False) -> None:
    """List who belongs to a group."""
    from dsplatform.cli.session import opened

    with opened() as session:
        found = session.platform.people.list_members(session.platform.actor(), name, limit=ALL)
    if as_json:
        emit(list(found))
    else:
        table("", ["user", "role", "state"], [(u.username, u.role, _state(u)) for u in found])


@groups.command()
def join(name: GroupName, user: UserName, as_json: AsJson = False) -> None:
    """Add a user to a group. It takes every right that the group holds."""
    from dsplatform.cli.session import opened

    with opened() as session:
        session.platform.people.add_member(session.platform.actor(), name, user)
    tell(f"{user} belongs to {name}", {"group": name, "username": user}, as_json=as_json)


@groups.command()
def leave(name: GroupName, user: UserName, as_json: AsJson = False) -> None:
    """Remove a user from a group."""
    from dsplatform.cli.session import opened

    with opened() as session:
        session.platform.people.remove_member(session.platform.actor(), name, user)
    tell(f"{user} does not belong to {name}", {"group": name, "username": user}, as_json=as_json)


@roles.command("list")
def list_roles(as_json: AsJson = False) -> None:
    """List the roles and their rights."""
    from dsplatform.cli.session import opened

    with opened() as session:
        found = session.platform.people.list_roles(session.platform.actor(), limit=ALL)
    if as_json:
        emit(list(found))
        return
    rows = [(r.name, "all" if r.name == "admin" else ", ".join(r.rights), r.users, r.description) for r in found]
    table("", ["role", "rights", "users", "description"], rows, right=["users"])


@roles.command("set")
def set_role_rights(
    name: RoleName,
    rights: Annotated[
        list[str] | None, typer.Argument(metavar="[RIGHT]...", help="create, read_all, write_all, operate, audit, users.")
    ] = None,
    description: About = "",
    as_json: AsJson = False,
) -> None:
    """Make a role with these rights, or give one that is there these instead."""
    from dsplatform.cli.session import opened
    from dsplatform.core.errors import Invalid
    from dsplatform.core.types import PlatformRight

    try:
        wanted = [PlatformRight(right) for right in rights or ()]
    except ValueError as err:
        raise Invalid(f"{err}: the rights are {', '.join(PlatformRight)}") from err
    with opened() as session:
        made: Role = session.platform.people.set_role_rights(session.platform.actor(), name, wanted, description)
    tell(f"role {made.name}: {', '.join(made.rights) or 'no rights'}; {made.users} user(s) have it", made, as_json=as_json)


@roles.command("rm")
def remove_role(name: RoleName, as_json: AsJson = False) -> None:
    """Take a role away that nobody has."""
    from dsplatform.cli.session import opened

    with opened() as session:
        session.platform.people.delete_role(session.platform.actor(), name)
    tell(f"role {name} is gone", {"role": name}, as_json=as_json)


def _change(name: str, *, role: str | None = None, active: bool | None = None, as_json: bool) -> None:
    from dsplatform.cli.session import opened

    with opened() as session:
        changed = session.platform.people.change_user(session.platform.actor(), name, role=role, active=active)
    _tell_user(changed, as_json=as_json)


def _tell_user(user: "User", *, as_json: bool) -> None:
    belongs = f", in {', '.join(user.groups)}" if user.groups else ""
    tell(f"{user.username}: {user.role}, {_state(user)}{belongs}", user, as_json=as_json)


def _state(user: "User") -> str:
    if not user.is_active:
        return "not active"
    if user.is_service:
        return "service account"
    return "active" if user.has_password else "active, no password"
