"""Who may ask what: every route, for every kind of caller, about her own things, another's, and what does not exist (T55, T61)."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from httpx2 import Response

from dsplatform_tests.api.matrix.routes import BODIES, LINES, OPTIONAL, PARAMETERS, Operation, Request, body_of, described, operations
from dsplatform_tests.api.matrix.world import ABSENT, Target, World, asking_as

OPERATIONS = operations()
KEYED = [operation for operation in OPERATIONS if not operation.line.public]
ON_OBJECTS = [operation for operation in KEYED if operation.on_object]
UNKNOWN = ("nobody", "an unknown token", "another scheme")
ORDER = ("read", "write", "admin")
BEYOND = {"rita": "read", "root to read": "read", "will": "write", "ann to write": "write"}
"""How far these come on a dataset of Ann's."""
LIMITED = ("root to read", "root elsewhere")
"""Tokens that lack more than the right of a role."""


def each(chosen: list[Operation]) -> list[Any]:
    return [pytest.param(operation, id=operation.key) for operation in chosen]


@pytest.fixture(scope="module")
def hers(world: World) -> list[Target]:
    """Eve's. The last one is as it was made."""
    return [world.target("eve", "evening")]


# --- that nothing is left out --------------------------------------------------------------------------------------------------


def test_every_route_has_its_line_and_every_line_its_route() -> None:
    assert {key.split()[0] for key in LINES} == set(described())


def test_everything_that_a_route_asks_for_has_a_maker() -> None:
    for key, (_, _, operation) in described().items():
        for parameter in operation.get("parameters", ()):
            known = PARAMETERS if parameter["required"] else OPTIONAL
            assert parameter["name"] in known, f"{key}: {parameter['name']}"
        body = body_of(operation)
        assert body is None or body in BODIES, key


def test_what_changes_something_says_what_is_noted() -> None:
    for operation in OPERATIONS:
        if operation.method != "get" and " as a trial" not in operation.key and not operation.line.silent:
            assert operation.mutates, operation.key
        if operation.method == "get":
            assert not operation.mutates, operation.key


def test_what_a_line_says_is_what_the_description_says() -> None:
    told = 0
    for operation in OPERATIONS:
        said = re.findall(r"(?:takes|Needs|needs) the right `(\w+)`[.,;]", described()[operation.key.split()[0]][2]["description"])
        if said and " " not in operation.key and not operation.key.startswith("list_holdings"):  # there it is about others
            told += 1
            assert operation.line.needs == said[0], operation.key
    assert told > 30


# --- who is not known ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", each(KEYED))
def test_without_a_good_credential_there_is_one_answer(operation: Operation, world: World, theirs: Target) -> None:
    bodies = set()
    with world.unchanged():
        for who in UNKNOWN:
            for target in (theirs, ABSENT):
                answer = ask(world, who, operation.on(target))
                assert answer.status_code == 401, (who, answer.text)
                assert answer.headers["www-authenticate"] == "Bearer"
                assert leaked(answer, theirs, ()) == []
                if who == "nobody":
                    bodies.add(answer.text.replace(world.last, ""))
    assert len(bodies) == 1


# --- who may -------------------------------------------------------------------------------------------------------------------


def enough(operation: Operation) -> list[str]:
    """Those who may ask, with just enough and with more."""
    line = operation.line
    if line.session:
        return ["sue in a session"]
    if line.needs in ORDER:
        just = [who for who, right in BEYOND.items() if right == line.needs]
        return just if operation.mutates and just else ["ann", "root", *just]
    if line.needs == "create":
        return ["ann", "root"]
    return ["root"] if line.needs else ["root", "ann", "rita"]


