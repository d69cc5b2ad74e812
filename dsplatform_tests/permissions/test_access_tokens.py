import time
from uuid import UUID, uuid4

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.permissions.access_tokens import AccessTokens
from dsplatform.permissions.model import Unauthenticated
from dsplatform_tests.permissions import forging

SIGNING = b"k" * 32
SESSION = uuid4()
made = AccessTokens(lambda: SIGNING)


def test_a_token_names_its_session_and_says_nothing_of_rights() -> None:
    token = made.issue(SESSION, 7)
    assert made.session(token) == SESSION
    read = jwt.decode_complete(token, options={"verify_signature": False})
    assert read["header"] == {"alg": "HS256", "typ": "at+jwt"}
    assert set(read["payload"]) == {"iss", "aud", "sub", "sid", "iat", "nbf", "exp"}
    assert read["payload"]["exp"] - read["payload"]["iat"] == 15 * 60


def test_what_tests_forge_is_good_until_it_is_forged() -> None:
    assert made.session(forging.good(forging.claims_of(str(SESSION)), SIGNING)) == SESSION


@pytest.mark.parametrize("name", [name for name in forging.FORGERIES if name != "of another session"])
def test_a_forged_token_is_refused_in_the_same_words(name: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        made.session(forging.FORGERIES[name](forging.claims_of(str(SESSION)), SIGNING))
    assert str(caught.value) == str(Unauthenticated())


@pytest.mark.parametrize(("seconds", "is_good"), [(-59, True), (-62, False)])
def test_clocks_may_differ_by_a_minute(seconds: int, is_good: bool) -> None:
    now = int(time.time())
    token = forging.good(forging.claims_of(str(SESSION), exp=now + seconds + 1), SIGNING)
    if is_good:
        assert made.session(token) == SESSION
    else:
        with pytest.raises(Unauthenticated):
            made.session(token)


@given(st.text(max_size=300))
def test_any_text_is_refused_without_another_error(text: str) -> None:
    with pytest.raises(Unauthenticated):
        made.session(text)


@given(st.integers(0, 1000), st.integers(0, 63))
def test_a_token_of_which_one_character_changed_is_refused(place: int, sign: int) -> None:
    token = made.issue(UUID(int=1), 7)
    place %= len(token)
    other = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[sign]
    changed = token[:place] + other + token[place + 1 :]
    if changed == token:
        return
    if place == len(token) - 1:  # its last two bits stand for nothing
        return
    with pytest.raises(Unauthenticated):
        made.session(changed)
