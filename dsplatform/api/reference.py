"""The page `/docs`, on which every route can be read and tried. All that it needs is served from here: nothing comes from another host."""

from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

ASSETS = "/docs/assets"


def install(app: FastAPI) -> None:
    """Adds the page to `app`, which was made without one."""
    package = find_spec("fastapi_offline")  # its files alone: what it does when it is imported is not wanted
    if package is None or package.origin is None:
        raise AssertionError("fastapi-offline is a dependency")
    app.mount(ASSETS, StaticFiles(directory=Path(package.origin).parent / "static"))

    @app.get("/docs", include_in_schema=False)
    def page() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url=str(app.openapi_url),
            title=app.title,
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS}/favicon.png",
            swagger_ui_parameters={"persistAuthorization": False, "docExpansion": "none"},
        )
