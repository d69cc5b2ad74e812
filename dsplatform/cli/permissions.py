"""`grant`, `revoke`, `grants`, `can`, `who-can`: who may do what; `file grant` and its kin; `branch protect` and `branch unprotect`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from dsplatform.cli.history import Dataset, Name, branch
from dsplatform.cli.render import AsJson, emit, table, tell

if TYPE_CHECKING:
    from dsplatform.bootstrap import Platform
    from dsplatform.core.domain import Actor
    from dsplatform.core.types import PermissionType
    from dsplatform.core.values import DatasetRef
    from dsplatform.permissions.model import Grant, Grantee

file = typer.Typer(
    no_args_is_help=True,
    help="Rights on a file by itself, beside those on the datasets whose versions name it.\n\n"
    "A file is a content, named by its id, which `dsplatform why HASH` tells. Such a right keeps nothing: the file goes when no version "
    "names it any more.",
)


class RightName(StrEnum):
    """A right on a dataset."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class DemandName(StrEnum):
    """What a protected branch may ask for."""

    ADMIN = "admin"
    MERGE = "merge"


Right = Annotated[RightName, typer.Argument(metavar="read|write|admin", help="Each right includes those before it.", show_choices=False)]
User = Annotated[str | None, typer.Option("--user", "-u", metavar="NAME", help="A user, or a service account.")]
Group = Annotated[str | None, typer.Option("--group", "-g", metavar="NAME", help="A group: all who are in it at that moment.")]
Everyone = Annotated[bool, typer.Option("--everyone", help="Every active user, also those to come.")]
Until = Annotated[
    str | None, typer.Option("--until", metavar="DATE", help="When it ends: 2030-01-31 (with that day), or a time with its zone.")
]
Days = Annotated[float | None, typer.Option("--for", metavar="DAYS", help="How many days it lasts.")]
File = Annotated[int, typer.Argument(metavar="FILE", min=1, help="The id of a file, as `dsplatform why HASH` tells.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many, at most.")]


@contextmanager
def _opened(dataset: str) -> "Iterator[tuple[Platform, Actor, DatasetRef]]":
    from dsplatform.cli.session import opened

    with opened() as session:
        platform = session.platform
        actor = platform.actor()
        yield platform, actor, platform.datasets.open(actor, dataset)


def grant(
    dataset: Dataset,
    right: Right,
    user: User = None,
    group: Group = None,
    everyone: Everyone = False,
    until: Until = None,
    days: Days = None,
    as_json: AsJson = False,
) -> None:
    """Give a user, a group or everyone a right on a dataset, for good or until a date. It takes the right `admin`.

    A grant of the same right that would end later stays as it is. To shorten one, revoke it first.
    """
    end = _end(until, days)
    with _opened(dataset) as (platform, actor, ref):
        made = platform.permissions.grant_permission(actor, _grantee(user, group, everyone), _right(right), ref.id, until=end)
    _tell(made, ref.slug, as_json)


def revoke(
    dataset: Dataset, right: Right, user: User = None, group: Group = None, everyone: Everyone = False, as_json: AsJson = False
) -> None:
    """Take a grant back, at once. It takes the right `admin`; the last grant of `admin` without an end takes the role `admin`.

    Only the grant that is named goes: `dsplatform can USER RIGHT DATASET` says by what somebody still holds the right.
    """
    with _opened(dataset) as (platform, actor, ref):
        gone = platform.permissions.revoke_permission(actor, _grantee(user, group, everyone), _right(right), ref.id)
    tell(f"the grant of '{gone.right}' on {ref.slug} to {gone.grantee.said} is taken back", gone, as_json=as_json)


