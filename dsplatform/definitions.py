"""The Dagster code location `dsplatform`: everything below `defs/`, run in process, with the platform as its one resource."""

from pathlib import Path

import dagster as dg

from dsplatform.defs.resources import PlatformFromEnvironment


@dg.definitions
def defs() -> dg.Definitions:
    """Loads without any environment variable set."""
    return dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=Path(__file__).parent),
        dg.Definitions(resources={"platform": PlatformFromEnvironment()}, executor=dg.in_process_executor),
    )
