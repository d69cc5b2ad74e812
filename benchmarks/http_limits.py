"""What the HTTP door is measured against: an application that only writes a body to disk, and one that only sends a file.

`python -m benchmarks.http_limits FOLDER PORT`, served by uvicorn as the platform is.
"""

import os
import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route


def application(folder: Path) -> Starlette:
    """`PUT /NAME` writes, with `?sync` also makes durable; `GET /NAME` sends."""

    async def write(request: Request) -> Response:
        with (folder / request.path_params["name"]).open("wb", buffering=0) as target:
            async for chunk in request.stream():
                target.write(chunk)
            if "sync" in request.query_params:
                os.fsync(target.fileno())
        return PlainTextResponse("written", 201)

    def send(request: Request) -> Response:
        return FileResponse(folder / request.path_params["name"])

    return Starlette(routes=[Route("/{name}", write, methods=["PUT"]), Route("/{name}", send)])


if __name__ == "__main__":
    uvicorn.run(application(Path(sys.argv[1])), port=int(sys.argv[2]), log_level="error", http="httptools", loop="uvloop", access_log=False)
