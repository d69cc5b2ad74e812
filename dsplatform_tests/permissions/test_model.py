from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.core.domain import Actor, Scope
from dsplatform.core.errors import Denied
from dsplatform.core.types import PermissionType, PlatformRight
from dsplatform.permissions.model import EVERYONE, Grantee, MissingRight, Standing, Way, allows, sufficient_rights

READ, WRITE, ADMIN = PermissionType
rights = st.sampled_from(PermissionType)
strength = list(PermissionType).index


@given(st.frozensets(rights), rights)
def test_a_user_may_what_some_right_of_hers_includes(held: frozenset[PermissionType], wanted: PermissionType) -> None:
    assert allows(Actor(1, "ann"), held, wanted, 7) == any(strength(right) >= strength(wanted) for right in held)


@given(st.frozensets(rights), rights)
def test_an_admin_may_everything(held: frozenset[PermissionType], wanted: PermissionType) -> None:
    assert allows(Actor(1, "root", is_admin=True), held, wanted, 7)


@given(st.frozensets(rights), rights, rights)
def test_a_further_grant_never_takes_a_right(held: frozenset[PermissionType], more: PermissionType, wanted: PermissionType) -> None:
    actor = Actor(1, "ann")
    assert allows(actor, held | {more}, wanted, 7) or not allows(actor, held, wanted, 7)


@given(st.booleans(), st.frozensets(rights), rights, rights, st.none() | st.tuples(st.integers(6, 8)))
def test_a_credential_never_adds_a_right(
    is_admin: bool, held: frozenset[PermissionType], wanted: PermissionType, reach: PermissionType, only: tuple[int] | None
) -> None:
    whole, narrow = Actor(1, "ann", is_admin), Actor(1, "ann", is_admin, scope=Scope(reach, only))
    within = strength(reach) >= strength(wanted) and only in {None, (7,)}
    assert allows(narrow, held, wanted, 7) == (within and allows(whole, held, wanted, 7))


def test_rights_of_a_role_count_on_every_dataset() -> None:
    assert sufficient_rights(READ) == [PlatformRight.READ_ALL, PlatformRight.WRITE_ALL]
    assert sufficient_rights(WRITE) == [PlatformRight.WRITE_ALL]
    assert sufficient_rights(ADMIN) == []
    for right in PlatformRight:
        for wanted in PermissionType:
            assert allows(Actor(1, "ann", rights=(right,)), (), wanted, 7) == (right in sufficient_rights(wanted))


def test_a_missing_right_is_named_with_whom_to_ask() -> None:
    error = MissingRight(Actor(1, "ann"), WRITE, "dataset", "7")
    assert isinstance(error, Denied)
    assert str(error) == "user 'ann' lacks the right 'write' on this dataset: ask who administers it to grant it"
    assert error.missing == "write"


def test_a_credential_that_is_too_narrow_is_told_apart() -> None:
    assert "use one with a wider scope" in str(MissingRight(Actor(1, "ann"), WRITE, "dataset", "7", by_token=True))


@pytest.mark.parametrize(
    ("allowed", "ways", "sentence"),
    [
        (True, (Way("role", "admin", None, None, None),), "ben holds 'write' on dataset 'sales': by the role 'admin'"),
        (
            True,
            (Way("user", None, ADMIN, 3, None), Way("group", "analysts", WRITE, 4, datetime(2030, 1, 31, 12, tzinfo=UTC))),
            (
                "ben holds 'write' on dataset 'sales': by the grant of her own of 'admin' (number 3); "
                "by the grant of group 'analysts' of 'write' until 2030-01-31 12:00 UTC (number 4)"
            ),
        ),
        (
            True,
            (Way("everyone", None, WRITE, 5, None),),
            "ben holds 'write' on dataset 'sales': by the grant for everyone of 'write' (number 5)",
        ),
        (False, (), "ben lacks 'write' on dataset 'sales': who administers it can grant it"),
        (
            False,
            (Way("user", None, ADMIN, 3, None),),
            "ben holds 'write' on dataset 'sales', but the credential in use may not be used for it",
        ),
    ],
)
def test_a_standing_says_why(allowed: bool, ways: tuple[Way, ...], sentence: str) -> None:
    assert Standing("ben", WRITE, "dataset", "sales", allowed, ways).sentence == sentence


def test_a_grantee_is_named_as_people_say_it() -> None:
    assert (EVERYONE.said, Grantee("user", 1, "ben").said, Grantee("group", name="analysts").said) == (
        "everyone",
        "user 'ben'",
        "group 'analysts'",
    )
