"""`contract`: what a dataset's tables have to be like, and what is done about those that are not."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dsplatform.cli.render import AsJson, emit, table, tell

if TYPE_CHECKING:
    from dsplatform.bootstrap import Platform
    from dsplatform.core.domain import Actor
    from dsplatform.core.types import VersionId
    from dsplatform.core.values import DatasetRef
    from dsplatform.schemas.contracts.model import Breach, Contract

app = typer.Typer(
    no_args_is_help=True,
    help="Contracts: what a dataset's tables have to be like. Learn one from a version that is right, edit it, set it.\n\n"
    "The policy `off` asks for nothing, `warn` says what is wrong, `enforce` keeps a branch from moving to what breaks the contract or its "
    "readers: such an arrival goes to a branch `quarantine/<date>`, where a person accepts or dismisses it, or is refused.",
)

Dataset = Annotated[str, typer.Argument(metavar="DATASET", help="A dataset.")]
Reference = Annotated[str, typer.Argument(metavar="DATASET[@REF]", help="A dataset, or one of its versions: number, latest, branch, tag.")]
Kept = Annotated[str, typer.Argument(metavar="DATASET@REF", help="A version in quarantine: its number or its branch.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why. It is kept with the decision.")]


class PolicyName(StrEnum):
    """What `--policy` may say."""

    OFF = "off"
    WARN = "warn"
    ENFORCE = "enforce"


class BreachName(StrEnum):
    """What `--on-breach` may say."""

    QUARANTINE = "quarantine"
    REJECT = "reject"


class Side(StrEnum):
    """Whose file is taken where both changed it."""

    OURS = "ours"
    THEIRS = "theirs"


class DateOrder(StrEnum):
    """Orders of day and month."""

    DMY = "dmy"
    MDY = "mdy"


@contextmanager
def _dataset(name: str) -> "Iterator[tuple[Platform, Actor, DatasetRef]]":
    from dsplatform.cli.session import opened

    with opened() as session:
        platform = session.platform
        actor = platform.actor()
        yield platform, actor, platform.datasets.open(actor, name)


@contextmanager
def _version(reference: str) -> "Iterator[tuple[Platform, Actor, DatasetRef, VersionId]]":
    from dsplatform.cli.session import opened

    with opened() as session:
        platform = session.platform
        actor = platform.actor()
        dataset, version, _ = platform.versions.find(actor, reference)
        yield platform, actor, dataset, version.id


@app.command()
def show(dataset: Dataset, as_json: AsJson = False) -> None:
    """Show what is set for a dataset: policies, contracts and reading hints."""
    from dsplatform.schemas.contracts.contract_yaml import dump

    with _dataset(dataset) as (platform, actor, ref):
        terms, hints = platform.contracts.terms(actor, ref), platform.contracts.hints(actor, ref)
    if as_json:
        emit({"dataset": ref.slug, "terms": list(terms), "hints": hints})
        return
    for each in terms:
        typer.echo(
            f"# {f'branch {each.branch}' if each.branch else 'every branch without terms of its own'}: policy {each.policy}, "
            f"on breach {each.on_breach}; set {each.revision} time(s), last by {each.updated_by} on {each.updated_at:%Y-%m-%d}"
        )
        typer.echo(dump(each.contract))
    if not terms:
        typer.echo(f"{ref.slug} has no contract: `dsplatform contract learn {ref.slug} > contract.yaml` writes one down")
    given = {name: value for name, value in hints.plain().items() if value is not None}
    if given:
        typer.echo("reading hints: " + ", ".join(f"{name} {value!r}" for name, value in given.items()))


@app.command("set")
def set_(
    dataset: Dataset,
    branch: Annotated[str, typer.Option("--branch", "-b", help="For this branch; else for every branch without terms of its own.")] = "",
    policy: Annotated[PolicyName | None, typer.Option("--policy", help="At first warn; else it stays as it is.")] = None,
    on_breach: Annotated[BreachName | None, typer.Option("--on-breach", help="Where an enforced contract sends a breach.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="The contract, as YAML; else it stays as it is.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set policy and contract. It takes the right `admin`.

    `enforce` without a contract keeps a branch from versions whose schema breaks the readers of the one before.
    """
    from dsplatform.schemas.contracts.model import OnBreach, Policy

    contract = None if file is None else _read(file)
    with _dataset(dataset) as (platform, actor, ref):
        terms = platform.contracts.set_terms(
            actor,
            ref,
            branch,
            policy=None if policy is None else Policy(policy.value),
            on_breach=None if on_breach is None else OnBreach(on_breach.value),
            contract=contract,
        )
    where = f"branch {terms.branch}" if terms.branch else "every branch without terms of its own"
    rules = f"{len(terms.contract.tables)} rule(s) for tables"
    tell(f"{ref.slug}, {where}: policy {terms.policy}, on breach {terms.on_breach}, {rules}", terms, as_json=as_json)


