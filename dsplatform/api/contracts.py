"""Contracts: what a dataset's tables have to be like; and what was kept from its branches."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import PlainTextResponse
from pydantic import Field

from dsplatform.api.bodies import Input, Output, Ref
from dsplatform.api.caller import Caller, Dataset, Services
from dsplatform.api.pages import Limit, Page, Total, page_of
from dsplatform.schemas.contract_rows import Terms as Found
from dsplatform.schemas.contracts import contract_yaml
from dsplatform.schemas.contracts.model import Contract as Rules
from dsplatform.schemas.contracts.model import OnBreach, Policy

router = APIRouter(prefix="/datasets/{dataset}", tags=["contracts"])

EXAMPLE = {"tables": [{"component": "prices*.csv", "columns": {"price": {"type": "float64", "nullable": False, "min": 0}}}]}
YAML = "application/yaml"

ContractText = Annotated[
    dict[str, Any] | str,
    Field(description="Rules for tables, as an object or as YAML text; docs/contracts.md has all of them", examples=[EXAMPLE]),
]
PolicyName = Literal["off", "warn", "enforce"]
Number = Annotated[int, Path(ge=1, le=999_999_999, description="Number of the version", examples=[4])]
Reason = Annotated[
    str, Field(min_length=1, max_length=10_000, description="Why; it is kept with the decision", examples=["the shop confirmed it"])
]


class Terms(Output):
    """What is set for a branch, or for every branch that has no terms of its own."""

    branch: str = Field(description="Empty: for every branch", examples=["main"])
    policy: PolicyName = Field(description="`warn` says what is wrong, `enforce` keeps the branch from moving")
    on_breach: Literal["quarantine", "reject"] = Field(description="Where an arrival goes that an enforced contract refuses")
    contract: dict[str, Any] = Field(description="Rules for tables", examples=[EXAMPLE])
    revision: int = Field(description="How often these terms were set", examples=[2])
    updated_by: str = Field(description="Who set them last", examples=["ada"])
    updated_at: datetime = Field(description="When")


class AllTerms(Output):
    """All that is set for a dataset."""

    items: list[Terms] = Field(description="Those for every branch first, then by branch")


class NewTerms(Input):
    """What is to be set. What is not named stays as it is; at first `warn`, `quarantine` and no rules."""

    branch: str = Field("", max_length=255, description="Empty: for every branch without terms of its own", examples=["main"])
    policy: PolicyName | None = Field(None, description="What becomes of a contract that is not kept")
    on_breach: Literal["quarantine", "reject"] | None = Field(None, description="Where an arrival goes that an enforced contract refuses")
    contract: ContractText | None = None


class Contract(Output):
    """Rules for the tables of a dataset."""

    tables: list[dict[str, Any]] = Field(description="docs/contracts.md has all rules", examples=[EXAMPLE["tables"]])


class Check(Input):
    """Which version is to be held against which contract."""

    ref: str | None = Field(None, max_length=300, description="The version; else the head of `main`", examples=["main"])
    contract: ContractText | None = Field(None, description="Else the one that is set for the version's branch")


class Breach(Output):
    """One way in which a contract is not kept."""

    rule: str = Field(description="Which rule", examples=["nullable"])
    component: str = Field(description="Name of the component", examples=["prices.csv"])
    table: str | None = Field(description="The sheet of a workbook")
    column: str | None = Field(description="Name of the column", examples=["price"])
    sentence: str = Field(description="What is wrong", examples=["prices.csv: column 'price' has 3 rows without a value"])


class Judged(Output):
    """How a version stands to a contract."""

    branch: str = Field(description="The branch whose terms count", examples=["main"])
    policy: PolicyName = Field(description="Of that branch")
    breaches: list[Breach] = Field(description="None: the contract is kept")


class Quarantined(Output):
    """A version that was kept from its branch, and what a person decided about it."""

    version_id: int = Field(description="Id of the version", examples=[95])
    version_number: int = Field(description="Its number", examples=[4])
    branch: str = Field(description="Where it is", examples=["quarantine/2026-01-31"])
    target_branch: str = Field(description="Where it was to go", examples=["main"])
    report: list[str] = Field(description="Why it was kept from there", examples=[["prices.csv: column 'price' is missing"]])
    state: Literal["open", "accepted", "dismissed"] = Field(description="`open`: it waits for a decision")
    arrived_at: datetime = Field(description="When it arrived")
    decided_by: str | None = Field(description="Who decided", examples=["ada"])
    decided_at: datetime | None = Field(description="When")
    decision: str | None = Field(description="The reason that was given", examples=["the shop confirmed it"])


class AllQuarantined(Page):
    """A page of versions in quarantine."""

    items: list[Quarantined] = Field(description="By number, newest first")


class Decided(Output):
    """What became of a version in quarantine."""

    quarantined: Quarantined
    version_number: int | None = Field(description="Where the branch is now; null: it was dismissed", examples=[5])


class Acceptance(Input):
    """Why a version is taken after all."""

    reason: Reason
    strategy: Literal["ours", "theirs"] | None = Field(None, description="Whose component is taken where both sides changed it")


class Dismissal(Input):
    """Why a version is not taken."""

    reason: Reason


@router.get("/contract", summary="Get the contracts of a dataset")
def get_contract(services: Services, caller: Caller, dataset: Dataset) -> AllTerms:
    """Policy and rules, for every branch and for single ones."""
    return AllTerms(items=[_terms(each) for each in services.contracts.terms(caller, dataset)])


@router.put("/contract", summary="Set a contract")
def set_contract(services: Services, caller: Caller, dataset: Dataset, body: NewTerms) -> Terms:
    """Counts for every commit from then on. It takes the right `admin`."""
    made = services.contracts.set_terms(
        caller,
        dataset,
        body.branch,
        policy=None if body.policy is None else Policy(body.policy),
        on_breach=None if body.on_breach is None else OnBreach(body.on_breach),
        contract=_rules(body.contract),
    )
    return _terms(made)


@router.get(
    "/contract/learned",
    summary="Learn a contract from a version",
    response_model=Contract,
    responses={200: {"content": {YAML: {"schema": {"$ref": "#/components/schemas/Contract"}}}}},
)
def learn_contract(
    services: Services,
    caller: Caller,
    dataset: Dataset,
    ref: Ref = None,
    format: Annotated[Literal["json", "yaml"], Query(description="How it is written", examples=["json"])] = "json",  # noqa: A002
    *,
    ranges: Annotated[bool, Query(description="Also the least and the greatest numbers that were seen", examples=[True])] = False,
) -> Response:
    """One that the version keeps, to be edited and set."""
    rules = services.contracts.learn(caller, dataset, services.versions.id_of(caller, dataset, ref), ranges=ranges)
    if format == "yaml":
        return PlainTextResponse(contract_yaml.dump(rules), media_type=YAML)
    return Response(Contract(**rules.plain()).model_dump_json(), media_type="application/json")


@router.post("/contract/check", summary="Hold a version against a contract")
def check_contract(services: Services, caller: Caller, dataset: Dataset, body: Check) -> Judged:
    """All rows of it. Nothing is changed."""
    version_id = services.versions.id_of(caller, dataset, body.ref)
    return Judged.model_validate(services.contracts.check(caller, dataset, version_id, _rules(body.contract)))


@router.get("/quarantine", summary="List versions in quarantine")
def list_quarantined(
    services: Services,
    caller: Caller,
    dataset: Dataset,
    after: Annotated[int | None, Query(ge=1, le=999_999_999, description="`next` of the page before", examples=[4])] = None,
    limit: Limit = 100,
    *,
    decided: Annotated[bool, Query(description="Also those that were accepted or dismissed", examples=[True])] = False,
    total: Total = False,
) -> AllQuarantined:
    """Those that wait for a decision."""
    found = services.contracts.quarantined(caller, dataset, decided=decided)
    items, following = page_of(found, lambda one: -one.version_number, -(after or 2**31), limit)
    return AllQuarantined(
        items=[Quarantined.model_validate(one) for one in items],
        next=None if following is None else str(-following),
        total=len(found) if total else None,
    )


@router.post("/quarantine/{number}/accept", summary="Accept a version in quarantine")
def accept(services: Services, caller: Caller, dataset: Dataset, number: Number, body: Acceptance) -> Decided:
    """Brings it onto the branch that it was meant for, past the contract. It takes the right `write`."""
    version_id = services.versions.id_of(caller, dataset, str(number))
    return Decided.model_validate(services.contracts.accept(caller, dataset, version_id, body.reason, strategy=body.strategy))


@router.post("/quarantine/{number}/dismiss", summary="Dismiss a version in quarantine")
def dismiss(services: Services, caller: Caller, dataset: Dataset, number: Number, body: Dismissal) -> Decided:
    """It stays on its branch until that is deleted. It takes the right `write`."""
    version_id = services.versions.id_of(caller, dataset, str(number))
    return Decided.model_validate(services.contracts.dismiss(caller, dataset, version_id, body.reason))


def _rules(given: dict[str, Any] | str | None) -> Rules | None:
    if given is None:
        return None
    return contract_yaml.parse(given) if isinstance(given, str) else contract_yaml.of_document(given)


def _terms(found: Found) -> Terms:
    return Terms(**{**found.plain(), "contract": found.contract.plain()})
