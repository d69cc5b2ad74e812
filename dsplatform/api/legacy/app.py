"""The application that answers under the old paths, and the way to it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from anyio import to_thread
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from dsplatform.api.legacy import (
    changes,
    datasets,
    errors,
    overlaid,
    pointers,
    rights,
    searching,
    tables,
    uploads,
    users,
    versions,
)
from dsplatform.api.legacy.mirror import master, mirrored, write_comparisons
from dsplatform.api.legacy.succession import Succession, Usage
from dsplatform.api.legacy.tokens import LegacyTokens
from dsplatform.api.legacy.waiting import Waiting
from dsplatform.api.limits import Limits
from dsplatform.bootstrap import Platform
from dsplatform.core.errors import DsplatformError
from dsplatform.core.settings import Settings
from dsplatform.permissions.secret_key import SecretKey

logger = logging.getLogger(__name__)

MAX_BODY = 8 * 1024 * 1024
"""Bytes of a body, where a route says nothing else."""
WRITE_SECONDS = 10.0
"""How often what was counted is written."""

ROUTERS = (
    users.router,
    searching.router,
    overlaid.router,
    pointers.router,
    rights.router,
    uploads.router,
    tables.router,
    versions.router,
    changes.router,
    datasets.router,
)
"""They are tried in this order: what has a fixed word in its path comes before what has a number or a name there."""

PATHS = ("/api/datasets", "/api/users")
ALONE = frozenset({"/", "/health"})


class OldPaths:
    """Hands the old paths to the old application, and all others on."""

    def __init__(self, app: ASGIApp, old: ASGIApp) -> None:
        self._app = app
        self._old = old

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        old = scope["type"] == "http" and (scope["path"] in ALONE or any(is_below(scope["path"], path) for path in PATHS))
        await (self._old if old else self._app)(scope, receive, send)


def is_below(path: str, folder: str) -> bool:
    """Whether the path is that one, or one below it."""
    return path == folder or path.startswith(f"{folder}/")


class LegacyApi(FastAPI):
    """The old endpoints, with what surrounds them."""

    def build_middleware_stack(self) -> ASGIApp:
        """The headers are on the answers to errors that nobody foresaw, too."""
        settings: Settings = self.state.settings
        return Succession(super().build_middleware_stack(), self.state.usage, self.state.counted, settings.legacy_sunset)


def create_legacy_app(
    settings: Settings,
    counted: Callable[[str, str], None],
    compared: Callable[[str], object] = str,
    limits: Limits | None = None,
) -> LegacyApi:
    """The application; `kept_by` gives it its services. `counted` hears of (endpoint, program) for each answer, `compared` how an answer
    of the legacy server and ours compare; `limits` are those that uploads share."""
    app = LegacyApi(
        title="dsplatform: legacy paths",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        strict_content_type=False,
        max_body_size=MAX_BODY,
    )
    secret = SecretKey(settings.secret_key, Path(settings.home) / "secret_key")
    app.state.settings = settings
    app.state.counted = counted
    app.state.limits = limits or Limits(settings.rate_limit, settings.max_uploads)
    app.state.usage = Usage()
    app.state.tokens = LegacyTokens(
        lambda: settings.legacy_secret.encode() or secret.of("legacy tokens"),
        access_seconds=settings.legacy_access_minutes * 60,
        refresh_seconds=settings.legacy_refresh_days * 86_400,
    )
    errors.install(app)
    if settings.legacy_url:
        mirrored(app, settings, ROUTERS, compared)
    elif settings.legacy_database_url:
        app.add_middleware(Waiting, master=lambda: master(app))
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins.split(","),
            allow_methods=["*"],
            allow_headers=["*"],
            allow_credentials=True,
            expose_headers=["Content-Disposition", "Deprecation", "Link", "Sunset"],
        )

    @app.get("/")
    async def root() -> JSONResponse:
        return JSONResponse({"message": "Data Science API is running"})

    @app.get("/health")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "healthy"})

    for router in ROUTERS:
        app.include_router(router)
    return app


@asynccontextmanager
async def kept_by(app: FastAPI, platform: Platform) -> AsyncIterator[None]:
    """Answers with these services for the length of the block, and writes down now and then, and at its end, what was counted."""
    app.state.platform = platform

    async def now_and_then() -> None:
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await to_thread.run_sync(write_down, app, platform)

    writing = asyncio.create_task(now_and_then())
    try:
        yield
    finally:
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing
        await to_thread.run_sync(write_down, app, platform)


def write_down(app: FastAPI, platform: Platform) -> None:
    """Writes what was counted. What the database does not take now is kept for the next time."""
    usage: Usage = app.state.usage
    counts = usage.take()
    if counts:
        try:
            platform.legacy.note_usage(counts)
        except DsplatformError:
            usage.give_back(counts)
            logger.warning("who used the legacy paths could not be written down, and is kept", exc_info=True)
    write_comparisons(app, platform)