@app.command()
def learn(
    dataset: Reference,
    ranges: Annotated[bool, typer.Option("--ranges", help="Also the least and the greatest numbers that were seen.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print a contract that a version keeps, to be edited and set."""
    from dsplatform.schemas.contracts.contract_yaml import dump

    with _version(dataset) as (platform, actor, ref, version_id):
        contract = platform.contracts.learn(actor, ref, version_id, ranges=ranges)
    if as_json:
        emit(contract)
    else:
        typer.echo(dump(contract), nl=False)


@app.command()
def check(
    dataset: Reference,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Against this contract instead of the one that is set.")] = None,
    as_json: AsJson = False,
) -> None:
    """Hold a version against the contract, all rows of it. Nothing is changed; exit code 5 says that the contract is not kept."""
    contract = None if file is None else _read(file)
    with _version(dataset) as (platform, actor, ref, version_id):
        judged = platform.contracts.check(actor, ref, version_id, contract)
    if as_json:
        emit(judged)
    elif judged.breaches:
        _show(judged.breaches)
    else:
        typer.echo(f"the contract is kept (policy of {judged.branch}: {judged.policy})")
    if judged.breaches:
        raise typer.Exit(5)


@app.command("list")
def list_(
    dataset: Dataset,
    decided: Annotated[bool, typer.Option("--all", help="Also those that were accepted or dismissed.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the versions in quarantine that wait for a decision."""
    with _dataset(dataset) as (platform, actor, ref):
        found = platform.contracts.quarantined(actor, ref, decided=decided)
    if as_json:
        emit(list(found))
        return
    rows = [
        (q.version_number, q.branch, q.target_branch, q.arrived_at, q.state, "; ".join(q.report) if q.decision is None else q.decision)
        for q in found
    ]
    table("", ["version", "branch", "kept from", "arrived", "state", "why"], rows, right=["version"])
    if not found:
        typer.echo("nothing waits in quarantine")


@app.command()
def accept(
    version: Kept,
    reason: Reason,
    strategy: Annotated[Side | None, typer.Option("--strategy", help="Whose file to take where both sides changed it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Take a version from quarantine onto the branch that it was meant for. It takes the right `write`."""
    with _version(version) as (platform, actor, ref, version_id):
        done = platform.contracts.accept(actor, ref, version_id, reason, strategy=None if strategy is None else strategy.value)
    kept = done.quarantined
    tell(f"{ref.slug}@{kept.version_number} is accepted: {kept.target_branch} is at version {done.version_number}", done, as_json=as_json)


@app.command()
def dismiss(version: Kept, reason: Reason, as_json: AsJson = False) -> None:
    """Say that a version in quarantine is not taken. It stays on its branch until that is deleted. It takes the right `write`."""
    with _version(version) as (platform, actor, ref, version_id):
        done = platform.contracts.dismiss(actor, ref, version_id, reason)
    kept = done.quarantined
    tell(f"{ref.slug}@{kept.version_number} is dismissed; it stays on {kept.branch}", done, as_json=as_json)


@app.command()
def hints(
    dataset: Dataset,
    date_order: Annotated[DateOrder | None, typer.Option("--date-order", help="What 01/02/2024 is: day or month first.")] = None,
    encoding: Annotated[str | None, typer.Option("--encoding", help="Of text that is not UTF-8, such as windows-1252.")] = None,
    delimiter: Annotated[str | None, typer.Option("--delimiter", help="Between fields: one character.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take the other hints away.")] = False,
    as_json: AsJson = False,
) -> None:
    r"""Say how a dataset's files are to be read, where their bytes leave it open. It takes the right `admin`.

    Without options the hints are shown. They count for files that are read from now on.
    """
    given = {"date_order": date_order and date_order.value, "encoding": encoding, "delimiter": delimiter}
    wanted = given if clear else {name: value for name, value in given.items() if value is not None}
    with _dataset(dataset) as (platform, actor, ref):
        found = platform.contracts.set_hints(actor, ref, wanted) if wanted else platform.contracts.hints(actor, ref)
    if as_json:
        emit(found)
    else:
        table("", ["hint", "value"], [(name.replace("_", " "), value) for name, value in found.plain().items()])


def _read(file: Path) -> "Contract":
    from dsplatform.core.errors import Invalid
    from dsplatform.schemas.contracts.contract_yaml import parse

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise Invalid(f"{file} cannot be read: {err}") from err
    try:
        return parse(text)
    except Invalid as err:
        raise Invalid(f"{file}: {err}") from err


def _show(breaches: "Sequence[Breach]") -> None:
    typer.echo(f"{len(breaches)} breach(es):")
    for breach in breaches:
        typer.echo(f"  {breach.sentence}")
