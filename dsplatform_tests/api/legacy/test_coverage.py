"""Each endpoint has a test that names it, with the section of the old system's description that it keeps to.

A test names endpoints at the beginning of lines of its docstring: `2.3 GET /api/datasets/tags: …`.
"""

import ast
import re
from dataclasses import replace
from pathlib import Path

from fastapi import FastAPI

from dsplatform.api.app import create_app
from dsplatform.api.legacy.app import ALONE, create_legacy_app
from dsplatform.api.legacy.succession import successor_of
from dsplatform.core.settings import Settings

NAMED = re.compile(r"^\s*(\d(?:\.\d)?) (GET|POST|PATCH|PUT|DELETE) (/[^\s:]*(?:\{\w+(?::\w+)?\}[^\s:]*)*)", re.MULTILINE)


def _app(settings: Settings) -> FastAPI:
    return create_legacy_app(settings, lambda _endpoint, _program: None)


def _routes(settings: Settings) -> set[tuple[str, str]]:
    paths = _app(settings).openapi()["paths"]
    return {(method.upper(), path) for path, methods in paths.items() for method in methods}


def _named() -> set[tuple[str, str]]:
    found = set()
    for file in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found |= {(method, path.replace(":path", "")) for _, method, path in NAMED.findall(ast.get_docstring(node) or "")}
    return found


def test_every_endpoint_is_named_by_a_test(settings: Settings) -> None:
    assert _routes(settings) - _named() == set()


def test_no_test_names_an_endpoint_that_does_not_exist(settings: Settings) -> None:
    assert _named() - _routes(settings) == set()


def test_every_endpoint_names_its_successor_which_exists(settings: Settings, database_url: str) -> None:
    new = [
        re.compile(re.sub(r"\{.*?\}", "[^/]+", path))
        for path in create_app(replace(settings, database_url=database_url)).openapi()["paths"]
    ]
    named = {
        (str(context.methods), context.path): successor_of(context.endpoint)
        for route in _app(settings).router.routes
        for context in (route.effective_route_contexts() if hasattr(route, "effective_route_contexts") else [route])
        if context.path not in ALONE
    }
    assert len(named) > 20
    assert {path: to for path, to in named.items() if not any(known.fullmatch(to or "") for known in new)} == {}
