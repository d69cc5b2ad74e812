"""The HTTP door: translates requests into one call of a service each, and decides nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from anyio import to_thread
from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from dsplatform import __version__
from dsplatform.api import (
    audit,
    branches,
    contracts,
    datasets,
    downloads,
    errors,
    intake,
    jobs,
    metrics,
    operations,
    people,
    permissions,
    previews,
    reference,
    retention,
    schemas,
    sessions,
    storage,
    tokens,
    uploads,
    versions,
)
from dsplatform.api.envelope import Envelope
from dsplatform.api.legacy.app import OldPaths, create_legacy_app, kept_by
from dsplatform.api.limits import Limits
from dsplatform.api.protocol import Cuts
from dsplatform.api.runs import Runs
from dsplatform.api.workers import Workers
from dsplatform.bootstrap import bootstrap
from dsplatform.core.errors import Unavailable
from dsplatform.core.settings import Settings

DESCRIPTION = """Keeps every file a data team receives, once, as versions of datasets.

Every request but those for health and release names who asks: `Authorization: Bearer TOKEN`. `dsplatform tokens create` makes a token.

Errors have one shape, `application/problem+json`: `detail` is a sentence for a person, `code` a stable name for programs. What you may not
see is answered as what does not exist.

Lists come in pages: give `next` of one page as `after` of the following one. A *ref* names a version of a dataset: its number, `latest`, a
branch or a tag.
"""

TAGS = [
    {"name": "sessions", "description": "Logging in and out, and who one is"},
    {"name": "tokens", "description": "API tokens, by which programs say who they are"},
    {"name": "people", "description": "Users, groups and roles"},
    {"name": "datasets", "description": "What there is: named lines of versions"},
    {"name": "versions", "description": "What a dataset held when: components, differences, history"},
    {"name": "files", "description": "Bytes, to the platform and back"},
    {"name": "branches", "description": "Names of versions: branches, tags, and merging"},
    {"name": "schemas", "description": "Columns and values, as all rows show them"},
    {"name": "previews", "description": "Rows of a table, to look at"},
    {"name": "contracts", "description": "What a dataset's tables have to be like, and what was kept from its branches"},
    {"name": "permissions", "description": "Who may do what with datasets and files, and which branches are protected"},
    {"name": "audit", "description": "Who did what, and who was refused what"},
    {"name": "storage", "description": "What is stored and why, what would be deleted, what was dropped"},
    {"name": "operation", "description": "For who runs the platform: is it up, which release is it"},
]

THREADS_PER_CONNECTION = 4
"""Requests that are worked on at once, for each database connection: part of their time they read files, or wait for a child process."""

CORS: dict[str, Any] = {
    "allow_methods": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
    "allow_headers": [
        "Authorization",
        "Content-Digest",
        "Content-Type",
        "Idempotency-Key",
        "If-Match",
        "If-None-Match",
        "If-Range",
        "Range",
        "X-Request-ID",
    ],
    "expose_headers": [
        "Content-Digest",
        "Content-Disposition",
        "Content-Range",
        "ETag",
        "Location",
        "Retry-After",
        "X-Next-Cursor",
        "X-Preview-Cut",
        "X-Request-ID",
    ],
    "max_age": 600,
}
"""What pages of the origins in DSPLATFORM_CORS_ORIGINS may send and see. Cookies are not among it: there are none."""


class Api(FastAPI):
    """An application whose description has the problem document, which every route names and none returns."""

    def openapi(self) -> dict[str, Any]:
        """The description of all routes, made once."""
        if self.openapi_schema is None:
            made = super().openapi()
            problem = errors.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            made.setdefault("components", {}).setdefault("schemas", {}).update({**problem.pop("$defs"), "Problem": problem})
        return super().openapi()

    def build_middleware_stack(self) -> ASGIApp:
        """What surrounds a request is around the answers to errors that nobody foresaw, too; and around the legacy system's paths."""
        inner = super().build_middleware_stack()
        return Envelope(OldPaths(inner, self.state.legacy) if self.state.legacy else inner, self.state.limits, self.state.metrics)


def _name_of(route: APIRoute) -> str:
    return route.name


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; without settings it reads the environment. Raises `WrongSetting`, or `Unavailable` without a database."""
    settings = settings or Settings.from_env()
    url = settings.database_url
    if not url:
        raise Unavailable("the API needs DSPLATFORM_DATABASE_URL; `dsplatform up` starts it together with a database")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # More requests than that wait for a thread, and not for a connection, which they would not do for ever.
        to_thread.current_default_thread_limiter().total_tokens = THREADS_PER_CONNECTION * settings.pool_size
        with bootstrap(settings, url) as platform, Workers(settings.pool_size) as at_work:
            app.state.platform = platform
            app.state.workers = at_work
            async with kept_by(app.state.legacy, platform) if app.state.legacy else nullcontext():
                yield

    app = Api(
        title="dsplatform",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        responses=errors.ANY_PROBLEM,
        dependencies=[Depends(intake.known_parameters)],
        openapi_tags=TAGS,
        generate_unique_id_function=_name_of,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        docs_url=None,
        redoc_url=None,
    )
    app.state.database_url = url
    app.state.stopping = False
    app.state.runs = Runs(settings.dagster_url, settings.dagster_link)
    app.state.last_look = operations.LastLook()
    app.state.limits = Limits(settings.rate_limit, settings.max_uploads)
    app.state.cuts = Cuts()
    app.state.metrics = metrics.Metrics(app.state.limits, app.state.cuts)
    counts = app.state.metrics
    app.state.legacy = (
        create_legacy_app(settings, counts.legacy_answered, counts.legacy_compared, app.state.limits)
        if settings.legacy_api == "on"
        else None
    )
    errors.install(app)
    reference.install(app)
    app.add_middleware(intake.Bodies)
    if settings.cors_origins:
        app.add_middleware(CORSMiddleware, allow_origins=settings.cors_origins.split(","), **CORS)
    app.include_router(operations.router)
    app.include_router(metrics.router, dependencies=[] if settings.metrics_public == "on" else [Depends(metrics.operator)])
    # Names of branches and tags hold slashes: routes that end in one take everything below them, and so come after all others.
    # They are tried in this order, one after another, so what is asked most comes first.
    for part in (
        datasets,
        sessions,
        tokens,
        people,
        storage,
        permissions,
        audit,
        retention,
        schemas,
        previews,
        contracts,
        jobs,
        uploads,
        downloads,
        branches,
        versions,
    ):
        app.include_router(part.router, prefix="/api/v1", responses=errors.PROBLEMS)
    return app
