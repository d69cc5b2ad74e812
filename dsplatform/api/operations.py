"""Is it up, and which release is it? Asked by whoever runs the platform, without a credential."""

import threading
import time
from collections.abc import Callable

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from dsplatform import __version__
from dsplatform.api.caller import Services
from dsplatform.core.errors import Unavailable
from dsplatform.core.migrations import schema_status

router = APIRouter(tags=["operation"])

READY_SECONDS = 2.0
"""How old an answer about readiness may be: nobody needs a credential to ask, so asking often must cost nothing."""


class Health(BaseModel):
    """That it is well."""

    status: str = Field("ok", description="Always `ok`; a problem is a problem document with another HTTP status")


class Readiness(Health):
    """That requests can be answered."""

    database_schema: str = Field(description="Revision of the database's schema, the newest one this release knows", examples=["0004"])


class Release(BaseModel):
    """What is running."""

    name: str = Field("dsplatform", description="Name of the program")
    version: str = Field(description="Its release", examples=["0.1.0"])


class LastLook:
    """What the last look found, good or bad, for some seconds. One looks, the others wait for what it finds."""

    def __init__(self, seconds: float = READY_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._at: float | None = None
        self._found: str | Unavailable = ""

    def found(self, look: Callable[[], str]) -> str:
        """What `look` answers, or answered a moment ago. Raises `Unavailable` as it does."""
        with self._lock:
            if self._at is None or self._clock() - self._at > self._seconds:
                try:
                    self._found = look()
                except Unavailable as err:
                    self._found = err
                self._at = self._clock()
            if isinstance(self._found, Unavailable):
                raise Unavailable(str(self._found))
            return self._found


@router.get("/health/live", summary="The process runs")
async def live() -> Health:
    """Asks nobody else: when this does not answer, restart the process."""
    return Health(status="ok")


@router.get("/health/ready", summary="Requests can be answered")
def ready(request: Request, services: Services) -> Readiness:
    """The database answers with the newest schema, the store answers, and the process was not told to stop; 503 with the reason
    otherwise. An answer may be two seconds old."""
    state = request.app.state
    if state.stopping:
        raise Unavailable("the API is being stopped: ask another one, or this one later")

    def look() -> str:
        current, newest = schema_status(state.database_url)
        if current != newest:
            raise Unavailable(f"the database's schema is {current or 'missing'}, not {newest}: run `dsplatform db upgrade`")
        services.files.answers()
        return newest

    last_look: LastLook = state.last_look
    return Readiness(status="ok", database_schema=last_look.found(look))


@router.get("/version", summary="What is running")
async def version() -> Release:
    """Name and release."""
    return Release(name="dsplatform", version=__version__)
