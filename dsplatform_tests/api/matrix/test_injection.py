"""Texts that mean something to a database, a shell, a template or a path mean nothing here (T57)."""

from collections.abc import Iterator, Mapping
from itertools import cycle, islice
from typing import Any

import pytest

from dsplatform_tests.api.matrix.routes import API, Operation, described, operations
from dsplatform_tests.api.matrix.test_authorization import alike, shape
from dsplatform_tests.api.matrix.world import ABSENT, Target, World

PAYLOADS = [
    *("'", '"', "''", "\\", "\\'", "`", ";", "--", "/*", "*/", "%", "_", "%%", "%s", "%(id)s", ":id", "$1", "{0}", "{{7*7}}", "${7*7}"),
    *("' OR '1'='1", "' OR 1=1 --", '" OR ""="', "') OR ('1'='1", "1 OR 1=1", "1; DROP TABLE users", "x'; DROP TABLE datasets; --"),
    *("' UNION SELECT username FROM users --", "' UNION ALL SELECT NULL,NULL,NULL --", "1 UNION SELECT token_hash FROM api_tokens"),
    *("'; UPDATE users SET is_active=false; --", "'; DELETE FROM audit_log; --", "'; INSERT INTO roles (role_name) VALUES ('x'); --"),
    *("' AND (SELECT 1 FROM pg_sleep(0))='1", "'||(SELECT version())||'", "' || current_user || '", "1::int", "E'\\x27'", "$$x$$"),
    *("sales' -- ", "admin'--", "../../etc/passwd", "..%2f..%2fetc/passwd", "/etc/passwd", "C:\\x"),
    *("a\r\nSet-Cookie: x=1", "\u2019 OR 1=1"),
    *('{"$ne": null}', "[]", "*", "(", "(?:a+)+$", "$(id)", "|id", "<script>alert(1)</script>", "=1+1", "NaN", "null", "\uff07 OR 1=1"),
]  # fmt: skip
CONTROL = "absent-word"
"""What is compared with: it means nothing."""
OPERATIONS = [each for each in operations() if " " not in each.key and not each.line.session]
EACH = 6
"""Payloads for one place, the next ones for the next place. The soak tries all of them everywhere."""


@pytest.fixture(scope="module")
def hers(world: World) -> dict[bool, Target]:
    """Eve's, whose names are asked for, and (True) Max's, where names are made: what he calls so is nothing that Eve finds."""
    return {False: world.target("eve", "evening"), True: world.target("max", "evening")}


def places(operation: Operation) -> Iterator[tuple[str, ...]]:
    """Every place of a text: a parameter, or the way to a field of the body."""
    for parameter in operation.parameters:
        yield (parameter["name"],)
    media = described()[operation.key][2].get("requestBody", {}).get("content", {})
    for content in media.values():
        for way in ways(content["schema"]):
            yield ("body", *way)


def ways(schema: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, ...]]:
    if "$ref" in schema and depth < 6:
        yield from ways(API["components"]["schemas"][schema["$ref"].rpartition("/")[2]], depth + 1)
    for each in schema.get("anyOf", ()):
        yield from ways(each, depth + 1)
    if schema.get("type") == "string":
        yield ()
    if schema.get("type") == "array":
        yield from (("[]", *way) for way in ways(schema["items"], depth + 1))
    for name, each in schema.get("properties", {}).items():
        yield from ((name, *way) for way in ways(each, depth + 1))
    if isinstance(schema.get("additionalProperties"), dict):
        yield ("{}",)
        yield from (("{key}", *way) for way in ways(schema["additionalProperties"], depth + 1))


def put(body: Any, way: tuple[str, ...], payload: str) -> Any:
    """The body with the text in one place."""
    if not way:
        return payload
    first, *rest = way
    if first == "[]":
        return [put(None, tuple(rest), payload)]
    if first in {"{}", "{key}"}:
        inner = next(iter(body.values()), None) if isinstance(body, dict) else None
        return {payload if first == "{}" else "key": inner if first == "{}" else put(inner, tuple(rest), payload)}
    known = body if isinstance(body, dict) else {}
    return {**known, first: put(known.get(first), tuple(rest), payload)}


def asked(operation: Operation, place: tuple[str, ...], target: Target, payload: str) -> Any:
    if place[0] != "body":
        return operation.on(target, **{place[0]: payload})
    if operation.body == "multipart/form-data":
        return operation.on(target, body=[("files", (payload, b"id\n1\n"))])
    if operation.body == "*/*":
        return operation.on(target, body=f"{payload},{payload}\n{payload},1\n".encode())
    return operation.on(target, body=put(operation.on(target).values["body"], place[1:], payload))


def payloads_for(number: int) -> list[str]:
    """The next ones."""
    first = number * EACH % len(PAYLOADS)
    return list(islice(cycle(PAYLOADS), first, first + EACH))


PLACES = [(operation, place) for operation in OPERATIONS for place in places(operation)]
CASES = [(operation, place, payloads_for(number)) for number, (operation, place) in enumerate(PLACES)]
NAMES = [f"{operation.key}: {'.'.join(place)}" for operation, place in PLACES]


