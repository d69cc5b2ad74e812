import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.core.domain import Actor
from dsplatform.core.errors import Invalid
from dsplatform.core.types import PlatformRight, principal_name
from dsplatform.permissions.principals import missing_to_give

rights = st.frozensets(st.sampled_from(PlatformRight))


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("ada", "ada"),
        ("Ada", "ada"),
        ("ADA.Lovelace+x@example.org", "ada.lovelace+x@example.org"),
        ("Ada King", "ada king"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("\uff41\uff44\uff41", "ada"),  # full width
        ("e\u0301mile", "émile"),
        ("7up", "7up"),
        ("müller", "müller"),
        ("Ωmega", "ωmega"),
        ("a" * 64, "a" * 64),
    ],
)
def test_a_name_is_kept_in_one_form(written: str, kept: str) -> None:
    assert principal_name(written) == kept


@pytest.mark.parametrize(
    "written",
    [
        *(
            "",
            " ",
            " ada",
            "ada ",
            "a  b",
            ".ada",
            "-ada",
            "_ada",
            "@ada",
            "a/b",
            "a:b",
            "a,b",
            "a\tb",
            "a\nb",
            "a\x00b",
            "a\\b",
            "a'b",
            'a"b',
            "a%b",
        ),
        *("\u0301a", "a\u202eb", "a\u200bb", "a\ud800", "😀", "a" * 65, "\ufdfa" * 10, "a\u00a0"),
    ],
)
def test_what_cannot_be_told_apart_or_breaks_a_path_is_no_name(written: str) -> None:
    with pytest.raises(Invalid, match="no valid name"):
        principal_name(written)


@given(st.text(min_size=1, max_size=20))
def test_the_form_is_final_and_the_same_for_every_writing(text: str) -> None:
    try:
        name = principal_name(text)
    except Invalid:
        return
    assert principal_name(name) == name
    for other in (text.upper(), text.lower(), unicodedata.normalize("NFD", text), unicodedata.normalize("NFKD", text)):
        try:
            same = principal_name(other)
        except Invalid:
            continue  # a longer writing
        assert same == name or other.casefold() != text.casefold()
    assert 1 <= len(name) <= 64
    assert name.strip() == name
    assert not set(name) & set("/:,\\\"'%\x00")


@given(rights, rights, rights)
def test_who_may_give_a_role_may_give_each_lesser_one_and_gets_no_further_by_it(
    held: frozenset[PlatformRight], given_: frozenset[PlatformRight], part: frozenset[PlatformRight]
) -> None:
    actor = Actor(1, "ann", rights=tuple(held))
    if missing_to_give(actor, "some", given_) is None:
        assert missing_to_give(actor, "some", given_ & part) is None
        other = Actor(2, "ben", rights=tuple(given_))
        assert missing_to_give(other, "some", part) is not None or missing_to_give(actor, "some", part) is None
    else:
        assert missing_to_give(actor, "some", given_) in given_


def test_only_an_admin_gives_the_role_admin() -> None:
    assert missing_to_give(Actor(1, "ann", rights=tuple(PlatformRight)), "admin", ()) == "admin"
    assert missing_to_give(Actor(1, "root", is_admin=True), "admin", ()) is None


def test_writing_everything_includes_reading_it() -> None:
    assert missing_to_give(Actor(1, "ann", rights=(PlatformRight.WRITE_ALL,)), "reader", [PlatformRight.READ_ALL]) is None
    assert missing_to_give(Actor(1, "ann", rights=(PlatformRight.READ_ALL,)), "writer", [PlatformRight.WRITE_ALL]) == "write_all"
