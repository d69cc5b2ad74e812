"""Jobs of the code location, on the test's platform."""

import dagster as dg

from dsplatform.bootstrap import Platform
from dsplatform.definitions import defs
from dsplatform.defs.resources import OpenedPlatform


def job(platform: Platform, name: str) -> dg.JobDefinition:
    """A job of the code location, on the test's platform."""
    return dg.Definitions.merge(dg.Definitions(resources={"platform": OpenedPlatform(platform)}), _without_resources()).resolve_job_def(
        name
    )


def _without_resources() -> dg.Definitions:
    loaded = defs()
    return dg.Definitions(assets=loaded.assets, asset_checks=loaded.asset_checks, jobs=loaded.jobs, executor=loaded.executor)
