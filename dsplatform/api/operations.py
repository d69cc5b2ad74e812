"""Is it up, and which release is it? Asked by whoever runs the platform, without a credential."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from dsplatform import __version__
from dsplatform.core.errors import Unavailable
from dsplatform.core.migrations import schema_status

router = APIRouter(tags=["operation"])


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


@router.get("/health/live", summary="The process runs")
def live() -> Health:
    """Asks nobody else: when this does not answer, restart the process."""
    return Health(status="ok")


@router.get("/health/ready", summary="Requests can be answered")
def ready(request: Request) -> Readiness:
    """The database answers and its schema is the newest one; 503 with the reason otherwise."""
    current, newest = schema_status(request.app.state.database_url)
    if current != newest:
        raise Unavailable(f"the database's schema is {current or 'missing'}, not {newest}: run `dsplatform db upgrade`")
    return Readiness(status="ok", database_schema=newest)


@router.get("/version", summary="What is running")
def version() -> Version:
    """Name and release."""
    return Version(name="dsplatform", version=__version__)
