"""What a dataset keeps: which versions a rule lets go."""

from fastapi import APIRouter
from pydantic import Field

from dsplatform.api.bodies import DryRun, Input, Output, Removal
from dsplatform.api.caller import Caller, DatasetName, Services
from dsplatform.versioning.retention import Rule

router = APIRouter(prefix="/datasets/{dataset}/retention", tags=["datasets"])


class RetentionRule(Input, Output):
    """A version goes when neither part keeps it and no branch or tag names it. One part at least is given."""

    keep_last: int | None = Field(None, ge=1, le=1_000_000, description="So many of the newest versions stay", examples=[10])
    keep_days: int | None = Field(None, ge=0, le=36_500, description="Versions younger than so many days stay", examples=[90])


class Retention(Output):
    """A dataset's rule, and what it lets go now."""

    dataset: str = Field(description="Slug of the dataset", examples=["sales"])
    rule: RetentionRule | None = Field(description="null: everything stays")
    removal: Removal = Field(description="What the rule lets go now; it goes with the next nightly run")


@router.get("", summary="Get the retention rule")
def get_retention(services: Services, caller: Caller, dataset: DatasetName) -> Retention:
    """The rule, and what it lets go now. It takes the right `admin`."""
    return Retention.model_validate(services.deletion.retention(caller, dataset))


@router.put("", summary="Set the retention rule")
def set_retention(services: Services, caller: Caller, dataset: DatasetName, body: RetentionRule, *, dry_run: DryRun = False) -> Retention:
    """In place of an earlier one. Nothing is deleted before the next nightly run. It takes the right `admin`."""
    rule = Rule(body.keep_last, body.keep_days)
    change = services.deletion.retention if dry_run else services.deletion.set_retention
    return Retention.model_validate(change(caller, dataset, rule))


@router.delete("", summary="Remove the retention rule")
def remove_retention(services: Services, caller: Caller, dataset: DatasetName) -> Retention:
    """From then on everything stays. It takes the right `admin`."""
    return Retention.model_validate(services.deletion.set_retention(caller, dataset, None))