def tried(
    world: World, operation: Operation, place: tuple[str, ...], payloads: list[str], theirs: Target, hers: dict[bool, Target]
) -> None:
    changes = operation.method != "get"
    target, who = hers[changes], "root" if operation.line.needs in {"users", "operate", "audit"} else ("eve", "max")[changes]
    headers = {each["name"] for each in operation.parameters if each["in"] == "header"}
    before, control = kept(world, theirs), said(world, who, asked(operation, place, target, CONTROL), CONTROL)
    for payload in payloads:
        if place[0] in headers and {"\r", "\u2019", "\uff07"} & set(payload):
            continue  # no client can send it
        request = asked(operation, place, target, payload)
        answer = said(world, who, request, payload)
        assert answer[0] < 500, (payload, answer[1])
        for secret in theirs.told() - {str(each) for each in (request.values, ABSENT)}:
            assert who == "root" or secret not in answer[1], payload
        if operation.method == "get" and answer[0] < 400 and control[0] < 400 and place[0] not in AS_IT_SAYS:
            assert answer[3] == control[3], payload
        assert "set-cookie" not in answer[2], payload
    assert kept(world, theirs) == before


AS_IT_SAYS = {"after", "where", "columns", "message", "if-none-match"}
"""Where another text rightly gives another answer: an order, conditions with a grammar of their own (`*` is whatever is there)."""


def said(world: World, who: str, request: Any, text: str) -> tuple[int, str, Mapping[str, str], object]:
    """Status, text, headers, and the form of the answer with the number of its items, but of those that another case called so."""
    answer = world.ask(who, request.method, request.path, **request.kwargs)
    form = shape(answer)
    if isinstance(form, dict) and "items" in form:
        form["items"] = [each for each, item in zip(form["items"], answer.json()["items"], strict=True) if text not in texts(item)]
    return *alike(answer, world.last, request), form


def texts(value: object) -> Iterator[str]:
    """The texts in an answer."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts(each)
    elif isinstance(value, str):
        yield value


def kept(world: World, theirs: Target) -> object:
    """What no request of a stranger changes: another's dataset, roles, the tables themselves."""
    with world.platform.db.autocommit() as tx:
        return [
            tx.tuples("SELECT table_name, count(*) FROM information_schema.columns WHERE table_schema = 'public' GROUP BY 1 ORDER BY 1"),
            tx.tuples("SELECT * FROM datasets WHERE id = :id", id=theirs.dataset),
            tx.tuples("SELECT * FROM dataset_versions WHERE dataset_id = :id ORDER BY id", id=theirs.dataset),
            tx.tuples("SELECT * FROM dataset_pointers WHERE dataset_id = :id ORDER BY pointer_name", id=theirs.dataset),
            tx.tuples("SELECT * FROM permissions WHERE resource_id = :id ORDER BY id", id=theirs.dataset),
            tx.tuples("SELECT id, username, role_id FROM users WHERE username IN ('root', 'ann', 'will', 'rita') ORDER BY id"),
            tx.tuples("SELECT count(*), min(at), max(at) FROM audit_log WHERE object_id = :id", id=str(theirs.dataset)),
        ]


@pytest.mark.parametrize(("operation", "place", "payloads"), CASES, ids=NAMES)
def test_no_text_is_more_than_a_text(
    operation: Operation, place: tuple[str, ...], payloads: list[str], world: World, theirs: Target, hers: dict[bool, Target]
) -> None:
    tried(world, operation, place, payloads, theirs, hers)


@pytest.mark.soak
def test_no_text_is_more_than_a_text_anywhere(world: World, theirs: Target, hers: dict[bool, Target]) -> None:
    for operation, place in sorted(PLACES, key=lambda each: each[0].method != "get"):  # before anything is called so
        tried(world, operation, place, PAYLOADS, theirs, hers)


def test_texts_find_what_is_called_so(world: World) -> None:
    """The signs of a pattern match themselves."""
    made = world.ask("max", "post", "/api/v1/datasets", json={"name": "fifty", "description": "50% of_it 'all'", "labels": ["a%b", "a_b"]})
    assert made.status_code == 201
    for query, found in (("50%", True), ("%f", False), ("of_it", True), ("f_f", False), ("'all'", True)):
        items = world.ask("max", "get", "/api/v1/datasets", params={"search": query}).json()["items"]
        assert ("fifty" in [item["name"] for item in items]) == found, query
    for label, found in (("a%b", True), ("a_b", True), ("a%", False), ("a__", False)):
        items = world.ask("max", "get", "/api/v1/datasets", params={"label": label}).json()["items"]
        assert ("fifty" in [item["name"] for item in items]) == found, label


def test_payloads_come_to_every_kind_of_place() -> None:
    assert len(PAYLOADS) > 50
    assert len(CASES) > 200
    assert {payload for _, _, payloads in CASES for payload in payloads} == set(PAYLOADS)
