"""Secrets are in no log, no answer but the one that gives them, no row of the audit log, nowhere in the database (T59)."""

import io
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from dsplatform.api.app import create_app
from dsplatform.api.logs import JsonLines, secrets_of
from dsplatform.core.roles import ROLE
from dsplatform.core.settings import Settings
from dsplatform.embedded import EmbeddedPostgres
from dsplatform.permissions import passwords
from dsplatform_tests import conftest
from dsplatform_tests.api.matrix.routes import operations
from dsplatform_tests.api.matrix.test_authorization import ask
from dsplatform_tests.api.matrix.world import ABSENT, World, built

KEY = "canarykeyofthesessions7c1f0a9bcanary"
AWS = "canaryawssecretaccesskey9d2e4f"
DSN = "canarydsnpassword5b7d"
GUESS = "canary guess of a password 1a2b"
PRESIGNED = "X-Amz-Signature=canarysignature0123456789abcdef&X-Amz-Credential=canarycredential"


@pytest.fixture(scope="module")
def lines() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """All that is logged: as the server writes it, and as it was said."""
    written, said = io.StringIO(), io.StringIO()
    shipped, raw = logging.StreamHandler(written), logging.StreamHandler(said)
    settings = Settings.from_env({"DSPLATFORM_DATABASE_URL": f"postgresql://app:{DSN}@127.0.0.1/x"})
    shipped.setFormatter(JsonLines(secrets_of(settings, {**os.environ, "AWS_SECRET_ACCESS_KEY": AWS, "DSPLATFORM_SECRET_KEY": KEY})))
    for handler in (shipped, raw):
        handler.addFilter(lambda record: not record.name.startswith(("httpx", "httpcore")))  # the client's own
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG)
    for handler in (shipped, raw):
        root.addHandler(handler)
    yield written, said
    root.setLevel(level)
    for handler in (shipped, raw):
        root.removeHandler(handler)


@pytest.fixture(scope="module")
def world(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, lines: tuple[io.StringIO, io.StringIO]) -> Iterator[World]:
    """As in the matrix, with secrets in the settings. The server asks no password, so that the one in the address is free."""
    home = tmp_path_factory.mktemp("secrets") / "home"
    settings = Settings.from_env({"DSPLATFORM_HOME": str(home), "DSPLATFORM_RATE_LIMIT": "0", "DSPLATFORM_SECRET_KEY": KEY})
    with conftest._database(server, "template") as name, pytest.MonkeyPatch.context() as patch:
        patch.setitem(passwords.PARAMETERS, "memory_cost", 64)
        patch.setenv("AWS_SECRET_ACCESS_KEY", AWS)
        url = server.url(name, user=ROLE).replace(f"{ROLE}@", f"{ROLE}:{DSN}@")
        assert DSN in url
        with TestClient(create_app(replace(settings, database_url=url)), raise_server_exceptions=False) as client:
            yield built(client.app.state.platform, client)  # type: ignore[attr-defined]  # of the application


def requested(world: World, number: int) -> tuple[list[str], list[str]]:
    """So many requests, good and bad ones, and some with secrets where none belong. (the secrets, the answers)."""
    theirs = world.target("ann")
    secrets = [
        KEY,
        AWS,
        DSN,
        GUESS,
        "canarysignature",
        "canarycredential",
        *(each["Authorization"][7:] for each in world.headers.values() if each),
    ]
    secrets.remove("dsp_" + "0" * 40)
    answers = []
    for _ in range(3):
        headers, renewal = world.log_in()
        secrets += [headers["Authorization"][7:], renewal]
        renewed = world.client.post("/api/v1/sessions/refresh", json={"refresh_token": renewal}).json()
        secrets += [renewed["access_token"], renewed["refresh_token"]]
        answers.append(world.client.post("/api/v1/sessions/refresh", json={"refresh_token": renewal}).text)  # a second time
        made = world.ask("ann", "post", "/api/v1/tokens", json={"name": "canary"}).json()
        secrets.append(made["secret"])
        answers.append(world.client.get("/api/v1/me", headers={"Authorization": f"Bearer {made['secret'][:-1]}x"}).text)
    people = ("ann", "rita", "eve", "root to read", "nobody", "an unknown token", "ann elsewhere")
    kinds = [operation for operation in operations() if not operation.mutates and not operation.line.public]
    for count, operation in enumerate(islice(cycle(kinds), number)):
        request = operation.on(theirs if count % 3 else ABSENT)
        answers.append(ask(world, people[count % len(people)], request).text)
        if count % 5 == 0:
            answers += [each.text for each in astray(world, count)]
    return secrets, answers