def grants(
    dataset: Annotated[str | None, typer.Argument(metavar="[DATASET]", help="A dataset; without one: what you hold yourself.")] = None,
    user: Annotated[str | None, typer.Option("--user", "-u", metavar="NAME", help="Without DATASET: what this user holds.")] = None,
    limit: Limit = 1000,
    as_json: AsJson = False,
) -> None:
    """List the grants on a dataset, which takes the right `admin`, or those by which a user holds something."""
    from dsplatform.core.errors import Invalid

    if dataset is None:
        _held(user, limit, as_json)
        return
    if user is not None:
        raise Invalid("--user lists what a user holds everywhere: leave out DATASET, or ask `dsplatform can USER RIGHT DATASET`")
    with _opened(dataset) as (platform, actor, ref):
        found = platform.permissions.grants(actor, ref, limit=limit)
    _list(found, f"no grant: only roles give rights on {ref.slug}", as_json)


def _held(user: str | None, limit: int, as_json: bool) -> None:
    from dsplatform.cli.session import opened

    with opened() as session:
        platform = session.platform
        found = platform.permissions.of_user(platform.actor(), user, limit=limit)
    if as_json:
        emit(list(found))
    elif found:
        rows = [(h.object_type, h.slug or h.object_id, h.way.right, h.way.said) for h in found]
        table("", ["on", "name", "right", "how"], rows)
    else:
        typer.echo("no grant: what a role gives is not listed here")


def can(
    user: Annotated[str, typer.Argument(metavar="USER", help="A user; to ask about others than yourself takes the right admin.")],
    right: Right,
    dataset: Dataset,
    as_json: AsJson = False,
) -> None:
    """Say whether a user holds a right on a dataset, and by what. Exit code 0: she does, 1: she does not."""
    with _opened(dataset) as (platform, actor, ref):
        standing = platform.permissions.can(actor, ref, _right(right), user)
    tell(standing.sentence, {**standing.plain(), "sentence": standing.sentence}, as_json=as_json)
    raise typer.Exit(0 if standing.allowed else 1)


def who_can(right: Right, dataset: Dataset, limit: Limit = 1000, as_json: AsJson = False) -> None:
    """List every active user who holds a right on a dataset, and by what: role, own grant, group, everyone. It takes the right `admin`."""
    with _opened(dataset) as (platform, actor, ref):
        found = platform.permissions.who_can(actor, ref, _right(right), limit=limit)
    if as_json:
        emit(list(found))
        return
    table("", ["user", "how"], [(holder.username, "; ".join(way.said for way in holder.ways)) for holder in found])


@file.command("grant")
def grant_file(
    file: File,
    right: Right,
    user: User = None,
    group: Group = None,
    everyone: Everyone = False,
    until: Until = None,
    days: Days = None,
    as_json: AsJson = False,
) -> None:
    """Give a user, a group or everyone a right on a file. It takes the right `admin` on it, or on a dataset of which a version names it."""
    from dsplatform.cli.session import opened
    from dsplatform.core.types import FileId

    end = _end(until, days)
    with opened() as session:
        platform = session.platform
        grantee = _grantee(user, group, everyone)
        made = platform.permissions.grant_file(platform.actor(), grantee, _right(right), FileId(file), until=end)
    _tell(made, f"file {file}", as_json)


@file.command("revoke")
def revoke_file(
    file: File,
    grant: Annotated[
        int, typer.Argument(metavar="GRANT", min=1, help="The number of the grant, as `dsplatform file grants FILE` lists it.")
    ],
    as_json: AsJson = False,
) -> None:
    """Take a grant on a file back, at once. It takes what `file grant` takes."""
    from dsplatform.cli.session import opened
    from dsplatform.core.types import FileId

    with opened() as session:
        platform = session.platform
        gone = platform.permissions.revoke_file_grant(platform.actor(), FileId(file), grant)
    tell(f"the grant of '{gone.right}' on file {file} to {gone.grantee.said} is taken back", gone, as_json=as_json)


@file.command("grants")
def file_grants(file: File, limit: Limit = 1000, as_json: AsJson = False) -> None:
    """List the grants on a file by itself. It takes what `file grant` takes."""
    from dsplatform.cli.session import opened
    from dsplatform.core.types import FileId

    with opened() as session:
        platform = session.platform
        found = platform.permissions.file_grants(platform.actor(), FileId(file), limit=limit)
    _list(found, f"no grant: only roles and datasets give rights on file {file}", as_json)


