"""The old server's application: its routes, and how it answers errors."""

from pathlib import Path

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteError

from dsplatform_tests.legacy.server import catalogue, pointers, uploads, users, versions
from dsplatform_tests.legacy.server.old import Old

root = APIRouter()


@root.get("/")
def name() -> dict[str, str]:
    return {"message": "Data Science API is running"}


@root.get("/health")
def health() -> dict[str, str]:
    return {"status": "healthy"}


def create(url: str, folder: Path, secret: str) -> FastAPI:
    """The application on a database and a folder."""
    app = FastAPI()
    app.state.old = Old(url, folder, secret)
    app.include_router(root)
    app.include_router(users.router, prefix="/api/users")
    # A path is matched in this order: `/tags` before `/{dataset_id}`, `/versions/tree` before `/versions/{version_id}`.
    for router in (uploads.router, catalogue.router, versions.router, pointers.router):
        app.include_router(router, prefix="/api/datasets")
    app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"], allow_credentials=True)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(StarletteError, _refused)
    app.add_exception_handler(Exception, _failed)
    return app


async def _refused(_: Request, err: Exception) -> JSONResponse:
    """Made anew without headers, so that a 401 has no WWW-Authenticate."""
    assert isinstance(err, StarletteError)
    return JSONResponse({"detail": err.detail}, err.status_code)


async def _failed(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse({"detail": "Internal Server Error"}, 500)
