"""`login`, `logout`, `whoami`, `tokens`: as whom commands act, and by what programs say who they are."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from dsplatform.cli.render import AsJson, emit, table, tell

if TYPE_CHECKING:
    from dsplatform.core.domain import Scope

app = typer.Typer(
    no_args_is_help=True,
    help="API tokens: by what programs say who they are. Send one as `Authorization: Bearer TOKEN`, or set DSPLATFORM_TOKEN.",
)

Of = Annotated[str | None, typer.Option("--of", metavar="USER", help="Of this user instead of yours. It takes the right `users`.")]
PasswordFromInput = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input instead of asking for it.")
]


class RightName(StrEnum):
    """What `--right` may say."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


def login(
    user: Annotated[str | None, typer.Option("--user", "-u", help="Your name; asked for where it is missing.")] = None,
    password_stdin: PasswordFromInput = False,
    hours: Annotated[float, typer.Option("--hours", min=0.1, max=24 * 31, help="How long you stay logged in.")] = 12,
    as_json: AsJson = False,
) -> None:
    """Act as a user from now on. A token for it is kept in `HOME/credentials`, which only you can read."""
    from dsplatform.cli.session import CREDENTIALS, opened
    from dsplatform.core import private_files
    from dsplatform.core.domain import Origin

    name = user or typer.prompt("User")
    password = read_password(from_input=password_stdin)
    with opened() as session:
        platform = session.platform
        actor = platform.sessions.identify(name, password, Origin())
        made = platform.accounts.create_token(actor, "dsplatform login", days=hours / 24)
        private_files.write(platform.settings.home / CREDENTIALS, f"{made.secret}\n")
    said = f"logged in as {actor.username} until {made.expires_at.astimezone():%Y-%m-%d %H:%M}"
    tell(said, {"username": actor.username, "expires_at": made.expires_at}, as_json=as_json)


def logout(as_json: AsJson = False) -> None:
    """Act as DSPLATFORM_USER again. The token that `login` has kept is revoked."""
    import contextlib

    from dsplatform.cli.session import CREDENTIALS, kept_credential, opened
    from dsplatform.core.domain import Origin
    from dsplatform.permissions.model import Unauthenticated

    username = None
    with opened() as session:
        platform = session.platform
        if kept := kept_credential(platform.settings.home):
            with contextlib.suppress(Unauthenticated):  # its time is over
                actor = platform.accounts.authenticate(kept, Origin())
                username = actor.username
                platform.accounts.revoke_token(actor, actor.origin.token_id or 0)
            (platform.settings.home / CREDENTIALS).unlink(missing_ok=True)
    tell(f"{username} is logged out" if username else "nobody was logged in", {"username": username}, as_json=as_json)


def whoami(as_json: AsJson = False) -> None:
    """Show as whom commands act, and what that user may do."""
    from dsplatform.cli.session import opened

    with opened() as session:
        actor = session.platform.actor()
        user = session.platform.people.me(actor)
    if as_json:
        emit(
            {
                "user": user,
                "rights": list(actor.rights),
                "is_admin": actor.is_admin,
                "scope": actor.scope,
                "token_id": actor.origin.token_id,
            }
        )
        return
    lines = [
        ("user", user.username),
        ("role", user.role),
        ("rights", "all" if actor.is_admin else ", ".join(actor.rights) or "none beyond what is granted"),
        ("groups", ", ".join(user.groups) or "none"),
        ("by", "DSPLATFORM_USER" if actor.origin.token_id is None else f"token {actor.origin.token_id}, for {_reach(actor.scope)}"),
    ]
    table("", ["", ""], lines)


@app.command("list")
def list_(of: Of = None, as_json: AsJson = False) -> None:
    """List tokens, also those that are no longer good."""
    from dsplatform.cli.session import opened

    with opened() as session:
        found = session.platform.accounts.list_tokens(session.platform.actor(), of=of, limit=10_000)
    if as_json:
        emit(list(found))
        return
    rows = [(t.id, t.name, f"{t.hint}…", _reach(t.scope), t.created_at, t.revoked_at or t.expires_at, t.last_used_at) for t in found]
    table("", ["id", "name", "begins", "for", "made", "good until", "last used"], rows, right=["id"])


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    right: Annotated[RightName, typer.Option("--right", "-r", help="The highest right that it may be used for.")] = RightName.ADMIN,
    dataset: Annotated[list[str] | None, typer.Option("--dataset", "-d", help="Only for this dataset; may be given several times.")] = None,
    days: Annotated[float, typer.Option("--days", min=0.001, max=366, help="How long it is good.")] = 90,
    of: Annotated[
        str | None, typer.Option("--of", metavar="USER", help="Of this service account instead of yours. It takes the right `users`.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a token. It is shown once, on a line of its own."""
    from dsplatform.cli.session import opened
    from dsplatform.core.types import PermissionType

    with opened() as session:
        platform, actor = session.platform, session.platform.actor()
        ids = [platform.datasets.open(actor, key).id for key in dataset] if dataset else None
        made = platform.accounts.create_token(actor, name, right=PermissionType(right.value), dataset_ids=ids, days=days, of=of)
    if as_json:
        emit(made)
        return
    typer.echo(f"token {made.id}, for {_reach(made.scope)}, good until {made.expires_at:%Y-%m-%d}; it is shown only now:", err=True)
    typer.echo(made.secret)


@app.command()
def revoke(
    token_id: Annotated[int, typer.Argument(min=1, metavar="ID", help="As `tokens list` shows it.")], as_json: AsJson = False
) -> None:
    """Refuse a token from now on."""
    from dsplatform.cli.session import opened

    with opened() as session:
        session.platform.accounts.revoke_token(session.platform.actor(), token_id)
    tell(f"token {token_id} is revoked", {"revoked": token_id}, as_json=as_json)


def read_password(*, from_input: bool, twice: bool = False) -> str:
    """A password that is typed unseen, or stands on the first line of standard input."""
    import sys

    if from_input:
        return sys.stdin.readline().rstrip("\r\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=twice))


def _reach(scope: "Scope") -> str:
    only = scope.dataset_ids
    return f"{scope.right}, everywhere" if only is None else f"{scope.right}, in dataset {', '.join(map(str, only))}"
