"""Platforms on which passwords cost next to nothing."""

import pytest

from dsplatform.permissions import passwords


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least memory that argon2 takes. Name it in `usefixtures`, so that it comes before `platform`."""
    monkeypatch.setitem(passwords.PARAMETERS, "memory_cost", 64)
