"""Before the switch, without the legacy server's address: what would change something waits until writes come here."""

from collections.abc import Callable

from anyio import to_thread
from starlette.types import ASGIApp, Receive, Scope, Send

from dsplatform.api.legacy.errors import Writable
from dsplatform.api.legacy.shadow import reads
from dsplatform.core.errors import Unavailable

WAIT = "the data still lives in the legacy system: write there until the switch (DSPLATFORM_LEGACY_URL would send this request on)"
CHANGING_NOTHING = frozenset({"/api/users/token", "/api/users/token/refresh"})


class Waiting:
    """Lets only those through who read, while the legacy system is written to."""

    def __init__(self, app: ASGIApp, *, master: Callable[[], str]) -> None:
        """`master`: which system is written to, asked in a thread for each change."""
        self._app = app
        self._master = master

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        refusal: str | None = None
        if scope["type"] == "http" and not reads(scope) and scope["path"] not in CHANGING_NOTHING:
            try:
                refusal = WAIT if await to_thread.run_sync(self._master) == "legacy" else None
            except Unavailable as err:
                refusal = str(err)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await Writable({"detail": refusal}, 503, {"Retry-After": "60"})(scope, receive, send)