@pytest.mark.parametrize("operation", each(KEYED))
def test_who_may_is_answered_and_each_change_is_noted_once(operation: Operation, world: World, theirs: Target) -> None:
    for who in enough(operation):
        target = world.target("ann") if operation.mutates else theirs
        asking = asking_as(world, who, world.log_in()[0]) if operation.line.session else world
        before = asking.state()
        answer = ask(asking, who, operation.on(target))
        assert answer.status_code < 400, (who, answer.status_code, answer.text)
        noted = [("done", operation.line.notes)] if operation.mutates else []
        assert asking.notes(asking.last) == noted, who
        if not operation.line.silent:
            assert (asking.state() != before) == operation.mutates, who
        world.known.clear()


def test_the_open_routes_answer_whoever_asks_and_note_their_changes(world: World) -> None:
    for operation in (each for each in OPERATIONS if each.line.public):
        body = {"body": {"refresh_token": world.log_in()[1]}} if operation.key == "refresh_session" else {}
        answer = ask(world, "nobody", operation.on(ABSENT, **body))
        assert answer.status_code < 400, (operation.key, answer.text)
        assert world.notes(world.last) == ([("done", operation.line.notes)] if operation.mutates else []), operation.key


# --- who may not ---------------------------------------------------------------------------------------------------------------


def too_little(operation: Operation) -> list[str]:
    """Those who see the thing, or need not to, and lack the right."""
    line = operation.line
    if line.needs in ORDER:
        return [who for who, right in BEYOND.items() if ORDER.index(right) < ORDER.index(line.needs)]
    if line.needs == "create":
        return ["rita", "root to read"]
    if line.unseen:
        return ["eve", "rita", "ann to write", *LIMITED]
    return ["eve", "ann", "rita", *LIMITED] if line.needs else []


@pytest.mark.parametrize("operation", each([operation for operation in KEYED if operation.line.needs]))
def test_who_lacks_the_right_is_told_which_changes_nothing_and_is_noted(operation: Operation, world: World, theirs: Target) -> None:
    with world.unchanged():
        refused_for_lack(operation, world, theirs)


def refused_for_lack(operation: Operation, world: World, theirs: Target) -> None:
    for who in too_little(operation):
        answer = ask(world, who, operation.on(theirs))
        if operation.line.unseen:
            assert answer.status_code == 404, (who, answer.status_code, answer.text)
        else:
            assert answer.status_code == 403, (who, answer.status_code, answer.text)
            assert answer.json()["code"] == "missing_right"
            assert answer.json()["missing"] in {operation.line.needs, *(["admin"] if who in LIMITED else [])}, who
        assert leaked(answer, theirs, sent(operation.on(theirs))) == [], who
        assert [result for result, _ in world.notes(world.last)] == ["refused"], who
        if operation.line.needs not in ORDER:
            there, notes = answer, world.last
            answer = ask(world, who, operation.on(ABSENT))
            assert alike(there, notes, operation.on(theirs)) == alike(answer, world.last, operation.on(ABSENT)), who


@pytest.mark.parametrize("operation", each(ON_OBJECTS))
def test_what_one_may_not_see_is_what_does_not_exist(operation: Operation, world: World, theirs: Target) -> None:
    with world.unchanged():
        unseen(operation, world, theirs)


def unseen(operation: Operation, world: World, theirs: Target) -> None:
    here, missing = operation.on(theirs), operation.on(ABSENT)
    for who in ("eve", "root elsewhere", "ann elsewhere", "guest"):
        if who == "guest" and of_a_file(operation):
            continue  # it was granted to the guest
        answer = ask(world, who, here)
        said, refused = alike(answer, world.last, here), world.notes(world.last)
        assert answer.status_code == 404, (who, answer.status_code, answer.text)
        assert leaked(answer, theirs, sent(here)) == [], who
        assert [result for result, _ in refused] == ["refused"], who
        assert alike(ask(world, who, missing), world.last, missing) == said, who
        if not of_a_file(operation):  # an admin holds every right on every id, and what is no file has no grants
            assert alike(ask(world, "root", missing), world.last, missing) == said, "an admin is told the same of what is not there"


