"""Whatever stands in a parameter, a header or a field of a body, the answer is no 500: generated from the description of the API."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from dsplatform.bootstrap import Platform
from dsplatform.core.values import DatasetRef
from dsplatform_tests.api.conftest import AsUser

ODD = ["", "\x00", "-1", "9" * 30, "main", "#1", "\u0301\u202e\U0010ffff", "x" * 400, "%'\"\\;--/../"]
ODD_JSON: list[object] = [None, True, -1, 1.5, 10**30, "\x00", "\ud800", "x" * 20_000, [None], {"\ud800": {}}]


def requests(api: dict[str, Any], dataset_id: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each route with one odd value after the other in each place; the other places hold their examples."""
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            parameters = operation.get("parameters", [])
            good = {parameter["name"]: example(parameter["schema"], api) for parameter in parameters}
            good["dataset"] = str(dataset_id)
            needed = {one["name"]: good[one["name"]] for one in parameters if one["in"] == "query" and one["required"]}
            for parameter in parameters:
                for odd in ODD:
                    if parameter["in"] == "path":
                        yield method, address(path, {**good, parameter["name"]: odd}), {"params": needed}
                    elif parameter["in"] == "query":
                        yield method, address(path, good), {"params": {**needed, parameter["name"]: odd}}
                    elif odd.isascii() and odd.isprintable():
                        yield method, address(path, good), {"params": needed, "headers": {parameter["name"]: odd}}
            schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            for body in bodies(schema, api) if schema else ():
                content = json.dumps(body).encode()
                yield method, address(path, good), {"params": needed, "content": content, "headers": {"Content-Type": "application/json"}}


def address(path: str, values: dict[str, object]) -> str:
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", quote(str(value), safe=""))
    return path


def resolved(schema: dict[str, Any], api: dict[str, Any]) -> dict[str, Any]:
    return api["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def example(schema: dict[str, Any], api: dict[str, Any]) -> Any:
    schema = resolved(schema, api)
    if schema.get("examples"):
        return schema["examples"][0]
    if "enum" in schema:
        return schema["enum"][0]
    return example(schema["anyOf"][0], api) if "anyOf" in schema else "1"


def bodies(schema: dict[str, Any], api: dict[str, Any]) -> Iterator[object]:
    """Odd bodies, and good ones with one odd field."""
    yield from ODD_JSON
    properties = resolved(schema, api).get("properties", {})
    good = {name: example(of, api) for name, of in properties.items() if name in resolved(schema, api).get("required", ())}
    for name in properties:
        for odd in ODD_JSON:
            yield {**good, name: odd}


@pytest.mark.long
def test_nothing_that_is_sent_makes_a_500(client: TestClient, as_user: AsUser, platform: Platform, sales: DatasetRef) -> None:
    for version in platform.versions.list_versions(platform.actor(), sales):
        platform.schemas.capture_version_schema(version.id)
    api = client.get("/openapi.json").json()
    root = as_user("root", "admin")
    statuses: Counter[int] = Counter()
    for method, path, request in requests(api, sales.id):
        answer = root.request(method, path, **request)
        statuses[answer.status_code] += 1
        assert answer.status_code != 500, (method, path, request, answer.text)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json", (method, path, request, answer.text)
    assert sum(statuses.values()) > 2_000
    assert min(statuses[status] for status in (200, 201, 404, 422)) > 5
