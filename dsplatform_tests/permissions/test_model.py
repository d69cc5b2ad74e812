from hypothesis import given
from hypothesis import strategies as st

from dsplatform.core.domain import Actor
from dsplatform.core.errors import Denied
from dsplatform.core.types import PermissionType
from dsplatform.permissions.model import MissingRight, allows

rights = st.sampled_from(PermissionType)


@given(st.frozensets(rights), rights)
def test_a_user_may_what_some_right_of_hers_includes(held: frozenset[PermissionType], wanted: PermissionType) -> None:
    strength = list(PermissionType).index
    assert allows(Actor(1, "ann"), held, wanted) == any(strength(right) >= strength(wanted) for right in held)


@given(st.frozensets(rights), rights)
def test_an_admin_may_everything(held: frozenset[PermissionType], wanted: PermissionType) -> None:
    assert allows(Actor(1, "root", is_admin=True), held, wanted)


@given(st.frozensets(rights), rights, rights)
def test_a_further_grant_never_takes_a_right(held: frozenset[PermissionType], more: PermissionType, wanted: PermissionType) -> None:
    actor = Actor(1, "ann")
    assert allows(actor, held | {more}, wanted) or not allows(actor, held, wanted)


def test_a_missing_right_is_named_with_whom_to_ask() -> None:
    error = MissingRight(Actor(1, "ann"), PermissionType.WRITE, "dataset 7")
    assert isinstance(error, Denied)
    assert str(error) == "user 'ann' lacks the right 'write' on dataset 7: ask its owner or an admin to grant it"