def of_a_file(operation: Operation) -> bool:
    """Whether it names a file by itself."""
    return bool({"file", "file_id"} & set(operation.makers()))


PLACES = [
    pytest.param(operation, place, id=f"{operation.key}: {place}")
    for operation in KEYED
    if not operation.line.session
    for place, make in operation.makers().items()
    if place != "body" or operation.line.give.get("body")
]


@pytest.mark.parametrize(("operation", "place"), PLACES)
def test_naming_another_s_thing_in_one_place_is_like_naming_nothing(
    operation: Operation, place: str, world: World, theirs: Target, hers: list[Target]
) -> None:
    make = operation.makers()[place]
    if re.sub(r"fresh-\d+", "", str(make(theirs))) == re.sub(r"fresh-\d+", "", str(make(ABSENT))):
        return  # it names nothing
    here, missing = operation.on(hers[-1], **{place: make(theirs)}), operation.on(hers[-1], **{place: make(ABSENT)})
    before = world.state() if not world.known else world.known.pop()
    there = ask(world, "eve", here)
    said = alike(there, world.last, here)
    assert leaked(there, theirs, sent(here)) == []
    if there.status_code >= 400:
        assert alike(ask(world, "eve", missing), world.last, missing) == said
        assert world.state() == before
        world.known.append(before)
        return
    answer = ask(world, "eve", missing)
    assert answer.status_code == there.status_code
    assert shape(answer) == shape(there)
    if operation.mutates:
        hers.append(world.target("eve", "evening"))


@pytest.mark.parametrize("operation", each([operation for operation in KEYED if not operation.line.session]))
def test_a_stranger_may_with_what_is_hers(operation: Operation, world: World, hers: list[Target]) -> None:
    """Else the tests above would compare what nobody can have."""
    if operation.line.needs in {*ORDER, "create", None}:
        target = world.target("eve", "evening") if operation.mutates else hers[-1]
        answer = ask(world, "eve", operation.on(target))
        assert answer.status_code < 400, answer.text


# --- what answers say ----------------------------------------------------------------------------------------------------------


def ask(world: World, who: str, request: Request) -> Response:
    """The answer, which is never an error that nobody foresaw."""
    answer = world.ask(who, request.method, request.path, **request.kwargs)
    assert answer.status_code < 500, answer.text
    return answer


def sent(request: Request) -> list[str]:
    """Every text and number that a request says."""
    return sorted(set(texts(request.values)), key=len, reverse=True)


def texts(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from (*texts(name), *texts(each))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from texts(each)
    elif value is not None and not isinstance(value, bool):
        yield value.decode() if isinstance(value, bytes) else str(value)


def alike(answer: Response, request_id: str, request: Request) -> tuple[int, str, Mapping[str, str]]:
    """An answer without the number of its request and without what was sent."""
    text, headers = answer.text, json.dumps(sorted(answer.headers.items()))
    values = [request_id, *(value for value in sent(request) if len(value) > 4)]
    for value in values:
        text, headers = (part.replace(value, "·").replace(json.dumps(value)[1:-1], "·") for part in (text, headers))
    return answer.status_code, text, {name: value for name, value in json.loads(headers) if name != "content-length"}


def leaked(answer: Response, target: Target, said: list[str] | tuple[str, ...]) -> list[str]:
    """What an answer tells of a target beyond what was sent."""
    told = answer.text + json.dumps(dict(answer.headers))
    for value in said:
        if len(value) > 4:
            told = told.replace(value, "·")
    return [secret for secret in target.told() if secret in told]


def shape(answer: Response) -> object:
    """Which fields an answer has."""
    if not answer.content or not answer.headers.get("content-type", "").endswith("json"):
        return answer.headers.get("content-type")

    def of(value: object) -> object:
        if isinstance(value, dict):
            return {name: of(each) for name, each in value.items()}
        return [of(each) for each in value] if isinstance(value, list) else type(value).__name__

    return of(answer.json())
