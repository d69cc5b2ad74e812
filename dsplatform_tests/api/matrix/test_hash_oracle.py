"""Who has bytes, or their hash, or their id, learns nothing by it and reaches nothing with it (T56)."""

import base64
import re
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from dsplatform.api import uploads
from dsplatform_tests.api.matrix.routes import API, Operation, described, fresh, operations
from dsplatform_tests.api.matrix.world import ABSENT, Target, World, content

ON_DATASETS = [
    operation
    for operation in operations()
    if operation.line.needs in {"read", "write", "admin"} and operation.key != "make_version of another's" and not operation.line.session
]


def given(world: World, data: bytes) -> Target:
    """A new target of Eve's, to which she uploads bytes."""
    target = world.target("eve", "evening")
    answer = world.ask("eve", "put", f"/api/v1/datasets/{target.dataset}/files/extra.csv", content=data)
    assert answer.status_code == 201, answer.text
    return target


def novel(word: str) -> bytes:
    """As many bytes of the same form, which nobody has."""
    return content(f"{word[:-5][::-1]}-{next(_numbers):04d}")


_numbers = iter(range(1, 10_000))


@pytest.fixture(scope="module")
def pair(world: World, theirs: Target) -> tuple[Target, Target]:
    """One with bytes that Ann has, too, and one with bytes that nobody else has."""
    return given(world, content(theirs.word)), given(world, novel(theirs.word))


def told(world: World, operation: Operation, target: Target, of: str) -> tuple[int, str]:
    """What the answer says, without what is another one for each dataset."""
    request = operation.on(target)
    answer = world.ask("eve", operation.method, request.path, **request.kwargs)
    text = repr((sorted(answer.headers.items()), answer.text if b"PK" not in answer.content[:2] else len(answer.content)))
    for word in (target.word, target.group, target.role, target.robot, target.username, target.member, of, world.last):
        text = text.replace(word, "·")
    for pattern in (r"\b7[1-5]\d{5}\b", r"[0-9a-f]{12,64}", r"sha-256=:[^:]*:", r"\d{4}-\d\d-\d\d[T ][0-9:.]+(Z|\+00:00)?", r"fresh-\d+"):
        text = re.sub(pattern, "·", text)
    return answer.status_code, text


@pytest.mark.parametrize("operation", [pytest.param(each, id=each.key) for each in ON_DATASETS])
def test_every_answer_about_bytes_is_the_same_whether_somebody_else_has_them(
    operation: Operation, world: World, theirs: Target, pair: tuple[Target, Target]
) -> None:
    known, unknown = pair
    if operation.mutates:
        theirs = world.target("ann")  # whose bytes Eve has in no other dataset
    other = novel(theirs.word)
    word = other.split(b",")[2].split(b" ")[0].decode()
    if operation.mutates:
        known, unknown = given(world, content(theirs.word)), given(world, other)
    first, second = (told(world, operation, target, of) for target, of in ((known, theirs.word), (unknown, word)))
    assert first[0] < 400, first
    assert re.sub("[a-z]+-[0-9]{4}", "·", first[1]) == re.sub("[a-z]+-[0-9]{4}", "·", second[1])


def test_an_upload_of_another_s_bytes_is_answered_as_one_of_new_bytes(world: World) -> None:
    answers, theirs = [], world.target("ann")
    for data in (content(theirs.word), novel(theirs.word)):
        target = world.target("eve", "evening")
        answer = world.ask("eve", "put", f"/api/v1/datasets/{target.dataset}/files/extra.csv", content=data)
        body = answer.json()
        (component,) = body["components"]
        assert component["duplicate"] is False
        component.pop("content_hash")
        answers.append((answer.status_code, sorted(answer.headers), {**body, **dict.fromkeys(("dataset", "slug", "version_id"), 0)}))
    assert answers[0] == answers[1]


def test_one_s_own_bytes_are_known_as_such(world: World) -> None:
    """Else the test above would hold of an answer that never says `duplicate`."""
    target = world.target("eve", "evening")
    answer = world.ask("eve", "put", f"/api/v1/datasets/{target.dataset}/files/again.csv", content=content(target.word))
    assert answer.json()["components"][0]["duplicate"] is True


def test_no_answer_but_those_for_operators_tells_the_number_of_a_file() -> None:
    """Files are numbered in the order of their arrival, so that the number of bytes tells how long they have been here."""
    answers = {
        key
        for key, (_, _, operation) in described().items()
        for answer in operation["responses"].values()
        for media in answer.get("content", {}).values()
        if "file_id" in set(fields(media["schema"]))
    }
    assert answers == {"explain_content"}


