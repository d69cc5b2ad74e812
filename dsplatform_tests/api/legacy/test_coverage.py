"""Each endpoint has a test that names it, with the section of the old system's description that it keeps to.

A test names endpoints at the beginning of lines of its docstring: `2.3 GET /api/datasets/tags: …`.
"""

import ast
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Mount, Route

from dsplatform.api.app import create_app
from dsplatform.api.legacy.app import ALONE, create_legacy_app
from dsplatform.api.legacy.succession import successor_of
from dsplatform.core.settings import Settings

NAMED = re.compile(r"^\s*(\d(?:\.\d)?) (GET|POST|PATCH|PUT|DELETE) (/[^\s:]*(?:\{\w+(?::\w+)?\}[^\s:]*)*)", re.MULTILINE)


def contexts(app: FastAPI) -> list[Any]:
    """The routes of an application with their prefixes."""
    routes = [route for route in app.router.routes if not isinstance(route, (Mount, Route)) or isinstance(route, APIRoute)]
    return [
        each for route in routes for each in (route.effective_route_contexts() if hasattr(route, "effective_route_contexts") else [route])
    ]


def endpoints(app: FastAPI) -> list[tuple[str, str]]:
    """(method, path) of each route."""
    return sorted((method, each.path.replace(":path", "")) for each in contexts(app) for method in each.methods)


@pytest.fixture
def old_app(settings: Settings) -> FastAPI:
    """The old endpoints alone."""
    return create_legacy_app(settings, lambda _endpoint, _program: None)


def _named() -> set[tuple[str, str]]:
    found = set()
    for file in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found |= {(method, path.replace(":path", "")) for _, method, path in NAMED.findall(ast.get_docstring(node) or "")}
    return found


def test_every_endpoint_is_named_by_a_test(old_app: FastAPI) -> None:
    assert len(endpoints(old_app)) > 40
    assert set(endpoints(old_app)) - _named() == set()


def test_no_test_names_an_endpoint_that_does_not_exist(old_app: FastAPI) -> None:
    assert _named() - set(endpoints(old_app)) == set()


def test_every_endpoint_names_its_successor_which_exists(old_app: FastAPI, settings: Settings, database_url: str) -> None:
    paths = {path for _, path in endpoints(create_app(replace(settings, database_url=database_url)))}
    new = [re.compile(re.sub(r"\{.*?\}", "[^/]+", path)) for path in paths]
    named = {(str(each.methods), each.path): successor_of(each.endpoint) for each in contexts(old_app) if each.path not in ALONE}
    assert {path: to for path, to in named.items() if not any(known.fullmatch(to or "") for known in new)} == {}
