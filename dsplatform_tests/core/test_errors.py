import pytest

import dsplatform.bootstrap  # noqa: F401 - every module is loaded, so every error is known
from dsplatform.core.errors import Conflict, Denied, DsplatformError, Invalid, NotFound, Unavailable

KINDS = (NotFound, Conflict, Invalid, Denied, Unavailable)
INTERNAL = {"upload_overtaken", "upload_expired", "not_read"}
"""Errors that are none of the five kinds."""


def _descendants(kind: type[DsplatformError]) -> set[type[DsplatformError]]:
    below = {cls for cls in kind.__subclasses__() if cls.__module__.startswith("dsplatform.")}
    return below.union(*(_descendants(cls) for cls in below))


def test_no_two_kinds_share_a_code() -> None:
    assert len({kind.code for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("error", sorted(_descendants(DsplatformError), key=str), ids=str)
def test_every_error_is_of_exactly_one_kind(error: type[DsplatformError]) -> None:
    kinds = [kind for kind in KINDS if issubclass(error, kind)]
    assert len(kinds) == 1 or error.code in INTERNAL


def test_an_error_says_what_it_was_given() -> None:
    assert str(Invalid("that cannot be")) == "that cannot be"
