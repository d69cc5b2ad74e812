"""What becomes of an upload after it is stored: the run that reads its schema."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request
from pydantic import Field

from dsplatform.api.bodies import Output
from dsplatform.api.caller import Caller, Dataset, Services
from dsplatform.api.runs import Run, Runs
from dsplatform.core.domain import Actor
from dsplatform.core.types import PlatformRight
from dsplatform.schemas.capturing import SchemaNotCaptured

router = APIRouter(prefix="/datasets/{dataset}", tags=["versions"])

State = Literal["waiting", "running", "succeeded", "failed"]
_STATES: dict[str, State] = {"STARTED": "running", "CANCELING": "running", "FAILURE": "failed", "CANCELED": "failed"}
"""Of Dagster's states. A run that waits, or that was through without this version, leaves it waiting."""


class Job(Output):
    """Where the reading of a version's schema stands."""

    state: State = Field(description="`failed`: the last run did; the version waits for the next one", examples=["succeeded"])
    run_id: str | None = Field(
        None, description="The run in Dagster, where one is known", examples=["0b9f1c2e-5d0f-4b57-9c59-1f6f2d2f4a11"]
    )
    url: str | None = Field(None, description="Where a person looks at the run")
    reason: str | None = Field(None, description="Why it failed; the details are for those who may `operate`")
    unreadable: int | None = Field(None, description="Components that should have been readable and are not", examples=[0])


@router.get("/versions/{number}/job", summary="The run that an upload caused")
def get_job(
    request: Request,
    services: Services,
    caller: Caller,
    dataset: Dataset,
    number: Annotated[int, Path(ge=1, le=2**31 - 1, description="Number of the version", examples=[3])],
) -> Job:
    """Whether the version's schema waits, is being read, is there, or could not be had."""
    version, _ = services.versions.get_version(caller, dataset, str(number))
    runs: Runs = request.app.state.runs
    run = runs.tagged(f"dsplatform/version.{version.id}", f"{dataset.slug}@{number}")
    try:
        unreadable = services.schemas.unreadable(caller, dataset, version.id)
    except SchemaNotCaptured:
        state = _STATES.get(run.status, "waiting") if run else "waiting"
        reason = _reason(runs, run, caller) if run and state == "failed" else None
        return _job(state, run, reason=reason)
    return _job("succeeded", run, unreadable=len(unreadable))


def _job(state: State, run: Run | None, *, reason: str | None = None, unreadable: int | None = None) -> Job:
    return Job(state=state, run_id=run.id if run else None, url=run.url if run else None, reason=reason, unreadable=unreadable)


def _reason(runs: Runs, run: Run, caller: Actor) -> str | None:
    """A run takes the versions of many datasets, so that its words are not for everybody."""
    if caller.may(PlatformRight.OPERATE):
        return runs.reason(run)
    return "the run failed; another one follows in a minute"