# --- hashes and ids ------------------------------------------------------------------------------------------------------------


def fields(schema: dict[str, Any], seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """The names of all fields of a body."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name not in seen:
            yield from fields(API["components"]["schemas"][name], seen | {name})
    for name, each in schema.get("properties", {}).items():
        yield from (name, *fields(each, seen))
    for each in (*schema.get("anyOf", ()), schema.get("items"), schema.get("additionalProperties")):
        if isinstance(each, dict):
            yield from fields(each, seen)


def test_no_request_names_content_by_hash_or_id_but_those_that_are_tried_here() -> None:
    found = set()
    for key, (_, _, operation) in described().items():
        names = [parameter["name"] for parameter in operation.get("parameters", ())]
        for media in operation.get("requestBody", {}).get("content", {}).values():
            names += fields(media["schema"])
        found |= {
            (key, name) for name in names if re.search("hash|digest|sha|file$|file_id|etag|match|if-range|subject|storage|blob", name)
        }
    headers = {"content-digest", "repr-digest", "if-match", "if-none-match"}
    assert found == {
        *(("upload_file", name) for name in headers),
        *(("upload_files", name) for name in headers),
        *(("download_file", name) for name in ("if-match", "if-none-match", "if-range")),
        ("download_version", "if-none-match"),
        ("update_branch", "if-match"),  # of a version's number
        ("delete_branch", "if-match"),
        *((name, "file") for name in ("list_file_grants", "grant_file", "revoke_file_grant", "check_permission")),
        ("get_file", "file_id"),
        ("explain_content", "subject"),
    }


@pytest.mark.parametrize("name", ["if-match", "if-none-match", "if-range", "content-digest", "repr-digest"])
@pytest.mark.parametrize("method", ["get", "put"])
def test_a_header_with_another_s_hash_does_what_one_with_no_s_hash_does(method: str, name: str, world: World, theirs: Target) -> None:
    answers = []
    for digest in (theirs.hash, ABSENT.hash):
        target = world.target("eve", "evening")
        value = f"sha-256=:{base64.b64encode(bytes.fromhex(digest)).decode()}:" if "digest" in name else f'"{digest}"'
        more = {"content": b"id\n1\n"} if method == "put" else {}
        path = f"/api/v1/datasets/{target.dataset}/files/{target.component}"
        with world.unchanged() if method == "get" else nullcontext():
            answer = world.ask("eve", method, path, headers={name: value, "range": "bytes=0-9"}, **more)
        text = answer.text.replace(world.last, "").replace(digest, "").replace(target.word, "")
        answers.append((answer.status_code, re.sub(r"\b7\d{6}\b|[0-9a-f]{64}|\d{4}-\d\d-\d\d", "", text), sorted(answer.headers)))
    assert answers[0] == answers[1]


def test_a_version_is_made_of_nothing_that_one_may_not_read(world: World, theirs: Target) -> None:
    target = world.target("eve", "evening")
    path = f"/api/v1/datasets/{target.dataset}/changes"
    sources: list[dict[str, Any]] = [
        {"name": theirs.component, "ref": "1", "dataset": theirs.slug},
        {"name": theirs.component, "ref": "1", "dataset": str(theirs.dataset)},
        {"name": theirs.hash},
        {"name": str(theirs.file)},
        {"name": theirs.component, "ref": theirs.hash},
        {"name": "x", "content_hash": theirs.hash},
        {"name": "x", "file_id": theirs.file},
    ]
    for source in sources:
        with world.unchanged():
            answer = world.ask("eve", "post", path, json={"take": {"mine.csv": source}})
        assert answer.status_code in {404, 422}, source


def test_another_s_idempotency_key_is_one_s_own(world: World, theirs: Target) -> None:
    target, headers = world.target("eve", "evening"), {"idempotency-key": "shared"}
    for who, of in (("ann", theirs), ("eve", target)):
        answer = world.ask(who, "put", f"/api/v1/datasets/{of.dataset}/files/keyed.csv", content=b"id\n1\n", headers=headers)
        assert answer.status_code == 201, answer.text
        assert answer.json()["dataset"] == of.dataset


def test_a_large_file_has_its_schema_no_sooner_because_somebody_else_has_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = world.target("ann")
    monkeypatch.setattr(uploads, "SCHEMA_BYTES", 1_000)
    answers = []
    for data in (content(theirs.word), novel(theirs.word)):
        dataset = world.ask("eve", "post", "/api/v1/datasets", json={"name": fresh()}).json()["id"]
        answers.append(world.ask("eve", "put", f"/api/v1/datasets/{dataset}/files/large.csv", content=data).json()["schema"])
    assert answers == [None, None]
