"""The HTTP door as a process: uvicorn with our protocol, our log, and an end that lets uploads finish."""

import argparse
import asyncio
import gc
import logging
import resource
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from dsplatform.api import logs
from dsplatform.api.app import create_app
from dsplatform.api.protocol import Patience, hold_little_unsent, protocol, watch
from dsplatform.core.settings import Settings

KEEP_ALIVE_SECONDS = 10
BACKLOG = 2048
OPEN_FILES = 65_536
OWN_FILES = 256
"""Of the files that the process may open, those that no connection gets."""
GARBAGE = (10_000, 50, 100)
"""How much is made between two looks for garbage, by age. With what Python takes by itself a crowd of connections, none of which is
garbage, is looked at again and again while it comes: half a second in which nobody is served."""


class Server(uvicorn.Server):
    """Serves `app`. Says so on `/health/ready` as soon as it is told to stop."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, patience: Patience) -> None:
        super().__init__(config)
        self._app = app
        self._patience = patience

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Looks at the connections from the beginning to the end, so that a slow client does not hold up the end either."""
        await super().startup(sockets)
        hold_little_unsent(listening for server in self.servers for listening in server.sockets)
        gc.collect()
        gc.freeze()  # the program itself: it is not looked at any more
        gc.set_threshold(*GARBAGE)
        self._watching = asyncio.create_task(watch(self.server_state, self._patience))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stops accepting; what is under way has its time."""
        self._app.state.stopping = True
        super().handle_exit(sig, frame)


def server(settings: Settings, host: str, port: int) -> Server:
    """Ready to run. Raises as `create_app` does."""
    app = create_app(settings)
    patience = Patience(settings.header_seconds, settings.body_seconds, settings.answer_seconds)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=protocol(patience, app.state.cuts, _connections()),
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=round(settings.shutdown_seconds),
    )
    return Server(config, app, patience)


def _connections() -> int:
    """How many connections the process may have, after it has asked for as many open files as it gets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    return max(OWN_FILES, min(soft if soft > 0 else OPEN_FILES, OPEN_FILES) - OWN_FILES)


def main() -> None:
    """`python -m dsplatform.api`."""
    settings = Settings.from_env()
    parser = argparse.ArgumentParser(prog="python -m dsplatform.api", description="Serves the HTTP API.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=settings.api_port, help="port to listen on (default: DSPLATFORM_API_PORT)")
    given = parser.parse_args()
    logs.configure(settings)
    logging.captureWarnings(capture=True)
    server(settings, given.host, given.port).run()