def astray(world: World, count: int) -> Iterator[Response]:
    """Requests in which somebody puts a secret where it does not belong."""
    token = world.headers["ann"]["Authorization"][7:]
    client = world.client
    yield client.post("/api/v1/sessions", json={"username": f"guest{count % 7}", "password": GUESS})
    yield client.post("/api/v1/sessions", json={"username": "guest", "password": GUESS, "more": 1})
    yield client.post("/api/v1/sessions", content=json.dumps({"username": "guest", "password": GUESS})[:-1])
    yield client.post("/api/v1/sessions/refresh", json={"refresh_token": GUESS})
    yield client.get("/api/v1/datasets", params={"token": token})
    yield client.get(f"/api/v1/datasets?{PRESIGNED}")
    yield world.ask("ann", "get", f"/api/v1/datasets?{PRESIGNED}")
    yield world.ask("ann", "put", "/api/v1/me/password", json={"old": GUESS, "new": GUESS})
    yield world.ask("root", "put", "/api/v1/users/nobody/password", json={"password": GUESS})
    yield world.ask("root", "post", "/api/v1/users", json={"username": "sue", "password": GUESS})
    yield client.get("/api/v1/me", headers={"Authorization": f"Basic {token}"})
    yield client.get("/metrics", headers={"Authorization": f"Bearer {token}x"})


def searched(world: World, lines: tuple[io.StringIO, io.StringIO], number: int) -> None:
    before = [len(each.getvalue()) for each in lines]
    secrets, answers = requested(world, number)
    written, said = (each.getvalue()[at:] for each, at in zip(lines, before, strict=True))
    assert written.count("\n") > number
    with world.platform.db.autocommit() as tx:
        tables = [name for (name,) in tx.tuples("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'")]
        rows = "\n".join(str(row) for table in tables for row in tx.tuples(f"SELECT CAST(t AS text) FROM {table} t"))
    assert "token.create" in rows
    places = {"written log": written, "log as it was said": said, "rows": rows, "answers": "\n".join(answers)}
    found = {(place, secret) for place, text in places.items() for secret in secrets if secret in text}
    assert found == set()


@pytest.mark.long
def test_no_secret_is_told_or_kept(world: World, lines: tuple[io.StringIO, io.StringIO]) -> None:
    searched(world, lines, 500)


@pytest.mark.soak
def test_no_secret_is_told_or_kept_in_ten_thousand_requests(world: World, lines: tuple[io.StringIO, io.StringIO]) -> None:
    searched(world, lines, 10_000)


def test_what_goes_wrong_unforeseen_tells_no_secret(
    world: World, lines: tuple[io.StringIO, io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of a library may hold anything: the answer has nothing of it, the log as it is shipped no secret."""
    token = world.headers["ann"]["Authorization"][7:]

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError(f"postgresql://app:{DSN}@db/x {AWS} https://bucket/key?{PRESIGNED} Bearer {token} password={GUESS.split()[0]}x")

    monkeypatch.setattr(type(world.platform.datasets), "list_datasets", fails)
    answer = world.ask("ann", "get", "/api/v1/datasets")
    assert answer.status_code == 500
    assert "RuntimeError" in lines[0].getvalue()
    for secret in (DSN, AWS, token, "canarysignature", "canarycredential", "canaryx"):
        assert secret not in answer.text
        assert secret not in lines[0].getvalue()
