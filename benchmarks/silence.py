"""What the clock tells of what the caller may not know: a question about what another has, beside the same about what nobody has."""

import json
import os
import random
import time
from collections.abc import Callable
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from statistics import median

from benchmarks.http import api, credential
from benchmarks.setting import table
from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor

PAIRS = 300
"""Of each question, in a round."""
ACCOUNTS, ATTEMPTS = 6, 10
"""So often a password may be tried: each account from an address of its own."""
DATASETS = 300
ABSENT = 999_999_999
PASSWORD = "correct horse battery staple"

Question = tuple[str, str, bytes | None]
"""Method, path, body."""


def silence(scratch: Path, rounds: int) -> str:
    """Asks both in pairs, in an order that chance decides, and compares the medians."""
    with api(scratch) as (port, _, _, platform):
        ada, mara = platform.permissions.create_user("ada"), platform.permissions.create_user("mara")
        dataset, file = _fill(platform, ada)
        contents = _stored(platform, ada, PAIRS * rounds)
        token = credential(platform.accounts.create_token(mara, "benchmark").secret)
        platform.datasets.create_dataset(mara, "mine")
        connection = HTTPConnection("127.0.0.1", port)
        questions: dict[str, tuple[Callable[[int], Question], Callable[[int], Question]]] = {
            "a dataset, by its id": _both("GET", "/api/v1/datasets/{}", dataset, ABSENT),
            "a dataset, by its name": _both("GET", "/api/v1/datasets/{}", "s007", "x007"),
            "a version": _both("GET", "/api/v1/datasets/{}/versions/latest", "s000", "x000"),
            "a file of a dataset": _both("GET", "/api/v1/datasets/{}/files/a.csv", "s000", "x000"),
            "a change of a dataset": _both("PATCH", "/api/v1/datasets/{}", dataset, ABSENT, {"description": "d"}),
            "a file, by its id": _both("GET", "/api/v1/files/{}", file, ABSENT),
            "the grants on a file": _both("GET", "/api/v1/files/{}/permissions", file, ABSENT),
            "an upload of the content": (
                lambda number: ("PUT", "/api/v1/datasets/mine/files/a.csv", contents[number]),
                lambda number: ("PUT", "/api/v1/datasets/mine/files/a.csv", os.urandom(len(contents[number]))),
            ),
        }
        rows = [_compared(name, connection, token, PAIRS * rounds, *both) for name, both in questions.items()]
        rows.append(_logins(port, platform))
    return table(
        "What the clock tells: asked for what another has, and for what nobody has, p50 in ms over HTTP",
        ["asked for", "pairs", "another's", "nobody's", "ratio", "noise"],
        rows,
        "Bar: ratio 0.90 to 1.10. Noise: the same ratio between two halves, by chance, of the questions about what nobody has.",
    )


def _both(
    method: str, path: str, theirs: object, absent: object, body: object = None
) -> tuple[Callable[[int], Question], Callable[[int], Question]]:
    sent = None if body is None else json.dumps(body).encode()
    return lambda _: (method, path.format(theirs), sent), lambda _: (method, path.format(absent), sent)


def _fill(platform: Platform, ada: Actor) -> tuple[int, int]:
    """Datasets of another, and in the first of them a file: ids of both."""
    datasets = [platform.datasets.create_dataset(ada, f"s{number:03}") for number in range(DATASETS)]
    platform.versions.create_version(ada, datasets[0], {"a.csv": BytesIO(b"id\n1\n")})
    _, (component,) = platform.versions.get_version(ada, datasets[0])
    return datasets[0].id, component.file_id


def _stored(platform: Platform, ada: Actor, count: int) -> list[bytes]:
    """Contents that another has."""
    contents = [os.urandom(4096) for _ in range(count + 1)]
    dataset = platform.datasets.create_dataset(ada, "contents")
    platform.versions.create_version(ada, dataset, {str(number): BytesIO(content) for number, content in enumerate(contents)})
    return contents


def _logins(port: int, platform: Platform) -> tuple[str, ...]:
    """A wrong password of a user, beside one of nobody."""
    theirs: list[float] = []
    absent: list[float] = []
    for number in range(ACCOUNTS):
        platform.people.create_user(platform.actor(), f"user{number}", password=PASSWORD)
        connection = HTTPConnection("127.0.0.1", port, source_address=(f"127.0.1.{number + 1}", 0))
        questions = [
            lambda _, name=name: ("POST", "/api/v1/sessions", json.dumps({"username": name, "password": "wrong password"}).encode())
            for name in (f"user{number}", f"nobody{number}")
        ]
        _pairs(connection, {}, ATTEMPTS, questions[0], questions[1], theirs, absent)
    return _row("a login", theirs, absent)


def _compared(
    name: str,
    connection: HTTPConnection,
    headers: dict[str, str],
    count: int,
    theirs: Callable[[int], Question],
    absent: Callable[[int], Question],
) -> tuple[str, ...]:
    taken: tuple[list[float], list[float]] = [], []
    _pairs(connection, headers, count, theirs, absent, *taken)
    return _row(name, *taken)


def _pairs(
    connection: HTTPConnection,
    headers: dict[str, str],
    count: int,
    theirs: Callable[[int], Question],
    absent: Callable[[int], Question],
    of_theirs: list[float],
    of_absent: list[float],
) -> None:
    """Adds milliseconds to both lists. Raises where not the clock, but the status tells them apart."""
    for number in range(count):
        order = [(theirs, of_theirs), (absent, of_absent)]
        random.shuffle(order)
        statuses = set()
        for question, taken in order:
            method, path, body = question(number)
            started = time.perf_counter()
            connection.request(
                method, path, body, headers | ({} if body is None or method == "PUT" else {"Content-Type": "application/json"})
            )
            answer = connection.getresponse()
            answer.read()
            taken.append((time.perf_counter() - started) * 1000)
            statuses.add(answer.status)
        if len(statuses) != 1 or statuses & {422, 429, 500}:
            raise AssertionError(f"{method} {path}: {statuses}")


def _row(name: str, theirs: list[float], absent: list[float]) -> tuple[str, ...]:
    shuffled = random.sample(absent, len(absent))
    noise = median(shuffled[::2]) / median(shuffled[1::2])
    ratio = median(theirs) / median(absent)
    return name, str(len(theirs)), f"{median(theirs):.2f}", f"{median(absent):.2f}", f"{ratio:.2f}", f"{noise:.2f}"


ALL: dict[str, Callable[[Path, int], str]] = {"silence": silence}
