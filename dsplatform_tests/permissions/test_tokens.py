import string

from hypothesis import assume, given
from hypothesis import strategies as st

from dsplatform.permissions import tokens

prefixes = st.sampled_from([tokens.API, tokens.REFRESH])
places = st.integers(0, 200)
signs = st.sampled_from(string.printable + "éß")


@given(prefixes)
def test_a_new_token_has_the_form_of_its_kind_and_of_no_other(prefix: str) -> None:
    secret = tokens.new(prefix)
    assert tokens.is_formed(prefix, secret)
    assert [kind for kind in (tokens.API, tokens.REFRESH) if tokens.is_formed(kind, secret)] == [prefix]
    assert secret.startswith(f"{prefix}_")
    assert len(secret) == len(prefix) + 1 + 43 + 6
    assert secret.isascii()


@given(places, signs)
def test_one_wrong_character_is_told_by_the_checksum(place: int, sign: str) -> None:
    secret = tokens.new(tokens.API)
    place %= len(secret)
    assume(secret[place] != sign)
    assert not tokens.is_formed(tokens.API, secret[:place] + sign + secret[place + 1 :])


@given(places)
def test_two_characters_that_changed_places_are_told(place: int) -> None:
    secret = tokens.new(tokens.API)
    place = place % (len(secret) - 5) + 4
    assume(secret[place] != secret[place + 1])
    assert not tokens.is_formed(tokens.API, secret[:place] + secret[place + 1] + secret[place] + secret[place + 2 :])


@given(st.text(max_size=80))
def test_any_text_is_judged_without_an_error(text: str) -> None:
    assert not tokens.is_formed(tokens.API, text)
    assert not tokens.is_formed(tokens.API, f"dsp_{text}")


@given(places, signs)
def test_what_is_cut_off_or_added_is_told(place: int, sign: str) -> None:
    secret = tokens.new(tokens.API)
    assert not tokens.is_formed(tokens.API, secret[: place % len(secret)])
    assert not tokens.is_formed(tokens.API, secret + sign)
    assert not tokens.is_formed(tokens.API, sign + secret)


def test_no_two_are_the_same_and_the_hint_gives_away_four_characters() -> None:
    made = {tokens.new(tokens.API) for _ in range(1000)}
    assert len(made) == 1000
    assert {len(tokens.hint(secret)) for secret in made} == {len("dsp_") + 4}
    assert len({tokens.digest(secret) for secret in made}) == 1000
