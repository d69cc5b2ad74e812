import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from anyio import to_thread
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.api.app import THREADS_PER_CONNECTION, create_app
from dsplatform.api.limits import REMEMBERED, Limits
from dsplatform.core.domain import Actor, Origin
from dsplatform.core.errors import TooMany
from dsplatform.core.settings import Settings
from dsplatform_tests.api.conftest import AsUser

ADA = Actor(1, "ada", origin=Origin(token_id=7))
BOB = Actor(2, "bob", origin=Origin(token_id=8))


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def used_up(limits: Limits, credential: bytes | None, address: str) -> int:
    """How many requests there are until the caller is refused."""
    count = 0
    while count < 10_000:
        try:
            limits.admit(credential, address)
        except TooMany:
            return count
        count += 1
    raise AssertionError("there is no limit")


def test_a_caller_has_as_many_requests_as_a_minute_gives_and_then_has_to_wait() -> None:
    clock = Clock()
    limits = Limits(60, 4, clock)
    assert used_up(limits, None, "10.0.0.1") == 60
    with pytest.raises(TooMany) as refused:
        limits.admit(None, "10.0.0.1")
    clock.now += refused.value.retry_after
    limits.admit(None, "10.0.0.1")


@given(st.lists(st.floats(0, 100), max_size=30), st.integers(1, 50))
def test_over_any_time_no_more_than_the_limit_gets_through(pauses: list[float], per_minute: int) -> None:
    clock = Clock()
    limits = Limits(per_minute, 4, clock)
    admitted = 0
    for pause in pauses:
        clock.now += pause
        for _ in range(3):
            try:
                limits.admit(None, "10.0.0.1")
                admitted += 1
            except TooMany:
                pass
    assert admitted <= per_minute + per_minute * sum(pauses) / 60 + 1e-6


def test_addresses_have_shares_of_their_own() -> None:
    limits = Limits(10, 4, Clock())
    assert used_up(limits, None, "10.0.0.1") == 10
    assert used_up(limits, None, "10.0.0.2") == 10


def test_who_guesses_credentials_uses_up_the_share_of_the_address() -> None:
    limits = Limits(10, 4, Clock())
    for guess in range(10):
        limits.admit(b"Bearer %d" % guess, "10.0.0.1")
    with pytest.raises(TooMany):
        limits.admit(b"Bearer 10", "10.0.0.1")


def test_a_good_credential_is_not_locked_out_by_others_at_its_address() -> None:
    limits = Limits(10, 4, Clock())
    limits.found_good(b"Bearer good")
    assert used_up(limits, None, "10.0.0.1") == 10
    assert used_up(limits, b"Bearer good", "10.0.0.1") == 10


def test_found_good_again_gives_no_new_share() -> None:
    limits = Limits(10, 4, Clock())
    limits.found_good(b"Bearer good")
    assert used_up(limits, b"Bearer good", "10.0.0.1") == 10
    limits.found_good(b"Bearer good")
    assert used_up(limits, b"Bearer good", "10.0.0.1") == 0


def test_memory_of_callers_is_bounded() -> None:
    limits = Limits(10, 4, Clock())
    for number in range(REMEMBERED + 100):
        limits.admit(None, str(number))
    assert len(limits._shares) == REMEMBERED


def test_no_limit_admits_everybody() -> None:
    limits = Limits(0, 4, Clock())
    for _ in range(1000):
        limits.admit(None, "10.0.0.1")


def test_a_caller_has_half_of_the_uploads() -> None:
    limits = Limits(10, 4)
    with limits.upload(ADA), limits.upload(ADA):
        with pytest.raises(TooMany, match="2 uploads of yours"), limits.upload(ADA):
            pass
        with limits.upload(BOB), limits.upload(BOB):
            assert limits.uploads() == 4
            with pytest.raises(TooMany, match="no place"), limits.upload(Actor(3, "eve")):
                pass
    assert limits.uploads() == 0
    with limits.upload(ADA):
        assert limits.uploads() == 1


def test_a_failed_upload_gives_its_place_back() -> None:
    limits = Limits(10, 1)
    with pytest.raises(ValueError, match="broken"), limits.upload(ADA):
        raise ValueError("broken")
    with limits.upload(ADA):
        pass


def test_many_threads_never_have_more_places_than_there_are() -> None:
    limits, most, refused = Limits(10, 4), [0], [0]
    start = threading.Barrier(8)

    def work(actor: Actor) -> None:
        start.wait()
        for _ in range(300):
            try:
                with limits.upload(actor):
                    most[0] = max(most[0], limits.uploads())
            except TooMany:
                refused[0] += 1

    threads = [threading.Thread(target=work, args=(Actor(number, "x"),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] <= 4
    assert limits.uploads() == 0


def test_who_asks_too_often_is_told_when_to_come_back(app: FastAPI, client: TestClient, as_user: AsUser) -> None:
    ada = as_user("ada")
    assert ada.get("/api/v1/datasets").status_code == 200  # known to be good from here on
    app.state.limits._per_minute = 3
    app.state.limits._shares.clear()
    app.state.limits.found_good(ada.headers["Authorization"].encode())
    assert [ada.get("/api/v1/datasets").status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = ada.get("/api/v1/datasets")
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["code"] == TooMany.code
    assert refused.json()["request_id"] == refused.headers["x-request-id"]
    assert client.get("/api/v1/datasets").status_code == 401  # another share
    assert ada.get("/health/live").status_code == 200


def test_a_token_has_a_share_of_its_own_once_it_was_found_good(app: FastAPI, client: TestClient, as_user: AsUser) -> None:
    ada = as_user("ada")
    assert ada.get("/api/v1/datasets").status_code == 200
    app.state.limits._per_minute = 5
    while client.get("/api/v1/datasets").status_code != 429:
        pass
    assert ada.get("/api/v1/datasets").status_code == 200


def test_more_requests_than_connections_wait_and_none_fails(settings: Settings, database_url: str) -> None:
    app = create_app(replace(settings, database_url=database_url, pool_size=2, rate_limit=0))
    with TestClient(app) as client, ThreadPoolExecutor(40) as callers:
        platform = app.state.platform
        token = platform.accounts.create_token(platform.permissions.create_user("ada"), "tests").secret
        asked = [callers.submit(client.get, "/api/v1/datasets", headers={"Authorization": f"Bearer {token}"}) for _ in range(200)]
        assert {one.result().status_code for one in asked} == {200}
        assert client.portal is not None
        threads = client.portal.call(lambda: to_thread.current_default_thread_limiter().total_tokens)
    assert threads == 2 * THREADS_PER_CONNECTION
