"""The HTTP door: translates requests into one call of a service each, and decides nothing."""

from fastapi import FastAPI
from pydantic import BaseModel, Field

from dsplatform import __version__
from dsplatform.api import errors
from dsplatform.core.errors import Unavailable
from dsplatform.core.migrations import schema_status
from dsplatform.core.settings import Settings

DESCRIPTION = """Keeps every file a data team receives, once, as versions of datasets.

Errors have one shape, `application/problem+json`: `detail` is a sentence for a person, `code` a stable name for programs.
"""


class Health(BaseModel):
    """That it is well."""

    status: str = Field("ok", description="Always `ok`; a problem is a problem document with another HTTP status")


class Readiness(Health):
    """That requests can be answered."""

    database_schema: str = Field(description="Revision of the database's schema, the newest one this release knows")


class Version(BaseModel):
    """What is running."""

    name: str = Field("dsplatform", description="Name of the program")
    version: str = Field(description="Its release", examples=["0.1.0"])


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; without settings it reads the environment. Raises `WrongSetting`, or `Unavailable` without a database."""
    settings = settings or Settings.from_env()
    url = settings.database_url
    if not url:
        raise Unavailable("the API needs DSPLATFORM_DATABASE_URL; `dsplatform up` starts it together with a database")
    app = FastAPI(
        title="dsplatform",
        version=__version__,
        description=DESCRIPTION,
        responses={"default": {"model": errors.Problem, "description": "A problem, as `application/problem+json`"}},
        openapi_tags=[{"name": "operation", "description": "For who runs the platform: is it up, which release is it"}],
    )
    errors.install(app)

    @app.get("/health/live", tags=["operation"], summary="The process runs")
    def live() -> Health:
        """Asks nobody else: when this does not answer, restart the process."""
        return Health(status="ok")

    @app.get("/health/ready", tags=["operation"], summary="Requests can be answered")
    def ready() -> Readiness:
        """The database answers and its schema is the newest one; 503 with the reason otherwise."""
        current, newest = schema_status(url)
        if current != newest:
            raise Unavailable(f"the database's schema is {current or 'missing'}, not {newest}: run `dsplatform db upgrade`")
        return Readiness(status="ok", database_schema=newest)

    @app.get("/version", tags=["operation"], summary="What is running")
    def version() -> Version:
        """Name and release."""
        return Version(name="dsplatform", version=__version__)

    return app