@branch.command("protect")
def protect_branch(
    dataset: Dataset,
    name: Name,
    demands: Annotated[
        DemandName,
        typer.Option("--demand", "-d", help="admin: who changes it needs that right. merge: it changes by merges alone, for everybody."),
    ] = DemandName.MERGE,
    as_json: AsJson = False,
) -> None:
    """Protect a branch, or change how. To move it by hand, rename or delete it takes `admin` either way. It takes the right `admin`."""
    from dsplatform.versioning.model import Demand

    with _opened(dataset) as (platform, actor, ref):
        made = platform.protection.protect(actor, ref, name, Demand(demands.value))
    tell(f"branch {made.branch} is protected: {made.demands}", made, as_json=as_json)


@branch.command("unprotect")
def unprotect_branch(dataset: Dataset, name: Name, as_json: AsJson = False) -> None:
    """End the protection of a branch. It takes the right `admin`."""
    with _opened(dataset) as (platform, actor, ref):
        gone = platform.protection.unprotect(actor, ref, name)
    tell(f"branch {gone.branch} is protected no longer", gone, as_json=as_json)


@branch.command("protections")
def list_protections(dataset: Dataset, as_json: AsJson = False) -> None:
    """List the protected branches of a dataset."""
    with _opened(dataset) as (platform, actor, ref):
        found = platform.protection.protections(actor, ref)
    if as_json:
        emit(list(found))
    elif found:
        table("", ["branch", "demands", "by", "since"], [(p.branch, p.demands, p.set_by, p.set_at) for p in found])
    else:
        typer.echo("no branch is protected")


def _tell(made: "Grant", on: str, as_json: bool) -> None:
    ends = "" if made.expires_at is None else f" until {made.expires_at.astimezone():%Y-%m-%d %H:%M}"
    tell(f"{made.grantee.said} holds '{made.right}' on {on}{ends} (grant {made.id})", made, as_json=as_json)


def _list(found: "Sequence[Grant]", nothing: str, as_json: bool) -> None:
    if as_json:
        emit(list(found))
    elif found:
        rows = [(g.id, g.right, g.grantee.said, g.granted_by, g.granted_at, g.expires_at or "for good") for g in found]
        table("", ["grant", "right", "to", "by", "since", "until"], rows, right=["grant"])
    else:
        typer.echo(nothing)


def _right(name: RightName) -> "PermissionType":
    from dsplatform.core.types import PermissionType

    return PermissionType(name.value)


def _grantee(user: str | None, group: str | None, everyone: bool) -> "Grantee":
    from dsplatform.core.errors import Invalid
    from dsplatform.permissions.model import EVERYONE, Grantee

    if (user is not None) + (group is not None) + everyone != 1:
        raise Invalid("say to whom: --user NAME, --group NAME or --everyone, one of them")
    if user is not None:
        return Grantee("user", name=user)
    return EVERYONE if group is None else Grantee("group", name=group)


def _end(until: str | None, days: float | None) -> datetime | None:
    from dsplatform.core.errors import Invalid

    if until is not None and days is not None:
        raise Invalid("--until and --for both say when it ends: give one of them")
    if days is not None:
        if not 0 < days <= 36_525:
            raise Invalid(f"--for {days:g} cannot be used: give days, more than 0 and 36,525 at most")
        return datetime.now(UTC) + timedelta(days=days)
    if until is None:
        return None
    try:
        end = datetime.fromisoformat(until)
        if len(until) <= len("2030-01-31"):
            end = datetime.combine(end.date() + timedelta(days=1), time(), UTC)
    except (ValueError, OverflowError) as err:
        raise Invalid(f"--until {until!r} is no date: write 2030-01-31, or a time with its zone as 2030-01-31T12:00+01:00") from err
    return end
