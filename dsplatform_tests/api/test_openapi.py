"""The description of the API is complete, and true about credentials."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dsplatform.api.app import create_app
from dsplatform.api.errors import PROBLEMS
from dsplatform.core.settings import Settings

OPEN = {"/health/live", "/health/ready", "/version", "/metrics", "/api/v1/login", "/api/v1/sessions", "/api/v1/sessions/refresh"}
"""Routes that are for whoever has no credential, or brings one in the body."""


def described() -> dict[str, Any]:
    return create_app(Settings.from_env({"DSPLATFORM_DATABASE_URL": "postgresql://x@127.0.0.1/x"})).openapi()


API = described()


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in API["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


OPERATIONS = [pytest.param(*each, id=f"{each[0].upper()} {each[1]}") for each in operations()]


def schemas_of(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [media["schema"] for media in content.values()]


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_each_route_says_what_it_is_for_takes_and_answers(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert not operation["summary"].endswith(".")
    assert operation["description"]
    assert operation["tags"]
    assert operation["operationId"].isidentifier()
    for parameter in operation.get("parameters", []):
        schema = parameter["schema"]
        assert parameter.get("description"), parameter["name"]
        assert {"example", "examples"} & {*parameter, *schema} or schema.get("default") or _closed(schema), parameter["name"]
    good = {status: answer for status, answer in operation["responses"].items() if status.startswith(("2", "3"))}
    assert good
    for status, answer in good.items():
        if status not in {"204", "304", "307"}:
            assert all(schemas_of(answer["content"])), status
    if path.startswith("/api/v1/"):
        assert {str(status) for status in PROBLEMS} <= set(operation["responses"])
        for status in PROBLEMS:
            problem = operation["responses"][str(status)]["content"]["application/problem+json"]
            assert problem["schema"] == {"$ref": "#/components/schemas/Problem"}


def _closed(schema: dict[str, Any]) -> bool:
    """Whether the values need no example: they are listed."""
    listed = "enum" in schema or "const" in schema or schema.get("type") == "boolean"
    return listed or "$ref" in schema or any(map(_closed, schema.get("anyOf", [])))


@pytest.mark.parametrize("name", sorted(API["components"]["schemas"]))
def test_each_field_is_described(name: str) -> None:
    schema = API["components"]["schemas"][name]
    assert schema.get("description"), name
    for field, of in schema.get("properties", {}).items():
        assert _described(of), f"{name}.{field}"


def _described(schema: dict[str, Any]) -> bool:
    """Whether the field says what it means, or is of a type that does."""
    parts = [schema[part] for part in ("items",) if part in schema] + schema.get("anyOf", [])
    return bool({"description", "$ref"} & set(schema)) or any(map(_described, parts))


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert sorted(ids) == sorted(set(ids))


def test_no_two_kinds_of_thing_have_one_name() -> None:
    assert [name for name in API["components"]["schemas"] if "__" in name or "-" in name] == []


def test_every_tag_is_explained() -> None:
    explained = {tag["name"] for tag in API["tags"]}
    assert {tag for _, _, operation in operations() for tag in operation["tags"]} <= explained


def test_every_reference_leads_somewhere() -> None:
    known = {f"#/components/schemas/{name}" for name in API["components"]["schemas"]}

    def references(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    assert set(references(API)) <= known


def test_every_route_but_the_open_ones_needs_a_credential(client: TestClient) -> None:
    for method, path, operation in operations():
        if path in OPEN:
            continue
        assert operation.get("security"), path
        filled = path.replace("{", "").replace("}", "")
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp5"}):
            answer = client.request(method, filled, headers=headers)
            assert answer.status_code == 401, (method, path, answer.text)
            assert answer.headers["www-authenticate"] == "Bearer"


def test_a_route_without_a_credential_would_be_found(client: TestClient) -> None:
    paths = {path for _, path, _ in operations()}
    assert OPEN & paths >= {"/health/live", "/health/ready", "/version"}
    assert sum(path.startswith("/api/v1/") for path in paths) > 25
