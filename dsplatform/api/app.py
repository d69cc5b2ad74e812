"""The HTTP door: translates requests into one call of a service each, and decides nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from dsplatform import __version__
from dsplatform.api import datasets, errors, operations
from dsplatform.bootstrap import bootstrap
from dsplatform.core.errors import Unavailable
from dsplatform.core.settings import Settings

DESCRIPTION = """Keeps every file a data team receives, once, as versions of datasets.

Every request but those for health and release names who asks: `Authorization: Bearer TOKEN`. `dsplatform tokens create` makes a token.

Errors have one shape, `application/problem+json`: `detail` is a sentence for a person, `code` a stable name for programs. What you may not
see is answered as what does not exist.
"""

TAGS = [
    {"name": "datasets", "description": "What there is: named lines of versions"},
    {"name": "operation", "description": "For who runs the platform: is it up, which release is it"},
]


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; without settings it reads the environment. Raises `WrongSetting`, or `Unavailable` without a database."""
    settings = settings or Settings.from_env()
    url = settings.database_url
    if not url:
        raise Unavailable("the API needs DSPLATFORM_DATABASE_URL; `dsplatform up` starts it together with a database")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with bootstrap(settings, url) as platform:
            app.state.platform = platform
            yield

    app = FastAPI(
        title="dsplatform",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        responses={"default": {"model": errors.Problem, "description": "A problem, as `application/problem+json`"}},
        openapi_tags=TAGS,
    )
    app.state.database_url = url
    errors.install(app)
    app.include_router(operations.router)
    app.include_router(datasets.router, prefix="/api/v1")
    return app
